#include "config.h"
#include "model/hf_config.h"
#include "tests/unit/gen.h"

/* A small config of each kind; the cases below change it. */
static const char small[] =
    "\"hidden_size\":64,\"intermediate_size\":172,\"num_hidden_layers\":4,"
    "\"num_attention_heads\":8,\"num_key_value_heads\":4,\"vocab_size\":512";

/* model_type and an object of changes, in which "@" removes a key. */
static json_t *make(const char *type, const char *changes)
{
    char text[512];
    const char *key;
    json_t *value;
    snprintf(text, sizeof text, "{\"model_type\":\"%s\",%s}", type, small);
    json_t *root = json_loads(text, 0, NULL), *other = json_loads(changes, 0, NULL);
    if (!root || !other) {
        printf("Bail out! %s is not JSON\n", changes);
        exit(99);
    }
    json_object_foreach(other, key, value)
    {
        if (json_is_string(value) && !strcmp(json_string_value(value), "@"))
            json_object_del(root, key);
        else
            json_object_set(root, key, value);
    }
    json_decref(other);
    return root;
}

static int parse(const char *type, const char *changes, const struct notes *notes,
                 struct model_config *c, struct pesc_error *err)
{
    json_t *root = make(type, changes);
    *err = (struct pesc_error){0};
    int rc = model_config_parse(root, "config.json", notes, c, err);
    json_decref(root);
    return rc;
}

