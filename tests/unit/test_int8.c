/* int8 products against their definition in double precision, and models computed with them. */
#include "config.h"
#include "tensor/gemm_state.h"
#include "core/rng.h"
#include "model/convert.h"
#include "model/save.h"
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"

#include <omp.h>

static const struct rng_key key = {.seed = 5, .stream = RNG_SAMPLE};

/* Between -1 and 1, most of it small. */
static float draw(uint64_t i)
{
    double u = 2 * rng_unit(&key, i) - 1;
    return (float)(u * u * u);
}

static float *drawn(uint64_t from, long n)
{
    float *v = malloc((size_t)n * sizeof *v);
    if (!v)
        exit(99);
    for (long i = 0; i < n; i++)
        v[i] = draw(from + (uint64_t)i);
    return v;
}

struct matrix {
    struct wmat w;
    void *memory;
};

static struct matrix matrix_of(const float *w, long N, long K)
{
    struct matrix m = {.w = {.dtype = DT_F32, .N = N, .K = K}};
    m.w.q = (struct qmat){.kind = QUANT_INT8, .N = N, .K = K};
    size_t n = qmat_bytes(&m.w.q);
    m.memory = aligned_alloc(64, n + int8_shift_bytes(N, K));
    if (!m.memory)
        exit(99);
    qmat_place(&m.w.q, m.memory);
    int8_shift_place(&m.w, (char *)m.memory + n);
    if (int8_quantise(w, N, K, (signed char *)m.w.q.code, (float *)m.w.q.scale) != 0)
        exit(99);
    int8_shifts(&m.w);
    return m;
}

/* What a row of n values (times s) stands for once it is quantised. */
static void rounded(double *out, const float *x, const float *s, long n)
{
    float most = 0;
    for (long i = 0; i < n; i++)
        most = fmaxf(most, fabsf(s ? x[i] * s[i] : x[i]));
    for (long i = 0; i < n; i++) {
        float v = s ? x[i] * s[i] : x[i];
        out[i] = most > 0 ? rint((double)(v * (127 / most))) * ((double)most / 127) : 0;
    }
}

/* y[N] = x[K] W^T, and d[K] = dy[N] W. */
static void twin_fwd(double *y, const float *x, const struct wmat *w)
{
    const signed char *code = w->q.code;
    double *r = malloc((size_t)w->K * sizeof *r);
    rounded(r, x, NULL, w->K);
    for (long n = 0; n < w->N; n++) {
        double sum = 0;
        for (long k = 0; k < w->K; k++)
            sum += r[k] * code[n * w->K + k];
        y[n] = sum * (double)w->q.scale[n];
    }
    free(r);
}

static void twin_bwd(double *d, const float *dy, const struct wmat *w)
{
    const signed char *code = w->q.code;
    double *r = malloc((size_t)w->N * sizeof *r);
    rounded(r, dy, w->q.scale, w->N);
    for (long k = 0; k < w->K; k++)
        d[k] = 0;
    for (long n = 0; n < w->N; n++)
        for (long k = 0; k < w->K; k++)
            d[k] += r[n] * code[n * w->K + k];
    free(r);
}

/* Largest difference from the twin, relative to the row's largest value. */
static double off(const float *got, const double *want, long n)
{
    double most = 0, size = 1e-30;
    for (long i = 0; i < n; i++) {
        size = fmax(size, fabs(want[i]));
        double d = fabs((double)got[i] - want[i]);
        most = d > most || isnan(d) ? d : most;
    }
    return most / size;
}

