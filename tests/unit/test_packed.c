/* Products with packed weights against the formula in double precision, and against those with
 * plain ones: sizes within and across blocks, odd sums, both directions, bf16 and codes. */
#include "config.h"
#include "core/isa.h"
#include "tensor/gemm_state.h"
#include "tests/unit/twin.h"

enum { T = 19 };

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

/* y[T,N] = x[T,K] w^T, and dx[T,K] = dy[T,N] w; in floats the sums of up to 300 terms of order 1.
 */
static void test_bf16(struct gemm *g, long N, long K)
{
    uint16_t *w = halves(N * K, 1), *x = halves(T * K, 2), *dy = halves(T * N, 3);
    float *y[2] = {FLOATS(T * N), FLOATS(T * N)}, *dx[2] = {FLOATS(T * K), FLOATS(T * K)};
    double *want = DOUBLES(T * N), *dwant = DOUBLES(T * K);
    struct wmat W = {.dtype = DT_BF16, .N = N, .K = K, .data = w};
    for (long t = 0; t < T; t++)
        for (long n = 0; n < N; n++)
            for (long k = 0; k < K; k++) {
                want[t * N + n] += half(x[t * K + k]) * half(w[n * K + k]);
                dwant[t * K + k] += half(dy[t * N + n]) * half(w[n * K + k]);
            }
    for (int packed = 0; packed < 2; packed++) {
        g->packs[0] = packed ? 0 : -1;
        if (packed && g->packed) /* what was there must not matter */
            memset(g->packed, 0xff, g->packed_cap);
        linears_fwd(g, &(struct linear){.Y = y[packed], .X16 = x, .W = &W, .T = T}, 1);
        linear_bwd_rows(g, &(struct linear_bwd){.dX = dx[packed], .dY16 = dy, .W = &W, .T = T});
    }
    ok(close_to(y[1], want, T * N, 2e-6, "y") && close_to(dx[1], dwant, T * K, 2e-6, "dx"),
       "bf16 N=%ld K=%ld: packed%s", N, K, g->packs[0] > 0 ? "" : " (not here)");
    ok(close_to(y[0], want, T * N, 2e-6, "y") && close_to(dx[0], dwant, T * K, 2e-6, "dx"),
       "bf16 N=%ld K=%ld: plain", N, K);
    free(w), free(x), free(dy), free(y[0]), free(y[1]), free(dx[0]), free(dx[1]), free(want);
    free(dwant);
}

/* The sums are exact: the same bits. */
static void test_codes(struct gemm *g, long N, long K)
{
    signed char *code = must_alloc((size_t)(N * K), 1);
    float *scale = FLOATS(N), *y[2] = {FLOATS(T * N), FLOATS(T * N)};
    float *dx[2] = {FLOATS(T * K), FLOATS(T * K)};
    double *x = randoms(T * K, 1, 4), *dy = randoms(T * N, 1, 5), *c = randoms(N * K, 40, 6);
    float *xf = to_floats(x, T * K), *dyf = to_floats(dy, T * N);
    void *shifts = NULL;
    for (long i = 0; i < N * K; i++)
        code[i] = (signed char)fmax(-127, fmin(127, rint(c[i])));
    for (long n = 0; n < N; n++)
        scale[n] = 0.01f * (float)(1 + n % 5);
    struct wmat W = {.dtype = DT_BF16, .N = N, .K = K};
    W.q = (struct qmat){.kind = QUANT_INT8, .N = N, .K = K, .code = code, .scale = scale};
    if (posix_memalign(&shifts, 64, int8_shift_bytes(N, K)) != 0)
        exit(99);
    int8_shift_place(&W, shifts);
    int8_shifts(&W);
    for (int packed = 0; packed < 2; packed++) {
        g->packs[1] = packed ? 0 : -1;
        if (packed && g->packed)
            memset(g->packed, 0xff, g->packed_cap);
        linears_fwd(g, &(struct linear){.Y = y[packed], .X = xf, .W = &W, .T = T}, 1);
        linear_bwd_rows(g, &(struct linear_bwd){.dX = dx[packed], .dY = dyf, .W = &W, .T = T});
    }
    ok(!memcmp(y[0], y[1], (size_t)(T * N) * sizeof *y[0]) &&
           !memcmp(dx[0], dx[1], (size_t)(T * K) * sizeof *dx[0]),
       "codes N=%ld K=%ld: packed%s as plain, bit for bit", N, K,
       g->packs[1] > 0 ? "" : " (not here)");
    free(code), free(scale), free(y[0]), free(y[1]), free(dx[0]), free(dx[1]), free(x), free(dy);
    free(c), free(xf), free(dyf), free(shifts);
}

/* Where room was planned, no product takes more: larger ones stay plain. */
static void test_planned(void)
{
    struct pesc_error err = {0};
    struct gemm *g = gemm_new(&err);
    uint16_t *w = halves(96 * 80, 1), *x = halves(T * 80, 2);
    float *y = FLOATS(T * 96);
    struct wmat W = {.dtype = DT_BF16, .N = 96, .K = 80, .data = w};
    struct linear l = {.Y = y, .X16 = x, .W = &W, .T = T};
    int good = g && gemm_reserve_packed(g, gemm_packed_bytes(64, 64, 0), &err) == 0;
    size_t room = good ? g->packed_cap : 0;
    if (good)
        linears_fwd(g, &l, 1);
    ok(good && g->packed_cap == room && gemm_check(g, &err) == 0, "planned room does not grow");
    gemm_free(g);
    free(w), free(x), free(y);
}

int main(void)
{
    static const long size[][2] = {{64, 64}, {1, 33}, {65, 31}, {200, 137}, {130, 96}, {63, 300}};
    struct pesc_error err = {0};
    struct gemm *g = gemm_new(&err);
    if (g && gemm_has_bf16(NULL, 0)) {
        for (size_t i = 0; i < sizeof size / sizeof *size; i++)
            test_bf16(g, size[i][0], size[i][1]);
        test_planned();
        ok(!isa_avx512() || g->packed != NULL, "some of them were packed");
    }
    if (g && gemm_has_int8(NULL, 0))
        for (size_t i = 0; i < sizeof size / sizeof *size; i++)
            test_codes(g, size[i][0], size[i][1]);
    ok(g && gemm_check(g, &err) == 0, "no product failed");
    gemm_free(g);
    return tap_done();
}
