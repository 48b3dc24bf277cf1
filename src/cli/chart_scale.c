#include "config.h"
#include "cli/chart.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int curve_init(struct curve *c, long cap, double smooth, struct pesc_error *err)
{
    *c = (struct curve){.cap = cap < 4 ? 4 : cap, .smooth = smooth};
    c->p = calloc((size_t)c->cap, sizeof *c->p);
    return c->p ? 0 : FAIL(err, MEMORY, "no memory for a curve");
}

void curve_free(struct curve *c)
{
    free(c->p);
    *c = (struct curve){0};
}

/* b stands behind a. */
static void join(struct chart_point *a, const struct chart_point *b)
{
    a->marks |= b->marks;
    if (isnan(b->lo))
        return;
    if (isnan(a->lo)) {
        a->first = b->first;
        a->lo = b->lo;
        a->hi = b->hi;
    }
    a->last = b->last;
    a->lo = b->lo < a->lo ? b->lo : a->lo;
    a->hi = b->hi > a->hi ? b->hi : a->hi;
}

static double bucket(const struct curve *c, double x)
{
    return floor((x - c->p[0].x) / c->width);
}

/* Twice as wide stretches (at first: half as many as there is room for). */
static void thin(struct curve *c)
{
    double range = c->p[c->n - 1].x - c->p[0].x;
    long k = 0;
    c->width = c->width > 0 ? 2 * c->width : 2 * range / (double)c->cap;
    for (long i = 1; i < c->n; i++) {
        if (!(c->width > 0) || bucket(c, c->p[i].x) <= bucket(c, c->p[k].x))
            join(&c->p[k], &c->p[i]);
        else
            c->p[++k] = c->p[i];
    }
    c->n = k + 1;
}

static double smoothed(struct curve *c, double y)
{
    if (!(c->smooth > 1))
        return y;
    double a = 2 / (c->smooth + 1);
    c->mean += a * (y - c->mean);
    c->weight += a * (1 - c->weight); /* of what was seen; the rest is the 0 it began with */
    return c->mean / c->weight;
}

void curve_add(struct curve *c, double x, double y)
{
    struct chart_point p = {x, NAN, NAN, NAN, NAN, 0};
    c->values++;
    if (isnan(y)) {
        p.marks = CHART_NAN;
        c->nans++;
    } else if (isinf(y)) {
        p.marks = y > 0 ? CHART_POS_INF : CHART_NEG_INF;
        c->pos_infs += y > 0;
        c->neg_infs += y < 0;
    } else {
        p.first = p.last = p.lo = p.hi = smoothed(c, y);
    }
    if (c->n > 0 &&
        (x <= c->p[c->n - 1].x || (c->width > 0 && bucket(c, x) <= bucket(c, c->p[c->n - 1].x)))) {
        join(&c->p[c->n - 1], &p);
        return;
    }
    while (c->n == c->cap)
        thin(c);
    c->p[c->n++] = p;
}

/* 1, 2 or 5 times a power of ten, at least x. */
static double round_up(double x)
{
    double p = pow(10, floor(log10(x)));
    static const double steps[] = {1, 2, 5, 10};
    for (int i = 0; i < 4; i++)
        if (steps[i] * p >= x * (1 - 1e-9))
            return steps[i] * p;
    return 10 * p;
}

static void linear(struct scale *s, int about, int pad)
{
    double step = round_up((s->to / 2 - s->from / 2) * 2 / about);
    if (!(step > 0) || !isfinite(step)) { /* wider than numbers go */
        s->at[0] = s->from;
        s->at[1] = s->to;
        s->n = 2;
        return;
    }
    double lo = floor(s->from / step + 1e-9), hi = ceil(s->to / step - 1e-9);
    if (pad && isfinite(lo * step) && isfinite(hi * step)) {
        s->from = lo * step;
        s->to = hi * step;
    } else {
        lo = ceil(s->from / step - 1e-9);
        hi = floor(s->to / step + 1e-9);
    }
    for (double k = lo; k <= hi && s->n < TICKS_CAP; k++)
        s->at[s->n++] = k == 0 ? 0 : k * step;
}

static void logarithmic(struct scale *s, int about, int pad)
{
    double lo = floor(log10(s->from) + 1e-9), hi = ceil(log10(s->to) - 1e-9);
    static const double minor[] = {1, 2, 5};
    int per = hi - lo <= 2 ? 3 : 1; /* 1, 2, 5 where there are few powers */
    double every = ceil((hi - lo) / about);
    if (pad && per == 1) {
        s->from = pow(10, lo);
        s->to = pow(10, hi);
    }
    for (double k = lo; k <= hi; k += every > 1 ? every : 1)
        for (int i = 0; i < per; i++) {
            double v = minor[i] * pow(10, k);
            if (isfinite(v) && v >= s->from * (1 - 1e-9) && v <= s->to * (1 + 1e-9) &&
                s->n < TICKS_CAP)
                s->at[s->n++] = v;
        }
    if (s->n < 2) { /* less than a power: as a linear axis has them */
        struct scale t = {.from = s->from, .to = s->to};
        linear(&t, about, 0);
        memcpy(s->at, t.at, sizeof s->at);
        s->n = t.n;
    }
}

