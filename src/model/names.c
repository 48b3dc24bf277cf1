#include "config.h"
#include "model/names.h"

#include <stdio.h>

static const char *const suffix[] = {
#define PESC_X(id, name) name,
    LAYER_TENSORS(PESC_X)
#undef PESC_X
};

int layer_tensor_shape(const struct model_config *c, enum layer_tensor t, long *rows, long *cols)
{
    long q = c->num_heads * c->head_dim, kv = c->num_kv_heads * c->head_dim;
    long d = c->hidden_size, f = c->intermediate_size;
    const struct {
        long rows, cols;
        int present;
    } shape[LT_COUNT] = {
        [LT_NORM_ATTN] = {d, 0, 1},
        [LT_Q] = {q, d, 1},
        [LT_K] = {kv, d, 1},
        [LT_V] = {kv, d, 1},
        [LT_O] = {d, q, 1},
        [LT_Q_BIAS] = {q, 0, c->qkv_bias},
        [LT_K_BIAS] = {kv, 0, c->qkv_bias},
        [LT_V_BIAS] = {kv, 0, c->qkv_bias},
        [LT_O_BIAS] = {d, 0, c->o_bias},
        [LT_Q_NORM] = {c->head_dim, 0, c->qk_norm},
        [LT_K_NORM] = {c->head_dim, 0, c->qk_norm},
        [LT_NORM_FFN] = {d, 0, 1},
        [LT_GATE] = {f, d, 1},
        [LT_UP] = {f, d, 1},
        [LT_DOWN] = {d, f, 1},
        [LT_GATE_BIAS] = {f, 0, c->mlp_bias},
        [LT_UP_BIAS] = {f, 0, c->mlp_bias},
        [LT_DOWN_BIAS] = {d, 0, c->mlp_bias},
    };
    *rows = shape[t].rows;
    *cols = shape[t].cols;
    return shape[t].present;
}

void layer_tensor_name(char *out, enum layer_tensor t, long layer)
{
    snprintf(out, TENSOR_NAME_CAP, "model.layers.%ld.%s", layer, suffix[t]);
}
