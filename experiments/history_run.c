#include "config.h"
#include "experiments/history_impl.h"

#include "core/hash.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 7000 };

static const char *or_empty(const char *s)
{
    return s ? s : "";
}

/* Equal environments share a row; the hash is over every field with its length. */
static int env_hash(struct history_env *e, struct pesc_error *err)
{
    const char *const text[] = {e->host,         e->cpu_model,  e->isa,      e->os,
                                e->tool_version, e->git_commit, e->compiler, e->libs};
    struct hash *h = hash_new(err);
    char buf[64];
    if (!h)
        return -1;
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        const char *s = or_empty(text[i]);
        int n = snprintf(buf, sizeof buf, "%zu:", strlen(s));
        hash_add(h, buf, (size_t)n);
        hash_add(h, s, strlen(s));
    }
    int n = snprintf(buf, sizeof buf, "%ld,%ld", e->cores, e->mem_mib);
    hash_add(h, buf, (size_t)n);
    hash_hex(h, e->sha256);
    hash_free(h);
    return 0;
}

static int ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && !strcmp(s + n - m, tail);
}

static int put_env(struct db *d, struct history_env *e, long long *id, struct pesc_error *err)
{
    const char *git = or_empty(e->git_commit);
    char commit[128];
    int dirty = ends_with(git, "+") || ends_with(git, "-dirty");
    snprintf(commit, sizeof commit, "%s", git);
    if (dirty && strlen(git) < sizeof commit)
        commit[strlen(git) - strlen(ends_with(git, "+") ? "+" : "-dirty")] = 0;
    TRY(env_hash(e, err));
    TRY(db_run(d, err,
               "INSERT INTO env(sha256, host, cpu_model, isa, cores, mem_mib, os, tool_version,"
               " git_commit, git_dirty, compiler, libs) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,"
               "?11,?12) ON CONFLICT DO NOTHING",
               "ssssiisssiss", e->sha256, or_empty(e->host), or_empty(e->cpu_model),
               or_empty(e->isa), (long long)e->cores, (long long)e->mem_mib, or_empty(e->os),
               e->tool_version ? e->tool_version : pesc_version(), commit, (long long)dirty,
               or_empty(e->compiler), e->libs ? e->libs : "{}"));
    return db_int(d, err, id, "SELECT id FROM env WHERE sha256 = ?1", "s", e->sha256);
}

static int put_model(struct db *d, const struct history_model *m, long long t_ms, long long *id,
                     struct pesc_error *err)
{
    TRY(db_run(d, err,
               "INSERT INTO model(fingerprint, name, path, arch, n_layers, hidden, vocab, n_params,"
               " dtype, tokenizer_sha256, config, first_seen_ms) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,"
               "?9,?10,?11,?12) ON CONFLICT(fingerprint) DO UPDATE SET path = excluded.path",
               "ssssiiiisssi", m->fingerprint, or_empty(m->name), or_empty(m->path),
               or_empty(m->arch), (long long)m->n_layers, (long long)m->hidden, (long long)m->vocab,
               m->n_params, or_empty(m->dtype), or_empty(m->tokenizer_sha256),
               m->config ? m->config : "{}", t_ms));
    return db_int(d, err, id, "SELECT id FROM model WHERE fingerprint = ?1", "s", m->fingerprint);
}

static int put_crafted(struct db *d, const struct history_crafted *c, long long model_id,
                       long long t_ms, long long *id, struct pesc_error *err)
{
    TRY(db_run(d, err,
               "INSERT INTO crafted(model_id, config_sha256, n_experts, top_k, adapter_dim,"
               " n_trainable, seed, config, created_ms) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)"
               " ON CONFLICT DO NOTHING",
               "isiiiiisi", model_id, or_empty(c->config_sha256), (long long)c->n_experts,
               (long long)c->top_k, (long long)c->adapter_dim, c->n_trainable, c->seed,
               c->config ? c->config : "{}", t_ms));
    return db_int(d, err, id,
                  "SELECT id FROM crafted WHERE model_id = ?1 AND config_sha256 = ?2"
                  " AND seed = ?3",
                  "isi", model_id, or_empty(c->config_sha256), c->seed);
}

