#include "config.h"
#include "cli/panels.h"

#include <stdlib.h>
#include <string.h>

static char *two(const char *a, const char *between, const char *b)
{
    size_t n = strlen(a) + strlen(between) + strlen(b) + 1;
    char *out = malloc(n);
    if (out)
        snprintf(out, n, "%s%s%s", a, between, b);
    return out;
}

static int add_run(struct reader *r, struct shown_runs *out, long long id, struct pesc_error *err)
{
    struct rows rows;
    for (long i = 0; i < out->n; i++)
        if (out->v[i].id == id)
            return 0;
    TRY(query_rows(r, &rows, err, "SELECT uuid, name FROM run WHERE id = ?1", "i", id));
    struct shown_run *run = &out->v[out->n];
    run->id = id;
    if (rows.n_rows) {
        snprintf(run->uuid, sizeof run->uuid, "%s", cell_text(rows_at(&rows, 0, 0)));
        const char *name = cell_text(rows_at(&rows, 0, 1));
        run->label = strdup(*name ? name : run->uuid);
    }
    rows_free(&rows);
    if (!run->label)
        return FAIL(err, MEMORY, "no memory for a run");
    out->n++;
    return 0;
}

static int tell_apart(struct shown_runs *runs, struct pesc_error *err)
{
    for (long i = 0; i < runs->n; i++) {
        int twin = 0;
        for (long j = i + 1; j < runs->n; j++)
            twin |= !strcmp(runs->v[i].label, runs->v[j].label);
        if (!twin)
            continue;
        char *same = runs->v[i].label, name[16];
        for (long j = runs->n - 1; j >= i; j--) {
            if (strcmp(runs->v[j].label, same))
                continue;
            snprintf(name, sizeof name, "%.8s", runs->v[j].uuid);
            char *label = two(same, " ", name);
            if (!label)
                return FAIL(err, MEMORY, "no memory for a run");
            if (j != i)
                free(runs->v[j].label);
            runs->v[j].label = label;
        }
        free(same);
    }
    return 0;
}

int shown_runs_find(struct reader *r, int newest, int argc, char **argv, struct shown_runs *out,
                    struct pesc_error *err)
{
    *out = (struct shown_runs){0};
    if (argc + newest < 1)
        return FAIL(err, USAGE, "a RUN is needed: a name, uuid or run folder, or latest");
    out->v = calloc((size_t)argc + 1, sizeof *out->v);
    if (!out->v)
        return FAIL(err, MEMORY, "no memory for a run");
    for (int i = -(newest != 0); i < argc; i++) {
        long long id;
        TRY_OR(query_find_run(r, i < 0 ? "latest" : argv[i], &id, err), fail);
        TRY_OR(add_run(r, out, id, err), fail);
    }
    TRY_OR(tell_apart(out, err), fail);
    return 0;
fail:
    shown_runs_free(out);
    return -1;
}

void shown_runs_free(struct shown_runs *runs)
{
    for (long i = 0; i < runs->n; i++)
        free(runs->v[i].label);
    free(runs->v);
    *runs = (struct shown_runs){0};
}

/* Belongs to p from here on; NULL is no memory. */
static const char *keep(struct panels *p, char *text, struct pesc_error *err)
{
    if (text && p->n_texts == p->cap_texts) {
        long cap = p->cap_texts ? 2 * p->cap_texts : 16;
        char **grown = realloc(p->texts, (size_t)cap * sizeof *grown);
        if (!grown) {
            free(text);
            text = NULL;
        } else {
            p->texts = grown;
            p->cap_texts = cap;
        }
    }
    if (text)
        p->texts[p->n_texts++] = text;
    else
        FAIL(err, MEMORY, "no memory for a chart");
    return text;
}

/* The chart that this metric's curves go to. */
static struct chart *chart_for(struct panels *p, const struct panels_wish *w, const char *metric,
                               const char *unit, struct pesc_error *err)
{
    for (long i = 0; i < p->n && *unit; i++)
        if (!strcmp(p->v[i].unit, unit)) {
            p->v[i].title = keep(p, two(p->v[i].title, ", ", metric), err);
            return p->v[i].title ? &p->v[i] : NULL;
        }
    struct chart *grown = realloc(p->v, (size_t)(p->n + 1) * sizeof *grown);
    if (!grown) {
        FAIL(err, MEMORY, "no memory for a chart");
        return NULL;
    }
    p->v = grown;
    struct chart *c = &grown[p->n++];
    *c = (struct chart){.x = w->x, .log_y = w->log_y, .title = metric};
    c->unit = keep(p, strdup(unit), err);
    return c->unit ? c : NULL;
}

static int add_curve(struct chart *c, const char *name, struct curve *curve, int colour, int dash,
                     struct pesc_error *err)
{
    struct chart_series *grown = realloc(c->series, (size_t)(c->n + 1) * sizeof *grown);
    if (!grown)
        return FAIL(err, MEMORY, "no memory for a chart");
    c->series = grown;
    grown[c->n++] = (struct chart_series){name, *curve, colour, dash};
    *curve = (struct curve){0};
    return 0;
}

static int add_metric(struct reader *r, const struct shown_runs *runs, const struct panels_wish *w,
                      const char *metric, struct panels *p, struct pesc_error *err)
{
    struct chart *chart = NULL;
    struct timeline t = {0};
    struct curve curve = {0};
    char unit[UNIT_CAP];
    int rc = -1, style = 0;
    TRY(metric_unit(r, metric, unit, err));
    for (long i = 0; i < runs->n; i++) {
        TRY_OR(timeline_read(r, runs->v[i].id, w->x, &t, err), done);
        TRY_OR(curve_read(r, &t, metric, w->cap, w->smooth, &curve, err), done);
        timeline_free(&t);
        if (curve.n > 0) {
            const char *name = metric;
            if (runs->n > 1 && w->n_metrics == 1)
                name = runs->v[i].label;
            else if (runs->n > 1 && !(name = keep(p, two(runs->v[i].label, ": ", metric), err)))
                goto done;
            if (!chart) {
                if (!(chart = chart_for(p, w, metric, unit, err)))
                    goto done;
                style = chart->n_metrics++;
            }
            TRY_OR(add_curve(chart, name, &curve, runs->n > 1 ? (int)i : style,
                             runs->n > 1 ? style : 0, err),
                   done);
        }
        curve_free(&curve);
    }
    rc = 0;
done:
    timeline_free(&t);
    curve_free(&curve);
    return rc;
}

int panels_read(struct reader *r, const struct shown_runs *runs, const struct panels_wish *wish,
                struct panels *out, struct pesc_error *err)
{
    *out = (struct panels){0};
    for (long i = 0; i < wish->n_metrics; i++) {
        int seen = 0;
        for (long j = 0; j < i; j++)
            seen |= !strcmp(wish->metrics[i], wish->metrics[j]);
        if (!seen)
            TRY(add_metric(r, runs, wish, wish->metrics[i], out, err));
    }
    return 0;
}

void panels_free(struct panels *p)
{
    for (long i = 0; i < p->n; i++) {
        for (long j = 0; j < p->v[i].n; j++)
            curve_free(&p->v[i].series[j].curve);
        free(p->v[i].series);
    }
    for (long i = 0; i < p->n_texts; i++)
        free(p->texts[i]);
    free(p->texts);
    free(p->v);
    *p = (struct panels){0};
}
