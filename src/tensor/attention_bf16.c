/* Forward attention with bf16 products, and whether this machine has them. Scores, the running
 * softmax and outputs are float; q, k, v and the probabilities are rounded for the products. */
#include "config.h"
#include "tensor/attention_bf16.h"

#include <math.h>
#include <omp.h>

#ifdef PESC_HAVE_AVX512_BF16

/* Backward: rows of keys and of values, columns of keys. Forward needs less. */
size_t attention_packed(long T, const struct attn_dims *d)
{
    return (size_t)(2 * bf16_rows_size(T, d->G, d->C) + bf16_columns_size(T, d->G, d->C) +
                    KEYS_STEP * bf16_width(d->C));
}

/* Tiles that a thread takes at a time, where there are many: neighbours share keys. */
enum { CHUNK = 8 };

/* As in the float kernel: minus infinity of the running maximum. */
static const float LOWEST = -1e30f;

struct fwd_tile {
    TILE_ALIGNED uint16_t q[C_MAX * BF16_ROWS]; /* channel pairs */
    TILE_ALIGNED float o[C_MAX * BF16_ROWS];    /* [Cp][ld] */
    TILE_ALIGNED float s[BF16_KEYS * BF16_ROWS];
    TILE_ALIGNED uint16_t p[BF16_KEYS * BF16_ROWS]; /* key pairs [keys/2][ld][2] */
    TILE_ALIGNED float max[BF16_ROWS], sum[BF16_ROWS];
    TILE_ALIGNED int pos[BF16_ROWS], oldest[BF16_ROWS];
    long at[BF16_ROWS];
};

struct view {
    const uint16_t *q;
    const uint16_t *k, *v; /* rows, columns */
    float *o, *lse;
    long nq, nk, rep;
};

/* Scores of 16 rows to unnormalised probabilities; o is brought to their new maximum. */
BF16_INLINE void online_softmax(struct fwd_tile *w, long at, long ld, long k0, long keys, float c,
                                long Cp, int first, const int masked)
{
    float *s = w->s + at;
    __m512 by = _mm512_set1_ps(c), was = _mm512_load_ps(w->max + at), m = was;
    __m512i pos = _mm512_load_si512(w->pos + at), oldest = _mm512_load_si512(w->oldest + at);
    for (long j = 0; j < keys; j++) {
        __m512 x = _mm512_load_ps(s + j * ld);
        if (masked) {
            x = _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), bf16_sees(pos, oldest, k0 + j), x);
            _mm512_store_ps(s + j * ld, x);
        }
        m = _mm512_max_ps(x, m); /* the second one where there is a NaN */
    }
    __m512 top = _mm512_mul_ps(m, by), sum = _mm512_load_ps(w->sum + at);
    if (!first && _mm512_cmpneq_ps_mask(m, was)) {
        __m512 shrink = bf16_exp2(_mm512_fmsub_ps(was, by, top));
        sum = _mm512_mul_ps(sum, shrink);
        for (long i = 0; i < Cp; i++) {
            float *o = w->o + i * ld + at;
            _mm512_store_ps(o, _mm512_mul_ps(_mm512_load_ps(o), shrink));
        }
    }
    for (long j = 0; j < keys; j += 2) {
        __m512 a = bf16_exp2(_mm512_fmsub_ps(_mm512_load_ps(s + j * ld), by, top));
        __m512 b = bf16_exp2(_mm512_fmsub_ps(_mm512_load_ps(s + (j + 1) * ld), by, top));
        sum = _mm512_add_ps(sum, _mm512_add_ps(a, b));
        _mm512_store_si512(w->p + j * ld + 2 * at, bf16_pairs(a, b));
    }
    _mm512_store_ps(w->max + at, m);
    _mm512_store_ps(w->sum + at, sum);
}

static BF16_ISA void softmax_tile(struct fwd_tile *w, long ld, long k0, long keys, float c, long Cp,
                                  int first, int masked)
{
    for (long at = 0; at < ld; at += LANES)
        if (masked)
            online_softmax(w, at, ld, k0, keys, c, Cp, first, 1);
        else
            online_softmax(w, at, ld, k0, keys, c, Cp, first, 0);
}

