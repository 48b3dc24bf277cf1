#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "cli/table.h"

#include <stddef.h>

struct options {
    const char *db;
    int csv, json;
};

static const struct opt opts[] = {
    {"db", NULL, OPT_STRING, offsetof(struct options, db), "PATH", DB_ARG_HELP, 0, 0},
    {"csv", NULL, OPT_FLAG, offsetof(struct options, csv), NULL, "comma-separated values", 0, 0},
    {"json", NULL, OPT_FLAG, offsetof(struct options, json), NULL, "array of objects", 0, 0},
    {0}};

static int run(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    enum table_form form;
    struct reader *r = NULL;
    struct table *t = NULL;
    int rc = -1;
    if (argc != 1)
        return FAIL(err, USAGE, "one query is needed, in quotes");
    TRY(table_form_of(o->csv, o->json, &form, err));
    TRY(runs_open(o->db, &r, NULL, err));
    t = table_new(cli->out, form, cli_width(cli), err);
    if (!t)
        goto done;
    struct row_sink sink = table_sink(t);
    rc = query_run(r, &sink, err, argv[0], "");
    if (rc == 0)
        table_finish(t);
done:
    table_free(t);
    reader_close(r);
    return rc;
}

const struct cmd runs_sql = {
    .name = "sql",
    .usage = "\"SELECT ...\" [--csv|--json]",
    .summary = "Answers one SQL query; cannot write.",
    .details = "Views: v_run, v_metric, v_last, v_plan, v_router, v_router_domain, v_router_eval,\n"
               "v_eval, v_event, v_lineage; doc/history.md says what is in them. A query may only\n"
               "SELECT, for 10 s and 1,000,000 rows. A metric that is NaN is NULL.",
    .opts = opts,
    .opts_size = sizeof(struct options),
    .run = run,
};
