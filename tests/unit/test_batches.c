/* Packing and mixing: every sample where it should be, as often as it should. */
#include "config.h"
#include "datasets/batcher.h"
#include "model/model.h"
#include "tests/unit/data_make.h"
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"

#include <omp.h>

/* A set of numbered samples, one path for each of sizes. */
static struct dataset *numbered(long n_paths, const long *sizes, long spread)
{
    char *texts[8] = {0};
    long first = 0;
    struct dataset *d = NULL;
    for (long i = 0; i < n_paths; i++, first += sizes[i - 1])
        texts[i] = data_numbered(first, sizes[i], spread);
    d = data_open((const char *const *)texts, n_paths, (struct dataset_options){0}, NULL);
    for (long i = 0; i < n_paths; i++)
        free(texts[i]);
    return d;
}

static struct batcher *open_batches(const struct dataset *d, struct batch_options o)
{
    struct batcher *b = NULL;
    struct pesc_error err = {0};
    if (batcher_open(d, &o, &b, &err) != 0) {
        ok(0, "a batcher opens");
        diag("[%s] %s", err.name, err.text);
    }
    return b;
}

static long steps_of(struct batcher *b, long epochs)
{
    long steps = -1;
    struct pesc_error err = {0};
    return batcher_steps(b, epochs, &steps, &err) == 0 ? steps : -1;
}

/* Every sample of each epoch once, whole, in packs within bounds. */
static int is_sound(const struct dataset *d, struct batcher *b, long capacity, long epochs)
{
    struct batch_source src = batcher_source(b);
    struct pesc_error err = {0};
    long n = dataset_size(d), step = 0, tokens = 0, batches = 0;
    char *seen = calloc((size_t)n, 1);
    int good = seen != NULL;
    for (long e = 0; e < epochs && good; e++) {
        memset(seen, 0, (size_t)n);
        for (long got = 0; got < n && good; step++) {
            struct batch t;
            good = src.get(src.ctx, step, &t, &err) == 0 && t.S > 0 && t.T <= src.max_tokens &&
                   t.S <= src.max_samples && (t.T <= capacity || t.S == 1);
            for (long s = 0; s < t.S && good; s++) {
                long id = t.ids[t.cu[s]];
                struct sample x;
                good = !seen[id] && dataset_sample(d, id, &x, &err) == 0 &&
                       x.n == t.cu[s + 1] - t.cu[s] &&
                       !memcmp(x.ids, t.ids + t.cu[s], (size_t)x.n * sizeof *x.ids);
                seen[id] = 1;
            }
            got += t.S;
            tokens += e == 0 ? t.T : 0;
            batches += e == 0;
        }
    }
    free(seen);
    return good && step == steps_of(b, epochs) && batches == batcher_batches_per_epoch(b) &&
           tokens == batcher_tokens_per_epoch(b) && tokens == dataset_counts(d)->tokens &&
           fabs(batcher_fill(b) - (double)tokens / (double)(batches * capacity)) < 1e-12;
}

/* Another batcher that jumps about finds what one that walks finds. */
static int is_function_of_step(const struct dataset *d, struct batch_options o, long epochs)
{
    struct batcher *x = open_batches(d, o), *y = open_batches(d, o);
    struct batch_source sx = batcher_source(x), sy = batcher_source(y);
    struct pesc_error err = {0};
    long steps = steps_of(x, epochs);
    int good = steps > 10;
    for (long k = 0; k < 300 && good; k++) {
        long step = k < 150 ? (steps - 1) * (149 - k) / 149 : k * 7919 % steps;
        struct batch p, q;
        /* x walks there, having been far away; y comes from the step asked for before. */
        good &= sx.get(sx.ctx, (step + steps / 2) % steps, &p, &err) == 0;
        for (long s = step > 2 ? step - 2 : 0; s <= step; s++)
            good &= sx.get(sx.ctx, s, &p, &err) == 0;
        good = good && sy.get(sy.ctx, step, &q, &err) == 0 && p.T == q.T && p.S == q.S &&
               !memcmp(p.ids, q.ids, (size_t)p.T * sizeof *p.ids) &&
               !memcmp(p.cu, q.cu, (size_t)(p.S + 1) * sizeof *p.cu);
    }
    batcher_close(x);
    batcher_close(y);
    return good;
}

