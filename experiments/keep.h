/* Work on a history as a whole, by its path, which must exist. */
#ifndef EXPERIMENTS_KEEP_H
#define EXPERIMENTS_KEEP_H

#include "experiments/labels.h"

/* As labels_change. */
int keep_label(const char *db, long long run_id, const struct label_change *c,
               struct pesc_error *folder, struct pesc_error *err) MUST_USE;

/* Removes a run that is deleted, for good; else E-USAGE. with_folder: its folder, too, if that
 * holds this very run and no process; what is in it that is not of a run stays, and the folder
 * then. removed (may be NULL) tells whether it went. */
int keep_purge(const char *db, long long run_id, int with_folder, int *removed,
               struct pesc_error *err) MUST_USE;

/* Runs that say they run, and of which no process is left, become "killed". take hears of each. */
int keep_reap(const char *db, void (*take)(void *ctx, const char *uuid, const char *name),
              void *ctx, struct pesc_error *err) MUST_USE;
/* One state of the database, while trainers write, into a new file that appears whole and checked
 * or not at all. E-USAGE-EXISTS, E-DB when the database is damaged. */
int keep_backup(const char *db, const char *to, struct pesc_error *err) MUST_USE;

struct prune {
    long points;      /* of a metric of a run, at least 4: of each stretch the least, the greatest,
                         the last and the first NaN stay; 0: all */
    long router_days; /* router reports of runs last heard of more days ago, but the last; -1: all
                         stay */
    int dry;          /* only count */
};
struct pruned {
    long long metrics, routers; /* rows removed */
    int running, no_log;        /* nothing was done: it is being trained; its folder's
                                   metrics.jsonl, which has all rows, is not there */
};
int keep_prune(const char *db, long long run_id, const struct prune *what, struct pruned *out,
               struct pesc_error *err) MUST_USE;

struct salvaged {
    const char *table;
    long long rows, holes; /* copied; places where rows could not be read */
};
/* All that can be read of a damaged database into a new one, which appears at the end. The damaged
 * one is only read. take hears of each table. E-USAGE-EXISTS; E-DB-SCHEMA when not even the tables
 * are known any more. */
int keep_salvage(const char *db, const char *to, void (*take)(void *ctx, const struct salvaged *s),
                 void *ctx, struct pesc_error *err) MUST_USE;

#endif
