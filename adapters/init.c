#include "config.h"
#include "adapters/moe.h"
#include "core/rng.h"

#include <math.h>
#include <string.h>

/* Which tensor a draw is for: b of its key. Expert e's down-projection is DRAW_DN + e. */
enum { DRAW_ROUTER = 0, DRAW_DN = 1 };

void moe_init(struct moe_weights *W, const struct moe_config *c, uint64_t seed, long layer, long D)
{
    long E = c->experts, A = c->dim;
    float bound = (float)(1.0 / sqrt((double)D));
    struct rng_key key = {seed, RNG_INIT, (uint32_t)layer, DRAW_ROUTER};
    rng_fill_uniform(&key, bound, W->Wr, E * D);
    for (long e = 0; e < E; e++) {
        key.b = (uint32_t)(DRAW_DN + e);
        rng_fill_uniform(&key, bound, W->Dn + e * A * D, A * D);
    }
    memset(W->Up, 0, (size_t)(E * D * A) * sizeof *W->Up);
}
