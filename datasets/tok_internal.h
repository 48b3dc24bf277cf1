/* Inside the tokenizer. Text flows: repair UTF-8 -> added tokens -> normalizer -> added tokens
 * again
 * -> pre-tokenizer steps (depth first, piece by piece) -> BPE -> post-processor. A loaded tokenizer
 * never changes; all that moves during a call lives in struct tok_work. */
#ifndef DATASETS_TOK_INTERNAL_H
#define DATASETS_TOK_INTERNAL_H

#include "core/json.h"
#include "datasets/regex.h"
#include "datasets/tokenizer.h"
#include "datasets/unicode.h"

enum {
    TOK_FILE_CAP = 64 << 20,
    TOK_ID_CAP = 1 << 22, /* ids above are taken for damage */
    TOK_STEPS_CAP = 64,   /* of one normalizer, pre-tokenizer or decoder, flattened */
    TOK_NEST_CAP = 16,
    TOK_SMALL_WORD = 32, /* symbols; longer ones are merged with a heap */
    TOK_TEXT_CAP = 1 << 30
};

enum { TOKEN_MODEL = 1, TOKEN_ADDED = 2, TOKEN_SPECIAL = 4, TOKEN_WHOLE = 8 };

/* tok_vocab.c: strings by number, numbers by string, merges by pair. */
struct span {
    uint32_t at, len;
};
struct strings {
    struct buf pool;   /* each string ends in a zero byte */
    struct span *span; /* [n]; at == UINT32_MAX: none */
    long n;
};
struct strmap {
    struct strmap_slot *slot;
    size_t mask; /* slots - 1 */
    uint64_t seed;
};
int strings_init(struct strings *s, long n, struct pesc_error *err) MUST_USE;
int strings_set(struct strings *s, long i, const char *p, size_t n,
                struct pesc_error *err) MUST_USE;
static inline int strings_has(const struct strings *s, long i)
{
    return i >= 0 && i < s->n && s->span[i].at != UINT32_MAX;
}
void strings_free(struct strings *s);
int strmap_init(struct strmap *m, size_t n, uint64_t seed, struct pesc_error *err) MUST_USE;
int32_t strmap_get(const struct strmap *m, const struct strings *s, const char *p, size_t n);
void strmap_add(struct strmap *m, const struct strings *s, int32_t id); /* keeps the first */

struct merge {
    uint64_t pair; /* left << 32 | right; UINT64_MAX: empty */
    uint32_t rank;
    int32_t id;
};
struct merges {
    struct merge *slot;
    size_t mask;
    uint8_t *bridge; /* bits: symbols that some merge may join; others part a word for certain */
};
enum { BRIDGE_BITS = 20 };
int merges_init(struct merges *m, size_t n, struct pesc_error *err) MUST_USE;
void merges_add(struct merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id);
static inline uint32_t pair_hash(uint64_t pair)
{
    return (uint32_t)((pair * 0x9e3779b97f4a7c15u ^ pair >> 29) * 0xbf58476d1ce4e5b9u >> 32);
}
static inline const struct merge *merges_get(const struct merges *m, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (size_t i = pair_hash(pair) & m->mask;; i = (i + 1) & m->mask) {
        if (m->slot[i].pair == pair)
            return &m->slot[i];
        if (m->slot[i].pair == UINT64_MAX)
            return NULL;
    }
}
static inline uint32_t bridge_bit(int32_t left, int32_t right)
{
    return pair_hash((uint64_t)(uint32_t)left << 32 | (uint32_t)right) >> (32 - BRIDGE_BITS);
}

/* GPT-2's byte alphabet: every byte as a printable character. */
struct byte_map {
    uint16_t cp[256];
    int16_t byte[512]; /* by code point; -1 */
};

/* tok_normalize.c */
enum norm_kind {
    NORM_FORM,
    NORM_LOWER,
    NORM_PREPEND,
    NORM_REPLACE,
    NORM_STRIP,
    NORM_MARKS,
    NORM_BYTES
};
struct norm_step {
    enum norm_kind kind;
    enum uc_form form;
    int left, right;
    struct buf from, to; /* Prepend: to */
    struct regex *regex; /* Replace by a regex; else from is the text */
};

