/* Figures of evaluations as the run folder keeps them: lines of metrics.jsonl with
 *   "event": "eval", "step": N, "rows": [{task, metric, value, stderr, lo, hi, n, config?}, ...]
 * of which each row is one of the table eval; after training also "t_ms", when it was. Reals as
 * json_real_or_text, config an object. */
#ifndef EXPERIMENTS_SCORES_H
#define EXPERIMENTS_SCORES_H

#include "experiments/history.h"

/* The rows; NULL without memory, or when a config is not JSON. */
json_t *scores_json(const struct history_score *rows, long n);
/* Adds such a line to a run folder, whose run must have that uuid (E-CK-CORRUPT); E-RUN-BUSY while
 * a process trains there. */
int scores_append(const char *dir, const char *uuid, long step, long long t_ms,
                  const struct history_score *rows, long n, struct pesc_error *err) MUST_USE;
/* The other way, of one line: each row goes to take, with its texts valid until it returns. A line
 * that is no such evaluation has none; a row that lacks something is passed over. -1 when take
 * fails, or without memory. */
int scores_read(const json_t *line,
                int (*take)(void *ctx, long step, const struct history_score *row,
                            struct pesc_error *err),
                void *ctx, struct pesc_error *err) MUST_USE;

#endif
