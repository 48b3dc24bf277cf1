/* Greedy answers to prompts. */
#ifndef PESC_EVAL_ANSWER_H
#define PESC_EVAL_ANSWER_H

#include "datasets/tasks.h"
#include "model/decode.h"

/* Whether a token ends what a model says: its own, the tokenizer's or the template's (or NULL). */
int answer_ends(const struct model *m, const struct tokenizer *t, const struct template *tpl,
                int32_t id);

struct answering {
    struct model *m;
    struct decoder *decoder;
    const struct tokenizer *t;
    const struct template *template; /* or NULL */
    const char *const *stops;        /* [n_stops] texts that an answer ends before */
    long n_stops, max_new_tokens;
};
/* What follows prompt[n], always the most probable token, up to an end, a stop or so many tokens;
 * out is its text. */
int answer_greedy(const struct answering *a, const int32_t *prompt, long n, struct buf *out,
                  struct pesc_error *err) MUST_USE;

#endif
