/* A byte-level byte-pair tokenizer learned from text (Sennrich et al., arXiv 1508.07909), in the
 * form of Hugging Face's tokenizer.json. Ids: special tokens, 256 bytes, merges. */
#ifndef EXPERIMENTS_BASE_BPE_H
#define EXPERIMENTS_BASE_BPE_H

#include "core/error.h"

#include <jansson.h>

#define BPE_BOS "<|bos|>"
#define BPE_EOS "<|eos|>"
enum { BPE_BOS_ID, BPE_EOS_ID, BPE_BYTE, BPE_MERGE = BPE_BYTE + 256, BPE_MAX = 1024 };

struct bpe; /* learns; text is counted by words, so it may be large */
struct bpe *bpe_new(struct pesc_error *err);
void bpe_free(struct bpe *b);
int bpe_add(struct bpe *b, const char *text, struct pesc_error *err) MUST_USE;
/* Merges the most frequent pair (ties: lowest ids) until there are vocab tokens. Digits and
 * capitals in a row are never merged, so that numbers and codes keep their places. tokenizer.json's
 * tree, NULL on failure. */
json_t *bpe_learn(struct bpe *b, long vocab, struct pesc_error *err);

#endif
