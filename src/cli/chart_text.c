#include "config.h"
#include "cli/chart.h"

#include "cli/table.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Colours of the 256 that are told apart on black and on white, and what stands for them without.
 */
static const int colours[] = {33, 208, 35, 170, 37, 160, 142, 99, 245, 130};
static const char glyphs[] = "*+ox#@%=&$abcdefghijklmnpqrstuvwyz";
enum { N_COLOURS = sizeof colours / sizeof *colours, N_GLYPHS = sizeof glyphs - 1 };

struct spot {
    unsigned char dots; /* of braille */
    char glyph;
    int owner; /* series + 1 */
};
struct mark {
    int kinds, owner;
};

struct canvas {
    FILE *f;
    const struct chart *c;
    int cols, rows, color, utf8, braille;
    int dx, dy; /* dots of a spot */
    struct spot *spots;
    struct mark *marks; /* [cols] */
    int kinds;          /* all of them */
    struct scale x, y;
};

int chart_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (int i = 0; i < 3; i++) {
        const char *v = getenv(names[i]);
        if (!v || !*v)
            continue;
        for (; *v; v++)
            if (tolower((unsigned char)v[0]) == 'u' && tolower((unsigned char)v[1]) == 't' &&
                tolower((unsigned char)v[2]) == 'f' &&
                (v[3] == '8' || (v[3] == '-' && v[4] == '8')))
                return 1;
        return 0;
    }
    return 0;
}

static void dot(struct canvas *k, int owner, int x, int y)
{
    static const unsigned char bit[2][4] = {{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}};
    struct spot *s = &k->spots[y / k->dy * k->cols + x / k->dx];
    if (k->braille)
        s->dots |= bit[x % 2][y % 4];
    s->glyph = glyphs[owner % N_GLYPHS];
    s->owner = owner + 1;
}

static void line(struct canvas *k, int owner, int x0, int y0, int x1, int y1)
{
    int dx = abs(x1 - x0), dy = -abs(y1 - y0), e = dx + dy;
    for (;;) {
        dot(k, owner, x0, y0);
        if (x0 == x1 && y0 == y1)
            return;
        int twice = 2 * e;
        if (twice >= dy) {
            e += dy;
            x0 += x0 < x1 ? 1 : -1;
        }
        if (twice <= dx) {
            e += dx;
            y0 += y0 < y1 ? 1 : -1;
        }
    }
}

static int clamp(double v, int n)
{
    return !(v > 0) ? 0 : v >= n - 1 ? n - 1 : (int)(v + 0.5);
}

static int to_x(const struct canvas *k, double x)
{
    return clamp(scale_place(&k->x, x) * (k->cols * k->dx - 1), k->cols * k->dx);
}

static int to_y(const struct canvas *k, double y)
{
    return clamp((1 - scale_place(&k->y, y)) * (k->rows * k->dy - 1), k->rows * k->dy);
}

static void mark(struct canvas *k, int owner, int x, int kinds)
{
    struct mark *m = &k->marks[x / k->dx];
    m->kinds |= kinds;
    m->owner = owner + 1;
    k->kinds |= kinds;
}

static void draw(struct canvas *k, int owner)
{
    const struct curve *v = &k->c->series[owner].curve;
    int pen = 0, at_x = 0, at_y = 0;
    for (long i = 0; i < v->n; i++) {
        const struct chart_point *p = &v->p[i];
        int x = to_x(k, p->x), below = k->c->log_y && p->lo <= 0;
        int kinds = p->marks | (below ? CHART_NEG_INF : 0);
        if (kinds)
            mark(k, owner, x, kinds);
        if (isnan(p->lo) || (below && !(p->hi > 0))) {
            pen = 0;
            continue;
        }
        int first = to_y(k, p->first);
        if (pen)
            line(k, owner, at_x, at_y, x, first);
        line(k, owner, x, to_y(k, below ? p->hi : p->lo), x, to_y(k, p->hi));
        at_x = x;
        at_y = to_y(k, p->last);
        pen = !kinds;
    }
}

static void paint(const struct canvas *k, int owner, int *on)
{
    if (!k->color || *on == owner)
        return;
    if (owner)
        fprintf(k->f, "\033[38;5;%dm", colours[(owner - 1) % N_COLOURS]);
    else
        fputs("\033[0m", k->f);
    *on = owner;
}

