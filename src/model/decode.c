#include "config.h"
#include "model/decode.h"

#include "core/rng.h"
#include "model/engine_internal.h"
#include "model/rope.h"
#include "tensor/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256, SORTED = 64 }; /* prompt tokens at a time */

struct decoder {
    struct model *m;
    struct engine *e;
    struct kv_cache kv;
    struct arena cache;
};

static void lay_out(struct decoder *d)
{
    size_t row = (size_t)(d->m->c.num_kv_heads * d->m->c.head_dim),
           n = (size_t)d->kv.capacity * row;
    size_t L = (size_t)d->m->c.num_layers;
    d->kv.k = arena_alloc(&d->cache, L, sizeof *d->kv.k);
    d->kv.v = arena_alloc(&d->cache, L, sizeof *d->kv.v);
    for (size_t l = 0; l < L; l++) {
        float *k = ARENA_FLOATS(&d->cache, n), *v = ARENA_FLOATS(&d->cache, n);
        if (d->kv.k) {
            d->kv.k[l] = k;
            d->kv.v[l] = v;
        }
    }
}

/* The longest sum of a product. */
static long widest(const struct model *m)
{
    long w = m->c.num_heads * m->c.head_dim;
    w = m->c.hidden_size > w ? m->c.hidden_size : w;
    return m->c.intermediate_size > w ? m->c.intermediate_size : w;
}

size_t decoder_bytes(const struct model *m, long capacity)
{
    return gemm_few_bytes(widest(m)) +
           (size_t)capacity * (size_t)(m->c.num_kv_heads * m->c.head_dim) * 2 * sizeof(float) *
               (size_t)m->c.num_layers +
           engine_bytes(m, capacity < CHUNK ? capacity : CHUNK, 1, 0, NULL);
}

int decoder_open(struct model *m, long capacity, struct decoder **out, struct pesc_error *err)
{
    struct decoder *d = calloc(1, sizeof *d);
    if (!d)
        return FAIL(err, MEMORY, "no memory for a decoder");
    d->m = m;
    d->kv.capacity = capacity;
    arena_count(&d->cache);
    lay_out(d);
    if (arena_back(&d->cache, err) != 0) {
        arena_free(&d->cache);
        free(d);
        return -1;
    }
    lay_out(d);
    if (gemm_reserve_few(m->gemm, widest(m), err) != 0 ||
        engine_open(m, capacity < CHUNK ? capacity : CHUNK, 1, 0, NULL, &d->e, err) != 0) {
        decoder_close(d);
        return -1;
    }
    *out = d;
    return 0;
}

void decoder_close(struct decoder *d)
{
    if (!d)
        return;
    engine_close(d->e);
    arena_free(&d->cache);
    free(d);
}

void decoder_reset(struct decoder *d)
{
    d->kv.length = 0;
}

long decoder_length(const struct decoder *d)
{
    return d->kv.length;
}

/* length: of the sequence once all chunks are in, so that dynamic rope scaling does not depend on
 * how a prompt is cut. Keys of earlier calls keep their rotation. */
static int feed_chunk(struct decoder *d, const int32_t *ids, long n, long length,
                      struct pesc_error *err)
{
    struct engine *e = d->e;
    long cu[2] = {0, n};
    for (long i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= d->m->c.vocab_size)
            return FAIL(err, DS_TOKEN, "token id %ld is outside the vocabulary", (long)ids[i]);
        e->position[i] = d->kv.length + i;
    }
    rope_inv_freq(&d->m->c, length, e->inv_freq);
    rope_table(e->cos, e->sin, e->position, e->inv_freq, n, d->m->c.head_dim);
    struct pass p = {.gemm = d->m->gemm,
                     .T = n,
                     .S = 1,
                     .cu = cu,
                     .cos = e->cos,
                     .sin = e->sin,
                     .kv = &d->kv,
                     .scratch = &e->block};
    arena_reset(&e->block, 0); /* a pass that failed left it as it was */
    weights_pass(d->m->weights, 0);
    TRY(weights_embed(d->m->weights, e->x, ids, n, e->rows, err));
    TRY(engine_run_blocks(e, &p, err));
    d->kv.length += n;
    return 0;
}

