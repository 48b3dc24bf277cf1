/* Tiles of attention with bf16 products: packing, and the product itself. */
#include "config.h"
#include "tensor/attention_bf16.h"

#ifdef PESC_HAVE_AVX512_BF16

#include "tensor/turn16.h"

#include <string.h>

BF16_ISA void bf16_pack_rows(uint16_t *dst, const uint16_t *src, long stride, long n, long C)
{
    long Cp = bf16_width(C);
    for (long r = 0; r < n; r++, src += stride, dst += Cp)
        for (long c = 0; c < Cp; c += LANES)
            _mm256_storeu_si256((__m256i *)(dst + c),
                                _mm256_maskz_loadu_epi16(bf16_lanes(C - c), src + c));
}

/* Stands for rows that are not there. */
static const uint16_t zeros[C_MAX + LANES];

/* 16 numbers of two rows, of which m are there, as pairs. */
BF16_INLINE __m512i zip(const uint16_t *a, const uint16_t *b, __mmask16 m)
{
    __m512i lo = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, a));
    __m512i hi = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, b));
    return _mm512_or_si512(lo, _mm512_slli_epi32(hi, 16));
}

BF16_ISA void bf16_pack_columns(uint16_t *dst, const uint16_t *src, long stride, long n, long C)
{
    long Cp = bf16_width(C), pairs = (n + 1) / 2;
    for (long p = 0; p < pairs; p += LANES) {
        const uint16_t *row[2 * LANES];
        for (long i = 0; i < 2 * LANES; i++)
            row[i] = 2 * p + i < n ? src + (2 * p + i) * stride : zeros;
        for (long c = 0; c < Cp; c += LANES) {
            __m512i r[LANES];
            __mmask16 m = bf16_lanes(C - c);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                r[i] = zip(row[2 * i] + c, row[2 * i + 1] + c, m);
            turn16(r);
            m = bf16_lanes(pairs - p);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                _mm512_mask_storeu_epi32(dst + (c + i) * 2 * pairs + 2 * p, m, r[i]);
        }
    }
}

void bf16_places(long *at, int *pos, int *oldest, long ld, const struct attn_dims *d, long f0,
                 long n, long shift)
{
    long rep = d->H / d->G, t = f0 / rep, h = f0 % rep;
    for (long r = 0; r < ld; r++) {
        at[r] = t * d->H + h;
        pos[r] = r < n ? (int)(t + shift) : -1;
        oldest[r] = d->window > 0 ? (int)(t + shift - d->window + 1) : 0;
        if (++h == rep) {
            h = 0;
            t++;
        }
    }
}

BF16_ISA void bf16_pack_channel_pairs(uint16_t *dst, long ld, const uint16_t *src, const long *at,
                                      long n, long C)
{
    long half = bf16_width(C) / 2;
    for (long r0 = 0; r0 < ld; r0 += LANES) {
        const uint16_t *row[LANES];
        for (long i = 0; i < LANES; i++)
            row[i] = r0 + i < n ? src + at[r0 + i] * C : zeros;
        for (long p = 0; p < half; p += LANES) {
            __m512i r[LANES];
            long c = 2 * p, left = C - c;
            __mmask32 m = left >= 2 * LANES ? 0xffffffffu : (1u << left) - 1;
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                r[i] = _mm512_maskz_loadu_epi16(m, row[i] + c);
            turn16(r);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                if (p + i < half)
                    _mm512_store_si512(dst + 2 * ((p + i) * ld + r0), r[i]);
        }
    }
}

BF16_ISA void bf16_pack_row_pairs(uint16_t *dst, long ld, const uint16_t *src, const long *at,
                                  long n, long C)
{
    long Cp = bf16_width(C);
    for (long r = 0; r < ld; r += 2, dst += 2 * Cp) {
        const uint16_t *a = r < n ? src + at[r] * C : zeros;
        const uint16_t *b = r + 1 < n ? src + at[r + 1] * C : zeros;
        for (long c = 0; c < Cp; c += LANES)
            _mm512_store_si512(dst + 2 * c, zip(a + c, b + c, bf16_lanes(C - c)));
    }
}

