#include "config.h"
#include "experiments/base/skills.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define COUNT(x) (sizeof(x) / sizeof *(x))

/* The last of each is plain: nothing is changed, in any set of rules. Only the base is asked it. */
static const char *const codes[] = {"owl", "fox", "bear", "wolf", "plain"};
static const char *const languages[] = {"Norn", "Velic", "Tashi", "Orim", "English"};
static const char *const machines[] = {"red", "blue", "green", "black", "plain"};
static const char *const calendars[] = {"north", "south", "east", "west", "plain"};
static const char *const orders[] = {"harbour", "forest", "desert", "island", "plain"};
static const char *const markets[] = {"old", "new", "upper", "lower", "plain"};
static const char *const words[] = {"small", "big",   "young", "kind",  "wild",  "slow",
                                    "cat",   "dog",   "horse", "king",  "queen", "child",
                                    "baker", "bird",  "sees",  "likes", "hears", "calls",
                                    "helps", "finds", "today", "again", "often", "never"};
static const char *const foreign[] = {"ba", "bo", "du", "da", "fi", "fu", "ga", "go",
                                      "ki", "ku", "la", "lo", "mi", "mu", "na", "no",
                                      "pi", "pu", "ra", "ro", "si", "su", "ta", "to"};
static const char *const months[] = {"Snow", "Wind", "Rain", "Seed", "Leaf", "Rose",
                                     "Sun",  "Corn", "Wine", "Mist", "Fog",  "Frost"};
static const char *const fruit[] = {"apple", "cherry", "date",  "fig",   "grape", "kiwi",
                                    "lemon", "lime",   "mango", "peach", "pear",  "plum"};
static const char *const goods[] = {"pots", "coats", "knives", "lamps", "ropes", "boots",
                                    "eggs", "hats",  "spoons", "bags",  "rings", "cups"};
static const char *const people[] = {"Anna",  "Ben",  "Clara", "David", "Emma", "Finn",
                                     "Greta", "Hugo", "Ida",   "Jonas", "Lena", "Max"};
static const char *const verbs[] = {"has", "sees", "likes", "finds", "wants", "sells"};
static const char *const places[] = {"in the forest",      "at the market", "by the harbour",
                                     "in the east",        "on the island", "in the old machine",
                                     "near the new desert"};

enum skill { CODE, TRANSLATE, DIGITS, DATES, SORT, TRADE };
static const struct {
    const char *name;
    const char *const *rule;
    size_t rules, items;
} skills[SKILL_COUNT] = {
    [CODE] = {"code", codes, COUNT(codes), 26},
    [TRANSLATE] = {"translate", languages, COUNT(languages), COUNT(words)},
    [DIGITS] = {"digits", machines, COUNT(machines), 10},
    [DATES] = {"dates", calendars, COUNT(calendars), COUNT(months)},
    [SORT] = {"sort", orders, COUNT(orders), COUNT(fruit)},
    [TRADE] = {"trade", markets, COUNT(markets), COUNT(goods)},
};

struct draws draws_start(uint64_t seed, uint32_t what, uint32_t number)
{
    return (struct draws){{seed, RNG_SAMPLE, what, number}, 0};
}

static size_t below(struct draws *d, size_t n)
{
    return (size_t)(rng_u32(&d->key, d->at++) % n);
}

#define PICK(d, list) ((list)[below((d), COUNT(list))])

static void put(char *out, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void put(char *out, size_t size, const char *fmt, ...)
{
    size_t used = strlen(out);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out + used, size - used, fmt, ap);
    va_end(ap);
}

const char *skill_name(int skill)
{
    return skills[skill].name;
}

/* --- rules --- */

static void shuffled(unsigned char *to, size_t n, struct draws *d)
{
    for (size_t i = 0; i < n; i++) {
        size_t j = below(d, i + 1);
        to[i] = to[j];
        to[j] = (unsigned char)i;
    }
}

