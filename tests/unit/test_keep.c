/* Records that are too long, held out, or over a limit: what becomes of them, and that counts add
 * up. */
#include "config.h"
#include "tests/unit/data_make.h"
#include "tests/unit/fake_tokenizer.h"

static const struct tokenizer tok = {.bos = FAKE_BOS, .eos = FAKE_EOS, .adds_bos = 1};

/* All samples as text: characters, <1> for special ids, '^' before what is scored, '|' behind each.
 */
static void show(const struct dataset *d, char *out, size_t size)
{
    size_t n = 0;
    struct pesc_error err = {0};
    struct sample s;
    *out = 0;
    for (long i = 0; i < dataset_size(d) && dataset_sample(d, i, &s, &err) == 0; i++) {
        for (long t = 0; t < s.n && n + 16 < size; t++) {
            n += (size_t)snprintf(out + n, size - n, "%s", s.labels[t] == LABEL_MASKED ? "" : "^");
            n += (size_t)snprintf(out + n, size - n, s.ids[t] >= FAKE_BYTE ? "%c" : "<%d>",
                                  s.ids[t] >= FAKE_BYTE ? s.ids[t] - FAKE_BYTE : s.ids[t]);
        }
        n += (size_t)snprintf(out + n, size - n, "|");
    }
}

static int adds_up(const struct dataset *d)
{
    const struct dataset_counts *c = dataset_counts(d);
    struct dataset_counts sum = {0};
    long skipped = 0, samples = 0, tokens = 0;
    int good = 1;
    for (long i = 0; i < dataset_source_count(d); i++) {
        const struct dataset_source *s = dataset_source_at(d, i);
        long reasons = 0;
        for (int k = 0; k < SKIP_COUNT; k++) {
            reasons += s->skips[k];
            sum.skipped[k] += s->skips[k];
        }
        good &= s->read == s->used + s->skipped && s->skipped == reasons;
        sum.read += s->read;
        sum.used += s->used;
        sum.truncated += s->truncated;
        sum.split += s->split;
        sum.pieces_dropped += s->pieces_dropped;
        sum.samples += s->samples;
        sum.tokens += s->tokens;
        sum.trained_tokens += s->trained_tokens;
    }
    sum.longest = c->longest;
    for (int k = 0; k < SKIP_COUNT; k++)
        skipped += c->skipped[k];
    for (long i = 0; i < dataset_domain_count(d); i++) {
        samples += dataset_domain_counts(d, i)->samples;
        tokens += dataset_domain_counts(d, i)->tokens;
    }
    return good && !memcmp(&sum, c, sizeof sum) && c->read == c->used + skipped &&
           samples == c->samples && samples == dataset_size(d) && tokens == c->tokens;
}

static void is_kept(const char *text, long max, enum data_long how, const char *want,
                    const char *what)
{
    char got[2048];
    struct dataset *d = data_open(
        &text, 1, (struct dataset_options){.max_seq_length = max, .long_records = how}, &tok);
    if (!d)
        return;
    show(d, got, sizeof got);
    is_str(got, want, what);
    ok(adds_up(d), "and counts add up");
    dataset_close(d);
}

#define ASKS(q, a) "{\"input\":\"" q "\",\"output\":\"" a "\"}"
#define TALK(turns) "{\"conversation\":[" turns "]}\n"
#define PAIR(q, a) "### Human:\n" q "\n### Assistant:\n" a

