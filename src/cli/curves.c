#include "config.h"
#include "cli/curves.h"

#include <limits.h>
#include <math.h>
#include <string.h>

enum { PAGE = 500000 }; /* rows of a query, which may have a million */

int timeline_read(struct reader *r, long long run, enum chart_x x, struct timeline *out,
                  struct pesc_error *err)
{
    struct rows rows;
    *out = (struct timeline){.run = run, .x = x};
    if (x == CHART_TIME)
        return query_rows(r, &out->parts, err,
                          "SELECT started_ms FROM segment WHERE run_id = ?1 ORDER BY seq", "i",
                          run);
    if (x != CHART_TOKENS)
        return 0;
    TRY(query_rows(r, &rows, err,
                   "SELECT 1.0 * tokens_seen / last_step FROM run WHERE id = ?1"
                   " AND last_step > 0 AND tokens_seen > 0",
                   "i", run));
    out->tokens_per_step = rows.n_rows ? cell_real(rows_at(&rows, 0, 0)) : NAN;
    rows_free(&rows);
    return 0;
}

void timeline_free(struct timeline *t)
{
    rows_free(&t->parts);
}

struct reading {
    const struct timeline *t;
    struct curve *curve;
    long part;          /* segment that the last row belongs to */
    long long pause_ms; /* before it, in all */
    long long last_ms, last_step;
    long rows;
};

/* A row of a new process begins where the one before ended, but for what that takes to start. */
static double seconds(struct reading *g, long long t_ms)
{
    const struct rows *parts = &g->t->parts;
    if (parts->n_rows == 0)
        return NAN;
    while (g->part + 1 < parts->n_rows && t_ms >= cell_int(rows_at(parts, g->part + 1, 0))) {
        long long began = cell_int(rows_at(parts, ++g->part, 0)), until = g->last_ms;
        if (g->rows == 0)
            until = cell_int(rows_at(parts, g->part - 1, 0));
        g->pause_ms += began > until ? began - until : 0;
    }
    g->last_ms = t_ms;
    return (double)(t_ms - cell_int(rows_at(parts, 0, 0)) - g->pause_ms) / 1000;
}

static int no_head(void *ctx, int n, const char *const *names, struct pesc_error *err)
{
    (void)ctx, (void)n, (void)names, (void)err;
    return 0;
}

static int take(void *ctx, int n, const struct cell *c, struct pesc_error *err)
{
    struct reading *g = ctx;
    (void)n, (void)err;
    g->last_step = cell_int(&c[0]);
    double x = (double)g->last_step;
    if (g->t->x == CHART_TIME)
        x = seconds(g, cell_int(&c[2]));
    else if (g->t->x == CHART_TOKENS)
        x *= g->t->tokens_per_step;
    g->rows++;
    if (isfinite(x))
        curve_add(g->curve, x, cell_real(&c[1]));
    return 0;
}

int curve_read(struct reader *r, const struct timeline *t, const char *metric, long cap,
               double smooth, struct curve *out, struct pesc_error *err)
{
    struct reading g = {.t = t, .curve = out, .last_step = LLONG_MIN};
    struct row_sink sink = {&g, no_head, take};
    long before;
    TRY(curve_init(out, cap, smooth, err));
    do {
        before = g.rows;
        TRY(query_run(r, &sink, err,
                      "SELECT step, value, t_ms FROM metric WHERE run_id = ?1 AND key_id ="
                      " (SELECT id FROM metric_key WHERE name = ?2) AND step > ?3 ORDER BY step"
                      " LIMIT ?4",
                      "isii", t->run, metric, g.last_step, (long long)PAGE));
    } while (g.rows - before == PAGE);
    return 0;
}

int metric_unit(struct reader *r, const char *metric, char *out, struct pesc_error *err)
{
    static const struct {
        const char *name, *unit;
    } known[] = {{"ce", "nats"},
                 {"tokens_per_s", "tokens/s"},
                 {"trained_tokens_per_s", "tokens/s"},
                 {"peak_rss_bytes", "bytes"},
                 {"epoch", "epochs"}};
    struct rows rows;
    TRY(query_rows(r, &rows, err, "SELECT unit FROM metric_key WHERE name = ?1", "s", metric));
    const char *unit = rows.n_rows ? cell_text(rows_at(&rows, 0, 0)) : "";
    for (size_t i = 0; !*unit && i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, metric))
            unit = known[i].unit;
    snprintf(out, UNIT_CAP, "%s", unit);
    rows_free(&rows);
    return 0;
}
