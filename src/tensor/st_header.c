/* The header is split at its top level by a scanner without recursion, and each name and each
 * value is parsed by core/json.h on its own: a tree of the whole would cost forty times the text
 * when the text is hostile. */
#include "config.h"
#include "tensor/st_header.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DEPTH = 8,          /* of brackets inside a value */
    MAX_ENTRY = 1 << 14,    /* bytes of one tensor's description */
    MAX_METADATA = 1 << 20, /* bytes of __metadata__ */
    MAX_METADATA_KEYS = 4096,
    CONTEXT = 128
};
static const uint64_t max_count = (uint64_t)1 << 53;

struct scan {
    const char *text, *p, *end, *path;
    enum st_mode mode;
    struct pesc_error *err;
    long unknown; /* fields, of which the first is kept */
    char first_unknown[CONTEXT], first_tensor[ST_NAME_CAP];
};

struct span {
    const char *p;
    size_t len;
};

static int is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && is_space(*s->p))
        s->p++;
}

static int syntax(struct scan *s, const char *what)
{
    return FAIL(s->err, ST_JSON, "%s: header byte %zd: %s", s->path, s->p - s->text, what);
}

static int skip_string(struct scan *s)
{
    for (s->p++; s->p < s->end; s->p++) {
        if (*s->p == '\\')
            s->p++;
        else if (*s->p == '"') {
            s->p++;
            return 0;
        }
    }
    s->p = s->end;
    return syntax(s, "ends inside a string");
}

/* A value's extent; whether it is well-formed is for the JSON parser to say. */
static int take_value(struct scan *s, struct span *v)
{
    int depth = 0;
    v->p = s->p;
    while (s->p < s->end) {
        char c = *s->p;
        if (c == '"') {
            TRY(skip_string(s));
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']'))
            break;
        if ((c == '{' || c == '[') && ++depth > MAX_DEPTH)
            return syntax(s, "nested too deeply");
        depth -= c == '}' || c == ']';
        s->p++;
    }
    if (s->p == s->end)
        return syntax(s, "ends inside a value");
    v->len = (size_t)(s->p - v->p);
    return 0;
}

static json_t *parse_span(struct scan *s, const struct span *v, const char *whose)
{
    char why[256];
    enum json_fault fault = JSON_FAULT_SYNTAX;
    json_t *j = json_parse(v->p, v->len, &fault, why, sizeof why);
    if (j)
        return j;
    enum pesc_code code = fault == JSON_FAULT_DUP      ? PESC_E_ST_DUP
                          : fault == JSON_FAULT_UTF8   ? PESC_E_ST_UTF8
                          : fault == JSON_FAULT_NUL    ? PESC_E_ST_NAME
                          : fault == JSON_FAULT_MEMORY ? PESC_E_MEMORY
                                                       : PESC_E_ST_JSON;
    error_set(s->err, code, "%s: header, from byte %zd, %s: %s", s->path, v->p - s->text, whose,
              why);
    return NULL;
}

int st_name_check(const char *name, const char *path, struct pesc_error *err)
{
    size_t n = strlen(name);
    if (n == 0)
        return FAIL(err, ST_NAME, "%s: a tensor without a name", path);
    if (n >= ST_NAME_CAP)
        return FAIL(err, ST_NAME, "%s: a tensor's name has %zu bytes, at most %d are read: %.64s",
                    path, n, ST_NAME_CAP - 1, name);
    for (const unsigned char *p = (const unsigned char *)name; *p; p++)
        if (*p < 0x20 || *p == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0))
            return FAIL(err, ST_NAME, "%s: control character in the tensor name '%s'", path, name);
    return 0;
}

/* Strings only and not too many, known before a tree is built. */
static int metadata_is_flat(const struct span *v)
{
    int in_string = 0, commas = 0;
    for (size_t i = 0; i < v->len; i++) {
        char c = v->p[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '[' || (c == '{' && i > 0)))
            return 0;
        else if (!in_string)
            commas += c == ',';
    }
    return commas < MAX_METADATA_KEYS;
}

