/* PESC on stories260K against float64 autograd: logits, gradients, balance values, expert loads and
 * two trajectories; and the bf16 path's loss within 1 %. */
#include "config.h"
#include "core/file.h"
#include "tests/golden/golden.h"
#include "train/loop.h"
#include "train/routing.h"

#define DIR "ckpt-stories260K/golden-pesc"

static const char *material;
static char at[4096];

static const char *path(const char *name)
{
    snprintf(at, sizeof at, "%s/%s/%s", material, DIR, name);
    return at;
}

static struct model *open_model(enum compute compute, int zero_up, struct base **base)
{
    struct pesc_error err = {0};
    struct model *m;
    struct moe_config moe = {
        .experts = 8, .top_k = 2, .dim = 16, .scaling = 1, .balance_coef = 0.01};
    char dir[4096];
    snprintf(dir, sizeof dir, "%s/ckpt-stories260K/hf", material);
    *base = golden_base(dir);
    must(model_open(*base, &moe, TRAIN_ADAPTERS, compute, DT_COUNT, 1, &m, &err), &err);
    must(params_load(&m->params, path("init.safetensors"), &err), &err);
    for (long i = 0; zero_up && i < m->params.count; i++)
        if (strstr(m->params.p[i].name, "adapter_up"))
            memset(m->params.value + m->params.p[i].offset, 0, m->params.p[i].n * sizeof(float));
    return m;
}

static const json_t *batch_ids(const json_t *one)
{
    return json_is_object(one) ? json_object_get(one, "ids") : one;
}

static void test_logits(const json_t *j)
{
    struct base *b;
    struct model *m = open_model(COMPUTE_F32, 0, &b);
    const json_t *lm = json_object_get(json_object_get(j, "batches"), "lm");
    for (int i = 0; i < 3; i++) {
        char name[16];
        uint64_t n;
        snprintf(name, sizeof name, "lm%d", i);
        float *want = golden_tensor(path("logits.safetensors"), name, &n);
        const json_t *rows = json_array_get(lm, (size_t)i);
        double worst = 0;
        for (size_t r = 0; r < json_array_size(rows); r++) {
            double d = golden_logits_diff(m, json_array_get(rows, r), want + r * 64 * 512);
            worst = d > worst ? d : worst;
        }
        ok(worst < 1e-4, "logits of %s within 1e-4 (%.2g)", name, worst);
        free(want);
    }
    model_close(m);
    base_close(b);
}

static void test_grads(const json_t *j, const char *kind)
{
    struct base *b;
    struct pesc_error err = {0};
    struct model *m = open_model(COMPUTE_F32, 0, &b);
    const json_t *one = json_array_get(json_object_get(json_object_get(j, "batches"), kind), 0);
    char name[256];
    snprintf(name, sizeof name, "first_batch_%s", kind);
    const json_t *want = json_object_get(json_object_get(j, "results"), name);
    struct golden_batch g = golden_batch(batch_ids(one), json_object_get(one, "labels"), 1);
    struct engine *e;
    struct routing r;
    must(engine_open(m, g.b.T, g.b.S, 1, NULL, &e, &err), &err);
    must(routing_open(&r, &m->moe, m->c.num_layers, 0, g.b.T, &err), &err);
    struct engine_step s = {.loss_scale = 1.0 / (double)batch_scored(&g.b),
                            .balance_scale = 0.01 / (double)m->c.num_layers,
                            .routed = routing_add,
                            .routed_ctx = &r};
    must(engine_train(e, &g.b, &s, &err), &err);
    is_long(g.b.T, (long)json_integer_value(json_object_get(want, "valid_tokens")), "valid tokens");
    is_near(s.loss_sum / (double)s.scored, json_real_value(json_object_get(want, "ce")), 1e-4,
            "cross-entropy of the first batch");
    is_near(r.step_balance / (double)m->c.num_layers / (double)g.b.T,
            json_real_value(json_object_get(want, "balance")), 1e-4, "balance of the first batch");
    is_near(grad_norm(&m->params), json_real_value(json_object_get(want, "grad_norm")), 1e-4,
            "gradient norm");
    double worst = 0;
    const json_t *loads = json_object_get(want, "expert_load_per_layer");
    for (long l = 0; l < m->c.num_layers; l++)
        for (long x = 0; x < 8; x++) {
            double d =
                fabs(r.load[l * 8 + x] / (double)g.b.T -
                     json_real_value(json_array_get(json_array_get(loads, (size_t)l), (size_t)x)));
            worst = d > worst ? d : worst;
        }
    ok(worst < 1e-9, "%s: expert loads equal (%.2g)", kind, worst);
    worst = 0;
    for (long i = 0; i < m->params.count; i++) {
        const struct param *p = &m->params.p[i];
        snprintf(name, sizeof name, "%s.%s", kind, p->name);
        float *w = golden_tensor(path("grads.safetensors"), name, NULL);
        double d = golden_rel_l2(m->params.grad + p->offset, w, p->n);
        if (!(d < 1e-4))
            ok(0, "%s: gradient within 1e-4 relative L2 (%.2g)", name, d);
        worst = d > worst ? d : worst;
        free(w);
    }
    ok(worst < 1e-4, "%s: %ld gradients within 1e-4 relative L2 (worst %.2g)", kind,
       m->params.count, worst);
    routing_close(&r);
    engine_close(e);
    golden_batch_free(&g);
    model_close(m);
    base_close(b);
}

struct rows {
    struct golden_batch *b;
    long n;
};

