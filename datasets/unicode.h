/* UTF-8 and the Unicode properties that tokenizers ask for. unicode.c is the one home of utf8proc.
 * Unless said otherwise text is valid UTF-8 and need not end in a zero byte. */
#ifndef DATASETS_UNICODE_H
#define DATASETS_UNICODE_H

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

/* Growing bytes; zero before the first use, buf_free at the end. */
struct buf {
    char *p;
    size_t n, cap;
};
int buf_room(struct buf *b, size_t more, struct pesc_error *err) MUST_USE; /* room for more bytes */
int buf_put(struct buf *b, const void *data, size_t n, struct pesc_error *err) MUST_USE;
int buf_put_cp(struct buf *b, uint32_t cp, struct pesc_error *err) MUST_USE;
void buf_free(struct buf *b);

/* The code point at s (valid UTF-8, one byte at least); *len is its length in bytes. */
static inline uint32_t utf8_get(const char *s, size_t *len)
{
    const unsigned char *p = (const unsigned char *)s;
    if (p[0] < 0x80) {
        *len = 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *len = 2;
        return (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    }
    if (p[0] < 0xf0) {
        *len = 3;
        return (uint32_t)(p[0] & 0xf) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    }
    *len = 4;
    return (uint32_t)(p[0] & 7) << 18 | (uint32_t)(p[1] & 0x3f) << 12 |
           (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
}
size_t utf8_put(char out[4], uint32_t cp); /* length in bytes */

/* How far text[n] is valid UTF-8. *bad is then the length of the malformed sequence there (the
 * longest prefix of a character, at least 1), or 0 at the end of the text; *cut tells whether
 * that sequence merely stops at the end of the text. bad and cut may be NULL. */
size_t utf8_valid(const char *text, size_t n, size_t *bad, int *cut);
/* Appends text[n], each malformed sequence becoming one U+FFFD. */
int utf8_repair(struct buf *out, const char *text, size_t n, struct pesc_error *err) MUST_USE;

enum uc_class { UC_SPACE, UC_NUMERIC, UC_PUNCT, UC_WORD, UC_MARK };
int uc_is(uint32_t cp, enum uc_class c);

enum uc_form { UC_NFC, UC_NFD, UC_NFKC, UC_NFKD };
int uc_normalize(struct buf *out, const char *text, size_t n, enum uc_form form,
                 struct pesc_error *err) MUST_USE;
int uc_lower(struct buf *out, const char *text, size_t n, struct pesc_error *err) MUST_USE;

#endif
