#include "config.h"
#include "experiments/keep.h"

#include "core/json.h"
#include "experiments/history_impl.h"
#include "experiments/rebuild.h"
#include "experiments/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 10000, SILENT_MS = 120000 };

static int alone(struct db *d, int rc, struct pesc_error *err)
{
    if (rc == 0)
        return db_commit(d, err);
    db_rollback(d);
    return rc;
}

int keep_label(const char *db, long long run_id, const struct label_change *c,
               struct pesc_error *folder, struct pesc_error *err)
{
    struct db d;
    TRY(db_open(&d, db, err));
    int rc = labels_change(&d, run_id, c, folder, err);
    db_close(&d);
    return rc;
}

/* Large tables first and one by one, so that trainers come by; the run itself last. */
static int purge_rows(struct db *d, long long id, struct pesc_error *err)
{
    static const char *const steps[] = {
        "DELETE FROM metric WHERE run_id = ?1",
        "DELETE FROM router_expert WHERE run_id = ?1",
        "DELETE FROM router_layer WHERE run_id = ?1",
        "DELETE FROM router_domain WHERE run_id = ?1",
        "DELETE FROM router_domain_layer WHERE run_id = ?1",
        "DELETE FROM router_eval WHERE run_id = ?1",
        "DELETE FROM router_eval_layer WHERE run_id = ?1",
        "DELETE FROM event WHERE run_id = ?1",
        "DELETE FROM artifact WHERE run_id = ?1",
        "UPDATE run SET parent_run_id = NULL WHERE parent_run_id = ?1",
        "DELETE FROM run WHERE id = ?1",
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        TRY(db_begin(d, PATIENCE_MS, err));
        TRY(alone(d, db_run(d, err, steps[i], "i", id), err));
    }
    return 0;
}

static int is_own_dir(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* run.json last: what is left by a crash is still a run. What is not of a run stays. */
static int remove_files(const char *dir, int *removed, struct pesc_error *err)
{
    static const char *const dirs[] = {"ckpt", "model"};
    static const char *const files[] = {
        "adapter.safetensors", "metrics.jsonl", "segments.jsonl", "packs.jsonl",
        "labels.json",         "config.yaml",   "run.json",       ".lock"};
    char path[PATH_CAP];
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        TRY(path_join(path, dir, dirs[i], err));
        if (is_own_dir(path))
            TRY(dir_remove_all(path, err));
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        TRY(path_join(path, dir, files[i], err));
        if (unlink(path) != 0 && errno != ENOENT)
            return file_fail(err, path, "remove");
    }
    *removed = rmdir(dir) == 0;
    return 0;
}

static int purge(struct db *d, long long id, int with_folder, int *removed, struct pesc_error *err)
{
    char uuid[33], dir[PATH_CAP];
    long long deleted = 0;
    struct rundir *r = NULL;
    TRY(run_folder(d, id, uuid, dir, err));
    TRY(db_int(d, err, &deleted, "SELECT coalesce(deleted_ms, 0) FROM run WHERE id = ?1", "i", id));
    if (!deleted)
        return FAIL(err, USAGE, "run %.8s is not deleted; 'pesc runs delete' comes first", uuid);
    if (with_folder && !run_folder_holds(dir, uuid))
        return FAIL(err, USAGE_VALUE, "%s does not hold run %.8s: nothing was removed", dir, uuid);
    if (with_folder)
        TRY(rundir_open(dir, 1, &r, err)); /* no process of its own works there until it is gone */
    int rc = purge_rows(d, id, err);
    if (rc == 0 && with_folder)
        rc = remove_files(dir, removed, err);
    rundir_close(r);
    return rc;
}

int keep_purge(const char *db, long long run_id, int with_folder, int *removed,
               struct pesc_error *err)
{
    struct db d;
    int none;
    TRY(db_open(&d, db, err));
    int rc = purge(&d, run_id, with_folder, removed ? removed : &none, err);
    db_close(&d);
    return rc;
}

struct suspect {
    long long id, seq, pid, heartbeat_ms, last_step, tokens;
    char uuid[33], dir[PATH_CAP], boot_id[64];
    char *name;
};