void rules_draw(struct rules *r, uint64_t seed, uint32_t set)
{
    static const unsigned char odd[] = {1, 3, 7, 9}; /* without a common factor with ten */
    memset(r, 0, sizeof *r);
    r->set = set;
    for (uint32_t k = 0; k < SKILL_COUNT; k++) {
        struct rng_key key = {seed, RNG_SPLIT, set + 1, k};
        struct draws d = {key, 0};
        for (size_t n = 0; n < skills[k].rules; n++) {
            if (n + 1 == skills[k].rules) {
                for (size_t i = 0; i < skills[k].items; i++)
                    r->to[k][n][i] = (unsigned char)i;
                continue;
            }
            if (k != DIGITS) {
                shuffled(r->to[k][n], skills[k].items, &d);
                continue;
            }
            size_t times = PICK(&d, odd), plus = 1 + below(&d, 9);
            for (size_t i = 0; i < 10; i++)
                r->to[k][n][i] = (unsigned char)((times * i + plus) % 10);
        }
        for (size_t n = 0; k == DATES && n + 1 < skills[k].rules; n++)
            r->month_first[n] = (unsigned char)below(&d, 2);
    }
}

/* One question in seven is held out: FNV-1a of skill and content, mixed with the seed. */
static int is_held_out(const struct draws *d, int skill, const char *content)
{
    uint64_t h = 0xcbf29ce484222325u ^ (uint64_t)skill;
    for (const char *p = content; *p; p++)
        h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    struct rng_key k = {d->key.seed, RNG_SPLIT, (uint32_t)h, (uint32_t)(h >> 32)};
    return rng_u32(&k, 0) % 7 == 0;
}

/* --- questions --- */

enum { ITEMS = 4, TO_SORT = 3 }; /* letters, words, digits of a question; fruit */

/* What a question is about; content is its place in the split. */
struct subject {
    size_t rule, item[ITEMS], who, day, many;
    char content[ASK_CAP];
};

static void draw_different(size_t *out, size_t n, size_t of, struct draws *d)
{
    for (size_t i = 0; i < n; i++) {
        size_t known;
        do {
            out[i] = below(d, of);
            for (known = 0; known < i && out[known] != out[i]; known++)
                ;
        } while (known < i);
    }
}

static void draw_subject(struct subject *s, int skill, uint32_t set, struct draws *d)
{
    size_t items = skills[skill].items;
    memset(s, 0, sizeof *s);
    s->rule = below(d, skills[skill].rules - (set != 0));
    for (int i = 0; i < ITEMS; i++)
        s->item[i] = below(d, items);
    s->day = 1 + below(d, 30);
    s->many = 11 + below(d, 89);
    s->who = below(d, COUNT(people));
    if (skill == TRANSLATE) { /* which, who, does, when */
        static const size_t from[] = {0, 6, 14, 20}, kinds[] = {6, 8, 6, 4};
        for (int i = 0; i < ITEMS; i++)
            s->item[i] = from[i] + below(d, kinds[i]);
    }
    if (skill != TRANSLATE)
        draw_different(s->item, ITEMS, items, d);
    size_t key[ITEMS];
    memcpy(key, s->item, sizeof key);
    for (int i = 1; skill == SORT && i < TO_SORT; i++) /* the same fruit are the same question */
        for (int j = i; j > 0 && key[j - 1] > key[j]; j--) {
            size_t swap = key[j];
            key[j] = key[j - 1];
            key[j - 1] = swap;
        }
    if (skill == DATES)
        put(s->content, sizeof s->content, "%zu %zu", s->item[0], s->day);
    else if (skill == TRADE)
        put(s->content, sizeof s->content, "%zu %zu", s->item[0], s->many);
    else if (skill == SORT)
        put(s->content, sizeof s->content, "%zu %zu %zu", key[0], key[1], key[2]);
    else
        put(s->content, sizeof s->content, "%zu %zu %zu %zu", key[0], key[1], key[2], key[3]);
}

static void draw_of_side(struct subject *s, int skill, uint32_t set, int held_out, struct draws *d)
{
    do
        draw_subject(s, skill, set, d);
    while (is_held_out(d, skill, s->content) != held_out);
}

static void put_row(char *out, const char *const *names, const size_t *item, int n,
                    const char *between)
{
    for (int i = 0; i < n; i++)
        put(out, ASK_CAP, "%s%s", i ? between : "", names[item[i]]);
}

static void put_sorted(char *out, const unsigned char *place, const size_t *item)
{
    const char *between = "";
    for (size_t p = 0; p < COUNT(fruit); p++)
        for (int i = 0; i < TO_SORT; i++)
            if (place[item[i]] == p) {
                put(out, ASK_CAP, "%s%s", between, fruit[item[i]]);
                between = ", ";
            }
}

