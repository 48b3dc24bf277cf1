/* The training loop on small random models: accumulation, resuming, losses that are not finite. */
#include "config.h"
#include <stdatomic.h>
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"

#include "core/json.h"
#include "train/loop.h"

#include <omp.h>

static const struct moe_config pesc = {
    .experts = 5, .top_k = 2, .dim = 6, .scaling = 0.75, .dropout = 0.1};

/* Batch i is samples per of twelve records, from i * per on. */
enum { RECORDS = 12 };
struct records {
    struct small_batch all, one;
    long per, asked;
    float *poke; /* not finite while batches poke_from.. poke_to - 1 are asked for */
    int thirds;  /* or in all but every third batch */
    long poke_from, poke_to, skip_from, skip_to;
    float kept;
};

static int get(void *ctx, long i, struct batch *out, struct pesc_error *err)
{
    struct records *r = ctx;
    long order[SMALL_SAMPLES];
    (void)err;
    if (r->thirds && i % 3 == 1)
        r->kept = *r->poke;
    if (r->poke && (r->thirds ? i % 3 == 1 : i == r->poke_from))
        *r->poke = NAN;
    if (r->poke && i && (r->thirds ? i % 3 == 0 : i == r->poke_to))
        *r->poke = r->kept;
    if (i >= r->skip_from)
        i += r->skip_to - r->skip_from;
    for (long k = 0; k < r->per; k++)
        order[k] = (i * r->per + k) % 8;
    small_batch_free(&r->one);
    small_batch_pick(&r->one, &r->all.b, r->per, order);
    r->asked++;
    *out = r->one.b;
    return 0;
}

static struct batch_source source(struct records *r, long vocab, long per)
{
    static const long lengths[] = {9, 4, 12, 7, 5, 3, 8, 6};
    memset(r, 0, sizeof *r);
    small_batch(&r->all, vocab, 2, 8, lengths);
    r->per = per;
    r->skip_from = 1L << 40;
    return (struct batch_source){get, r, 64, 8};
}

static void source_free(struct records *r)
{
    small_batch_free(&r->all);
    small_batch_free(&r->one);
}

enum { MOST = 16 };
struct log {
    struct step_metrics m[MOST + 1];
    long steps, routers, evals, saved;
    double eval_loss[MOST], entropy, share;
    long eval_step[MOST];
    atomic_int stop;
    long stop_at;
    char path[PATH_CAP], sha256[80];
    int warned;
};

static void on_step(void *ctx, const struct step_metrics *m, int logged)
{
    struct log *l = ctx;
    (void)logged;
    l->m[m->step] = *m;
    l->steps++;
    l->stop = m->step == l->stop_at;
}

static void on_router(void *ctx, const struct router_metrics *m)
{
    struct log *l = ctx;
    double load = 0, prob = 0;
    for (long e = 0; e < m->experts; e++)
        load += m->load[e], prob += m->prob[e];
    l->share = fmax(l->share, fmax(fabs(load - 1), fabs(prob - 1)));
    l->entropy = m->entropy;
    l->routers++;
}

static void on_eval(void *ctx, const struct eval_metrics *m)
{
    struct log *l = ctx;
    if (m->domain)
        return;
    l->eval_step[l->evals] = m->step;
    l->eval_loss[l->evals++] = m->loss;
}

static void on_event(void *ctx, long step, const char *level, const char *code, const char *text)
{
    struct log *l = ctx;
    (void)step, (void)text;
    l->warned += !strcmp(level, "warn") && !strcmp(code, "W-NUM-SKIPPED");
}

static void on_checkpoint(void *ctx, long step, const char *path, const char *sha256,
                          uint64_t bytes)
{
    struct log *l = ctx;
    (void)bytes;
    l->saved = step;
    snprintf(l->path, sizeof l->path, "%s", path);
    snprintf(l->sha256, sizeof l->sha256, "%s", sha256);
}

static struct train_options options(long steps, json_t *meta)
{
    return (struct train_options){
        .steps = steps,
        .accumulation = 1,
        .schedule = {.kind = SCHEDULE_COSINE, .peak = 0.02, .total = steps, .warmup = 2},
        .adamw = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.01},
        .max_grad_norm = 1,
        .balance_coef = 0.01,
        .seed = 21,
        .logging_steps = 1,
        .checkpoint_meta = meta};
}

