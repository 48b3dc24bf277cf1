#include "config.h"
#include "experiments/bench/shape.h"

#include "core/file.h"
#include "core/rng.h"
#include "model/hf_config.h"
#include "model/tensors.h"
#include "tensor/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LLAMA "llama", "LlamaForCausalLM"
#define QWEN2 "qwen2", "Qwen2ForCausalLM"
static const struct shape shapes[] = {
    {"smollm2-135m", LLAMA, 576, 1536, 30, 9, 3, 49152, 8192, 1e-5, 1e5, 1, 0, 0},
    {"smollm2-360m", LLAMA, 960, 2560, 32, 15, 5, 49152, 8192, 1e-5, 1e5, 1, 0, 0},
    {"qwen2.5-0.5b", QWEN2, 896, 4864, 24, 14, 2, 151936, 32768, 1e-6, 1e6, 1, 151643, 151643},
    {"tinyllama-1.1b", LLAMA, 2048, 5632, 22, 32, 4, 32000, 2048, 1e-5, 1e4, 0, 1, 2},
    {"llama2-7b", LLAMA, 4096, 11008, 32, 32, 32, 32000, 4096, 1e-5, 1e4, 0, 1, 2},
};

long shape_count(void)
{
    return sizeof shapes / sizeof *shapes;
}

const struct shape *shape_at(long i)
{
    return &shapes[i];
}

const struct shape *shape_find(const char *name)
{
    for (long i = 0; i < shape_count(); i++)
        if (!strcmp(shapes[i].name, name))
            return &shapes[i];
    return NULL;
}

json_t *shape_config(const struct shape *s, long layers, struct pesc_error *err)
{
    long n = layers > 0 ? layers : s->layers;
    json_t *c = json_pack(
        "{s:[s],s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:b,s:I,s:I,s:f,s:s}", "architectures",
        s->architecture, "model_type", s->model_type, "hidden_act", "silu", "hidden_size",
        (json_int_t)s->hidden, "intermediate_size", (json_int_t)s->ffn, "num_hidden_layers",
        (json_int_t)n, "num_attention_heads", (json_int_t)s->heads, "num_key_value_heads",
        (json_int_t)s->kv_heads, "vocab_size", (json_int_t)s->vocab, "max_position_embeddings",
        (json_int_t)s->positions, "rms_norm_eps", s->eps, "rope_theta", s->theta,
        "tie_word_embeddings", s->tied, "bos_token_id", (json_int_t)s->bos, "eos_token_id",
        (json_int_t)s->eos, "initializer_range", 0.02, "torch_dtype", "bfloat16");
    int qwen = !strcmp(s->model_type, "qwen2");
    json_t *own = qwen ? json_pack("{s:b,s:I,s:I}", "use_sliding_window", 0, "sliding_window",
                                   (json_int_t)s->positions, "max_window_layers", (json_int_t)n)
                       : json_pack("{s:b,s:b}", "attention_bias", 0, "mlp_bias", 0);
    if (!c || !own || json_object_update(c, own) != 0) {
        json_decref(c);
        c = NULL;
        FAIL(err, MEMORY, "no memory for a configuration");
    }
    json_decref(own);
    return c;
}

static int write_tree(const char *dir, const char *name, const json_t *tree, size_t flags,
                      struct pesc_error *err)
{
    char path[PATH_CAP];
    char *text = json_dumps(tree, flags);
    int rc = -1;
    if (!text)
        FAIL(err, MEMORY, "no memory for %s", name);
    else if (path_join(path, dir, name, err) == 0)
        rc = file_write(path, text, strlen(text), err);
    free(text);
    return rc;
}

struct weights_plan {
    struct st_out *out; /* of all files, in their order */
    char (*name)[TENSOR_NAME_CAP];
    long n, files;
    long *first; /* [files + 1] */
    uint64_t seed, bytes, file_max;
    long base; /* first tensor of the file being written */
};

static uint64_t elements(const struct st_out *t)
{
    return (uint64_t)t->shape[0] * (uint64_t)(t->ndim == 2 ? t->shape[1] : 1);
}

static int plan(struct weights_plan *p, const struct model_config *c, struct pesc_error *err)
{
    long slots = model_tensor_slots(c);
    uint64_t in_file = 0;
    p->out = calloc((size_t)slots, sizeof *p->out);
    p->name = calloc((size_t)slots, sizeof *p->name);
    p->first = calloc((size_t)slots + 1, sizeof *p->first);
    if (!p->out || !p->name || !p->first)
        return FAIL(err, MEMORY, "no memory for %ld tensors", slots);
    p->files = 1;
    for (long i = 0; i < slots; i++) {
        struct model_tensor t;
        if (!model_tensor_at(c, i, &t))
            continue;
        memcpy(p->name[p->n], t.name, TENSOR_NAME_CAP);
        p->out[p->n] = (struct st_out){p->name[p->n], DT_BF16, t.ndim, {t.shape[0], t.shape[1]}};
        uint64_t bytes = 2 * elements(&p->out[p->n]);
        if (in_file > 0 && in_file + bytes > p->file_max) {
            p->first[p->files++] = p->n;
            in_file = 0;
        }
        in_file += bytes;
        p->bytes += bytes;
        p->n++;
    }
    p->first[p->files] = p->n;
    return 0;
}

