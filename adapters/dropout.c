#include "config.h"
#include "adapters/dropout.h"

#include "core/hot.h"

struct dropout dropout_of(const struct moe_config *c, const struct moe_rng *rng)
{
    struct dropout d = {0};
    if (!rng || !rng->training || c->dropout <= 0)
        return d;
    double below = c->dropout * 0x1p32;
    d.on = 1;
    d.key = (struct rng_key){rng->seed, RNG_DROPOUT, rng->step, rng->layer * (uint32_t)c->experts};
    d.token = rng->token;
    d.below = below >= 0xffffffffp0 ? UINT32_MAX : (uint32_t)below;
    d.keep = (float)(1.0 / (1.0 - c->dropout));
    return d;
}

static HOT void drop_words(float *restrict row, const uint32_t *restrict word, uint32_t below,
                           float keep, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        row[i] = word[i] < below ? 0 : row[i] * keep;
}

void dropout_apply(float *row, const struct dropout *drop, long expert, long token, long D,
                   long from, long n)
{
    enum { WORDS = 1024 };
    uint32_t word[WORDS];
    struct rng_key key = drop->key;
    key.b += (uint32_t)expert;
    uint64_t at = (uint64_t)(drop->token + token) * (uint64_t)D + (uint64_t)from;
    for (long d = 0; d < n;) {
        long skip = (long)(at % 4), part = n - d < WORDS - skip ? n - d : WORDS - skip;
        rng_blocks(&key, (uint32_t)(at / 4), word, (skip + part + 3) / 4);
        drop_words(row + d, word + skip, drop->below, drop->keep, part);
        d += part;
        at += (uint64_t)part;
    }
}
