#include "config.h"
#include "cli/train_history.h"

#include "cli/db_arg.h"
#include "cli/train_facts.h"
#include "core/machine.h"
#include "experiments/runlist.h"
#include "experiments/spool.h"

static void mark(struct train_session *s)
{
    struct pesc_error e = {0};
    if (spool_mark(rundir_path(s->rec.dir), &e) != 0)
        note(&s->rec.notes, "W-DB-LIST", "runs rebuild will have to be told of this run: %s",
             e.text);
}

void train_history_start(struct train_session *s, const struct train_cli *o,
                         const struct history_run *run)
{
    char path[PATH_CAP];
    struct pesc_error e = {0}, unlisted = {0};
    if (cli_db_path(o->db, path, NULL) == 0 && runlist_add(path, run->dir, &unlisted) != 0)
        note(&s->rec.notes, "W-DB-LIST", "runs rebuild will have to be told of this run: %s",
             unlisted.text);
    int rc = cli_db_path(o->db, path, &e);
    if (rc == 0)
        rc = history_open(path, &s->rec.history, &e);
    if (rc == 0) {
        (void)spool_take(s->rec.history, path, &s->rec.notes);
        rc = history_run_start(s->rec.history, rundir_uuid(s->rec.dir), run, &e);
    }
    if (rc == 0) {
        if (history_background(s->rec.history, &e) != 0)
            note(&s->rec.notes, "W-DB-BUSY", "the history is written between steps: %s", e.text);
        mark(s); /* until its end is written */
        return;
    }
    note(&s->rec.notes, "W-DB-OFF", "this run is recorded in its folder only, for now: %s", e.text);
    history_close(s->rec.history);
    s->rec.history = NULL;
    s->unrecorded = 1;
    mark(s);
}

void train_history_end(struct train_session *s, const struct train_result *r, double tokens_per_s,
                       const char *status, int exit_code, const char *error)
{
    struct pesc_error e = {0};
    unsigned long long peak = machine_peak_rss();
    double seconds = train_clock() - s->begun;
    long long t_ms = history_now();
    json_t *line =
        json_pack("{s:I, s:s, s:i, s:I, s:I, s:I}", "ended_ms", (json_int_t)t_ms, "status", status,
                  "exit_code", exit_code, "end_step", (json_int_t)r->steps, "tokens",
                  (json_int_t)r->tokens, "peak_rss_bytes", (json_int_t)peak);
    if (error)
        json_put(&line, "error", json_text(error));
    json_put(&line, "tokens_per_s", json_real_or_text(tokens_per_s));
    json_put(&line, "seconds", json_real_or_text(seconds));
    if (!line || rundir_append_segment(s->rec.dir, line, &e) != 0)
        note(&s->rec.notes, "W-RUN-LOG", "segments.jsonl: %s", e.code ? e.text : "no memory");
    json_decref(line);
    if (!s->rec.history)
        return;
    e = (struct pesc_error){0};
    history_at(s->rec.history, t_ms);
    history_progress(s->rec.history, r->steps, r->tokens);
    history_outcome(s->rec.history, peak, tokens_per_s, seconds);
    if (history_run_end(s->rec.history, status, exit_code, error, &e) != 0)
        note(&s->rec.notes, "W-DB-BUSY", "the history misses the end of this run: %s", e.text);
    if (e.code || history_lost(s->rec.history) > 0)
        s->unrecorded = 1;
    else
        spool_unmark(rundir_path(s->rec.dir));
}

void train_history_catch_up(const struct train_session *s, const struct train_cli *o,
                            const struct notes *notes)
{
    char path[PATH_CAP];
    struct history *h = NULL;
    if (!s->unrecorded || cli_db_path(o->db, path, NULL) != 0 || history_open(path, &h, NULL) != 0)
        return;
    if (spool_take(h, path, notes) > 0)
        note(notes, "W-DB-LATE", "the history has this run now, from its folder");
    history_close(h);
}
