/* From floats to codes; the way back is in quant.c. */
#include "config.h"
#include "tensor/quant.h"

#include "core/hot.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TINY 1e-38f /* a smaller scale's inverse would overflow */
enum { ZERO = 7 };  /* the code of 0 */

HOT float quant_magnitude(const float *x, size_t n)
{
    uint32_t most = 0;
#pragma omp simd reduction(max : most)
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, sizeof u);
        u &= 0x7fffffff;
        most = u > most ? u : most;
    }
    float m;
    most = most > 0x7f800000 ? 0x7f800000 : most;
    memcpy(&m, &most, sizeof m);
    return m;
}

int nf4_scales(const float *x, size_t n, long block, float *absmax)
{
    size_t b = (size_t)block;
    int finite = 1;
    for (size_t i = 0; i < n; i += b) {
        absmax[i / b] = quant_magnitude(x + i, n - i < b ? n - i : b);
        finite &= absmax[i / b] <= FLT_MAX;
    }
    return finite ? 0 : -1;
}

/* How many of the 15 middles between neighbours lie below each x * factor / divisor. Spelled out,
 * since a loop inside of the loop would keep it from becoming vector code. */
static HOT void nearest(unsigned char *restrict out, const float *restrict x, float factor,
                        float divisor, size_t n)
{
    float m[15];
    for (int i = 0; i < 15; i++)
        m[i] = (nf4_values[i] + nf4_values[i + 1]) * 0.5f;
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        float v = x[i] * factor / divisor;
        int c = (v > m[0]) + (v > m[1]) + (v > m[2]) + (v > m[3]) + (v > m[4]) + (v > m[5]) +
                (v > m[6]) + (v > m[7]) + (v > m[8]) + (v > m[9]) + (v > m[10]) + (v > m[11]) +
                (v > m[12]) + (v > m[13]) + (v > m[14]);
        out[i] = (unsigned char)c;
    }
}

void nf4_codes(const float *x, size_t n, long block, const float *scale, unsigned char *code)
{
    unsigned char c[NF4_BLOCK_MAX + 1];
    size_t b = (size_t)block;
    for (size_t i = 0; i < n; i += b) {
        size_t now = n - i < b ? n - i : b;
        float a = scale[i / b] > TINY ? scale[i / b] : TINY;
        if (scale[i / b] < 0)
            memset(c, ZERO, now);
        else
            nearest(c, x + i, now == b ? 1 / a : 1, now == b ? 1 : a, now);
        c[now] = ZERO;
        for (size_t k = 0; k < now; k += 2)
            code[(i + k) / 2] = (unsigned char)(c[k] << 4 | c[k + 1]);
    }
}

int nf4_quantise(const float *x, size_t n, long block, unsigned char *code, float *absmax)
{
    if (nf4_scales(x, n, block, absmax) != 0)
        return -1;
    nf4_codes(x, n, block, absmax, code);
    return 0;
}

/* --- scales that fit --- */

enum { LANES = 16 };

/* d[n] = x / scale - what its code stands for; then squares in d. The barriers keep the compiler
 * from fusing a product with a sum, which not every processor would do. */
static HOT void miss(float *restrict d, const float *restrict x, const unsigned char *restrict c,
                     float inverse, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        d[i] = x[i] * inverse;
    __asm__ volatile("" : : "r"(d) : "memory");
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        d[i] -= nf4_values[c[i]];
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        d[i] *= d[i];
    __asm__ volatile("" : : "r"(d) : "memory");
}

/* In LANES sums, and those one after the other. n a multiple of LANES. */
static HOT float sum_of(const float *d, size_t n)
{
    float lane[LANES] = {0}, sum = 0;
    for (size_t i = 0; i < n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] += d[i + (size_t)k];
    for (int k = 0; k < LANES; k++)
        sum += lane[k];
    return sum;
}

/* What a largest magnitude is multiplied with; 1 first, which equal ones do not displace. */
static const float parts_of[] = {1, 0.7f, 0.75f, 0.8f, 0.85f, 0.9f, 0.95f, 1.05f};

