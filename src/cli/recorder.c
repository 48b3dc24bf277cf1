#include "config.h"
#include "cli/recorder.h"

#include "experiments/scores.h"

#include <math.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One line of metrics.jsonl; takes line. */
static void append(struct recorder *r, json_t *line)
{
    struct pesc_error e = {0};
    if (!line || rundir_append(r->dir, line, &e) != 0) {
        int told = r->dir_failed;
        r->dir_failed = 1; /* the note comes by here too */
        if (!told)
            note(&r->notes, "W-RUN-LOG", "metrics.jsonl: %s", e.code ? e.text : "no memory");
    }
    json_decref(line);
}

void recorder_flush(struct recorder *r)
{
    struct pesc_error e = {0};
    r->flushed = now();
    if (!r->history || history_flush(r->history, &e) == 0)
        return;
    if (!r->history_failed)
        note(&r->notes, "W-DB-BUSY", "the history is not written for now: %s", e.text);
    r->history_failed = 1;
}

static void on_step(void *ctx, const struct step_metrics *m, int logged)
{
    struct recorder *r = ctx;
    r->step = m->step;
    r->tokens += m->tokens;
    progress_step(r->progress, m, logged);
    if (logged) {
        const struct {
            const char *key;
            double value;
        } rows[] = {{"train/loss", m->loss},
                    {"ce", m->ce},
                    {"balance", m->balance},
                    {"lr", m->lr},
                    {"grad_norm", m->grad_norm},
                    {"tokens_per_s", m->tokens_per_s},
                    {"trained_tokens_per_s", m->trained_tokens_per_s},
                    {"peak_rss_bytes", (double)m->peak_rss},
                    {"epoch", m->epoch}};
        json_t *line = json_pack("{s:s, s:I, s:I, s:I}", "event", "step", "step",
                                 (json_int_t)m->step, "tokens", (json_int_t)m->tokens,
                                 "trained_tokens", (json_int_t)m->trained_tokens);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            json_put(&line, rows[i].key, json_real_or_text(rows[i].value));
            if (r->history)
                history_metric(r->history, rows[i].key, m->step, rows[i].value);
        }
        append(r, line);
    }
    if (r->history)
        history_progress(r->history, m->step, r->tokens);
    if (now() - r->flushed >= 1)
        recorder_flush(r);
}

static json_t *array_of(const double *v, long n)
{
    json_t *list = json_array();
    for (long e = 0; e < n; e++)
        json_add(&list, json_real_or_text(v[e]));
    return list;
}

static struct history_router routers_row(const struct router_metrics *m)
{
    return (struct history_router){.layer = m->layer,
                                   .experts = (int)m->experts,
                                   .domain = m->domain,
                                   .entropy = m->entropy,
                                   .aux = m->balance,
                                   .top1 = m->top1,
                                   .tokens = m->tokens,
                                   .load = m->load,
                                   .prob = m->prob,
                                   .first = m->first};
}

static void router_line(struct recorder *r, const char *event, const struct router_metrics *m)
{
    json_t *line = json_pack("{s:s, s:I, s:i, s:I}", "event", event, "step", (json_int_t)m->step,
                             "layer", m->layer, "tokens", (json_int_t)m->tokens);
    if (m->task)
        json_put(&line, "task", json_string(m->task));
    if (m->task || m->domain)
        json_put(&line, "domain", json_string(m->domain ? m->domain : ""));
    else
        json_put(&line, "balance", json_real_or_text(m->balance));
    json_put(&line, "entropy", json_real_or_text(m->entropy));
    json_put(&line, "top1", json_real_or_text(m->top1));
    json_put(&line, "load", array_of(m->load, m->experts));
    json_put(&line, "prob", array_of(m->prob, m->experts));
    json_put(&line, "first", array_of(m->first, m->experts));
    append(r, line);
}

