/* The parameter table, and adapter files of both dialects read into it. */
#include "config.h"
#include "tests/tap.h"

#include "core/file.h"
#include "core/rng.h"
#include "tensor/params.h"
#include "tensor/safetensors.h"

#include <unistd.h>

#define FILE_NAME "test_params.safetensors"
#define MOE "model.layers.%d.mlp.moe_adapter."

enum { LAYERS = 2, EXPERTS = 12 };

static int make(struct params *ps, const char *expert, int experts, long dim)
{
    struct pesc_error err = {0};
    memset(ps, 0, sizeof *ps);
    for (int l = 0; l < LAYERS; l++) {
        params_add(ps, l, 2, experts, 6, &err, MOE "router.weight", l);
        for (int e = 0; e < experts; e++) {
            params_add(ps, l, 2, dim, 6, &err, MOE "experts.%s%d.adapter_down.weight", l, expert,
                       e);
            params_add(ps, l, 2, 6, dim, &err, MOE "experts.%s%d.adapter_up.weight", l, expert, e);
        }
    }
    params_add(ps, -1, 1, 6, 0, &err, "model.norm.weight");
    int rc = params_alloc(ps, 0, &err);
    if (rc != 0 || err.code)
        diag("%s", err.text);
    return rc;
}

static void set_values(struct params *ps)
{
    struct rng_key k = {3, RNG_INIT, 0, 0};
    for (size_t i = 0; i < ps->total; i++)
        ps->value[i] = (float)rng_normal(&k, i);
}

static int save(const struct params *ps, int bf16, const char *prefix)
{
    struct pesc_error err = {0};
    int rc = params_save(ps, FILE_NAME, bf16, prefix, "format", "pt", NULL, NULL, &err);
    if (rc != 0)
        diag("%s %s", err.name, err.text);
    return rc;
}

static void test_table(void)
{
    struct pesc_error err = {0};
    struct params ps;
    make(&ps, "expert_", 2, 3);
    is_long((long)ps.total, LAYERS * (12 + 2 * 36) + 6, "all floats counted");
    const struct param *p = params_find(&ps, "model.layers.1.mlp.moe_adapter.router.weight");
    ok(p && p->layer == 1 && p->ndim == 2 && p->shape[0] == 2 && p->shape[1] == 6 &&
           p->offset == 84,
       "a tensor by its name");
    ok(!params_find(&ps, "model.layers.2.mlp.moe_adapter.router.weight"), "or not at all");
    ok(!ps.grad && params_alloc(&ps, 1, &err) == 0 && ps.grad && ps.grad[ps.total - 1] == 0,
       "gradients only when asked for");
    ok(params_add(&ps, 0, 1, 1, 0, &err, "late") == -1 && err.code == PESC_E_INTERNAL,
       "nothing is added after that");
    params_free(&ps);
    err = (struct pesc_error){0};
    ok(params_add(&ps, 0, 2, 1L << 40, 1L << 40, &err, "x") == -1 && err.code == PESC_E_LIMIT,
       "sizes that cannot be addressed are refused");
    err = (struct pesc_error){0};
    ok(params_add(&ps, 0, 1, 1, 0, &err, "%0200d", 1) == -1 && err.code == PESC_E_LIMIT,
       "so are names that do not fit");
    params_free(&ps);
}

static void test_round_trip(void)
{
    struct pesc_error err = {0};
    struct params a, b;
    make(&a, "expert_", EXPERTS, 3);
    set_values(&a);
    const char *const prefixes[] = {NULL, "base_model.model."};
    const char *const dialects[] = {"expert_", ""};
    size_t bytes = a.total * sizeof(float);
    for (int i = 0; i < 4; i++) {
        make(&b, dialects[i / 2], EXPERTS, 3);
        ok(save(&a, 0, prefixes[i % 2]) == 0 && params_load(&b, FILE_NAME, &err) == 0 &&
               !memcmp(a.value, b.value, bytes),
           "round trip, %s, into experts.%s0", prefixes[i % 2] ? prefixes[i % 2] : "no prefix",
           dialects[i / 2]);
        params_free(&b);
    }
    make(&b, "", EXPERTS, 3);
    double worst = 0;
    ok(save(&a, 1, NULL) == 0 && params_load(&b, FILE_NAME, &err) == 0, "as bf16");
    for (size_t i = 0; i < a.total; i++)
        worst = fmax(worst, fabs((double)(a.value[i] - b.value[i])) / fabs((double)a.value[i]));
    ok(worst > 0 && worst <= 0x1p-8, "rounded to 8 bits");
    params_free(&a);
    params_free(&b);
}

