#include "config.h"
#include "cli/markup.h"

#include "core/error.h"

#include <string.h>

static void put_one(FILE *f, char c)
{
    switch (c) {
    case '&':
        fputs("&amp;", f);
        break;
    case '<':
        fputs("&lt;", f);
        break;
    case '>':
        fputs("&gt;", f);
        break;
    case '"':
        fputs("&quot;", f);
        break;
    case '\'':
        fputs("&#39;", f);
        break;
    default:
        fputc(c, f);
    }
}

void markup_text(FILE *f, const char *text)
{
    while (*text) {
        char part[5] = "", shown[32];
        unsigned char lead = (unsigned char)*text;
        size_t want = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        size_t n = strnlen(text, want);
        memcpy(part, text, n);
        text_escape(shown, sizeof shown, part);
        for (const char *s = shown; *s; s++)
            put_one(f, *s);
        text += n;
    }
}
