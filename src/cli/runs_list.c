#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "cli/runs_filter.h"
#include "cli/table.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *db, *experiment, *status, *base, *since, *where, *sort, *columns;
    struct opt_list tags;
    long limit;
    int deleted, csv, json;
};

#define AT(field) offsetof(struct options, field)
static const struct opt opts[] = {
    {"db", NULL, OPT_STRING, AT(db), "PATH", DB_ARG_HELP, 0, 0},
    {"experiment", NULL, OPT_STRING, AT(experiment), "NAME", "runs of this one", 0, 0},
    {"status", NULL, OPT_STRING, AT(status), "S", "running, finished, failed, ...", 0, 0},
    {"base", NULL, OPT_STRING, AT(base), "NAME", "runs on this base model", 0, 0},
    {"tag", NULL, OPT_LIST, AT(tags), "KEY[=VALUE]", "runs with these tags", 0, 0},
    {"since", NULL, OPT_STRING, AT(since), "DATE", "begun then (UTC) or later: 2025-01-31, 7d, 12h",
     0, 0},
    {"where", NULL, OPT_STRING, AT(where), "TEXT",
     "conditions: \"params.lr >= 1e-4 and metrics.valid/loss < 2\"", 0, 0},
    {"sort", NULL, OPT_STRING, AT(sort), "COLUMN[:desc]", "instead of newest first", 0, 0},
    {"columns", NULL, OPT_STRING, AT(columns), "A,B,...", "instead of the usual ones", 0, 0},
    {"deleted", NULL, OPT_FLAG, AT(deleted), NULL, "runs that are deleted, and only those", 0, 0},
    {"limit", "n", OPT_LONG, AT(limit), "N", "at most N runs; 0: all", 0, 1000000},
    {"csv", NULL, OPT_FLAG, AT(csv), NULL, "comma-separated values", 0, 0},
    {"json", NULL, OPT_FLAG, AT(json), NULL, "array of objects", 0, 0},
    {0}};

static void defaults(void *values)
{
    struct options *o = values;
    memset(o, 0, sizeof *o);
    o->limit = 50;
}

static const char for_people[] =
    "substr(r.uuid, 1, 8) AS run, v.name, v.status, v.steps,"
    " coalesce(round(v.train_loss, 4), (SELECT 'NaN' FROM v_last l WHERE l.run_id = r.id"
    " AND l.metric = 'train/loss' AND l.step IS NOT NULL)) AS loss,"
    " round(v.best_valid, 4) AS valid,"
    " v.hours, coalesce(v.base, '-') AS base, coalesce(v.moe, 'dense') AS moe,"
    " substr(v.created, 1, 10) AS created";

enum { NAME_COLUMN = 1, BASE_COLUMN = 7 };

static const char for_programs[] =
    "r.uuid, v.name, v.experiment, v.status, r.last_step, r.steps_planned, v.train_loss,"
    " v.best_valid, v.hours, v.base, v.moe, v.resumes, v.created, v.exit_code, v.error,"
    " r.dir";

/* What v_run says, of deleted runs. */
static const char of_deleted[] =
    "(SELECT r.id, e.name AS experiment, r.name, r.status, r.last_step || '/' ||"
    " coalesce(r.steps_planned, '?') AS steps, (SELECT m.value FROM metric m JOIN metric_key k"
    " ON k.id = m.key_id AND k.name = 'train/loss' WHERE m.run_id = r.id ORDER BY m.step DESC"
    " LIMIT 1) AS train_loss, (SELECT min(m.value) FROM metric m JOIN metric_key k"
    " ON k.id = m.key_id AND k.name = 'valid/loss' WHERE m.run_id = r.id) AS best_valid,"
    " round((coalesce(r.ended_ms, r.heartbeat_ms) - r.started_ms) / 3600000.0, 2) AS hours,"
    " mo.name AS base, c.n_experts || 'x' || c.adapter_dim || ' top' || c.top_k AS moe,"
    " (SELECT count(*) - 1 FROM segment s WHERE s.run_id = r.id) AS resumes,"
    " datetime(r.created_ms / 1000, 'unixepoch') AS created, r.exit_code, r.error FROM run r"
    " JOIN experiment e ON e.id = r.experiment_id LEFT JOIN crafted c ON c.id = r.crafted_id"
    " LEFT JOIN model mo ON mo.id = coalesce(c.model_id, r.model_id)"
    " WHERE r.deleted_ms IS NOT NULL)";

