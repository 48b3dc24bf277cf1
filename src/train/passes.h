/* A batch that goes through the engine in several passes, so that activations are those of fewer
 * tokens. Samples stay whole and in their order; every pass takes as many as fit. */
#ifndef PESC_TRAIN_PASSES_H
#define PESC_TRAIN_PASSES_H

#include "core/batch.h"

struct passes {
    long max_tokens; /* of a pass; a longer sample is a pass of its own */
    struct batch batch;
    long sample; /* the first one of the next pass */
    long *cu;    /* [max_samples + 1] of the pass at work */
};
/* max_samples: of a batch. E-MEMORY. */
int passes_open(struct passes *p, long max_tokens, long max_samples,
                struct pesc_error *err) MUST_USE;
void passes_close(struct passes *p); /* also one that was only zeroed */
/* The batch's arrays must stay until its last pass. */
void passes_begin(struct passes *p, const struct batch *b);
/* The next pass, which is valid until the next call; token: where in the batch it begins. 0 behind
 * the last. */
int passes_next(struct passes *p, struct batch *out, long *token);

#endif
