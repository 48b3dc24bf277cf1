#include "config.h"
#include "cli/table.h"

#include "datasets/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MEASURED_ROWS = 1000, NARROWEST = 6 };

struct table {
    FILE *f;
    enum table_form form;
    int width, n, gap; /* gap: blanks between columns */
    unsigned long cut; /* columns that may be cut to fit */
    long rows;         /* seen */
    int head_shown;    /* TABLE_TEXT */
    char **names;
    int *cols, *is_text; /* [n] */
    char **kept;         /* TABLE_TEXT: cells of the first rows */
    long n_kept;
};

int text_columns(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

int cli_width(const struct cli *cli)
{
    const char *columns = getenv("COLUMNS");
    struct winsize w;
    int n = columns ? atoi(columns) : 0;
    if (n >= 20)
        return n;
    if (!cli->out_tty)
        return 0;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20 ? w.ws_col : 80;
}

int table_form_of(int csv, int json, enum table_form *form, struct pesc_error *err)
{
    if (csv && json)
        return FAIL(err, USAGE, "--csv and --json exclude each other");
    *form = csv ? TABLE_CSV : json ? TABLE_JSON : TABLE_TEXT;
    return 0;
}

static void put_shortest(FILE *f, double x)
{
    char buf[64];
    for (int p = 15; p <= 17; p++) { /* %g drops the zeros behind */
        snprintf(buf, sizeof buf, "%.*g", p, x);
        if (strtod(buf, NULL) == x)
            break;
    }
    fputs(buf, f);
    if (!strpbrk(buf, ".en")) /* stays a real number for whoever reads it */
        fputs(".0", f);
}

static void put_hex(FILE *f, const struct cell *c)
{
    for (size_t i = 0; i < c->n; i++)
        fprintf(f, "%02x", (unsigned char)c->text[i]);
}

void json_put_text(FILE *f, const char *text, size_t n)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    int sound = utf8_valid(text, n, NULL, NULL) == n;
    fputc('"', f);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        const char *known = c ? strchr(from, c) : NULL;
        if (known)
            fprintf(f, "\\%c", to[known - from]);
        else if (c < 0x20)
            fprintf(f, "\\u%04X", c);
        else if (c >= 0x80 && !sound)
            fprintf(f, "\\\\x%02x", c);
        else
            fputc(c, f);
    }
    fputc('"', f);
}

void json_put_real(FILE *f, double x)
{
    if (isnan(x))
        fputs("null", f);
    else if (isinf(x))
        fputs(x > 0 ? "\"Infinity\"" : "\"-Infinity\"", f);
    else
        put_shortest(f, x);
}

void json_put_cell(FILE *f, const struct cell *c)
{
    switch (c->kind) {
    case CELL_NULL:
        fputs("null", f);
        break;
    case CELL_INT:
        fprintf(f, "%lld", c->i);
        break;
    case CELL_REAL:
        json_put_real(f, c->d);
        break;
    case CELL_TEXT:
        json_put_text(f, c->text, c->n);
        break;
    case CELL_BLOB:
        fputc('"', f);
        put_hex(f, c);
        fputc('"', f);
        break;
    }
}

static void csv_put_text(FILE *f, const char *text, size_t n)
{
    int quote = n == 0; /* an empty text is not NULL */
    for (size_t i = 0; i < n; i++)
        quote |= text[i] == ',' || text[i] == '"' || text[i] == '\n' || text[i] == '\r';
    if (quote)
        fputc('"', f);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '"')
            fputc('"', f);
        fputc(text[i], f);
    }
    if (quote)
        fputc('"', f);
}

static void csv_put_cell(FILE *f, const struct cell *c)
{
    if (c->kind == CELL_TEXT)
        csv_put_text(f, c->text, c->n);
    else if (c->kind == CELL_BLOB)
        put_hex(f, c);
    else if (c->kind == CELL_REAL && isinf(c->d))
        fputs(c->d > 0 ? "Infinity" : "-Infinity", f);
    else if (c->kind == CELL_REAL)
        put_shortest(f, c->d);
    else if (c->kind == CELL_INT)
        fprintf(f, "%lld", c->i);
}