static void test_product(struct gemm *g, long T, long N, long K)
{
    float *weights = drawn(1, N * K), *x = drawn(2u << 20, T * K), *dy = drawn(3u << 20, T * N);
    float *bias = drawn(4u << 20, N);
    float *y = malloc((size_t)(T * N) * sizeof *y), *b = malloc((size_t)(T * N) * sizeof *b);
    float *dx = malloc((size_t)(T * K) * sizeof *dx), *sum = malloc((size_t)(T * K) * sizeof *sum);
    double *want = malloc((size_t)(N > K ? N : K) * sizeof *want), worst[4] = {0};
    struct matrix m = matrix_of(weights, N, K);
    for (long i = 0; i < T * N; i++)
        y[i] = b[i] = 1e9f;
    for (long i = 0; i < T * K; i++) {
        dx[i] = 1e9f;
        sum[i] = x[i];
    }
    linear_fwd(g, y, x, &m.w, NULL, T);
    linear_fwd(g, b, x, &m.w, bias, T);
    linear_bwd_data(g, dx, 0, dy, &m.w, T);
    linear_bwd_data(g, sum, 1, dy, &m.w, T);
    for (long t = 0; t < T; t++) {
        twin_fwd(want, x + t * K, &m.w);
        worst[0] = fmax(worst[0], off(y + t * N, want, N));
        for (long n = 0; n < N; n++)
            want[n] += (double)bias[n];
        worst[1] = fmax(worst[1], off(b + t * N, want, N));
        twin_bwd(want, dy + t * N, &m.w);
        worst[2] = fmax(worst[2], off(dx + t * K, want, K));
        for (long k = 0; k < K; k++)
            want[k] += (double)x[t * K + k];
        worst[3] = fmax(worst[3], off(sum + t * K, want, K));
    }
    ok(worst[0] < 3e-7 && worst[1] < 3e-7, "%ld x %ld x %ld: forward, without and with biases", T,
       N, K);
    ok(worst[2] < 3e-7 && worst[3] < 3e-7, "%ld x %ld x %ld: towards data, overwritten and added",
       T, N, K);
    diag("off by %.2g %.2g %.2g %.2g", worst[0], worst[1], worst[2], worst[3]);
    free(weights), free(x), free(dy), free(bias), free(y), free(b), free(dx), free(sum);
    free(want), free(m.memory);
}

/* Sums of the largest products there are: in 16 bits two of them would not fit. */
static void test_extremes(struct gemm *g)
{
    enum { N = 70, K = 65536, T = 2 };
    float *w = malloc(sizeof *w * N * K), *x = malloc(sizeof *x * T * K), y[T * N], dx[2];
    int good = 1;
    for (long i = 0; i < (long)N * K; i++)
        w[i] = i / K % 2 ? -1 : 1;
    for (long i = 0; i < (long)T * K; i++)
        x[i] = i / K ? -2 : 2;
    struct matrix m = matrix_of(w, N, K);
    linear_fwd(g, y, x, &m.w, NULL, T);
    for (int i = 0; i < T * N; i++)
        good &= fabsf(y[i] - (i / N ? -1.0f : 1.0f) * (i % N % 2 ? -1.0f : 1.0f) * 131072) < 0.1f;
    ok(good, "the longest sums of the largest products are right");
    free(m.memory);
    for (long i = 0; i < 2L * K; i++)
        w[i] = i % 2 ? -1 : 1;
    for (int i = 0; i < K; i++)
        x[i] = 3;
    m = matrix_of(w, K, 2);
    linear_bwd_data(g, dx, 0, x, &m.w, 1);
    ok(fabsf(dx[0] - 3 * 65536) < 0.1f && fabsf(dx[1] + 3 * 65536) < 0.1f, "also towards data");
    free(m.memory);
    free(w);
    free(x);
}

