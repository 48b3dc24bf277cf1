#include "config.h"
#include "experiments/history_queue.h"

#include "experiments/history.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Some ten MiB: what more there is can be had from the run folder. */
enum { QUEUE_MAX = 50000 };

long long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

long long history_now(void)
{
    return now_ms();
}

static void row_free(struct row *r)
{
    for (int i = 0; i < 3; i++)
        free(r->text[i]);
}

int queue_add(struct queue *q, struct row row, const char *a, const char *b, const char *c)
{
    const char *text[3] = {a, b, c};
    if (q->n >= QUEUE_MAX)
        goto drop;
    if (q->n == q->cap) {
        size_t cap = q->cap ? q->cap * 2 : 64;
        struct row *grown = realloc(q->rows, cap * sizeof *grown);
        if (!grown)
            goto drop;
        q->rows = grown;
        q->cap = cap;
    }
    row.t_ms = q->t_ms ? q->t_ms : now_ms();
    for (int i = 0; i < 3; i++) {
        row.text[i] = text[i] ? strdup(text[i]) : NULL;
        if (text[i] && !row.text[i]) {
            row_free(&row);
            goto drop;
        }
    }
    q->rows[q->n++] = row;
    return 0;
drop:
    q->dropped++;
    return -1;
}

void queue_move(struct queue *to, struct queue *from)
{
    if (to->n == 0) {
        struct row *rows = to->rows;
        size_t cap = to->cap;
        to->rows = from->rows, to->n = from->n, to->cap = from->cap;
        from->rows = rows, from->cap = cap;
    } else if (from->n > 0) {
        size_t n = to->n + from->n;
        if (n > to->cap) {
            struct row *grown = n > QUEUE_MAX ? NULL : realloc(to->rows, n * sizeof *grown);
            if (!grown)
                return;
            to->rows = grown;
            to->cap = n;
        }
        memcpy(to->rows + to->n, from->rows, from->n * sizeof *to->rows);
        to->n = n;
    }
    from->n = 0;
    to->dropped += from->dropped;
    from->dropped = 0;
}

void queue_clear(struct queue *q)
{
    for (size_t i = 0; i < q->n; i++)
        row_free(&q->rows[i]);
    q->n = 0;
}

void queue_forget_names(struct queue *q)
{
    for (size_t i = 0; i < q->n_names; i++)
        free(q->names[i].name);
    free(q->names);
    q->names = NULL;
    q->n_names = 0;
}

void queue_free(struct queue *q)
{
    queue_clear(q);
    queue_forget_names(q);
    free(q->rows);
    *q = (struct queue){0};
}

static int name_id(struct queue *q, struct db *d, const char *name, long long *id,
                   struct pesc_error *err)
{
    for (size_t i = 0; i < q->n_names; i++)
        if (!strcmp(q->names[i].name, name)) {
            *id = q->names[i].id;
            return 0;
        }
    TRY(db_run(d, err, "INSERT INTO metric_key(name) VALUES(?1) ON CONFLICT DO NOTHING", "s",
               name));
    TRY(db_int(d, err, id, "SELECT id FROM metric_key WHERE name = ?1", "s", name));
    struct metric_name *grown = realloc(q->names, (q->n_names + 1) * sizeof *grown);
    if (!grown)
        return FAIL(err, MEMORY, "no memory for metric names");
    q->names = grown;
    char *copy = strdup(name);
    if (!copy)
        return FAIL(err, MEMORY, "no memory for metric names");
    q->names[q->n_names++] = (struct metric_name){copy, *id};
    return 0;
}

