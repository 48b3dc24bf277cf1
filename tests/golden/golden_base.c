/* Real folders. The fingerprints were computed by a separate program from their definition. */
#include "config.h"
#include "model/base.h"
#include "tests/tap.h"

static struct base *open_at(const char *material, const char *name, struct pesc_error *err)
{
    char dir[4096];
    struct base *b;
    *err = (struct pesc_error){0};
    snprintf(dir, sizeof dir, "%s/%s", material, name);
    return base_open(dir, NULL, &b, err) == 0 ? b : NULL;
}

static float largest_difference(const struct base *a, const struct base *b, const char *name)
{
    static float x[512 * 64], y[512 * 64];
    struct pesc_error err = {0};
    float most = 0;
    if (base_read_f32(a, name, x, &err) != 0 || base_read_f32(b, name, y, &err) != 0)
        return INFINITY;
    for (uint64_t i = 0; i < base_tensor(a, name)->n; i++)
        most = fmaxf(most, fabsf(x[i] - y[i]));
    return most;
}

int main(void)
{
    static const struct {
        const char *dir, *fingerprint;
        enum dtype dtype;
    } folders[] = {
        {"ckpt-stories260K/hf", "9fe9a7f6539f4ca2a912cb7f78f2267216f0fa7715743d7604367703149d5170",
         DT_F32},
        {"ckpt-stories260K/hf-sharded",
         "9fe9a7f6539f4ca2a912cb7f78f2267216f0fa7715743d7604367703149d5170", DT_F32},
        {"ckpt-stories260K/hf-bfloat16",
         "706deadc8edb0a7f6a07f40f8f057b326765894407eb48677d0777d507ff8d11", DT_BF16},
        {"ckpt-stories260K/hf-float16",
         "ff4f14158453f0cccfc842d081c5d30180cb4a4d38702e6878f4b5267ae0b8bf", DT_F16},
    };
    const char *material = tap_material();
    struct pesc_error err;
    struct base *b[4];
    if (!material)
        return tap_skip_all(TAP_NO_MATERIAL);
    for (int i = 0; i < 4; i++) {
        char print[FINGERPRINT_CAP] = "";
        b[i] = open_at(material, folders[i].dir, &err);
        if (!ok(b[i] != NULL, "%s opens", folders[i].dir)) {
            diag("%s", err.text);
            return tap_done();
        }
        is_long((long)base_param_count(b[i]), 260032, "parameters");
        is_long(base_dtype(b[i]), folders[i].dtype, "dtype");
        ok(base_fingerprint(b[i], print, &err) == 0 && strlen(print) == 73, "fingerprint");
        is_str(print + 9, folders[i].fingerprint, "as computed elsewhere");
    }
    const char *name = "model.layers.3.mlp.down_proj.weight";
    is_near(largest_difference(b[0], b[1], name), 0, 0, "sharded weights are the same");
    is_near(largest_difference(b[0], b[2], name), 0, 1.0 / 256, "bf16 weights are near");
    is_near(largest_difference(b[0], b[3], name), 0, 1.0 / 2048, "f16 weights are nearer");
    is_near(largest_difference(b[0], b[0], "lm_head.weight"), 0, 0, "the tied head reads");
    const struct model_config *c = base_config(b[0]);
    ok(c->tied && c->num_layers == 5 && c->num_kv_heads == 4 && c->head_dim == 8 &&
           c->rms_norm_eps == 1e-5 && c->bos_id == 1 && c->n_eos == 1 && c->eos_ids[0] == 2,
       "its config");
    for (int i = 0; i < 4; i++)
        base_close(b[i]);

    b[0] = open_at(material, "ckpt-mlxd-random-bf16/tiny_llama3", &err);
    ok(b[0] != NULL, "tiny_llama3 opens");
    if (b[0]) {
        c = base_config(b[0]);
        ok(c->rope == ROPE_LLAMA3 && c->rope_factor == 8 && c->rope_theta == 500000 &&
               c->rope_original_positions == 8192 && !c->tied && base_dtype(b[0]) == DT_BF16,
           "with llama3 rope scaling");
    }
    base_close(b[0]);

    b[0] = open_at(material, "ckpt-negative-godgraph", &err);
    ok(!b[0] && err.exit_status == 3, "godgraph is refused");
    is_str(err.name, "E-MODEL-MISSING", "because tensors are missing");
    ok(strstr(err.text, "model.layers.0.input_layernorm.weight") &&
           strstr(err.text, "model.layers.0.post_attention_layernorm.weight"),
       "the missing layer norms are named");
    base_close(b[0]);
    return tap_done();
}
