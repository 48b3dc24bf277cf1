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
    const char *system; /* with turns */
    struct turn *turns;
    long n_turns, cap_turns;
    struct ids ids, labels; /* of tokenised records */
    int skip;               /* an enum data_skip, or -1 */
};

/* where names file and line in messages. Errors: E-DS-FIELD, E-DS-TOKEN, E-MEMORY. */
int format_detect(const json_t *record, const char *where, enum data_format *out,
                  struct pesc_error *err) MUST_USE;
int format_read(enum data_format f, const json_t *record, long vocab_size, const char *where,
                struct item *out, struct pesc_error *err) MUST_USE;
void item_free(struct item *it);

#endif
