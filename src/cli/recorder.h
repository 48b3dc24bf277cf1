/* One listener for a training run: the terminal, the run folder and the history all hear the same.
 * The run folder is the source of truth; a history that cannot be written is noted and never stops
 * the run. */
#ifndef PESC_CLI_RECORDER_H
#define PESC_CLI_RECORDER_H

#include "cli/progress.h"
#include "experiments/history.h"
#include "experiments/rundir.h"

struct recorder {
    struct progress *progress;
    struct rundir *dir;
    struct history *history; /* NULL: none */
    struct notes notes;
    double flushed;                 /* time of the last flush */
    long step;                      /* the last that was heard of */
    long long tokens;               /* of the run, also of earlier processes */
    int dir_failed, history_failed; /* told once */
};
struct train_sink recorder_sink(struct recorder *r);
/* Warnings while the run goes on: shown, and kept as events. */
struct notes recorder_notes(struct recorder *r);
/* A file that came of the run; kind as for history_artifact. */
void recorder_artifact(struct recorder *r, const char *kind, const char *path, long step,
                       const char *sha256, uint64_t bytes);
/* Writes what is queued, now. */
void recorder_flush(struct recorder *r);

#endif
