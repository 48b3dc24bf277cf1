/* Products with codes: activations are quantised row by row when a product needs them, results are
 * exact 32-bit sums, which are scaled while they are in the cache.
 *
 * The instructions multiply unsigned with signed bytes, so activations are stored with 128 added;
 * what that adds to a sum, 128 times the sum of the weights, is known beforehand. */
#include "config.h"
#include "core/hot.h"
#include "tensor/gemm_state.h"
#include "tensor/profile.h"
#include "tensor/vecmath.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ZERO = 128, LANES = 64 };
/* Sums of 255 x 128 over so many stay below 2^31. */
enum { LONGEST = 65536 };
/* Results of oneDNN's products at a time, 2 MiB. Forward a part of them: weights are taken by rows
 * then, and fewer cost nothing, while towards data short pieces of rows would. */
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

/* From one row of codes to the next: whole words. What fills them up meets zeros. */
static long code_row(long n)
{
    return (n + 3) / 4 * 4;
}

static size_t code_bytes(long T, long widest)
{
    return padded((size_t)T * (size_t)code_row(widest));
}

/* Of oneDNN's products; our own have none. */
static size_t result_count(long T, long widest)
{
    struct own p = {.M = T, .N = widest, .K = widest, .size = 1};
    return gemm_own_usable(1) && gemm_own_fits(&p) ? 0 : (size_t)results(T, widest);
}

size_t gemm_int8_bytes(long T, long widest)
{
    return code_bytes(T, widest) + padded((size_t)T * sizeof(float)) +
           result_count(T, widest) * sizeof(int32_t);
}

static int grow_results(struct gemm *g, size_t n)
{
    void *p = NULL;
    if (n <= g->int8.results)
        return 0;
    if (posix_memalign(&p, 64, n * sizeof(int32_t)) != 0)
        return -1;
    free(g->int8.result);
    g->int8.result = p;
    g->int8.results = n;
    return 0;
}

