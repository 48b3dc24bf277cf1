/* make-base OUT_DIR [--seed N]: what the demonstration starts from, made from nothing but a seed.
 *   OUT_DIR/init            a small Llama with random weights, as a Hugging Face folder
 *   OUT_DIR/pretrain.jsonl  simple text to train it on
 *   OUT_DIR/tune.json       questions of several skills with their answers
 *   OUT_DIR/heldout.json    questions of the same skills that are in neither of the two */
#include "config.h"

#include "core/file.h"
#include "core/json.h"
#include "core/rng.h"
#include "experiments/base/bpe.h"
#include "experiments/base/skills.h"
#include "tensor/safetensors.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 96, LAYERS = 4, HEADS = 4, KV_HEADS = 2, FFN = 288, VOCAB = 512, POSITIONS = 512 };
enum { PARAGRAPHS = 16000, TUNE = 400, HELD_OUT = 24 }; /* the last two: of each skill */
enum { DRAWS_MAX = 100000 };                  /* far more than different exercises ever need */
enum { FROM_TEXT, FROM_TUNE, FROM_HELD_OUT }; /* what draws are for */

/* A file's text as it grows. */
struct text {
    FILE *out;
    char *data;
    size_t len;
};

static int text_open(struct text *t, struct pesc_error *err)
{
    t->data = NULL;
    t->out = open_memstream(&t->data, &t->len);
    return t->out ? 0 : FAIL(err, MEMORY, "no memory for text");
}

static int text_close(struct text *t, const char *dir, const char *name, struct pesc_error *err)
{
    char path[PATH_CAP];
    int failed = ferror(t->out), rc;
    failed |= fclose(t->out) != 0;
    if (failed)
        rc = FAIL(err, MEMORY, "no memory for %s", name);
    else
        rc = path_join(path, dir, name, err) != 0 ? -1 : file_write(path, t->data, t->len, err);
    free(t->data);
    return rc;
}

/* Takes the tree. */
static int write_json(const char *dir, const char *name, json_t *tree, struct pesc_error *err)
{
    char path[PATH_CAP];
    char *text = tree ? json_dumps(tree, JSON_INDENT(2)) : NULL;
    int rc = -1;
    if (!text)
        FAIL(err, MEMORY, "no memory for %s", name);
    else if (path_join(path, dir, name, err) == 0)
        rc = file_write(path, text, strlen(text), err);
    free(text);
    json_decref(tree);
    return rc;
}

/* One JSON value in a line; takes it. */
static int put_line(struct text *t, json_t *v, const char *end, struct pesc_error *err)
{
    int rc = v && json_dumpf(v, t->out, JSON_COMPACT) == 0 && fputs(end, t->out) >= 0
                 ? 0
                 : FAIL(err, MEMORY, "no memory for a line of data");
    json_decref(v);
    return rc;
}

static int write_prose(const char *dir, uint64_t seed, struct bpe *b, struct pesc_error *err)
{
    struct text t;
    int rc = text_open(&t, err);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; rc == 0 && i < PARAGRAPHS; i++) {
        char prose[TEXT_CAP];
        struct draws d = draws_start(seed, FROM_TEXT, i);
        skill_prose(prose, &d);
        rc = bpe_add(b, prose, err);
        if (rc == 0)
            rc = put_line(&t, json_pack("{s:s}", "text", prose), "\n", err);
    }
    int closed = text_close(&t, dir, "pretrain.jsonl", err);
    return rc != 0 ? rc : closed;
}

static json_t *record(int skill, const struct exercise *e)
{
    return json_pack("{s:s,s:s,s:s,s:[{s:s,s:s}]}", "corpus", "", "dataset", skill_name(skill),
                     "instruction", "", "conversation", "input", e->input, "output", e->output);
}

