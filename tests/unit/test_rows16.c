/* Rows of bf16 between products: the kernels against the formula in double precision, the products
 * against those with floats of the same values. */
#include "config.h"
#include "tensor/gemm.h"
#include "tests/unit/twin.h"

static double half(uint16_t h)
{
    float f;
    dtype_to_f32(&f, &h, DT_BF16, 1);
    return f;
}

static uint16_t *halves(const double *x, long n)
{
    uint16_t *h = must_alloc((size_t)n, sizeof *h);
    float *f = to_floats(x, n);
    dtype_from_f32(h, f, DT_BF16, (size_t)n);
    free(f);
    return h;
}

/* Within the rounding of the result to bf16. */
static int near_half(uint16_t got, double want)
{
    return fabs(half(got) - want) <= fabs(want) / 256 * 1.001 + 1e-30;
}

static void test_swiglu(void)
{
    enum { N = 9001 };
    double *g = randoms(N, 3, 1), *u = randoms(N, 1, 2), *d = randoms(N, 1, 3);
    g[0] = 0, g[1] = -100, g[2] = 100, u[3] = 0;
    uint16_t *g16 = halves(g, N), *u16 = halves(u, N), *d16 = halves(d, N);
    uint16_t *act = must_alloc(N, sizeof *act), *dg = must_alloc(N, sizeof *dg),
             *du = must_alloc(N, sizeof *du);
    swiglu_fwd_bf16(act, g16, u16, N);
    swiglu_bwd_bf16(dg, du, d16, g16, u16, N);
    int fwd = 1, bwd = 1;
    for (long i = 0; i < N; i++) {
        double a = half(g16[i]), b = half(u16[i]), s = 1 / (1 + exp(-a)), o = half(d16[i]);
        fwd &= near_half(act[i], a * s * b);
        bwd &= near_half(du[i], o * a * s);
        bwd &= fabs(half(dg[i]) - o * b * (s + a * s * (1 - s))) <=
               fabs(o * b * (s + a * s * (1 - s))) / 256 * 1.001 + 1e-6 * fabs(o * b);
    }
    ok(fwd, "silu(g) u");
    ok(bwd, "its derivatives");
    uint16_t *ig = halves(g, N), *iu = halves(u, N);
    swiglu_bwd_bf16(ig, iu, d16, ig, iu, N);
    ok(!memcmp(ig, dg, N * sizeof *dg) && !memcmp(iu, du, N * sizeof *du), "in place");
    g16[5] = 0x7fc0;
    swiglu_fwd_bf16(act, g16, u16, N);
    ok(isnan(half(act[5])) && !isnan(half(act[4])), "what is not a number stays none");
    free(g), free(u), free(d), free(g16), free(u16), free(d16), free(act), free(dg), free(du);
    free(ig), free(iu);
}

static void test_norm(void)
{
    enum { T = 7, D = 70 };
    double *x = randoms(T * D, 2, 4), *w = randoms(D, 1, 5);
    float *xf = to_floats(x, T * D), *wf = to_floats(w, D);
    float y[T * D], z[T * D], r[T];
    rmsnorm_fwd(y, r, xf, wf, 1e-5, T, D);
    rmsnorm_again(z, xf, wf, r, T, D);
    ok(!memcmp(y, z, sizeof y), "a norm again has the same bits");
    free(x), free(w), free(xf), free(wf);
}

static void test_rope(void)
{
    enum { T = 5, H = 3, C = 22, N = T * H * C };
    static const long position[T] = {0, 1, 7, 500, 30000};
    double freq[C / 2], *x = randoms(N, 2, 9), *want = DOUBLES(N);
    float cos_t[T * C / 2], sin_t[T * C / 2], *xf = to_floats(x, N);
    uint16_t y[N], z[N];
    for (int i = 0; i < C / 2; i++)
        freq[i] = pow(10000, -2.0 * i / C);
    rope_table(cos_t, sin_t, position, freq, T, C);
    rope_apply_bf16(y, xf, cos_t, sin_t, T, H, C);
    twin_rope(want, x, position, freq, T, H, C);
    int good = 1;
    for (int i = 0; i < N; i++)
        good &= fabs(half(y[i]) - want[i]) <= fabs(want[i]) / 256 * 1.001 + 1e-5;
    ok(good, "rotated and rounded");
    round_rows(z, xf, T, H * C);
    dtype_from_f32(y, xf, DT_BF16, N);
    ok(!memcmp(y, z, sizeof y), "rows are rounded");
    free(x), free(want), free(xf);
}

static void test_loss(void)
{
    enum { N = 3, V = 2500 };
    static const int32_t target[N] = {0, 1023, V - 1};
    double *x = randoms(N * V, 3, 12);
    float *a = to_floats(x, N * V), *b = to_floats(x, N * V), loss[2][N];
    uint16_t *grad = must_alloc(N * V, sizeof *grad);
    int good = 1;
    cross_entropy(a, loss[0], target, 0.25f, N, V);
    cross_entropy_bf16(grad, b, loss[1], target, 0.25f, N, V);
    for (int r = 0; r < N; r++) {
        uint16_t want[V];
        dtype_from_f32(want, a + r * V, DT_BF16, V);
        good &= !memcmp(want, grad + r * V, sizeof want);
    }
    ok(good, "the gradient of the loss, rounded");
    ok(!memcmp(loss[0], loss[1], sizeof *loss), "and the same losses");
    free(x), free(a), free(b), free(grad);
}

