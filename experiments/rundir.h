/* The run folder: the source of truth of a run.
 *   run.json          uuid, name, what was crafted and trained (canonical JSON)
 *   config.yaml       the resolved configuration
 *   metrics.jsonl     one object per logged step, evaluation, router report or event
 *   segments.jsonl    one object per process that worked on the run
 *   ckpt/             checkpoints
 *   adapter.safetensors | model/   the result
 *   .lock             held by the process that writes (flock: dies with it) */
#ifndef EXPERIMENTS_RUNDIR_H
#define EXPERIMENTS_RUNDIR_H

#include "core/error.h"

#include <jansson.h>

struct rundir;
/* Makes DIR (parents must exist; E-USAGE-EXISTS if it holds a run, unless resume), takes its lock
 * (E-RUN-BUSY names the holder), opens metrics.jsonl for appending. A new run gets a fresh uuid. */
int rundir_open(const char *dir, int resume, struct rundir **out, struct pesc_error *err) MUST_USE;
void rundir_close(struct rundir *r);
const char *rundir_uuid(const struct rundir *r);
const char *rundir_path(const struct rundir *r);

int rundir_write_run(struct rundir *r, const json_t *run, struct pesc_error *err) MUST_USE;
int rundir_write_config(struct rundir *r, const char *yaml, struct pesc_error *err) MUST_USE;
int rundir_append(struct rundir *r, const json_t *line, struct pesc_error *err) MUST_USE;
int rundir_append_segment(struct rundir *r, const json_t *line, struct pesc_error *err) MUST_USE;
int rundir_sync(struct rundir *r, struct pesc_error *err) MUST_USE; /* fsync metrics.jsonl */

/* Reads run.json of a run folder; the caller releases. */
json_t *rundir_read_run(const char *dir, struct pesc_error *err);

#endif
