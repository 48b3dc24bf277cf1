/* The run folder: the source of truth of a run.
 *   run.json          uuid, name, what was crafted and trained (canonical JSON)
 *   config.yaml       the resolved configuration
 *   metrics.jsonl     one object per logged step, evaluation, router report, event or file that
 *                     came of it; "t_ms" is when, as in the history
 *   segments.jsonl    of each process that worked on the run an object when it starts, with all
 *                     that the history is told of it, and one when it ends
 *   labels.json       name, note, tags and deletion, as the user changed them
 *   packs.jsonl       one object per pack exported
 *   ckpt/             checkpoints
 *   adapter.safetensors | model/   the result
 *   .lock             held by the process that writes (flock: dies with it) */
#ifndef EXPERIMENTS_RUNDIR_H
#define EXPERIMENTS_RUNDIR_H

#include "core/error.h"

#include <jansson.h>

struct rundir;
/* Makes DIR (its parent must exist), takes its lock (E-RUN-BUSY names the holder), opens
 * metrics.jsonl for appending. A new run gets a fresh uuid; its folder must be new, empty, or left
 * by a process that died before rundir_write_run (E-USAGE-EXISTS). resume: a run that is there goes
 * on under its uuid (half a line at the end of a log, left by a crash, is cut off), and without one
 * a new run starts; rundir_resumed tells. */
int rundir_open(const char *dir, int resume, struct rundir **out, struct pesc_error *err) MUST_USE;
void rundir_close(struct rundir *r);
/* Closes a folder that rundir_write_run never came to, and removes what rundir_open and the writers
 * made in it, and the folder if it was not there before. A run that is there is only closed.
 * NULL is fine. */
void rundir_discard(struct rundir *r);
const char *rundir_uuid(const struct rundir *r);
const char *rundir_path(const struct rundir *r); /* absolute */
int rundir_resumed(const struct rundir *r);

/* The caller's object plus "uuid"; the folder holds a run from here on. */
int rundir_write_run(struct rundir *r, const json_t *run, struct pesc_error *err) MUST_USE;
int rundir_write_config(struct rundir *r, const char *yaml, struct pesc_error *err) MUST_USE;
/* One line each. Appending a metric is one write and no flush to disk; a segment is flushed. */
int rundir_append(struct rundir *r, const json_t *line, struct pesc_error *err) MUST_USE;
int rundir_append_segment(struct rundir *r, const json_t *line, struct pesc_error *err) MUST_USE;
/* The same for another log of a run folder that may be held by a process: packs.jsonl. */
int rundir_append_to(const char *dir, const char *name, const json_t *line,
                     struct pesc_error *err) MUST_USE;
int rundir_sync(struct rundir *r, struct pesc_error *err) MUST_USE; /* fsync metrics.jsonl */

/* Reads run.json of a run folder; the caller releases. Its "uuid" is sound. NULL on failure:
 * E-IO-MISSING, E-CK-CORRUPT. */
json_t *rundir_read_run(const char *dir, struct pesc_error *err);

/* Whether a process holds the lock of a run folder. */
int rundir_is_held(const char *dir);

/* JSON has no NaN: a finite number as it is, otherwise "NaN", "Infinity" or "-Infinity". */
json_t *json_real_or_text(double x);
/* The other way: 1 for a number or such a text, else 0 and *out is NaN. */
int json_real_read(const json_t *v, double *out);
/* Text that may be no UTF-8, which is then escaped; NULL without memory. */
json_t *json_text(const char *text);

#endif
