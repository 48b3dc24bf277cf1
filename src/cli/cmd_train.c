#include "config.h"
#include "cli/sweep.h"
#include "cli/train_run.h"

#include <stddef.h>
#include <string.h>

void train_defaults(void *opts)
{
    struct train_cli *o = opts;
    memset(o, 0, sizeof *o);
    data_defaults(&o->data);
    mix_defaults(&o->mix);
    place_defaults(&o->place);
    o->compute = "auto";
    o->trainable = "adapters";
    o->order = "shuffled";
    o->balance = "switch";
    o->scheduler = "constant";
    o->decay_set = "all";
    o->optimizer = "adamw";
    o->optimizer_state = "auto";
    o->prefix_cache = "auto";
    o->experiment = "default";
    o->num_epochs = 1;
    o->accumulation = 1;
    o->learning_rate = 2e-4;
    o->warmup_ratio = 0.03;
    o->max_grad_norm = 0.3;
    o->beta1 = 0.9;
    o->beta2 = 0.999;
    o->eps = 1e-8;
    o->balance_coef = 0.01;
    o->seed = 42;
    o->logging_steps = 1;
    o->router_steps = 50;
    o->jobs = 1;
}

#define AT(field) offsetof(struct train_cli, field)
const struct opt train_opts[] = {
    {"output", "o", OPT_STRING, AT(out), "RUN", "the run folder to make", 0, 0},
    DATA_OPTIONS(AT(data)),
    MIX_OPTIONS(AT(mix)),
    {"config", NULL, OPT_STRING, AT(config), "FILE.yaml", "the same keys from a file", 0, 0},
    {"trainable", NULL, OPT_CHOICE, AT(trainable), "adapters|full",
     "adapters and routers, or every weight of a dense model", 0, 0},
    {"freeze-router", NULL, OPT_FLAG, AT(freeze_router), NULL,
     "routers keep their first weights: no gradient, decay or balance loss", 0, 0},
    {"layers", NULL, OPT_STRING, AT(layers), "A-B|A-|A",
     "layers that have adapters, from 0 (the model's, or the pack's)", 0, 0},
    {"pack", NULL, OPT_STRING, AT(pack), "P", "start from these adapters", 0, 0},
    {"base", NULL, OPT_STRING, AT(base), "DIR", "where a crafted folder's base is now", 0, 0},
    {"max-steps", NULL, OPT_LONG, AT(max_steps), "N", "updates (0: by --num-epochs)", 0, 1e9},
    {"num-epochs", "epochs", OPT_LONG, AT(num_epochs), "N", "times through the data", 1, 1e5},
    {"grad-accumulation-steps", "gradient-accumulation-steps", OPT_LONG, AT(accumulation), "N",
     "batches per update", 1, 1e6},
    {"learning-rate", "lr", OPT_REAL, AT(learning_rate), "X", "peak learning rate", 0, 1e3},
    {"lr-scheduler", "lr-scheduler-type", OPT_CHOICE, AT(scheduler), "constant|cosine|linear",
     "after the warm-up", 0, 0},
    {"warmup-ratio", NULL, OPT_REAL, AT(warmup_ratio), "X", "share of steps that warm up", 0, 1},
    {"warmup-steps", NULL, OPT_LONG, AT(warmup_steps), "N", "the same as a number", 0, 1e12},
    {"lr-list", NULL, OPT_STRING, AT(lr_list), "X,X,...",
     "learning rate of each step; the last repeats", 0, 0},
    {"weight-decay", NULL, OPT_REAL, AT(weight_decay), "X", "decoupled weight decay", 0, 1e3},
    {"decay", NULL, OPT_CHOICE, AT(decay_set), "all|matrices", "tensors that decay", 0, 0},
    {"max-grad-norm", NULL, OPT_REAL, AT(max_grad_norm), "X", "clip gradients (0: never)", 0, 1e9},
    {"optimizer", NULL, OPT_CHOICE, AT(optimizer), "adamw|adamw8bit",
     "moments as floats, or as a byte each", 0, 0},
    {"optimizer-state", NULL, OPT_CHOICE, AT(optimizer_state), "auto|memory|disk",
     "where moments and gradients are (disk: a layer at a time in memory)", 0, 0},
    {"adam-beta1", NULL, OPT_REAL, AT(beta1), "X", "AdamW", 0, 1},
    {"adam-beta2", NULL, OPT_REAL, AT(beta2), "X", "AdamW", 0, 1},
    {"adam-epsilon", NULL, OPT_REAL, AT(eps), "X", "AdamW", 0, 1},
    {"adapter-dropout", NULL, OPT_REAL, AT(dropout), "P", "on the adapters' input", 0, 0.99},
    {"balance-loss", NULL, OPT_CHOICE, AT(balance), "switch|mixtral|official|none",
     "what keeps experts equally used", 0, 0},
    {"balance-coef", NULL, OPT_REAL, AT(balance_coef), "X", "its weight", 0, 1e3},
    {"data-order", NULL, OPT_CHOICE, AT(order), "shuffled|sequential", "of the records", 0, 0},
    {"eval-data", NULL, OPT_LIST, AT(eval_data), "FILE...", "held-out records", 0, 0},
    {"eval-steps", NULL, OPT_LONG, AT(eval_steps), "N",
     "evaluate every N steps (always before and after)", 0, 1e12},
    {"logging-steps", NULL, OPT_LONG, AT(logging_steps), "N", "log every N steps", 1, 1e12},
    {"router-steps", NULL, OPT_LONG, AT(router_steps), "N", "report routing every N steps", 0,
     1e12},
    {"save-steps", NULL, OPT_LONG, AT(save_steps), "N",
     "checkpoint every N steps (0: only at the end)", 0, 1e12},
    {"resume", NULL, OPT_STRING, AT(resume), "auto|PATH", "go on from a checkpoint of RUN", 0, 0},
    {"seed", NULL, OPT_LONG, AT(seed), "N", "of order and dropout", 0, 9e15},
    {"compute", NULL, OPT_CHOICE, AT(compute), "auto|f32|bf16|int8", "type of the matrix products",
     0, 0},
    {"memory", NULL, OPT_SIZES, AT(budgets), "SIZE|max",
     "resident memory at most; what does not fit goes to disk", 0, 0},
    {"micro-batch-tokens", NULL, OPT_LONG, AT(pass_tokens), "N",
     "tokens that go through at a time (0: the batch, or what fits --memory)", 0, 1e9},
    WEIGHT_OPTIONS(AT(place)),
    ACTIVATION_OPTIONS(AT(place)),
    {"prefix-cache", NULL, OPT_STRING, AT(prefix_cache), "auto|SIZE|off",
     "a file for what layers below all adapters make of samples (auto: a quarter of the free disk)",
     0, 0},
    {"threads", NULL, OPT_LONG, AT(threads), "N", "default: OMP_NUM_THREADS, else the cores", 0,
     4096},
    {"experiment", NULL, OPT_STRING, AT(experiment), "NAME", "group of runs in the history", 0, 0},
    {"name", NULL, OPT_STRING, AT(name), "NAME", "of the run (default: its folder's)", 0, 0},
    {"db", NULL, OPT_STRING, AT(db), "FILE", "the history", 0, 0},
    {"sweep", NULL, OPT_STRING, AT(sweep), "FILE.yaml",
     "make the runs that this file lists, in folders below -o DIR; go on where it stopped", 0, 0},
    {"jobs", NULL, OPT_LONG, AT(jobs), "N", "runs of a sweep side by side, within one --memory", 1,
     256},
    {"print-commands", NULL, OPT_FLAG, AT(print_commands), NULL,
     "print a sweep's commands, for a Slurm array or GNU parallel; run nothing", 0, 0},
    {"leaderboard", NULL, OPT_FLAG, AT(leaderboard), NULL,
     "rank what there is of a sweep; run nothing", 0, 0},
    {"profile", NULL, OPT_FLAG, AT(profile), NULL, "say at the end where the time went", 0, 0},
    {"quiet", "q", OPT_FLAG, AT(quiet), NULL, "warnings only", 0, 0},
    {"json", NULL, OPT_FLAG, AT(json), NULL, "JSON lines on stdout", 0, 0},
    {0},
};

