#include "config.h"
#include "tensor/gemm.h"

#include "core/machine.h"
#include "core/xxh64.h"
#include "tensor/gemm_plan.h"
#include "tensor/profile.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plan {
    struct matmul m;
    unsigned long used; /* for replacing the oldest */
};

enum { PLANS = 32 };

/* Elements of a panel: 64 MiB in bf16. All but vocabularies are smaller. */
enum { PANEL = 32 << 20 };

/* Bytes of address space that making a product may take at most, and the first one. */
enum { CODE = 16 << 20, FIRST_CODE = 32 << 20 };

struct gemm {
    int failed;
    uint64_t flops;
    struct profile *profile;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    unsigned long clock;
    int limited; /* address space is */
    struct plan plans[PLANS];
    uint16_t *narrow; /* activations rounded to bf16 */
    size_t narrow_cap;
    void *panel; /* rows of a quantised matrix, expanded */
    size_t panel_cap;
    long rows;       /* of a product of linear_fwd; 0: all */
    float *in, *out; /* those of the last one, filled up; its result */
    size_t in_cap, out_cap;
};

/* oneDNN crashes where it has no memory for its code. */
static int has_room(struct gemm *g, uint64_t bytes)
{
    if (g->limited && machine_address_room() < bytes)
        g->failed = dnnl_out_of_memory;
    return !g->failed;
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
    g->narrow_cap = activations;
    return 0;
}

/* Rows of a panel: as even as can be, so that there is no thin last one. */
static long panel_rows(long N, long K)
{
    long most = PANEL / (K ? K : 1), panels, rows;
    most = most < 64 ? 64 : most;
    panels = (N + most - 1) / most;
    rows = panels ? (N + panels - 1) / panels : N;
    return panels > 1 ? (rows + 63) / 64 * 64 : N;
}

size_t gemm_panel_bytes(long N, long K, enum dtype type)
{
    return (size_t)panel_rows(N, K) * (size_t)K * dtype_size(type);
}

size_t gemm_copy_bytes(long N, long K)
{
    enum { DEPTH = 768 }; /* columns at a time, of oneDNN's bf16 products with rows apart */
    long rows = panel_rows(N, K);
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

const char *gemm_library_version(char *buf, size_t size)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(buf, size, "%d.%d.%d", v->major, v->minor, v->patch);
    return buf;
}

int gemm_has_bf16(char *why, size_t size)
{
    /* oneDNN's names are sets of bits: a later instruction set holds the earlier ones'. */
    static const struct {
        unsigned isa;
        const char *name;
    } known[] = {{dnnl_cpu_isa_avx512_core_bf16, "AVX512-BF16"},
                 {dnnl_cpu_isa_avx512_core, "AVX-512 without BF16"},
                 {dnnl_cpu_isa_avx2, "AVX2"},
                 {0, "no AVX2"}};
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    int i = 0;
    while ((isa & known[i].isa) != known[i].isa)
        i++;
    if (why && size)
        snprintf(why, size, "%s", known[i].name);
    return i == 0;
}

static void count(struct gemm *g, long M, long N, long K)
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
    if (!has_room(g, CODE))
        return;
    dnnl_status_t s = dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', M, N, K, 1.0f, A, a_row, B,
                                 tb ? K : N, beta, C, c_row);
    if (s != dnnl_success)
        g->failed = (int)s;
    count(g, M, N, K);
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

/* The plan of a product with float results, made when it is first asked for. */
static struct matmul *plan_find(struct gemm *g, const struct matmul *want)
{
    struct plan *oldest = &g->plans[0];
    g->clock++;
    for (int i = 0; i < PLANS; i++) {
        struct plan *p = &g->plans[i];
        if (p->m.prim && p->m.M == want->M && p->m.N == want->N && p->m.K == want->K &&
            p->m.layout == want->layout && p->m.add == want->add && p->m.src_row == want->src_row &&
            p->m.dst_row == want->dst_row) {
            p->used = g->clock;
            return &p->m;
        }
        if (p->used < oldest->used)
            oldest = p;
    }
    matmul_free(&oldest->m);
    if (!has_room(g, CODE))
        return NULL;
    oldest->used = g->clock;
    oldest->m = *want;
    oldest->m.type = dnnl_bf16;
    oldest->m.dst_type = dnnl_f32;
    return matmul_make(&oldest->m, g->engine) == 0 ? &oldest->m : NULL;
}

/* n rows of T activations to bf16; NULL without memory. */
static const uint16_t *narrow(struct gemm *g, const float *A, long T, long n)
{
    if (g->failed)
        return NULL;
    if (gemm_reserve(g, (size_t)T * (size_t)n, NULL) != 0) {
        g->failed = dnnl_out_of_memory;
        return NULL;
    }
    enum stage was = profile_to(g->profile, STAGE_ROUND);
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++)
        dtype_from_f32(g->narrow + t * n, A + t * n, DT_BF16, (size_t)n);
    profile_to(g->profile, was);
    return g->narrow;
}

