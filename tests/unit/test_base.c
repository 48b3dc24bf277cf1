#include "config.h"
#include "model/base.h"
#include "model/save.h"
#include "tests/unit/gen.h"

/* A tiny llama: hidden 8, 2 layers, 2 heads of 4, 1 key/value head, FFN 12, vocabulary 10. */
static const struct {
    const char *name;
    long rows, cols; /* cols 0: a vector */
} tiny[] = {
    {"model.embed_tokens.weight", 10, 8},
    {"model.layers.0.input_layernorm.weight", 8, 0},
    {"model.layers.0.self_attn.q_proj.weight", 8, 8},
    {"model.layers.0.self_attn.k_proj.weight", 4, 8},
    {"model.layers.0.self_attn.v_proj.weight", 4, 8},
    {"model.layers.0.self_attn.o_proj.weight", 8, 8},
    {"model.layers.0.post_attention_layernorm.weight", 8, 0},
    {"model.layers.0.mlp.gate_proj.weight", 12, 8},
    {"model.layers.0.mlp.up_proj.weight", 12, 8},
    {"model.layers.0.mlp.down_proj.weight", 8, 12},
    {"model.layers.1.input_layernorm.weight", 8, 0},
    {"model.layers.1.self_attn.q_proj.weight", 8, 8},
    {"model.layers.1.self_attn.k_proj.weight", 4, 8},
    {"model.layers.1.self_attn.v_proj.weight", 4, 8},
    {"model.layers.1.self_attn.o_proj.weight", 8, 8},
    {"model.layers.1.post_attention_layernorm.weight", 8, 0},
    {"model.layers.1.mlp.gate_proj.weight", 12, 8},
    {"model.layers.1.mlp.up_proj.weight", 12, 8},
    {"model.layers.1.mlp.down_proj.weight", 8, 12},
    {"model.norm.weight", 8, 0},
    {"lm_head.weight", 10, 8},
};
enum { N = sizeof tiny / sizeof *tiny, MAX = 64 };
#define SIZES                                                                                      \
    "\"hidden_size\":8,\"intermediate_size\":12,\"num_hidden_layers\":2,"                          \
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"vocab_size\":10"

/* What the next files hold: a list of tensors that a test may spoil. */
static struct st_out list[MAX];
static long count;

static void list_reset(enum dtype dtype)
{
    for (count = 0; count < N; count++) {
        struct st_out *o = &list[count];
        *o = (struct st_out){tiny[count].name,
                             dtype,
                             tiny[count].cols ? 2 : 1,
                             {tiny[count].rows, tiny[count].cols}};
    }
}

static long list_at(const char *name)
{
    for (long i = 0; i < count; i++)
        if (!strcmp(list[i].name, name))
            return i;
    exit(99);
}

static void list_drop(const char *name)
{
    long at = list_at(name);
    memmove(&list[at], &list[at + 1], (size_t)(--count - at) * sizeof *list);
}

static void list_add(const char *name, long rows)
{
    list[count++] = (struct st_out){name, DT_F32, 1, {rows}};
}

/* Values depend on the name alone. */
static float value_of(const char *name, size_t k)
{
    unsigned h = 0;
    for (const char *p = name; *p; p++)
        h = h * 31 + (unsigned char)*p;
    return (float)((h % 97) + k % 13) / 64;
}

static int fill(void *ctx, long i, const struct st_out *t, void *dst, struct pesc_error *err)
{
    size_t n = 1;
    float x[256];
    (void)ctx, (void)i, (void)err;
    for (int d = 0; d < t->ndim; d++)
        n *= (size_t)t->shape[d];
    for (size_t k = 0; k < n; k++)
        x[k] = value_of(t->name, k);
    dtype_from_f32(dst, x, t->dtype, n);
    return 0;
}

static char folder[64];

static void put(const char *name, const char *text)
{
    char path[PATH_CAP];
    snprintf(path, sizeof path, "%.3000s/%s", gen_path(folder), name);
    gen_write(path, text, strlen(text));
}

