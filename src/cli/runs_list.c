#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "cli/table.h"

#include <stddef.h>

struct options {
    const char *db;
    long limit;
    int csv, json;
};

static const struct opt opts[] = {
    {"db", NULL, OPT_STRING, offsetof(struct options, db), "PATH", DB_ARG_HELP, 0, 0},
    {"limit", "n", OPT_LONG, offsetof(struct options, limit), "N", "at most N runs; 0: all", 0,
     1000000},
    {"csv", NULL, OPT_FLAG, offsetof(struct options, csv), NULL, "comma-separated values", 0, 0},
    {"json", NULL, OPT_FLAG, offsetof(struct options, json), NULL, "array of objects", 0, 0},
    {0}};

static void defaults(void *values)
{
    ((struct options *)values)->limit = 50;
}

#define FROM_RUNS                                                                                  \
    " FROM v_run v JOIN run r ON r.id = v.id ORDER BY r.created_ms DESC, r.id DESC"                \
    " LIMIT CASE ?1 WHEN 0 THEN -1 ELSE ?1 END"

static const char for_people[] =
    "SELECT substr(r.uuid, 1, 8) AS run, v.name, v.status, v.steps,"
    " coalesce(round(v.train_loss, 4), (SELECT 'NaN' FROM v_last l WHERE l.run_id = r.id"
    " AND l.metric = 'train/loss' AND l.step IS NOT NULL)) AS loss,"
    " round(v.best_valid, 4) AS valid,"
    " v.hours, coalesce(v.base, '-') AS base, coalesce(v.moe, 'dense') AS moe,"
    " substr(v.created, 1, 10) AS created" FROM_RUNS;

enum { NAME_COLUMN = 1, BASE_COLUMN = 7 };

static const char for_programs[] =
    "SELECT r.uuid, v.name, v.experiment, v.status, r.last_step, r.steps_planned, v.train_loss,"
    " v.best_valid, v.hours, v.base, v.moe, v.resumes, v.created, v.exit_code, v.error,"
    " r.dir" FROM_RUNS;

static int run(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    enum table_form form;
    struct reader *r = NULL;
    int rc = -1, absent;
    if (argc > 0)
        return FAIL(err, USAGE, "list takes no '%s'", argv[0]);
    TRY(table_form_of(o->csv, o->json, &form, err));
    TRY(runs_open(o->db, &r, &absent, err));
    struct table *t = table_new(cli->out, form, cli_width(cli), err);
    struct rows any = {0};
    if (!t)
        goto done;
    if (!absent)
        TRY_OR(query_rows(r, &any, err, "SELECT 1 FROM v_run LIMIT 1", ""), done);
    if (any.n_rows == 0) {
        fprintf(cli->talk, "no runs yet\n");
        if (form == TABLE_JSON)
            table_finish(t);
        rc = 0;
        goto done;
    }
    struct row_sink sink = table_sink(t);
    table_cut_only(t, 1UL << NAME_COLUMN | 1UL << BASE_COLUMN);
    rc = query_run(r, &sink, err, form == TABLE_TEXT ? for_people : for_programs, "i",
                   (long long)o->limit);
    if (rc == 0)
        table_finish(t);
done:
    rows_free(&any);
    table_free(t);
    reader_close(r);
    return rc;
}

const struct cmd runs_list = {
    .name = "list",
    .usage = "[--limit N] [--csv|--json]",
    .summary = "Lists the runs, newest first.",
    .details = "loss is the last training loss, valid the best validation loss (nats per token).\n"
               "stale? is a run that says it runs but gave no sign for two minutes.",
    .opts = opts,
    .opts_size = sizeof(struct options),
    .defaults = defaults,
    .run = run,
};