/* n exercises of each skill in turn; held-out ones are all different. */
static int write_exercises(const char *dir, const char *name, uint64_t seed, int held_out, long n,
                           struct bpe *b, struct pesc_error *err)
{
    struct text t;
    json_t *seen = json_object();
    struct draws d = draws_start(seed, held_out ? FROM_HELD_OUT : FROM_TUNE, 0);
    int rc = text_open(&t, err);
    if (rc != 0 || !seen) {
        json_decref(seen);
        return rc != 0 ? rc : FAIL(err, MEMORY, "no memory for exercises");
    }
    fputs("[\n", t.out);
    long done = 0, tries = 0;
    while (rc == 0 && done < n * SKILL_COUNT) {
        struct exercise e;
        int skill = (int)(done % SKILL_COUNT);
        skill_draw(&e, skill, held_out, &d);
        if (held_out && json_object_get(seen, e.input)) {
            if (++tries > DRAWS_MAX)
                rc = FAIL(err, DS_EMPTY, "too few different exercises of '%s'", skill_name(skill));
            continue;
        }
        done++;
        if (json_object_set_new(seen, e.input, json_true()) != 0)
            rc = FAIL(err, MEMORY, "no memory for exercises");
        else if (!held_out && (bpe_add(b, e.input, err) != 0 || bpe_add(b, e.output, err) != 0))
            rc = -1;
        else
            rc = put_line(&t, record(skill, &e), done < n * SKILL_COUNT ? ",\n" : "\n", err);
    }
    fputs("]\n", t.out);
    json_decref(seen);
    int closed = text_close(&t, dir, name, err);
    return rc != 0 ? rc : closed;
}

/* --- the model --- */

/* X(name in the layer, rows, columns, 1: writes to the residual stream) */
#define LAYER_WEIGHTS(X)                                                                           \
    X("self_attn.q_proj.weight", HIDDEN, HIDDEN, 0)                                                \
    X("self_attn.k_proj.weight", HIDDEN / HEADS * KV_HEADS, HIDDEN, 0)                             \
    X("self_attn.v_proj.weight", HIDDEN / HEADS * KV_HEADS, HIDDEN, 0)                             \
    X("self_attn.o_proj.weight", HIDDEN, HIDDEN, 1)                                                \
    X("mlp.gate_proj.weight", FFN, HIDDEN, 0)                                                      \
    X("mlp.up_proj.weight", FFN, HIDDEN, 0)                                                        \
    X("mlp.down_proj.weight", HIDDEN, FFN, 1)                                                      \
    X("input_layernorm.weight", HIDDEN, 0, 0)                                                      \
    X("post_attention_layernorm.weight", HIDDEN, 0, 0)

static const struct {
    const char *name;
    long rows, cols;
    int residual;
} layer_weight[] = {
#define PESC_X(name, rows, cols, residual) {name, rows, cols, residual},
    LAYER_WEIGHTS(PESC_X)
#undef PESC_X
};
enum {
    PER_LAYER = (int)(sizeof layer_weight / sizeof *layer_weight),
    N_TENSORS = PER_LAYER * LAYERS + 2
};

static struct st_out tensor_of(const char *name, long rows, long cols)
{
    return (struct st_out){name, DT_F32, cols ? 2 : 1, {rows, cols}};
}

/* Ones for norms; normal(0, 0.02), residual projections smaller by sqrt(2 layers) so that the
 * stream's variance does not grow with depth. */
static int fill_random(void *ctx, long i, const struct st_out *t, void *dst, struct pesc_error *err)
{
    (void)err;
    const uint64_t *seed = ctx;
    struct rng_key k = {*seed, RNG_INIT, (uint32_t)i, 0};
    float *w = dst;
    long n = t->shape[0] * (t->ndim == 2 ? t->shape[1] : 1);
    int residual = i < PER_LAYER * LAYERS && layer_weight[i % PER_LAYER].residual;
    double scale = residual ? 0.02 / sqrt(2.0 * LAYERS) : 0.02;
    for (long j = 0; j < n; j++)
        w[j] = t->ndim == 1 ? 1.0f : (float)(scale * rng_normal(&k, (uint64_t)j));
    return 0;
}