static int run(struct model *m, const struct batch_source *data, struct train_options *o,
               struct log *l, struct train_result *r, struct pesc_error *err)
{
    struct train_sink sink = {l, on_step, on_router, NULL, NULL, on_eval, on_event, on_checkpoint};
    o->stop = &l->stop;
    return train_run(m, data, o, &sink, NULL, r, err);
}

static void test_accumulation(void)
{
    struct moe_config moe = pesc;
    struct pesc_error err = {0};
    struct log log[2] = {{.steps = 0}};
    float *value[2];
    double off = 0;
    size_t n = 0;
    moe.dropout = 0; /* numbered by batch, so other masks */
    moe.balance = BALANCE_NONE;
    for (int i = 0; i < 2; i++) {
        struct model *m = small_open(gen_path("m"), &SMALL(), &moe, TRAIN_ADAPTERS, COMPUTE_F32);
        struct records rec;
        struct train_result r;
        struct batch_source data = source(&rec, m->c.vocab_size, i ? 2 : 4);
        struct train_options o = options(6, NULL);
        o.accumulation = i ? 2 : 1;
        must_do(run(m, &data, &o, &log[i], &r, &err), &err);
        n = m->params.total;
        value[i] = calloc(n, sizeof(float));
        memcpy(value[i], m->params.value, n * sizeof(float));
        source_free(&rec);
        model_close(m);
    }
    int same = 1;
    for (long s = 1; s <= 6; s++) {
        const struct step_metrics *a = &log[0].m[s], *b = &log[1].m[s];
        off = fmax(off, fmax(fabs(a->loss / b->loss - 1), fabs(a->grad_norm / b->grad_norm - 1)));
        same &= a->tokens == b->tokens && a->trained_tokens == b->trained_tokens && a->lr == b->lr;
    }
    double voff = small_diff(value[0], value[1], n);
    ok(log[0].steps == 6 && same && off < 1e-4 && voff < 1e-3,
       "4 records in a batch train as 2 times 2 accumulated");
    diag("losses and norms off by %.2g, weights by %.2g of the largest", off, voff);
    ok(log[0].m[6].loss < 0.95 * log[0].m[1].loss, "and the loss falls");
    free(value[0]), free(value[1]);
}

static int same_metrics(const struct step_metrics *a, const struct step_metrics *b)
{
    return a->step == b->step && a->loss == b->loss && a->ce == b->ce && a->balance == b->balance &&
           a->lr == b->lr && a->grad_norm == b->grad_norm && a->tokens == b->tokens &&
           a->trained_tokens == b->trained_tokens && a->epoch == b->epoch;
}

/* In bf16 the products see rounded copies of the masters. */
static int copies_are_fresh(const struct model *m)
{
    struct pesc_error err = {0};
    struct layer_weights w;
    must_do(weights_layer(m->weights, 1, &w, &err), &err);
    const struct param *p = params_find(&m->params, "model.layers.1.mlp.up_proj.weight");
    uint16_t *want = calloc(p->n, sizeof *want);
    dtype_from_f32(want, m->params.value + p->offset, DT_BF16, p->n);
    int same = !memcmp(want, w.mat[LT_UP].data, p->n * sizeof *want);
    free(want);
    return same;
}

/* Ten steps at once against five, a stop, a new model and five more. The checkpoints, which hold
 * weights and moments, are named after their content. */
