/* Elementary functions that the compiler can vectorise: no tables, no branches, no calls. Private
 * to the kernels; include only where loops are HOT. */
#ifndef PESC_TENSOR_VECMATH_H
#define PESC_TENSOR_VECMATH_H

#include <stdint.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

union vm_bits {
    float f;
    int32_t i;
    uint32_t u;
};

/* 2^n for -126 <= n <= 127, anything for other n. */
ALWAYS_INLINE float vm_pow2(int32_t n)
{
    union vm_bits b = {.u = (uint32_t)(n + 127) << 23};
    return b.f;
}

/* e^x to 2e-7 relative; overflows to infinity, underflows gradually to 0, keeps NaN.
 * x = n ln 2 + r, e^r = 1 + r + r^2 p(r) with a minimax p on |r| <= ln 2 / 2. */
ALWAYS_INLINE float vm_exp(float x)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer below */
    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    union vm_bits z = {.f = x * 1.44269504f + round};
    int32_t n = z.i - 0x4B400000;
    float k = z.f - round;
    float r = x - k * 0.693359375f; /* exact: nine bits of ln 2 */
    r = r + k * 2.12194440e-4f;     /* 0.693359375 - ln 2 */
    float p = 1.381166028e-3f;
    p = p * r + 8.370135255e-3f;
    p = p * r + 4.166852834e-2f;
    p = p * r + 1.666650871e-1f;
    p = p * r + 4.999999263e-1f;
    p = 1.0f + (r + r * r * p);
    int32_t h = n >> 1;
    return p * vm_pow2(h) * vm_pow2(n - h);
}

/* A bf16 number, and a number to the nearest of them. */
ALWAYS_INLINE float vm_widen(uint16_t h)
{
    union vm_bits b = {.u = (uint32_t)h << 16};
    return b.f;
}

/* Ties to even; NaN stays one. */
ALWAYS_INLINE uint16_t vm_narrow(float x)
{
    union vm_bits b = {.f = x};
    uint32_t rounded = (b.u + 0x7fff + (b.u >> 16 & 1)) >> 16, nan = b.u >> 16 | 0x40;
    return (uint16_t)((b.u & 0x7fffffff) > 0x7f800000u ? nan : rounded);
}

/* 1 / (1 + e^-x), without overflow on either side. */
ALWAYS_INLINE float vm_sigmoid(float x)
{
    return 1.0f / (1.0f + vm_exp(-x));
}

/* The largest of start and x[0..n-1], passing over NaN. By lanes, because a reduction clause for a
 * maximum is not vectorised by every compiler. */
ALWAYS_INLINE float vm_max(const float *x, long n, float start)
{
    enum { LANE = 16 };
    float m[LANE];
    long i = 0;
    for (int j = 0; j < LANE; j++)
        m[j] = start;
    for (; i + LANE <= n; i += LANE)
#pragma omp simd
        for (int j = 0; j < LANE; j++)
            m[j] = x[i + j] > m[j] ? x[i + j] : m[j];
    for (; i < n; i++)
        m[0] = x[i] > m[0] ? x[i] : m[0];
    for (int j = 0; j < LANE; j++)
        start = m[j] > start ? m[j] : start;
    return start;
}

/* Phi(x) = (1 + erf(x / sqrt 2)) / 2 and its density, to 3e-7 relative in the upper part and to
 * 1e-6 relative far down the lower tail. With u = |x| / sqrt 2 and t = 1 / (1 + 0.4 u),
 * erfc(u) / 2 = e^(-u^2) t q(t), q minimax on (0, 1]. */
ALWAYS_INLINE void vm_normal(float x, float *cdf, float *density)
{
    float a = x < 0.0f ? -x : x;
    float t = 1.0f / (1.0f + 0.282842712f * a);
    float e = vm_exp(-0.5f * x * x);
    float q = 2.513103034e-2f;
    q = q * t - 9.145060967e-2f;
    q = q * t + 8.454252204e-2f;
    q = q * t - 2.803608041e-3f;
    q = q * t + 7.071564247e-2f;
    q = q * t + 8.427100850e-2f;
    q = q * t + 1.039213466e-1f;
    q = q * t + 1.128347993e-1f;
    q = q * t + 1.128379310e-1f;
    float tail = e * t * q;
    *cdf = x < 0.0f ? tail : 1.0f - tail;
    *density = 0.398942280f * e;
}

#endif
