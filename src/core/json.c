#include "config.h"
#include "core/json.h"

#include "core/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Without memory jansson says that the text is wrong, or goes on without a character of a string.
 * Only errno tells; it is looked at before each number, whose conversion sets it to 0. */
struct feed {
    const char *at, *end;
    int no_memory;
};

static int is_number(char c)
{
    return (c >= '0' && c <= '9') || c == '-';
}

static size_t feed(void *buf, size_t size, void *ctx)
{
    struct feed *f = ctx;
    size_t left = (size_t)(f->end - f->at), n = 1;
    f->no_memory |= errno == ENOMEM;
    if (f->no_memory)
        return (size_t)-1;
    if (left == 0)
        return 0;
    while (n < left && n < size && !is_number(f->at[n]))
        n++;
    memcpy(buf, f->at, n);
    f->at += n;
    return n;
}

static json_t *parse(const char *text, size_t len, size_t flags, enum json_fault *fault, char *why,
                     size_t why_size)
{
    json_error_t e;
    struct feed from = {text, text + len, 0};
    errno = 0;
    json_t *v =
        json_load_callback(feed, &from, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | flags, &e);
    int no_memory = from.no_memory || errno == ENOMEM;
    if (v && !no_memory)
        return v;
    json_decref(v);
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
    if (no_memory) {
        f = JSON_FAULT_MEMORY;
        snprintf(e.text, sizeof e.text, "no memory");
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

char *json_written(const json_t *v, size_t flags)
{
    errno = 0;
    char *text = json_dumps(v, flags);
    if (text && errno != ENOMEM)
        return text;
    free(text); /* jansson lost a piece of it */
    return NULL;
}

char *json_canonical(const json_t *v)
{
    return json_written(v, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY);
}

static json_t *whole(json_t *copy)
{
    if (errno != ENOMEM)
        return copy;
    json_decref(copy);
    return NULL;
}

json_t *json_copy_whole(const json_t *v)
{
    errno = 0;
    return whole(json_copy((json_t *)v)); /* which takes no const */
}

json_t *json_copy_deep(const json_t *v)
{
    errno = 0;
    return whole(json_deep_copy(v));
}

static void drop_unless(int rc, json_t **v)
{
    if (rc == 0)
        return;
    json_decref(*v);
    *v = NULL;
}

void json_put(json_t **o, const char *key, json_t *v)
{
    drop_unless(json_object_set_new(*o, key, v), o);
}

void json_add(json_t **list, json_t *v)
{
    drop_unless(json_array_append_new(*list, v), list);
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