static const struct {
    const char *type, *changes, *code;
    int status;
} bad[] = {
    /* C02 */
    {"llama", "{\"num_attention_heads\":0}", "E-CFG-RANGE", 3},
    {"llama", "{\"num_key_value_heads\":0}", "E-CFG-RANGE", 3},
    {"llama", "{\"num_key_value_heads\":3}", "E-CFG-RANGE", 3},
    {"llama", "{\"num_key_value_heads\":16}", "E-CFG-RANGE", 3},
    {"llama", "{\"num_attention_heads\":7,\"num_key_value_heads\":7}", "E-CFG-RANGE", 3},
    {"llama", "{\"num_attention_heads\":7,\"num_key_value_heads\":7,\"head_dim\":8}", "E-CFG-RANGE",
     3},
    {"mistral", "{\"num_attention_heads\":7,\"num_key_value_heads\":7}", "E-CFG-RANGE", 3},
    {"llama", "{\"hidden_size\":0}", "E-CFG-RANGE", 3},
    {"llama", "{\"hidden_size\":72}", "E-CFG-RANGE", 3},
    {"llama", "{\"head_dim\":0}", "E-CFG-RANGE", 3},
    {"llama", "{\"head_dim\":7}", "E-CFG-RANGE", 3},
    {"llama", "{\"head_dim\":258}", "E-CFG-RANGE", 3},
    {"llama", "{\"hidden_size\":8192}", "E-CFG-RANGE", 3},
    {"mistral", "{\"num_key_value_heads\":\"@\",\"num_attention_heads\":4}", "E-CFG-RANGE", 3},
    /* C03 */
    {"llama", "{\"hidden_size\":2147483648}", "E-CFG-RANGE", 3},
    {"llama", "{\"num_hidden_layers\":1000000000}", "E-CFG-RANGE", 3},
    {"llama", "{\"num_hidden_layers\":1025}", "E-CFG-RANGE", 3},
    {"llama", "{\"vocab_size\":-1}", "E-CFG-RANGE", 3},
    {"llama", "{\"vocab_size\":4194305}", "E-CFG-RANGE", 3},
    {"llama", "{\"intermediate_size\":9223372036854775807}", "E-CFG-RANGE", 3},
    {"llama", "{\"max_position_embeddings\":0}", "E-CFG-RANGE", 3},
    {"mistral", "{\"sliding_window\":0}", "E-CFG-RANGE", 3},
    {"qwen2", "{\"max_window_layers\":-1}", "E-CFG-RANGE", 3},
    /* C04 */
    {"llama", "{\"hidden_size\":\"64\"}", "E-CFG-TYPE", 3},
    {"llama", "{\"hidden_size\":64.0}", "E-CFG-TYPE", 3},
    {"llama", "{\"hidden_size\":true}", "E-CFG-TYPE", 3},
    {"llama", "{\"hidden_size\":null}", "E-CFG-TYPE", 3},
    {"llama", "{\"hidden_size\":\"@\"}", "E-CFG-TYPE", 3},
    {"llama", "{\"vocab_size\":\"@\"}", "E-CFG-TYPE", 3},
    {"llama", "{\"rms_norm_eps\":\"1e-5\"}", "E-CFG-TYPE", 3},
    {"llama", "{\"rms_norm_eps\":null}", "E-CFG-TYPE", 3},
    {"llama", "{\"rms_norm_eps\":true}", "E-CFG-TYPE", 3},
    {"llama", "{\"rope_theta\":\"10000\"}", "E-CFG-TYPE", 3},
    {"llama", "{\"tie_word_embeddings\":1}", "E-CFG-TYPE", 3},
    {"llama", "{\"attention_bias\":null}", "E-CFG-TYPE", 3},
    {"llama", "{\"hidden_act\":1}", "E-CFG-TYPE", 3},
    {"qwen2", "{\"use_sliding_window\":0}", "E-CFG-TYPE", 3},
    {"qwen2", "{\"layer_types\":\"full_attention\"}", "E-CFG-TYPE", 3},
    {"qwen2", "{\"layer_types\":[1,2,3,4]}", "E-CFG-TYPE", 3},
    {"qwen3", "{\"head_dim\":null}", "E-CFG-TYPE", 3},
    {"llama", "{\"eos_token_id\":\"2\"}", "E-CFG-TYPE", 3},
    {"llama", "{\"eos_token_id\":[2,null]}", "E-CFG-TYPE", 3},
    {"llama", "{\"bos_token_id\":1.0}", "E-CFG-TYPE", 3},
    {"llama", "{\"architectures\":\"LlamaForCausalLM\"}", "E-CFG-TYPE", 3},
    /* C05 */
    {"mixtral", "{}", "E-CFG-ARCH", 7},
    {"gpt2", "{}", "E-CFG-ARCH", 7},
    {"Llama", "{}", "E-CFG-ARCH", 7},
    {"llama", "{\"model_type\":\"@\"}", "E-CFG-ARCH", 7},
    {"llama", "{\"model_type\":1}", "E-CFG-ARCH", 7},
    {"llama", "{\"architectures\":[\"LlamaForSequenceClassification\"]}", "E-CFG-ARCH", 7},
    {"qwen2", "{\"architectures\":[\"Qwen3ForCausalLM\"]}", "E-CFG-ARCH", 7},
    {"llama", "{\"architectures\":[]}", "E-CFG-ARCH", 7},
    /* C06 */
    {"llama", "{\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0}}", "E-CFG-ROPE", 3},
    {"llama", "{\"rope_scaling\":{\"type\":\"longrope\",\"factor\":4.0}}", "E-CFG-ROPE", 3},
    {"qwen2", "{\"rope_scaling\":{\"type\":\"mrope\",\"mrope_section\":[1,2,3]}}", "E-CFG-ROPE", 3},
    {"qwen2", "{\"rope_scaling\":{\"type\":\"default\",\"mrope_section\":[1,2]}}", "E-CFG-ROPE", 3},
    {"llama", "{\"rope_scaling\":{\"type\":\"linear\"}}", "E-CFG-ROPE", 3},
    {"llama", "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}}", "E-CFG-ROPE", 3},
    {"llama", "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":-2.0}}", "E-CFG-ROPE", 3},
    {"llama", "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":\"NaN\"}}", "E-CFG-ROPE", 3},
    {"llama", "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":null}}", "E-CFG-ROPE", 3},
    {"llama", "{\"rope_scaling\":{\"type\":5,\"factor\":2}}", "E-CFG-ROPE", 3},
    {"llama", "{\"rope_scaling\":{\"type\":\"linear\",\"rope_type\":\"dynamic\",\"factor\":2}}",
     "E-CFG-ROPE", 3},
    {"llama", "{\"rope_scaling\":\"linear\"}", "E-CFG-ROPE", 3},
    {"llama",
     "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
     "\"high_freq_factor\":4}}",
     "E-CFG-ROPE", 3},
    {"llama",
     "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
     "\"high_freq_factor\":4,\"original_max_position_embeddings\":128}}",
     "E-CFG-ROPE", 3},
    {"llama",
     "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
     "\"high_freq_factor\":4,\"original_max_position_embeddings\":128.0}}",
     "E-CFG-ROPE", 3},
    {"llama", "{\"rope_theta\":0}", "E-CFG-ROPE", 3},
    {"llama", "{\"rope_theta\":-1.0}", "E-CFG-ROPE", 3},
    {"llama", "{\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":0}}", "E-CFG-ROPE",
     3},
    {"llama", "{\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\"}}}",
     "E-CFG-ROPE", 3},
    {"llama", "{\"rope_theta\":5.0,\"rope_parameters\":{\"rope_theta\":6.0}}", "E-CFG-ROPE", 3},
    {"llama",
     "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},"
     "\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":3}}",
     "E-CFG-ROPE", 3},
    {"qwen3", "{\"head_dim\":2,\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}", "E-CFG-ROPE",
     3},
    {"llama", "{\"rope_parameters\":{\"partial_rotary_factor\":0.5}}", "E-CFG-UNSUP", 7},
    /* C07 */
    {"llama", "{\"rms_norm_eps\":0}", "E-CFG-RANGE", 3},
    {"llama", "{\"rms_norm_eps\":-1e-5}", "E-CFG-RANGE", 3},
    {"llama", "{\"rms_norm_eps\":1}", "E-CFG-RANGE", 3},
    /* C09 */
    {"llama", "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4}}", "E-CFG-QUANT", 7},
    {"llama", "{\"quantization_config\":{}}", "E-CFG-QUANT", 7},
    {"llama", "{\"quantization_config\":{\"quant_method\":\"awq\"}}", "E-CFG-QUANT", 7},
    {"llama", "{\"quantization_config\":{\"quant_method\":\"fp8\"}}", "E-CFG-QUANT", 7},
    {"llama", "{\"quantization_config\":{\"quant_method\":\"bitsandbytes\",\"load_in_8bit\":true}}",
     "E-CFG-QUANT", 7},
    {"llama", "{\"quantization_config\":{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true}}",
     "E-CFG-QUANT", 7}, /* says nothing: fp4 */
    {"llama",
     "{\"quantization_config\":{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true,"
     "\"bnb_4bit_quant_type\":\"fp4\"}}",
     "E-CFG-QUANT", 7},
    {"llama",
     "{\"quantization_config\":{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true,"
     "\"bnb_4bit_quant_type\":\"nf4\",\"bnb_4bit_quant_storage\":\"bfloat16\"}}",
     "E-CFG-QUANT", 7},
    {"llama", "{\"quantization_config\":{\"quant_method\":\"pesc_int8\",\"version\":2}}",
     "E-CFG-QUANT", 7},
    {"llama", "{\"compression_config\":{\"format\":\"int-quantized\"}}", "E-CFG-QUANT", 7},
    /* keys that would change the result */
    {"llama", "{\"hidden_act\":\"gelu\"}", "E-CFG-UNSUP", 7},
    {"llama", "{\"partial_rotary_factor\":0.5}", "E-CFG-UNSUP", 7},
    {"llama", "{\"rope_interleaved\":true}", "E-CFG-UNSUP", 7},
    {"llama", "{\"attention_dropout\":0.1}", "E-CFG-UNSUP", 7},
    {"llama", "{\"final_logit_softcapping\":30.0}", "E-CFG-UNSUP", 7},
    {"llama", "{\"num_experts\":8}", "E-CFG-UNSUP", 7},
    {"mistral", "{\"num_local_experts\":8}", "E-CFG-UNSUP", 7},
    {"llama", "{\"adapter_dim\":64}", "E-CFG-UNSUP", 7},
    {"llama", "{\"moe_dtype\":\"bfloat16\"}", "E-CFG-UNSUP", 7},
    {"mistral", "{\"attention_bias\":true}", "E-CFG-UNSUP", 7},
    {"qwen3", "{\"mlp_bias\":true}", "E-CFG-UNSUP", 7},
    {"qwen2",
     "{\"layer_types\":[\"chunked_attention\",\"full_attention\",\"full_attention\","
     "\"full_attention\"]}",
     "E-CFG-UNSUP", 7},
    {"llama",
     "{\"layer_types\":[\"sliding_attention\",\"full_attention\",\"full_attention\","
     "\"full_attention\"],\"sliding_window\":16}",
     "E-CFG-RANGE", 3},
    {"mistral",
     "{\"layer_types\":[\"sliding_attention\",\"full_attention\",\"full_attention\","
     "\"full_attention\"]}",
     "E-CFG-UNSUP", 7},
    {"qwen2", "{\"layer_types\":[\"full_attention\"]}", "E-CFG-RANGE", 3},
    {"llama", "{\"eos_token_id\":512}", "E-CFG-RANGE", 3},
    {"llama", "{\"eos_token_id\":-1}", "E-CFG-RANGE", 3},
    {"llama", "{\"eos_token_id\":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]}", "E-CFG-RANGE", 3},
    {"llama", "{\"bos_token_id\":512}", "E-CFG-RANGE", 3},
};

