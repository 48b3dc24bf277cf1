#include "config.h"
#include "tensor/quant.h"

#include "core/hot.h"

#include <math.h>
#include <string.h>

/* The quantiles of the normal distribution that QLoRA gives (arXiv 2305.14314, appendix E). */
const float nf4_values[16] = {-1.0f,
                              -0.6961928009986877f,
                              -0.5250730514526367f,
                              -0.39491748809814453f,
                              -0.28444138169288635f,
                              -0.18477343022823334f,
                              -0.09105003625154495f,
                              0.0f,
                              0.07958029955625534f,
                              0.16093020141124725f,
                              0.24611230194568634f,
                              0.33791524171829224f,
                              0.44070982933044434f,
                              0.5626170039176941f,
                              0.7229568362236023f,
                              1.0f};

const char *quant_name(enum quant q)
{
    static const char *const name[QUANT_COUNT] = {"none", "nf4", "int8"};
    return (unsigned)q < QUANT_COUNT ? name[q] : "other";
}

static long ceil_div(long n, long d)
{
    return (n + d - 1) / d;
}

long qmat_blocks(const struct qmat *q)
{
    return ceil_div(q->N * q->K, q->block);
}

long qmat_scales(const struct qmat *q)
{
    if (q->kind == QUANT_INT8)
        return q->N;
    return q->nested ? ceil_div(qmat_blocks(q), q->nested) : qmat_blocks(q);
}

size_t qmat_code_bytes(const struct qmat *q)
{
    size_t n = (size_t)q->N * (size_t)q->K;
    return q->kind == QUANT_INT8 ? n : (n + 1) / 2;
}

static size_t padded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Where the parts begin; the last is the end. */
static void sections(const struct qmat *q, size_t at[5])
{
    int nested = q->kind == QUANT_NF4 && q->nested;
    at[0] = 0;
    at[1] = padded(qmat_code_bytes(q));
    at[2] = at[1] + padded((size_t)qmat_scales(q) * sizeof *q->scale);
    at[3] = at[2] + (nested ? padded((size_t)qmat_blocks(q)) : 0);
    at[4] = at[3] + (nested ? padded((NF4_OFFSET + 1) * sizeof *q->map) : 0);
}

size_t qmat_bytes(const struct qmat *q)
{
    size_t at[5];
    sections(q, at);
    return at[4];
}

void qmat_place(struct qmat *q, void *memory)
{
    size_t at[5];
    char *m = memory;
    int nested = q->kind == QUANT_NF4 && q->nested;
    sections(q, at);
    q->code = m;
    q->scale = (const float *)(m + at[1]);
    q->absmax = nested ? (const unsigned char *)(m + at[2]) : NULL;
    q->map = nested ? (const float *)(m + at[3]) : NULL;
}

/* --- expansion --- */

enum { GROUP = 32 }; /* blocks at a time */

/* The scales of n blocks. Product and sum are rounded each, as in the two steps of the original: no
 * fused operation, which the barrier rules out. */
static HOT void block_scales(const struct qmat *q, long first, long n, float *absmax)
{
    if (!q->nested) {
        memcpy(absmax, q->scale + first, (size_t)n * sizeof *absmax);
        return;
    }
    int shift = __builtin_ctzl((unsigned long)q->nested);
    for (long i = 0; i < n; i++)
        absmax[i] = q->map[q->absmax[first + i]] * q->scale[(first + i) >> shift];
    __asm__ volatile("" : : "r"(absmax) : "memory");
    for (long i = 0; i < n; i++)
        absmax[i] += q->map[NF4_OFFSET];
}

static HOT void multiply_values(float *restrict t, const float *restrict absmax, long n)
{
    for (long b = 0; b < n; b++) {
#pragma omp simd
        for (int i = 0; i < 16; i++)
            t[16 * b + i] = nf4_values[i] * absmax[b];
    }
}

/* The 16 values of each of n blocks in the type asked for, in place of t. */
static void block_tables(const struct qmat *q, long first, long n, enum dtype to, void *t)
{
    float absmax[GROUP], wide[16 * GROUP];
    block_scales(q, first, n, absmax);
    multiply_values(wide, absmax, n);
    dtype_from_f32(t, wide, to, (size_t)(16 * n));
}

