/* A task, item by item, through a model: what comes of it, in all and by domain. */
#ifndef PESC_EVAL_RUN_TASK_H
#define PESC_EVAL_RUN_TASK_H

#include "eval/answer.h"
#include "eval/ask.h"
#include "eval/score.h"
#include "train/interval.h"

struct task_sum {
    long items, cut, too_long; /* scored; cut, and scored; not scored */
    long right;                /* by summed log-likelihood, or exact matches */
    long right_norm;           /* of choices, by log-likelihood per byte of the choice */
    struct clusters losses;    /* of texts, by item */
};
/* One figure. stderr_ and ci NaN: not known. n: items, for losses tokens. */
struct task_figure {
    const char *metric;
    double value, stderr_;
    struct interval ci;
    long n;
};
enum { TASK_FIGURES = 2 };
/* accuracy and accuracy_norm; exact_match; or loss (mean nats a token) and perplexity. */
int task_figures(enum task_kind kind, const struct task_sum *s,
                 struct task_figure out[TASK_FIGURES]);

/* How it is scored. */
struct task_how {
    struct asking asking;
    struct answering answering; /* of what is generated; its decoder may come later */
    struct normal normal;
};
/* What its items need at most: tokens of a sequence that is scored, and of one with its answer
 * (0: nothing is generated). Tokenizes all. */
int task_measure(const struct task *t, const struct task_how *h, long *scored, long *generated,
                 struct pesc_error *err) MUST_USE;
/* all and domain[t->n_domains] get the sums. e: with room for what is scored (task_measure); a
 * decoder for what is generated. told (may be NULL) hears of each item that was scored: what the
 * model chose or said. */
struct task_told {
    void (*item)(void *ctx, const struct task *t, long i, const struct score *choices,
                 const char *answer);
    void *ctx;
};
int task_run(const struct task *t, const struct task_how *h, struct engine *e, struct task_sum *all,
             struct task_sum *domain, const struct task_told *told,
             struct pesc_error *err) MUST_USE;
/* Which is the most probable choice: of the sums, or per byte; ties to the first, NaN is never. */
long task_choice(const struct task_item *it, const struct score *s, int per_byte);

#endif