int train_opts_check(const struct train_cli *o, struct pesc_error *err)
{
    if (o->data.data.n == 0)
        return FAIL(err, USAGE, "--data FILE is needed");
    if (o->mix.valid_fraction > 0 && o->eval_data.n)
        return FAIL(err, USAGE, "--eval-data is held out already: --valid-fraction adds nothing");
    uint64_t size;
    if (strcmp(o->prefix_cache, "auto") && strcmp(o->prefix_cache, "off") &&
        opts_size(o->prefix_cache, &size) != 0)
        return FAIL(err, USAGE_VALUE,
                    "--prefix-cache: '%s' is neither a size such as 2GiB nor auto nor off",
                    o->prefix_cache);
    if (o->beta1 >= 1 || o->beta2 >= 1 || o->eps <= 0)
        return FAIL(err, USAGE_VALUE, "AdamW needs betas below 1 and an epsilon above 0");
    if (!strcmp(o->optimizer_state, "disk") && !strcmp(o->trainable, "full"))
        return FAIL(err, USAGE_VALUE,
                    "--optimizer-state disk is for adapters, whose gradients come layer by layer; "
                    "--trainable full needs it in memory");
    return 0;
}

static int run_sweep(struct cli *cli, struct train_cli *o, const char *model,
                     struct pesc_error *err)
{
    struct sweep s = {0};
    int rc = -1;
    if (o->config)
        return FAIL(err, USAGE, "--config: what the runs of a sweep share goes into %s itself",
                    o->sweep);
    if (o->resume || o->name)
        return FAIL(err, USAGE,
                    "--%s is for one run: a sweep goes on by itself, and names its runs",
                    o->resume ? "resume" : "name");
    TRY_OR(sweep_open(&s, o, cli->given, model, err), done);
    if (o->print_commands) {
        sweep_print(&s, cli->out);
        rc = 0;
        goto done;
    }
    rc = o->leaderboard ? 0 : sweep_run(cli, &s, o, o->jobs, err);
    if (rc == 0 || err->code == PESC_E_RUN_FAILED) {
        struct pesc_error e = {0};
        if (sweep_board(cli, &s, o->json, rc == 0 ? err : &e) != 0)
            rc = -1;
    }
done:
    sweep_close(&s);
    return rc;
}