static void test_bad(void)
{
    static struct model_config c;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pesc_error err;
        char what[300];
        int rc = parse(bad[i].type, bad[i].changes, NULL, &c, &err);
        snprintf(what, sizeof what, "%s %s", bad[i].type, bad[i].changes);
        is_error(rc, &err, bad[i].code, bad[i].status, what);
    }
    struct pesc_error err;
    parse("llama", "{\"num_key_value_heads\":\"4\"}", NULL, &c, &err);
    ok(strstr(err.text, "num_key_value_heads") != NULL, "C04 names the key");
    parse("mixtral", "{}", NULL, &c, &err);
    ok(strstr(err.text, "mixtral") != NULL, "C05 names the architecture");
    parse("llama", "{\"adapter_dim\":64}", NULL, &c, &err);
    ok(strstr(err.text, "adapter_dim") != NULL, "an unsupported key is named");
}

/* Expected to be read; err is shown when it is not. */
static void good(const char *type, const char *changes, struct model_config *c)
{
    struct pesc_error err;
    ok(parse(type, changes, NULL, c, &err) == 0, "%s %s is read", type, changes);
    if (err.code)
        diag("%s", err.text);
}

static void test_defaults(void)
{
    static struct model_config c;
    good("llama", "{\"num_key_value_heads\":\"@\"}", &c);
    ok(c.arch == ARCH_LLAMA && !strcmp(c.arch_name, "llama") && c.hidden_size == 64 &&
           c.intermediate_size == 172 && c.num_layers == 4 && c.num_heads == 8 &&
           c.vocab_size == 512,
       "sizes");
    ok(c.num_kv_heads == 8 && c.head_dim == 8 && c.max_positions == 2048 &&
           c.rms_norm_eps == 1e-6 && c.rope_theta == 10000 && c.rope == ROPE_DEFAULT && !c.tied &&
           !c.qkv_bias && !c.o_bias && !c.mlp_bias && !c.qk_norm && c.window[0] == 0 &&
           c.window[3] == 0 && c.bos_id == -1 && c.n_eos == 0,
       "defaults of llama");
    good("llama", "{\"num_key_value_heads\":null,\"head_dim\":null,\"rope_scaling\":null}", &c);
    ok(c.num_kv_heads == 8 && c.head_dim == 8, "null means the same");
    good("mistral", "{\"num_key_value_heads\":\"@\"}", &c);
    ok(c.num_kv_heads == 8 && c.max_positions == 131072 && c.window[0] == 4096 &&
           c.window[3] == 4096,
       "defaults of mistral: a window of 4096");
    good("mistral", "{\"sliding_window\":null}", &c);
    is_long(c.window[0], 0, "null: no window");
    good("mistral", "{\"head_dim\":32,\"sliding_window\":16}", &c);
    ok(c.head_dim == 32 && c.window[0] == 16, "own head_dim, window 16");
    good("qwen2", "{}", &c);
    ok(c.max_positions == 32768 && c.qkv_bias && !c.o_bias && !c.qk_norm && c.window[0] == 0 &&
           c.head_dim == 8,
       "defaults of qwen2");
    good("qwen3", "{}", &c);
    ok(c.head_dim == 128 && !c.qkv_bias && c.qk_norm && c.window[3] == 0, "defaults of qwen3");
}