static void test_long(void)
{
    static const char text[] = "{\"text\":\"abcdefghijk\"}\n{\"text\":\"xy\"}\n";
    is_kept(text, 6, LONG_TRUNCATE, "<1>^a^b^c^d^e|<1>^x^y^<2>|", "cut");
    is_kept(text, 6, LONG_DROP, "<1>^x^y^<2>|", "dropped");
    is_kept(text, 6, LONG_SPLIT, "<1>^a^b^c^d^e|<1>^f^g^h^i^j|<1>^k^<2>|<1>^x^y^<2>|",
            "a text is split in stretches, each behind BOS");
    is_kept("{\"input_ids\":[75,76,77,78,79,80,81]}\n", 3, LONG_SPLIT, "A^B^C|D^E^F|",
            "without BOS a piece's first token is not scored, and one token is no piece");

    /* 31 tokens: BOS, prompt, one letter, EOS; 30 each further turn */
    static const char talk[] = TALK(ASKS("Q", "A") "," ASKS("R", "B") "," ASKS("S", "C"));
    is_kept(talk, 61, LONG_SPLIT,
            "<1>" PAIR("Q", "^A^<2>") PAIR("R", "^B^<2>") "|<1>" PAIR("S", "^C^<2>") "|",
            "a conversation is split behind answers");
    is_kept(talk, 40, LONG_SPLIT,
            "<1>" PAIR("Q", "^A^<2>") "|<1>" PAIR("R", "^B^<2>") "|<1>" PAIR("S", "^C^<2>") "|",
            "as many turns as fit");
    is_kept(talk, 20, LONG_SPLIT,
            "<1>Q\n### Assistant:\n^A^<2>|<1>R\n### Assistant:\n^B^<2>|"
            "<1>S\n### Assistant:\n^C^<2>|",
            "an answer keeps as much of its prompt as fits");
    is_kept(TALK(ASKS("Q", "abcdefgh")), 10, LONG_SPLIT, "<1>\n^a^b^c^d^e^f^g^h|<1>^<2>|",
            "a long one the last token");
}

static void test_long_counts(void)
{
    static const char *const texts[] = {
        "{\"input_ids\":[1,2,3,4,5,6,7]}\n{\"input_ids\":[1,2]}\n{\"input_ids\":[4]}\n"
        "{\"input_ids\":[1,2,3,4,5,6,7],\"labels\":[-100,-100,-100,-100,-100,6,7]}\n",
        "{\"input_ids\":[1,2,3,4]}\n{\"input_ids\":[1,2,3,4,5]}\n"};
    static const struct {
        long used, truncated, split, pieces_dropped, too_long, no_target, samples;
    } want[] = {{4, 3, 0, 0, 0, 2, 4}, {5, 0, 3, 2, 0, 1, 6}, {2, 0, 0, 0, 3, 1, 2}};
    for (int how = 0; how < LONG_COUNT; how++) {
        struct dataset *d = data_open(
            texts, 2,
            (struct dataset_options){.max_seq_length = 4, .long_records = (enum data_long)how},
            NULL);
        if (!d)
            return;
        const struct dataset_counts *c = dataset_counts(d);
        const char *name = data_long_name((enum data_long)how);
        ok(adds_up(d) && c->read == 6, "%s: counts add up", name);
        is_long(c->used, want[how].used, "used");
        is_long(c->truncated, want[how].truncated, "truncated");
        is_long(c->split, want[how].split, "split");
        is_long(c->pieces_dropped, want[how].pieces_dropped, "pieces dropped");
        is_long(c->skipped[SKIP_LONG], want[how].too_long, "too long");
        is_long(c->skipped[SKIP_NO_TARGET], want[how].no_target, "without a scored token");
        is_long(c->samples, want[how].samples, "samples");
        ok(data_long_from_name(name) == (enum data_long)how, "a name");
        dataset_close(d);
    }
}

/* n different records from first on, each of them twice. */
static char *twice(long first, long n)
{
    char *a = data_numbered(first, n, 9), *both = malloc(2 * strlen(a) + 1);
    sprintf(both, "%s%s", a, a);
    free(a);
    return both;
}

/* Marks in held[] the records of a side by their first token; how often each. */
static void mark(const struct dataset *d, char *held)
{
    struct pesc_error err = {0};
    struct sample s;
    for (long i = 0; i < dataset_size(d) && dataset_sample(d, i, &s, &err) == 0; i++)
        held[s.ids[0]]++;
}

