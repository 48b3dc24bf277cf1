/* Writes a small history for the shell tests: fill_history DATABASE RUN-FOLDER */
#include "config.h"
#include "core/error.h"
#include "experiments/history.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct pesc_error err;

static int older(struct history *h)
{
    struct history_run r = {.name = "dense", .dir = "/nowhere", .steps_planned = 10, .seed = 1};
    r.model = (struct history_model){.fingerprint = "f0", .name = "tiny-llama"};
    TRY(history_run_start(h, "aaaa0000aaaa0000aaaa0000aaaa0000", &r, &err));
    history_metric(h, "train/loss", 10, NAN);
    history_metric(h, "lr", 10, INFINITY);
    history_progress(h, 10, 1000);
    return history_run_end(h, "failed", 11, "loss is not finite", &err);
}

static int newer(struct history *h, const char *dir)
{
    static const struct history_dataset data = {.sha256 = "dddd",
                                                .name = "alpaca",
                                                .format = "alpaca",
                                                .role = "train",
                                                .records = 12,
                                                .used = 10,
                                                .skipped = 2,
                                                .tokens = 345};
    static const char *const keys[] = {"lr", "note"}, *const values[] = {"2e-4", "a, \"b\""};
    struct history_run r = {.name = "evil\033[31m\nname",
                            .dir = dir,
                            .steps_planned = 120,
                            .cmdline = "pesc train tiny",
                            .seed = 42,
                            .threads = 2,
                            .datasets = &data,
                            .n_datasets = 1,
                            .param_keys = keys,
                            .param_values = values,
                            .n_params = 2};
    r.env = (struct history_env){
        .host = "box", .cpu_model = "some cpu", .isa = "avx2", .git_commit = "abc123+", .cores = 2};
    r.model = (struct history_model){.fingerprint = "f0", .name = "tiny-llama"};
    r.crafted = (struct history_crafted){
        .config_sha256 = "c0", .n_experts = 8, .top_k = 2, .adapter_dim = 64};
    TRY(history_run_start(h, "bbbb1111bbbb1111bbbb1111bbbb1111", &r, &err));
    for (long s = 1; s <= 120; s++)
        history_metric(h, "train/loss", s, 3.0 - (double)s / 100);
    history_metric(h, "valid/loss", 100, 1.9);
    history_metric(h, "valid/loss", 120, 2.0);
    for (long s = 60; s <= 120; s += 60)
        for (int l = 0; l < 2; l++) {
            history_router_layer(h, l, s, 2.0, 1.0);
            for (int e = 0; e < 8; e++) {
                double even = 0.125, skewed = e == 0 ? 0.44 : e == 7 ? 0.0 : 0.56 / 6;
                history_router_expert(h, l, e, s, l ? skewed : even, 0.125);
                history_router_domain(h, l, e, "code", s, e == 3);
                history_router_domain(h, l, e, "chat", s, even);
            }
        }
    history_eval(h, 120,
                 &(struct history_score){"arc", "accuracy", 0.5, 0.05, 0.40, 0.60, 100, NULL});
    history_artifact(h, "checkpoint", "ckpt/120", 120, "cccc", 4096);
    history_event(h, 120, "warn", "W-TEST", "seen\033[0m");
    history_progress(h, 120, 9999);
    TRY(history_run_end(h, "finished", 0, NULL, &err));
    struct history_pack p = {.digest = "eeee",
                             .name = "pack",
                             .version = "1.0",
                             .run_uuid = "bbbb1111bbbb1111bbbb1111bbbb1111",
                             .model_fingerprint = "f0",
                             .path = "/p.pescpack"};
    return history_pack(h, &p, &err);
}

int main(int argc, char **argv)
{
    struct history *h = NULL;
    int rc = argc == 3 ? history_open(argv[1], &h, &err) : -1;
    if (rc == 0)
        rc = older(h);
    if (rc == 0)
        rc = newer(h, argv[2]);
    if (rc != 0)
        fprintf(stderr, "fill_history: %s\n", err.text);
    history_close(h);
    return rc != 0;
}