static int put_dataset(struct db *d, const struct history_dataset *s, long long run_id,
                       long long t_ms, struct pesc_error *err)
{
    long long id = 0;
    TRY(db_run(d, err,
               "INSERT INTO dataset(sha256, name, path, format, bytes, records, skipped, tokens,"
               " first_seen_ms) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT DO NOTHING",
               "ssssiiiii", or_empty(s->sha256), or_empty(s->name), or_empty(s->path),
               or_empty(s->format), s->bytes, s->records, s->skipped, s->tokens, t_ms));
    TRY(db_int(d, err, &id, "SELECT id FROM dataset WHERE sha256 = ?1", "s", or_empty(s->sha256)));
    return db_run(d, err,
                  "INSERT INTO run_dataset(run_id, dataset_id, role, weight, records, used,"
                  " skipped, reasons, truncated, split, pieces_dropped, samples, tokens,"
                  " trained_tokens) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)"
                  " ON CONFLICT DO UPDATE SET weight = excluded.weight, records = excluded.records,"
                  " used = excluded.used, skipped = excluded.skipped, reasons = excluded.reasons,"
                  " truncated = excluded.truncated, split = excluded.split,"
                  " pieces_dropped = excluded.pieces_dropped, samples = excluded.samples,"
                  " tokens = excluded.tokens, trained_tokens = excluded.trained_tokens",
                  "iisdiiisiiiiii", run_id, id, s->role ? s->role : "train",
                  s->weight > 0 ? s->weight : 1.0, s->records, s->used, s->skipped,
                  s->reasons ? s->reasons : "{}", s->truncated, s->split, s->pieces_dropped,
                  s->samples, s->tokens, s->trained_tokens);
}

static int put_plan(struct history *h, const struct history_plan *p, struct pesc_error *err)
{
    if (!p->peak)
        return 0;
    return db_run(&h->db, err,
                  "INSERT INTO plan(run_id, seq, budget_bytes, peak_bytes, disk_bytes,"
                  " traffic_bytes, tokens_per_s, seconds, terms, places)"
                  " VALUES(?1, ?2, nullif(?3, 0), ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                  "iiiiiiddss", h->run_id, h->seq, (long long)p->budget, (long long)p->peak,
                  (long long)p->disk, (long long)p->traffic, p->tokens_per_s, p->seconds,
                  p->terms ? p->terms : "{}", p->places ? p->places : "{}");
}

static void boot_id(char out[64])
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");
    out[0] = 0;
    if (!f)
        return;
    if (!fgets(out, 64, f))
        out[0] = 0;
    out[strcspn(out, "\n")] = 0;
    fclose(f);
}

void history_process(struct history_process *p)
{
    p->t_ms = now_ms();
    p->pid = getpid();
    boot_id(p->boot_id);
}

int history_forget_within(struct history *h, long step, struct pesc_error *err)
{
    static const char *const later[] = {
        "DELETE FROM metric WHERE run_id = ?1 AND step > ?2",
        "DELETE FROM router_layer WHERE run_id = ?1 AND step > ?2",
        "DELETE FROM router_expert WHERE run_id = ?1 AND step > ?2",
        "DELETE FROM router_domain WHERE run_id = ?1 AND step > ?2",
        "DELETE FROM router_domain_layer WHERE run_id = ?1 AND step > ?2",
    };
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        TRY(db_run(&h->db, err, later[i], "ii", h->run_id, (long long)step));
    return 0;
}

/* The process before this one went without a word: its last sign of life ends its segment. */
static int reopen_run(struct history *h, const struct history_run *r, struct pesc_error *err)
{
    struct db *d = &h->db;
    TRY(db_run(d, err,
               "UPDATE segment SET reason = 'killed', (ended_ms, end_step) ="
               " (SELECT heartbeat_ms, last_step FROM run WHERE id = ?1)"
               " WHERE run_id = ?1 AND ended_ms IS NULL",
               "i", h->run_id));
    return db_run(d, err,
                  "UPDATE run SET status = 'running', exit_code = NULL, error = NULL,"
                  " ended_ms = NULL, heartbeat_ms = ?2, last_step = ?3, steps_planned = ?4,"
                  " dir = ?5, config = ?6, config_sha256 = ?7, deleted_ms = NULL WHERE id = ?1",
                  "iiiisss", h->run_id, r->process.t_ms, (long long)r->start_step,
                  (long long)r->steps_planned, or_empty(r->dir), or_empty(r->config),
                  or_empty(r->config_sha256));
}