char *cell_shown(const struct cell *c, int digits)
{
    size_t size = c->kind == CELL_TEXT ? 4 * c->n + 1 : c->kind == CELL_BLOB ? 2 * c->n + 1 : 64;
    char *out = malloc(size);
    if (!out)
        return NULL;
    if (c->kind == CELL_TEXT)
        text_escape(out, size, c->text);
    else if (c->kind == CELL_REAL)
        snprintf(out, size, "%.*g", digits, c->d);
    else if (c->kind == CELL_INT)
        snprintf(out, size, "%lld", c->i);
    else
        strcpy(out, c->kind == CELL_NULL ? "-" : "");
    for (size_t i = 0; c->kind == CELL_BLOB && i < c->n; i++)
        snprintf(out + 2 * i, 3, "%02x", (unsigned char)c->text[i]);
    return out;
}

struct table *table_new(FILE *f, enum table_form form, int width, struct pesc_error *err)
{
    struct table *t = calloc(1, sizeof *t);
    if (!t)
        FAIL(err, MEMORY, "no memory for a table");
    else
        *t = (struct table){.f = f, .form = form, .width = width, .cut = ~0UL};
    return t;
}

void table_cut_only(struct table *t, unsigned long columns)
{
    t->cut = columns;
}

void table_free(struct table *t)
{
    if (!t)
        return;
    for (long i = 0; i < t->n_kept; i++)
        free(t->kept[i]);
    for (int i = 0; t->names && i < t->n; i++)
        free(t->names[i]);
    free(t->kept);
    free(t->names);
    free(t->cols);
    free(t->is_text);
    free(t);
}

/* A name that came before gets a number: the keys of an object differ. */
static char *key_for(struct table *t, int i, const char *name)
{
    char *out = malloc(strlen(name) + 16);
    int taken = 0;
    if (!out)
        return NULL;
    strcpy(out, name);
    for (int again = 2;; again++, taken = 0) {
        for (int j = 0; j < i; j++)
            taken |= !strcmp(t->names[j], out);
        if (!taken)
            return out;
        sprintf(out, "%s_%d", name, again);
    }
}

static int head(void *ctx, int n, const char *const *names, struct pesc_error *err)
{
    struct table *t = ctx;
    t->names = calloc((size_t)n, sizeof *t->names);
    t->cols = calloc((size_t)n, sizeof *t->cols);
    t->is_text = calloc((size_t)n, sizeof *t->is_text);
    t->kept = t->form == TABLE_TEXT ? calloc((size_t)n * MEASURED_ROWS, sizeof *t->kept) : NULL;
    if (!t->names || !t->cols || !t->is_text || (t->form == TABLE_TEXT && !t->kept))
        return FAIL(err, MEMORY, "no memory for a table");
    t->n = n;
    for (int i = 0; i < n; i++) {
        struct cell c = {.kind = CELL_TEXT, .text = names[i], .n = strlen(names[i])};
        t->names[i] = t->form == TABLE_JSON   ? key_for(t, i, names[i])
                      : t->form == TABLE_TEXT ? cell_shown(&c, 0)
                                              : strdup(names[i]);
        if (!t->names[i])
            return FAIL(err, MEMORY, "no memory for a table");
        t->cols[i] = text_columns(t->names[i]);
    }
    for (int i = 0; t->form == TABLE_CSV && i < n; i++) {
        csv_put_text(t->f, t->names[i], strlen(t->names[i]));
        fputc(i + 1 < n ? ',' : '\n', t->f);
    }
    return 0;
}

static int may_cut(const struct table *t, int i)
{
    return t->width > 0 && t->is_text[i] && (t->cut >> (i < 63 ? i : 63) & 1);
}

