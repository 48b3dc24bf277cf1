/* Held-out loss and next-token accuracy, in all and by domain. */
#ifndef PESC_TRAIN_EVALUATE_H
#define PESC_TRAIN_EVALUATE_H

#include "core/batch.h"
#include "model/engine.h"

struct eval_sum {
    double loss; /* summed cross-entropy */
    long scored, correct, samples;
};
/* Batches 0..n_batches-1. domain[n_domains] may be NULL; all gets the total. Sums are taken in the
 * order of the tokens, so that the same data gives the same bits. */
int evaluate(struct engine *e, const struct batch_source *data, long n_batches,
             struct eval_sum *all, struct eval_sum *domain, long n_domains,
             struct pesc_error *err) MUST_USE;
double eval_loss(const struct eval_sum *s);     /* mean, NaN without scored tokens */
double eval_accuracy(const struct eval_sum *s); /* 0..1, NaN likewise */
double eval_stderr(const struct eval_sum *s);   /* of the accuracy */

#endif
