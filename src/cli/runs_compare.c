#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "cli/panels.h"
#include "cli/table.h"
#include "experiments/routing_query.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

enum { MOST = 16, WIDEST = MOST + 2, SQL_CAP = 4096 };

struct options {
    const char *db;
    struct opt_list metrics;
    int json, all;
};

#define AT(field) offsetof(struct options, field)
static const struct opt opts[] = {
    {"db", NULL, OPT_STRING, AT(db), "PATH", DB_ARG_HELP, 0, 0},
    {"metric", "m", OPT_LIST, AT(metrics), "NAME", "curves; default: train/loss valid/loss", 0, 0},
    {"all", NULL, OPT_FLAG, AT(all), NULL, "parameters that are the same, too", 0, 0},
    {"json", NULL, OPT_FLAG, AT(json), NULL, "one object, without the curves", 0, 0},
    {0}};

struct comparison {
    struct cli *cli;
    struct reader *r;
    struct shown_runs runs;
    struct query_value id[MOST];
    int json, sections;
};

/* A table whose heading is ours. */
struct titled {
    struct comparison *c;
    const char *title, *key; /* key: in JSON */
    const char *const *names;
    struct table *t;
    long rows;
};

static int begin(struct titled *x, int n, struct pesc_error *err)
{
    struct comparison *c = x->c;
    FILE *f = c->cli->out;
    if (c->json)
        fprintf(f, "%s\n\"%s\": ", c->sections ? "," : "{", x->key);
    else
        fprintf(f, "%s%s\n", c->sections ? "\n" : "", x->title);
    c->sections++;
    x->t = table_new(f, c->json ? TABLE_JSON : TABLE_TEXT, c->json ? 0 : cli_width(c->cli), err);
    if (!x->t)
        return -1;
    struct row_sink sink = table_sink(x->t);
    return sink.head(sink.ctx, n, x->names, err);
}

static int no_head(void *ctx, int n, const char *const *names, struct pesc_error *err)
{
    (void)ctx, (void)n, (void)names, (void)err;
    return 0;
}

/* A section without rows is not there; in JSON it is an empty list. */
static int put_row(void *ctx, int n, const struct cell *cells, struct pesc_error *err)
{
    struct titled *x = ctx;
    if (x->rows++ == 0)
        TRY(begin(x, n, err));
    struct row_sink sink = table_sink(x->t);
    return sink.row(sink.ctx, n, cells, err);
}

static int end(struct titled *x, int columns, int rc, struct pesc_error *err)
{
    if (rc == 0 && x->rows == 0 && x->c->json)
        rc = begin(x, columns, err);
    if (rc == 0 && x->t)
        table_finish(x->t);
    table_free(x->t);
    return rc;
}

static int answer(struct comparison *c, const char *title, const char *key,
                  const char *const *names, int columns, const char *sql, struct pesc_error *err)
{
    struct titled x = {.c = c, .title = title, .key = key, .names = names};
    struct row_sink sink = {&x, no_head, put_row};
    int rc = query_run_values(c->r, &sink, err, sql, c->id, (int)c->runs.n);
    return end(&x, columns, rc, err);
}

/* --- SQL with a column for each run: ?1 is the first --- */

struct text {
    char at[SQL_CAP];
    size_t n;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->at + t->n, sizeof t->at - t->n, fmt, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < sizeof t->at - t->n)
        t->n += (size_t)n;
}

static void add_columns(struct text *t, long runs, const char *value)
{
    for (long i = 1; i <= runs; i++)
        add(t, ", max(CASE run_id WHEN ?%ld THEN %s END)", i, value);
}

static void add_ids(struct text *t, long runs)
{
    for (long i = 1; i <= runs; i++)
        add(t, "%s?%ld", i > 1 ? ", " : "(", i);
    add(t, ")");
}

static void label(const struct comparison *c, const char **names, int from)
{
    for (long i = 0; i < c->runs.n; i++)
        names[from + i] = c->runs.v[i].label;
}

static int compare_runs(struct comparison *c, struct pesc_error *err)
{
    static const char *const names[] = {"run",   "name",  "experiment", "status", "steps",  "loss",
                                        "valid", "hours", "base",       "moe",    "created"};
    struct text sql = {.n = 0};
    add(&sql, "SELECT substr(r.uuid, 1, 8), v.name, v.experiment, v.status, v.steps,"
              " coalesce(v.train_loss, (SELECT 'NaN' FROM v_last l WHERE l.run_id = r.id AND"
              " l.metric = 'train/loss' AND l.step IS NOT NULL)), v.best_valid, v.hours, v.base,"
              " coalesce(v.moe, 'dense'), v.created FROM v_run v JOIN run r ON r.id = v.id"
              " WHERE v.id IN ");
    add_ids(&sql, c->runs.n);
    add(&sql, " ORDER BY CASE v.id");
    for (long i = 1; i <= c->runs.n; i++)
        add(&sql, " WHEN ?%ld THEN %ld", i, i);
    add(&sql, " END");
    return answer(c, "runs", "runs", names, sizeof names / sizeof *names, sql.at, err);
}

