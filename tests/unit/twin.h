/* Double-precision twins of the kernels: the plain formula, nothing shared with the fast code, and
 * derivatives by central differences of a twin. */
#ifndef TESTS_UNIT_TWIN_H
#define TESTS_UNIT_TWIN_H

#include "core/rng.h"
#include "tensor/kernels.h"
#include "tests/tap.h"

#include <omp.h>

static inline void *must_alloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (!p) {
        printf("Bail out! no memory\n");
        exit(99);
    }
    return p;
}
#define FLOATS(n) ((float *)must_alloc((size_t)(n), sizeof(float)))
#define DOUBLES(n) ((double *)must_alloc((size_t)(n), sizeof(double)))

/* Normal numbers that are floats exactly; which names the array. */
static inline double *randoms(long n, double scale, uint32_t which)
{
    double *x = DOUBLES(n);
    struct rng_key key = {99, 0, which, 0};
    for (long i = 0; i < n; i++)
        x[i] = (float)(scale * rng_normal(&key, (uint64_t)i));
    return x;
}

static inline float *to_floats(const double *x, long n)
{
    float *y = FLOATS(n);
    for (long i = 0; i < n; i++)
        y[i] = (float)x[i];
    return y;
}

/* Largest difference relative to the largest wanted value, or to 1 if that is more (inputs are
 * of order 1; some gradients are exactly 0). NaN where either is not finite. */
static inline double worst(const float *got, const double *want, long n)
{
    double diff = 0, size = 1;
    for (long i = 0; i < n; i++) {
        if (!isfinite(got[i]) || !isfinite(want[i]))
            return NAN;
        diff = fmax(diff, fabs(got[i] - want[i]));
        size = fmax(size, fabs(want[i]));
    }
    return diff / size;
}

static inline int close_to(const float *got, const double *want, long n, double tol,
                           const char *what)
{
    double e = worst(got, want, n);
    int pass = e <= tol;
    if (!pass)
        diag("%s: off by %.3g of the largest value, allowed %.3g", what, e, tol);
    return pass;
}

/* Derivatives of f with respect to x[0..n-1] by central differences, compared with got. f returns
 * NaN where it cannot be compared (a changed expert choice); those are dropped. Up to
 * TWIN_SAMPLES elements, spread evenly; errors are relative as in worst(). Returns the number
 * compared, -1 on a mismatch. */
enum { TWIN_SAMPLES = 600 };
static inline long derivatives(const float *got, double *x, long n, double (*f)(void *), void *ctx,
                               double h, double tol, const char *what)
{
    long step = n > TWIN_SAMPLES ? n / TWIN_SAMPLES | 1 : 1, kept = 0;
    double diff = 0, size = 1;
    for (long i = 0; i < n; i += step) {
        double old = x[i];
        x[i] = old + h;
        double up = f(ctx);
        x[i] = old - h;
        double down = f(ctx);
        x[i] = old;
        if (isnan(up) || isnan(down))
            continue;
        double want = (up - down) / (2 * h);
        double e = fabs(got[i] - want);
        if (!(e <= diff))
            diff = e;
        size = fmax(size, fabs(want));
        kept++;
    }
    if (diff / size <= tol)
        return kept;
    diag("%s: derivative off by %.3g of the largest, allowed %.3g", what, diff / size, tol);
    return -1;
}

static inline double weighted(const double *y, const double *weight, long n)
{
    double sum = 0;
    for (long i = 0; i < n; i++)
        sum += y[i] * weight[i];
    return sum;
}

static inline void twin_rmsnorm(double *y, const double *x, const double *w, double eps, long T,
                                long D)
{
    for (long t = 0; t < T; t++) {
        double sum = 0;
        for (long d = 0; d < D; d++)
            sum += x[t * D + d] * x[t * D + d];
        for (long d = 0; d < D; d++)
            y[t * D + d] = x[t * D + d] / sqrt(sum / (double)D + eps) * w[d];
    }
}

/* As complex numbers: (x_i, x_{i+C/2}) times e^{i angle}. */
static inline void twin_rope(double *y, const double *x, const long *position, const double *freq,
                             long T, long heads, long C)
{
    for (long t = 0; t < T; t++)
        for (long h = 0; h < heads; h++)
            for (long i = 0; i < C / 2; i++) {
                long a = (t * heads + h) * C + i, b = a + C / 2;
                double angle = (double)position[t] * freq[i];
                y[a] = x[a] * cos(angle) - x[b] * sin(angle);
                y[b] = x[b] * cos(angle) + x[a] * sin(angle);
            }
}

