/* Records by their fields: which of the known formats one is, and what it says. Internal to
 * datasets/. */
#ifndef DATASETS_FORMATS_H
#define DATASETS_FORMATS_H

#include "core/json.h"
#include "datasets/dataset.h"
#include "datasets/template.h"

/* What a record says; the texts stand in its JSON tree. Zero it before the first use, keep it from
 * record to record, free it with item_free. */
struct item {
    const char *domain; /* NULL: none given */
    const char *text;   /* trained as a whole; else NULL */
    struct message *messages;
    long n_messages, cap_messages;
    const json_t *tools;    /* or NULL */
    long parts;             /* conversations in the record, all but the first read with part > 0 */
    int is_pair;            /* an instruction with an input: the first two messages */
    struct ids ids, labels; /* of tokenised records */
    const char *remark;     /* to be told once for a file; or NULL */
    int skip;               /* an enum data_skip, or -1 */
    json_t *made;           /* array of what messages point to beside the record's own tree */
};

/* where names file and line in messages. Errors: E-DS-FIELD, E-DS-TOKEN, E-MEMORY. */
int format_detect(const json_t *record, const char *where, enum data_format *out,
                  struct pesc_error *err) MUST_USE;
/* record may be changed: what function calls hold as text becomes a tree. */
int format_read(enum data_format f, json_t *record, long part, long vocab_size, const char *where,
                struct item *out, struct pesc_error *err) MUST_USE;
void item_free(struct item *it);

/* formats.c, for the files that read one format each. */
int bad_field(const json_t *record, const char *where, const char *name, const char *want,
              struct pesc_error *err);
/* A string field. need: absent or null is an error, otherwise it reads as "". of: the object that
 * holds it, part of record. */
int text_field(const json_t *record, const json_t *of, const char *name, int need,
               const char *where, const char **out, struct pesc_error *err) MUST_USE;
int is_blank(const char *s);
int add_message(struct item *it, enum role role, const char *text, struct pesc_error *err) MUST_USE;
/* Keeps v (given up) with the item and gives it back; NULL with err. */
json_t *item_keep(struct item *it, json_t *v, struct pesc_error *err);

/* formats_chat.c */
int is_message_list(const json_t *v);
int read_messages(const json_t *record, json_t *list, const char *where, struct item *it,
                  struct pesc_error *err) MUST_USE;
int read_chat(json_t *record, const char *where, struct item *it, struct pesc_error *err) MUST_USE;
/* What follows the last answer is dropped; empty answers are context only. */
void finish_chat(struct item *it);
/* formats_pairs.c */
int is_pairs(const json_t *record);
int read_pairs(json_t *record, const char *where, struct item *it, struct pesc_error *err) MUST_USE;
int read_self(const json_t *record, long part, const char *where, struct item *it,
              struct pesc_error *err) MUST_USE;
int read_alpaca(const json_t *record, const char *where, struct item *it,
                struct pesc_error *err) MUST_USE;
/* formats_tokens.c */
int read_tokenized(const json_t *record, long vocab, const char *where, struct item *it,
                   struct pesc_error *err) MUST_USE;

#endif
