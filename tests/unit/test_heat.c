/* Heat maps: what fits which width, digits, shades, labels. */
#include "config.h"
#include "cli/heat.h"
#include "tests/tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static char *text;
static size_t size;

static FILE *begin(void)
{
    free(text);
    text = NULL;
    return open_memstream(&text, &size);
}

static void test_widths(void)
{
    static const struct {
        long n;
        int width, cell;
        long per_line;
        int tail;
    } rows[] = {{8, 0, 6, 8, 21},    {64, 0, 6, 64, 21}, {8, 80, 6, 8, 21},   {16, 80, 3, 16, 21},
                {32, 80, 1, 32, 21}, {64, 80, 1, 64, 9}, {64, 92, 1, 64, 21}, {128, 80, 1, 60, 9},
                {64, 40, 1, 20, 9},  {64, 20, 1, 10, 9}, {12, 40, 1, 12, 21}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        FILE *f = begin();
        double v[128];
        for (long e = 0; e < rows[i].n; e++)
            v[e] = 1.0 / (double)rows[i].n;
        struct heat h = heat_new(f, 0, rows[i].width, HEAT_SHARE, rows[i].n, 6, 21, 9);
        char tail[32] = "";
        memset(tail, 'x', (size_t)h.tail);
        heat_head(&h, "layer", NULL, "experts", tail);
        heat_row(&h, "   0", v, tail);
        fclose(f);
        int longest = 0, lines = 0, good;
        for (char *p = text, *end; (end = strchr(p, '\n')); p = end + 1, lines++)
            longest = (int)(end - p) > longest ? (int)(end - p) : longest;
        good = h.cell == rows[i].cell && h.per_line == rows[i].per_line && h.tail == rows[i].tail;
        ok(good && (!rows[i].width || longest < rows[i].width || rows[i].width == 20) &&
               lines == 1 + (rows[i].n + h.per_line - 1) / h.per_line,
           "%ld experts in %d columns: cells of %d", rows[i].n, rows[i].width, h.cell);
    }
}

static const double shares[16] = {0.0,      0.09 / 16, 0.11 / 16, 0.5 / 16, 1 / 16.0, 1.1 / 16,
                                  1.2 / 16, 1.9 / 16,  2.3 / 16,  1,        NAN};

static void test_cells(void)
{
    FILE *f = begin();
    struct heat h = heat_new(f, 0, 48, HEAT_SHARE, 16, 6, 0, 0);
    heat_row(&h, "   3", shares, " end");
    fclose(f);
    is_str(text, "   3  0012445899-00000 end\n",
           "digits: 0 dead, 1 starved, 4 even, 8 twice, 9 more, - unknown");
    f = begin();
    h = heat_new(f, 0, 80, HEAT_SHARE, 16, 6, 0, 0);
    heat_head(&h, "layer", NULL, "experts", "!");
    heat_row(&h, "   3", shares, "!");
    fclose(f);
    is_str(text,
           "layer   0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15!\n"
           "   3    0  1  1  3  6  7  8 12 14100  -  0  0  0  0  0!\n",
           "percentages");
    f = begin();
    h = heat_new(f, 0, 0, HEAT_SHARE, 2, 10, 21, 9);
    heat_head(&h, "step", (const long long[]){5, 12000}, "", "");
    heat_row(&h, "d\xc3\xb6m\xc3\xa4ne long name", (const double[]){0.25, 0.75}, "");
    heat_legend(&h);
    fclose(f);
    is_str(text,
           "step           5 12000\n"
           "d\xc3\xb6m\xc3\xa4ne lo   25.0  75.0\n"
           "numbers: %, 50.0 is even\n",
           "columns with numbers of their own; a label is cut by letters");
}

static void test_colours(void)
{
    static const double v[] = {0, 0.25, 0.5, NAN}, moved[] = {0, 0.05, 0.4, 0.9};
    FILE *f = begin();
    struct heat h = heat_new(f, 1, 80, HEAT_SHARE, 4, 4, 0, 0);
    heat_row(&h, "a", v, "");
    fclose(f);
    is_str(text,
           "a   \033[48;5;19;38;5;231m   0.0\033[0m\033[48;5;252;38;5;16m  25.0\033[0m"
           "\033[48;5;160;38;5;231m  50.0\033[0m     -\n",
           "blue is nothing, grey even, red twice that; what is unknown has no colour");
    f = begin();
    heat_legend(&(struct heat){.f = f, .color = 1, .cell = 1, .n = 4});
    fclose(f);
    ok(strstr(text, "digits: 0 dead") && strstr(text, "\033[48;5;252;38;5;16m 1 \033[0m") &&
           strstr(text, " 2+ ") && strstr(text, "of an even share\n"),
       "the legend shows every colour");
    f = begin();
    h = heat_new(f, 1, 80, HEAT_MOVED, 4, 4, 0, 0);
    heat_row(&h, "a", moved, "");
    fclose(f);
    is_str(text,
           "a   \033[48;5;255;38;5;16m   0.0\033[0m\033[48;5;230;38;5;16m   5.0\033[0m"
           "\033[48;5;88;38;5;231m  40.0\033[0m\033[48;5;88;38;5;231m  90.0\033[0m\n",
           "what has moved, from white to red");
    f = begin();
    heat_legend(&(struct heat){.f = f, .kind = HEAT_MOVED, .cell = 1, .n = 4});
    fclose(f);
    ok(strstr(text, "twentieths") && !strchr(text, '\033'), "without colours there are none");
}

int main(void)
{
    test_widths();
    test_cells();
    test_colours();
    free(text);
    return tap_done();
}