static int new_run(struct history *h, const char *uuid, const struct history_run *r,
                   struct pesc_error *err)
{
    struct db *d = &h->db;
    const char *experiment = r->experiment && *r->experiment ? r->experiment : "default";
    long long experiment_id = 0, model_id = 0, crafted_id = 0;
    TRY(db_run(d, err,
               "INSERT INTO experiment(name, created_ms) VALUES(?1, ?2) ON CONFLICT DO NOTHING",
               "si", experiment, r->process.t_ms));
    TRY(db_int(d, err, &experiment_id, "SELECT id FROM experiment WHERE name = ?1", "s",
               experiment));
    if (r->model.fingerprint) {
        TRY(put_model(d, &r->model, r->process.t_ms, &model_id, err));
        if (r->crafted.n_experts > 0)
            TRY(put_crafted(d, &r->crafted, model_id, r->process.t_ms, &crafted_id, err));
    }
    /* Tier 'run': bit-identical again with the same program, libraries, ISA and threads. */
    TRY(db_run(d, err,
               "INSERT INTO run(uuid, experiment_id, crafted_id, model_id, name, status,"
               " created_ms, started_ms, heartbeat_ms, seed, determinism, steps_planned,"
               " last_step, dir, cmdline, config, config_sha256) VALUES(?1, ?2, nullif(?3, 0),"
               " nullif(?4, 0), ?5, 'running', ?6, ?6, ?6, ?7, 'run', ?8, ?9, ?10, ?11, ?12, ?13)",
               "siiisiiiissss", uuid, experiment_id, crafted_id, model_id, r->name ? r->name : uuid,
               r->process.t_ms, r->seed, (long long)r->steps_planned, (long long)r->start_step,
               or_empty(r->dir), or_empty(r->cmdline), or_empty(r->config),
               or_empty(r->config_sha256)));
    h->run_id = sqlite3_last_insert_rowid(d->c);
    return 0;
}

int history_start_within(struct history *h, const char *uuid, const struct history_run *given,
                         int forget, struct pesc_error *err)
{
    struct db *d = &h->db;
    struct history_run now = *given;
    const struct history_run *r = &now;
    struct history_env env = r->env;
    long long env_id = 0;
    if (!now.process.t_ms)
        history_process(&now.process);
    h->run_id = h->seq = 0;
    TRY(db_int(d, err, &h->run_id, "SELECT id FROM run WHERE uuid = ?1", "s", uuid));
    if (h->run_id)
        TRY(reopen_run(h, r, err));
    else
        TRY(new_run(h, uuid, r, err));
    if (forget)
        TRY(history_forget_within(h, r->start_step, err));
    for (long i = 0; i < r->n_datasets; i++)
        TRY(put_dataset(d, &r->datasets[i], h->run_id, r->process.t_ms, err));
    for (long i = 0; i < r->n_params; i++)
        TRY(db_run(d, err,
                   "INSERT INTO param(run_id, key, value) VALUES(?1, ?2, ?3)"
                   " ON CONFLICT DO UPDATE SET value = excluded.value",
                   "iss", h->run_id, r->param_keys[i], or_empty(r->param_values[i])));
    TRY(put_env(d, &env, &env_id, err));
    TRY(db_int(d, err, &h->seq, "SELECT coalesce(max(seq), 0) + 1 FROM segment WHERE run_id = ?1",
               "i", h->run_id));
    TRY(put_plan(h, &r->plan, err));
    return db_run(d, err,
                  "INSERT INTO segment(run_id, seq, env_id, pid, boot_id, threads, start_step,"
                  " started_ms, resumed_from) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)",
                  "iiiisiiis", h->run_id, h->seq, env_id, (long long)r->process.pid,
                  r->process.boot_id, (long long)r->threads, (long long)r->start_step,
                  r->process.t_ms, r->resumed_from);
}

int history_run_start(struct history *h, const char *uuid, const struct history_run *r,
                      struct pesc_error *err)
{
    if (strspn(uuid, "0123456789abcdef") != 32 || uuid[32])
        return FAIL(err, INTERNAL, "'%.40s' is no run's uuid", uuid);
    TRY(db_begin(&h->db, PATIENCE_MS, err));
    int rc = history_start_within(h, uuid, r, 1, err);
    if (rc == 0)
        rc = db_commit(&h->db, err);
    else
        db_rollback(&h->db);
    if (rc != 0)
        h->run_id = 0;
    return rc;
}

