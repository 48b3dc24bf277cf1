/* Dense causal self-attention: grouped queries, optional biases, optional norms of q and k
 * (Qwen3), sliding windows. */
#include "config.h"
#include "model/part.h"

#include "core/isa.h"
#include "tensor/kernels.h"

#include <math.h>
#include <string.h>

struct saved {
    float *xn, *r;            /* [T,D] normed input, [T] */
    float *q, *k, *v;         /* after norm and rotation; kept unless q16 and so on are */
    float *q0, *k0, *rq, *rk; /* before them, with qk_norm */
    float *o, *lse;           /* [T,H,C], [T,H] */
    float *delta, *dq, *dk, *dv, *dxn, *do_;
    /* Instead of q, k, v and do_, where attention multiplies in bf16; q, k and v of a bias are
     * floats on the way there. */
    uint16_t *q16, *k16, *v16, *do16;
    void *packed; /* while attention is at work */
};

static struct attn_dims dims(const struct part *p)
{
    const struct model_config *c = p->c;
    return (struct attn_dims){.H = c->num_heads,
                              .G = c->num_kv_heads,
                              .C = c->head_dim,
                              .window = c->window[p->layer],
                              .scale = (float)(1 / sqrt((double)c->head_dim))};
}

static int narrow(const struct part *p)
{
    return p->between == DT_BF16 && isa_avx512_bf16();
}

static uint16_t *rows16(struct arena *a, long n)
{
    return arena_alloc(a, (size_t)n, sizeof(uint16_t));
}

static void layout_kept(const struct part *p, struct saved *s, struct arena *a, long T)
{
    const struct model_config *c = p->c;
    long H = c->num_heads, G = c->num_kv_heads, C = c->head_dim;
    if (p->trains)
        s->xn = ARENA_FLOATS(a, T * c->hidden_size);
    s->r = ARENA_FLOATS(a, T);
    s->q0 = s->k0 = s->rq = s->rk = s->q = s->k = s->v = NULL;
    s->q16 = s->k16 = s->v16 = NULL;
    if (narrow(p)) {
        s->q16 = rows16(a, T * H * C);
        s->k16 = rows16(a, T * G * C);
        s->v16 = rows16(a, T * G * C);
    } else {
        s->q = ARENA_FLOATS(a, T * H * C);
        s->k = ARENA_FLOATS(a, T * G * C);
        s->v = ARENA_FLOATS(a, T * G * C);
    }
    s->o = ARENA_FLOATS(a, T * H * C);
    if (c->qk_norm) {
        s->q0 = ARENA_FLOATS(a, T * H * C);
        s->k0 = ARENA_FLOATS(a, T * G * C);
        s->rq = ARENA_FLOATS(a, T * H);
        s->rk = ARENA_FLOATS(a, T * G);
    }
    s->lse = ARENA_FLOATS(a, T * H);
}

static void layout(const struct part *p, void *saved, struct arena *a, long T, enum lay kind)
{
    struct saved *s = saved;
    const struct model_config *c = p->c;
    long H = c->num_heads, G = c->num_kv_heads, C = c->head_dim, D = c->hidden_size;
    if (kind == LAY_KEPT) {
        layout_kept(p, s, a, T);
    } else if (kind == LAY_FORWARD) {
        /* the normed input is not needed any more when attention begins, unless it is kept */
        struct attn_dims d = dims(p);
        long packed = narrow(p) ? (long)(attention_packed(T, &d) + 1) / 2 : 0;
        long xn = p->trains ? 0 : T * D;
        float *work = ARENA_FLOATS(a, packed > xn ? packed : xn);
        s->packed = packed ? work : NULL;
        if (!p->trains)
            s->xn = work;
        if (narrow(p)) {
            s->q = ARENA_FLOATS(a, T * H * C);
            s->k = ARENA_FLOATS(a, T * G * C);
            s->v = c->qkv_bias ? ARENA_FLOATS(a, T * G * C) : NULL;
        }
    } else if (kind == LAY_BACKWARD) {
        s->delta = ARENA_FLOATS(a, T * H);
        s->dq = ARENA_FLOATS(a, T * H * C);
        s->dk = ARENA_FLOATS(a, T * G * C);
        s->dv = ARENA_FLOATS(a, T * G * C);
        s->do_ = narrow(p) ? NULL : ARENA_FLOATS(a, T * H * C);
        s->do16 = narrow(p) ? rows16(a, T * H * C) : NULL;
        s->dxn = p->trains ? ARENA_FLOATS(a, T * D) : s->xn;
    }
}

