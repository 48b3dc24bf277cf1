#include "config.h"
#include "adapters/experts.h"
#include "tensor/vecmath.h"

#include <string.h>

HOT void gelu(float *restrict act, const float *restrict pre, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++) {
        float cdf, density;
        vm_normal(pre[i], &cdf, &density);
        act[i] = pre[i] * cdf;
    }
}

/* d gelu(p) / dp = Phi(p) + p phi(p) */
HOT void gelu_bwd(float *restrict g, const float *restrict pre, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++) {
        float cdf, density;
        vm_normal(pre[i], &cdf, &density);
        g[i] *= cdf + pre[i] * density;
    }
}

HOT double moe_dot(const float *restrict a, const float *restrict b, long n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
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
static void each_expert(struct gemm *g, float *out, const float *in, const float *W,
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
            l[n] = (struct linear){.Y = out + at * N, .X = in + at * K, .W = &w[n], .T = rows};
            n++;
        }
        if (n == LIST || e + 1 == E) {
            linears_fwd(g, l, n);
            n = 0;
        }
    }
}

void experts_fwd(const struct experts_pass *p, struct gemm *g, float *y, const float *z)
{
    const struct moe_config *c = p->c;
    const struct moe_saved *s = p->s;
    const struct moe_weights *W = p->W;
    long E = c->experts, K = c->top_k, A = c->dim, T = p->T, D = p->D, R = T * K;
#pragma omp parallel for schedule(static) if (T > 1)
    for (long r = 0; r < R; r++) {
        memcpy(s->zg + r * D, z + s->row_token[r] * D, (size_t)D * sizeof *z);
        if (p->drop.on)
            dropout_apply(s->zg + r * D, &p->drop, expert_of(s, r, K), s->row_token[r], D, 0, D);
    }
    each_expert(g, s->pre, s->zg, W->Dn, s->offset, E, A, D);
#pragma omp parallel for schedule(static) if (T > 1)
    for (long r = 0; r < R; r++)
        gelu(s->act + r * A, s->pre + r * A, A);
    each_expert(g, s->out, s->act, W->Up, s->offset, E, D, A);
    if (!y)
        return;
#pragma omp parallel for schedule(static) if (T > 1)
    for (long t = 0; t < T; t++)
        combine(y + t * D, z + t * D, s->out, s->token_row + t * K, s->w + t * K, s->row_slot,
                (float)c->scaling, K, D);
}

struct bwd_scratch {
    float *gz;   /* [R,D] first scaling w_e dy, then the gradient of zg */
    float *gact; /* [R,A] */
};

static int bwd_layout(struct bwd_scratch *b, struct arena *a, long T, long D,
                      const struct moe_config *c)
{
    size_t R = (size_t)(T * c->top_k);
    b->gz = ARENA_FLOATS(a, R * (size_t)D);
    b->gact = ARENA_FLOATS(a, R * (size_t)c->dim);
    return b->gz && b->gact ? 0 : -1;
}

void experts_bwd_scratch(struct arena *a, long T, long D, const struct moe_config *c)
{
    struct bwd_scratch b;
    (void)bwd_layout(&b, a, T, D, c);
}

/* Gradients of the experts' weights; gz becomes the gradient of their inputs. */
static void weights_bwd(const struct experts_pass *p, struct gemm *g, struct bwd_scratch *b,
                        struct moe_weights *dW)
{
    const struct moe_saved *s = p->s;
    long E = p->c->experts, A = p->c->dim, D = p->D, R = p->T * p->c->top_k;
    for (long e = 0; e < E; e++) {
        long at = s->offset[e], n = s->offset[e + 1] - at;
        if (n == 0)
            continue;
        if (dW->Up)
            gemm_tn(g, dW->Up + e * D * A, 1, b->gz + at * D, s->act + at * A, D, A, n);
        gemm_nn(g, b->gact + at * A, 0, b->gz + at * D, p->W->Up + e * D * A, n, A, D);
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
        gemm_nn(g, b->gz + at * D, 0, b->gact + at * A, p->W->Dn + e * A * D, n, D, A);
    }
}

int experts_bwd(const struct experts_pass *p, struct gemm *g, float *dz, float *dw,
                struct moe_weights *dW, const float *dy, struct arena *scratch)
{
    const struct moe_config *c = p->c;
    const struct moe_saved *s = p->s;
    long K = c->top_k, T = p->T, D = p->D, R = T * K;
    size_t mark = arena_mark(scratch);
    struct bwd_scratch b;
    if (bwd_layout(&b, scratch, T, D, c) != 0) {
        arena_reset(scratch, mark);
        return -1;
    }
#pragma omp parallel for schedule(static)
    for (long r = 0; r < R; r++) {
        long t = s->row_token[r], slot = t * K + s->row_slot[r];
        dw[slot] = (float)(c->scaling * moe_dot(dy + t * D, s->out + r * D, D));
        scale_row(b.gz + r * D, dy + t * D, (float)c->scaling * s->w[slot], D);
    }
    weights_bwd(p, g, &b, dW);
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++) {
        const int *rows = s->token_row + t * K;
        for (long k = 0; p->drop.on && k < K; k++)
            dropout_apply(b.gz + rows[k] * D, &p->drop, expert_of(s, rows[k], K), t, D, 0, D);
        combine(dz + t * D, dy + t * D, b.gz, rows, NULL, s->row_slot, 1.0f, K, D);
    }
    arena_reset(scratch, mark);
    return 0;
}