static void test_resume(const char *what, const struct moe_config *moe, enum trainable tr,
                        enum compute compute)
{
    struct pesc_error err = {0};
    struct log whole = {.stop_at = 0}, half = {.stop_at = 5}, rest = {.stop_at = 0};
    struct train_result r, end;
    json_t *meta = json_pack("{s:s}", "run", "x");
    struct small o = SMALL(.tied = 1);
    float *value = NULL;
    size_t n = 0;
    int same = 1, stopped = 0;
    char dir[2][PATH_CAP];
    snprintf(dir[0], PATH_CAP, "%s of %s", gen_path("whole"), what);
    snprintf(dir[1], PATH_CAP, "%s of %s", gen_path("parts"), what);
    for (int i = 0; i < 3; i++) {
        struct model *m = small_open(gen_path("m"), &o, moe, tr, compute);
        struct records rec, held;
        struct batch_source data = source(&rec, m->c.vocab_size, 2);
        struct batch_source eval = source(&held, m->c.vocab_size, 3);
        struct train_options t = options(10, meta);
        char path[PATH_CAP];
        t.accumulation = 2;
        t.eval = &eval;
        t.eval_batches = 2;
        t.eval_steps = 5;
        t.router_steps = 5;
        t.save_steps = 4;
        t.checkpoint_dir = dir[i > 0];
        must_do(dir_make_all(t.checkpoint_dir, &err), &err);
        if (i == 2) {
            must_do(checkpoint_find(t.checkpoint_dir, NULL, path, &err), &err);
            t.resume_from = path;
        }
        must_do(run(m, &data, &t,
                    i == 0   ? &whole
                    : i == 1 ? &half
                             : &rest,
                    i == 0 ? &end : &r, &err),
                &err);
        if (i == 0) {
            n = m->params.total;
            value = calloc(n, sizeof *value);
            memcpy(value, m->params.value, n * sizeof *value);
        }
        if (!moe && compute == COMPUTE_BF16)
            same &= copies_are_fresh(m);
        if (i == 1)
            stopped = r.stopped && r.steps == 5 && half.steps == 5 && half.saved == 5 &&
                      memcmp(value, m->params.value, n * sizeof *value);
        if (i == 2)
            same &= !memcmp(value, m->params.value, n * sizeof *value);
        source_free(&rec), source_free(&held);
        model_close(m);
    }
    ok(stopped, "%s: stops after a step when asked, saved", what);
    ok(same && rest.steps == 5, "%s: resumed weights are the uninterrupted ones to the bit", what);
    for (long s = 1; s <= 10; s++)
        same &= same_metrics(&whole.m[s], s <= 5 ? &half.m[s] : &rest.m[s]);
    ok(same && rest.steps == 5, "%s: so are all figures of every step", what);
    ok(whole.saved == 10 && rest.saved == 10 && *whole.sha256 && !strcmp(whole.sha256, rest.sha256),
       "%s: and the checkpoint, with both moments", what);
    ok(whole.evals == 3 && half.evals == 2 && rest.evals == 1 && whole.eval_step[0] == 0 &&
           whole.eval_step[1] == 5 && whole.eval_step[2] == 10 &&
           whole.eval_loss[2] == rest.eval_loss[0] && whole.eval_loss[1] == half.eval_loss[1] &&
           end.tokens == r.tokens && end.trained_tokens == r.trained_tokens && end.ce == r.ce,
       "%s: and the held-out losses and totals", what);
    if (moe)
        ok(whole.routers == 8 && whole.share < 1e-6 && whole.entropy == rest.entropy,
           "%s: and the routing, whose shares sum to 1", what);
    free(value);
    json_decref(meta);
}

static float *state(const char *path, const struct model *m)
{
    struct pesc_error err = {0};
    struct adamw a;
    struct adamw_options o = ADAMW_DEFAULTS;
    struct checkpoint c = {.params = (struct params *)&m->params, .adamw = &a};
    size_t n = m->params.total;
    float *f = calloc(2 * n, sizeof *f);
    must_do(adamw_init(&a, &o, &m->params, &err), &err);
    must_do(checkpoint_load(path, &c, &err), &err);
    memcpy(f, a.all.m, n * sizeof *f);
    memcpy(f + n, a.all.v, n * sizeof *f);
    adamw_free(&a);
    json_decref(c.meta);
    return f;
}

