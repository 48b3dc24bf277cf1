/* Intervals against published values (Newcombe 1998, table I) and against sums by hand. */
#include "config.h"
#include "tests/tap.h"

#include "train/interval.h"

static void test_shares(void)
{
    static const struct {
        double k, n, lo, hi;
    } known[] = {{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611},
                 {1, 29, 0.0061, 0.1718},   {20, 20, 0.8389, 1},       {50, 100, 0.4038, 0.5962}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct interval w = interval_share(known[i].k / known[i].n, known[i].n);
        ok(fabs(w.lo - known[i].lo) < 5.1e-5 && fabs(w.hi - known[i].hi) < 5.1e-5,
           "Wilson of %g in %g: %.4f to %.4f", known[i].k, known[i].n, w.lo, w.hi);
    }
    struct interval none = interval_share(NAN, 0);
    ok(isnan(none.lo) && isnan(none.hi), "nothing seen, nothing known");
    none = interval_share(0.5, 0);
    ok(isnan(none.lo) && isnan(none.hi), "nor from no trials");
    for (double n = 1; n <= 1000; n++) {
        struct interval a = interval_share(0, n), b = interval_share(1, n);
        if (a.lo != 0 || b.hi != 1)
            ok(0, "the ends of none and all in %g are exact", n);
    }
}

static void test_means(void)
{
    struct interval m = interval_mean(2, 0.5), e = interval_exp(m);
    ok(fabs(m.lo - 1.0200180) < 1e-7 && fabs(m.hi - 2.9799820) < 1e-7, "1.96 standard errors");
    ok(fabs(e.lo - exp(1.0200180)) < 1e-6 && fabs(e.hi - exp(2.9799820)) < 1e-5,
       "a perplexity's, from its loss's");
    m = interval_mean(2, NAN);
    ok(isnan(m.lo) && isnan(m.hi), "no standard error, no interval");
}

static void test_clusters(void)
{
    static const double x[] = {3, 5, 0, 9, 2}, n[] = {4, 5, 3, 10, 2};
    struct clusters c = {0}, a = {0}, b = {0};
    double X = 0, N = 0, squares = 0;
    for (int i = 0; i < 5; i++) {
        clusters_add(&c, x[i], n[i]);
        clusters_add(i < 2 ? &a : &b, x[i], n[i]);
        X += x[i];
        N += n[i];
    }
    clusters_add(&c, 0, 0);
    clusters_join(&a, &b);
    for (int i = 0; i < 5; i++)
        squares += (x[i] - X / N * n[i]) * (x[i] - X / N * n[i]);
    double want = sqrt(5.0 / 4 * squares) / N, p = X / N;
    is_near(clusters_mean(&c), p, 1e-15, "a mean over tokens");
    is_near(clusters_stderr(&c), want, 1e-14, "its standard error counts records");
    is_near(clusters_stderr(&a), want, 1e-14, "also of two sums joined");
    struct interval i = clusters_share(&c), w = interval_share(p, p * (1 - p) / (want * want));
    ok(fabs(i.lo - w.lo) < 1e-12 && fabs(i.hi - w.hi) < 1e-12,
       "a share's interval: Wilson's with as many trials as are worth");
    ok(clusters_share(&c).hi - clusters_share(&c).lo >
           interval_share(p, N).hi - interval_share(p, N).lo,
       "which is wider than if tokens were independent");
    /* records of one token each: the plain formula, but for n - 1 */
    struct clusters one = {0};
    for (int k = 0; k < 40; k++)
        clusters_add(&one, k < 10, 1);
    is_near(clusters_stderr(&one), sqrt(0.25 * 0.75 / 39), 1e-15, "records of one token");
    struct clusters all = {0}, single = {0};
    clusters_add(&all, 4, 4);
    clusters_add(&all, 7, 7);
    clusters_add(&single, 1, 2);
    i = clusters_share(&all);
    w = interval_share(1, 2);
    ok(i.lo == w.lo && i.hi == 1, "all right: as many trials as records");
    ok(isnan(clusters_stderr(&single)), "one record says nothing of others");
    clusters_add(&one, NAN, 3);
    ok(isnan(clusters_mean(&one)) && isnan(clusters_stderr(&one)), "a NaN is not lost");
}

int main(void)
{
    test_shares();
    test_means();
    test_clusters();
    return tap_done();
}