/* Saves one table and loads it into another; what the refusal says. */
static void refused(const struct params *from, struct params *into, int code, const char *part,
                    const char *what)
{
    struct pesc_error err = {0};
    ok(save(from, 0, NULL) == 0 && params_load(into, FILE_NAME, &err) != 0 && err.code == code &&
           err.exit_status == 3,
       "%s refused", what);
    ok(strstr(err.text, part) != NULL, "%s said", what);
    if (!strstr(err.text, part))
        diag("%s", err.text);
}

static void test_refusals(void)
{
    struct params a, few, flat;
    make(&a, "expert_", EXPERTS, 3);
    make(&few, "", 11, 3);
    make(&flat, "", EXPERTS, 4);
    set_values(&a);
    set_values(&few);
    refused(&few, &a, PESC_E_MODEL_MISSING,
            "4 of 51 tensors missing: model.layers.0.mlp.moe_adapter.experts.expert_11",
            "missing experts");
    refused(&a, &few, PESC_E_MODEL_MISSING,
            "4 tensors that the model has no place for: "
            "model.layers.0.mlp.moe_adapter.experts.expert_11",
            "unknown experts");
    refused(&a, &flat, PESC_E_MODEL_SHAPE, "expert_0.adapter_down.weight is 3x6, needed 4x6",
            "another shape");
    const struct param *p =
        params_find(&a, "model.layers.1.mlp.moe_adapter.experts.expert_7.adapter_up.weight");
    a.value[p->offset + 5] = NAN;
    refused(&a, &a, PESC_E_MODEL_NONFINITE, "1 tensors: model.layers.1.mlp.moe_adapter.experts.exp",
            "NaN");
    a.value[p->offset + 5] = INFINITY;
    refused(&a, &a, PESC_E_MODEL_NONFINITE, "expert_7.adapter_up.weight", "infinity");

    struct pesc_error err = {0};
    params_free(&few);
    params_add(&few, -1, 1, 6, 0, &err, "model.norm.weight");
    if (params_alloc(&few, 0, &err) != 0)
        diag("%s", err.text);
    set_values(&few);
    refused(&few, &a, PESC_E_MODEL_MISSING, "50 of 51 tensors missing",
            "nearly everything missing");
    refused(&few, &a, PESC_E_MODEL_MISSING, " ...", "a list cut short");
    params_free(&a);
    params_free(&few);
    params_free(&flat);
}

/* The same tensor in both dialects in one file: the second has no place. */
static int fill_zero(void *ctx, long i, const struct st_out *t, void *dst, struct pesc_error *err)
{
    (void)ctx;
    (void)i;
    (void)err;
    memset(dst, 0, dtype_size(t->dtype) * (size_t)t->shape[0]);
    return 0;
}

static void test_both_dialects(void)
{
    struct pesc_error err = {0};
    struct params ps = {0};
    const struct st_out twice[] = {{"m.experts.0.up", DT_F32, 1, {2}},
                                   {"m.experts.expert_0.up", DT_F32, 1, {2}}};
    params_add(&ps, 0, 1, 2, 0, &err, "m.experts.expert_0.up");
    ok(params_alloc(&ps, 0, &err) == 0 &&
           st_write(FILE_NAME, twice, 2, NULL, NULL, fill_zero, NULL, 0, NULL, NULL, &err) == 0 &&
           params_load(&ps, FILE_NAME, &err) != 0 && err.code == PESC_E_MODEL_MISSING,
       "one tensor in two dialects is refused");
    params_free(&ps);
}

int main(void)
{
    test_table();
    test_round_trip();
    test_refusals();
    test_both_dialects();
    unlink(FILE_NAME);
    return tap_done();
}
