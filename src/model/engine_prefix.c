/* The layers below all that train, in a training engine: computed in products of PREFIX_ROWS rows,
 * so that what becomes of a sample depends on nothing but the sample, and not computed at all where
 * that is kept. */
#include "config.h"
#include "model/engine_internal.h"

#include <string.h>

static size_t value_size(const struct engine *e)
{
    return dtype_size(compute_form(e->m->compute));
}

static int has_prefix(const struct engine *e)
{
    return e->train && e->lowest > 0;
}

/* Columns and rows of the largest matrices of a layer. */
static void extent(const struct model *m, long *in, long *out)
{
    *in = *out = 0;
    for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
        long rows, cols;
        if (!layer_tensor_shape(&m->c, t, &rows, &cols) || !cols)
            continue;
        *in = cols > *in ? cols : *in;
        *out = rows > *out ? rows : *out;
    }
}

size_t engine_prefix_bytes(const struct engine *e, const struct prefix_options *o)
{
    long in, out;
    extent(e->m, &in, &out);
    if (!has_prefix(e))
        return 0;
    return gemm_rows_bytes(PREFIX_ROWS, in, out) +
           (o->bytes ? prefix_memory(o, e->max_tokens, e->m->c.hidden_size, value_size(e)) : 0);
}

int engine_prefix_open(struct engine *e, const struct prefix_options *o, struct pesc_error *err)
{
    long in, out;
    extent(e->m, &in, &out);
    if (!has_prefix(e))
        return 0;
    TRY(gemm_reserve_rows(e->m->gemm, PREFIX_ROWS, in, out, err));
    return o->bytes
               ? prefix_open(o, e->max_tokens, e->m->c.hidden_size, value_size(e), &e->prefix, err)
               : 0;
}

struct prefix *engine_prefix_of(const struct engine *e)
{
    return e->prefix;
}

void engine_prefix_drop(struct engine *e)
{
    prefix_close(e->prefix);
    e->prefix = NULL;
}

int engine_rows_alone(struct engine *e, int *yes, struct pesc_error *err)
{
    struct model *m = e->m;
    struct layer_weights w;
    long rows, cols;
    *yes = 1;
    weights_pass(m->weights, 0);
    TRY(weights_layer(m->weights, 0, &w, err));
    int rc = 0;
    for (enum layer_tensor t = 0; rc == 0 && *yes && t < LT_COUNT; t++)
        if (layer_tensor_shape(&m->c, t, &rows, &cols) && cols)
            rc = linear_rows_alone(m->gemm, &w.mat[t], PREFIX_ROWS, yes, err);
    weights_release(m->weights, 0);
    return rc;
}

/* e->x: what the embedding and the lower layers make of a batch, whose positions are there. */
static int compute(struct engine *e, const struct batch *b, const struct pass *of,
                   struct pesc_error *err)
{
    struct pass p = *of;
    p.T = b->T;
    p.S = b->S;
    p.cu = b->cu;
    profile_to(p.profile, STAGE_POINTWISE);
    TRY(weights_embed(e->m->weights, e->x, b->ids, b->T, e->rows, err));
    gemm_set_rows(e->m->gemm, has_prefix(e) ? PREFIX_ROWS : 0);
    int rc = engine_run_some(e, &p, 0, e->lowest, err);
    gemm_set_rows(e->m->gemm, 0);
    return rc;
}

/* e->y gets the samples that are kept, in their places; the others are listed and put together. */
static struct batch missing(struct engine *e, const struct batch *b)
{
    struct batch some = {.ids = e->some_ids, .cu = e->some_cu};
    long D = e->m->c.hidden_size;
    for (long s = 0; s < b->S; s++)
        prefix_soon(e->prefix, b->ids + b->cu[s], b->cu[s + 1] - b->cu[s]);
    e->some_cu[0] = 0;
    for (long s = 0; s < b->S; s++) {
        const int32_t *ids = b->ids + b->cu[s];
        long n = b->cu[s + 1] - b->cu[s];
        if (prefix_get(e->prefix, ids, n, e->y + b->cu[s] * D))
            continue;
        memcpy(e->some_ids + some.T, ids, (size_t)n * sizeof *ids);
        e->some[some.S++] = s;
        some.T += n;
        e->some_cu[some.S] = some.T;
    }
    return some;
}

/* What was computed of them: kept, and to their places among the others. */
static void put_back(struct engine *e, const struct batch *b, const struct batch *some)
{
    size_t D = (size_t)e->m->c.hidden_size;
    for (long i = 0; i < some->S; i++) {
        long at = some->cu[i], n = some->cu[i + 1] - at;
        const float *x = e->x + (size_t)at * D;
        prefix_put(e->prefix, some->ids + at, n, x);
        memcpy(e->y + (size_t)b->cu[e->some[i]] * D, x, (size_t)n * D * sizeof *x);
    }
    float *y = e->y;
    e->y = e->x;
    e->x = y;
}

int engine_prefix(struct engine *e, const struct batch *b, struct pass *p, struct pesc_error *err)
{
    if (!e->prefix) {
        weights_pass_part(e->m->weights, 0, e->lowest);
        return compute(e, b, p, err);
    }
    profile_to(p->profile, STAGE_DISK);
    struct batch some = missing(e, b);
    weights_pass_part(e->m->weights, some.T ? 0 : e->lowest, e->lowest);
    if (some.T) {
        engine_positions(e, &some);
        TRY(compute(e, &some, p, err));
        engine_positions(e, b);
    }
    profile_to(p->profile, STAGE_DISK);
    put_back(e, b, &some);
    profile_to(p->profile, STAGE_POINTWISE);
    return 0;
}
