#include "config.h"
#include "datasets/formats.h"

#include "core/batch.h"

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

static int bad_field(const json_t *record, const char *where, const char *name, const char *want,
                     struct pesc_error *err)
{
    char seen[512];
    return FAIL(err, DS_FIELD, "%s: '%s' %s; fields seen: %s", where, name, want,
                fields_seen(record, seen, sizeof seen));
}

int format_detect(const json_t *record, const char *where, enum data_format *out,
                  struct pesc_error *err)
{
    if (!json_is_object(record))
        return FAIL(err, DS_FIELD, "%s: the record is no JSON object", where);
    if (json_object_get(record, "input_ids"))
        *out = DATA_TOKENIZED;
    else if (json_object_get(record, "conversation") || json_object_get(record, "corpus"))
        *out = DATA_PESC;
    else if (json_object_get(record, "instruction") && json_object_get(record, "output"))
        *out = DATA_ALPACA; /* before text: published Alpaca files also carry it rendered */
    else if (json_object_get(record, "text"))
        *out = DATA_TEXT;
    else {
        char seen[512];
        return FAIL(err, DS_FIELD,
                    "%s: no known format (pesc: conversation; alpaca: instruction, output; text: "
                    "text; tokenized: input_ids); fields seen: %s",
                    where, fields_seen(record, seen, sizeof seen));
    }
    return 0;
}

/* A string field. need: absent or null is an error, otherwise it reads as "". of: the object that
 * holds it, part of record. */
static int text_field(const json_t *record, const json_t *of, const char *name, int need,
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

static int is_blank(const char *s)
{
    return s[strspn(s, " \t\r\n")] == 0;
}

static int add_turn(struct item *it, const char *input, const char *output, struct pesc_error *err)
{
    if (it->n_turns == it->cap_turns) {
        long cap = it->cap_turns ? 2 * it->cap_turns : 8;
        struct turn *grown = realloc(it->turns, (size_t)cap * sizeof *grown);
        if (!grown)
            return FAIL(err, MEMORY, "no memory for a conversation of %ld turns", cap);
        it->turns = grown;
        it->cap_turns = cap;
    }
    it->turns[it->n_turns++] = (struct turn){input, output};
    return 0;
}

static int read_pesc(const json_t *record, const char *where, struct item *it,
                     struct pesc_error *err)
{
    const char *corpus;
    int has_text = 0, empty = 0;
    TRY(text_field(record, record, "corpus", 0, where, &corpus, err));
    TRY(text_field(record, record, "instruction", 0, where, &it->system, err));
    const json_t *turns = json_object_get(record, "conversation");
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
        empty |= is_blank(output) || (i == 0 && is_blank(input) && is_blank(it->system));
        TRY(add_turn(it, input, output, err));
    }
    if (!is_blank(corpus)) {
        if (has_text)
            return bad_field(record, where, "corpus", "and 'conversation' both hold text", err);
        it->text = corpus;
        return 0;
    }
    if (!turns && !json_object_get(record, "corpus"))
        return bad_field(record, where, "conversation", "is missing", err);
    if (it->n_turns == 0 || empty)
        it->skip = SKIP_EMPTY;
    return 0;
}

static int read_alpaca(const json_t *record, const char *where, struct item *it,
                       struct pesc_error *err)
{
    const char *instruction, *input, *output;
    TRY(text_field(record, record, "instruction", 1, where, &instruction, err));
    TRY(text_field(record, record, "input", 0, where, &input, err));
    TRY(text_field(record, record, "output", 1, where, &output, err));
    if (is_blank(output) || (is_blank(instruction) && is_blank(input))) {
        it->skip = SKIP_EMPTY;
        return 0;
    }
    it->system = is_blank(input) ? "" : instruction;
    return add_turn(it, is_blank(input) ? instruction : input, output, err);
}

static int read_text(const json_t *record, const char *where, struct item *it,
                     struct pesc_error *err)
{
    TRY(text_field(record, record, "text", 1, where, &it->text, err));
    if (is_blank(it->text))
        it->skip = SKIP_EMPTY;
    return 0;
}

/* An array of whole numbers in [0, vocab), or also LABEL_MASKED. */
static int read_numbers(const json_t *record, const char *name, long vocab, int labels,
                        const char *where, struct ids *out, struct pesc_error *err)
{
    const json_t *a = json_object_get(record, name);
    if (!json_is_array(a))
        return bad_field(record, where, name, "is not an array", err);
    for (size_t i = 0; i < json_array_size(a); i++) {
        const json_t *v = json_array_get(a, i);
        if (!json_is_integer(v))
            return bad_field(record, where, name, "holds something that is no whole number", err);
        json_int_t x = json_integer_value(v);
        if (labels ? x != LABEL_MASKED && (x < 0 || x >= vocab) : x < 0 || x >= vocab)
            return FAIL(err, DS_TOKEN, "%s: %s[%zu] is %lld, but the model's ids are 0 .. %ld",
                        where, name, i, (long long)x, vocab - 1);
        TRY(ids_push(out, (int32_t)x, err));
    }
    return 0;
}

/* attention_mask may only say where right padding begins; that tail is cut off. */
static int cut_padding(const json_t *record, int own_labels, const char *where, struct item *it,
                       struct pesc_error *err)
{
    const json_t *mask = json_object_get(record, "attention_mask");
    if (!mask || json_is_null(mask))
        return 0;
    if (json_array_size(mask) != it->ids.n)
        return bad_field(record, where, "attention_mask", "is not as long as 'input_ids'", err);
    size_t ones = it->ids.n;
    for (size_t i = 0; i < it->ids.n; i++) {
        const json_t *v = json_array_get(mask, i);
        json_int_t x = json_is_integer(v) ? json_integer_value(v) : -1;
        if (x == 0 && ones == it->ids.n)
            ones = i;
        if (x != (i < ones))
            return bad_field(record, where, "attention_mask", "is not ones up to a tail of zeros",
                             err);
    }
    for (size_t i = ones; i < it->labels.n; i++)
        if (own_labels && it->labels.v[i] != LABEL_MASKED)
            return bad_field(record, where, "labels", "score tokens that 'attention_mask' hides",
                             err);
    it->ids.n = it->labels.n = ones;
    return 0;
}

static int read_tokenized(const json_t *record, long vocab, const char *where, struct item *it,
                          struct pesc_error *err)
{
    const json_t *labels = json_object_get(record, "labels");
    int own_labels = labels && !json_is_null(labels);
    TRY(read_numbers(record, "input_ids", vocab, 0, where, &it->ids, err));
    if (own_labels) {
        TRY(read_numbers(record, "labels", vocab, 1, where, &it->labels, err));
        if (it->labels.n != it->ids.n)
            return bad_field(record, where, "labels", "is not as long as 'input_ids'", err);
    } else {
        for (size_t i = 0; i < it->ids.n; i++)
            TRY(ids_push(&it->labels, it->ids.v[i], err));
    }
    TRY(cut_padding(record, own_labels, where, it, err));
    if (it->ids.n == 0)
        it->skip = SKIP_EMPTY;
    return 0;
}

int format_read(enum data_format f, const json_t *record, long vocab_size, const char *where,
                struct item *out, struct pesc_error *err)
{
    out->domain = out->text = out->system = NULL;
    out->n_turns = 0;
    out->ids.n = out->labels.n = 0;
    out->skip = -1;
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
    free(it->turns);
    free(it->ids.v);
    free(it->labels.v);
}
