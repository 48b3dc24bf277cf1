#include "config.h"
#include "datasets/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

int buf_room(struct buf *b, size_t more, struct pesc_error *err)
{
    if (b->cap - b->n >= more)
        return 0;
    if (more > SIZE_MAX / 4 || b->n > SIZE_MAX / 4)
        return FAIL(err, MEMORY, "text too large");
    size_t cap = (b->n + more) * 2 < 64 ? 64 : (b->n + more) * 2;
    char *p = realloc(b->p, cap);
    if (!p)
        return FAIL(err, MEMORY, "no memory for %zu bytes of text", cap);
    b->p = p;
    b->cap = cap;
    return 0;
}

int buf_put(struct buf *b, const void *data, size_t n, struct pesc_error *err)
{
    TRY(buf_room(b, n, err));
    if (n)
        memcpy(b->p + b->n, data, n);
    b->n += n;
    return 0;
}

int buf_put_cp(struct buf *b, uint32_t cp, struct pesc_error *err)
{
    TRY(buf_room(b, 4, err));
    b->n += utf8_put(b->p + b->n, cp);
    return 0;
}

void buf_free(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}

size_t utf8_put(char out[4], uint32_t cp)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

size_t utf8_valid(const char *text, size_t n, size_t *bad, int *cut)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0, len = 0;
    int at_end = 0;
    while (i < n) {
        unsigned char c = s[i];
        if (c < 0x80) {
            i++;
            continue;
        }
        /* the second byte carries the limits against overlong forms, surrogates and > U+10FFFF */
        unsigned char lo = 0x80, hi = 0xbf;
        size_t want = c >= 0xc2 && c < 0xe0   ? 2
                      : c >= 0xe0 && c < 0xf0 ? 3
                      : c >= 0xf0 && c < 0xf5 ? 4
                                              : 0;
        if (c == 0xe0)
            lo = 0xa0;
        else if (c == 0xed)
            hi = 0x9f;
        else if (c == 0xf0)
            lo = 0x90;
        else if (c == 0xf4)
            hi = 0x8f;
        for (len = 1; len < want && i + len < n && s[i + len] >= lo && s[i + len] <= hi; len++) {
            lo = 0x80;
            hi = 0xbf;
        }
        if (!want || len < want) {
            at_end = want && i + len == n;
            break;
        }
        i += want;
        len = 0;
    }
    if (bad)
        *bad = i < n ? len : 0;
    if (cut)
        *cut = at_end;
    return i;
}

int utf8_repair(struct buf *out, const char *text, size_t n, struct pesc_error *err)
{
    for (;;) {
        size_t bad, good = utf8_valid(text, n, &bad, NULL);
        TRY(buf_put(out, text, good, err));
        if (!bad)
            return 0;
        TRY(buf_put(out, "\xef\xbf\xbd", 3, err));
        text += good + bad;
        n -= good + bad;
    }
}

static int is_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= 9 && cp <= 13);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

/* \w as regular expressions of the reference library define it: Alphabetic, M, Nd, Pc and the two
 * joiners. Alphabetic is L, Nl and letters in circles and squares beyond what M already has. */
static int is_word(uint32_t cp, utf8proc_category_t cat)
{
    switch (cat) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return 1;
    default:
        return (cp >= 0x24b6 && cp <= 0x24e9) || (cp >= 0x1f130 && cp <= 0x1f149) ||
               (cp >= 0x1f150 && cp <= 0x1f169) || (cp >= 0x1f170 && cp <= 0x1f189) ||
               cp == 0x200c || cp == 0x200d;
    }
}

int uc_is(uint32_t cp, enum uc_class c)
{
    if (c == UC_SPACE)
        return is_space(cp);
    if (cp < 0x80 && c == UC_NUMERIC)
        return cp >= '0' && cp <= '9';
    if (cp < 0x80 && c == UC_PUNCT)
        return (cp > ' ' && cp < '0') || (cp > '9' && cp < 'A') || (cp > 'Z' && cp < 'a') ||
               (cp > 'z' && cp < 127);
    utf8proc_category_t cat = utf8proc_category((utf8proc_int32_t)cp);
    switch (c) {
    case UC_NUMERIC:
        return cat >= UTF8PROC_CATEGORY_ND && cat <= UTF8PROC_CATEGORY_NO;
    case UC_PUNCT:
        return cat >= UTF8PROC_CATEGORY_PC && cat <= UTF8PROC_CATEGORY_PO;
    case UC_WORD:
        return is_word(cp, cat);
    case UC_MARK:
        return cat >= UTF8PROC_CATEGORY_MN && cat <= UTF8PROC_CATEGORY_ME;
    default:
        return 0;
    }
}

/* Characters that no normal form to NFC changes and that change nothing after them: enough to
 * pass most text through without decomposing it. */
static int nfc_inert(uint32_t cp)
{
    return cp < 0x300 || (cp >= 0x388 && cp < 0x483) || (cp >= 0x2010 && cp < 0x2028) ||
           (cp >= 0x3000 && cp < 0x302a) || (cp >= 0x3041 && cp < 0x3097) ||
           (cp >= 0x30a1 && cp < 0x30fb) || (cp >= 0x4e00 && cp < 0xa000) ||
           (cp >= 0xac00 && cp < 0xd7a4) || (cp >= 0xff01 && cp < 0xff5f) || cp == 0xfffd ||
           (cp >= 0x1f300 && cp < 0x1f650);
}

