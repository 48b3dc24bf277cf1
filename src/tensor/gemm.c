#include "config.h"
#include "tensor/gemm_state.h"

#include "core/machine.h"
#include "tensor/gemv.h"

#include "tensor/profile.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* Elements of a panel: 64 MiB in bf16. All but vocabularies are smaller. */
enum { PANEL = 32 << 20 };

/* Bytes of address space that making a product may take at most, and the first one. */
enum { CODE = 16 << 20, FIRST_CODE = 32 << 20 };

/* oneDNN crashes where it has no memory for its code. */
static int has_room(struct gemm *g, uint64_t bytes)
{
    if (g->limited && machine_address_room() < bytes)
        g->failed = dnnl_out_of_memory;
    return !g->failed;
}

int gemm_has_room(struct gemm *g)
{
    return has_room(g, CODE);
}

/* The code of all f32 products is made for the first of them: before there are threads. */
static int make_code(struct gemm *g)
{
    enum { N = 32 };
    float a[N * N] = {0}, c[N * N];
    if (!has_room(g, FIRST_CODE))
        return -1;
    return dnnl_sgemm('N', 'N', N, N, N, 1.0f, a, N, a, N, 0.0f, c, N) == dnnl_success ? 0 : -1;
}

struct gemm *gemm_new(struct pesc_error *err)
{
    struct gemm *g = calloc(1, sizeof *g);
    /* Batches differ in their number of tokens, and every number is code of its own: the plans here
     * are enough of it. oneDNN would keep that of 1024 products, tens of MiB. */
    if (!g || dnnl_set_primitive_cache_capacity(0) != dnnl_success ||
        dnnl_engine_create(&g->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&g->stream, g->engine, dnnl_stream_default_flags) != dnnl_success) {
        FAIL(err, MEMORY, "oneDNN: cannot create an engine");
        gemm_free(g);
        return NULL;
    }
    g->few_kernels = gemv_best();
    g->limited = machine_address_room() != UINT64_MAX;
    if (g->limited && make_code(g) != 0) {
        FAIL(err, MEMORY, "the address space that is allowed has no room for oneDNN's code");
        gemm_free(g);
        return NULL;
    }
    return g;
}

void gemm_free(struct gemm *g)
{
    if (!g)
        return;
    for (int i = 0; i < PLANS; i++)
        matmul_free(&g->plans[i].m);
    if (g->stream)
        dnnl_stream_destroy(g->stream);
    if (g->engine)
        dnnl_engine_destroy(g->engine);
    free(g->narrow);
    free(g->panel);
    free(g->packed);
    free(g->turned);
    free(g->int8.memory);
    free(g->in);
    free(g->out);
    free(g);
}

int gemm_reserve(struct gemm *g, size_t activations, struct pesc_error *err)
{
    if (activations <= g->narrow_cap)
        return 0;
    void *p = NULL;
    if (posix_memalign(&p, 64, activations * sizeof *g->narrow) != 0)
        return FAIL(err, MEMORY, "no memory for %zu activations", activations);
    free(g->narrow);
    g->narrow = p;
    g->narrow_of = 0;
    g->narrow_cap = activations;
    return 0;
}

/* Rows of a panel: as even as can be, so that there is no thin last one. */
long gemm_panel_rows(long N, long K)
{
    long most = PANEL / (K ? K : 1), panels, rows;
    most = most < 64 ? 64 : most;
    panels = (N + most - 1) / most;
    rows = panels ? (N + panels - 1) / panels : N;
    return panels > 1 ? (rows + 63) / 64 * 64 : N;
}

size_t gemm_panel_bytes(long N, long K, enum dtype type)
{
    return (size_t)gemm_panel_rows(N, K) * (size_t)K * dtype_size(type);
}

int gemm_in_panels(long N, long K)
{
    return gemm_panel_rows(N, K) < N || gemm_panel_rows(K, N) < K;
}

size_t gemm_copy_bytes(long N, long K)
{
    enum { DEPTH = 768 }; /* columns at a time, of oneDNN's bf16 products with rows apart */
    long rows = gemm_panel_rows(N, K);
    return rows < N ? (size_t)rows * (size_t)(K < DEPTH ? K : DEPTH) * sizeof(uint16_t) : 0;
}

int gemm_reserve_panel(struct gemm *g, size_t bytes, struct pesc_error *err)
{
    if (bytes <= g->panel_cap)
        return 0;
    free(g->panel);
    g->panel = NULL;
    g->panel_cap = 0;
    if (posix_memalign(&g->panel, 64, bytes) != 0)
        return FAIL(err, MEMORY, "no memory for %zu bytes of expanded weights", bytes);
    g->panel_cap = bytes;
    return 0;
}

void gemm_set_few(struct gemm *g, int on)
{
    g->few = on;
}

