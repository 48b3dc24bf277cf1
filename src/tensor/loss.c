#include "config.h"
#include "tensor/dtype.h"
#include "tensor/kernels.h"
#include "tensor/vecmath.h"

#include <math.h>

/* Floats summed before going over to double. */
enum { RUN = 1024 };

/* NaN is skipped here and surfaces in the sum. */
static HOT float row_max(const float *restrict l, long V)
{
    return vm_max(l, V, -INFINITY);
}

/* l becomes e^(l - m); returns their sum. */
static HOT double row_exp(float *restrict l, float m, long V)
{
    double sum = 0;
    for (long v = 0; v < V; v += RUN) {
        long n = V - v < RUN ? V - v : RUN;
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (long i = 0; i < n; i++) {
            l[v + i] = vm_exp(l[v + i] - m);
            part += l[v + i];
        }
        sum += part;
    }
    return sum;
}

static HOT double row_sum_exp(const float *restrict l, float m, long V)
{
    double sum = 0;
    for (long v = 0; v < V; v += RUN) {
        long n = V - v < RUN ? V - v : RUN;
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (long i = 0; i < n; i++)
            part += vm_exp(l[v + i] - m);
        sum += part;
    }
    return sum;
}

static HOT void row_scale(float *restrict l, float c, long V)
{
#pragma omp simd
    for (long v = 0; v < V; v++)
        l[v] *= c;
}

static HOT void scaled(float *restrict to, const float *restrict l, float c, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        to[i] = l[i] * c;
}

static void row_gradient_bf16(uint16_t *grad, const float *l, long y, float c, float scale, long V)
{
    float piece[RUN];
    for (long v = 0; v < V; v += RUN) {
        long n = V - v < RUN ? V - v : RUN;
        scaled(piece, l + v, c, n);
        if (y >= v && y < v + n)
            piece[y - v] -= scale;
        dtype_from_f32(grad + v, piece, DT_BF16, (size_t)n);
    }
}

static void rows(uint16_t *grad, float *logits, float *loss, const int32_t *target, float scale,
                 long n, long V)
{
#pragma omp parallel for schedule(static)
    for (long r = 0; r < n; r++) {
        float *l = logits + r * V;
        long y = target[r];
        float m = row_max(l, V);
        /* A target outside the vocabulary is the caller's bug; NaN shows it without a crash. */
        int inside = y >= 0 && y < V;
        double own = inside ? (double)l[y] - m : NAN;
        double sum = scale == 0 ? row_sum_exp(l, m, V) : row_exp(l, m, V);
        loss[r] = (float)(log(sum) - own);
        if (scale == 0)
            continue;
        if (grad) {
            row_gradient_bf16(grad + r * V, l, inside ? y : -1, (float)(scale / sum), scale, V);
            continue;
        }
        row_scale(l, (float)(scale / sum), V);
        if (inside)
            l[y] -= scale;
    }
}

void cross_entropy(float *logits, float *loss, const int32_t *target, float scale, long n, long V)
{
    rows(NULL, logits, loss, target, scale, n, V);
}

void cross_entropy_bf16(uint16_t *grad, float *logits, float *loss, const int32_t *target,
                        float scale, long n, long V)
{
    rows(grad, logits, loss, target, scale, n, V);
}
