#include "config.h"
#include "datasets/tok_internal.h"

#include <stdlib.h>
#include <string.h>

/* The decoder as a chain of steps that each pass on what is certain; decoding at once is streaming
 * everything and then flushing. A step that cannot say anything certain before the end (a Replace
 * over the joined text, say) holds all back. */
struct dec_state {
    struct buf hold, tmp;
    long dropped; /* Strip of joined text: characters removed at its start; -1: past it */
    int started;
};

struct token_stream {
    const struct tokenizer *t;
    struct regex_match *match;
    struct buf out;
    struct pesc_error *err;
    struct dec_state st[TOK_STEPS_CAP];
};

static int feed(struct token_stream *s, int step, const char *p, size_t n);

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int flush_fallback(struct token_stream *s, int step)
{
    struct buf *h = &s->st[step].hold;
    size_t n = h->n;
    h->n = 0;
    if (!n)
        return 0;
    if (utf8_valid(h->p, n, NULL, NULL) == n)
        return feed(s, step + 1, h->p, n);
    for (size_t i = 0; i < n; i++)
        TRY(feed(s, step + 1, "\xef\xbf\xbd", 3));
    return 0;
}

static int feed_fallback(struct token_stream *s, int step, const char *p, size_t n)
{
    if (n == 6 && !memcmp(p, "<0x", 3) && p[5] == '>' && hex(p[3]) >= 0 && hex(p[4]) >= 0) {
        char byte = (char)(hex(p[3]) << 4 | hex(p[4]));
        return buf_put(&s->st[step].hold, &byte, 1, s->err);
    }
    TRY(flush_fallback(s, step));
    return feed(s, step + 1, p, n);
}

/* Passes on the whole characters held; a character cut at the end waits, unless this is the end. */
static int flush_bytes(struct token_stream *s, int step, int last)
{
    struct dec_state *st = &s->st[step];
    size_t done = 0, bad;
    int cut;
    st->tmp.n = 0;
    for (;;) {
        size_t good = utf8_valid(st->hold.p + done, st->hold.n - done, &bad, &cut);
        TRY(buf_put(&st->tmp, st->hold.p + done, good, s->err));
        done += good;
        if (!bad || (cut && !last))
            break;
        TRY(buf_put(&st->tmp, "\xef\xbf\xbd", 3, s->err));
        done += bad;
    }
    memmove(st->hold.p, st->hold.p + done, st->hold.n - done);
    st->hold.n -= done;
    return st->tmp.n ? feed(s, step + 1, st->tmp.p, st->tmp.n) : 0;
}

static int feed_bytes(struct token_stream *s, int step, const char *p, size_t n)
{
    struct buf *h = &s->st[step].hold;
    size_t before = h->n, len;
    for (size_t i = 0; i < n; i += len) {
        uint32_t cp = utf8_get(p + i, &len);
        if (cp >= 512 || s->t->bytes.byte[cp] < 0) { /* not of the byte alphabet: text as it is */
            h->n = before;
            TRY(buf_put(h, p, n, s->err));
            break;
        }
        char byte = (char)s->t->bytes.byte[cp];
        TRY(buf_put(h, &byte, 1, s->err));
    }
    return h->n ? flush_bytes(s, step, 0) : 0;
}

static int strip_at(const struct dec_step *d, const char *p, size_t n)
{
    return n >= d->from.n && !memcmp(p, d->from.p, d->from.n);
}

static int feed_strip(struct token_stream *s, int step, const char *p, size_t n)
{
    const struct dec_step *d = &s->t->dec[step];
    struct dec_state *st = &s->st[step];
    size_t c = d->from.n;
    long dropped = d->fused ? st->dropped : 0;
    while (dropped >= 0 && dropped < d->start && strip_at(d, p, n)) {
        p += c;
        n -= c;
        dropped++;
    }
    st->dropped = n ? -1 : dropped;
    for (long i = 0; i < d->stop && n >= c && strip_at(d, p + n - c, c); i++)
        n -= c;
    return feed(s, step + 1, p, n);
}

static int feed_metaspace(struct token_stream *s, int step, const char *p, size_t n)
{
    const struct dec_step *d = &s->t->dec[step];
    struct dec_state *st = &s->st[step];
    int drop = (d->fused || !st->started) && d->scheme != PREPEND_NEVER;
    st->started = 1;
    st->tmp.n = 0;
    for (size_t i = 0; i < n;) {
        if (strip_at(d, p + i, n - i)) {
            if (!drop)
                TRY(buf_put(&st->tmp, " ", 1, s->err));
            i += d->from.n;
        } else {
            TRY(buf_put(&st->tmp, p + i++, 1, s->err));
        }
    }
    return feed(s, step + 1, st->tmp.p ? st->tmp.p : "", st->tmp.n);
}

