/* The crafted layer: y = x + z + sum_k w_k A_k(z), z the shared feed-forward network's output
 * (PESC, arXiv 2401.02731, eq. 7-9; the residual of every A_k sums to one z since the weights sum
 * to 1). */
#include "config.h"
#include "model/ffn.h"

#include "tensor/kernels.h"

#include <string.h>

struct saved {
    struct ffn_saved ffn;
    struct moe_saved moe;
    float *z, *dz; /* [T,D], the same memory: the adapters' rows of z are gathered in moe */
};

static void layout(const struct part *p, void *saved, struct arena *a, long T, enum lay kind)
{
    struct saved *s = saved;
    long D = p->c->hidden_size;
    ffn_layout(p, &s->ffn, a, T, kind);
    if (kind == LAY_KEPT)
        moe_saved_layout(&s->moe, a, T, D, p->moe);
    else if (kind == LAY_FORWARD) {
        s->z = ARENA_FLOATS(a, T * D);
        moe_work_layout(&s->moe, a, D, p->moe);
    } else
        s->dz = s->z;
}

static struct moe_rng rng_of(const struct part *p, const struct pass *pass)
{
    struct moe_rng r = pass->rng;
    r.layer = (uint32_t)p->layer;
    return r;
}

static void fwd(const struct part *p, struct pass *pass, void *saved, float *out, const float *in)
{
    struct saved *s = saved;
    struct moe_rng rng = rng_of(p, pass);
    long T = pass->T, D = p->c->hidden_size;
    ffn_fwd(p, pass, &s->ffn, s->z, in);
    profile_to(pass->profile, STAGE_MOE);
    moe_fwd(pass->gemm, pass->recompute ? NULL : out, s->z, s->ffn.xn, &p->W, p->moe, &rng, &s->moe,
            T, D);
    if (!pass->recompute) {
        profile_to(pass->profile, STAGE_POINTWISE);
        add_to(out, in, T * D);
        profile_to(pass->profile, STAGE_OTHER);
        if (pass->routed)
            pass->routed(pass->routed_ctx, p->layer, &s->moe, T);
    }
}

static void bwd(const struct part *p, struct pass *pass, void *saved, float *dx, const float *in,
                int need_dx)
{
    struct saved *s = saved;
    struct moe_rng rng = rng_of(p, pass);
    struct moe_weights dW = p->dW;
    long T = pass->T, D = p->c->hidden_size;
    ffn_again(p, pass, &s->ffn, in);
    profile_to(pass->profile, STAGE_MOE);
    memset(s->ffn.dxn, 0, (size_t)(T * D) * sizeof *s->ffn.dxn);
    moe_bwd(pass->gemm, s->dz, s->ffn.dxn, &dW, dx, s->ffn.xn, &p->W, p->moe, &rng, &s->moe,
            pass->balance_scale, pass->scratch, T, D);
    if (!need_dx && !p->grads.g[LT_GATE])
        return;
    ffn_bwd(p, pass, &s->ffn, s->dz, 1, 1);
    profile_to(pass->profile, STAGE_NORM);
    rmsnorm_bwd(dx, p->grads.g[LT_NORM_FFN], s->ffn.dxn, in, pass->w->vec[LT_NORM_FFN], s->ffn.r, T,
                D);
}

const struct part_ops part_ffn_pesc = {"pesc", sizeof(struct saved), layout, fwd, bwd};
