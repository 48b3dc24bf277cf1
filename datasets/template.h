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
/* Appends ids and labels of a conversation: BOS once if the tokenizer adds one, prompt parts
 * masked, each answer with its EOS (if the tokenizer has one) trained. system may be NULL or "".
 * User text stays plain text whatever special tokens it spells.
 *
 * An exchange is two pieces, prompt and answer; each is tokenised by itself and the ids are joined,
 * so the boundary is exact and the prompt's ids are those that generation starts from. A prompt is
 * tokenised as the beginning of a text. An answer is tokenised as the beginning of a line, so that
 * tokenizers that put a space before a text ("▁") put none between the prompt and the answer: the
 * ids are then those of prompt and answer tokenised in one go, which is what the reference trains
 * on, except where a token would span the boundary. Decoded, the trained ids are the answer, byte
 * for byte. */
int template_render(const struct template *tpl, const struct tokenizer *t, const char *system,
                    const struct turn *turns, long n, struct ids *ids, struct ids *labels,
                    struct pesc_error *err) MUST_USE;

/* BOS, text and EOS, all of it trained (the label of BOS is never scored). */
int template_plain(const struct tokenizer *t, const char *text, struct ids *ids, struct ids *labels,
                   struct pesc_error *err) MUST_USE;

#endif
