/* Line charts: several curves in one pair of axes, drawn in a terminal, as SVG or as PNG. Curves
 * are thinned while they are read, so that spikes, NaN and infinities stay to be seen. */
#ifndef PESC_CLI_CHART_H
#define PESC_CLI_CHART_H

#include "cli/cmd.h"

/* What a stretch of a curve holds besides numbers. */
enum { CHART_NAN = 1, CHART_POS_INF = 2, CHART_NEG_INF = 4 };

/* Neighbouring values as one; of their finite ones the first, last, least and greatest (all NaN
 * when there is none). */
struct chart_point {
    double x, first, last, lo, hi;
    int marks;
};

/* A curve of at most so many points; zero it, curve_init, curve_add, curve_free. */
struct curve {
    struct chart_point *p;
    long n, cap;
    double width; /* of a stretch of x that is one point; 0: every value is one */
    long nans, pos_infs, neg_infs, values;
    double smooth, mean, weight; /* of the exponential mean */
};
/* cap: points, twice the columns is plenty. smooth: 0 or 1 for none, else about so many values are
 * averaged (exponential mean; what is not finite stays as it is). */
int curve_init(struct curve *c, long cap, double smooth, struct pesc_error *err) MUST_USE;
/* x should not fall; what lies behind the last point joins it. */
void curve_add(struct curve *c, double x, double y);
void curve_free(struct curve *c);

enum chart_x { CHART_STEP, CHART_TIME, CHART_TOKENS }; /* steps, seconds, tokens */

struct chart_series {
    const char *name; /* any text; shown escaped */
    struct curve curve;
    int colour, dash; /* of SVG and PNG; the terminal counts */
};
struct chart {
    const char *title, *unit; /* any text; unit of y, "" for none */
    enum chart_x x;
    int log_y;     /* what is not above 0 counts as -Infinity */
    int n_metrics; /* whose curves these are */
    long n;
    struct chart_series *series;
};

/* width: columns in all (20 or more), height: rows of the drawing itself. color: escapes for
 * colours. utf8: braille, else ASCII; see chart_utf8. */
int chart_text(FILE *f, const struct chart *c, int width, int height, int color, int utf8,
               struct pesc_error *err) MUST_USE;
int chart_utf8(void); /* whether the locale of the environment is UTF-8 */

/* All charts, one below the other, as a file of their own; it appears whole or not at all. width in
 * pixels. The SVG follows the reader's light or dark scheme. E-IO*; PNG: E-UNSUPPORTED where the
 * cairo library is not there. */
int chart_write_svg(const char *path, const struct chart *c, long n, int width,
                    struct pesc_error *err) MUST_USE;
int chart_write_png(const char *path, const struct chart *c, long n, int width,
                    struct pesc_error *err) MUST_USE;
/* One chart without a legend as an <svg> element within HTML; number tells its ids from others'.
 * The page has chart_style within its <style>. */
void chart_svg(FILE *f, const struct chart *c, int number, double width, double height);
void chart_style(FILE *f, long colours);

/* src/cli/chart_scale.c: round numbers for an axis. */
enum { TICKS_CAP = 24 };
struct scale {
    double from, to; /* from < to, both finite; of a logarithmic one both above 0 */
    int log, n;
    double at[TICKS_CAP];
    double unit;        /* what is shown is divided by this ... */
    const char *suffix; /* ... and followed by this: k, M, h */
};
/* About so many ticks within lo..hi, which may be equal or not finite (then 0..1 is taken). pad:
 * the ends become round numbers. A logarithmic scale ignores what is not above 0. */
struct scale scale_of(double lo, double hi, int about, int log, int pad);
/* The same for seconds, minutes, hours or days. */
struct scale scale_of_time(double lo, double hi, int about);
double scale_place(const struct scale *s, double v); /* 0..1 */
/* The tick as text, no more digits than tell it from its neighbours. */
enum { TICK_CAP = 32 };
void scale_label(const struct scale *s, int i, char out[TICK_CAP]);
/* The range of the finite values of all series. */
void chart_ranges(const struct chart *c, double x[2], double y[2]);
struct scale chart_x_scale(const struct chart *c, const double x[2], int about);
const char *chart_x_label(const struct chart *c, const struct scale *s);

#endif
