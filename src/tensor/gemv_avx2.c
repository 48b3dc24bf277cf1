#include "config.h"
#include "tensor/gemv.h"

#if defined __x86_64__ && defined __GNUC__
#include <immintrin.h>

#define ISA __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline, target("avx2,fma")))

INLINE float total(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#define SUM(name, type, whole, one)                                                                \
    static ISA float name(const float *x, const type *w, long K)                                   \
    {                                                                                              \
        __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;                                       \
        long k = 0;                                                                                \
        for (; k + 32 <= K; k += 32) {                                                             \
            a = _mm256_fmadd_ps(whole(w + k), _mm256_loadu_ps(x + k), a);                          \
            b = _mm256_fmadd_ps(whole(w + k + 8), _mm256_loadu_ps(x + k + 8), b);                  \
            c = _mm256_fmadd_ps(whole(w + k + 16), _mm256_loadu_ps(x + k + 16), c);                \
            d = _mm256_fmadd_ps(whole(w + k + 24), _mm256_loadu_ps(x + k + 24), d);                \
        }                                                                                          \
        for (; k + 8 <= K; k += 8)                                                                 \
            a = _mm256_fmadd_ps(whole(w + k), _mm256_loadu_ps(x + k), a);                          \
        float sum = total(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)));                \
        for (; k < K; k++)                                                                         \
            sum += one(w[k]) * x[k];                                                               \
        return sum;                                                                                \
    }

INLINE __m256 from_f32(const float *w)
{
    return _mm256_loadu_ps(w);
}

INLINE __m256 from_bf16(const uint16_t *w)
{
    __m256i u = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)w));
    return _mm256_castsi256_ps(_mm256_slli_epi32(u, 16));
}

INLINE float one_bf16(uint16_t w)
{
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128((int)((uint32_t)w << 16))));
}

INLINE __m256 from_int8(const signed char *w)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)w)));
}

#define ONE(w) ((float)(w))
SUM(sum_f32, float, from_f32, ONE)
SUM(sum_bf16, uint16_t, from_bf16, one_bf16)
SUM(sum_int8, signed char, from_int8, ONE)

/* The 8 codes of a word, one of each of 8 words at a time: two halves of the values are looked up
 * in, the code's highest bit chooses. x as for AVX-512, which takes two blocks in turn. */
#define MULTIPLY(j, sum)                                                                           \
    _mm256_fmadd_ps(                                                                               \
        _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, _mm256_srli_epi32(w, 4 * (j))),             \
                         _mm256_permutevar8x32_ps(high, _mm256_srli_epi32(w, 4 * (j))),            \
                         _mm256_castsi256_ps(_mm256_slli_epi32(w, 28 - 4 * (j)))),                 \
        _mm256_loadu_ps(x + 16 * (j)), sum)

INLINE __m256 one_block(__m256i w, __m256 low, __m256 high, const float *x)
{
    __m256 a = _mm256_setzero_ps(), b = a;
    a = MULTIPLY(0, a);
    b = MULTIPLY(1, b);
    a = MULTIPLY(2, a);
    b = MULTIPLY(3, b);
    a = MULTIPLY(4, a);
    b = MULTIPLY(5, b);
    a = MULTIPLY(6, a);
    b = MULTIPLY(7, b);
    return _mm256_add_ps(a, b);
}

static ISA float sum_nf4(const float *x, const unsigned char *code, const float *absmax, long K)
{
    __m256 low = _mm256_loadu_ps(nf4_values), high = _mm256_loadu_ps(nf4_values + 8);
    __m256 sum = _mm256_setzero_ps();
    for (long b = 0; b < K / NF4_BLOCK; b++)
        sum = _mm256_fmadd_ps(one_block(_mm256_loadu_si256((const __m256i *)(code + 32 * b)), low,
                                        high, x + 128 * (b / 2) + 8 * (b % 2)),
                              _mm256_set1_ps(absmax[b]), sum);
    return total(sum);
}

const struct gemv_kernels gemv_avx2 = {"avx2", sum_f32, sum_bf16, sum_int8, sum_nf4};
#else
typedef int nothing; /* a source is not empty */
#endif
