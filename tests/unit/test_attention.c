/* Tiled attention against its twin: lengths around the tile size, head sizes, grouped heads,
 * windows, packed sequences, queries fewer than keys, every derivative, thread counts. */
#include "config.h"
#include "tests/unit/twin.h"

enum { MAX_S = 8 };
static const double TOL = 2e-6;

struct att {
    struct attn_dims d;
    long S, cq[MAX_S + 1], ck[MAX_S + 1];
    double *q, *k, *v, *o, *do_, *lse;
    float *fq, *fk, *fv, *fo, *fdo, *flse;
};

static struct att att_new(long H, long G, long C, long window, const long *nq, const long *nk,
                          long S)
{
    struct att a = {.d = {H, G, C, window, (float)(1 / sqrt((double)C)), NULL}, .S = S};
    for (long s = 0; s < S; s++) {
        a.cq[s + 1] = a.cq[s] + nq[s];
        a.ck[s + 1] = a.ck[s] + nk[s];
    }
    long Q = a.cq[S] * H * C, K = a.ck[S] * G * C;
    a.q = randoms(Q, 1.5, 1), a.k = randoms(K, 1.5, 2), a.v = randoms(K, 1, 3);
    a.do_ = randoms(Q, 1, 4), a.o = DOUBLES(Q), a.lse = DOUBLES(a.cq[S] * H);
    a.fq = to_floats(a.q, Q), a.fk = to_floats(a.k, K), a.fv = to_floats(a.v, K);
    a.fdo = to_floats(a.do_, Q), a.fo = FLOATS(Q), a.flse = FLOATS(a.cq[S] * H);
    return a;
}

static void att_free(struct att *a)
{
    free(a->q), free(a->k), free(a->v), free(a->o), free(a->do_), free(a->lse);
    free(a->fq), free(a->fk), free(a->fv), free(a->fo), free(a->fdo), free(a->flse);
}

static double att_loss(void *ctx)
{
    struct att *a = ctx;
    twin_attention(a->o, NULL, a->q, a->k, a->v, a->cq, a->ck, a->S, &a->d);
    return weighted(a->o, a->do_, a->cq[a->S] * a->d.H * a->d.C);
}

/* Leaves NaN where the kernels' tiles will lie, so that padding that is read but was never written
 * shows. They run on this stack when there is one thread. */
static __attribute__((noinline)) void soil_stack(void)
{
    volatile float dirt[1 << 18];
    for (int i = 0; i < 1 << 18; i++)
        dirt[i] = NAN;
    (void)dirt[0];
    omp_set_num_threads(1);
}

static int fwd_close(struct att *a, double tol)
{
    long n = a->cq[a->S] * a->d.H;
    soil_stack();
    attention_fwd(a->fo, a->flse, a->fq, a->fk, a->fv, a->cq, a->ck, a->S, &a->d);
    twin_attention(a->o, a->lse, a->q, a->k, a->v, a->cq, a->ck, a->S, &a->d);
    return close_to(a->fo, a->o, n * a->d.C, tol, "o") && close_to(a->flse, a->lse, n, TOL, "lse");
}

static int bwd_close(struct att *a)
{
    long Q = a->cq[a->S] * a->d.H * a->d.C, K = a->ck[a->S] * a->d.G * a->d.C;
    double *dq = DOUBLES(Q), *dk = DOUBLES(K), *dv = DOUBLES(K);
    float *fdq = FLOATS(Q), *fdk = FLOATS(K), *fdv = FLOATS(K), *delta = FLOATS(Q / a->d.C);
    for (long i = 0; i < Q; i++)
        fdq[i] = 3; /* overwritten, not added to */
    for (long i = 0; i < K; i++)
        fdk[i] = fdv[i] = 3;
    twin_attention_bwd(dq, dk, dv, a->do_, a->q, a->k, a->v, a->cq, a->S, &a->d);
    soil_stack();
    attention_bwd(fdq, fdk, fdv, delta, a->fdo, a->fq, a->fk, a->fv, a->fo, a->flse, a->cq, a->S,
                  &a->d);
    int good = close_to(fdq, dq, Q, 4e-6, "dq") & close_to(fdk, dk, K, 4e-6, "dk") &
               close_to(fdv, dv, K, 4e-6, "dv");
    free(dq), free(dk), free(dv), free(fdq), free(fdk), free(fdv), free(delta);
    return good;
}

