#include "config.h"
#include "adapters/route.h"
#include "core/rng.h"
#include "tensor/kernels.h"
#include "tensor/vecmath.h"

#include <string.h>

void moe_saved_layout(struct moe_saved *s, struct arena *a, long T, long D,
                      const struct moe_config *c)
{
    size_t R = (size_t)(T * c->top_k), A = (size_t)c->dim, E = (size_t)c->experts;
    s->expert = arena_alloc(a, R, sizeof *s->expert);
    s->w = ARENA_FLOATS(a, R);
    s->prob = ARENA_FLOATS(a, (size_t)T * E);
    s->offset = arena_alloc(a, E + 1, sizeof *s->offset);
    s->row_token = arena_alloc(a, R, sizeof *s->row_token);
    s->row_slot = arena_alloc(a, R, sizeof *s->row_slot);
    s->token_row = arena_alloc(a, R, sizeof *s->token_row);
    s->zg = ARENA_FLOATS(a, R * (size_t)D);
    s->pre = ARENA_FLOATS(a, R * A);
    s->act = ARENA_FLOATS(a, R * A);
    s->out = ARENA_FLOATS(a, R * (size_t)D);
}

/* Dropout: element d of a token's row is dropped where its 32-bit draw is below p * 2^32, else
 * scaled by 1 / (1 - p). The draw is numbered token * D + d in the stream of (step, layer,
 * expert), so the backward pass draws the same mask again. */
struct dropout {
    int on;
    struct rng_key key;
    long token; /* number of the pass's first */
    uint32_t below;
    float keep;
};

static struct dropout dropout_of(const struct moe_config *c, const struct moe_rng *rng)
{
    struct dropout d = {0};
    if (!rng || !rng->training || c->dropout <= 0)
        return d;
    double below = c->dropout * 0x1p32;
    d.on = 1;
    d.key = (struct rng_key){rng->seed, RNG_DROPOUT, rng->step, rng->layer * (uint32_t)c->experts};
    d.token = rng->token;
    d.below = below >= 0xffffffffp0 ? UINT32_MAX : (uint32_t)below;
    d.keep = (float)(1.0 / (1.0 - c->dropout));
    return d;
}

static HOT void drop_words(float *restrict row, const uint32_t *restrict word, uint32_t below,
                           float keep, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        row[i] = word[i] < below ? 0 : row[i] * keep;
}

static void drop_row(float *row, const struct dropout *drop, long expert, long token, long D)
{
    enum { WORDS = 1024 };
    uint32_t word[WORDS];
    struct rng_key key = drop->key;
    key.b += (uint32_t)expert;
    uint64_t at = (uint64_t)(drop->token + token) * (uint64_t)D;
    for (long d = 0; d < D;) {
        long skip = (long)(at % 4), n = D - d < WORDS - skip ? D - d : WORDS - skip;
        rng_blocks(&key, (uint32_t)(at / 4), word, (skip + n + 3) / 4);
        drop_words(row + d, word + skip, drop->below, drop->keep, n);
        d += n;
        at += (uint64_t)n;
    }
}

static HOT void gelu(float *restrict act, const float *restrict pre, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++) {
        float cdf, density;
        vm_normal(pre[i], &cdf, &density);
        act[i] = pre[i] * cdf;
    }
}

/* d gelu(p) / dp = Phi(p) + p phi(p) */
static HOT void gelu_bwd(float *restrict g, const float *restrict pre, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++) {
        float cdf, density;
        vm_normal(pre[i], &cdf, &density);
        g[i] *= cdf + pre[i] * density;
    }
}

/* y = z + sum of the token's rows in the order of the experts, each by scaling times its weight
 * (w NULL: by 1). Where the sum is 0 the token's value is kept as it is, sign of zero included:
 * untrained adapters change no bit. */
static HOT void combine(float *y, const float *z, const float *restrict out, const int *rows,
                        const float *w, const int *row_slot, float scaling, long K, long D)
{
    enum { COLS = 256 };
    float sum[COLS];
    for (long d = 0; d < D; d += COLS) {
        long n = D - d < COLS ? D - d : COLS;
        memset(sum, 0, sizeof sum);
        for (long k = 0; k < K; k++) {
            const float *restrict o = out + rows[k] * D + d;
            float by = w ? scaling * w[row_slot[rows[k]]] : 1.0f;
#pragma omp simd
            for (long i = 0; i < n; i++)
                sum[i] += by * o[i];
        }
#pragma omp simd
        for (long i = 0; i < n; i++)
            y[d + i] = sum[i] == 0 ? z[d + i] : z[d + i] + sum[i];
    }
}

