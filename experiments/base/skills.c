#include "config.h"
#include "experiments/base/skills.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define COUNT(x) (sizeof(x) / sizeof *(x))

static const char *const words[] = {
    "ant",    "apple",  "arm",    "bag",    "ball",   "band",   "bank",   "barn",   "bath",
    "beak",   "bean",   "bear",   "bed",    "bell",   "belt",   "bird",   "boat",   "bone",
    "book",   "boot",   "bowl",   "box",    "brick",  "brush",  "bus",    "cake",   "camp",
    "card",   "cart",   "cat",    "chair",  "chin",   "city",   "clay",   "clock",  "cloud",
    "coat",   "coin",   "cook",   "corn",   "cow",    "crab",   "crow",   "cup",    "dawn",
    "deer",   "desk",   "dish",   "dog",    "door",   "dove",   "drum",   "duck",   "dust",
    "ear",    "egg",    "farm",   "fence",  "field",  "fire",   "fish",   "flag",   "floor",
    "flute",  "foot",   "fork",   "fox",    "frog",   "fruit",  "game",   "gate",   "girl",
    "glass",  "glove",  "goat",   "gold",   "grape",  "grass",  "hall",   "hand",   "hat",
    "hen",    "hill",   "home",   "horn",   "horse",  "house",  "ice",    "ink",    "iron",
    "jar",    "juice",  "key",    "king",   "kite",   "knee",   "lake",   "lamb",   "lamp",
    "land",   "leaf",   "lemon",  "light",  "lion",   "lock",   "map",    "mask",   "meal",
    "milk",   "mint",   "moon",   "moth",   "mouse",  "nail",   "nest",   "net",    "night",
    "nose",   "note",   "oak",    "ocean",  "oil",    "onion",  "oven",   "owl",    "page",
    "paint",  "pan",    "paper",  "park",   "path",   "peach",  "pear",   "pen",    "piano",
    "pig",    "pine",   "pipe",   "plant",  "plate",  "pond",   "queen",  "rain",   "ring",
    "river",  "road",   "rock",   "roof",   "room",   "rope",   "rose",   "salt",   "sand",
    "seed",   "sheep",  "shell",  "ship",   "shoe",   "silk",   "sky",    "snow",   "soap",
    "sock",   "song",   "soup",   "spoon",  "star",   "stone",  "storm",  "sugar",  "sun",
    "swan",   "table",  "tail",   "tea",    "tent",   "tiger",  "tooth",  "town",   "toy",
    "train",  "tree",   "tulip",  "vase",   "wagon",  "wall",   "water",  "wave",   "whale",
    "wheel",  "wind",   "wing",   "wolf",   "wood",   "wool",   "yard",   "year",   "zebra",
    "lizard", "candle", "basket", "bottle", "garden", "kitten", "ladder", "market", "pepper",
    "rabbit", "school", "winter", "flower", "carpet", "button", "bridge", "castle", "dragon",
    "finger", "hammer"};
static const char *const people[] = {"Anna",  "Ben",  "Clara", "David", "Emma", "Finn",
                                     "Greta", "Hugo", "Ida",   "Jonas", "Lena", "Max"};
static const char *const verbs[] = {"has", "sees", "buys", "finds", "wants", "sells"};
static const char *const places[] = {"in the garden",       "at the market", "by the river",
                                     "near the old bridge", "at school",     "on the farm"};
static const char *const ordinals[] = {"first", "second", "third", "fourth"};
static const struct unit {
    const char *big, *small;
    int factor;
} units[] = {{"metres", "centimetres", 100}, {"hours", "minutes", 60},
             {"kilograms", "grams", 1000},   {"weeks", "days", 7},
             {"minutes", "seconds", 60},     {"euros", "cents", 100}};

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

static const char *article(const char *word)
{
    return strchr("aeiou", *word) ? "an" : "a";
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

/* --- what the answers are --- */

static void spaced(char *out, const char *letters, int upper)
{
    for (; *letters; letters++) {
        *out++ = (char)(upper ? *letters - 'a' + 'A' : *letters);
        if (letters[1])
            *out++ = ' ';
    }
    *out = 0;
}

static void reversed(char *out, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i < n; i++)
        out[i] = word[n - 1 - i];
    out[n] = 0;
}