static void on_router(void *ctx, const struct router_metrics *m)
{
    struct recorder *r = ctx;
    struct history_router row = routers_row(m);
    router_line(r, m->domain ? "router_domain" : "router", m);
    if (r->history)
        history_router(r->history, m->step, &row);
}

static void on_router_eval(void *ctx, const struct router_metrics *m)
{
    struct recorder *r = ctx;
    struct history_router row = routers_row(m);
    router_line(r, "router_eval", m);
    if (r->history)
        history_router_eval(r->history, m->step, m->task, &row);
}

static void on_eval(void *ctx, const struct eval_metrics *m)
{
    struct recorder *r = ctx;
    char task[512];
    snprintf(task, sizeof task, "%s%s%s", m->task, m->domain ? "/" : "",
             m->domain ? m->domain : "");
    const struct history_score rows[] = {
        {task, "loss", m->loss, m->loss_stderr, m->loss_ci.lo, m->loss_ci.hi, m->n, NULL},
        {task, "perplexity", m->perplexity, NAN, m->perplexity_ci.lo, m->perplexity_ci.hi, m->n,
         NULL},
        {task, "accuracy", m->accuracy, m->accuracy_stderr, m->accuracy_ci.lo, m->accuracy_ci.hi,
         m->n, NULL},
        {task, "exact_match", m->exact_match, m->exact_stderr, m->exact_ci.lo, m->exact_ci.hi,
         m->answers, NULL}};
    enum { ROWS = sizeof rows / sizeof *rows };
    progress_eval(r->progress, m);
    json_t *line = json_pack("{s:s, s:I, s:s, s:I}", "event", "eval", "step", (json_int_t)m->step,
                             "task", task, "n", (json_int_t)m->n);
    for (int i = 0; i < ROWS; i++)
        json_put(&line, rows[i].metric, json_real_or_text(rows[i].value));
    json_put(&line, "rows", scores_json(rows, ROWS));
    append(r, line);
    if (!r->history)
        return;
    for (int i = 0; i < ROWS; i++)
        history_eval(r->history, m->step, &rows[i]);
    if (!m->domain)
        history_metric(r->history, "valid/loss", m->step, m->loss);
}

static void on_event(void *ctx, long step, const char *level, const char *code, const char *text)
{
    struct recorder *r = ctx;
    progress_event(r->progress, step, level, code, text);
    append(r, json_pack("{s:s, s:I, s:s, s:s, s:s}", "event", "event", "step", (json_int_t)step,
                        "level", level, "code", code, "text", text));
    if (r->history)
        history_event(r->history, step, level, code, text);
}

static void on_checkpoint(void *ctx, long step, const char *path, const char *sha256,
                          uint64_t bytes)
{
    struct recorder *r = ctx;
    struct pesc_error e = {0};
    progress_checkpoint(r->progress, step, path, sha256, bytes);
    append(r,
           json_pack("{s:s, s:I, s:s, s:s, s:I}", "event", "checkpoint", "step", (json_int_t)step,
                     "path", path, "sha256", sha256, "bytes", (json_int_t)bytes));
    if (rundir_sync(r->dir, &e) != 0)
        note(&r->notes, "W-RUN-LOG", "metrics.jsonl: %s", e.text);
    if (r->history)
        history_artifact(r->history, "checkpoint", path, step, sha256, (long long)bytes);
    recorder_flush(r);
}

static void on_note(void *ctx, const char *code, const char *text)
{
    struct recorder *r = ctx;
    on_event(r, r->step, "warn", code, text);
}

struct notes recorder_notes(struct recorder *r)
{
    return (struct notes){on_note, r};
}

struct train_sink recorder_sink(struct recorder *r)
{
    return (struct train_sink){.ctx = r,
                               .step = on_step,
                               .router = on_router,
                               .router_domain = on_router,
                               .router_eval = on_router_eval,
                               .eval = on_eval,
                               .event = on_event,
                               .checkpoint = on_checkpoint};
}