/* The next run that says it runs, after that id; found: id, else 0. */
static int next_suspect(struct db *d, struct suspect *s, struct pesc_error *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(
        d->c,
        "SELECT r.id, s.seq, s.pid, r.heartbeat_ms, r.last_step, r.tokens_seen, r.uuid, r.dir,"
        " s.boot_id, r.name FROM run r LEFT JOIN segment s ON s.run_id = r.id AND s.seq ="
        " (SELECT max(seq) FROM segment WHERE run_id = r.id)"
        " WHERE r.status = 'running' AND r.id > ?1 ORDER BY r.id LIMIT 1",
        -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(st, 1, s->id);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    free(s->name);
    *s = (struct suspect){0};
    if (rc == SQLITE_ROW) {
        long long *const numbers[] = {&s->id,           &s->seq,       &s->pid,
                                      &s->heartbeat_ms, &s->last_step, &s->tokens};
        for (int i = 0; i < 6; i++)
            *numbers[i] = sqlite3_column_int64(st, i);
        const char *boot = (const char *)sqlite3_column_text(st, 8);
        snprintf(s->uuid, sizeof s->uuid, "%s", (const char *)sqlite3_column_text(st, 6));
        snprintf(s->dir, sizeof s->dir, "%s", (const char *)sqlite3_column_text(st, 7));
        snprintf(s->boot_id, sizeof s->boot_id, "%s", boot ? boot : "");
        s->name = strdup((const char *)sqlite3_column_text(st, 9));
    }
    sqlite3_finalize(st);
    if (rc == SQLITE_ROW && !s->name)
        return FAIL(err, MEMORY, "no memory for a run's name");
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : db_fail(d, rc, "look for runs", err);
}

/* The folder's lock knows best, on this machine; then the process; then that nothing was heard. */
static int is_alive(const struct suspect *s, int has_lock)
{
    struct history_process here;
    int silent = history_now() - s->heartbeat_ms > SILENT_MS;
    history_process(&here);
    if (*s->boot_id && strcmp(s->boot_id, here.boot_id) != 0)
        return !silent;
    if (has_lock)
        return 0;
    if (!*s->boot_id)
        return !silent;
    return s->pid > 0 && (kill((pid_t)s->pid, 0) == 0 || errno == EPERM);
}

static int bury(struct db *d, const struct suspect *s, struct pesc_error *err)
{
    TRY(db_begin(d, PATIENCE_MS, err));
    int rc = db_run(d, err,
                    "UPDATE run SET status = 'killed', ended_ms = heartbeat_ms"
                    " WHERE id = ?1 AND status = 'running' AND heartbeat_ms = ?2",
                    "ii", s->id, s->heartbeat_ms);
    if (rc == 0)
        rc = db_run(d, err,
                    "UPDATE segment SET reason = 'killed', ended_ms = ?3, end_step = ?4"
                    " WHERE run_id = ?1 AND seq = ?2 AND ended_ms IS NULL",
                    "iiii", s->id, s->seq, s->heartbeat_ms, s->last_step);
    return alone(d, rc, err);
}

/* The folder may know more than the history, of the last second at least. Then it says, too, how it
 * ended. */
static int bury_folder(struct history *h, const struct suspect *s, struct pesc_error *err)
{
    struct rebuilt r;
    long long ended = 0, step = 0, tokens = 0;
    TRY(rebuild_run(h, s->dir, &r, err));
    TRY(db_int(&h->db, err, &ended, "SELECT ended_ms FROM run WHERE id = ?1", "i", s->id));
    TRY(db_int(&h->db, err, &step, "SELECT last_step FROM run WHERE id = ?1", "i", s->id));
    TRY(db_int(&h->db, err, &tokens, "SELECT tokens_seen FROM run WHERE id = ?1", "i", s->id));
    if (!ended) /* it was resumed just now */
        return 0;
    json_t *line = json_pack("{s:I, s:s, s:I, s:I}", "ended_ms", (json_int_t)ended, "status",
                             "killed", "end_step", (json_int_t)step, "tokens", (json_int_t)tokens);
    int rc = line ? rundir_append_to(s->dir, "segments.jsonl", line, err)
                  : FAIL(err, MEMORY, "no memory for the end of a run");
    json_decref(line);
    return rc;
}

static int reap_one(struct history *h, const struct suspect *s,
                    void (*take)(void *ctx, const char *uuid, const char *name), void *ctx,
                    struct pesc_error *err)
{
    struct rundir *r = NULL;
    struct pesc_error why = {0};
    int rc, has_folder = run_folder_holds(s->dir, s->uuid);
    if (has_folder && rundir_open(s->dir, 1, &r, &why) != 0 && why.code == PESC_E_RUN_BUSY)
        return 0;
    int has_lock = r != NULL;
    rundir_close(r);
    if (is_alive(s, has_lock))
        return 0;
    rc = has_lock ? bury_folder(h, s, err) : bury(&h->db, s, err);
    if (rc == 0)
        take(ctx, s->uuid, s->name);
    return rc;
}

int keep_reap(const char *db, void (*take)(void *ctx, const char *uuid, const char *name),
              void *ctx, struct pesc_error *err)
{
    struct history *h;
    struct suspect s = {0};
    TRY(history_open(db, &h, err));
    int rc;
    while ((rc = next_suspect(&h->db, &s, err)) == 0 && s.id) {
        rc = reap_one(h, &s, take, ctx, err);
        if (rc != 0)
            break;
    }
    free(s.name);
    history_close(h);
    return rc;
}
