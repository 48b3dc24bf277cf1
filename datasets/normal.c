#include "config.h"
#include "datasets/normal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const names[] = {
#define PESC_X(id, name) name,
    NORMALISERS(PESC_X)
#undef PESC_X
};
#define ALL "none, strip, lower, punctuation, articles, whitespace, number"

int normal_parse(const char *list, const char *where, struct normal *out, struct pesc_error *err)
{
    out->n = 0;
    if (!strcmp(list, "none"))
        return 0;
    for (const char *p = list;; p++) {
        size_t n = strcspn(p, ",");
        int i = 0;
        while (i < NORMALISER_COUNT && (strlen(names[i]) != n || strncmp(names[i], p, n)))
            i++;
        if (i == NORMALISER_COUNT)
            return FAIL(err, USAGE_VALUE, "%s: '%.*s' is none of " ALL, where, n > 40 ? 40 : (int)n,
                        p);
        if (out->n == NORMAL_STEPS)
            return FAIL(err, USAGE_VALUE, "%s: more than %d normalisers", where, NORMAL_STEPS);
        out->step[out->n++] = (enum normaliser)i;
        p += n;
        if (!*p)
            return 0;
    }
}

void normal_text(const struct normal *n, char *out, size_t size)
{
    size_t used = 0;
    snprintf(out, size, "none");
    for (int i = 0; i < n->n && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? "," : "", names[n->step[i]]);
}

/* Length of the white space at s, 0: none. */
static size_t space_at(const char *s)
{
    size_t len;
    return uc_is(utf8_get(s, &len), UC_SPACE) ? len : 0;
}

static int strip_ends(const struct buf *in, struct buf *out, struct pesc_error *err)
{
    size_t from = 0, stop = 0, len;
    while (from < in->n && (len = space_at(in->p + from)))
        from += len;
    for (size_t i = from; i < in->n; i += len) {
        uint32_t cp = utf8_get(in->p + i, &len);
        if (!uc_is(cp, UC_SPACE))
            stop = i + len;
    }
    return stop > from ? buf_put(out, in->p + from, stop - from, err) : 0;
}

static int drop_punctuation(const struct buf *in, struct buf *out, struct pesc_error *err)
{
    for (size_t i = 0; i < in->n; i++)
        if ((unsigned char)in->p[i] >= 0x80 || !ispunct((unsigned char)in->p[i]))
            TRY(buf_put(out, in->p + i, 1, err));
    return 0;
}

static int in_word(const struct buf *b, size_t i)
{
    return (unsigned char)b->p[i] >= 0x80 || isalnum((unsigned char)b->p[i]) || b->p[i] == '_';
}

static int drop_articles(const struct buf *in, struct buf *out, struct pesc_error *err)
{
    for (size_t i = 0; i < in->n;) {
        size_t n = 0;
        while (i + n < in->n && in_word(in, i + n))
            n++;
        const char *w = in->p + i;
        if ((n == 1 && !strncasecmp(w, "a", 1)) || (n == 2 && !strncasecmp(w, "an", 2)) ||
            (n == 3 && !strncasecmp(w, "the", 3)))
            TRY(buf_put(out, " ", 1, err));
        else
            TRY(buf_put(out, w, n ? n : 1, err));
        i += n ? n : 1;
    }
    return 0;
}

static int fold_space(const struct buf *in, struct buf *out, struct pesc_error *err)
{
    int wanted = 0;
    for (size_t i = 0, len; i < in->n; i += len) {
        uint32_t cp = utf8_get(in->p + i, &len);
        if (uc_is(cp, UC_SPACE)) {
            wanted = out->n > 0;
            continue;
        }
        if (wanted)
            TRY(buf_put(out, " ", 1, err));
        wanted = 0;
        TRY(buf_put(out, in->p + i, len, err));
    }
    return 0;
}

/* The number that begins at s: digits with commas before three of them, a fraction, a sign that
 * does not follow a digit. 0: none. */