/* Takes columns from the widest texts until a line fits. */
static void fit(struct table *t)
{
    int total = t->n - 1;
    for (int i = 0; i < t->n; i++)
        total += t->cols[i];
    t->gap = t->width == 0 || total + t->n - 1 <= t->width ? 2 : 1;
    while (t->width > 0 && total > t->width) {
        int widest = -1;
        for (int i = 0; i < t->n; i++)
            if (may_cut(t, i) && t->cols[i] > NARROWEST &&
                (widest < 0 || t->cols[i] > t->cols[widest]))
                widest = i;
        if (widest < 0)
            return;
        t->cols[widest]--;
        total--;
    }
}

static void show_line(struct table *t, char *const *cells)
{
    for (int i = 0; i < t->n; i++) {
        int room = t->cols[i], have = text_columns(cells[i]);
        const char *s = cells[i];
        if (i > 0)
            fprintf(t->f, "%*s", t->gap, "");
        if (!t->is_text[i])
            fprintf(t->f, "%*s", room > have ? room - have : 0, "");
        if (may_cut(t, i) && have > room) {
            int bytes = 0, seen = 0;
            while (s[bytes] && (seen < room - 1 || ((unsigned char)s[bytes] & 0xc0) == 0x80))
                seen += ((unsigned char)s[bytes++ + 1] & 0xc0) != 0x80;
            fprintf(t->f, "%.*s~", bytes, s);
        } else {
            fputs(s, t->f);
        }
        if (t->is_text[i] && i + 1 < t->n)
            fprintf(t->f, "%*s", room > have ? room - have : 0, "");
    }
    fputc('\n', t->f);
}

static void show_kept(struct table *t)
{
    fit(t);
    show_line(t, t->names);
    for (long i = 0; i < t->n_kept; i += t->n)
        show_line(t, t->kept + i);
    for (long i = 0; i < t->n_kept; i++)
        free(t->kept[i]);
    t->n_kept = 0;
    t->head_shown = 1;
}

static int text_row(struct table *t, const struct cell *cells, struct pesc_error *err)
{
    char **to = t->kept + t->n_kept;
    for (int i = 0; i < t->n; i++) {
        to[i] = cell_shown(&cells[i], 6);
        if (!to[i])
            return FAIL(err, MEMORY, "no memory for a table");
        t->n_kept++;
        if (t->head_shown)
            continue;
        int have = text_columns(to[i]);
        t->cols[i] = have > t->cols[i] ? have : t->cols[i];
        t->is_text[i] |= (cells[i].kind == CELL_TEXT && strcmp(cells[i].text, "NaN")) ||
                         cells[i].kind == CELL_BLOB;
    }
    if (t->head_shown) {
        show_line(t, to);
        for (int i = 0; i < t->n; i++)
            free(to[i]);
        t->n_kept = 0;
    } else if (t->rows == MEASURED_ROWS) {
        show_kept(t);
    }
    return 0;
}

static int row(void *ctx, int n, const struct cell *cells, struct pesc_error *err)
{
    struct table *t = ctx;
    t->rows++;
    if (ferror(t->f)) /* the reader went away; main sees a full disk */
        return 1;
    if (t->form == TABLE_TEXT)
        return text_row(t, cells, err);
    if (t->form == TABLE_JSON)
        fputs(t->rows == 1 ? "[{" : ",\n {", t->f);
    for (int i = 0; i < n; i++) {
        if (t->form == TABLE_CSV) {
            csv_put_cell(t->f, &cells[i]);
            fputc(i + 1 < n ? ',' : '\n', t->f);
            continue;
        }
        json_put_text(t->f, t->names[i], strlen(t->names[i]));
        fputs(": ", t->f);
        json_put_cell(t->f, &cells[i]);
        fputs(i + 1 < n ? ", " : "}", t->f);
    }
    return 0;
}

struct row_sink table_sink(struct table *t)
{
    return (struct row_sink){t, head, row};
}

void table_finish(struct table *t)
{
    if (t->form == TABLE_TEXT && t->names && !t->head_shown)
        show_kept(t);
    if (t->form == TABLE_JSON)
        fputs(t->rows ? "]\n" : "[]\n", t->f);
}
