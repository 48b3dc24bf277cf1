/* What generating is made of: products of few rows with a matrix in any form, on every instruction
 * set that this processor has, and attention of few queries; against double-precision twins. */
#include "config.h"
#include "tensor/gemv.h"
#include "tests/unit/twin.h"

/* A matrix in one of its forms, and the values it stands for. */
struct matrix {
    struct wmat W;
    double *value;
    void *memory;
};

static struct rng_key key = {5, 0, 0, 0};

static double unit(uint64_t n)
{
    return rng_unit(&key, n) * 2 - 1;
}

enum form { F32, BF16, INT8, NF4, NF4_PLAIN, NF4_32, NF4_256, FORMS };
static const char *const form_name[] = {
    "f32", "bf16", "int8", "nf4", "nf4, float scales", "nf4, blocks of 32", "nf4, blocks of 256"};

static void fill_nf4(struct matrix *m, const struct qmat *q)
{
    unsigned char *code = (unsigned char *)q->code, *absmax = (unsigned char *)q->absmax;
    float *scale = (float *)q->scale, *map = (float *)q->map;
    for (size_t i = 0; i < qmat_code_bytes(q); i++)
        code[i] = (unsigned char)rng_u32(&key, i);
    for (long i = 0; i < qmat_scales(q); i++)
        scale[i] = (float)(0.5 + 0.4 * unit((uint64_t)i));
    if (q->nested) {
        for (long i = 0; i < qmat_blocks(q); i++)
            absmax[i] = (unsigned char)rng_u32(&key, (uint64_t)(i + 7));
        nf4_nested_map(map);
        map[NF4_OFFSET] = 0.9f;
    }
    for (long i = 0; i < q->N * q->K; i++) {
        long b = i / q->block;
        double by = !q->nested ? (double)scale[b]
                               : (double)map[absmax[b]] * scale[b / q->nested] + map[NF4_OFFSET];
        m->value[i] = nf4_values[i % 2 ? code[i / 2] & 15 : code[i / 2] >> 4] * by;
    }
}

static struct matrix make(enum form form, long N, long K)
{
    struct matrix m = {.W = {.dtype = form == F32 ? DT_F32 : DT_BF16, .N = N, .K = K},
                       .value = DOUBLES(N * K)};
    struct qmat q = {.kind = form == INT8 ? QUANT_INT8 : QUANT_NF4, .N = N, .K = K};
    float *v = FLOATS(N * K);
    key.a++;
    if (form <= BF16) {
        m.memory = must_alloc((size_t)(N * K), sizeof(float));
        for (long i = 0; i < N * K; i++)
            v[i] = (float)unit((uint64_t)i);
        dtype_from_f32(m.memory, v, m.W.dtype, (size_t)(N * K));
        dtype_to_f32(v, m.memory, m.W.dtype, (size_t)(N * K));
        for (long i = 0; i < N * K; i++)
            m.value[i] = v[i];
        m.W.data = m.memory;
        free(v);
        return m;
    }
    q.block = form == NF4_32 ? 32 : form == NF4_256 ? 256 : NF4_BLOCK;
    q.nested = form == NF4_PLAIN ? 0 : NF4_NESTED;
    m.memory = aligned_alloc(64, qmat_bytes(&q) + 64);
    if (!m.memory)
        exit(99);
    qmat_place(&q, m.memory);
    if (form == INT8) {
        signed char *code = (signed char *)q.code;
        for (long n = 0; n < N; n++) {
            ((float *)q.scale)[n] = (float)(0.01 + 0.005 * unit((uint64_t)n));
            for (long k = n * K; k < (n + 1) * K; k++) {
                code[k] = (signed char)(rng_u32(&key, (uint64_t)k) % 255 - 127);
                m.value[k] = (double)code[k] * q.scale[n];
            }
        }
    } else {
        fill_nf4(&m, &q);
    }
    m.W.q = q;
    free(v);
    return m;
}

static void drop(struct matrix *m)
{
    free(m->value);
    free(m->memory);
}

/* The largest error of Y, each against the sum of its terms' magnitudes. */
static double miss(const struct linear *l, const double *value)
{
    double most = 0;
    long N = l->W->N, K = l->W->K;
    for (long t = 0; t < l->T; t++)
        for (long n = 0; n < N; n++) {
            double sum = l->bias ? l->bias[n] : 0, size = fabs(sum) + 1e-30;
            for (long k = 0; k < K; k++) {
                sum += l->X[t * K + k] * value[n * K + k];
                size += fabs(l->X[t * K + k] * value[n * K + k]);
            }
            double e = fabs(l->Y[t * N + n] - sum) / size;
            most = e <= most ? most : e; /* NaN counts */
        }
    return most;
}

