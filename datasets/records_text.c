#include "config.h"
#include "datasets/records_internal.h"

#include <stdlib.h>
#include <string.h>

/* Long enough that its ends do not matter, short enough to be tokenised at once. */
enum { STRETCH = 1 << 20 };

int records_put(struct records *r, const char *text, size_t n, struct pesc_error *err)
{
    if (r->json_cap - r->json_n < n) {
        size_t want = 2 * (r->json_n + n) + 4096;
        char *grown = realloc(r->json, want);
        if (!grown)
            return FAIL(err, MEMORY, "%s: no memory for a record of %zu bytes", r->name, n);
        r->json = grown;
        r->json_cap = want;
    }
    memcpy(r->json + r->json_n, text, n);
    r->json_n += n;
    return 0;
}

/* Bytes of the character that p begins with; 0: none of UTF-8. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
    size_t len = p[0] < 0x80   ? 1
                 : p[0] < 0xc2 ? 0
                 : p[0] < 0xe0 ? 2
                 : p[0] < 0xf0 ? 3
                 : p[0] < 0xf5 ? 4
                               : 0;
    if (len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

static long count_lines(const char *text, size_t n)
{
    long lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    return lines;
}

int records_put_string(struct records *r, const char *text, size_t n, size_t at,
                       struct pesc_error *err)
{
    static const char hex[] = "0123456789abcdef";
    size_t from = 0;
    TRY(records_put(r, "\"", 1, err));
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)text[i];
        char escape[6] = {'\\', (char)c};
        size_t escape_n = c == '"' || c == '\\' ? 2 : 0, len = 1;
        if (c < 0x20) {
            memcpy(escape, "\\u00", 4);
            escape[4] = hex[c >> 4];
            escape[5] = hex[c & 15];
            escape_n = 6;
        } else if (c >= 0x80) {
            len = utf8_length((const unsigned char *)text + i, n - i);
        }
        if (len == 0)
            return FAIL(err, DS_ENC, "%s, line %ld (byte %llu): not UTF-8 text", r->name,
                        r->line + count_lines(r->buf + r->pos, at + i - r->pos),
                        (unsigned long long)(r->base + at + i));
        if (escape_n) {
            TRY(records_put(r, text + from, i - from, err));
            TRY(records_put(r, escape, escape_n, err));
            from = i + len;
        }
        i += len;
    }
    TRY(records_put(r, text + from, n - from, err));
    return records_put(r, "\"", 1, err);
}

int records_give_json(struct records *r, size_t n, long lines, struct record *out)
{
    *out = (struct record){r->json, r->json_n, r->line, r->base + r->pos};
    r->pos += n;
    r->line += lines;
    return 1;
}

static int is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Where text[n], n over a stretch, is best cut: behind an empty line, a line, a word, a character.
 */
static size_t cut(const char *text)
{
    size_t line = 0, word = 0, i;
    for (i = STRETCH; i > STRETCH / 2; i--) {
        if (text[i - 1] == '\n' && !line)
            line = i;
        if (is_space(text[i - 1]) && !word)
            word = i;
        if (text[i - 1] == '\n' &&
            (text[i - 2] == '\n' || (text[i - 2] == '\r' && text[i - 3] == '\n')))
            return i;
    }
    if (line || word)
        return line ? line : word;
    for (i = STRETCH; i > STRETCH - 4 && ((unsigned char)text[i] & 0xc0) == 0x80; i--)
        ;
    return i;
}

int records_next_stretch(struct records *r, struct record *out, struct pesc_error *err)
{
    for (;;) {
        while (!r->eof && r->end - r->pos <= STRETCH)
            if (records_fill(r, err) < 0)
                return -1;
        const char *text = r->buf + r->pos;
        size_t n = r->end - r->pos, blank = 0;
        if (n == 0)
            return 0;
        if (n > STRETCH)
            n = cut(text);
        while (blank < n && is_space(text[blank]))
            blank++;
        long lines = count_lines(text, n);
        if (blank == n) {
            r->pos += n;
            r->line += lines;
            continue;
        }
        r->json_n = 0;
        TRY(records_put(r, "{\"text\":", 8, err));
        TRY(records_put_string(r, text, n, r->pos, err));
        TRY(records_put(r, "}", 1, err));
        return records_give_json(r, n, lines, out);
    }
}