void history_outcome(struct history *h, unsigned long long peak, double tokens_per_s,
                     double seconds)
{
    h->outcome.peak = peak;
    h->outcome.tokens_per_s = tokens_per_s;
    h->outcome.seconds = seconds;
}

int history_end_within(struct history *h, const char *status, int exit_code, const char *error,
                       long long t_ms, struct pesc_error *err)
{
    struct db *d = &h->db;
    TRY(db_run(d, err,
               "UPDATE run SET status = ?2, exit_code = ?3, error = ?4, ended_ms = ?5,"
               " heartbeat_ms = ?5 WHERE id = ?1",
               "isisi", h->run_id, status, (long long)exit_code, error, t_ms));
    TRY(db_run(d, err,
               "UPDATE segment SET ended_ms = ?3, reason = ?4, end_step ="
               " (SELECT last_step FROM run WHERE id = ?1) WHERE run_id = ?1 AND seq = ?2",
               "iiis", h->run_id, h->seq, t_ms, status));
    if (!h->outcome.peak)
        return 0;
    return db_run(d, err,
                  "UPDATE plan SET real_peak_bytes = ?3, real_tokens_per_s = ?4,"
                  " real_seconds = ?5 WHERE run_id = ?1 AND seq = ?2",
                  "iiidd", h->run_id, h->seq, (long long)h->outcome.peak, h->outcome.tokens_per_s,
                  h->outcome.seconds);
}

int history_run_end(struct history *h, const char *status, int exit_code, const char *error,
                    struct pesc_error *err)
{
    if (!h->run_id)
        return FAIL(err, INTERNAL, "no run was started");
    history_join(h);
    TRY(db_begin(&h->db, PATIENCE_MS, err));
    int rc = history_write_queue(h, err);
    if (rc == 0)
        rc = history_end_within(h, status, exit_code, error,
                                h->queue.t_ms ? h->queue.t_ms : now_ms(), err);
    return history_end_write(h, rc, err);
}

static int alone(struct history *h, int rc, struct pesc_error *err)
{
    if (rc == 0)
        return db_commit(&h->db, err);
    db_rollback(&h->db);
    return rc;
}

int history_pack_within(struct history *h, const struct history_pack *p, struct pesc_error *err)
{
    return db_run(
        &h->db, err,
        "INSERT INTO pack(digest, name, version, origin, run_id, crafted_id, model_fingerprint,"
        " trust, license, path, manifest, created_ms) VALUES(?1, ?2, ?3, ?4,"
        " (SELECT id FROM run WHERE uuid = ?5), (SELECT crafted_id FROM run WHERE uuid = ?5), ?6,"
        " 'unsigned', ?7, ?8, ?9, ?10) ON CONFLICT(digest) DO UPDATE SET path = excluded.path,"
        " run_id = coalesce(run_id, excluded.run_id),"
        " crafted_id = coalesce(crafted_id, excluded.crafted_id)",
        "sssssssssi", p->digest, p->name, p->version, p->origin ? p->origin : "exported",
        p->run_uuid, or_empty(p->model_fingerprint), p->license, or_empty(p->path),
        p->manifest ? p->manifest : "{}", p->t_ms ? p->t_ms : now_ms());
}

int history_pack(struct history *h, const struct history_pack *p, struct pesc_error *err)
{
    TRY(db_begin(&h->db, PATIENCE_MS, err));
    return alone(h, history_pack_within(h, p, err), err);
}

int history_eval_of(struct history *h, const char *run_uuid, long step, long long t_ms,
                    const struct history_score *rows, long n, struct pesc_error *err)
{
    long long id = 0;
    TRY(db_begin(&h->db, PATIENCE_MS, err));
    int rc = db_int(&h->db, err, &id, "SELECT id FROM run WHERE uuid = ?1", "s", run_uuid);
    if (rc == 0 && !id)
        rc = FAIL(err, DB_RUN, "run %s is not in %s", run_uuid, h->db.path);
    for (long i = 0; i < n && rc == 0; i++) {
        const struct history_score *s = &rows[i];
        rc = db_run(&h->db, err, EVAL_INSERT, "iissddiidds", id, (long long)step, s->task,
                    s->metric, s->value, s->stderr_, (long long)s->n, t_ms, s->lo, s->hi,
                    s->config ? s->config : "{}");
    }
    return alone(h, rc, err);
}