static void test_packing(void)
{
    static const long size[] = {9500}, few[] = {40}; /* windows of 4096, 4096 and 1308 */
    struct dataset *d = numbered(1, size, 60), *small = numbered(1, few, 60);
    if (!d || !small)
        return;
    for (int shuffled = 0; shuffled < 2; shuffled++) {
        double fill[2];
        for (int k = 0; k < 2; k++) {
            struct batch_options o = {.packing = k ? PACK_BEST_FIT : PACK_NEXT,
                                      .tokens = 100,
                                      .order = shuffled ? ORDER_SHUFFLED : ORDER_SEQUENTIAL,
                                      .seed = 9};
            struct batcher *b = open_batches(d, o);
            const char *what = packing_name(o.packing);
            ok(is_sound(d, b, 100, 3), "%s%s: every sample once an epoch, no pack over the limit",
               what, shuffled ? ", shuffled" : "");
            ok(is_function_of_step(d, o, 3), "%s: any step can be gone to", what);
            fill[k] = batcher_fill(b);
            batcher_close(b);
            o.tokens = 5;
            b = open_batches(small, o);
            ok(is_sound(small, b, 5, 2), "%s: a sample over the limit is alone", what);
            batcher_close(b);
            ok(is_function_of_step(small, o, 4), "%s: also within one window", what);
        }
        diag("filled %.4f and %.4f", fill[0], fill[1]);
        ok(fill[0] > 0.75 && fill[1] > 0.99 && fill[1] > fill[0], "best-fit fills packs better");
    }

    /* Long and short ones come mixed. */
    struct batch_options o = {
        .packing = PACK_BEST_FIT, .tokens = 61, .order = ORDER_SHUFFLED, .seed = 1};
    struct batcher *b = open_batches(d, o);
    struct batch_source src = batcher_source(b);
    struct pesc_error err = {0};
    long first = 0, last = 0, half = steps_of(b, 1) / 2;
    for (long s = 0; s < 2 * half; s++) {
        struct batch t;
        if (src.get(src.ctx, s, &t, &err) == 0)
            *(s < half ? &first : &last) += t.S;
    }
    ok(labs(first - last) < first / 20, "packs of many and of few samples come mixed");
    batcher_close(b);
    ok(packing_from_name("best-fit") == PACK_BEST_FIT && packing_from_name("x") == PACK_COUNT,
       "packings have names");
    dataset_close(d);
    dataset_close(small);
}

/* The drawn samples of each path, block by block. */
static void test_mixing(void)
{
    enum { BLOCK = 260 };
    static const long sizes[] = {100, 1500, 400};
    static const long quota[] = {156, 52, 52};
    struct dataset *d = numbered(3, sizes, 8);
    struct pesc_error err = {0};
    if (!d)
        return;
    for (int shuffled = 0; shuffled < 2; shuffled++) {
        struct batch_options o = {.records = 1,
                                  .order = shuffled ? ORDER_SHUFFLED : ORDER_SEQUENTIAL,
                                  .seed = 5,
                                  .weights = "3,1,1"};
        struct batcher *b = open_batches(d, o);
        struct batch_source src = batcher_source(b);
        static long turn[2][100];
        long drawn[3] = {0}, block[3] = {0}, *times = calloc(2000, sizeof *times);
        int exact = 1, even = 1, ordered = 1, near = 1;
        is_long(steps_of(b, 1), 2000, "an epoch has as many samples as there are");
        for (long i = 0; i < 20 * BLOCK; i++) {
            struct batch t;
            exact &= src.get(src.ctx, i, &t, &err) == 0 && t.S == 1;
            long id = t.ids[0], g = id < 100 ? 0 : id < 1600 ? 1 : 2;
            long at = id - (g == 0 ? 0 : g == 1 ? 100 : 1600);
            ordered &= at == drawn[g] % sizes[g];
            if (g == 0 && drawn[0] < 200)
                turn[drawn[0] / 100][drawn[0] % 100] = id;
            drawn[g]++;
            block[g]++;
            even &= times[id]++ == (drawn[g] - 1) / sizes[g]; /* none again before all have been */
            for (int k = 0; k < 3; k++)
                near &= fabs((double)drawn[k] - (double)(quota[k] * (i + 1)) / BLOCK) < 1;
            if (i % BLOCK == BLOCK - 1) {
                exact &= !memcmp(block, quota, sizeof block);
                memset(block, 0, sizeof block);
            }
        }
        ok(exact, "each path has its share of every block");
        ok(even, "each path is gone through before it starts again");
        ok(near, "and of every stretch, within one");
        ok(!memcmp(turn[0], turn[1], sizeof turn[0]) == !shuffled, "%s",
           shuffled ? "each time in another order" : "always in order");
        ok(ordered == !shuffled, "%s", shuffled ? "shuffled" : "in order");
        free(times);
        batcher_close(b);
        ok(is_function_of_step(d, o, 3), "any step can be gone to");
        o.packing = PACK_BEST_FIT;
        o.tokens = 40;
        ok(is_function_of_step(d, o, 3), "packed as well");
    }

    /* Shares that no block holds exactly. */
    struct batch_options o = {
        .records = 1, .order = ORDER_SHUFFLED, .seed = 5, .weights = "0.3,3.14159,0.01"};
    struct batcher *b = open_batches(d, o);
    struct batch_source src = batcher_source(b);
    double off = 0;
    long drawn[3] = {0};
    for (long i = 0; i < 60000; i++) {
        struct batch t;
        if (src.get(src.ctx, i, &t, &err) != 0)
            break;
        drawn[t.ids[0] < 100 ? 0 : t.ids[0] < 1600 ? 1 : 2]++;
    }
    static const double w[] = {0.3, 3.14159, 0.01};
    for (int k = 0; k < 3; k++)
        off = fmax(off, fabs((double)drawn[k] / 60000 - w[k] / 3.45159));
    diag("shares off by %.5f", off);
    ok(off < 1.0 / 2500, "any shares are kept");
    long tokens = 0;
    for (long i = 0; i < 2000; i++) {
        struct batch t;
        if (src.get(src.ctx, i, &t, &err) == 0)
            tokens += t.T;
    }
    is_long(batcher_tokens_per_epoch(b), tokens, "tokens of an epoch that repeats samples");
    batcher_close(b);

    static const char *const bad[] = {"1,2",      "1,2,3,4", "1,x,2", "1,0,1",
                                      "1,1,1e-9", "",        "1,,2",  "1,2,nan"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        o.weights = bad[i];
        err = (struct pesc_error){0};
        ok(batcher_open(d, &o, &b, &err) != 0 && err.code == PESC_E_USAGE_VALUE,
           "weights '%s' are refused", bad[i]);
    }
    dataset_close(d);
}

