#include "config.h"
#include "tensor/tile_f32.h"

#include <string.h>

#if defined __x86_64__ && defined __GNUC__
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline)) TARGET

enum { ROWS = 6 }; /* 12 sums, 2 vectors of B and a broadcast, of 16 registers */

/* rows is a constant, so that the sums are registers. */
INLINE void block(float *C, long ldc, const float *A, long a_row, long a_step, const float *B,
                  long ldb, long K, int add, const int rows)
{
    __m256 sum[ROWS][2];
#pragma GCC unroll 6
    for (int m = 0; m < rows; m++)
        for (int v = 0; v < 2; v++)
            sum[m][v] = _mm256_setzero_ps();
#pragma GCC unroll 6
    for (int m = 0; m < rows; m++)
        __builtin_prefetch(C + m * ldc, 1);
    for (long k = 0; k < K; k++) {
        __m256 b0 = _mm256_loadu_ps(B + k * ldb), b1 = _mm256_loadu_ps(B + k * ldb + 8);
#pragma GCC unroll 6
        for (int m = 0; m < rows; m++) {
            __m256 a = _mm256_broadcast_ss(A + m * a_row + k * a_step);
            sum[m][0] = _mm256_fmadd_ps(a, b0, sum[m][0]);
            sum[m][1] = _mm256_fmadd_ps(a, b1, sum[m][1]);
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < rows; m++)
        for (int v = 0; v < 2; v++) {
            float *c = C + m * ldc + 8 * v;
            _mm256_storeu_ps(c, add ? _mm256_add_ps(sum[m][v], _mm256_loadu_ps(c)) : sum[m][v]);
        }
}

#define BLOCK(rows)                                                                                \
    static TARGET void block_##rows(float *C, long ldc, const float *A, long a_row, long a_step,   \
                                    const float *B, long ldb, long K, int add)                     \
    {                                                                                              \
        block(C, ldc, A, a_row, a_step, B, ldb, K, add, rows);                                     \
    }
BLOCK(1)
BLOCK(2)
BLOCK(3)
BLOCK(4)
BLOCK(5)
BLOCK(6)

void tile_f32_mm(float *C, long ldc, const float *A, long a_row, long a_step, const float *B,
                 long ldb, long M, long K, int add)
{
    typedef void block_fn(float *, long, const float *, long, long, const float *, long, long, int);
    static block_fn *const of[ROWS] = {block_1, block_2, block_3, block_4, block_5, block_6};
    for (long m = 0; m < M; m += ROWS)
        of[(M - m < ROWS ? M - m : ROWS) - 1](C + m * ldc, ldc, A + m * a_row, a_row, a_step, B,
                                              ldb, K, add);
}

/* Eight rows of eight become columns, 16 floats apart. */
INLINE void turn(float *to, const float *w, long row)
{
    __m256 r[8], s[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        r[i] = _mm256_loadu_ps(w + i * row);
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        _mm256_store_ps(to + i * F32_COLS, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_store_ps(to + (i + 4) * F32_COLS, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

static TARGET void pack_rows(float *B, const float *w, long row, long K, long cols)
{
    long eights = cols / 8 * 8, whole = K / 8 * 8;
    for (long n = 0; n < eights; n += 8)
        for (long k = 0; k < whole; k += 8)
            turn(B + k * F32_COLS + n, w + n * row + k, row);
    for (long n = 0; n < cols; n++)
        for (long k = n < eights ? whole : 0; k < K; k++)
            B[k * F32_COLS + n] = w[n * row + k];
}

void tile_f32_pack(float *B, const float *w, long row, int by_rows, long K, long cols)
{
    cols = cols < F32_COLS ? cols : F32_COLS;
    if (by_rows)
        pack_rows(B, w, row, K, cols);
    else if (cols == F32_COLS)
        for (long k = 0; k < K; k++)
            memcpy(B + k * F32_COLS, w + k * row, F32_COLS * sizeof *B);
    else
        for (long k = 0; k < K; k++)
            memcpy(B + k * F32_COLS, w + k * row, (size_t)cols * sizeof *B);
}

#else

void tile_f32_mm(float *C, long ldc, const float *A, long a_row, long a_step, const float *B,
                 long ldb, long M, long K, int add)
{
    (void)C, (void)ldc, (void)A, (void)a_row, (void)a_step, (void)B, (void)ldb, (void)M, (void)K;
    (void)add;
}

void tile_f32_pack(float *B, const float *w, long row, int by_rows, long K, long cols)
{
    (void)B, (void)w, (void)row, (void)by_rows, (void)K, (void)cols;
}
#endif
