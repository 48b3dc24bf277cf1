#include "config.h"
#include "cli/cmd.h"
#include "cli/model_arg.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *out, *method, *base_dtype, *scales, *layers;
    long experts, top_k, dim, seed, nf4_min;
    double scaling;
    int json, contain, embed;
};

static void defaults(void *opts)
{
    struct options *o = opts;
    *o = (struct options){.method = "pesc",
                          .base_dtype = "stored",
                          .scales = "fitted",
                          .nf4_min = CONVERT_SMALL,
                          .experts = 8,
                          .top_k = 2,
                          .dim = 64,
                          .seed = 42,
                          .scaling = 1};
}

#define AT(field) offsetof(struct options, field)
static const struct opt options[] = {
    {"output", "o", OPT_STRING, AT(out), "DIR", "the crafted folder to make", 0, 0},
    {"method", NULL, OPT_CHOICE, AT(method), "pesc|split", "how to make it sparse", 0, 0},
    {"experts", NULL, OPT_LONG, AT(experts), "N", "adapters per layer", 1, 1024},
    {"top-k", NULL, OPT_LONG, AT(top_k), "K", "adapters that each token uses", 1, 1024},
    {"adapter-dim", NULL, OPT_LONG, AT(dim), "N", "width of an adapter's bottleneck", 1, 65536},
    {"layers", NULL, OPT_STRING, AT(layers), "A-B|A-|A", "layers that get adapters, from 0 (all)",
     0, 0},
    {"adapter-scaling", NULL, OPT_REAL, AT(scaling), "X", "factor on the adapters' output", 0, 0},
    {"base-dtype", NULL, OPT_CHOICE, AT(base_dtype), "stored|f32|bf16|int8|nf4",
     "type that the base's weights are held in; nf4 and int8 write a base of their own", 0, 0},
    {"nf4-scales", NULL, OPT_CHOICE, AT(scales), "fitted|absmax",
     "scales of nf4: of the least squared error, or the largest magnitudes as bitsandbytes'", 0, 0},
    {"nf4-min", NULL, OPT_LONG, AT(nf4_min), "N",
     "matrices of fewer weights are int8 inside of nf4", 0, 9e15},
    {"quantize-embed", NULL, OPT_FLAG, AT(embed), NULL, "quantise embedding and head too", 0, 0},
    {"contain", NULL, OPT_FLAG, AT(contain), NULL,
     "write the base into the crafted folder, as DIR/base", 0, 0},
    {"seed", NULL, OPT_LONG, AT(seed), "N", "of the adapters' initial values", 0, 9e15},
    {"json", NULL, OPT_FLAG, AT(json), NULL, "print the result as JSON", 0, 0},
    {0},
};

static enum quant quant_of(const char *name)
{
    return !strcmp(name, "nf4") ? QUANT_NF4 : !strcmp(name, "int8") ? QUANT_INT8 : QUANT_NONE;
}

static int check(const struct options *o, int argc, struct pesc_error *err)
{
    if (argc != 1 || !o->out)
        return FAIL(err, USAGE, "pesc craft takes a base folder and -o MODEL");
    if (strcmp(o->method, "pesc"))
        return FAIL(err, NOT_YET, "--method %s is not in this version; pesc is", o->method);
    if (o->embed && quant_of(o->base_dtype) == QUANT_NONE)
        return FAIL(err, USAGE, "--quantize-embed goes with --base-dtype nf4 or int8");
    if (quant_of(o->base_dtype) != QUANT_NF4 &&
        (strcmp(o->scales, "fitted") || o->nf4_min != CONVERT_SMALL))
        return FAIL(err, USAGE, "--nf4-scales and --nf4-min go with --base-dtype nf4");
    return 0;
}

/* A line that is rewritten; on a terminal only. */
struct showing {
    struct cli *cli;
    int percent;
};

static void show_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct showing *s = ctx;
    int percent = total ? (int)(100 * (done < total ? done : total) / total) : 100;
    if (!s->cli->talk_tty || s->cli->quiet || percent == s->percent)
        return;
    s->percent = percent;
    fprintf(s->cli->talk, "\rwriting the base  %3d %%%s", percent, percent == 100 ? "\n" : "");
    fflush(s->cli->talk);
}

/* What the base became. */
static json_t *base_json(const struct base *b, const struct options *o,
                         const struct converted *made)
{
    int contained = made->bytes > 0;
    uint64_t bytes = contained ? made->bytes : base_bytes(b);
    json_t *j = json_pack("{s:b, s:s, s:I, s:f}", "contained", contained, "dtype", o->base_dtype,
                          "bytes", (json_int_t)bytes, "bits_per_weight",
                          8 * (double)bytes / (double)base_param_count(b));
    if (made->matrix_values && !strcmp(o->base_dtype, "nf4"))
        json_object_set_new(
            j, "nf4_share",
            json_real(1 - (double)made->small_values / (double)made->matrix_values));
    if (made->matrix_values)
        json_put(&j, "bits_per_quantised_weight",
                 json_real(8 * (double)made->matrix_bytes / (double)made->matrix_values));
    return j;
}

