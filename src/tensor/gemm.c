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
    if (gemm_reserve_packed(g, gemm_floats_bytes(), err) != 0) {
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
    free(g->int8.result);
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
    return rows < N && !gemm_own_usable(sizeof(uint16_t))
               ? (size_t)rows * (size_t)(K < DEPTH ? K : DEPTH) * sizeof(uint16_t)
               : 0;
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

void gemm_floats(struct gemm *g, int ta, int tb, float *C, long c_row, float beta, const float *A,
                 long a_row, const float *B, long M, long N, long K)
{
    if (g->failed || M == 0 || N == 0)
        return;
    if (K == 0) {
        if (beta == 0)
            for (long m = 0; m < M; m++)
                memset(C + m * c_row, 0, (size_t)N * sizeof *C);
        return;
    }
    if ((beta == 0 || beta == 1) && gemm_own_rows(g, sizeof *A, M)) {
        struct own_floats p = {M, N,          K,  A, ta ? 1 : a_row, ta ? a_row : 1,
                               B, tb ? K : N, tb, C, c_row,          beta != 0};
        gemm_own_floats(g, &p);
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
    gemm_floats(g, ta, tb, C, N, beta, A, ta ? M : K, B, M, N, K);
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
