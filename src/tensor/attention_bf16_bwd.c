/* Backward attention with bf16 products. With P = e^(scale q k^T - lse) recomputed by tile and
 * dS = P (dO v^T - delta):  dv = P^T dO,  dk = scale dS^T q,  dq = scale dS k.
 * A thread owns a sequence's group and makes all three in one pass, a tile of queries after
 * the other, dk and dv adding up in their own memory; where that would leave threads idle, keys and
 * queries have owners of their own. The same tiles are added in the same order both ways: the bits
 * do not tell which was taken. */
#include "config.h"
#include "tensor/attention_bf16.h"

#ifdef PESC_HAVE_AVX512_BF16

#include <omp.h>
#include <string.h>

/* Keys of an owner: a multiple of BF16_ROWS too, so that its first query begins a tile. */
enum { OWN_KEYS = 2 * BF16_KEYS };

enum want { WANT_KEYS = 1, WANT_QUERIES = 2 };

struct bwd_tile {
    TILE_ALIGNED uint16_t q_c[C_MAX * BF16_ROWS], do_c[C_MAX * BF16_ROWS]; /* channel pairs */
    TILE_ALIGNED uint16_t q_r[C_MAX * BF16_ROWS], do_r[C_MAX * BF16_ROWS]; /* row pairs */
    TILE_ALIGNED float s[BF16_KEYS * BF16_ROWS], dp[BF16_KEYS * BF16_ROWS];
    TILE_ALIGNED uint16_t p[BF16_KEYS * BF16_ROWS], ds[BF16_KEYS * BF16_ROWS]; /* [keys][ld] */
    TILE_ALIGNED uint16_t ds_k[BF16_KEYS * BF16_ROWS];                         /* key pairs */
    TILE_ALIGNED float dq[C_MAX * BF16_ROWS];                                  /* [Cp][ld] */
    TILE_ALIGNED float lse[BF16_ROWS], delta[BF16_ROWS], scale[BF16_ROWS];
    TILE_ALIGNED int pos[BF16_ROWS], oldest[BF16_ROWS];
    long at[BF16_ROWS];
};

struct view {
    const uint16_t *q, *do_;
    const float *lse, *delta;
    const uint16_t *k, *v, *k_c; /* rows, rows, columns */
    float *dq, *dk, *dv;
    long n, rep, k_stride;
};

/* o in full: what it is rounded by would not cancel in dS. */
static BF16_ISA void row_delta(float *delta, const uint16_t *do_, const float *o, long H, long C)
{
    for (long h = 0; h < H; h++) {
        __m512 sum = _mm512_setzero_ps();
        for (long c = 0; c < C; c += LANES)
            sum = _mm512_fmadd_ps(bf16_widen(do_ + h * C + c, C - c),
                                  _mm512_maskz_loadu_ps(bf16_lanes(C - c), o + h * C + c), sum);
        delta[h] = _mm512_reduce_add_ps(sum);
    }
}

BF16_INLINE void store_row(uint16_t *p, __m512 x)
{
    _mm256_store_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(x));
}

/* Scores and dO v^T of 16 rows to P and dS. */
BF16_INLINE void prob_and_ds(struct bwd_tile *w, long at, long ld, long k0, long keys, float c,
                             const int masked)
{
    __m512 by = _mm512_set1_ps(c), delta = _mm512_load_ps(w->delta + at);
    __m512 lse = _mm512_mul_ps(_mm512_load_ps(w->lse + at), _mm512_set1_ps(1.44269504f));
    __m512i pos = _mm512_load_si512(w->pos + at), oldest = _mm512_load_si512(w->oldest + at);
    for (long j = 0; j < keys; j += 2) {
        __m512 ds[2];
#pragma GCC unroll 2
        for (long i = 0; i < 2; i++) {
            long to = (j + i) * ld + at;
            __m512 p = bf16_exp2(_mm512_fmsub_ps(_mm512_load_ps(w->s + to), by, lse));
            ds[i] = _mm512_sub_ps(_mm512_load_ps(w->dp + to), delta);
            if (masked) {
                __mmask16 m = bf16_sees(pos, oldest, k0 + j + i);
                p = _mm512_maskz_mov_ps(m, p);
                ds[i] = _mm512_maskz_mov_ps(m, ds[i]);
            }
            ds[i] = _mm512_mul_ps(p, ds[i]);
            store_row(w->p + to, p);
            store_row(w->ds + to, ds[i]);
        }
        _mm512_store_si512(w->ds_k + j * ld + 2 * at, bf16_pairs(ds[0], ds[1]));
    }
}

static BF16_ISA void prob_tile(struct bwd_tile *w, long ld, long k0, long keys, float c, int masked)
{
    for (long at = 0; at < ld; at += LANES)
        if (masked)
            prob_and_ds(w, at, ld, k0, keys, c, 1);
        else
            prob_and_ds(w, at, ld, k0, keys, c, 0);
}

