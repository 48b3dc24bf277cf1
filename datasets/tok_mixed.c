#include "config.h"
#include "datasets/tok_internal.h"

#include <stdlib.h>
#include <string.h>

struct mixed_work {
    const struct mixed_text *m;
    size_t *at;
    size_t range, cut; /* the first not passed; cuts before this one are settled */
};

size_t mixed_token(struct mixed_work *x, size_t at, int32_t *id)
{
    const struct mixed_range *r = x->m->ranges;
    while (x->range < x->m->n_ranges && r[x->range].stop <= at)
        x->range++;
    if (x->range == x->m->n_ranges || r[x->range].start != at || r[x->range].id < 0)
        return 0;
    *id = r[x->range].id;
    return r[x->range].stop - at;
}

static int holds_data(const struct mixed_work *x, size_t start, size_t stop)
{
    const struct mixed_text *m = x->m;
    size_t i = x->range;
    while (i > 0 && m->ranges[i - 1].stop > start)
        i--;
    for (; i < m->n_ranges && m->ranges[i].start < stop; i++)
        if (m->ranges[i].id < 0 && m->ranges[i].stop > start)
            return 1;
    return 0;
}

int mixed_allows(const struct mixed_work *x, const struct added *a, size_t start, size_t stop,
                 size_t *low, size_t *high)
{
    const struct mixed_text *m = x->m;
    if (a->special && holds_data(x, start, stop))
        return 0;
    for (size_t i = x->cut; i < m->n_cuts; i++) {
        if (m->cuts[i] > start && m->cuts[i] < stop)
            return 0;
        if (m->cuts[i] <= start)
            *low = m->cuts[i];
        if (m->cuts[i] >= stop) {
            *high = m->cuts[i];
            break;
        }
    }
    return 1;
}

void mixed_settle(struct tok_work *w, size_t upto)
{
    struct mixed_work *x = w->mixed;
    while (x->cut < x->m->n_cuts && x->m->cuts[x->cut] <= upto)
        x->at[x->cut++] = w->out->n;
}

static int begins_with(const struct ids *all, const struct ids *first)
{
    return all->n >= first->n &&
           (first->n == 0 || !memcmp(all->v, first->v, first->n * sizeof *first->v));
}

/* out becomes the ids of a text that does not begin one: behind another character, taken away
 * again. Two characters are tried, since the text may merge with one of them. */
static int encode_after(struct tok_work *w, const char *text, size_t n, struct ids *out)
{
    static const char *const before[] = {"\n", ">"};
    struct ids first = {0}, *kept = w->out;
    struct buf both = {0};
    int rc = -1, found = 0;
    for (size_t i = 0; i < sizeof before / sizeof *before && !found; i++) {
        first.n = out->n = both.n = 0;
        w->out = &first;
        TRY_OR(tok_raw_piece(w, before[i], 1, 0), done);
        TRY_OR(buf_put(&both, before[i], 1, w->err), done);
        TRY_OR(buf_put(&both, text, n, w->err), done);
        w->out = out;
        TRY_OR(tok_raw_piece(w, both.p, both.n, 0), done);
        found = first.n > 0 && begins_with(out, &first);
    }
    if (found) {
        memmove(out->v, out->v + first.n, (out->n - first.n) * sizeof *out->v);
        out->n -= first.n;
    } else {
        out->n = 0;
        TRY_OR(tok_raw_piece(w, text, n, 0), done);
    }
    rc = 0;
done:
    w->out = kept;
    free(first.v);
    buf_free(&both);
    return rc;
}

/* One run of text, from the last place where it had to be parted. */
struct run {
    const char *text;
    size_t from; /* bytes of the stretch before text; 0: its beginning */
    int at_start;
};

static int encode_run(struct tok_work *w, const struct run *r, size_t n, struct ids *out)
{
    if (r->from)
        return encode_after(w, r->text, n, out);
    struct ids *kept = w->out;
    out->n = 0;
    w->out = out;
    int rc = tok_raw_piece(w, r->text, n, r->at_start);
    w->out = kept;
    return rc;
}

static int push(struct tok_work *w, const struct ids *more)
{
    for (size_t i = 0; i < more->n; i++)
        TRY(ids_push(w->out, more->v[i], w->err));
    return 0;
}

/* A stretch of text with k cuts inside, at cut[] bytes from its beginning: in one go as far as no
 * token spans a cut and the ids before each are those of the text before it alone. */
static int cut_stretch(struct tok_work *w, const char *text, size_t n, int at_start,
                       const size_t *cut, size_t k, size_t *at)
{
    struct run r = {text, 0, at_start};
    struct ids all = {0}, *left = calloc(k, sizeof *left);
    size_t first = 0;
    int rc = -1;
    if (!left)
        return FAIL(w->err, MEMORY, "no memory to part a text");
    for (;;) {
        size_t base = w->out->n, j = first;
        TRY_OR(encode_run(w, &r, n - r.from, &all), done);
        for (; j < k; j++) {
            TRY_OR(encode_run(w, &r, cut[j] - r.from, &left[j]), done);
            if (!begins_with(&all, &left[j]))
                break;
        }
        /* parted at j, the cuts before it must still hold */
        for (size_t i = first; j < k && i < j; i++)
            if (!begins_with(&left[j], &left[i])) {
                j = i;
                i = first - 1;
            }
        for (size_t i = first; i < j; i++)
            at[i] = base + left[i].n;
        if (j == k)
            break;
        TRY_OR(push(w, &left[j]), done);
        at[j] = w->out->n;
        r = (struct run){text + cut[j], cut[j], 0};
        first = j + 1;
    }
    rc = push(w, &all);
done:
    for (size_t i = 0; i < k; i++)
        free(left[i].v);
    free(left);
    free(all.v);
    return rc;
}

/* Between two added tokens. */
static int stretch(struct tok_work *w, const char *text, size_t n, int at_start)
{
    struct mixed_work *x = w->mixed;
    size_t start = (size_t)(text - x->m->text), k = 0, stack[8], *rel = stack;
    int rc;
    mixed_settle(w, start);
    while (x->cut + k < x->m->n_cuts && x->m->cuts[x->cut + k] < start + n)
        k++;
    if (k > sizeof stack / sizeof *stack && !(rel = malloc(k * sizeof *rel)))
        return FAIL(w->err, MEMORY, "no memory to part a text");
    for (size_t i = 0; i < k; i++)
        rel[i] = x->m->cuts[x->cut + i] - start;
    w->plain = holds_data(x, start, start + n);
    w->mixed = NULL;
    rc = k ? cut_stretch(w, text, n, at_start, rel, k, x->at + x->cut)
           : tok_raw_piece(w, text, n, at_start);
    w->mixed = x;
    w->plain = 0;
    x->cut += k;
    if (rel != stack)
        free(rel);
    return rc;
}

int tokenizer_encode_mixed(const struct tokenizer *t, const struct mixed_text *m, struct ids *out,
                           size_t *at, struct pesc_error *err)
{
    struct mixed_work x = {.m = m, .at = at};
    struct tok_work w = {.t = t, .mixed = &x, .out = out, .err = err};
    size_t before = out->n;
    if (m->n > TOK_TEXT_CAP)
        return FAIL(err, LIMIT, "a text of %zu bytes is too long to tokenize at once", m->n);
    w.match = regex_match_new(err);
    if (!w.match)
        return -1;
    int rc = added_split(&w, &t->raw_tokens, m->text, m->n, 1, stretch);
    if (rc == 0)
        mixed_settle(&w, m->n);
    else
        out->n = before;
    tok_work_free(&w);
    return rc;
}
