#include "config.h"
#include "cli/heat.h"

#include <math.h>
#include <string.h>

enum { LEVELS = 9 };
/* Of the 256-colour cube; the text on them is white or black. */
static const struct {
    int shade[LEVELS];
    int white[LEVELS]; /* white text */
} ramps[] = {
    [HEAT_SHARE] = {{19, 26, 68, 110, 252, 223, 216, 203, 160}, {1, 1, 0, 0, 0, 0, 0, 0, 1}},
    [HEAT_MOVED] = {{255, 230, 223, 216, 210, 203, 197, 160, 88}, {0, 0, 0, 0, 0, 0, 1, 1, 1}},
};
/* What each level is about: quarters of an even share, or twentieths that have moved. */
static const char *const level_names[][LEVELS] = {
    [HEAT_SHARE] = {"0", ".25", ".5", ".75", "1", "1.25", "1.5", "1.75", "2+"},
    [HEAT_MOVED] = {"0", "5", "10", "15", "20", "25", "30", "35", "40+"},
};

struct heat heat_new(FILE *f, int color, int width, enum heat_kind kind, long n, int label,
                     int tail, int short_tail)
{
    static const int cells[] = {6, 3, 1};
    struct heat h = {.f = f, .color = color, .width = width, .kind = kind, .n = n};
    h.label = label;
    h.tail = tail;
    h.cell = 6;
    h.per_line = n;
    for (int i = 0; i < 3 && width > 0; i++) {
        h.cell = cells[i];
        if (label + n * h.cell + tail < width)
            return h;
    }
    if (width == 0)
        return h;
    h.tail = short_tail;
    long room = width - 1 - label - short_tail;
    h.per_line = room < n ? (room < 10 ? 10 : room / 10 * 10) : n;
    return h;
}

static int level_of(const struct heat *h, double x)
{
    double at = h->kind == HEAT_SHARE ? x * (double)h->n * 4 : x * 20;
    return at < LEVELS - 1 ? (int)(at > 0 ? at + 0.5 : 0) : LEVELS - 1;
}

static void shade(const struct heat *h, int level)
{
    fprintf(h->f, "\033[48;5;%d;38;5;%dm", ramps[h->kind].shade[level],
            ramps[h->kind].white[level] ? 231 : 16);
}

/* One digit: 0 is dead, 4 even and 8 twice that; or twentieths. 9 is more. */
static int digit(const struct heat *h, double x)
{
    double times = x * (double)h->n, d = h->kind == HEAT_SHARE ? times * 4 : x * 20;
    if (h->kind == HEAT_SHARE && times < 0.1)
        return 0;
    if (h->kind == HEAT_SHARE && d < 1)
        return 1; /* starved, not dead */
    return d + 0.5 < 9 ? (int)(d + 0.5) : 9;
}

static void put_cell(const struct heat *h, double x)
{
    int known = isfinite(x), shaded = h->color && known;
    if (shaded)
        shade(h, level_of(h, x));
    if (!known)
        fprintf(h->f, "%*s", h->cell, "-");
    else if (h->cell >= 6)
        fprintf(h->f, "%*.1f", h->cell, 100 * x);
    else if (h->cell == 3)
        fprintf(h->f, "%3.0f", 100 * x);
    else
        fprintf(h->f, "%d", digit(h, x));
    if (shaded)
        fputs("\033[0m", h->f);
}

/* Cut to fit, and filled up. */
static void put_label(const struct heat *h, const char *label)
{
    int bytes = 0, cols = 0, most = h->label - 1;
    for (; label[bytes]; bytes++) {
        int starts = ((unsigned char)label[bytes] & 0xc0) != 0x80;
        if (starts && cols == most)
            break;
        cols += starts;
    }
    fprintf(h->f, "%.*s%*s", bytes, label, h->label - cols, "");
}

void heat_head(const struct heat *h, const char *label, const long long *numbers, const char *what,
               const char *tail)
{
    put_label(h, label);
    if (h->cell == 1)
        fprintf(h->f, "%-*s", (int)h->per_line, (long)strlen(what) > h->per_line ? "" : what);
    for (long i = 0; i < h->n && h->cell > 1; i++)
        fprintf(h->f, "%*lld", h->cell, numbers ? numbers[i] : (long long)i);
    fprintf(h->f, "%s\n", tail);
}

void heat_row(const struct heat *h, const char *label, const double *v, const char *tail)
{
    for (long from = 0; from < h->n; from += h->per_line) {
        long to = h->n - from < h->per_line ? h->n : from + h->per_line;
        put_label(h, from ? "" : label);
        for (long i = from; i < to; i++)
            put_cell(h, v[i]);
        fprintf(h->f, "%s\n", from ? "" : tail);
    }
}

void heat_legend(const struct heat *h)
{
    int share = h->kind == HEAT_SHARE;
    if (h->cell == 1)
        fputs(share ? "digits: 0 dead (under a tenth of an even share), 4 even, 8 twice, 9 more\n"
                    : "digits: twentieths of the tokens' choices; 9 is more\n",
              h->f);
    else
        fprintf(h->f, share ? "numbers: %%, %.1f is even\n" : "numbers: %%\n",
                100.0 / (double)h->n);
    if (!h->color)
        return;
    fputs("colours:", h->f);
    for (int i = 0; i < LEVELS; i++) {
        fputc(' ', h->f);
        shade(h, i);
        fprintf(h->f, " %s ", level_names[h->kind][i]);
        fputs("\033[0m", h->f);
    }
    fputs(share ? " of an even share\n" : " % moved\n", h->f);
}
