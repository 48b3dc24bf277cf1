/* Layers' products: forward, towards data and towards weights, in the form in which the weights are
 * held; what becomes of the input first, and which product it is then. */
#include "config.h"
#include "tensor/gemm_state.h"
#include "tensor/gemv.h"
#include "tensor/profile.h"

#include <string.h>

uint16_t *gemm_narrow(struct gemm *g, size_t n)
{
    if (!g->failed && gemm_reserve(g, n, NULL) != 0)
        g->failed = dnnl_out_of_memory;
    g->narrow_of = ++g->made;
    return g->failed ? NULL : g->narrow;
}

/* An input's rows in bf16; NULL without memory. */
static const uint16_t *narrow(struct gemm *g, struct linear_in *in)
{
    const float *A = in->x;
    long T = in->T, n = in->K;
    if (g->failed)
        return NULL;
    if (in->x16)
        return in->x16;
    if (in->narrow && in->narrow == g->narrow_of)
        return g->narrow;
    if (gemm_reserve(g, (size_t)T * (size_t)n, NULL) != 0) {
        g->failed = dnnl_out_of_memory;
        return NULL;
    }
    enum stage was = profile_to(g->profile, STAGE_ROUND);
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++)
        dtype_from_f32(g->narrow + t * n, A + t * n, DT_BF16, (size_t)n);
    profile_to(g->profile, was);
    in->narrow = g->narrow_of = ++g->made;
    return g->narrow;
}

/* Rows of the matrix as numbers. */
static const void *panel(struct gemm *g, const struct wmat *W, long row, long rows)
{
    size_t at = (size_t)row * (size_t)W->K, size = dtype_size(W->dtype);
    if (W->q.kind == QUANT_NONE)
        return (const char *)W->data + at * size;
    if (g->failed)
        return NULL;
    if (gemm_reserve_panel(g, (size_t)rows * (size_t)W->K * size, NULL) != 0) {
        g->failed = dnnl_out_of_memory;
        return NULL;
    }
    enum stage was = profile_to(g->profile, STAGE_DEQUANT);
    qmat_expand_rows(&W->q, row, rows, g->panel, W->dtype);
    profile_to(g->profile, was);
    return g->panel;
}

static void few_products(struct gemm *g, const struct linear *l, int n)
{
    if (g->failed)
        return;
    gemv_products(g->few_kernels, l, n, g->turned, g->turned_cap);
    for (int i = 0; i < n; i++)
        gemm_count(g, l[i].T, l[i].W->N, l[i].W->K);
}

struct linear_in linear_in(const float *X, long T, long K)
{
    return (struct linear_in){.x = X, .T = T, .K = K};
}

/* Rows of a matrix, w, at row n of l's. */
struct piece {
    const void *w;
    long n, rows;
};

/* Y[T, rows] = X[T, K] w^T as a product of by rows; those that there are not are zero. */
static void forward_rows(struct gemm *g, const struct linear *l, const struct piece *w,
                         const void *X, long from, long T, long by)
{
    const enum dtype type = l->W->dtype;
    const long N = l->W->N, K = l->W->K, rows = w->rows;
    size_t size = l->Y16 ? sizeof *l->Y16 : sizeof *l->Y;
    char *Y = (l->Y16 ? (char *)l->Y16 : (char *)l->Y) + (size_t)(from * N + w->n) * size;
    size_t in = (size_t)K * dtype_size(type);
    int filled = T < by;
    if (g->failed || (filled && gemm_reserve_rows(g, by, K, rows, NULL) != 0)) {
        g->failed = g->failed ? g->failed : dnnl_out_of_memory;
        return;
    }
    if (filled) {
        memcpy(g->in, X, (size_t)T * in);
        memset((char *)g->in + (size_t)T * in, 0, (size_t)(by - T) * in);
        X = g->in;
    }
    void *to = filled ? (void *)g->out : Y;
    struct matmul m = {.M = by,
                       .N = rows,
                       .K = K,
                       .dst_row = filled ? rows : N,
                       .type = dnnl_bf16,
                       .dst_type = l->Y16 ? dnnl_bf16 : dnnl_f32};
    if (type == DT_F32)
        gemm_floats(g, 0, 1, to, m.dst_row, 0, X, K, w->w, by, rows, K);
    else
        gemm_product(g, &m, to, X, w->w);
    for (long t = 0; filled && t < T; t++)
        memcpy(Y + (size_t)(t * N) * size, (char *)to + (size_t)(t * rows) * size,
               (size_t)rows * size);
}