/* Small enough for central differences: of the twin's analytic gradient and of the kernel's. */
static void test_derivatives(long H, long G, long C, long window)
{
    static const long n[] = {5, 1, 3};
    struct att a = att_new(H, G, C, window, n, n, 3);
    long Q = a.cq[3] * H * C, K = a.ck[3] * G * C;
    double *dq = DOUBLES(Q), *dk = DOUBLES(K), *dv = DOUBLES(K);
    twin_attention_bwd(dq, dk, dv, a.do_, a.q, a.k, a.v, a.cq, a.S, &a.d);
    float *fq = to_floats(dq, Q), *fk = to_floats(dk, K), *fv = to_floats(dv, K);
    int good = derivatives(fq, a.q, Q, att_loss, &a, 1e-5, 1e-6, "twin dq") > 0;
    good &= derivatives(fk, a.k, K, att_loss, &a, 1e-5, 1e-6, "twin dk") > 0;
    good &= derivatives(fv, a.v, K, att_loss, &a, 1e-5, 1e-6, "twin dv") > 0;
    ok(good, "twin gradient by central differences, H=%ld G=%ld C=%ld window=%ld", H, G, C, window);
    float *delta = FLOATS(Q / C);
    good = fwd_close(&a, TOL);
    attention_bwd(fq, fk, fv, delta, a.fdo, a.fq, a.fk, a.fv, a.fo, a.flse, a.cq, a.S, &a.d);
    good &= derivatives(fq, a.q, Q, att_loss, &a, 1e-5, 4e-6, "dq") > 0;
    good &= derivatives(fk, a.k, K, att_loss, &a, 1e-5, 4e-6, "dk") > 0;
    good &= derivatives(fv, a.v, K, att_loss, &a, 1e-5, 4e-6, "dv") > 0;
    ok(good, "attention by central differences, H=%ld G=%ld C=%ld window=%ld", H, G, C, window);
    free(dq), free(dk), free(dv), free(fq), free(fk), free(fv), free(delta);
    att_free(&a);
}

static void test_sizes(long H, long G, long C, long window, const long *n, long S)
{
    struct att a = att_new(H, G, C, window, n, n, S);
    ok(fwd_close(&a, TOL), "forward H=%ld G=%ld C=%ld window=%ld T=%ld S=%ld", H, G, C, window,
       a.cq[S], S);
    ok(bwd_close(&a), "backward H=%ld G=%ld C=%ld window=%ld T=%ld S=%ld", H, G, C, window, a.cq[S],
       S);
    att_free(&a);
}

/* Queries that are the newest of their keys: against the twin. */
static void test_decode(long H, long G, long C, long window)
{
    static const long nq[] = {1, 3, 0, 50, 7}, nk[] = {65, 130, 4, 99, 7};
    struct att a = att_new(H, G, C, window, nq, nk, 5);
    ok(fwd_close(&a, TOL), "fewer queries than keys, H=%ld G=%ld C=%ld window=%ld", H, G, C,
       window);
    att_free(&a);
}

/* Sequences packed behind each other give the bits of each alone. */
static void test_packing(void)
{
    static const long n[] = {50, 1, 97, 13};
    struct att a = att_new(6, 2, 16, 0, n, n, 4);
    long H = 6, C = 16;
    attention_fwd(a.fo, a.flse, a.fq, a.fk, a.fv, a.cq, a.ck, a.S, &a.d);
    int same = 1;
    for (long s = 0; s < 4; s++) {
        long cu[2] = {0, n[s]}, at = a.cq[s] * H * C, kat = a.ck[s] * 2 * C;
        float *o = FLOATS(n[s] * H * C), *lse = FLOATS(n[s] * H);
        attention_fwd(o, lse, a.fq + at, a.fk + kat, a.fv + kat, cu, cu, 1, &a.d);
        same &= !memcmp(o, a.fo + at, (size_t)(n[s] * H * C) * 4);
        free(o), free(lse);
    }
    ok(same, "packed sequences: bits of each alone");
    att_free(&a);
}

