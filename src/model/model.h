/* A model ready to run: configuration, weights, parts, and the trainable parameters. */
#ifndef PESC_MODEL_MODEL_H
#define PESC_MODEL_MODEL_H

#include "model/part.h"
#include "tensor/params.h"

enum trainable { TRAIN_NOTHING, TRAIN_ADAPTERS, TRAIN_FULL };

struct model {
    struct model_config c;
    enum compute compute;
    enum trainable trainable;
    int crafted; /* adapters behind every feed-forward network */
    struct moe_config moe;
    struct params params;     /* adapters and routers, or everything (TRAIN_FULL) */
    struct weights_plan plan; /* set between model_shape and model_load; all zero: resident */
    struct weights *weights;
    struct part *attn, *ffn;                   /* [layers] */
    float *grad_embed, *grad_head, *grad_norm; /* NULL: frozen */
    struct gemm *gemm;
};

/* The model without values: structure, table of parameters, parts. It can be measured
 * (engine_bytes) and then loaded. moe NULL: dense. TRAIN_FULL needs a dense model. */
int model_shape(const struct model_config *c, const struct moe_config *moe,
                enum trainable trainable, enum compute compute, struct model **out,
                struct pesc_error *err) MUST_USE;
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
void model_close(struct model *m);

#endif
