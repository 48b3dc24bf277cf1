/* Drawing of a token, against a twin that sorts the whole vocabulary. */
#include "config.h"
#include "core/rng.h"
#include "model/decode.h"
#include "tests/tap.h"

static int by_probability(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->p != y->p)
        return x->p < y->p ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int32_t twin(const float *logits, long V, const struct sampling *s, uint64_t n,
                    struct candidate *c)
{
    float best = logits[0];
    double sum = 0, kept = 0, mass = 0;
    for (long i = 1; i < V; i++)
        best = logits[i] > best ? logits[i] : best;
    for (long i = 0; i < V; i++) {
        c[i] = (struct candidate){(float)exp((logits[i] - best) / s->temperature), (int32_t)i};
        sum += c[i].p;
    }
    long keep = V;
    if (s->top_k || s->top_p < 1) {
        long most = s->top_k > 0 && s->top_k < V ? s->top_k : V;
        qsort(c, (size_t)V, sizeof *c, by_probability);
        for (keep = 0; keep < most && (keep == 0 || mass < s->top_p * sum); keep++)
            mass += c[keep].p;
    }
    for (long i = 0; i < keep; i++)
        kept += c[i].p;
    struct rng_key key = {.seed = s->seed, .stream = RNG_SAMPLE};
    double u = rng_unit(&key, n) * kept;
    for (long i = 0; i < keep; i++)
        if ((u -= c[i].p) < 0)
            return c[i].id;
    return c[keep - 1].id;
}

enum kind { SPREAD, FLAT, EQUAL, STEPS, RISING, FALLING, KINDS };
static const char *const kind_name[] = {"spread", "flat",   "all equal",
                                        "steps",  "rising", "falling"};

static void fill(float *l, long V, enum kind kind)
{
    struct rng_key key = {3, 0, (uint32_t)kind, 0};
    for (long i = 0; i < V; i++) {
        double x = rng_unit(&key, (uint64_t)i);
        l[i] = (float)(kind == SPREAD   ? 30 * x
                       : kind == FLAT   ? 0.01 * x
                       : kind == EQUAL  ? 1
                       : kind == STEPS  ? floor(6 * x)
                       : kind == RISING ? 1e-3 * (double)i
                                        : -1e-3 * (double)i);
    }
}

static void test(enum kind kind, long V)
{
    static const struct sampling how[] = {
        {1, 1, 0, 1},       {0.7, 0.9, 0, 2},  {1, 0.999, 0, 3},  {1.5, 1, 1, 4},
        {1, 1, 50, 5},      {0.2, 0.5, 40, 6}, {1, 0.95, 700, 7}, {50, 0.9999, 0, 8},
        {1, 1, 1000000, 9}, {1, 1e-6, 0, 10},  {1, 1, 65, 11},    {0.01, 0.9, 64, 12}};
    float *l = malloc((size_t)V * sizeof *l);
    struct candidate *c = malloc((size_t)V * sizeof *c);
    long differ = 0, draws = 0;
    if (!l || !c)
        exit(99);
    fill(l, V, kind);
    for (size_t i = 0; i < sizeof how / sizeof *how; i++)
        for (uint64_t n = 0; n < 25; n++, draws++) {
            int32_t want = twin(l, V, &how[i], n, c), got = sample_token(l, V, &how[i], n, c);
            differ += want != got;
        }
    ok(differ == 0, "%s, %ld tokens: %ld draws", kind_name[kind], V, draws);
    if (differ)
        diag("%ld are others", differ);
    free(l);
    free(c);
}

int main(void)
{
    static const long sizes[] = {1, 2, 3, 64, 65, 1000, 5000};
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            test((enum kind)kind, sizes[i]);
    float nan[100];
    struct candidate c[100];
    struct sampling how = {1, 0.9, 10, 1};
    for (int i = 0; i < 100; i++)
        nan[i] = i % 3 ? NAN : (float)i;
    int32_t id = sample_token(nan, 100, &how, 0, c);
    ok(id >= 0 && id < 100, "logits that are no numbers: some token");
    return tap_done();
}
