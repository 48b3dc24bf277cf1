#include "config.h"
#include "datasets/tok_internal.h"

#include <string.h>

/* Turns the alternation of matches and gaps into pieces. One element is held back, because whether
 * it stands alone depends on its neighbour. */
struct splitter {
    struct tok_work *w;
    int step, at_start, held, held_match;
    const char *text;
    size_t from, to;
    enum split_behavior behavior;
};

static int emit(struct splitter *s, size_t from, size_t to)
{
    if (from == to)
        return 0;
    return pre_run(s->w, s->step + 1, s->text + from, to - from, s->at_start && from == 0);
}

static int element(struct splitter *s, size_t from, size_t to, int match)
{
    if (s->behavior == SPLIT_ISOLATED)
        return emit(s, from, to);
    if (s->behavior == SPLIT_REMOVED)
        return match ? 0 : emit(s, from, to);
    int join = 0;
    if (s->behavior == SPLIT_CONTIGUOUS)
        join = match == s->held_match;
    else if (s->behavior == SPLIT_PREVIOUS)
        join = match && !s->held_match;
    else
        join = !match && s->held_match;
    if (s->held && join) {
        s->to = to;
    } else {
        if (s->held)
            TRY(emit(s, s->from, s->to));
        s->from = from;
        s->to = to;
        s->held = 1;
    }
    s->held_match = match;
    return 0;
}

static int split_pattern(struct splitter *s, const struct pre_step *p, size_t n)
{
    size_t at = 0, last = SIZE_MAX, done = 0, start, end;
    int rc;
    while ((rc = next_match(p->regex, &p->text, s->w->match, s->text, n, &at, &last, &start, &end,
                            s->w->err)) == 1) {
        if (done < start)
            TRY(element(s, done, start, p->invert));
        TRY(element(s, start, end, !p->invert));
        done = end;
    }
    if (rc < 0)
        return -1;
    return done < n ? element(s, done, n, p->invert) : 0;
}

static int split_chars(struct splitter *s, const struct pre_step *p, size_t n)
{
    size_t done = 0;
    for (size_t i = 0, len; i < n; i += len) {
        if (!uc_is(utf8_get(s->text + i, &len), p->chars))
            continue;
        if (done < i)
            TRY(element(s, done, i, 0));
        TRY(element(s, i, i + len, 1));
        done = i + len;
    }
    return done < n ? element(s, done, n, 0) : 0;
}

static int metaspace(struct tok_work *w, const struct pre_step *p, struct buf *out,
                     const char *text, size_t n, int at_start)
{
    size_t m = p->text.n;
    out->n = 0;
    if ((p->scheme == PREPEND_ALWAYS || (p->scheme == PREPEND_FIRST && at_start)) &&
        text[0] != ' ' && (n < m || memcmp(text, p->text.p, m)))
        TRY(buf_put(out, p->text.p, m, w->err));
    for (size_t i = 0; i < n;) {
        const char *sp = memchr(text + i, ' ', n - i);
        size_t gap = sp ? (size_t)(sp - text) - i : n - i;
        TRY(buf_put(out, text + i, gap, w->err));
        i += gap;
        if (sp) {
            TRY(buf_put(out, p->text.p, m, w->err));
            i++;
        }
    }
    return 0;
}

int pre_run(struct tok_work *w, int step, const char *text, size_t n, int at_start)
{
    const struct tokenizer *t = w->t;
    if (step == t->n_pre)
        return bpe_word(w, text, n);
    const struct pre_step *p = &t->pre[step];
    struct buf *b = &w->step[step];
    struct splitter s = {w, step, at_start, 0, 0, text, 0, 0, p->behavior};
    switch (p->kind) {
    case PRE_SPLIT:
        TRY(split_pattern(&s, p, n));
        return s.held ? emit(&s, s.from, s.to) : 0;
    case PRE_CHARS:
        TRY(split_chars(&s, p, n));
        return s.held ? emit(&s, s.from, s.to) : 0;
    case PRE_METASPACE:
        TRY(metaspace(w, p, b, text, n, at_start));
        break;
    case PRE_PREFIX_SPACE:
        if (text[0] == ' ')
            return pre_run(w, step + 1, text, n, at_start);
        b->n = 0;
        TRY(buf_put(b, " ", 1, w->err));
        TRY(buf_put(b, text, n, w->err));
        break;
    case PRE_BYTES:
        b->n = 0;
        TRY(byte_map_put(&t->bytes, b, text, n, w->err));
        break;
    }
    return pre_run(w, step + 1, b->p, b->n, at_start);
}