static void test_keys(void)
{
    static struct model_config c;
    good("llama", "{\"attention_bias\":true,\"mlp_bias\":true,\"tie_word_embeddings\":true}", &c);
    ok(c.qkv_bias && c.o_bias && c.mlp_bias && c.tied, "biases and tie");
    good("qwen3", "{\"attention_bias\":true,\"head_dim\":16}", &c);
    ok(c.qkv_bias && c.o_bias && c.head_dim == 16, "biases of qwen3");
    good("qwen2", "{\"attention_bias\":true}", &c);
    ok(c.qkv_bias && !c.o_bias, "attention_bias says nothing in qwen2");
    good("qwen2", "{\"use_sliding_window\":true,\"sliding_window\":8,\"max_window_layers\":2}", &c);
    ok(c.window[0] == 0 && c.window[1] == 0 && c.window[2] == 8 && c.window[3] == 8,
       "layers from max_window_layers slide");
    good("qwen3",
         "{\"use_sliding_window\":true,\"sliding_window\":8,\"layer_types\":[\"sliding_attention\","
         "\"full_attention\",\"sliding_attention\",\"full_attention\"]}",
         &c);
    ok(c.window[0] == 8 && c.window[1] == 0 && c.window[2] == 8 && c.window[3] == 0,
       "layer_types overrides");
    good("qwen2", "{\"use_sliding_window\":true,\"sliding_window\":null}", &c);
    is_long(c.window[3], 0, "no window, no sliding");
    good("llama", "{\"bos_token_id\":1,\"eos_token_id\":[2,3,2]}", &c);
    ok(c.bos_id == 1 && c.n_eos == 2 && c.eos_ids[0] == 2 && c.eos_ids[1] == 3,
       "a list of eos, each once");
    good("llama", "{\"eos_token_id\":511,\"hidden_act\":\"swish\",\"rms_norm_eps\":1e-5}", &c);
    ok(c.n_eos == 1 && c.eos_ids[0] == 511 && c.rms_norm_eps == 1e-5, "one eos");
    good("llama",
         "{\"torch_dtype\":\"bfloat16\",\"dtype\":\"bfloat16\",\"use_cache\":true,"
         "\"initializer_range\":0.02,\"pretraining_tp\":2,\"pad_token_id\":-1,"
         "\"attention_dropout\":0.0,\"num_experts\":null,\"partial_rotary_factor\":1.0,"
         "\"transformers_version\":\"4.40.0\",\"architectures\":[\"LlamaForCausalLM\"]}",
         &c);
}

