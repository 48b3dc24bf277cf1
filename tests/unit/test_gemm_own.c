/* Products of our own against the formula in double precision, and against oneDNN's: sizes within
 * and across blocks, odd sums, sums that are packed in pieces, both directions, results as floats,
 * rounded and added, bf16 and codes, any number of threads; floats in all forms. */
#include "config.h"
#include "tensor/gemm_state.h"
#include "tests/unit/twin.h"

#include <omp.h>

static double half(uint16_t h)
{
    float f;
    dtype_to_f32(&f, &h, DT_BF16, 1);
    return f;
}

static uint16_t *halves(long n, uint32_t which)
{
    double *x = randoms(n, 1, which);
    float *f = to_floats(x, n);
    uint16_t *h = must_alloc((size_t)n, sizeof *h);
    dtype_from_f32(h, f, DT_BF16, (size_t)n);
    free(x), free(f);
    return h;
}

/* What is made of one input in one way; float and rounded results, and those added to ones. */
struct made {
    float *y, *dx, *sum;
    uint16_t *y16, *dx16;
};

static struct made made_new(long T, long N, long K)
{
    struct made m = {FLOATS(T * N), FLOATS(T * K), FLOATS(T * K),
                     must_alloc((size_t)(T * N), sizeof(uint16_t)),
                     must_alloc((size_t)(T * K), sizeof(uint16_t))};
    for (long i = 0; i < T * K; i++)
        m.sum[i] = 1;
    return m;
}

static void made_free(struct made *m)
{
    free(m->y), free(m->dx), free(m->sum), free(m->y16), free(m->dx16);
}

static int made_same(const struct made *a, const struct made *b, long T, long N, long K)
{
    return !memcmp(a->y, b->y, (size_t)(T * N) * sizeof *a->y) &&
           !memcmp(a->y16, b->y16, (size_t)(T * N) * sizeof *a->y16) &&
           !memcmp(a->dx, b->dx, (size_t)(T * K) * sizeof *a->dx) &&
           !memcmp(a->sum, b->sum, (size_t)(T * K) * sizeof *a->sum) &&
           !memcmp(a->dx16, b->dx16, (size_t)(T * K) * sizeof *a->dx16);
}

/* of: 1 our own, -1 oneDNN's. x or x16, dy or dy16. */
static void make(struct gemm *g, int of, struct made *m, const struct wmat *W, const float *x,
                 const uint16_t *x16, const float *dy, const uint16_t *dy16, long T)
{
    g->own[0] = g->own[1] = g->own[2] = of;
    if (g->packed) /* what was there must not matter */
        memset(g->packed, 0xff, g->packed_cap);
    linears_fwd(g, &(struct linear){.Y = m->y, .X = x, .X16 = x16, .W = W, .T = T}, 1);
    linears_fwd(g, &(struct linear){.Y16 = m->y16, .X = x, .X16 = x16, .W = W, .T = T}, 1);
    struct linear_bwd l = {.dX = m->dx, .dY = dy, .dY16 = dy16, .W = W, .T = T};
    linear_bwd_rows(g, &l);
    l.dX = m->sum;
    l.beta = 1;
    linear_bwd_rows(g, &l);
    l.dX = NULL;
    l.dX16 = m->dx16;
    l.beta = 0;
    linear_bwd_rows(g, &l);
}

/* The nearest bf16 of what is within 1e-5 of want. */
static int rounds(const uint16_t *got, const double *want, long n)
{
    for (long i = 0; i < n; i++)
        if (!(fabs(half(got[i]) - want[i]) <= fabs(want[i]) * (1.0 / 256 + 1e-5) + 1e-5))
            return 0;
    return 1;
}