static int add_columns(struct filter *f, const struct options *o, enum table_form form,
                       struct pesc_error *err)
{
    if (!o->columns)
        return filter_add(f, err, "%s", form == TABLE_TEXT ? for_people : for_programs);
    int n = 0;
    for (const char *p = o->columns;; n++) {
        size_t len = strcspn(p, ",");
        if (n == FILTER_COLUMNS)
            return FAIL(err, USAGE_VALUE, "--columns: more than %d", FILTER_COLUMNS);
        TRY(filter_add(f, err, n ? ", " : ""));
        TRY(filter_column(f, p, len, err));
        /* A name within double quotes, which are doubled; it may be any. */
        TRY(filter_add(f, err, " AS \""));
        for (size_t i = 0; i < len; i++)
            TRY(filter_add(f, err, p[i] == '"' ? "\"\"" : "%c", p[i]));
        TRY(filter_add(f, err, "\""));
        if (!p[len])
            return 0;
        p += len + 1;
    }
}

static int equal(struct filter *f, const char *column, const char *text, struct pesc_error *err)
{
    if (!text)
        return 0;
    TRY(filter_add(f, err, " AND %s = ", column));
    return filter_text(f, text, strlen(text), err);
}

static int is_date(const char *text)
{
    int y, m, d, h = 0, min = 0, s = 0, n = 0;
    int got =
        sscanf(text, "%4d-%2d-%2d%n%*1[T ]%2d:%2d%n:%2d%n", &y, &m, &d, &n, &h, &min, &n, &s, &n);
    return got >= 3 && n >= 10 && !text[n] && y >= 1970 && m >= 1 && m <= 12 && d >= 1 && d <= 31 &&
           h >= 0 && h < 24 && min >= 0 && min < 60 && s >= 0 && s < 60;
}

/* 90m, 12h, 7d: as SQLite's datetime takes it. */
static int is_ago(const char *text, char *out, size_t size)
{
    char *end;
    long n = strtol(text, &end, 10);
    const char *unit = !strcmp(end, "m") ? "minutes" : !strcmp(end, "h") ? "hours" : "days";
    if (end == text || n < 0 || n > 1000000 || (!strchr("mh", *end) && strcmp(end, "d") != 0) ||
        !*end || end[1])
        return 0;
    snprintf(out, size, "-%ld %s", n, unit);
    return 1;
}

static int add_since(struct filter *f, const char *text, struct pesc_error *err)
{
    char ago[48];
    int relative = is_ago(text, ago, sizeof ago);
    if (!relative && !is_date(text))
        return FAIL(err, USAGE_VALUE,
                    "--since: '%s' is no date such as 2025-01-31 and no time such as 7d, 12h, 90m",
                    text);
    TRY(filter_add(f, err, " AND datetime(v.created) >= datetime(%s", relative ? "'now', " : ""));
    TRY(filter_text(f, relative ? ago : text, strlen(relative ? ago : text), err));
    return filter_add(f, err, ")");
}

static int add_conditions(struct filter *f, const struct options *o, struct pesc_error *err)
{
    TRY(equal(f, "v.experiment", o->experiment, err));
    TRY(equal(f, "v.status", o->status, err));
    TRY(equal(f, "v.base", o->base, err));
    for (long i = 0; i < o->tags.n; i++) {
        const char *tag = o->tags.v[i], *eq = strchr(tag, '=');
        size_t n = eq ? (size_t)(eq - tag) : strlen(tag);
        TRY(filter_add(f, err, " AND EXISTS (SELECT 1 FROM tag WHERE run_id = r.id AND key = "));
        TRY(filter_text(f, tag, n, err));
        if (eq) {
            TRY(filter_add(f, err, " AND value = "));
            TRY(filter_text(f, eq + 1, strlen(eq + 1), err));
        }
        TRY(filter_add(f, err, ")"));
    }
    if (o->since)
        TRY(add_since(f, o->since, err));
    if (o->where) {
        TRY(filter_add(f, err, " AND "));
        TRY(filter_where(f, o->where, err));
    }
    return 0;
}

