#include "config.h"
#include "experiments/history_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FLUSH_PATIENCE_MS = 2000, RETRY_PATIENCE_MS = 20 };

int history_open(const char *path, struct history **out, struct pesc_error *err)
{
    struct history *h = calloc(1, sizeof *h);
    if (!h)
        return FAIL(err, MEMORY, "no memory for the history");
    if (db_open(&h->db, path, err) != 0) {
        free(h);
        return -1;
    }
    *out = h;
    return 0;
}

void history_close(struct history *h)
{
    if (!h)
        return;
    if (history_flush(h, NULL) != 0)
        queue_clear(&h->queue); /* the run folder has them */
    db_close(&h->db);
    queue_free(&h->queue);
    free(h);
}

void history_at(struct history *h, long long t_ms)
{
    h->queue.t_ms = t_ms;
}

long history_queued(const struct history *h)
{
    return (long)h->queue.n;
}

int history_metric(struct history *h, const char *key, long step, double value)
{
    return queue_add(&h->queue, (struct row){.kind = ROW_METRIC, .step = step, .x = value}, key,
                     NULL, NULL);
}

int history_router_layer(struct history *h, int layer, long step, double entropy, double aux)
{
    struct row r = {
        .kind = ROW_LAYER, .layer = layer, .step = step, .x = entropy, .y = aux, .z = NAN, .n = -1};
    return queue_add(&h->queue, r, NULL, NULL, NULL);
}

int history_router_expert(struct history *h, int layer, int expert, long step, double load,
                          double prob)
{
    struct row r = {
        .kind = ROW_EXPERT, .layer = layer, .step = step, .x = load, .y = prob, .z = NAN};
    r.expert = expert;
    return queue_add(&h->queue, r, NULL, NULL, NULL);
}

int history_router_domain(struct history *h, int layer, int expert, const char *domain, long step,
                          double load)
{
    struct row r = {.kind = ROW_DOMAIN, .layer = layer, .step = step, .x = load};
    r.y = r.z = NAN;
    r.expert = expert;
    return queue_add(&h->queue, r, domain, NULL, NULL);
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
    return queue_router(&h->queue, m->domain ? ROW_DOMAIN_LAYER : ROW_LAYER,
                        m->domain ? ROW_DOMAIN : ROW_EXPERT, step, m, m->domain, NULL);
}

int history_router_eval(struct history *h, long step, const char *task,
                        const struct history_router *m)
{
    return queue_router(&h->queue, ROW_ROUTER_EVAL_LAYER, ROW_ROUTER_EVAL, step, m, task,
                        m->domain ? m->domain : "");
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
    return queue_add(&h->queue, r, one_of(level, levels, "info"), code, text);
}

int history_eval(struct history *h, long step, const struct history_score *s)
{
    struct row r = {.kind = ROW_EVAL, .step = step, .x = s->value, .y = s->stderr_, .n = s->n};
    r.lo = s->lo;
    r.hi = s->hi;
    return queue_add(&h->queue, r, s->task, s->metric, s->config ? s->config : "{}");
}

int history_artifact(struct history *h, const char *kind, const char *path, long step,
                     const char *sha256, long long bytes)
{
    static const char *const kinds[] = {"checkpoint", "adapter", "pack", "log", "config", NULL};
    struct row r = {.kind = ROW_ARTIFACT, .step = step, .n = bytes};
    return queue_add(&h->queue, r, one_of(kind, kinds, "other"), path, sha256);
}

int history_progress(struct history *h, long last_step, long long tokens_seen)
{
    h->last_step = last_step;
    h->tokens_seen = tokens_seen;
    h->has_progress = 1;
    return 0;
}

int history_write_queue(struct history *h, struct pesc_error *err)
{
    if (h->has_progress)
        TRY(db_run(&h->db, err,
                   "UPDATE run SET last_step = ?2, tokens_seen = ?3, heartbeat_ms = ?4"
                   " WHERE id = ?1",
                   "iiii", h->run_id, (long long)h->last_step, h->tokens_seen, now_ms()));
    return queue_write(&h->queue, &h->db, h->run_id, err);
}

int history_end_write(struct history *h, int rc, struct pesc_error *err)
{
    if (rc == 0)
        rc = db_commit(&h->db, err);
    else
        db_rollback(&h->db);
    if (rc != 0) {
        queue_forget_names(&h->queue); /* those that were rolled back have no id now */
        return rc;
    }
    h->queue.dropped = 0;
    h->has_progress = 0;
    h->was_busy = 0;
    queue_clear(&h->queue);
    return 0;
}

int history_flush(struct history *h, struct pesc_error *err)
{
    if (!h->run_id || (h->queue.n == 0 && !h->has_progress && h->queue.dropped == 0))
        return 0;
    if (db_begin(&h->db, h->was_busy ? RETRY_PATIENCE_MS : FLUSH_PATIENCE_MS, err) != 0) {
        h->was_busy = 1;
        return -1;
    }
    return history_end_write(h, history_write_queue(h, err), err);
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
    TRY(db_begin(&h->db, FLUSH_PATIENCE_MS, err));
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
