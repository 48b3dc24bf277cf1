#include "config.h"
#include "cli/chart_pen.h"

#include "core/file.h"

/* The library is loaded when a PNG is asked for: training would pay for it in memory, and who wants
 * no PNG need not have it. */
#ifdef HAVE_CAIRO_H
#include <cairo.h>
#include <dlfcn.h>
#include <math.h>

/* Bigger than this no picture viewer is asked to be; cairo ends at 32767. */
enum { SCALE = 2, SIDE_CAP = 32000 };

#define CALLS(X)                                                                                   \
    X(create)                                                                                      \
    X(destroy)                                                                                     \
    X(image_surface_create)                                                                        \
    X(surface_destroy)                                                                             \
    X(surface_status)                                                                              \
    X(surface_write_to_png_stream)                                                                 \
    X(status)                                                                                      \
    X(status_to_string)                                                                            \
    X(scale)                                                                                       \
    X(paint)                                                                                       \
    X(set_source_rgb)                                                                              \
    X(set_line_width)                                                                              \
    X(set_line_join)                                                                               \
    X(set_dash)                                                                                    \
    X(move_to)                                                                                     \
    X(line_to)                                                                                     \
    X(close_path)                                                                                  \
    X(arc)                                                                                         \
    X(stroke)                                                                                      \
    X(fill)                                                                                        \
    X(select_font_face)                                                                            \
    X(set_font_size)                                                                               \
    X(text_extents)                                                                                \
    X(show_text)                                                                                   \
    X(debug_reset_static_data)

struct cairo {
#define PESC_X(name) __typeof__(&cairo_##name) name;
    CALLS(PESC_X)
#undef PESC_X
    void (*fonts_end)(void); /* of fontconfig below it; may be NULL */
};