/* ?1 is the run. The same place logged again (after a resume) replaces what was there. */
static const char *const insert_sql[] = {
    [ROW_METRIC] = "INSERT INTO metric(run_id, key_id, step, value, t_ms) VALUES(?1,?2,?3,?4,?5)"
                   " ON CONFLICT DO UPDATE SET value = excluded.value, t_ms = excluded.t_ms",
    [ROW_LAYER] = "INSERT INTO router_layer(run_id, layer, step, entropy, aux_loss, top1, tokens)"
                  " VALUES(?1,?2,?3,?4,?5,?6,?7) ON CONFLICT DO UPDATE"
                  " SET entropy = excluded.entropy, aux_loss = excluded.aux_loss,"
                  " top1 = excluded.top1, tokens = excluded.tokens",
    [ROW_EXPERT] = "INSERT INTO router_expert(run_id, layer, expert, step, load, prob, first)"
                   " VALUES(?1,?2,?3,?4,?5,?6,?7) ON CONFLICT DO UPDATE"
                   " SET load = excluded.load, prob = excluded.prob, first = excluded.first",
    [ROW_DOMAIN] = "INSERT INTO router_domain(run_id, layer, expert, domain, step, load, prob,"
                   " first) VALUES(?1,?2,?3,?4,?5,?6,?7,?8) ON CONFLICT DO UPDATE"
                   " SET load = excluded.load, prob = excluded.prob, first = excluded.first",
    [ROW_DOMAIN_LAYER] = "INSERT INTO router_domain_layer(run_id, layer, domain, step, entropy,"
                         " top1, tokens) VALUES(?1,?2,?3,?4,?5,?6,?7) ON CONFLICT DO UPDATE"
                         " SET entropy = excluded.entropy, top1 = excluded.top1,"
                         " tokens = excluded.tokens",
    [ROW_ROUTER_EVAL] = "INSERT INTO router_eval(run_id, step, task, domain, layer, expert, load,"
                        " prob, first) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT DO UPDATE"
                        " SET load = excluded.load, prob = excluded.prob, first = excluded.first",
    [ROW_ROUTER_EVAL_LAYER] = "INSERT INTO router_eval_layer(run_id, step, task, domain, layer,"
                              " entropy, top1, tokens) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)"
                              " ON CONFLICT DO UPDATE SET entropy = excluded.entropy,"
                              " top1 = excluded.top1, tokens = excluded.tokens",
    [ROW_EVENT] = "INSERT INTO event(run_id, step, level, code, text, t_ms)"
                  " VALUES(?1,?2,?3,?4,?5,?6)",
    [ROW_EVAL] = EVAL_INSERT,
    [ROW_ARTIFACT] = "INSERT INTO artifact(run_id, kind, path, step, sha256, bytes, state,"
                     " created_ms) VALUES(?1,?2,?3,?4,?5,?6,'complete',?7)"
                     " ON CONFLICT(path, sha256) DO UPDATE SET run_id = excluded.run_id,"
                     " kind = excluded.kind, step = excluded.step, bytes = excluded.bytes,"
                     " state = 'complete'",
};
enum { ROW_KINDS = sizeof insert_sql / sizeof *insert_sql };

static int put_int(sqlite3_stmt *st, int i, long long v)
{
    return sqlite3_bind_int64(st, i, v) != SQLITE_OK;
}

static int put_real(sqlite3_stmt *st, int i, double v)
{
    return sqlite3_bind_double(st, i, v) != SQLITE_OK;
}

static int put_text(sqlite3_stmt *st, int i, const char *v)
{
    return sqlite3_bind_text(st, i, v ? v : "", -1, SQLITE_STATIC) != SQLITE_OK;
}

static int put_count(sqlite3_stmt *st, int i, long long n)
{
    return n < 0 ? sqlite3_bind_null(st, i) != SQLITE_OK : put_int(st, i, n);
}

static int put_loads(sqlite3_stmt *st, int i, const struct row *r)
{
    return put_real(st, i, r->x) | put_real(st, i + 1, r->y) | put_real(st, i + 2, r->z);
}

