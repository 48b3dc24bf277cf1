/* Products with codes: activations are quantised row by row when a product needs them, results are
 * exact 32-bit sums, which are scaled while they are in the cache.
 *
 * The instructions multiply unsigned with signed bytes, so activations are stored with 128 added;
 * what that adds to a sum, 128 times the sum of the weights, is known beforehand. */
#include "config.h"
#include "core/hot.h"
#include "tensor/gemm_state.h"
#include "tensor/profile.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ZERO = 128, LANES = 64 };
/* Sums of 255 x 128 over so many stay below 2^31. */
enum { LONGEST = 65536 };
/* Results at a time, 2 MiB. Forward a part of them: weights are taken by rows then, and fewer cost
 * nothing, while towards data short pieces of rows would. */
enum { RESULTS = 512 << 10, RESULTS_FWD = 128 << 10 };

int linear_int8(long N, long K, long least)
{
    return N * K >= (least ? least : INT8_LEAST) && N <= LONGEST && K <= LONGEST;
}

/* --- weights --- */

static size_t padded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

size_t int8_shift_bytes(long N, long K)
{
    return padded((size_t)N * sizeof(int32_t)) + padded((size_t)K * sizeof(int32_t));
}

void int8_shift_place(struct wmat *w, const void *memory)
{
    w->row_shift = memory;
    w->column_shift =
        (const int32_t *)((const char *)memory + padded((size_t)w->N * sizeof(int32_t)));
}

static HOT int32_t add_row(int32_t *restrict column, const signed char *restrict code, long n)
{
    int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long i = 0; i < n; i++) {
        column[i] += ZERO * code[i];
        sum += code[i];
    }
    return sum;
}

void int8_shifts(const struct wmat *w)
{
    const signed char *code = w->q.code;
    int32_t *row = (int32_t *)w->row_shift, *column = (int32_t *)w->column_shift;
    memset(column, 0, (size_t)w->K * sizeof *column);
    for (long n = 0; n < w->N; n++)
        row[n] = ZERO * add_row(column, code + n * w->K, w->K);
}

/* --- memory --- */

static long results(long T, long widest)
{
    long n = T * ((widest + LANES - 1) / LANES * LANES);
    n = n < RESULTS ? n : RESULTS;
    return n < T * LANES ? T * LANES : n;
}

/* Columns of a product at a time: as even as can be. */
static long columns(long T, long N, long results)
{
    long most = results / T / LANES * LANES, parts;
    most = most < LANES ? LANES : most;
    parts = (N + most - 1) / most;
    return parts > 1 ? ((N + parts - 1) / parts + LANES - 1) / LANES * LANES : N;
}

static size_t code_bytes(long T, long widest)
{
    return padded((size_t)T * (size_t)widest);
}

size_t gemm_int8_bytes(long T, long widest)
{
    return code_bytes(T, widest) + padded((size_t)T * sizeof(float)) +
           (size_t)results(T, widest) * sizeof(int32_t);
}

int gemm_reserve_int8(struct gemm *g, long T, long widest, struct pesc_error *err)
{
    void *p = NULL;
    if (T <= g->int8.T && widest <= g->int8.widest)
        return 0;
    T = T > g->int8.T ? T : g->int8.T;
    widest = widest > g->int8.widest ? widest : g->int8.widest;
    if (posix_memalign(&p, 64, gemm_int8_bytes(T, widest)) != 0)
        return FAIL(err, MEMORY, "no memory for %ld x %ld activations", T, widest);
    free(g->int8.memory);
    g->int8.memory = p;
    g->int8.T = T;
    g->int8.widest = widest;
    g->int8.code = p;
    g->int8.code_of = 0;
    g->int8.scale = (float *)(g->int8.code + code_bytes(T, widest));
    g->int8.result =
        (int32_t *)(g->int8.code + code_bytes(T, widest) + padded((size_t)T * sizeof(float)));
    return 0;
}

static int has_room(struct gemm *g, long T, long widest)
{
    if (!g->failed && gemm_reserve_int8(g, T, widest, NULL) != 0)
        g->failed = dnnl_out_of_memory;
    return !g->failed;
}

/* --- activations --- */

static HOT float magnitude_scaled(const float *restrict x, const float *restrict s, long n)
{
    uint32_t most = 0;
#pragma omp simd reduction(max : most)
    for (long i = 0; i < n; i++) {
        uint32_t u;
        float v = x[i] * s[i];
        memcpy(&u, &v, sizeof u);
        u &= 0x7fffffff;
        most = u > most ? u : most;
    }
    float m;
    most = most > 0x7f800000 ? 0x7f800000 : most;
    memcpy(&m, &most, sizeof m);
    return m;
}

static HOT void encode(unsigned char *restrict code, const float *restrict x, float inverse, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        code[i] = (unsigned char)((int)rintf(x[i] * inverse) + ZERO);
}

static HOT void encode_scaled(unsigned char *restrict code, const float *restrict x,
                              const float *restrict s, float inverse, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        code[i] = (unsigned char)((int)rintf(x[i] * s[i] * inverse) + ZERO);
}

/* Below it the inverse would not be finite; such a row counts as zeros. */
#define TINY 1e-35f

/* T rows of n values, times s[n] where that is given. A row that is not finite gets codes of 0 and
 * a scale that makes its results NaN. */
