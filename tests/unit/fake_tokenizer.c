#include "config.h"
#include "tests/unit/fake_tokenizer.h"

#include <stdlib.h>
#include <string.h>

int ids_push(struct ids *l, int32_t id, struct pesc_error *err)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 4;
        int32_t *grown = realloc(l->v, cap * sizeof *grown);
        if (!grown)
            return FAIL(err, MEMORY, "no memory for ids");
        l->v = grown;
        l->cap = cap;
    }
    l->v[l->n++] = id;
    return 0;
}

/* Bytes up to n, none of them special. */
static int put_bytes(const struct tokenizer *t, const char *text, size_t n,
                     const struct mixed_text *m, size_t from, struct ids *out, size_t *at,
                     size_t *cut, struct pesc_error *err)
{
    for (size_t i = 0; i < n; i++) {
        int32_t id = FAKE_BYTE + (unsigned char)text[i];
        for (; m && *cut < m->n_cuts && m->cuts[*cut] == from + i; ++*cut)
            at[*cut] = out->n;
        if (t->merges_lines && n - i >= 2 && text[i] == '\n' && text[i + 1] == '\n' &&
            !(m && *cut < m->n_cuts && m->cuts[*cut] == from + i + 1)) {
            id = FAKE_LINES;
            i++;
        }
        TRY(ids_push(out, id, err));
    }
    return 0;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, int flags,
                     struct ids *out, struct pesc_error *err)
{
    if ((flags & TOK_SPECIAL) && t->adds_bos)
        TRY(ids_push(out, t->bos, err));
    if (t->prefix_space && n > 0)
        TRY(ids_push(out, FAKE_SPACE, err));
    return put_bytes(t, text, n, NULL, 0, out, NULL, NULL, err);
}

int tokenizer_encode_mixed(const struct tokenizer *t, const struct mixed_text *m, struct ids *out,
                           size_t *at, struct pesc_error *err)
{
    size_t cut = 0, done = 0;
    for (size_t i = 0; i <= m->n_ranges; i++) {
        const struct mixed_range end = {m->n, m->n, -1},
                                 *r = i < m->n_ranges ? &m->ranges[i] : &end;
        if (r->id < 0 && i < m->n_ranges)
            continue;
        for (; cut < m->n_cuts && m->cuts[cut] <= done; cut++)
            at[cut] = out->n;
        if (t->prefix_space && done < r->start)
            TRY(ids_push(out, FAKE_SPACE, err));
        TRY(put_bytes(t, m->text + done, r->start - done, m, done, out, at, &cut, err));
        for (; cut < m->n_cuts && m->cuts[cut] <= r->start; cut++)
            at[cut] = out->n;
        if (r->id >= 0)
            TRY(ids_push(out, r->id, err));
        done = r->stop;
    }
    return 0;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

int tokenizer_adds_bos(const struct tokenizer *t)
{
    return t->adds_bos;
}

const char *tokenizer_token(const struct tokenizer *t, int32_t id)
{
    return id == t->bos ? "<s>" : id == t->eos ? "</s>" : NULL;
}

const char *tokenizer_path(const struct tokenizer *t)
{
    (void)t;
    return "";
}

int32_t tokenizer_id(const struct tokenizer *t, const char *token)
{
    return !strcmp(token, "<s>") ? t->bos : !strcmp(token, "</s>") ? t->eos : -1;
}

int tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && (id == t->bos || id == t->eos);
}

/* Each token is one byte, told as it comes. */
struct token_stream {
    char byte;
};

int tokenizer_stream(const struct tokenizer *t, struct token_stream **state, int32_t id, int last,
                     const char **text, size_t *len, struct pesc_error *err)
{
    (void)last;
    if (!*state)
        *state = calloc(1, sizeof **state);
    if (!*state)
        return FAIL(err, MEMORY, "no memory");
    *len = id >= FAKE_BYTE && !tokenizer_is_special(t, id);
    (*state)->byte = (char)(id - FAKE_BYTE);
    *text = &(*state)->byte;
    return 0;
}

void tokenizer_stream_free(struct token_stream *s)
{
    free(s);
}
