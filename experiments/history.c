#include "config.h"
#include "experiments/history_impl.h"

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
    struct row r = {.kind = ROW_LAYER, .layer = layer, .step = step, .x = entropy, .y = aux};
    return queue_add(&h->queue, r, NULL, NULL, NULL);
}

int history_router_expert(struct history *h, int layer, int expert, long step, double load,
                          double prob)
{
    struct row r = {.kind = ROW_EXPERT, .layer = layer, .step = step, .x = load, .y = prob};
    r.expert = expert;
    return queue_add(&h->queue, r, NULL, NULL, NULL);
}

int history_router_domain(struct history *h, int layer, int expert, const char *domain, long step,
                          double load)
{
    struct row r = {.kind = ROW_DOMAIN, .layer = layer, .step = step, .x = load};
    r.expert = expert;
    return queue_add(&h->queue, r, domain, NULL, NULL);
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
