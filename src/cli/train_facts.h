/* What a training run is, for the run folder, the checkpoints and the history. */
#ifndef PESC_CLI_TRAIN_FACTS_H
#define PESC_CLI_TRAIN_FACTS_H

#include "cli/train_session.h"

double train_clock(void); /* seconds of a clock that only runs forward */
/* Fills s->recipe. */
int train_recipe(struct train_session *s, const struct train_cli *o,
                 struct pesc_error *err) MUST_USE;
/* The checkpoint's recipe against this one: E-DS-CHANGED, E-CK-MISMATCH naming what differs.
 * Another machine, library or number of threads is only noted: W-RES-THREADS, W-RES-ENV; so
 * are other passes: W-RES-PASSES. */
int train_check_resume(struct train_session *s, struct pesc_error *err) MUST_USE;
/* run.json, config.yaml, a segment, and the history's rows (whose failure is only noted). */
int train_register(struct cli *cli, struct train_session *s, const struct train_cli *o,
                   struct pesc_error *err) MUST_USE;
/* How it ended, everywhere; and the closing JSON object. */
/* rc: how the training ended. Returns it, or -1 with err when the run's folder cannot say so. */
int train_finish(struct train_session *s, const struct train_cli *o, const struct train_result *r,
                 int rc, struct pesc_error *err) MUST_USE;

#endif
