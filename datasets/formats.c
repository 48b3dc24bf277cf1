#include "config.h"
#include "datasets/formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *data_format_name(enum data_format f)
{
    switch (f) {
#define PESC_X(id, name)                                                                           \
    case DATA_##id:                                                                                \
        return name;
        DATA_FORMATS(PESC_X)
#undef PESC_X
    case DATA_FORMAT_COUNT:
        break;
    }
    return "unknown";
}

const char *data_skip_name(enum data_skip s)
{
    switch (s) {
#define PESC_X(id, text)                                                                           \
    case SKIP_##id:                                                                                \
        return text;
        DATA_SKIPS(PESC_X)
#undef PESC_X
    case SKIP_COUNT:
        break;
    }
    return "unknown";
}

/* The record's field names for a message. */
static const char *fields_seen(const json_t *record, char *buf, size_t size)
{
    size_t used = 0, count = 0;
    const char *key;
    json_t *value;
    snprintf(buf, size, "none");
    json_object_foreach((json_t *)record, key, value)
    {
        if (count == 12 || used + 60 > size) {
            snprintf(buf + used, size - used, ", ...");
            break;
        }
        int n = snprintf(buf + used, size - used, "%s%.40s", count ? ", " : "", key);
        used += (size_t)n;
        count++;
    }
    return buf;
}

int bad_field(const json_t *record, const char *where, const char *name, const char *want,
              struct pesc_error *err)
{
    char seen[512];
    return FAIL(err, DS_FIELD, "%s: '%s' %s; fields seen: %s", where, name, want,
                fields_seen(record, seen, sizeof seen));
}

static int has(const json_t *record, const char *name)
{
    return json_object_get(record, name) != NULL;
}

/* Files that come close but hold one half only. */
static int half(const json_t *record, const char *where, struct pesc_error *err)
{
    if (has(record, "turns"))
        return FAIL(err, DS_FIELD,
                    "%s: questions without answers ('turns'): there is nothing to train on", where);
    if (has(record, "choices"))
        return FAIL(err, DS_FIELD,
                    "%s: answers without their questions ('choices'): there is nothing to train on",
                    where);
    return 0;
}

int format_detect(const json_t *record, const char *where, enum data_format *out,
                  struct pesc_error *err)
{
    char seen[512];
    if (!json_is_object(record))
        return FAIL(err, DS_FIELD, "%s: the record is no JSON object", where);
    if (has(record, "input_ids"))
        *out = DATA_TOKENIZED;
    else if (has(record, "messages"))
        *out = DATA_MESSAGES;
    else if (has(record, "conversations") ||
             is_message_list(json_object_get(record, "conversation")))
        *out = DATA_SHAREGPT;
    else if (has(record, "conversation") || has(record, "corpus"))
        *out = DATA_PESC;
    else if (has(record, "instruction") && has(record, "instances"))
        *out = DATA_SELF;
    else if (has(record, "instruction") &&
             (has(record, "output") || has(record, "response") || has(record, "chosen")))
        *out = DATA_ALPACA; /* before text: published Alpaca files also carry it rendered */
    else if (is_pairs(record))
        *out = DATA_PAIRS;
    else if (has(record, "text"))
        *out = DATA_TEXT;
    else {
        TRY(half(record, where, err));
        return FAIL(err, DS_FIELD,
                    "%s: no known format (messages; conversations; instruction, output; prompt, "
                    "completion; question, answer; conversation; text; input_ids); fields seen: %s",
                    where, fields_seen(record, seen, sizeof seen));
    }
    return 0;
}

int text_field(const json_t *record, const json_t *of, const char *name, int need,
               const char *where, const char **out, struct pesc_error *err)
{
    const json_t *v = json_object_get(of, name);
    *out = "";
    if (!v || json_is_null(v))
        return need ? bad_field(record, where, name, "is missing", err) : 0;
    if (!json_is_string(v))
        return bad_field(record, where, name, "is not a string", err);
    *out = json_string_value(v);
    return 0;
}

int is_blank(const char *s)
{
    return s[strspn(s, " \t\r\n")] == 0;
}

