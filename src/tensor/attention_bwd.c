/* With P = e^(scale q k^T - lse) recomputed by tile and dS = P (dO v^T - delta),
 * delta = sum_c dO O:  dv = P^T dO,  dk = scale dS^T q,  dq = scale dS k.
 * Where there are many sequences and groups a thread owns both of a pair, and one pass over its
 * tiles gives all three. Otherwise two passes, one owning key tiles and one owning query tiles:
 * more arithmetic, but tiles enough for all threads. Nothing is added across threads, and dq is the
 * same sum in the same order both ways: the bits do not tell which was taken. */
#include "config.h"
#include "tensor/attention_tile.h"
#include "tensor/vecmath.h"

#include <math.h>
#include <omp.h>
#include <stddef.h>
#include <string.h>

enum { PAIRS_PER_THREAD = 4 };

struct bwd_tile {
    TILE_ALIGNED float q[TILE_ROWS * C_MAX];
    TILE_ALIGNED float do_[TILE_ROWS * C_MAX];
    TILE_ALIGNED float kt[C_MAX * TILE_KEYS];
    TILE_ALIGNED float vt[C_MAX * TILE_KEYS];
    TILE_ALIGNED float p[TILE_ROWS * TILE_KEYS];
    TILE_ALIGNED float ds[TILE_ROWS * TILE_KEYS];
    TILE_ALIGNED float out[TILE_KEYS * C_MAX];  /* dk or dq */
    TILE_ALIGNED float out2[TILE_KEYS * C_MAX]; /* dv, or k as rows */
    TILE_ALIGNED float k[TILE_KEYS * C_MAX];    /* of a pair, as rows */
    TILE_ALIGNED float dq[TILE_ROWS * C_MAX];
    float lse[TILE_ROWS], delta[TILE_ROWS];
    int lo[TILE_ROWS], hi[TILE_ROWS];
};

struct view {
    const float *q, *k, *v, *do_, *lse, *delta;
    float *dq, *dk, *dv;
    long n, rep, q_stride, k_stride;
};

static HOT void row_delta(float *restrict delta, const float *restrict do_, const float *restrict o,
                          long H, long C)
{
    for (long h = 0; h < H; h++) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (long c = 0; c < C; c++)
            sum += do_[h * C + c] * o[h * C + c];
        delta[h] = sum;
    }
}

/* p holds scores and ds holds dO v^T; on return p = P and ds = dS. */
static HOT void prob_and_ds(struct bwd_tile *w, long rows, long keys)
{
    for (long r = 0; r < rows; r++) {
        float *restrict p = w->p + r * TILE_KEYS, *restrict ds = w->ds + r * TILE_KEYS;
        float lse = w->lse[r], delta = w->delta[r];
        for (long j = 0; j < w->lo[r]; j++)
            p[j] = -INFINITY;
        for (long j = w->hi[r]; j < keys; j++)
            p[j] = -INFINITY;
#pragma omp simd
        for (long j = 0; j < keys; j++) {
            p[j] = vm_exp(p[j] - lse);
            ds[j] = p[j] * (ds[j] - delta);
        }
    }
}

/* Brings in rows f0.. and what belongs to them. */
static long load_rows(struct bwd_tile *w, const struct view *x, const struct attn_dims *d, long f0,
                      long n)
{
    long C = d->C, ld = round_up(C, LANES), rows = round_up(n, 6);
    tile_load(w->q, ld, x->q, x->q_stride, x->rep, f0, n, rows, C, d->scale);
    tile_load(w->do_, ld, x->do_, x->q_stride, x->rep, f0, n, rows, C, 1.0f);
    for (long r = 0; r < rows; r++) {
        long at = (f0 + r) / x->rep * d->H + (f0 + r) % x->rep;
        w->lse[r] = r < n ? x->lse[at] : 0;
        w->delta[r] = r < n ? x->delta[at] : 0;
    }
    return rows;
}

/* P and dS of the loaded rows against the loaded keys. */
static void scores(struct bwd_tile *w, const struct view *x, const struct attn_dims *d, long f0,
                   long n, long k0, long keys)
{
    long C = d->C, ld = round_up(C, LANES), rows = round_up(n, 6);
    tile_mm(w->p, TILE_KEYS, w->q, ld, 1, w->kt, TILE_KEYS, rows, keys, C, 0);
    tile_mm(w->ds, TILE_KEYS, w->do_, ld, 1, w->vt, TILE_KEYS, rows, keys, C, 0);
    tile_band(w->lo, w->hi, x->rep, f0, n, rows, 0, d->window, k0, x->n);
    prob_and_ds(w, rows, keys);
}

