/* Attention with bf16 products against its twin, on inputs that are bf16 numbers: what differs is
 * the rounding of probabilities and of dS. Head sizes, grouped heads, lengths around the tiles,
 * windows, packed sequences, fewer queries than keys, threads. Where the CPU has no such products
 * the float kernels answer and the same must hold. */
#include "config.h"
#include "tests/unit/twin.h"

#include "core/isa.h"
#include "tensor/dtype.h"

enum { MAX_S = 64 };
/* Of the largest value; and of the root mean square, which a wrong factor or a missing key moves.
 */
static const double TOL = 6e-3, MEAN_TOL = 5e-3, LSE_TOL = 3e-6;

struct att {
    struct attn_dims d;
    long S, cq[MAX_S + 1], ck[MAX_S + 1], Q, K;
    double *q, *k, *v, *o, *do_, *lse, *dq, *dk, *dv;
    float *fq, *fk, *fv, *fo, *fdo, *flse, *fdq, *fdk, *fdv, *delta;
};

static double *bf16_randoms(long n, double scale, uint32_t which)
{
    double *x = randoms(n, scale, which);
    for (long i = 0; i < n; i++) {
        union {
            float f;
            uint32_t u;
        } b = {.f = (float)x[i]};
        b.u = (b.u + 0x7fff + (b.u >> 16 & 1)) & 0xffff0000u;
        x[i] = b.f;
    }
    return x;
}

/* Room that holds NaN, so that what is read but was not written shows. */
static void soil_packed(struct att *a)
{
    size_t n = attention_packed(a->ck[a->S], &a->d);
    memset(a->d.packed, 0xff, n * sizeof *a->d.packed);
}

static struct att att_new(long H, long G, long C, long window, const long *nq, const long *nk,
                          long S)
{
    struct att a = {.d = {H, G, C, window, (float)(1 / sqrt((double)C)), NULL}, .S = S};
    for (long s = 0; s < S; s++) {
        a.cq[s + 1] = a.cq[s] + nq[s];
        a.ck[s + 1] = a.ck[s] + nk[s];
    }
    long Q = a.Q = a.cq[S] * H * C, K = a.K = a.ck[S] * G * C;
    a.q = bf16_randoms(Q, 1.5, 1), a.k = bf16_randoms(K, 1.5, 2), a.v = bf16_randoms(K, 1, 3);
    a.do_ = bf16_randoms(Q, 1, 4), a.o = DOUBLES(Q), a.lse = DOUBLES(a.cq[S] * H);
    a.fq = to_floats(a.q, Q), a.fk = to_floats(a.k, K), a.fv = to_floats(a.v, K);
    a.fdo = to_floats(a.do_, Q), a.fo = FLOATS(Q), a.flse = FLOATS(a.cq[S] * H);
    a.dq = DOUBLES(Q), a.dk = DOUBLES(K), a.dv = DOUBLES(K);
    a.fdq = FLOATS(Q), a.fdk = FLOATS(K), a.fdv = FLOATS(K), a.delta = FLOATS(a.cq[S] * H);
    a.d.packed = must_alloc(attention_packed(a.ck[S], &a.d), sizeof *a.d.packed);
    return a;
}

static void att_free(struct att *a)
{
    free(a->q), free(a->k), free(a->v), free(a->o), free(a->do_), free(a->lse);
    free(a->dq), free(a->dk), free(a->dv), free(a->delta), free(a->d.packed);
    free(a->fq), free(a->fk), free(a->fv), free(a->fo), free(a->fdo), free(a->flse);
    free(a->fdq), free(a->fdk), free(a->fdv);
}

static __attribute__((noinline)) void soil_stack(void)
{
    volatile float dirt[1 << 18];
    for (int i = 0; i < 1 << 18; i++)
        dirt[i] = NAN;
    (void)dirt[0];
}

static uint16_t *halves(const float *x, long n)
{
    uint16_t *h = must_alloc((size_t)n, sizeof *h);
    dtype_from_f32(h, x, DT_BF16, (size_t)n);
    return h;
}

/* Of numbers that are bf16, and to such. */
static void fwd(struct att *a, float *o, float *lse, const float *q, const float *k, const float *v,
                const long *cq, const long *ck, long S)
{
    if (!isa_avx512_bf16()) {
        attention_fwd(o, lse, q, k, v, cq, ck, S, &a->d);
        return;
    }
    long Q = cq[S] * a->d.H * a->d.C, K = ck[S] * a->d.G * a->d.C;
    uint16_t *q16 = halves(q, Q), *k16 = halves(k, K), *v16 = halves(v, K);
    attention_fwd_bf16(o, lse, q16, k16, v16, cq, ck, S, &a->d);
    free(q16), free(k16), free(v16);
}