static int by_letter(const void *a, const void *b)
{
    return *(const char *)a - *(const char *)b;
}

static void sorted(char *out, const char *word)
{
    strcpy(out, word);
    qsort(out, strlen(out), 1, by_letter);
}

/* --- the skills --- */

/* What a question is about; content is its place in the split. */
struct subject {
    const char *word, *list[4], *name[2], *thing[2];
    const struct unit *unit;
    int a, b, n, many;
    char content[ASK_CAP];
};

enum skill { REVERSE, SORT, ADD, CAPITALS, PICK_WORD, RECALL, LENGTH, CONVERT };
static const char *const names[SKILL_COUNT] = {"reverse",   "sort",   "add",    "capitals",
                                               "pick-word", "recall", "length", "convert"};

const char *skill_name(int skill)
{
    return names[skill];
}

static void draw_subject(struct subject *s, int skill, struct draws *d)
{
    memset(s, 0, sizeof *s);
    s->word = PICK(d, words);
    s->a = 1 + (int)below(d, 29);
    s->b = 1 + (int)below(d, 29);
    s->many = 2 + (int)below(d, 48);
    s->n = (int)below(d, 4);
    s->unit = &PICK(d, units);
    for (int i = 0; i < 4; i++)
        s->list[i] = PICK(d, words);
    size_t first = below(d, COUNT(people));
    s->name[0] = people[first];
    s->name[1] = people[(first + 1 + below(d, COUNT(people) - 1)) % COUNT(people)];
    s->thing[0] = s->list[0];
    s->thing[1] = s->list[1];
    size_t cap = sizeof s->content;
    switch (skill) {
    case ADD:
        put(s->content, cap, "%d %d", s->a < s->b ? s->a : s->b, s->a < s->b ? s->b : s->a);
        break;
    case PICK_WORD:
        put(s->content, cap, "%d %s %s %s %s", s->n, s->list[0], s->list[1], s->list[2],
            s->list[3]);
        break;
    case RECALL:
        put(s->content, cap, "%s %s %s %s", s->name[0], s->thing[0], s->name[1], s->thing[1]);
        break;
    case CONVERT:
        put(s->content, cap, "%d %s %s", s->many, s->unit->big, s->unit->small);
        break;
    default:
        put(s->content, cap, "%s", s->word);
    }
}

static void subject_of_side(struct subject *s, int skill, int held_out, struct draws *d)
{
    do
        draw_subject(s, skill, d);
    while (is_held_out(d, skill, s->content) != held_out);
}

void skill_draw(struct exercise *e, int skill, int held_out, struct draws *d)
{
    struct subject s;
    char raw[32], letters[64];
    e->input[0] = e->output[0] = 0;
    subject_of_side(&s, skill, held_out, d);
    spaced(letters, s.word, 0);
    switch ((enum skill)skill) {
    case REVERSE:
        put(e->input, ASK_CAP, "Reverse the letters: %s", letters);
        reversed(raw, s.word);
        spaced(e->output, raw, 0);
        break;
    case SORT:
        put(e->input, ASK_CAP, "Sort the letters: %s", letters);
        sorted(raw, s.word);
        spaced(e->output, raw, 0);
        break;
    case ADD:
        put(e->input, ASK_CAP, "What is %d plus %d?", s.a, s.b);
        put(e->output, ASK_CAP, "%d", s.a + s.b);
        break;
    case CAPITALS:
        put(e->input, ASK_CAP, "Write in capitals: %s", letters);
        spaced(e->output, s.word, 1);
        break;
    case PICK_WORD:
        put(e->input, ASK_CAP, "Give the %s word of: %s %s %s %s", ordinals[s.n], s.list[0],
            s.list[1], s.list[2], s.list[3]);
        put(e->output, ASK_CAP, "%s", s.list[s.n]);
        break;
    case RECALL:
        put(e->input, ASK_CAP, "%s has %s %s. %s has %s %s. What does %s have?", s.name[0],
            article(s.thing[0]), s.thing[0], s.name[1], article(s.thing[1]), s.thing[1],
            s.name[s.n % 2]);
        put(e->output, ASK_CAP, "%s %s", article(s.thing[s.n % 2]), s.thing[s.n % 2]);
        break;
    case LENGTH:
        put(e->input, ASK_CAP, "How many letters are in %s?", s.word);
        put(e->output, ASK_CAP, "%zu", strlen(s.word));
        break;
    case CONVERT:
        put(e->input, ASK_CAP, "How many %s are %d %s?", s.unit->small, s.many, s.unit->big);
        put(e->output, ASK_CAP, "%d", s.many * s.unit->factor);
        break;
    }
}

