#include "config.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *grad_of(const struct model *m, const char *name)
{
    const struct param *p = params_find(&m->params, name);
    return p && m->params.grad ? m->params.grad + p->offset : NULL;
}

long model_adapted(const struct model *m)
{
    return m->crafted ? moe_layers(&m->moe, m->c.num_layers) : 0;
}

int model_is_adapted(const struct model *m, long layer)
{
    return m->crafted && moe_has(&m->moe, m->c.num_layers, layer);
}

long model_lowest(const struct model *m)
{
    return m->crafted ? m->moe.first : 0;
}

struct moe_weights model_adapter_grads(const struct model *m, float *flat, long n)
{
    struct moe_weights dW = moe_at(flat, &m->moe, n, m->c.hidden_size);
    if (m->trainable == TRAIN_EXPERTS)
        dW.Wr = NULL;
    return dW;
}

/* Whether params.grad is there. */
static int has_grads(const struct model *m)
{
    return m->trainable != TRAIN_NOTHING && !m->layer_grads;
}

/* bf16 where products round to it anyway: not where gradients of weights are sums over rows, nor
 * where the few rows of generating are read by kernels for floats, nor of matrices so large that
 * they are taken in panels; wide: rows of the part's widest matrix. */
static enum dtype between(const struct model *m, long wide)
{
    int floats = m->trainable == TRAIN_FULL || m->generates || m->c.mlp_bias ||
                 gemm_in_panels(wide, m->c.hidden_size);
    return floats ? DT_F32 : compute_form(m->compute);
}

static void make_parts(struct model *m)
{
    int trains = m->trainable == TRAIN_FULL;
    for (long l = 0; l < m->c.num_layers; l++) {
        struct part *attn = &m->attn[l], *ffn = &m->ffn[l];
        *attn = (struct part){.ops = &part_attention,
                              .c = &m->c,
                              .layer = l,
                              .compute = m->compute,
                              .between = between(m, m->c.num_heads * m->c.head_dim),
                              .trains = trains};
        int adapted = model_is_adapted(m, l);
        *ffn = (struct part){.ops = adapted ? &part_ffn_pesc : &part_ffn,
                             .c = &m->c,
                             .compute = m->compute,
                             .between = between(m, m->c.intermediate_size),
                             .layer = l,
                             .trains = trains};
        if (adapted) {
            long n = l - m->moe.first;
            ffn->moe = &m->moe;
            ffn->W = moe_at(m->params.value, &m->moe, n, m->c.hidden_size);
            ffn->dW = model_adapter_grads(m, m->params.grad, n);
        }
        for (enum layer_tensor t = 0; m->trainable == TRAIN_FULL && t < LT_COUNT; t++) {
            char name[TENSOR_NAME_CAP];
            layer_tensor_name(name, t, l);
            attn->grads.g[t] = ffn->grads.g[t] = grad_of(m, name);
        }
    }
    if (m->trainable == TRAIN_FULL) {
        m->grad_embed = grad_of(m, NAME_EMBED);
        m->grad_head = m->c.tied ? m->grad_embed : grad_of(m, NAME_HEAD);
        m->grad_norm = grad_of(m, NAME_NORM);
    }
}

static int load_masters(struct model *m, const struct base *b, struct pesc_error *err)
{
    TRY(params_alloc(&m->params, 1, err));
    for (long i = 0; i < m->params.count; i++) {
        const struct param *p = &m->params.p[i];
        TRY(base_read_f32(b, p->name, m->params.value + p->offset, err));
    }
    return weights_of_params(&m->c, &m->params, m->compute, &m->weights, err);
}

static int load_adapters(struct model *m, uint64_t seed, struct pesc_error *err)
{
    TRY(params_alloc(&m->params, has_grads(m), err));
    moe_init_all(m->params.value, &m->moe, seed, m->c.num_layers, m->c.hidden_size);
    return 0;
}

