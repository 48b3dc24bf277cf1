#include "config.h"
#include "tensor/dtype.h"

#include "core/hot.h"
#include "core/isa.h"

#include <string.h>
#ifdef PESC_HAVE_AVX512_BF16
#include <immintrin.h>
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensor files are little-endian");

static const struct {
    const char *st, *cli;
    size_t size;
} table[DT_COUNT] = {
#define PESC_X(id, st, size, cli) {st, cli, size},
    DTYPES(PESC_X)
#undef PESC_X
};

static const struct {
    const char *st;
    int bits;
} carried[] = {
#define PESC_X(st, bits) {st, bits},
    DTYPES_CARRIED(PESC_X)
#undef PESC_X
};

const char *dtype_name(enum dtype d)
{
    return (unsigned)d < DT_COUNT ? table[d].cli : "other";
}

const char *dtype_st_name(enum dtype d)
{
    return (unsigned)d < DT_COUNT ? table[d].st : "other";
}

size_t dtype_size(enum dtype d)
{
    return (unsigned)d < DT_COUNT ? table[d].size : 0;
}

int dtype_from_st(const char *st_name)
{
    for (int d = 0; d < DT_COUNT; d++)
        if (!strcmp(table[d].st, st_name))
            return d;
    return -1;
}

int dtype_from_name(const char *cli_name)
{
    for (int d = 0; d < DT_COUNT; d++)
        if (table[d].cli && !strcmp(table[d].cli, cli_name))
            return d;
    return -1;
}

int dtype_st_bits(const char *st_name, const char **spelling)
{
    int d = dtype_from_st(st_name);
    if (d >= 0) {
        *spelling = table[d].st;
        return (int)table[d].size * 8;
    }
    for (size_t i = 0; i < sizeof carried / sizeof *carried; i++)
        if (!strcmp(carried[i].st, st_name)) {
            *spelling = carried[i].st;
            return carried[i].bits;
        }
    return 0;
}

static inline uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline uint16_t load16(const unsigned char *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return h;
}

static inline void store16(unsigned char *p, uint16_t h)
{
    memcpy(p, &h, sizeof h);
}

/* Selects instead of branches, so that the loops below become vector code. */
static inline float from_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = (uint32_t)(h & 0x7fff) << 13;
    uint32_t normal = mag + (112u << 23);
    uint32_t special = mag | 0x7f800000u;
    /* A subnormal half is mag * 2^-24: written behind the point of 2^-14, which is taken off. */
    uint32_t subnormal = bits_of(float_of(mag + (113u << 23)) - float_of(113u << 23));
    uint32_t e = h & 0x7c00;
    return float_of(sign | (e == 0 ? subnormal : e == 0x7c00 ? special : normal));
}

static inline uint16_t to_half(float x)
{
    uint32_t u = bits_of(x), sign = u >> 16 & 0x8000, mag = u & 0x7fffffff;
    uint32_t normal = (mag - (112u << 23) + 0xfff + (mag >> 13 & 1)) >> 13;
    /* Below 2^-14 the unit is 2^-24, which is the last place of 0.5: the addition rounds. */
    uint32_t subnormal = bits_of(float_of(mag) + 0.5f) - bits_of(0.5f);
    uint32_t nan = 0x7e00 | (mag >> 13 & 0x3ff);
    uint32_t h = mag < 113u << 23 ? subnormal : mag < 143u << 23 ? normal : 0x7c00;
    return (uint16_t)(sign | (mag > 0x7f800000u ? nan : h));
}

static inline uint16_t to_bf16(float x)
{
    uint32_t u = bits_of(x);
    uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16, nan = u >> 16 | 0x40;
    return (uint16_t)((u & 0x7fffffff) > 0x7f800000u ? nan : rounded);
}

static HOT void widen_bf16(float *restrict dst, const unsigned char *restrict s, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        dst[i] = float_of((uint32_t)load16(s + 2 * i) << 16);
}

static HOT void widen_half(float *restrict dst, const unsigned char *restrict s, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        dst[i] = from_half(load16(s + 2 * i));
}

static HOT void narrow_bf16(unsigned char *restrict p, const float *restrict src, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        store16(p + 2 * i, to_bf16(src[i]));
}

#ifdef PESC_HAVE_AVX512_BF16
/* The instruction makes subnormal numbers zero, which the loop above does not: both give the same
 * bits. */
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"))) static void
narrow_bf16_fast(unsigned char *restrict p, const float *restrict src, size_t n)
{
    enum { LANES = 16, SUBNORMAL = 0x20 };
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m512 x = _mm512_loadu_ps(src + i);
        if (__builtin_expect(_mm512_fpclass_ps_mask(x, SUBNORMAL) != 0, 0))
            narrow_bf16(p + 2 * i, src + i, LANES);
        else
            _mm256_storeu_si256((__m256i *)(p + 2 * i), (__m256i)_mm512_cvtneps_pbh(x));
    }
    narrow_bf16(p + 2 * i, src + i, n - i);
}

#else
static void narrow_bf16_fast(unsigned char *p, const float *src, size_t n)
{
    narrow_bf16(p, src, n);
}

#endif

static HOT void narrow_half(unsigned char *restrict p, const float *restrict src, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        store16(p + 2 * i, to_half(src[i]));
}

void dtype_to_f32(float *dst, const void *src, enum dtype d, size_t n)
{
    if (n == 0)
        return;
    if (d == DT_BF16)
        widen_bf16(dst, src, n);
    else if (d == DT_F16)
        widen_half(dst, src, n);
    else
        memcpy(dst, src, n * sizeof *dst);
}

void dtype_from_f32(void *dst, const float *src, enum dtype d, size_t n)
{
    if (n == 0)
        return;
    if (d == DT_BF16)
        isa_avx512_bf16() ? narrow_bf16_fast(dst, src, n) : narrow_bf16(dst, src, n);
    else if (d == DT_F16)
        narrow_half(dst, src, n);
    else
        memcpy(dst, src, n * sizeof *src);
}
