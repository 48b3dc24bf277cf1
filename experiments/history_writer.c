/* What waits goes to the database: at once, or by a thread, so that nothing which the database
 * makes wait for is felt by who trains. */
#include "config.h"
#include "experiments/history_impl.h"

#include "core/thread.h"

#include <errno.h>
#include <time.h>

enum { PATIENCE_MS = 2000, RETRY_PATIENCE_MS = 20, STACK = 512 << 10 };

static void take(struct history *h)
{
    pthread_mutex_lock(&h->lock);
    queue_move(&h->out, &h->queue);
    if (h->progress.waits)
        h->out_progress = h->progress;
    h->progress.waits = 0;
    pthread_mutex_unlock(&h->lock);
}

int history_write_queue(struct history *h, struct pesc_error *err)
{
    take(h);
    if (h->out_progress.waits)
        TRY(db_run(&h->db, err,
                   "UPDATE run SET last_step = ?2, tokens_seen = ?3, heartbeat_ms = ?4"
                   " WHERE id = ?1",
                   "iiii", h->run_id, (long long)h->out_progress.last_step,
                   h->out_progress.tokens_seen, now_ms()));
    return queue_write(&h->out, &h->db, h->run_id, err);
}

int history_end_write(struct history *h, int rc, struct pesc_error *err)
{
    if (rc == 0)
        rc = db_commit(&h->db, err);
    else
        db_rollback(&h->db);
    if (rc != 0) {
        queue_forget_names(&h->out); /* those that were rolled back have no id now */
        return rc;
    }
    h->lost += h->out.dropped;
    h->out.dropped = 0;
    h->out_progress.waits = 0;
    h->was_busy = 0;
    queue_clear(&h->out);
    return 0;
}

static int write_now(struct history *h, struct pesc_error *err)
{
    take(h);
    if (!h->run_id || (h->out.n == 0 && !h->out_progress.waits && h->out.dropped == 0))
        return 0;
    if (db_begin(&h->db, h->was_busy ? RETRY_PATIENCE_MS : PATIENCE_MS, err) != 0) {
        h->was_busy = 1;
        return -1;
    }
    return history_end_write(h, history_write_queue(h, err), err);
}

int history_flush(struct history *h, struct pesc_error *err)
{
    if (!h->threaded)
        return write_now(h, err);
    pthread_mutex_lock(&h->lock);
    int failed = h->trouble.code != 0;
    if (failed && err && !err->code)
        *err = h->trouble;
    h->urgent = 1;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    return failed ? -1 : 0;
}

/* Under the lock: until there is something to do, a second at most; after an attempt that failed,
 * always that second. */
static void wait_for_work(struct history *h, int failed)
{
    struct timespec until;
    int e = 0;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    while (!h->stop && e != ETIMEDOUT && (failed || (!h->urgent && h->queue.n < HISTORY_BATCH)))
        e = pthread_cond_timedwait(&h->wake, &h->lock, &until);
}

static void *work(void *ctx)
{
    struct history *h = ctx;
    int failed = 0;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        wait_for_work(h, failed);
        if (h->stop)
            break;
        h->urgent = 0;
        pthread_mutex_unlock(&h->lock);
        struct pesc_error err = {0};
        failed = write_now(h, &err) != 0;
        pthread_mutex_lock(&h->lock);
        h->trouble = err;
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

int history_background(struct history *h, struct pesc_error *err)
{
    if (h->threaded)
        return 0;
    h->stop = 0;
    TRY(thread_start(&h->thread, STACK, work, h, "write the history", err));
    h->threaded = 1;
    return 0;
}

void history_join(struct history *h)
{
    if (!h->threaded)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = 1;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    h->threaded = 0;
}
