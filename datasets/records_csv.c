#include "config.h"
#include "datasets/records_internal.h"

#include <stdlib.h>
#include <string.h>

/* Rows of named columns (RFC 4180). A row becomes a JSON object of strings, so that what a record
 * may hold is known in one place. */
enum { COLUMNS = 4096 };

struct columns {
    char delimiter;
    long n;
    struct {
        char *key; /* as JSON, with its colon; NULL: the column has no name and is left out */
        size_t len;
    } v[COLUMNS];
    char *field; /* without its quotes; of field_cap bytes */
    size_t field_cap;
};

void columns_free(struct columns *c)
{
    if (!c)
        return;
    for (long i = 0; i < c->n; i++)
        free(c->v[i].key);
    free(c->field);
    free(c);
}

static int is_delimiter(char c, char delimiter)
{
    return delimiter ? c == delimiter : c == ',' || c == ';' || c == '\t' || c == '|';
}

/* Finds the end of the row at pos: its bytes without the line end, those with it, and its line
 * ends. 1, 0 at the end, -1. delimiter 0: not known so far. */
static int find_row(struct records *r, char delimiter, size_t *n, size_t *whole, long *lines,
                    struct pesc_error *err)
{
    enum { FIELD, BARE, QUOTED, CLOSED } at = FIELD;
    size_t i = 0;
    *lines = 0;
    for (;;) {
        for (; r->pos + i < r->end; i++) {
            char c = r->buf[r->pos + i];
            *lines += c == '\n';
            if (c == '"')
                at = at == FIELD || at == CLOSED ? QUOTED : at == QUOTED ? CLOSED : BARE;
            else if (at == QUOTED)
                continue;
            else if (c == '\n')
                goto found;
            else
                at = is_delimiter(c, delimiter) ? FIELD : BARE;
        }
        if (i > RECORD_BYTES)
            return records_endless(r, err);
        int got = records_fill(r, err);
        if (got < 0)
            return -1;
        if (got == 0)
            break;
    }
    if (at == QUOTED)
        return FAIL(err, DS_FORMAT,
                    "%s, line %ld (byte %llu): the file ends within a quoted field of the row that "
                    "starts here",
                    r->name, r->line, (unsigned long long)(r->base + r->pos));
    if (i == 0)
        return 0;
found:
    *whole = i + (r->pos + i < r->end);
    *n = i > 0 && r->buf[r->pos + i - 1] == '\r' ? i - 1 : i;
    return 1;
}

static int bad_row(struct records *r, const char *what, struct pesc_error *err)
{
    return FAIL(err, DS_FIELD, "%s, line %ld (byte %llu): %s", r->name, r->line,
                (unsigned long long)(r->base + r->pos), what);
}

/* The field that begins at buf[*at] of a row that ends at stop; *at goes behind its delimiter, or
 * to stop + 1. The text is in buf, or in field if quotes had to be undone. */
static int next_field(struct records *r, size_t *at, size_t stop, const char **text, size_t *n,
                      struct pesc_error *err)
{
    struct columns *c = r->columns;
    size_t i = *at;
    if (i == stop || r->buf[i] != '"') {
        while (i < stop && r->buf[i] != c->delimiter)
            i++;
        *text = r->buf + *at;
        *n = i - *at;
        *at = i + 1;
        return 0;
    }
    if (c->field_cap < stop - i) {
        char *grown = realloc(c->field, 2 * (stop - i));
        if (!grown)
            return FAIL(err, MEMORY, "%s: no memory for a field", r->name);
        c->field = grown;
        c->field_cap = 2 * (stop - i);
    }
    *n = 0;
    for (i++; i < stop; i++) {
        if (r->buf[i] == '"' && (i + 1 == stop || r->buf[++i] != '"'))
            break;
        c->field[(*n)++] = r->buf[i];
    }
    if (i + 1 == stop && r->buf[i] == '"')
        i++; /* the closing quote ends the row */
    if (i < stop && r->buf[i] != c->delimiter)
        return bad_row(r, "text behind a field's closing quote", err);
    *text = c->field;
    *at = i + 1;
    return 0;
}

static char find_delimiter(const char *row, size_t n)
{
    static const char tried[] = ",;\t|";
    size_t most = 0;
    char best = ',';
    for (const char *t = tried; *t; t++) {
        size_t count = 0;
        int quoted = 0;
        for (size_t i = 0; i < n; i++) {
            quoted ^= row[i] == '"';
            count += !quoted && row[i] == *t;
        }
        if (count > most) {
            most = count;
            best = *t;
        }
    }
    return best;
}

