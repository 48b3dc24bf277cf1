#include "config.h"
#include "datasets/records_internal.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256 << 10 };

struct records *records_open(const struct byte_source *src, const char *name, enum record_kind kind,
                             struct pesc_error *err)
{
    struct records *r = calloc(1, sizeof *r);
    if (!r) {
        FAIL(err, MEMORY, "%s: no memory", name);
        return NULL;
    }
    r->src = *src;
    r->name = name;
    r->kind = kind;
    r->line = 1;
    return r;
}

void records_close(struct records *r)
{
    if (!r)
        return;
    columns_free(r->columns);
    free(r->json);
    free(r->buf);
    free(r);
}

void records_as_arrays(struct records *r)
{
    r->as_arrays = 1;
}

json_t *record_parse(const struct record *rec, const char *path, struct pesc_error *err)
{
    char why[256];
    enum json_fault fault;
    json_t *v = json_parse(rec->text, rec->len, &fault, why, sizeof why);
    if (v)
        return v;
    long line = 1;
    int column = 0;
    const char *text = strstr(why, ": ");
    if (sscanf(why, "line %ld, column %d", &line, &column) != 2 || !text)
        text = "  no JSON";
    if (fault == JSON_FAULT_MEMORY)
        FAIL(err, MEMORY, "%s, line %ld: no memory for a record of %zu bytes", path, rec->line,
             rec->len);
    else
        error_set(err,
                  fault == JSON_FAULT_UTF8 || fault == JSON_FAULT_NUL ? PESC_E_DS_ENC
                                                                      : PESC_E_DS_JSON,
                  "%s, line %ld, column %d (record at byte %llu): %s", path, rec->line + line - 1,
                  column, (unsigned long long)rec->byte, text + 2);
    return NULL;
}

int records_resumable(const struct records *r)
{
    return r->resumable;
}

int records_fill(struct records *r, struct pesc_error *err)
{
    if (r->eof)
        return 0;
    if (r->pos > 0) {
        memmove(r->buf, r->buf + r->pos, r->end - r->pos);
        r->base += r->pos;
        r->end -= r->pos;
        r->pos = 0;
    }
    if (r->cap - r->end < CHUNK) {
        size_t want = r->cap ? 2 * r->cap : 2 * CHUNK;
        char *grown = realloc(r->buf, want);
        if (!grown)
            return FAIL(err, MEMORY, "%s: no memory for a record of %zu bytes", r->name, r->end);
        r->buf = grown;
        r->cap = want;
    }
    long got = r->src.read(r->src.ctx, r->buf + r->end, CHUNK, err);
    if (got < 0)
        return -1;
    if (got == 0) {
        r->eof = 1;
        return 0;
    }
    const char *nul = memchr(r->buf + r->end, 0, (size_t)got);
    if (nul)
        return FAIL(err, DS_ENC, "%s: NUL byte at byte %llu: not UTF-8 text (UTF-16?)", r->name,
                    (unsigned long long)(r->base + (uint64_t)(nul - r->buf)));
    r->end += (size_t)got;
    return 1;
}

static int is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* 1 when buf[pos] is a byte that is not white space, 0 at the end. */
static int skip_space(struct records *r, struct pesc_error *err)
{
    for (;;) {
        for (; r->pos < r->end; r->pos++) {
            if (!is_space(r->buf[r->pos]))
                return 1;
            r->line += r->buf[r->pos] == '\n';
        }
        int got = records_fill(r, err);
        if (got <= 0)
            return got;
    }
}

/* A line that is a bracket alone begins an object that is written over several lines: then values
 * follow each other, not lines. */
static int look_for_lines(struct records *r, struct pesc_error *err)
{
    size_t i = r->pos + 1;
    if (r->buf[r->pos] != '{')
        return 0;
    for (;; i++) {
        if (i == r->end) {
            size_t ahead = i - r->pos;
            int got = records_fill(r, err);
            if (got <= 0)
                return got;
            i = r->pos + ahead;
        }
        if (r->buf[i] == '\n')
            r->state = IN_VALUES;
        if (!is_space(r->buf[i]) || r->buf[i] == '\n')
            return 0;
    }
}

static int start(struct records *r, struct pesc_error *err)
{
    int got = 1;
    while (got > 0 && r->end < 3)
        got = records_fill(r, err);
    if (got < 0)
        return -1;
    if (r->end >= 2 && (!memcmp(r->buf, "\xff\xfe", 2) || !memcmp(r->buf, "\xfe\xff", 2)))
        return FAIL(err, DS_ENC, "%s: UTF-16 text; UTF-8 is read", r->name);
    if (r->end >= 3 && !memcmp(r->buf, "\xef\xbb\xbf", 3))
        r->pos = 3;
    if (r->kind != RECORDS_JSON) {
        r->state = IN_RECORDS;
        return 0;
    }
    got = skip_space(r, err);
    if (got < 0)
        return -1;
    r->state = got == 0 ? AT_END : r->buf[r->pos] == '[' ? ARRAY_FIRST : IN_RECORDS;
    if (r->state == ARRAY_FIRST)
        r->pos++;
    return r->state == IN_RECORDS ? look_for_lines(r, err) : 0;
}

/* JSON values of text[n], no more than one per separator or opening bracket outside strings. */
static int too_many_values(const char *text, size_t n)
{
    size_t rough = 0, exact = 0;
    if (n < RECORD_VALUES)
        return 0;
    for (size_t i = 0; i < n; i++)
        rough += (text[i] == ',') + (text[i] == '[') + (text[i] == '{');
    if (rough < RECORD_VALUES)
        return 0;
    int in_string = 0;
    for (size_t i = 0; i < n; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && (text[i] == ',' || text[i] == '[' || text[i] == '{'))
            exact++;
    }
    return exact >= RECORD_VALUES;
}

