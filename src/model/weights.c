#include "config.h"
#include "model/weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct weights {
    long layers;
    enum compute compute;
    struct layer_weights *layer;
    struct outer_weights outer;
    void **own; /* blocks to free */
    long n_own, cap_own;
    size_t bytes;
    struct {
        uint16_t *to;
        const float *from;
        size_t n;
    } * shadow; /* bf16 copies of trainable matrices */
    long n_shadow;
};

static struct weights *weights_new(const struct model_config *c, enum compute compute,
                                   struct pesc_error *err)
{
    struct weights *w = calloc(1, sizeof *w);
    if (w) {
        w->layers = c->num_layers;
        w->compute = compute;
        w->cap_own = (LT_COUNT + 1) * c->num_layers + 8;
        w->layer = calloc((size_t)c->num_layers, sizeof *w->layer);
        w->own = calloc((size_t)w->cap_own, sizeof *w->own);
        w->shadow = calloc((size_t)w->cap_own, sizeof *w->shadow);
    }
    if (!w || !w->layer || !w->own || !w->shadow) {
        weights_free(w);
        FAIL(err, MEMORY, "no memory for %ld layers of weights", c->num_layers);
        return NULL;
    }
    return w;
}

void weights_free(struct weights *w)
{
    if (!w)
        return;
    for (long i = 0; i < w->n_own; i++)
        free(w->own[i]);
    free(w->own);
    free(w->layer);
    free(w->shadow);
    free(w);
}

static void *own(struct weights *w, size_t bytes, struct pesc_error *err)
{
    void *p = NULL;
    if (posix_memalign(&p, 64, bytes ? bytes : 64) != 0) {
        FAIL(err, MEMORY, "no memory for %zu bytes of weights", bytes);
        return NULL;
    }
    w->own[w->n_own++] = p;
    w->bytes += bytes;
    return p;
}

/* One tensor of the base in memory: vectors as float, matrices in the compute type. */
static void *load(struct weights *w, const struct base *b, const char *name, int is_mat,
                  enum dtype store, size_t n, struct pesc_error *err)
{
    int narrow = is_mat && w->compute == COMPUTE_BF16;
    const struct st_tensor *t = base_tensor(b, name);
    if (!t || t->n != n) {
        FAIL(err, MODEL_MISSING, "%s is not there", name);
        return NULL;
    }
    void *to = own(w, n * (narrow ? 2 : 4), err);
    if (!to)
        return NULL;
    if (narrow && t->dtype == DT_BF16) {
        if (base_read(b, name, to, err) != 0)
            return NULL;
        const uint16_t *v = to;
        for (size_t i = 0; i < n; i++)
            if ((v[i] & 0x7f80) == 0x7f80)
                goto nonfinite;
        return to;
    }
    float *wide = narrow ? malloc(n * sizeof *wide) : to;
    if (!wide) {
        FAIL(err, MEMORY, "no memory to convert %s", name);
        return NULL;
    }
    int rc = base_read_f32(b, name, wide, err);
    int finite = 1;
    if (rc == 0) {
        for (size_t i = 0; i < n; i++)
            finite &= isfinite(wide[i]) != 0;
        if (narrow) {
            dtype_from_f32(to, wide, DT_BF16, n);
        } else if (is_mat && store != DT_COUNT && store != DT_F32) {
            uint16_t chunk[1024];
            for (size_t i = 0; i < n; i += 1024) {
                size_t m = n - i < 1024 ? n - i : 1024;
                dtype_from_f32(chunk, wide + i, store, m);
                dtype_to_f32(wide + i, chunk, store, m);
            }
        }
    }
    if (narrow)
        free(wide);
    if (rc != 0)
        return NULL;
    if (finite)
        return to;
nonfinite:
    FAIL(err, MODEL_NONFINITE, "%s holds NaN or infinite values", name);
    return NULL;
}

static struct wmat mat_of(const struct weights *w, const void *data, long rows, long cols)
{
    return (struct wmat){w->compute == COMPUTE_BF16 ? DT_BF16 : DT_F32, rows, cols, data};
}

int weights_resident(const struct base *b, enum compute compute, enum dtype store,
                     struct weights **out, struct pesc_error *err)
{
    const struct model_config *c = base_config(b);
    struct weights *w = weights_new(c, compute, err);
    if (!w)
        return -1;
    for (long l = 0; l < c->num_layers; l++)
        for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
            long rows, cols;
            char name[TENSOR_NAME_CAP];
            if (!layer_tensor_shape(c, t, &rows, &cols))
                continue;
            layer_tensor_name(name, t, l);
            void *p =
                load(w, b, name, cols > 0, store, (size_t)rows * (size_t)(cols ? cols : 1), err);
            if (!p)
                goto fail;
            if (cols)
                w->layer[l].mat[t] = mat_of(w, p, rows, cols);
            else
                w->layer[l].vec[t] = p;
        }
    long V = c->vocab_size, D = c->hidden_size;
    void *embed = load(w, b, NAME_EMBED, 1, store, (size_t)V * (size_t)D, err);
    void *head =
        embed && !c->tied ? load(w, b, NAME_HEAD, 1, store, (size_t)V * (size_t)D, err) : embed;
    void *norm = head ? load(w, b, NAME_NORM, 0, store, (size_t)D, err) : NULL;
    if (!norm)
        goto fail;
    w->outer = (struct outer_weights){mat_of(w, embed, V, D), mat_of(w, head, V, D), norm};
    *out = w;
    return 0;
