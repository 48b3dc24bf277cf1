#include "config.h"
#include "model/ffn.h"

#include "tensor/kernels.h"

static float *rows(struct arena *a, long n, int wanted)
{
    return wanted ? ARENA_FLOATS(a, n) : NULL;
}

static uint16_t *rows16(struct arena *a, long n, int wanted)
{
    return wanted ? arena_alloc(a, (size_t)n, sizeof(uint16_t)) : NULL;
}

void ffn_layout(const struct part *p, struct ffn_saved *s, struct arena *a, long T, enum lay kind)
{
    long D = p->c->hidden_size, F = p->c->intermediate_size;
    int narrow = p->between == DT_BF16;
    enum lay short_lived = p->trains ? LAY_KEPT : LAY_FORWARD;
    if (kind == LAY_KEPT) {
        s->r = ARENA_FLOATS(a, T);
        s->g = rows(a, T * F, !narrow);
        s->u = rows(a, T * F, !narrow);
        s->g16 = rows16(a, T * F, narrow);
        s->u16 = rows16(a, T * F, narrow);
    }
    if (kind == short_lived) {
        s->xn = ARENA_FLOATS(a, T * D);
        s->act = rows(a, T * F, !narrow);
        s->act16 = rows16(a, T * F, narrow);
    }
    if (kind == LAY_BACKWARD) {
        s->dact = p->trains ? ARENA_FLOATS(a, T * F) : s->act;
        s->dact16 = s->act16;
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
    const struct linear two[] = {
        {s->g, s->xn, &w->mat[LT_GATE], w->vec[LT_GATE_BIAS], T, .Y16 = s->g16},
        {s->u, s->xn, &w->mat[LT_UP], w->vec[LT_UP_BIAS], T, .Y16 = s->u16}};
    linears_fwd(pass->gemm, two, 2);
    profile_to(pass->profile, STAGE_POINTWISE);
    if (s->act16)
        swiglu_fwd_bf16(s->act16, s->g16, s->u16, T * F);
    else
        swiglu_fwd(s->act, s->g, s->u, T * F);
    profile_to(pass->profile, STAGE_FFN);
    const struct linear down = {z, s->act,         &w->mat[LT_DOWN], w->vec[LT_DOWN_BIAS],
                                T, .X16 = s->act16};
    if (z)
        linears_fwd(pass->gemm, &down, 1);
}

void ffn_again(const struct part *p, struct pass *pass, struct ffn_saved *s, const float *in)
{
    if (p->trains) /* it is kept */
        return;
    profile_to(pass->profile, STAGE_NORM);
    rmsnorm_again(s->xn, in, pass->w->vec[LT_NORM_FFN], s->r, pass->T, p->c->hidden_size);
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
    linear_bwd_rows(pass->gemm,
                    &(struct linear_bwd){
                        .dX = s->dact, .dX16 = s->dact16, .dY = dz, .W = &w->mat[LT_DOWN], .T = T});
    profile_to(pass->profile, STAGE_POINTWISE);
    /* g, u become dg, du */
    if (s->dact16)
        swiglu_bwd_bf16(s->g16, s->u16, s->dact16, s->g16, s->u16, T * F);
    else
        swiglu_bwd(s->g, s->u, s->dact, s->g, s->u, T * F);
    profile_to(pass->profile, STAGE_FFN);
    grad_linear(p, pass, LT_GATE, LT_GATE_BIAS, s->g, s->xn);
    grad_linear(p, pass, LT_UP, LT_UP_BIAS, s->u, s->xn);
    linear_bwd_rows(pass->gemm, &(struct linear_bwd){.dX = s->dxn,
                                                     .dY = s->g,
                                                     .dY16 = s->g16,
                                                     .W = &w->mat[LT_GATE],
                                                     .beta = dxn_beta,
                                                     .T = T});
    linear_bwd_rows(
        pass->gemm,
        &(struct linear_bwd){
            .dX = s->dxn, .dY = s->u, .dY16 = s->u16, .W = &w->mat[LT_UP], .beta = 1, .T = T});
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
