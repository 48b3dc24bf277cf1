/* What a training run is, for the run folder, the checkpoints and the history. */
#ifndef PESC_CLI_TRAIN_FACTS_H
#define PESC_CLI_TRAIN_FACTS_H

#include "cli/recorder.h"
#include "cli/stop.h"
#include "cli/train_run.h"
#include "train/memory_plan.h"

enum { EVAL_TOKENS = 2048 }; /* of an evaluation batch */

struct train_session {
    struct model_arg arg;
    struct pack_arg pack;
    struct dataset *data, *eval_data;
    struct batcher *batcher, *eval_batcher;
    struct batch_options batches_of; /* of the training data */
    struct batch_source source, eval_source;
    struct model *model;
    enum compute compute;
    char why[128];
    const char **domains, **eval_domains;
    double *rates;
    long n_rates, steps, threads, resume_step;
    long batches;              /* of --num-epochs; 0 with --max-steps */
    struct place place;        /* where everything is */
    struct memory_terms terms; /* what that takes */
    uint64_t need;             /* planned peak memory, bytes */
    uint64_t free_at_start;    /* of the machine's, bytes; 0: unknown */
    double started;
    struct recorder rec;
    struct stop *stop;
    struct profile profile; /* of all updates, where asked for */
    json_t *recipe;         /* what a resumed run must agree in; goes into checkpoints */
    char ckpt_dir[PATH_CAP], resume_from[PATH_CAP];
};

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
void train_finish(struct train_session *s, const struct train_cli *o, const struct train_result *r,
                  int rc, const struct pesc_error *err);

#endif
