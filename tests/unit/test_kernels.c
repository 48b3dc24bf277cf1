/* Norm, rotary embedding, SwiGLU, cross-entropy, embedding, sums and the elementary functions
 * against their twins: forward values, every derivative, edge values, thread counts. */
#include "config.h"
#include "tensor/vecmath.h"
#include "tests/unit/twin.h"

#include <float.h>

static void test_exp(void)
{
    double rel = 0, tiny = 0, last = 0;
    int order = 1;
    for (double x = -110; x < 88.7; x += 1.0 / 4096) {
        double got = vm_exp((float)x), want = exp((float)x);
        if (want > FLT_MIN)
            rel = fmax(rel, fabs(got / want - 1));
        else
            tiny = fmax(tiny, fabs(got - want));
        order = order && got >= last * (1 - 3e-7);
        last = got;
    }
    ok(rel < 2e-7, "exp: relative error %.2g below 2e-7", rel);
    ok(tiny < 3e-45, "exp: denormal results to two units (%.2g)", tiny);
    ok(order, "exp: never falls by more than its error");
    ok(vm_exp(0) == 1 && vm_exp(-0.0f) == 1, "exp(0) is exactly 1");
    ok(vm_exp(INFINITY) == INFINITY && vm_exp(1e30f) == INFINITY && vm_exp(-INFINITY) == 0 &&
           vm_exp(-1e30f) == 0 && isnan(vm_exp(NAN)) && isnan(vm_exp(-NAN)),
       "exp: infinities, overflow, underflow, NaN");
    double up = 0, low = 0, dens = 0;
    for (double x = -12; x < 12; x += 1.0 / 2048) {
        float cdf, density;
        vm_normal((float)x, &cdf, &density);
        double want = 0.5 * erfc(-(float)x / sqrt(2));
        double *e = x > -4 ? &up : &low;
        *e = fmax(*e, fabs(cdf / want - 1));
        dens = fmax(dens, fabs(density - exp(-0.5 * (float)x * (float)x) / sqrt(2 * M_PI)));
    }
    ok(up < 7e-7 && low < 6e-6, "normal distribution: relative error %.2g, %.2g below -4", up, low);
    ok(dens < 1e-7, "normal density: error %.2g", dens);
    float x[37], cdf, density;
    for (int n = 0; n < 37; n++) {
        x[n] = (float)(n % 5);
        x[n / 2] = 9;
        ok(n == 0 || vm_max(x, n, -1) == 9 || n / 2 >= n, "maximum of %d", n);
        x[n / 2] = 0;
    }
    vm_normal(NAN, &cdf, &density);
    ok(isnan(cdf) && isnan(density), "normal distribution keeps NaN");
}

struct norm_case {
    long T, D;
    double *x, *w, *y, *dy;
};

static double norm_loss(void *ctx)
{
    struct norm_case *c = ctx;
    twin_rmsnorm(c->y, c->x, c->w, 1e-5, c->T, c->D);
    return weighted(c->y, c->dy, c->T * c->D);
}

static void test_rmsnorm(long T, long D)
{
    long n = T * D;
    struct norm_case c = {T, D, randoms(n, 2, 1), randoms(D, 1, 2), DOUBLES(n), randoms(n, 1, 3)};
    float *x = to_floats(c.x, n), *w = to_floats(c.w, D), *dy = to_floats(c.dy, n);
    float *y = FLOATS(n), *r = FLOATS(T), *dx = FLOATS(n), *dw = FLOATS(D), *dx2 = FLOATS(n);
    rmsnorm_fwd(y, r, x, w, 1e-5, T, D);
    twin_rmsnorm(c.y, c.x, c.w, 1e-5, T, D);
    int good = close_to(y, c.y, n, 1e-6, "y");
    rmsnorm_bwd(dx, dw, dy, x, w, r, T, D);
    good &= derivatives(dx, c.x, n, norm_loss, &c, 1e-5, 3e-6, "dx") > 0;
    good &= derivatives(dw, c.w, D, norm_loss, &c, 1e-5, 3e-6, "dw") > 0;
    ok(good, "rmsnorm T=%ld D=%ld: values, dx, dw", T, D);
    for (long i = 0; i < n; i++)
        dx2[i] = 1;
    rmsnorm_bwd(dx2, NULL, dy, x, w, r, T, D);
    for (long i = 0; i < n; i++)
        good &= fabsf(dx2[i] - 1 - dx[i]) < 1e-5f;
    float once = dw[D - 1];
    rmsnorm_bwd(dx, dw, dy, x, w, r, T, D);
    good &= dw[D - 1] == 2 * once;
    ok(good, "rmsnorm T=%ld D=%ld: gradients are added, frozen weight allowed", T, D);
    free(c.x), free(c.w), free(c.y), free(c.dy), free(x), free(w), free(dy), free(y), free(r);
    free(dx), free(dw), free(dx2);
}

