#include "config.h"
#include "cli/chart_pen.h"

#include "cli/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COLUMN (PEN_SIZE * 0.56) /* about what a letter takes */
#define LINE (PEN_SIZE * 1.5)
enum { FEW = 40 }; /* values that are shown as dots, too */

void plot_colour(long i, int dark, double rgb[3])
{
    static const unsigned light[PLOT_COLOURS] = {0x1f6fb4, 0xd95f02, 0x1b8a5a, 0xb0308f, 0x7a5c00,
                                                 0xc2272d, 0x00808f, 0x6a51c8, 0x5b6770, 0x8a4b2d};
    static const unsigned night[PLOT_COLOURS] = {0x6cb6ff, 0xffa657, 0x56d39b, 0xf08bd6, 0xd9c25a,
                                                 0xff7b72, 0x4fd0de, 0xb9a6ff, 0xa9b4be, 0xd9a48a};
    if (i < PLOT_COLOURS) {
        unsigned c = dark ? night[i] : light[i];
        for (int k = 0; k < 3; k++)
            rgb[k] = (c >> (16 - 8 * k) & 255) / 255.0;
        return;
    }
    double hue = fmod((double)i * 137.508, 360) / 60, top = dark ? 0.9 : 0.7,
           low = dark ? 0.5 : 0.1;
    for (int k = 0; k < 3; k++) { /* red, green and blue are a third of the circle apart */
        double d = fabs(fmod(hue - 2 * k + 9, 6) - 3), share = d < 1 ? 1 : d > 2 ? 0 : 2 - d;
        rgb[k] = low + (top - low) * share;
    }
}

const double *plot_dashes(int i)
{
    static const double dashes[][4] = {{0}, {7, 3, 7, 3}, {2, 3, 2, 3}, {9, 3, 2, 3}};
    return dashes[i % 4];
}

int plot_marks(const struct chart *c)
{
    int kinds = 0;
    for (long i = 0; i < c->n; i++)
        for (long j = 0; j < c->series[i].curve.n; j++) {
            const struct chart_point *p = &c->series[i].curve.p[j];
            kinds |= p->marks | (c->log_y && p->lo <= 0 ? CHART_NEG_INF : 0);
        }
    return kinds;
}

struct frame {
    const struct chart *c;
    const struct pen *pen;
    struct scale x, y;
    double left, top, right, bottom;
};

static double at_x(const struct frame *f, double v)
{
    return f->left + scale_place(&f->x, v) * (f->right - f->left);
}

static double at_y(const struct frame *f, double v)
{
    double place = scale_place(&f->y, v);
    return f->bottom - (place < 0 ? 0 : place) * (f->bottom - f->top);
}

static void marks(const struct frame *f, const struct chart_series *s, int kinds, double x,
                  double at)
{
    const struct pen *p = f->pen;
    if (kinds & CHART_NAN)
        p->mark(p->ctx, s, CHART_NAN, x, f->bottom - 6, at);
    if (kinds & CHART_POS_INF)
        p->mark(p->ctx, s, CHART_POS_INF, x, f->top + 6, at);
    if (kinds & CHART_NEG_INF)
        p->mark(p->ctx, s, CHART_NEG_INF, x, f->bottom - (kinds & CHART_NAN ? 18 : 6), at);
}

/* A point's numbers at its place: first, the nearer end, the other, last. */
static void stroke(const struct frame *f, const struct chart_point *p, double x, int down)
{
    const struct pen *n = f->pen;
    double lo = f->c->log_y && p->lo <= 0 ? p->hi : p->lo;
    double first = f->c->log_y && p->first <= 0 ? p->hi : p->first;
    double last = f->c->log_y && p->last <= 0 ? p->hi : p->last;
    double near = first - lo < p->hi - first ? lo : p->hi;
    n->to(n->ctx, x, at_y(f, first), down);
    if (lo != p->hi) {
        if (near != first)
            n->to(n->ctx, x, at_y(f, near), 1);
        n->to(n->ctx, x, at_y(f, near == lo ? p->hi : lo), 1);
        if (last != (near == lo ? p->hi : lo))
            n->to(n->ctx, x, at_y(f, last), 1);
    }
}