static void put_spot(const struct canvas *k, const struct spot *s)
{
    if (!s->owner)
        fputc(' ', k->f);
    else if (k->braille) /* U+2800 and the dots */
        fprintf(k->f, "%c%c%c", 0xe2, 0xa0 | s->dots >> 6, 0x80 | (s->dots & 0x3f));
    else
        fputc(s->glyph, k->f);
}

static void put_marks(const struct canvas *k, int label, int above)
{
    int shown = above ? CHART_POS_INF : CHART_NAN | CHART_NEG_INF, on = 0, end = k->cols;
    if (!(k->kinds & shown))
        return;
    fprintf(k->f, "%*s  ", label, "");
    while (end > 0 && !(k->marks[end - 1].kinds & shown))
        end--;
    for (int i = 0; i < end; i++) {
        int kinds = k->marks[i].kinds & shown;
        paint(k, kinds ? k->marks[i].owner : 0, &on);
        const char *text = kinds & CHART_NAN       ? "N"
                           : kinds & CHART_POS_INF ? (k->utf8 ? "▲" : "^")
                           : kinds & CHART_NEG_INF ? (k->utf8 ? "▼" : "v")
                                                   : " ";
        fputs(text, k->f);
    }
    paint(k, 0, &on);
    fputc('\n', k->f);
}

static void put_rows(const struct canvas *k, int label, char (*labels)[TICK_CAP])
{
    for (int r = 0; r < k->rows; r++) {
        const char *text = "";
        for (int i = 0; i < k->y.n; i++)
            if (to_y(k, k->y.at[i]) / k->dy == r)
                text = labels[i];
        fprintf(k->f, "%*s %s", label, text, k->utf8 ? (*text ? "┤" : "│") : *text ? "+" : "|");
        int on = 0, end = k->cols;
        const struct spot *row = k->spots + r * k->cols;
        while (end > 0 && !row[end - 1].owner)
            end--;
        for (int i = 0; i < end; i++) {
            paint(k, row[i].owner, &on);
            put_spot(k, &row[i]);
        }
        paint(k, 0, &on);
        fputc('\n', k->f);
    }
}

static int put_x_axis(const struct canvas *k, int label, struct pesc_error *err)
{
    char *below = malloc((size_t)k->cols + TICK_CAP + 1), *ticks = calloc((size_t)k->cols + 1, 1);
    if (!below || !ticks) {
        free(below);
        free(ticks);
        return FAIL(err, MEMORY, "no memory for a chart");
    }
    memset(below, ' ', (size_t)k->cols + TICK_CAP);
    int free_from = 0, end = 0;
    for (int i = 0; i < k->x.n; i++) {
        char text[TICK_CAP];
        scale_label(&k->x, i, text);
        int at = to_x(k, k->x.at[i]) / k->dx, n = (int)strlen(text), from = at - n / 2;
        from = from < 0 ? 0 : from + n > k->cols ? k->cols - n : from;
        ticks[at] = 1;
        if (from < free_from || from < 0)
            continue;
        memcpy(below + from, text, (size_t)n);
        end = from + n;
        free_from = end + 2;
    }
    below[end] = 0;
    fprintf(k->f, "%*s %s", label, "", k->utf8 ? "└" : "+");
    for (int i = 0; i < k->cols; i++)
        fputs(k->utf8 ? (ticks[i] ? "┬" : "─") : (ticks[i] ? "+" : "-"), k->f);
    fprintf(k->f, "\n%*s  %s\n", label, "", below);
    const char *name = chart_x_label(k->c, &k->x);
    int indent = (k->cols - (int)strlen(name)) / 2;
    fprintf(k->f, "%*s  %*s%s\n", label, "", indent > 0 ? indent : 0, "", name);
    free(below);
    free(ticks);
    return 0;
}

static char *shown(const char *text, struct pesc_error *err)
{
    struct cell c = {.kind = CELL_TEXT, .text = text, .n = strlen(text)};
    char *out = cell_shown(&c, 0);
    if (!out)
        FAIL(err, MEMORY, "no memory for a chart");
    return out;
}

/* At most room columns of it. */
static void put_cut(FILE *f, const char *s, int room)
{
    int have = text_columns(s), bytes = 0, seen = 0;
    if (have <= room) {
        fputs(s, f);
        return;
    }
    while (s[bytes] && (seen < room - 1 || ((unsigned char)s[bytes] & 0xc0) == 0x80))
        seen += ((unsigned char)s[bytes++ + 1] & 0xc0) != 0x80;
    fprintf(f, "%.*s~", bytes, s);
}