static int take_metadata(struct scan *s, struct st_header *h, const struct span *v)
{
    char why[256];
    enum json_fault fault = JSON_FAULT_SYNTAX;
    if (h->meta)
        return FAIL(s->err, ST_META, "%s: __metadata__ stands twice", s->path);
    if (v->len > MAX_METADATA)
        return FAIL(s->err, ST_META, "%s: __metadata__ has %zu bytes, at most %d are read", s->path,
                    v->len, MAX_METADATA);
    if (!metadata_is_flat(v))
        return FAIL(s->err, ST_META, "%s: __metadata__ is not an object of at most %d strings",
                    s->path, MAX_METADATA_KEYS);
    h->meta = json_parse(v->p, v->len, &fault, why, sizeof why);
    if (!h->meta)
        return error_set(s->err,
                         fault == JSON_FAULT_UTF8     ? PESC_E_ST_UTF8
                         : fault == JSON_FAULT_MEMORY ? PESC_E_MEMORY
                         : fault == JSON_FAULT_SYNTAX ? PESC_E_ST_JSON
                                                      : PESC_E_ST_META,
                         "%s: __metadata__: %s", s->path, why);
    if (json_is_null(h->meta) && s->mode == ST_BASE)
        return 0; /* written by some programs; the reference reader takes it for absent */
    if (!json_is_object(h->meta))
        return FAIL(s->err, ST_META, "%s: __metadata__ is not an object", s->path);
    const char *key;
    json_t *value;
    json_object_foreach(h->meta, key, value)
    {
        if (!json_is_string(value))
            return FAIL(s->err, ST_META, "%s: __metadata__: '%.64s' is not a string", s->path, key);
    }
    return 0;
}

static int take_shape(struct scan *s, struct st_tensor *t, const json_t *shape)
{
    if (!json_is_array(shape))
        return FAIL(s->err, ST_SHAPE, "%s: tensor '%s': shape is not a list", s->path, t->name);
    size_t ndim = json_array_size(shape);
    if (ndim > ST_MAX_DIM)
        return FAIL(s->err, ST_SHAPE, "%s: tensor '%s' has %zu dimensions, at most %d are read",
                    s->path, t->name, ndim, ST_MAX_DIM);
    t->ndim = (int)ndim;
    t->n = 1;
    for (size_t i = 0; i < ndim; i++) {
        const json_t *d = json_array_get(shape, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return FAIL(s->err, ST_SHAPE,
                        "%s: tensor '%s': dimension %zu is not a whole number from 0", s->path,
                        t->name, i);
        uint64_t dim = (uint64_t)json_integer_value(d);
        if (dim > max_count || __builtin_mul_overflow(t->n, dim, &t->n) || t->n > max_count)
            return FAIL(s->err, ST_OVERFLOW, "%s: tensor '%s' claims more than 2^53 elements",
                        s->path, t->name);
        t->shape[i] = (long)dim;
    }
    return 0;
}

static int take_extent(struct scan *s, struct st_tensor *t, const json_t *off, int bits)
{
    const json_t *b = json_array_get(off, 0), *e = json_array_get(off, 1);
    if (json_array_size(off) != 2 || !json_is_integer(b) || !json_is_integer(e) ||
        json_integer_value(b) < 0 || json_integer_value(e) < json_integer_value(b))
        return FAIL(s->err, ST_OFF, "%s: tensor '%s': data_offsets are not [begin, end]", s->path,
                    t->name);
    t->begin = (uint64_t)json_integer_value(b);
    t->bytes = (uint64_t)json_integer_value(e) - t->begin;
    uint64_t need = t->n * (uint64_t)bits; /* at most 2^53 * 2^6 */
    if (need / 8 > max_count)
        return FAIL(s->err, ST_OVERFLOW, "%s: tensor '%s' claims more than 2^53 bytes", s->path,
                    t->name);
    if (need % 8 || need / 8 != t->bytes)
        return FAIL(s->err, ST_SIZE,
                    "%s: tensor '%s': %" PRIu64 " elements of %s need %" PRIu64
                    " bytes, data_offsets span %" PRIu64,
                    s->path, t->name, t->n, t->stored, (need + 7) / 8, t->bytes);
    return 0;
}

static int take_fields(struct scan *s, struct st_tensor *t, const json_t *entry)
{
    if (!json_is_object(entry))
        return FAIL(s->err, ST_JSON, "%s: tensor '%s': its description is not an object", s->path,
                    t->name);
    const char *spelled = json_string_value(json_object_get(entry, "dtype"));
    if (!spelled)
        return FAIL(s->err, ST_DTYPE, "%s: tensor '%s': dtype is missing or not a string", s->path,
                    t->name);
    int d = dtype_from_st(spelled), bits = dtype_st_bits(spelled, &t->stored);
    if (bits == 0 || (d < 0 && s->mode == ST_STRICT))
        return FAIL(s->err, ST_DTYPE, "%s: tensor '%s': %s %.32s", s->path, t->name,
                    bits ? "unsupported dtype" : "unknown dtype", spelled);
    t->dtype = d < 0 ? DT_COUNT : (enum dtype)d;
    TRY(take_shape(s, t, json_object_get(entry, "shape")));
    TRY(take_extent(s, t, json_object_get(entry, "data_offsets"), bits));
    if (json_object_size(entry) == 3)
        return 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)entry, key, value)
    {
        if (!strcmp(key, "dtype") || !strcmp(key, "shape") || !strcmp(key, "data_offsets"))
            continue;
        if (s->mode != ST_BASE)
            return FAIL(s->err, ST_FIELD, "%s: tensor '%s': unknown field '%.64s'", s->path,
                        t->name, key);
        if (s->unknown++ == 0) {
            text_escape(s->first_unknown, sizeof s->first_unknown, key);
            strcpy(s->first_tensor, t->name);
        }
    }
    return 0;
}

