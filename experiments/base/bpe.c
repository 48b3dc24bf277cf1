#include "config.h"
#include "experiments/base/bpe.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_CAP = 32, TABLE = 1 << 16 };

struct word { /* a distinct piece of text and how often it came */
    long count;
    int n;
    short sym[WORD_CAP];
};

struct bpe {
    struct word *word;
    size_t n, cap;
    int *slot; /* [TABLE] open addressing: word index + 1 */
};

struct bpe *bpe_new(struct pesc_error *err)
{
    struct bpe *b = calloc(1, sizeof *b);
    if (b)
        b->slot = calloc(TABLE, sizeof *b->slot);
    if (!b || !b->slot) {
        FAIL(err, MEMORY, "no memory for a tokenizer");
        bpe_free(b);
        return NULL;
    }
    return b;
}

void bpe_free(struct bpe *b)
{
    if (!b)
        return;
    free(b->word);
    free(b->slot);
    free(b);
}

static int add_word(struct bpe *b, const char *text, int n, struct pesc_error *err)
{
    struct word w = {1, n, {0}};
    uint64_t h = 0xcbf29ce484222325u;
    for (int i = 0; i < n; i++) {
        w.sym[i] = (short)(BPE_BYTE + (unsigned char)text[i]);
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    }
    size_t at = (size_t)(h >> 32) % TABLE;
    for (; b->slot[at]; at = (at + 1) % TABLE) {
        struct word *old = &b->word[b->slot[at] - 1];
        if (old->n == n && !memcmp(old->sym, w.sym, sizeof w.sym)) {
            old->count++;
            return 0;
        }
    }
    if (b->n >= TABLE / 2)
        return 0; /* rare words by then: they cannot change the most frequent pairs */
    if (b->n == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 256;
        struct word *grown = realloc(b->word, cap * sizeof *grown);
        if (!grown)
            return FAIL(err, MEMORY, "no memory for %zu words", cap);
        b->word = grown;
        b->cap = cap;
    }
    b->word[b->n++] = w;
    b->slot[at] = (int)b->n;
    return 0;
}

static int kind(int c)
{
    return isalpha(c) ? 'a' : isdigit(c) ? '0' : isspace(c) ? ' ' : '.';
}

/* Splits as the pre-tokenizer's pattern does on ASCII: a run of one kind with one space before. */
int bpe_add(struct bpe *b, const char *text, struct pesc_error *err)
{
    const unsigned char *p = (const unsigned char *)text;
    while (*p) {
        const unsigned char *from = p;
        if (*p == ' ' && p[1] && !isspace(p[1]))
            p++;
        for (int k = kind(*p); *p && kind(*p) == k && p - from < WORD_CAP; p++)
            ;
        if (!isdigit(p[-1]) && !isspace(p[-1]) && !isupper(p[-1]))
            TRY(add_word(b, (const char *)from, (int)(p - from), err));
    }
    return 0;
}

static void merge(struct word *w, int left, int right, int into)
{
    int n = 0;
    for (int i = 0; i < w->n; i++)
        if (i + 1 < w->n && w->sym[i] == left && w->sym[i + 1] == right) {
            w->sym[n++] = (short)into;
            i++;
        } else {
            w->sym[n++] = w->sym[i];
        }
    w->n = n;
}

/* The most frequent pair among the words as they are now; 0 when there is none. */
static int best_pair(const struct bpe *b, long *count, int vocab, int *left, int *right)
{
    long best = 0;
    memset(count, 0, (size_t)vocab * (size_t)vocab * sizeof *count);
    for (size_t i = 0; i < b->n; i++)
        for (int j = 0; j + 1 < b->word[i].n; j++)
            count[b->word[i].sym[j] * vocab + b->word[i].sym[j + 1]] += b->word[i].count;
    for (int i = 0; i < vocab * vocab; i++)
        if (count[i] > best) {
            best = count[i];
            *left = i / vocab;
            *right = i % vocab;
        }
    return best > 0;
}