/* y[T,N] = x[T,K] w^T, and dx[T,K] = dy[T,N] w; float sums of terms of order 1. */
static void test_bf16(struct gemm *g, long T, long N, long K)
{
    uint16_t *w = halves(N * K, 1), *x = halves(T * K, 2), *dy = halves(T * N, 3);
    double *want = DOUBLES(T * N), *dwant = DOUBLES(T * K), *sum = DOUBLES(T * K);
    double tol = 2e-6 * (N > 1000 || K > 1000 ? 10 : 1);
    struct wmat W = {.dtype = DT_BF16, .N = N, .K = K, .data = w};
    for (long t = 0; t < T; t++)
        for (long n = 0; n < N; n++)
            for (long k = 0; k < K; k++) {
                want[t * N + n] += half(x[t * K + k]) * half(w[n * K + k]);
                dwant[t * K + k] += half(dy[t * N + n]) * half(w[n * K + k]);
            }
    for (long i = 0; i < T * K; i++)
        sum[i] = dwant[i] + 1;
    for (int of = -1; of <= 1; of += 2) {
        struct made m = made_new(T, N, K);
        make(g, of, &m, &W, NULL, x, NULL, dy, T);
        ok(close_to(m.y, want, T * N, tol, "y") && close_to(m.dx, dwant, T * K, tol, "dx") &&
               close_to(m.sum, sum, T * K, tol, "sum") && rounds(m.y16, want, T * N) &&
               rounds(m.dx16, dwant, T * K),
           "bf16 T=%ld N=%ld K=%ld: %s", T, N, K, of > 0 ? "our own" : "oneDNN's");
        made_free(&m);
    }
    free(w), free(x), free(dy), free(want), free(dwant), free(sum);
}

/* A matrix of codes, in memory that is to be freed. */
struct codes {
    struct wmat W;
    signed char *code;
    float *scale;
    void *shifts;
};

static struct codes codes_new(long N, long K)
{
    struct codes c = {.W = {.dtype = DT_BF16, .N = N, .K = K}};
    double *x = randoms(N * K, 40, 6);
    c.code = must_alloc((size_t)(N * K), 1);
    c.scale = FLOATS(N);
    for (long i = 0; i < N * K; i++)
        c.code[i] = (signed char)fmax(-127, fmin(127, rint(x[i])));
    for (long n = 0; n < N; n++)
        c.scale[n] = 0.01f * (float)(1 + n % 5);
    c.W.q = (struct qmat){.kind = QUANT_INT8, .N = N, .K = K, .code = c.code, .scale = c.scale};
    if (posix_memalign(&c.shifts, 64, int8_shift_bytes(N, K)) != 0)
        exit(99);
    int8_shift_place(&c.W, c.shifts);
    int8_shifts(&c.W);
    free(x);
    return c;
}

/* The sums are exact: the same bits. (Against the formula: test_int8.c.) */
static void test_codes(struct gemm *g, long T, long N, long K)
{
    struct codes c = codes_new(N, K);
    double *x = randoms(T * K, 1, 4), *dy = randoms(T * N, 1, 5);
    float *xf = to_floats(x, T * K), *dyf = to_floats(dy, T * N);
    struct made m[2] = {made_new(T, N, K), made_new(T, N, K)};
    for (int i = 0; i < 2; i++)
        make(g, i ? 1 : -1, &m[i], &c.W, xf, NULL, dyf, NULL, T);
    double *sum = DOUBLES(T * K);
    for (long i = 0; i < T * K; i++)
        sum[i] = (double)m[1].dx[i] + 1;
    ok(close_to(m[1].sum, sum, T * K, 1e-6, "sum"), "codes T=%ld N=%ld K=%ld: added", T, N, K);
    free(sum);
    ok(made_same(&m[0], &m[1], T, N, K), "codes T=%ld N=%ld K=%ld: our own as oneDNN's", T, N, K);
    made_free(&m[0]), made_free(&m[1]);
    free(c.code), free(c.scale), free(c.shifts), free(x), free(dy), free(xf), free(dyf);
}

/* Rows that other threads take, and fewer rows. */
static void test_rows(struct gemm *g)
{
    enum { T = 150, N = 200, K = 136, FEW = 21 };
    uint16_t *w = halves(N * K, 1), *x = halves(T * K, 2), *dy = halves(T * N, 3);
    struct wmat W = {.dtype = DT_BF16, .N = N, .K = K, .data = w};
    struct made m[2] = {made_new(T, N, K), made_new(T, N, K)};
    int was = omp_get_max_threads();
    omp_set_num_threads(1);
    make(g, 1, &m[0], &W, NULL, x, NULL, dy, T);
    for (int threads = 2; threads < 8; threads++) {
        struct made other = made_new(T, N, K);
        omp_set_num_threads(threads);
        make(g, 1, &other, &W, NULL, x, NULL, dy, T);
        ok(made_same(&m[0], &other, T, N, K), "the same bits with %d threads", threads);
        made_free(&other);
    }
    omp_set_num_threads(was);
    make(g, 1, &m[1], &W, NULL, x + (T - FEW) * K, NULL, dy + (T - FEW) * N, FEW);
    ok(!memcmp(m[0].y + (T - FEW) * N, m[1].y, FEW * N * sizeof(float)) &&
           !memcmp(m[0].dx + (T - FEW) * K, m[1].dx, FEW * K * sizeof(float)),
       "a row does not depend on the others");
    made_free(&m[0]), made_free(&m[1]);
    free(w), free(x), free(dy);
}

