#include "config.h"
#include "tests/unit/small_model.h"

#include "core/file.h"
#include "core/rng.h"
#include "model/save.h"
#include "tests/tap.h"

#include <jansson.h>

void must_do(int rc, const struct pesc_error *err)
{
    if (rc == 0)
        return;
    printf("Bail out! %s %s\n", err->name ? err->name : "?", err->text);
    exit(99);
}

static void *must_have(void *p)
{
    if (!p) {
        printf("Bail out! no memory\n");
        exit(99);
    }
    return p;
}

static int or_else(long v, long otherwise)
{
    return (int)(v ? v : otherwise);
}

static json_t *config_json(const struct small *o)
{
    json_t *c = json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:b}",
                          "model_type", o->type ? o->type : "llama", "hidden_size",
                          or_else(o->hidden, 16), "intermediate_size", or_else(o->inter, 24),
                          "num_hidden_layers", or_else(o->layers, 2), "num_attention_heads",
                          or_else(o->heads, 4), "num_key_value_heads", or_else(o->kv_heads, 2),
                          "head_dim", or_else(o->head_dim, 8), "vocab_size", or_else(o->vocab, 29),
                          "max_position_embeddings", or_else(o->positions, 64), "rms_norm_eps",
                          1e-5, "rope_theta", 500.0, "tie_word_embeddings", o->tied);
    must_have(c);
    if (o->attention_bias)
        json_object_set_new(c, "attention_bias", json_true());
    if (o->mlp_bias)
        json_object_set_new(c, "mlp_bias", json_true());
    if (o->rope)
        json_object_set_new(c, "rope_scaling", must_have(json_loads(o->rope, 0, NULL)));
    if (o->type && !strcmp(o->type, "mistral"))
        json_object_set_new(c, "sliding_window", o->window ? json_integer(o->window) : json_null());
    else if (o->window) {
        json_object_set_new(c, "use_sliding_window", json_true());
        json_object_set_new(c, "sliding_window", json_integer(o->window));
        json_object_set_new(c, "max_window_layers", json_integer(1));
    }
    return c;
}

static void fill(struct params *ps, const struct small *o)
{
    for (long i = 0; i < ps->count; i++) {
        const struct param *p = &ps->p[i];
        struct rng_key key = {.seed = 5, .stream = 77, .a = (uint32_t)i};
        int norm = strstr(p->name, "norm") != NULL, embed = !strcmp(p->name, NAME_EMBED);
        double scale = norm ? 0.2 : p->ndim < 2 ? 0.3 : 1.5 / sqrt((double)p->shape[1]);
        scale =
            embed ? 1
                  : scale * (strcmp(p->name, NAME_HEAD) || o->head_scale == 0 ? 1 : o->head_scale);
        for (size_t k = 0; k < p->n; k++)
            ps->value[p->offset + k] = (float)((norm ? 1 : 0) + scale * rng_normal(&key, k));
    }
}

struct base *small_base(const char *dir, const struct small *o)
{
    struct pesc_error err = {0};
    struct model_config c;
    struct params ps = {0};
    struct base *b;
    char path[PATH_CAP];
    json_t *json = config_json(o);
    must_do(dir_make_all(dir, &err), &err);
    must_do(path_join(path, dir, "config.json", &err), &err);
    if (json_dump_file(json, path, 0) != 0)
        must_do(-1, &err);
    must_do(model_config_parse(json, "small", NULL, &c, &err), &err);
    json_decref(json);
    must_do(weights_declare(&c, &ps, &err), &err);
    must_do(params_alloc(&ps, 0, &err), &err);
    fill(&ps, o);
    must_do(path_join(path, dir, "model.safetensors", &err), &err);
    must_do(params_save(&ps, path, o->bf16, "", "format", "pt", NULL, NULL, &err), &err);
    params_free(&ps);
    must_do(base_open(dir, NULL, &b, &err), &err);
    return b;
}

struct model *small_model(const struct base *b, const struct moe_config *moe, enum trainable tr,
                          enum compute compute)
{
    struct pesc_error err = {0};
    struct model *m;
    must_do(model_open(b, moe, tr, compute, DT_COUNT, 3, &m, &err), &err);
    return m;
}

void small_adapters(struct model *m)
{
    for (long i = 0; i < m->params.count; i++) {
        const struct param *p = &m->params.p[i];
        struct rng_key key = {.seed = 6, .stream = 78, .a = (uint32_t)i};
        double scale = (strstr(p->name, "router") ? 1.5 : 1) / sqrt((double)p->shape[1]);
        for (size_t k = 0; k < p->n; k++)
            m->params.value[p->offset + k] = (float)(scale * rng_normal(&key, k));
    }
}

