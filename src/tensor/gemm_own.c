/* Products with frozen weights where the CPU multiplies pairs of bf16 or bytes (AVX512-BF16, VNNI):
 * each thread packs the weights of 64 columns of results into its second-level cache, in the order
 * in which the instructions read them, and multiplies its rows with them; results are rounded,
 * scaled and added while they are in the first-level cache. As fast as oneDNN's products of weights
 * that are packed already (experiments/bench/NOTES.md), and a number of rows needs no code of its
 * own, a row depends on no other, and operands may have gaps.
 *
 * A block of 64 columns is words of neighbours along the sum (two bf16, four bytes): word (k, n) at
 * 64 k + n, zeros up to 16 words. Columns that there are not hold anything: so do their results,
 * which go nowhere. */
#include "config.h"
#include "core/hot.h"
#include "core/isa.h"
#include "tensor/gemm_own.h"
#include "tensor/gemm_state.h"
#include "tensor/tile_bf16.h"
#include "tensor/tile_int8.h"
#include "tensor/vecmath.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* COLUMNS of a block, ROWS at a time: tiles of results that stay in the first-level cache. DEPTH:
 * bytes of a column that are packed at a time (a block is then 1 MiB at most). */
enum { COLUMNS = 64, WORDS = 16, ROWS = 48, DEPTH = 16384 };

static long up_to(long n, long step)
{
    return (n + step - 1) / step * step;
}

/* Words along K. */
static long depth(long K, long size)
{
    long each = (long)sizeof(uint32_t) / size;
    return up_to((K + each - 1) / each, WORDS);
}

/* Words of a block that is packed at a time. */
static long block_words(long K, long size)
{
    long n = depth(K, size), most = DEPTH / (long)sizeof(uint32_t);
    return (n < most ? n : most) * COLUMNS;
}

int gemm_own_rows(struct gemm *g, long size, long M)
{
    enum { FEWEST = 16 }; /* that packing is worth; the others' memory for codes is not planned */
    int *known = &g->own[size == 1 ? 1 : size == 2 ? 0 : 2];
    if (*known == 0)
        *known = gemm_own_usable(size) ? 1 : -1;
    return *known > 0 && (M >= FEWEST || g->rows || size != 2);
}

int gemm_own_fits(const struct own *p)
{
    int words = p->size == 1 || (p->K % 2 == 0 && p->a_row % 2 == 0);
    int summed = p->size == 2 && p->C; /* in pieces, that is */
    return words && (summed || p->K * p->size <= DEPTH);
}

int gemm_own(struct gemm *g, const struct own *p)
{
    return gemm_own_rows(g, p->size, p->M) && gemm_own_fits(p);
}

static size_t room_of(long K, long size)
{
    return (size_t)block_words(K, size) * sizeof(uint32_t) * (size_t)omp_get_max_threads();
}

size_t gemm_packed_bytes(long N, long K, int codes)
{
    long size = codes ? 1 : 2;
    return gemm_own_usable(size) ? room_of(N > K ? N : K, size) : 0;
}

static int grow(struct gemm *g, size_t bytes)
{
    void *p = NULL;
    if (bytes <= g->packed_cap)
        return 0;
    if (posix_memalign(&p, 64, bytes) != 0)
        return -1;
    free(g->packed);
    g->packed = p;
    g->packed_cap = bytes;
    return 0;
}

int gemm_reserve_packed(struct gemm *g, size_t bytes, struct pesc_error *err)
{
    return grow(g, bytes) == 0
               ? 0
               : FAIL(err, MEMORY, "no memory for %zu bytes of packed weights", bytes);
}

#ifdef PESC_HAVE_AVX512_BF16
#include "tensor/turn16.h"

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define INLINE static inline __attribute__((always_inline)) TARGET

/* The first n bytes of 64. */
INLINE __mmask64 bytes(long n)
{
    return n >= 64 ? ~(__mmask64)0 : n <= 0 ? 0 : ((__mmask64)1 << n) - 1;
}