/* Two of five updates have no finite loss; what is left is a run of the three others. */
static void test_skip(void)
{
    struct pesc_error err = {0};
    json_t *meta = json_pack("{s:s}", "run", "x");
    float *value[2], *moments[2];
    struct train_result r[2];
    struct log log[2] = {{.steps = 0}};
    struct moe_config moe = pesc;
    size_t n = 0;
    moe.dropout = 0;
    for (int i = 0; i < 2; i++) {
        struct model *m = small_open(gen_path("m"), &SMALL(), &moe, TRAIN_ADAPTERS, COMPUTE_F32);
        struct records rec;
        struct batch_source data = source(&rec, m->c.vocab_size, 2);
        struct train_options o = options(i ? 3 : 5, meta);
        o.schedule = (struct schedule){.kind = SCHEDULE_CONSTANT, .peak = 0.02, .total = 5};
        o.checkpoint_dir = gen_path(i ? "three" : "five");
        must_do(dir_make_all(o.checkpoint_dir, &err), &err);
        if (i) {
            rec.skip_from = 2, rec.skip_to = 4;
        } else {
            rec.poke = m->ffn[1].W.Dn + 7;
            rec.poke_from = 2, rec.poke_to = 4;
        }
        /* after two updates; the value stays what it was, since the skipped ones change nothing */
        rec.kept = 0.125f;
        m->ffn[1].W.Dn[7] = 0.125f;
        if (!i) {
            o.steps = 2;
            must_do(run(m, &data, &o, &log[0], &r[0], &err), &err);
            rec.kept = m->ffn[1].W.Dn[7];
            o.steps = 5;
            char path[PATH_CAP];
            snprintf(path, sizeof path, "%s", log[0].path);
            o.resume_from = path;
            must_do(run(m, &data, &o, &log[0], &r[0], &err), &err);
        } else {
            must_do(run(m, &data, &o, &log[1], &r[1], &err), &err);
        }
        n = m->params.total;
        value[i] = calloc(n, sizeof(float));
        memcpy(value[i], m->params.value, n * sizeof(float));
        moments[i] = state(log[i].path, m);
        source_free(&rec);
        model_close(m);
    }
    ok(r[0].skipped_steps == 2 && r[0].steps == 5 && log[0].warned == 2 && r[1].skipped_steps == 0,
       "updates without a finite loss are skipped and noted");
    ok(!memcmp(value[0], value[1], n * sizeof(float)) &&
           !memcmp(moments[0], moments[1], 2 * n * sizeof(float)),
       "and leave weights, moments and their count as they were");
    for (int i = 0; i < 2; i++)
        free(value[i]), free(moments[i]);
    json_decref(meta);
}

/* Two bad updates after every good one never make three in a row. */
static void test_not_in_a_row(void)
{
    struct pesc_error err = {0};
    struct model *m = small_open(gen_path("m"), &SMALL(), &pesc, TRAIN_ADAPTERS, COMPUTE_F32);
    struct records rec;
    struct log log = {.steps = 0};
    struct train_result r;
    struct batch_source data = source(&rec, m->c.vocab_size, 2);
    struct train_options o = options(10, NULL);
    rec.poke = m->ffn[0].W.Dn;
    rec.thirds = 1;
    ok(run(m, &data, &o, &log, &r, &err) == 0 && r.skipped_steps == 6 && log.warned == 6,
       "two bad updates after every good one are skipped and go on");
    source_free(&rec);
    model_close(m);
}

/* A head so large that every logit overflows. */
static void test_overflow(void)
{
    struct pesc_error err = {0};
    json_t *meta = json_pack("{s:s}", "run", "x");
    struct model *m =
        small_open(gen_path("m"), &SMALL(.head_scale = 2e38), &pesc, TRAIN_ADAPTERS, COMPUTE_F32);
    size_t n = m->params.total;
    float *before = calloc(n, sizeof *before);
    struct records rec;
    struct log log = {.steps = 0};
    struct train_result r;
    struct batch_source data = source(&rec, m->c.vocab_size, 2);
    struct train_options o = options(10, meta);
    char path[PATH_CAP];
    o.checkpoint_dir = gen_path("none");
    o.save_steps = 1;
    must_do(dir_make_all(o.checkpoint_dir, &err), &err);
    memcpy(before, m->params.value, n * sizeof *before);
    is_error(run(m, &data, &o, &log, &r, &err), &err, "E-NUM-NONFINITE", 11,
             "three updates in a row");
    ok(r.skipped_steps == 3 && log.steps == 3 && log.warned == 3 &&
           !memcmp(before, m->params.value, n * sizeof *before),
       "all three skipped, nothing changed");
    err = (struct pesc_error){0};
    ok(checkpoint_find(o.checkpoint_dir, NULL, path, &err) == 0 && log.saved == 3,
       "and the state is saved");
    free(before);
    source_free(&rec);
    model_close(m);
    json_decref(meta);
}

