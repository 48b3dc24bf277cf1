/* A model ready to run: configuration, weights, parts, and the trainable parameters. */
#ifndef PESC_MODEL_MODEL_H
#define PESC_MODEL_MODEL_H

#include "model/part.h"
#include "tensor/params.h"

enum trainable {
    TRAIN_NOTHING,
    TRAIN_ADAPTERS, /* adapters and routers */
    TRAIN_EXPERTS, /* adapters alone: routers keep their values, and the balance loss is left out */
    TRAIN_FULL     /* every weight of a dense model */
};

struct model {
    struct model_config c;
    enum compute compute;
    enum trainable trainable;
    int generates; /* model_for_generating */
    int crafted;   /* adapters behind feed-forward networks: see moe for which */
    struct moe_config moe;
    struct params params;     /* adapters and routers (frozen or not), or everything (TRAIN_FULL) */
    struct weights_plan plan; /* set between model_shape and model_load; all zero: resident */
    /* Of adapters that train, set there too: params.grad stays NULL, a pass is given memory for
     * each layer's gradients (engine_step.grad_begin). */
    int layer_grads;
    struct weights *weights;
    struct part *attn, *ffn;                   /* [layers] */
    float *grad_embed, *grad_head, *grad_norm; /* NULL: frozen */
    unsigned char *off; /* [experts] of model_knock_out; NULL: never asked for */
    struct gemm *gemm;
};

/* The layers that have adapters (none of a dense model). */
long model_adapted(const struct model *m);
int model_is_adapted(const struct model *m, long layer);
/* The lowest layer that has anything to train: what is below it (its prefix) has no backward pass,
 * and of a sample always the same output. */
long model_lowest(const struct model *m);
/* The model without values: structure, table of parameters, parts. It can be measured
 * (engine_bytes) and then loaded. moe NULL: dense. TRAIN_FULL needs a dense model (E-MODEL-KIND),
 * and is not done in int8 (E-USAGE-VALUE). c may have fewer layers than the base that will be
 * loaded: the model is then of the lowest ones. E-CFG-CRAFT when moe has adapters on layers that c
 * has not. */
int model_shape(const struct model_config *c, const struct moe_config *moe,
                enum trainable trainable, enum compute compute, struct model **out,
                struct pesc_error *err) MUST_USE;
/* Between shape and load, for a model that is to generate: few rows gain nothing from experts and
 * activations in bf16, and the kernels for them take floats. */
void model_for_generating(struct model *m);
/* Bytes that model_load takes, by the plan. */
size_t model_bytes(const struct model *m);
/* Gives it values: the base's weights (store: see weights_open), adapters from seed (moe_init;
 * params_load may replace them). b must outlive m where the plan leaves anything on disk. */
int model_load(struct model *m, const struct base *b, enum dtype store, uint64_t seed,
               struct pesc_error *err) MUST_USE;
/* Both at once. */
int model_open(const struct base *b, const struct moe_config *moe, enum trainable trainable,
               enum compute compute, enum dtype store, uint64_t seed, struct model **out,
               struct pesc_error *err) MUST_USE;
/* Where the gradients of the n-th layer with adapters add, in memory flat that begins with those of
 * the first; frozen routers have none. flat NULL: nothing adds. */
struct moe_weights model_adapter_grads(const struct model *m, float *flat, long n);
/* From now on the layer's router never chooses the expert; the weights of those that it chooses
 * instead sum to 1 as always, and all other layers are whole. layer -1: this one too. E-USAGE-VALUE
 * unless the layer has such an expert and top_k others; E-MODEL-KIND for a dense model. */
int model_knock_out(struct model *m, long layer, long expert, struct pesc_error *err) MUST_USE;
void model_close(struct model *m);

#endif
