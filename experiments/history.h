/* The history: a SQLite database shared by all runs, an index over the run folders. Writers take a
 * lock file around every transaction (reliability 3.4); nothing here ever stops a training run. */
#ifndef EXPERIMENTS_HISTORY_H
#define EXPERIMENTS_HISTORY_H

#include "core/error.h"

#include <jansson.h>

struct history;
/* Opens or creates (schema under lock). E-DB*. */
int history_open(const char *path, struct history **out, struct pesc_error *err) MUST_USE;
void history_close(struct history *h);

/* Facts about a run, gathered before it starts; texts may be NULL where the schema has a default. */
struct history_env {
    char sha256[65]; /* filled by history_run_start */
    const char *host, *cpu_model, *isa, *os, *tool_version, *git_commit, *compiler, *libs;
    long cores, mem_mib;
};
struct history_model {
    const char *fingerprint, *name, *path, *arch, *dtype, *tokenizer_sha256, *config;
    long n_layers, hidden, vocab;
    long long n_params;
};
struct history_crafted {
    const char *config_sha256, *config;
    long n_experts, top_k, adapter_dim;
    long long n_trainable;
    long long seed;
};
struct history_dataset {
    const char *sha256, *name, *path, *format, *role; /* role: train|valid|test */
    long long bytes, records, used, skipped, tokens;
};
struct history_run {
    const char *experiment, *name, *dir, *cmdline, *config, *config_sha256;
    long long seed;
    long steps_planned, threads;
    struct history_env env;
    struct history_model model;
    struct history_crafted crafted; /* n_experts 0: a dense run */
    const struct history_dataset *datasets;
    long n_datasets;
    const char *const *param_keys, *const *param_values;
    long n_params;
    const char *resumed_from; /* NULL: a new run */
    long start_step;
};
/* Registers the run (or, if uuid is known already, one more segment of it: rows past start_step are
 * removed). uuid: 32 hex digits. */
int history_run_start(struct history *h, const char *uuid, const struct history_run *r,
                      struct pesc_error *err) MUST_USE;

/* Rows are queued in memory and written by history_flush, which the caller calls about once a
 * second; a busy or full database keeps the rows queued and reports it. NaN is stored as NULL,
 * infinities as they are. */
int history_metric(struct history *h, const char *key, long step, double value);
int history_router_layer(struct history *h, int layer, long step, double entropy, double aux);
int history_router_expert(struct history *h, int layer, int expert, long step, double load,
                          double prob);
int history_router_domain(struct history *h, int layer, int expert, const char *domain, long step,
                          double load);
int history_event(struct history *h, long step, const char *level, const char *code,
                  const char *text);
int history_eval(struct history *h, long step, const char *task, const char *metric, double value,
                 double stderr_, long n);
int history_artifact(struct history *h, const char *kind, const char *path, long step,
                     const char *sha256, long long bytes);
int history_progress(struct history *h, long last_step, long long tokens_seen); /* and heartbeat */
int history_flush(struct history *h, struct pesc_error *err);
/* status: finished|failed|killed|interrupted. Flushes. */
int history_run_end(struct history *h, const char *status, int exit_code, const char *error,
                    struct pesc_error *err) MUST_USE;

struct history_pack {
    const char *digest, *name, *version, *origin, *run_uuid, *model_fingerprint, *license, *path,
        *manifest;
};
int history_pack(struct history *h, const struct history_pack *p, struct pesc_error *err) MUST_USE;
/* An evaluation outside of training; run_uuid must exist. */
int history_eval_of(struct history *h, const char *run_uuid, long step, const char *task,
                    const char *metric, double value, double stderr_, long n,
                    struct pesc_error *err) MUST_USE;

/* Default path: $PESC_DB, else $XDG_DATA_HOME/pesc/history.db, else ~/.local/share/pesc/history.db;
 * the caller passes the environment's values (NULL when unset). Makes the folder. */
int history_default_path(const char *pesc_db, const char *xdg_data_home, const char *home,
                         char *out, struct pesc_error *err) MUST_USE;

#endif
