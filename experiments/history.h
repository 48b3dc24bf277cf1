/* The history: a SQLite database shared by all runs, an index over the run folders. Writers take a
 * lock file around every transaction (reliability 3.4); nothing here ever stops a training run. */
#ifndef EXPERIMENTS_HISTORY_H
#define EXPERIMENTS_HISTORY_H

#include "core/error.h"

#include <jansson.h>

struct history;
/* Opens or creates (schema under lock). E-DB*. A process must not fork between open and close. */
int history_open(const char *path, struct history **out, struct pesc_error *err) MUST_USE;
void history_close(struct history *h); /* tries to write what is queued; NULL is fine */

/* Facts about a run, gathered before it starts; texts may be NULL where the schema has a default.
 */
struct history_env {
    char sha256[65]; /* over the other fields; the history fills it in its own copy */
    /* git_commit: a trailing "+" or "-dirty" marks a changed tree; libs: JSON object */
    const char *host, *cpu_model, *isa, *os, *tool_version, *git_commit, *compiler, *libs;
    long cores, mem_mib;
};
struct history_model { /* fingerprint NULL: no model is recorded */
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
    const char *reasons;                              /* JSON: skipped records by reason */
    double weight;                                    /* 0 is taken as 1 */
    /* records = used + skipped; the rest with this run's tokenizer, template and lengths */
    long long bytes, records, used, skipped;
    long long truncated, split, pieces_dropped, samples, tokens, trained_tokens;
};
struct history_plan {                               /* peak 0: none */
    unsigned long long budget, peak, disk, traffic; /* bytes; budget 0: none; traffic: of a step */
    double tokens_per_s, seconds;                   /* NaN: unknown */
    const char *terms, *places;                     /* JSON */
};
/* Who works on a run, and since when. The run folder has the same, so that the history can be made
 * again from it. */
struct history_process {
    long long t_ms; /* since 1970; 0: this process, now */
    long pid;
    char boot_id[64];
};
void history_process(struct history_process *p); /* this process, now */
struct history_run {
    const char *experiment; /* NULL: "default" */
    const char *name, *dir, *cmdline, *config, *config_sha256;
    long long seed;
    long steps_planned, threads;
    struct history_env env; /* of the process that starts the segment */
    struct history_model model;
    struct history_crafted crafted; /* n_experts 0: a dense run */
    const struct history_dataset *datasets;
    long n_datasets;
    const char *const *param_keys, *const *param_values;
    long n_params;
    const char *resumed_from; /* NULL: a new run */
    long start_step;
    struct history_plan plan;
    struct history_process process;
};
/* Registers the run (or, if uuid is known already, one more segment of it: metric and router rows
 * past start_step are removed). uuid: 32 hex digits. Waits up to 7 s for the database. */
int history_run_start(struct history *h, const char *uuid, const struct history_run *r,
                      struct pesc_error *err) MUST_USE;

long long history_now(void); /* milliseconds since 1970 */
/* Rows and the run's end are of this time from here on; 0: of when they come. */
void history_at(struct history *h, long long t_ms);

/* One figure of an evaluation: a row of the table eval. */
struct history_score {
    const char *task, *metric;     /* the task of one domain is "task/domain" */
    double value, stderr_, lo, hi; /* lo, hi: 95 % confidence; NaN: not known */
    long n;                        /* scored items */
    const char *config;            /* JSON: how it was scored; NULL: {} */
};

/* Rows are queued in memory (texts copied) and written by history_flush, which the caller calls
 * about once a second; a busy or full database keeps the rows queued and reports it. NaN is stored
 * as NULL, infinities as they are. Logging the same key and step again replaces the value. The
 * views know the metrics "train/loss" and "valid/loss". load: the expert's share of all
 * assignments, so that a layer's loads sum to 1. level: debug|info|warn|error. kind:
 * checkpoint|adapter|pack|log|config|other. These return -1 when a row had to be dropped (no
 * memory, or 50000 rows waiting); the next flush that succeeds leaves an event about it. */
