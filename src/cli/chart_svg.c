#include "config.h"
#include "cli/chart_pen.h"

#include "cli/markup.h"
#include "cli/page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct svg {
    FILE *f;
    const struct chart *c;
    const struct chart_series *s; /* whose curve is drawn */
    int begun;
};

static void rule(void *ctx, enum pen_weight w, double x0, double y0, double x1, double y1)
{
    const struct svg *v = ctx;
    fprintf(v->f, "<path class=\"%s\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n",
            w == PEN_GRID ? "grid" : "axis", x0, y0, x1, y1);
}

static void begin(void *ctx, const struct chart_series *s)
{
    struct svg *v = ctx;
    v->s = s;
    v->begun = 0;
}

static void to(void *ctx, double x, double y, int down)
{
    struct svg *v = ctx;
    if (!v->begun) {
        fprintf(v->f, "<path class=\"curve c%d d%d\" d=\"", v->s->colour, v->s->dash % 4);
        v->begun = 1;
    }
    fprintf(v->f, "%c%.1f %.1f", down ? 'L' : 'M', x, y);
}

static void end(void *ctx)
{
    struct svg *v = ctx;
    if (!v->begun)
        return;
    fputs("\"><title>", v->f);
    markup_text(v->f, v->s->name);
    fputs("</title></path>\n", v->f);
}

static void dot(void *ctx, const struct chart_series *s, double x, double y)
{
    const struct svg *v = ctx;
    fprintf(v->f, "<circle class=\"mark c%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>\n", s->colour, x,
            y);
}

static void mark(void *ctx, const struct chart_series *s, int kind, double x, double y, double at)
{
    const struct svg *v = ctx;
    static const char *const names[] = {"step", "second", "token"};
    const char *what = kind == CHART_NAN ? "NaN" : kind == CHART_POS_INF ? "Infinity" : "-Infinity";
    fprintf(v->f, "<path class=\"%s c%d\" d=\"", kind == CHART_NAN ? "cross" : "mark",
            s->colour < 0 ? 0 : s->colour);
    if (kind == CHART_NAN)
        fprintf(v->f, "M%.1f %.1fl8 8m-8 0l8 -8", x - 4, y - 4);
    else if (kind == CHART_POS_INF)
        fprintf(v->f, "M%.1f %.1fl5 9h-10z", x, y - 5);
    else
        fprintf(v->f, "M%.1f %.1fl5 -9h-10z", x, y + 5);
    fprintf(v->f, "\"><title>%s", what);
    if (isfinite(at))
        fprintf(v->f, " near %s %.6g", names[v->c->x], at);
    fputs("</title></path>\n", v->f);
}

static void text(void *ctx, enum pen_text kind, enum pen_anchor a, double x, double y,
                 const char *words)
{
    const struct svg *v = ctx;
    static const char *const anchors[] = {"start", "middle", "end"};
    if (!*words)
        return;
    fprintf(v->f, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">",
            kind == PEN_TITLE ? "title" : "label", x, y, anchors[a]);
    markup_text(v->f, words);
    fputs("</text>\n", v->f);
}

static struct pen pen_of(struct svg *v)
{
    return (struct pen){v, rule, begin, to, end, dot, mark, text};
}

/* What a reader who cannot see the curves is told. */
static void describe(FILE *f, const struct chart *c)
{
    fprintf(f, "%ld %s over %s", c->n, c->n == 1 ? "curve" : "curves",
            c->x == CHART_STEP   ? "steps"
            : c->x == CHART_TIME ? "time"
                                 : "tokens");
    for (long i = 0; i < c->n; i++) {
        const struct curve *v = &c->series[i].curve;
        long last = v->n - 1, first = 0;
        while (last > 0 && isnan(v->p[last].lo))
            last--;
        while (first < last && isnan(v->p[first].lo))
            first++;
        fputs("; ", f);
        markup_text(f, c->series[i].name);
        if (last >= 0 && !isnan(v->p[last].lo))
            fprintf(f, " from %.4g to %.4g", v->p[first].first, v->p[last].last);
        if (v->nans)
            fprintf(f, ", %ld NaN", v->nans);
        if (v->pos_infs + v->neg_infs)
            fprintf(f, ", %ld infinite", v->pos_infs + v->neg_infs);
    }
}

