#include "config.h"
#include "experiments/routing_query.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SQL_CAP = 2048, SINCE = 4 }; /* by the schema of which first choices and evaluations are */

/* ?1 run, ?2 domain, ?3 task, ?4 layer or -1, ?5 step or -1. The keys are walked by seeking from
 * one value to the next, so that the cost of one step does not grow with the number of them.
 * $T: the table, $D: which domain, $W: the column. */
#define FIRST_LAYER                                                                                \
    "CASE WHEN ?4 < 0 THEN (SELECT min(layer) FROM $T WHERE run_id = ?1) ELSE ?4 END"
#define EVAL_STEPS                                                                                 \
    "WITH RECURSIVE s(x) AS (SELECT max(step) FROM router_eval WHERE run_id = ?1 UNION ALL"        \
    " SELECT (SELECT max(step) FROM router_eval WHERE run_id = ?1 AND step < s.x) FROM s"          \
    " WHERE s.x IS NOT NULL) "
static const char train_step[] =
    "SELECT max(step) FROM $T WHERE run_id = ?1 AND layer = " FIRST_LAYER
    " AND expert = 0 $D AND (?5 < 0 OR step = ?5)";
static const char train_map[] =
    "WITH RECURSIVE l(x) AS (SELECT " FIRST_LAYER " UNION ALL SELECT (SELECT min(layer) FROM $T"
    " WHERE run_id = ?1 AND layer > l.x) FROM l WHERE l.x IS NOT NULL AND ?4 < 0),"
    " e(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM e WHERE x < (SELECT max(expert) FROM $T"
    " WHERE run_id = ?1 AND layer = " FIRST_LAYER ")) SELECT l.x, e.x, (SELECT $W FROM $T"
    " WHERE run_id = ?1 AND layer = l.x AND expert = e.x $D AND step = ?5)"
    " FROM l, e WHERE l.x IS NOT NULL ORDER BY 1, 2";
static const char train_series[] = "SELECT step, expert, $W FROM $T WHERE run_id = ?1"
                                   " AND layer = ?4 $D AND ?5 = ?5 ORDER BY 1, 2";
static const char eval_step[] =
    EVAL_STEPS "SELECT max(x) FROM s WHERE (?5 < 0 OR x = ?5) AND EXISTS (SELECT 1 FROM router_eval"
               " WHERE run_id = ?1 AND step = s.x AND task = ?3 AND domain = ?2"
               " AND (?4 < 0 OR layer = ?4))";
static const char eval_map[] = "SELECT layer, expert, $W FROM router_eval WHERE run_id = ?1"
                               " AND step = ?5 AND task = ?3 AND domain = ?2"
                               " AND (?4 < 0 OR layer = ?4) ORDER BY 1, 2";
static const char eval_series[] =
    EVAL_STEPS "SELECT step, expert, $W FROM s CROSS JOIN router_eval q WHERE run_id = ?1"
               " AND step = s.x AND task = ?3 AND domain = ?2 AND layer = ?4 AND ?5 = ?5"
               " ORDER BY 1, 2";

static int fill_in(const char *sql, const struct routing_ask *ask, char out[SQL_CAP])
{
    const char *with;
    size_t n = 0;
    for (; *sql && n < SQL_CAP; sql++) {
        if (*sql != '$') {
            out[n++] = *sql;
            continue;
        }
        sql++;
        with = *sql == 'W'   ? (ask->what ? ask->what : "load")
               : *sql == 'T' ? (ask->domain ? "router_domain" : "router_expert")
               : ask->domain ? "AND domain = ?2"
                             : "";
        int put = snprintf(out + n, SQL_CAP - n, "%s", with);
        n += (size_t)put;
    }
    if (n >= SQL_CAP)
        return -1;
    out[n] = 0;
    return 0;
}

static int ask_rows(struct reader *r, long long run_id, const struct routing_ask *ask,
                    const char *sql, long long step, struct rows *out, struct pesc_error *err)
{
    char text[SQL_CAP];
    if (fill_in(sql, ask, text) != 0)
        return FAIL(err, INTERNAL, "a query of router statistics is too long");
    return query_rows(r, out, err, text, "issii", run_id, ask->domain ? ask->domain : "",
                      ask->task ? ask->task : "", ask->layer, step);
}

/* Columns row, expert, value, in order. */
static int to_map(const struct rows *rows, struct routing_map *m, struct pesc_error *err)
{
    long n = 0, E = 0;
    for (long i = 0; i < rows->n_rows; i++) {
        long long e = cell_int(rows_at(rows, i, 1));
        n += i == 0 || cell_int(rows_at(rows, i, 0)) != cell_int(rows_at(rows, i - 1, 0));
        E = e >= E && e < rows->n_rows ? (long)e + 1
                                       : E; /* more than rows: not one that we wrote */
    }
    m->row = calloc((size_t)n + 1, sizeof *m->row);
    m->value = calloc((size_t)(n * E) + 1, sizeof *m->value);
    if (!m->row || !m->value)
        return FAIL(err, MEMORY, "no memory for routers of %ld rows", n);
    m->n = n;
    m->experts = E;
    for (long i = 0; i < n * E; i++)
        m->value[i] = NAN;
    long at = -1;
    for (long i = 0; i < rows->n_rows; i++) {
        long long row = cell_int(rows_at(rows, i, 0)), e = cell_int(rows_at(rows, i, 1));
        if (at < 0 || m->row[at] != row)
            m->row[++at] = row;
        if (e >= 0 && e < E)
            m->value[at * E + e] = cell_real(rows_at(rows, i, 2));
    }
    return 0;
}

