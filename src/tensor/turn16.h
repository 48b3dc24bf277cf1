/* 16 x 16 words change places: for what packs rows for products. Private to src/tensor; only where
 * PESC_HAVE_AVX512_BF16. */
#ifndef PESC_TENSOR_TURN16_H
#define PESC_TENSOR_TURN16_H

#include <immintrin.h>

__attribute__((target("avx512f"), always_inline)) static inline void turn16(__m512i r[16])
{
    __m512i t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    /* r[4 b + i], 128-bit part p: rows 4 b .. 4 b + 3 of column 4 p + i */
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i ab = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
        __m512i cd = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
        __m512i ef = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
        __m512i gh = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
        t[i] = _mm512_shuffle_i32x4(ab, cd, 0x88);
        t[8 + i] = _mm512_shuffle_i32x4(ab, cd, 0xdd);
        t[4 + i] = _mm512_shuffle_i32x4(ef, gh, 0x88);
        t[12 + i] = _mm512_shuffle_i32x4(ef, gh, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        r[i] = t[i];
}

#endif
