#include "config.h"
#include "train/moments8.h"

#include "core/hot.h"

#include <float.h>
#include <math.h>

enum { M_BITS = 7, V_BITS = 8 };

/* Share of the largest magnitude that the b lower bits of a byte stand for. */
static float share(int code, int bits)
{
    if (code == 0)
        return 0;
    int f = 0;
    while (code >> (f + 1))
        f++;
    int e = bits - 1 - f, k = code - (1 << f);
    return (float)(pow(10, -e) * (0.1 + 0.9 * (k + 1) / (1 << f)));
}

void moments8_tables(struct moments8 *t)
{
    for (int i = 0; i < 256; i++) {
        float s = share(i & 0x7f, M_BITS);
        t->m[i] = i & 0x80 ? -s : s;
        t->v[i] = share(i, V_BITS);
    }
}

HOT void moments8_get(float *x, const uint8_t *code, float scale, const float *table, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        x[i] = table[code[i]] * scale;
}

/* The largest magnitude, NaN left out. */
HOT static float largest(const float *x, long n)
{
    float most = 0;
#pragma omp simd reduction(max : most)
    for (long i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        most = a > most ? a : most;
    }
    return most < FLT_MAX ? most : FLT_MAX;
}

/* The number of a share of 0..1, with the fraction that lies between two. With F codes in its
 * decade, a share s in units of that decade lies at F - 1 + (s - 0.1) / 0.9 * F, which is
 * continuous over the borders; the last decade has the one code 1, and shares go evenly from there
 * to 0. */
static inline float position(float s, int bits)
{
    float F = (float)(1 << (bits - 1)), unit = 1;
#define DECADE(e)                                                                                  \
    F = s <= 1e-##e##F ? (float)(1 << bits >> 1 >> e) : F;                                         \
    unit = s <= 1e-##e##F ? 1e##e##F : unit;
    DECADE(1) DECADE(2) DECADE(3) DECADE(4) DECADE(5) if (bits == M_BITS)
    {
        DECADE(6)
    }
    else
    {
        DECADE(6) DECADE(7)
    }
#undef DECADE
    float inside = F - 1 + (s * unit - 0.1F) * F * (1 / 0.9F);
    return F > 1 ? inside : s * unit;
}

/* 16 random bits to the middles of 65536 intervals that fill 0..1. */
static inline float unit_of(uint32_t bits)
{
    return ((float)(int32_t)bits + 0.5F) * 0x1p-16F;
}

/* Not NaN, be it that of a NaN or that of 0 / 0. */
static inline float bounded(float s)
{
    s = s > 0 ? s : 0;
    return s < 1 ? s : 1;
}

static inline int32_t at_most(int32_t x, int32_t most)
{
    return x < most ? x : most;
}

/* Whole numbers first, bytes after: so both loops become vector code. */
HOT float moments8_put_m(uint8_t *code, const float *x, const uint32_t *chance, long n)
{
    float scale = largest(x, n);
    int32_t whole[MOMENTS8_BLOCK];
#pragma omp simd
    for (long i = 0; i < n; i++) {
        float at = position(bounded(fabsf(x[i]) / scale), M_BITS);
        whole[i] = at_most((int32_t)(at + unit_of(chance[i] & 0xffff)), (1 << M_BITS) - 1);
    }
    for (long i = 0; i < n; i++)
        code[i] = (uint8_t)(whole[i] | (x[i] < 0 ? 0x80 : 0));
    return scale;
}

HOT float moments8_put_v(uint8_t *code, const float *x, const uint32_t *chance, long n)
{
    float scale = largest(x, n);
    int32_t whole[MOMENTS8_BLOCK];
#pragma omp simd
    for (long i = 0; i < n; i++) {
        float at = position(bounded(x[i] / scale), V_BITS);
        whole[i] = at_most((int32_t)(at + unit_of(chance[i] >> 16)), (1 << V_BITS) - 1);
    }
    for (long i = 0; i < n; i++)
        code[i] = (uint8_t)(whole[i] | (whole[i] == 0 && x[i] > 0));
    return scale;
}
