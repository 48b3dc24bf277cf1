/* The history as a file: a copy, what is left of a damaged one, and less of it. */
#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "experiments/keep.h"

#include <stddef.h>

struct options {
    const char *db;
    long points, router_days;
    int all, dry;
};
#define DB                                                                                         \
    {                                                                                              \
        "db", NULL, OPT_STRING, offsetof(struct options, db), "PATH", DB_ARG_HELP, 0, 0            \
    }
static const struct opt db_only[] = {DB, {0}};
static const struct opt prune_opts[] = {
    DB,
    {"all", NULL, OPT_FLAG, offsetof(struct options, all), NULL, "every run", 0, 0},
    {"points", NULL, OPT_LONG, offsetof(struct options, points), "N",
     "at most N values of a metric of a run stay, at least 4", 4, 1000000000},
    {"router-days", NULL, OPT_LONG, offsetof(struct options, router_days), "N",
     "router reports of runs older than N days go, but the last", 0, 100000},
    {"dry-run", NULL, OPT_FLAG, offsetof(struct options, dry), NULL, "only count", 0, 0},
    {0}};

static void prune_defaults(void *values)
{
    ((struct options *)values)->router_days = -1;
}

static int existing(const struct options *o, char *db, struct pesc_error *err)
{
    TRY(cli_db_path(o->db, db, err));
    return path_exists(db) ? 0 : FAIL(err, DB, "%s: no history there", db);
}

static int run_backup(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    char db[PATH_CAP];
    if (argc != 1)
        return FAIL(err, USAGE, "one FILE is needed");
    TRY(existing(values, db, err));
    TRY(keep_backup(db, argv[0], err));
    fprintf(cli->talk, "%s: whole and checked\n", argv[0]);
    return 0;
}

struct told {
    FILE *f;
    long long holes;
};

static void told(void *ctx, const struct salvaged *s)
{
    struct told *t = ctx;
    t->holes += s->holes;
    fprintf(t->f, "%-20s %10lld rows", s->table, s->rows);
    if (s->holes)
        fprintf(t->f, ", %lld places cannot be read", s->holes);
    fputc('\n', t->f);
}

static int run_salvage(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    char db[PATH_CAP];
    struct told t = {cli->out, 0};
    if (argc != 1)
        return FAIL(err, USAGE, "the new database OUT is needed");
    TRY(existing(values, db, err));
    TRY(keep_salvage(db, argv[0], told, &t, err));
    fprintf(cli->talk,
            t.holes ? "what is missing may be in the run folders: pesc runs rebuild --db "
                      "%s\n"
                    : "all of it: %s\n",
            argv[0]);
    return 0;
}

static int prune_one(struct cli *cli, const struct options *o, const char *db, long long id,
                     const char *uuid, const char *name, struct pesc_error *err)
{
    const struct prune what = {o->points, o->router_days, o->dry};
    struct notes notes = cli_notes(cli);
    struct pruned p;
    char shown[400];
    TRY(keep_prune(db, id, &what, &p, err));
    text_escape(shown, sizeof shown, name);
    if (p.running)
        note(&notes, "W-DB-PRUNE", "%.8s %s is being trained: nothing is removed", uuid, name);
    else if (p.no_log)
        note(&notes, "W-DB-PRUNE",
             "%.8s %s: its folder, which would keep all rows, is not there: nothing is removed",
             uuid, name);
    else
        fprintf(cli->out, "%.8s %s: %lld values and %lld router rows%s; metrics.jsonl keeps all\n",
                uuid, shown, p.metrics, p.routers, o->dry ? " would go" : " are removed");
    return 0;
}

static int run_prune(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    struct reader *r;
    struct rows rows = {0};
    char db[PATH_CAP];
    if ((argc > 0) == o->all)
        return FAIL(err, USAGE, "either RUN... or --all is needed");
    if (!o->points && o->router_days < 0)
        return FAIL(err, USAGE, "what is to go is needed: --points N, --router-days N, or both");
    TRY(existing(o, db, err));
    TRY(runs_open(o->db, &r, NULL, err));
    int rc = 0;
    if (o->all)
        rc = query_rows(r, &rows, err, "SELECT id, uuid, name FROM run ORDER BY id", "");
    for (int i = 0; rc == 0 && i < (o->all ? rows.n_rows : argc); i++) {
        struct rows one = {0};
        long long id = o->all ? cell_int(rows_at(&rows, i, 0)) : 0;
        if (!o->all)
            rc = query_find_run(r, argv[i], &id, err);
        if (rc == 0)
            rc = query_rows(r, &one, err, "SELECT uuid, name FROM run WHERE id = ?1", "i", id);
        if (rc == 0 && one.n_rows)
            rc = prune_one(cli, o, db, id, cell_text(rows_at(&one, 0, 0)),
                           cell_text(rows_at(&one, 0, 1)), err);
        rows_free(&one);
    }
    rows_free(&rows);
    reader_close(r);
    return rc;
}

const struct cmd runs_backup = {
    .name = "backup",
    .usage = "FILE",
    .summary = "Copies the history while trainings write it.",
    .details = "FILE appears when it is whole and was checked.",
    .opts = db_only,
    .opts_size = sizeof(struct options),
    .run = run_backup,
};
const struct cmd runs_salvage = {
    .name = "salvage",
    .usage = "OUT",
    .summary = "Copies what a damaged history still has into a new one.",
    .details = "The damaged one is only read. Rows are counted by table.",
    .opts = db_only,
    .opts_size = sizeof(struct options),
    .run = run_salvage,
};
const struct cmd runs_prune = {
    .name = "prune",
    .usage = "RUN...|--all [--points N] [--router-days N] [--dry-run]",
    .summary = "Keeps fewer rows of runs; their folders keep all.",
    .details = RUNS_WHICH "\nOf each stretch of a metric the least, the greatest, the last and the "
                          "first NaN\nstay. A run whose folder is not there is left alone.",
    .opts = prune_opts,
    .opts_size = sizeof(struct options),
    .defaults = prune_defaults,
    .run = run_prune,
};
