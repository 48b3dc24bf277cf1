#include "config.h"
#include "datasets/tok_internal.h"

#include <stdlib.h>
#include <string.h>

static int grow(void **p, size_t *cap, size_t want, size_t size, struct pesc_error *err)
{
    if (want <= *cap)
        return 0;
    size_t n = want + want / 2 + 64;
    void *q = realloc(*p, n * size);
    if (!q)
        return FAIL(err, MEMORY, "no memory to tokenize a word of %zu symbols", want);
    *p = q;
    *cap = n;
    return 0;
}

static int room(struct tok_work *w, size_t n)
{
    size_t cap = w->sym_cap;
    TRY(grow((void **)&w->sym, &cap, n, sizeof *w->sym, w->err));
    return grow((void **)&w->at, &w->sym_cap, n, sizeof *w->at, w->err);
}

static int usable(const struct tok_work *w, int32_t id)
{
    return !(w->plain && (w->t->flags[id] & TOKEN_SPECIAL));
}

/* A merge that would spell a special token does not exist for plain text. */
static const struct merge *find_merge(const struct tok_work *w, int32_t left, int32_t right)
{
    const struct merge *m = merges_get(&w->t->merges, left, right);
    return m && usable(w, m->id) ? m : NULL;
}

/* Few symbols: look for the best pair again and again, all within a cache line or two. */
static int merge_small(struct tok_work *w, int32_t *sym, size_t n)
{
    uint32_t rank[TOK_SMALL_WORD];
    int32_t id[TOK_SMALL_WORD];
    for (size_t i = 0; i + 1 < n; i++) {
        const struct merge *m = find_merge(w, sym[i], sym[i + 1]);
        rank[i] = m ? m->rank : UINT32_MAX;
        id[i] = m ? m->id : -1;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best])
                best = i;
        if (rank[best] == UINT32_MAX)
            break;
        sym[best] = id[best];
        size_t tail = n - best - 2;
        memmove(sym + best + 1, sym + best + 2, tail * sizeof *sym);
        memmove(rank + best, rank + best + 1, tail * sizeof *rank);
        memmove(id + best, id + best + 1, tail * sizeof *id);
        n--;
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const struct merge *m = find_merge(w, sym[i], sym[i + 1]);
            rank[i] = m ? m->rank : UINT32_MAX;
            id[i] = m ? m->id : -1;
        }
    }
    for (size_t i = 0; i < n; i++)
        TRY(ids_push(w->out, sym[i], w->err));
    return 0;
}

