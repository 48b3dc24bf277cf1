/* Runs that the history lacks, in whole or in part: a file "unrecorded" in the run folder says so,
 * until some process that can write the history takes them in. A run at work bears it, too, since
 * it may be killed with rows that were not written yet. */
#ifndef EXPERIMENTS_SPOOL_H
#define EXPERIMENTS_SPOOL_H

#include "experiments/history.h"

int spool_mark(const char *run_dir, struct pesc_error *err) MUST_USE;
void spool_unmark(const char *run_dir);
/* Takes all marked runs of the list beside the database (runlist.h) into h, which has started no
 * run; those at work keep their mark. How many came; notes hear of those that cannot. */
long spool_take(struct history *h, const char *db, const struct notes *notes);

#endif
