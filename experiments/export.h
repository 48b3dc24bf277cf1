/* Runs of the history as files for other programs. A folder or file appears whole or not at all.
 * Values that are NaN or infinite stay that in every format. doc/export.md says what is in them. */
#ifndef EXPERIMENTS_EXPORT_H
#define EXPERIMENTS_EXPORT_H

#include "experiments/query.h"

#include <stdatomic.h>

#define EXPORT_FORMATS "csv|jsonl|tensorboard|mlflow"

struct export_job {
    const char *format;   /* one of EXPORT_FORMATS */
    const char *table;    /* csv, jsonl: only this one, into one file; NULL: all */
    const char *out;      /* csv without table, tensorboard, mlflow: a folder; else a file */
    int force;            /* replaces a file, or a folder that an export made */
    const long long *ids; /* [n] run.id */
    long n;
    struct notes notes;     /* W-EXPORT-NAME, W-EXPORT-CUT */
    const atomic_int *stop; /* a signal's number ends it: E-INTERRUPTED, E-TERMINATED; or NULL */
};
/* rows (may be NULL) gets how many were written. E-USAGE-EXISTS, E-USAGE-VALUE for an unknown
 * table, E-IO*, E-DB*. r is left in a snapshot (query.h). */
int export_runs(struct reader *r, const struct export_job *job, long long *rows,
                struct pesc_error *err) MUST_USE;

/* "runs, params, ...": the tables' names, into buf. */
const char *export_table_names(char *buf, size_t size);

#endif
