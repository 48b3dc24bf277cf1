/* Dense models against float64 results: logits, variants of the configuration, greedy text, all
 * gradients, three AdamW recipes. */
#include "config.h"
#include "core/file.h"
#include "model/decode.h"
#include "tests/golden/golden.h"
#include "train/loop.h"

static const char *material;

static struct model *open_model(const char *dir, enum trainable t, struct base **base)
{
    struct pesc_error err = {0};
    struct model *m;
    *base = golden_base(dir);
    must(model_open(*base, NULL, t, COMPUTE_F32, DT_COUNT, 0, &m, &err), &err);
    return m;
}

/* Absolute tolerance on logits: 1e-4 as everywhere. Weights stored in 16 bits are exact in f32, so
 * the same tolerance holds for them against goldens computed from the rounded weights. */
static void test_logits(const char *dir, const char *golden, const char *cases_file,
                        const char *suffix, int only_case)
{
    char at[4096], name[64];
    struct base *b;
    snprintf(at, sizeof at, "%s/%s", material, dir);
    struct model *m = open_model(at, TRAIN_NOTHING, &b);
    json_t *cases = golden_json("%s/%s", material, cases_file), *one;
    size_t i;
    json_array_foreach(json_object_get(cases, "cases"), i, one)
    {
        if (only_case >= 0 && (int)i != only_case)
            continue;
        snprintf(at, sizeof at, "%s/%s", material, golden);
        snprintf(name, sizeof name, "case%zu.%s", i, suffix);
        float *want = golden_tensor(at, name, NULL);
        double d = golden_logits_diff(m, json_object_get(one, "ids"), want);
        ok(d < 1e-4, "%s %s: logits within 1e-4 (%.2g)", dir, name, d);
        free(want);
    }
    json_decref(cases);
    model_close(m);
    base_close(b);
}

/* The folder's weights under a configuration with some keys replaced. */
static void test_variant(const json_t *v, const json_t *ids)
{
    char dir[] = "golden-variant-XXXXXX", path[4096], to[4096];
    struct pesc_error err = {0};
    const char *key, *name = json_string_value(json_object_get(v, "name"));
    json_t *value, *config = golden_json("%s/ckpt-stories260K/hf/config.json", material);
    json_object_foreach((json_t *)json_object_get(v, "config_override"), key, value)
        json_object_set(config, key, value);
    if (!mkdtemp(dir))
        exit(99);
    snprintf(path, sizeof path, "%s/config.json", dir);
    json_dump_file(config, path, 0);
    json_decref(config);
    char source[4096];
    must(path_real(source, material, &err), &err);
    strcat(source, "/ckpt-stories260K/hf/model.safetensors");
    snprintf(to, sizeof to, "%s/model.safetensors", dir);
    char *data;
    size_t n;
    must(file_read(source, 64 << 20, &data, &n, &err), &err);
    must(file_write(to, data, n, &err), &err);
    free(data);
    struct base *b;
    struct model *m = open_model(dir, TRAIN_NOTHING, &b);
    char tensor[64];
    snprintf(tensor, sizeof tensor, "%s.f64", name);
    snprintf(path, sizeof path, "%s/ckpt-stories260K/golden/variants.safetensors", material);
    float *want = golden_tensor(path, tensor, NULL);
    double d = golden_logits_diff(m, ids, want);
    ok(d < 1e-4, "variant %s: logits within 1e-4 (%.2g)", name, d);
    free(want);
    model_close(m);
    base_close(b);
    must(dir_remove_all(dir, &err), &err);
}

static void test_greedy(void)
{
    char at[4096];
    struct base *b;
    struct pesc_error err = {0};
    snprintf(at, sizeof at, "%s/ckpt-stories260K/hf", material);
    struct model *m = open_model(at, TRAIN_NOTHING, &b);
    json_t *g = golden_json("%s/ckpt-stories260K/golden/greedy.json", material), *one;
    size_t i;
    json_array_foreach(json_object_get(g, "cases"), i, one)
    {
        const json_t *prompt = json_object_get(one, "prompt_ids");
        const json_t *want = json_object_get(one, "greedy_ids");
        long n = (long)json_array_size(prompt), k = (long)json_array_size(want), same = 0;
        int32_t *ids = malloc((size_t)(n + 1) * sizeof *ids);
        for (long j = 0; j < n; j++)
            ids[j] = (int32_t)json_integer_value(json_array_get(prompt, (size_t)j));
        struct decoder *d;
        struct sampling greedy = {.top_p = 1};
        const float *logits;
        must(decoder_open(m, n + k, &d, &err), &err);
        must(decoder_feed(d, ids, n, &logits, &err), &err);
        for (; same < k; same++) {
            int32_t id = sample_token(logits, m->c.vocab_size, &greedy, 0, NULL);
            if (id != json_integer_value(json_array_get(want, (size_t)same)))
                break;
            must(decoder_feed(d, &id, 1, &logits, &err), &err);
        }
        ok(same == k, "greedy text %zu: %ld of %ld tokens equal", i, same, k);
        decoder_close(d);
        free(ids);
    }
    json_decref(g);
    model_close(m);
    base_close(b);
}

