/* Dropout of the experts' inputs: element d of a token's row is dropped where its 32-bit draw is
 * below p * 2^32, else scaled by 1 / (1 - p). The draw is numbered token * D + d in the stream of
 * (step, layer, expert), so the backward pass draws the same mask again. Private to the adapters.
 */
#ifndef ADAPTERS_DROPOUT_H
#define ADAPTERS_DROPOUT_H

#include "adapters/moe.h"
#include "core/rng.h"

struct dropout {
    int on;
    struct rng_key key;
    long token; /* number of the pass's first */
    uint32_t below;
    float keep;
};

/* rng NULL: off. */
struct dropout dropout_of(const struct moe_config *c, const struct moe_rng *rng);
/* Elements from..from+n-1 of the pass's token, at row. */
void dropout_apply(float *row, const struct dropout *drop, long expert, long token, long D,
                   long from, long n);

#endif