/* The three forms, of floats, plain and added: C[M,N] (+)= op(A) op(B). */
static void floats(struct gemm *g, float *const C[4], const float *A, const float *B, long M,
                   long N, long K)
{
    if (g->packed)
        memset(g->packed, 0xff, g->packed_cap);
    gemm_nt(g, C[0], 0, A, B, M, N, K);
    gemm_nn(g, C[1], 0, A, B, M, N, K);
    gemm_tn(g, C[2], 0, A, B, M, N, K);
    gemm_tn(g, C[3], 1, A, B, M, N, K);
}

static void test_floats(struct gemm *g, long M, long N, long K)
{
    double *a = randoms(M * K, 1, 7), *b = randoms(N * K, 1, 8), *want[4];
    float *A = to_floats(a, M * K), *B = to_floats(b, N * K), *C[4], *again[4];
    double tol = 2e-6 * (K > 1000 ? 10 : 1);
    int good = 1, same = 1, was = omp_get_max_threads();
    for (int i = 0; i < 4; i++) {
        want[i] = DOUBLES(M * N);
        C[i] = FLOATS(M * N);
        again[i] = FLOATS(M * N);
        for (long j = 0; j < M * N; j++)
            C[i][j] = again[i][j] = 1; /* added to, or overwritten */
    }
    for (long m = 0; m < M; m++)
        for (long n = 0; n < N; n++) {
            for (long k = 0; k < K; k++) {
                want[0][m * N + n] += (double)A[m * K + k] * B[n * K + k];
                want[1][m * N + n] += (double)A[m * K + k] * B[k * N + n];
                want[2][m * N + n] += (double)A[k * M + m] * B[k * N + n];
            }
            want[3][m * N + n] = want[2][m * N + n] + 1;
        }
    floats(g, C, A, B, M, N, K);
    for (int i = 0; i < 4; i++)
        good &= close_to(C[i], want[i], M * N, tol, "C");
    ok(good, "floats M=%ld N=%ld K=%ld", M, N, K);
    for (int threads = 1; threads < 8; threads += 2) {
        omp_set_num_threads(threads);
        for (int i = 0; i < 4; i++)
            for (long j = 0; j < M * N; j++)
                again[i][j] = 1;
        floats(g, again, A, B, M, N, K);
        for (int i = 0; i < 4; i++)
            same &= !memcmp(C[i], again[i], (size_t)(M * N) * sizeof(float));
    }
    omp_set_num_threads(was);
    long few = M > 7 ? M - 7 : 1;
    gemm_nt(g, again[0], 0, A + (M - few) * K, B, few, N, K);
    same &= !memcmp(C[0] + (M - few) * N, again[0], (size_t)(few * N) * sizeof(float));
    ok(same, "the same bits with any number of threads, and of rows");
    for (int i = 0; i < 4; i++)
        free(want[i]), free(C[i]), free(again[i]);
    free(a), free(b), free(A), free(B);
}

int main(void)
{
    static const long size[][3] = {{19, 64, 64},  {19, 1, 33},    {48, 65, 31},  {101, 200, 136},
                                   {17, 130, 96}, {50, 66, 300},  {16, 63, 300}, {20, 16, 8},
                                   {97, 128, 2},  {18, 24, 9000}, {18, 9000, 24}};
    struct pesc_error err = {0};
    struct gemm *g = gemm_new(&err);
    if (g && gemm_own_usable(2)) {
        for (size_t i = 0; i < sizeof size / sizeof *size; i++)
            test_bf16(g, size[i][0], size[i][1], size[i][2]);
        test_rows(g);
    }
    if (g && gemm_own_usable(1))
        for (size_t i = 0; i < sizeof size / sizeof *size; i++)
            test_codes(g, size[i][0], size[i][1], size[i][2]);
    static const long plain[][3] = {{1, 1, 1},      {5, 7, 3},      {6, 16, 8},     {48, 256, 256},
                                    {49, 257, 257}, {100, 40, 300}, {13, 600, 520}, {300, 24, 33}};
    if (g && gemm_own_usable(sizeof(float)))
        for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
            test_floats(g, plain[i][0], plain[i][1], plain[i][2]);
    ok(g && gemm_check(g, &err) == 0, "no product failed");
    gemm_free(g);
    return tap_done();
}
