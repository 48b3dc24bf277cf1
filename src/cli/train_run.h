/* pesc train behind its option table: opening everything, running, recording, saving. */
#ifndef PESC_CLI_TRAIN_RUN_H
#define PESC_CLI_TRAIN_RUN_H

#include "cli/data_arg.h"
#include "cli/model_arg.h"

struct train_cli {
    const char *model, *out, *config, *trainable, *pack, *base, *scheduler, *lr_list, *decay_set;
    const char *layers, *prefix_cache, *optimizer, *optimizer_state, *balance, *order, *resume,
        *compute, *experiment, *name, *db, *sweep;
    struct data_options data;
    struct mix_options mix;
    struct opt_list eval_data;
    long max_steps, num_epochs, accumulation, warmup_steps;
    long eval_steps, logging_steps, router_steps, save_steps, seed, threads;
    double learning_rate, warmup_ratio, weight_decay, max_grad_norm, beta1, beta2, eps;
    double dropout, balance_coef;
    struct opt_sizes budgets;
    uint64_t memory; /* that of budgets which is meant; 0: none was given */
    long pass_tokens;
    struct place_options place;
    long jobs;
    int freeze_router, profile, quiet, json, print_commands, leaderboard;
};
/* Of train, and of plan, which takes the same command line and configuration file. */
extern const struct opt train_opts[];
void train_defaults(void *opts);
/* Whether the options agree with each other; data is there. */
int train_opts_check(const struct train_cli *o, struct pesc_error *err) MUST_USE;
int train_command(struct cli *cli, struct train_cli *o, struct pesc_error *err) MUST_USE;

#endif
