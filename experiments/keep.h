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

#endif
