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

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, int flags,
                     struct ids *out, struct pesc_error *err)
{
    if ((flags & TOK_SPECIAL) && t->adds_bos)
        TRY(ids_push(out, t->bos, err));
    if (t->prefix_space && n > 0)
        TRY(ids_push(out, FAKE_SPACE, err));
    for (size_t i = 0; i < n; i++) {
        int32_t id = FAKE_BYTE + (unsigned char)text[i];
        if (!(flags & TOK_PLAIN) && n - i >= 4 && !memcmp(text + i, "</s>", 4)) {
            id = FAKE_EOS;
            i += 3;
        } else if (t->merges_lines && n - i >= 2 && text[i] == '\n' && text[i + 1] == '\n') {
            id = FAKE_LINES;
            i++;
        }
        TRY(ids_push(out, id, err));
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
