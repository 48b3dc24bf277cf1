/* The experts with bf16 factors against the double-precision twin, whose inputs are bf16 numbers:
 * what is left is the rounding of the adapters' inside, 2^-9 of each of its values. And the tiles
 * that they are made of, against the formula. */
#include "config.h"
#include "core/isa.h"
#include "tensor/tile_bf16.h"
#include "tests/unit/moe_twin.h"

#include "tensor/dtype.h"

static const char *const in_name[INPUTS] = {"dx", "dz", "dWr", "dDn", "dUp"};

static double bf16(double x)
{
    uint16_t h;
    float f = (float)x;
    dtype_from_f32(&h, &f, DT_BF16, 1);
    dtype_to_f32(&f, &h, DT_BF16, 1);
    return f;
}

static void round_all(double *x, long n)
{
    for (long i = 0; i < n; i++)
        x[i] = bf16(x[i]);
}

static struct moe_case bf16_case(long T, long D, long E, long K, long A)
{
    struct moe_case m = case_new(T, D, E, K, A);
    m.c.bf16 = 1;
    for (int i = 0; i < INPUTS; i++) {
        long n;
        double *p = input(&m, i, &n);
        round_all(p, n);
    }
    round_all(m.dy, T * D);
    return m;
}

/* A quarter of dropout keeps 4/3 of a value, which is rounded once more. */
static void test_case(long T, long D, long E, long K, long A, double dropout)
{
    struct moe_case m = bf16_case(T, D, E, K, A);
    m.c.dropout = dropout;
    m.rng.training = dropout > 0;
    m.balance = 3;
    struct fast f = fast_new(&m);
    fast_fwd(&f, &m);
    twin_moe(&m);
    ok(close_to(f.y, m.y, T * D, 3e-3, "y"), "T=%ld D=%ld E=%ld K=%ld A=%ld dropout %g: output", T,
       D, E, K, A, dropout);
    for (long i = 0; i < T * D; i++)
        f.grad[IN_Z][i] = 9;
    fast_bwd(&f, &m);
    for (int i = 0; i < INPUTS; i++) {
        long n, tried;
        double *p = input(&m, i, &n);
        long kept = derivatives(f.grad[i], p, n, twin_moe, &m, 1e-5, 8e-3, in_name[i]);
        tried = n > TWIN_SAMPLES ? (n + (n / TWIN_SAMPLES | 1) - 1) / (n / TWIN_SAMPLES | 1) : n;
        ok(kept > tried * 9 / 10, "  %s: %ld of %ld derivatives", in_name[i], kept, tried);
    }
    float before[2] = {f.grad[IN_DN][1], f.grad[IN_UP][1]};
    fast_bwd(&f, &m);
    ok(f.grad[IN_DN][1] == 2 * before[0] && f.grad[IN_UP][1] == 2 * before[1] &&
           f.scratch.used == 0 && !f.scratch.overflow && f.scratch.peak == f.scratch.cap,
       "  weight gradients add, scratch as counted");
    fast_free(&f);
    case_free(&m);
}

/* The same numbers as floats give nearly the same in either form, whatever the sizes: rows of many
 * blocks, sums in several parts, columns that end within a tile. */
static void test_forms(long T, long D, long E, long K, long A)
{
    struct moe_case m = bf16_case(T, D, E, K, A);
    m.c.dropout = 0.1;
    m.rng.training = 1;
    struct fast f = fast_new(&m);
    fast_fwd(&f, &m);
    fast_bwd(&f, &m);
    m.c.bf16 = 0;
    struct fast plain = fast_new(&m);
    fast_fwd(&plain, &m);
    fast_bwd(&plain, &m);
    int good = 1;
    for (int i = -1; i < INPUTS; i++) {
        long n = T * D;
        if (i >= 0)
            (void)input(&m, i, &n);
        const float *a = i < 0 ? f.y : f.grad[i], *b = i < 0 ? plain.y : plain.grad[i];
        double *want = DOUBLES(n);
        for (long j = 0; j < n; j++)
            want[j] = b[j];
        good &= close_to(a, want, n, 8e-3, i < 0 ? "y" : in_name[i]);
        free(want);
    }
    ok(good, "T=%ld D=%ld E=%ld K=%ld A=%ld: as in floats", T, D, E, K, A);
    fast_free(&f);
    fast_free(&plain);
    case_free(&m);
}

