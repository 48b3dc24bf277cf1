#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "cli/table.h"
#include "experiments/named_query.h"

#include <stddef.h>
#include <string.h>

struct options {
    const char *db;
    int csv, json, show_sql;
};

#define AT(field) offsetof(struct options, field)
static const struct opt opts[] = {
    {"db", NULL, OPT_STRING, AT(db), "PATH", DB_ARG_HELP, 0, 0},
    {"show-sql", NULL, OPT_FLAG, AT(show_sql), NULL, "print the query instead of its answer", 0, 0},
    {"csv", NULL, OPT_FLAG, AT(csv), NULL, "comma-separated values", 0, 0},
    {"json", NULL, OPT_FLAG, AT(json), NULL, "array of objects", 0, 0},
    {0}};

static void params_text(const struct named_query *q, char *out, size_t size)
{
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < QUERY_PARAMS && q->param[i].kind != QUERY_NONE && at < size; i++) {
        const struct query_param *p = &q->param[i];
        at += (size_t)snprintf(out + at, size - at, p->otherwise ? "%s[%s]" : "%s%s", i ? " " : "",
                               p->name);
    }
}

static int list(struct table *t, struct pesc_error *err)
{
    const char *const names[] = {"query", "takes", "answers"};
    struct row_sink sink = table_sink(t);
    TRY(sink.head(sink.ctx, 3, names, err));
    for (const struct named_query *q = named_queries; q->name; q++) {
        char params[128];
        params_text(q, params, sizeof params);
        const char *const text[] = {q->name, params, q->summary};
        struct cell cells[3];
        for (int i = 0; i < 3; i++)
            cells[i] = (struct cell){.kind = CELL_TEXT, .text = text[i], .n = strlen(text[i])};
        if (sink.row(sink.ctx, 3, cells, err) < 0)
            return -1;
    }
    return 0;
}

static int run(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    enum table_form form;
    struct reader *r = NULL;
    const struct named_query *q = NULL;
    TRY(table_form_of(o->csv, o->json, &form, err));
    if (argc > 0 && !(q = named_query_find(argv[0], err)))
        return -1;
    if (o->show_sql) {
        if (!q)
            return FAIL(err, USAGE, "--show-sql: of which query?");
        fprintf(cli->out, "%s\n", q->sql);
        return 0;
    }
    if (q)
        TRY(runs_open(o->db, &r, NULL, err));
    int rc = -1;
    struct table *t = table_new(cli->out, form, cli_width(cli), err);
    if (t) {
        struct row_sink sink = table_sink(t);
        rc = q ? named_query_run(r, q, argc - 1, argv + 1, &sink, err) : list(t, err);
    }
    if (rc == 0)
        table_finish(t);
    table_free(t);
    reader_close(r);
    return rc;
}

const struct cmd runs_query = {
    .name = "query",
    .usage = "[NAME [VALUES]] [--csv|--json|--show-sql]",
    .summary = "Answers a question that has a name; without one, lists them.",
    .details = RUNS_WHICH,
    .opts = opts,
    .opts_size = sizeof(struct options),
    .run = run,
};
