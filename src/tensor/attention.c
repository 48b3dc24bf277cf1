#include "config.h"
#include "tensor/attention_tile.h"
#include "tensor/vecmath.h"

#include <math.h>
#include <omp.h>

/* Stands for minus infinity in the running maximum, so that a row without visible keys so far
 * gives e^(-inf) = 0 and not e^(inf - inf). */
static const float LOWEST = -1e30f;

/* Running state of one tile of rows; ld is C rounded up to LANES. */
struct fwd_tile {
    TILE_ALIGNED float q[TILE_ROWS * C_MAX];
    TILE_ALIGNED float acc[TILE_ROWS * C_MAX];
    TILE_ALIGNED float kt[C_MAX * TILE_KEYS];
    TILE_ALIGNED float v[TILE_KEYS * C_MAX];
    TILE_ALIGNED float s[TILE_ROWS * TILE_KEYS];
    float max[TILE_ROWS], sum[TILE_ROWS];
    int lo[TILE_ROWS], hi[TILE_ROWS];
};

/* Scores of one key tile to unnormalised probabilities, in place; what was accumulated under the
 * old maximum is brought to the new one. */
static HOT void online_softmax(struct fwd_tile *w, long rows, long keys, long ld)
{
    for (long r = 0; r < rows; r++) {
        float *s = w->s + r * TILE_KEYS, m = w->max[r], sum = 0;
        for (long j = 0; j < w->lo[r]; j++)
            s[j] = -INFINITY;
        for (long j = w->hi[r]; j < keys; j++)
            s[j] = -INFINITY;
        m = vm_max(s, keys, m);
#pragma omp simd reduction(+ : sum)
        for (long j = 0; j < keys; j++) {
            s[j] = vm_exp(s[j] - m);
            sum += s[j];
        }
        if (m != w->max[r]) {
            float shrink = vm_exp(w->max[r] - m), *acc = w->acc + r * ld;
            w->sum[r] *= shrink;
#pragma omp simd
            for (long c = 0; c < ld; c++)
                acc[c] *= shrink;
            w->max[r] = m;
        }
        w->sum[r] += sum;
    }
}

/* One sequence's view of one group. */
struct view {
    const float *q, *k, *v;
    float *o, *lse;
    long nq, nk, rep, q_stride, k_stride;
};

static void fwd_rows(const struct view *x, const struct attn_dims *d, long f0, long n)
{
    struct fwd_tile w;
    long C = d->C, ld = round_up(C, LANES), rows = round_up(n, 6), shift = x->nk - x->nq;
    tile_load(w.q, ld, x->q, x->q_stride, x->rep, f0, n, rows, C, d->scale);
    for (long i = 0; i < rows * ld; i++)
        w.acc[i] = 0;
    for (long r = 0; r < rows; r++) {
        w.max[r] = LOWEST;
        w.sum[r] = 0;
    }
    long first = f0 / x->rep + shift, last = (f0 + n - 1) / x->rep + shift;
    long k0 = d->window > 0 && first >= d->window ? first - d->window + 1 : 0;
    for (k0 -= k0 % TILE_KEYS; k0 <= last; k0 += TILE_KEYS) {
        long nk = x->nk - k0 < TILE_KEYS ? x->nk - k0 : TILE_KEYS, keys = round_up(nk, LANES);
        tile_load_t(w.kt, x->k, x->k_stride, k0, nk, C);
        tile_load(w.v, ld, x->v, x->k_stride, 1, k0, nk, keys, C, 1.0f);
        tile_mm(w.s, TILE_KEYS, w.q, ld, 1, w.kt, TILE_KEYS, rows, keys, C, 0);
        tile_band(w.lo, w.hi, x->rep, f0, n, rows, shift, d->window, k0, x->nk);
        online_softmax(&w, rows, keys, ld);
        tile_mm(w.acc, ld, w.s, TILE_KEYS, 1, w.v, ld, rows, ld, keys, 1);
    }
    for (long r = 0; r < n; r++) {
        long f = f0 + r;
        int empty = w.sum[r] == 0;
        x->lse[f / x->rep * d->H + f % x->rep] = empty ? -INFINITY : w.max[r] + logf(w.sum[r]);
        w.sum[r] = empty ? 0 : 1.0f / w.sum[r];
    }
    tile_store(x->o, x->q_stride, x->rep, f0, n, C, w.acc, ld, w.sum, 0);
}

void attention_fwd(float *o, float *lse, const float *q, const float *k, const float *v,
                   const long *cq, const long *ck, long S, const struct attn_dims *d)
{
    long H = d->H, G = d->G, C = d->C, rep = H / G;
    /* Tiles are dealt out in turn, since later ones of a sequence see more keys. */
#pragma omp parallel
    {
        long turn = 0, me = omp_get_thread_num(), threads = omp_get_num_threads();
        for (long s = 0; s < S; s++)
            for (long g = 0; g < G; g++) {
                long nq = cq[s + 1] - cq[s], at = cq[s] * H + g * rep, kat = (ck[s] * G + g) * C;
                struct view x = {.q = q + at * C,
                                 .k = k + kat,
                                 .v = v + kat,
                                 .o = o + at * C,
                                 .lse = lse + at,
                                 .nq = nq,
                                 .nk = ck[s + 1] - ck[s],
                                 .rep = rep,
                                 .q_stride = H * C,
                                 .k_stride = G * C};
                for (long f = 0; f < nq * rep; f += TILE_ROWS)
                    if (turn++ % threads == me)
                        fwd_rows(&x, d, f, nq * rep - f < TILE_ROWS ? nq * rep - f : TILE_ROWS);
            }
    }
}