static void put_tensors(const char *name, const struct st_out *t, long n)
{
    char path[PATH_CAP];
    struct pesc_error err = {0};
    snprintf(path, sizeof path, "%.3000s/%s", gen_path(folder), name);
    if (st_write(path, t, n, "format", "pt", fill, NULL, 0, NULL, NULL, &err) != 0) {
        printf("Bail out! %s\n", err.text);
        exit(99);
    }
}

static void new_folder(const char *more)
{
    static int serial;
    char text[1024];
    struct pesc_error err = {0};
    snprintf(folder, sizeof folder, "m%d", serial++);
    if (dir_make(gen_path(folder), &err) != 0)
        exit(99);
    snprintf(text, sizeof text, "{\"model_type\":\"llama\"," SIZES "%s}", more);
    put("config.json", text);
}

/* model.safetensors from the list; then the base of that folder. */
static struct base *open_as_is(struct pesc_error *err, struct heard *h)
{
    struct notes notes = {hear, h};
    struct base *b;
    *err = (struct pesc_error){0};
    memset(h, 0, sizeof *h);
    return base_open(gen_path(folder), &notes, &b, err) == 0 ? b : NULL;
}

static struct base *open_whole(struct pesc_error *err, struct heard *h)
{
    put_tensors("model.safetensors", list, count);
    return open_as_is(err, h);
}

static void refuse(const char *code, int status, const char *what)
{
    struct pesc_error err;
    struct heard h;
    struct base *b = open_as_is(&err, &h);
    is_error(b ? 0 : -1, &err, code, status, what);
    base_close(b);
}

static void refuse_whole(const char *code, int status, const char *what)
{
    put_tensors("model.safetensors", list, count);
    refuse(code, status, what);
}

static int same_values(const struct base *b, const char *name, const char *as)
{
    float x[256];
    struct pesc_error err = {0};
    const struct st_tensor *t = base_tensor(b, name);
    if (!t || base_read_f32(b, name, x, &err) != 0)
        return 0;
    for (size_t k = 0; k < t->n; k++)
        if (x[k] != value_of(as, k))
            return 0;
    return 1;
}

static void test_whole(void)
{
    struct pesc_error err;
    struct heard h;
    new_folder("");
    list_reset(DT_F32);
    list_add("model.layers.0.self_attn.rotary_emb.inv_freq", 2);
    struct base *b = open_whole(&err, &h);
    ok(b != NULL, "a folder opens");
    diag("%s", err.text);
    is_long(h.n, 0, "inv_freq is passed over in silence");
    is_long((long)base_param_count(b), 2 * 80 + 2 * (2 * 8 + 2 * 64 + 2 * 32 + 3 * 96) + 8,
            "parameters");
    is_long(base_dtype(b), DT_F32, "dtype");
    is_long(base_config(b)->hidden_size, 8, "config");
    is_str(base_dir(b), gen_path(folder), "folder");
    ok(json_is_object(base_config_json(b)), "config tree");
    int same = 1;
    for (int i = 0; i < N; i++)
        same &= same_values(b, tiny[i].name, tiny[i].name);
    ok(same, "every tensor reads");
    ok(!base_tensor(b, "x"), "an unknown name is NULL");
    float x[1];
    int rc = base_read_f32(b, "x", x, &err);
    is_error(rc, &err, "E-MODEL-MISSING", 3, "and cannot be read");
    base_close(b);
}

