/* A training run and the history: its start, its end, and what the history could not take. */
#ifndef PESC_CLI_TRAIN_HISTORY_H
#define PESC_CLI_TRAIN_HISTORY_H

#include "cli/train_session.h"

/* Starts it there, and a thread that writes. A history that cannot be had is noted, and the run's
 * folder marked; runs that others marked are taken in. */
void train_history_start(struct train_session *s, const struct train_cli *o,
                         const struct history_run *run);
/* The run folder and the history hear the same. */
void train_history_end(struct train_session *s, const struct train_result *r, double tokens_per_s,
                       const char *status, int exit_code, const char *error);
/* After the session is closed: what is still missing of this run, from its folder. */
void train_history_catch_up(const struct train_session *s, const struct train_cli *o,
                            const struct notes *notes);

#endif