int history_metric(struct history *h, const char *key, long step, double value);
int history_router_layer(struct history *h, int layer, long step, double entropy, double aux);
int history_router_expert(struct history *h, int layer, int expert, long step, double load,
                          double prob);
int history_router_domain(struct history *h, int layer, int expert, const char *domain, long step,
                          double load);
/* One layer's router as all tokens (domain NULL) or those of one domain saw it: a row of the layer
 * and one of each expert. first: share of the first choices. history_router_eval: what an
 * evaluation on that data saw. */
struct history_router {
    int layer, experts;
    const char *domain;
    double entropy, aux, top1; /* aux: of all tokens in training */
    long tokens;
    const double *load, *prob, *first; /* [experts] */
};
int history_router(struct history *h, long step, const struct history_router *m);
int history_router_eval(struct history *h, long step, const char *task,
                        const struct history_router *m);
int history_event(struct history *h, long step, const char *level, const char *code,
                  const char *text);
int history_eval(struct history *h, long step, const struct history_score *s);
int history_artifact(struct history *h, const char *kind, const char *path, long step,
                     const char *sha256, long long bytes);
int history_progress(struct history *h, long last_step, long long tokens_seen); /* and heartbeat */
/* Writes what waits. E-DB "busy" when the database could not be had within 2 s; until it can, later
 * calls wait only 20 ms each. Without a started run there is nothing to do. */
int history_flush(struct history *h, struct pesc_error *err);
long history_queued(struct history *h);
long history_lost(const struct history *h); /* rows dropped for good, once the run has ended */
/* From here to history_run_end a thread writes, each second or 512 rows: the calls above only add
 * to memory, and history_flush wakes the thread and tells of its last attempt. E-MEMORY. */
int history_background(struct history *h, struct pesc_error *err) MUST_USE;
/* What became of the plan; written with the run's end. */
void history_outcome(struct history *h, unsigned long long peak, double tokens_per_s,
                     double seconds);
/* status: finished|failed|killed|interrupted. Ends the thread and writes what waits, within 9 s. */
int history_run_end(struct history *h, const char *status, int exit_code, const char *error,
                    struct pesc_error *err) MUST_USE;

/* origin: exported|imported. run_uuid may be NULL or unknown here. The same digest again updates
 * where it lies. */
struct history_pack {
    const char *digest, *name, *version, *origin, *run_uuid, *model_fingerprint, *license, *path,
        *manifest;
    long long t_ms; /* when, since 1970; 0: now */
};
int history_pack(struct history *h, const struct history_pack *p, struct pesc_error *err) MUST_USE;
/* An evaluation outside of training, all of it in one transaction; run_uuid must exist. t_ms: when,
 * since 1970. */
int history_eval_of(struct history *h, const char *run_uuid, long step, long long t_ms,
                    const struct history_score *rows, long n, struct pesc_error *err) MUST_USE;

/* And its routers, list[n], in place of all of that step and task, in one transaction. */
int history_router_eval_of(struct history *h, const char *run_uuid, long step, const char *task,
                           const struct history_router *list, long n,
                           struct pesc_error *err) MUST_USE;

/* Default path: $PESC_DB, else $XDG_DATA_HOME/pesc/history.db, else ~/.local/share/pesc/history.db;
 * the caller passes the environment's values (NULL when unset). Makes the last two's folder (mode
 * 0700); whether that worked is seen when the database is opened. out: PATH_CAP bytes. */
int history_default_path(const char *pesc_db, const char *xdg_data_home, const char *home,
                         char *out, struct pesc_error *err) MUST_USE;

/* A fresh random identity: 32 hex digits and a zero. */
int history_uuid(char out[33], struct pesc_error *err) MUST_USE;

const char *history_library(void); /* SQLite's version at run time */

#endif