static int has_number(const struct chart *c, const struct chart_point *p)
{
    return !isnan(p->lo) && (!c->log_y || p->hi > 0);
}

static int breaks(const struct chart *c, const struct chart_point *p)
{
    return p->marks != 0 || !has_number(c, p) || (c->log_y && p->lo <= 0);
}

static void draw_curve(const struct frame *f, const struct chart_series *s)
{
    const struct chart *c = f->c;
    const struct curve *v = &s->curve;
    const struct pen *p = f->pen;
    int down = 0;
    p->begin(p->ctx, s);
    for (long i = 0; i < v->n; i++) {
        if (has_number(c, &v->p[i]))
            stroke(f, &v->p[i], at_x(f, v->p[i].x), down);
        down = !breaks(c, &v->p[i]);
    }
    p->end(p->ctx);
    for (long i = 0; i < v->n; i++) {
        const struct chart_point *at = &v->p[i];
        double x = at_x(f, at->x);
        int alone = (i == 0 || breaks(c, at - 1)) &&
                    (i + 1 == v->n || !has_number(c, at + 1) || breaks(c, at));
        if (has_number(c, at) && (alone || v->n <= FEW))
            p->dot(p->ctx, s, x, at_y(f, c->log_y && at->last <= 0 ? at->hi : at->last));
        marks(f, s, at->marks | (c->log_y && at->lo <= 0 ? CHART_NEG_INF : 0), x, at->x);
    }
}

static void y_axis(const struct frame *f, char (*labels)[TICK_CAP])
{
    const struct pen *p = f->pen;
    for (int i = 0; i < f->y.n; i++) {
        double y = at_y(f, f->y.at[i]);
        p->rule(p->ctx, PEN_GRID, f->left, y, f->right, y);
        p->text(p->ctx, PEN_LABEL, PEN_END, f->left - 6, y + PEN_SIZE * 0.35, labels[i]);
    }
    p->rule(p->ctx, PEN_AXIS, f->left, f->top, f->left, f->bottom);
}

static void x_axis(const struct frame *f)
{
    const struct pen *p = f->pen;
    double room = f->left - 4 * COLUMN;
    for (int i = 0; i < f->x.n; i++) {
        char text[TICK_CAP];
        double x = at_x(f, f->x.at[i]);
        scale_label(&f->x, i, text);
        double half = (double)strlen(text) * COLUMN / 2;
        p->rule(p->ctx, PEN_AXIS, x, f->bottom, x, f->bottom + 4);
        if (x - half < room)
            continue;
        room = x + half + COLUMN;
        p->text(p->ctx, PEN_LABEL, PEN_MIDDLE, x, f->bottom + 6 + PEN_SIZE, text);
    }
    p->rule(p->ctx, PEN_AXIS, f->left, f->bottom, f->right, f->bottom);
    p->text(p->ctx, PEN_LABEL, PEN_MIDDLE, (f->left + f->right) / 2, f->bottom + 8 + 2 * LINE - 4,
            chart_x_label(f->c, &f->x));
}

/* The text, cut to about so much width; out: size bytes. */
static void fit(char *out, size_t size, const char *text, double width)
{
    int room = (int)(width / COLUMN), n = 0;
    room = room < 4 ? 4 : room;
    text_escape(out, size, text);
    if (text_columns(out) <= room)
        return;
    while (out[n] && (room > 1 || ((unsigned char)out[n] & 0xc0) == 0x80))
        room -= ((unsigned char)out[++n] & 0xc0) != 0x80;
    snprintf(out + n, size - (size_t)n, "~");
}

