/* Items of tasks as token ids: what a model is given, and which of it is scored.
 *
 * With a template the prompt is a user's message and what follows an answer, scored without the
 * token that ends it (but with it where a perplexity is asked for); models that think are asked to
 * answer at once. In plain text what follows is joined by a space unless one is there, and white
 * space at the end of a prompt belongs to what follows, as lm-evaluation-harness does; the text of
 * a perplexity has BOS and EOS as in training.
 *
 * What is longer than the context loses the beginning of its prompt (never BOS), as much of it for
 * each choice; a text without prompt loses its end. What has no room even so is too long. */
#ifndef PESC_EVAL_ASK_H
#define PESC_EVAL_ASK_H

#include "datasets/tasks.h"

struct asking {
    const struct tokenizer *t;
    const struct template *template; /* NULL: plain text */
    const char *system;              /* of the template; NULL: none */
    long context;                    /* tokens of a sequence */
    long vocab;
};

enum asked { ASKED_WHOLE, ASKED_CUT, ASKED_TOO_LONG };
struct question {
    struct ids *v; /* [cap] sequences, [n] of this item */
    long *from;    /* the first scored token of each */
    long n, cap;
    enum asked how;
};
/* One sequence for each of what follows, or without any the prompt alone, with room left for new
 * tokens. Zero q before the first use. E-TOK-ID for ids that the model has not, E-DS-TEMPLATE. */
int ask_item(const struct asking *a, enum task_kind kind, const struct task_item *it,
             long new_tokens, struct question *q, struct pesc_error *err) MUST_USE;
void question_free(struct question *q);

#endif