/* dk and dv of a key tile; with_dq adds its part of all queries' dq, unscaled. */
static void bwd_keys(const struct view *x, const struct attn_dims *d, long k0, long nk, int with_dq)
{
    struct bwd_tile w;
    long C = d->C, ld = round_up(C, LANES), keys = TILE_KEYS;
    tile_load_t(w.kt, x->k, x->k_stride, k0, nk, C);
    tile_load_t(w.vt, x->v, x->k_stride, k0, nk, C);
    if (with_dq)
        tile_load(w.k, ld, x->k, x->k_stride, 1, k0, nk, keys, C, 1.0f);
    for (long i = 0; i < TILE_KEYS * ld; i++)
        w.out[i] = w.out2[i] = 0;
    long end = d->window > 0 && k0 + nk - 1 + d->window < x->n ? k0 + nk - 1 + d->window : x->n;
    for (long f = k0 * x->rep; f < end * x->rep; f += TILE_ROWS) {
        long n = end * x->rep - f < TILE_ROWS ? end * x->rep - f : TILE_ROWS;
        long rows = load_rows(&w, x, d, f, n);
        scores(&w, x, d, f, n, k0, keys);
        tile_mm(w.out2, ld, w.p, 1, TILE_KEYS, w.do_, ld, TILE_KEYS, ld, rows, 1);
        tile_mm(w.out, ld, w.ds, 1, TILE_KEYS, w.q, ld, TILE_KEYS, ld, rows, 1);
        if (!with_dq)
            continue;
        tile_load(w.dq, ld, x->dq, x->q_stride, x->rep, f, n, rows, C, 1.0f);
        tile_mm(w.dq, ld, w.ds, TILE_KEYS, 1, w.k, ld, rows, ld, keys, 1);
        tile_store(x->dq, x->q_stride, x->rep, f, n, C, w.dq, ld, NULL, 1.0f);
    }
    tile_store(x->dk, x->k_stride, 1, k0, nk, C, w.out, ld, NULL, 1.0f);
    tile_store(x->dv, x->k_stride, 1, k0, nk, C, w.out2, ld, NULL, 1.0f);
}

static void bwd_queries(const struct view *x, const struct attn_dims *d, long f0, long n)
{
    struct bwd_tile w;
    long C = d->C, ld = round_up(C, LANES), rows = load_rows(&w, x, d, f0, n);
    for (long i = 0; i < rows * ld; i++)
        w.out[i] = 0;
    long first = f0 / x->rep, last = (f0 + n - 1) / x->rep;
    long k0 = d->window > 0 && first >= d->window ? first - d->window + 1 : 0;
    for (k0 -= k0 % TILE_KEYS; k0 <= last; k0 += TILE_KEYS) {
        long nk = x->n - k0 < TILE_KEYS ? x->n - k0 : TILE_KEYS, keys = round_up(nk, LANES);
        tile_load_t(w.kt, x->k, x->k_stride, k0, nk, C);
        tile_load_t(w.vt, x->v, x->k_stride, k0, nk, C);
        tile_load(w.out2, ld, x->k, x->k_stride, 1, k0, nk, keys, C, 1.0f);
        scores(&w, x, d, f0, n, k0, keys);
        tile_mm(w.out, ld, w.ds, TILE_KEYS, 1, w.out2, ld, rows, ld, keys, 1);
    }
    tile_store(x->dq, x->q_stride, x->rep, f0, n, C, w.out, ld, NULL, d->scale);
}

static HOT void scale_row(float *restrict x, float by, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        x[i] *= by;
}

static void bwd_pair(const struct view *x, const struct attn_dims *d)
{
    long row = x->rep * d->C;
    for (long t = 0; t < x->n; t++)
        memset(x->dq + t * x->q_stride, 0, (size_t)row * sizeof *x->dq);
    for (long j = 0; j < x->n; j += TILE_KEYS)
        bwd_keys(x, d, j, x->n - j < TILE_KEYS ? x->n - j : TILE_KEYS, 1);
    for (long t = 0; t < x->n; t++)
        scale_row(x->dq + t * x->q_stride, d->scale, row);
}

void attention_bwd(float *dq, float *dk, float *dv, float *delta, const float *do_, const float *q,
                   const float *k, const float *v, const float *o, const float *lse, const long *cu,
                   long S, const struct attn_dims *d)
{
    long H = d->H, G = d->G, C = d->C, rep = H / G;
#pragma omp parallel
    {
        long turn = 0, me = omp_get_thread_num(), threads = omp_get_num_threads();
        int pairs = S * G >= PAIRS_PER_THREAD * threads || threads == 1;
#pragma omp for schedule(static)
        for (long t = cu[0]; t < cu[S]; t++)
            row_delta(delta + t * H, do_ + t * H * C, o + t * H * C, H, C);
        for (long s = 0; s < S; s++)
            for (long g = 0; g < G; g++) {
                long n = cu[s + 1] - cu[s], at = cu[s] * H + g * rep, kat = (cu[s] * G + g) * C;
                struct view x = {.q = q + at * C,
                                 .k = k + kat,
                                 .v = v + kat,
                                 .do_ = do_ + at * C,
                                 .lse = lse + at,
                                 .delta = delta + at,
                                 .dq = dq + at * C,
                                 .dk = dk + kat,
                                 .dv = dv + kat,
                                 .n = n,
                                 .rep = rep,
                                 .q_stride = H * C,
                                 .k_stride = G * C};
                if (pairs) {
                    if (turn++ % threads == me)
                        bwd_pair(&x, d);
                    continue;
                }
                for (long j = 0; j < n; j += TILE_KEYS)
                    if (turn++ % threads == me)
                        bwd_keys(&x, d, j, n - j < TILE_KEYS ? n - j : TILE_KEYS, 0);
                for (long f = 0; f < n * rep; f += TILE_ROWS)
                    if (turn++ % threads == me)
                        bwd_queries(&x, d, f, n * rep - f < TILE_ROWS ? n * rep - f : TILE_ROWS);
            }
    }
}