static inline void twin_swiglu(double *y, const double *g, const double *u, long n)
{
    for (long i = 0; i < n; i++)
        y[i] = g[i] / (1 + exp(-g[i])) * u[i];
}

static inline double twin_cross_entropy(const double *l, long target, long V)
{
    double m = l[0], sum = 0;
    for (long v = 1; v < V; v++)
        m = fmax(m, l[v]);
    for (long v = 0; v < V; v++)
        sum += exp(l[v] - m);
    return m + log(sum) - l[target];
}

/* Does the query at position pos (of its keys) see key j? */
static inline int twin_sees(long pos, long j, long window)
{
    return j <= pos && (window <= 0 || pos - j < window);
}

/* Probabilities p[nk] of one query row of one head. */
static inline double twin_attend(double *p, const double *q, const double *k, long pos, long nk,
                                 const struct attn_dims *d)
{
    double m = -INFINITY, sum = 0;
    for (long j = 0; j < nk; j++) {
        p[j] = -INFINITY;
        if (!twin_sees(pos, j, d->window))
            continue;
        p[j] = 0;
        for (long c = 0; c < d->C; c++)
            p[j] += d->scale * q[c] * k[j * d->G * d->C + c];
        m = fmax(m, p[j]);
    }
    for (long j = 0; j < nk; j++)
        sum += p[j] = exp(p[j] - m);
    for (long j = 0; j < nk; j++)
        p[j] /= sum;
    return m + log(sum);
}

static inline void twin_attention(double *o, double *lse, const double *q, const double *k,
                                  const double *v, const long *cq, const long *ck, long S,
                                  const struct attn_dims *d)
{
    long H = d->H, G = d->G, C = d->C;
    double *p = DOUBLES(ck[S]);
    for (long s = 0; s < S; s++)
        for (long t = cq[s]; t < cq[s + 1]; t++)
            for (long h = 0; h < H; h++) {
                long nk = ck[s + 1] - ck[s], pos = nk - (cq[s + 1] - t), g = h / (H / G);
                const double *kg = k + (ck[s] * G + g) * C, *vg = v + (ck[s] * G + g) * C;
                double *y = o + (t * H + h) * C;
                double z = twin_attend(p, q + (t * H + h) * C, kg, pos, nk, d);
                if (lse)
                    lse[t * H + h] = z;
                for (long c = 0; c < C; c++) {
                    y[c] = 0;
                    for (long j = 0; j < nk; j++)
                        y[c] += p[j] * vg[j * G * C + c];
                }
            }
    free(p);
}

/* Analytic, so that larger cases can be compared; itself checked by central differences. */
static inline void twin_attention_bwd(double *dq, double *dk, double *dv, const double *do_,
                                      const double *q, const double *k, const double *v,
                                      const long *cu, long S, const struct attn_dims *d)
{
    long H = d->H, G = d->G, C = d->C, T = cu[S];
    double *p = DOUBLES(T), *dp = DOUBLES(T);
    memset(dq, 0, (size_t)(T * H * C) * sizeof *dq);
    memset(dk, 0, (size_t)(T * G * C) * sizeof *dk);
    memset(dv, 0, (size_t)(T * G * C) * sizeof *dv);
    for (long s = 0; s < S; s++)
        for (long t = cu[s]; t < cu[s + 1]; t++)
            for (long h = 0; h < H; h++) {
                long n = cu[s + 1] - cu[s], at = (t * H + h) * C;
                long kat = (cu[s] * G + h / (H / G)) * C;
                double mean = 0;
                twin_attend(p, q + at, k + kat, t - cu[s], n, d);
                for (long j = 0; j < n; j++) {
                    dp[j] = 0;
                    for (long c = 0; c < C; c++)
                        dp[j] += do_[at + c] * v[kat + j * G * C + c];
                    mean += p[j] * dp[j];
                }
                for (long j = 0; j < n; j++)
                    for (long c = 0; c < C; c++) {
                        double ds = p[j] * (dp[j] - mean) * d->scale;
                        dv[kat + j * G * C + c] += p[j] * do_[at + c];
                        dk[kat + j * G * C + c] += ds * q[at + c];
                        dq[at + c] += ds * k[kat + j * G * C + c];
                    }
            }
    free(p);
    free(dp);
}

#endif