/* Sums of four bytes are near enough to a normal distribution; their standard deviation is
 * sqrt(4 (256^2 - 1) / 12). One block of random words gives four weights. */
static void fill_normal(uint16_t *dst, const struct rng_key *k, uint64_t n)
{
    enum { BLOCKS = 512 };
    const float scale = 0.02f / 147.8005f;
    long chunks = (long)((n + 4 * BLOCKS - 1) / (4 * BLOCKS));
#pragma omp parallel for schedule(static)
    for (long c = 0; c < chunks; c++) {
        uint32_t word[4 * BLOCKS];
        float w[4 * BLOCKS];
        uint64_t at = (uint64_t)c * 4 * BLOCKS;
        size_t m = n - at < 4 * BLOCKS ? (size_t)(n - at) : 4 * BLOCKS;
        rng_blocks(k, (uint32_t)(c * BLOCKS), word, BLOCKS);
        for (size_t i = 0; i < m; i++) {
            uint32_t u = word[i];
            uint32_t sum = (u & 0xff) + (u >> 8 & 0xff) + (u >> 16 & 0xff) + (u >> 24);
            w[i] = ((float)sum - 510.0f) * scale;
        }
        dtype_from_f32(dst + at, w, DT_BF16, m);
    }
}

static int fill(void *ctx, long i, const struct st_out *t, void *dst, struct pesc_error *err)
{
    const struct weights_plan *p = ctx;
    struct rng_key k = {p->seed, RNG_INIT, (uint32_t)(p->base + i), 0};
    uint64_t n = elements(t);
    size_t len = strlen(t->name);
    (void)err;
    if (t->ndim == 2) {
        fill_normal(dst, &k, n);
        return 0;
    }
    int bias = len > 5 && !strcmp(t->name + len - 5, ".bias");
    for (uint64_t j = 0; j < n; j++)
        ((uint16_t *)dst)[j] = bias ? 0 : 0x3f80; /* 1 */
    return 0;
}

static void file_name(char *out, size_t size, const struct weights_plan *p, long f)
{
    if (p->files == 1)
        snprintf(out, size, "model.safetensors");
    else
        snprintf(out, size, "model-%05ld-of-%05ld.safetensors", f + 1, p->files);
}

static int write_weights(struct weights_plan *p, const char *dir, struct pesc_error *err)
{
    char name[64], path[PATH_CAP];
    json_t *map = json_object();
    int rc = map ? 0 : FAIL(err, MEMORY, "no memory for an index");
    for (long f = 0; rc == 0 && f < p->files; f++) {
        file_name(name, sizeof name, p, f);
        p->base = p->first[f];
        for (long i = p->first[f]; rc == 0 && i < p->first[f + 1]; i++)
            if (json_object_set_new(map, p->name[i], json_string(name)) != 0)
                rc = FAIL(err, MEMORY, "no memory for an index");
        if (rc == 0)
            rc = path_join(path, dir, name, err);
        if (rc == 0)
            rc = st_write(path, p->out + p->base, p->first[f + 1] - p->base, "format", "pt", fill,
                          p, 1, NULL, NULL, err);
    }
    if (rc == 0 && p->files > 1) {
        json_t *index = json_pack("{s:{s:I},s:O}", "metadata", "total_size", (json_int_t)p->bytes,
                                  "weight_map", map);
        rc = index ? write_tree(dir, "model.safetensors.index.json", index, JSON_INDENT(2), err)
                   : FAIL(err, MEMORY, "no memory for an index");
        json_decref(index);
    }
    json_decref(map);
    return rc;
}

static int write_tokenizer(const struct shape *s, const char *dir, struct pesc_error *err)
{
    json_t *settings = shape_tokenizer_config(s, err);
    json_t *tokenizer = settings ? shape_tokenizer(s, err) : NULL;
    int rc = tokenizer ? write_tree(dir, "tokenizer.json", tokenizer, JSON_COMPACT, err) : -1;
    if (rc == 0)
        rc = write_tree(dir, "tokenizer_config.json", settings, JSON_INDENT(2), err);
    json_decref(settings);
    json_decref(tokenizer);
    return rc;
}

int shape_write(const struct shape *s, const char *dir, const struct shape_options *o,
                struct pesc_error *err)
{
    char path[PATH_CAP];
    struct model_config c;
    struct weights_plan p = {.seed = o->seed, .file_max = o->file_max};
    TRY(path_join(path, dir, "config.json", err));
    if (path_exists(path))
        return FAIL(err, USAGE_EXISTS, "%s exists already", path);
    json_t *config = shape_config(s, o->layers, err);
    int rc = config ? model_config_parse(config, s->name, NULL, &c, err) : -1;
    if (rc == 0)
        rc = plan(&p, &c, err);
    if (rc == 0)
        rc = dir_make_all(dir, err);
    if (rc == 0)
        rc = write_tokenizer(s, dir, err);
    if (rc == 0)
        rc = write_weights(&p, dir, err);
    if (rc == 0)
        rc = write_tree(dir, "config.json", config, JSON_INDENT(2), err);
    json_decref(config);
    free(p.out);
    free(p.name);
    free(p.first);
    return rc;
}
