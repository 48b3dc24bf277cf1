/* A batch in several passes: what goes into each, and that losses, gradients, dropout and routing
 * are those of the batch. */
#include "config.h"
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"

#include "train/evaluate.h"
#include "train/loop.h"
#include "train/passes.h"

enum { E = 5, K = 2, L = 2, SAMPLES = 6, DOMAINS = 2 };
static const long lengths[SAMPLES] = {9, 4, 12, 7, 5, 3};
static const struct moe_config pesc = {
    .experts = E, .top_k = K, .dim = 6, .scaling = 0.75, .dropout = 0.3, .balance = BALANCE_NONE};

/* Samples of each pass by its greatest number of tokens. */
static void test_cut(void)
{
    static const struct {
        long max_tokens, samples[SAMPLES + 1];
    } cuts[] = {{40, {6}},
                {39, {5, 1}},
                {24, {2, 3, 1}},
                {16, {2, 1, 3}},
                {12, {1, 1, 1, 2, 1}},
                {6, {1, 1, 1, 1, 1, 1}}}; /* longer samples are passes of their own */
    struct small_batch g;
    struct pesc_error err = {0};
    small_batch(&g, 29, 2, SAMPLES, lengths);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        struct passes p;
        struct batch part;
        long at, n = 0, sample = 0, right = 1;
        must_do(passes_open(&p, cuts[i].max_tokens, SAMPLES, &err), &err);
        passes_begin(&p, &g.b);
        for (; passes_next(&p, &part, &at); n++) {
            right &= part.S == cuts[i].samples[n] && at == g.cu[sample] && part.cu[0] == 0 &&
                     part.cu[part.S] == part.T && part.ids == g.ids + at &&
                     part.labels == g.labels + at && part.domain == g.domain + sample &&
                     part.record == g.record + sample;
            for (long s = 0; s < part.S; s++, sample++)
                right &= part.cu[s + 1] - part.cu[s] == lengths[sample];
        }
        ok(right && sample == SAMPLES && cuts[i].samples[n] == 0, "passes of %ld tokens",
           cuts[i].max_tokens);
        passes_close(&p);
    }
    small_batch_free(&g);
}

struct sums {
    double load[L][E], prob[L][E], domain[L][DOMAINS][E], balance, loss, eval, accuracy, norm;
    long tokens;
    float *value;
    size_t n;
};

static void on_step(void *ctx, const struct step_metrics *m, int logged)
{
    struct sums *s = ctx;
    (void)logged;
    s->loss = m->ce;
    s->balance = m->balance;
    s->norm = m->grad_norm;
    s->tokens = m->tokens;
}

static void on_router(void *ctx, const struct router_metrics *m)
{
    struct sums *s = ctx;
    memcpy(s->load[m->layer], m->load, sizeof s->load[0]);
    memcpy(s->prob[m->layer], m->prob, sizeof s->prob[0]);
}

static void on_domain(void *ctx, const struct router_metrics *m)
{
    struct sums *s = ctx;
    memcpy(s->domain[m->layer][!strcmp(m->domain, "b")], m->load, sizeof s->domain[0][0]);
}

static void on_eval(void *ctx, const struct eval_metrics *m)
{
    struct sums *s = ctx;
    s->eval = m->loss;
    s->accuracy = m->accuracy;
}

static int get(void *ctx, long i, struct batch *out, struct pesc_error *err)
{
    struct small_batch *g = ctx;
    (void)err;
    *out = g[i % 2].b;
    return 0;
}

/* One update of two batches, made so that it tells the gradient. */
static void look(struct sums *s, enum trainable tr, long pass_tokens, const char *disk)
{
    static const char *const names[] = {"a", "b"};
    struct pesc_error err = {0};
    struct small_batch g[2];
    struct moe_config moe = pesc;
    struct model *m =
        small_open(gen_path("m"), &SMALL(), tr == TRAIN_FULL ? NULL : &moe, tr, COMPUTE_F32);
    for (int i = 0; i < 2; i++)
        small_batch(&g[i], m->c.vocab_size, 4 + (uint32_t)i, SAMPLES, lengths);
    struct batch_source data = {get, g, 40, SAMPLES};
    struct train_sink sink = {s, on_step, on_router, on_domain, NULL, on_eval, NULL, NULL};
    struct train_result r;
    struct train_options o = {
        .steps = 1,
        .accumulation = 2,
        .pass_tokens = pass_tokens,
        .schedule = {.kind = SCHEDULE_CONSTANT, .peak = 0.1, .total = 1},
        .adamw = {.beta1 = 0, .beta2 = 0, .eps = 1, .disk = disk},
        .seed = 8,
        .router_steps = 1,
        .domains = names,
        .n_domains = DOMAINS,
        .eval = &data,
        .eval_batches = 2,
    };
    memset(s, 0, sizeof *s);
    m->layer_grads = disk != NULL;
    s->n = m->params.total;
    s->value = calloc(s->n, sizeof *s->value);
    memcpy(s->value, m->params.value, s->n * sizeof *s->value);
    must_do(train_run(m, &data, &o, &sink, NULL, &r, &err), &err);
    /* the step was rate * g / (|g| + 1) */
    for (size_t i = 0; i < s->n; i++)
        s->value[i] = m->params.value[i] - s->value[i];
    for (int i = 0; i < 2; i++)
        small_batch_free(&g[i]);
    model_close(m);
}