static int get_row(void *ctx, long step, struct batch *out, struct pesc_error *err)
{
    const struct rows *r = ctx;
    (void)err;
    *out = r->b[step % r->n].b;
    return 0;
}

struct want {
    const json_t *steps;
    double ce, ce_rel, balance, norm;
};

static void widen(double *worst, double d)
{
    if (!(d <= *worst))
        *worst = isnan(d) ? INFINITY : d;
}

static void on_step(void *ctx, const struct step_metrics *m, int logged)
{
    struct want *w = ctx;
    const json_t *s = json_array_get(w->steps, (size_t)(m->step - 1));
    double ce = json_real_value(json_object_get(s, "ce"));
    (void)logged;
    widen(&w->ce, fabs(m->ce - ce));
    widen(&w->ce_rel, fabs(m->ce - ce) / ce);
    widen(&w->balance, fabs(m->balance - json_real_value(json_object_get(s, "balance"))));
    widen(&w->norm, fabs(m->grad_norm - json_real_value(json_object_get(s, "grad_norm"))));
}

static void test_recipe(const json_t *j, const char *name, enum compute compute)
{
    struct base *b;
    struct pesc_error err = {0};
    const json_t *recipe = json_object_get(json_object_get(j, "results"), name);
    int zero = strstr(json_string_value(json_object_get(recipe, "start")), "zero") != NULL;
    struct model *m = open_model(compute, zero, &b);
    const json_t *batches = json_object_get(json_object_get(j, "batches"),
                                            json_string_value(json_object_get(recipe, "batches")));
    struct rows rows = {.n = (long)json_array_size(batches)};
    struct batch_source src = {get_row, &rows, 0, 0};
    rows.b = calloc((size_t)rows.n, sizeof *rows.b);
    for (long i = 0; i < rows.n; i++) {
        const json_t *one = json_array_get(batches, (size_t)i);
        rows.b[i] = golden_batch(batch_ids(one), json_object_get(one, "labels"), 1);
        if (rows.b[i].b.T > src.max_tokens)
            src.max_tokens = rows.b[i].b.T;
        if (rows.b[i].b.S > src.max_samples)
            src.max_samples = rows.b[i].b.S;
    }
    const json_t *lr = json_object_get(recipe, "lr");
    double rate[64];
    long n = (long)json_array_size(lr);
    for (long i = 0; i < n; i++)
        rate[i] = json_number_value(json_array_get(lr, (size_t)i));
    struct train_options o = {
        .steps = n,
        .accumulation = 1,
        .schedule = {.kind = SCHEDULE_LIST, .total = n, .list = rate, .n_list = n},
        .adamw = {.beta1 = 0.9,
                  .beta2 = 0.999,
                  .eps = 1e-8,
                  .weight_decay = json_number_value(json_object_get(recipe, "wd"))},
        .max_grad_norm = json_number_value(json_object_get(recipe, "clip")),
        .balance_coef = 0.01,
        .logging_steps = 1};
    struct want w = {.steps = json_object_get(recipe, "steps")};
    struct train_sink sink = {.ctx = &w, .step = on_step};
    struct train_result r;
    must(train_run(m, &src, &o, &sink, NULL, &r, &err), &err);
    if (compute == COMPUTE_BF16) {
        ok(w.ce_rel < 0.01, "%s in bf16: loss within 1 %% of float64 at all %ld steps (%.2g)", name,
           n, w.ce_rel);
    } else {
        ok(w.ce < 1e-4, "%s: loss within 1e-4 at all %ld steps (%.2g)", name, n, w.ce);
        ok(w.balance < 1e-4, "%s: balance within 1e-4 (%.2g)", name, w.balance);
        ok(w.norm < 1e-4, "%s: gradient norm within 1e-4 (%.2g)", name, w.norm);
        char file[64];
        /* Over all tensors together: where hardly any token went the gradient is noise, and AdamW
         * makes steps of full size from it. */
        double num = 0, den = 0;
        snprintf(file, sizeof file, "after_%s.safetensors", name);
        for (long i = 0; i < m->params.count; i++) {
            const struct param *p = &m->params.p[i];
            float *v = golden_tensor(path(file), p->name, NULL);
            double d = golden_rel_l2(m->params.value + p->offset, v, p->n), norm = 0;
            for (size_t k = 0; k < p->n; k++)
                norm += (double)v[k] * v[k];
            num += d * d * norm;
            den += norm;
            free(v);
        }
        ok(sqrt(num / den) < 1e-3, "%s: weights afterwards within 1e-3 relative L2 (%.2g)", name,
           sqrt(num / den));
    }
    for (long i = 0; i < rows.n; i++)
        golden_batch_free(&rows.b[i]);
    free(rows.b);
    model_close(m);
    base_close(b);
}

int main(void)
{
    if (!(material = tap_material()))
        return tap_skip_all(TAP_NO_MATERIAL);
    json_t *j = golden_json("%s/%s/pesc.json", material, DIR);
    test_logits(j);
    test_grads(j, "lm");
    test_grads(j, "sft");
    test_recipe(j, "adamw_lm", COMPUTE_F32);
    test_recipe(j, "adamw_sft_from_zero_up", COMPUTE_F32);
    char why[64];
    if (gemm_has_bf16(why, sizeof why)) {
        test_recipe(j, "adamw_lm", COMPUTE_BF16);
        test_recipe(j, "adamw_sft_from_zero_up", COMPUTE_BF16);
    } else {
        diag("no bf16 products here: %s", why);
    }
    json_decref(j);
    return tap_done();
}
