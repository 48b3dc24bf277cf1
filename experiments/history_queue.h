/* What waits to be written: rows in memory, in the order they came. */
#ifndef EXPERIMENTS_HISTORY_QUEUE_H
#define EXPERIMENTS_HISTORY_QUEUE_H

#include "experiments/db.h"

enum row_kind {
    ROW_METRIC,
    ROW_LAYER,
    ROW_EXPERT,
    ROW_DOMAIN,
    ROW_DOMAIN_LAYER,
    ROW_ROUTER_EVAL,
    ROW_ROUTER_EVAL_LAYER,
    ROW_EVENT,
    ROW_EVAL,
    ROW_ARTIFACT
};

struct row {
    enum row_kind kind;
    int layer, expert;
    long step;
    long long t_ms, n; /* n: scored items, tokens (-1: unknown) or bytes */
    double x, y, z;    /* value and stderr; load, prob and first; entropy, aux and top1 */
    double lo, hi;     /* of a value */
    char *text[3];
};

struct metric_name { /* cache of metric_key; emptied when a transaction fails */
    char *name;
    long long id;
};

struct queue {
    struct row *rows;
    size_t n, cap;
    long dropped;   /* rows lost since the last report */
    long long t_ms; /* of rows that come; 0: now */
    struct metric_name *names;
    size_t n_names;
};

/* ?1 run_id, step, task, metric, value, stderr, n, t_ms, lo, hi, config. */
#define EVAL_INSERT                                                                                \
    "INSERT INTO eval(run_id, step, task, metric, value, stderr, n, t_ms, lo, hi, config)"         \
    " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11) ON CONFLICT(run_id, step, task, metric) DO"       \
    " UPDATE SET value = excluded.value, stderr = excluded.stderr, n = excluded.n,"                \
    " t_ms = excluded.t_ms, lo = excluded.lo, hi = excluded.hi, config = excluded.config"

/* Copies the texts (NULL stays NULL); -1 when the row was dropped. */
int queue_add(struct queue *q, struct row row, const char *a, const char *b, const char *c);
/* Writes all rows and the report of dropped ones within the caller's transaction. A row that
 * breaks a constraint counts as dropped: it must not hold up the rest for ever. The queue stays as
 * it is: queue_clear after the commit. */
int queue_write(struct queue *q, struct db *d, long long run_id, struct pesc_error *err) MUST_USE;
/* All rows of from go behind those of to; without memory for that, they stay where they are. */
void queue_move(struct queue *to, struct queue *from);
void queue_clear(struct queue *q);
void queue_forget_names(struct queue *q);
void queue_free(struct queue *q);

long long now_ms(void); /* since 1970 */

#endif