/* GPT-2's printable stand-in for a byte, as UTF-8. */
static void byte_text(char out[4], int byte)
{
    int c = byte, next = 256;
    for (int i = 0; i < 256; i++) {
        int shown = (i >= 33 && i <= 126) || (i >= 161 && i != 173);
        if (i == byte && !shown)
            c = next;
        next += !shown;
    }
    if (c < 0x80)
        snprintf(out, 4, "%c", c);
    else
        snprintf(out, 4, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
}

static json_t *added_token(int id, const char *text)
{
    return json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", id, "content", text, "single_word", 0,
                     "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
}

static json_t *byte_level(int trim)
{
    return json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", trim, "use_regex", 1);
}

static json_t *tokenizer_tree(json_t *vocab, json_t *merges)
{
    json_t *single = json_pack("[{s:{s:s,s:i}},{s:{s:s,s:i}}]", "SpecialToken", "id", BPE_BOS,
                               "type_id", 0, "Sequence", "id", "A", "type_id", 0);
    json_t *pair =
        json_pack("[{s:{s:s,s:i}},{s:{s:s,s:i}},{s:{s:s,s:i}},{s:{s:s,s:i}}]", "SpecialToken", "id",
                  BPE_BOS, "type_id", 0, "Sequence", "id", "A", "type_id", 0, "SpecialToken", "id",
                  BPE_BOS, "type_id", 1, "Sequence", "id", "B", "type_id", 1);
    json_t *special = json_pack("{s:{s:s,s:[i],s:[s]}}", BPE_BOS, "id", BPE_BOS, "ids", BPE_BOS_ID,
                                "tokens", BPE_BOS);
    json_t *model =
        json_pack("{s:s,s:n,s:n,s:n,s:n,s:b,s:b,s:b,s:o,s:o}", "type", "BPE", "dropout",
                  "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                  "byte_fallback", 0, "ignore_merges", 0, "vocab", vocab, "merges", merges);
    return json_pack("{s:s,s:n,s:n,s:[o,o],s:n,s:o,s:{s:s,s:o,s:o,s:o},s:o,s:o}", "version", "1.0",
                     "truncation", "padding", "added_tokens", added_token(BPE_BOS_ID, BPE_BOS),
                     added_token(BPE_EOS_ID, BPE_EOS), "normalizer", "pre_tokenizer", byte_level(1),
                     "post_processor", "type", "TemplateProcessing", "single", single, "pair", pair,
                     "special_tokens", special, "decoder", byte_level(1), "model", model);
}

enum { TOKEN_CAP = WORD_CAP * 2 + 1 };

struct learning {
    struct bpe *b;
    int vocab, n; /* n tokens so far */
    long *count;  /* [vocab, vocab] */
    char (*token)[TOKEN_CAP];
    json_t *ids, *merges;
};

static int add_token(struct learning *l, struct pesc_error *err)
{
    if (json_object_set_new(l->ids, l->token[l->n], json_integer(l->n)) != 0)
        return FAIL(err, MEMORY, "no memory for a tokenizer");
    l->n++;
    return 0;
}

static int add_merge(struct learning *l, struct pesc_error *err)
{
    int left = 0, right = 0;
    if (!best_pair(l->b, l->count, l->vocab, &left, &right))
        return FAIL(err, DS_EMPTY, "too little text for a vocabulary of %d tokens", l->vocab);
    char text[2 * TOKEN_CAP];
    snprintf(text, sizeof text, "%s%s", l->token[left], l->token[right]);
    if (json_array_append_new(l->merges, json_pack("[ss]", l->token[left], l->token[right])) != 0)
        return FAIL(err, MEMORY, "no memory for a tokenizer");
    /* The same text may come from two pairs; it is one token then. */
    const json_t *known = json_object_get(l->ids, text);
    int id = known ? (int)json_integer_value(known) : l->n;
    for (size_t i = 0; i < l->b->n; i++)
        merge(&l->b->word[i], left, right, id);
    if (known)
        return 0;
    snprintf(l->token[l->n], TOKEN_CAP, "%.*s", TOKEN_CAP - 1, text);
    return add_token(l, err);
}

static int learn(struct learning *l, struct pesc_error *err)
{
    if (!l->count || !l->token || !l->ids || !l->merges)
        return FAIL(err, MEMORY, "no memory for a tokenizer");
    while (l->n < BPE_MERGE) {
        if (l->n < BPE_BYTE)
            strcpy(l->token[l->n], l->n == BPE_BOS_ID ? BPE_BOS : BPE_EOS);
        else
            byte_text(l->token[l->n], l->n - BPE_BYTE);
        TRY(add_token(l, err));
    }
    while (l->n < l->vocab)
        TRY(add_merge(l, err));
    return 0;
}

json_t *bpe_learn(struct bpe *b, long vocab, struct pesc_error *err)
{
    if (vocab < BPE_MERGE || vocab > BPE_MAX) {
        FAIL(err, USAGE_VALUE, "a vocabulary of %ld tokens: %d to %d are possible", vocab,
             (int)BPE_MERGE, (int)BPE_MAX);
        return NULL;
    }
    struct learning l = {.b = b, .vocab = (int)vocab, .ids = json_object(), .merges = json_array()};
    l.count = calloc((size_t)vocab * (size_t)vocab, sizeof *l.count);
    l.token = calloc((size_t)vocab, sizeof *l.token);
    json_t *tree = NULL;
    if (learn(&l, err) == 0) {
        tree = tokenizer_tree(json_incref(l.ids), json_incref(l.merges));
        if (!tree)
            FAIL(err, MEMORY, "no memory for a tokenizer");
    }
    json_decref(l.ids);
    json_decref(l.merges);
    free(l.count);
    free(l.token);
    return tree;
}
