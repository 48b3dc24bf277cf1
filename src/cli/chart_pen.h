/* What draws a chart: chart_plot.c says what goes where, a pen (SVG, PNG) puts it there. */
#ifndef PESC_CLI_CHART_PEN_H
#define PESC_CLI_CHART_PEN_H

#include "cli/chart.h"

enum pen_anchor { PEN_START, PEN_MIDDLE, PEN_END };
enum pen_weight { PEN_GRID, PEN_AXIS };
enum pen_text { PEN_LABEL, PEN_TITLE };
enum { PEN_SIZE = 13 }; /* of text, in the units of the drawing */

struct pen {
    void *ctx;
    void (*rule)(void *ctx, enum pen_weight w, double x0, double y0, double x1, double y1);
    /* One curve: begin, then points; down: a line leads there. */
    void (*begin)(void *ctx, const struct chart_series *s);
    void (*to)(void *ctx, double x, double y, int down);
    void (*end)(void *ctx);
    void (*dot)(void *ctx, const struct chart_series *s, double x, double y);
    /* kind: one of CHART_NAN ...; at: the place on the chart's x axis. */
    void (*mark)(void *ctx, const struct chart_series *s, int kind, double x, double y, double at);
    void (*text)(void *ctx, enum pen_text kind, enum pen_anchor a, double x, double y,
                 const char *text);
};

struct box {
    double x, y, w, h;
};
/* Axes and curves within the box; titled: the title above them. */
void plot_draw(const struct chart *c, const struct box *box, int titled, const struct pen *pen);
/* The legend below; its height is plot_legend_height. */
double plot_legend_height(const struct chart *c, double w);
void plot_legend(const struct chart *c, const struct box *box, const struct pen *pen);
/* All kinds of marks within a chart. */
int plot_marks(const struct chart *c);

enum { PLOT_COLOURS = 10 };
/* Of curve number i, 0..1 each; dark: on a dark ground. Beyond PLOT_COLOURS they come closer. */
void plot_colour(long i, int dark, double rgb[3]);
/* Lengths of the dashes of style i, none of 0; 4 of them. */
const double *plot_dashes(int i);

#endif
