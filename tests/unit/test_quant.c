/* Quantised matrices against plain twins: the nearest code by trying all, expansion value by value
 * from the definition. */
#include "config.h"
#include "core/rng.h"
#include "tensor/quant.h"
#include "tests/tap.h"

#include <omp.h>

static void *must(void *p)
{
    if (!p)
        exit(99);
    return p;
}

static float *normal(size_t n, uint32_t seed, float scale)
{
    struct rng_key key = {.seed = seed, .stream = 80};
    float *x = must(malloc((n + 1) * sizeof *x));
    for (size_t i = 0; i < n; i++)
        x[i] = scale * (float)rng_normal(&key, i);
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float absmax_of(const float *x, size_t n)
{
    float a = 0;
    for (size_t i = 0; i < n; i++)
        a = fabsf(x[i]) > a ? fabsf(x[i]) : a;
    return a;
}

static unsigned code_at(const unsigned char *code, size_t i)
{
    return i % 2 ? code[i / 2] & 15u : code[i / 2] >> 4;
}

/* The nearest code of v by trying all, the lower of two. */
static unsigned nearest(const float *table, unsigned n, double v)
{
    unsigned best = 0;
    for (unsigned c = 1; c < n; c++)
        if (fabs(v - (double)table[c]) < fabs(v - (double)table[best]))
            best = c;
    return best;
}

static void test_codes(size_t n, long block)
{
    float *x = normal(n, 1, 0.02f), *absmax = must(malloc((n / 32 + 2) * sizeof *absmax));
    unsigned char *code = must(malloc(n / 2 + 2));
    if (n > 100)
        memset(x + 64, 0, 33 * sizeof *x);
    ok(nf4_quantise(x, n, block, code, absmax) == 0, "%zu values in blocks of %ld", n, block);
    long wrong = 0, scales = 0;
    for (size_t i = 0; i < n; i++) {
        size_t b = i / (size_t)block, at = b * (size_t)block;
        size_t len = n - at < (size_t)block ? n - at : (size_t)block;
        float a = absmax_of(x + at, len);
        scales += a != absmax[b];
        float v = a > 0 ? (len == (size_t)block ? x[i] * (1 / a) : x[i] / a) : 0;
        wrong += code_at(code, i) != nearest(nf4_values, 16, (double)v);
    }
    is_long(scales, 0, "scales are the largest magnitudes");
    is_long(wrong, 0, "codes are the nearest");
    if (n % 2)
        is_long(code_at(code, n), 7, "zero behind an odd end");
    free(x);
    free(absmax);
    free(code);
}

static void test_ties(void)
{
    /* A block of absmax 1 with the middles and what lies just above them. */
    float x[64] = {1}, absmax;
    unsigned char code[32];
    long low = 0, high = 0;
    for (int k = 0; k < 15; k++) {
        x[1 + 2 * k] = (nf4_values[k] + nf4_values[k + 1]) * 0.5f;
        x[2 + 2 * k] = nextafterf(x[1 + 2 * k], 2);
    }
    ok(nf4_quantise(x, 64, 64, code, &absmax) == 0 && absmax == 1, "a block of ties");
    for (unsigned k = 0; k < 15; k++) {
        low += code_at(code, 1 + 2 * k) != k;
        high += code_at(code, 2 + 2 * k) != k + 1;
    }
    is_long(low, 0, "a middle takes the lower code");
    is_long(high, 0, "above it the upper one");
    for (int i = 0; i < 64; i++)
        x[i] = -0.0f;
    ok(nf4_quantise(x, 64, 64, code, &absmax) == 0 && absmax == 0 && code[0] == 0x77 &&
           code[31] == 0x77,
       "zeros have scale 0 and the code of 0");
    for (int i = 0; i < 64; i++)
        x[i] = i == 5 ? -1e-44f : 1e-45f;
    ok(nf4_quantise(x, 64, 64, code, &absmax) == 0 && absmax == 1e-44f,
       "subnormal numbers do no harm");
    x[9] = NAN;
    ok(nf4_quantise(x, 64, 64, code, &absmax) == -1, "NaN is refused");
    x[9] = -INFINITY;
    ok(nf4_quantise(x, 64, 64, code, &absmax) == -1, "so is infinity");
    signed char c8[64];
    ok(int8_quantise(x, 2, 32, c8, (float[2]){0}) == -1, "also for int8");
}

/* The error of one block with a scale, in double precision. */
static double block_error(const float *x, size_t n, double s)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double d = x[i] - (double)nf4_values[nearest(nf4_values, 16, x[i] / s)] * s;
        sum += d * d;
    }
    return sum;
}