/* tok_pretokenize.c */
enum pre_kind { PRE_SPLIT, PRE_CHARS, PRE_METASPACE, PRE_PREFIX_SPACE, PRE_BYTES };
enum split_behavior { SPLIT_REMOVED, SPLIT_ISOLATED, SPLIT_PREVIOUS, SPLIT_NEXT, SPLIT_CONTIGUOUS };
enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };
struct pre_step {
    enum pre_kind kind;
    enum split_behavior behavior;
    int invert;
    enum uc_class chars;
    enum prepend_scheme scheme;
    struct buf text; /* Split by a string; Metaspace: the replacement */
    struct regex *regex;
};

/* tok_decode.c */
enum dec_kind {
    DEC_REPLACE,
    DEC_BYTE_FALLBACK,
    DEC_FUSE,
    DEC_STRIP,
    DEC_METASPACE,
    DEC_BYTES,
    DEC_SPACES
};
struct dec_step {
    enum dec_kind kind;
    struct buf from, to;
    struct regex *regex;
    long start, stop;
    enum prepend_scheme scheme;
    int fused; /* what comes in is one growing string, not one per token */
};

/* tok_added.c: added tokens found in text, leftmost-longest. */
struct trie_node {
    int32_t id, child, next; /* -1: none */
    unsigned char byte;
};
struct trie {
    struct trie_node *node;
    int32_t n, cap;
    int32_t root[256];
};
struct added {
    int32_t id;
    int single_word, lstrip, rstrip, normalized, special;
};

struct tokenizer {
    char path[4096], sha256[65];
    uint64_t seed;
    struct strings names; /* by id */
    struct strmap by_name;
    uint8_t *flags;      /* [names.n] TOKEN_* */
    struct added *added; /* [n_added] */
    int32_t *added_of;   /* [names.n]: index into added, or -1 */
    long n_added;
    struct trie raw_tokens, normal_tokens; /* not normalized, normalized */

    struct norm_step norm[TOK_STEPS_CAP];
    int n_norm;
    struct pre_step pre[TOK_STEPS_CAP];
    int n_pre;
    struct dec_step dec[TOK_STEPS_CAP];
    int n_dec;

    struct merges merges;
    int byte_level; /* pieces come as raw bytes: the last ByteLevel step is done by tables */
    struct byte_map bytes;
    int32_t byte_id[256]; /* byte level: of the byte's character; else of <0xNN>; or -1 */
    int32_t *char_id;     /* [65536] initial symbol of a character, or -1 */
    struct strings raw;   /* by id, as bytes; byte level only */
    struct strmap by_raw;
    size_t longest; /* bytes of the longest word worth looking up */
    int byte_fallback, fuse_unk, ignore_merges;
    int32_t unk;

    struct ids before, after; /* special tokens of the post-processor */
    int32_t bos, eos;
};

/* One encode call. */
struct mixed_work;
struct tok_work {
    const struct tokenizer *t;
    int plain;
    struct mixed_work *mixed; /* while the text of tokenizer_encode_mixed is split */
    struct ids *out;
    struct pesc_error *err;
    struct regex_match *match;
    struct buf repaired, norm[2], step[TOK_STEPS_CAP];
    int32_t *sym, *prev, *next; /* symbols of a piece */
    uint32_t *at;
    size_t sym_cap, link_cap;
    uint64_t *heap;
    size_t heap_n, heap_cap;
};
void tok_work_free(struct tok_work *w);
/* Text between added tokens that need no normalizing, to ids. */
int tok_raw_piece(struct tok_work *w, const char *text, size_t n, int at_start) MUST_USE;

