/* Prompt templates as data: what stands before and after each role's text. */
#ifndef DATASETS_TEMPLATE_H
#define DATASETS_TEMPLATE_H

#include "core/error.h"
#include "datasets/tokenizer.h"

struct template;
const struct template *template_find(const char *id); /* or NULL */
const char *template_ids(void);                       /* "camelidae|alpaca" for messages */
const char *template_id(const struct template *t);

/* One exchange. output NULL: the prompt alone, up to where the answer begins. */
struct turn {
    const char *input, *output;
};
/* Appends ids and labels of a conversation: BOS once if the tokenizer has one, prompt parts masked,
 * each answer with its EOS trained. Pieces are tokenised apart and their ids joined, so the
 * boundary is exact. User text stays plain text whatever special tokens it spells. */
int template_render(const struct template *tpl, const struct tokenizer *t, const char *system,
                    const struct turn *turns, long n, struct ids *ids, struct ids *labels,
                    struct pesc_error *err) MUST_USE;

#endif