static void test_rope(void)
{
    static struct model_config c;
    good("llama", "{\"rope_theta\":500000,\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}}",
         &c);
    ok(c.rope == ROPE_LINEAR && c.rope_factor == 4 && c.rope_theta == 500000, "linear, old key");
    good("llama",
         "{\"max_position_embeddings\":77,\"rope_scaling\":{\"rope_type\":\"dynamic\","
         "\"factor\":2.5}}",
         &c);
    ok(c.rope == ROPE_DYNAMIC && c.rope_factor == 2.5 && c.rope_original_positions == 77,
       "dynamic");
    good("llama",
         "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"type\":\"llama3\",\"factor\":8.0,"
         "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
         "\"original_max_position_embeddings\":128}}",
         &c);
    ok(c.rope == ROPE_LLAMA3 && c.rope_low_freq == 1 && c.rope_high_freq == 4 &&
           c.rope_original_positions == 128,
       "llama3");
    good("qwen3", "{\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1000000}}", &c);
    ok(c.rope == ROPE_DEFAULT && c.rope_theta == 1e6, "rope_parameters with its own theta");
    good("llama",
         "{\"rope_theta\":7.5,\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2}}", &c);
    ok(c.rope == ROPE_LINEAR && c.rope_theta == 7.5, "theta beside rope_parameters");
    good("llama",
         "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},"
         "\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2.0,\"rope_theta\":9}}",
         &c);
    ok(c.rope_theta == 9 && c.rope_factor == 2, "both spellings that agree");
    good("llama", "{\"rope_scaling\":{\"type\":\"default\"},\"rope_parameters\":{}}", &c);
    ok(c.rope == ROPE_DEFAULT && c.rope_theta == 10000, "default said in words");
}