int model_shape(const struct model_config *c, const struct moe_config *moe,
                enum trainable trainable, enum compute compute, struct model **out,
                struct pesc_error *err)
{
    if (trainable == TRAIN_FULL && c->quant != QUANT_NONE)
        return FAIL(err, MODEL_KIND,
                    "training every weight takes a base that is not quantised; this one is %s",
                    quant_name(c->quant));
    if (moe && trainable == TRAIN_FULL)
        return FAIL(err, MODEL_KIND,
                    "training every weight takes a dense model, not a crafted one");
    if (!moe && (trainable == TRAIN_ADAPTERS || trainable == TRAIN_EXPERTS))
        return FAIL(err, MODEL_KIND,
                    "a dense model has no adapters: craft it first (pesc craft), or use "
                    "--trainable full");
    if (trainable == TRAIN_FULL && compute == COMPUTE_INT8)
        return FAIL(
            err, USAGE_VALUE,
            "int8 products are of frozen weights; where every weight is trained, compute in "
            "bf16 or f32");
    if (moe && (moe->first < 0 || moe->layers < 0 ||
                moe->first + (moe->layers ? moe->layers : 1) > c->num_layers))
        return FAIL(err, CFG_CRAFT, "adapters on layers %ld to %ld: the model has 0 to %ld",
                    moe->first, moe->first + moe_layers(moe, c->num_layers) - 1, c->num_layers - 1);
    struct model *m = calloc(1, sizeof *m);
    if (!m)
        return FAIL(err, MEMORY, "no memory for a model");
    m->c = *c;
    m->compute = compute;
    m->trainable = trainable;
    m->crafted = moe != NULL;
    m->attn = calloc((size_t)m->c.num_layers, sizeof *m->attn);
    m->ffn = calloc((size_t)m->c.num_layers, sizeof *m->ffn);
    m->gemm = gemm_new(err);
    if (!m->attn || !m->ffn) {
        FAIL(err, MEMORY, "no memory for %ld layers", m->c.num_layers);
        goto fail;
    }
    if (!m->gemm)
        goto fail;
    if (moe) {
        m->moe = *moe;
        m->moe.bf16 = compute != COMPUTE_F32 && moe_has_bf16(moe, c->hidden_size);
        TRY_OR(moe_declare(&m->params, &m->moe, c->num_layers, c->hidden_size, err), fail);
        if (trainable == TRAIN_EXPERTS)
            moe_freeze_routers(&m->params, &m->moe);
    } else if (trainable == TRAIN_FULL) {
        TRY_OR(weights_declare(&m->c, &m->params, err), fail);
    }
    make_parts(m);
    *out = m;
    return 0;
fail:
    model_close(m);
    return -1;
}

void model_for_generating(struct model *m)
{
    m->generates = 1;
    m->moe.bf16 = 0;
    make_parts(m);
}

size_t model_bytes(const struct model *m)
{
    size_t params = m->params.total * sizeof(float);
    if (m->trainable == TRAIN_FULL)
        return 2 * params + weights_of_params_size(&m->c, m->compute); /* masters, gradients */
    return (has_grads(m) ? 2 : 1) * params + weights_size(&m->c, m->compute, &m->plan);
}

int model_load(struct model *m, const struct base *b, enum dtype store, uint64_t seed,
               struct pesc_error *err)
{
    if (m->crafted)
        TRY(load_adapters(m, seed, err));
    if (m->trainable == TRAIN_FULL && (m->plan.streamed_layers || m->plan.embed_on_disk))
        return FAIL(err, NOT_YET, "weights that train are not streamed");
    if (m->trainable == TRAIN_FULL)
        TRY(load_masters(m, b, err));
    else
        TRY(weights_open(b, &m->c, m->compute, store, &m->plan, &m->weights, err));
    make_parts(m);
    return 0;
}

int model_open(const struct base *b, const struct moe_config *moe, enum trainable trainable,
               enum compute compute, enum dtype store, uint64_t seed, struct model **out,
               struct pesc_error *err)
{
    struct model *m;
    TRY(model_shape(base_config(b), moe, trainable, compute, &m, err));
    if (model_load(m, b, store, seed, err) != 0) {
        model_close(m);
        return -1;
    }
    *out = m;
    return 0;
}

int model_knock_out(struct model *m, long layer, long expert, struct pesc_error *err)
{
    long E = m->moe.experts;
    char text[MOE_LAYERS_CAP];
    if (!m->crafted)
        return FAIL(err, MODEL_KIND, "a dense model has no experts to knock out");
    if (layer >= 0 && layer < m->c.num_layers && !model_is_adapted(m, layer))
        return FAIL(err, USAGE_VALUE, "layer %ld has no experts to knock out: layers %s have",
                    layer, moe_layers_text(&m->moe, m->c.num_layers, text));
    if (layer >= m->c.num_layers || (layer >= 0 && (expert < 0 || expert >= E)))
        return FAIL(err, USAGE_VALUE,
                    "no expert %ld:%ld to knock out: layers are 0 to %ld, experts 0 to %ld", layer,
                    expert, m->c.num_layers - 1, E - 1);
    if (layer >= 0 && m->moe.top_k >= E)
        return FAIL(err, USAGE_VALUE,
                    "without one of its %ld experts a layer has too few for top-%ld", E,
                    m->moe.top_k);
    if (!m->off)
        m->off = calloc((size_t)E, sizeof *m->off);
    if (!m->off)
        return FAIL(err, MEMORY, "no memory to mask %ld experts", E);
    for (long l = 0; l < m->c.num_layers; l++)
        m->ffn[l].W.off = l == layer ? m->off : NULL;
    for (long e = 0; e < E; e++)
        m->off[e] = e == expert;
    return 0;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    weights_free(m->weights);
    params_free(&m->params);
    gemm_free(m->gemm);
    free(m->off);
    free(m->attn);
    free(m->ffn);
    free(m);
}
