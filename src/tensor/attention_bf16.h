/* Attention with bf16 products (AVX512-BF16), private to src/tensor/attention*.c. Queries lie
 * across the lanes and keys below each other: scores S^T = K Q^T and outputs O^T = V^T P^T, so that
 * what belongs to a query (its maximum, sum, delta) is a lane and no sum goes across a register. A
 * row is a (query, head of the group) pair, as in attention_tile.h. */
#ifndef PESC_TENSOR_ATTENTION_BF16_H
#define PESC_TENSOR_ATTENTION_BF16_H

#include "tensor/attention_tile.h"

#if defined PESC_HAVE_AVX512_BF16

#include <immintrin.h>
#include <stdint.h>

#define BF16_ISA __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define BF16_INLINE static inline __attribute__((always_inline)) BF16_ISA

/* Rows and keys of a tile. KEYS_STEP: of a product's rows; so many packed rows may be read behind
 * the last key of a sequence, and what comes of them is not used. */
enum { BF16_ROWS = 64, BF16_KEYS = 64, KEYS_STEP = 8 };

/* Packed keys and values. "rows" are [key][Cp]; "columns" are, tile by tile, [Cp][keys of the tile
 * rounded up to even]; Cp is C rounded up to LANES and what is added is zero. Every sequence's
 * columns have room for twice its keys, since that of an odd number of them needs more. */
static inline long bf16_width(long C)
{
    return round_up(C, LANES);
}

/* Numbers before a group's rows, and before its columns, of a sequence of the keys first ..
 * first+n-1. */
static inline long bf16_rows_at(long first, long n, long G, long g, long Cp)
{
    return (first * G + g * n) * Cp;
}
static inline long bf16_columns_at(long first, long n, long G, long g, long Cp)
{
    return (2 * first * G + g * round_up(n, 2)) * Cp;
}

/* Numbers of all rows and of all columns of T keys, in any number of sequences. */
static inline long bf16_rows_size(long T, long G, long C)
{
    return T * G * bf16_width(C);
}
static inline long bf16_columns_size(long T, long G, long C)
{
    return 2 * T * G * bf16_width(C);
}

/* Which work item, of those of all sequences, sequence by sequence; one per thread. */
struct item {
    long s, base; /* sequence, items before it */
};
/* Steps to item i; per(n) items of a sequence of n (per group: times G). */
static inline long item_to(struct item *at, long i, const long *cu, long G, long rows, long tile)
{
    if (i < at->base)
        at->s = at->base = 0;
    for (;;) {
        long n = G * ((rows * (cu[at->s + 1] - cu[at->s]) + tile - 1) / tile);
        if (i < at->base + n)
            return i - at->base;
        at->base += n;
        at->s++;
    }
}
static inline long item_count(const long *cu, long S, long G, long rows, long tile)
{
    long n = 0;
    for (long s = 0; s < S; s++)
        n += G * ((rows * (cu[s + 1] - cu[s]) + tile - 1) / tile);
    return n;
}

/* Key tiles that the rows f0 .. f0+n-1 see: first tile's first key and behind the last key. */
static inline long bf16_band(long f0, long n, long rep, long shift, long window, long *end)
{
    long first = f0 / rep + shift, last = (f0 + n - 1) / rep + shift;
    long k0 = window > 0 && first >= window ? first - window + 1 : 0;
    *end = last + 1;
    return k0 - k0 % BF16_KEYS;
}

/* Asks for the memory of rows f0 .. f0+n-1 of a group that begins at p, of numbers of so many
 * bytes: there is a tile's arithmetic to do until they are needed. */
static inline void bf16_prefetch(const void *p, long size, const struct attn_dims *d, long f0,
                                 long n)
{
    enum { LINE = 64 };
    long rep = d->H / d->G, row = rep * d->C * size;
    for (long t = f0 / rep; n > 0 && t <= (f0 + n - 1) / rep; t++)
        for (long c = 0; c < row; c += LINE)
            _mm_prefetch((const char *)p + t * d->H * d->C * size + c, _MM_HINT_T1);
}

/* n rows of C numbers; columns: at most a tile of them. */
void bf16_pack_rows(uint16_t *dst, const uint16_t *src, long stride, long n, long C);
void bf16_pack_columns(uint16_t *dst, const uint16_t *src, long stride, long n, long C);

/* Rows f0 .. f0+n-1 of a group, and up to ld, a multiple of LANES: row r lies at head at[r] of the
 * group's first query on, its query stands at key pos[r] (-1: there is no such row) and sees none
 * before oldest[r]. */
void bf16_places(long *at, int *pos, int *oldest, long ld, const struct attn_dims *d, long f0,
                 long n, long shift);
/* Those of src, missing ones zero: channel pairs [Cp/2][ld][2], and row pairs [ld/2][Cp][2]. */
void bf16_pack_channel_pairs(uint16_t *dst, long ld, const uint16_t *src, const long *at, long n,
                             long C);
void bf16_pack_row_pairs(uint16_t *dst, long ld, const uint16_t *src, const long *at, long n,
                         long C);
/* The transpose of src [Cp][ld], each row times its lane's factor, to where they lie. */
void bf16_store_transposed(float *dst, const long *at, long n, long C, const float *src, long ld,
                           const float *factor);

/* C[M, 16 n] (+)= A[M, 2 K] B[2 K, 16 n] with float sums. A is rows of lda numbers, read up to a
 * multiple of KEYS_STEP of rows; B is [K][ldb][2]. Of C's last 16 columns those of mask last are
 * touched. */
void bf16_mm(float *C, long ldc, const uint16_t *A, long lda, const uint16_t *B, long ldb, long M,
             long n, long K, int add, unsigned last);

/* 2^x to 2e-7 relative, 0 of minus infinity; NaN stays. x = n + r, n below it, and scalef takes the
 * n of x itself. */
BF16_INLINE __m512 bf16_exp2(__m512 x)
{
    __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 p = _mm512_set1_ps(1.877576673e-03f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.989340095e-03f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.582631805e-02f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.401536170e-01f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.931530732e-01f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.999999251e-01f));
    return _mm512_scalef_ps(p, x);
}

/* Two rows of 16 to 16 pairs of bf16. */
BF16_INLINE __m512i bf16_pairs(__m512 even, __m512 odd)
{
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
}

/* The first n lanes of 16. */
BF16_INLINE __mmask16 bf16_lanes(long n)
{
    return n >= LANES ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1);
}

/* 16 numbers, of which n are there, as floats. */
BF16_INLINE __m512 bf16_widen(const uint16_t *p, long n)
{
    __m256i x = _mm256_maskz_loadu_epi16(bf16_lanes(n), p);
    return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16);
}

/* Lanes that key j is seen by: those whose query stands at j or behind, within the window. */
BF16_INLINE __mmask16 bf16_sees(__m512i pos, __m512i oldest, long j)
{
    __m512i key = _mm512_set1_epi32((int)j);
    return _mm512_cmple_epi32_mask(key, pos) & _mm512_cmpge_epi32_mask(key, oldest);
}

#endif
#endif