static void put(const char *name, const char *text)
{
    gen_write(gen_path(name), text, strlen(text));
}

static void read_bad(const char *text, const char *code, const char *what)
{
    static struct model_config c;
    struct pesc_error err = {0};
    if (text)
        put("config.json", text);
    int rc = model_config_read(gen_dir, NULL, &c, NULL, &err);
    is_error(rc, &err, code, 3, what);
}

static void test_files(void)
{
    static struct model_config c;
    struct pesc_error err = {0};
    struct heard h = {0};
    struct notes notes = {hear, &h};
    json_t *root;
    char text[1024];
    size_t big_size = (1 << 20) + 1;
    char *big = malloc(big_size);
    read_bad(NULL, "E-CFG-JSON", "C01 missing");
    read_bad("", "E-CFG-JSON", "C01 empty");
    read_bad("[]", "E-CFG-JSON", "C01 not an object");
    read_bad("{\"a\":1,\"a\":1}", "E-CFG-JSON", "C01 key twice");
    read_bad("{\"a\":1", "E-CFG-JSON", "C01 truncated");
    if (!big)
        exit(99);
    memset(big, ' ', big_size);
    memcpy(big, "{}", 2);
    gen_write(gen_path("config.json"), big, big_size);
    free(big);
    read_bad(NULL, "E-CFG-JSON", "C01 more than 1 MiB");
    snprintf(text, sizeof text, "{\"model_type\":\"llama\",%s,\"rms_norm_eps\":1e999}", small);
    read_bad(text, "E-CFG-RANGE", "C07 1e999");
    snprintf(text, sizeof text, "{\"model_type\":\"llama\",%s,\"max_position_embeddings\":%s}",
             small, "99999999999999999999");
    read_bad(text, "E-CFG-RANGE", "C03 10^20");

    snprintf(text, sizeof text,
             "{\"model_type\":\"llama\",%s,\"eos_token_id\":2,"
             "\"auto_map\":{\"AutoModel\":\"evil.Model\"}}",
             small);
    put("config.json", text);
    put("generation_config.json", "{\"eos_token_id\":[2,5]}");
    ok(model_config_read(gen_dir, &notes, &c, &root, &err) == 0, "a folder is read");
    ok(c.n_eos == 2 && c.eos_ids[1] == 5, "generation_config.json adds to eos");
    is_str(h.code, "W-CFG-CODE", "C10 auto_map is noted");
    is_long(h.n, 1, "once");
    ok(json_is_object(json_object_get(root, "auto_map")), "the tree is handed over");
    json_decref(root);
    put("modeling_evil.py", "raise SystemExit\n");
    ok(model_config_read(gen_dir, &notes, &c, NULL, &err) == 0 && h.n == 3, "C10 code is noted");
    ok(strstr(h.text, "modeling_evil.py") != NULL, "by its name");
    put("generation_config.json", "{");
    read_bad(NULL, "E-CFG-JSON", "a broken generation_config.json");
    put("generation_config.json", "{\"eos_token_id\":true}");
    read_bad(NULL, "E-CFG-TYPE", "its eos is checked too");
    unlink(gen_path("config.json"));
    ok(mkdir(gen_path("config.json"), 0700) == 0, "a folder of that name");
    err = (struct pesc_error){0};
    int rc = model_config_read(gen_dir, NULL, &c, NULL, &err);
    is_error(rc, &err, "E-IO-TYPE", 9, "is not a config");
}

int main(void)
{
    gen_begin();
    test_bad();
    test_defaults();
    test_keys();
    test_rope();
    test_files();
    return gen_end();
}