static double routing_off(const struct sums *a, const struct sums *b)
{
    double off = 0;
    for (long l = 0; l < L; l++)
        for (long e = 0; e < E; e++)
            off = fmax(off, fmax(fabs(a->load[l][e] - b->load[l][e]),
                                 fabs(a->prob[l][e] - b->prob[l][e])));
    for (long l = 0; l < L; l++)
        for (long e = 0; e < DOMAINS * E; e++)
            off = fmax(off, fabs((&a->domain[l][0][0])[e] - (&b->domain[l][0][0])[e]));
    return off;
}

static void test_update(const char *what, enum trainable tr)
{
    static const long limits[] = {24, 16, 12};
    struct sums whole, split, disk;
    look(&whole, tr, 0, NULL);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        look(&split, tr, limits[i], NULL);
        double off = small_diff(split.value, whole.value, whole.n);
        ok(off < 1e-5 && fabs(split.norm / whole.norm - 1) < 1e-5 &&
               fabs(split.loss - whole.loss) < 1e-6 && split.tokens == whole.tokens,
           "%s, passes of %ld: the update of whole batches", what, limits[i]);
        diag("off by %.2g", off);
        ok(fabs(split.eval - whole.eval) < 1e-6 && split.accuracy == whole.accuracy &&
               whole.accuracy > 0,
           "and the held-out loss and accuracy");
        if (tr == TRAIN_FULL) {
            free(split.value);
            continue;
        }
        ok(whole.domain[1][1][0] > 0 && routing_off(&whole, &split) < 1e-7, "and the routing");
        look(&disk, tr, limits[i], ".");
        ok(!memcmp(disk.value, split.value, whole.n * sizeof *whole.value),
           "and with gradients on disk the same bits");
        free(disk.value);
        free(split.value);
    }
    free(whole.value);
}

/* The balance loss is that of each pass, weighted by tokens: as if the passes were batches. */
static void test_balance(void)
{
    struct pesc_error err = {0};
    struct moe_config moe = pesc;
    moe.balance = BALANCE_SWITCH;
    moe.dropout = 0;
    struct model *m = small_open(gen_path("m"), &SMALL(), &moe, TRAIN_ADAPTERS, COMPUTE_F32);
    size_t n = m->params.total;
    float *by_hand = calloc(n, sizeof *by_hand);
    struct small_batch g[2];
    struct passes p;
    struct batch part;
    struct sums s = {.balance = 0};
    for (int i = 0; i < 2; i++)
        small_batch(&g[i], m->c.vocab_size, 4, SAMPLES, lengths);
    must_do(passes_open(&p, 16, SAMPLES, &err), &err);
    passes_begin(&p, &g[0].b);
    struct engine_step one = {.loss_scale = 1.0 / (double)batch_scored(&g[0].b)};
    for (memset(m->params.grad, 0, n * sizeof(float)); passes_next(&p, &part, &one.token);) {
        one.balance_scale = 0.5 / L * (double)part.T / (double)g[0].b.T;
        small_train(m, &part, &one, 1);
    }
    memcpy(by_hand, m->params.grad, n * sizeof *by_hand);
    struct batch_source data = {get, g, 40, SAMPLES};
    struct train_sink sink = {.ctx = &s, .step = on_step};
    struct train_result r;
    struct train_options o = {.steps = 1,
                              .accumulation = 1,
                              .pass_tokens = 16,
                              .balance_coef = 0.5,
                              .adamw = ADAMW_DEFAULTS};
    must_do(train_run(m, &data, &o, &sink, NULL, &r, &err), &err);
    ok(!memcmp(by_hand, m->params.grad, n * sizeof *by_hand) && s.balance > 0,
       "the balance loss is that of each pass, by its tokens");
    passes_close(&p);
    for (int i = 0; i < 2; i++)
        small_batch_free(&g[i]);
    free(by_hand);
    model_close(m);
}

int main(void)
{
    gen_begin();
    test_cut();
    test_update("adapters", TRAIN_ADAPTERS);
    test_update("all weights", TRAIN_FULL);
    test_balance();
    return gen_end();
}