/* Frozen routers: the adapters' gradient is that of a run that learns its routers, and nothing
 * reaches a router, neither weight decay nor the balance loss. */
static void test_frozen_routers(void)
{
    struct pesc_error err = {0};
    struct moe_config moe = pesc;
    struct model *m[2];
    long routers = 0;
    int same = 1, learned = 1, kept = 1, moved = 1, none = 1, balanced = 0;
    moe.balance = BALANCE_NONE;
    for (int i = 0; i < 2; i++) {
        struct records rec;
        struct engine_step s = {.loss_scale = 0.1, .seed = 3};
        m[i] = small_open(gen_path("m"), &SMALL(), &moe, i ? TRAIN_EXPERTS : TRAIN_ADAPTERS,
                          COMPUTE_F32);
        (void)source(&rec, m[i]->c.vocab_size, 2);
        small_train(m[i], &rec.all.b, &s, 0);
        source_free(&rec);
    }
    for (long i = 0; i < m[1]->params.count; i++) {
        const struct param *p = &m[1]->params.p[i];
        const float *free_ = m[0]->params.grad + p->offset, *g = m[1]->params.grad + p->offset;
        double sum = 0, sum_free = 0;
        for (size_t j = 0; j < p->n; j++)
            sum += fabsf(g[j]), sum_free += fabsf(free_[j]);
        if (strstr(p->name, "router")) {
            routers += p->frozen;
            none &= sum == 0;
            learned &= sum_free > 0;
        } else {
            same &= !p->frozen && sum > 0 && !memcmp(free_, g, p->n * sizeof *g);
        }
    }
    ok(same, "frozen routers: the adapters' gradients are those with routers that learn");
    ok(none && learned && routers == m[1]->c.num_layers, "only routers have none");
    ok(params_trained(&m[1]->params) + (size_t)(routers * moe.experts * m[1]->c.hidden_size) ==
               params_trained(&m[0]->params) &&
           params_trained(&m[0]->params) == m[0]->params.total,
       "and are not counted as trained");

    size_t n = m[1]->params.total;
    float *before = calloc(n, sizeof *before);
    struct records rec;
    struct log log = {.steps = 0};
    struct train_result r;
    struct batch_source data = source(&rec, m[1]->c.vocab_size, 2);
    struct train_options o = options(5, NULL);
    m[1]->moe.balance = BALANCE_SWITCH;
    o.adamw.weight_decay = 0.5;
    memcpy(before, m[1]->params.value, n * sizeof *before);
    must_do(run(m[1], &data, &o, &log, &r, &err), &err);
    for (long i = 0; i < m[1]->params.count; i++) {
        const struct param *p = &m[1]->params.p[i];
        int equal =
            !memcmp(before + p->offset, m[1]->params.value + p->offset, p->n * sizeof *before);
        if (strstr(p->name, "router"))
            kept &= equal;
        else
            moved &= !equal;
    }
    for (long s = 1; s <= 5; s++)
        balanced += log.m[s].loss == log.m[s].ce && log.m[s].balance > 1;
    ok(kept && moved, "no bit of a router moves in five steps with weight decay; adapters do");
    is_long(balanced, 5, "the balance is told, but is no part of the loss");
    free(before);
    source_free(&rec);
    model_close(m[0]), model_close(m[1]);
}

int main(void)
{
    gen_begin();
    omp_set_num_threads(1); /* with such small models threads only wait for each other */
    test_accumulation();
    test_resume("adapters", &pesc, TRAIN_ADAPTERS, COMPUTE_F32);
    test_resume("adapters without routers", &pesc, TRAIN_EXPERTS, COMPUTE_F32);
    test_resume("all weights", NULL, TRAIN_FULL, COMPUTE_F32);
    if (gemm_has_bf16(NULL, 0)) {
        test_resume("bf16 adapters", &pesc, TRAIN_ADAPTERS, COMPUTE_BF16);
        test_resume("bf16 all weights", NULL, TRAIN_FULL, COMPUTE_BF16);
    }
    test_frozen_routers();
    test_skip();
    test_not_in_a_row();
    test_overflow();
    return gen_end();
}