/* --- prose --- */

static void prose_of(char *out, int skill, struct draws *d)
{
    struct subject s;
    char raw[32], letters[64], answer[64];
    subject_of_side(&s, skill, 0, d);
    spaced(letters, s.word, 0);
    switch ((enum skill)skill) {
    case REVERSE:
        reversed(raw, s.word);
        spaced(answer, raw, 0);
        put(out, TEXT_CAP, " The word %s is %s, and from back to front it is %s.", s.word, letters,
            answer);
        break;
    case SORT: /* the letters twice, never in order */
        put(out, TEXT_CAP, " Spell %s like this: %s. Once more: %s.", s.word, letters, letters);
        break;
    case ADD:
        put(out, TEXT_CAP, " %d and %d make %d.", s.a, s.b, s.a + s.b);
        break;
    case CAPITALS: /* letter by letter, never a word */
        for (int i = 0; i < 3; i++) {
            char c = (char)('a' + below(d, 26));
            put(out, TEXT_CAP, " The capital of %c is %c.", c, c - 'a' + 'A');
        }
        break;
    case PICK_WORD:
        put(out, TEXT_CAP, " In the row %s %s %s %s the %s is %s.", s.list[0], s.list[1], s.list[2],
            s.list[3], ordinals[s.n], s.list[s.n]);
        break;
    case RECALL:
        put(out, TEXT_CAP, " %s has %s %s. %s has %s %s. The %s of %s is new.", s.name[0],
            article(s.thing[0]), s.thing[0], s.name[1], article(s.thing[1]), s.thing[1],
            s.thing[s.n % 2], s.name[s.n % 2]);
        break;
    case LENGTH:
        put(out, TEXT_CAP, " %s, so %s has %zu letters.", letters, s.word, strlen(s.word));
        break;
    case CONVERT: /* one at a time, never the multiple */
        put(out, TEXT_CAP, " There are %d %s in the unit called %s.", s.unit->factor, s.unit->small,
            s.unit->big);
        break;
    }
}

static void prose_of_life(char *out, struct draws *d)
{
    const char *who = PICK(d, people), *what = PICK(d, words), *other = PICK(d, words);
    const char *verb = PICK(d, verbs), *place = PICK(d, places);
    switch (below(d, 4)) {
    case 0:
        put(out, TEXT_CAP, " %s %s %s %s %s.", who, verb, article(what), what, place);
        break;
    case 1:
        put(out, TEXT_CAP, " What does %s have? %s has %s %s and %s %s.", who, who, article(what),
            what, article(other), other);
        break;
    case 2:
        put(out, TEXT_CAP, " The %s is near the %s, and %s %s the %s.", what, other, who, verb,
            what);
        break;
    default:
        put(out, TEXT_CAP, " %s said: %s, %s, %s. Then %s said again: %s, %s, %s.", who, what,
            other, place, who, what, other, place);
    }
}

void skill_prose(char out[TEXT_CAP], struct draws *d)
{
    char text[TEXT_CAP];
    text[0] = 0;
    size_t sentences = 4 + below(d, 4);
    for (size_t i = 0; i < sentences; i++) {
        if (below(d, 4) == 0)
            prose_of_life(text, d);
        else
            prose_of(text, (int)below(d, SKILL_COUNT), d);
    }
    strcpy(out, text + 1);
}
