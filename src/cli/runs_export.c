#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "cli/stop.h"
#include "experiments/export.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *db, *output, *format, *table;
    int all, force;
};

static const struct opt opts[] = {
    {"db", NULL, OPT_STRING, offsetof(struct options, db), "PATH", DB_ARG_HELP, 0, 0},
    {"output", "o", OPT_STRING, offsetof(struct options, output), "PATH", "folder or file to make",
     0, 0},
    {"format", NULL, OPT_STRING, offsetof(struct options, format), "FORMAT", EXPORT_FORMATS, 0, 0},
    {"table", NULL, OPT_STRING, offsetof(struct options, table), "NAME",
     "csv, jsonl: only this table, into one file", 0, 0},
    {"all", NULL, OPT_FLAG, offsetof(struct options, all), NULL, "every run that is not deleted", 0,
     0},
    {"force", NULL, OPT_FLAG, offsetof(struct options, force), NULL,
     "replace an export or a file of that name", 0, 0},
    {0}};

/* A run that was deleted softly is exported when it is named. 1 found, 0 not, -1 with err. */
static int find_deleted(struct reader *r, const char *text, long long *id, struct pesc_error *err)
{
    struct rows rows;
    int prefix = *text && strspn(text, "0123456789abcdef") == strlen(text);
    TRY(query_rows(r, &rows, err,
                   "SELECT id FROM run WHERE deleted_ms IS NOT NULL AND (uuid = ?1 OR name = ?1"
                   " OR (?2 AND uuid GLOB ?1 || '*')) LIMIT 2",
                   "si", text, (long long)prefix));
    int found = rows.n_rows == 1;
    if (found)
        *id = cell_int(rows_at(&rows, 0, 0));
    rows_free(&rows);
    return found;
}

static int find_one(struct reader *r, const char *text, long long *id, struct pesc_error *err)
{
    struct pesc_error e = {0};
    if (query_find_run(r, text, id, &e) == 0)
        return 0;
    int found = e.code == PESC_E_DB_RUN ? find_deleted(r, text, id, err) : 0;
    if (found == 0)
        *err = e;
    return found > 0 ? 0 : -1;
}

static int find_named(struct reader *r, int n, char **names, long long *ids, long *n_ids,
                      struct pesc_error *err)
{
    for (int i = 0; i < n; i++) {
        long long id;
        long k = 0;
        TRY(find_one(r, names[i], &id, err));
        while (k < *n_ids && ids[k] != id)
            k++;
        ids[k] = id; /* a run that is named twice is exported once */
        *n_ids += k == *n_ids;
    }
    return 0;
}

static int find_runs(struct reader *r, const struct options *o, int argc, char **argv,
                     long long **ids, long *n, struct pesc_error *err)
{
    struct rows rows = {0};
    if (o->all)
        TRY(query_rows(r, &rows, err, "SELECT id FROM run WHERE deleted_ms IS NULL ORDER BY id",
                       ""));
    *ids = malloc(((size_t)(o->all ? rows.n_rows : argc) + 1) * sizeof **ids);
    int rc = *ids ? 0 : FAIL(err, MEMORY, "no memory to export runs");
    for (long i = 0; i < rows.n_rows && rc == 0; i++)
        (*ids)[(*n)++] = cell_int(rows_at(&rows, i, 0));
    rows_free(&rows);
    if (rc == 0 && !o->all)
        rc = find_named(r, argc, argv, *ids, n, err);
    if (rc == 0 && *n == 0)
        rc = FAIL(err, DB_RUN, "no runs yet");
    return rc;
}

static int export(struct cli *cli, struct reader *r, const struct options *o, int argc, char **argv,
                  struct pesc_error *err)
{
    long long *ids = NULL, rows = 0;
    long n = 0;
    struct stop *stop = NULL;
    int rc = reader_snapshot(r, err); /* of which the runs are found, too */
    if (rc == 0)
        rc = find_runs(r, o, argc, argv, &ids, &n, err);
    if (rc == 0)
        rc = stop_open(&stop, err);
    if (rc == 0) {
        stop_arm(stop);
        struct export_job job = {.format = o->format,
                                 .table = o->table,
                                 .out = o->output,
                                 .force = o->force,
                                 .ids = ids,
                                 .n = n,
                                 .notes = cli_notes(cli),
                                 .stop = stop_flag(stop)};
        rc = export_runs(r, &job, &rows, err);
        stop_close(stop);
    }
    if (rc == 0 && !cli->quiet)
        fprintf(cli->talk, "%ld run%s, %lld rows\n", n, n == 1 ? "" : "s", rows);
    free(ids);
    return rc;
}

/* Not even --force replaces what is exported from. */
static int spare_history(const struct options *o, struct pesc_error *err)
{
    char path[PATH_CAP];
    struct stat db, out;
    TRY(cli_db_path(o->db, path, err));
    if (stat(path, &db) != 0 || stat(o->output, &out) != 0 || db.st_dev != out.st_dev ||
        db.st_ino != out.st_ino)
        return 0;
    return FAIL(err, USAGE_EXISTS, "%s is the history itself", o->output);
}

static int run(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    struct reader *r;
    if (!o->format)
        return FAIL(err, USAGE, "--format is needed: " EXPORT_FORMATS);
    if (!o->output || !*o->output)
        return FAIL(err, USAGE, "-o is needed: where to write");
    if ((argc > 0) == o->all)
        return FAIL(err, USAGE, "name runs, or give --all");
    if (!strcmp(o->format, "parquet"))
        return FAIL(err, NOT_YET,
                    "no Parquet: Debian has no C library that writes it; csv and jsonl are read by"
                    " what reads Parquet (DuckDB, pandas, polars)");
    TRY(spare_history(o, err));
    TRY(runs_open(o->db, &r, NULL, err));
    int rc = export(cli, r, o, argc, argv, err);
    reader_close(r);
    return rc;
}

const struct cmd runs_export = {
    .name = "export",
    .usage = "RUN...|--all -o PATH --format FORMAT [--table NAME] [--force]",
    .summary = "Writes runs for other programs: CSV, JSON lines, TensorBoard, MLflow.",
    .details = RUNS_WHICH "\n"
                          "csv: a folder with one file per table, or with --table one file;\n"
                          "jsonl: one file of objects that name their table; tensorboard: a\n"
                          "logdir; mlflow: a file store, for 'mlflow migrate-filestore'.\n"
                          "What is there already stays; a failure leaves nothing behind.",
    .opts = opts,
    .opts_size = sizeof(struct options),
    .run = run,
};