static void bf16_product(struct gemm *g, const struct matmul *want, float *C, const uint16_t *A,
                         const void *W)
{
    if (g->failed)
        return;
    struct matmul *m = plan_find(g, want);
    int status = m ? matmul_run(m, g->stream, A, W, C) : dnnl_unimplemented;
    if (status != dnnl_success && !g->failed)
        g->failed = status;
    count(g, want->M, want->N, want->K);
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

/* Y[T, rows] = X[T, K] w^T as a product of by rows; those that there are not are zero. */
static void forward_rows(struct gemm *g, enum dtype type, float *Y, const float *X,
                         const uint16_t *x, const void *w, long T, long by, long rows, long N,
                         long K)
{
    int filled = T < by;
    size_t size = type == DT_F32 ? sizeof *X : sizeof *x;
    const void *from = type == DT_F32 ? (const void *)X : x;
    if (g->failed || (filled && gemm_reserve_rows(g, by, K, rows, NULL) != 0)) {
        g->failed = g->failed ? g->failed : dnnl_out_of_memory;
        return;
    }
    if (filled) {
        memcpy(g->in, from, (size_t)(T * K) * size);
        memset((char *)g->in + (size_t)(T * K) * size, 0, (size_t)((by - T) * K) * size);
        from = g->in;
    }
    float *to = filled ? g->out : Y;
    struct matmul m = {
        .M = by, .N = rows, .K = K, .layout = WEIGHTS_NK, .dst_row = filled ? rows : N};
    if (type == DT_F32)
        sgemm_rows(g, 0, 1, to, m.dst_row, 0, from, K, w, by, rows, K);
    else
        bf16_product(g, &m, to, from, w);
    for (long t = 0; filled && t < T; t++)
        memcpy(Y + t * N, to + t * rows, (size_t)rows * sizeof *Y);
}

void linear_fwd(struct gemm *g, float *Y, const float *X, const struct wmat *W, const float *bias,
                long T)
{
    long N = W->N, K = W->K, most = panel_rows(N, K), by = g->rows ? g->rows : T;
    const uint16_t *x = W->dtype == DT_BF16 && T ? narrow(g, X, T, K) : NULL;
    for (long n = 0; n < N && T; n += most) {
        long rows = N - n < most ? N - n : most;
        const void *w = panel(g, W, n, rows);
        for (long t = 0; t < T; t += by)
            forward_rows(g, W->dtype, Y + t * N + n, X + t * K, x ? x + t * K : NULL, w,
                         T - t < by ? T - t : by, by, rows, N, K);
    }
    if (bias) {
#pragma omp parallel for schedule(static)
        for (long t = 0; t < T; t++)
            for (long n = 0; n < W->N; n++)
                Y[t * W->N + n] += bias[n];
    }
}

/* Numbers of both signs and several sizes, as activations have. */
static float number_at(long i)
{
    uint32_t h = (uint32_t)i * 2654435761u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    return (float)((double)(int32_t)h * 0x1p-31 * (h & 16 ? 8 : 1));
}

/* The product of so many rows, each row standing by places further down, those from some on being
 * zero: into in and out. */
static void try_rows(struct gemm *g, const struct wmat *W, long rows, long by, long some)
{
    for (long r = 0; r < rows; r++) {
        float *x = g->in + (r + by) % rows * W->K;
        for (long k = 0; k < W->K; k++)
            x[k] = r < some ? number_at(r * W->K + k) : 0;
    }
    linear_fwd(g, g->out, g->in, W, NULL, rows);
}

int linear_rows_alone(struct gemm *g, const struct wmat *W, long rows, int *alone,
                      struct pesc_error *err)
{
    static const long turns[] = {0, 1, 7, 13};
    long was = g->rows;
    uint64_t *sum = calloc((size_t)rows, sizeof *sum);
    *alone = 1;
    if (!sum)
        return FAIL(err, MEMORY, "no memory to try %ld rows of a product", rows);
    if (gemm_reserve_rows(g, rows, W->K, W->N, err) != 0) {
        free(sum);
        return -1;
    }
    gemm_set_rows(g, rows);
    for (size_t i = 0; i < sizeof turns / sizeof *turns && *alone; i++) {
        long by = turns[i] % rows, some = rows - turns[i] / 2 % rows;
        try_rows(g, W, rows, by, some);
        for (long r = 0; r < some && !g->failed; r++) {
            struct xxh64 h;
            xxh64_init(&h);
            xxh64_add(&h, g->out + (r + by) % rows * W->N, (size_t)W->N * sizeof *g->out);
            if (i == 0)
                sum[r] = xxh64_end(&h);
            else if (sum[r] != xxh64_end(&h))
                *alone = 0;
        }
    }
    gemm_set_rows(g, was);
    free(sum);
    return gemm_check(g, err);
}

void linear_bwd_data(struct gemm *g, float *dX, float beta, const float *dY, const struct wmat *W,
                     long T)
{
    /* Y = X W^T  =>  dX = dY W, a sum over panels */
    long N = W->N, K = W->K, most = panel_rows(N, K);
    const uint16_t *dy = W->dtype == DT_BF16 && T ? narrow(g, dY, T, N) : NULL;
    for (long n = 0; n < N && T; n += most) {
        long rows = N - n < most ? N - n : most;
        int add = beta != 0 || n > 0;
        const void *w = panel(g, W, n, rows);
        struct matmul m = {
            .M = T, .N = K, .K = rows, .layout = WEIGHTS_KN, .add = add, .src_row = N};
        if (W->dtype == DT_F32)
            sgemm_rows(g, 0, 0, dX, K, (float)add, dY + n, N, w, T, K, rows);
        else
            bf16_product(g, &m, dX, dy ? dy + n : NULL, w);
    }
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
