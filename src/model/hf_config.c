#include "config.h"
#include "model/hf_config.h"

#include "core/file.h"
#include "core/json.h"
#include "model/hf_config_read.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_CAP = 1 << 20 };

/* What the four kinds take for granted when config.json is silent. */
static const struct arch {
    const char *name, *class_name;
    long kv_heads; /* 0: as many as query heads */
    long head_dim; /* 0: hidden_size / heads */
    long max_positions;
} archs[] = {
    [ARCH_LLAMA] = {"llama", "LlamaForCausalLM", 0, 0, 2048},
    [ARCH_MISTRAL] = {"mistral", "MistralForCausalLM", 8, 0, 131072},
    [ARCH_QWEN2] = {"qwen2", "Qwen2ForCausalLM", 32, 0, 32768},
    [ARCH_QWEN3] = {"qwen3", "Qwen3ForCausalLM", 32, 128, 32768},
};

static int read_arch(const struct cfg_src *s, struct model_config *c)
{
    const json_t *type = json_object_get(s->root, "model_type");
    const json_t *classes = json_object_get(s->root, "architectures");
    const char *name = json_string_value(type);
    size_t i, count = sizeof archs / sizeof *archs;
    if (!name)
        return FAIL(s->err, CFG_ARCH,
                    "%s: model_type is missing; supported are llama, mistral, "
                    "qwen2 and qwen3",
                    s->where);
    for (i = 0; i < count && strcmp(archs[i].name, name); i++)
        ;
    if (i == count)
        return FAIL(s->err, CFG_ARCH,
                    "%s: model_type '%.64s' is not supported; llama, mistral, "
                    "qwen2 and qwen3 are",
                    s->where, name);
    c->arch = (enum model_arch)i;
    c->arch_name = archs[i].name;
    if (!classes || json_is_null(classes))
        return 0;
    if (!json_is_array(classes))
        return cfg_type(s, "architectures", "a list of strings");
    const char *first = "";
    for (size_t k = 0; k < json_array_size(classes); k++) {
        const char *class_name = json_string_value(json_array_get(classes, k));
        if (!class_name)
            return cfg_type(s, "architectures", "a list of strings");
        if (!strcmp(class_name, archs[i].class_name))
            return 0;
        first = *first ? first : class_name;
    }
    return FAIL(s->err, CFG_ARCH, "%s: architectures names '%.64s', supported for %s is %s",
                s->where, first, name, archs[i].class_name);
}

static int read_sizes(const struct cfg_src *s, struct model_config *c)
{
    const struct arch *a = &archs[c->arch];
    TRY(cfg_int(s, "hidden_size", CFG_REQUIRED, 1, 1 << 17, &c->hidden_size));
    TRY(cfg_int(s, "intermediate_size", CFG_REQUIRED, 1, 1 << 20, &c->intermediate_size));
    TRY(cfg_int(s, "num_hidden_layers", CFG_REQUIRED, 1, MAX_LAYERS, &c->num_layers));
    TRY(cfg_int(s, "num_attention_heads", CFG_REQUIRED, 1, 4096, &c->num_heads));
    TRY(cfg_int(s, "vocab_size", CFG_REQUIRED, 1, 1 << 22, &c->vocab_size));
    long heads = a->kv_heads ? a->kv_heads : c->num_heads;
    c->num_kv_heads = c->num_heads; /* null */
    TRY(cfg_int_or_null(s, "num_key_value_heads", heads, 1, 4096, &c->num_kv_heads));
    if (c->num_heads % c->num_kv_heads)
        return FAIL(s->err, CFG_RANGE,
                    "%s: num_key_value_heads %ld does not divide num_attention_heads %ld", s->where,
                    c->num_kv_heads, c->num_heads);
    int own_head_dim = a->head_dim || !cfg_absent(s, "head_dim");
    if (c->hidden_size % c->num_heads && (c->arch == ARCH_LLAMA || !own_head_dim))
        return FAIL(s->err, CFG_RANGE,
                    "%s: hidden_size %ld is not a multiple of num_attention_heads %ld", s->where,
                    c->hidden_size, c->num_heads);
    long derived = c->hidden_size / c->num_heads;
    if (a->head_dim)
        TRY(cfg_int(s, "head_dim", a->head_dim, 1, MAX_HEAD_DIM, &c->head_dim));
    else if (own_head_dim)
        TRY(cfg_int(s, "head_dim", CFG_REQUIRED, 1, MAX_HEAD_DIM, &c->head_dim));
    else
        c->head_dim = derived;
    if (c->head_dim < 2 || c->head_dim > MAX_HEAD_DIM || c->head_dim % 2)
        return FAIL(s->err, CFG_RANGE, "%s: head_dim %ld is not even or not in 2..%d", s->where,
                    c->head_dim, MAX_HEAD_DIM);
    TRY(cfg_int(s, "max_position_embeddings", a->max_positions, 1, 1 << 30, &c->max_positions));
    TRY(cfg_real(s, "rms_norm_eps", 1e-6, &c->rms_norm_eps));
    if (!(c->rms_norm_eps > 0 && c->rms_norm_eps < 1))
        return FAIL(s->err, CFG_RANGE, "%s: rms_norm_eps %g is not between 0 and 1", s->where,
                    c->rms_norm_eps);
    return 0;
}

