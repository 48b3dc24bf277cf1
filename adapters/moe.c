/* A pass of the mixture: the router around the experts. */
#include "config.h"
#include "adapters/experts.h"
#include "adapters/route.h"

void moe_saved_layout(struct moe_saved *s, struct arena *a, long T, long D,
                      const struct moe_config *c)
{
    size_t R = (size_t)(T * c->top_k), A = (size_t)c->dim, E = (size_t)c->experts;
    *s = (struct moe_saved){0};
    s->expert = arena_alloc(a, R, sizeof *s->expert);
    s->w = ARENA_FLOATS(a, R);
    s->prob = ARENA_FLOATS(a, (size_t)T * E);
    s->offset = arena_alloc(a, E + 1, sizeof *s->offset);
    s->row_token = arena_alloc(a, R, sizeof *s->row_token);
    s->row_slot = arena_alloc(a, R, sizeof *s->row_slot);
    s->token_row = arena_alloc(a, R, sizeof *s->token_row);
    s->pre = ARENA_FLOATS(a, R * A);
    if (c->bf16) {
        experts_bf16_layout(s, a, T, D, c);
        return;
    }
    s->zg = ARENA_FLOATS(a, R * (size_t)D);
    s->act = ARENA_FLOATS(a, R * A);
    s->out = ARENA_FLOATS(a, R * (size_t)D);
}

void moe_work_layout(struct moe_saved *s, struct arena *a, long D, const struct moe_config *c)
{
    if (c->bf16)
        experts_bf16_work(s, a, D, c);
}

int moe_has_bf16(const struct moe_config *c, long D)
{
    return experts_bf16_fit(c, D);
}

void moe_fwd(struct gemm *g, float *y, const float *z, const float *x, const struct moe_weights *W,
             const struct moe_config *c, const struct moe_rng *rng, struct moe_saved *s, long T,
             long D)
{
    struct experts_pass p = {W, c, s, dropout_of(c, rng), T, D};
    route_logits(s->prob, x, W->Wr, T, c->experts, D);
    gemm_count(g, T, c->experts, D);
    route_choose(s, W->off, c, T);
    route_sort(s, c, T);
    if (c->bf16) {
        experts_fwd_bf16(&p, y, z);
        gemm_count(g, T * c->top_k, y ? 2 * c->dim : c->dim, D);
    } else
        experts_fwd(&p, g, y, z);
}

struct bwd_scratch {
    float *dw; /* [T,K] */
    float *dl; /* [T,E] */
};

/* 0 when the arena only counts or is too small. */
static int bwd_layout(struct bwd_scratch *b, struct arena *a, long T, const struct moe_config *c)
{
    b->dw = ARENA_FLOATS(a, (size_t)(T * c->top_k));
    b->dl = ARENA_FLOATS(a, (size_t)T * (size_t)c->experts);
    return b->dw && b->dl;
}

void moe_bwd_scratch(struct arena *a, long T, long D, const struct moe_config *c)
{
    struct bwd_scratch b;
    size_t mark = arena_mark(a);
    (void)bwd_layout(&b, a, T, c);
    if (c->bf16)
        experts_bf16_scratch(a, T, D, c);
    else
        experts_bwd_scratch(a, T, D, c);
    arena_reset(a, mark);
}

void moe_bwd(struct gemm *g, float *dz, float *dx, struct moe_weights *dW, const float *dy,
             const float *x, const struct moe_weights *W, const struct moe_config *c,
             const struct moe_rng *rng, const struct moe_saved *s, double balance_scale,
             struct arena *scratch, long T, long D)
{
    struct experts_pass p = {W, c, s, dropout_of(c, rng), T, D};
    long E = c->experts;
    struct bwd_scratch b;
    size_t mark = arena_mark(scratch);
    if (bwd_layout(&b, scratch, T, c) &&
        (c->bf16 ? experts_bwd_bf16(&p, dz, b.dw, dW, dy, scratch)
                 : experts_bwd(&p, g, dz, b.dw, dW, dy, scratch)) == 0) {
        if (c->bf16)
            gemm_count(g, T * c->top_k, (2 + (dW->Up != NULL) + (dW->Dn != NULL)) * c->dim, D);
        route_bwd(b.dl, b.dw, s, c, balance_scale, T);
        if (dW->Wr)
            route_logits_bwd_weight(dW->Wr, b.dl, x, T, E, D);
        route_logits_bwd_data(dx, b.dl, W->Wr, T, E, D);
        gemm_count(g, T, dW->Wr ? 2 * E : E, D);
    }
    arena_reset(scratch, mark);
}