static void test_grads(const char *dir, const char *golden_dir, const char *kind)
{
    char at[4096], name[256];
    struct base *b;
    struct pesc_error err = {0};
    snprintf(at, sizeof at, "%s/%s", material, dir);
    struct model *m = open_model(at, TRAIN_FULL, &b);
    json_t *t = golden_json("%s/%s/train.json", material, golden_dir);
    json_t *batch = json_array_get(json_object_get(json_object_get(t, "batches"), kind), 0);
    const json_t *ids = json_is_object(batch) ? json_object_get(batch, "ids") : batch;
    struct golden_batch g = golden_batch(ids, json_object_get(batch, "labels"), 0);
    struct engine *e;
    must(engine_open(m, g.b.T, g.b.S, 1, NULL, &e, &err), &err);
    struct engine_step s = {.loss_scale = 1.0 / (double)batch_scored(&g.b)};
    must(engine_train(e, &g.b, &s, &err), &err);
    snprintf(name, sizeof name, "first_batch_%s", kind);
    const json_t *want = json_object_get(json_object_get(t, "results"), name);
    is_near(s.loss_sum / (double)s.scored, json_real_value(json_object_get(want, "loss")), 1e-4,
            "loss of the first batch");
    is_long(s.scored, (long)json_integer_value(json_object_get(want, "predicted_tokens")),
            "scored tokens");
    is_near(grad_norm(&m->params), json_real_value(json_object_get(want, "grad_norm")), 1e-3,
            "gradient norm");
    double worst = 0;
    snprintf(at, sizeof at, "%s/%s/grads.safetensors", material, golden_dir);
    for (long i = 0; i < m->params.count; i++) {
        const struct param *p = &m->params.p[i];
        uint64_t n;
        snprintf(name, sizeof name, "%s.%s", kind, p->name);
        float *w = golden_tensor(at, name, &n);
        double d = golden_rel_l2(m->params.grad + p->offset, w, p->n);
        if (n != p->n || !(d < 1e-4))
            ok(0, "%s %s: gradient within 1e-4 relative L2 (%.2g)", dir, name, d);
        worst = d > worst ? d : worst;
        free(w);
    }
    ok(worst < 1e-4, "%s %s: %ld gradients within 1e-4 relative L2 (worst %.2g)", dir, kind,
       m->params.count, worst);
    engine_close(e);
    golden_batch_free(&g);
    json_decref(t);
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
    double worst;
    long seen;
};

static void on_step(void *ctx, const struct step_metrics *m, int logged)
{
    struct want *w = ctx;
    const json_t *s = json_array_get(w->steps, (size_t)(m->step - 1));
    double d = fabs(m->ce - json_real_value(json_object_get(s, "loss")));
    if (!(d <= w->worst))
        w->worst = isnan(d) ? INFINITY : d;
    w->seen += logged;
}

