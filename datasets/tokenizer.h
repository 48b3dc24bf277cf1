/* tokenizer.json of the BPE kinds: byte-level (GPT-2, Llama 3, Qwen, SmolLM) and
 * SentencePiece-style with byte fallback (Llama 2, Mistral). What is not known is refused by name,
 * never approximated. */
#ifndef DATASETS_TOKENIZER_H
#define DATASETS_TOKENIZER_H

#include "core/error.h"

struct tokenizer;
/* Reads DIR/tokenizer.json (needed, at most 64 MiB), DIR/tokenizer_config.json (bos, eos, further
 * added tokens) and DIR/special_tokens_map.json (bos, eos that the former leaves out). E-TOK-*.
 * - truncation and padding are ignored: training cuts and packs by its own rules; so are the
 *   configuration's add_bos_token and clean_up_tokenization_spaces: the post-processor and the
 *   decoder of tokenizer.json count.
 * - Ids are those of the file, gaps allowed. An empty object for merges means none.
 * - Bytes without a token (byte_fallback, ByteLevel) fall to unk_token, and without one they are
 *   left out, as in the reference library; W-TOK-BYTES says so. byte_fallback with neither is
 *   E-TOK-BYTES. */
int tokenizer_open(const char *dir, const struct notes *notes, struct tokenizer **out,
                   struct pesc_error *err) MUST_USE;
void tokenizer_close(struct tokenizer *t);

/* A growing list of ids; zero it before the first use, free v at the end. */
struct ids {
    int32_t *v;
    size_t n, cap;
};
int ids_push(struct ids *l, int32_t id, struct pesc_error *err) MUST_USE;

/* Appends the ids of text[n] (invalid UTF-8 becomes U+FFFD).
 * TOK_SPECIAL: let the post-processor add its special tokens (BOS ...).
 * TOK_PLAIN:   the text is data: special tokens written in it stay plain text (D14), also those
 *              that merging would spell; added tokens that are not special are still found.
 *              Without it, added tokens in the text are recognised as the reference library does.
 * Safe to call from several threads at once. E-LIMIT for texts over 1 GiB. */
enum { TOK_SPECIAL = 1, TOK_PLAIN = 2 };
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, int flags,
                     struct ids *out, struct pesc_error *err) MUST_USE;

/* A text of which a template wrote one part and a user the other, for tokenizer_encode_mixed. */
struct mixed_range {
    size_t start, stop; /* bytes, in order, apart */
    int32_t id;         /* the token that stands here; -1: data */
};
struct mixed_text {
    const char *text; /* valid UTF-8 */
    size_t n;
    const struct mixed_range *ranges;
    size_t n_ranges;
    const size_t *cuts; /* bytes where no token may span, ascending */
    size_t n_cuts;
};
/* Appends the ids of the whole text in one go: added tokens that the template spells are found,
 * special ones in the data stay text. at[i] becomes the number of ids in out before cuts[i].
 *
 * No token spans a cut. The ids before one are those of the text up to there alone, which is what
 * generation starts from. What follows it is as in one go where that parts cleanly; where it does
 * not it is tokenized as the middle of a text, without the space that some tokenizers put first. */
int tokenizer_encode_mixed(const struct tokenizer *t, const struct mixed_text *m, struct ids *out,
                           size_t *at, struct pesc_error *err) MUST_USE;

/* Text of ids as the file's decoder says; special tokens left out if skip_special, ids without a
 * token always. Caller frees. */
char *tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, int skip_special,
                       size_t *len, struct pesc_error *err);

/* Streaming: feed ids one by one, get the text that is certain so far (never half a character);
 * special tokens are left out. last flushes what was held back; id -1 feeds nothing. *text is valid
 * until the next call. All parts joined equal tokenizer_decode of all ids.
 * state starts as NULL and is freed with tokenizer_stream_free. */
struct token_stream;
int tokenizer_stream(const struct tokenizer *t, struct token_stream **state, int32_t id, int last,
                     const char **text, size_t *len, struct pesc_error *err) MUST_USE;
void tokenizer_stream_free(struct token_stream *s);

long tokenizer_size(const struct tokenizer *t);    /* highest id + 1 */
int32_t tokenizer_bos(const struct tokenizer *t);  /* or -1 */
int32_t tokenizer_eos(const struct tokenizer *t);  /* or -1 */
int tokenizer_adds_bos(const struct tokenizer *t); /* encode with TOK_SPECIAL adds it */
/* How many ids TOK_SPECIAL adds before and after a text's own. */
void tokenizer_around(const struct tokenizer *t, size_t *before, size_t *after);
int32_t tokenizer_id(const struct tokenizer *t, const char *token); /* or -1 */
const char *tokenizer_token(const struct tokenizer *t,
                            int32_t id); /* as in the vocabulary, or NULL */
int tokenizer_is_special(const struct tokenizer *t, int32_t id);
const char *tokenizer_sha256(const struct tokenizer *t); /* of tokenizer.json */
const char *tokenizer_path(const struct tokenizer *t);   /* of tokenizer.json */

#endif
