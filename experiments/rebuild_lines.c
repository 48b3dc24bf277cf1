#include "config.h"
#include "experiments/rebuild_lines.h"

#include "core/file.h"
#include "core/json.h"
#include "experiments/log_lines.h"
#include "experiments/router_lines.h"
#include "experiments/rundir.h"
#include "experiments/scores.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHUNK = 4000, PATIENCE_MS = 10000, TRIES = 20 };

struct state {
    struct history *h;
    const char *dir;
    struct rebuilt *out;
    struct rebuild_log *log;
    struct log_end end;
};

/* A trainer's rows may go first. */
static int flush(struct history *h, struct pesc_error *err)
{
    struct pesc_error e;
    int rc;
    for (int i = 0; i < TRIES; i++) {
        e = (struct pesc_error){0};
        rc = history_flush(h, &e);
        if (rc == 0)
            return 0;
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    }
    *err = e;
    return -1;
}

static int alone(struct history *h, int rc, struct pesc_error *err)
{
    if (rc == 0)
        return db_commit(&h->db, err);
    db_rollback(&h->db);
    return rc;
}

static int add_end(struct state *s, struct pesc_error *err)
{
    struct rebuild_log *l = s->log;
    struct log_end *grown = realloc(l->ends, (size_t)(l->n + 1) * sizeof *grown);
    if (!grown)
        return FAIL(err, MEMORY, "no memory for the ends of a run");
    l->ends = grown;
    l->ends[l->n++] = s->end;
    return 0;
}

static const char *text_of(const json_t *line, const char *key)
{
    return json_string_value(json_object_get(line, key));
}

static long long int_of(const json_t *line, const char *key)
{
    return (long long)json_integer_value(json_object_get(line, key));
}

static int on_step(struct state *s, long step, const json_t *line, struct pesc_error *err)
{
    static const char *const other[] = {"event",          "step",        "tokens",
                                        "trained_tokens", "tokens_seen", "t_ms"};
    const char *key;
    json_t *v;
    (void)err;
    json_object_foreach((json_t *)line, key, v)
    {
        int is_other = 0;
        double x;
        for (size_t i = 0; i < sizeof other / sizeof *other; i++)
            is_other |= !strcmp(key, other[i]);
        if (!is_other && json_real_read(v, &x))
            history_metric(s->h, key, step, x);
    }
    s->end.step = step;
    s->end.tokens = json_object_get(line, "tokens_seen") ? int_of(line, "tokens_seen")
                                                         : s->end.tokens + int_of(line, "tokens");
    return 0;
}

static int take_score(void *ctx, long step, const struct history_score *row, struct pesc_error *err)
{
    (void)err;
    history_eval(ctx, step, row);
    return 0;
}

static int on_eval(struct state *s, long step, const json_t *line, struct pesc_error *err)
{
    static const char *const figures[] = {"loss", "perplexity", "accuracy", "exact_match"};
    const char *metric = text_of(line, "metric"), *task = text_of(line, "task");
    double x;
    TRY(scores_read(line, take_score, s->h, err));
    /* Lines of before they named the metric, and had rows. */
    if (!metric && task && !strchr(task, '/') && !json_object_get(line, "t_ms"))
        metric = "valid/loss";
    if (metric && json_real_read(json_object_get(line, "loss"), &x))
        history_metric(s->h, metric, step, x);
    for (size_t i = 0; i < 4 && task && !json_object_get(line, "rows"); i++)
        if (json_real_read(json_object_get(line, figures[i]), &x))
            history_eval(s->h, step,
                         &(struct history_score){.task = task,
                                                 .metric = figures[i],
                                                 .value = x,
                                                 .stderr_ = NAN,
                                                 .lo = NAN,
                                                 .hi = NAN,
                                                 .n = (long)int_of(line, "n")});
    return 0;
}

/* Events have no key of their own: one that is there is not added again. */
static int on_event(struct state *s, long step, const json_t *line, struct pesc_error *err)
{
    const char *level = text_of(line, "level"), *code = text_of(line, "code");
    const char *text = text_of(line, "text");
    long long there = 0;
    if (!level || !code || !text)
        return 0;
    if (s->out->known)
        TRY(db_int(&s->h->db, err, &there,
                   "SELECT count(*) FROM event WHERE run_id = ?1 AND step = ?2 AND code = ?3"
                   " AND text = ?4 AND ?5 IN (0, t_ms)",
                   "iissi", s->h->run_id, (long long)step, code, text, int_of(line, "t_ms")));
    if (!there)
        history_event(s->h, step, level, code, text);
    return 0;
}