int nf4_fit(const float *x, size_t n, long block, float *scale)
{
    unsigned char c[NF4_BLOCK_MAX];
    float d[NF4_BLOCK_MAX];
    size_t b = (size_t)block;
    if (nf4_scales(x, n, block, scale) != 0)
        return -1;
    for (size_t i = 0; i < n; i += b) {
        size_t now = n - i < b ? n - i : b, padded = (now + LANES - 1) / LANES * LANES;
        float most = scale[i / b], least = INFINITY;
        memset(d + now, 0, (padded - now) * sizeof *d);
        if (!(most > TINY * 2) || most > FLT_MAX / 2) /* its parts would not be normal numbers */
            continue;
        for (size_t p = 0; p < sizeof parts_of / sizeof *parts_of; p++) {
            float s = most * parts_of[p];
            nearest(c, x + i, 1 / s, 1, now);
            miss(d, x + i, c, 1 / s, now);
            float error = sum_of(d, padded) * parts_of[p] * parts_of[p];
            if (error < least) {
                least = error;
                scale[i / b] = s;
            }
        }
    }
    return 0;
}

/* The k-th border of equal parts of [0.1, 1], counted from the nearer end: rounded as in the
 * original, so that its scales are found again. */
static float border(int k, int parts)
{
    double step = (double)((1 - 0.1f) / (float)parts);
    return k < (parts + 1) / 2 ? (float)((double)0.1f + step * k) : (float)(1 - step * (parts - k));
}

void nf4_nested_map(float map[256])
{
    /* Seven powers of ten; the i-th has 2^i fractions: the middles of as many equal parts of
     * [0.1, 1]. With both signs 254 numbers, and 0 and 1. */
    int n = 127;
    map[n++] = 0;
    static const float power[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1};
    for (int e = 0; e < 7; e++)
        for (int k = 0; k < 1 << e; k++)
            map[n++] = power[e] * ((border(k, 1 << e) + border(k + 1, 1 << e)) / 2);
    map[n] = 1;
    for (int i = 1; i <= 127; i++)
        map[127 - i] = -map[127 + i];
}

void nf4_nest(const float *absmax, long n, unsigned char *code, float *scale, float *offset)
{
    float map[256];
    double sum = 0;
    nf4_nested_map(map);
    for (long i = 0; i < n; i++)
        sum += absmax[i];
    *offset = n ? (float)(sum / (double)n) : 0;
    for (long i = 0; i < n; i += NF4_NESTED) {
        long now = n - i < NF4_NESTED ? n - i : NF4_NESTED;
        float most = 0;
        for (long k = i; k < i + now; k++) {
            float d = fabsf(absmax[k] - *offset);
            most = d > most ? d : most;
        }
        scale[i / NF4_NESTED] = most;
        float inverse = most > 0 ? 1 / most : 0;
        for (long k = i; k < i + now; k++) {
            float v = (absmax[k] - *offset) * inverse;
            int lo = 0, hi = 255;
            while (hi - lo > 1) {
                int mid = (lo + hi) / 2;
                *(map[mid] <= v ? &lo : &hi) = mid;
            }
            code[k] = (unsigned char)(v - map[lo] <= map[hi] - v ? lo : hi);
        }
    }
}

void nf4_unnest(const unsigned char *code, const float *nested, float offset, long n, float *scale)
{
    float map[256];
    nf4_nested_map(map);
    for (long i = 0; i < n; i++)
        scale[i] = map[code[i]] * nested[i / NF4_NESTED];
    __asm__ volatile("" : : "r"(scale) : "memory"); /* rounded twice, as in an expansion */
    for (long i = 0; i < n; i++)
        scale[i] += offset;
}

static HOT void round_row(signed char *restrict code, const float *restrict x, float scale,
                          size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        float v = rintf(x[i] / scale);
        v = v > 127 ? 127 : v < -127 ? -127 : v;
        code[i] = (signed char)v;
    }
}

float int8_scale(const float *x, size_t n)
{
    return quant_magnitude(x, n) / 127;
}

void int8_codes(const float *x, size_t n, float scale, signed char *code)
{
    if (scale > 0 && scale <= FLT_MAX)
        round_row(code, x, scale, n);
    else /* zeros, or too small for a scale */
        memset(code, 0, n);
}

int int8_quantise(const float *x, long rows, long K, signed char *code, float *scale)
{
    int finite = 1;
    for (long r = 0; r < rows; r++) {
        scale[r] = int8_scale(x + r * K, (size_t)K);
        finite &= scale[r] <= FLT_MAX;
        int8_codes(x + r * K, (size_t)K, scale[r], code + r * K);
    }
    return finite ? 0 : -1;
}