static size_t number_at(const struct buf *b, size_t at)
{
    size_t i = at;
    if (b->p[i] == '-' && !(at > 0 && isalnum((unsigned char)b->p[at - 1])))
        i++;
    size_t first = i;
    while (i < b->n) {
        if (isdigit((unsigned char)b->p[i]))
            i++;
        else if (b->p[i] == ',' && i > first && i + 3 < b->n &&
                 isdigit((unsigned char)b->p[i + 1]) && isdigit((unsigned char)b->p[i + 2]) &&
                 isdigit((unsigned char)b->p[i + 3]) &&
                 !(i + 4 < b->n && isdigit((unsigned char)b->p[i + 4])))
            i += 4;
        else
            break;
    }
    int whole = i > first;
    if (i + 1 < b->n && b->p[i] == '.' && isdigit((unsigned char)b->p[i + 1])) {
        i++;
        while (i < b->n && isdigit((unsigned char)b->p[i]))
            i++;
        whole = 1;
    }
    return whole ? i - at : 0;
}

/* 007.50 and 7.5, -0 and 0, 1,000 and 1000 are the same. */
static int put_number(const char *s, size_t n, struct buf *out, struct pesc_error *err)
{
    int minus = *s == '-';
    s += minus;
    n -= (size_t)minus;
    if (memchr(s, '.', n)) {
        while (s[n - 1] == '0')
            n--;
        n -= s[n - 1] == '.';
    }
    while (n > 0 && (*s == '0' || *s == ',')) {
        s++;
        n--;
    }
    if (minus && n > 0)
        TRY(buf_put(out, "-", 1, err));
    if (n == 0 || *s == '.')
        TRY(buf_put(out, "0", 1, err));
    for (size_t i = 0; i < n; i++)
        if (s[i] != ',')
            TRY(buf_put(out, s + i, 1, err));
    return 0;
}

static int find_number(const struct buf *in, struct buf *out, struct pesc_error *err)
{
    size_t from = 0, at = 0, len = 0;
    int marked = 0;
    for (size_t i = 0; i + 4 <= in->n; i++)
        if (!memcmp(in->p + i, "####", 4)) {
            from = i + 4;
            marked = 1;
        }
    for (size_t i = from, n; i < in->n && !(marked && len); i += n ? n : 1)
        if ((n = number_at(in, i))) {
            at = i;
            len = n;
        }
    return len ? put_number(in->p + at, len, out, err) : 0;
}

static int apply(enum normaliser s, const struct buf *in, struct buf *out, struct pesc_error *err)
{
    switch (s) {
    case NORMAL_STRIP:
        return strip_ends(in, out, err);
    case NORMAL_LOWER:
        return uc_lower(out, in->p, in->n, err);
    case NORMAL_PUNCTUATION:
        return drop_punctuation(in, out, err);
    case NORMAL_ARTICLES:
        return drop_articles(in, out, err);
    case NORMAL_WHITESPACE:
        return fold_space(in, out, err);
    case NORMAL_NUMBER:
        return find_number(in, out, err);
    case NORMALISER_COUNT:
        break;
    }
    return FAIL(err, INTERNAL, "no such normaliser");
}

int normal_apply(const struct normal *n, const char *text, size_t len, struct buf *out,
                 struct pesc_error *err)
{
    struct buf next = {0};
    int rc = -1;
    out->n = 0;
    TRY_OR(utf8_repair(out, text, len, err), done);
    for (int i = 0; i < n->n; i++) {
        struct buf was = *out;
        next.n = 0;
        if (was.n > 0)
            TRY_OR(apply(n->step[i], &was, &next, err), done);
        *out = next;
        next = was;
    }
    TRY_OR(buf_room(out, 1, err), done);
    out->p[out->n] = 0;
    rc = 0;
done:
    buf_free(&next);
    return rc;
}
