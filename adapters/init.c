#include "config.h"
#include "adapters/moe.h"
#include "core/rng.h"

#include <math.h>
#include <stdio.h>
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

int moe_declare(struct params *ps, const struct moe_config *c, long layers, long D,
                struct pesc_error *err)
{
    long E = c->experts, A = c->dim;
    for (long l = 0; l < layers; l++) {
        char at[64];
        snprintf(at, sizeof at, "model.layers.%ld.mlp.moe_adapter.", l);
        if (params_add(ps, (int)l, 2, E, D, err, "%srouter.weight", at) < 0)
            return -1;
        for (long e = 0; e < E; e++)
            if (params_add(ps, (int)l, 2, A, D, err, "%sexperts.expert_%ld.adapter_down.weight", at,
                           e) < 0)
                return -1;
        for (long e = 0; e < E; e++)
            if (params_add(ps, (int)l, 2, D, A, err, "%sexperts.expert_%ld.adapter_up.weight", at,
                           e) < 0)
                return -1;
    }
    return 0;
}

void moe_freeze_routers(struct params *ps, const struct moe_config *c)
{
    for (long i = 0; i < ps->count; i += 1 + 2 * c->experts) /* the first of each layer */
        ps->p[i].frozen = 1;
}

struct moe_weights moe_at(float *flat, const struct moe_config *c, long layer, long D)
{
    size_t router = (size_t)(c->experts * D), part = (size_t)(c->experts * c->dim * D);
    if (!flat)
        return (struct moe_weights){NULL, NULL, NULL, NULL};
    float *at = flat + (size_t)layer * (router + 2 * part);
    return (struct moe_weights){at, at + router, at + router + part, NULL};
}

void moe_init_all(float *flat, const struct moe_config *c, uint64_t seed, long layers, long D)
{
    for (long l = 0; l < layers; l++) {
        struct moe_weights W = moe_at(flat, c, l, D);
        moe_init(&W, c, seed, l, D);
    }
}
