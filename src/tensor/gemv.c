#include "config.h"
#include "tensor/gemv.h"

#include "core/hot.h"

#include <string.h>

/* --- plain --- */

static HOT float plain_f32(const float *restrict x, const float *restrict w, long K)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long k = 0; k < K; k++)
        sum += x[k] * w[k];
    return sum;
}

static HOT float plain_bf16(const float *restrict x, const uint16_t *restrict w, long K)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long k = 0; k < K; k++) {
        union {
            uint32_t u;
            float f;
        } v = {(uint32_t)w[k] << 16};
        sum += x[k] * v.f;
    }
    return sum;
}

static HOT float plain_int8(const float *restrict x, const signed char *restrict w, long K)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long k = 0; k < K; k++)
        sum += x[k] * (float)w[k];
    return sum;
}

static const struct gemv_kernels gemv_plain = {"plain", plain_f32, plain_bf16, plain_int8, NULL};

/* --- the choice --- */

const struct gemv_kernels *gemv_kernels(enum gemv_isa isa)
{
#if defined __x86_64__ && defined __GNUC__
    if (isa == GEMV_AVX512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512vl")
                   ? &gemv_avx512
                   : NULL;
    if (isa == GEMV_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &gemv_avx2 : NULL;
#endif
    return isa == GEMV_PLAIN ? &gemv_plain : NULL;
}

const struct gemv_kernels *gemv_best(void)
{
    int isa = GEMV_ISAS - 1;
    while (!gemv_kernels((enum gemv_isa)isa))
        isa--;
    return gemv_kernels((enum gemv_isa)isa);
}

/* --- rows --- */

enum { TURN = 128, SCALES = 512, PIECE = 1024 };

long gemv_turned(long K)
{
    return (K + TURN - 1) / TURN * TURN;
}

void gemv_turn(float *dst, const float *x, long T, long K)
{
    for (long t = 0; t < T; t++, x += K)
        for (long g = 0; g < K; g += TURN)
            for (long j = 0; j < 8; j++)
                for (long i = 0; i < 16; i++, dst++) {
                    long k = g + 8 * i + (j ^ 1);
                    *dst = k < K ? x[k] : 0;
                }
}

/* Rows are of whole blocks. */
static int turns(const struct gemv_kernels *k, const struct qmat *q)
{
    return q->kind == QUANT_NF4 && k->nf4 && q->block == NF4_BLOCK && q->K % NF4_BLOCK == 0 &&
           q->K > 0 && q->K / NF4_BLOCK <= SCALES;
}

static void put(const struct linear *l, long t, long n, float y)
{
    l->Y[t * l->W->N + n] = l->bias ? y + l->bias[n] : y;
}

static void block_scales(const struct qmat *q, long first, long n, float *absmax)
{
    if (!q->nested) {
        memcpy(absmax, q->scale + first, (size_t)n * sizeof *absmax);
        return;
    }
    int shift = __builtin_ctzl((unsigned long)q->nested);
    float offset = q->map[NF4_OFFSET];
    for (long i = 0; i < n; i++)
        absmax[i] = q->map[q->absmax[first + i]] * q->scale[(first + i) >> shift] + offset;
}

static void rows_nf4(const struct gemv_kernels *k, const struct linear *l, const float *turned,
                     long from, long to)
{
    const struct qmat *q = &l->W->q;
    const unsigned char *code = q->code;
    float absmax[SCALES];
    long blocks = q->K / NF4_BLOCK, most = SCALES / blocks, row = gemv_turned(q->K);
    for (long n = from; n < to; n += most) {
        long rows = to - n < most ? to - n : most;
        block_scales(q, n * blocks, rows * blocks, absmax);
        for (long r = 0; r < rows; r++)
            for (long t = 0; t < l->T; t++)
                put(l, t, n + r,
                    k->nf4(turned + t * row, code + (n + r) * (q->K / 2), absmax + r * blocks,
                           q->K));
    }
}

/* Any quantised matrix, over a piece of numbers. */
static void rows_expanded(const struct gemv_kernels *k, const struct linear *l, long from, long to)
{
    const struct qmat *q = &l->W->q;
    float piece[PIECE], sum[GEMM_FEW];
    for (long n = from; n < to; n++) {
        memset(sum, 0, sizeof sum);
        for (long at = 0; at < q->K; at += PIECE) {
            long m = q->K - at < PIECE ? q->K - at : PIECE;
            qmat_expand(q, (size_t)(n * q->K + at), (size_t)m, piece, DT_F32);
            for (long t = 0; t < l->T; t++)
                sum[t] += k->f32(l->X + t * q->K + at, piece, m);
        }
        for (long t = 0; t < l->T; t++)
            put(l, t, n, sum[t]);
    }
}

static void rows_int8(const struct gemv_kernels *k, const struct linear *l, long from, long to)
{
    const struct qmat *q = &l->W->q;
    const signed char *code = q->code;
    for (long n = from; n < to; n++)
        for (long t = 0; t < l->T; t++)
            put(l, t, n, q->scale[n] * k->int8(l->X + t * q->K, code + n * q->K, q->K));
}

static void rows_numbers(const struct gemv_kernels *k, const struct linear *l, long from, long to)
{
    long K = l->W->K;
    const float *wide = l->W->data;
    const uint16_t *narrow = l->W->data;
    for (long n = from; n < to; n++)
        for (long t = 0; t < l->T; t++)
            put(l, t, n,
                l->W->dtype == DT_F32 ? k->f32(l->X + t * K, wide + n * K, K)
                                      : k->bf16(l->X + t * K, narrow + n * K, K));
}

static void some_rows(const struct gemv_kernels *k, const struct linear *l, const float *turned,
                      long from, long to)
{
    if (l->W->q.kind == QUANT_NONE)
        rows_numbers(k, l, from, to);
    else if (l->W->q.kind == QUANT_INT8)
        rows_int8(k, l, from, to);
    else if (turned)
        rows_nf4(k, l, turned, from, to);
    else
        rows_expanded(k, l, from, to);
}

/* --- several products --- */

/* Rows at a time: a line of results, so that no two threads write one. */
enum { ROWS = 16 };
/* Bytes that one thread reads sooner than it meets another one, on a machine that does other things
 * too. */
enum { SMALL = 400 << 10 };

static size_t read_bytes(const struct wmat *W)
{
    return W->q.kind ? qmat_code_bytes(&W->q) : (size_t)W->N * (size_t)W->K * dtype_size(W->dtype);
}

void gemv_products(const struct gemv_kernels *k, const struct linear *l, int n, float *turned,
                   size_t room)
{
    const float *own[GEMV_LIST];
    long chunks[GEMV_LIST + 1] = {0};
    size_t bytes = 0, used = 0;
    for (int i = 0; i < n; i++) {
        long K = l[i].W->K;
        size_t size = (size_t)(l[i].T * gemv_turned(K));
        chunks[i + 1] = chunks[i] + (l[i].T ? (l[i].W->N + ROWS - 1) / ROWS : 0);
        bytes += read_bytes(l[i].W);
        own[i] = NULL;
        if (!turns(k, &l[i].W->q))
            continue;
        if (i && own[i - 1] && l[i].X == l[i - 1].X && l[i].T == l[i - 1].T && K == l[i - 1].W->K) {
            own[i] = own[i - 1];
        } else if (size <= room - used) {
            own[i] = turned + used;
            gemv_turn(turned + used, l[i].X, l[i].T, K);
            used += size;
        }
    }
#pragma omp parallel for schedule(static) if (bytes > SMALL)
    for (long c = 0; c < chunks[n]; c++) {
        int i = 0;
        while (c >= chunks[i + 1])
            i++;
        long from = (c - chunks[i]) * ROWS, N = l[i].W->N;
        some_rows(k, &l[i], own[i], from, N - from < ROWS ? N : from + ROWS);
    }
}
