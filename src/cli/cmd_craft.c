#include "config.h"
#include "cli/cmd.h"
#include "cli/model_arg.h"

#include <stddef.h>
#include <string.h>

struct options {
    const char *out, *method, *base_dtype;
    long experts, top_k, dim, seed;
    double scaling;
    int json;
};

static void defaults(void *opts)
{
    struct options *o = opts;
    *o = (struct options){.method = "pesc",
                          .base_dtype = "stored",
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
    {"adapter-scaling", NULL, OPT_REAL, AT(scaling), "X", "factor on the adapters' output", 0, 0},
    {"base-dtype", NULL, OPT_CHOICE, AT(base_dtype), "stored|f32|bf16|int8|nf4",
     "type that the base's weights are held in", 0, 0},
    {"seed", NULL, OPT_LONG, AT(seed), "N", "of the adapters' initial values", 0, 9e15},
    {"json", NULL, OPT_FLAG, AT(json), NULL, "print the result as JSON", 0, 0},
    {0},
};

static int check(const struct options *o, int argc, struct pesc_error *err)
{
    if (argc != 1 || !o->out)
        return FAIL(err, USAGE, "pesc craft takes a base folder and -o MODEL");
    if (strcmp(o->method, "pesc"))
        return FAIL(err, NOT_YET, "--method %s is not in this version; pesc is", o->method);
    if (!strcmp(o->base_dtype, "int8") || !strcmp(o->base_dtype, "nf4"))
        return FAIL(err, NOT_YET,
                    "--base-dtype %s is not in this version; stored, f32 and bf16 are",
                    o->base_dtype);
    return 0;
}

static void report(struct cli *cli, const struct options *o, const struct crafted *c,
                   const struct model_config *mc)
{
    long long per_expert = 2LL * c->moe.dim * mc->hidden_size;
    long long trainable =
        mc->num_layers * (c->moe.experts * per_expert + c->moe.experts * mc->hidden_size);
    if (o->json) {
        fprintf(cli->out,
                "{\"experts\":%ld,\"top_k\":%ld,\"adapter_dim\":%ld,\"trainable\":%lld,"
                "\"fingerprint\":\"%s\"}\n",
                c->moe.experts, c->moe.top_k, c->moe.dim, trainable, c->fingerprint);
        return;
    }
    fprintf(cli->out, "crafted   %s\n", o->out);
    fprintf(cli->out, "base      %s, %ld layers, hidden %ld, vocabulary %ld\n", mc->arch_name,
            mc->num_layers, mc->hidden_size, mc->vocab_size);
    fprintf(cli->out, "adapters  %ld experts, top-%ld, dim %ld, %lld trainable parameters\n",
            c->moe.experts, c->moe.top_k, c->moe.dim, trainable);
    fprintf(cli->out, "identity  %s\n", c->fingerprint);
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
    int dt = strcmp(o->base_dtype, "stored") ? dtype_from_name(o->base_dtype) : DT_COUNT;
    c.base_dtype = (enum dtype)dt;
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
    TRY_OR(model_arg_fingerprint(&a, err), done);
    strcpy(c.fingerprint, a.fingerprint);
    TRY_OR(crafted_write(o->out, a.base, &c, err), done);
    report(cli, o, &c, base_config(a.base));
    rc = 0;
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
        "it is trained.",
    .opts = options,
    .opts_size = sizeof(struct options),
    .defaults = defaults,
    .run = run,
};