/* The new keys and values go behind the cached ones; the queries see all of them. With few queries
 * most of the time goes into reading the cache: packing it for each token would cost more. */
static void attend_cached(const struct part *p, struct pass *pass, struct saved *s)
{
    struct attn_dims d = dims(p);
    struct kv_cache *kv = pass->kv;
    long row = d.G * d.C, T = pass->T;
    long cq[2] = {0, T}, ck[2] = {0, kv->length + T};
    memcpy(kv->k[p->layer] + kv->length * row, s->k, (size_t)(T * row) * sizeof *s->k);
    memcpy(kv->v[p->layer] + kv->length * row, s->v, (size_t)(T * row) * sizeof *s->v);
    if (T <= GEMM_FEW)
        attention_few(s->o, s->q, kv->k[p->layer], kv->v[p->layer], T, ck[1], &d);
    else
        attention_fwd(s->o, s->lse, s->q, kv->k[p->layer], kv->v[p->layer], cq, ck, 1, &d);
}

/* Rotation, and o from q, k, v. */
static void attend(const struct part *p, struct pass *pass, struct saved *s)
{
    const struct model_config *c = p->c;
    long T = pass->T, H = c->num_heads, G = c->num_kv_heads, C = c->head_dim;
    struct attn_dims d = dims(p);
    d.packed = s->packed;
    profile_to(pass->profile, STAGE_POINTWISE);
    if (s->q16) {
        rope_apply_bf16(s->q16, s->q, pass->cos, pass->sin, T, H, C);
        rope_apply_bf16(s->k16, s->k, pass->cos, pass->sin, T, G, C);
        if (s->v)
            round_rows(s->v16, s->v, T, G * C);
        profile_to(pass->profile, STAGE_ATTENTION);
        attention_fwd_bf16(s->o, s->lse, s->q16, s->k16, s->v16, pass->cu, pass->cu, pass->S, &d);
        return;
    }
    rope_apply(s->q, pass->cos, pass->sin, 1, T, H, C);
    rope_apply(s->k, pass->cos, pass->sin, 1, T, G, C);
    profile_to(pass->profile, STAGE_ATTENTION);
    if (pass->kv)
        attend_cached(p, pass, s);
    else
        attention_fwd(s->o, s->lse, s->q, s->k, s->v, pass->cu, pass->cu, pass->S, &d);
}

static void fwd(const struct part *p, struct pass *pass, void *saved, float *out, const float *in)
{
    struct saved *s = saved;
    const struct model_config *c = p->c;
    const struct layer_weights *w = pass->w;
    long T = pass->T, H = c->num_heads, G = c->num_kv_heads, C = c->head_dim, D = c->hidden_size;
    profile_to(pass->profile, STAGE_NORM);
    rmsnorm_fwd(s->xn, s->r, in, w->vec[LT_NORM_ATTN], c->rms_norm_eps, T, D);
    profile_to(pass->profile, STAGE_PROJ);
    const struct linear qkv[] = {{.Y = c->qk_norm ? s->q0 : s->q,
                                  .X = s->xn,
                                  .W = &w->mat[LT_Q],
                                  .bias = w->vec[LT_Q_BIAS],
                                  .T = T},
                                 {.Y = c->qk_norm ? s->k0 : s->k,
                                  .X = s->xn,
                                  .W = &w->mat[LT_K],
                                  .bias = w->vec[LT_K_BIAS],
                                  .T = T},
                                 {.Y = s->v,
                                  .Y16 = s->v ? NULL : s->v16,
                                  .X = s->xn,
                                  .W = &w->mat[LT_V],
                                  .bias = w->vec[LT_V_BIAS],
                                  .T = T}};
    linears_fwd(pass->gemm, qkv, 3);
    profile_to(pass->profile, STAGE_NORM);
    if (c->qk_norm) {
        rmsnorm_fwd(s->q, s->rq, s->q0, w->vec[LT_Q_NORM], c->rms_norm_eps, T * H, C);
        rmsnorm_fwd(s->k, s->rk, s->k0, w->vec[LT_K_NORM], c->rms_norm_eps, T * G, C);
    }
    attend(p, pass, s);
    profile_to(pass->profile, STAGE_PROJ);
    linear_fwd(pass->gemm, out, s->o, &w->mat[LT_O], w->vec[LT_O_BIAS], T);
    profile_to(pass->profile, STAGE_POINTWISE);
    add_to(out, in, T * D);
}

