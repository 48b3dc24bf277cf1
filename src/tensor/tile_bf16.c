#include "config.h"
#include "tensor/tile_bf16.h"

#include <string.h>

#ifdef PESC_HAVE_AVX512_BF16
#include "tensor/turn16.h"

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")))
#define INLINE static inline __attribute__((always_inline)) TARGET

enum { ROWS = 6, VECS = 4 }; /* 24 sums, 4 columns of B and a broadcast fill the 32 registers */

INLINE __m512bh words(const uint32_t *p)
{
    return (__m512bh)_mm512_loadu_si512(p);
}

/* rows and vecs are constants, so that the sums are registers. */
INLINE void block(float *C, long ldc, const uint32_t *A, long a_row, long a_pair, const uint32_t *B,
                  long ldb, long K, int add, const int rows, const int vecs)
{
    __m512 sum[ROWS][VECS];
#pragma GCC unroll 6
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            sum[m][v] = add ? _mm512_loadu_ps(C + m * ldc + 16 * v) : _mm512_setzero_ps();
    for (long k = 0; k < K; k++) {
        __m512bh b[VECS];
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            b[v] = words(B + k * ldb + 16 * v);
#pragma GCC unroll 6
        for (int m = 0; m < rows; m++) {
            __m512bh a = (__m512bh)_mm512_set1_epi32((int)A[m * a_row + k * a_pair]);
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++)
                sum[m][v] = _mm512_dpbf16_ps(sum[m][v], a, b[v]);
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            _mm512_storeu_ps(C + m * ldc + 16 * v, sum[m][v]);
}

#define BLOCK(rows, vecs)                                                                          \
    TARGET static void block_##rows##_##vecs(float *C, long ldc, const uint32_t *A, long a_row,    \
                                             long a_pair, const uint32_t *B, long ldb, long K,     \
                                             int add)                                              \
    {                                                                                              \
        block(C, ldc, A, a_row, a_pair, B, ldb, K, add, rows, vecs);                               \
    }
#define BLOCKS(rows) BLOCK(rows, 1) BLOCK(rows, 2) BLOCK(rows, 3) BLOCK(rows, 4)
BLOCKS(1)
BLOCKS(2)
BLOCKS(3)
BLOCKS(4)
BLOCKS(5)
BLOCKS(6)

typedef void block_fn(float *C, long ldc, const uint32_t *A, long a_row, long a_pair,
                      const uint32_t *B, long ldb, long K, int add);
#define NAMES(rows)                                                                                \
    {                                                                                              \
        block_##rows##_1, block_##rows##_2, block_##rows##_3, block_##rows##_4                     \
    }
static block_fn *const table[ROWS][VECS] = {NAMES(1), NAMES(2), NAMES(3),
                                            NAMES(4), NAMES(5), NAMES(6)};

void tile_bf16_mm(float *C, long ldc, const uint32_t *A, long a_row, long a_pair, const uint32_t *B,
                  long ldb, long M, long N, long K, int add)
{
    for (long n = 0; n < N; n += BF16_COLS * VECS) {
        long vecs = (N - n) / BF16_COLS < VECS ? (N - n) / BF16_COLS : VECS;
        for (long m = 0; m < M; m += ROWS)
            table[(M - m < ROWS ? M - m : ROWS) - 1][vecs - 1](C + m * ldc + n, ldc, A + m * a_row,
                                                               a_row, a_pair, B + n, ldb, K, add);
    }
}

/* Floats i .. i + 31 of a row, as far as there are n of them. */
INLINE __m512i narrow32(const float *src, long n)
{
    __mmask16 lo = n >= 16 ? 0xffff : (__mmask16)((1u << (n < 0 ? 0 : n)) - 1);
    __mmask16 hi = n >= 32 ? 0xffff : (__mmask16)((1u << (n < 16 ? 0 : n - 16)) - 1);
    __m512 a = _mm512_maskz_loadu_ps(lo, src), b = _mm512_maskz_loadu_ps(hi, src + 16);
    return (__m512i)_mm512_cvtne2ps_pbh(b, a);
}