struct matrix {
    struct wmat w;
    void *values, *shifts;
    float *scale;
};

static struct matrix matrix_of(long N, long K, int int8)
{
    double *v = randoms(N * K, 1 / sqrt((double)K), 6);
    struct matrix m = {.w = {.dtype = DT_BF16, .N = N, .K = K}};
    if (!int8) {
        m.values = halves(v, N * K);
        m.w.data = m.values;
    } else {
        signed char *code = must_alloc((size_t)(N * K), 1);
        m.scale = FLOATS(N);
        for (long n = 0; n < N; n++) {
            double most = 0;
            for (long k = 0; k < K; k++)
                most = fmax(most, fabs(v[n * K + k]));
            m.scale[n] = (float)(most / 127);
            for (long k = 0; k < K; k++)
                code[n * K + k] = (signed char)lrint(v[n * K + k] / m.scale[n]);
        }
        m.values = code;
        m.w.q = (struct qmat){.kind = QUANT_INT8, .N = N, .K = K, .code = code, .scale = m.scale};
        if (posix_memalign(&m.shifts, 64, int8_shift_bytes(N, K)) != 0)
            exit(99);
        int8_shift_place(&m.w, m.shifts);
        int8_shifts(&m.w);
    }
    free(v);
    return m;
}

static void matrix_free(struct matrix *m)
{
    free(m->values), free(m->shifts), free(m->scale);
}

static int all_near(const uint16_t *got, const float *want, long n, int exact)
{
    int good = 1;
    for (long i = 0; i < n; i++) {
        uint16_t h;
        dtype_from_f32(&h, want + i, DT_BF16, 1);
        /* sums may be cut differently for another type of results */
        good &=
            got[i] == h || (!exact && fabs(half(got[i]) - want[i]) <= fabsf(want[i]) / 128 + 1e-6);
    }
    return good;
}

static void test_products(struct gemm *g, int int8)
{
    enum { T = 37, N = 200, K = 136 };
    struct matrix m = matrix_of(N, K, int8);
    const char *name = int8 ? "int8" : "bf16";
    double *x = randoms(T * K, 1, 7), *dy = randoms(T * N, 1, 8);
    uint16_t *x16 = halves(x, T * K), *dy16 = halves(dy, T * N);
    uint16_t y16[T * N], dx16[T * K];
    float *xf = FLOATS(T * K), *dyf = FLOATS(T * N), *y = FLOATS(T * N), *y2 = FLOATS(T * N);
    float *dx = FLOATS(T * K), *dx2 = FLOATS(T * K);
    dtype_to_f32(xf, x16, DT_BF16, T * K);
    dtype_to_f32(dyf, dy16, DT_BF16, T * N);
    struct linear l[] = {{.Y = y, .X = xf, .W = &m.w, .T = T},
                         {.Y = y2, .X16 = x16, .W = &m.w, .T = T},
                         {.Y16 = y16, .X16 = x16, .W = &m.w, .T = T}};
    linears_fwd(g, l, 3);
    ok(!memcmp(y, y2, T * N * sizeof *y), "%s: bf16 rows go in as the floats that they are", name);
    ok(all_near(y16, y, T * N, int8), "%s: bf16 rows come out rounded", name);
    struct linear wide = {.Y16 = y16, .X = xf, .W = &m.w, .T = T};
    memset(y16, 0, sizeof y16);
    linears_fwd(g, &wide, 1);
    ok(all_near(y16, y, T * N, int8), "%s: from floats too", name);
    linear_bwd_data(g, dx, 0, dyf, &m.w, T);
    linear_bwd_rows(g, &(struct linear_bwd){.dX = dx2, .dY16 = dy16, .W = &m.w, .T = T});
    ok(!memcmp(dx, dx2, T * K * sizeof *dx), "%s: towards data, bf16 rows in", name);
    linear_bwd_rows(g, &(struct linear_bwd){.dX16 = dx16, .dY16 = dy16, .W = &m.w, .T = T});
    ok(all_near(dx16, dx, T * K, int8), "%s: and out", name);
    linear_bwd_rows(g, &(struct linear_bwd){.dX = dx2, .dY16 = dy16, .W = &m.w, .T = T, .beta = 1});
    int good = 1;
    for (long i = 0; i < T * K; i++)
        good &= fabsf(dx2[i] - 2 * dx[i]) <= 1e-4f;
    ok(good, "%s: added to what is there", name);
    free(x), free(dy), free(x16), free(dy16), free(xf), free(dyf), free(y), free(y2), free(dx);
    free(dx2);
    matrix_free(&m);
}

int main(void)
{
    struct pesc_error err = {0};
    struct gemm *g = gemm_new(&err);
    test_swiglu();
    test_norm();
    test_rope();
    test_loss();
    if (g && gemm_has_bf16(NULL, 0))
        test_products(g, 0);
    if (g && gemm_has_int8(NULL, 0))
        test_products(g, 1);
    ok(g && gemm_check(g, &err) == 0, "no product failed");
    gemm_free(g);
    return tap_done();
}
