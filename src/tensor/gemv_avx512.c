#include "config.h"
#include "tensor/gemv.h"

#if defined __x86_64__ && defined __GNUC__
#include <immintrin.h>

#define ISA __attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma")))
#define INLINE                                                                                     \
    static inline __attribute__((always_inline, target("avx512f,avx512bw,avx512vl,avx2,fma")))

/* A row is read from its beginning to its end, then comes the next: four sums hide the latency. */
#define SUM(name, type, whole, part)                                                               \
    static ISA float name(const float *x, const type *w, long K)                                   \
    {                                                                                              \
        __m512 a = _mm512_setzero_ps(), b = a, c = a, d = a;                                       \
        long k = 0;                                                                                \
        for (; k + 64 <= K; k += 64) {                                                             \
            a = _mm512_fmadd_ps(whole(w + k), _mm512_loadu_ps(x + k), a);                          \
            b = _mm512_fmadd_ps(whole(w + k + 16), _mm512_loadu_ps(x + k + 16), b);                \
            c = _mm512_fmadd_ps(whole(w + k + 32), _mm512_loadu_ps(x + k + 32), c);                \
            d = _mm512_fmadd_ps(whole(w + k + 48), _mm512_loadu_ps(x + k + 48), d);                \
        }                                                                                          \
        for (; k < K; k += 16) {                                                                   \
            __mmask16 m = K - k < 16 ? (__mmask16)((1u << (K - k)) - 1) : (__mmask16)0xffff;       \
            a = _mm512_fmadd_ps(part(m, w + k), _mm512_maskz_loadu_ps(m, x + k), a);               \
        }                                                                                          \
        return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)));      \
    }

INLINE __m512 from_f32(const float *w)
{
    return _mm512_loadu_ps(w);
}

INLINE __m512 part_f32(__mmask16 m, const float *w)
{
    return _mm512_maskz_loadu_ps(m, w);
}

INLINE __m512 widen(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

INLINE __m512 from_bf16(const uint16_t *w)
{
    return widen(_mm256_loadu_si256((const __m256i *)w));
}

INLINE __m512 part_bf16(__mmask16 m, const uint16_t *w)
{
    return widen(_mm256_maskz_loadu_epi16(m, w));
}

INLINE __m512 from_int8(const signed char *w)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)w)));
}

INLINE __m512 part_int8(__mmask16 m, const signed char *w)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(m, w)));
}

SUM(sum_f32, float, from_f32, part_f32)
SUM(sum_bf16, uint16_t, from_bf16, part_bf16)
SUM(sum_int8, signed char, from_int8, part_int8)

/* 128 codes are 16 words of 8; a lane's code is its index into the 16 values, whose higher bits do
 * not count. */
#define LOOK_UP(j) _mm512_permutexvar_ps(_mm512_srli_epi32(w, 4 * (j)), values)
#define MULTIPLY(j, sum) _mm512_fmadd_ps(LOOK_UP(j), _mm512_loadu_ps(x + 16 * (j)), sum)

INLINE __m512 two_blocks(__m512i w, __m512 values, const float *x)
{
    __m512 a = _mm512_mul_ps(LOOK_UP(0), _mm512_loadu_ps(x));
    __m512 b = _mm512_mul_ps(LOOK_UP(1), _mm512_loadu_ps(x + 16));
    a = MULTIPLY(2, a);
    b = MULTIPLY(3, b);
    a = MULTIPLY(4, a);
    b = MULTIPLY(5, b);
    a = MULTIPLY(6, a);
    b = MULTIPLY(7, b);
    return _mm512_add_ps(a, b);
}

static ISA float sum_nf4(const float *x, const unsigned char *code, const float *absmax, long K)
{
    __m512 values = _mm512_loadu_ps(nf4_values), sum = _mm512_setzero_ps();
    long k = 0;
    for (; k + 128 <= K; k += 128, code += 64, absmax += 2) {
        __m512 scale =
            _mm512_mask_blend_ps(0xff00, _mm512_set1_ps(absmax[0]), _mm512_set1_ps(absmax[1]));
        sum = _mm512_fmadd_ps(two_blocks(_mm512_loadu_si512(code), values, x + k), scale, sum);
    }
    if (k < K)
        sum = _mm512_fmadd_ps(two_blocks(_mm512_maskz_loadu_epi32(0x00ff, code), values, x + k),
                              _mm512_maskz_mov_ps(0x00ff, _mm512_set1_ps(absmax[0])), sum);
    return _mm512_reduce_add_ps(sum);
}

const struct gemv_kernels gemv_avx512 = {"avx512", sum_f32, sum_bf16, sum_int8, sum_nf4};
#else
typedef int nothing; /* a source is not empty */
#endif
