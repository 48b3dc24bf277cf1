#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"

int runs_open(const char *db, struct reader **out, int *absent, struct pesc_error *err)
{
    char path[PATH_CAP];
    *out = NULL;
    TRY(cli_db_path(db, path, err));
    if (absent)
        *absent = !path_exists(path);
    if (absent && *absent)
        return 0;
    return reader_open(path, out, err);
}

int runs_open_one(const char *db, int newest, int argc, char **argv, struct reader **out,
                  long long *id, struct pesc_error *err)
{
    int absent;
    if (argc + newest != 1)
        return FAIL(err, USAGE, "one RUN is needed: a name, uuid or run folder, or latest");
    TRY(runs_open(db, out, &absent, err));
    if (absent)
        return FAIL(err, DB_RUN, "no runs yet");
    if (query_find_run(*out, newest ? "latest" : argv[0], id, err) == 0)
        return 0;
    reader_close(*out);
    *out = NULL;
    return -1;
}

static const struct cmd *const subs[] = {
    &runs_list,    &runs_show,   &runs_compare, &runs_plot,   &runs_report,  &runs_routing,
    &runs_query,   &runs_tail,   &runs_sql,     &runs_export, &runs_note,    &runs_tag,
    &runs_name,    &runs_delete, &runs_purge,   &runs_reap,   &runs_rebuild, &runs_backup,
    &runs_salvage, &runs_prune,  NULL};

const struct cmd cmd_runs = {
    .name = "runs",
    .usage = "COMMAND [ARGUMENTS]",
    .summary = "Looks into the history of all runs, and keeps it.",
    .details = "The history is a SQLite database: --db, else $PESC_DB, else\n"
               "$XDG_DATA_HOME/pesc/history.db, else ~/.local/share/pesc/history.db.",
    .subs = subs,
};