static void load_rows(struct bwd_tile *w, const struct view *x, const struct attn_dims *d, long f0,
                      long n, long ld, int want)
{
    bf16_places(w->at, w->pos, w->oldest, ld, d, f0, n, 0);
    bf16_pack_channel_pairs(w->q_c, ld, x->q, w->at, n, d->C);
    bf16_pack_channel_pairs(w->do_c, ld, x->do_, w->at, n, d->C);
    if (want & WANT_KEYS) {
        bf16_pack_row_pairs(w->q_r, ld, x->q, w->at, n, d->C);
        bf16_pack_row_pairs(w->do_r, ld, x->do_, w->at, n, d->C);
    }
    for (long r = 0; r < ld; r++) {
        w->lse[r] = r < n ? x->lse[w->at[r]] : 0;
        w->delta[r] = r < n ? x->delta[w->at[r]] : 0;
        w->scale[r] = d->scale;
    }
}

/* Rows f0.. with those of the keys lo .. hi-1 that they see, lo and hi multiples of BF16_KEYS or
 * the end: adds to dk (unscaled) and dv, makes dq. */
static void bwd_rows(const struct view *x, const struct attn_dims *d, long f0, long n, long lo,
                     long hi, int want)
{
    struct bwd_tile w;
    long C = d->C, Cp = bf16_width(C), ld = round_up(n, LANES), nv = ld / LANES;
    long end, begin = bf16_band(f0, n, x->rep, 0, d->window, &end);
    unsigned last = 0xffffu >> (Cp - C);
    begin = begin < lo ? lo : begin;
    end = end > hi ? hi : end;
    if (begin >= end)
        return;
    load_rows(&w, x, d, f0, n, ld, want);
    if (want & WANT_QUERIES)
        bf16_prefetch(x->dq, sizeof *x->dq, d, f0, n);
    if (want & WANT_KEYS && f0 + n < x->n * x->rep) {
        bf16_prefetch(x->q, sizeof *x->q, d, f0 + n, BF16_ROWS);
        bf16_prefetch(x->do_, sizeof *x->do_, d, f0 + n, BF16_ROWS);
    }
    for (long k0 = begin; k0 < end; k0 += BF16_KEYS) {
        long keys = end - k0 < BF16_KEYS ? end - k0 : BF16_KEYS, even = round_up(keys, 2);
        long columns = x->n - k0 < BF16_KEYS ? round_up(x->n - k0, 2) : BF16_KEYS;
        int masked = k0 + even - 1 > w.pos[0] || k0 < w.oldest[n - 1];
        bf16_mm(w.s, ld, x->k + k0 * Cp, Cp, w.q_c, ld, keys, nv, Cp / 2, 0, 0xffff);
        bf16_mm(w.dp, ld, x->v + k0 * Cp, Cp, w.do_c, ld, keys, nv, Cp / 2, 0, 0xffff);
        prob_tile(&w, ld, k0, even, d->scale * 1.44269504f, masked);
        if (want & WANT_KEYS) {
            bf16_mm(x->dv + k0 * x->k_stride, x->k_stride, w.p, ld, w.do_r, Cp, keys, Cp / LANES,
                    ld / 2, 1, last);
            bf16_mm(x->dk + k0 * x->k_stride, x->k_stride, w.ds, ld, w.q_r, Cp, keys, Cp / LANES,
                    ld / 2, 1, last);
        }
        if (want & WANT_QUERIES)
            bf16_mm(w.dq, ld, x->k_c + k0 * Cp, columns, w.ds_k, ld, Cp, nv, even / 2, k0 > begin,
                    0xffff);
    }
    if (want & WANT_QUERIES)
        bf16_store_transposed(x->dq, w.at, n, C, w.dq, ld, w.scale);
}

static BF16_ISA void scale_row(float *x, float by, long n)
{
    for (long i = 0; i < n; i++)
        x[i] *= by;
}

/* Keys lo .. hi-1, and with WANT_QUERIES, which wants all keys, also dq. */
static void bwd_keys(const struct view *x, const struct attn_dims *d, long lo, long hi, int want)
{
    size_t row = (size_t)d->C * sizeof *x->dk;
    for (long j = lo; j < hi; j++) {
        memset(x->dk + j * x->k_stride, 0, row);
        memset(x->dv + j * x->k_stride, 0, row);
    }
    long end = d->window > 0 && hi - 1 + d->window < x->n ? hi - 1 + d->window : x->n;
    long rows = x->n * x->rep;
    for (long f = lo * x->rep; f < end * x->rep; f += BF16_ROWS)
        bwd_rows(x, d, f, rows - f < BF16_ROWS ? rows - f : BF16_ROWS, lo, hi, want);
    for (long j = lo; j < hi; j++)
        scale_row(x->dk + j * x->k_stride, d->scale, d->C);
}

/* Whether whole sequences keep the threads busier than the 7/5 of arithmetic that two passes cost
 * are worth: by the bound of what is left for the last thread. */
static int in_one_pass(const long *cu, long S, long G, long threads)
{
    double all = 0, most = 0;
    for (long s = 0; s < S; s++) {
        double n = (double)(cu[s + 1] - cu[s]);
        all += n * n * (double)G;
        most = n * n > most ? n * n : most;
    }
    return most * (double)(threads - 1) <= 0.4 * all;
}

