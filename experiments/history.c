#include "config.h"
#include "experiments/history_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PATIENCE_MS = 2000 };

/* A condition that waits by the clock that nobody sets. */
static int make_wake(pthread_cond_t *wake)
{
    pthread_condattr_t a;
    int e = pthread_condattr_init(&a);
    if (e != 0)
        return e;
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    e = pthread_cond_init(wake, &a);
    pthread_condattr_destroy(&a);
    return e;
}

int history_open(const char *path, struct history **out, struct pesc_error *err)
{
    struct history *h = calloc(1, sizeof *h);
    if (!h)
        return FAIL(err, MEMORY, "no memory for the history");
    if (db_open(&h->db, path, err) != 0) {
        free(h);
        return -1;
    }
    if (make_wake(&h->wake) != 0) {
        db_close(&h->db);
        free(h);
        return FAIL(err, MEMORY, "no memory for the history");
    }
    pthread_mutex_init(&h->lock, NULL);
    *out = h;
    return 0;
}

void history_close(struct history *h)
{
    if (!h)
        return;
    history_join(h);
    (void)history_flush(h, NULL); /* the run folder has what cannot be written */
    db_close(&h->db);
    queue_free(&h->queue);
    queue_free(&h->out);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

void history_at(struct history *h, long long t_ms)
{
    pthread_mutex_lock(&h->lock);
    h->queue.t_ms = t_ms;
    pthread_mutex_unlock(&h->lock);
}

long history_queued(struct history *h)
{
    pthread_mutex_lock(&h->lock);
    long n = (long)(h->queue.n + h->out.n);
    pthread_mutex_unlock(&h->lock);
    return n;
}

long history_lost(const struct history *h)
{
    return h->lost;
}

static int add(struct history *h, struct row row, const char *a, const char *b, const char *c)
{
    pthread_mutex_lock(&h->lock);
    int rc = queue_add(&h->queue, row, a, b, c);
    if (h->queue.n == HISTORY_BATCH)
        pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    return rc;
}

int history_metric(struct history *h, const char *key, long step, double value)
{
    return add(h, (struct row){.kind = ROW_METRIC, .step = step, .x = value}, key, NULL, NULL);
}

int history_router_layer(struct history *h, int layer, long step, double entropy, double aux)
{
    struct row r = {
        .kind = ROW_LAYER, .layer = layer, .step = step, .x = entropy, .y = aux, .z = NAN, .n = -1};
    return add(h, r, NULL, NULL, NULL);
}

int history_router_expert(struct history *h, int layer, int expert, long step, double load,
                          double prob)
{
    struct row r = {
        .kind = ROW_EXPERT, .layer = layer, .step = step, .x = load, .y = prob, .z = NAN};
    r.expert = expert;
    return add(h, r, NULL, NULL, NULL);
}

int history_router_domain(struct history *h, int layer, int expert, const char *domain, long step,
                          double load)
{
    struct row r = {.kind = ROW_DOMAIN, .layer = layer, .step = step, .x = load};
    r.y = r.z = NAN;
    r.expert = expert;
    return add(h, r, domain, NULL, NULL);
}

static int queue_router(struct queue *q, enum row_kind layer, enum row_kind expert, long step,
                        const struct history_router *m, const char *a, const char *b)
{
    struct row r = {.kind = layer, .layer = m->layer, .step = step, .n = m->tokens};
    r.x = m->entropy, r.y = m->aux, r.z = m->top1;
    int rc = queue_add(q, r, a, b, NULL);
    r.kind = expert;
    for (r.expert = 0; r.expert < m->experts; r.expert++) {
        r.x = m->load[r.expert], r.y = m->prob[r.expert], r.z = m->first[r.expert];
        rc |= queue_add(q, r, a, b, NULL);
    }
    return rc;
}

int history_router(struct history *h, long step, const struct history_router *m)
{
    pthread_mutex_lock(&h->lock);
    int rc = queue_router(&h->queue, m->domain ? ROW_DOMAIN_LAYER : ROW_LAYER,
                          m->domain ? ROW_DOMAIN : ROW_EXPERT, step, m, m->domain, NULL);
    if (h->queue.n >= HISTORY_BATCH)
        pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    return rc;
}

int history_router_eval(struct history *h, long step, const char *task,
                        const struct history_router *m)
{
    pthread_mutex_lock(&h->lock);
    int rc = queue_router(&h->queue, ROW_ROUTER_EVAL_LAYER, ROW_ROUTER_EVAL, step, m, task,
                          m->domain ? m->domain : "");
    pthread_mutex_unlock(&h->lock);
    return rc;
}

static const char *one_of(const char *text, const char *const *list, const char *other)
{
    for (int i = 0; text && list[i]; i++)
        if (!strcmp(text, list[i]))
            return text;
    return other;
}

int history_event(struct history *h, long step, const char *level, const char *code,
                  const char *text)
{
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
    struct row r = {.kind = ROW_EVENT, .step = step};
    return add(h, r, one_of(level, levels, "info"), code, text);
}

int history_eval(struct history *h, long step, const struct history_score *s)
{
    struct row r = {.kind = ROW_EVAL, .step = step, .x = s->value, .y = s->stderr_, .n = s->n};
    r.lo = s->lo;
    r.hi = s->hi;
    return add(h, r, s->task, s->metric, s->config ? s->config : "{}");
}

int history_artifact(struct history *h, const char *kind, const char *path, long step,
                     const char *sha256, long long bytes)
{
    static const char *const kinds[] = {"checkpoint", "adapter", "pack", "log", "config", NULL};
    struct row r = {.kind = ROW_ARTIFACT, .step = step, .n = bytes};
    return add(h, r, one_of(kind, kinds, "other"), path, sha256);
}

int history_progress(struct history *h, long last_step, long long tokens_seen)
{
    pthread_mutex_lock(&h->lock);
    h->progress = (struct history_progress){last_step, tokens_seen, 1};
    pthread_mutex_unlock(&h->lock);
    return 0;
}

/* It may have other domains than one of the same name before it. */
static int write_router_eval(struct history *h, struct queue *q, const char *run_uuid, long step,
                             const char *task, struct pesc_error *err)
{
    static const char *const before[] = {
        "DELETE FROM router_eval WHERE run_id = ?1 AND step = ?2 AND task = ?3",
        "DELETE FROM router_eval_layer WHERE run_id = ?1 AND step = ?2 AND task = ?3",
    };
    long long id = 0;
    TRY(db_begin(&h->db, PATIENCE_MS, err));
    int rc = db_int(&h->db, err, &id, "SELECT id FROM run WHERE uuid = ?1", "s", run_uuid);
    if (rc == 0 && !id)
        rc = FAIL(err, DB_RUN, "run %s is not in %s", run_uuid, h->db.path);
    for (size_t i = 0; i < sizeof before / sizeof *before && rc == 0; i++)
        rc = db_run(&h->db, err, before[i], "iis", id, (long long)step, task);
    if (rc == 0)
        rc = queue_write(q, &h->db, id, err);
    if (rc == 0)
        return db_commit(&h->db, err);
    db_rollback(&h->db);
    return rc;
}

int history_router_eval_of(struct history *h, const char *run_uuid, long step, const char *task,
                           const struct history_router *list, long n, struct pesc_error *err)
{
    struct queue q = {0};
    int rc = 0;
    for (long i = 0; i < n && rc == 0; i++)
        rc = queue_router(&q, ROW_ROUTER_EVAL_LAYER, ROW_ROUTER_EVAL, step, &list[i], task,
                          list[i].domain ? list[i].domain : "");
    rc = rc == 0 ? write_router_eval(h, &q, run_uuid, step, task, err)
                 : FAIL(err, MEMORY, "no memory for the routers of an evaluation");
    queue_free(&q);
    return rc;
}