/* Hands out buf[pos .. pos + n). */
static int give(struct records *r, size_t n, struct record *out, struct pesc_error *err)
{
    *out = (struct record){r->buf + r->pos, n, r->line, r->base + r->pos};
    r->pos += n;
    if (n > RECORD_BYTES || too_many_values(out->text, n)) {
        r->resumable = 1;
        return FAIL(err, DS_BIG,
                    "%s, line %ld (byte %llu): a record of %zu bytes; at most %d "
                    "bytes and %d values are read",
                    r->name, out->line, (unsigned long long)out->byte, n, RECORD_BYTES,
                    RECORD_VALUES);
    }
    return 1;
}

int records_endless(struct records *r, struct pesc_error *err)
{
    return FAIL(err, DS_BIG, "%s, line %ld (byte %llu): a record of more than %d bytes", r->name,
                r->line, (unsigned long long)(r->base + r->pos), RECORD_BYTES);
}

static int next_line(struct records *r, struct record *out, struct pesc_error *err)
{
    size_t seen = 0; /* bytes from pos on that hold no line end */
    for (;;) {
        char *nl = r->pos + seen < r->end
                       ? memchr(r->buf + r->pos + seen, '\n', r->end - r->pos - seen)
                       : NULL;
        if (!nl && !r->eof) {
            seen = r->end - r->pos;
            if (r->discard_line) {
                r->pos = r->end;
                seen = 0;
            } else if (seen > RECORD_BYTES) {
                r->discard_line = r->resumable = 1;
                return records_endless(r, err);
            }
            if (records_fill(r, err) < 0)
                return -1;
            continue;
        }
        size_t stop = nl ? (size_t)(nl - r->buf) : r->end, n = stop - r->pos;
        if (r->discard_line) {
            r->discard_line = 0;
            n = 0;
        }
        while (n > 0 && is_space(r->buf[r->pos])) {
            r->pos++;
            n--;
        }
        while (n > 0 && is_space(r->buf[r->pos + n - 1]))
            n--;
        int rc = n ? give(r, n, out, err) : 0;
        r->pos = nl ? stop + 1 : stop;
        r->line += nl != NULL;
        if (rc != 0)
            return rc;
        if (!nl)
            return 0;
        seen = 0;
    }
}

static int broken(struct records *r, const char *what, struct pesc_error *err)
{
    return FAIL(err, DS_JSON, "%s, line %ld (byte %llu): %s", r->name, r->line,
                (unsigned long long)(r->base + r->pos), what);
}

/* The element that starts at pos: up to its closing bracket, or a bare value's last byte. Only
 * brackets and strings are looked at; the parser judges the rest. */
static int next_element(struct records *r, struct record *out, struct pesc_error *err)
{
    size_t i = 0;
    long depth = 0, lines = 0;
    int in_string = 0, escaped = 0, done = 0;
    while (!done) {
        for (; r->pos + i < r->end; i++) {
            char c = r->buf[r->pos + i];
            lines += c == '\n';
            if (in_string) {
                if (escaped)
                    escaped = 0;
                else if (c == '\\')
                    escaped = 1;
                else
                    in_string = c != '"';
                continue;
            }
            if (depth == 0 && i > 0 && (c == ',' || c == ']' || c == '}' || is_space(c))) {
                lines -= c == '\n';
                done = 1;
                break;
            }
            in_string = c == '"';
            depth += (c == '{' || c == '[') - (c == '}' || c == ']');
            if (depth < 0)
                return broken(r, "a value was expected", err);
        }
        if (done)
            break;
        if (i > RECORD_BYTES)
            return records_endless(r, err);
        int got = records_fill(r, err);
        if (got < 0)
            return -1;
        if (got == 0) {
            if (depth > 0 || in_string)
                return broken(r, "the file ends within a record that starts here", err);
            break;
        }
    }
    int rc = give(r, i, out, err);
    r->line += lines;
    return rc;
}

static int next_in_array(struct records *r, struct record *out, struct pesc_error *err)
{
    int got = skip_space(r, err);
    if (got < 0)
        return -1;
    if (got == 0)
        return broken(r, "the file ends within the array", err);
    char c = r->buf[r->pos];
    if (c == ']') {
        r->pos++;
        r->state = AT_END;
        got = skip_space(r, err);
        return got > 0 ? broken(r, "text after the end of the array", err) : got;
    }
    if (r->state == ARRAY_NEXT) {
        if (c != ',')
            return broken(r, "',' or ']' was expected", err);
        r->pos++;
        got = skip_space(r, err);
        if (got <= 0)
            return got < 0 ? -1 : broken(r, "the file ends within the array", err);
        c = r->buf[r->pos];
    }
    if (c == ',' || c == ']')
        return broken(r, "a value was expected", err);
    r->state = ARRAY_NEXT;
    return next_element(r, out, err);
}

int records_next(struct records *r, struct record *out, struct pesc_error *err)
{
    r->resumable = 0;
    if (r->state == AT_START)
        TRY(start(r, err));
    if (r->state == AT_END)
        return 0;
    switch (r->kind) {
    case RECORDS_CSV:
    case RECORDS_TSV:
        return records_next_row(r, out, err);
    case RECORDS_TEXT:
        return records_next_stretch(r, out, err);
    case RECORDS_JSON:
        break;
    }
    if (r->state != IN_VALUES)
        return r->state == IN_RECORDS ? next_line(r, out, err) : next_in_array(r, out, err);
    int got = skip_space(r, err);
    return got > 0 ? next_element(r, out, err) : got;
}