static void bwd(struct att *a, float *dq, float *dk, float *dv, const float *do_, const float *q,
                const float *k, const float *v, const float *o, const float *lse, const long *cu,
                long S)
{
    if (!isa_avx512_bf16()) {
        attention_bwd(dq, dk, dv, a->delta, do_, q, k, v, o, lse, cu, S, &a->d);
        return;
    }
    long Q = cu[S] * a->d.H * a->d.C, K = cu[S] * a->d.G * a->d.C;
    uint16_t *q16 = halves(q, Q), *k16 = halves(k, K), *v16 = halves(v, K);
    uint16_t *do16 = halves(do_, Q);
    attention_bwd_bf16(dq, dk, dv, a->delta, do16, q16, k16, v16, o, lse, cu, S, &a->d);
    free(q16), free(k16), free(v16), free(do16);
}

static void forward(struct att *a)
{
    soil_stack();
    soil_packed(a);
    fwd(a, a->fo, a->flse, a->fq, a->fk, a->fv, a->cq, a->ck, a->S);
}

static void backward(struct att *a)
{
    for (long i = 0; i < a->Q; i++)
        a->fdq[i] = 3; /* overwritten, not added to */
    for (long i = 0; i < a->K; i++)
        a->fdk[i] = a->fdv[i] = 3;
    soil_stack();
    soil_packed(a);
    bwd(a, a->fdq, a->fdk, a->fdv, a->fdo, a->fq, a->fk, a->fv, a->fo, a->flse, a->cq, a->S);
}

/* One key of each sequence is seen by one query only, and so on: what is small must be right too.
 */
static int near(const float *got, const double *want, long n, const char *what)
{
    double diff = 0, size = 0;
    for (long i = 0; i < n; i++) {
        diff += (got[i] - want[i]) * (got[i] - want[i]);
        size += want[i] * want[i];
    }
    double e = size > 0 ? sqrt(diff / size) : sqrt(diff);
    int pass = e <= MEAN_TOL;
    if (!pass)
        diag("%s: off by %.3g of the root mean square, allowed %.3g", what, e, MEAN_TOL);
    return close_to(got, want, n, TOL, what) & pass;
}

static int fwd_close(struct att *a)
{
    forward(a);
    twin_attention(a->o, a->lse, a->q, a->k, a->v, a->cq, a->ck, a->S, &a->d);
    return near(a->fo, a->o, a->Q, "o") & close_to(a->flse, a->lse, a->Q / a->d.C, LSE_TOL, "lse");
}

static int bwd_close(struct att *a)
{
    twin_attention_bwd(a->dq, a->dk, a->dv, a->do_, a->q, a->k, a->v, a->cq, a->S, &a->d);
    backward(a);
    return near(a->fdq, a->dq, a->Q, "dq") & near(a->fdk, a->dk, a->K, "dk") &
           near(a->fdv, a->dv, a->K, "dv");
}

static void test_sizes(long H, long G, long C, long window, const long *n, long S)
{
    struct att a = att_new(H, G, C, window, n, n, S);
    for (int threads = 1; threads <= 3; threads += 2) { /* both ways of the backward pass */
        omp_set_num_threads(threads);
        ok(fwd_close(&a), "forward H=%ld G=%ld C=%ld window=%ld T=%ld S=%ld, %d threads", H, G, C,
           window, a.cq[S], S, threads);
        ok(bwd_close(&a), "backward H=%ld G=%ld C=%ld window=%ld T=%ld S=%ld, %d threads", H, G, C,
           window, a.cq[S], S, threads);
    }
    omp_set_num_threads(1);
    att_free(&a);
}

static double att_loss(void *ctx)
{
    struct att *a = ctx;
    twin_attention(a->o, NULL, a->q, a->k, a->v, a->cq, a->ck, a->S, &a->d);
    return weighted(a->o, a->do_, a->Q);
}

/* The gradient of the loss of the twin, without its own backward pass. */
static void test_derivatives(long H, long G, long C, long window)
{
    static const long n[] = {5, 1, 3};
    struct att a = att_new(H, G, C, window, n, n, 3);
    forward(&a);
    backward(&a);
    int good = derivatives(a.fdq, a.q, a.Q, att_loss, &a, 1e-5, TOL, "dq") > 0;
    good &= derivatives(a.fdk, a.k, a.K, att_loss, &a, 1e-5, TOL, "dk") > 0;
    good &= derivatives(a.fdv, a.v, a.K, att_loss, &a, 1e-5, TOL, "dv") > 0;
    ok(good, "by central differences, H=%ld G=%ld C=%ld window=%ld", H, G, C, window);
    att_free(&a);
}