struct rope_case {
    long T, H, C, *pos;
    double *x, *freq, *y, *dy;
};

static double rope_loss(void *ctx)
{
    struct rope_case *c = ctx;
    twin_rope(c->y, c->x, c->pos, c->freq, c->T, c->H, c->C);
    return weighted(c->y, c->dy, c->T * c->H * c->C);
}

static void test_rope(long T, long H, long C)
{
    long n = T * H * C, half = C / 2;
    struct rope_case c = {.T = T, .H = H, .C = C, .pos = must_alloc((size_t)T, sizeof(long))};
    c.x = randoms(n, 1, 4), c.y = DOUBLES(n), c.dy = randoms(n, 1, 5), c.freq = DOUBLES(half);
    for (long t = 0; t < T; t++)
        c.pos[t] = t < 4 ? t : t * 4099; /* far positions need the angle in double */
    for (long i = 0; i < half; i++)
        c.freq[i] = pow(10000, -2.0 * (double)i / (double)C);
    float *x = to_floats(c.x, n), *dy = to_floats(c.dy, n);
    float *cs = FLOATS(T * half), *sn = FLOATS(T * half);
    rope_table(cs, sn, c.pos, c.freq, T, C);
    rope_apply(x, cs, sn, 1, T, H, C);
    twin_rope(c.y, c.x, c.pos, c.freq, T, H, C);
    int good = close_to(x, c.y, n, 5e-7, "values");
    rope_apply(dy, cs, sn, -1, T, H, C);
    good &= derivatives(dy, c.x, n, rope_loss, &c, 1e-4, 1e-6, "dx") > 0;
    rope_apply(x, cs, sn, -1, T, H, C);
    good &= close_to(x, c.x, n, 1e-6, "rotated back");
    ok(good, "rope T=%ld H=%ld C=%ld: values, derivative, inverse", T, H, C);
    free(c.pos), free(c.x), free(c.y), free(c.dy), free(c.freq), free(x), free(dy), free(cs);
    free(sn);
}

struct swiglu_case {
    long n;
    double *g, *u, *y, *dy;
};

static double swiglu_loss(void *ctx)
{
    struct swiglu_case *c = ctx;
    twin_swiglu(c->y, c->g, c->u, c->n);
    return weighted(c->y, c->dy, c->n);
}

static void test_swiglu(long n)
{
    struct swiglu_case c = {n, randoms(n, 3, 6), randoms(n, 1, 7), DOUBLES(n), randoms(n, 1, 8)};
    float *g = to_floats(c.g, n), *u = to_floats(c.u, n), *dy = to_floats(c.dy, n), *y = FLOATS(n);
    float *dg = FLOATS(n), *du = FLOATS(n);
    twin_swiglu(c.y, c.g, c.u, n);
    swiglu_fwd(y, g, u, n);
    int good = close_to(y, c.y, n, 5e-7, "values");
    swiglu_bwd(dg, du, dy, g, u, n);
    /* one element changes at a time, so only that part of the loss is needed */
    struct swiglu_case one = c;
    long kept = 0;
    for (long i = 0; i < n && good; i += n > 999 ? 61 : 1) {
        one = (struct swiglu_case){1, c.g + i, c.u + i, c.y + i, c.dy + i};
        good &= derivatives(dg + i, c.g + i, 1, swiglu_loss, &one, 1e-5, 2e-6, "dg") == 1;
        good &= derivatives(du + i, c.u + i, 1, swiglu_loss, &one, 1e-5, 2e-6, "du") == 1;
        kept++;
    }
    swiglu_bwd(g, u, dy, g, u, n);
    good &= !memcmp(g, dg, (size_t)n * 4) && !memcmp(u, du, (size_t)n * 4);
    ok(good && kept > 0, "swiglu n=%ld: values, %ld dg and du, in place", n, kept);
    free(c.g), free(c.u), free(c.y), free(c.dy), free(g), free(u), free(dy), free(y), free(dg);
    free(du);
}