static HOT double dot(const float *restrict a, const float *restrict b, long n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static HOT void scale_row(float *restrict y, const float *restrict x, float w, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        y[i] = w * x[i];
}

static long expert_of(const struct moe_saved *s, long row, long K)
{
    return s->expert[s->row_token[row] * K + s->row_slot[row]];
}

/* out = in times the matrices W[E][N,K], each for its own expert's rows. */
static void experts_fwd(struct gemm *g, float *out, const float *in, const float *W,
                        const long *offset, long E, long N, long K)
{
    enum { LIST = 16 };
    struct wmat w[LIST];
    struct linear l[LIST];
    int n = 0;
    for (long e = 0; e < E; e++) {
        long at = offset[e], rows = offset[e + 1] - at;
        if (rows > 0) {
            w[n] = (struct wmat){.dtype = DT_F32, .N = N, .K = K, .data = W + e * N * K};
            l[n] = (struct linear){out + at * N, in + at * K, &w[n], NULL, rows};
            n++;
        }
        if (n == LIST || e + 1 == E) {
            linears_fwd(g, l, n);
            n = 0;
        }
    }
}

void moe_fwd(struct gemm *g, float *y, const float *z, const float *x, const struct moe_weights *W,
             const struct moe_config *c, const struct moe_rng *rng, struct moe_saved *s, long T,
             long D)
{
    long E = c->experts, K = c->top_k, A = c->dim, R = T * K;
    struct dropout drop = dropout_of(c, rng);
    struct wmat router = {.dtype = DT_F32, .N = E, .K = D, .data = W->Wr};
    linear_fwd(g, s->prob, x, &router, NULL, T);
    route_choose(s, W->off, c, T);
    route_sort(s, c, T);
#pragma omp parallel for schedule(static) if (T > 1)
    for (long r = 0; r < R; r++) {
        memcpy(s->zg + r * D, z + s->row_token[r] * D, (size_t)D * sizeof *z);
        if (drop.on)
            drop_row(s->zg + r * D, &drop, expert_of(s, r, K), s->row_token[r], D);
    }
    experts_fwd(g, s->pre, s->zg, W->Dn, s->offset, E, A, D);
#pragma omp parallel for schedule(static) if (T > 1)
    for (long r = 0; r < R; r++)
        gelu(s->act + r * A, s->pre + r * A, A);
    experts_fwd(g, s->out, s->act, W->Up, s->offset, E, D, A);
#pragma omp parallel for schedule(static) if (T > 1)
    for (long t = 0; t < T; t++)
        combine(y + t * D, z + t * D, s->out, s->token_row + t * K, s->w + t * K, s->row_slot,
                (float)c->scaling, K, D);
}

struct bwd_scratch {
    float *dw;   /* [T,K] */
    float *dl;   /* [T,E] */
    float *gz;   /* [R,D] first scaling w_e dy, then the gradient of zg */
    float *gact; /* [R,A] */
};

/* 0 when the arena only counts or is too small. */
static int bwd_layout(struct bwd_scratch *b, struct arena *a, long T, long D,
                      const struct moe_config *c)
{
    size_t R = (size_t)(T * c->top_k);
    b->dw = ARENA_FLOATS(a, R);
    b->dl = ARENA_FLOATS(a, (size_t)T * (size_t)c->experts);
    b->gz = ARENA_FLOATS(a, R * (size_t)D);
    b->gact = ARENA_FLOATS(a, R * (size_t)c->dim);
    return b->dw && b->dl && b->gz && b->gact;
}

void moe_bwd_scratch(struct arena *a, long T, long D, const struct moe_config *c)
{
    struct bwd_scratch b;
    size_t mark = arena_mark(a);
    (void)bwd_layout(&b, a, T, D, c);
    arena_reset(a, mark);
}

/* Gradients of the experts' weights; gz becomes the gradient of their inputs. */
static void experts_bwd(struct gemm *g, struct bwd_scratch *b, struct moe_weights *dW,
                        const struct moe_weights *W, const struct moe_saved *s,
                        const struct moe_config *c, long R, long D)
{
    long E = c->experts, A = c->dim;
    for (long e = 0; e < E; e++) {
        long at = s->offset[e], n = s->offset[e + 1] - at;
        if (n == 0)
            continue;
        if (dW->Up)
            gemm_tn(g, dW->Up + e * D * A, 1, b->gz + at * D, s->act + at * A, D, A, n);
        gemm_nn(g, b->gact + at * A, 0, b->gz + at * D, W->Up + e * D * A, n, A, D);
    }
#pragma omp parallel for schedule(static)
    for (long r = 0; r < R; r++)
        gelu_bwd(b->gact + r * A, s->pre + r * A, A);
    for (long e = 0; e < E; e++) {
        long at = s->offset[e], n = s->offset[e + 1] - at;
        if (n == 0)
            continue;
        if (dW->Dn)
            gemm_tn(g, dW->Dn + e * A * D, 1, b->gact + at * A, s->zg + at * D, A, D, n);
        gemm_nn(g, b->gz + at * D, 0, b->gact + at * A, W->Dn + e * A * D, n, D, A);
    }
}

void moe_bwd(struct gemm *g, float *dz, float *dx, struct moe_weights *dW, const float *dy,
             const float *x, const struct moe_weights *W, const struct moe_config *c,
             const struct moe_rng *rng, const struct moe_saved *s, double balance_scale,
             struct arena *scratch, long T, long D)
{
    long E = c->experts, K = c->top_k, R = T * K;
    struct dropout drop = dropout_of(c, rng);
    struct bwd_scratch b;
    size_t mark = arena_mark(scratch);
    if (!bwd_layout(&b, scratch, T, D, c)) {
        arena_reset(scratch, mark);
        return;
    }
#pragma omp parallel for schedule(static)
    for (long r = 0; r < R; r++) {
        long t = s->row_token[r], slot = t * K + s->row_slot[r];
        b.dw[slot] = (float)(c->scaling * dot(dy + t * D, s->out + r * D, D));
        scale_row(b.gz + r * D, dy + t * D, (float)c->scaling * s->w[slot], D);
    }
    experts_bwd(g, &b, dW, W, s, c, R, D);
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++) {
        const int *rows = s->token_row + t * K;
        for (long k = 0; drop.on && k < K; k++)
            drop_row(b.gz + rows[k] * D, &drop, expert_of(s, rows[k], K), t, D);
        combine(dz + t * D, dy + t * D, b.gz, rows, NULL, s->row_slot, 1.0f, K, D);
    }
    route_bwd(b.dl, b.dw, s, c, balance_scale, T);
    if (dW->Wr)
        gemm_tn(g, dW->Wr, 1, b.dl, x, E, D, T);
    gemm_nn(g, dx, 1, b.dl, W->Wr, T, D, E);
    arena_reset(scratch, mark);
}