/* Everything of a call; made for each sequence and group. */
struct call {
    float *dq, *dk, *dv;
    const uint16_t *do_, *q;
    const float *lse, *delta;
    const uint16_t *k, *v, *k_c;
    const long *cu;
    const struct attn_dims *d;
};

static struct view view_of(const struct call *c, long s, long g)
{
    const struct attn_dims *d = c->d;
    long H = d->H, G = d->G, C = d->C, Cp = bf16_width(C), first = c->cu[s];
    long n = c->cu[s + 1] - first, to = first * H + g * (H / G), kto = (first * G + g) * C;
    return (struct view){.q = c->q + to * C,
                         .do_ = c->do_ + to * C,
                         .lse = c->lse + to,
                         .delta = c->delta + to,
                         .k = c->k + bf16_rows_at(first, n, G, g, Cp),
                         .v = c->v + bf16_rows_at(first, n, G, g, Cp),
                         .k_c = c->k_c + bf16_columns_at(first, n, G, g, Cp),
                         .dq = c->dq + to * C,
                         .dk = c->dk + kto,
                         .dv = c->dv + kto,
                         .n = n,
                         .rep = H / G,
                         .k_stride = G * C};
}

void attention_bwd_bf16(float *dq, float *dk, float *dv, float *delta, const uint16_t *do_,
                        const uint16_t *q, const uint16_t *k, const uint16_t *v, const float *o,
                        const float *lse, const long *cu, long S, const struct attn_dims *d)
{
    long H = d->H, G = d->G, C = d->C, rep = H / G, Cp = bf16_width(C);
    uint16_t *k_c = d->packed, *kp = k_c + bf16_columns_size(cu[S], G, C);
    uint16_t *vp = kp + bf16_rows_size(cu[S], G, C);
    const struct call call = {dq, dk, dv, do_, q, lse, delta, kp, vp, k_c, cu, d};
    long packs = item_count(cu, S, G, 1, BF16_KEYS), owners = item_count(cu, S, G, 1, OWN_KEYS);
    long tiles = item_count(cu, S, G, rep, BF16_ROWS);
#pragma omp parallel
    {
        struct item at = {0, 0};
        int one = in_one_pass(cu, S, G, omp_get_num_threads());
#pragma omp for schedule(static) nowait
        for (long t = cu[0]; t < cu[S]; t++)
            row_delta(delta + t * H, do_ + t * H * C, o + t * H * C, H, C);
#pragma omp for schedule(static)
        for (long i = 0; i < packs; i++) {
            long of = item_to(&at, i, cu, G, 1, BF16_KEYS), first = cu[at.s];
            long n = cu[at.s + 1] - first, j = of / G * BF16_KEYS, g = of % G;
            long in = ((first + j) * G + g) * C, keys = n - j < BF16_KEYS ? n - j : BF16_KEYS;
            long rows = bf16_rows_at(first, n, G, g, Cp) + j * Cp;
            bf16_pack_rows(kp + rows, k + in, G * C, keys, C);
            bf16_pack_rows(vp + rows, v + in, G * C, keys, C);
            bf16_pack_columns(k_c + bf16_columns_at(first, n, G, g, Cp) + j * Cp, k + in, G * C,
                              keys, C);
        }
        if (one) {
#pragma omp for schedule(dynamic)
            for (long i = 0; i < S * G; i++) {
                struct view x = view_of(&call, i / G, i % G);
                bwd_keys(&x, d, 0, x.n, WANT_KEYS | WANT_QUERIES);
            }
        } else {
            at = (struct item){0, 0};
#pragma omp for schedule(dynamic) nowait
            for (long i = 0; i < owners; i++) { /* the first keys of a sequence are the longest */
                long of = item_to(&at, i, cu, G, 1, OWN_KEYS), j = of / G * OWN_KEYS;
                struct view x = view_of(&call, at.s, of % G);
                bwd_keys(&x, d, j, j + OWN_KEYS < x.n ? j + OWN_KEYS : x.n, WANT_KEYS);
            }
            at = (struct item){0, 0};
#pragma omp for schedule(dynamic)
            for (long i = 0; i < tiles; i++) {
                long of = item_to(&at, i, cu, G, rep, BF16_ROWS);
                struct view x = view_of(&call, at.s, of % G);
                long rows = x.n * rep, f = ((rows - 1) / BF16_ROWS - of / G) * BF16_ROWS;
                bwd_rows(&x, d, f, rows - f < BF16_ROWS ? rows - f : BF16_ROWS, 0, x.n,
                         WANT_QUERIES);
            }
        }
    }
}

#else

void attention_bwd_bf16(float *dq, float *dk, float *dv, float *delta, const uint16_t *do_,
                        const uint16_t *q, const uint16_t *k, const uint16_t *v, const float *o,
                        const float *lse, const long *cu, long S, const struct attn_dims *d)
{
    (void)dq, (void)dk, (void)dv, (void)delta, (void)do_, (void)q, (void)k, (void)v, (void)o;
    (void)lse, (void)cu, (void)S, (void)d;
}

#endif