static size_t few_floats(long widest)
{
    return (size_t)(GEMM_FEW * gemv_turned(widest));
}

size_t gemm_few_bytes(long widest)
{
    return few_floats(widest) * sizeof(float);
}

int gemm_reserve_few(struct gemm *g, long widest, struct pesc_error *err)
{
    void *p = NULL;
    if (few_floats(widest) <= g->turned_cap)
        return 0;
    if (posix_memalign(&p, 64, gemm_few_bytes(widest)) != 0)
        return FAIL(err, MEMORY, "no memory for %zu activations", few_floats(widest));
    free(g->turned);
    g->turned = p;
    g->turned_cap = few_floats(widest);
    return 0;
}

void gemm_set_rows(struct gemm *g, long rows)
{
    g->rows = rows;
}

size_t gemm_rows_bytes(long rows, long in, long out)
{
    return (size_t)rows * (size_t)(in + out) * sizeof(float);
}

static int grow(float **p, size_t *cap, size_t n)
{
    if (n <= *cap)
        return 0;
    free(*p);
    *p = NULL;
    *cap = 0;
    if (posix_memalign((void **)p, 64, n * sizeof **p) != 0)
        return -1;
    *cap = n;
    return 0;
}

int gemm_reserve_rows(struct gemm *g, long rows, long in, long out, struct pesc_error *err)
{
    if (grow(&g->in, &g->in_cap, (size_t)(rows * in)) != 0 ||
        grow(&g->out, &g->out_cap, (size_t)(rows * out)) != 0)
        return FAIL(err, MEMORY, "no memory for %ld rows of a product", rows);
    return 0;
}

int gemm_check(const struct gemm *g, struct pesc_error *err)
{
    if (g->failed == dnnl_out_of_memory)
        return FAIL(err, MEMORY, "no memory for oneDNN's matrix products");
    return g->failed ? FAIL(err, MEMORY, "oneDNN: a matrix product failed (status %d)", g->failed)
                     : 0;
}

double gemm_flops(const struct gemm *g)
{
    return (double)g->flops;
}

void gemm_set_profile(struct gemm *g, struct profile *p)
{
    g->profile = p;
}

struct profile *gemm_profile(const struct gemm *g)
{
    return g->profile;
}

void gemm_count(struct gemm *g, long M, long N, long K)
{
    uint64_t n = 2 * (uint64_t)M * (uint64_t)N * (uint64_t)K;
    struct profile *p = g->profile;
    __atomic_fetch_add(&g->flops, n, __ATOMIC_RELAXED);
    if (p && p->running)
        __atomic_fetch_add(&p->flops[p->stage][p->phase], n, __ATOMIC_RELAXED);
}

/* a_row, c_row: floats from one row of A and C to the next. */
static void sgemm_rows(struct gemm *g, int ta, int tb, float *C, long c_row, float beta,
                       const float *A, long a_row, const float *B, long M, long N, long K)
{
    if (g->failed || M == 0 || N == 0)
        return;
    if (K == 0) {
        if (beta == 0)
            for (long m = 0; m < M; m++)
                memset(C + m * c_row, 0, (size_t)N * sizeof *C);
        return;
    }
    if (!gemm_has_room(g))
        return;
    dnnl_status_t s = dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', M, N, K, 1.0f, A, a_row, B,
                                 tb ? K : N, beta, C, c_row);
    if (s != dnnl_success)
        g->failed = (int)s;
    gemm_count(g, M, N, K);
}

static void sgemm(struct gemm *g, int ta, int tb, float *C, float beta, const float *A,
                  const float *B, long M, long N, long K)
{
    sgemm_rows(g, ta, tb, C, N, beta, A, ta ? M : K, B, M, N, K);
}

void gemm_nt(struct gemm *g, float *C, float beta, const float *A, const float *B, long M, long N,
             long K)
{
    sgemm(g, 0, 1, C, beta, A, B, M, N, K);
}

void gemm_nn(struct gemm *g, float *C, float beta, const float *A, const float *B, long M, long N,
             long K)
{
    sgemm(g, 0, 0, C, beta, A, B, M, N, K);
}

void gemm_tn(struct gemm *g, float *C, float beta, const float *A, const float *B, long M, long N,
             long K)
{
    sgemm(g, 1, 0, C, beta, A, B, M, N, K);
}