static void test_missing(void)
{
    new_folder("");
    list_reset(DT_F32);
    list_drop("model.layers.1.mlp.up_proj.weight");
    refuse_whole("E-MODEL-MISSING", 3, "S22 one missing");
    list_reset(DT_F32);
    list_drop("lm_head.weight");
    refuse_whole("E-MODEL-MISSING", 3, "an untied head missing");
    list_reset(DT_F32);
    count = 1;
    struct pesc_error err;
    struct heard h;
    open_whole(&err, &h);
    const char *tenth = strstr(err.text, "model.layers.1.input_layernorm.weight");
    ok(strstr(err.text, "20 tensors") && tenth && strstr(tenth, ", ..."),
       "S22 twenty missing, ten named");
    list_reset(DT_F32);
    list[list_at("model.layers.0.mlp.up_proj.weight")].shape[0] = 11;
    refuse_whole("E-MODEL-SHAPE", 3, "S22 wrong shape");
    list_reset(DT_F32);
    list[list_at("model.norm.weight")] = (struct st_out){"model.norm.weight", DT_F32, 2, {8, 1}};
    refuse_whole("E-MODEL-SHAPE", 3, "S22 wrong rank");
    list_reset(DT_F32);
    list[list_at("model.layers.1.mlp.up_proj.weight")].ndim = 1;
    refuse_whole("E-MODEL-SHAPE", 3, "S22 a vector for a matrix");
    list_reset(DT_F32);
    list[0].shape[0] = 11;
    refuse_whole("E-CFG-VOCAB", 3, "C08 embedding rows");
    list_reset(DT_F32);
    list[list_at("lm_head.weight")].shape[0] = 9;
    refuse_whole("E-CFG-VOCAB", 3, "C08 head rows");
    new_folder(",\"attention_bias\":true");
    list_reset(DT_F32);
    refuse_whole("E-MODEL-MISSING", 3, "biases that the config asks for");
    new_folder("");
    list_reset(DT_F32);
    list_add("base_model.model.model.layers.0.mlp.moe_adapter.router.weight", 4);
    refuse_whole("E-MODEL-KIND", 7, "adapters inside");
    list_reset(DT_F32);
    list_add("model.layers.0.self_attn.q_proj.lora_A.weight", 4);
    refuse_whole("E-MODEL-KIND", 7, "LoRA inside");
}

static void test_extra(void)
{
    struct pesc_error err;
    struct heard h;
    new_folder("");
    list_reset(DT_F32);
    list_add("value_head.bias", 1);
    list_add("another.weight", 1);
    struct base *b = open_whole(&err, &h);
    ok(b && h.n == 1 && !strcmp(h.code, "W-MODEL-EXTRA") && strstr(h.text, "value_head.bias") &&
           strstr(h.text, "2 tensors"),
       "S22 extra tensors are noted");
    base_close(b);
    /* The same config with an integer tensor that is not needed, and one that is. */
    char header[512];
    new_folder("");
    list_reset(DT_F32);
    list_drop("model.norm.weight");
    put_tensors("model-1.safetensors", list, count);
    for (int needed = 0; needed < 2; needed++) {
        char path[PATH_CAP];
        snprintf(header, sizeof header,
                 "{\"%s\":{\"dtype\":\"I64\",\"shape\":[8],\"data_offsets\":[0,64]}%s}",
                 needed ? "model.norm.weight" : "position_ids",
                 needed ? ""
                        : ",\"model.norm.weight\":{\"dtype\":\"F32\",\"shape\":[8],"
                          "\"data_offsets\":[64,96]}");
        snprintf(path, sizeof path, "%.3000s/model-2.safetensors", gen_path(folder));
        gen_st(path, header, strlen(header), needed ? 64 : 96);
        put("model.safetensors.index.json",
            "{\"weight_map\":{\"model.embed_tokens.weight\":\"model-1.safetensors\","
            "\"model.norm.weight\":\"model-2.safetensors\"}}");
        if (needed) {
            refuse("E-ST-DTYPE", 3, "S11 a needed tensor of integers");
            break;
        }
        b = open_as_is(&err, &h);
        ok(b && h.n == 1 && strstr(h.text, "position_ids"), "an integer tensor that is not needed");
        diag("%s", err.text);
        base_close(b);
    }
}