fail:
    weights_free(w);
    return -1;
}

int weights_declare(const struct model_config *c, struct params *ps, struct pesc_error *err)
{
    if (params_add(ps, -1, 2, c->vocab_size, c->hidden_size, err, "%s", NAME_EMBED) < 0)
        return -1;
    for (long l = 0; l < c->num_layers; l++)
        for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
            long rows, cols;
            char name[TENSOR_NAME_CAP];
            if (!layer_tensor_shape(c, t, &rows, &cols))
                continue;
            layer_tensor_name(name, t, l);
            if (params_add(ps, (int)l, cols ? 2 : 1, rows, cols, err, "%s", name) < 0)
                return -1;
        }
    if (params_add(ps, -1, 1, c->hidden_size, 0, err, "%s", NAME_NORM) < 0)
        return -1;
    if (!c->tied && params_add(ps, -1, 2, c->vocab_size, c->hidden_size, err, "%s", NAME_HEAD) < 0)
        return -1;
    return 0;
}

/* A trainable matrix as the products see it: the master itself, or its rounded copy. */
static int master(struct weights *w, const struct params *ps, const char *name, struct wmat *out,
                  struct pesc_error *err)
{
    const struct param *p = params_find(ps, name);
    if (!p)
        return FAIL(err, INTERNAL, "no parameter %s", name);
    const float *from = ps->value + p->offset;
    *out = mat_of(w, from, p->shape[0], p->shape[1]);
    if (w->compute == COMPUTE_F32)
        return 0;
    uint16_t *to = own(w, p->n * 2, err);
    if (!to)
        return -1;
    out->data = to;
    w->shadow[w->n_shadow].to = to;
    w->shadow[w->n_shadow].from = from;
    w->shadow[w->n_shadow++].n = p->n;
    return 0;
}

int weights_of_params(const struct model_config *c, const struct params *ps, enum compute compute,
                      struct weights **out, struct pesc_error *err)
{
    struct weights *w = weights_new(c, compute, err);
    if (!w)
        return -1;
    for (long l = 0; l < c->num_layers; l++)
        for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
            long rows, cols;
            char name[TENSOR_NAME_CAP];
            if (!layer_tensor_shape(c, t, &rows, &cols))
                continue;
            layer_tensor_name(name, t, l);
            if (cols)
                TRY_OR(master(w, ps, name, &w->layer[l].mat[t], err), fail);
            else
                w->layer[l].vec[t] = ps->value + params_find(ps, name)->offset;
        }
    TRY_OR(master(w, ps, NAME_EMBED, &w->outer.embed, err), fail);
    w->outer.head = w->outer.embed;
    if (!c->tied)
        TRY_OR(master(w, ps, NAME_HEAD, &w->outer.head, err), fail);
    w->outer.norm = ps->value + params_find(ps, NAME_NORM)->offset;
    weights_refresh(w);
    *out = w;
    return 0;
fail:
    weights_free(w);
    return -1;
}

void weights_refresh(struct weights *w)
{
    for (long i = 0; i < w->n_shadow; i++) {
        long chunks = (long)((w->shadow[i].n + 65535) / 65536);
#pragma omp parallel for schedule(static)
        for (long k = 0; k < chunks; k++) {
            size_t at = (size_t)k * 65536, n = w->shadow[i].n - at;
            dtype_from_f32(w->shadow[i].to + at, w->shadow[i].from + at, DT_BF16,
                           n < 65536 ? n : 65536);
        }
    }
}

size_t weights_size(const struct model_config *c, enum compute compute)
{
    size_t mat = 0, vec = 0;
    for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
        long rows, cols;
        if (!layer_tensor_shape(c, t, &rows, &cols))
            continue;
        if (cols)
            mat += (size_t)rows * (size_t)cols;
        else
            vec += (size_t)rows;
    }
    size_t outer = (size_t)c->vocab_size * (size_t)c->hidden_size * (c->tied ? 1 : 2);
    size_t L = (size_t)c->num_layers;
    return (L * mat + outer) * (compute == COMPUTE_BF16 ? 2 : 4) +
           (L * vec + (size_t)c->hidden_size) * sizeof(float);
}

size_t weights_bytes(const struct weights *w)
{
    return w->bytes;
}

int weights_layer(struct weights *w, long layer, struct layer_weights *out, struct pesc_error *err)
{
    if (layer < 0 || layer >= w->layers)
        return FAIL(err, INTERNAL, "no layer %ld", layer);
    *out = w->layer[layer];
    return 0;
}

void weights_release(struct weights *w, long layer)
{
    (void)w, (void)layer; /* resident: nothing to give back */
}

const struct outer_weights *weights_outer(const struct weights *w)
{
    return &w->outer;
}