static int add_column(struct records *r, const char *name, size_t n, size_t at,
                      struct pesc_error *err)
{
    struct columns *c = r->columns;
    if (c->n == COLUMNS)
        return bad_row(r, "more than 4096 columns", err);
    while (n > 0 && *name == ' ') {
        name++;
        n--;
    }
    while (n > 0 && name[n - 1] == ' ')
        n--;
    long i = c->n++;
    if (n == 0)
        return 0;
    r->json_n = 0;
    TRY(records_put_string(r, name, n, at, err));
    TRY(records_put(r, ":", 1, err));
    c->v[i].key = malloc(r->json_n);
    if (!c->v[i].key)
        return FAIL(err, MEMORY, "%s: no memory for a column", r->name);
    c->v[i].len = r->json_n;
    memcpy(c->v[i].key, r->json, r->json_n);
    for (long k = 0; k < i; k++)
        if (c->v[k].key && c->v[k].len == c->v[i].len &&
            !memcmp(c->v[k].key, c->v[i].key, c->v[i].len))
            return FAIL(err, DS_FORMAT, "%s, line %ld: two columns are named '%.*s'", r->name,
                        r->line, n > 80 ? 80 : (int)n, name);
    return 0;
}

static int read_header(struct records *r, struct pesc_error *err)
{
    size_t n, whole;
    long lines;
    int got;
    r->columns = calloc(1, sizeof *r->columns);
    if (!r->columns)
        return FAIL(err, MEMORY, "%s: no memory for columns", r->name);
    do {
        got = find_row(r, r->kind == RECORDS_TSV ? '\t' : 0, &n, &whole, &lines, err);
        if (got <= 0)
            return got;
        if (n > 0)
            break;
        r->pos += whole;
        r->line += lines;
    } while (1);
    struct columns *c = r->columns;
    c->delimiter = r->kind == RECORDS_TSV ? '\t' : find_delimiter(r->buf + r->pos, n);
    for (size_t at = r->pos, stop = r->pos + n; at <= stop;) {
        const char *name;
        size_t len, from = at;
        TRY(next_field(r, &at, stop, &name, &len, err));
        TRY(add_column(r, name, len, from, err));
    }
    r->pos += whole;
    r->line += lines;
    return 1;
}

/* Rows without a header: by commas, unless the first one has none. */
static int find_form(struct records *r, struct pesc_error *err)
{
    size_t n, whole;
    long lines;
    char usual = r->kind == RECORDS_TSV ? '\t' : ',';
    int got = find_row(r, usual, &n, &whole, &lines, err);
    if (got <= 0)
        return got;
    r->columns = calloc(1, sizeof *r->columns);
    if (!r->columns)
        return FAIL(err, MEMORY, "%s: no memory for columns", r->name);
    const char *row = r->buf + r->pos;
    r->columns->delimiter =
        memchr(row, usual, n) || r->kind == RECORDS_TSV ? usual : find_delimiter(row, n);
    return 1;
}

static int read_array(struct records *r, size_t n, struct pesc_error *err)
{
    long fields = 0;
    r->json_n = 0;
    TRY(records_put(r, "[", 1, err));
    for (size_t at = r->pos, stop = r->pos + n; at <= stop; fields++) {
        const char *text;
        size_t len, from = at;
        TRY(next_field(r, &at, stop, &text, &len, err));
        if (fields)
            TRY(records_put(r, ",", 1, err));
        TRY(records_put_string(r, text, len, from, err));
    }
    return records_put(r, "]", 1, err);
}

static int read_row(struct records *r, size_t n, struct pesc_error *err)
{
    const struct columns *c = r->columns;
    long fields = 0, named = 0;
    if (r->as_arrays)
        return read_array(r, n, err);
    r->json_n = 0;
    TRY(records_put(r, "{", 1, err));
    for (size_t at = r->pos, stop = r->pos + n; at <= stop; fields++) {
        const char *text;
        size_t len, from = at;
        TRY(next_field(r, &at, stop, &text, &len, err));
        if (fields >= c->n || !c->v[fields].key)
            continue;
        if (named++)
            TRY(records_put(r, ",", 1, err));
        TRY(records_put(r, c->v[fields].key, c->v[fields].len, err));
        TRY(records_put_string(r, text, len, from, err));
    }
    if (fields != c->n)
        return FAIL(err, DS_FIELD,
                    "%s, line %ld (byte %llu): a row of %ld fields; the header has %ld columns",
                    r->name, r->line, (unsigned long long)(r->base + r->pos), fields, c->n);
    return records_put(r, "}", 1, err);
}

int records_next_row(struct records *r, struct record *out, struct pesc_error *err)
{
    if (!r->columns) {
        int got = r->as_arrays ? find_form(r, err) : read_header(r, err);
        if (got <= 0)
            return got;
    }
    for (;;) {
        size_t n, whole;
        long lines;
        int got = find_row(r, r->columns->delimiter, &n, &whole, &lines, err);
        if (got <= 0)
            return got;
        if (n > 0 && read_row(r, n, err) != 0) {
            struct record bad;
            r->resumable = 1;
            records_give_json(r, whole, lines, &bad);
            return -1;
        }
        if (n > 0)
            return records_give_json(r, whole, lines, out);
        r->pos += whole; /* an empty line */
        r->line += lines;
    }
}