static void test_tied(void)
{
    struct pesc_error err;
    struct heard h;
    char print[2][FINGERPRINT_CAP];
    new_folder(",\"tie_word_embeddings\":true");
    list_reset(DT_F32);
    list_drop("lm_head.weight");
    struct base *b = open_whole(&err, &h);
    ok(b && same_values(b, "lm_head.weight", "model.embed_tokens.weight") &&
           base_tensor(b, "lm_head.weight") == base_tensor(b, "model.embed_tokens.weight"),
       "tied: the head is the embedding");
    is_long((long)base_param_count(b), 80 + 2 * (2 * 8 + 2 * 64 + 2 * 32 + 3 * 96) + 8,
            "counted once");
    base_close(b);
    list_reset(DT_F32);
    list_drop("model.embed_tokens.weight");
    b = open_whole(&err, &h);
    ok(b && same_values(b, "model.embed_tokens.weight", "lm_head.weight"),
       "tied: stored as the head only");
    ok(b && base_fingerprint(b, print[0], &err) == 0 && base_fingerprint(b, print[1], &err) == 0 &&
           !strcmp(print[0], print[1]),
       "its fingerprint");
    base_close(b);
    list_reset(DT_F32);
    b = open_whole(&err, &h);
    ok(b && same_values(b, "lm_head.weight", "model.embed_tokens.weight") && h.n == 1,
       "tied with both: the embedding serves, the head is noted");
    base_close(b);
    list_reset(DT_F32);
    list_drop("model.embed_tokens.weight");
    list_drop("lm_head.weight");
    refuse_whole("E-MODEL-MISSING", 3, "tied with neither");
    new_folder("");
    list_reset(DT_F32);
    list_drop("model.embed_tokens.weight");
    refuse_whole("E-MODEL-MISSING", 3, "untied without an embedding");
}

/* weight_map of the list, the first half in one file and the rest in another; the last tensor's
 * file may be said to be another. */
static void put_index(const char *second, const char *last)
{
    char text[8192] = "{\"metadata\":{\"total_size\":1},\"weight_map\":{";
    for (long i = 0; i < count; i++)
        sprintf(text + strlen(text), "%s\"%s\":\"%s\"", i ? "," : "", list[i].name,
                i < count / 2            ? "model-1.safetensors"
                : i == count - 1 && last ? last
                                         : second);
    strcat(text, "}}");
    put("model.safetensors.index.json", text);
}

static void test_shards(void)
{
    struct pesc_error err;
    struct heard h;
    char print[4][FINGERPRINT_CAP] = {""};
    list_reset(DT_BF16);
    new_folder("");
    struct base *b = open_whole(&err, &h);
    ok(b && base_fingerprint(b, print[0], &err) == 0 && !strncmp(print[0], "pesc-fp1:", 9) &&
           strlen(print[0]) == 9 + 64,
       "fingerprint of one file");
    base_close(b);
    new_folder("");
    put_tensors("model-1.safetensors", list, count / 2);
    put_tensors("model-2.safetensors", list + count / 2, count - count / 2);
    put_index("model-2.safetensors", NULL);
    b = open_as_is(&err, &h);
    ok(b && h.n == 0, "two shards open");
    diag("%s", err.text);
    int same = b != NULL;
    for (int i = 0; b && i < N; i++)
        same &= base_tensor(b, tiny[i].name) != NULL;
    ok(same && base_dtype(b) == DT_BF16, "every tensor is found");
    ok(b && base_fingerprint(b, print[1], &err) == 0 && !strcmp(print[0], print[1]),
       "the fingerprint does not depend on shards");
    base_close(b);
    list[3].dtype = DT_F16;
    new_folder("");
    b = open_whole(&err, &h);
    ok(b && base_fingerprint(b, print[2], &err) == 0 && strcmp(print[0], print[2]),
       "but on a dtype");
    base_close(b);
    list_reset(DT_BF16);
    list_add("extra", 1);
    b = open_whole(&err, &h);
    ok(b && base_fingerprint(b, print[3], &err) == 0 && strcmp(print[0], print[3]),
       "and on every tensor");
    base_close(b);
}