struct model *small_open(const char *dir, const struct small *o, const struct moe_config *moe,
                         enum trainable tr, enum compute compute)
{
    struct base *b = small_base(dir, o);
    struct model *m = small_model(b, moe, tr, compute);
    if (moe)
        small_adapters(m);
    base_close(b);
    return m;
}

static void start(struct small_batch *g, long n, long T)
{
    memset(g, 0, sizeof *g);
    g->ids = must_have(calloc((size_t)T, sizeof *g->ids));
    g->labels = must_have(calloc((size_t)T, sizeof *g->labels));
    g->b = (struct batch){T, n, g->ids, g->labels, g->cu, g->domain, g->record};
}

void small_batch(struct small_batch *g, long vocab, uint32_t seed, long n, const long *lengths)
{
    struct rng_key key = {.seed = seed, .stream = 79};
    long T = 0;
    for (long s = 0; s < n; s++)
        T += lengths[s];
    start(g, n, T);
    for (long s = 0; s < n; s++) {
        g->cu[s + 1] = g->cu[s] + lengths[s];
        g->record[s] = s;
        g->domain[s] = (int)(s % 2);
    }
    for (long t = 0; t < T; t++) {
        g->ids[t] = (int32_t)(rng_u32(&key, (uint64_t)t) % (uint32_t)vocab);
        g->labels[t] = rng_u32(&key, (uint64_t)(T + t)) % 4 ? g->ids[t] : LABEL_MASKED;
    }
}

void small_batch_pick(struct small_batch *g, const struct batch *from, long n, const long *order)
{
    long T = 0;
    for (long s = 0; s < n; s++)
        T += from->cu[order[s] + 1] - from->cu[order[s]];
    start(g, n, T);
    for (long s = 0; s < n; s++) {
        long at = from->cu[order[s]], len = from->cu[order[s] + 1] - at;
        memcpy(g->ids + g->cu[s], from->ids + at, (size_t)len * sizeof *g->ids);
        memcpy(g->labels + g->cu[s], from->labels + at, (size_t)len * sizeof *g->labels);
        g->cu[s + 1] = g->cu[s] + len;
        g->record[s] = from->record[order[s]];
        g->domain[s] = from->domain[order[s]];
    }
}

void small_batch_free(struct small_batch *g)
{
    free(g->ids);
    free(g->labels);
}

struct copy {
    float *to;
    long V;
};

static int copy_rows(void *ctx, long from, long n, const float *logits, struct pesc_error *err)
{
    struct copy *c = ctx;
    (void)err;
    memcpy(c->to + from * c->V, logits, (size_t)(n * c->V) * sizeof *logits);
    return 0;
}

float *small_logits(struct model *m, const struct batch *b)
{
    struct pesc_error err = {0};
    struct engine *e;
    struct copy c = {NULL, m->c.vocab_size};
    c.to = must_have(calloc((size_t)(b->T * c.V), sizeof *c.to));
    must_do(engine_open(m, b->T, b->S, 0, NULL, &e, &err), &err);
    must_do(engine_logits(e, b, copy_rows, &c, &err), &err);
    engine_close(e);
    return c.to;
}

void small_train(struct model *m, const struct batch *b, struct engine_step *s, int add)
{
    struct pesc_error err = {0};
    struct engine *e;
    if (!add)
        memset(m->params.grad, 0, m->params.total * sizeof *m->params.grad);
    must_do(engine_open(m, b->T, b->S, 1, NULL, &e, &err), &err);
    must_do(engine_train(e, b, s, &err), &err);
    engine_close(e);
}

double small_diff(const float *a, const float *b, size_t n)
{
    double diff = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - b[i]);
        if (!(d <= diff)) /* a NaN stays */
            diff = isnan(d) ? INFINITY : d;
        size = fmax(size, fabs((double)b[i]));
    }
    return diff == 0 ? 0 : diff / size;
}

struct values {
    const struct base *b;
    float *v;
};

static const float *value(void *ctx, const char *name)
{
    struct values *g = ctx;
    struct pesc_error err = {0};
    must_do(base_read_f32(g->b, name, g->v, &err), &err);
    return g->v;
}

struct base *small_expanded(const char *dir, const struct base *plain, const struct base *q)
{
    enum { LARGEST = 1 << 20 }; /* numbers of a tensor */
    struct pesc_error err = {0};
    struct values g = {q, malloc(LARGEST * sizeof *g.v)};
    struct base *b;
    must_do(base_save(dir, plain, value, &g, DT_F32, &err), &err);
    must_do(base_open(dir, NULL, &b, &err), &err);
    free(g.v);
    return b;
}
