#include "config.h"
#include "model/weights.h"

#include "model/stream.h"

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
    struct load_how how;   /* of what is read later */
    struct stream *stream; /* NULL: all layers are resident */
    long *streamed;        /* [layers] place in the stream, -1: resident */
    struct layer_layout layout;
    struct outer_layout outside;
    uint64_t rows_read; /* bytes of the embedding */
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
        w->streamed = calloc((size_t)c->num_layers, sizeof *w->streamed);
        w->own = calloc((size_t)w->cap_own, sizeof *w->own);
        w->shadow = calloc((size_t)w->cap_own, sizeof *w->shadow);
    }
    if (!w || !w->layer || !w->streamed || !w->own || !w->shadow) {
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
    stream_close(w->stream); /* first: it writes to what is freed */
    for (long i = 0; i < w->n_own; i++)
        free(w->own[i]);
    free(w->streamed);
    free(w->own);
    free(w->layer);
    free(w->shadow);
    free(w);
}

static void *own(struct weights *w, size_t bytes, struct pesc_error *err)
{
    void *p = NULL;
    if (posix_memalign(&p, WEIGHTS_ALIGN, bytes ? bytes : WEIGHTS_ALIGN) != 0) {
        FAIL(err, MEMORY, "no memory for %zu bytes of weights", bytes);
        return NULL;
    }
    w->own[w->n_own++] = p;
    w->bytes += bytes;
    return p;
}

static int is_streamed(long l, long L, long n)
{
    return (l + 1) * n / L > l * n / L;
}

static int open_layers(struct weights *w, const struct model_config *c, long n,
                       struct pesc_error *err)
{
    size_t scratch = layer_scratch(&w->layout, c);
    if (scratch && !(w->how.scratch = own(w, scratch, err)))
        return -1;
    struct stream_plan s = {.how = w->how, .layout = w->layout};
    long L = c->num_layers, list[MAX_LAYERS];
    for (long l = 0; l < L; l++) {
        w->streamed[l] = -1;
        if (is_streamed(l, L, n)) {
            w->streamed[l] = s.n;
            list[s.n++] = l;
            continue;
        }
        void *block = own(w, w->layout.bytes, err);
        if (!block)
            return -1;
        TRY(load_layer(&w->how, &w->layout, l, block, NULL, err));
        layer_view(&w->layer[l], &w->layout, block);
    }
    for (long b = 0; b < s.n && b < STREAM_BUFFERS; b++)
        if (!(s.buffer[b] = own(w, w->layout.bytes, err)))
            return -1;
    s.layer = list;
    return s.n ? stream_open(&s, &w->stream, err) : 0;
}

static int open_outer(struct weights *w, int embed_on_disk, struct pesc_error *err)
{
    const struct outer_layout *o = &w->outside;
    void *embed = NULL, *rest = own(w, o->rest_bytes, err);
    if (!rest)
        return -1;
    if (!embed_on_disk) {
        if (!(embed = own(w, o->embed_bytes, err)))
            return -1;
        TRY(load_tensor(&w->how, NAME_EMBED, &o->embed, embed, err));
    }
    if (o->head.bytes)
        TRY(load_tensor(&w->how, NAME_HEAD, &o->head, rest, err));
    TRY(load_tensor(&w->how, NAME_NORM, &o->norm, rest, err));
    w->outer.embed = place_mat(&o->embed, embed);
    w->outer.head = o->head.bytes ? place_mat(&o->head, rest) : w->outer.embed;
    w->outer.norm = (const float *)((const char *)rest + o->norm.at);
    return 0;
}

int weights_open(const struct base *b, const struct model_config *c, enum compute compute,
                 enum dtype store, const struct weights_plan *plan, struct weights **out,
                 struct pesc_error *err)
{
    if (plan->streamed_layers < 0 || plan->streamed_layers > c->num_layers)
        return FAIL(err, USAGE_VALUE, "%ld layers of %ld cannot be streamed", plan->streamed_layers,
                    c->num_layers);
    if (plan->embed_on_disk && c->tied)
        return FAIL(err, USAGE_VALUE, "the embedding is the head too, and stays in memory");
    struct weights *w = weights_new(c, compute, err);
    if (!w)
        return -1;
    w->how = (struct load_how){.base = b,
                               .store = store,
                               .check = 1,
                               .forget = plan->streamed_layers || plan->embed_on_disk};
    layer_layout(&w->layout, c, compute, plan->int8_min);
    outer_layout(&w->outside, c, compute);
    TRY_OR(open_outer(w, plan->embed_on_disk, err), fail);
    TRY_OR(open_layers(w, c, plan->streamed_layers, err), fail);
    *out = w;
    return 0;
fail:
    weights_free(w);
    return -1;
}

