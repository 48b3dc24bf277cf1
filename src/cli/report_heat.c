#include "config.h"
#include "cli/report_heat.h"

#include "cli/markup.h"

#include <math.h>

enum { MANY = 24 }; /* columns beyond which cells show their colour only */

#define SCALE(name, words, ...)                                                                    \
    static const struct heat_step name##_steps[] = {__VA_ARGS__};                                  \
    const struct heat_scale heat_##name = {words, name##_steps,                                    \
                                           sizeof name##_steps / sizeof *name##_steps}
SCALE(even, "Against an even share of all experts:", {0.1, "h0", "under 0.1, dead"},
      {0.5, "h1", "0.1 to 0.5"}, {0.8, "h2", "0.5 to 0.8"}, {1.25, "h3", "0.8 to 1.25, even"},
      {2, "h4", "1.25 to 2"}, {3, "h5", "2 to 3"}, {INFINITY, "h6", "3 times and more"});
SCALE(crowd, "Busiest expert over the mean:", {1.25, "q0", "1 to 1.25, even"},
      {1.5, "q1", "1.25 to 1.5"}, {2, "q2", "1.5 to 2"}, {3, "q3", "2 to 3"}, {5, "q4", "3 to 5"},
      {INFINITY, "q5", "5 and more"});
SCALE(moved, "Share of the assignments that moved:", {0.02, "q0", "under 2 %"},
      {0.05, "q1", "2 to 5 %"}, {0.1, "q2", "5 to 10 %"}, {0.2, "q3", "10 to 20 %"},
      {0.4, "q4", "20 to 40 %"}, {INFINITY, "q5", "40 % and more"});

void report_heat_key(struct report *p, const struct heat_scale *s)
{
    fprintf(p->f, "<ul class=\"key\"><li>%s</li>\n", s->what);
    for (int i = 0; i < s->n; i++)
        fprintf(p->f, "<li><span class=\"box %s\"></span>%s</li>\n", s->steps[i].cls,
                s->steps[i].text);
    fputs("<li><span class=\"box hn\"></span>not known</li></ul>\n", p->f);
}

static void row_name(FILE *f, const struct heat *h, long i)
{
    if (h->row_names)
        markup_text(f, h->row_names[i]);
    else
        fprintf(f, "%lld", h->row_numbers[i]);
}

static long long col_number(const struct heat *h, long i)
{
    return h->col_numbers ? h->col_numbers[i] : i;
}

static void cell(struct report *p, const struct heat *h, long i, long k)
{
    double v = h->value[i * h->cols + k];
    int at = 0;
    if (isnan(v)) {
        fputs("<td class=\"hn\" title=\"not known\">?</td>", p->f);
        return;
    }
    while (at + 1 < h->scale->n && !(v * h->times < h->scale->steps[at].below))
        at++;
    fprintf(p->f, "<td class=\"%s\" title=\"%s ", h->scale->steps[at].cls, h->row);
    row_name(p->f, h, i);
    fprintf(p->f, ", %s %lld: %.*f%s\">%.*f</td>", h->col, col_number(h, k), h->decimals + 1,
            v * h->shown, h->unit, h->decimals, v * h->shown);
}

void report_heat(struct report *p, const struct heat *h)
{
    fprintf(p->f,
            "<div class=\"scroll\" tabindex=\"0\">\n<table class=\"heat%s\">\n<caption><span>",
            h->cols > MANY ? " many" : "");
    markup_text(p->f, h->caption);
    fprintf(p->f, "</span></caption>\n<thead><tr><th>%s \\ %s</th>", h->row, h->col);
    for (long k = 0; k < h->cols; k++) {
        if (h->cols > MANY && k % 8)
            fputs("<th></th>", p->f);
        else
            fprintf(p->f, "<th scope=\"col\">%lld</th>", col_number(h, k));
    }
    fputs("</tr></thead>\n<tbody>\n", p->f);
    for (long i = 0; i < h->rows; i++) {
        fprintf(p->f, "<tr><th scope=\"row\"%s>", h->row_names ? " class=\"w\"" : "");
        row_name(p->f, h, i);
        fputs("</th>", p->f);
        for (long k = 0; k < h->cols; k++)
            cell(p, h, i, k);
        fputs("</tr>\n", p->f);
    }
    fputs("</tbody>\n</table>\n</div>\n", p->f);
}
