/* Shared by history.c (rows) and history_run.c (runs, packs). */
#ifndef EXPERIMENTS_HISTORY_IMPL_H
#define EXPERIMENTS_HISTORY_IMPL_H

#include "experiments/history.h"
#include "experiments/history_queue.h"

#include <pthread.h>

/* Rows after which the thread writes without waiting for a second to pass. */
enum { HISTORY_BATCH = 512 };

struct history_progress {
    long last_step;
    long long tokens_seen;
    int waits; /* to be written */
};

struct history {
    struct db db;
    long long run_id, seq; /* 0: no run started */
    /* Who tells adds here, under the lock, which is never held while SQLite works. */
    pthread_mutex_t lock;
    struct queue queue;
    struct history_progress progress;
    /* Whoever writes takes it from here: the thread while there is one. */
    struct queue out;
    struct history_progress out_progress;
    int was_busy;
    long lost; /* rows that were dropped, in all */
    pthread_t thread;
    pthread_cond_t wake;
    int threaded, stop, urgent;
    struct pesc_error trouble; /* of the thread's last attempt */
    struct {
        unsigned long long peak; /* 0: not known */
        double tokens_per_s, seconds;
    } outcome;
};

/* Within a transaction: the run and one process of it. forget: rows past its start are removed. */
int history_start_within(struct history *h, const char *uuid, const struct history_run *r,
                         int forget, struct pesc_error *err) MUST_USE;
/* Metric and router rows of steps past this one. */
int history_forget_within(struct history *h, long step, struct pesc_error *err) MUST_USE;
/* The end of the process that was started last, at that time; last_step is of the run. */
int history_end_within(struct history *h, const char *status, int exit_code, const char *error,
                       long long t_ms, struct pesc_error *err) MUST_USE;
int history_pack_within(struct history *h, const struct history_pack *p,
                        struct pesc_error *err) MUST_USE;
/* Ends the thread, if there is one, after what it is at. */
void history_join(struct history *h);
/* Within a transaction: progress and queued rows. */
int history_write_queue(struct history *h, struct pesc_error *err) MUST_USE;
/* Commits when rc is 0 and then empties the queue; rolls back otherwise. */
int history_end_write(struct history *h, int rc, struct pesc_error *err) MUST_USE;

#endif