struct scale scale_of(double lo, double hi, int about, int log, int pad)
{
    struct scale s = {.from = lo, .to = hi, .log = log, .unit = 1, .suffix = ""};
    about = about < 2 ? 2 : about > TICKS_CAP / 2 ? TICKS_CAP / 2 : about;
    if (!isfinite(lo) || !isfinite(hi) || hi < lo || (log && lo <= 0))
        s.from = log ? 0.1 : 0, s.to = 1;
    if (!(s.to - s.from > 1e-12 * (fabs(s.to) / 2 + fabs(s.from) / 2) + 1e-300)) {
        double v = s.from, d = v != 0 ? fabs(v) * 0.5 : 0.5;
        s.from = log ? v / 2 : v - d;
        s.to = log ? v * 2 : v + d;
        if (!isfinite(s.to))
            s.to = DBL_MAX;
        if (!isfinite(s.from))
            s.from = -DBL_MAX;
        if (log && !(s.from > 0))
            s.from = v;
    }
    if (log)
        logarithmic(&s, about, pad);
    else
        linear(&s, about, pad);
    double top = fabs(s.to) > fabs(s.from) ? fabs(s.to) : fabs(s.from);
    static const struct {
        double unit;
        const char *suffix;
    } big[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
    for (int i = 0; i < 4 && !log && top >= 1e4 && top < 1e15; i++)
        if (top >= big[i].unit) {
            s.unit = big[i].unit;
            s.suffix = big[i].suffix;
            break;
        }
    return s;
}

struct scale scale_of_time(double lo, double hi, int about)
{
    static const struct {
        double from, unit;
        const char *suffix;
    } units[] = {{2 * 86400, 86400, "d"}, {2 * 3600, 3600, "h"}, {120, 60, "min"}, {0, 1, "s"}};
    double top = isfinite(hi) ? hi : 0;
    int i = 0;
    while (top < units[i].from)
        i++;
    struct scale s = scale_of(lo / units[i].unit, hi / units[i].unit, about, 0, 0);
    for (int k = 0; k < s.n; k++)
        s.at[k] *= units[i].unit;
    s.from *= units[i].unit;
    s.to *= units[i].unit;
    s.unit = units[i].unit;
    s.suffix = units[i].suffix;
    return s;
}

double scale_place(const struct scale *s, double v)
{
    if (s->log)
        return v > 0 ? log(v / s->from) / log(s->to / s->from) : -INFINITY;
    double half = s->to / 2 - s->from / 2; /* halves: the range may be wider than numbers go */
    return (v / 2 - s->from / 2) / half;
}

void scale_label(const struct scale *s, int i, char out[TICK_CAP])
{
    double v = s->at[i] / s->unit, top = 0, step = INFINITY;
    for (int k = 0; k < s->n; k++) {
        double here = fabs(s->at[k] / s->unit);
        top = here > top ? here : top;
        if (k > 0 && s->at[k] - s->at[k - 1] < step)
            step = s->at[k] - s->at[k - 1];
    }
    step /= s->unit;
    if (s->log || top >= 1e5 || (top < 1e-3 && top > 0) || !isfinite(step)) {
        int digits = s->log || !isfinite(step) ? 3 : (int)(ceil(log10(top / step)) + 2);
        snprintf(out, TICK_CAP, "%.*g", digits < 1 ? 1 : digits > 12 ? 12 : digits, v);
    } else {
        int decimals = (int)ceil(-log10(step) - 1e-9);
        snprintf(out, TICK_CAP, "%.*f", decimals < 0 ? 0 : decimals > 12 ? 12 : decimals, v);
    }
    if (strlen(s->suffix) == 1 && v != 0 && strchr("kMGT", *s->suffix))
        strncat(out, s->suffix, TICK_CAP - strlen(out) - 1);
}

static void widen(double range[2], double v)
{
    range[0] = v < range[0] ? v : range[0];
    range[1] = v > range[1] ? v : range[1];
}

void chart_ranges(const struct chart *c, double x[2], double y[2])
{
    x[0] = y[0] = INFINITY;
    x[1] = y[1] = -INFINITY;
    for (long i = 0; i < c->n; i++) {
        const struct curve *k = &c->series[i].curve;
        for (long j = 0; j < k->n; j++) {
            widen(x, k->p[j].x);
            if (k->p[j].lo > 0 || !c->log_y)
                widen(y, k->p[j].lo);
            if (k->p[j].hi > 0 || !c->log_y)
                widen(y, k->p[j].hi);
        }
    }
}

struct scale chart_x_scale(const struct chart *c, const double x[2], int about)
{
    return c->x == CHART_TIME ? scale_of_time(x[0], x[1], about)
                              : scale_of(x[0], x[1], about, 0, 0);
}

const char *chart_x_label(const struct chart *c, const struct scale *s)
{
    if (c->x == CHART_STEP)
        return "step";
    if (c->x == CHART_TOKENS)
        return "tokens";
    switch (*s->suffix) {
    case 'd':
        return "time in days";
    case 'h':
        return "time in hours";
    case 'm':
        return "time in minutes";
    default:
        return "time in seconds";
    }
}