static int read_switches(const struct cfg_src *s, struct model_config *c)
{
    int attention_bias, mlp_bias;
    const json_t *act = json_object_get(s->root, "hidden_act");
    if (act && !json_is_string(act))
        return cfg_type(s, "hidden_act", "a string");
    if (act && strcmp(json_string_value(act), "silu") && strcmp(json_string_value(act), "swish"))
        return cfg_unsupported(s, "hidden_act", json_string_value(act));
    TRY(cfg_bool(s, "tie_word_embeddings", 0, &c->tied));
    TRY(cfg_bool(s, "attention_bias", 0, &attention_bias));
    TRY(cfg_bool(s, "mlp_bias", 0, &mlp_bias));
    if (mlp_bias && c->arch != ARCH_LLAMA)
        return cfg_unsupported(s, "mlp_bias", c->arch_name);
    if (attention_bias && c->arch == ARCH_MISTRAL)
        return cfg_unsupported(s, "attention_bias", c->arch_name);
    c->mlp_bias = mlp_bias;
    /* qwen2 has biases on q, k and v and none on o, whatever attention_bias says. */
    c->qkv_bias = attention_bias || c->arch == ARCH_QWEN2;
    c->o_bias = attention_bias && c->arch != ARCH_QWEN2;
    c->qk_norm = c->arch == ARCH_QWEN3;
    return 0;
}

/* layer_types, where given, says for each layer whether the window of size w holds. */
static int read_layer_types(const struct cfg_src *s, struct model_config *c, long w)
{
    const json_t *types = json_object_get(s->root, "layer_types");
    if (!types || json_is_null(types))
        return 0;
    if (!json_is_array(types))
        return cfg_type(s, "layer_types", "a list of strings");
    if (json_array_size(types) != (size_t)c->num_layers)
        return FAIL(s->err, CFG_RANGE, "%s: layer_types has %zu entries for %ld layers", s->where,
                    json_array_size(types), c->num_layers);
    for (long i = 0; i < c->num_layers; i++) {
        const char *type = json_string_value(json_array_get(types, (size_t)i));
        if (!type)
            return cfg_type(s, "layer_types", "a list of strings");
        int slides = !strcmp(type, "sliding_attention");
        if (!slides && strcmp(type, "full_attention"))
            return cfg_unsupported(s, "layer_types", type);
        if (slides && w == 0)
            return FAIL(s->err, CFG_RANGE,
                        "%s: layer_types asks for sliding_attention, but there "
                        "is no sliding window",
                        s->where);
        int uniform = c->arch == ARCH_LLAMA || c->arch == ARCH_MISTRAL;
        if (uniform && slides != (w > 0))
            return cfg_unsupported(s, "layer_types", type);
        c->window[i] = slides ? w : 0;
    }
    return 0;
}

static int read_windows(const struct cfg_src *s, struct model_config *c)
{
    long w = 0, first = 0;
    int use;
    if (c->arch == ARCH_MISTRAL) {
        TRY(cfg_int_or_null(s, "sliding_window", 4096, 1, 1 << 30, &w));
    } else if (c->arch != ARCH_LLAMA) {
        TRY(cfg_bool(s, "use_sliding_window", 0, &use));
        TRY(cfg_int_or_null(s, "sliding_window", 4096, 1, 1 << 30, &w));
        TRY(cfg_int(s, "max_window_layers", 28, 0, 1 << 20, &first));
        w = use ? w : 0;
    }
    for (long i = 0; i < c->num_layers; i++)
        c->window[i] = i >= first ? w : 0;
    return read_layer_types(s, c, w);
}