static void test_identity(void)
{
    enum { T = 33, D = 24, N = T * D };
    struct moe_case m = bf16_case(T, D, 8, 2, 5);
    struct fast f = fast_new(&m);
    struct moe_weights W = {f.in[IN_WR], f.in[IN_DN], f.in[IN_UP], NULL};
    memset(f.in[IN_UP], 0, 8 * D * 5 * sizeof(float));
    f.in[IN_Z][3] = -0.0f;
    f.in[IN_Z][9] = 1e-42f;
    f.in[IN_Z][11] = -3e38f;
    f.in[IN_Z][12] = 0.1f;
    fast_fwd(&f, &m);
    ok(!memcmp(f.y, f.in[IN_Z], N * sizeof(float)), "zero Up: bit-equal output");
    float *keep = to_floats(m.z, N);
    memcpy(keep, f.in[IN_Z], N * sizeof(float));
    moe_fwd(NULL, f.in[IN_Z], f.in[IN_Z], f.in[IN_X], &W, &m.c, NULL, &f.s, T, D);
    ok(!memcmp(keep, f.in[IN_Z], N * sizeof(float)), "zero Up: in place as well");
    moe_fwd(NULL, NULL, f.in[IN_Z], f.in[IN_X], &W, &m.c, NULL, &f.s, T, D);
    fast_bwd(&f, &m);
    ok(!memcmp(f.grad[IN_Z], f.dy, N * sizeof(float)), "zero Up: dz is dy, bit for bit");
    free(keep);
    fast_free(&f);
    case_free(&m);
}

static void test_in_place(void)
{
    enum { T = 200, D = 40, N = T * D };
    struct moe_case m = bf16_case(T, D, 4, 2, 8);
    struct fast f = fast_new(&m);
    struct moe_weights W = {f.in[IN_WR], f.in[IN_DN], f.in[IN_UP], NULL}, none = {0};
    fast_fwd(&f, &m);
    fast_bwd(&f, &m);
    float *dz = FLOATS(N);
    memcpy(dz, f.dy, N * sizeof *dz);
    moe_bwd(NULL, dz, f.grad[IN_X], &none, dz, f.in[IN_X], &W, &m.c, NULL, &f.s, 0, &f.scratch, T,
            D);
    ok(!memcmp(dz, f.grad[IN_Z], N * sizeof *dz), "frozen adapters pass the gradient; in place");
    moe_fwd(NULL, NULL, f.in[IN_Z], f.in[IN_X], &W, &m.c, NULL, &f.s, T, D);
    moe_bwd(NULL, dz, f.grad[IN_X], &none, f.dy, f.in[IN_X], &W, &m.c, NULL, &f.s, 0, &f.scratch, T,
            D);
    ok(!memcmp(dz, f.grad[IN_Z], N * sizeof *dz), "no output asked for: the same gradients");
    f.scratch.cap -= 64;
    memset(dz, 0, N * sizeof *dz);
    moe_bwd(NULL, dz, f.grad[IN_X], &none, f.dy, f.in[IN_X], &W, &m.c, NULL, &f.s, 0, &f.scratch, T,
            D);
    ok(f.scratch.overflow && f.scratch.used == 0 && dz[0] == 0, "too small a scratch is reported");
    free(dz);
    fast_free(&f);
    case_free(&m);
}

static void test_threads(void)
{
    struct moe_case m = bf16_case(700, 72, 5, 3, 12);
    m.c.dropout = 0.1;
    m.rng.training = 1;
    m.balance = 1;
    ok(same_for_threads(&m), "mixture in bf16: same bits for 1 to 5 threads");
    case_free(&m);
}