static int take_tensor(struct scan *s, struct st_header *h, const char *name, const struct span *v)
{
    TRY(st_name_check(name, s->path, s->err));
    if (v->len > MAX_ENTRY)
        return FAIL(s->err, ST_JSON, "%s: tensor '%s': its description has %zu bytes", s->path,
                    name, v->len);
    if (h->count == ST_MAX_TENSORS)
        return FAIL(s->err, ST_MANY, "%s: more than %d tensors", s->path, ST_MAX_TENSORS);
    if (h->count == h->cap) {
        long cap = h->cap ? h->cap + h->cap / 2 : 64;
        struct st_tensor *grown = realloc(h->t, (size_t)cap * sizeof *grown);
        if (!grown)
            return FAIL(s->err, MEMORY, "%s: no memory for the header", s->path);
        h->t = grown;
        h->cap = cap;
    }
    struct st_tensor *t = &h->t[h->count];
    memset(t, 0, sizeof *t);
    t->name = strdup(name);
    if (!t->name)
        return FAIL(s->err, MEMORY, "%s: no memory for the header", s->path);
    h->count++;
    json_t *entry = parse_span(s, v, name);
    if (!entry)
        return -1;
    int rc = take_fields(s, t, entry);
    json_decref(entry);
    return rc;
}

static int take_member(struct scan *s, struct st_header *h)
{
    struct span key = {s->p, 0}, value;
    if (s->p == s->end || *s->p != '"')
        return syntax(s, "a name in quotation marks is expected");
    TRY(skip_string(s));
    key.len = (size_t)(s->p - key.p);
    if (key.len > 6 * ST_NAME_CAP)
        return FAIL(s->err, ST_NAME, "%s: header byte %zd: a name of %zu bytes", s->path,
                    key.p - s->text, key.len);
    skip_space(s);
    if (s->p == s->end || *s->p != ':')
        return syntax(s, "a colon is expected");
    s->p++;
    skip_space(s);
    TRY(take_value(s, &value));
    json_t *name = parse_span(s, &key, "a name");
    if (!name)
        return -1;
    const char *text = json_string_value(name);
    int rc = !strcmp(text, "__metadata__") ? take_metadata(s, h, &value)
                                           : take_tensor(s, h, text, &value);
    json_decref(name);
    return rc;
}