static const long sizes[][2] = {
    {1, 1},    {1, 64},   {3, 7},     {17, 15},   {16, 16},  {5, 63},
    {31, 65},  {1, 128},  {50, 192},  {20, 255},  {33, 576}, {2, 1000},
    {4, 1536}, {3, 4160}, {160, 320}, {1600, 576}}; /* the last one is shared by threads */

static void test_form(const struct gemv_kernels *k, enum form form)
{
    double worst_off = 0;
    int alone = 1, threads_same = 1;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        long N = sizes[i][0], K = sizes[i][1], T = 1 + (long)i % GEMM_FEW;
        struct matrix m = make(form, N, K);
        double *xd = randoms(T * K, 1, (uint32_t)i), *bd = randoms(N, 1, 77);
        float *x = to_floats(xd, T * K), *bias = to_floats(bd, N);
        float *y = FLOATS(T * N), *again = FLOATS(T * N);
        size_t room = (size_t)(T * gemv_turned(K));
        float *turned = FLOATS(room);
        struct linear l = {.Y = y, .X = x, .W = &m.W, .bias = i % 2 ? bias : NULL, .T = T},
                      other = l;
        gemv_products(k, &l, 1, turned, room);
        double off = miss(&l, m.value);
        worst_off = off <= worst_off ? worst_off : off;
        other.Y = again;
        for (int threads = 1; threads <= 4; threads++) {
            omp_set_num_threads(threads);
            memset(again, 0, (size_t)(T * N) * sizeof *again);
            gemv_products(k, &other, 1, turned, room);
            threads_same &= !memcmp(y, again, (size_t)(T * N) * sizeof *y);
        }
        for (long t = 0; t < T; t++) { /* a token by itself */
            struct linear one = {.Y = again, .X = x + t * K, .W = &m.W, .bias = l.bias, .T = 1};
            gemv_products(k, &one, 1, turned, room);
            alone &= !memcmp(y + t * N, again, (size_t)N * sizeof *y);
        }
        other.Y = again; /* without room: over numbers */
        gemv_products(k, &other, 1, NULL, 0);
        off = miss(&other, m.value);
        worst_off = off <= worst_off ? worst_off : off;
        free(xd), free(bd), free(x), free(bias), free(y), free(again), free(turned);
        drop(&m);
    }
    ok(worst_off <= 5e-7, "%s, %s: values", k->name, form_name[form]);
    diag("off by %.2g of the terms", worst_off);
    ok(alone, "%s, %s: a token's result does not depend on its batch", k->name, form_name[form]);
    ok(threads_same, "%s, %s: the same bits for 1 to 4 threads", k->name, form_name[form]);
}

/* Products in one go are those done one by one; activations are shared or not, the last ones find
 * no room. */
static void test_list(const struct gemv_kernels *k)
{
    enum { K = 192, T = 2, ROOM = 2 * T * 256 };
    static const long rows[] = {48, 1, 16, 30, 7};
    struct matrix m[5];
    struct linear l[5];
    double *xd = randoms(3 * T * K, 1, 3);
    float *x = to_floats(xd, 3 * T * K), *turned = FLOATS(ROOM);
    static const enum form forms[] = {NF4, NF4, BF16, NF4, NF4};
    static const int from[] = {0, 0, 0, 1, 2};
    double off = 0;
    for (int i = 0; i < 5; i++) {
        m[i] = make(forms[i], rows[i], K);
        l[i] = (struct linear){
            .Y = FLOATS(T * rows[i]), .X = x + from[i] * T * K, .W = &m[i].W, .T = T};
    }
    gemv_products(k, l, 5, turned, ROOM);
    for (int i = 0; i < 5; i++)
        off = fmax(off, miss(&l[i], m[i].value));
    ok(off <= 5e-7, "%s: five products in one go", k->name);
    diag("off by %.2g of the terms", off);
    for (int i = 0; i < 5; i++) {
        free(l[i].Y);
        drop(&m[i]);
    }
    free(xd), free(x), free(turned);
}