static int compare_params(struct comparison *c, int all, struct pesc_error *err)
{
    const char *names[WIDEST] = {"parameter"};
    struct text sql = {.n = 0};
    label(c, names, 1);
    add(&sql, "SELECT key");
    add_columns(&sql, c->runs.n, "value");
    add(&sql, " FROM param WHERE run_id IN ");
    add_ids(&sql, c->runs.n);
    add(&sql, " GROUP BY key");
    if (!all)
        add(&sql, " HAVING count(DISTINCT value) > 1 OR count(*) < %ld", c->runs.n);
    add(&sql, " ORDER BY key");
    return answer(c, all ? "parameters" : "parameters that differ", "parameters", names,
                  (int)c->runs.n + 1, sql.at, err);
}

static int compare_evals(struct comparison *c, struct pesc_error *err)
{
    const char *names[WIDEST] = {"task", "metric"};
    struct text sql = {.n = 0};
    label(c, names, 2);
    add(&sql, "SELECT task, metric");
    add_columns(&sql, c->runs.n, "coalesce(value, 'NaN')");
    add(&sql, " FROM eval e WHERE run_id IN ");
    add_ids(&sql, c->runs.n);
    add(&sql, " AND step = (SELECT max(step) FROM eval x WHERE x.run_id = e.run_id"
              " AND x.task = e.task AND x.metric = e.metric) GROUP BY task, metric"
              " ORDER BY task, metric");
    return answer(c, "evaluations", "evaluations", names, (int)c->runs.n + 2, sql.at, err);
}

/* --- routing: how much of the choices goes to other experts than in the first run --- */

static int moved_row(struct titled *x, const struct routing_map *m, long row,
                     struct pesc_error *err)
{
    struct cell cells[WIDEST] = {{.kind = CELL_INT, .i = m[0].row[row]}};
    long runs = x->c->runs.n;
    for (long i = 1; i < runs; i++) {
        double moved = NAN;
        for (long k = 0; k < m[i].n && m[i].experts == m[0].experts; k++)
            if (m[i].row[k] == m[0].row[row])
                moved = routing_moved(m[0].value + row * m[0].experts,
                                      m[i].value + k * m[i].experts, m[0].experts);
        cells[i] = isnan(moved) ? (struct cell){.kind = CELL_NULL}
                                : (struct cell){.kind = CELL_REAL, .d = moved};
    }
    return put_row(x, (int)runs, cells, err);
}

static int compare_routing(struct comparison *c, struct pesc_error *err)
{
    const struct routing_ask ask = {.step = -1, .layer = -1};
    struct routing_map m[MOST] = {{0}};
    const char *names[WIDEST] = {0};
    struct titled x = {
        .c = c, .title = "share of choices moved from the first run's experts", .key = "routing"};
    long read = 0;
    int rc = 0;
    label(c, names, 0);
    names[0] = "layer";
    x.names = names;
    for (; rc == 0 && read < c->runs.n; read++)
        rc = routing_map_read(c->r, c->runs.v[read].id, &ask, &m[read], err);
    for (long row = 0; rc == 0 && row < m[0].n; row++)
        rc = moved_row(&x, m, row, err);
    rc = end(&x, (int)c->runs.n, rc, err);
    for (long i = 0; i < read; i++)
        routing_map_free(&m[i]);
    return rc;
}

static int compare_curves(struct comparison *c, const struct options *o, struct pesc_error *err)
{
    static const char *const usual[] = {"train/loss", "valid/loss"};
    struct panels_wish w = {.n_metrics = o->metrics.n ? o->metrics.n : 2,
                            .metrics = o->metrics.n ? o->metrics.v : usual,
                            .smooth = 1,
                            .cap = 400};
    struct panels p;
    int width = cli_width(c->cli), rc = panels_read(c->r, &c->runs, &w, &p, err);
    for (long i = 0; rc == 0 && i < p.n; i++) {
        fputc('\n', c->cli->out);
        rc = chart_text(c->cli->out, &p.v[i], width ? width : 80, 16,
                        c->cli->out_tty && c->cli->color, chart_utf8(), err);
    }
    panels_free(&p);
    return rc;
}

static int compare(struct comparison *c, const struct options *o, struct pesc_error *err)
{
    for (long i = 0; i < c->runs.n; i++)
        c->id[i].number = c->runs.v[i].id;
    TRY(compare_runs(c, err));
    TRY(compare_params(c, o->all, err));
    TRY(compare_evals(c, err));
    TRY(compare_routing(c, err));
    if (!c->json)
        return compare_curves(c, o, err);
    fputs("}\n", c->cli->out);
    return 0;
}

static int run(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    const struct options *o = values;
    struct comparison c = {.cli = cli, .json = o->json};
    if (argc < 2 || argc > MOST)
        return FAIL(err, USAGE, "compare takes 2 to %d runs", MOST);
    TRY(runs_open(o->db, &c.r, NULL, err));
    int rc = shown_runs_find(c.r, 0, argc, argv, &c.runs, err);
    if (rc == 0) {
        rc = compare(&c, o, err);
        shown_runs_free(&c.runs);
    }
    reader_close(c.r);
    return rc;
}

const struct cmd runs_compare = {
    .name = "compare",
    .usage = "RUN RUN... [--metric NAME ...] [--all] [--json]",
    .summary = "Sets runs side by side: parameters, evaluations, routing, curves.",
    .details = RUNS_WHICH,
    .opts = opts,
    .opts_size = sizeof(struct options),
    .run = run,
};