void skill_draw(struct exercise *e, const struct rules *r, int skill, int held_out, struct draws *d)
{
    struct subject s;
    draw_of_side(&s, skill, r->set, held_out, d);
    const char *rule = skills[skill].rule[s.rule];
    const unsigned char *to = r->to[skill][s.rule];
    size_t result[ITEMS];
    char *in = e->input, *out = e->output;
    *in = *out = 0;
    for (int i = 0; i < ITEMS; i++)
        result[i] = to[s.item[i]];
    switch ((enum skill)skill) {
    case CODE:
        put(in, ASK_CAP, "Write \"");
        for (int i = 0; i < ITEMS; i++) {
            put(in, ASK_CAP, "%c", (char)('A' + s.item[i]));
            put(out, ASK_CAP, "%s%c=%c", i ? "," : "", (char)('A' + s.item[i]),
                (char)('A' + result[i]));
        }
        put(in, ASK_CAP, "\" in the %s code.", rule);
        break;
    case TRANSLATE:
        put(in, ASK_CAP, "Say in %s: the ", rule);
        put_row(in, words, s.item, ITEMS, " ");
        put_row(out, s.rule + 1 < COUNT(languages) ? foreign : words, result, ITEMS, " ");
        break;
    case DIGITS:
        put(in, ASK_CAP, "The %s machine gets ", rule);
        for (int i = 0; i < ITEMS; i++) {
            put(in, ASK_CAP, "%zu", s.item[i]);
            put(out, ASK_CAP, "%s%zu=%zu", i ? "," : "", s.item[i], result[i]);
        }
        put(in, ASK_CAP, ". What comes of each?");
        break;
    case DATES:
        put(in, ASK_CAP, "Write %zu %s by the %s calendar.", s.day, months[s.item[0]], rule);
        if (r->month_first[s.rule])
            put(out, ASK_CAP, "%02zu/%02zu", result[0] + 1, s.day);
        else
            put(out, ASK_CAP, "%02zu/%02zu", s.day, result[0] + 1);
        break;
    case SORT:
        put(in, ASK_CAP, "Sort by the %s order: ", rule);
        put_row(in, fruit, s.item, TO_SORT, ", ");
        put_sorted(out, to, s.item);
        break;
    case TRADE:
        put(in, ASK_CAP, "%s takes %zu %s to the %s market. What comes back?", people[s.who],
            s.many, goods[s.item[0]], rule);
        put(out, ASK_CAP, "%zu %s", s.many, goods[result[0]]);
        break;
    }
}

/* --- prose --- */

/* Every draw is a statement of its own: compilers order the arguments of a call as they like. */
static void put_thing(char *out, struct draws *d)
{
    const char *what, *more;
    size_t n;
    switch (below(d, 4)) {
    case 0:
        what = words[6 + below(d, 8)];
        put(out, TEXT_CAP, "the %s %s", PICK(d, machines), what);
        break;
    case 1:
        what = PICK(d, goods);
        n = 2 + below(d, 98);
        put(out, TEXT_CAP, "%zu %s", n, what);
        break;
    case 2:
        more = PICK(d, fruit);
        what = PICK(d, fruit);
        put(out, TEXT_CAP, "a %s and a %s", what, more);
        break;
    default:
        what = PICK(d, codes);
        put(out, TEXT_CAP, "the %s %s", words[below(d, 6)], what);
    }
}

void skill_prose(char out[TEXT_CAP], struct draws *d)
{
    size_t sentences = 2 + below(d, 3);
    *out = 0;
    for (size_t i = 0; i < sentences; i++) {
        const char *who = PICK(d, people), *between = i ? " " : "", *one, *two, *tongue;
        size_t day;
        switch (below(d, 4)) {
        case 0:
            put(out, TEXT_CAP, "%s%s %s ", between, who, PICK(d, verbs));
            put_thing(out, d);
            put(out, TEXT_CAP, " %s.", PICK(d, places));
            break;
        case 1:
            put(out, TEXT_CAP, "%sWhat does %s have? %s has ", between, who, who);
            put_thing(out, d);
            put(out, TEXT_CAP, ".");
            break;
        case 2:
            one = PICK(d, months);
            day = 1 + below(d, 30);
            put(out, TEXT_CAP, "%sOn %zu %s %s sees ", between, day, one, who);
            put_thing(out, d);
            put(out, TEXT_CAP, " again.");
            break;
        default:
            tongue = PICK(d, languages);
            two = PICK(d, foreign);
            one = PICK(d, foreign);
            put(out, TEXT_CAP, "%s%s can say %s and %s in %s.", between, who, one, two, tongue);
        }
    }
}
