/* tokenizer.json of the BPE kinds: byte-level (GPT-2, Llama 3, Qwen, SmolLM) and SentencePiece-style
 * with byte fallback (Llama 2, Mistral). What is not known is refused by name, never approximated. */
#ifndef DATASETS_TOKENIZER_H
#define DATASETS_TOKENIZER_H

#include "core/error.h"

struct tokenizer;
/* Reads DIR/tokenizer.json (needed) and DIR/tokenizer_config.json (bos, eos, pad). E-TOK-*. */
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
 * TOK_PLAIN:   the text is data: special tokens written in it stay plain text (D14). Without it,
 *              added tokens in the text are recognised as the reference library does. */
enum { TOK_SPECIAL = 1, TOK_PLAIN = 2 };
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, int flags,
                     struct ids *out, struct pesc_error *err) MUST_USE;

/* Text of ids as the file's decoder says; special tokens left out if skip_special. Caller frees. */
char *tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, int skip_special,
                       size_t *len, struct pesc_error *err);

/* Streaming: feed ids one by one, get the text that is certain so far (never half a character).
 * state starts as NULL and is freed with tokenizer_stream_free. */
struct token_stream;
int tokenizer_stream(const struct tokenizer *t, struct token_stream **state, int32_t id, int last,
                     const char **text, size_t *len, struct pesc_error *err) MUST_USE;
void tokenizer_stream_free(struct token_stream *s);

long tokenizer_size(const struct tokenizer *t);               /* highest id + 1 */
int32_t tokenizer_bos(const struct tokenizer *t);             /* or -1 */
int32_t tokenizer_eos(const struct tokenizer *t);             /* or -1 */
int tokenizer_adds_bos(const struct tokenizer *t);            /* encode with TOK_SPECIAL adds it */
int32_t tokenizer_id(const struct tokenizer *t, const char *token); /* or -1 */
const char *tokenizer_token(const struct tokenizer *t, int32_t id); /* as in the vocabulary, or NULL */
int tokenizer_is_special(const struct tokenizer *t, int32_t id);
const char *tokenizer_sha256(const struct tokenizer *t);      /* of tokenizer.json */

#endif
