/* What the user says of a run after it began: name, note, tags, and that it is deleted. It stands
 * in the history, and in the run folder's labels.json:
 *   {"name": ..., "note": ..., "tags": {...}, "deleted_ms": N}   each only where it was said */
#ifndef EXPERIMENTS_LABELS_H
#define EXPERIMENTS_LABELS_H

#include "experiments/db.h"

struct label_change {
    const char *name, *note; /* NULL: as it was */
    const char *const *keys, *const *values;
    long n_tags;  /* values[i] NULL: the tag is removed */
    int deletion; /* 1: deleted, -1: no more, 0: as it was */
};
/* Changes the run in the database, and in its folder if that is there. A folder that could not be
 * written is told in folder and is no failure. E-DB-RUN. */
int labels_change(struct db *d, long long run_id, const struct label_change *c,
                  struct pesc_error *folder, struct pesc_error *err) MUST_USE;
/* Within a transaction: what labels.json of the folder says goes into the database; without one
 * nothing changes. */
int labels_read(struct db *d, long long run_id, const char *dir, struct pesc_error *err) MUST_USE;
/* Where the database says the run's folder is (PATH_CAP bytes). E-DB-RUN. */
int run_folder(struct db *d, long long id, char uuid[33], char *dir,
               struct pesc_error *err) MUST_USE;
int run_folder_holds(const char *dir, const char *uuid); /* whether it is of that run */

#endif
