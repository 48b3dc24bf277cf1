/* A decoder block is two parts, attention and feed-forward, each y = x + f(norm(x)) behind this
 * interface, so that variants stand side by side in files of their own.
 *   T tokens of the pass, D hidden size. */
#ifndef PESC_MODEL_PART_H
#define PESC_MODEL_PART_H

#include "adapters/moe.h"
#include "core/arena.h"
#include "model/weights.h"
#include "tensor/profile.h"

struct part;

/* Keys and values of earlier tokens, for generating: per layer [capacity, kv_heads, head_dim]. */
struct kv_cache {
    long length, capacity;
    float **k, **v; /* [layers] */
};

/* Gradients of one layer's own tensors; NULL where frozen. */
struct layer_grads {
    float *g[LT_COUNT];
};

/* What a pass over T tokens gives to every part. */
struct pass {
    struct gemm *gemm;
    struct profile *profile;       /* NULL: nobody asks */
    const struct layer_weights *w; /* of the layer at work */
    long T, S;
    const long *cu; /* [S+1] sequences; with kv one sequence whose keys go on in the cache */
    const float *cos, *sin; /* [T, head_dim/2] */
    struct kv_cache *kv;    /* NULL while training */
    int recompute;          /* the output is not wanted, only what bwd needs */
    struct moe_rng rng;     /* layer is set by the part */
    double balance_scale;   /* see moe_bwd */
    struct arena *scratch;
    /* Told each layer's routing in forward passes (not in recomputation); may be NULL. */
    void (*routed)(void *ctx, long layer, const struct moe_saved *s, long T);
    void *routed_ctx;
};

/* A part's memory by how long its contents must last. What is not LAY_KEPT is lost when fwd or bwd
 * returns: the parts of a block share it. */
enum lay {
    LAY_KEPT,    /* what fwd leaves for bwd */
    LAY_FORWARD, /* what fwd needs beside it */
    LAY_BACKWARD /* what bwd needs; it may reuse LAY_FORWARD, which is laid out before it */
};

struct part_ops {
    const char *name;
    size_t saved_size; /* of the struct that layout fills */
    /* Lays out one kind of the part's memory, for every kind once; a counting arena sizes it. */
    void (*layout)(const struct part *p, void *saved, struct arena *a, long T, enum lay kind);
    /* out[T,D] from in[T,D]; they are different memory. */
    void (*fwd)(const struct part *p, struct pass *pass, void *saved, float *out, const float *in);
    /* dx[T,D]: gradient of out, becomes that of in; with need_dx 0 only parameters' gradients are
     * wanted. Parameter gradients add. */
    void (*bwd)(const struct part *p, struct pass *pass, void *saved, float *dx, const float *in,
                int need_dx);
};

struct part {
    const struct part_ops *ops;
    const struct model_config *c;
    long layer;
    enum compute compute;
    enum dtype between; /* of the rows between products that are not kept as floats */
    int trains;         /* the layer's own tensors do: products with their inputs are to come */
    struct layer_grads grads;
    /* PESC: */
    const struct moe_config *moe;
    struct moe_weights W, dW; /* dW members NULL: frozen */
};

extern const struct part_ops part_attention; /* dense attention, grouped queries */
extern const struct part_ops part_ffn;       /* dense SwiGLU */
extern const struct part_ops part_ffn_pesc;  /* the same, frozen or not, with the adapters behind */

#endif