void plot_draw(const struct chart *c, const struct box *box, int titled, const struct pen *pen)
{
    struct frame f = {.c = c, .pen = pen};
    char labels[TICKS_CAP][TICK_CAP], text[512], unit[160];
    double x[2], y[2];
    size_t widest = 1;
    chart_ranges(c, x, y);
    f.top = box->y + (titled ? 2 * LINE : LINE) + (*c->unit || c->log_y ? 8 : -6);
    f.bottom = box->y + box->h - 2 * LINE - 10;
    f.y = scale_of(y[0], y[1], (int)((f.bottom - f.top) / 45), c->log_y, 1);
    for (int i = 0; i < f.y.n; i++) {
        scale_label(&f.y, i, labels[i]);
        widest = strlen(labels[i]) > widest ? strlen(labels[i]) : widest;
    }
    f.left = box->x + (double)widest * COLUMN + 12;
    f.right = box->x + box->w - 14;
    f.x = chart_x_scale(c, x, (int)((f.right - f.left) / 90));
    if (titled) {
        fit(text, sizeof text, c->title, box->w - 10);
        pen->text(pen->ctx, PEN_TITLE, PEN_START, box->x + 4, box->y + LINE - 3, text);
    }
    text_escape(unit, sizeof unit, c->unit);
    snprintf(text, sizeof text, "%s%s%s", unit, *unit && c->log_y ? ", " : "",
             c->log_y ? "logarithmic" : "");
    pen->text(pen->ctx, PEN_LABEL, PEN_START, box->x + 4, f.top - 11, text);
    y_axis(&f, labels);
    x_axis(&f);
    for (long i = c->n - 1; i >= 0; i--) /* the first is on top */
        draw_curve(&f, &c->series[i]);
}

static void legend_entry(const struct chart_series *s, char *out, size_t size, double width)
{
    char what[120] = "";
    int n = 0;
    const struct curve *v = &s->curve;
    if (v->nans)
        n += snprintf(what, sizeof what, ", %ld NaN", v->nans);
    if (v->pos_infs)
        n += snprintf(what + n, sizeof what - (size_t)n, ", %ld Infinity", v->pos_infs);
    if (v->neg_infs)
        n += snprintf(what + n, sizeof what - (size_t)n, ", %ld -Infinity", v->neg_infs);
    fit(out, size - (size_t)n, s->name, width - n * COLUMN);
    strcat(out, what);
}

double plot_legend_height(const struct chart *c, double w)
{
    (void)w;
    return ((double)c->n + (plot_marks(c) != 0)) * LINE + 6;
}

static void legend_marks(const struct chart *c, int kinds, double x, double y,
                         const struct pen *pen)
{
    static const struct {
        int kind;
        const char *text, *log_text;
    } all[] = {{CHART_NAN, "NaN", "NaN"},
               {CHART_POS_INF, "Infinity", "Infinity"},
               {CHART_NEG_INF, "-Infinity", "-Infinity or not above 0"}};
    struct chart_series plain = {.colour = -1};
    for (int i = 0; i < 3; i++) {
        if (!(kinds & all[i].kind))
            continue;
        const char *text = c->log_y ? all[i].log_text : all[i].text;
        pen->mark(pen->ctx, &plain, all[i].kind, x + 6, y - PEN_SIZE * 0.35, NAN);
        pen->text(pen->ctx, PEN_LABEL, PEN_START, x + 16, y, text);
        x += 32 + (double)strlen(text) * COLUMN;
    }
}

void plot_legend(const struct chart *c, const struct box *box, const struct pen *pen)
{
    double y = box->y + PEN_SIZE;
    int kinds = plot_marks(c);
    for (long i = 0; i < c->n; i++, y += LINE) {
        char text[1024];
        double middle = y - PEN_SIZE * 0.35;
        pen->begin(pen->ctx, &c->series[i]);
        pen->to(pen->ctx, box->x + 12, middle, 0);
        pen->to(pen->ctx, box->x + 46, middle, 1);
        pen->end(pen->ctx);
        legend_entry(&c->series[i], text, sizeof text, box->w - 60);
        pen->text(pen->ctx, PEN_LABEL, PEN_START, box->x + 54, y, text);
    }
    if (kinds)
        legend_marks(c, kinds, box->x + 12, y, pen);
}
