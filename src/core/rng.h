/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
 * as 1, 2, 3", SC'11). A draw is a pure function of (seed, stream, a, b, index), so nothing has to
 * be saved and threads cannot change it. */
#ifndef PESC_CORE_RNG_H
#define PESC_CORE_RNG_H

#include <stdint.h>

/* What a draw is for; part of the counter. Values are stored in no file but fix the numbers. */
enum rng_stream {
    RNG_INIT = 1,
    RNG_DROPOUT = 2,
    RNG_ORDER = 3,
    RNG_SAMPLE = 4,
    RNG_SPLIT = 5,
    RNG_MIX = 6,
    RNG_PACK = 7,
    RNG_ROUND = 8
};

struct rng_key {
    uint64_t seed;
    uint32_t stream; /* enum rng_stream */
    uint32_t a, b;   /* for example step and layer * experts + expert */
};

/* Four 32-bit words of block number block. */
void rng_block(const struct rng_key *k, uint32_t block, uint32_t out[4]);
/* Blocks first .. first + n - 1 one behind the other (out[4 n]), several at a time. */
void rng_blocks(const struct rng_key *k, uint32_t first, uint32_t *out, long n);
uint32_t rng_u32(const struct rng_key *k, uint64_t index);  /* word index % 4 of block index / 4 */
double rng_unit(const struct rng_key *k, uint64_t index);   /* [0, 1), 32 bits */
double rng_normal(const struct rng_key *k, uint64_t index); /* N(0, 1), Box-Muller */

/* out[i] uniform in [-bound, bound). */
void rng_fill_uniform(const struct rng_key *k, float bound, float *out, long n);

/* The place of i in a keyed permutation of [0, n): a Feistel network with cycle walking, so order
 * needs no memory and any position can be asked for. n >= 1, i < n. */
uint64_t rng_permute(uint64_t seed, uint64_t epoch, uint64_t i, uint64_t n);

#endif