static int load(struct cairo *lib, struct pesc_error *err)
{
    void *so = dlopen("libcairo.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!so)
        return FAIL(err, NOT_YET,
                    "a PNG needs libcairo.so.2 (Debian: apt-get install libcairo2);"
                    " an SVG does not");
    int missing = 0;
#define PESC_X(name)                                                                               \
    *(void **)&lib->name = dlsym(so, "cairo_" #name);                                              \
    missing |= !lib->name;
    CALLS(PESC_X)
#undef PESC_X
    *(void **)&lib->fonts_end = dlsym(so, "FcFini");
    return missing ? FAIL(err, NOT_YET, "libcairo.so.2 here cannot draw a PNG; an SVG works") : 0;
}

struct png {
    const struct cairo *lib;
    cairo_t *c;
    struct afile *file;
    struct pesc_error *err;
};

static void colour(const struct png *p, const struct chart_series *s)
{
    double rgb[3] = {0.3, 0.33, 0.39};
    if (s->colour >= 0)
        plot_colour(s->colour, 0, rgb);
    p->lib->set_source_rgb(p->c, rgb[0], rgb[1], rgb[2]);
}

static void rule(void *ctx, enum pen_weight w, double x0, double y0, double x1, double y1)
{
    const struct png *p = ctx;
    double grey = w == PEN_GRID ? 0.89 : 0.42;
    p->lib->set_source_rgb(p->c, grey, grey, grey);
    p->lib->set_line_width(p->c, 1);
    p->lib->move_to(p->c, x0, y0);
    p->lib->line_to(p->c, x1, y1);
    p->lib->stroke(p->c);
}

static void begin(void *ctx, const struct chart_series *s)
{
    const struct png *p = ctx;
    colour(p, s);
    p->lib->set_line_width(p->c, 1.6);
    p->lib->set_line_join(p->c, CAIRO_LINE_JOIN_ROUND);
    p->lib->set_dash(p->c, plot_dashes(s->dash), s->dash % 4 ? 4 : 0, 0);
}

static void to(void *ctx, double x, double y, int down)
{
    const struct png *p = ctx;
    (down ? p->lib->line_to : p->lib->move_to)(p->c, x, y);
}

static void end(void *ctx)
{
    const struct png *p = ctx;
    p->lib->stroke(p->c);
    p->lib->set_dash(p->c, NULL, 0, 0);
}

static void dot(void *ctx, const struct chart_series *s, double x, double y)
{
    const struct png *p = ctx;
    colour(p, s);
    p->lib->arc(p->c, x, y, 2.5, 0, 2 * M_PI);
    p->lib->fill(p->c);
}

static void mark(void *ctx, const struct chart_series *s, int kind, double x, double y, double at)
{
    const struct png *p = ctx;
    double to_end = kind == CHART_POS_INF ? 1 : -1;
    (void)at;
    colour(p, s);
    if (kind == CHART_NAN) {
        p->lib->set_line_width(p->c, 2);
        for (int k = -1; k < 2; k += 2) {
            p->lib->move_to(p->c, x - 4, y - 4 * k);
            p->lib->line_to(p->c, x + 4, y + 4 * k);
        }
        p->lib->stroke(p->c);
        return;
    }
    p->lib->move_to(p->c, x, y - 5 * to_end);
    p->lib->line_to(p->c, x + 5, y + 4 * to_end);
    p->lib->line_to(p->c, x - 5, y + 4 * to_end);
    p->lib->close_path(p->c);
    p->lib->fill(p->c);
}

static void text(void *ctx, enum pen_text kind, enum pen_anchor a, double x, double y,
                 const char *words)
{
    const struct png *p = ctx;
    cairo_text_extents_t e;
    double grey = kind == PEN_TITLE ? 0.08 : 0.3;
    p->lib->set_source_rgb(p->c, grey, grey, grey);
    p->lib->select_font_face(p->c, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                             kind == PEN_TITLE ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    p->lib->set_font_size(p->c, PEN_SIZE);
    p->lib->text_extents(p->c, words, &e);
    p->lib->move_to(p->c,
                    x - (a == PEN_END      ? e.x_advance
                         : a == PEN_MIDDLE ? e.x_advance / 2
                                           : 0),
                    y);
    p->lib->show_text(p->c, words);
}

static cairo_status_t put(void *ctx, const unsigned char *data, unsigned n)
{
    const struct png *p = ctx;
    return afile_write(p->file, data, n, p->err) == 0 ? CAIRO_STATUS_SUCCESS
                                                      : CAIRO_STATUS_WRITE_ERROR;
}

static void draw_all(struct png *p, const struct chart *c, long n, int width)
{
    struct pen pen = {p, rule, begin, to, end, dot, mark, text};
    struct box box = {0, 10, width, width * 0.45};
    p->lib->scale(p->c, SCALE, SCALE);
    p->lib->set_source_rgb(p->c, 1, 1, 1);
    p->lib->paint(p->c);
    for (long i = 0; i < n; i++) {
        plot_draw(&c[i], &box, 1, &pen);
        box.y += box.h;
        plot_legend(&c[i], &box, &pen);
        box.y += plot_legend_height(&c[i], width) + 16;
    }
}

static int fail(const struct png *p, cairo_status_t st, const char *path, struct pesc_error *err)
{
    if (err->code) /* the file said why */
        return -1;
    if (st == CAIRO_STATUS_NO_MEMORY)
        return FAIL(err, MEMORY, "no memory for a drawing");
    return FAIL(err, IO, "%s: cairo cannot draw it: %s", path, p->lib->status_to_string(st));
}

int chart_write_png(const char *path, const struct chart *c, long n, int width,
                    struct pesc_error *err)
{
    struct cairo lib;
    struct png p = {.lib = &lib, .err = err};
    double height = 10;
    int rc = -1;
    for (long i = 0; i < n; i++)
        height += width * 0.45 + plot_legend_height(&c[i], width) + 16;
    if (height * SCALE > SIDE_CAP || width * SCALE > SIDE_CAP)
        return FAIL(err, LIMIT, "%s: the picture would be %.0f pixels high; draw less, or an SVG",
                    path, height * SCALE);
    TRY(load(&lib, err));
    cairo_surface_t *s =
        lib.image_surface_create(CAIRO_FORMAT_RGB24, width * SCALE, (int)(height * SCALE));
    p.c = lib.create(s);
    cairo_status_t st = lib.surface_status(s);
    if (st != CAIRO_STATUS_SUCCESS) {
        fail(&p, st, path, err);
        goto done;
    }
    draw_all(&p, c, n, width);
    st = lib.status(p.c);
    if (st != CAIRO_STATUS_SUCCESS) {
        fail(&p, st, path, err);
        goto done;
    }
    p.file = afile_open(path, err);
    if (!p.file)
        goto done;
    st = lib.surface_write_to_png_stream(s, put, &p);
    if (st != CAIRO_STATUS_SUCCESS) {
        fail(&p, st, path, err);
        afile_abort(p.file);
        goto done;
    }
    rc = afile_commit(p.file, 0, NULL, NULL, err);
done:
    lib.destroy(p.c);
    lib.surface_destroy(s);
    lib.debug_reset_static_data(); /* gives back the fonts it keeps */
    if (lib.fonts_end)
        lib.fonts_end();
    return rc;
}
#else
int chart_write_png(const char *path, const struct chart *c, long n, int width,
                    struct pesc_error *err)
{
    (void)path, (void)c, (void)n, (void)width;
    return FAIL(err, NOT_YET,
                "a PNG needs the cairo library: build with Debian's libcairo2-dev; an SVG"
                " does not");
}
#endif