static int feed(struct decoder *d, const int32_t *ids, long n, const float **logits,
                struct pesc_error *err)
{
    struct engine *e = d->e;
    long last = 0, D = d->m->c.hidden_size;
    if (n < 1 || n > d->kv.capacity - d->kv.length)
        return FAIL(err, LIMIT, "%ld more tokens do not fit a context of %ld", n, d->kv.capacity);
    long length = d->kv.length + n;
    for (long at = 0; at < n; at += e->max_tokens) {
        last = n - at < e->max_tokens ? n - at : e->max_tokens;
        TRY(feed_chunk(d, ids + at, last, length, err));
    }
    const struct outer_weights *w = weights_outer(d->m->weights);
    rmsnorm_fwd(e->y, e->h, e->x + (last - 1) * D, w->norm, d->m->c.rms_norm_eps, 1, D);
    linear_fwd(d->m->gemm, e->logits, e->y, &w->head, NULL, 1);
    *logits = e->logits;
    return gemm_check(d->m->gemm, err);
}

int decoder_feed(struct decoder *d, const int32_t *ids, long n, const float **logits,
                 struct pesc_error *err)
{
    gemm_set_few(d->m->gemm, 1);
    int rc = feed(d, ids, n, logits, err);
    gemm_set_few(d->m->gemm, 0);
    return rc;
}

static int by_probability(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->p != y->p)
        return x->p < y->p ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void swap(struct candidate *c, long i, long j)
{
    struct candidate t = c[i];
    c[i] = c[j];
    c[j] = t;
}

/* Brings the k first of n in their order to the front. */
static void front(struct candidate *c, long n, long k)
{
    for (long lo = 0, hi = n - 1; lo < hi && k < n;) {
        long at = lo, mid = lo + (hi - lo) / 2;
        /* the middle one of three goes to the end and divides the others */
        if (by_probability(&c[mid], &c[lo]) < 0)
            swap(c, mid, lo);
        if (by_probability(&c[hi], &c[lo]) < 0)
            swap(c, hi, lo);
        if (by_probability(&c[mid], &c[hi]) < 0)
            swap(c, mid, hi);
        for (long i = lo; i < hi; i++)
            if (by_probability(&c[i], &c[hi]) < 0)
                swap(c, i, at++);
        swap(c, at, hi);
        if (at == k || at + 1 == k)
            break;
        if (at < k)
            lo = at + 1;
        else
            hi = at - 1;
    }
    qsort(c, (size_t)k, sizeof *c, by_probability);
}

/* How many of the most probable ones, which then are in front, are drawn from: at most k, and no
 * more than make up the mass. Few are, so most of the vocabulary is never sorted. */
static long keep_most(struct candidate *c, long V, long k, double mass)
{
    double sum = 0;
    long sorted = 0;
    for (long i = 0; i < k; i++) {
        if (i == sorted) {
            long more = sorted ? 8 * sorted : SORTED;
            more = more < k - sorted ? more : k - sorted;
            front(c + sorted, V - sorted, more);
            sorted += more;
        }
        sum += c[i].p;
        if (sum >= mass)
            return i + 1;
    }
    return k;
}

int32_t sample_token(const float *logits, long V, const struct sampling *s, uint64_t n,
                     struct candidate *scratch)
{
    long best = 0;
    for (long i = 1; i < V; i++)
        if (logits[i] > logits[best])
            best = i;
    if (s->temperature <= 0)
        return (int32_t)best;
    double sum = 0;
    for (long i = 0; i < V; i++) {
        scratch[i].id = (int32_t)i;
        scratch[i].p = (float)exp((logits[i] - logits[best]) / s->temperature);
        sum += scratch[i].p;
    }
    long keep = V;
    if (s->top_k > 0 || s->top_p < 1) {
        keep = s->top_k > 0 && s->top_k < V ? s->top_k : V;
        keep = keep_most(scratch, V, keep, s->top_p * sum);
        sum = 0;
        for (long i = 0; i < keep; i++)
            sum += scratch[i].p;
    }
    struct rng_key key = {.seed = s->seed, .stream = RNG_SAMPLE};
    double u = rng_unit(&key, n) * sum;
    for (long i = 0; i < keep; i++) {
        u -= scratch[i].p;
        if (u < 0)
            return scratch[i].id;
    }
    return scratch[keep - 1].id;
}
