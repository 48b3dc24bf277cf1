/* A history of many runs, for measuring: fill_large DATABASE RUNS STEPS. Twelve metrics at each
 * step, routers of 16 layers and 8 experts at each 50th, evaluations at each tenth of the steps. */
#include "config.h"
#include "experiments/history.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { LAYERS = 16, EXPERTS = 8 };

static struct pesc_error err;

static double noise(long a, long b)
{
    unsigned x = (unsigned)a * 2654435761u ^ (unsigned)b * 40503u;
    x ^= x >> 15, x *= 2246822519u, x ^= x >> 13;
    return x / 4294967296.0;
}

static int routers(struct history *h, long run, long step)
{
    double load[EXPERTS], first[EXPERTS];
    static const char *const domains[] = {NULL, "chat", "code"};
    int rc = 0;
    for (int l = 0; l < LAYERS; l++)
        for (int d = 0; d < 3; d++) {
            double sum = 0;
            for (int e = 0; e < EXPERTS; e++)
                sum += load[e] = 0.1 + noise(run + 7L * l + e, step + d);
            for (int e = 0; e < EXPERTS; e++)
                first[e] = load[e] /= sum;
            struct history_router m = {.layer = l,
                                       .experts = EXPERTS,
                                       .entropy = 1.9,
                                       .aux = 1.1,
                                       .top1 = 0.3,
                                       .tokens = 2048,
                                       .load = load,
                                       .prob = load,
                                       .first = first,
                                       .domain = domains[d]};
            rc |= history_router(h, step, &m);
        }
    return rc;
}

static int one(struct history *h, long i, long steps)
{
    static const char *const keys[] = {"train/loss", "ce",       "balance", "lr",
                                       "grad_norm",  "tokens/s", "trained/s", "rss",
                                       "epoch",      "aux",      "extra",   "other"};
    static const struct history_dataset data = {
        .sha256 = "dddd", .name = "alpaca", .role = "train", .records = 12, .used = 10};
    char name[32], uuid[33], lr[32], seed[32];
    const char *const params[] = {"learning-rate", "seed"}, *const values[] = {lr, seed};
    int rc = 0;
    snprintf(name, sizeof name, "run-%ld", i);
    snprintf(uuid, sizeof uuid, "%08lx%024lx", (i + 1) * 2654435761L & 0xffffffffL, i);
    snprintf(lr, sizeof lr, "%.3g", 1e-4 * (double)(1 + i % 5));
    snprintf(seed, sizeof seed, "%ld", i);
    struct history_run r = {.name = name,
                            .dir = "/nowhere",
                            .experiment = i % 2 ? "odd" : "even",
                            .steps_planned = steps,
                            .datasets = &data,
                            .n_datasets = 1,
                            .param_keys = params,
                            .param_values = values,
                            .n_params = 2};
    r.env = (struct history_env){.host = "box", .cpu_model = "cpu", .isa = "avx2"};
    r.model = (struct history_model){.fingerprint = "f0", .name = "tiny"};
    r.crafted = (struct history_crafted){
        .config_sha256 = "c0", .n_experts = EXPERTS, .top_k = 2, .adapter_dim = 64};
    r.plan.peak = 1 << 30;
    TRY(history_run_start(h, uuid, &r, &err));
    for (long s = 1; s <= steps && rc == 0; s++) {
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            rc |= history_metric(h, keys[k], s, 3 * exp(-(double)s / 2000) + noise(s, (long)k + i));
        if (s % 50 == 0)
            rc |= routers(h, i, s);
        if (s % (steps / 10 + 1) == 0) {
            double v = 2 + noise(i, s);
            rc |= history_metric(h, "valid/loss", s, v);
            rc |= history_eval(h, s,
                               &(struct history_score){"held-out", "accuracy", 1 / v, 0.01,
                                                       1 / v - 0.02, 1 / v + 0.02, 100, NULL});
        }
        history_progress(h, s, s * 2048);
        if (s % 500 == 0)
            rc |= history_flush(h, &err);
    }
    history_event(h, steps, "warn", "W-TEST", "of this run");
    history_outcome(h, 1 << 29, 100, 1);
    return rc == 0 ? history_run_end(h, "finished", 0, NULL, &err) : rc;
}

int main(int argc, char **argv)
{
    struct history *h = NULL;
    if (argc != 4)
        return 2;
    int rc = history_open(argv[1], &h, &err);
    for (long i = 0; i < atol(argv[2]) && rc == 0; i++)
        rc = one(h, i, atol(argv[3]));
    history_close(h);
    if (rc != 0)
        fprintf(stderr, "%s\n", err.text);
    return rc != 0;
}