static int write_weights(const char *dir, uint64_t seed, struct pesc_error *err)
{
    char path[PATH_CAP], names[PER_LAYER * LAYERS][64];
    struct st_out t[N_TENSORS];
    for (int i = 0; i < PER_LAYER * LAYERS; i++) {
        snprintf(names[i], sizeof names[i], "model.layers.%d.%s", i / PER_LAYER,
                 layer_weight[i % PER_LAYER].name);
        t[i] =
            tensor_of(names[i], layer_weight[i % PER_LAYER].rows, layer_weight[i % PER_LAYER].cols);
    }
    t[N_TENSORS - 2] = tensor_of("model.embed_tokens.weight", VOCAB, HIDDEN);
    t[N_TENSORS - 1] = tensor_of("model.norm.weight", HIDDEN, 0);
    TRY(path_join(path, dir, "model.safetensors", err));
    return st_write(path, t, N_TENSORS, "format", "pt", fill_random, &seed, 0, NULL, NULL, err);
}

static int write_model(const char *dir, uint64_t seed, struct bpe *b, struct pesc_error *err)
{
    TRY(write_json(dir, "config.json",
                   json_pack("{s:[s],s:s,s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:f,s:f,s:b,s:b,s:b,s:i,"
                             "s:i,s:f,s:s}",
                             "architectures", "LlamaForCausalLM", "model_type", "llama",
                             "hidden_act", "silu", "hidden_size", HIDDEN, "intermediate_size", FFN,
                             "num_hidden_layers", LAYERS, "num_attention_heads", HEADS,
                             "num_key_value_heads", KV_HEADS, "vocab_size", VOCAB,
                             "max_position_embeddings", POSITIONS, "rms_norm_eps", 1e-5,
                             "rope_theta", 10000.0, "attention_bias", 0, "mlp_bias", 0,
                             "tie_word_embeddings", 1, "bos_token_id", BPE_BOS_ID, "eos_token_id",
                             BPE_EOS_ID, "initializer_range", 0.02, "torch_dtype", "float32"),
                   err));
    TRY(write_json(dir, "tokenizer_config.json",
                   json_pack("{s:s,s:s,s:s,s:b,s:b,s:i}", "tokenizer_class",
                             "PreTrainedTokenizerFast", "bos_token", BPE_BOS, "eos_token", BPE_EOS,
                             "add_bos_token", 1, "add_eos_token", 0, "model_max_length", POSITIONS),
                   err));
    json_t *tokenizer = bpe_learn(b, VOCAB, err);
    if (!tokenizer)
        return -1;
    TRY(write_json(dir, "tokenizer.json", tokenizer, err));
    return write_weights(dir, seed, err);
}

static int make_base(const char *dir, uint64_t seed, struct pesc_error *err)
{
    char init[PATH_CAP];
    TRY(path_join(init, dir, "init", err));
    TRY(dir_make_all(init, err));
    struct bpe *b = bpe_new(err);
    int rc = -1;
    if (!b)
        return rc;
    TRY_OR(write_prose(dir, seed, b, err), done);
    TRY_OR(write_exercises(dir, "tune.json", seed, 0, TUNE, b, err), done);
    TRY_OR(write_exercises(dir, "heldout.json", seed, 1, HELD_OUT, b, err), done);
    TRY_OR(write_model(init, seed, b, err), done);
    rc = 0;
done:
    bpe_free(b);
    return rc;
}

int main(int argc, char **argv)
{
    struct pesc_error err = {0};
    uint64_t seed = 42;
    char *end = "";
    if (argc == 4 && !strcmp(argv[2], "--seed")) {
        errno = 0;
        seed = strtoull(argv[3], &end, 10);
    }
    if ((argc != 2 && argc != 4) || argv[1][0] == '-' || *end || end == argv[argc - 1] || errno) {
        fprintf(stderr, "usage: make-base OUT_DIR [--seed N]\n");
        return 2;
    }
    if (make_base(argv[1], seed, &err) != 0) {
        fprintf(stderr, "%s: %s\n", err.name, err.text);
        return err.exit_status;
    }
    return 0;
}
