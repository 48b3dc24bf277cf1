/* What a training run tells whoever listens: the seam to progress, run folder and history. */
#ifndef PESC_TRAIN_EVENTS_H
#define PESC_TRAIN_EVENTS_H

#include "core/error.h"
#include "train/interval.h"

struct step_metrics {
    long step; /* 1 is the first update */
    long steps_planned;
    double loss, ce, balance; /* loss = ce + coefficient * balance */
    double lr, grad_norm;     /* norm before clipping */
    long tokens, trained_tokens;
    double seconds; /* of this step */
    double tokens_per_s, trained_tokens_per_s;
    uint64_t peak_rss; /* bytes */
    double epoch;
};

struct router_metrics { /* one layer, since the last report or in one evaluation */
    long step;
    int layer;
    long experts;
    const char *task;   /* NULL: the training; else the name of the evaluation's data */
    const char *domain; /* NULL: all tokens, otherwise those of this domain */
    double balance;     /* of all tokens; NaN for a domain's */
    double entropy;     /* of load, nats */
    double top1;        /* mean probability of the first choice */
    long tokens;
    /* [experts]: share of all choices, mean probability, share of the first choices; each sums to 1
     */
    const double *load, *prob, *first;
};

struct eval_metrics {
    long step;
    const char *task;   /* name of the data */
    const char *domain; /* NULL: all */
    double loss, perplexity;
    double accuracy;                  /* of the next token, over scored tokens */
    double exact_match, exact_stderr; /* share of answers with every token right */
    long n, answers;                  /* scored tokens; records that have any */
    double loss_stderr, accuracy_stderr;
    struct interval loss_ci, perplexity_ci, accuracy_ci, exact_ci; /* 95 % confidence */
};

/* Any member may be NULL. A listener that fails must not stop the training: it notes and returns.
 */
struct train_sink {
    void *ctx;
    void (*step)(void *ctx, const struct step_metrics *m, int logged);
    /* In the training, of all tokens and then of each domain that had some; and likewise in an
     * evaluation. */
    void (*router)(void *ctx, const struct router_metrics *m);
    void (*router_domain)(void *ctx, const struct router_metrics *m);
    void (*router_eval)(void *ctx, const struct router_metrics *m);
    void (*eval)(void *ctx, const struct eval_metrics *m);
    void (*event)(void *ctx, long step, const char *level, const char *code, const char *text);
    void (*checkpoint)(void *ctx, long step, const char *path, const char *sha256, uint64_t bytes);
};

#endif
