#include "config.h"
#include "datasets/tok_internal.h"

#include <string.h>

int next_match(const struct regex *regex, const struct buf *lit, struct regex_match *m,
               const char *text, size_t n, size_t *from, size_t *last, size_t *start, size_t *end,
               struct pesc_error *err)
{
    while (*from <= n) {
        if (regex) {
            int rc = regex_find(regex, m, text, n, *from, start, end, err);
            if (rc <= 0)
                return rc;
        } else {
            const char *p = lit->n ? memmem(text + *from, n - *from, lit->p, lit->n) : text + *from;
            if (!p)
                return 0;
            *start = (size_t)(p - text);
            *end = *start + lit->n;
        }
        if (*start != *end || *last != *end) {
            *from = *last = *end;
            return 1;
        }
        size_t step = 1;
        if (*from < n)
            utf8_get(text + *from, &step);
        *from += step;
    }
    return 0;
}

/* Whether what replaced the beginning of a text counts as standing at its start: in the reference
 * library it stands where the last character that it replaced stood. */
static int keeps_start(const char *text, size_t end, const struct buf *to)
{
    size_t first = 0;
    if (end)
        utf8_get(text, &first);
    return end == 0 || (to->n && end == first);
}

int replace_all(struct buf *out, const char *text, size_t n, const struct regex *regex,
                const struct buf *from, const struct buf *to, int *at_start, struct regex_match *m,
                struct pesc_error *err)
{
    size_t at = 0, last = SIZE_MAX, done = 0, start, end;
    int rc;
    while ((rc = next_match(regex, from, m, text, n, &at, &last, &start, &end, err)) == 1) {
        TRY(buf_put(out, text + done, start - done, err));
        TRY(buf_put(out, to->p, to->n, err));
        if (at_start && start == 0)
            *at_start &= keeps_start(text, end, to);
        done = end;
    }
    return rc < 0 ? -1 : buf_put(out, text + done, n - done, err);
}

static int drop_marks(struct buf *out, const char *text, size_t n, int *at_start,
                      struct pesc_error *err)
{
    for (size_t i = 0, len; i < n; i += len) {
        if (!uc_is(utf8_get(text + i, &len), UC_MARK))
            TRY(buf_put(out, text + i, len, err));
        else if (i == 0)
            *at_start = 0;
    }
    return 0;
}

static void strip(const struct norm_step *s, const char **text, size_t *n)
{
    size_t len;
    while (s->left && *n && uc_is(utf8_get(*text, &len), UC_SPACE)) {
        *text += len;
        *n -= len;
    }
    while (s->right && *n) {
        size_t i = *n - 1;
        while (i && ((unsigned char)(*text)[i] & 0xc0) == 0x80)
            i--;
        if (!uc_is(utf8_get(*text + i, &len), UC_SPACE))
            return;
        *n = i;
    }
}

int norm_run(struct tok_work *w, const char *text, size_t n, const char **out, size_t *out_n,
             int *at_start)
{
    const struct tokenizer *t = w->t;
    struct pesc_error *err = w->err;
    const char *before;
    for (int i = 0, k = 0; i < t->n_norm && n; i++) {
        const struct norm_step *s = &t->norm[i];
        struct buf *b = &w->norm[k];
        b->n = 0;
        switch (s->kind) {
        case NORM_FORM:
            TRY(uc_normalize(b, text, n, s->form, err));
            break;
        case NORM_LOWER:
            TRY(uc_lower(b, text, n, err));
            break;
        case NORM_PREPEND:
            TRY(buf_put(b, s->to.p, s->to.n, err));
            TRY(buf_put(b, text, n, err));
            break;
        case NORM_REPLACE:
            TRY(replace_all(b, text, n, s->regex, &s->from, &s->to, at_start, w->match, err));
            break;
        case NORM_MARKS:
            TRY(drop_marks(b, text, n, at_start, err));
            break;
        case NORM_BYTES:
            TRY(byte_map_put(&t->bytes, b, text, n, err));
            break;
        case NORM_STRIP:
            before = text;
            strip(s, &text, &n);
            *at_start &= text == before;
            continue;
        }
        text = b->p ? b->p : "";
        n = b->n;
        k = !k;
    }
    *out = text;
    *out_n = n;
    return 0;
}