struct ce_case {
    long V, target;
    double *l, scale;
};

static double ce_loss(void *ctx)
{
    struct ce_case *c = ctx;
    return c->scale * twin_cross_entropy(c->l, c->target, c->V);
}

static void test_cross_entropy(long n, long V)
{
    double *l = randoms(n * V, 4, 9), scale = 0.25, *want = DOUBLES(n);
    float *got = to_floats(l, n * V), *keep = to_floats(l, n * V), *loss = FLOATS(n);
    int32_t *target = must_alloc((size_t)n, sizeof *target);
    for (long r = 0; r < n; r++) {
        target[r] = (int32_t)((r * 7919 + V - 1) % V);
        want[r] = twin_cross_entropy(l + r * V, target[r], V);
    }
    cross_entropy(got, loss, target, 0, n, V);
    int good = close_to(loss, want, n, 1e-6, "loss");
    good &= !memcmp(got, keep, (size_t)(n * V) * 4);
    ok(good, "cross-entropy n=%ld V=%ld: loss; scale 0 leaves the logits", n, V);
    cross_entropy(got, loss, target, (float)scale, n, V);
    good = close_to(loss, want, n, 1e-6, "loss");
    for (long r = 0; r < n && good; r++) {
        struct ce_case c = {V, target[r], l + r * V, scale};
        good &= derivatives(got + r * V, l + r * V, V, ce_loss, &c, 1e-5, 3e-6, "dlogits") > 0;
        long y = target[r];
        good &= V == 1 || derivatives(got + r * V + y, l + r * V + y, 1, ce_loss, &c, 1e-5, 1e-5,
                                      "dlogit of the target") > 0;
    }
    ok(good, "cross-entropy n=%ld V=%ld: gradient", n, V);
    free(l), free(got), free(keep), free(loss), free(target), free(want);
}

static void test_cross_entropy_edges(void)
{
    enum { V = 40 };
    float l[V], loss;
    int32_t y = 3;
    for (int i = 0; i < V; i++)
        l[i] = (float)i;
    l[39] = NAN;
    cross_entropy(l, &loss, &y, 1, 1, V);
    ok(isnan(loss), "a NaN logit gives a NaN loss");
    for (int i = 0; i < V; i++)
        l[i] = i == 5 ? -INFINITY : 1e30f;
    cross_entropy(l, &loss, &y, 1, 1, V);
    ok(fabs(loss - log(39)) < 1e-5 && l[5] == 0, "large logits and one of -inf: finite");
    y = 5;
    l[5] = -INFINITY;
    cross_entropy(l, &loss, &y, 0, 1, V);
    ok(loss == INFINITY, "a target of probability 0 costs infinity");
    y = -100;
    cross_entropy(l, &loss, &y, 0, 1, V);
    ok(isnan(loss), "a target outside the vocabulary gives NaN");
}

static void test_embed(void)
{
    enum { V = 11, T = 33 };
    long D = 300;
    double *table = randoms(V * D, 1, 10), *dx = randoms(T * D, 1, 11);
    float *ft = to_floats(table, V * D), *fdx = to_floats(dx, T * D), *x = FLOATS(T * D);
    float *dt = FLOATS(V * D);
    int32_t ids[T];
    int good = 1;
    for (int t = 0; t < T; t++)
        ids[t] = t * t % V;
    embed_fwd(x, ft, ids, T, D);
    for (int t = 0; t < T; t++)
        good &= !memcmp(x + t * D, ft + ids[t] * D, (size_t)D * 4);
    ok(good, "embedding rows");
    memcpy(dt, ft, (size_t)(V * D) * 4);
    embed_bwd(dt, fdx, ids, T, D);
    for (int t = 0; t < T; t++)
        for (long d = 0; d < D; d++)
            table[ids[t] * D + d] += dx[t * D + d];
    ok(close_to(dt, table, V * D, 1e-6, "dtable"), "embedding gradient is added, ids repeat");
    for (int t = 0; t < T; t++)
        memset(x + t * D, 0, (size_t)D * 4);
    add_to(x, fdx, T * D);
    add_to(x, fdx, T * D - 1);
    good = x[T * D - 1] == fdx[T * D - 1];
    for (long i = 0; i < T * D - 1; i++)
        good &= x[i] == 2 * fdx[i];
    ok(good, "add_to");
    free(table), free(dx), free(ft), free(fdx), free(x), free(dt);
}