static void test_not_finite(const struct gemv_kernels *k)
{
    enum { N = 3, K = 130 };
    struct matrix m = make(BF16, N, K);
    float x[K], y[N];
    for (long i = 0; i < K; i++)
        x[i] = 1;
    x[K - 1] = NAN;
    struct linear l = {.Y = y, .X = x, .W = &m.W, .T = 1};
    gemv_products(k, &l, 1, NULL, 0);
    ok(isnan(y[0]) && isnan(y[1]) && isnan(y[2]), "%s: NaN stays", k->name);
    drop(&m);
}

/* Through gemm: off, it is oneDNN's product; on, this one; above GEMM_FEW rows oneDNN's again. */
static void test_switch(void)
{
    enum { N = 40, K = 4096, T = GEMM_FEW + 1 };
    struct pesc_error err = {0};
    struct gemm *g = gemm_new(&err);
    struct matrix m = make(F32, N, K);
    double *xd = randoms(T * K, 1, 3);
    float *x = to_floats(xd, T * K), *y[4];
    if (!g || gemm_reserve_few(g, K, &err) != 0)
        exit(99);
    for (int i = 0; i < 4; i++)
        y[i] = FLOATS(T * N);
    linear_fwd(g, y[0], x, &m.W, NULL, T);
    gemm_set_few(g, 1);
    linear_fwd(g, y[1], x, &m.W, NULL, T);
    linear_fwd(g, y[2], x, &m.W, NULL, T - 1);
    gemm_set_few(g, 0);
    linear_fwd(g, y[3], x, &m.W, NULL, T - 1);
    struct linear l = {.Y = y[2], .X = x, .W = &m.W, .T = T - 1};
    ok(!memcmp(y[0], y[1], T * N * sizeof **y) && miss(&l, m.value) <= 5e-7,
       "few rows, and only they, take the other way where it is on");
    ok(memcmp(y[2], y[3], (T - 1) * N * sizeof **y) != 0, "and only where it is on");
    is_near(gemm_flops(g), 2.0 * N * K * (2 * T + 2 * (T - 1)), 0, "all are counted");
    for (int i = 0; i < 4; i++)
        free(y[i]);
    free(xd), free(x);
    drop(&m);
    gemm_free(g);
}

static void test_attention(long H, long G, long C, long window, long T, long nk)
{
    struct attn_dims d = {
        .H = H, .G = G, .C = C, .window = window, .scale = (float)(1 / sqrt((double)C))};
    double *q = randoms(T * H * C, 2, 1), *k = randoms(nk * G * C, 1, 2),
           *v = randoms(nk * G * C, 1, 3), *o = DOUBLES(T * H * C), *lse = DOUBLES(T * H);
    float *qf = to_floats(q, T * H * C), *kf = to_floats(k, nk * G * C),
          *vf = to_floats(v, nk * G * C), *of = FLOATS(T * H * C), *again = FLOATS(T * H * C);
    long cq[2] = {0, T}, ck[2] = {0, nk};
    int same = 1;
    twin_attention(o, lse, q, k, v, cq, ck, 1, &d);
    attention_few(of, qf, kf, vf, T, nk, &d);
    for (int threads = 1; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        attention_few(again, qf, kf, vf, T, nk, &d);
        same &= !memcmp(of, again, (size_t)(T * H * C) * sizeof *of);
    }
    ok(close_to(of, o, T * H * C, 2e-6, "values") && same,
       "attention of %ld of %ld tokens, H=%ld G=%ld C=%ld window=%ld; bits for 1 to 4 threads", T,
       nk, H, G, C, window);
    free(q), free(k), free(v), free(o), free(lse), free(qf), free(kf), free(vf), free(of);
    free(again);
}

int main(void)
{
    for (int isa = 0; isa < GEMV_ISAS; isa++) {
        const struct gemv_kernels *k = gemv_kernels((enum gemv_isa)isa);
        if (!k) {
            diag("instruction set %d is not here", isa);
            continue;
        }
        for (int form = 0; form < FORMS; form++)
            test_form(k, (enum form)form);
        test_list(k);
        test_not_finite(k);
    }
    ok(gemv_kernels(GEMV_PLAIN) != NULL && gemv_best() != NULL, "there is always one");
    test_switch();
    test_attention(9, 3, 64, 0, 1, 900); /* shared by threads */
    test_attention(4, 2, 16, 0, 1, 1);
    test_attention(4, 1, 80, 0, 3, 64);
    test_attention(3, 3, 33, 50, 8, 201);
    test_attention(2, 2, 256, 5, 2, 3);
    test_attention(2, 1, 7, 1, 4, 130);
    return tap_done();
}