/* A folder that was moved has its files with it. */
static void where_now(const struct state *s, const char *path, int checkpoint, char *out)
{
    char in[PATH_CAP];
    snprintf(out, PATH_CAP, "%s", path);
    if (!path_exists(path) && path_join(in, s->dir, checkpoint ? "ckpt" : s->dir, NULL) == 0 &&
        path_join(out, in, path_base(path), NULL) != 0)
        snprintf(out, PATH_CAP, "%s", path);
}

static int on_file(struct state *s, long step, const json_t *line, struct pesc_error *err)
{
    const char *kind = text_of(line, "kind"), *path = text_of(line, "path");
    const char *sha256 = text_of(line, "sha256");
    int checkpoint = !kind;
    char now[PATH_CAP];
    (void)err;
    if (!path || !sha256)
        return 0;
    where_now(s, path, checkpoint, now);
    history_artifact(s->h, checkpoint ? "checkpoint" : kind, now, step, sha256,
                     int_of(line, "bytes"));
    return 0;
}

/* What came past this step is of the run no more. */
static int on_resume(struct state *s, long step, const json_t *line, struct pesc_error *err)
{
    (void)line;
    TRY(add_end(s, err));
    TRY(flush(s->h, err));
    TRY(db_begin(&s->h->db, PATIENCE_MS, err));
    return alone(s->h, history_forget_within(s->h, step, err), err);
}

static int on_again(struct state *s, long step, const json_t *line, struct pesc_error *err)
{
    static const char *const gone[] = {
        "DELETE FROM router_eval WHERE run_id = ?1 AND step = ?2 AND task = ?3",
        "DELETE FROM router_eval_layer WHERE run_id = ?1 AND step = ?2 AND task = ?3"};
    int rc = 0;
    TRY(flush(s->h, err));
    TRY(db_begin(&s->h->db, PATIENCE_MS, err));
    for (size_t i = 0; i < 2 && rc == 0; i++)
        rc = db_run(&s->h->db, err, gone[i], "iis", s->h->run_id, (long long)step,
                    text_of(line, "task"));
    return alone(s->h, rc, err);
}

static int on_router(struct state *s, long step, const json_t *line, struct pesc_error *err)
{
    (void)step;
    return router_line_read(s->h, line, err);
}

static const struct {
    const char *event;
    int (*read)(struct state *s, long step, const json_t *line, struct pesc_error *err);
} events[] = {
    {"step", on_step},          {"router", on_router},           {"router_domain", on_router},
    {"router_eval", on_router}, {"router_eval_again", on_again}, {"eval", on_eval},
    {"event", on_event},        {"checkpoint", on_file},         {"artifact", on_file},
    {"resume", on_resume}};

static int read_line(struct state *s, const char *text, size_t n, long long began,
                     struct pesc_error *err)
{
    json_t *line = json_parse(text, n, NULL, NULL, 0);
    const char *event = text_of(line, "event");
    long long t_ms = int_of(line, "t_ms");
    int rc = 0, known = 0;
    history_at(s->h, t_ms > 0 ? t_ms : began);
    for (size_t i = 0; event && i < sizeof events / sizeof *events && !known; i++)
        if (!strcmp(event, events[i].event)) {
            known = 1;
            if (t_ms > s->end.t_ms)
                s->end.t_ms = t_ms;
            rc = events[i].read(s, (long)int_of(line, "step"), line, err);
        }
    s->out->passed_over += !known;
    s->out->lines++;
    json_decref(line);
    return rc;
}

int rebuild_log_read(struct history *h, const char *dir, long long began, struct rebuilt *out,
                     struct rebuild_log *log, struct pesc_error *err)
{
    char path[PATH_CAP];
    struct log_lines l;
    struct state s = {.h = h, .dir = dir, .out = out, .log = log};
    const char *text;
    size_t n;
    int rc;
    s.end.t_ms = began;
    TRY(path_join(path, dir, "metrics.jsonl", err));
    if (!path_exists(path))
        return add_end(&s, err);
    TRY(log_open(&l, path, err));
    while ((rc = log_next(&l, &text, &n, err)) > 0) {
        rc = read_line(&s, text, n, began, err);
        if (rc == 0 && history_queued(h) >= CHUNK)
            rc = flush(h, err);
        if (rc != 0)
            break;
    }
    if (rc == 0)
        rc = flush(h, err);
    if (rc == 0)
        rc = add_end(&s, err);
    out->passed_over += l.passed_over;
    log_close(&l);
    history_at(h, 0);
    return rc;
}

void rebuild_log_free(struct rebuild_log *log)
{
    free(log->ends);
    *log = (struct rebuild_log){0};
}