static int bind_row(sqlite3_stmt *st, const struct row *r, long long run_id, long long key_id)
{
    int bad = put_int(st, 1, run_id);
    switch (r->kind) {
    case ROW_METRIC:
        bad |= put_int(st, 2, key_id) | put_int(st, 3, r->step) | put_real(st, 4, r->x) |
               put_int(st, 5, r->t_ms);
        break;
    case ROW_LAYER:
        bad |= put_int(st, 2, r->layer) | put_int(st, 3, r->step) | put_real(st, 4, r->x) |
               put_real(st, 5, r->y) | put_real(st, 6, r->z) | put_count(st, 7, r->n);
        break;
    case ROW_EXPERT:
        bad |= put_int(st, 2, r->layer) | put_int(st, 3, r->expert) | put_int(st, 4, r->step) |
               put_loads(st, 5, r);
        break;
    case ROW_DOMAIN:
        bad |= put_int(st, 2, r->layer) | put_int(st, 3, r->expert) | put_text(st, 4, r->text[0]) |
               put_int(st, 5, r->step) | put_loads(st, 6, r);
        break;
    case ROW_DOMAIN_LAYER:
        bad |= put_int(st, 2, r->layer) | put_text(st, 3, r->text[0]) | put_int(st, 4, r->step) |
               put_real(st, 5, r->x) | put_real(st, 6, r->z) | put_count(st, 7, r->n);
        break;
    case ROW_ROUTER_EVAL:
        bad |= put_int(st, 2, r->step) | put_text(st, 3, r->text[0]) | put_text(st, 4, r->text[1]) |
               put_int(st, 5, r->layer) | put_int(st, 6, r->expert) | put_loads(st, 7, r);
        break;
    case ROW_ROUTER_EVAL_LAYER:
        bad |= put_int(st, 2, r->step) | put_text(st, 3, r->text[0]) | put_text(st, 4, r->text[1]) |
               put_int(st, 5, r->layer) | put_real(st, 6, r->x) | put_real(st, 7, r->z) |
               put_count(st, 8, r->n);
        break;
    case ROW_EVENT:
        bad |= put_int(st, 2, r->step) | put_text(st, 3, r->text[0]) | put_text(st, 4, r->text[1]) |
               put_text(st, 5, r->text[2]) | put_int(st, 6, r->t_ms);
        break;
    case ROW_EVAL:
        bad |= put_int(st, 2, r->step) | put_text(st, 3, r->text[0]) | put_text(st, 4, r->text[1]) |
               put_real(st, 5, r->x) | put_real(st, 6, r->y) | put_int(st, 7, r->n) |
               put_int(st, 8, r->t_ms) | put_real(st, 9, r->lo) | put_real(st, 10, r->hi) |
               put_text(st, 11, r->text[2]);
        break;
    case ROW_ARTIFACT:
        bad |= put_text(st, 2, r->text[0]) | put_text(st, 3, r->text[1]) | put_int(st, 4, r->step) |
               put_text(st, 5, r->text[2]) | put_int(st, 6, r->n) | put_int(st, 7, r->t_ms);
        break;
    }
    return bad;
}

int queue_write(struct queue *q, struct db *d, long long run_id, struct pesc_error *err)
{
    sqlite3_stmt *st[ROW_KINDS] = {0};
    int rc = 0;
    long lost = q->dropped;
    for (size_t i = 0; i < q->n && rc == 0; i++) {
        const struct row *r = &q->rows[i];
        long long key_id = 0;
        if (!st[r->kind]) {
            int made = sqlite3_prepare_v2(d->c, insert_sql[r->kind], -1, &st[r->kind], NULL);
            if (made != SQLITE_OK) {
                rc = db_fail(d, made, "write", err);
                break;
            }
        }
        if (r->kind == ROW_METRIC)
            rc = name_id(q, d, r->text[0], &key_id, err);
        if (rc == 0 && bind_row(st[r->kind], r, run_id, key_id))
            rc = FAIL(err, MEMORY, "no memory for a row of the history");
        if (rc != 0)
            break;
        int done = sqlite3_step(st[r->kind]);
        if ((done & 0xff) == SQLITE_CONSTRAINT)
            lost++;
        else if (done != SQLITE_DONE)
            rc = db_fail(d, done, "write", err);
        sqlite3_reset(st[r->kind]);
    }
    for (int i = 0; i < ROW_KINDS; i++)
        sqlite3_finalize(st[i]);
    if (rc == 0 && lost > 0)
        rc = db_run(d, err,
                    "INSERT INTO event(run_id, t_ms, level, code, text) VALUES(?1, ?2, 'warn',"
                    " 'W-DB-DROPPED', ?3 || ' rows are missing here; metrics.jsonl has them')",
                    "iii", run_id, now_ms(), (long long)lost);
    return rc;
}