static size_t ascii_prefix(const char *text, size_t n)
{
    size_t i = 0;
    for (uint64_t w; i + 8 <= n; i += 8) {
        memcpy(&w, text + i, 8);
        if (w & 0x8080808080808080u)
            break;
    }
    while (i < n && (unsigned char)text[i] < 0x80)
        i++;
    return i;
}

static int normalize_part(struct buf *out, const char *text, size_t n, int options,
                          struct pesc_error *err)
{
    utf8proc_uint8_t *p = NULL;
    if (!n)
        return 0;
    utf8proc_ssize_t got = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, &p,
                                        (utf8proc_option_t)options);
    if (got < 0)
        return FAIL(err, MEMORY, "Unicode normalization of %zu bytes: %s", n, utf8proc_errmsg(got));
    int rc = buf_put(out, p, (size_t)got, err);
    free(p);
    return rc;
}

/* utf8proc sorts marks by bubbles: a run of a million of them would take hours. Long runs are
 * therefore brought into their order beforehand. */
enum { MARKS_LONG = 64 };

static int is_mark(uint32_t cp)
{
    return cp >= 0x300 &&
           (utf8proc_get_property((utf8proc_int32_t)cp)->combining_class || uc_is(cp, UC_MARK));
}

static int has_long_marks(const char *text, size_t n)
{
    size_t run = 0, len;
    for (size_t i = 0; i < n && run <= MARKS_LONG; i += len)
        run = is_mark(utf8_get(text + i, &len)) ? run + 1 : 0;
    return run > MARKS_LONG;
}

/* Empties marks into out, sorted by class and otherwise as they came. */
static int put_marks(struct buf *out, struct buf *marks, struct pesc_error *err)
{
    const uint32_t *cp = (const uint32_t *)(const void *)marks->p;
    size_t n = marks->n / sizeof *cp;
    uint8_t present[256] = {0};
    marks->n = 0;
    for (size_t i = 0; i < n; i++)
        present[utf8proc_get_property((utf8proc_int32_t)cp[i])->combining_class & 255] = 1;
    for (int c = 1; n && c < 256; c++)
        for (size_t i = 0; present[c] && i < n; i++)
            if (utf8proc_get_property((utf8proc_int32_t)cp[i])->combining_class == c)
                TRY(buf_put_cp(out, cp[i], err));
    return 0;
}

/* Decomposes text and orders its marks. */
static int order_marks(struct buf *out, const char *text, size_t n, int options,
                       struct pesc_error *err)
{
    struct buf marks = {0};
    int rc = -1;
    options = (options & ~UTF8PROC_COMPOSE) | UTF8PROC_DECOMPOSE;
    for (size_t i = 0, len; i < n; i += len) {
        utf8proc_int32_t part[32];
        int bounds = 0;
        utf8proc_ssize_t k = utf8proc_decompose_char((utf8proc_int32_t)utf8_get(text + i, &len),
                                                     part, sizeof part / sizeof *part,
                                                     (utf8proc_option_t)options, &bounds);
        for (utf8proc_ssize_t j = 0; j < k; j++) {
            if (utf8proc_get_property(part[j])->combining_class) {
                TRY_OR(buf_put(&marks, &part[j], sizeof part[j], err), done);
                continue;
            }
            TRY_OR(put_marks(out, &marks, err), done);
            TRY_OR(buf_put_cp(out, (uint32_t)part[j], err), done);
        }
    }
    rc = put_marks(out, &marks, err);
done:
    buf_free(&marks);
    return rc;
}

int uc_normalize(struct buf *out, const char *text, size_t n, enum uc_form form,
                 struct pesc_error *err)
{
    static const int options[] = {
        [UC_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [UC_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [UC_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [UC_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    /* utf8proc's composition loses this jamo behind an open syllable; it never composes */
    static const char filler[] = "\xe1\x86\xa7";
    size_t i = ascii_prefix(text, n), len;
    for (; form == UC_NFC && i < n; i += len)
        if (!nfc_inert(utf8_get(text + i, &len)))
            break;
    if (i == n)
        return buf_put(out, text, n, err);
    struct buf ordered = {0};
    int rc = -1;
    if (has_long_marks(text, n)) {
        TRY_OR(order_marks(&ordered, text, n, options[form], err), done);
        text = ordered.p;
        n = ordered.n;
    }
    for (;;) {
        const char *cut = memmem(text, n, filler, 3);
        size_t part = cut ? (size_t)(cut - text) : n;
        TRY_OR(normalize_part(out, text, part, options[form], err), done);
        if (!cut)
            break;
        TRY_OR(buf_put(out, filler, 3, err), done);
        text += part + 3;
        n -= part + 3;
    }
    rc = 0;
done:
    buf_free(&ordered);
    return rc;
}

int uc_lower(struct buf *out, const char *text, size_t n, struct pesc_error *err)
{
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp = utf8_get(text + i, &len);
        if (cp < 0x80)
            cp += cp >= 'A' && cp <= 'Z' ? 32 : 0;
        else if (cp == 0x130) /* the one character whose lower case is two */
            TRY(buf_put_cp(out, 'i', err));
        if (cp >= 0x80)
            cp = cp == 0x130 ? 0x307 : (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
        TRY(buf_put_cp(out, cp, err));
    }
    return 0;
}