static void quantise(struct gemm *g, const float *x, const uint16_t *x16, const float *s, long T,
                     long n)
{
    enum stage was = profile_to(g->profile, STAGE_ROUND);
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++) {
        unsigned char *code = g->int8.code + t * n;
        float wide[LONGEST];
        const float *row = x ? x + t * n : wide;
        if (!x)
            dtype_to_f32(wide, x16 + t * n, DT_BF16, (size_t)n);
        float most = s ? magnitude_scaled(row, s, n) : quant_magnitude(row, (size_t)n);
        g->int8.scale[t] = most > FLT_MAX ? NAN : most > TINY ? most / 127 : 0;
        if (!(g->int8.scale[t] > 0))
            memset(code, ZERO, (size_t)n);
        else if (s)
            encode_scaled(code, row, s, 127 / most, n);
        else
            encode(code, row, 127 / most, n);
    }
    profile_to(g->profile, was);
}

/* --- results --- */

/* y[n] = (sum - shift) t s (+ bias) */
static HOT void finish_fwd(float *restrict y, const int32_t *restrict sum,
                           const int32_t *restrict shift, float t, const float *restrict s, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        y[i] = (float)(sum[i] - shift[i]) * (t * s[i]);
}

static HOT void add_bias(float *restrict y, const float *restrict bias, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        y[i] += bias[i];
}

static HOT void finish_bwd(float *restrict y, const int32_t *restrict sum,
                           const int32_t *restrict shift, float t, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        y[i] = (float)(sum[i] - shift[i]) * t;
}

static HOT void finish_bwd_add(float *restrict y, const int32_t *restrict sum,
                               const int32_t *restrict shift, float t, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        y[i] += (float)(sum[i] - shift[i]) * t;
}

/* The sums of T rows of codes, each of length numbers, with some of the matrix's rows (WEIGHTS_NK)
 * or columns from w on; row: numbers from one of its rows to the next. */
static void sums(struct gemm *g, const signed char *w, enum matmul_weights layout, long row, long T,
                 long some, long length)
{
    struct matmul m = {.M = T,
                       .N = some,
                       .K = length,
                       .layout = layout,
                       .weights_row = row,
                       .type = dnnl_u8,
                       .weights_type = dnnl_s8,
                       .dst_type = dnnl_s32};
    void *room = gemm_packed(g, &m);
    if (room && layout == WEIGHTS_NK)
        pack_rows(room, w, row, some, length, 1);
    else if (room)
        pack_columns(room, w, row, length, some, 1);
    gemm_product(g, &m, g->int8.result, g->int8.code, room ? room : w);
}

/* A row's piece to bf16. */
static void narrow(uint16_t *dst, const float *src, long n)
{
    dtype_from_f32(dst, src, DT_BF16, (size_t)n);
}

void int8_fwd(struct gemm *g, struct linear_in *X, const struct linear *l)
{
    const struct wmat *W = l->W;
    long T = X->T, N = W->N, K = W->K, most = columns(T, N, RESULTS_FWD);
    if (!has_room(g, T, N > K ? N : K))
        return;
    if (!X->code || X->code != g->int8.code_of) {
        quantise(g, X->x16 ? NULL : X->x, X->x16, NULL, T, K);
        X->code = g->int8.code_of = ++g->made;
    }
    for (long n = 0; n < N; n += most) {
        long some = N - n < most ? N - n : most;
        sums(g, (const signed char *)W->q.code + n * K, WEIGHTS_NK, K, T, some, K);
        if (g->failed)
            return;
        enum stage was = profile_to(g->profile, STAGE_ROUND);
#pragma omp parallel for schedule(static)
        for (long t = 0; t < T; t++) {
            int32_t *sum = g->int8.result + t * some;
            float wide[LONGEST], *y = l->Y16 ? wide : l->Y + t * N + n;
            finish_fwd(y, sum, W->row_shift + n, g->int8.scale[t], W->q.scale + n, some);
            if (l->bias)
                add_bias(y, l->bias + n, some);
            if (l->Y16)
                narrow(l->Y16 + t * N + n, y, some);
        }
        profile_to(g->profile, was);
    }
}

void int8_bwd_data(struct gemm *g, const struct linear_bwd *l)
{
    const struct wmat *W = l->W;
    long T = l->T, N = W->N, K = W->K, most = columns(T, K, RESULTS);
    if (!has_room(g, T, N > K ? N : K))
        return;
    /* W = diag(s) codes: the scales go to the other factor. */
    quantise(g, l->dY16 ? NULL : l->dY, l->dY16, W->q.scale, T, N);
    g->int8.code_of = ++g->made;
    for (long k = 0; k < K; k += most) {
        long some = K - k < most ? K - k : most;
        sums(g, (const signed char *)W->q.code + k, WEIGHTS_KN, K, T, some, N);
        if (g->failed)
            return;
        enum stage was = profile_to(g->profile, STAGE_ROUND);
#pragma omp parallel for schedule(static)
        for (long t = 0; t < T; t++) {
            float wide[LONGEST], *dx = l->dX16 ? wide : l->dX + t * K + k;
            (l->beta == 0 ? finish_bwd : finish_bwd_add)(
                dx, g->int8.result + t * some, W->column_shift + k, g->int8.scale[t], some);
            if (l->dX16)
                narrow(l->dX16 + t * K + k, dx, some);
        }
        profile_to(g->profile, was);
    }
}
