#include "config.h"
#include "model/hf_config_read.h"

#include <string.h>

int cfg_absent(const struct cfg_src *s, const char *key)
{
    const json_t *v = json_object_get(s->root, key);
    return !v || json_is_null(v);
}

int cfg_type(const struct cfg_src *s, const char *key, const char *wanted)
{
    return FAIL(s->err, CFG_TYPE, "%s: %s: %s is expected", s->where, key, wanted);
}

int cfg_unsupported(const struct cfg_src *s, const char *key, const char *value)
{
    return FAIL(s->err, CFG_UNSUP, "%s: %s (%.64s) is not supported", s->where, key, value);
}

int cfg_int(const struct cfg_src *s, const char *key, long dflt, long lo, long hi, long *out)
{
    const json_t *v = json_object_get(s->root, key);
    if (!v && dflt != CFG_REQUIRED) {
        *out = dflt;
        return 0;
    }
    if (!v)
        return FAIL(s->err, CFG_TYPE, "%s: %s is missing", s->where, key);
    if (!json_is_integer(v))
        return cfg_type(s, key, "a whole number");
    json_int_t n = json_integer_value(v);
    if (n < lo || n > hi)
        return FAIL(s->err, CFG_RANGE, "%s: %s %lld is not in %ld..%ld", s->where, key,
                    (long long)n, lo, hi);
    *out = (long)n;
    return 0;
}

int cfg_int_or_null(const struct cfg_src *s, const char *key, long dflt, long lo, long hi,
                    long *out)
{
    if (json_is_null(json_object_get(s->root, key)))
        return 0;
    return cfg_int(s, key, dflt, lo, hi, out);
}

int cfg_real(const struct cfg_src *s, const char *key, double dflt, double *out)
{
    const json_t *v = json_object_get(s->root, key);
    if (v && !json_is_number(v))
        return cfg_type(s, key, "a number");
    *out = v ? json_number_value(v) : dflt;
    return 0;
}

int cfg_bool(const struct cfg_src *s, const char *key, int dflt, int *out)
{
    const json_t *v = json_object_get(s->root, key);
    if (v && !json_is_boolean(v))
        return cfg_type(s, key, "true or false");
    *out = v ? json_is_true(v) : dflt;
    return 0;
}

/* A name ending in * stands for all that begin so. A key does no harm while it holds null or its
 * neutral value: 0 (also false, an empty string, list or object) or 1. */
static const struct {
    const char *name;
    int neutral;
} unsupported[] = {
    {"partial_rotary_factor", 1},
    {"rotary_pct", 1},
    {"rotary_percentage", 1},
    {"rope_ratio", 1},
    {"rope_interleaved", 0},
    {"rope_interleave", 0},
    {"attention_dropout", 0},
    {"hidden_dropout", 0},
    {"resid_pdrop", 0},
    {"embd_pdrop", 0},
    {"attn_pdrop", 0},
    {"attn_logit_softcapping", 0},
    {"final_logit_softcapping", 0},
    {"logit_scale", 1},
    {"logits_scaling", 1},
    {"scale_emb", 1},
    {"scale_depth", 1},
    {"embedding_multiplier", 1},
    {"residual_multiplier", 1},
    {"attention_multiplier", 1},
    {"query_pre_attn_scalar", 0},
    {"clip_qkv", 0},
    {"use_mrope", 0},
    {"no_rope_layers", 0},
    {"no_rope_layer_interval", 0},
    {"attention_chunk_size", 0},
    {"use_bidirectional_attention", 0},
    {"per_layer_config", 0},
    {"pruned_heads", 0},
    {"vision_config", 0},
    {"audio_config", 0},
    {"num_experts", 0},
    {"num_local_experts", 0},
    {"n_routed_experts", 0},
    {"num_experts_per_tok", 0},
    {"moe_*", 0},
    {"adapter_dim", 0},
    {"lora_r", 0},
};

static int is_neutral(const json_t *v, int neutral)
{
    switch (json_typeof(v)) {
    case JSON_NULL:
        return 1;
    case JSON_FALSE:
        return neutral == 0;
    case JSON_TRUE:
        return 0;
    case JSON_STRING:
        return json_string_length(v) == 0;
    case JSON_ARRAY:
        return json_array_size(v) == 0;
    case JSON_OBJECT:
        return json_object_size(v) == 0;
    default:
        return json_number_value(v) == neutral;
    }
}

static int matches(const char *pattern, const char *key)
{
    size_t n = strlen(pattern);
    return pattern[n - 1] == '*' ? !strncmp(pattern, key, n - 1) : !strcmp(pattern, key);
}

int cfg_refuse_unsupported(const struct cfg_src *s)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)s->root, key, v)
    {
        for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
            if (matches(unsupported[i].name, key) && !is_neutral(v, unsupported[i].neutral))
                return FAIL(s->err, CFG_UNSUP, "%s: %.64s is set and not supported", s->where, key);
    }
    return 0;
}