static int feed_replace(struct token_stream *s, int step, const char *p, size_t n)
{
    const struct dec_step *d = &s->t->dec[step];
    struct buf *b = &s->st[step].tmp;
    b->n = 0;
    TRY(replace_all(b, p, n, d->regex, &d->from, &d->to, NULL, s->match, s->err));
    return feed(s, step + 1, b->p ? b->p : "", b->n);
}

static int apply(struct token_stream *s, int step, const char *p, size_t n)
{
    switch (s->t->dec[step].kind) {
    case DEC_REPLACE:
        return feed_replace(s, step, p, n);
    case DEC_BYTE_FALLBACK:
        return feed_fallback(s, step, p, n);
    case DEC_STRIP:
        return feed_strip(s, step, p, n);
    case DEC_METASPACE:
        return feed_metaspace(s, step, p, n);
    case DEC_BYTES:
        return feed_bytes(s, step, p, n);
    case DEC_SPACES:
        if (s->st[step].started)
            TRY(feed(s, step + 1, " ", 1));
        s->st[step].started = 1;
        break;
    case DEC_FUSE:
        break;
    }
    return feed(s, step + 1, p, n);
}

/* Steps over joined text that depend on all of it. */
static int waits(const struct dec_step *d)
{
    return d->fused && (d->kind == DEC_REPLACE || d->kind == DEC_BYTE_FALLBACK ||
                        d->kind == DEC_BYTES || (d->kind == DEC_STRIP && d->stop));
}

static int feed(struct token_stream *s, int step, const char *p, size_t n)
{
    if (step == s->t->n_dec)
        return buf_put(&s->out, p, n, s->err);
    if (waits(&s->t->dec[step]))
        return buf_put(&s->st[step].hold, p, n, s->err);
    return apply(s, step, p, n);
}

static int flush(struct token_stream *s)
{
    for (int i = 0; i < s->t->n_dec; i++) {
        const struct dec_step *d = &s->t->dec[i];
        if (waits(d)) {
            struct buf all = s->st[i].hold;
            s->st[i].hold = (struct buf){0};
            int rc = apply(s, i, all.p ? all.p : "", all.n);
            buf_free(&all);
            TRY(rc);
        }
        if (d->kind == DEC_BYTE_FALLBACK)
            TRY(flush_fallback(s, i));
        if (d->kind == DEC_BYTES && s->st[i].hold.n)
            TRY(flush_bytes(s, i, 1));
    }
    return 0;
}

static struct token_stream *stream_new(const struct tokenizer *t, struct pesc_error *err)
{
    struct token_stream *s = calloc(1, sizeof *s);
    if (!s) {
        error_set(err, PESC_E_MEMORY, "no memory to decode tokens");
        return NULL;
    }
    s->t = t;
    s->match = regex_match_new(err);
    if (!s->match) {
        free(s);
        return NULL;
    }
    return s;
}

void tokenizer_stream_free(struct token_stream *s)
{
    if (!s)
        return;
    for (int i = 0; i < TOK_STEPS_CAP; i++) {
        buf_free(&s->st[i].hold);
        buf_free(&s->st[i].tmp);
    }
    regex_match_free(s->match);
    buf_free(&s->out);
    free(s);
}

static int stream_id(struct token_stream *s, int32_t id, int skip_special)
{
    const struct tokenizer *t = s->t;
    if (!strings_has(&t->names, id) || (skip_special && (t->flags[id] & TOKEN_SPECIAL)))
        return 0;
    return feed(s, 0, t->names.pool.p + t->names.span[id].at, t->names.span[id].len);
}

int tokenizer_stream(const struct tokenizer *t, struct token_stream **state, int32_t id, int last,
                     const char **text, size_t *len, struct pesc_error *err)
{
    if (!*state)
        *state = stream_new(t, err);
    struct token_stream *s = *state;
    if (!s)
        return -1;
    s->err = err;
    s->out.n = 0;
    TRY(stream_id(s, id, 1));
    if (last)
        TRY(flush(s));
    TRY(buf_put(&s->out, "", 1, err));
    *text = s->out.p;
    *len = --s->out.n;
    return 0;
}

char *tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, int skip_special,
                       size_t *len, struct pesc_error *err)
{
    struct token_stream *s = stream_new(t, err);
    char *text = NULL;
    if (!s)
        return NULL;
    s->err = err;
    for (size_t i = 0; i < n; i++)
        TRY_OR(stream_id(s, ids[i], skip_special), done);
    TRY_OR(flush(s), done);
    TRY_OR(buf_put(&s->out, "", 1, err), done);
    text = s->out.p;
    if (len)
        *len = s->out.n - 1;
    s->out = (struct buf){0};
done:
    tokenizer_stream_free(s);
    return text;
}