/* tok_mixed.c, for added_split; start and stop are bytes of the whole text. */
/* The length of a token that must stand at this byte, or 0. */
size_t mixed_token(struct mixed_work *m, size_t at, int32_t *id);
/* Whether an added token may be found there; *low and *high: how far it may eat white space. */
int mixed_allows(const struct mixed_work *m, const struct added *a, size_t start, size_t stop,
                 size_t *low, size_t *high);
void mixed_settle(struct tok_work *w, size_t upto);

/* tok_added.c */
int trie_add(struct trie *t, const char *p, size_t n, int32_t id, struct pesc_error *err) MUST_USE;
void trie_init(struct trie *t);
typedef int (*tok_piece_fn)(struct tok_work *w, const char *text, size_t n, int at_start);
/* Calls rest for the text between added tokens and pushes the ids of those found. */
int added_split(struct tok_work *w, const struct trie *trie, const char *text, size_t n,
                int at_start, tok_piece_fn rest) MUST_USE;

/* tok_vocab.c */
void byte_map_init(struct byte_map *m);
int byte_map_put(const struct byte_map *m, struct buf *out, const char *p, size_t n,
                 struct pesc_error *err) MUST_USE;

/* tok_normalize.c: *out points into text or into work; *at_start becomes 0 when the beginning of
 * the text was taken away. */
int norm_run(struct tok_work *w, const char *text, size_t n, const char **out, size_t *out_n,
             int *at_start) MUST_USE;
/* Non-overlapping matches of from (or regex) replaced by to; at_start (may be NULL) as above. */
int replace_all(struct buf *out, const char *text, size_t n, const struct regex *regex,
                const struct buf *from, const struct buf *to, int *at_start, struct regex_match *m,
                struct pesc_error *err) MUST_USE;
/* The next match at or after *from, which it moves; the way Oniguruma walks over empty ones.
 * last is the end of the match before, or SIZE_MAX. 1, 0, or -1. */
int next_match(const struct regex *regex, const struct buf *lit, struct regex_match *m,
               const char *text, size_t n, size_t *from, size_t *last, size_t *start, size_t *end,
               struct pesc_error *err);

/* tok_pretokenize.c, tok_bpe.c */
int pre_run(struct tok_work *w, int step, const char *text, size_t n, int at_start) MUST_USE;
int bpe_word(struct tok_work *w, const char *text, size_t n) MUST_USE;
int bpe_mark_whole(struct tokenizer *t, struct pesc_error *err) MUST_USE;

/* tok_load.c and tok_parts.c */
int tok_load_model(struct tokenizer *t, const json_t *root, const json_t *config,
                   const struct notes *notes, struct pesc_error *err) MUST_USE;
int tok_load_norm(struct tokenizer *t, const json_t *v, int depth, struct pesc_error *err) MUST_USE;
int tok_load_pre(struct tokenizer *t, const json_t *v, int depth, struct pesc_error *err) MUST_USE;
int tok_load_post(struct tokenizer *t, const json_t *v, int depth, struct pesc_error *err) MUST_USE;
int tok_load_dec(struct tokenizer *t, const json_t *v, int depth, struct pesc_error *err) MUST_USE;

/* tok_json.c: fields of a part, wrong types and unknown keys refused by name. */
struct part {
    const struct tokenizer *t;
    const char *section, *type;
    const json_t *v;
    struct pesc_error *err;
};
/* Fills p from an object with a "type"; keys: the known ones besides type, space separated. */
int part_open(struct part *p, const struct tokenizer *t, const char *section, const json_t *v,
              struct pesc_error *err) MUST_USE;
int part_keys(const struct part *p, const char *keys) MUST_USE;
int part_bool(const struct part *p, const char *key, int fallback, int *out) MUST_USE;
int part_long(const struct part *p, const char *key, long *out) MUST_USE;
int part_text(const struct part *p, const char *key, struct buf *out) MUST_USE;
/* {"String": s} into text or {"Regex": s} into regex. */
int part_pattern(const struct part *p, const char *key, struct buf *text,
                 struct regex **regex) MUST_USE;
int part_scheme(const struct part *p, enum prepend_scheme *out) MUST_USE;
int part_unknown(const struct part *p);

#endif
