#include <config.h> /* not the one beside this file */
#include "model/tensors.h"

#include <stdio.h>

/* Dimensions: none, D hidden, F intermediate, Q query heads x head size, G key/value heads x head
 * size, C head size. */
enum dim { NONE, D, F, Q, G, C };
enum when { ALWAYS, IF_QKV_BIAS, IF_O_BIAS, IF_MLP_BIAS, IF_QK_NORM };

static const struct {
    const char *suffix;
    enum dim rows, cols;
    enum when when;
} of_layer[] = {
    {"input_layernorm.weight", D, NONE, ALWAYS},
    {"self_attn.q_proj.weight", Q, D, ALWAYS},
    {"self_attn.q_proj.bias", Q, NONE, IF_QKV_BIAS},
    {"self_attn.k_proj.weight", G, D, ALWAYS},
    {"self_attn.k_proj.bias", G, NONE, IF_QKV_BIAS},
    {"self_attn.v_proj.weight", G, D, ALWAYS},
    {"self_attn.v_proj.bias", G, NONE, IF_QKV_BIAS},
    {"self_attn.q_norm.weight", C, NONE, IF_QK_NORM},
    {"self_attn.k_norm.weight", C, NONE, IF_QK_NORM},
    {"self_attn.o_proj.weight", D, Q, ALWAYS},
    {"self_attn.o_proj.bias", D, NONE, IF_O_BIAS},
    {"post_attention_layernorm.weight", D, NONE, ALWAYS},
    {"mlp.gate_proj.weight", F, D, ALWAYS},
    {"mlp.gate_proj.bias", F, NONE, IF_MLP_BIAS},
    {"mlp.up_proj.weight", F, D, ALWAYS},
    {"mlp.up_proj.bias", F, NONE, IF_MLP_BIAS},
    {"mlp.down_proj.weight", D, F, ALWAYS},
    {"mlp.down_proj.bias", D, NONE, IF_MLP_BIAS},
};
enum { PER_LAYER = sizeof of_layer / sizeof *of_layer };

static long size_of(const struct model_config *c, enum dim d)
{
    switch (d) {
    case D:
        return c->hidden_size;
    case F:
        return c->intermediate_size;
    case Q:
        return c->num_heads * c->head_dim;
    case G:
        return c->num_kv_heads * c->head_dim;
    case C:
        return c->head_dim;
    default:
        return 1;
    }
}

static int holds(const struct model_config *c, enum when w)
{
    switch (w) {
    case IF_QKV_BIAS:
        return c->qkv_bias;
    case IF_O_BIAS:
        return c->o_bias;
    case IF_MLP_BIAS:
        return c->mlp_bias;
    case IF_QK_NORM:
        return c->qk_norm;
    default:
        return 1;
    }
}

long model_tensor_slots(const struct model_config *c)
{
    return c->num_layers * PER_LAYER + 3;
}

int model_tensor_at(const struct model_config *c, long slot, struct model_tensor *t)
{
    long in_layers = c->num_layers * PER_LAYER;
    *t = (struct model_tensor){.layer = -1, .ndim = 2, .shape = {c->vocab_size, c->hidden_size}};
    if (slot == 0) {
        snprintf(t->name, sizeof t->name, "model.embed_tokens.weight");
    } else if (slot <= in_layers) {
        long i = (slot - 1) % PER_LAYER;
        if (!holds(c, of_layer[i].when))
            return 0;
        t->layer = (int)((slot - 1) / PER_LAYER);
        t->ndim = of_layer[i].cols == NONE ? 1 : 2;
        t->shape[0] = size_of(c, of_layer[i].rows);
        t->shape[1] = size_of(c, of_layer[i].cols);
        snprintf(t->name, sizeof t->name, "model.layers.%d.%s", t->layer, of_layer[i].suffix);
    } else if (slot == in_layers + 1) {
        t->ndim = 1;
        t->shape[0] = c->hidden_size;
        t->shape[1] = 1;
        snprintf(t->name, sizeof t->name, "model.norm.weight");
    } else {
        snprintf(t->name, sizeof t->name, "lm_head.weight");
        return !c->tied && slot == in_layers + 2;
    }
    return 1;
}
