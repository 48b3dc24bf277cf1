/* The training loop: batches in, updates to the model's parameters out, events to the sink. */
#ifndef PESC_TRAIN_LOOP_H
#define PESC_TRAIN_LOOP_H

#include "core/batch.h"
#include "model/engine.h"
#include "tensor/profile.h"
#include "train/checkpoint.h"
#include "train/events.h"
#include "train/optim.h"
#include "train/schedule.h"

#include <stdatomic.h>

struct train_options {
    long steps;        /* updates in all, also those before a resume */
    long batches;      /* where the data ends: the last update may have fewer; 0: it goes round */
    long accumulation; /* batches per update */
    long pass_tokens;  /* of a pass at most, but whole samples: see passes.h; 0: whole batches */
    struct schedule schedule;
    struct adamw_options adamw;
    double max_grad_norm; /* 0: no clipping */
    double balance_coef;
    uint64_t seed;
    long logging_steps, eval_steps, save_steps; /* 0: never (save: only at the end) */
    long router_steps;                          /* how often routing is reported */
    long batches_per_epoch;
    const char *checkpoint_dir; /* NULL: no checkpoints */
    json_t *checkpoint_meta;    /* borrowed */
    const char *resume_from;    /* checkpoint to start from, or NULL */
    const char *const *domains; /* names by batch domain number */
    long n_domains;
    const struct batch_source *eval; /* held-out data, or NULL */
    long eval_batches;
    const char *eval_task;
    const char *const *eval_domains;
    long n_eval_domains;
    struct engine_choices engine; /* where activations are */
    struct profile *profile;      /* adds up the time of all updates; NULL: nobody asks */
    /* Not 0: finish this step, save and return; the result says so. May be NULL. */
    const atomic_int *stop;
};

struct train_result {
    long steps;                                 /* last update done */
    int stopped;                                /* by options.stop */
    double ce, loss;                            /* of the last step, NaN before the first */
    double eval_loss;                           /* last held-out loss, NaN without one */
    long tokens, trained_tokens, skipped_steps; /* the first two: also those before a resume */
    long own_tokens, own_trained_tokens;        /* since this call */
    double seconds;                             /* in steps of this call */
    struct prefix_counts prefix;                /* of frozen layers' outputs, in this call */
    uint64_t peak_rss;
};

/* Bytes that train_run adds to the model and the data, for at most these batch bounds. With
 * adamw.disk the model must have been told (layer_grads). engine NULL: as if all zero. */
size_t train_bytes(const struct model *m, const struct batch_source *data,
                   const struct adamw_options *adamw, const struct engine_choices *engine);
/* E-NUM-NONFINITE after three updates in a row without a finite loss and gradient (each of which is
 * skipped, told, and changes nothing); the state is saved. A checkpoint on the way that cannot be
 * written is told and tried again at the next turn; three in a row end the run with their error. */
int train_run(struct model *m, const struct batch_source *data, const struct train_options *o,
              const struct train_sink *sink, const struct notes *notes, struct train_result *r,
              struct pesc_error *err) MUST_USE;

#endif