static void test_recipe(const char *dir, const char *golden_dir, const char *name)
{
    char at[4096];
    struct base *b;
    struct pesc_error err = {0};
    snprintf(at, sizeof at, "%s/%s", material, dir);
    struct model *m = open_model(at, TRAIN_FULL, &b);
    json_t *t = golden_json("%s/%s/train.json", material, golden_dir);
    const json_t *res = json_object_get(json_object_get(t, "results"), name);
    const json_t *recipe = json_object_get(res, "recipe");
    const json_t *batches = json_object_get(json_object_get(t, "batches"),
                                            json_string_value(json_object_get(recipe, "batches")));
    struct rows rows = {.n = (long)json_array_size(batches)};
    struct batch_source src = {get_row, &rows, 0, 0};
    rows.b = calloc((size_t)rows.n, sizeof *rows.b);
    for (long i = 0; i < rows.n; i++) {
        const json_t *one = json_array_get(batches, (size_t)i);
        const json_t *ids = json_is_object(one) ? json_object_get(one, "ids") : one;
        rows.b[i] = golden_batch(ids, json_object_get(one, "labels"), 1);
        if (rows.b[i].b.T > src.max_tokens)
            src.max_tokens = rows.b[i].b.T;
        if (rows.b[i].b.S > src.max_samples)
            src.max_samples = rows.b[i].b.S;
    }
    const json_t *lr = json_object_get(recipe, "lr"), *betas = json_object_get(recipe, "betas");
    double rate[64];
    long n = (long)json_array_size(lr);
    for (long i = 0; i < n; i++)
        rate[i] = json_number_value(json_array_get(lr, (size_t)i));
    const char *decay = json_string_value(json_object_get(recipe, "decay"));
    struct train_options o = {
        .steps = n,
        .accumulation = 1,
        .schedule = {.kind = SCHEDULE_LIST, .total = n, .list = rate, .n_list = n},
        .adamw = {.beta1 = json_number_value(json_array_get(betas, 0)),
                  .beta2 = json_number_value(json_array_get(betas, 1)),
                  .eps = json_number_value(json_object_get(recipe, "eps")),
                  .weight_decay = json_number_value(json_object_get(recipe, "wd")),
                  .decay = strcmp(decay, "all") ? DECAY_MATRICES : DECAY_ALL},
        .max_grad_norm = json_number_value(json_object_get(recipe, "clip")),
        .logging_steps = 1};
    struct want w = {.steps = json_object_get(res, "float64")};
    struct train_sink sink = {.ctx = &w, .step = on_step};
    struct train_result r;
    must(train_run(m, &src, &o, &sink, NULL, &r, &err), &err);
    ok(w.worst < 1e-4 && w.seen == n, "%s %s: loss within 1e-4 at all %ld steps (worst %.2g)", dir,
       name, w.seen, w.worst);
    snprintf(at, sizeof at, "%s/%s/after_%s.safetensors", material, golden_dir, name);
    double worst = 0;
    for (long i = 0; i < m->params.count; i++) {
        const struct param *p = &m->params.p[i];
        float *v = golden_tensor(at, p->name, NULL);
        double d = golden_rel_l2(m->params.value + p->offset, v, p->n);
        worst = d > worst ? d : worst;
        free(v);
    }
    ok(worst < 1e-3, "%s %s: weights afterwards within 1e-3 relative L2 (worst %.2g)", dir, name,
       worst);
    for (long i = 0; i < rows.n; i++)
        golden_batch_free(&rows.b[i]);
    free(rows.b);
    json_decref(t);
    model_close(m);
    base_close(b);
}

int main(void)
{
    if (!(material = tap_material()))
        return tap_skip_all(TAP_NO_MATERIAL);
    const char *s = "ckpt-stories260K/golden/logits.safetensors";
    const char *cases = "ckpt-stories260K/golden/cases.json";
    const char *tiny = "ckpt-mlxd-random-bf16/tiny_llama3";
    const char *tiny_golden = "ckpt-mlxd-random-bf16/tiny_llama3/golden";
    test_logits("ckpt-stories260K/hf", s, cases, "f64", -1);
    test_logits("ckpt-stories260K/hf-sharded", s, cases, "f64", -1);
    test_logits("ckpt-stories260K/hf-bfloat16",
                "ckpt-stories260K/golden/logits_bfloat16_weights.safetensors", cases, "f64", 3);
    test_logits("ckpt-stories260K/hf-float16",
                "ckpt-stories260K/golden/logits_float16_weights.safetensors", cases, "f64", 3);
    test_logits(tiny, "ckpt-mlxd-random-bf16/tiny_llama3/golden/logits.safetensors",
                "ckpt-mlxd-random-bf16/tiny_llama3/golden/cases.json", "f64", -1);
    json_t *v = golden_json("%s/ckpt-stories260K/golden/variants.json", material), *one;
    size_t i;
    json_array_foreach(json_object_get(v, "variants"), i, one)
        test_variant(one, json_object_get(v, "ids"));
    json_decref(v);
    test_greedy();
    static const char *const recipes[] = {"adamw_clip", "adamw_plain", "sft_masked_warmup"};
    test_grads("ckpt-stories260K/hf", "ckpt-stories260K/golden", "lm");
    test_grads("ckpt-stories260K/hf", "ckpt-stories260K/golden", "sft");
    test_grads(tiny, tiny_golden, "lm");
    test_grads(tiny, tiny_golden, "sft");
    for (i = 0; i < 3; i++) {
        test_recipe("ckpt-stories260K/hf", "ckpt-stories260K/golden", recipes[i]);
        test_recipe(tiny, tiny_golden, recipes[i]);
    }
    return tap_done();
}