static void test_fit(size_t n, long block)
{
    static const double part[] = {0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1, 1.05};
    float *x = normal(n, 5, 0.02f), scale[512];
    double all[2] = {0, 0};
    long wrong = 0, others = 0;
    memset(x + block, 0, (size_t)block * sizeof *x);
    ok(nf4_fit(x, n, block, scale) == 0, "scales that fit %zu values in blocks of %ld", n, block);
    ok(scale[1] == 0, "zeros have scale 0");
    for (size_t i = 0; i < n; i += (size_t)block) {
        size_t len = n - i < (size_t)block ? n - i : (size_t)block;
        double most = absmax_of(x + i, len), got, best = INFINITY;
        if (most == 0)
            continue;
        got = block_error(x + i, len, scale[i / (size_t)block]);
        for (int p = 0; p < 8; p++)
            best = fmin(best, block_error(x + i, len, (double)((float)most * (float)part[p])));
        wrong += got > best * (1 + 1e-5);
        others += scale[i / (size_t)block] != (float)most;
        all[0] += block_error(x + i, len, most);
        all[1] += got;
    }
    is_long(wrong, 0, "each has the least error of the eight");
    ok(others > 0 && all[1] < 0.92 * all[0], "in all %.1f %% less than the largest magnitudes",
       100 * (1 - all[1] / all[0]));
    x[3] = NAN;
    ok(nf4_fit(x, n, block, scale) == -1, "NaN is refused");
    free(x);
}

static void test_unnest(long n)
{
    float *x = normal((size_t)n, 6, 0.01f), nested[8], *got = must(malloc((size_t)n * sizeof *got));
    unsigned char *code = must(malloc((size_t)n)), codes[32];
    float map[NF4_OFFSET + 1];
    long wrong = 0;
    for (long i = 0; i < n; i++)
        x[i] = fabsf(x[i]);
    nf4_nest(x, n, code, nested, &map[NF4_OFFSET]);
    nf4_nested_map(map);
    nf4_unnest(code, nested, map[NF4_OFFSET], n, got);
    memset(codes, 0xff, sizeof codes); /* the value 1 */
    for (long i = 0; i < n; i++) {
        struct qmat q = {QUANT_NF4, 1, 64, 64, 256, codes, nested + i / 256, code + i, map};
        float v;
        qmat_expand(&q, 5, 1, &v, DT_F32);
        wrong += v != got[i];
    }
    is_long(wrong, 0, "scales quantised twice are those of an expansion");
    float block[64], below = -1e-9f;
    for (int i = 0; i < 64; i++)
        block[i] = (float)i;
    nf4_codes(block, 64, 64, &below, codes);
    ok(codes[0] == 0x77 && codes[31] == 0x77, "a scale below 0 leaves zeros");
    free(x);
    free(got);
    free(code);
}