int gemm_reserve_int8(struct gemm *g, long T, long widest, struct pesc_error *err)
{
    void *p = NULL;
    T = T > g->int8.T ? T : g->int8.T;
    widest = widest > g->int8.widest ? widest : g->int8.widest;
    if (grow_results(g, result_count(T, widest)) != 0)
        return FAIL(err, MEMORY, "no memory for %ld x %ld results", T, widest);
    if (T == g->int8.T && widest == g->int8.widest)
        return 0;
    if (posix_memalign(&p, 64, code_bytes(T, widest) + padded((size_t)T * sizeof(float))) != 0)
        return FAIL(err, MEMORY, "no memory for %ld x %ld activations", T, widest);
    free(g->int8.memory);
    g->int8.memory = p;
    g->int8.T = T;
    g->int8.widest = widest;
    g->int8.code = p;
    g->int8.code_of = 0;
    g->int8.scale = (float *)(g->int8.code + code_bytes(T, widest));
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
    long row_bytes = code_row(n);
    enum stage was = profile_to(g->profile, STAGE_ROUND);
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++) {
        unsigned char *code = g->int8.code + t * row_bytes;
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

/* Sums of codes become y[rows,cols] = (sum - shift[n]) t[m] s[n]; s NULL: without it. */
static HOT void scale_rows(float *restrict y, long y_row, const int32_t *restrict sum, long ld,
                           const int32_t *restrict shift, const float *restrict t,
                           const float *restrict s, long rows, long cols)
{
    for (long r = 0; r < rows; r++)
#pragma omp simd
        for (long i = 0; i < cols; i++)
            y[r * y_row + i] = (float)(sum[r * ld + i] - shift[i]) * (t[r] * s[i]);
}

static HOT void scale_rows_bf16(uint16_t *restrict y, long y_row, const int32_t *restrict sum,
                                long ld, const int32_t *restrict shift, const float *restrict t,
                                const float *restrict s, long rows, long cols)
{
    for (long r = 0; r < rows; r++)
#pragma omp simd
        for (long i = 0; i < cols; i++)
            y[r * y_row + i] = vm_narrow((float)(sum[r * ld + i] - shift[i]) * (t[r] * s[i]));
}

static HOT void scale_rows_add(float *restrict y, long y_row, const int32_t *restrict sum, long ld,
                               const int32_t *restrict shift, const float *restrict t,
                               const float *restrict s, long rows, long cols)
{
    for (long r = 0; r < rows; r++)
#pragma omp simd
        for (long i = 0; i < cols; i++)
            y[r * y_row + i] += (float)(sum[r * ld + i] - shift[i]) * (t[r] * s[i]);
}

void int8_results(const struct own *p, const int32_t *sums, long ld, long r, long n, long rows,
                  long cols)
{
    enum { MOST = 64 };
    static const float ones[MOST] = {
#define EIGHT 1, 1, 1, 1, 1, 1, 1, 1
        EIGHT, EIGHT, EIGHT, EIGHT, EIGHT,
        EIGHT, EIGHT, EIGHT
#undef EIGHT
    };
    for (long c = 0; c < cols; c += MOST) {
        long some = cols - c < MOST ? cols - c : MOST, at = r * p->c_row + n + c;
        const float *s = p->column_scale ? p->column_scale + n + c : ones;
        const int32_t *shift = p->shift + n + c, *sum = sums + c;
        if (p->C16)
            scale_rows_bf16(p->C16 + at, p->c_row, sum, ld, shift, p->row_scale + r, s, rows, some);
        else
            (p->add ? scale_rows_add : scale_rows)(p->C + at, p->c_row, sum, ld, shift,
                                                   p->row_scale + r, s, rows, some);
    }
}

/* By oneDNN: sums of some columns at a time. */
static void product_of_sums(struct gemm *g, const struct own *p, long at_once)
{
    long most = columns(p->M, p->N, at_once);
    if (grow_results(g, (size_t)(p->M * most)) != 0) {
        g->failed = dnnl_out_of_memory;
        return;
    }
    for (long n = 0; n < p->N; n += most) {
        long some = p->N - n < most ? p->N - n : most;
        struct matmul m = {.M = p->M,
                           .N = some,
                           .K = p->K,
                           .layout = p->by_rows ? WEIGHTS_NK : WEIGHTS_KN,
                           .src_row = p->a_row,
                           .weights_row = p->w_row,
                           .type = dnnl_u8,
                           .weights_type = dnnl_s8,
                           .dst_type = dnnl_s32};
        gemm_product(g, &m, g->int8.result, p->A,
                     (const signed char *)p->w + (p->by_rows ? n * p->w_row : n));
        if (g->failed)
            return;
        enum stage was = profile_to(g->profile, STAGE_ROUND);
#pragma omp parallel for schedule(static)
        for (long t = 0; t < p->M; t++)
            int8_results(p, g->int8.result + t * some, some, t, n, 1, some);
        profile_to(g->profile, was);
    }
}

static void product(struct gemm *g, const struct own *p)
{
    if (gemm_own(g, p))
        gemm_own_product(g, p);
    else
        product_of_sums(g, p, p->by_rows ? RESULTS_FWD : RESULTS);
}

void int8_fwd(struct gemm *g, struct linear_in *X, const struct linear *l)
{
    const struct wmat *W = l->W;
    long T = X->T, N = W->N, K = W->K;
    if (!has_room(g, T, N > K ? N : K))
        return;
    if (!X->code || X->code != g->int8.code_of) {
        quantise(g, X->x16 ? NULL : X->x, X->x16, NULL, T, K);
        X->code = g->int8.code_of = ++g->made;
    }
    product(g, &(struct own){.M = T,
                             .N = N,
                             .K = K,
                             .size = 1,
                             .A = g->int8.code,
                             .a_row = code_row(K),
                             .w = W->q.code,
                             .w_row = K,
                             .by_rows = 1,
                             .C = l->Y16 ? NULL : l->Y,
                             .C16 = l->Y16,
                             .c_row = N,
                             .shift = W->row_shift,
                             .row_scale = g->int8.scale,
                             .column_scale = W->q.scale});
}

void int8_bwd_data(struct gemm *g, const struct linear_bwd *l)
{
    const struct wmat *W = l->W;
    long T = l->T, N = W->N, K = W->K;
    if (!has_room(g, T, N > K ? N : K))
        return;
    /* W = diag(s) codes: the scales go to the other factor. */
    quantise(g, l->dY16 ? NULL : l->dY, l->dY16, W->q.scale, T, N);
    g->int8.code_of = ++g->made;
    product(g, &(struct own){.M = T,
                             .N = K,
                             .K = N,
                             .size = 1,
                             .A = g->int8.code,
                             .a_row = code_row(N),
                             .w = W->q.code,
                             .w_row = K,
                             .C = l->dX16 ? NULL : l->dX,
                             .C16 = l->dX16,
                             .c_row = K,
                             .add = l->beta != 0,
                             .shift = W->column_shift,
                             .row_scale = g->int8.scale});
}