/* next: rows before these that come next. */
static void fwd_rows(const struct view *x, const struct attn_dims *d, long f0, long n, long next)
{
    struct fwd_tile w;
    long C = d->C, Cp = bf16_width(C), ld = round_up(n, LANES), shift = x->nk - x->nq;
    bf16_places(w.at, w.pos, w.oldest, ld, d, f0, n, shift);
    bf16_pack_channel_pairs(w.q, ld, x->q, w.at, n, C);
    bf16_prefetch(x->o, sizeof *x->o, d, f0, n);
    bf16_prefetch(x->q, sizeof *x->q, d, f0 - next, next);
    for (long r = 0; r < ld; r++) {
        w.max[r] = LOWEST;
        w.sum[r] = 0;
    }
    long end, begin = bf16_band(f0, n, x->rep, shift, d->window, &end);
    for (long i = 0; end <= begin && i < Cp * ld; i++)
        w.o[i] = 0;
    for (long k0 = begin; k0 < end; k0 += BF16_KEYS) {
        long keys = end - k0 < BF16_KEYS ? end - k0 : BF16_KEYS, even = round_up(keys, 2);
        long columns = x->nk - k0 < BF16_KEYS ? round_up(x->nk - k0, 2) : BF16_KEYS;
        int masked = k0 + even - 1 > w.pos[0] || k0 < w.oldest[n - 1];
        bf16_mm(w.s, ld, x->k + k0 * Cp, Cp, w.q, ld, keys, ld / LANES, Cp / 2, 0, 0xffff);
        softmax_tile(&w, ld, k0, even, d->scale * 1.44269504f, Cp, k0 == begin, masked);
        bf16_mm(w.o, ld, x->v + k0 * Cp, columns, w.p, ld, Cp, ld / LANES, even / 2, k0 > begin,
                0xffff);
    }
    for (long r = 0; r < n; r++) {
        int empty = w.sum[r] == 0;
        x->lse[w.at[r]] = empty ? -INFINITY : w.max[r] * d->scale + logf(w.sum[r]);
        w.sum[r] = empty ? 0 : 1.0f / w.sum[r];
    }
    bf16_store_transposed(x->o, w.at, n, C, w.o, ld, w.sum);
}

void attention_fwd_bf16(float *o, float *lse, const uint16_t *q, const uint16_t *k,
                        const uint16_t *v, const long *cq, const long *ck, long S,
                        const struct attn_dims *d)
{
    long H = d->H, G = d->G, C = d->C, rep = H / G, Cp = bf16_width(C);
    uint16_t *kp = d->packed, *vp = kp + bf16_rows_size(ck[S], G, C);
    long tiles = item_count(cq, S, G, rep, BF16_ROWS), packs = item_count(ck, S, G, 1, BF16_KEYS);
#pragma omp parallel
    {
        struct item at = {0, 0};
        long threads = omp_get_num_threads(), chunk = tiles / (16 * threads);
        chunk = chunk < 1 ? 1 : chunk > CHUNK ? CHUNK : chunk;
#pragma omp for schedule(static)
        for (long i = 0; i < packs; i++) {
            long of = item_to(&at, i, ck, G, 1, BF16_KEYS), first = ck[at.s];
            long n = ck[at.s + 1] - first, j = of / G * BF16_KEYS, g = of % G;
            long in = ((first + j) * G + g) * C, keys = n - j < BF16_KEYS ? n - j : BF16_KEYS;
            bf16_pack_rows(kp + bf16_rows_at(first, n, G, g, Cp) + j * Cp, k + in, G * C, keys, C);
            bf16_pack_columns(vp + bf16_columns_at(first, n, G, g, Cp) + j * Cp, v + in, G * C,
                              keys, C);
        }
        at = (struct item){0, 0};
        /* Which thread does a tile leaves no trace; the last tiles of a sequence are the longest.
         */
#pragma omp for schedule(dynamic, chunk)
        for (long i = 0; i < tiles; i++) {
            long of = item_to(&at, i, cq, G, rep, BF16_ROWS), nq = cq[at.s + 1] - cq[at.s];
            long rows = nq * rep, each = (rows + BF16_ROWS - 1) / BF16_ROWS, g = of / each;
            long f = (each - 1 - of % each) * BF16_ROWS;
            long first = ck[at.s], n = ck[at.s + 1] - first;
            long to = cq[at.s] * H + g * rep;
            struct view x = {.q = q + to * C,
                             .k = kp + bf16_rows_at(first, n, G, g, Cp),
                             .v = vp + bf16_columns_at(first, n, G, g, Cp),
                             .o = o + to * C,
                             .lse = lse + to,
                             .nq = nq,
                             .nk = n,
                             .rep = rep};
            fwd_rows(&x, d, f, rows - f < BF16_ROWS ? rows - f : BF16_ROWS, f ? BF16_ROWS : 0);
        }
    }
}

#else

size_t attention_packed(long T, const struct attn_dims *d)
{
    (void)T;
    (void)d;
    return 0;
}

void attention_fwd_bf16(float *o, float *lse, const uint16_t *q, const uint16_t *k,
                        const uint16_t *v, const long *cq, const long *ck, long S,
                        const struct attn_dims *d)
{
    (void)o, (void)lse, (void)q, (void)k, (void)v, (void)cq, (void)ck, (void)S, (void)d;
}

#endif
