/* What the subcommands of runs share. */
#ifndef PESC_CLI_RUNS_H
#define PESC_CLI_RUNS_H

#include "cli/cmd.h"
#include "experiments/query.h"

extern const struct cmd runs_list, runs_plot, runs_report, runs_show, runs_compare, runs_routing,
    runs_query, runs_tail, runs_sql;
extern const struct cmd runs_export, runs_rebuild;
/* src/cli/runs_store.c */
extern const struct cmd runs_backup, runs_salvage, runs_prune;
/* src/cli/runs_label.c */
extern const struct cmd runs_note, runs_tag, runs_name, runs_delete, runs_purge, runs_reap;

/* Opens the history that --db, PESC_DB or XDG names. absent (may be NULL) is set, with return 0 and
 * *out NULL, when there is none yet; with a NULL absent that is E-DB. */
int runs_open(const char *db, struct reader **out, int *absent, struct pesc_error *err) MUST_USE;

/* Also finds the run that the command's words name: one RUN, or -1. E-DB-RUN. */
int runs_open_one(const char *db, int newest, int argc, char **argv, struct reader **out,
                  long long *id, struct pesc_error *err) MUST_USE;
#define RUNS_WHICH "RUN is \"latest\" (or -1), a name, a run folder, a uuid or the start of one."

#endif