static void test_threads(void)
{
    static const long n[] = {50, 1, 130};
    struct att a = att_new(4, 2, 24, 0, n, n, 3);
    long Q = a.cq[3] * 4 * 24, K = a.ck[3] * 2 * 24, all = 2 * Q + 2 * K;
    float *out[2] = {FLOATS(all), FLOATS(all)}, *delta = FLOATS(Q);
    int same = 1;
    for (int threads = 1; threads <= 5; threads++) {
        float *o = out[threads > 1];
        omp_set_num_threads(threads);
        attention_fwd(o, a.flse, a.fq, a.fk, a.fv, a.cq, a.ck, 3, &a.d);
        attention_bwd(o + Q, o + 2 * Q, o + 2 * Q + K, delta, a.fdo, a.fq, a.fk, a.fv, o, a.flse,
                      a.cq, 3, &a.d);
        same &= threads == 1 || !memcmp(out[0], out[1], (size_t)all * 4);
    }
    ok(same, "attention: same bits for 1 to 5 threads");
    free(out[0]), free(out[1]), free(delta);
    att_free(&a);
}

static void test_edges(void)
{
    static const long n[] = {60};
    struct att a = att_new(2, 1, 8, 0, n, n, 1);
    for (long i = 0; i < 60 * 16; i++)
        a.fq[i] = a.fq[i] * 300;
    for (long i = 0; i < 60 * 16; i++)
        a.q[i] *= 300;
    /* a score of 4000 is itself only known to 2e-4 */
    ok(fwd_close(&a, 5e-4), "scores in the thousands do not overflow");
    a.fv[59 * 8] = NAN;
    a.fk[59 * 8] = NAN;
    attention_fwd(a.fo, a.flse, a.fq, a.fk, a.fv, a.cq, a.ck, 1, &a.d);
    ok(isnan(a.fo[59 * 16]) && isnan(a.flse[59 * 2]), "a NaN key reaches the rows that see it");
    att_free(&a);
}

int main(void)
{
    static const long C[] = {8, 16, 64, 80, 128};
    static const long one[] = {1}, seven[] = {7}, many[] = {65}, tile[] = {48, 49, 96, 2};
    static const long packed[] = {7, 65, 1, 0, 20}, longer[] = {201};
    omp_set_dynamic(0);
    test_derivatives(1, 1, 8, 0);
    test_derivatives(4, 2, 6, 0);
    test_derivatives(4, 1, 8, 2);
    test_derivatives(3, 3, 8, 1);
    for (int i = 0; i < 5; i++) {
        test_sizes(2, 2, C[i], 0, one, 1);
        test_sizes(2, 1, C[i], 0, seven, 1);
        test_sizes(4, 2, C[i], 0, many, 1);
    }
    for (long window = 0; window <= 5; window += window ? 4 : 1) {
        test_sizes(4, 2, 16, window, packed, 5);
        test_sizes(9, 3, 8, window, longer, 1);
    }
    test_sizes(2, 1, 16, 60, longer, 1);
    test_sizes(4, 1, 12, 0, tile, 4);
    test_sizes(50, 1, 8, 0, seven, 1); /* one query spans two tiles of rows */
    test_sizes(1, 1, 256, 0, many, 1);
    for (long window = 0; window <= 5; window += 5) {
        test_decode(4, 2, 16, window);
        test_decode(3, 3, 80, window);
    }
    test_packing();
    test_threads();
    test_edges();
    return tap_done();
}
