#include "config.h"
#include "cli/recorder.h"

#include "experiments/router_lines.h"
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

/* One line of metrics.jsonl; takes line. The history's rows of it, which come next, are of the same
 * time. */
static void append(struct recorder *r, json_t *line)
{
    struct pesc_error e = {0};
    long long t_ms = history_now();
    json_put(&line, "t_ms", json_integer((json_int_t)t_ms));
    if (r->history)
        history_at(r->history, t_ms);
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
        json_t *line =
            json_pack("{s:s, s:I, s:I, s:I, s:I}", "event", "step", "step", (json_int_t)m->step,
                      "tokens", (json_int_t)m->tokens, "trained_tokens",
                      (json_int_t)m->trained_tokens, "tokens_seen", (json_int_t)r->tokens);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            json_put(&line, rows[i].key, json_real_or_text(rows[i].value));
        }
        append(r, line);
        for (size_t i = 0; i < sizeof rows / sizeof *rows && r->history; i++)
            history_metric(r->history, rows[i].key, m->step, rows[i].value);
    }
    if (r->history)
        history_progress(r->history, m->step, r->tokens);
    if (now() - r->flushed >= 1)
        recorder_flush(r);
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

static void on_router(void *ctx, const struct router_metrics *m)
{
    struct recorder *r = ctx;
    struct history_router row = routers_row(m);
    append(r, router_line(m->step, NULL, &row));
    if (r->history)
        history_router(r->history, m->step, &row);
}

static void on_router_eval(void *ctx, const struct router_metrics *m)
{
    struct recorder *r = ctx;
    struct history_router row = routers_row(m);
    append(r, router_line(m->step, m->task, &row));
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
    if (!m->domain)
        json_put(&line, "metric", json_string("valid/loss"));
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
    append(r, json_pack("{s:s, s:I, s:s, s:s, s:o}", "event", "event", "step", (json_int_t)step,
                        "level", level, "code", code, "text", json_text(text)));
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

void recorder_artifact(struct recorder *r, const char *kind, const char *path, long step,
                       const char *sha256, uint64_t bytes)
{
    append(r, json_pack("{s:s, s:s, s:I, s:o, s:s, s:I}", "event", "artifact", "kind", kind, "step",
                        (json_int_t)step, "path", json_text(path), "sha256", sha256, "bytes",
                        (json_int_t)bytes));
    if (r->history)
        history_artifact(r->history, kind, path, step, sha256, (long long)bytes);
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
