/* A list beside the database, DB".runs": each folder of a run or of an imported pack that it ever
 * was told of, a JSON string a line, so that a lost database can be made again. */
#ifndef EXPERIMENTS_RUNLIST_H
#define EXPERIMENTS_RUNLIST_H

#include "core/error.h"

/* Adds an absolute folder unless it stands there. */
int runlist_add(const char *db, const char *folder, struct pesc_error *err) MUST_USE;
/* Each folder once, in the order in which they came. E-IO-MISSING: there is no list. */
int runlist_each(const char *db, int (*take)(void *ctx, const char *folder, struct pesc_error *err),
                 void *ctx, struct pesc_error *err) MUST_USE;

#endif