static int own_forward(struct gemm *g, const struct linear *l, const void *X, const void *w, long n,
                       long rows)
{
    const long N = l->W->N, K = l->W->K;
    struct own p = {.M = l->T,
                    .N = rows,
                    .K = K,
                    .size = sizeof(uint16_t),
                    .A = X,
                    .a_row = K,
                    .w = w,
                    .w_row = K,
                    .by_rows = 1,
                    .C = l->Y16 ? NULL : l->Y + n,
                    .C16 = l->Y16 ? l->Y16 + n : NULL,
                    .c_row = N};
    if (l->W->dtype != DT_BF16 || !gemm_own(g, &p))
        return 0;
    gemm_own_product(g, &p);
    return 1;
}

/* Rows n.. of the matrix. */
static void forward_panel(struct gemm *g, const struct linear *l, const void *X, const void *w,
                          long n, long rows)
{
    const enum dtype type = l->W->dtype;
    long T = l->T, by = g->rows ? g->rows : T;
    size_t in = (size_t)l->W->K * dtype_size(type);
    struct piece p = {w, n, rows};
    if (g->failed || own_forward(g, l, X, w, n, rows))
        return;
    if (type == DT_F32 && gemm_own_rows(g, sizeof(float), T))
        by = T; /* a row is alone without others beside it */
    for (long t = 0; t < T && !g->failed; t += by)
        forward_rows(g, l, &p, (const char *)X + (size_t)t * in, t, T - t < by ? T - t : by, by);
}

/* Products of our own take any number of rows that lie there. */
static long rows_at_once(struct gemm *g, const struct wmat *W, long T)
{
    int all = W->q.kind == QUANT_NONE && W->dtype == DT_BF16 && gemm_own_rows(g, 2, T);
    return all ? W->N : gemm_panel_rows(W->N, W->K);
}

static void product_fwd(struct gemm *g, struct linear_in *X, const struct linear *l)
{
    const struct wmat *W = l->W;
    long T = X->T, N = W->N, most = rows_at_once(g, W, X->T);
    int codes = W->row_shift && T; /* a row of those depends on no other */
    const void *x = codes || W->dtype != DT_BF16 || !T ? X->x : (const void *)narrow(g, X);
    if (codes)
        int8_fwd(g, X, l);
    for (long n = codes ? N : 0; n < N && T && !g->failed; n += most) {
        long rows = N - n < most ? N - n : most;
        forward_panel(g, l, x, panel(g, W, n, rows), n, rows);
    }
    if (l->bias) {
#pragma omp parallel for schedule(static)
        for (long t = 0; t < T; t++)
            for (long n = 0; n < N; n++)
                l->Y[t * N + n] += l->bias[n];
    }
}

/* Whether the product is one for gemv. */
static int is_few(const struct gemm *g, const struct linear *l)
{
    return g->few && l->T <= GEMM_FEW && !l->Y16 && !l->X16;
}

void linears_fwd(struct gemm *g, const struct linear *l, int n)
{
    struct linear_in in = {0};
    int few = 1;
    for (int i = 0; i < n; i++)
        few &= is_few(g, &l[i]);
    for (int i = 0, m; i < n; i += m) {
        m = !few ? 1 : n - i < GEMV_LIST ? n - i : GEMV_LIST;
        if (few) {
            few_products(g, l + i, m);
            continue;
        }
        if (i == 0 || l[i].X != in.x || l[i].X16 != in.x16 || l[i].T != in.T)
            in = (struct linear_in){.x = l[i].X, .x16 = l[i].X16, .T = l[i].T, .K = l[i].W->K};
        product_fwd(g, &in, &l[i]);
    }
}