/* Heap of rank << 32 | position: the lowest rank first, the leftmost of equals. */
static int heap_push(struct tok_work *w, uint64_t key)
{
    TRY(grow((void **)&w->heap, &w->heap_cap, w->heap_n + 1, sizeof *w->heap, w->err));
    size_t i = w->heap_n++;
    for (; i && w->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = key;
    return 0;
}

static uint64_t heap_pop(struct tok_work *w)
{
    uint64_t top = w->heap[0], key = w->heap[--w->heap_n];
    size_t i = 0, n = w->heap_n;
    for (size_t c; (c = 2 * i + 1) < n; i = c) {
        c += c + 1 < n && w->heap[c + 1] < w->heap[c];
        if (w->heap[c] >= key)
            break;
        w->heap[i] = w->heap[c];
    }
    w->heap[i] = key;
    return top;
}

static int heap_pair(struct tok_work *w, const int32_t *sym, int32_t left, int32_t right)
{
    if (left < 0 || right < 0)
        return 0;
    const struct merge *m = find_merge(w, sym[left], sym[right]);
    return m ? heap_push(w, (uint64_t)m->rank << 32 | (uint32_t)left) : 0;
}

/* Many symbols: O(n log n). Entries whose pair has changed meanwhile are recognised by the rank,
 * which belongs to one pair only, and passed over. */
static int merge_large(struct tok_work *w, int32_t *sym, size_t n)
{
    size_t cap = w->link_cap;
    TRY(grow((void **)&w->prev, &cap, n, sizeof *w->prev, w->err));
    TRY(grow((void **)&w->next, &w->link_cap, n, sizeof *w->next, w->err));
    int32_t *prev = w->prev, *next = w->next;
    w->heap_n = 0;
    for (size_t i = 0; i < n; i++) {
        prev[i] = (int32_t)i - 1;
        next[i] = i + 1 < n ? (int32_t)i + 1 : -1;
        TRY(heap_pair(w, sym, (int32_t)i, next[i]));
    }
    while (w->heap_n) {
        uint64_t key = heap_pop(w);
        int32_t i = (int32_t)(key & UINT32_MAX), j = next[i];
        if (sym[i] < 0 || j < 0)
            continue;
        const struct merge *m = find_merge(w, sym[i], sym[j]);
        if (!m || m->rank != key >> 32)
            continue;
        sym[i] = m->id;
        sym[j] = -1;
        next[i] = next[j];
        if (next[j] >= 0)
            prev[next[j]] = i;
        TRY(heap_pair(w, sym, prev[i], i));
        TRY(heap_pair(w, sym, i, next[i]));
    }
    for (int32_t i = 0; i >= 0; i = next[i])
        TRY(ids_push(w->out, sym[i], w->err));
    return 0;
}

static int merge_symbols(struct tok_work *w, int32_t *sym, size_t n)
{
    if (n == 1)
        return ids_push(w->out, sym[0], w->err);
    return n <= TOK_SMALL_WORD ? merge_small(w, sym, n) : merge_large(w, sym, n);
}

static int32_t char_symbol(const struct tok_work *w, const char *p, size_t len, uint32_t cp)
{
    const struct tokenizer *t = w->t;
    int32_t id = -1;
    if (cp < 0x10000)
        id = t->char_id[cp];
    else if ((id = strmap_get(&t->by_name, &t->names, p, len)) >= 0 &&
             !(t->flags[id] & TOKEN_MODEL))
        id = -1;
    return id;
}

/* The characters of text as symbols with the byte each starts at; how many. Unknown ones become
 * their bytes' tokens, else the unknown token (one for a run of them if fused), else nothing. */
static int symbols(struct tok_work *w, const char *text, size_t n, size_t *count)
{
    const struct tokenizer *t = w->t;
    size_t k = 0;
    TRY(room(w, n));
    for (size_t i = 0, len; i < n; i += len) {
        int32_t id;
        if (t->byte_level) {
            len = 1;
            id = t->byte_id[(unsigned char)text[i]];
        } else {
            uint32_t cp = utf8_get(text + i, &len);
            id = char_symbol(w, text + i, len, cp);
        }
        /* A special token of one character is plain text only by its bytes; without those it stays
         * what it is rather than vanish. */
        if ((id < 0 || !usable(w, id)) && t->byte_fallback) {
            size_t b = 0;
            while (b < len && t->byte_id[(unsigned char)text[i + b]] >= 0)
                b++;
            if (b == len) {
                for (b = 0; b < len; b++, k++) {
                    w->at[k] = (uint32_t)(i + b);
                    w->sym[k] = t->byte_id[(unsigned char)text[i + b]];
                }
                continue;
            }
        }
        if (id < 0) {
            id = t->unk;
            if (id < 0 || (t->fuse_unk && k && w->sym[k - 1] == id))
                continue;
        }
        w->at[k] = (uint32_t)i;
        w->sym[k++] = id;
    }
    *count = k;
    return 0;
}

/* The id of a word that is a token by itself, without merging; -1 if it has to be merged. */
static int32_t whole(const struct tok_work *w, const char *text, size_t n)
{
    const struct tokenizer *t = w->t;
    if (n > t->longest)
        return -1;
    int32_t id = t->byte_level ? strmap_get(&t->by_raw, &t->raw, text, n)
                               : strmap_get(&t->by_name, &t->names, text, n);
    return id >= 0 && (t->flags[id] & TOKEN_WHOLE) && usable(w, id) ? id : -1;
}

int bpe_word(struct tok_work *w, const char *text, size_t n)
{
    const struct tokenizer *t = w->t;
    int32_t id = whole(w, text, n);
    if (id >= 0)
        return ids_push(w->out, id, w->err);
    size_t count;
    TRY(symbols(w, text, n, &count));
    /* Where no merge can ever join two neighbours the word falls apart: the parts are merged one
     * by one, and most of them are whole tokens. */
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count; to++) {
            uint32_t bit = bridge_bit(w->sym[to - 1], w->sym[to]);
            if (!(t->merges.bridge[bit >> 3] & 1u << (bit & 7)))
                break;
        }
        size_t end = to < count ? w->at[to] : n, start = from ? w->at[from] : 0;
        if (!t->ignore_merges && to - from > 1 && to - from < count &&
            (id = whole(w, text + start, end - start)) >= 0)
            TRY(ids_push(w->out, id, w->err));
        else
            TRY(merge_symbols(w, w->sym + from, to - from));
    }
    return 0;
}

/* Marks the tokens whose own text encodes to themselves, so that encoding may look them up. With
 * ignore_merges that is every token of the model by definition. */
int bpe_mark_whole(struct tokenizer *t, struct pesc_error *err)
{
    struct ids out = {0};
    struct tok_work w = {.t = t, .out = &out, .err = err};
    const struct strings *s = t->byte_level ? &t->raw : &t->names;
    size_t longest = 0;
    int rc = 0;
    for (long id = 0; id < s->n && rc == 0; id++) {
        size_t n = strings_has(s, id) ? s->span[id].len : 0;
        if (!n || !(t->flags[id] & TOKEN_MODEL))
            continue;
        out.n = 0;
        if (!t->ignore_merges)
            rc = bpe_word(&w, s->pool.p + s->span[id].at, n);
        if (rc == 0 && (t->ignore_merges || (out.n == 1 && out.v[0] == id))) {
            t->flags[id] |= TOKEN_WHOLE;
            longest = n > longest ? n : longest;
        }
    }
    t->longest = longest;
    free(out.v);
    w.out = NULL;
    tok_work_free(&w);
    return rc;
}
