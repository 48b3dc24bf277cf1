/* Products of tiles of floats (AVX2 and FMA). Only where isa_avx2 (core/isa.h). */
#ifndef PESC_TENSOR_TILE_F32_H
#define PESC_TENSOR_TILE_F32_H

/* Columns of C and B. */
enum { F32_COLS = 16 };

/* C[M,16] (+)= A B[K,16], sums over k = 0..K-1 in that order. Element (m, k) of A is
 * A[m * a_row + k * a_step]; rows of B and C are ldb and ldc apart. */
void tile_f32_mm(float *C, long ldc, const float *A, long a_row, long a_step, const float *B,
                 long ldb, long M, long K, int add);

/* B[K,16], rows end to end at a multiple of 32 bytes, from w[K, row], or, by_rows, from w[cols,
 * row]; columns from cols on hold anything. */
void tile_f32_pack(float *B, const float *w, long row, int by_rows, long K, long cols);

#endif
