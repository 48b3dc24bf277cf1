/* Development check: how fast attention is, with float and with bf16 products in turns, by
 * processor time. In the build folder:
 *
 *   make tests/dev/time_attention && OMP_NUM_THREADS=1 tests/dev/time_attention [SECONDS]
 *
 * GFLOP/s count what causal attention needs: 4 C a visible pair and head forward, 10 C backward. */
#include "config.h"
#include "core/isa.h"
#include "tensor/dtype.h"
#include "tensor/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *numbers(long n)
{
    float *x = aligned_alloc(64, ((size_t)n * sizeof *x + 63) / 64 * 64); /* as in an arena */
    unsigned u = 1;
    for (long i = 0; x && i < n; i++) {
        u = u * 1664525u + 1013904223u;
        x[i] = (float)(u >> 8) / (float)(1 << 23) - 1;
    }
    return x ? x : (abort(), NULL);
}

static uint16_t *halves(const float *x, long n)
{
    uint16_t *h = aligned_alloc(64, ((size_t)n * sizeof *h + 63) / 64 * 64);
    if (!h)
        abort();
    dtype_from_f32(h, x, DT_BF16, (size_t)n);
    return h;
}

static void measure(long H, long G, long C, long n, long S, double seconds)
{
    struct attn_dims d = {H, G, C, 0, (float)(1 / sqrt((double)C)), NULL};
    long T = n * S, Q = T * H * C, K = T * G * C;
    long *cu = malloc((size_t)(S + 1) * sizeof *cu);
    float *q = numbers(Q), *k = numbers(K), *v = numbers(K), *o = numbers(Q), *lse = numbers(T * H);
    float *do_ = numbers(Q), *dq = numbers(Q), *dk = numbers(K), *dv = numbers(K);
    float *delta = numbers(T * H);
    uint16_t *packed = (uint16_t *)numbers((long)attention_packed(T, &d) / 2 + 1);
    uint16_t *q16 = halves(q, Q), *k16 = halves(k, K), *v16 = halves(v, K), *do16 = halves(do_, Q);
    double best[2][2] = {{0}};
    d.packed = packed;
    if (!cu || !packed)
        abort();
    for (long s = 0; s <= S; s++)
        cu[s] = s * n;
    double start = now();
    for (int i = 0; i < 3 || now() - start < seconds; i++)
        for (int narrow = 0; narrow < 2; narrow++) {
            double a = now();
            if (narrow)
                attention_fwd_bf16(o, lse, q16, k16, v16, cu, cu, S, &d);
            else
                attention_fwd(o, lse, q, k, v, cu, cu, S, &d);
            double b = now();
            if (narrow)
                attention_bwd_bf16(dq, dk, dv, delta, do16, q16, k16, v16, o, lse, cu, S, &d);
            else
                attention_bwd(dq, dk, dv, delta, do_, q, k, v, o, lse, cu, S, &d);
            double c = now();
            if (i == 0 || b - a < best[narrow][0])
                best[narrow][0] = b - a;
            if (i == 0 || c - b < best[narrow][1])
                best[narrow][1] = c - b;
        }
    double unit = 1e-9 * (double)(S * H * C) * (double)n * (double)(n + 1) / 2;
    printf("H=%-3ld G=%-2ld C=%-4ld %4ld x %-3ld  forward %5.1f -> %5.1f  backward %5.1f -> %5.1f  "
           "GFLOP/s, both %.2f times\n",
           H, G, C, S, n, 4 * unit / best[0][0], 4 * unit / best[1][0], 10 * unit / best[0][1],
           10 * unit / best[1][1], (best[0][0] + best[0][1]) / (best[1][0] + best[1][1]));
    free(cu), free(q), free(k), free(v), free(o), free(lse), free(do_), free(dq), free(dk);
    free(dv), free(delta), free(packed), free(q16), free(k16), free(v16), free(do16);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    if (!isa_avx512_bf16())
        printf("no bf16 products here\n");
    measure(9, 3, 64, 512, 4, seconds);
    measure(9, 3, 64, 2048, 1, seconds);
    measure(8, 2, 128, 512, 4, seconds);
    measure(8, 2, 128, 2048, 1, seconds);
    measure(32, 4, 64, 512, 1, seconds);
    measure(8, 8, 80, 200, 5, seconds);
    measure(9, 3, 64, 37, 50, seconds);
    return 0;
}
