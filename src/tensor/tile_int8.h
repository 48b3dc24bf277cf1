/* Products of tiles of codes, as tile_bf16.h's of bf16: words of four neighbours along the sum,
 * exact 32-bit sums (AVX512-VNNI). Only where isa_avx512_vnni (core/isa.h). */
#ifndef PESC_TENSOR_TILE_INT8_H
#define PESC_TENSOR_TILE_INT8_H

#include <stdint.h>

/* C[M,N] = A B over words k = 0..K-1, unsigned bytes of A with signed ones of B. N: a multiple of
 * 16, a row of B INT8_LD words, one of A a_row. C and B at multiples of 64 bytes. */
enum { INT8_LD = 64 };
void tile_int8_mm(int32_t *C, long ldc, const uint32_t *A, long a_row, const uint32_t *B, long M,
                  long N, long K);

#endif
