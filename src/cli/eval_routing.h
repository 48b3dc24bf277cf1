/* What an evaluation saw of a recorded run's routers joins its history. */
#ifndef PESC_CLI_EVAL_ROUTING_H
#define PESC_CLI_EVAL_ROUTING_H

#include "datasets/dataset.h"
#include "experiments/history.h"
#include "train/routing.h"

/* What r has gathered of data, as one of the run's evaluations; r starts anew. E-MEMORY, E-DB. */
int eval_routing_record(struct history *h, const char *run_uuid, long step, const char *task,
                        struct routing *r, const struct dataset *data,
                        struct pesc_error *err) MUST_USE;

#endif
