/* Weights in the order in which oneDNN's products read them, packed for each product by all
 * threads: faster than oneDNN's own copy of plain ones, and no second copy stays.
 *
 * Its fast products take sources and results without gaps only, so a matrix is packed whole.
 *
 * Of B[K, N], blocks of 64 columns, one behind the other; in each, words of neighbours along K (two
 * bf16, four bytes): word (k, n) of a block at 64 k + n, zeros up to multiples of 64 columns and 16
 * words (oneDNN's BA16a64b2a and BA16a64b4a). */
#include "config.h"
#include "core/isa.h"
#include "tensor/gemm_state.h"

#include <stdlib.h>

enum { COLUMNS = 64, WORDS = 16 };

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

size_t packed_bytes(long K, long N, long size)
{
    return (size_t)(depth(K, size) * up_to(N, COLUMNS)) * sizeof(uint32_t);
}

/* oneDNN may not know the order for this CPU. */
static int takes(struct gemm *g, long size)
{
    enum { N = 64 };
    int *known = &g->packs[size == 1];
    struct matmul m = {.M = N,
                       .N = N,
                       .K = N,
                       .layout = WEIGHTS_PACKED,
                       .type = size == 2 ? dnnl_bf16 : dnnl_u8,
                       .weights_type = size == 2 ? dnnl_bf16 : dnnl_s8,
                       .dst_type = size == 2 ? dnnl_f32 : dnnl_s32};
    if (*known == 0) {
        *known =
            isa_avx512() && gemm_has_room(g) && matmul_make(&m, g->engine) == 0 && m.fast ? 1 : -1;
        matmul_free(&m);
    }
    return *known > 0;
}

/* Larger ones (vocabularies, those that are taken in panels) stay as they are. */
static int fits(long N, long K, long size)
{
    enum { WIDEST = 16384 };
    return N <= WIDEST && K <= WIDEST && packed_bytes(N, K, size) <= PACKED &&
           packed_bytes(K, N, size) <= PACKED;
}

size_t gemm_packed_bytes(long N, long K, int codes)
{
    long size = codes ? 1 : 2;
    size_t fwd = packed_bytes(K, N, size), bwd = packed_bytes(N, K, size);
    return isa_avx512() && fits(N, K, size) ? fwd > bwd ? fwd : bwd : 0;
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
    g->packed_is_planned = 1;
    return grow(g, bytes) == 0
               ? 0
               : FAIL(err, MEMORY, "no memory for %zu bytes of packed weights", bytes);
}

void *gemm_packed(struct gemm *g, struct matmul *m)
{
    enum { FEWEST = 16 }; /* rows that are worth it */
    long size = m->type == dnnl_bf16 ? 2 : 1;
    size_t bytes = packed_bytes(m->K, m->N, size);
    struct matmul packed = *m;
    packed.layout = WEIGHTS_PACKED;
    packed.weights_row = 0;
    if (g->failed || m->M < FEWEST || !fits(m->N, m->K, size) ||
        (g->packed_is_planned && bytes > g->packed_cap) || !takes(g, size) ||
        !gemm_is_fast(g, &packed))
        return NULL;
    if (grow(g, bytes) != 0) {
        g->failed = dnnl_out_of_memory;
        return NULL;
    }
    *m = packed;
    return g->packed;
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

void pack_rows(void *packed, const void *w, long row, long N, long K, long size)
{
    long words = depth(K, size), blocks = (N + COLUMNS - 1) / COLUMNS;
#pragma omp parallel for schedule(static)
    for (long b = 0; b < blocks; b++)
        block_of_rows((uint32_t *)packed + b * words * COLUMNS,
                      (const char *)w + b * COLUMNS * row * size, row * size, N - b * COLUMNS,
                      words, K * size);
}

/* 16 columns of two rows of bf16, of four of bytes; NULL: zeros. */
INLINE __m512i pairs(const char *const *row, long at, __mmask16 m)
{
    __m256i a = row[0] ? _mm256_maskz_loadu_epi16(m, row[0] + at) : _mm256_setzero_si256();
    __m256i b = row[1] ? _mm256_maskz_loadu_epi16(m, row[1] + at) : _mm256_setzero_si256();
    return _mm512_or_si512(_mm512_cvtepu16_epi32(a),
                           _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

INLINE __m512i quads(const char *const *row, long at, __mmask16 m)
{
    __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int i = 3; i >= 0; i--) {
        __m128i x = row[i] ? _mm_maskz_loadu_epi8(m, row[i] + at) : _mm_setzero_si128();
        sum = _mm512_or_si512(_mm512_slli_epi32(sum, 8), _mm512_cvtepu8_epi32(x));
    }
    return sum;
}

/* A row of words of all blocks, from the rows of B that it is made of. */
static TARGET void row_of_blocks(uint32_t *to, long block, const char *const *row, long N,
                                 const long size)
{
    for (long n = 0; n < up_to(N, COLUMNS); n += 16) {
        __mmask16 m = N - n >= 16 ? 0xffff : N - n <= 0 ? 0 : (__mmask16)((1u << (N - n)) - 1);
        _mm512_store_si512(to + n / COLUMNS * block + n % COLUMNS,
                           size == 2 ? pairs(row, 2 * n, m) : quads(row, n, m));
    }
}

void pack_columns(void *packed, const void *w, long row, long K, long N, long size)
{
    long words = depth(K, size), each = (long)sizeof(uint32_t) / size;
#pragma omp parallel for schedule(static)
    for (long k = 0; k < words; k++) {
        const char *rows[4] = {NULL};
        for (long i = 0; i < each && k * each + i < K; i++)
            rows[i] = (const char *)w + (k * each + i) * row * size;
        row_of_blocks((uint32_t *)packed + k * COLUMNS, words * COLUMNS, rows, N, size);
    }
}

#else

void pack_rows(void *packed, const void *w, long row, long N, long K, long size)
{
    (void)packed, (void)w, (void)row, (void)N, (void)K, (void)size;
}

void pack_columns(void *packed, const void *w, long row, long K, long N, long size)
{
    (void)packed, (void)w, (void)row, (void)K, (void)N, (void)size;
}
#endif