static void test_nest(long n)
{
    float map[256], offset, *scale = must(calloc((size_t)n / 256 + 1, sizeof *scale));
    float *x = normal((size_t)n, 3, 0.01f);
    unsigned char *code = must(calloc((size_t)n, 1));
    long order = 0, wrong = 0, scales = 0;
    double mean = 0;
    nf4_nested_map(map);
    for (int i = 1; i < 256; i++)
        order += map[i] <= map[i - 1];
    ok(order == 0 && map[127] == 0 && map[255] == 1, "256 numbers in order, with 0 and 1");
    is_near(map[0], -0.99296875, 1e-7, "the least is the last middle below 1");
    is_near(map[128], 0.55e-6, 1e-13, "the least above 0 is 0.55e-6");
    for (long i = 0; i < n; i++) {
        x[i] = fabsf(x[i]);
        mean += (double)x[i] / (double)n;
    }
    nf4_nest(x, n, code, scale, &offset);
    is_near(offset, mean, 1e-7 * mean, "the mean is taken off");
    for (long i = 0; i < n; i++) {
        long b = i / 256, len = n - b * 256 < 256 ? n - b * 256 : 256;
        float most = 0;
        for (long k = 0; k < len; k++)
            most = fmaxf(most, fabsf(x[b * 256 + k] - offset));
        scales += most != scale[b];
        float v = most > 0 ? (x[i] - offset) * (1 / most) : 0;
        unsigned best = nearest(map, 256, (double)v);
        /* v is a float: two numbers may be as near as its last place */
        wrong += fabs((double)v - map[code[i]]) > fabs((double)v - map[best]) + 1e-7;
    }
    is_long(scales, 0, "nested scales");
    is_long(wrong, 0, "nested codes are the nearest");
    free(scale);
    free(x);
    free(code);
}

/* A matrix with everything, in memory of its own. */
static struct qmat make(enum quant kind, long N, long K, long block, long nested, uint32_t seed)
{
    struct qmat q = {.kind = kind, .N = N, .K = K, .block = block, .nested = nested};
    size_t n = (size_t)N * (size_t)K;
    float *x = normal(n, seed, 0.05f);
    qmat_place(&q, must(aligned_alloc(64, qmat_bytes(&q))));
    if (kind == QUANT_INT8) {
        if (N > 2)
            memset(x + K, 0, (size_t)K * sizeof *x);
        ok(int8_quantise(x, N, K, (void *)q.code, (void *)q.scale) == 0, "int8 %ld x %ld", N, K);
    } else {
        float *absmax = must(malloc((size_t)qmat_blocks(&q) * sizeof *absmax));
        ok(nf4_quantise(x, n, block, (void *)q.code, nested ? absmax : (void *)q.scale) == 0,
           "nf4 %ld x %ld in blocks of %ld, nested %ld", N, K, block, nested);
        if (nested) {
            nf4_nested_map((void *)q.map);
            nf4_nest(absmax, qmat_blocks(&q), (void *)q.absmax, (void *)q.scale,
                     (float *)q.map + NF4_OFFSET);
        }
        free(absmax);
    }
    ok(qmat_finite(&q), "it is finite");
    free(x);
    return q;
}

static float value(const struct qmat *q, size_t i)
{
    if (q->kind == QUANT_INT8)
        return (float)((double)((const signed char *)q->code)[i] *
                       (double)q->scale[i / (size_t)q->K]);
    size_t b = i / (size_t)q->block;
    volatile float a =
        q->nested ? q->map[q->absmax[b]] * q->scale[b / (size_t)q->nested] : q->scale[b];
    if (q->nested)
        a = a + q->map[NF4_OFFSET];
    return (float)((double)nf4_values[code_at(q->code, i)] * (double)a);
}

