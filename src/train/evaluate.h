/* Held-out loss, next-token accuracy and exact matches, in all and by domain. */
#ifndef PESC_TRAIN_EVALUATE_H
#define PESC_TRAIN_EVALUATE_H

#include "core/batch.h"
#include "model/engine.h"
#include "train/interval.h"
#include "train/routing.h"

struct eval_sum {
    double loss; /* summed cross-entropy */
    long scored, correct, samples;
    long answers, exact; /* samples with scored tokens; those with every one of them right */
    struct clusters losses, hits; /* the same by sample, for the intervals */
};
/* Batches 0..n_batches-1, in several passes where one has more tokens than the engine's room.
 * domain[n_domains] may be NULL; all gets the total. routing, of a crafted model with as many
 * domains, adds the choices of experts; NULL: nobody asks. Sums are taken in the order of the
 * tokens, so that the same data gives the same bits. */
int evaluate(struct engine *e, const struct batch_source *data, long n_batches,
             struct eval_sum *all, struct eval_sum *domain, long n_domains, struct routing *routing,
             struct pesc_error *err) MUST_USE;
double eval_loss(const struct eval_sum *s);     /* mean, NaN without scored tokens */
double eval_accuracy(const struct eval_sum *s); /* 0..1, NaN likewise */
/* Of loss and accuracy, by samples, whose tokens are alike; NaN with fewer than two. */
double eval_loss_stderr(const struct eval_sum *s);
double eval_stderr(const struct eval_sum *s);
/* Share of the answers whose every scored token is the most probable one after the true tokens
 * before it. When the end token is scored too, that is exactly when greedy decoding gives the
 * answer and stops there. NaN without answers. */
double eval_exact_match(const struct eval_sum *s);
double eval_exact_stderr(const struct eval_sum *s);

#endif