void chart_svg(FILE *f, const struct chart *c, int number, double width, double height)
{
    struct svg v = {.f = f, .c = c};
    struct pen pen = pen_of(&v);
    struct box box = {0, 0, width, height};
    fprintf(f,
            "<svg class=\"chart\" role=\"img\" viewBox=\"0 0 %.0f %.0f\""
            " aria-labelledby=\"chart%d-title chart%d-desc\">\n<title id=\"chart%d-title\">",
            width, height, number, number, number);
    markup_text(f, c->title);
    fprintf(f, "</title>\n<desc id=\"chart%d-desc\">", number);
    describe(f, c);
    fputs("</desc>\n", f);
    plot_draw(c, &box, 0, &pen);
    fputs("</svg>\n", f);
}

static void colours(FILE *f, long n, int dark)
{
    for (long i = 0; i < n; i++) {
        double rgb[3];
        plot_colour(i, dark, rgb);
        fprintf(f, ".c%ld{color:#%02x%02x%02x}\n", i, (int)(rgb[0] * 255 + 0.5),
                (int)(rgb[1] * 255 + 0.5), (int)(rgb[2] * 255 + 0.5));
    }
}

void chart_style(FILE *f, long n)
{
    fprintf(f,
            ".curve{stroke:currentColor;fill:none;stroke-width:1.6;stroke-linejoin:round}\n"
            ".cross{stroke:currentColor;fill:none;stroke-width:2}\n"
            ".mark{fill:currentColor;stroke:none}\n"
            ".grid{stroke:#e3e5e8;fill:none}.axis{stroke:#6b7280;fill:none}\n"
            "svg text{font:%dpx system-ui,sans-serif;fill:#4b5563}"
            "svg .title{font-weight:600;fill:#111827}\n",
            PEN_SIZE);
    for (int i = 1; i < 4; i++) {
        const double *d = plot_dashes(i);
        fprintf(f, ".d%d{stroke-dasharray:%g %g %g %g}\n", i, d[0], d[1], d[2], d[3]);
    }
    colours(f, n, 0);
    fputs("@media (prefers-color-scheme:dark){\n.grid{stroke:#2c333d}.axis{stroke:#8b949e}\n"
          "svg text{fill:#b6bec8}svg .title{fill:#e6edf3}\n",
          f);
    colours(f, n, 1);
    fputs("}\n", f);
}

static void write_all(FILE *f, const struct chart *c, long n, int width)
{
    double height = width * 0.45, y = 10, total = 10;
    long most = 1;
    for (long i = 0; i < n; i++) {
        total += height + plot_legend_height(&c[i], width) + 16;
        for (long j = 0; j < c[i].n; j++)
            most = c[i].series[j].colour + 1 > most ? c[i].series[j].colour + 1 : most;
    }
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%.0f\""
            " viewBox=\"0 0 %d %.0f\" role=\"img\">\n<title>",
            width, total, width, total);
    for (long i = 0; i < n; i++) {
        fputs(i ? "; " : "", f);
        markup_text(f, c[i].title);
    }
    fputs("</title>\n<desc>", f);
    for (long i = 0; i < n; i++) {
        fputs(i ? ". " : "", f);
        describe(f, &c[i]);
    }
    fputs("</desc>\n<style>\n.ground{fill:#fff}\n", f);
    chart_style(f, most);
    fputs("@media (prefers-color-scheme:dark){.ground{fill:#0d1117}}\n</style>\n"
          "<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n",
          f);
    for (long i = 0; i < n; i++) {
        struct svg v = {.f = f, .c = &c[i]};
        struct pen pen = pen_of(&v);
        struct box box = {0, y, width, height};
        plot_draw(&c[i], &box, 1, &pen);
        box.y += height;
        plot_legend(&c[i], &box, &pen);
        y += height + plot_legend_height(&c[i], width) + 16;
    }
    fputs("</svg>\n", f);
}

int chart_write_svg(const char *path, const struct chart *c, long n, int width,
                    struct pesc_error *err)
{
    struct page page;
    TRY(page_open(&page, path, err));
    write_all(page.f, c, n, width);
    return page_end(&page, 0);
}
