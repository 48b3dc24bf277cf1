/* Attention of a few queries over many keys, as generating has it: nothing is shared by so few, so
 * keys and values are read where they are. */
#include "config.h"
#include "tensor/kernels.h"
#include "tensor/vecmath.h"

enum { KEYS = 64, C_MAX = 256 };

/* Multiplications that one thread has done sooner than it meets another one. */
enum { SMALL = 256 << 10 };

ALWAYS_INLINE float dot(const float *restrict a, const float *restrict b, long n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Scores of n keys to probabilities under a maximum; their sum. */
static HOT float probabilities(float *restrict s, float max, long n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long j = 0; j < n; j++) {
        s[j] = vm_exp(s[j] - max);
        sum += s[j];
    }
    return sum;
}

static HOT void scores(float *restrict s, const float *q, const float *k, long stride, long n,
                       long C, float scale)
{
    for (long j = 0; j < n; j++)
        s[j] = scale * dot(q, k + j * stride, C);
}

/* acc += sum over j of p[j] v_j, four at a time so that acc is moved less. */
static HOT void mix(float *restrict acc, const float *restrict p, const float *restrict v,
                    long stride, long n, long C)
{
    long j = 0;
    for (; j + 4 <= n; j += 4) {
        const float *restrict a = v + j * stride, *restrict b = a + stride,
                              *restrict c = b + stride, *restrict d = c + stride;
#pragma omp simd
        for (long i = 0; i < C; i++)
            acc[i] += (p[j] * a[i] + p[j + 1] * b[i]) + (p[j + 2] * c[i] + p[j + 3] * d[i]);
    }
    for (; j < n; j++)
#pragma omp simd
        for (long i = 0; i < C; i++)
            acc[i] += p[j] * v[j * stride + i];
}

static HOT void scale_by(float *y, const float *x, float by, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        y[i] = x[i] * by;
}

static HOT float largest(const float *s, long n, float start)
{
    return vm_max(s, n, start);
}

/* One head of one query, keys from..to-1, with a running maximum. */
static void one(float *o, const float *q, const float *k, const float *v, long from, long to,
                const struct attn_dims *d)
{
    float acc[C_MAX], s[KEYS], max = -1e30f, sum = 0;
    long C = d->C, stride = d->G * C;
    for (long c = 0; c < C; c++)
        acc[c] = 0;
    for (long j = from; j < to; j += KEYS) {
        long n = to - j < KEYS ? to - j : KEYS;
        scores(s, q, k + j * stride, stride, n, C, d->scale);
        float m = largest(s, n, max);
        if (m != max) {
            float shrink = vm_exp(max - m);
            scale_by(acc, acc, shrink, C);
            sum *= shrink;
            max = m;
        }
        sum += probabilities(s, max, n);
        mix(acc, s, v + j * stride, stride, n, C);
    }
    scale_by(o, acc, sum == 0 ? 0 : 1.0f / sum, C);
}

void attention_few(float *o, const float *q, const float *k, const float *v, long T, long nk,
                   const struct attn_dims *d)
{
    long H = d->H, C = d->C, rep = H / d->G;
#pragma omp parallel for schedule(static) if (T * H * nk * C > SMALL)
    for (long i = 0; i < T * H; i++) {
        long t = i / H, g = i % H / rep, to = nk - T + t + 1;
        long from = d->window > 0 && to > d->window ? to - d->window : 0;
        one(o + i * C, q + i * C, k + g * C, v + g * C, from, to, d);
    }
}