/* Rows r.. of B^T as a block: words along a row go down the block. */
static TARGET void block_of_rows(uint32_t *to, const char *from, long row, long n, long words,
                                 long length)
{
    for (long at = 0; at < COLUMNS; at += 16)
        for (long k = 0; k < words; k += 16) {
            __mmask64 m = bytes(length - 4 * k);
            __m512i w[16];
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++)
                w[i] = at + i < n ? _mm512_maskz_loadu_epi8(m, from + (at + i) * row + 4 * k)
                                  : _mm512_setzero_si512();
            turn16(w);
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++)
                _mm512_store_si512(to + (k + i) * COLUMNS + at, w[i]);
        }
}

/* Block of columns n.. of B^T's rows (w: its row n), words from k on. */
static void pack_rows(uint32_t *to, const struct own *p, long n, long k, long words)
{
    long each = (long)sizeof(uint32_t) / p->size, cols = p->N - n, left = p->K - k * each;
    block_of_rows(to, (const char *)p->w + (n * p->w_row + k * each) * p->size, p->w_row * p->size,
                  cols, words, left * p->size);
}

/* As tile_bf16_zip, of four rows of bytes; NULL: zeros. */
INLINE void quads(uint32_t *to, const char *const *row, long n)
{
    for (long at = 0; at < n; at += 16) {
        __mmask16 m = n - at >= 16 ? 0xffff : (__mmask16)((1u << (n - at)) - 1);
        __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 4
        for (int i = 3; i >= 0; i--) {
            __m128i x = row[i] ? _mm_maskz_loadu_epi8(m, row[i] + at) : _mm_setzero_si128();
            sum = _mm512_or_si512(_mm512_slli_epi32(sum, 8), _mm512_cvtepu8_epi32(x));
        }
        _mm512_store_si512(to + at, sum);
    }
}

/* Rows are further apart than the CPU looks ahead. */
INLINE void fetch(const struct own *p, long row, long n)
{
    const char *at = (const char *)p->w + ((row < p->K ? row : p->K - 1) * p->w_row + n) * p->size;
    _mm_prefetch(at, _MM_HINT_T0);
    _mm_prefetch(at + (COLUMNS - 1) * p->size, _MM_HINT_T0);
}

/* Block of columns n.. of B's rows, words from k on. */
static TARGET void pack_columns(uint32_t *to, const struct own *p, long n, long k, long words)
{
    enum { AHEAD = 16 };
    long each = (long)sizeof(uint32_t) / p->size, cols = p->N - n < COLUMNS ? p->N - n : COLUMNS;
    for (long i = 0; i < words; i++, to += COLUMNS) {
        const char *rows[4] = {NULL};
        for (long j = 0; j < each && (k + i) * each + j < p->K; j++) {
            rows[j] = (const char *)p->w + (((k + i) * each + j) * p->w_row + n) * p->size;
            fetch(p, (k + i) * each + j + AHEAD, n);
        }
        if (!rows[0])
            memset(to, 0, COLUMNS * sizeof *to);
        else if (p->size == 2)
            tile_bf16_zip(to, (const uint16_t *)(const void *)rows[0],
                          (const uint16_t *)(const void *)rows[1], cols);
        else
            quads(to, rows, cols);
    }
}

#else

static void pack_rows(uint32_t *to, const struct own *p, long n, long k, long words)
{
    (void)to, (void)p, (void)n, (void)k, (void)words;
}

static void pack_columns(uint32_t *to, const struct own *p, long n, long k, long words)
{
    (void)to, (void)p, (void)n, (void)k, (void)words;
}
#endif

/* --- results --- */

static void load(float *restrict tile, const float *restrict C, long c_row, long rows, long cols)
{
    for (long r = 0; r < rows; r++)
        memcpy(tile + r * COLUMNS, C + r * c_row, (size_t)cols * sizeof *C);
}

static void store(float *restrict C, long c_row, const float *restrict tile, long rows, long cols)
{
    for (long r = 0; r < rows; r++)
        memcpy(C + r * c_row, tile + r * COLUMNS, (size_t)cols * sizeof *C);
}

static HOT void store_bf16(uint16_t *restrict C, long c_row, const float *restrict tile, long rows,
                           long cols)
{
    for (long r = 0; r < rows; r++)
#pragma omp simd
        for (long i = 0; i < cols; i++)
            C[r * c_row + i] = vm_narrow(tile[r * COLUMNS + i]);
}

