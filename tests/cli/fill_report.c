/* Histories for the tests of plot and report: fill_report DATABASE RUNS [old|paused]
 * The first run has everything, with names that a page or a terminal might obey; the second is
 * dense, the third has no metrics; those behind have curves only, the
 * fourth of many metrics. old: the schema's first version;
 * paused: a step of the first run took a second, and an hour lay between its two processes. */
#include "config.h"
#include "core/error.h"
#include "experiments/history.h"
#include "tests/unit/old_history.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct pesc_error err;
static struct history *h;

#define EVIL "<script>alert(\"1\")</script>&'\033[31m\001"

static void curves(long from, long to, double shift)
{
    long steps = 400;
    for (long s = from + 1; s <= to; s++) {
        double x = (double)s / (double)steps, wave = sin((double)s * 12.9898) * 0.08;
        history_metric(h, "train/loss", s, 1.2 + 2.1 * exp(-4 * x) + wave + shift);
        history_metric(h, "lr", s, 2e-4 * (x < 0.1 ? x * 10 : 0.5 + 0.5 * cos(x * 3.14159)));
        history_metric(h, "grad_norm", s, 0.4 + 3 * exp(-5 * x) + fabs(wave) * 4);
        history_metric(h, "tokens_per_s", s, 2350 + 300 * wave + 100 * shift);
        if (s % 50 == 0)
            history_metric(h, "valid/loss", s, 1.35 + 1.9 * exp(-3.8 * x) + shift);
    }
}

static void routing(long layers, long experts, long steps)
{
    static const char *const domains[] = {"code", "chat & \"more\"", "<b>maths</b>"};
    for (long s = steps / 8; s <= steps; s += steps / 8)
        for (int l = 0; l < layers; l++) {
            double at = (double)s / (double)steps;
            history_router_layer(h, l, s, 1.8, 1.0 + at);
            for (int e = 0; e < experts; e++) {
                double skew = l == layers - 1 ? at : 0.2 * at * l / (double)layers;
                double busy = e == (3 * l + 1) % experts, share = 1.0 / (double)experts;
                double load = share * (1 - skew) + skew * busy * 0.7 + skew * 0.3 * share;
                history_router_expert(h, l, e, s, e == 0 && l == 2 ? 0.01 : load, share);
                for (int d = 0; d < 3; d++)
                    history_router_domain(h, l, e, domains[d], s,
                                          share * (1 - at) + at * (e % 3 == d) * 3 * share);
            }
        }
}

static int start(const char *uuid, struct history_run *r, long last, double shift)
{
    TRY(history_run_start(h, uuid, r, &err));
    if (last > 0)
        curves(r->start_step, last, shift);
    return history_flush(h, &err);
}

