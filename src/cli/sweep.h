/* Sweeps: pesc train --sweep FILE.yaml makes runs of one experiment, in folders below -o DIR.
 *
 * FILE holds train's own keys, which all runs share (and "model"), and
 *   grid:    {key: [values ...], ...}   one run for each combination, the last key changing fastest
 *   runs:    [{key: value, ...}, ...]   and one run for each of these
 *   metric:  what the leaderboard ranks by
 * DIR/sweep.json lists the runs; a run's name is what is special about it and the start of the hash
 * of all its settings, so the same run is the same folder when FILE changes. What is done is told
 * by the run folders alone. */
#ifndef PESC_CLI_SWEEP_H
#define PESC_CLI_SWEEP_H

#include "cli/cmd.h"
#include "cli/train_run.h"

#include "core/hash.h"

struct trial {
    char *name;
    char hash[SHA256_HEX];
    char **args; /* of pesc: train, the model, options */
    long n_args;
    json_t *values; /* {key: text} of what is special about it */
};

struct sweep {
    const char *dir, *metric; /* metric NULL: valid/loss where there is one, else train/loss */
    struct trial *trials;
    long n;
    json_t *tree; /* of the file, whose texts trials point to */
};

/* All runs of o->sweep, each of them checked by the option table. given: the options that the
 * command line named; they hold for all runs. model may be NULL. */
int sweep_open(struct sweep *s, const struct train_cli *o, const char *given, const char *model,
               struct pesc_error *err) MUST_USE;
void sweep_close(struct sweep *s);
/* The runs as lines for a shell. */
void sweep_print(const struct sweep *s, FILE *f);

/* sweep_run.c: makes what is not finished, jobs at a time, within one memory budget and one set of
 * processors; E-INTERRUPTED or E-TERMINATED after a signal, E-RUN-FAILED when runs failed. */
int sweep_run(struct cli *cli, const struct sweep *s, const struct train_cli *o, long jobs,
              struct pesc_error *err) MUST_USE;
/* "finished", "interrupted", "failed", "running", or NULL: not begun. text: 32 bytes. */
const char *sweep_status(const struct sweep *s, const struct trial *t, char text[32]);

/* sweep_board.c: the runs by metric, best first; by the run folders alone. */
int sweep_board(struct cli *cli, const struct sweep *s, int json, struct pesc_error *err) MUST_USE;
/* Whether there is such a metric. */
int sweep_metric_check(const char *metric, struct pesc_error *err) MUST_USE;

#endif