static int read_top_k(struct reader *r, long long run_id, long *top_k, struct pesc_error *err)
{
    struct rows rows;
    TRY(query_rows(r, &rows, err,
                   "SELECT c.top_k FROM run r JOIN crafted c ON c.id = r.crafted_id"
                   " WHERE r.id = ?1",
                   "i", run_id));
    *top_k = rows.n_rows ? (long)cell_int(rows_at(&rows, 0, 0)) : 0;
    rows_free(&rows);
    return 0;
}

static int known(struct reader *r, const struct routing_ask *ask, int *is, struct pesc_error *err)
{
    const char *what = ask->what ? ask->what : "load";
    if (strcmp(what, "load") && strcmp(what, "prob") && strcmp(what, "first"))
        return FAIL(err, USAGE_VALUE, "routers have load, prob and first, not '%s'", what);
    *is = reader_version(r) >= SINCE ||
          !(ask->task || !strcmp(what, "first") || (ask->domain && strcmp(what, "load")));
    return 0;
}

int routing_map_read(struct reader *r, long long run_id, const struct routing_ask *ask,
                     struct routing_map *out, struct pesc_error *err)
{
    struct rows rows;
    int is;
    *out = (struct routing_map){.step = -1};
    TRY(known(r, ask, &is, err));
    if (!is)
        return 0;
    TRY(ask_rows(r, run_id, ask, ask->task ? eval_step : train_step, ask->step, &rows, err));
    int none = rows.n_rows == 0 || rows_at(&rows, 0, 0)->kind == CELL_NULL;
    long long step = none ? -1 : cell_int(rows_at(&rows, 0, 0));
    rows_free(&rows);
    if (none)
        return 0;
    TRY(ask_rows(r, run_id, ask, ask->task ? eval_map : train_map, step, &rows, err));
    int rc = to_map(&rows, out, err);
    rows_free(&rows);
    if (rc == 0)
        rc = read_top_k(r, run_id, &out->top_k, err);
    if (rc != 0)
        routing_map_free(out);
    out->step = step;
    return rc;
}

int routing_series_read(struct reader *r, long long run_id, const struct routing_ask *ask,
                        struct routing_map *out, struct pesc_error *err)
{
    struct rows rows;
    int is;
    *out = (struct routing_map){.step = -1};
    TRY(known(r, ask, &is, err));
    if (!is)
        return 0;
    TRY(ask_rows(r, run_id, ask, ask->task ? eval_series : train_series, -1, &rows, err));
    int rc = to_map(&rows, out, err);
    rows_free(&rows);
    if (rc == 0)
        rc = read_top_k(r, run_id, &out->top_k, err);
    if (rc != 0)
        routing_map_free(out);
    return rc;
}

void routing_map_free(struct routing_map *m)
{
    free(m->row);
    free(m->value);
    *m = (struct routing_map){.step = -1};
}

int routing_domains(struct reader *r, long long run_id, const char *task, struct rows *out,
                    struct pesc_error *err)
{
    if (task && reader_version(r) >= SINCE)
        return query_rows(r, out, err,
                          "SELECT DISTINCT domain FROM router_eval_layer WHERE run_id = ?1"
                          " AND task = ?2 AND domain <> '' ORDER BY 1",
                          "is", run_id, task);
    return query_rows(
        r, out, err,
        "WITH RECURSIVE d(x) AS (SELECT min(domain) FROM router_domain WHERE run_id = ?1"
        " AND layer = (SELECT min(layer) FROM router_domain WHERE run_id = ?1) AND expert = 0"
        " UNION ALL SELECT (SELECT min(domain) FROM router_domain WHERE run_id = ?1"
        " AND layer = (SELECT min(layer) FROM router_domain WHERE run_id = ?1) AND expert = 0"
        " AND domain > d.x) FROM d WHERE d.x IS NOT NULL)"
        " SELECT x AS domain FROM d WHERE x IS NOT NULL AND ?2 ORDER BY 1",
        "ii", run_id, (long long)(task == NULL));
}

int routing_tasks(struct reader *r, long long run_id, struct rows *out, struct pesc_error *err)
{
    if (reader_version(r) < SINCE)
        return query_rows(r, out, err, "SELECT '' AS task WHERE 0", "");
    return query_rows(r, out, err,
                      "SELECT DISTINCT task FROM router_eval_layer WHERE run_id = ?1 ORDER BY 1",
                      "i", run_id);
}

double routing_moved(const double *a, const double *b, long n)
{
    double half = 0;
    for (long e = 0; e < n; e++)
        half += fabs(a[e] - b[e]) / 2;
    return half;
}
