#include "config.h"
#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int status;
} code_table[] = {{"", 0},
#define PESC_X(id, code, status) {code, status},
                  PESC_ERROR_CODES(PESC_X)
#undef PESC_X
};

/* Length of the well-formed UTF-8 sequence at s, 0 when there is none. */
static int utf8_len(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    int n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;
    if (s[0] > 0xf4)
        return 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* C0 and C1 controls, DEL, and the bidirectional controls that reorder what is shown. */
static int is_obeyed(const unsigned char *s, int n)
{
    if (n == 1)
        return s[0] < 0x20 || s[0] == 0x7f;
    if (n == 2)
        return s[0] == 0xc2 && s[1] < 0xa0;
    if (n == 3 && s[0] == 0xe2)
        return (s[1] == 0x80 && (s[2] == 0x8e || s[2] == 0x8f || (s[2] >= 0xa8 && s[2] <= 0xae))) ||
               (s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9);
    return 0;
}

void text_escape(char *out, size_t size, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t o = 0;
    if (size == 0)
        return;
    while (*s && o + 1 < size) {
        int n = utf8_len(s);
        if (n == 0 || is_obeyed(s, n)) {
            int bytes = n ? n : 1;
            for (int i = 0; i < bytes && o + 5 <= size; i++)
                o += (size_t)snprintf(out + o, size - o, "\\x%02x", s[i]);
            if (o + 5 > size)
                break;
            s += bytes;
        } else {
            if (o + (size_t)n >= size)
                break;
            memcpy(out + o, s, (size_t)n);
            o += (size_t)n;
            s += n;
        }
    }
    out[o] = 0;
}

int error_set(struct pesc_error *err, enum pesc_code code, const char *fmt, ...)
{
    if (!err || err->code)
        return -1;
    char raw[sizeof err->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    text_escape(err->text, sizeof err->text, raw);
    err->code = (int)code;
    err->exit_status = code_table[code].status;
    err->name = code_table[code].name;
    return -1;
}

void note(const struct notes *n, const char *code, const char *fmt, ...)
{
    if (!n || !n->fn)
        return;
    char raw[1024], shown[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    text_escape(shown, sizeof shown, raw);
    n->fn(n->ctx, code, shown);
}

const char *pesc_version(void)
{
    return PACKAGE_VERSION;
}
