/* Round numbers for axes, and curves that are thinned while they are read. */
#include "config.h"
#include "cli/chart.h"
#include "tests/tap.h"

#include <float.h>

static struct pesc_error err;

static void ticks(double lo, double hi, int about, int log, const char *want)
{
    struct scale s = scale_of(lo, hi, about, log, 0);
    char got[TICKS_CAP * (TICK_CAP + 1)] = "", label[TICK_CAP];
    for (int i = 0; i < s.n; i++) {
        scale_label(&s, i, label);
        strcat(got, i ? " " : "");
        strcat(got, label);
    }
    char what[160];
    snprintf(what, sizeof what, "ticks of %g..%g%s", lo, hi, log ? ", logarithmic" : "");
    is_str(got, want, what);
}

static void scales(void)
{
    ticks(0, 1, 5, 0, "0.0 0.2 0.4 0.6 0.8 1.0");
    ticks(1.23, 3.31, 5, 0, "1.5 2.0 2.5 3.0");
    ticks(0, 10000, 5, 0, "0 2k 4k 6k 8k 10k");
    ticks(-5, 5, 5, 0, "-4 -2 0 2 4");
    ticks(1, 2500000, 5, 0, "0.5M 1.0M 1.5M 2.0M 2.5M");
    ticks(0, 2e-4, 4, 0, "0 5e-05 0.0001 0.00015 0.0002");
    ticks(7, 7, 4, 0, "4 6 8 10");
    ticks(0, 0, 4, 0, "-0.5 0.0 0.5");
    ticks(INFINITY, -INFINITY, 5, 0, "0.0 0.2 0.4 0.6 0.8 1.0");
    ticks(1e-5, 10, 6, 1, "1e-05 0.0001 0.001 0.01 0.1 1 10");
    ticks(1, 40, 5, 1, "1 2 5 10 20");
    ticks(1.2, 1.8, 5, 1, "1.2 1.4 1.6 1.8");
    const double hard[][2] = {{-DBL_MAX, DBL_MAX}, {DBL_MAX, DBL_MAX},   {0, 5e-324}, {NAN, NAN},
                              {1e300, 1.1e300},    {1, 1 + DBL_EPSILON}, {5, 1}};
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++)
        for (int log = 0; log < 2; log++) {
            struct scale s = scale_of(hard[i][0], hard[i][1], 5, log, i % 2);
            char label[TICK_CAP];
            int sound = isfinite(s.from) && isfinite(s.to) && s.from < s.to && s.n >= 1;
            for (int k = 0; k < s.n; k++) {
                double at = scale_place(&s, s.at[k]);
                sound &= at > -1e-6 && at < 1 + 1e-6 && (k == 0 || s.at[k] > s.at[k - 1]);
                scale_label(&s, k, label);
            }
            ok(sound, "%g..%g, log %d: ticks rise within a range of numbers", hard[i][0],
               hard[i][1], log);
        }
    struct scale padded = scale_of(1.23, 3.31, 5, 0, 1);
    ok(padded.from == 1 && padded.to == 3.5, "padded: ends are round");
    is_near(scale_place(&padded, 2.25), 0.5, 1e-12, "the middle");
    struct scale log = scale_of(1, 100, 5, 1, 1);
    is_near(scale_place(&log, 10), 0.5, 1e-12, "the middle of a logarithmic axis");
    ok(scale_place(&log, 0) == -INFINITY, "0 is below any logarithmic axis");
    struct scale t = scale_of_time(0, 3 * 3600, 4);
    char label[TICK_CAP];
    scale_label(&t, 1, label);
    ok(!strcmp(t.suffix, "h") && t.at[1] == 3600 && !strcmp(label, "1"), "three hours in hours");
}

static void few(void)
{
    struct curve c;
    ok(curve_init(&c, 8, 0, &err) == 0, "a curve");
    for (int i = 0; i < 5; i++)
        curve_add(&c, i, i == 2 ? NAN : i);
    ok(c.n == 5 && c.p[2].marks == CHART_NAN && isnan(c.p[2].lo) && c.p[4].hi == 4,
       "few values stay as they are");
    curve_add(&c, 4, 9);
    ok(c.n == 5 && c.p[4].hi == 9 && c.p[4].lo == 4 && c.p[4].last == 9, "the same x joins");
    curve_add(&c, 1, -1);
    ok(c.n == 5 && c.p[4].lo == -1, "and so does what falls back");
    curve_free(&c);
}

static void thinned(long n, long cap)
{
    struct curve c;
    int have[3] = {0}, rise = 1, sound = 1;
    double lo = INFINITY, hi = -INFINITY;
    if (curve_init(&c, cap, 0, &err) != 0)
        exit(1);
    for (long i = 0; i < n; i++)
        curve_add(&c, (double)i,
                  i == n / 3   ? 1e6
                  : i == n / 2 ? -1e6
                  : i == n / 5 ? NAN
                  : i == n / 7 ? INFINITY
                  : i == n - 2 ? -INFINITY
                               : (double)(i % 10));
    for (long i = 0; i < c.n; i++) {
        have[0] += c.p[i].marks & CHART_NAN ? 1 : 0;
        have[1] += c.p[i].marks & CHART_POS_INF ? 1 : 0;
        have[2] += c.p[i].marks & CHART_NEG_INF ? 1 : 0;
        lo = c.p[i].lo < lo ? c.p[i].lo : lo;
        hi = c.p[i].hi > hi ? c.p[i].hi : hi;
        rise &= i == 0 || c.p[i].x > c.p[i - 1].x;
        sound &= c.p[i].first >= c.p[i].lo && c.p[i].last <= c.p[i].hi;
    }
    ok(c.n <= cap && c.n > cap / 3, "%ld values in %ld points (room for %ld)", n, c.n, cap);
    ok(rise && sound, "in order");
    ok(lo == -1e6 && hi == 1e6, "spikes stay");
    ok(have[0] == 1 && have[1] == 1 && have[2] == 1 && c.nans == 1 && c.pos_infs == 1 &&
           c.neg_infs == 1 && c.values == n,
       "NaN and infinities stay");
    curve_free(&c);
}

static void smooth(void)
{
    struct curve c;
    if (curve_init(&c, 100, 9, &err) != 0)
        exit(1);
    for (int i = 0; i < 50; i++)
        curve_add(&c, i, i == 20 ? NAN : i == 30 ? INFINITY : 3);
    is_near(c.p[0].lo, 3, 1e-12, "the mean of one value is it");
    is_near(c.p[49].lo, 3, 1e-12, "what is not finite does not spread");
    ok(c.p[20].marks == CHART_NAN && c.p[30].marks == CHART_POS_INF, "and is still there");
    curve_add(&c, 50, 13);
    is_near(c.p[50].lo, 5, 0.01, "a new value counts 2 / (9 + 1)");
    curve_free(&c);
}

int main(void)
{
    scales();
    few();
    thinned(1000, 64);
    thinned(12345, 200);
    thinned(200000, 31);
    smooth();
    return tap_done();
}
