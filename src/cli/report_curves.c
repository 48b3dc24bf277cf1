#include "config.h"
#include "cli/report.h"

#include "cli/chart_pen.h"
#include "cli/markup.h"

#include <string.h>

enum { WIDTH = 460, HEIGHT = 270, MANY = 12, OTHERS = 12 };

static const struct {
    const char *title;
    const char *metrics[2];
    int log_y;
} charts[] = {{"Loss", {"train/loss", "valid/loss"}, 0},
              {"Learning rate", {"lr"}, 0},
              {"Gradient norm, before clipping", {"grad_norm"}, 0},
              {"Tokens per second", {"tokens_per_s"}, 0},
              {"Balance loss of the routers", {"balance"}, 0}};
enum { N_CHARTS = sizeof charts / sizeof *charts };

static void key_entry(struct report *p, const struct chart_series *s)
{
    const struct curve *v = &s->curve;
    fprintf(p->f,
            "<li><svg viewBox=\"0 0 22 8\" aria-hidden=\"true\"><path class=\"curve c%d d%d\""
            " d=\"M0 4h22\"/></svg>",
            s->colour, s->dash % 4);
    markup_text(p->f, s->name);
    if (v->nans)
        fprintf(p->f, ", %ld NaN", v->nans);
    if (v->pos_infs)
        fprintf(p->f, ", %ld Infinity", v->pos_infs);
    if (v->neg_infs)
        fprintf(p->f, ", %ld -Infinity", v->neg_infs);
    fputs("</li>\n", p->f);
}

/* Too many runs for a key of their own: their colours stand in the table of runs. */
static void key_of_many(struct report *p, const struct chart *c, const char *const *metrics)
{
    long special = 0;
    int first = 1;
    for (long i = 0; i < c->n; i++) {
        const struct curve *v = &c->series[i].curve;
        special += v->nans + v->pos_infs + v->neg_infs;
    }
    fputs("<li>Colours: see the table of runs</li>\n", p->f);
    for (int dash = 0; c->n_metrics > 1 && dash < c->n_metrics; dash++) {
        fprintf(p->f,
                "<li><svg viewBox=\"0 0 22 8\" aria-hidden=\"true\"><path class=\"curve d%d\""
                " d=\"M0 4h22\"/></svg>",
                dash);
        markup_text(p->f, metrics[dash]);
        fputs("</li>\n", p->f);
    }
    for (long i = 0; special && i < c->n; i++) {
        const struct curve *v = &c->series[i].curve;
        if (v->nans + v->pos_infs + v->neg_infs == 0)
            continue;
        if (first)
            fprintf(p->f, "<li>%ld values are not finite; of these curves:</li>\n", special);
        first = 0;
        key_entry(p, &c->series[i]);
    }
}

static void key(struct report *p, const struct chart *c, const char *const *metrics)
{
    int kinds = plot_marks(c);
    fputs("<ul class=\"key\">\n", p->f);
    if (c->n > MANY)
        key_of_many(p, c, metrics);
    else
        for (long i = 0; i < c->n; i++)
            key_entry(p, &c->series[i]);
    if (kinds & CHART_NAN)
        fputs("<li><svg class=\"sign\" viewBox=\"0 0 10 10\" aria-hidden=\"true\"><path"
              " class=\"cross\" d=\"M1 1l8 8m-8 0l8 -8\"/></svg>NaN</li>\n",
              p->f);
    if (kinds & CHART_POS_INF)
        fputs("<li><svg class=\"sign\" viewBox=\"0 0 10 10\" aria-hidden=\"true\"><path"
              " class=\"mark\" d=\"M5 0l5 9h-10z\"/></svg>Infinity</li>\n",
              p->f);
    if (kinds & CHART_NEG_INF)
        fputs("<li><svg class=\"sign\" viewBox=\"0 0 10 10\" aria-hidden=\"true\"><path"
              " class=\"mark\" d=\"M5 10l5 -9h-10z\"/></svg>-Infinity</li>\n",
              p->f);
    fputs("</ul>\n", p->f);
}

/* The metrics share one figure, whatever their units; *any counts those that have values. */
static int figure(struct report *p, const char *title, const char *const *metrics, long n,
                  long *any, struct pesc_error *err)
{
    struct panels_wish w = {
        .n_metrics = n, .metrics = metrics, .x = CHART_STEP, .cap = p->runs->n > MANY ? 300 : 400};
    struct panels panels;
    int rc = panels_read(p->r, p->runs, &w, &panels, err);
    for (long i = 0; rc == 0 && i < panels.n; i++) {
        struct chart *c = &panels.v[i];
        if ((*any)++ == 0)
            fputs("<div class=\"charts\">\n", p->f);
        fputs("<figure>\n<h3>", p->f);
        markup_text(p->f, title ? title : c->title);
        fputs("</h3>\n", p->f);
        chart_svg(p->f, c, ++p->charts, WIDTH, HEIGHT);
        fputs("<figcaption>\n", p->f);
        key(p, c, metrics);
        fputs("</figcaption>\n</figure>\n", p->f);
    }
    panels_free(&panels);
    return rc;
}

static int has_values(struct report *p, const char *metric, int *has, struct pesc_error *err)
{
    *has = 0;
    for (long i = 0; i < p->runs->n && !*has; i++) {
        struct rows rows;
        TRY(query_rows(p->r, &rows, err,
                       "SELECT 1 FROM metric WHERE run_id = ?1 AND key_id ="
                       " (SELECT id FROM metric_key WHERE name = ?2) LIMIT 1",
                       "is", p->runs->v[i].id, metric));
        *has = rows.n_rows > 0;
        rows_free(&rows);
    }
    return 0;
}

/* What else was recorded, as of metrics that users will add. */
static int others(struct report *p, long *any, long *left_out, struct pesc_error *err)
{
    static const char *const known[] = {"ce", "trained_tokens_per_s", "peak_rss_bytes", "epoch"};
    struct rows rows;
    long shown = 0;
    TRY(query_rows(p->r, &rows, err, "SELECT name FROM metric_key ORDER BY name", ""));
    int rc = 0;
    for (long i = 0; rc == 0 && i < rows.n_rows; i++) {
        const char *name = cell_text(rows_at(&rows, i, 0));
        int skip = 0;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            skip |= !strcmp(name, known[k]);
        for (int k = 0; k < N_CHARTS; k++)
            for (int m = 0; m < 2; m++)
                skip |= charts[k].metrics[m] && !strcmp(name, charts[k].metrics[m]);
        int has = 0;
        if (!skip)
            rc = has_values(p, name, &has, err);
        if (rc == 0 && has && shown++ < OTHERS)
            rc = figure(p, NULL, &name, 1, any, err);
        *left_out += has && shown > OTHERS;
    }
    rows_free(&rows);
    return rc;
}

int report_curves(struct report *p, struct pesc_error *err)
{
    long any = 0, left_out = 0;
    report_section(p, "curves", "Curves");
    for (int i = 0; i < N_CHARTS; i++)
        TRY(figure(p, charts[i].title, charts[i].metrics, charts[i].metrics[1] ? 2 : 1, &any, err));
    TRY(others(p, &any, &left_out, err));
    if (any)
        fputs("</div>\n<p>Long curves are thinned: the least and the greatest value of a stretch,"
              " NaN and infinities are kept.</p>\n",
              p->f);
    else
        fputs("<p>No metrics are recorded.</p>\n", p->f);
    if (left_out)
        fprintf(p->f, "<p>%ld more metrics are not drawn; 'pesc runs plot' does.</p>\n", left_out);
    report_section_end(p);
    return 0;
}