static void test_rows(struct gemm *g)
{
    enum { N = 80, K = 96, T = 9 };
    float *w = drawn(1, N * K), *x = drawn(77, T * K), y[3][T * N], dx[2][T * K];
    struct matrix m = matrix_of(w, N, K);
    int finite = 1, zero = 1, nan = 1, usual = omp_get_max_threads();
    linear_fwd(g, y[0], x, &m.w, NULL, T);
    for (long t = 0; t < T; t++)
        linear_fwd(g, y[1] + t * N, x + t * K, &m.w, NULL, 1);
    ok(!memcmp(y[0], y[1], sizeof y[0]), "a row's results depend on no other row");
    linear_bwd_data(g, dx[0], 0, y[0], &m.w, T);
    omp_set_num_threads(3);
    linear_fwd(g, y[2], x, &m.w, NULL, T);
    linear_bwd_data(g, dx[1], 0, y[0], &m.w, T);
    omp_set_num_threads(usual);
    ok(!memcmp(y[0], y[2], sizeof y[0]) && !memcmp(dx[0], dx[1], sizeof dx[0]),
       "nor on the number of threads");
    for (int k = 0; k < K; k++) {
        x[k] = 0;
        x[K + k] = 1e-37f;
        x[4 * K + k] *= 1e-30f;
        x[5 * K + k] *= 1e34f;
    }
    x[2 * K + 7] = NAN;
    x[3 * K + 95] = -INFINITY;
    linear_fwd(g, y[1], x, &m.w, NULL, T);
    for (int n = 0; n < N; n++) {
        zero &= y[1][n] == 0 && y[1][N + n] == 0;
        nan &= isnan(y[1][2 * N + n]) && isnan(y[1][3 * N + n]);
        finite &= fabsf(y[1][4 * N + n] * 1e30f - y[0][4 * N + n]) < 1e-5f &&
                  fabsf(y[1][5 * N + n] * 1e-34f - y[0][5 * N + n]) < 1e-5f;
    }
    ok(zero, "rows of zeros, or next to nothing, give zeros");
    ok(nan, "rows that are not finite give NaN");
    ok(finite, "very small and very large rows are as the others");
    ok(!memcmp(y[0] + 6 * N, y[1] + 6 * N, 3 * N * sizeof **y), "which are as before");
    free(w), free(x), free(m.memory);
}

/* What is made of an input once serves all products with it. */
static void test_shared(struct gemm *g)
{
    enum { N = 72, M = 40, K = 64, T = 5 };
    float *w = drawn(1, N * K), *v = drawn(9999, M * K), *x = drawn(77, T * K),
          *other = drawn(777, T * K);
    float y[2][T * N], z[2][T * M], u[2][T * N], *skip = malloc(sizeof *skip * T * N);
    uint16_t narrow[N * K];
    struct matrix a = matrix_of(w, N, K), b = matrix_of(v, M, K);
    int bf16 = gemm_has_bf16(NULL, 0);
    dtype_from_f32(narrow, w, DT_BF16, N * K);
    struct wmat c = {.dtype = bf16 ? DT_BF16 : DT_F32, .N = N, .K = K, .data = w};
    if (bf16)
        c.data = narrow;
    linear_fwd(g, y[0], x, &a.w, NULL, T);
    linear_fwd(g, z[0], x, &b.w, NULL, T);
    linear_fwd(g, u[0], x, &c, NULL, T);
    for (int i = 0; i < 2; i++) { /* the second time with others in between */
        struct linear_in in = linear_in(x, T, K);
        linear_fwd_in(g, y[1], &in, &a.w, NULL);
        unsigned long made = in.code;
        if (i)
            linear_fwd(g, skip, other, &a.w, NULL, T);
        linear_fwd_in(g, z[1], &in, &b.w, NULL);
        ok((in.code == made) == !i, i ? "another input makes it anew" : "it is made once");
        linear_fwd_in(g, u[1], &in, &c, NULL);
        if (i)
            linear_fwd(g, skip, other, &c, NULL, T);
        made = in.narrow;
        linear_fwd_in(g, u[1], &in, &c, NULL);
        ok(!bf16 || (in.narrow == made) == !i, "in bf16 too");
        if (i) {
            linear_bwd_data(g, skip, 0, y[0], &a.w, T);
            linear_fwd_in(g, y[1], &in, &a.w, NULL);
        }
        ok(!memcmp(y[0], y[1], sizeof *y) && !memcmp(z[0], z[1], sizeof *z) &&
               !memcmp(u[0], u[1], sizeof *u),
           "with the results of products one at a time");
    }
    free(w), free(v), free(x), free(other), free(skip), free(a.memory), free(b.memory);
}

/* --- models --- */

static const struct small shape = {.hidden = 40, .inter = 72, .vocab = 61, .layers = 3};
static const struct moe_config moe = {.experts = 3, .top_k = 2, .dim = 4, .scaling = 1};

static struct model *open_model(const struct base *b, enum compute compute,
                                struct weights_plan plan)
{
    struct pesc_error err = {0};
    struct model *m;
    must_do(model_shape(base_config(b), &moe, TRAIN_ADAPTERS, compute, &m, &err), &err);
    m->plan = plan;
    must_do(model_load(m, b, DT_COUNT, 3, &err), &err);
    small_adapters(m);
    return m;
}