/* An order that must never change: checkpoints of runs hang on it. */
static void test_kept(void)
{
    static const long sizes[] = {10};
    static const long want[2][10] = {{9, 2, 7, 6, 1, 5, 0, 3, 4, 8},
                                     {2, 4, 1, 5, 7, 6, 9, 8, 3, 0}};
    struct dataset *d = numbered(1, sizes, 3);
    struct pesc_error err = {0};
    int same = 1;
    if (!d)
        return;
    struct batcher *b =
        open_batches(d, (struct batch_options){.records = 1, .order = ORDER_SHUFFLED, .seed = 42});
    struct batch_source src = batcher_source(b);
    for (long i = 0; i < 20; i++) {
        struct batch t;
        same &= src.get(src.ctx, i, &t, &err) == 0 && t.ids[0] == want[i / 10][i % 10];
    }
    ok(same, "the order of seed 42 is what it was");
    batcher_close(b);
    dataset_close(d);
}

/* What a model loses on all samples does not depend on how they are packed. */
static void test_loss(void)
{
    static const struct moe_config moe = {.experts = 3, .top_k = 2, .dim = 4};
    char text[40 * 90], *at = text;
    struct pesc_error err = {0};
    uint32_t state = 1;
    for (long i = 0; i < 40; i++) {
        at += sprintf(at, "{\"input_ids\":[%ld", i % 29);
        for (long j = 0; j < 1 + i * 5 % 13; j++)
            at += sprintf(at, ",%u", (state = state * 1664525u + 1013904223u) >> 16 & 15);
        at += sprintf(at, "]}\n");
    }
    const char *const texts[] = {text};
    struct dataset *d = data_open(texts, 1, (struct dataset_options){.vocab_size = 29}, NULL);
    struct model *m = small_open(gen_path("m"), &SMALL(), &moe, TRAIN_NOTHING, COMPUTE_F32);
    static const struct batch_options shapes[] = {
        {.records = 1},
        {.packing = PACK_NEXT, .tokens = 50, .order = ORDER_SHUFFLED},
        {.packing = PACK_BEST_FIT, .tokens = 50, .order = ORDER_SHUFFLED}};
    double loss[3] = {0};
    long scored[3] = {0}, batches[3];
    for (int k = 0; k < 3; k++) {
        struct batcher *b = open_batches(d, shapes[k]);
        struct batch_source src = batcher_source(b);
        struct engine *e;
        must_do(engine_open(m, src.max_tokens, src.max_samples, 0, NULL, &e, &err), &err);
        batches[k] = steps_of(b, 1);
        for (long s = 0; s < batches[k]; s++) {
            struct batch t;
            struct engine_step step = {.loss_scale = 1};
            must_do(src.get(src.ctx, s, &t, &err), &err);
            must_do(engine_loss(e, &t, &step, &err), &err);
            loss[k] += step.loss_sum;
            scored[k] += step.scored;
        }
        engine_close(e);
        batcher_close(b);
    }
    diag("%ld, %ld, %ld batches; losses %.9f, %.9f, %.9f", batches[0], batches[1], batches[2],
         loss[0], loss[1], loss[2]);
    for (int k = 1; k < 3; k++)
        ok(fabs(loss[k] - loss[0]) < 1e-5 * loss[0] && scored[k] == scored[0] &&
               batches[k] < batches[0] / 5,
           "the loss of %s packs is that of the samples alone", packing_name(shapes[k].packing));
    model_close(m);
    dataset_close(d);
}

int main(void)
{
    gen_begin();
    omp_set_num_threads(1);
    test_packing();
    test_mixing();
    test_kept();
    test_loss();
    return gen_end();
}