static int add_eos(const struct cfg_src *s, struct model_config *c, const json_t *id)
{
    if (!json_is_integer(id))
        return cfg_type(s, "eos_token_id", "a token id or a list of them");
    json_int_t v = json_integer_value(id);
    if (v < 0 || v >= c->vocab_size)
        return FAIL(s->err, CFG_RANGE, "%s: eos_token_id %lld is not in 0..%ld", s->where,
                    (long long)v, c->vocab_size - 1);
    for (long i = 0; i < c->n_eos; i++)
        if (c->eos_ids[i] == (long)v)
            return 0;
    long most = (long)(sizeof c->eos_ids / sizeof *c->eos_ids);
    if (c->n_eos == most)
        return FAIL(s->err, CFG_RANGE, "%s: more than %ld eos_token_id", s->where, most);
    c->eos_ids[c->n_eos++] = (long)v;
    return 0;
}

static int read_eos(const struct cfg_src *s, struct model_config *c)
{
    const json_t *eos = json_object_get(s->root, "eos_token_id");
    if (!eos || json_is_null(eos))
        return 0;
    if (!json_is_array(eos))
        return add_eos(s, c, eos);
    for (size_t i = 0; i < json_array_size(eos); i++)
        TRY(add_eos(s, c, json_array_get(eos, i)));
    return 0;
}

int model_config_parse(const json_t *root, const char *where, const struct notes *notes,
                       struct model_config *c, struct pesc_error *err)
{
    struct cfg_src s = {root, where, err};
    memset(c, 0, sizeof *c);
    if (!json_is_object(root))
        return FAIL(err, CFG_JSON, "%s: not a JSON object", where);
    TRY(read_arch(&s, c));
    TRY(cfg_read_quant(&s, c));
    TRY(cfg_refuse_unsupported(&s));
    TRY(read_sizes(&s, c));
    TRY(read_switches(&s, c));
    TRY(cfg_read_rope(&s, c));
    TRY(read_windows(&s, c));
    c->bos_id = -1;
    TRY(cfg_int_or_null(&s, "bos_token_id", -1, 0, c->vocab_size - 1, &c->bos_id));
    TRY(read_eos(&s, c));
    if (!cfg_absent(&s, "auto_map"))
        note(notes, "W-CFG-CODE", "%s: auto_map names Python code, which is not run", where);
    return 0;
}

/* A JSON object of at most CONFIG_CAP bytes. */
static json_t *read_object(const char *path, struct pesc_error *err)
{
    char *text, why[256];
    size_t len;
    enum json_fault fault = JSON_FAULT_SYNTAX;
    struct pesc_error own = {0};
    if (file_read(path, CONFIG_CAP, &text, &len, &own) != 0) {
        enum pesc_code code = (enum pesc_code)own.code;
        if (code == PESC_E_IO_MISSING || code == PESC_E_LIMIT)
            code = PESC_E_CFG_JSON;
        error_set(err, code, "%s", own.text);
        return NULL;
    }
    json_t *root = json_parse(text, len, &fault, why, sizeof why);
    free(text);
    if (root && json_is_object(root))
        return root;
    if (root) {
        FAIL(err, CFG_JSON, "%s: not a JSON object", path);
    } else {
        /* A number outside of what a double or 64 bits hold is a fault of range. */
        int range = strstr(why, "overflow") || strstr(why, "too big") || strstr(why, "too small");
        error_set(err,
                  fault == JSON_FAULT_MEMORY ? PESC_E_MEMORY
                  : range                    ? PESC_E_CFG_RANGE
                                             : PESC_E_CFG_JSON,
                  "%s: %s", path, why);
    }
    json_decref(root);
    return NULL;
}

static void note_code(const char *dir, const struct notes *notes)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        size_t n = strlen(e->d_name);
        if (n > 3 && !strcmp(e->d_name + n - 3, ".py")) {
            note(notes, "W-CFG-CODE", "%s: holds Python code (%s), which is not run", dir,
                 e->d_name);
            break;
        }
    }
    if (d)
        closedir(d);
}

static int read_generation(const char *dir, struct model_config *c, struct pesc_error *err)
{
    char path[PATH_CAP];
    TRY(path_join(path, dir, "generation_config.json", err));
    if (!path_exists(path))
        return 0;
    json_t *root = read_object(path, err);
    if (!root)
        return -1;
    struct cfg_src s = {root, path, err};
    int rc = read_eos(&s, c);
    json_decref(root);
    return rc;
}

int model_config_read(const char *dir, const struct notes *notes, struct model_config *c,
                      json_t **json, struct pesc_error *err)
{
    char path[PATH_CAP];
    if (json)
        *json = NULL;
    TRY(path_join(path, dir, "config.json", err));
    json_t *root = read_object(path, err);
    if (!root)
        return -1;
    if (model_config_parse(root, path, notes, c, err) != 0 || read_generation(dir, c, err) != 0) {
        json_decref(root);
        return -1;
    }
    note_code(dir, notes);
    if (json)
        *json = root;
    else
        json_decref(root);
    return 0;
}