static int take_header(struct scan *s, struct st_header *h)
{
    if (s->mode == ST_BASE)
        skip_space(s);
    if (s->p == s->end || *s->p != '{')
        return FAIL(s->err, ST_START, "%s: the header does not begin with '{'", s->path);
    s->p++;
    skip_space(s);
    if (s->p < s->end && *s->p == '}') {
        s->p++;
    } else {
        for (;;) {
            skip_space(s);
            TRY(take_member(s, h));
            if (*s->p == ']')
                return syntax(s, "']' without '['");
            if (*s->p++ == '}')
                break;
        }
    }
    while (s->p < s->end && (s->mode == ST_BASE ? is_space(*s->p) : *s->p == ' '))
        s->p++;
    return s->p == s->end ? 0 : syntax(s, "text after the header's end");
}

static int by_name(const void *a, const void *b)
{
    const struct st_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int by_place(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int index_names(struct st_header *h, const char *path, struct pesc_error *err)
{
    qsort(h->t, (size_t)h->count, sizeof *h->t, by_place);
    h->by_name = malloc(((size_t)h->count + 1) * sizeof *h->by_name);
    if (!h->by_name)
        return FAIL(err, MEMORY, "%s: no memory for the header", path);
    for (long i = 0; i < h->count; i++)
        h->by_name[i] = &h->t[i];
    qsort(h->by_name, (size_t)h->count, sizeof *h->by_name, by_name);
    for (long i = 1; i < h->count; i++)
        if (!strcmp(h->by_name[i - 1]->name, h->by_name[i]->name))
            return FAIL(err, ST_DUP, "%s: tensor '%s' stands twice", path, h->by_name[i]->name);
    return 0;
}

/* The data holds every tensor, end to end, and nothing else. */
static int check_layout(struct st_header *h, uint64_t data_at, uint64_t file_size, const char *path,
                        struct pesc_error *err)
{
    uint64_t at = 0, have = file_size - data_at;
    for (long i = 0; i < h->count; i++) {
        struct st_tensor *t = &h->t[i];
        if (t->begin < at)
            return FAIL(err, ST_OVERLAP, "%s: tensor '%s' begins at %" PRIu64 ", expected %" PRIu64,
                        path, t->name, t->begin, at);
        if (t->begin > at)
            return FAIL(err, ST_HOLE, "%s: tensor '%s' begins at %" PRIu64 ", expected %" PRIu64,
                        path, t->name, t->begin, at);
        at += t->bytes;
        if (at > max_count)
            return FAIL(err, ST_OVERFLOW, "%s: more than 2^53 bytes of data", path);
        t->begin += data_at;
    }
    if (at > have)
        return FAIL(err, ST_EOF,
                    "%s: expected %" PRIu64 " bytes, file has %" PRIu64 "; download incomplete?",
                    path, data_at + at, file_size);
    if (at < have)
        return FAIL(err, ST_TRAIL, "%s: %" PRIu64 " bytes after the last tensor", path, have - at);
    return 0;
}

int st_header_parse(struct st_header *h, const char *text, size_t len, uint64_t data_at,
                    uint64_t file_size, enum st_mode mode, const char *path,
                    const struct notes *notes, struct pesc_error *err)
{
    /* One object for the whole, one for the metadata. */
    if (json_count_objects(text, len) > ST_MAX_TENSORS + 2)
        return FAIL(err, ST_MANY, "%s: more than %d tensors", path, ST_MAX_TENSORS);
    struct scan s = {text, text, text + len, path, mode, err, 0, "", ""};
    TRY(take_header(&s, h));
    if (h->count > 0)
        TRY(index_names(h, path, err));
    TRY(check_layout(h, data_at, file_size, path, err));
    if (s.unknown)
        note(notes, "W-ST-FIELD", "%s: tensor '%s': unknown field '%s' ignored%s", path,
             s.first_tensor, s.first_unknown, s.unknown > 1 ? " (and others)" : "");
    return 0;
}

void st_header_free(struct st_header *h)
{
    for (long i = 0; i < h->count; i++)
        free((char *)h->t[i].name);
    free(h->t);
    free(h->by_name);
    json_decref(h->meta);
}