static void test_expand(struct qmat q)
{
    size_t n = (size_t)(q.N * q.K);
    float *want = must(malloc(n * sizeof *want)), *got = must(malloc(n * sizeof *got));
    uint16_t *want16 = must(malloc(n * 2)), *got16 = must(malloc(n * 2 + 2));
    for (size_t i = 0; i < n; i++)
        want[i] = value(&q, i);
    dtype_from_f32(want16, want, DT_BF16, n);
    qmat_expand(&q, 0, n, got, DT_F32);
    ok(!memcmp(got, want, n * sizeof *got), "f32 is the definition's, bit by bit");
    qmat_expand(&q, 0, n, got16, DT_BF16);
    ok(!memcmp(got16, want16, n * 2), "bf16 is the definition's, rounded");
    long wrong = 0;
    struct rng_key key = {.seed = 11, .stream = 81};
    for (uint64_t k = 0; k < 300; k++) {
        size_t from = rng_u32(&key, 2 * k) % n, len = rng_u32(&key, 2 * k + 1) % (n - from) + 1;
        len = k % 2 ? len : len % 200 + 1 < n - from ? len % 200 + 1 : n - from;
        got16[len] = 0xabcd;
        qmat_expand(&q, from, len, got16, DT_BF16);
        wrong += memcmp(got16, want16 + from, len * 2) != 0 || got16[len] != 0xabcd;
        qmat_expand(&q, from, len, got, DT_F32);
        wrong += memcmp(got, want + from, len * sizeof *got) != 0;
    }
    is_long(wrong, 0, "any range is that part of the whole");
    wrong = 0;
    for (long r = 0; r < q.N; r += 3) {
        long rows = q.N - r < 5 ? q.N - r : 5;
        qmat_expand_rows(&q, r, rows, got16, DT_BF16);
        wrong += memcmp(got16, want16 + r * q.K, (size_t)(rows * q.K) * 2) != 0;
    }
    for (int threads = 1; threads < 4; threads++) {
        omp_set_num_threads(threads);
        memset(got, 1, n * sizeof *got);
        qmat_expand_rows(&q, 0, q.N, got, DT_F32);
        wrong += memcmp(got, want, n * sizeof *got) != 0;
    }
    is_long(wrong, 0, "rows on any number of threads are the same");
    free(want);
    free(got);
    free(want16);
    free(got16);
    free((void *)q.code);
}

static void test_int8(void)
{
    float x[8] = {127, 0.5f, 1.5f, -2.5f, 126.5f, -127, 0, -0.49f}, scale;
    signed char c[8];
    const signed char want[8] = {127, 0, 2, -2, 126, -127, 0, 0};
    ok(int8_quantise(x, 1, 8, c, &scale) == 0 && scale == 1 && !memcmp(c, want, 8),
       "int8 rounds halves to even");
    float tiny[2] = {1e-45f, 0};
    ok(int8_quantise(tiny, 1, 2, c, &scale) == 0 && c[0] == 0, "a row too small for a scale is 0");
    float big[2] = {3.4e38f, -3.4e38f};
    ok(int8_quantise(big, 1, 2, c, &scale) == 0 && c[1] == -127, "the largest numbers");
    long bad = 0;
    float *r = normal(1000, 9, 1), s;
    signed char code[1000];
    ok(int8_quantise(r, 1, 1000, code, &s) == 0, "a row");
    for (int i = 0; i < 1000; i++)
        bad += fabs((double)r[i] - (double)code[i] * (double)s) > (double)s * 0.5000001;
    is_long(bad, 0, "no value is off by more than half a step");
    free(r);
}

int main(void)
{
    is_long((long)bits_of(nf4_values[14]), 0x3f3913b3, "a value of the table, as a float");
    test_codes(6400, 64);
    test_codes(6433, 64);
    test_codes(4096 * 2 + 77, 4096);
    test_codes(37, 64);
    test_ties();
    test_fit(6400, 64);
    test_fit(6437, 64);
    test_fit(4000, 32);
    test_unnest(1000);
    test_nest(2000);
    test_nest(100);
    test_nest(1);
    test_int8();
    test_expand(make(QUANT_NF4, 40, 96, 64, 256, 21));
    test_expand(make(QUANT_NF4, 33, 77, 64, 256, 22));
    test_expand(make(QUANT_NF4, 130, 600, 64, 256, 23));
    test_expand(make(QUANT_NF4, 50, 333, 128, 0, 24));
    test_expand(make(QUANT_NF4, 9, 1001, 4096, 256, 25));
    test_expand(make(QUANT_NF4, 41, 64, 32, 32, 26));
    test_expand(make(QUANT_INT8, 40, 96, 0, 0, 27));
    test_expand(make(QUANT_INT8, 7, 3001, 0, 0, 28));
    struct qmat q = make(QUANT_NF4, 4, 64, 64, 256, 29);
    ((float *)q.scale)[0] = INFINITY;
    ok(!qmat_finite(&q), "an infinite nested scale is seen");
    free((void *)q.code);
    q = make(QUANT_INT8, 4, 64, 0, 0, 29);
    ((float *)q.scale)[3] = NAN;
    ok(!qmat_finite(&q), "so is a NaN scale of a row");
    free((void *)q.code);
    return tap_done();
}