TARGET void tile_bf16_rows(uint32_t *dst, long ld, const float *src, long src_row, long rows,
                           long cols)
{
    long pairs = (cols + 1) / 2;
    for (long r = 0; r < rows; r++)
        for (long k = 0; k < pairs; k += 16) {
            __mmask16 m = pairs - k >= 16 ? 0xffff : (__mmask16)((1u << (pairs - k)) - 1);
            _mm512_mask_storeu_epi32(dst + r * ld + k, m,
                                     narrow32(src + r * src_row + 2 * k, cols - 2 * k));
        }
}

TARGET void tile_bf16_rows_t(uint32_t *dst, long ld, const float *src, long src_row, long rows,
                             long cols)
{
    long pairs = (cols + 1) / 2;
    for (long at = 0; at < ld; at += 16)
        for (long k = 0; k < pairs; k += 16) {
            __m512i w[16];
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++)
                w[i] = at + i < rows ? narrow32(src + (at + i) * src_row + 2 * k, cols - 2 * k)
                                     : _mm512_setzero_si512();
            turn16(w);
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++)
                if (k + i < pairs)
                    _mm512_storeu_si512(dst + (k + i) * ld + at, w[i]);
        }
}

INLINE __m256i narrow16(const float *src, long n)
{
    __mmask16 m = n >= 16 ? 0xffff : (__mmask16)((1u << (n < 0 ? 0 : n)) - 1);
    return (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(m, src));
}

INLINE __m512i zip(__m256i a, __m256i b)
{
    return _mm512_or_si512(_mm512_cvtepu16_epi32(a),
                           _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

TARGET void tile_bf16_pairs(uint32_t *dst, long ld, const float *src, long src_row, long rows,
                            long cols)
{
    for (long k = 0; 2 * k < rows; k++) {
        const float *a = src + 2 * k * src_row, *b = 2 * k + 1 < rows ? a + src_row : NULL;
        for (long i = 0; i < ld; i += 16)
            _mm512_storeu_si512(dst + k * ld + i,
                                zip(narrow16(a + i, cols - i),
                                    b ? narrow16(b + i, cols - i) : _mm256_setzero_si256()));
    }
}

TARGET void tile_bf16_zip(uint32_t *dst, const uint16_t *a, const uint16_t *b, long n)
{
    for (long i = 0; i < n; i += 16) {
        __mmask16 m = n - i >= 16 ? 0xffff : (__mmask16)((1u << (n - i)) - 1);
        __m256i x = _mm256_maskz_loadu_epi16(m, a + i);
        __m256i y = b ? _mm256_maskz_loadu_epi16(m, b + i) : _mm256_setzero_si256();
        _mm512_mask_storeu_epi32(dst + i, m, zip(x, y));
    }
}

#else

void tile_bf16_mm(float *C, long ldc, const uint32_t *A, long a_row, long a_pair, const uint32_t *B,
                  long ldb, long M, long N, long K, int add)
{
    (void)C, (void)ldc, (void)A, (void)a_row, (void)a_pair, (void)B, (void)ldb, (void)M, (void)N;
    (void)K, (void)add;
}

void tile_bf16_rows(uint32_t *dst, long ld, const float *src, long src_row, long rows, long cols)
{
    (void)dst, (void)ld, (void)src, (void)src_row, (void)rows, (void)cols;
}

void tile_bf16_rows_t(uint32_t *dst, long ld, const float *src, long src_row, long rows, long cols)
{
    (void)dst, (void)ld, (void)src, (void)src_row, (void)rows, (void)cols;
}

void tile_bf16_pairs(uint32_t *dst, long ld, const float *src, long src_row, long rows, long cols)
{
    (void)dst, (void)ld, (void)src, (void)src_row, (void)rows, (void)cols;
}

void tile_bf16_zip(uint32_t *dst, const uint16_t *a, const uint16_t *b, long n)
{
    (void)dst, (void)a, (void)b, (void)n;
}
#endif
