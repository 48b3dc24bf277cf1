#include "config.h"
#include "experiments/rebuild.h"

#include "core/hash.h"
#include "core/json.h"
#include "experiments/labels.h"
#include "experiments/log_lines.h"
#include "experiments/rebuild_lines.h"
#include "experiments/registration.h"
#include "experiments/rundir.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PATIENCE_MS = 10000, MANIFEST_MAX = 1 << 20 };

static long long int_of(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* 2026-11-27T20:00:00Z; 0: no such text. */
static long long time_of(const char *text)
{
    struct tm tm = {0};
    if (!text || sscanf(text, "%d-%d-%dT%d:%d:%dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
                        &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
        return 0;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return (long long)timegm(&tm) * 1000;
}

/* The objects of a log that is small: of processes, of packs. */
static json_t *read_objects(const char *dir, const char *name, struct pesc_error *err)
{
    char path[PATH_CAP];
    struct log_lines l;
    const char *text;
    size_t n;
    int rc;
    json_t *list = json_array();
    if (path_join(path, dir, name, err) != 0 || !path_exists(path))
        return list;
    if (log_open(&l, path, err) != 0) {
        json_decref(list);
        return NULL;
    }
    while ((rc = log_next(&l, &text, &n, err)) > 0) {
        json_t *o = json_parse(text, n, NULL, NULL, 0);
        if (json_is_object(o))
            json_add(&list, o);
        else
            json_decref(o);
    }
    log_close(&l);
    if (rc == 0 && !list)
        FAIL(err, MEMORY, "%s: no memory", path);
    if (rc != 0) {
        json_decref(list);
        return NULL;
    }
    return list;
}

/* Of before start lines told all: what run.json knows. */
static int read_old(const json_t *run, const json_t *start, struct registration *out,
                    struct pesc_error *err)
{
    const json_t *base = json_object_get(run, "base"), *moe = json_object_get(run, "crafted");
    TRY(registration_read((json_t *)run, out, err)); /* name and seed are called the same */
    struct history_run *r = &out->run;
    r->steps_planned = (long)int_of(run, "steps");
    r->threads = (long)int_of(start, "threads");
    r->start_step = (long)int_of(start, "start_step");
    r->env = (struct history_env){.host = text_of(start, "host"),
                                  .tool_version = text_of(start, "version")};
    r->plan = (struct history_plan){0};
    r->model = (struct history_model){.fingerprint = text_of(base, "fingerprint"),
                                      .name = text_of(base, "name"),
                                      .path = text_of(base, "path"),
                                      .arch = text_of(base, "arch"),
                                      .tokenizer_sha256 = text_of(base, "tokenizer_sha256"),
                                      .n_layers = (long)int_of(base, "layers"),
                                      .hidden = (long)int_of(base, "hidden"),
                                      .vocab = (long)int_of(base, "vocab")};
    r->crafted = (struct history_crafted){.n_experts = (long)int_of(moe, "experts"),
                                          .top_k = (long)int_of(moe, "top_k"),
                                          .adapter_dim = (long)int_of(moe, "dim")};
    return 0;
}

struct import {
    struct history *h;
    const char *dir;
    json_t *run, *lines; /* run.json, segments.jsonl */
    long long began;
    struct rebuilt *out;
    struct rebuild_log log;
};

static int is_start(const json_t *line)
{
    return json_object_get(line, "started") != NULL;
}

static long long began_of(const json_t *line)
{
    long long t_ms = int_of(line, "started_ms");
    return t_ms ? t_ms : time_of(text_of(line, "started"));
}

/* Within a transaction. line NULL: segments.jsonl has none. */
static int start(struct import *m, json_t *line, struct pesc_error *err)
{
    struct registration reg;
    json_t *all = json_object_get(line, "run");
    TRY(all ? registration_read(all, &reg, err) : read_old(m->run, line, &reg, err));
    const char *boot = text_of(line, "boot_id");
    reg.run.dir = m->dir;
    reg.run.process.t_ms = began_of(line) ? began_of(line) : m->began;
    reg.run.process.pid = (long)int_of(line, "pid");
    snprintf(reg.run.process.boot_id, sizeof reg.run.process.boot_id, "%s", boot ? boot : "");
    int rc = history_start_within(m->h, m->out->uuid, &reg.run, 0, err);
    registration_free(&reg);
    return rc;
}

static int progress(struct import *m, long long step, long long tokens, long long t_ms,
                    struct pesc_error *err)
{
    return db_run(&m->h->db, err,
                  "UPDATE run SET last_step = ?2, tokens_seen = ?3,"
                  " heartbeat_ms = max(heartbeat_ms, ?4) WHERE id = ?1",
                  "iiii", m->h->run_id, step, tokens, t_ms);
}

static int end(struct import *m, const json_t *line, struct pesc_error *err)
{
    double tokens_per_s, seconds;
    const char *status = text_of(line, "status");
    json_real_read(json_object_get(line, "tokens_per_s"), &tokens_per_s);
    json_real_read(json_object_get(line, "seconds"), &seconds);
    history_outcome(m->h, (unsigned long long)int_of(line, "peak_rss_bytes"), tokens_per_s,
                    seconds);
    TRY(progress(m, int_of(line, "end_step"), int_of(line, "tokens"), int_of(line, "ended_ms"),
                 err));
    TRY(history_end_within(m->h, status ? status : "failed", (int)int_of(line, "exit_code"),
                           text_of(line, "error"), int_of(line, "ended_ms"), err));
    return json_object_get(line, "exit_code")
               ? 0
               : db_run(&m->h->db, err, "UPDATE run SET exit_code = NULL WHERE id = ?1", "i",
                        m->h->run_id);
}

/* The last process said nothing of its end. */
static int end_unsaid(struct import *m, struct pesc_error *err)
{
    const struct log_end *e = &m->log.ends[m->log.n - 1];
    const char *status = text_of(m->run, "status");
    long long ended = time_of(text_of(m->run, "ended"));
    TRY(progress(m, e->step, e->tokens, e->t_ms, err));
    if (m->out->running)
        return 0;
    int said = status && ended && strcmp(status, "running") != 0;
    if (said)
        TRY(progress(m, int_of(m->run, "steps"), int_of(m->run, "tokens"), ended, err));
    TRY(db_run(&m->h->db, err,
               "UPDATE run SET status = ?2, ended_ms = heartbeat_ms, exit_code = CASE ?2 WHEN"
               " 'finished' THEN 0 END WHERE id = ?1",
               "is", m->h->run_id, said ? status : "killed"));
    return db_run(&m->h->db, err,
                  "UPDATE segment SET reason = ?3, (ended_ms, end_step) ="
                  " (SELECT heartbeat_ms, last_step FROM run WHERE id = ?1)"
                  " WHERE run_id = ?1 AND seq = ?2",
                  "iis", m->h->run_id, m->h->seq, said ? status : "killed");
}

/* All processes again, now that it is known how far each came. */
static int replay(struct import *m, struct pesc_error *err)
{
    static const char *const before[] = {"DELETE FROM segment WHERE run_id = ?1",
                                         "DELETE FROM plan WHERE run_id = ?1"};
    size_t i;
    json_t *line;
    long started = 0, open = 0;
    for (i = 0; i < sizeof before / sizeof *before; i++)
        TRY(db_run(&m->h->db, err, before[i], "i", m->h->run_id));
    json_array_foreach(m->lines, i, line)
    {
        if (!is_start(line)) {
            if (open)
                TRY(end(m, line, err));
            open = 0;
            continue;
        }
        if (open && started <= m->log.n) {
            const struct log_end *e = &m->log.ends[started - 1];
            TRY(progress(m, e->step, e->tokens, e->t_ms, err));
        }
        TRY(start(m, line, err));
        started++;
        open = 1;
    }
    if (!started) {
        TRY(start(m, NULL, err));
        open = 1;
    }
    return open ? end_unsaid(m, err) : 0;
}

static int add_packs(struct import *m, struct pesc_error *err)
{
    size_t i;
    json_t *p;
    int rc = 0;
    json_t *list = read_objects(m->dir, "packs.jsonl", err);
    json_array_foreach(list, i, p)
    {
        const struct history_pack pack = {.digest = text_of(p, "digest"),
                                          .name = text_of(p, "name"),
                                          .version = text_of(p, "version"),
                                          .origin = "exported",
                                          .run_uuid = m->out->uuid,
                                          .model_fingerprint = text_of(p, "model_fingerprint"),
                                          .license = text_of(p, "license"),
                                          .path = text_of(p, "path"),
                                          .manifest = text_of(p, "manifest"),
                                          .t_ms = int_of(p, "t_ms")};
        if (rc == 0 && pack.digest && pack.name && pack.version)
            rc = history_pack_within(m->h, &pack, err);
    }
    json_decref(list);
    return list ? rc : -1;
}

/* Files that came of the run and are there no more. */
static int mark_gone(struct import *m, struct pesc_error *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(m->h->db.c, "SELECT id, path FROM artifact WHERE run_id = ?1", -1,
                                &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(st, 1, m->h->run_id);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(st);
        if (rc != SQLITE_ROW || path_exists((const char *)sqlite3_column_text(st, 1)))
            continue;
        if (db_run(&m->h->db, err,
                   "UPDATE artifact SET state = CASE kind WHEN 'checkpoint' THEN 'pruned'"
                   " ELSE 'missing' END WHERE id = ?1",
                   "i", (long long)sqlite3_column_int64(st, 0)) != 0) {
            sqlite3_finalize(st);
            return -1;
        }
    }
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : db_fail(&m->h->db, rc, "look for files", err);
}

static int alone(struct history *h, int rc, struct pesc_error *err)
{
    if (rc == 0)
        return db_commit(&h->db, err);
    db_rollback(&h->db);
    return rc;
}

/* The row that all others hang on. */
static int first(struct import *m, struct pesc_error *err)
{
    struct db *d = &m->h->db;
    json_t *line = NULL;
    size_t i;
    char old[PATH_CAP], uuid[33];
    TRY(db_int(d, err, &m->h->run_id, "SELECT id FROM run WHERE uuid = ?1", "s", m->out->uuid));
    m->out->known = m->h->run_id != 0;
    if (!m->out->known) {
        json_array_foreach(m->lines, i, line)
        {
            if (is_start(line))
                break;
        }
        return start(m, i < json_array_size(m->lines) ? line : NULL, err);
    }
    TRY(run_folder(d, m->h->run_id, uuid, old, err));
    m->out->elsewhere = strcmp(old, m->dir) != 0 && run_folder_holds(old, uuid);
    if (m->out->running || m->out->elsewhere)
        return 0;
    if (strcmp(old, m->dir) != 0) /* it was moved, and its files with it */
        TRY(db_run(d, err, "DELETE FROM artifact WHERE run_id = ?1 AND kind <> 'pack'", "i",
                   m->h->run_id));
    return 0;
}

static int last(struct import *m, struct pesc_error *err)
{
    struct db *d = &m->h->db;
    long long deleted = 0;
    TRY(db_int(d, err, &deleted, "SELECT coalesce(deleted_ms, 0) FROM run WHERE id = ?1", "i",
               m->h->run_id));
    TRY(replay(m, err));
    /* A resumed run is there again; not so here. */
    TRY(db_run(d, err, "UPDATE run SET deleted_ms = nullif(?2, 0) WHERE id = ?1", "ii",
               m->h->run_id, deleted));
    TRY(labels_read(d, m->h->run_id, m->dir, err));
    TRY(add_packs(m, err));
    return mark_gone(m, err);
}

static int import(struct import *m, struct pesc_error *err)
{
    struct db *d = &m->h->db;
    TRY(db_begin(d, PATIENCE_MS, err));
    TRY(alone(m->h, first(m, err), err));
    if (m->out->elsewhere || (m->out->known && m->out->running))
        return 0;
    TRY(rebuild_log_read(m->h, m->dir, m->began, m->out, &m->log, err));
    TRY(db_begin(d, PATIENCE_MS, err));
    return alone(m->h, last(m, err), err);
}

long long rebuild_began(const char *dir)
{
    long long began = 0;
    size_t i;
    json_t *line, *lines = read_objects(dir, "segments.jsonl", NULL);
    json_array_foreach(lines, i, line)
    {
        if (!began && is_start(line))
            began = began_of(line);
    }
    json_decref(lines);
    if (began)
        return began;
    json_t *run = rundir_read_run(dir, NULL);
    began = time_of(text_of(run, "ended"));
    json_decref(run);
    return began;
}

int rebuild_run(struct history *h, const char *dir, struct rebuilt *out, struct pesc_error *err)
{
    char real[PATH_CAP];
    struct import m = {.h = h, .dir = real, .out = out};
    *out = (struct rebuilt){0};
    TRY(path_real(real, dir, err));
    m.run = rundir_read_run(real, err);
    if (!m.run)
        return -1;
    snprintf(out->uuid, sizeof out->uuid, "%s", text_of(m.run, "uuid"));
    out->running = rundir_is_held(real);
    m.began = rebuild_began(real);
    m.lines = read_objects(real, "segments.jsonl", err);
    int rc = m.lines ? import(&m, err) : -1;
    h->run_id = h->seq = 0;
    h->outcome.peak = 0;
    json_decref(m.lines);
    json_decref(m.run);
    rebuild_log_free(&m.log);
    return rc;
}

int rebuild_pack(struct history *h, const char *dir, struct pesc_error *err)
{
    char path[PATH_CAP], real[PATH_CAP], digest[SHA256_HEX], *text;
    struct stat st;
    size_t len;
    TRY(path_real(real, dir, err));
    TRY(path_join(path, real, "manifest.json", err));
    TRY(file_read(path, MANIFEST_MAX, &text, &len, err));
    json_t *o = json_parse(text, len, NULL, NULL, 0);
    int rc = hash_bytes(text, len, digest, err);
    const struct history_pack p = {
        .digest = digest,
        .name = text_of(o, "name"),
        .version = text_of(o, "version"),
        .origin = "imported",
        .run_uuid = text_of(json_object_get(o, "training"), "run"),
        .model_fingerprint = text_of(json_object_get(o, "base"), "fingerprint"),
        .license = text_of(o, "license"),
        .path = real,
        .manifest = text,
        .t_ms = stat(real, &st) == 0 ? (long long)st.st_mtime * 1000 : 0};
    if (rc == 0 && (!p.name || !p.version || !json_object_get(o, "pesc_pack")))
        rc = FAIL(err, PK_MANIFEST, "%s: not the manifest of a pack", path);
    if (rc == 0)
        rc = history_pack(h, &p, err);
    json_decref(o);
    free(text);
    return rc;
}