int add_message(struct item *it, enum role role, const char *text, struct pesc_error *err)
{
    if (it->n_messages == it->cap_messages) {
        long cap = it->cap_messages ? 2 * it->cap_messages : 8;
        struct message *grown = realloc(it->messages, (size_t)cap * sizeof *grown);
        if (!grown)
            return FAIL(err, MEMORY, "no memory for a conversation of %ld messages", cap);
        it->messages = grown;
        it->cap_messages = cap;
    }
    it->messages[it->n_messages++] = (struct message){.role = role, .text = text};
    return 0;
}

json_t *item_keep(struct item *it, json_t *v, struct pesc_error *err)
{
    if (!it->made)
        it->made = json_array();
    if (!v || json_array_append_new(it->made, v) != 0) {
        FAIL(err, MEMORY, "no memory for a record");
        return NULL;
    }
    return v;
}

static int read_pesc(const json_t *record, const char *where, struct item *it,
                     struct pesc_error *err)
{
    const char *corpus, *system;
    int has_text = 0, empty = 0;
    TRY(text_field(record, record, "corpus", 0, where, &corpus, err));
    TRY(text_field(record, record, "instruction", 0, where, &system, err));
    const json_t *turns = json_object_get(record, "conversation");
    if (!is_blank(system))
        TRY(add_message(it, ROLE_SYSTEM, system, err));
    if (turns && !json_is_null(turns) && !json_is_array(turns))
        return bad_field(record, where, "conversation", "is not an array", err);
    for (size_t i = 0; i < json_array_size(turns); i++) {
        const json_t *turn = json_array_get(turns, i);
        const char *input, *output;
        if (!json_is_object(turn))
            return bad_field(record, where, "conversation", "holds something that is no object",
                             err);
        TRY(text_field(turn, turn, "input", 1, where, &input, err));
        TRY(text_field(turn, turn, "output", 1, where, &output, err));
        has_text |= !is_blank(input) || !is_blank(output);
        empty |= is_blank(output) || (i == 0 && is_blank(input) && is_blank(system));
        TRY(add_message(it, ROLE_USER, input, err));
        TRY(add_message(it, ROLE_ASSISTANT, output, err));
    }
    if (!is_blank(corpus)) {
        if (has_text)
            return bad_field(record, where, "corpus", "and 'conversation' both hold text", err);
        it->text = corpus;
        return 0;
    }
    if (!turns && !json_object_get(record, "corpus"))
        return bad_field(record, where, "conversation", "is missing", err);
    if (json_array_size(turns) == 0 || empty)
        it->skip = SKIP_EMPTY;
    return 0;
}

static int read_text(const json_t *record, const char *where, struct item *it,
                     struct pesc_error *err)
{
    TRY(text_field(record, record, "text", 1, where, &it->text, err));
    if (is_blank(it->text))
        it->skip = SKIP_EMPTY;
    return 0;
}

int format_read(enum data_format f, json_t *record, long part, long vocab_size, const char *where,
                struct item *out, struct pesc_error *err)
{
    out->domain = out->text = out->remark = NULL;
    out->tools = NULL;
    out->n_messages = 0;
    out->parts = 1;
    out->is_pair = 0;
    out->ids.n = out->labels.n = 0;
    out->skip = -1;
    json_array_clear(out->made);
    if (!json_is_object(record))
        return FAIL(err, DS_FIELD, "%s: the record is no JSON object", where);
    TRY(text_field(record, record, "dataset", 0, where, &out->domain, err));
    if (!*out->domain)
        TRY(text_field(record, record, "domain", 0, where, &out->domain, err));
    if (!*out->domain)
        out->domain = NULL;
    switch (f) {
    case DATA_PESC:
        return read_pesc(record, where, out, err);
    case DATA_ALPACA:
        return read_alpaca(record, where, out, err);
    case DATA_SELF:
        return read_self(record, part, where, out, err);
    case DATA_PAIRS:
        return read_pairs(record, where, out, err);
    case DATA_MESSAGES:
    case DATA_SHAREGPT:
        return read_chat(record, where, out, err);
    case DATA_TEXT:
        return read_text(record, where, out, err);
    case DATA_TOKENIZED:
        return read_tokenized(record, vocab_size, where, out, err);
    case DATA_FORMAT_COUNT:
        break;
    }
    return FAIL(err, INTERNAL, "%s: record of no format", where);
}

void item_free(struct item *it)
{
    free(it->messages);
    free(it->ids.v);
    free(it->labels.v);
    json_decref(it->made);
}