/* The plan of a product, made when it is first asked for. */
static struct matmul *plan_find(struct gemm *g, const struct matmul *want)
{
    struct plan *oldest = &g->plans[0];
    g->clock++;
    for (int i = 0; i < PLANS; i++) {
        struct plan *p = &g->plans[i];
        if (p->m.prim && p->m.M == want->M && p->m.N == want->N && p->m.K == want->K &&
            p->m.layout == want->layout && p->m.add == want->add && p->m.src_row == want->src_row &&
            p->m.dst_row == want->dst_row && p->m.weights_row == want->weights_row &&
            p->m.type == want->type && p->m.dst_type == want->dst_type) {
            p->used = g->clock;
            return &p->m;
        }
        if (p->used < oldest->used)
            oldest = p;
    }
    matmul_free(&oldest->m);
    if (!gemm_has_room(g))
        return NULL;
    oldest->used = g->clock;
    oldest->m = *want;
    return matmul_make(&oldest->m, g->engine) == 0 ? &oldest->m : NULL;
}

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

int gemm_is_fast(struct gemm *g, const struct matmul *want)
{
    const struct matmul *m = g->failed ? NULL : plan_find(g, want);
    return m && m->fast;
}

void gemm_product(struct gemm *g, const struct matmul *want, void *C, const void *A, const void *W)
{
    if (g->failed)
        return;
    struct matmul *m = plan_find(g, want);
    int status = m ? matmul_run(m, g->stream, A, W, C) : dnnl_unimplemented;
    if (status != dnnl_success && !g->failed)
        g->failed = status;
    gemm_count(g, want->M, want->N, want->K);
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

/* Some rows of a matrix, w, at row n of l's. */
struct piece {
    const void *w;
    enum matmul_weights layout;
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
                       .layout = w->layout,
                       .dst_row = filled ? rows : N,
                       .type = dnnl_bf16,
                       .dst_type = l->Y16 ? dnnl_bf16 : dnnl_f32};
    if (type == DT_F32)
        sgemm_rows(g, 0, 1, to, m.dst_row, 0, X, K, w->w, by, rows, K);
    else
        gemm_product(g, &m, to, X, w->w);
    for (long t = 0; filled && t < T; t++)
        memcpy(Y + (size_t)(t * N) * size, (char *)to + (size_t)(t * rows) * size,
               (size_t)rows * size);
}

/* Rows n.. of the matrix, packed where they are all of it. */
static void forward_panel(struct gemm *g, const struct linear *l, const void *X, const void *w,
                          long n, long rows)
{
    const enum dtype type = l->W->dtype;
    long N = l->W->N, K = l->W->K, T = l->T, by = g->rows ? g->rows : T;
    size_t in = (size_t)K * dtype_size(type);
    struct piece p = {w, WEIGHTS_NK, n, rows};
    struct matmul m = {.M = by,
                       .N = N,
                       .K = K,
                       .dst_row = N,
                       .type = dnnl_bf16,
                       .dst_type = l->Y16 ? dnnl_bf16 : dnnl_f32};
    void *room = type == DT_BF16 && rows == N ? gemm_packed(g, &m) : NULL;
    if (room) {
        pack_rows(room, w, K, N, K, sizeof(uint16_t));
        p.w = room;
        p.layout = m.layout;
    }
    for (long t = 0; t < T && !g->failed; t += by)
        forward_rows(g, l, &p, (const char *)X + (size_t)t * in, t, T - t < by ? T - t : by, by);
}

static void product_fwd(struct gemm *g, struct linear_in *X, const struct linear *l)
{
    const struct wmat *W = l->W;
    long T = X->T, N = W->N, K = W->K, most = gemm_panel_rows(N, K);
    if (W->row_shift && T) { /* a row of those depends on no other */
        int8_fwd(g, X, l);
        return;
    }
    const void *x = W->dtype == DT_BF16 && T ? (const void *)narrow(g, X) : X->x;
    for (long n = 0; n < N && T && !g->failed; n += most) {
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

/* dX (+)= dY[T, rows] w[rows, K] */
static void backward_panel(struct gemm *g, const struct linear_bwd *l, const uint16_t *dY,
                           const void *w, long rows, int add)
{
    long N = l->W->N, K = l->W->K, T = l->T;
    struct matmul m = {.M = T,
                       .N = K,
                       .K = rows,
                       .layout = WEIGHTS_KN,
                       .add = add,
                       .src_row = N,
                       .type = dnnl_bf16,
                       .dst_type = l->dX16 ? dnnl_bf16 : dnnl_f32};
    void *room = rows == N ? gemm_packed(g, &m) : NULL;
    if (room)
        pack_columns(room, w, K, N, K, sizeof(uint16_t));
    gemm_product(g, &m, l->dX16 ? (void *)l->dX16 : l->dX, dY, room ? room : w);
}

void linear_bwd_rows(struct gemm *g, const struct linear_bwd *l)
{
    /* Y = X W^T  =>  dX = dY W, a sum over panels */
    const struct wmat *W = l->W;
    long T = l->T, N = W->N, K = W->K, most = gemm_panel_rows(N, K);
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
            sgemm_rows(g, 0, 0, l->dX, K, (float)add, l->dY + n, N, w, T, K, rows);
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
