#include "config.h"
#include "adapters/moe.h"
#include "core/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

long moe_layers(const struct moe_config *c, long model_layers)
{
    return c->layers ? c->layers : model_layers;
}

int moe_has(const struct moe_config *c, long model_layers, long l)
{
    return l >= c->first && l < c->first + moe_layers(c, model_layers);
}

/* Digits of a number below 1e6, at least one. */
static int number(const char **text, long *out)
{
    const char *p = *text;
    for (*out = 0; *p >= '0' && *p <= '9' && *out < 100000; p++)
        *out = 10 * *out + (*p - '0');
    int n = (int)(p - *text);
    *text = p;
    return n > 0;
}

int moe_layers_parse(struct moe_config *c, const char *text, long model_layers)
{
    long from, to;
    if (!number(&text, &from))
        return -1;
    int dash = *text == '-';
    text += dash;
    if (!dash)
        to = from;
    else if (!number(&text, &to))
        to = model_layers - 1;
    if (*text || from > to || to >= model_layers)
        return -1;
    int all = from == 0 && to == model_layers - 1;
    c->first = from;
    c->layers = all ? 0 : to - from + 1;
    return 0;
}

int moe_layers_fit(struct moe_config *c, long model_layers)
{
    if (c->first < 0 || c->layers < 0 || c->first + (c->layers ? c->layers : 1) > model_layers)
        return -1;
    if (c->layers == model_layers)
        c->layers = 0;
    return c->first && !c->layers ? -1 : 0;
}

const char *moe_layers_text(const struct moe_config *c, long model_layers, char buf[MOE_LAYERS_CAP])
{
    snprintf(buf, MOE_LAYERS_CAP, "%ld-%ld", c->first, c->first + moe_layers(c, model_layers) - 1);
    return buf;
}

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
    long E = c->experts, A = c->dim, end = c->first + moe_layers(c, layers);
    for (long l = c->first; l < end; l++) {
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

struct moe_weights moe_at(float *flat, const struct moe_config *c, long n, long D)
{
    size_t router = (size_t)(c->experts * D), part = (size_t)(c->experts * c->dim * D);
    if (!flat)
        return (struct moe_weights){NULL, NULL, NULL, NULL};
    float *at = flat + (size_t)n * (router + 2 * part);
    return (struct moe_weights){at, at + router, at + router + part, NULL};
}

void moe_init_all(float *flat, const struct moe_config *c, uint64_t seed, long layers, long D)
{
    for (long n = 0; n < moe_layers(c, layers); n++) {
        struct moe_weights W = moe_at(flat, c, n, D);
        moe_init(&W, c, seed, c->first + n, D);
    }
}