#if defined(__GNUC__) && !defined(__clang__)
/* 16 entries fit one shuffle of bytes, so a value is looked up byte by byte, 16 values at a time.
 */
typedef unsigned char bytes16 __attribute__((vector_size(16)));
#define LOW(a, b)                                                                                  \
    __builtin_shuffle(a, b, (bytes16){0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23})
#define HIGH(a, b)                                                                                 \
    __builtin_shuffle(a, b, (bytes16){8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31})
#define LOW2(a, b)                                                                                 \
    __builtin_shuffle(a, b, (bytes16){0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23})
#define HIGH2(a, b)                                                                                \
    __builtin_shuffle(a, b, (bytes16){8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31})

#define EVEN(a, b)                                                                                 \
    __builtin_shuffle(a, b, (bytes16){0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30})
#define ODD(a, b)                                                                                  \
    __builtin_shuffle(a, b, (bytes16){1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31})

/* The indices of 32 values, in their order. */
#define INDICES(first, second, code)                                                               \
    bytes16 byte_, high_, low_, first, second;                                                     \
    memcpy(&byte_, code, 16);                                                                      \
    high_ = byte_ >> 4;                                                                            \
    low_ = byte_ & 15;                                                                             \
    first = LOW(high_, low_);                                                                      \
    second = HIGH(high_, low_);

static HOT void look_up_16(unsigned char *restrict dst, const unsigned char *restrict code,
                           const unsigned char *restrict table, long block, long n)
{
    for (long b = 0; b < n; b++, table += 32) {
        bytes16 t[2], plane[2];
        memcpy(t, table, sizeof t);
        plane[0] = EVEN(t[0], t[1]);
        plane[1] = ODD(t[0], t[1]);
        for (long k = 0; k < block; k += 32, code += 16, dst += 64) {
            INDICES(x, y, code)
            bytes16 out[4], a = __builtin_shuffle(plane[0], x), c = __builtin_shuffle(plane[1], x);
            out[0] = LOW(a, c);
            out[1] = HIGH(a, c);
            a = __builtin_shuffle(plane[0], y);
            c = __builtin_shuffle(plane[1], y);
            out[2] = LOW(a, c);
            out[3] = HIGH(a, c);
            memcpy(dst, out, sizeof out);
        }
    }
}

#define WIDE(out, x)                                                                               \
    do {                                                                                           \
        bytes16 a_ = __builtin_shuffle(plane[0], x), b_ = __builtin_shuffle(plane[1], x);          \
        bytes16 c_ = __builtin_shuffle(plane[2], x), d_ = __builtin_shuffle(plane[3], x);          \
        bytes16 e_ = LOW(a_, b_), f_ = LOW(c_, d_);                                                \
        (out)[0] = LOW2(e_, f_);                                                                   \
        (out)[1] = HIGH2(e_, f_);                                                                  \
        e_ = HIGH(a_, b_);                                                                         \
        f_ = HIGH(c_, d_);                                                                         \
        (out)[2] = LOW2(e_, f_);                                                                   \
        (out)[3] = HIGH2(e_, f_);                                                                  \
    } while (0)

static HOT void look_up_32(unsigned char *restrict dst, const unsigned char *restrict code,
                           const unsigned char *restrict table, long block, long n)
{
    for (long b = 0; b < n; b++, table += 64) {
        bytes16 t[4], plane[4];
        memcpy(t, table, sizeof t);
        bytes16 a = EVEN(t[0], t[1]), c = EVEN(t[2], t[3]);
        bytes16 d = ODD(t[0], t[1]), e = ODD(t[2], t[3]);
        plane[0] = EVEN(a, c);
        plane[1] = EVEN(d, e);
        plane[2] = ODD(a, c);
        plane[3] = ODD(d, e);
        for (long k = 0; k < block; k += 32, code += 16, dst += 128) {
            INDICES(x, y, code)
            bytes16 out[8];
            WIDE(out, x);
            WIDE(out + 4, y);
            memcpy(dst, out, sizeof out);
        }
    }
}
#else
#define LOOK_UP(name, type)                                                                        \
    static void name(unsigned char *restrict dst, const unsigned char *restrict code,              \
                     const unsigned char *restrict table, long block, long n)                      \
    {                                                                                              \
        type t[16], out[2];                                                                        \
        for (long b = 0; b < n; b++, table += sizeof t) {                                          \
            memcpy(t, table, sizeof t);                                                            \
            for (long k = 0; k < block; k += 2, code++, dst += sizeof out) {                       \
                out[0] = t[*code >> 4];                                                            \
                out[1] = t[*code & 15];                                                            \
                memcpy(dst, out, sizeof out);                                                      \
            }                                                                                      \
        }                                                                                          \
    }