static void test_valid(void)
{
    enum { N = 4000 };
    char *a = twice(0, N / 2), *b = twice(N / 2, N / 2), *all = twice(0, N), *some = twice(0, 500);
    struct dataset_options o = {.valid_fraction = 0.1, .max_seq_length = 8};
    const char *const first[] = {a, b}, *const second[] = {all}, *const third[] = {some};
    static char held[3][N], left[N];
    struct dataset *d = data_open(first, 2, o, NULL), *v = d ? dataset_take_valid(d) : NULL;
    if (!ok(v != NULL, "a part is held out"))
        return;
    mark(v, held[0]);
    mark(d, left);
    long bad = 0, n = 0;
    for (long i = 0; i < N; i++) {
        bad += held[0][i] + left[i] != 2 || (held[0][i] && left[i]);
        n += held[0][i] != 0;
    }
    is_long(bad, 0, "equal records are on one side, and nothing is lost");
    ok(labs(n - N / 10) < 60, "about as many as asked for: %ld of %d", n, N);
    ok(adds_up(d) && adds_up(v), "counts add up on both sides");
    const struct dataset_counts *c = dataset_counts(d), *w = dataset_counts(v);
    ok(c->read == 2 * N && c->skipped[SKIP_HELD_OUT] == w->read && w->read == 2 * n &&
           w->used == w->read && w->truncated > 0,
       "what is held out is read there and skipped here");
    ok(dataset_source_count(v) == 2 && dataset_source_at(v, 1)->read > 0 &&
           !strcmp(dataset_source_at(v, 1)->sha256, dataset_source_at(d, 1)->sha256) &&
           dataset_source_at(v, 1)->arg == 1,
       "the held-out side knows its files");
    ok(dataset_take_valid(d) == NULL, "it is taken once");
    dataset_close(d);
    dataset_close(v);

    /* One file, other records, another order: the same ones. */
    d = data_open(second, 1, o, NULL);
    v = d ? dataset_take_valid(d) : NULL;
    if (v)
        mark(v, held[1]);
    ok(v && !memcmp(held[0], held[1], N), "whatever the files");
    dataset_close(d);
    dataset_close(v);
    d = data_open(third, 1, o, NULL);
    v = d ? dataset_take_valid(d) : NULL;
    if (v)
        mark(v, held[2]);
    ok(v && !memcmp(held[0], held[2], 500), "whatever else there is");
    dataset_close(d);
    dataset_close(v);
    free(a), free(b), free(all), free(some);
}

static void test_paths(void)
{
    char *a = data_numbered(0, 50, 3), *b = data_numbered(50, 50, 3),
         *c = data_numbered(100, 50, 3);
    const char *const texts[] = {a, b, c};
    long first, n;
    struct dataset *d =
        data_open(texts, 3, (struct dataset_options){.limits = "10,0,7", .domain = "x,y,x"}, NULL);
    if (d) {
        ok(adds_up(d) && dataset_source_at(d, 0)->read == 10 &&
               dataset_source_at(d, 1)->read == 50 && dataset_source_at(d, 2)->read == 7,
           "a limit for each path");
        dataset_path_samples(d, 2, &first, &n);
        ok(dataset_path_count(d) == 3 && first == 60 && n == 7, "whose samples are known");
        ok(dataset_domain_count(d) == 2 && dataset_domain_counts(d, 0)->samples == 17 &&
               !strcmp(dataset_domain(d, 1), "y"),
           "a name for each path");
    }
    dataset_close(d);
    d = data_open(texts, 3, (struct dataset_options){.domain = "one", .max_records = 60}, NULL);
    ok(d && dataset_domain_count(d) == 1 && dataset_size(d) == 60, "one name for all");
    dataset_close(d);

    static const struct dataset_options bad[] = {{.limits = "1"},
                                                 {.limits = "1,2,3,4"},
                                                 {.limits = "1,x,3"},
                                                 {.limits = "1,-2,3"},
                                                 {.domain = "a,b"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *paths[] = {"keep.0.jsonl", "keep.1.jsonl", "keep.2.jsonl"};
        struct dataset_options o = bad[i];
        struct pesc_error err = {0};
        o.vocab_size = MAKE_VOCAB;
        int rc = 0;
        for (int k = 0; k < 3; k++)
            rc |= file_write(paths[k], texts[k], strlen(texts[k]), NULL);
        ok(rc == 0 && dataset_open(paths, 3, NULL, &o, NULL, &d, &err) != 0 &&
               err.code == PESC_E_USAGE_VALUE,
           "%s is refused for three paths", o.limits ? o.limits : o.domain);
        for (int k = 0; k < 3; k++)
            remove(paths[k]);
    }
    free(a), free(b), free(c);
}

int main(void)
{
    test_long();
    test_long_counts();
    test_valid();
    test_paths();
    return tap_done();
}
