#include "config.h"
#include "core/json.h"

#include "core/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *parse(const char *text, size_t len, size_t flags, enum json_fault *fault, char *why,
                     size_t why_size)
{
    json_error_t e;
    json_t *v = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | flags, &e);
    if (v)
        return v;
    enum json_fault f = JSON_FAULT_SYNTAX;
    switch (json_error_code(&e)) {
    case json_error_duplicate_key:
        f = JSON_FAULT_DUP;
        break;
    case json_error_invalid_utf8:
        f = JSON_FAULT_UTF8;
        break;
    case json_error_null_character:
    case json_error_null_byte_in_key:
        f = JSON_FAULT_NUL;
        break;
    case json_error_out_of_memory:
        f = JSON_FAULT_MEMORY;
        break;
    default:
        /* jansson has no code of its own for a \u escape that is half a surrogate pair */
        if (strstr(e.text, "Unicode"))
            f = JSON_FAULT_UTF8;
    }
    if (fault)
        *fault = f;
    if (why && why_size)
        snprintf(why, why_size, "line %d, column %d: %s", e.line, e.column, e.text);
    return NULL;
}

json_t *json_parse(const char *text, size_t len, enum json_fault *fault, char *why, size_t why_size)
{
    return parse(text, len, 0, fault, why, why_size);
}

json_t *json_parse_nul(const char *text, size_t len, enum json_fault *fault, char *why,
                       size_t why_size)
{
    return parse(text, len, JSON_ALLOW_NUL, fault, why, why_size);
}

json_t *json_file(const char *path, size_t cap, enum pesc_code code, struct pesc_error *err)
{
    char *text, why[256];
    size_t len;
    enum json_fault fault;
    if (file_read(path, cap, &text, &len, err) != 0) {
        if (err && err->code == PESC_E_LIMIT) {
            err->code = 0;
            error_set(err, code, "%s: larger than %zu bytes", path, cap);
        }
        return NULL;
    }
    json_t *v = json_parse(text, len, &fault, why, sizeof why);
    free(text);
    if (!v)
        error_set(err, fault == JSON_FAULT_MEMORY ? PESC_E_MEMORY : code, "%s: %s", path, why);
    return v;
}

char *json_canonical(const json_t *v)
{
    return json_dumps(v, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY);
}

size_t json_count_objects(const char *text, size_t len)
{
    size_t n = 0;
    int in_string = 0;
    for (size_t i = 0; i < len; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && text[i] == '{')
            n++;
    }
    return n;
}
