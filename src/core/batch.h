/* What a step trains on: whole samples packed end to end, no padding. */
#ifndef PESC_CORE_BATCH_H
#define PESC_CORE_BATCH_H

#include "core/error.h"

enum { LABEL_MASKED = -100 }; /* Hugging Face's ignore index */

/* T tokens of S samples. Sample s is the tokens cu[s] .. cu[s+1]-1; positions and attention start
 * anew in each. Hugging Face convention: the logits of token t are scored against labels[t+1]
 * (within the sample), unless that is LABEL_MASKED. domain[s] indexes the data's domain names. */
struct batch {
    long T, S;
    const int32_t *ids;    /* [T] */
    const int32_t *labels; /* [T] */
    const long *cu;        /* [S+1] */
    const int *domain;     /* [S] */
    const long *record;    /* [S] index of the record in the data, for reports */
};

/* Batches by number: asking again for step n gives the same batch, which is what makes resuming
 * and evaluation free of hidden state. The arrays stay valid until the next call. */
struct batch_source {
    int (*get)(void *ctx, long step, struct batch *out, struct pesc_error *err);
    void *ctx;
    long max_tokens, max_samples; /* bounds of any batch, for planning memory */
};

#endif