static int report(struct cli *cli, const struct options *o, const struct crafted *c,
                  const struct base *b, const struct converted *made, struct pesc_error *err)
{
    const struct model_config *mc = base_config(b);
    char text[MOE_LAYERS_CAP];
    long layers = moe_layers(&c->moe, mc->num_layers);
    moe_layers_text(&c->moe, mc->num_layers, text);
    long long per_expert = 2LL * c->moe.dim * mc->hidden_size;
    long long trainable = layers * (c->moe.experts * per_expert + c->moe.experts * mc->hidden_size);
    if (o->json) {
        json_t *j =
            json_pack("{s:I, s:I, s:I, s:s, s:I, s:s, s:o}", "experts", (json_int_t)c->moe.experts,
                      "top_k", (json_int_t)c->moe.top_k, "adapter_dim", (json_int_t)c->moe.dim,
                      "layers", text, "trainable", (json_int_t)trainable, "fingerprint",
                      c->fingerprint, "base", base_json(b, o, made));
        char *line = j ? json_written(j, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
        json_decref(j);
        if (!line)
            return FAIL(err, MEMORY, "no memory for the result");
        fprintf(cli->out, "%s\n", line);
        free(line);
        return 0;
    }
    fprintf(cli->out, "crafted   %s\n", o->out);
    fprintf(cli->out, "base      %s, %ld layers, hidden %ld, vocabulary %ld\n", mc->arch_name,
            mc->num_layers, mc->hidden_size, mc->vocab_size);
    if (made->bytes)
        fprintf(cli->out, "contained %s, %.1f MB, %.2f bits a weight\n", o->base_dtype,
                1e-6 * (double)made->bytes, 8 * (double)made->bytes / (double)base_param_count(b));
    fprintf(cli->out, "adapters  %ld experts, top-%ld, dim %ld", c->moe.experts, c->moe.top_k,
            c->moe.dim);
    if (c->moe.layers)
        fprintf(cli->out, ", layers %s", text);
    fprintf(cli->out, ", %lld trainable parameters\n", trainable);
    fprintf(cli->out, "identity  %s\n", c->fingerprint);
    return 0;
}

static int run(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    const struct options *o = opts;
    struct notes notes = cli_notes(cli);
    TRY(check(o, argc, err));
    if (path_exists(o->out))
        return FAIL(err, USAGE_EXISTS, "%s exists already", o->out);
    struct crafted c = {.moe = {.experts = o->experts,
                                .top_k = o->top_k,
                                .dim = o->dim,
                                .scaling = o->scaling,
                                .balance = BALANCE_SWITCH,
                                .balance_coef = 0.01},
                        .seed = (uint64_t)o->seed};
    enum quant quant = quant_of(o->base_dtype);
    int stored = !strcmp(o->base_dtype, "stored");
    c.base_dtype = stored || quant ? DT_COUNT : (enum dtype)dtype_from_name(o->base_dtype);
    TRY(crafted_moe_check(&c.moe, err));
    if (c.moe.experts > 1 && c.moe.top_k == 1)
        note(&notes, "W-CRAFT-TOP1",
             "with top-k 1 the weight is always 1, so the router learns nothing from the loss");
    struct model_arg a;
    TRY(model_arg_open(argv[0], NULL, &notes, &a, err));
    int rc = -1;
    if (a.is_crafted) {
        FAIL(err, MODEL_KIND, "%s is crafted already", argv[0]);
        goto done;
    }
    if (!stored && base_config(a.base)->quant != QUANT_NONE) {
        FAIL(err, MODEL_KIND, "%s is %s already: use it as it is stored, or the original model",
             argv[0], base_stored(a.base));
        goto done;
    }
    if (o->layers && moe_layers_parse(&c.moe, o->layers, base_config(a.base)->num_layers) != 0) {
        FAIL(err, USAGE_VALUE, "--layers %s: the layers of this model are 0 to %ld", o->layers,
             base_config(a.base)->num_layers - 1);
        goto done;
    }
    TRY_OR(model_arg_fingerprint(&a, err), done);
    strcpy(c.fingerprint, a.fingerprint);
    struct showing showing = {cli, -1};
    struct converted made = {0};
    struct convert how = {.quant = quant,
                          .dtype = c.base_dtype,
                          .fitted = !strcmp(o->scales, "fitted"),
                          .small = (uint64_t)o->nf4_min,
                          .outer = o->embed,
                          .fingerprint = a.fingerprint,
                          .name = path_base(a.dir),
                          .progress = show_progress,
                          .ctx = &showing};
    TRY_OR(crafted_write(o->out, a.base, &c, quant || o->contain ? &how : NULL, &made, err), done);
    if (made.small_values)
        note(
            &notes, "W-CRAFT-SMALL",
            "%.0f %% of the quantised weights are in matrices of fewer than %ld, which are held as "
            "int8: see --nf4-min",
            100 * (double)made.small_values / (double)made.matrix_values, o->nf4_min);
    rc = report(cli, o, &c, a.base, &made, err);
done:
    model_arg_close(&a);
    return rc;
}

const struct cmd cmd_craft = {
    .name = "craft",
    .usage = "BASE -o MODEL [--experts N] [--top-k K] [--adapter-dim N]",
    .summary = "Makes a sparse mixture of adapters of a dense Hugging Face folder.",
    .details =
        "The crafted folder refers to its base and computes exactly what the base does until "
        "it is trained. With --contain, and when the base is quantised to nf4 or int8, the folder "
        "holds a base of its own.",
    .opts = options,
    .opts_size = sizeof(struct options),
    .defaults = defaults,
    .run = run,
};
