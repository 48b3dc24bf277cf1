/* make-base OUT_DIR [--seed N] [--rules N] [--held-out N]: what the demonstration starts from, made
 * from nothing but a seed.
 *   OUT_DIR/init              a small Llama with random weights, as a Hugging Face folder
 *   OUT_DIR/prose.jsonl       simple text that the base reads
 *   OUT_DIR/base.json         questions of several skills with their answers by rules 0
 *   OUT_DIR/base-heldout.json such questions that are in no other file
 *   OUT_DIR/tune.json         questions with their answers by rules N (default 1)
 *   OUT_DIR/heldout.json      N such questions of each skill (default 64) that are neither in
 *                             tune.json nor in base.json */
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

enum { HIDDEN = 128, LAYERS = 4, HEADS = 8, KV_HEADS = 4, FFN = 384, VOCAB = 640, POSITIONS = 512 };
enum {
    PARAGRAPHS = 4000,
    LEARN = 10000,
    TUNE = 2000,
    HELD_OUT = 64
}; /* the last three: of each skill */
enum {
    DRAWS_MAX = 100000,
    HELD_OUT_MAX = 1000,
    RULES_SET_MAX = 1000000
};                                             /* far more than different exercises ever need */
enum { FROM_TEXT, FROM_LEARN, FROM_HELD_OUT }; /* what draws are for */

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
    int closed = text_close(&t, dir, "prose.jsonl", err);
    return rc != 0 ? rc : closed;
}

static json_t *record(int skill, const struct exercise *e)
{
    return json_pack("{s:s,s:s,s:s,s:[{s:s,s:s}]}", "corpus", "", "dataset", skill_name(skill),
                     "instruction", "", "conversation", "input", e->input, "output", e->output);
}

/* As the template camelidae puts them. */
static int add_words(struct bpe *b, const struct exercise *e, struct pesc_error *err)
{
    TRY(bpe_add(b, "### Human:\n", err));
    TRY(bpe_add(b, e->input, err));
    TRY(bpe_add(b, "\n### Assistant:\n", err));
    return bpe_add(b, e->output, err);
}

struct wanted {
    const char *name;
    uint32_t rules;
    int held_out;
    long n;
};

/* n exercises of each skill in turn; held-out ones are all different. */
static int write_exercises(const char *dir, const struct wanted *w, uint64_t seed, struct bpe *b,
                           struct pesc_error *err)
{
    struct text t;
    struct rules r;
    json_t *seen = json_object();
    struct draws d = draws_start(seed, w->held_out ? FROM_HELD_OUT : FROM_LEARN, w->rules);
    long n = w->n * SKILL_COUNT;
    rules_draw(&r, seed, w->rules);
    int rc = text_open(&t, err);
    if (rc != 0 || !seen) {
        json_decref(seen);
        return rc != 0 ? rc : FAIL(err, MEMORY, "no memory for exercises");
    }
    fputs("[\n", t.out);
    long done = 0, tries = 0;
    while (rc == 0 && done < n) {
        struct exercise e;
        int skill = (int)(done % SKILL_COUNT);
        skill_draw(&e, &r, skill, w->held_out, &d);
        if (w->held_out && json_object_get(seen, e.input)) {
            if (++tries > DRAWS_MAX)
                rc = FAIL(err, DS_EMPTY, "too few different exercises of '%s'", skill_name(skill));
            continue;
        }
        done++;
        if (json_object_set_new(seen, e.input, json_true()) != 0)
            rc = FAIL(err, MEMORY, "no memory for exercises");
        else if (!w->held_out && add_words(b, &e, err) != 0)
            rc = -1;
        else
            rc = put_line(&t, record(skill, &e), done < n ? ",\n" : "\n", err);
    }
    fputs("]\n", t.out);
    json_decref(seen);
    int closed = text_close(&t, dir, w->name, err);
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
    return (struct st_out){name, DT_BF16, cols ? 2 : 1, {rows, cols}};
}

/* Ones for norms; normal(0, 0.02), residual projections smaller by sqrt(2 layers) so that the
 * stream's variance does not grow with depth. */
static int fill_random(void *ctx, long i, const struct st_out *t, void *dst, struct pesc_error *err)
{
    (void)err;
    const uint64_t *seed = ctx;
    struct rng_key k = {*seed, RNG_INIT, (uint32_t)i, 0};
    uint16_t *w = dst;
    long n = t->shape[0] * (t->ndim == 2 ? t->shape[1] : 1);
    int residual = i < PER_LAYER * LAYERS && layer_weight[i % PER_LAYER].residual;
    double scale = residual ? 0.02 / sqrt(2.0 * LAYERS) : 0.02;
    for (long j = 0; j < n; j++) {
        float x = t->ndim == 1 ? 1.0f : (float)(scale * rng_normal(&k, (uint64_t)j));
        dtype_from_f32(&w[j], &x, t->dtype, 1);
    }
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
                             BPE_EOS_ID, "initializer_range", 0.02, "torch_dtype", "bfloat16"),
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

static int make_base(const char *dir, uint64_t seed, uint32_t rules, long held_out,
                     struct pesc_error *err)
{
    const struct wanted files[] = {{"base.json", 0, 0, LEARN},
                                   {"base-heldout.json", 0, 1, HELD_OUT},
                                   {"tune.json", rules, 0, TUNE},
                                   {"heldout.json", rules, 1, held_out}};
    char init[PATH_CAP];
    TRY(path_join(init, dir, "init", err));
    TRY(dir_make_all(init, err));
    struct bpe *b = bpe_new(err);
    int rc = -1;
    if (!b)
        return rc;
    TRY_OR(write_prose(dir, seed, b, err), done);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        TRY_OR(write_exercises(dir, &files[i], seed, b, err), done);
    TRY_OR(write_model(init, seed, b, err), done);
    rc = 0;
done:
    bpe_free(b);
    return rc;
}

static int number(const char *text, uint64_t max, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return *text < '0' || *text > '9' || *end || errno || *out > max ? -1 : 0;
}

int main(int argc, char **argv)
{
    struct pesc_error err = {0};
    uint64_t seed = 42, rules = 1, held_out = HELD_OUT;
    int bad = argc % 2 != 0 || argv[1][0] == '-';
    for (int i = 2; !bad && i < argc; i += 2)
        bad = !strcmp(argv[i], "--seed")    ? number(argv[i + 1], UINT64_MAX, &seed)
              : !strcmp(argv[i], "--rules") ? number(argv[i + 1], RULES_SET_MAX, &rules)
              : !strcmp(argv[i], "--held-out")
                  ? number(argv[i + 1], HELD_OUT_MAX, &held_out) || held_out == 0
                  : -1;
    if (bad) {
        fprintf(stderr, "usage: make-base OUT_DIR [--seed N] [--rules N] [--held-out N]\n");
        return 2;
    }
    if (make_base(argv[1], seed, (uint32_t)rules, (long)held_out, &err) != 0) {
        fprintf(stderr, "%s: %s\n", err.name, err.text);
        return err.exit_status;
    }
    return 0;
}
