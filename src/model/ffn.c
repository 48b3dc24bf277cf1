#include "config.h"
#include "model/ffn.h"

#include "tensor/kernels.h"

void ffn_layout(const struct part *p, struct ffn_saved *s, struct arena *a, long T, enum lay kind)
{
    long D = p->c->hidden_size, F = p->c->intermediate_size;
    if (kind == LAY_KEPT) {
        s->xn = ARENA_FLOATS(a, T * D);
        s->r = ARENA_FLOATS(a, T);
        s->g = ARENA_FLOATS(a, T * F);
        s->u = ARENA_FLOATS(a, T * F);
    }
    if (kind == (p->trains ? LAY_KEPT : LAY_FORWARD))
        s->act = ARENA_FLOATS(a, T * F);
    if (kind == LAY_BACKWARD) {
        s->dact = p->trains ? ARENA_FLOATS(a, T * F) : s->act;
        s->dxn = ARENA_FLOATS(a, T * D);
    }
}

void ffn_fwd(const struct part *p, struct pass *pass, struct ffn_saved *s, float *z,
             const float *in)
{
    const struct layer_weights *w = pass->w;
    long T = pass->T, D = p->c->hidden_size, F = p->c->intermediate_size;
    profile_to(pass->profile, STAGE_NORM);
    rmsnorm_fwd(s->xn, s->r, in, w->vec[LT_NORM_FFN], p->c->rms_norm_eps, T, D);
    profile_to(pass->profile, STAGE_FFN);
    struct linear_in xn = linear_in(s->xn, T, D);
    linear_fwd_in(pass->gemm, s->g, &xn, &w->mat[LT_GATE], w->vec[LT_GATE_BIAS]);
    linear_fwd_in(pass->gemm, s->u, &xn, &w->mat[LT_UP], w->vec[LT_UP_BIAS]);
    profile_to(pass->profile, STAGE_POINTWISE);
    swiglu_fwd(s->act, s->g, s->u, T * F);
    profile_to(pass->profile, STAGE_FFN);
    if (z)
        linear_fwd(pass->gemm, z, s->act, &w->mat[LT_DOWN], w->vec[LT_DOWN_BIAS], T);
}

static void grad_linear(const struct part *p, struct pass *pass, enum layer_tensor mat,
                        enum layer_tensor bias, const float *dy, const float *x)
{
    if (p->grads.g[mat])
        linear_bwd_weight(pass->gemm, p->grads.g[mat], p->grads.g[bias], dy, x, pass->T,
                          pass->w->mat[mat].N, pass->w->mat[mat].K);
}

void ffn_bwd(const struct part *p, struct pass *pass, struct ffn_saved *s, const float *dz,
             float dxn_beta, int need_dx)
{
    const struct layer_weights *w = pass->w;
    long T = pass->T, F = p->c->intermediate_size;
    if (!need_dx && !p->grads.g[LT_GATE])
        return;
    profile_to(pass->profile, STAGE_FFN);
    grad_linear(p, pass, LT_DOWN, LT_DOWN_BIAS, dz, s->act);
    linear_bwd_data(pass->gemm, s->dact, 0, dz, &w->mat[LT_DOWN], T);
    profile_to(pass->profile, STAGE_POINTWISE);
    swiglu_bwd(s->g, s->u, s->dact, s->g, s->u, T * F); /* g, u become dg, du */
    profile_to(pass->profile, STAGE_FFN);
    grad_linear(p, pass, LT_GATE, LT_GATE_BIAS, s->g, s->xn);
    grad_linear(p, pass, LT_UP, LT_UP_BIAS, s->u, s->xn);
    linear_bwd_data(pass->gemm, s->dxn, dxn_beta, s->g, &w->mat[LT_GATE], T);
    linear_bwd_data(pass->gemm, s->dxn, 1, s->u, &w->mat[LT_UP], T);
}

static void layout(const struct part *p, void *saved, struct arena *a, long T, enum lay kind)
{
    ffn_layout(p, saved, a, T, kind);
}

static void fwd(const struct part *p, struct pass *pass, void *saved, float *out, const float *in)
{
    ffn_fwd(p, pass, saved, pass->recompute ? NULL : out, in);
    profile_to(pass->profile, STAGE_POINTWISE);
    if (!pass->recompute)
        add_to(out, in, pass->T * p->c->hidden_size);
}

static void bwd(const struct part *p, struct pass *pass, void *saved, float *dx, const float *in,
                int need_dx)
{
    struct ffn_saved *s = saved;
    if (!need_dx && !p->grads.g[LT_GATE])
        return;
    ffn_bwd(p, pass, s, dx, 0, 1);
    profile_to(pass->profile, STAGE_NORM);
    rmsnorm_bwd(dx, p->grads.g[LT_NORM_FFN], s->dxn, in, pass->w->vec[LT_NORM_FFN], s->r, pass->T,
                p->c->hidden_size);
}

const struct part_ops part_ffn = {"ffn", sizeof(struct ffn_saved), layout, fwd, bwd};