static struct base *convert(const char *to, const struct base *b, enum quant kind, long small)
{
    struct pesc_error err = {0};
    struct converted made;
    struct base *q;
    struct convert how = {
        .quant = kind, .dtype = DT_COUNT, .small = small, .fingerprint = "pesc-fp1:x", .name = "x"};
    must_do(dir_make_all(to, &err), &err);
    must_do(base_convert(to, b, &how, &made, &err), &err);
    must_do(base_open(to, NULL, &q, &err), &err);
    return q;
}

/* Logits of a and of b, losses and gradients: the same bits, or near. */
static void compare(const struct base *a, enum compute ca, const struct base *b, enum compute cb,
                    struct weights_plan plan, int same, const char *what)
{
    struct small_batch g;
    struct engine_step s[2] = {{.loss_scale = 0.1, .seed = 1, .number = 1},
                               {.loss_scale = 0.1, .seed = 1, .number = 1}};
    struct weights_plan resident = {.int8_min = plan.int8_min};
    struct model *x = open_model(a, ca, resident), *y = open_model(b, cb, plan);
    long V = x->c.vocab_size;
    small_batch(&g, V, 3, 3, (long[]){7, 12, 4});
    float *p = small_logits(x, &g.b), *q = small_logits(y, &g.b);
    small_train(x, &g.b, &s[0], 0);
    small_train(y, &g.b, &s[1], 0);
    size_t n = (size_t)(g.b.T * V), all = x->params.total;
    if (same) {
        ok(!memcmp(p, q, n * sizeof *p), "%s: logits, bit for bit", what);
        ok(s[0].loss_sum == s[1].loss_sum && s[0].loss_sum > 0 &&
               !memcmp(x->params.grad, y->params.grad, all * sizeof(float)),
           "%s: loss and gradients, bit for bit", what);
    } else {
        double dot = 0, xx = 0, yy = 0, d = small_diff(q, p, n);
        for (size_t i = 0; i < all; i++) {
            double u = (double)x->params.grad[i], v = (double)y->params.grad[i];
            dot += u * v;
            xx += u * u;
            yy += v * v;
        }
        double angle = 1 - dot / sqrt(xx * yy), loss = fabs(s[1].loss_sum / s[0].loss_sum - 1);
        /* A token near a boundary of the router may go to another expert. */
        ok(d > 1e-5 && d < 0.3 && loss < 0.01 && angle < 0.05 && fabs(yy / xx - 1) < 0.1,
           "%s: logits, loss and gradients are near", what);
        diag("logits off by %.3g, loss by %.3g, gradient: 1 - cos %.3g, length %.3g", d, loss,
             angle, sqrt(yy / xx) - 1);
    }
    is_long((long)weights_bytes(y->weights), (long)weights_size(&y->c, cb, &y->plan),
            "its memory is as planned");
    free(p);
    free(q);
    small_batch_free(&g);
    model_close(x);
    model_close(y);
}

static const struct weights_plan all = {.int8_min = 1},
                                 some = {.int8_min = 1, .streamed_layers = 2};

static void test_models(const char *what, const struct small *o)
{
    char dir[4][64], text[96];
    for (int i = 0; i < 4; i++)
        snprintf(dir[i], sizeof dir[i], "%s-%d", what, i);
    struct base *plain = small_base(gen_path(dir[0]), o);
    struct base *q = convert(gen_path(dir[1]), plain, QUANT_INT8, 0);
    snprintf(text, sizeof text, "%s: against f32", what);
    compare(plain, COMPUTE_F32, plain, COMPUTE_INT8, all, 0, text);
    snprintf(text, sizeof text, "%s: streamed", what);
    compare(plain, COMPUTE_INT8, plain, COMPUTE_INT8, some, 1, text);
    snprintf(text, sizeof text, "%s: its int8 base", what);
    compare(plain, COMPUTE_INT8, q, COMPUTE_INT8, all, 1, text);
    snprintf(text, sizeof text, "%s: its int8 base streamed", what);
    compare(plain, COMPUTE_INT8, q, COMPUTE_INT8, some, 1, text);
    base_close(q);
    for (int mixed = 0; mixed < 2; mixed++) {
        /* Codes of codes are those of what they stand for; of a mixed base some are taken as they
         * are. */
        q = convert(gen_path(dir[2]), plain, QUANT_NF4, mixed ? 1280 : 0);
        struct base *numbers = small_expanded(gen_path(dir[3]), plain, q);
        snprintf(text, sizeof text, "%s: its %s base", what, mixed ? "mixed" : "nf4");
        compare(numbers, COMPUTE_INT8, q, COMPUTE_INT8, all, 1, text);
        snprintf(text, sizeof text, "%s: that streamed", what);
        compare(q, COMPUTE_INT8, q, COMPUTE_INT8, some, 1, text);
        base_close(numbers);
        base_close(q);
        struct pesc_error err = {0};
        must_do(dir_remove_all(gen_path(dir[2]), &err), &err);
        must_do(dir_remove_all(gen_path(dir[3]), &err), &err);
    }
    base_close(plain);
}