static void test_sum_squares(void)
{
    static const long size[] = {0, 1, 17, 4095, 4096, 4097, 20000, 4194305, 4300001};
    long most = 4300001;
    float *x = FLOATS(most);
    for (long i = 0; i < most; i++)
        x[i] = (float)(i % 1013) / 256 - 1.5f;
    for (size_t k = 0; k < sizeof size / sizeof *size; k++) {
        long double want = 0;
        for (long i = 0; i < size[k]; i++)
            want += (long double)x[i] * x[i];
        double got = sum_squares(x, size[k]);
        ok(fabs(got - (double)want) <= 1e-13 * (double)want, "sum of %ld squares", size[k]);
    }
    double one, same = 1;
    omp_set_num_threads(1);
    for (long i = 0; i < most; i++)
        x[i] = sinf((float)i);
    one = sum_squares(x, most);
    for (int threads = 2; threads <= 5; threads++) {
        omp_set_num_threads(threads);
        same = same && sum_squares(x, most) == one;
    }
    ok(same != 0, "sum of squares: same bits for 1 to 5 threads");
    x[most - 7] = NAN;
    ok(isnan(sum_squares(x, most)), "sum of squares keeps NaN");
    free(x);
}

/* All row-parallel kernels with 1, 2, 3 and 5 threads. */
static void test_threads(void)
{
    long T = 67, D = 130, n = T * D;
    double *a = randoms(n, 1, 12), *b = randoms(n, 1, 13), *w = randoms(D, 1, 14);
    float *x = to_floats(a, n), *dy = to_floats(b, n), *fw = to_floats(w, D), *r = FLOATS(T);
    float *out[2] = {FLOATS(6 * n), FLOATS(6 * n)};
    int32_t ids[67];
    for (int t = 0; t < 67; t++)
        ids[t] = t % 5;
    int same = 1;
    for (int threads = 1; threads <= 5; threads++) {
        float *o = out[threads > 1];
        omp_set_num_threads(threads);
        memset(o, 0, (size_t)(6 * n) * 4);
        rmsnorm_fwd(o, r, x, fw, 1e-6, T, D);
        rmsnorm_bwd(o + n, o + 2 * n, dy, x, fw, r, T, D);
        swiglu_bwd(o + 3 * n, o + 4 * n, dy, x, dy, n);
        memcpy(o + 5 * n, x, (size_t)n * 4);
        cross_entropy(o + 5 * n, r, ids, 1, T, D);
        embed_bwd(o, dy, ids, T, D);
        add_to(o, r, T);
        same &= threads == 1 || !memcmp(out[0], out[1], (size_t)(6 * n) * 4);
    }
    ok(same, "kernels: same bits for 1 to 5 threads");
    free(a), free(b), free(w), free(x), free(dy), free(fw), free(r), free(out[0]), free(out[1]);
}

int main(void)
{
    static const long T[] = {1, 7, 65}, D[] = {8, 16, 64, 80, 128};
    omp_set_dynamic(0);
    test_exp();
    for (int t = 0; t < 3; t++)
        for (int d = 0; d < 5; d++)
            test_rmsnorm(T[t], D[d]);
    test_rmsnorm(3, 5);
    for (int d = 0; d < 5; d++)
        test_rope(7, 3, D[d]);
    test_rope(65, 2, 10);
    test_swiglu(1);
    test_swiglu(77);
    test_swiglu(9001);
    test_cross_entropy(1, 1);
    test_cross_entropy(3, 7);
    test_cross_entropy(5, 512);
    test_cross_entropy(2, 3001);
    test_cross_entropy_edges();
    test_embed();
    test_threads();
    test_sum_squares();
    return tap_done();
}