static int run(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    struct train_cli *o = opts;
    if (!o->sweep && (o->print_commands || o->leaderboard || o->jobs != 1))
        return FAIL(err, USAGE, "--jobs, --print-commands and --leaderboard are for --sweep");
    if (argc > 1 || (argc == 0 && !o->sweep) || !o->out)
        return FAIL(err, USAGE, "pesc train takes a model, --data FILE and -o RUN");
    cli->quiet = o->quiet;
    if (o->sweep)
        return run_sweep(cli, o, argc ? argv[0] : NULL, err);
    TRY(train_opts_check(o, err));
    if (o->budgets.n > 1)
        return FAIL(err, USAGE_VALUE, "--memory: a run has one budget; pesc plan compares several");
    o->memory = o->budgets.n ? o->budgets.v[0] : 0;
    o->model = argv[0];
    return train_command(cli, o, err);
}

const struct cmd cmd_train = {
    .name = "train",
    .usage = "MODEL --data FILE... -o RUN [options] | [MODEL] --sweep FILE.yaml -o DIR",
    .summary = "Tunes a crafted model's adapters and routers, or a dense model in full.",
    .details =
        "Ctrl+C finishes the step, saves, and says how to go on; a second one stops at once.",
    .opts = train_opts,
    .opts_size = sizeof(struct train_cli),
    .defaults = train_defaults,
    .run = run,
};
