#include "config.h"
#include "tensor/kernels.h"

#include <math.h>

/* Columns of dw that one thread owns at a time: it walks down all rows, so the order of the sum
 * is that of the tokens. */
enum { COLS = 64 };
/* Elements that one thread has done sooner than another one wakes up. */
enum { SMALL = 4096 };

static HOT void scaled_row(float *restrict y, const float *restrict x, const float *restrict w,
                           float r, long D)
{
#pragma omp simd
    for (long d = 0; d < D; d++)
        y[d] = x[d] * r * w[d];
}

static HOT void fwd_row(float *restrict y, float *restrict r, const float *restrict x,
                        const float *restrict w, double eps, long D)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long d = 0; d < D; d++)
        sum += (double)x[d] * x[d];
    float inv = (float)(1.0 / sqrt(sum / (double)D + eps));
    *r = inv;
#pragma omp simd
    for (long d = 0; d < D; d++)
        y[d] = x[d] * inv * w[d];
}

void rmsnorm_fwd(float *y, float *r, const float *x, const float *w, double eps, long T, long D)
{
#pragma omp parallel for schedule(static) if (T * D > SMALL)
    for (long t = 0; t < T; t++)
        fwd_row(y + t * D, r + t, x + t * D, w, eps, D);
}

void rmsnorm_again(float *y, const float *x, const float *w, const float *r, long T, long D)
{
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++)
        scaled_row(y + t * D, x + t * D, w, r[t], D);
}

/* dx += r (w dy) - x r^3 / D sum(w dy x) */
static HOT void bwd_row(float *restrict dx, const float *restrict dy, const float *restrict x,
                        const float *restrict w, float r, long D)
{
    double dot = 0;
#pragma omp simd reduction(+ : dot)
    for (long d = 0; d < D; d++)
        dot += (double)(w[d] * dy[d]) * x[d];
    float c = (float)(dot * r * r * r / (double)D);
#pragma omp simd
    for (long d = 0; d < D; d++)
        dx[d] += r * (w[d] * dy[d]) - c * x[d];
}

/* dw[d] += sum over t of dy x r, for n <= COLS columns */
static HOT void bwd_weight(float *restrict dw, const float *restrict dy, const float *restrict x,
                           const float *restrict r, long T, long D, long n)
{
    double sum[COLS] = {0};
    for (long t = 0; t < T; t++)
#pragma omp simd
        for (long d = 0; d < n; d++)
            sum[d] += (double)(dy[t * D + d] * r[t]) * x[t * D + d];
    for (long d = 0; d < n; d++)
        dw[d] += (float)sum[d];
}

void rmsnorm_bwd(float *dx, float *dw, const float *dy, const float *x, const float *w,
                 const float *r, long T, long D)
{
    if (dw) {
#pragma omp parallel for schedule(static)
        for (long d = 0; d < D; d += COLS)
            bwd_weight(dw + d, dy + d, x + d, r, T, D, D - d < COLS ? D - d : COLS);
    }
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++)
        bwd_row(dx + t * D, dy + t * D, x + t * D, w, r[t], D);
}
