/* Shared by rebuild.c (runs, segments) and rebuild_lines.c (the log). */
#ifndef EXPERIMENTS_REBUILD_LINES_H
#define EXPERIMENTS_REBUILD_LINES_H

#include "experiments/history_impl.h"
#include "experiments/rebuild.h"

/* How far the log had come when a process ended. */
struct log_end {
    long step;
    long long tokens, t_ms;
};
struct rebuild_log {
    struct log_end *ends; /* of each process but the last, which resumed; then of the last */
    long n;
};
/* metrics.jsonl of dir into h, whose run is there; began: the time of lines that have none. */
int rebuild_log_read(struct history *h, const char *dir, long long began, struct rebuilt *out,
                     struct rebuild_log *log, struct pesc_error *err) MUST_USE;
void rebuild_log_free(struct rebuild_log *log);

#endif