/* Rows r.. and columns n.. of the results, from words k.. */
static void tile_of_pairs(const struct own *p, const uint32_t *B, long r, long n, long k,
                          long words)
{
    long rows = p->M - r < ROWS ? p->M - r : ROWS, cols = p->N - n < COLUMNS ? p->N - n : COLUMNS;
    long all = p->K / 2, K = all - k < words ? all - k : words;
    const uint32_t *A = (const uint32_t *)p->A + r * (p->a_row / 2) + k;
    int add = p->add || k > 0;
    _Alignas(64) float tile[ROWS * COLUMNS];
    float *C = p->C ? p->C + r * p->c_row + n : NULL;
    if (C && cols % BF16_COLS == 0) {
        tile_bf16_mm(C, p->c_row, A, p->a_row / 2, 1, B, COLUMNS, rows, cols, K, add);
        return;
    }
    if (C && add)
        load(tile, C, p->c_row, rows, cols);
    tile_bf16_mm(tile, COLUMNS, A, p->a_row / 2, 1, B, COLUMNS, rows, up_to(cols, BF16_COLS), K,
                 C && add);
    if (C)
        store(C, p->c_row, tile, rows, cols);
    else
        store_bf16(p->C16 + r * p->c_row + n, p->c_row, tile, rows, cols);
}

static void tile_of_codes(const struct own *p, const uint32_t *B, long r, long n)
{
    long rows = p->M - r < ROWS ? p->M - r : ROWS, cols = p->N - n < COLUMNS ? p->N - n : COLUMNS;
    long K = (p->K + 3) / 4;
    _Alignas(64) int32_t sum[ROWS * COLUMNS];
    tile_int8_mm(sum, COLUMNS, (const uint32_t *)p->A + r * (p->a_row / 4), p->a_row / 4, B, rows,
                 up_to(cols, 16), K);
    int8_results(p, sum, COLUMNS, r, n, rows, cols);
}

/* Strips from..end-1 of rows of one block. */
static void block(const void *product, void *room, long n, long from, long end)
{
    const struct own *p = product;
    uint32_t *B = room;
    long all = depth(p->K, p->size), most = DEPTH / (long)sizeof(uint32_t);
    for (long k = 0; k < all; k += most) {
        long words = all - k < most ? all - k : most;
        if (p->by_rows)
            pack_rows(B, p, n, k, words);
        else
            pack_columns(B, p, n, k, words);
        for (long s = from; s < end; s++) {
            if (p->size == 2)
                tile_of_pairs(p, B, s * ROWS, n, k, words);
            else
                tile_of_codes(p, B, s * ROWS, n);
        }
    }
}

void gemm_blocks(struct gemm *g, const struct blocks *b, const void *product)
{
    long threads = omp_get_max_threads(), strips = (b->M + b->rows - 1) / b->rows;
    long all = (b->N + b->columns - 1) / b->columns * strips;
    if (g->failed)
        return;
    if (grow(g, b->room * (size_t)threads) != 0) {
        g->failed = dnnl_out_of_memory;
        return;
    }
    char *room = g->packed;
    threads = b->alone || all < 2 ? 1 : threads;
    /* All strips of the first block, then those of the next: each thread takes as many. */
#pragma omp parallel num_threads((int)threads) if (threads > 1)
    {
        long i = omp_get_thread_num(), n = omp_get_num_threads();
        long at = all * i / n, end = all * (i + 1) / n;
        while (at < end) {
            long c = at / strips, s = at % strips;
            long to = end - at < strips - s ? s + end - at : strips;
            b->block(product, room + (size_t)i * b->room, c * b->columns, s, to);
            at += to - s;
        }
    }
}

void gemm_own_product(struct gemm *g, const struct own *p)
{
    struct blocks b = {.M = p->M, .N = p->N, .rows = ROWS, .columns = COLUMNS, .block = block};
    b.room = (size_t)block_words(p->K, p->size) * sizeof(uint32_t);
    gemm_blocks(g, &b, p);
    gemm_count(g, p->M, p->N, p->K);
}
