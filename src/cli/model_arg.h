/* What commands that run a model share: finding it (api/resolve.h), memory and threads. */
#ifndef PESC_CLI_MODEL_ARG_H
#define PESC_CLI_MODEL_ARG_H

#include "api/resolve.h"
#include "cli/cmd.h"

/* What is about to be allocated, with what is in use and a margin, against the budget (0: what the
 * machine can give): E-MEMORY-BUDGET names what would do. total (may be NULL) gets the sum. */
int memory_check(uint64_t budget, uint64_t wanted, uint64_t *total,
                 struct pesc_error *err) MUST_USE;
/* Tells OpenMP how many threads: --threads, else OMP_NUM_THREADS, else the usable cores. */
long threads_arg(long threads);

#endif
