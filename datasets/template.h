/* Chat templates as data: what stands before and after each role's text, where BOS and EOS stand,
 * what becomes of a system text, which token ends a turn. A model's own template is recognised by
 * what it contains; it is never executed. */
#ifndef DATASETS_TEMPLATE_H
#define DATASETS_TEMPLATE_H

#include "core/json.h"
#include "datasets/tokenizer.h"

enum role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL };

struct message {
    enum role role;
    const char *text;     /* never NULL */
    const char *thinking; /* of an answer, when it stands apart from the text; or NULL */
    const json_t *calls;  /* [{function: {name, arguments}, id}], arguments an object; or NULL */
    const char *call_id;  /* of a tool's result; or NULL */
    int untrained;        /* an answer that is context only */
};

struct chat {
    const struct message *messages;
    long n;
    const json_t *tools; /* [{type, function: {name, description, parameters}}]; or NULL */
    int open;            /* ends with what stands before the next answer */
    int no_thinking;     /* with open: ask a model that thinks to answer at once */
};

enum loss_on { LOSS_ANSWERS, LOSS_LAST, LOSS_ALL };

struct template;
const struct template *template_find(const char *id); /* or NULL */
const char *template_ids(void);                       /* "camelidae|alpaca|..." for messages */
const char *template_id(const struct template *t);
/* The i-th string that ends an answer; NULL behind the last. */
const char *template_stop(const struct template *t, int i);
/* Whether a system text is left out, as some models' own templates do. */
int template_drops_system(const struct template *t);

/* Whether an instruction and its input have places of their own; elsewhere they are one question.
 */
int template_parts_pairs(const struct template *t);

/* A template made of a file's keys (doc/pesc.1); tree is no longer needed afterwards, name and
 * sha256 of the file become its id. E-USAGE-CONFIG. The caller frees it with template_free. */
int template_from_json(const json_t *tree, const char *name, const char *sha256,
                       struct template **out, struct pesc_error *err) MUST_USE;
void template_free(struct template *t);

/* The template that a model's chat_template text is, or NULL when it is none of the table's. */
const struct template *template_recognise(const char *text);
/* The model's own template: from chat_template.jinja, tokenizer_config.json or chat_template.json
 * beside its tokenizer. NULL in *out when it has none; E-TOK-TEMPLATE, with the choices, when it is
 * not known. */
int template_of_model(const struct tokenizer *t, const struct template **out,
                      struct pesc_error *err) MUST_USE;

/* Appends ids and labels of a conversation. Texts stay plain text whatever special tokens they
 * spell. Each answer is trained with the token that ends its turn (and what the template puts
 * between prompt and answer where the model has to say it itself); other parts are masked.
 *
 * All is tokenized in one go, as the reference does, but no token spans the boundary of a trained
 * part (tokenizer_encode_mixed): a prompt's ids are those that generation starts from, and the
 * trained ids decode to the answer.
 *
 * E-DS-TEMPLATE when the template has no place for something: tools, a system text, roles that do
 * not alternate. */
int template_render(const struct template *tpl, const struct tokenizer *t, const struct chat *c,
                    enum loss_on loss, struct ids *ids, struct ids *labels,
                    struct pesc_error *err) MUST_USE;
/* The same as text, with these BOS and EOS. Caller frees. NULL with err. */
char *template_text(const struct template *tpl, const char *bos, const char *eos,
                    const struct chat *c, size_t *len, struct pesc_error *err);

/* BOS, text and EOS, all of it trained (the label of BOS is never scored). */
int template_plain(const struct tokenizer *t, const char *text, struct ids *ids, struct ids *labels,
                   struct pesc_error *err) MUST_USE;

/* BOS where the tokenizer adds one, prompt and answer, of which the answer is trained. No token
 * spans the two: the prompt's ids are those that generation starts from. */
int template_continue(const struct tokenizer *t, const char *prompt, const char *answer,
                      struct ids *ids, struct ids *labels, struct pesc_error *err) MUST_USE;

#endif