static void test_small_matrices(void)
{
    struct base *b = small_base(gen_path("small"), &shape);
    enum compute rest = compute_form(COMPUTE_INT8) == DT_BF16 ? COMPUTE_BF16 : COMPUTE_F32;
    compare(b, rest, b, COMPUTE_INT8, (struct weights_plan){0}, 1,
            "small matrices are not multiplied as int8");
    ok(linear_int8(256, 256, 0) && !linear_int8(255, 257, 0) && linear_int8(1, 7, 7) &&
           !linear_int8(1, 6, 7) && linear_int8(65536, 65536, 0) && !linear_int8(65537, 65536, 0) &&
           !linear_int8(2, 65537, 0),
       "where the bounds are");
    struct pesc_error err = {0};
    struct model *m;
    is_error(model_shape(base_config(b), NULL, TRAIN_FULL, COMPUTE_INT8, &m, &err), &err,
             "E-USAGE-VALUE", 2, "training every weight");
    base_close(b);
}

static void test_bad_weights(const struct small *o, const char *name, const float bad)
{
    struct pesc_error err = {0};
    char path[PATH_CAP];
    struct base *b = small_base(gen_path("bad"), o);
    struct model *m;
    long at = (long)base_tensor(b, name)->begin + 4 * 100;
    snprintf(path, sizeof path, "%s/model.safetensors", base_dir(b));
    base_close(b);
    FILE *f = fopen(path, "r+b");
    if (!f || fseek(f, at, SEEK_SET) != 0 || fwrite(&bad, 4, 1, f) != 1 || fclose(f) != 0)
        exit(99);
    must_do(base_open(gen_path("bad"), NULL, &b, &err), &err);
    must_do(model_shape(base_config(b), &moe, TRAIN_ADAPTERS, COMPUTE_INT8, &m, &err), &err);
    m->plan = all;
    is_error(model_load(m, b, DT_COUNT, 3, &err), &err, "E-MODEL-NONFINITE", 3,
             "a weight that is not finite");
    model_close(m);
    base_close(b);
}

int main(void)
{
    struct pesc_error err = {0};
    char why[64];
    gen_begin();
    omp_set_num_threads(1);
    if (!gemm_has_int8(why, sizeof why)) {
        ok(*why != 0, "no int8 products here (%s)", why);
        return gen_end();
    }
    struct gemm *g = gemm_new(&err);
    static const long sizes[][3] = {{1, 64, 64},     {3, 70, 65},     {65, 130, 257},
                                    {200, 1536, 33}, {600, 1500, 20}, {600, 20, 1500},
                                    {9000, 70, 10},  {2, 1, 1}};
    if (!g)
        return 99;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        test_product(g, sizes[i][0], sizes[i][1], sizes[i][2]);
    test_extremes(g);
    test_rows(g);
    test_shared(g);
    ok(gemm_check(g, &err) == 0, "no product failed");
    gemm_free(g);
    test_models("f32", &shape);
    struct small o = shape;
    o.bf16 = 1;
    o.attention_bias = o.mlp_bias = 1;
    test_models("bf16", &o);
    o = (struct small){.hidden = 16, .inter = 9000, .vocab = 61, .layers = 2};
    test_models("long rows", &o);
    test_bad_weights(&o, "model.layers.1.mlp.down_proj.weight", NAN);
    test_bad_weights(&shape, "model.layers.1.mlp.down_proj.weight", INFINITY);
    test_small_matrices();
    return gen_end();
}
