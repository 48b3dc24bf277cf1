/* What an evaluation saw of a recorded run's routers joins its history. */
#ifndef PESC_CLI_EVAL_ROUTING_H
#define PESC_CLI_EVAL_ROUTING_H

#include "datasets/dataset.h"
#include "experiments/history.h"
#include "train/routing.h"

/* What r has gathered of data, as one of the run's evaluations, in its folder (dir, unless that is
 * empty) and in the history (h, unless that is NULL); r starts anew. E-MEMORY, E-DB, and the
 * folder's errors, which keep nothing out of the history. */
int eval_routing_record(struct history *h, const char *dir, const char *run_uuid, long step,
                        const char *task, struct routing *r, const struct dataset *data,
                        struct pesc_error *err) MUST_USE;

#endif
