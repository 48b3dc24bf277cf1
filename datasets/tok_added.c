#include "config.h"
#include "datasets/tok_internal.h"

#include <stdlib.h>
#include <string.h>

void trie_init(struct trie *t)
{
    *t = (struct trie){0};
    for (int i = 0; i < 256; i++)
        t->root[i] = -1;
}

static int32_t trie_child(const struct trie *t, int32_t first, unsigned char byte)
{
    while (first >= 0 && t->node[first].byte != byte)
        first = t->node[first].next;
    return first;
}

int trie_add(struct trie *t, const char *p, size_t n, int32_t id, struct pesc_error *err)
{
    int32_t parent = -1, at;
    for (size_t i = 0; i < n; i++, parent = at) {
        unsigned char byte = (unsigned char)p[i];
        int32_t first = parent < 0 ? t->root[byte] : t->node[parent].child;
        at = trie_child(t, first, byte);
        if (at >= 0)
            continue;
        if (t->n == t->cap) {
            int32_t cap = t->cap ? t->cap * 2 : 256;
            struct trie_node *node = realloc(t->node, (size_t)cap * sizeof *node);
            if (!node)
                return FAIL(err, MEMORY, "no memory for added tokens");
            t->node = node;
            t->cap = cap;
        }
        at = t->n++;
        t->node[at] = (struct trie_node){-1, -1, parent < 0 ? -1 : first, byte};
        if (parent < 0)
            t->root[byte] = at;
        else
            t->node[parent].child = at;
    }
    if (parent >= 0 && t->node[parent].id < 0)
        t->node[parent].id = id;
    return 0;
}

/* The longest token at text[i]; its length or 0. */
static size_t trie_match(const struct trie *t, const char *text, size_t n, size_t i, int32_t *id)
{
    size_t best = 0;
    int32_t at = t->root[(unsigned char)text[i]];
    for (size_t k = i + 1; at >= 0; k++) {
        if (t->node[at].id >= 0) {
            best = k - i;
            *id = t->node[at].id;
        }
        if (k >= n)
            break;
        at = trie_child(t, t->node[at].child, (unsigned char)text[k]);
    }
    return best;
}

/* Start of the character that ends before text[i]. */
static size_t char_before(const char *text, size_t i)
{
    do
        i--;
    while (i > 0 && ((unsigned char)text[i] & 0xc0) == 0x80);
    return i;
}

static int is_at(const char *text, enum uc_class c)
{
    size_t len;
    return uc_is(utf8_get(text, &len), c);
}

static int stands_alone(const char *text, size_t n, size_t start, size_t stop)
{
    return (start == 0 || !is_at(text + char_before(text, start), UC_WORD)) &&
           (stop == n || !is_at(text + stop, UC_WORD));
}

int added_split(struct tok_work *w, const struct trie *trie, const char *text, size_t n,
                int at_start, tok_piece_fn rest)
{
    const struct tokenizer *t = w->t;
    size_t done = 0, i = 0, len, step;
    int32_t id;
    if (!trie->n && !w->mixed)
        return n ? rest(w, text, n, at_start) : 0;
    while (i < n) {
        size_t forced = w->mixed ? mixed_token(w->mixed, i, &id) : 0;
        len = forced ? forced : trie_match(trie, text, n, i, &id);
        if (!len) {
            i++;
            continue;
        }
        size_t start = i, stop = i + len;
        i = stop;
        static const struct added bare = {.special = 1};
        const struct added *a = t->added_of[id] >= 0 ? &t->added[t->added_of[id]] : &bare;
        size_t low = done, high = n;
        if ((w->plain && a->special) || (a->single_word && !stands_alone(text, n, start, stop)) ||
            (w->mixed && !forced && !mixed_allows(w->mixed, a, start, stop, &low, &high)))
            continue;
        low = low > done ? low : done;
        while (a->lstrip && start > low && is_at(text + char_before(text, start), UC_SPACE))
            start = char_before(text, start);
        for (; a->rstrip && stop < high && is_at(text + stop, UC_SPACE); stop += step)
            utf8_get(text + stop, &step);
        /* The token before may have taken (part of) this one for white space. As in the reference
         * library it then is what is left of it when it takes white space on its left itself, and
         * otherwise counts in full. */
        if (a->lstrip && start < done)
            start = done;
        if (start >= stop)
            continue;
        if (done < start)
            TRY(rest(w, text + done, start - done, at_start && done == 0));
        if (w->mixed)
            mixed_settle(w, start);
        TRY(ids_push(w->out, id, w->err));
        done = stop;
    }
    return done < n ? rest(w, text + done, n - done, at_start && done == 0) : 0;
}