size_t weights_size(const struct model_config *c, enum compute compute,
                    const struct weights_plan *plan)
{
    struct layer_layout l;
    struct outer_layout o;
    layer_layout(&l, c, compute, plan->int8_min);
    outer_layout(&o, c, compute);
    long buffers = plan->streamed_layers < STREAM_BUFFERS ? plan->streamed_layers : STREAM_BUFFERS;
    return (size_t)(c->num_layers - plan->streamed_layers + buffers) * l.bytes +
           layer_scratch(&l, c) + (plan->embed_on_disk ? 0 : o.embed_bytes) + o.rest_bytes;
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
    *out = (struct wmat){.dtype = DT_F32, .N = p->shape[0], .K = p->shape[1], .data = from};
    if (w->compute == COMPUTE_F32)
        return 0;
    uint16_t *to = own(w, p->n * 2, err);
    if (!to)
        return -1;
    out->data = to;
    out->dtype = DT_BF16;
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

size_t weights_of_params_size(const struct model_config *c, enum compute compute)
{
    size_t n = (size_t)c->vocab_size * (size_t)c->hidden_size * (c->tied ? 1 : 2);
    for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
        long rows, cols;
        if (layer_tensor_shape(c, t, &rows, &cols))
            n += (size_t)rows * (size_t)cols * (size_t)c->num_layers;
    }
    return compute == COMPUTE_BF16 ? 2 * n : 0;
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

size_t weights_bytes(const struct weights *w)
{
    return w->bytes;
}

uint64_t weights_bytes_read(struct weights *w)
{
    return w->rows_read + (w->stream ? stream_bytes_read(w->stream) : 0);
}

void weights_pass(struct weights *w, int back)
{
    if (w->stream)
        stream_pass(w->stream, 0, back ? 0 : w->layers);
}

void weights_pass_part(struct weights *w, long first, long lowest)
{
    long from = 0, low = 0;
    for (long l = 0; l < w->layers && w->stream; l++) {
        from += l < first && w->streamed[l] >= 0;
        low += l < lowest && w->streamed[l] >= 0;
    }
    if (w->stream)
        stream_pass(w->stream, from, low);
}

int weights_layer(struct weights *w, long layer, struct layer_weights *out, struct pesc_error *err)
{
    const void *block;
    if (layer < 0 || layer >= w->layers)
        return FAIL(err, INTERNAL, "no layer %ld", layer);
    if (!w->stream || w->streamed[layer] < 0) {
        *out = w->layer[layer];
        return 0;
    }
    TRY(stream_get(w->stream, w->streamed[layer], &block, err));
    layer_view(out, &w->layout, block);
    return 0;
}

void weights_release(struct weights *w, long layer)
{
    if (w->stream && w->streamed[layer] >= 0)
        stream_put(w->stream, w->streamed[layer]);
}

const struct outer_weights *weights_outer(const struct weights *w)
{
    return &w->outer;
}

static int by_number(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return x < y ? -1 : x > y;
}

/* Each row once, in the file's order. Rows that come again and again stay in the page cache: they
 * are few, and nobody's resident memory. */
static int gather(struct weights *w, float *x, const int32_t *ids, long T, long *place,
                  struct pesc_error *err)
{
    const struct tensor_place *p = &w->outside.embed;
    long D = p->cols;
    for (long t = 0; t < T; t++)
        place[t] = (long)ids[t] * T + t;
    qsort(place, (size_t)T, sizeof *place, by_number);
    for (long k = 0; k < T; k++) {
        long t = place[k] % T, id = place[k] / T, before = k ? place[k - 1] % T : 0;
        if (k && place[k - 1] / T == id)
            memcpy(x + t * D, x + before * D, (size_t)D * sizeof *x);
        else
            TRY(load_row(&w->how, NAME_EMBED, p, id, x + t * D, &w->rows_read, err));
    }
    return 0;
}

/* In bf16 compute the values are those that a table of numbers would have. */
static void expand_row(float *x, const struct wmat *table, int32_t id)
{
    size_t D = (size_t)table->K, from = (size_t)id * D;
    uint16_t narrow[1024];
    if (table->dtype == DT_F32)
        qmat_expand(&table->q, from, D, x, DT_F32);
    for (size_t d = 0; table->dtype != DT_F32 && d < D; d += 1024) {
        size_t n = D - d < 1024 ? D - d : 1024;
        qmat_expand(&table->q, from + d, n, narrow, table->dtype);
        dtype_to_f32(x + d, narrow, table->dtype, n);
    }
}

int weights_embed(struct weights *w, float *x, const int32_t *ids, long T, long *scratch,
                  struct pesc_error *err)
{
    const struct wmat *table = &w->outer.embed;
    long D = table->K;
    size_t row = (size_t)D * dtype_size(table->dtype);
    if (!table->data && !table->q.kind)
        return gather(w, x, ids, T, scratch, err);
    if (table->q.kind) {
#pragma omp parallel for schedule(static) if (T > 1)
        for (long t = 0; t < T; t++)
            expand_row(x + t * D, table, ids[t]);
        return 0;
    }
#pragma omp parallel for schedule(static) if (T > 1)
    for (long t = 0; t < T; t++)
        dtype_to_f32(x + t * D, (const char *)table->data + (size_t)ids[t] * row, table->dtype,
                     (size_t)D);
    return 0;
}