static int add_order(struct filter *f, const struct options *o, struct pesc_error *err)
{
    TRY(filter_add(f, err, " ORDER BY "));
    if (o->sort) {
        const char *colon = strrchr(o->sort, ':');
        int desc = colon && !strcmp(colon, ":desc"), asc = colon && !strcmp(colon, ":asc");
        size_t n = desc || asc ? (size_t)(colon - o->sort) : strlen(o->sort);
        TRY(filter_add(f, err, "nullif("));
        TRY(filter_column(f, o->sort, n, err));
        TRY(filter_add(f, err, ", 'NaN') IS NULL, "));
        TRY(filter_as_number(f, o->sort, n, err));
        TRY(filter_add(f, err, desc ? " DESC, " : ", "));
        TRY(filter_column(f, o->sort, n, err));
        TRY(filter_add(f, err, desc ? " DESC, " : ", "));
    }
    return filter_add(f, err, "r.created_ms DESC, r.id DESC LIMIT %ld", o->limit ? o->limit : -1);
}

static int make_query(struct filter *f, const struct options *o, enum table_form form,
                      struct pesc_error *err)
{
    TRY(filter_add(f, err, "SELECT "));
    TRY(add_columns(f, o, form, err));
    TRY(filter_add(f, err, " FROM %s v JOIN run r ON r.id = v.id WHERE 1",
                   o->deleted ? of_deleted : "v_run"));
    TRY(add_conditions(f, o, err));
    return add_order(f, o, err);
}

static int run(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    enum table_form form;
    struct reader *r = NULL;
    int rc = -1, absent;
    if (argc > 0)
        return FAIL(err, USAGE, "list takes no '%s'", argv[0]);
    TRY(table_form_of(o->csv, o->json, &form, err));
    struct filter *f = calloc(1, sizeof *f);
    struct table *t = f ? table_new(cli->out, form, cli_width(cli), err) : NULL;
    struct rows any = {0};
    if (!f)
        return FAIL(err, MEMORY, "no memory for a query");
    if (!t)
        goto done;
    TRY_OR(make_query(f, o, form, err), done);
    TRY_OR(runs_open(o->db, &r, &absent, err), done);
    if (!absent)
        TRY_OR(query_rows(r, &any, err, "SELECT 1 FROM run LIMIT 1", ""), done);
    if (any.n_rows == 0) {
        fprintf(cli->talk, "no runs yet\n");
        if (form == TABLE_JSON)
            table_finish(t);
        rc = 0;
        goto done;
    }
    struct row_sink sink = table_sink(t);
    if (!o->columns)
        table_cut_only(t, 1UL << NAME_COLUMN | 1UL << BASE_COLUMN);
    rc = query_run_values(r, &sink, err, f->sql, f->v, f->n_values);
    if (rc == 0)
        table_finish(t);
done:
    rows_free(&any);
    table_free(t);
    filter_free(f);
    free(f);
    reader_close(r);
    return rc;
}

const struct cmd runs_list = {
    .name = "list",
    .usage = "[--where TEXT] [--sort COLUMN] [--columns A,B,...] [options]",
    .summary = "Lists the runs, newest first.",
    .details =
        "loss is the last training loss, valid the best validation loss (nats per token).\n"
        "stale? is a run that says it runs but gave no sign for two minutes.\n\n"
        "Columns: run uuid name experiment status steps step loss valid hours base moe resumes\n"
        "created exit error seed tokens folder note, and param:KEY metric:NAME tag:KEY\n"
        "eval:TASK/METRIC (last values). In --where also params.KEY, metrics.NAME, tags.KEY,\n"
        "evals.TASK/METRIC, with = != < <= > >= like, joined by and, or, not and ( ).\n"
        "Numbers compare as such; of what a run has not, or is NaN, no comparison of numbers\n"
        "holds. 'quoted' is text.",
    .opts = opts,
    .opts_size = sizeof(struct options),
    .defaults = defaults,
    .run = run,
};
