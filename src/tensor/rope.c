#include "config.h"
#include "tensor/kernels.h"
#include "tensor/vecmath.h"

#include <math.h>

void rope_table(float *cos_t, float *sin_t, const long *position, const double *inv_freq, long T,
                long C)
{
    long half = C / 2;
#pragma omp parallel for schedule(static) if (T > 1)
    for (long t = 0; t < T; t++)
        for (long i = 0; i < half; i++) {
            double angle = (double)position[t] * inv_freq[i];
            cos_t[t * half + i] = (float)cos(angle);
            sin_t[t * half + i] = (float)sin(angle);
        }
}

static HOT void rotate_row(float *restrict x, const float *restrict c, const float *restrict s,
                           float sign, long heads, long half)
{
    for (long h = 0; h < heads; h++) {
        float *a = x + 2 * h * half, *b = a + half;
#pragma omp simd
        for (long i = 0; i < half; i++) {
            float u = a[i], v = b[i], w = sign * s[i];
            a[i] = u * c[i] - v * w;
            b[i] = v * c[i] + u * w;
        }
    }
}

void rope_apply(float *x, const float *cos_t, const float *sin_t, int sign, long T, long heads,
                long C)
{
    long half = C / 2;
#pragma omp parallel for schedule(static) if (T > 1)
    for (long t = 0; t < T; t++)
        rotate_row(x + t * heads * C, cos_t + t * half, sin_t + t * half, sign < 0 ? -1.0f : 1.0f,
                   heads, half);
}

static HOT void rotate_row_bf16(uint16_t *restrict y, const float *restrict x,
                                const float *restrict c, const float *restrict s, long heads,
                                long half)
{
    for (long h = 0; h < heads; h++) {
        const float *a = x + 2 * h * half, *b = a + half;
        uint16_t *p = y + 2 * h * half, *q = p + half;
#pragma omp simd
        for (long i = 0; i < half; i++) {
            p[i] = vm_narrow(a[i] * c[i] - b[i] * s[i]);
            q[i] = vm_narrow(b[i] * c[i] + a[i] * s[i]);
        }
    }
}

void rope_apply_bf16(uint16_t *y, const float *x, const float *cos_t, const float *sin_t, long T,
                     long heads, long C)
{
    long half = C / 2;
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++)
        rotate_row_bf16(y + t * heads * C, x + t * heads * C, cos_t + t * half, sin_t + t * half,
                        heads, half);
}