/* The float kernels are what they are without room for packed keys. */
static void test_float_kernels(void)
{
    static const long n[] = {150, 40};
    struct att a = att_new(6, 2, 64, 0, n, n, 2);
    struct attn_dims plain = a.d;
    plain.packed = NULL;
    forward(&a);
    backward(&a);
    float *o = FLOATS(a.Q), *lse = FLOATS(a.Q), *dq = FLOATS(a.Q), *dk = FLOATS(a.K);
    float *dv = FLOATS(a.K);
    attention_fwd(o, lse, a.fq, a.fk, a.fv, a.cq, a.ck, 2, &plain);
    attention_bwd(dq, dk, dv, a.delta, a.fdo, a.fq, a.fk, a.fv, o, lse, a.cq, 2, &plain);
    for (long i = 0; i < a.Q; i++)
        a.o[i] = o[i], a.dq[i] = dq[i];
    for (long i = 0; i < a.K; i++)
        a.dk[i] = dk[i], a.dv[i] = dv[i];
    ok(near(a.fo, a.o, a.Q, "o") & near(a.fdq, a.dq, a.Q, "dq") & near(a.fdk, a.dk, a.K, "dk") &
           near(a.fdv, a.dv, a.K, "dv"),
       "as the float kernels");
    int same = !memcmp(o, a.fo, (size_t)a.Q * sizeof *o);
    ok(same == !isa_avx512_bf16(), "and other bits where the CPU has bf16 products");
    free(o), free(lse), free(dq), free(dk), free(dv);
    att_free(&a);
}

static void test_decode(long H, long G, long C, long window)
{
    static const long nq[] = {1, 3, 0, 50, 7, 1}, nk[] = {65, 130, 4, 99, 7, 200};
    struct att a = att_new(H, G, C, window, nq, nk, 6);
    ok(fwd_close(&a), "fewer queries than keys, H=%ld G=%ld C=%ld window=%ld", H, G, C, window);
    att_free(&a);
}

/* More queries than keys: the first ones see nothing. */
static void test_empty_rows(void)
{
    static const long nq[] = {70, 3}, nk[] = {2, 0};
    struct att a = att_new(2, 1, 16, 0, nq, nk, 2);
    forward(&a);
    int good = 1;
    for (long t = 0; t < 73; t++)
        for (long h = 0; h < 2; h++) {
            int sees = t == 68 || t == 69;
            good &= isfinite(a.flse[t * 2 + h]) ? sees : !sees && a.flse[t * 2 + h] < 0;
            for (long c = 0; c < 16; c++)
                good &= sees || a.fo[(t * 2 + h) * 16 + c] == 0;
        }
    ok(good, "rows without keys are 0, their sum's logarithm minus infinity");
    att_free(&a);
}

/* Sequences packed behind each other give the bits of each alone, forward and backward. */
static void test_packing(void)
{
    static const long n[] = {50, 1, 0, 97, 13, 130};
    enum { H = 6, G = 2, C = 24, S = 6 };
    struct att a = att_new(H, G, C, 0, n, n, S);
    forward(&a);
    backward(&a);
    int same = 1;
    for (long s = 0; s < S; s++) {
        struct att b = att_new(H, G, C, 0, n + s, n + s, 1);
        long at = a.cq[s] * H * C, kat = a.ck[s] * G * C;
        memcpy(b.fq, a.fq + at, (size_t)b.Q * 4);
        memcpy(b.fk, a.fk + kat, (size_t)b.K * 4);
        memcpy(b.fv, a.fv + kat, (size_t)b.K * 4);
        memcpy(b.fdo, a.fdo + at, (size_t)b.Q * 4);
        forward(&b);
        backward(&b);
        same &= !memcmp(b.fo, a.fo + at, (size_t)b.Q * 4) &&
                !memcmp(b.fdq, a.fdq + at, (size_t)b.Q * 4) &&
                !memcmp(b.fdk, a.fdk + kat, (size_t)b.K * 4) &&
                !memcmp(b.fdv, a.fdv + kat, (size_t)b.K * 4);
        att_free(&b);
    }
    ok(same, "packed sequences: bits of each alone");
    att_free(&a);
}

static void test_threads(long window, const long *n, long S)
{
    struct att a = att_new(6, 2, 40, window, n, n, S);
    long all = 2 * a.Q + 2 * a.K;
    float *first = FLOATS(all), *out = FLOATS(all);
    int same = 1;
    for (int threads = 1; threads <= 5; threads++) {
        omp_set_num_threads(threads);
        forward(&a);
        backward(&a);
        memcpy(out, a.fo, (size_t)a.Q * 4);
        memcpy(out + a.Q, a.fdq, (size_t)a.Q * 4);
        memcpy(out + 2 * a.Q, a.fdk, (size_t)a.K * 4);
        memcpy(out + 2 * a.Q + a.K, a.fdv, (size_t)a.K * 4);
        if (threads == 1)
            memcpy(first, out, (size_t)all * 4);
        same &= !memcmp(first, out, (size_t)all * 4);
    }
    omp_set_num_threads(1);
    ok(same, "same bits for 1 to 5 threads, window=%ld S=%ld", window, S);
    free(first), free(out);
    att_free(&a);
}