LOOK_UP(look_up_16, uint16_t)
LOOK_UP(look_up_32, uint32_t)
#endif

/* A part of one block. */
static void expand_part(const struct qmat *q, size_t from, size_t n, unsigned char *dst,
                        enum dtype to)
{
    float table[16];
    size_t size = dtype_size(to);
    const unsigned char *code = q->code;
    block_tables(q, (long)(from / (size_t)q->block), 1, to, table);
    for (size_t i = from; i < from + n; i++, dst += size) {
        unsigned c = i % 2 ? code[i / 2] & 15u : code[i / 2] >> 4;
        memcpy(dst, (const char *)table + c * size, size);
    }
}

static void expand_nf4(const struct qmat *q, size_t from, size_t n, unsigned char *dst,
                       enum dtype to)
{
    size_t block = (size_t)q->block, size = dtype_size(to);
    while (n > 0) {
        size_t at = from % block, whole = at ? 0 : n / block, now = block - at;
        if (whole == 0) {
            now = now < n ? now : n;
            expand_part(q, from, now, dst, to);
        } else {
            float table[16 * GROUP];
            long b = (long)(whole < GROUP ? whole : GROUP);
            now = (size_t)b * block;
            block_tables(q, (long)(from / block), b, to, table);
            (to == DT_F32 ? look_up_32 : look_up_16)(dst, (const unsigned char *)q->code + from / 2,
                                                     (const unsigned char *)table, q->block, b);
        }
        from += now;
        n -= now;
        dst += now * size;
    }
}

static HOT void multiply_codes(float *restrict dst, const signed char *restrict code, float scale,
                               size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        dst[i] = (float)code[i] * scale;
}

static void expand_int8(const struct qmat *q, size_t from, size_t n, unsigned char *dst,
                        enum dtype to)
{
    float wide[1024];
    size_t K = (size_t)q->K;
    while (n > 0) {
        size_t left = K - from % K, now = left < n ? left : n;
        now = now < 1024 ? now : 1024;
        multiply_codes(wide, (const signed char *)q->code + from, q->scale[from / K], now);
        dtype_from_f32(dst, wide, to, now);
        from += now;
        n -= now;
        dst += now * dtype_size(to);
    }
}

void qmat_expand(const struct qmat *q, size_t from, size_t n, void *dst, enum dtype to)
{
    if (q->kind == QUANT_INT8)
        expand_int8(q, from, n, dst, to);
    else
        expand_nf4(q, from, n, dst, to);
}

void qmat_expand_rows(const struct qmat *q, long row, long rows, void *dst, enum dtype to)
{
    /* Pieces end where blocks do, whatever row they began in. */
    enum { PIECE = 8 * NF4_BLOCK_MAX };
    long from = row * q->K, end = from + rows * q->K, first = from / PIECE;
    long pieces = ceil_div(end, PIECE) - first;
#pragma omp parallel for schedule(static)
    for (long i = 0; i < pieces; i++) {
        long a = (first + i) * PIECE, b = a + PIECE;
        a = a > from ? a : from;
        b = b < end ? b : end;
        if (a < b)
            qmat_expand(q, (size_t)a, (size_t)(b - a),
                        (char *)dst + (size_t)(a - from) * dtype_size(to), to);
    }
}

int qmat_finite(const struct qmat *q)
{
    const float most = 0x1p127f; /* does not overflow when rounded to bf16 */
    float absmax[GROUP];
    int good = 1;
    if (q->kind == QUANT_INT8) {
        for (long i = 0; i < q->N; i++)
            good &= fabsf(q->scale[i]) <= most / 128;
        return good;
    }
    for (long b = 0, blocks = qmat_blocks(q); b < blocks; b += GROUP) {
        long n = blocks - b < GROUP ? blocks - b : GROUP;
        block_scales(q, b, n, absmax);
        for (long i = 0; i < n; i++)
            good &= fabsf(absmax[i]) <= most;
    }
    return good;
}
