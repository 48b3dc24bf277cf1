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
    struct params params; /* adapters and routers, or everything (TRAIN_FULL) */
    struct weights *weights;
    struct part *attn, *ffn;                   /* [layers] */
    float *grad_embed, *grad_head, *grad_norm; /* NULL: frozen */
    struct gemm *gemm;
};

/* moe NULL: dense. The adapters start from seed (moe_init) and may be replaced by params_load.
 * TRAIN_FULL needs a dense model. store: see weights_resident. */
int model_open(const struct base *b, const struct moe_config *moe, enum trainable trainable,
               enum compute compute, enum dtype store, uint64_t seed, struct model **out,
               struct pesc_error *err) MUST_USE;
void model_close(struct model *m);

/* Only the table of a crafted model's parameters, without memory for weights: names and shapes. */
int model_declare_adapters(const struct model_config *c, const struct moe_config *moe,
                           struct params *ps, struct pesc_error *err) MUST_USE;

#endif