/* y = W x + b: the gradient of one projection's parameters, where they train. */
static void grad_linear(const struct part *p, struct pass *pass, enum layer_tensor mat,
                        enum layer_tensor bias, const float *dy, const float *x)
{
    if (p->grads.g[mat])
        linear_bwd_weight(pass->gemm, p->grads.g[mat], p->grads.g[bias], dy, x, pass->T,
                          pass->w->mat[mat].N, pass->w->mat[mat].K);
}

static void bwd(const struct part *p, struct pass *pass, void *saved, float *dx, const float *in,
                int need_dx)
{
    struct saved *s = saved;
    const struct model_config *c = p->c;
    const struct layer_weights *w = pass->w;
    long T = pass->T, H = c->num_heads, G = c->num_kv_heads, C = c->head_dim, D = c->hidden_size;
    struct attn_dims d = dims(p);
    d.packed = s->packed;
    if (!need_dx && !p->grads.g[LT_Q])
        return;
    /* out = in + o Wo^T + bo */
    profile_to(pass->profile, STAGE_PROJ);
    linear_bwd_rows(
        pass->gemm,
        &(struct linear_bwd){.dX = s->do_, .dX16 = s->do16, .dY = dx, .W = &w->mat[LT_O], .T = T});
    grad_linear(p, pass, LT_O, LT_O_BIAS, dx, s->o);
    profile_to(pass->profile, STAGE_ATTENTION);
    if (s->q16)
        attention_bwd_bf16(s->dq, s->dk, s->dv, s->delta, s->do16, s->q16, s->k16, s->v16, s->o,
                           s->lse, pass->cu, pass->S, &d);
    else
        attention_bwd(s->dq, s->dk, s->dv, s->delta, s->do_, s->q, s->k, s->v, s->o, s->lse,
                      pass->cu, pass->S, &d);
    profile_to(pass->profile, STAGE_POINTWISE);
    rope_apply(s->dq, pass->cos, pass->sin, -1, T, H, C);
    rope_apply(s->dk, pass->cos, pass->sin, -1, T, G, C);
    profile_to(pass->profile, STAGE_NORM);
    float *dq = s->dq, *dk = s->dk;
    if (c->qk_norm) { /* q = norm(q0); q and k are free from here on */
        memset(s->q, 0, (size_t)(T * H * C) * sizeof *s->q);
        memset(s->k, 0, (size_t)(T * G * C) * sizeof *s->k);
        rmsnorm_bwd(s->q, p->grads.g[LT_Q_NORM], s->dq, s->q0, w->vec[LT_Q_NORM], s->rq, T * H, C);
        rmsnorm_bwd(s->k, p->grads.g[LT_K_NORM], s->dk, s->k0, w->vec[LT_K_NORM], s->rk, T * G, C);
        dq = s->q;
        dk = s->k;
    }
    profile_to(pass->profile, STAGE_PROJ);
    grad_linear(p, pass, LT_Q, LT_Q_BIAS, dq, s->xn);
    grad_linear(p, pass, LT_K, LT_K_BIAS, dk, s->xn);
    grad_linear(p, pass, LT_V, LT_V_BIAS, s->dv, s->xn);
    linear_bwd_data(pass->gemm, s->dxn, 0, dq, &w->mat[LT_Q], T);
    linear_bwd_data(pass->gemm, s->dxn, 1, dk, &w->mat[LT_K], T);
    linear_bwd_data(pass->gemm, s->dxn, 1, s->dv, &w->mat[LT_V], T);
    profile_to(pass->profile, STAGE_NORM);
    rmsnorm_bwd(dx, p->grads.g[LT_NORM_ATTN], s->dxn, in, w->vec[LT_NORM_ATTN], s->r, T, D);
}

const struct part_ops part_attention = {"attention", sizeof(struct saved), layout, fwd, bwd};