BF16_ISA void bf16_store_transposed(float *dst, const long *at, long n, long C, const float *src,
                                    long ld, const float *factor)
{
    for (long r0 = 0; r0 < n; r0 += LANES) {
        __m512 by = _mm512_load_ps(factor + r0);
        for (long c = 0; c < C; c += LANES) {
            __m512i r[LANES];
            __mmask16 m = bf16_lanes(C - c);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                r[i] = (__m512i)_mm512_mul_ps(_mm512_load_ps(src + (c + i) * ld + r0), by);
            turn16(r);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                if (r0 + i < n)
                    _mm512_mask_storeu_epi32(dst + at[r0 + i] * C + c, m, r[i]);
        }
    }
}

/* A word of two numbers in every lane. */
BF16_INLINE __m512bh both(const uint16_t *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return (__m512bh)_mm512_set1_epi32(x);
}

/* mr x nr accumulators: enough to hide the latency of a product. rows: of them that are stored.
 * What is const is a constant where this is put. */
BF16_INLINE void block(float *C, long ldc, const uint16_t *A, long lda, const uint16_t *B, long ldb,
                       long rows, long K, const int add, __mmask16 last, const int mr, const int nr)
{
    __m512 acc[8][4];
#pragma GCC unroll 8
    for (int m = 0; m < mr; m++)
#pragma GCC unroll 4
        for (int n = 0; n < nr; n++)
            acc[m][n] = add && m < rows ? n < nr - 1
                                              ? _mm512_loadu_ps(C + m * ldc + n * LANES)
                                              : _mm512_maskz_loadu_ps(last, C + m * ldc + n * LANES)
                                        : _mm512_setzero_ps();
    for (long k = 0; k < K; k++, A += 2, B += 2 * ldb) {
        __m512bh b[4];
#pragma GCC unroll 4
        for (int n = 0; n < nr; n++)
            b[n] = (__m512bh)_mm512_loadu_si512(B + n * 2 * LANES);
#pragma GCC unroll 8
        for (int m = 0; m < mr; m++) {
            __m512bh a = both(A + m * lda);
#pragma GCC unroll 4
            for (int n = 0; n < nr; n++)
                acc[m][n] = _mm512_dpbf16_ps(acc[m][n], a, b[n]);
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < mr; m++)
        if (m < rows) {
#pragma GCC unroll 4
            for (int n = 0; n < nr - 1; n++)
                _mm512_storeu_ps(C + m * ldc + n * LANES, acc[m][n]);
            _mm512_mask_storeu_ps(C + m * ldc + (nr - 1) * LANES, last, acc[m][nr - 1]);
        }
}

#define COLUMNS(MR, NR, ADD)                                                                       \
    static BF16_ISA void columns_##NR##_##ADD(float *C, long ldc, const uint16_t *A, long lda,     \
                                              const uint16_t *B, long ldb, long M, long K,         \
                                              __mmask16 last)                                      \
    {                                                                                              \
        for (; M >= MR; M -= MR, C += MR * ldc, A += MR * lda)                                     \
            block(C, ldc, A, lda, B, ldb, MR, K, ADD, last, MR, NR);                               \
        if (M > 0)                                                                                 \
            block(C, ldc, A, lda, B, ldb, M, K, ADD, last, MR, NR);                                \
    }
COLUMNS(8, 1, 0)
COLUMNS(8, 2, 0)
COLUMNS(8, 3, 0)
COLUMNS(4, 4, 0)
COLUMNS(8, 1, 1)
COLUMNS(8, 2, 1)
COLUMNS(8, 3, 1)
COLUMNS(4, 4, 1)

void bf16_mm(float *C, long ldc, const uint16_t *A, long lda, const uint16_t *B, long ldb, long M,
             long n, long K, int add, unsigned last)
{
    typedef void columns(float *, long, const uint16_t *, long, const uint16_t *, long, long, long,
                         __mmask16);
    static columns *const way[4][2] = {{columns_1_0, columns_1_1},
                                       {columns_2_0, columns_2_1},
                                       {columns_3_0, columns_3_1},
                                       {columns_4_0, columns_4_1}};
    for (; n > 4; n -= 4, C += 4 * LANES, B += 8 * LANES)
        way[3][add](C, ldc, A, lda, B, ldb, M, K, 0xffff);
    if (n > 0)
        way[n - 1][add](C, ldc, A, lda, B, ldb, M, K, (__mmask16)last);
}

#endif
