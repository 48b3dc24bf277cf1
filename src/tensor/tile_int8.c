#include "config.h"
#include "tensor/tile_int8.h"

#ifdef PESC_HAVE_AVX512_BF16
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define INLINE static inline __attribute__((always_inline)) TARGET

enum { ROWS = 6, VECS = 4 }; /* 24 sums, 4 columns of B and a broadcast fill the 32 registers */

/* Of this type, and not __m512i, sums stay in registers (gcc 12 stores each of the others). */
typedef int32_t sums __attribute__((vector_size(64)));

/* rows and vecs are constants, so that the sums are registers. */
INLINE void block(int32_t *C, long ldc, const uint32_t *A, long a_row, const uint32_t *B, long K,
                  const int rows, const int vecs)
{
    sums sum[ROWS][VECS];
#pragma GCC unroll 6
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            sum[m][v] = (sums)_mm512_setzero_si512();
    for (long k = 0; k < K; k++) {
        __m512i b[VECS];
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            b[v] = _mm512_load_si512(B + k * INT8_LD + 16 * v);
#pragma GCC unroll 6
        for (int m = 0; m < rows; m++) {
            __m512i a = _mm512_set1_epi32((int)A[m * a_row + k]);
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++)
                sum[m][v] = (sums)_mm512_dpbusd_epi32((__m512i)sum[m][v], a, b[v]);
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            _mm512_store_si512(C + m * ldc + 16 * v, (__m512i)sum[m][v]);
}

#define BLOCK(rows, vecs)                                                                          \
    TARGET static void block_##rows##_##vecs(int32_t *C, long ldc, const uint32_t *A, long a_row,  \
                                             const uint32_t *B, long K)                            \
    {                                                                                              \
        block(C, ldc, A, a_row, B, K, rows, vecs);                                                 \
    }
#define BLOCKS(rows) BLOCK(rows, 1) BLOCK(rows, 2) BLOCK(rows, 3) BLOCK(rows, 4)
BLOCKS(1)
BLOCKS(2)
BLOCKS(3)
BLOCKS(4)
BLOCKS(5)
BLOCKS(6)

typedef void block_fn(int32_t *C, long ldc, const uint32_t *A, long a_row, const uint32_t *B,
                      long K);
#define NAMES(rows)                                                                                \
    {                                                                                              \
        block_##rows##_1, block_##rows##_2, block_##rows##_3, block_##rows##_4                     \
    }
static block_fn *const table[ROWS][VECS] = {NAMES(1), NAMES(2), NAMES(3),
                                            NAMES(4), NAMES(5), NAMES(6)};

void tile_int8_mm(int32_t *C, long ldc, const uint32_t *A, long a_row, const uint32_t *B, long M,
                  long N, long K)
{
    for (long n = 0; n < N; n += 16L * VECS) {
        long vecs = (N - n) / 16 < VECS ? (N - n) / 16 : VECS;
        for (long m = 0; m < M; m += ROWS)
            table[(M - m < ROWS ? M - m : ROWS) - 1][vecs - 1](C + m * ldc + n, ldc, A + m * a_row,
                                                               a_row, B + n, K);
    }
}

#else

void tile_int8_mm(int32_t *C, long ldc, const uint32_t *A, long a_row, const uint32_t *B, long M,
                  long N, long K)
{
    (void)C, (void)ldc, (void)A, (void)a_row, (void)B, (void)M, (void)N, (void)K;
}
#endif