static void test_index(void)
{
    list_reset(DT_F32);
    new_folder("");
    put_tensors("model-1.safetensors", list, count / 2);
    static const char *const paths[] = {
        "../x.safetensors",        "/etc/passwd", "a/b.safetensors", "..", ".", "", "a\\\\b",
        "model\\u0000.safetensors"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        put_index(paths[i], NULL);
        refuse("E-IDX-PATH", 3, paths[i]);
    }
    put_index("model-2.safetensors", NULL);
    refuse("E-IDX-MISSING", 3, "S25 a shard is missing");
    put_tensors("model-2.safetensors", list + count / 2, count - count / 2 - 1);
    refuse("E-IDX-MISSING", 3, "S25 a tensor is listed and absent");
    put_tensors("model-2.safetensors", list + count / 2, count - count / 2);
    put_index("model-2.safetensors", "model-1.safetensors");
    refuse("E-IDX-MISSING", 3, "S25 the index names the other shard");
    put_tensors("model-2.safetensors", list + count / 2 - 1, count - count / 2 + 1);
    put_index("model-2.safetensors", NULL);
    refuse("E-IDX-DUP", 3, "S25 one tensor in two shards");
    put("model.safetensors.index.json", "{\"weight_map\":{}}");
    refuse("E-IDX-JSON", 3, "an empty weight_map");
    put("model.safetensors.index.json", "{\"weight_map\":[]}");
    refuse("E-IDX-JSON", 3, "a weight_map that is a list");
    put("model.safetensors.index.json", "{\"weight_map\":{\"a\":1}}");
    refuse("E-IDX-JSON", 3, "a file name that is a number");
    put("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"b\"");
    refuse("E-IDX-JSON", 3, "a truncated index");
    put("model.safetensors.index.json",
        "{\"weight_map\":{\"a\":\"model-1.safetensors\",\"a\":\"model-2.safetensors\"}}");
    refuse("E-IDX-DUP", 3, "a tensor listed twice");
    long n = 1 << 18;
    char *text = malloc((size_t)n * 3 + 256), *p = text;
    if (!text)
        exit(99);
    p += sprintf(p, "{\"weight_map\":{\"%s\":\"model-1.safetensors\"},\"x\":[", list[0].name);
    for (long i = 0; i < n; i++)
        p += sprintf(p, "[],");
    strcpy(p, "0]}");
    put("model.safetensors.index.json", text);
    free(text);
    refuse("E-IDX-JSON", 3, "an index of 2^18 lists");
    put_index("model-2.safetensors", NULL);
    put("model-2.safetensors", "version https://git-lfs.github.com/spec/v1\n");
    refuse("E-ST-HDRBIG", 3, "a shard that was never downloaded");
}

static void test_folder(void)
{
    new_folder("");
    refuse("E-IO-MISSING", 9, "no weights");
    put("pytorch_model.bin", "PK");
    refuse("E-MODEL-MISSING", 3, "only a pickle");
    snprintf(folder, sizeof folder, "absent");
    refuse("E-IO-MISSING", 9, "no folder");
    gen_write(gen_path(folder), "", 0);
    refuse("E-IO-TYPE", 9, "a file in place of a folder");
}

/* No temporary file or folder lies about. */
static int is_clean(void)
{
    char command[PATH_CAP + 32];
    snprintf(command, sizeof command, "ls -a '%s' | grep -q tmp-", gen_dir);
    return system(command) != 0;
}

static const float *get(void *ctx, const char *name)
{
    static float x[256];
    const char *withhold = ctx;
    if (withhold && !strcmp(name, withhold))
        return NULL;
    for (size_t k = 0; k < 256; k++)
        x[k] = value_of(name, k) + 1;
    return x;
}