static int everything(void)
{
    static const struct history_dataset data[] = {
        {.sha256 = "dd01",
         .name = "alpaca " EVIL,
         .format = "alpaca",
         .role = "train",
         .reasons = "{\"empty\":2,\"too_long\":11,\"<i>\":1}",
         .weight = 1,
         .bytes = 1 << 20,
         .records = 1014,
         .used = 1000,
         .skipped = 14,
         .truncated = 25,
         .split = 3,
         .samples = 1000,
         .tokens = 345678,
         .trained_tokens = 123456},
        {.sha256 = "dd02",
         .name = "heldout.json",
         .format = "chat",
         .role = "valid",
         .records = 120,
         .used = 120,
         .samples = 120,
         .tokens = 34567,
         .trained_tokens = 12345}};
    static const char *const keys[] = {"lr", "note", "batch_size", "router_" EVIL},
                             *const values[] = {"2e-4", EVIL, "16", "1"};
    struct history_run r = {.name = "all " EVIL,
                            .dir = "/planted/run",
                            .steps_planned = 400,
                            .cmdline = "pesc train M --data 'a b'",
                            .seed = 42,
                            .threads = 2,
                            .config_sha256 = "c0ffee",
                            .experiment = "first",
                            .datasets = data,
                            .n_datasets = 2,
                            .param_keys = keys,
                            .param_values = values,
                            .n_params = 4};
    r.env = (struct history_env){.host = "box",
                                 .cpu_model = "some cpu",
                                 .isa = "avx2",
                                 .os = "Linux",
                                 .git_commit = "abc123+",
                                 .cores = 2,
                                 .mem_mib = 8000};
    r.model = (struct history_model){.fingerprint = "f0f0f0f0",
                                     .name = "tiny-llama",
                                     .arch = "llama",
                                     .n_layers = 6,
                                     .hidden = 64};
    r.crafted = (struct history_crafted){
        .config_sha256 = "c0", .n_experts = 8, .top_k = 2, .adapter_dim = 64, .n_trainable = 1000};
    r.plan = (struct history_plan){.budget = 2ULL << 30,
                                   .peak = 1700ULL << 20,
                                   .disk = 5 << 20,
                                   .tokens_per_s = 2400,
                                   .seconds = 300,
                                   .terms = "{}",
                                   .places = "{}"};
    TRY(start("aaaa0000aaaa0000aaaa0000aaaa0000", &r, 200, 0));
    history_outcome(h, 1650ULL << 20, 2345.6, 160);
    TRY(history_run_end(h, "interrupted", 130, "stopped", &err));
    r.resumed_from = "ckpt/200";
    r.start_step = 200;
    TRY(start("aaaa0000aaaa0000aaaa0000aaaa0000", &r, 400, 0));
    history_metric(h, "train/loss", 100, NAN);
    history_metric(h, "train/loss", 101, INFINITY);
    history_metric(h, "grad_norm", 101, -INFINITY);
    routing(6, 8, 400);
    for (long s = 200; s <= 400; s += 200) {
        const struct history_score scores[] = {
            {"arc", "accuracy", 0.40 + (double)s / 2000, 0.05, 0.35 + (double)s / 2000, 0.71, 100,
             NULL},
            {"valid/" EVIL, "perplexity", s == 400 ? INFINITY : 4.2, NAN, NAN, NAN, 20, NULL},
            {"boolq", "accuracy", NAN, NAN, NAN, NAN, 3, NULL}};
        for (int i = 0; i < 3; i++)
            history_eval(h, s, &scores[i]);
    }
    history_artifact(h, "checkpoint", "ckpt/400", 400, "cccc", 4096);
    history_event(h, 100, "warn", "W-NUM", "loss nan: update skipped " EVIL);
    history_event(h, 350, "warn", "W-ROUTER-DEAD", "layer 2: expert 0 is dead");
    history_progress(h, 400, 345678);
    history_outcome(h, 1650ULL << 20, 2345.6, 160);
    TRY(history_run_end(h, "finished", 0, NULL, &err));
    struct history_pack p = {.digest = "eeee0000eeee0000",
                             .name = "pack" EVIL,
                             .version = "1.0",
                             .run_uuid = "aaaa0000aaaa0000aaaa0000aaaa0000",
                             .model_fingerprint = "f0f0f0f0",
                             .path = "/planted/p.pescpack"};
    return history_pack(h, &p, &err);
}

static int others(long n)
{
    for (long i = 2; i <= n; i++) {
        char uuid[33], name[32], value[32];
        const char *key = "lr", *values[] = {value};
        snprintf(uuid, sizeof uuid, "%04ubbbb0000bbbb0000bbbb0000bbbb", (unsigned)i % 10000);
        snprintf(name, sizeof name, i == 2 ? "dense" : i == 3 ? "empty" : "run %ld", i);
        snprintf(value, sizeof value, "%ge-4", (double)i);
        struct history_run r = {.name = name,
                                .dir = "/planted/other",
                                .steps_planned = 400,
                                .seed = i,
                                .threads = 2,
                                .param_keys = &key,
                                .param_values = values,
                                .n_params = 1};
        if (i != 3)
            r.model = (struct history_model){.fingerprint = "f0f0f0f0", .name = "tiny-llama"};
        TRY(start(uuid, &r, i == 3 ? 0 : 400, 0.05 * (double)i));
        for (int k = 0; k < 60 && i == 4; k++) {
            snprintf(name, sizeof name, "extra-%02d", k);
            history_metric(h, name, 400, k);
        }
        history_progress(h, i == 3 ? 0 : 400, i == 3 ? 0 : 300000);
        TRY(history_run_end(h, i == 2 ? "failed" : "finished", i == 2 ? 11 : 0,
                            i == 2 ? "loss is not finite" : NULL, &err));
    }
    return 0;
}

#define PAUSED                                                                                     \
    "UPDATE segment SET started_ms = 1000 * (start_step + 3600 * (start_step > 0))"                \
    " WHERE run_id = 1; UPDATE metric SET t_ms = 1000 * (step + 3600 * (step > 200))"              \
    " WHERE run_id = 1"

static int change(const char *path, const char *sql)
{
    sqlite3 *c = NULL;
    int rc = sqlite3_open(path, &c);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(c, sql, NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        error_set(&err, PESC_E_DB, "%s", sqlite3_errmsg(c));
    sqlite3_close(c);
    return rc != SQLITE_OK;
}

int main(int argc, char **argv)
{
    int rc = argc >= 3 ? history_open(argv[1], &h, &err) : -1;
    if (rc == 0)
        rc = everything();
    if (rc == 0)
        rc = others(strtol(argv[2], NULL, 10));
    history_close(h);
    if (rc == 0 && argc == 4)
        rc = change(argv[1], strcmp(argv[3], "old") ? PAUSED : TO_VERSION_1);
    if (rc != 0)
        fprintf(stderr, "fill_report: %s\n", err.text);
    return rc != 0;
}
