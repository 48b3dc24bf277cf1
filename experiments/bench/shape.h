/* Models of known shapes with random weights, as Hugging Face folders: what speed and memory are
 * measured on, since neither depends on what the weights are. */
#ifndef EXPERIMENTS_BENCH_SHAPE_H
#define EXPERIMENTS_BENCH_SHAPE_H

#include "core/error.h"

#include <jansson.h>
#include <stdint.h>

struct shape {
    const char *name, *model_type, *architecture;
    long hidden, ffn, layers, heads, kv_heads, vocab, positions;
    double eps, theta;
    int tied;
    long bos, eos; /* -1: none */
};

long shape_count(void);
const struct shape *shape_at(long i);
const struct shape *shape_find(const char *name); /* or NULL */

/* config.json's tree, with layers instead of the shape's own where that is above 0. NULL on
 * failure. */
json_t *shape_config(const struct shape *s, long layers, struct pesc_error *err);
struct shape_options {
    long layers; /* 0: the shape's own */
    uint64_t seed, file_max;
};

/* Writes the folder: config.json (last: without it there is no model), tokenizer.json,
 * tokenizer_config.json and bf16 weights, normal(0, 0.02) but for norms (1) and biases (0), in
 * files of at most 4 GB. One tensor is in memory at a time. E-USAGE-EXISTS, E-IO*. */
int shape_write(const struct shape *s, const char *dir, const struct shape_options *o,
                struct pesc_error *err) MUST_USE;

/* A byte-level BPE tokenizer of exactly as many tokens as the shape has: special ones, 256 bytes,
 * and made-up merges that spell all words of few letters, short ones first. */
json_t *shape_tokenizer(const struct shape *s, struct pesc_error *err);
json_t *shape_tokenizer_config(const struct shape *s, struct pesc_error *err);

#endif
