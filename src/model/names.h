/* The tensors of a Llama-family model: one table from which names, shapes and presence derive. */
#ifndef PESC_MODEL_NAMES_H
#define PESC_MODEL_NAMES_H

#include "model/hf_config.h"

enum { TENSOR_NAME_CAP = 160 };

/* X(identifier, name within "model.layers.N."). Matrices are [out, in]. */
#define LAYER_TENSORS(X)                                                                           \
    X(NORM_ATTN, "input_layernorm.weight")                                                         \
    X(Q, "self_attn.q_proj.weight")                                                                \
    X(K, "self_attn.k_proj.weight")                                                                \
    X(V, "self_attn.v_proj.weight")                                                                \
    X(O, "self_attn.o_proj.weight")                                                                \
    X(Q_BIAS, "self_attn.q_proj.bias")                                                             \
    X(K_BIAS, "self_attn.k_proj.bias")                                                             \
    X(V_BIAS, "self_attn.v_proj.bias")                                                             \
    X(O_BIAS, "self_attn.o_proj.bias")                                                             \
    X(Q_NORM, "self_attn.q_norm.weight")                                                           \
    X(K_NORM, "self_attn.k_norm.weight")                                                           \
    X(NORM_FFN, "post_attention_layernorm.weight")                                                 \
    X(GATE, "mlp.gate_proj.weight")                                                                \
    X(UP, "mlp.up_proj.weight")                                                                    \
    X(DOWN, "mlp.down_proj.weight")                                                                \
    X(GATE_BIAS, "mlp.gate_proj.bias")                                                             \
    X(UP_BIAS, "mlp.up_proj.bias")                                                                 \
    X(DOWN_BIAS, "mlp.down_proj.bias")

enum layer_tensor {
#define PESC_X(id, name) LT_##id,
    LAYER_TENSORS(PESC_X)
#undef PESC_X
        LT_COUNT
};

/* rows and cols of the tensor in models of this configuration (cols 0: a vector of rows elements).
 * Returns 0 when such models do not have it. */
int layer_tensor_shape(const struct model_config *c, enum layer_tensor t, long *rows, long *cols);
/* "model.layers.N...." into out (TENSOR_NAME_CAP bytes). */
void layer_tensor_name(char *out, enum layer_tensor t, long layer);

#define NAME_EMBED "model.embed_tokens.weight" /* [vocab, hidden] */
#define NAME_NORM "model.norm.weight"          /* [hidden] */
#define NAME_HEAD "lm_head.weight"             /* [vocab, hidden]; not of tied models */

#endif