static void test_edges(void)
{
    static const long n[] = {75, 70};
    struct att a = att_new(2, 1, 16, 0, n, n, 2);
    for (long i = 0; i < a.Q; i++)
        a.fq[i] *= 512; /* stays a bf16 number */
    for (long i = 0; i < a.Q; i++)
        a.q[i] *= 512;
    forward(&a);
    twin_attention(a.o, a.lse, a.q, a.k, a.v, a.cq, a.ck, 2, &a.d);
    ok(near(a.fo, a.o, a.Q, "o") && close_to(a.flse, a.lse, a.Q / 16, LSE_TOL, "lse"),
       "scores in the thousands do not overflow");
    a.fv[74 * 16] = NAN;
    a.fk[74 * 16] = NAN;
    forward(&a);
    backward(&a);
    int others = 1;
    for (long i = 75 * 32; i < a.Q; i++)
        others &= isfinite(a.fo[i]) && isfinite(a.fdq[i]);
    for (long i = 75 * 16; i < a.K; i++)
        others &= isfinite(a.fdk[i]) && isfinite(a.fdv[i]);
    ok(isnan(a.fo[74 * 32]) && isnan(a.flse[74 * 2]) && isnan(a.fdq[74 * 32]) &&
           isnan(a.fdk[74 * 16]),
       "a NaN key reaches the rows that see it");
    ok(others, "and no other sequence");
    a.fv[74 * 16] = 1;
    for (int sign = 0; sign < 2; sign++) {
        a.fk[74 * 16] = sign ? -INFINITY : INFINITY;
        forward(&a);
        backward(&a);
        ok(!isfinite(a.fo[74 * 32]) || !isfinite(a.fdq[74 * 32]) || !isfinite(a.flse[74 * 2]),
           "an infinite key shows");
    }
    a.fk[74 * 16] = 1;
    a.fq[0] = INFINITY;
    a.fdo[40] = -INFINITY;
    forward(&a);
    backward(&a);
    ok(!isfinite(a.fdq[32]) && isfinite(a.fdq[75 * 32]), "infinite rows show, where they are");
    att_free(&a);
}

int main(void)
{
    static const long C[] = {1, 7, 8, 16, 33, 64, 80, 128};
    static const long one[] = {1}, seven[] = {7}, many[] = {65}, tile[] = {64, 63, 128, 2};
    static const long packed[] = {7, 65, 1, 0, 20}, longer[] = {201}, longest[] = {300, 129};
    long ones[MAX_S];
    omp_set_dynamic(0);
    diag(isa_avx512_bf16() ? "with bf16 products" : "no bf16 products: float kernels");
    test_derivatives(1, 1, 8, 0);
    test_derivatives(4, 2, 6, 0);
    test_derivatives(4, 1, 8, 2);
    for (int i = 0; i < 8; i++) {
        test_sizes(2, 2, C[i], 0, one, 1);
        test_sizes(2, 1, C[i], 0, seven, 1);
        test_sizes(4, 2, C[i], 0, many, 1);
    }
    for (long rep = 1; rep <= 8; rep++)
        test_sizes(2 * rep, 2, 32, 0, packed, 5);
    for (long window = 1; window <= 5; window += 4) {
        test_sizes(4, 2, 16, window, packed, 5);
        test_sizes(9, 3, 8, window, longer, 1);
    }
    test_sizes(2, 1, 16, 60, longer, 1);
    test_sizes(3, 1, 64, 130, longest, 2);
    test_sizes(3, 1, 64, 0, longest, 2);
    test_sizes(4, 1, 12, 0, tile, 4);
    test_sizes(70, 1, 8, 0, seven, 1); /* one query spans two tiles of rows */
    test_sizes(1, 1, 256, 0, many, 1);
    for (int s = 0; s < MAX_S; s++)
        ones[s] = 1 + s % 2;
    test_sizes(3, 1, 20, 0, ones, MAX_S);
    for (long window = 0; window <= 5; window += 5) {
        test_decode(4, 2, 16, window);
        test_decode(3, 3, 80, window);
    }
    test_float_kernels();
    test_empty_rows();
    test_packing();
    test_threads(0, longest, 2);
    test_threads(70, longest, 2);
    test_threads(0, packed, 5);
    test_edges();
    return tap_done();
}
