#include "config.h"
#include "experiments/export_impl.h"

#include "datasets/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int is_sound(const char *text, size_t n)
{
    return utf8_valid(text, n, NULL, NULL) == n;
}

static int is_plain_json(unsigned char c, int sound)
{
    return c >= 0x20 && c != '"' && c != '\\' && c != 0x7f && (c < 0x80 || sound);
}

void put_json_text(FILE *f, const char *text, size_t n)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    int sound = is_sound(text, n);
    putc('"', f);
    for (size_t i = 0, from_here = 0; i <= n; i++) {
        unsigned char c = i < n ? (unsigned char)text[i] : 0;
        if (i < n && is_plain_json(c, sound))
            continue;
        fwrite(text + from_here, 1, i - from_here, f);
        from_here = i + 1;
        const char *known = c ? strchr(from, c) : NULL;
        if (i == n)
            break;
        if (known)
            fprintf(f, "\\%c", to[known - from]);
        else if (c < 0x80)
            fprintf(f, "\\u%04x", c);
        else
            fprintf(f, "\\\\x%02x", c);
    }
    putc('"', f);
}

void put_real(FILE *f, double x, const char *inf)
{
    char buf[64];
    if (isnan(x)) {
        fputs("NaN", f);
    } else if (isinf(x)) {
        fprintf(f, "%s%s", x < 0 ? "-" : "", inf);
    } else {
        for (int p = 15; p <= 17; p++) { /* %g drops the zeros behind */
            snprintf(buf, sizeof buf, "%.*g", p, x);
            if (p < 17 && strtod(buf, NULL) == x)
                break;
        }
        fputs(buf, f);
        if (!strpbrk(buf, ".e")) /* stays a real number for whoever reads it */
            fputs(".0", f);
    }
}

static void put_hex(FILE *f, const struct cell *c)
{
    for (size_t i = 0; i < c->n; i++)
        fprintf(f, "%02x", (unsigned char)c->text[i]);
}

void put_json_cell(FILE *f, const struct cell *c)
{
    int quoted = c->kind == CELL_BLOB || (c->kind == CELL_REAL && !isfinite(c->d));
    if (quoted)
        putc('"', f);
    switch (c->kind) {
    case CELL_NULL:
        fputs("null", f);
        break;
    case CELL_INT:
        fprintf(f, "%lld", c->i);
        break;
    case CELL_REAL:
        put_real(f, c->d, "Infinity");
        break;
    case CELL_TEXT:
        put_json_text(f, c->text, c->n);
        break;
    case CELL_BLOB:
        put_hex(f, c);
        break;
    }
    if (quoted)
        putc('"', f);
}

void put_csv_text(FILE *f, const char *text, size_t n)
{
    int sound = is_sound(text, n), quote = n == 0 || text[0] == ' ' || text[n - 1] == ' ', zero = 0;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        quote |= c == '"' || c == ',' || c == '\r' || c == '\n';
        zero |= c == 0;
    }
    if (!quote && sound && !zero) {
        fwrite(text, 1, n, f);
        return;
    }
    if (quote)
        putc('"', f);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == 0 || (c >= 0x80 && !sound)) {
            fprintf(f, "\\x%02x", c);
            continue;
        }
        if (c == '"')
            putc('"', f);
        putc(c, f);
    }
    if (quote)
        putc('"', f);
}

void put_csv_cell(FILE *f, const struct cell *c)
{
    switch (c->kind) {
    case CELL_NULL:
        break;
    case CELL_INT:
        fprintf(f, "%lld", c->i);
        break;
    case CELL_REAL:
        put_real(f, c->d, "inf");
        break;
    case CELL_TEXT:
        put_csv_text(f, c->text, c->n);
        break;
    case CELL_BLOB:
        put_hex(f, c);
        break;
    }
}

void put_yaml_text(FILE *f, const char *text, size_t n)
{
    int sound = is_sound(text, n);
    putc('"', f);
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)text[i];
        size_t len = 1;
        unsigned long p = sound ? utf8_get(text + i, &len) : c;
        i += len;
        if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c >= 0x20 && c < 0x7f)
            putc(c, f);
        else if (c < 0x80)
            fprintf(f, "\\x%02x", c);
        else if (!sound)
            fprintf(f, "\\\\x%02x", c);
        else
            fprintf(f, p > 0xffff ? "\\U%08lx" : "\\u%04lx", p);
    }
    putc('"', f);
}
