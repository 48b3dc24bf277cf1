/* Products of tiles too thin, or of too many shapes, for oneDNN: bf16 factors, float sums
 * (AVX512-BF16's dot products of pairs). Factors are words of two bf16 that are neighbours along
 * the sum, the first in the lower half. Only where isa_avx512_bf16
 * (core/isa.h). */
#ifndef PESC_TENSOR_TILE_BF16_H
#define PESC_TENSOR_TILE_BF16_H

#include <stdint.h>

/* Columns of B and C come in multiples of this; rows of C in any number. */
enum { BF16_COLS = 16 };

/* C[M,N] (+)= A B, sums over pairs k = 0..K-1 in that order. Word (m, k) of A is
 * A[m * a_row + k * a_pair], word (k, n) of B is B[k * ldb + n]. B and C need no alignment. */
void tile_bf16_mm(float *C, long ldc, const uint32_t *A, long a_row, long a_pair, const uint32_t *B,
                  long ldb, long M, long N, long K, int add);

/* Pairs along the columns: row r of src[rows, cols] becomes (cols + 1) / 2 words at dst + r * ld,
 * an odd last one with zero. */
void tile_bf16_rows(uint32_t *dst, long ld, const float *src, long src_row, long rows, long cols);
/* The same pairs as B of a product with the transpose: word (k, r) at dst[k * ld + r], k up to
 * (cols + 1) / 2, columns r up to ld (a multiple of BF16_COLS) filled with zeros. */
void tile_bf16_rows_t(uint32_t *dst, long ld, const float *src, long src_row, long rows, long cols);
/* Pairs along the rows: rows 2k and 2k + 1 of src become the ld words at dst + k * ld (ld as
 * above), for k up to (rows + 1) / 2. */
void tile_bf16_pairs(uint32_t *dst, long ld, const float *src, long src_row, long rows, long cols);
/* Of two rows that are bf16 already; b NULL: zeros. n: words. */
void tile_bf16_zip(uint32_t *dst, const uint16_t *a, const uint16_t *b, long n);

#endif