void linear_fwd_in(struct gemm *g, float *Y, struct linear_in *X, const struct wmat *W,
                   const float *bias)
{
    struct linear l = {.Y = Y, .X = X->x, .W = W, .bias = bias, .T = X->T, .X16 = X->x16};
    if (is_few(g, &l))
        few_products(g, &l, 1);
    else
        product_fwd(g, X, &l);
}

void linear_fwd(struct gemm *g, float *Y, const float *X, const struct wmat *W, const float *bias,
                long T)
{
    struct linear_in in = linear_in(X, T, W->K);
    linear_fwd_in(g, Y, &in, W, bias);
}

static int own_backward(struct gemm *g, const struct linear_bwd *l, const uint16_t *dY,
                        const void *w, long rows, int add)
{
    const long N = l->W->N, K = l->W->K;
    struct own p = {.M = l->T,
                    .N = K,
                    .K = rows,
                    .size = sizeof(uint16_t),
                    .A = dY,
                    .a_row = N,
                    .w = w,
                    .w_row = K,
                    .C = l->dX16 ? NULL : l->dX,
                    .C16 = l->dX16,
                    .c_row = K,
                    .add = add};
    if (!gemm_own(g, &p))
        return 0;
    gemm_own_product(g, &p);
    return 1;
}

/* dX (+)= dY[T, rows] w[rows, K] */
static void backward_panel(struct gemm *g, const struct linear_bwd *l, const uint16_t *dY,
                           const void *w, long rows, int add)
{
    long N = l->W->N, K = l->W->K, T = l->T;
    if (g->failed || own_backward(g, l, dY, w, rows, add))
        return;
    struct matmul m = {.M = T,
                       .N = K,
                       .K = rows,
                       .layout = WEIGHTS_KN,
                       .add = add,
                       .src_row = N,
                       .type = dnnl_bf16,
                       .dst_type = l->dX16 ? dnnl_bf16 : dnnl_f32};
    gemm_product(g, &m, l->dX16 ? (void *)l->dX16 : l->dX, dY, w);
}

void linear_bwd_rows(struct gemm *g, const struct linear_bwd *l)
{
    /* Y = X W^T  =>  dX = dY W, a sum over panels */
    const struct wmat *W = l->W;
    long T = l->T, N = W->N, K = W->K, most = rows_at_once(g, W, l->T);
    if (W->column_shift && T) {
        int8_bwd_data(g, l);
        return;
    }
    struct linear_in in = {.x = l->dY, .x16 = l->dY16, .T = T, .K = N};
    const uint16_t *dy = W->dtype == DT_BF16 && T ? narrow(g, &in) : NULL;
    for (long n = 0; n < N && T && !g->failed; n += most) {
        long rows = N - n < most ? N - n : most;
        int add = l->beta != 0 || n > 0;
        const void *w = panel(g, W, n, rows);
        if (W->dtype == DT_F32)
            gemm_floats(g, 0, 0, l->dX, K, (float)add, l->dY + n, N, w, T, K, rows);
        else
            backward_panel(g, l, dy ? dy + n : NULL, w, rows, add);
    }
}

void linear_bwd_data(struct gemm *g, float *dX, float beta, const float *dY, const struct wmat *W,
                     long T)
{
    linear_bwd_rows(g, &(struct linear_bwd){.dX = dX, .dY = dY, .W = W, .beta = beta, .T = T});
}

void linear_bwd_weight(struct gemm *g, float *dW, float *dbias, const float *dY, const float *X,
                       long T, long N, long K)
{
    /* Y = X W^T + b  =>  dW = dY^T X, db = sum_t dY */
    gemm_tn(g, dW, 1, dY, X, N, K, T);
    if (!dbias)
        return;
#pragma omp parallel for schedule(static)
    for (long n = 0; n < N; n++) {
        float s = 0;
        for (long t = 0; t < T; t++)
            s += dY[t * N + n];
        dbias[n] += s;
    }
}
