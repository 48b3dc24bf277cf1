/* Log-likelihoods of given continuations, many at a time: whole sequences packed end to end, of
 * which only the scored tokens go through the head. */
#ifndef PESC_EVAL_SCORE_H
#define PESC_EVAL_SCORE_H

#include "datasets/tokenizer.h"
#include "model/engine.h"

struct score {
    double loglik; /* summed, nats */
    long tokens;   /* scored */
    int greedy;    /* each of them was the most probable one */
};

/* Sequences that wait for their scores. Zero it before the first use. */
struct scoring {
    struct ids ids; /* of all, end to end */
    long *cu;       /* [n + 1] */
    long *from;     /* [n] the first scored token of each, 1 at least */
    struct score *score;
    long n, cap;
};
/* Tokens from..n-1 of ids[n] are scored. E-MEMORY. */
int scoring_add(struct scoring *s, const int32_t *ids, long n, long from,
                struct pesc_error *err) MUST_USE;
/* Scores all, in as many passes as the engine has room for: sequences stay whole and in order. One
 * that is longer than the room is E-LIMIT. The engine's room for samples is that for tokens. */
int scoring_run(struct scoring *s, struct engine *e, struct pesc_error *err) MUST_USE;
void scoring_clear(struct scoring *s); /* for the next ones */
void scoring_free(struct scoring *s);

#endif