static void test_save(void)
{
    struct pesc_error err;
    struct heard h;
    char dir[PATH_CAP], withhold[] = "model.norm.weight";
    new_folder(",\"tie_word_embeddings\":true,\"torch_dtype\":\"float32\",\"custom\":[1,2.5]");
    put("tokenizer.json", "{ \"odd\" : 1 }");
    list_reset(DT_F32);
    list_drop("model.embed_tokens.weight"); /* stored as the head only */
    list_add("extra", 3);
    struct base *b = open_whole(&err, &h), *saved;
    snprintf(dir, sizeof dir, "%s", gen_path("saved"));
    int rc = base_save(dir, b, get, withhold, DT_BF16, &err);
    is_error(rc, &err, "E-INTERNAL", 1, "a value that is not given");
    ok(!path_exists(dir) && is_clean(), "leaves no folder");
    err = (struct pesc_error){0};
    ok(base_save(dir, b, get, NULL, DT_BF16, &err) == 0, "a folder is written");
    diag("%s", err.text);
    snprintf(folder, sizeof folder, "saved");
    saved = open_as_is(&err, &h);
    ok(saved && h.n == 0 && base_dtype(saved) == DT_BF16, "it opens, without extras");
    diag("%s", err.text);
    is_str(json_string_value(json_object_get(base_config_json(saved), "torch_dtype")), "bfloat16",
           "its config tells the type");
    ok(json_array_size(json_object_get(base_config_json(saved), "custom")) == 2 &&
           json_object_size(base_config_json(saved)) == json_object_size(base_config_json(b)),
       "and keeps the other keys");
    float x[256];
    ok(base_read_f32(saved, "lm_head.weight", x, &err) == 0 &&
           x[1] == value_of("model.embed_tokens.weight", 1) + 1,
       "the tied matrix is asked for as the embedding");
    ok(base_read_f32(saved, "model.norm.weight", x, &err) == 0 &&
           x[7] == value_of("model.norm.weight", 7) + 1,
       "values are written");
    char *text, path[PATH_CAP];
    size_t len;
    snprintf(path, sizeof path, "%.3000s/tokenizer.json", dir);
    ok(file_read(path, 100, &text, &len, &err) == 0 && !strcmp(text, "{ \"odd\" : 1 }"),
       "the tokenizer is copied byte for byte");
    free(text);
    rc = base_save(dir, b, get, NULL, DT_F32, &err);
    is_error(rc, &err, "E-USAGE-EXISTS", 2, "an existing folder is not touched");
    base_close(saved);
    base_close(b);
}

/* What each kind of model has beside the tiny llama's tensors, in both layers. */
static void test_kinds(void)
{
    static const struct {
        const char *config, *suffix[8];
        long rows[8];
    } kinds[] = {
        {"\"model_type\":\"qwen2\"",
         {"self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"},
         {8, 4, 4}},
        {"\"model_type\":\"qwen3\",\"head_dim\":4",
         {"self_attn.q_norm.weight", "self_attn.k_norm.weight"},
         {4, 4}},
        {"\"model_type\":\"llama\",\"attention_bias\":true,\"mlp_bias\":true",
         {"self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias",
          "self_attn.o_proj.bias", "mlp.gate_proj.bias", "mlp.up_proj.bias", "mlp.down_proj.bias"},
         {8, 4, 4, 8, 12, 12, 8}},
        {"\"model_type\":\"mistral\"", {NULL}, {0}},
    };
    static char name[MAX][80];
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct pesc_error err;
        struct heard h;
        char text[512];
        new_folder("");
        snprintf(text, sizeof text, "{%s," SIZES "}", kinds[k].config);
        put("config.json", text);
        list_reset(DT_F32);
        for (int i = 0; kinds[k].suffix[i]; i++)
            for (int layer = 0; layer < 2; layer++) {
                snprintf(name[count], sizeof name[count], "model.layers.%d.%s", layer,
                         kinds[k].suffix[i]);
                list_add(name[count], kinds[k].rows[i]);
            }
        struct base *b = open_whole(&err, &h);
        ok(b && h.n == 0, "%s opens with exactly its tensors", kinds[k].config);
        if (!b || h.n)
            diag("%s%s", err.text, h.text);
        base_close(b);
        for (long last = count - 1; last >= N; last--) {
            struct st_out keep = list[last];
            list[last] = list[count - 1];
            count--;
            b = open_whole(&err, &h);
            ok(!b && err.code == PESC_E_MODEL_MISSING && strstr(err.text, keep.name),
               "not without %s", keep.name);
            base_close(b);
            count++;
            list[count - 1] = list[last];
            list[last] = keep;
        }
    }
}

int main(void)
{
    gen_begin();
    test_whole();
    test_missing();
    test_extra();
    test_tied();
    test_shards();
    test_index();
    test_folder();
    test_save();
    ok(is_clean(), "no temporary files are left");
    test_kinds();
    return gen_end();
}
