/* config.json of a Hugging Face folder: every key that changes the result is honoured or refused.
 */
#ifndef PESC_MODEL_HF_CONFIG_H
#define PESC_MODEL_HF_CONFIG_H

#include "core/error.h"
#include "tensor/quant.h"

#include <jansson.h>

enum model_arch { ARCH_LLAMA, ARCH_MISTRAL, ARCH_QWEN2, ARCH_QWEN3 };
enum rope_kind { ROPE_DEFAULT, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3 };

enum { MAX_LAYERS = 1024, MAX_HEAD_DIM = 256 };

/* How a matrix is stored; all zero: as numbers. */
struct quant_form {
    enum quant kind;
    long block, nested; /* as in struct qmat */
};
enum { QUANT_FORMS = 32 };

struct model_config {
    enum model_arch arch;
    const char *arch_name; /* "llama", ... static */
    long hidden_size, intermediate_size, num_layers, num_heads, num_kv_heads, head_dim;
    long vocab_size, max_positions;
    double rms_norm_eps, rope_theta;
    enum rope_kind rope;
    double rope_factor, rope_low_freq, rope_high_freq;
    long rope_original_positions;
    int tied, qkv_bias, o_bias, mlp_bias, qk_norm;
    long window[MAX_LAYERS];         /* keys that a query sees, itself included; 0: all before it */
    long bos_id, eos_ids[16], n_eos; /* -1 / 0 when absent; generation_config.json adds to eos */
    enum quant quant; /* what quantization_config says; base_open finds out the forms: */
    int quant_mixed;  /* NF4, where some matrices are int8 */
    struct quant_form layer_form[QUANT_FORMS]; /* by enum layer_tensor; the same in every layer */
    struct quant_form embed_form, head_form;
};

/* Reads DIR/config.json (and generation_config.json for eos). E-CFG-*. json (may be NULL) gets the
 * tree, which the caller releases. */
int model_config_read(const char *dir, const struct notes *notes, struct model_config *c,
                      json_t **json, struct pesc_error *err) MUST_USE;
/* The same from a parsed tree; where names it in errors. */
int model_config_parse(const json_t *root, const char *where, const struct notes *notes,
                       struct model_config *c, struct pesc_error *err) MUST_USE;

#endif