static float half_of(const uint32_t *w, long i)
{
    uint16_t h = (uint16_t)(w[i / 2] >> 16 * (i % 2));
    float f;
    dtype_to_f32(&f, &h, DT_BF16, 1);
    return f;
}

/* Every number of rows and of columns that has code of its own; odd sums; strides. */
static void test_tiles(void)
{
    enum { M = 14, N = 112, K = 37, LD = N + 16 };
    uint32_t a[M * 20], b[19 * LD], bt[19 * LD], at[19 * LD];
    float C[M * LD];
    double *A = randoms(M * K, 1, 20), *B = randoms(N * K, 1, 21);
    float *Af = to_floats(A, M * K), *Bf = to_floats(B, N * K); /* B as [N,K] */
    float *Bn = FLOATS(K * N);
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++)
            Bn[k * N + n] = Bf[n * K + k];
    int good = 1, packs = 1;
    for (int rows = 1; rows <= M; rows++)
        for (int cols = 16; cols <= N; cols += 16) {
            int real = cols - rows % 3;
            memset(a, 0xff, sizeof a), memset(b, 0xff, sizeof b), memset(bt, 0xff, sizeof bt);
            tile_bf16_rows(a, 20, Af, K, rows, K);
            tile_bf16_rows_t(b, cols, Bf, K, real, K);
            tile_bf16_pairs(bt, cols, Bn, N, K, real);
            packs &= !memcmp(b, bt, (size_t)(19 * cols) * sizeof *b);
            tile_bf16_rows_t(at, 16, Af, K, rows, K);
            for (int way = 0; way < 4; way++) {
                for (int i = 0; i < M * LD; i++)
                    C[i] = 7;
                if (way / 2)
                    tile_bf16_mm(C, LD, at, 1, 16, b, cols, rows, cols, 19, way % 2);
                else
                    tile_bf16_mm(C, LD, a, 20, 1, b, cols, rows, cols, 19, way % 2);
                for (int m = 0; m < M; m++)
                    for (int n = 0; n < LD; n++) {
                        double want = way % 2 || m >= rows || n >= cols ? 7 : 0;
                        for (int k = 0; m < rows && n < real && k < K; k++)
                            want += half_of(a, m * 40 + k) * bf16(Bf[n * K + k]);
                        good &= fabs(C[m * LD + n] - want) < 1e-4;
                    }
            }
        }
    ok(packs, "pairs of transposed rows are those of the transpose's pairs");
    ok(good, "tiles: all sizes, both layouts of A, setting and adding");
    int exact = 1;
    for (int m = 0; m < M; m++)
        for (int k = 0; k < 38; k++)
            exact &= half_of(a, m * 40 + k) == (k < K ? (float)bf16(Af[m * K + k]) : 0);
    ok(exact, "rows are rounded to the nearest, an odd end is zero");
    free(A), free(B), free(Af), free(Bf), free(Bn);
}

int main(void)
{
    struct moe_config small = {.experts = 2, .top_k = 1, .dim = 8};
    omp_set_dynamic(0);
    if (!moe_has_bf16(&small, 16)) {
        ok(!isa_avx512_bf16(), "no AVX512-BF16 here: the experts stay in floats");
        return tap_done();
    }
    struct moe_config wide = {.experts = 2, .top_k = 1, .dim = 1025};
    ok(!moe_has_bf16(&wide, 16) && !moe_has_bf16(&small, 1 << 20), "too wide: in floats");
    test_tiles();
    test_case(1, 8, 4, 2, 4, 0);
    test_case(7, 16, 6, 2, 8, 0);
    test_case(9, 11, 5, 3, 3, 0);
    test_case(9, 10, 5, 3, 3, 0.25);
    test_case(8, 12, 4, 4, 5, 0);     /* dense mixture */
    test_case(11, 13, 16, 2, 2, 0.5); /* some experts without tokens */
    test_forms(1300, 96, 2, 1, 64);
    test_forms(150, 576, 8, 2, 64);
    test_forms(90, 131, 4, 2, 77);
    test_forms(64, 80, 3, 2, 513);
    test_identity();
    test_in_place();
    test_threads();
    return tap_done();
}