static int put_legend(const struct canvas *k, int width, struct pesc_error *err)
{
    for (long i = 0; i < k->c->n; i++) {
        const struct curve *v = &k->c->series[i].curve;
        char what[160] = "";
        int on = 0, n = 0;
        if (v->values == 0)
            n += snprintf(what, sizeof what, "  no values");
        if (v->nans)
            n += snprintf(what + n, sizeof what - (size_t)n, "  %ld NaN", v->nans);
        if (v->pos_infs)
            n += snprintf(what + n, sizeof what - (size_t)n, "  %ld Infinity", v->pos_infs);
        if (v->neg_infs)
            snprintf(what + n, sizeof what - (size_t)n, "  %ld -Infinity", v->neg_infs);
        char *name = shown(k->c->series[i].name, err);
        if (!name)
            return -1;
        paint(k, (int)i + 1, &on);
        if (k->braille)
            fputs("  ━━", k->f);
        else
            fprintf(k->f, "  %c ", glyphs[i % N_GLYPHS]);
        paint(k, 0, &on);
        fputc(' ', k->f);
        int room = width - 6 - (int)strlen(what);
        put_cut(k->f, name, room > 8 ? room : 8);
        fprintf(k->f, "%s\n", what);
        free(name);
    }
    if (k->kinds)
        fprintf(k->f, "%s%s%s%s\n", k->kinds & CHART_NAN ? "  N: NaN" : "",
                k->kinds & CHART_POS_INF ? (k->utf8 ? "  ▲: Infinity" : "  ^: Infinity") : "",
                k->kinds & CHART_NEG_INF ? (k->utf8 ? "  ▼: -Infinity" : "  v: -Infinity") : "",
                k->kinds & CHART_NEG_INF && k->c->log_y ? " or not above 0" : "");
    return 0;
}

static int put_title(const struct canvas *k, int width, struct pesc_error *err)
{
    char *title = shown(k->c->title, err), *unit = shown(k->c->unit, err);
    int rc = title && unit ? 0 : -1;
    if (rc == 0) {
        const char *more = k->c->log_y ? ", logarithmic" : "";
        int room = width - text_columns(unit) - (int)strlen(more) - 3;
        put_cut(k->f, title, room > 8 ? room : 8);
        fprintf(k->f, "%s%s%s%s\n", *unit ? " (" : "", unit, *unit ? ")" : "", more);
    }
    free(title);
    free(unit);
    return rc;
}

static int draw_all(struct canvas *k, int width, struct pesc_error *err)
{
    double x[2], y[2];
    char labels[TICKS_CAP][TICK_CAP];
    int label = 0;
    chart_ranges(k->c, x, y);
    k->y = scale_of(y[0], y[1], k->rows < 12 ? k->rows / 2 : k->rows / 3, k->c->log_y, 0);
    for (int i = 0; i < k->y.n; i++) {
        scale_label(&k->y, i, labels[i]);
        int n = (int)strlen(labels[i]);
        label = n > label ? n : label;
    }
    k->cols = width - label - 2 > 10 ? width - label - 2 : 10;
    k->x = chart_x_scale(k->c, x, k->cols / 12);
    k->spots = calloc((size_t)k->cols * (size_t)k->rows, sizeof *k->spots);
    k->marks = calloc((size_t)k->cols, sizeof *k->marks);
    if (!k->spots || !k->marks)
        return FAIL(err, MEMORY, "no memory for a chart");
    for (long i = k->c->n - 1; i >= 0; i--) /* the first is on top */
        draw(k, (int)i);
    TRY(put_title(k, width, err));
    put_marks(k, label, 1);
    put_rows(k, label, labels);
    put_marks(k, label, 0);
    TRY(put_x_axis(k, label, err));
    return put_legend(k, width, err);
}

int chart_text(FILE *f, const struct chart *c, int width, int height, int color, int utf8,
               struct pesc_error *err)
{
    int braille = utf8 && (color || c->n == 1);
    struct canvas k = {.f = f,
                       .c = c,
                       .rows = height < 4 ? 4 : height,
                       .color = color,
                       .utf8 = utf8,
                       .braille = braille,
                       .dx = braille ? 2 : 1,
                       .dy = braille ? 4 : 1};
    int rc = draw_all(&k, width, err);
    free(k.spots);
    free(k.marks);
    return rc;
}
