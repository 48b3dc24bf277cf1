/* Small dense tiles for attention, private to it. A row of a tile is one (query, head of the
 * group) pair: the heads that share a key head are worked on together, so a key tile is brought in
 * once for all of them. Row f is query f / rep, head f % rep of its group. */
#ifndef PESC_TENSOR_ATTENTION_TILE_H
#define PESC_TENSOR_ATTENTION_TILE_H

#include "tensor/kernels.h"

/* Multiples of the register block of tile_mm: 6 rows by LANES columns. */
enum { LANES = 16, TILE_ROWS = 48, TILE_KEYS = 48, C_MAX = 256 };
#define TILE_ALIGNED _Alignas(64)

/* C[M,N] (+)= A[M,K] B[K,N]; M a multiple of 6, N of LANES. Row m, column k of A is
 * A[m * a_row + k * a_col], so A may be read transposed. */
void tile_mm(float *C, long ldc, const float *A, long a_row, long a_col, const float *B, long ldb,
             long M, long N, long K, int add);

/* Rows f0 .. f0+n-1 of src, where row f lies at (f / rep) * stride + (f % rep) * C. Missing rows
 * (up to pad_rows) and columns (up to ld) are zero. */
void tile_load(float *dst, long ld, const float *src, long stride, long rep, long f0, long n,
               long pad_rows, long C, float scale);
/* The same rows transposed: dst[c * TILE_KEYS + row], missing rows zero. rep is 1. */
void tile_load_t(float *dst, const float *src, long stride, long f0, long n, long C);
/* Back to where tile_load read: dst row = tile row * factor[row] (NULL: scale). */
void tile_store(float *dst, long stride, long rep, long f0, long n, long C, const float *src,
                long ld, const float *factor, float scale);

/* Keys of a tile starting at k0 that each row sees: lo[r] <= j < hi[r]. Query t stands at key
 * t + shift; padding rows see nothing. */
void tile_band(int *lo, int *hi, long rep, long f0, long n, long pad_rows, long shift, long window,
               long k0, long nk);

static inline long round_up(long n, long step)
{
    return (n + step - 1) / step * step;
}

#endif
