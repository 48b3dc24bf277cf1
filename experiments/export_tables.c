#include "config.h"
#include "experiments/export_impl.h"

#include <math.h>
#include <signal.h>
#include <string.h>

/* Columns of x, the table itself: plain, since a version, NaN where NULL. */
#define C(n)                                                                                       \
    {                                                                                              \
#n, "x." #n, 1, 0                                                                          \
    }
#define SINCE(v, n)                                                                                \
    {                                                                                              \
#n, "x." #n, v, 0                                                                          \
    }
#define REAL(n)                                                                                    \
    {                                                                                              \
#n, "x." #n, 1, 1                                                                          \
    }
#define AS(n, e)                                                                                   \
    {                                                                                              \
#n, e, 1, 0                                                                                \
    }
#define UUID AS(uuid, "r.uuid")
#define RUN " JOIN run r ON r.id = x.run_id WHERE x.run_id = ?1"
#define END                                                                                        \
    {                                                                                              \
        NULL, NULL, 0, 0                                                                           \
    }

static const struct export_column of_runs[] = {C(uuid),
                                               C(name),
                                               AS(experiment, "e.name"),
                                               C(status),
                                               C(exit_code),
                                               C(error),
                                               C(created_ms),
                                               C(started_ms),
                                               C(ended_ms),
                                               C(heartbeat_ms),
                                               C(seed),
                                               C(determinism),
                                               C(steps_planned),
                                               C(last_step),
                                               C(tokens_seen),
                                               AS(parent, "p.uuid"),
                                               C(dir),
                                               C(cmdline),
                                               C(config),
                                               C(config_sha256),
                                               C(note),
                                               C(deleted_ms),
                                               AS(model, "m.name"),
                                               AS(model_fingerprint, "m.fingerprint"),
                                               AS(model_path, "m.path"),
                                               AS(model_arch, "m.arch"),
                                               AS(model_layers, "m.n_layers"),
                                               AS(model_hidden, "m.hidden"),
                                               AS(model_vocab, "m.vocab"),
                                               AS(model_params, "m.n_params"),
                                               AS(model_dtype, "m.dtype"),
                                               AS(model_license, "m.license"),
                                               AS(tokenizer_sha256, "m.tokenizer_sha256"),
                                               AS(model_config, "m.config"),
                                               AS(experts, "c.n_experts"),
                                               AS(top_k, "c.top_k"),
                                               AS(adapter_dim, "c.adapter_dim"),
                                               AS(trainable, "c.n_trainable"),
                                               AS(crafted_seed, "c.seed"),
                                               AS(crafted_sha256, "c.config_sha256"),
                                               AS(crafted_config, "c.config"),
                                               END};
static const struct export_column of_params[] = {UUID, C(key), C(value), END};
static const struct export_column of_metrics[] = {
    UUID, AS(metric, "k.name"), C(step), REAL(value), C(t_ms), AS(unit, "k.unit"), END};
static const struct export_column of_evals[] = {
    UUID,        C(step),      C(task),      C(metric),
    REAL(value), SINCE(4, lo), SINCE(4, hi), {"stderr", "x.stderr", 1, 0},
    C(n),        C(t_ms),      C(config),    AS(dataset_sha256, "d.sha256"),
    END};
static const struct export_column of_segments[] = {UUID,
                                                   C(seq),
                                                   C(start_step),
                                                   C(end_step),
                                                   C(started_ms),
                                                   C(ended_ms),
                                                   C(threads),
                                                   C(pid),
                                                   C(boot_id),
                                                   C(resumed_from),
                                                   C(reason),
                                                   AS(host, "v.host"),
                                                   AS(cpu_model, "v.cpu_model"),
                                                   AS(isa, "v.isa"),
                                                   AS(cores, "v.cores"),
                                                   AS(mem_mib, "v.mem_mib"),
                                                   AS(os, "v.os"),
                                                   AS(tool_version, "v.tool_version"),
                                                   AS(git_commit, "v.git_commit"),
                                                   AS(git_dirty, "v.git_dirty"),
                                                   AS(compiler, "v.compiler"),
                                                   AS(libs, "v.libs"),
                                                   END};
static const struct export_column of_plans[] = {UUID,
                                                C(seq),
                                                C(budget_bytes),
                                                C(peak_bytes),
                                                C(disk_bytes),
                                                C(traffic_bytes),
                                                C(tokens_per_s),
                                                C(seconds),
                                                C(terms),
                                                C(places),
                                                C(real_peak_bytes),
                                                C(real_tokens_per_s),
                                                C(real_seconds),
                                                END};
static const struct export_column of_datasets[] = {UUID,
                                                   C(role),
                                                   AS(name, "d.name"),
                                                   AS(sha256, "d.sha256"),
                                                   AS(path, "d.path"),
                                                   AS(member, "d.member"),
                                                   AS(format, "d.format"),
                                                   AS(bytes, "d.bytes"),
                                                   AS(license, "d.license"),
                                                   AS(source, "d.source"),
                                                   C(weight),
                                                   SINCE(2, records),
                                                   C(used),
                                                   C(skipped),
                                                   SINCE(2, reasons),
                                                   SINCE(2, truncated),
                                                   SINCE(2, split),
                                                   SINCE(2, pieces_dropped),
                                                   SINCE(2, samples),
                                                   C(tokens),
                                                   SINCE(2, trained_tokens),
                                                   END};
static const struct export_column of_router_layer[] = {
    UUID,      C(layer),   C(step),        REAL(entropy),    REAL(aux_loss),
    C(z_loss), C(dropped), SINCE(4, top1), SINCE(4, tokens), END};
static const struct export_column of_router_expert[] = {
    UUID, C(layer), C(expert), C(step), REAL(load), REAL(prob), SINCE(4, first), END};
static const struct export_column of_router_domain[] = {UUID,           C(layer),        C(expert),
                                                        C(domain),      C(step),         REAL(load),
                                                        SINCE(4, prob), SINCE(4, first), END};
static const struct export_column of_router_domain_layer[] = {
    UUID, C(layer), C(domain), C(step), REAL(entropy), C(top1), C(tokens), END};
static const struct export_column of_router_eval[] = {
    UUID, C(step), C(task), C(domain), C(layer), C(expert), REAL(load), C(prob), C(first), END};
static const struct export_column of_router_eval_layer[] = {
    UUID, C(step), C(task), C(domain), C(layer), REAL(entropy), C(top1), C(tokens), END};
static const struct export_column of_events[] = {UUID,    C(step), C(level), C(code),
                                                 C(text), C(t_ms), END};
static const struct export_column of_artifacts[] = {
    UUID, C(kind), C(path), C(step), C(sha256), C(bytes), C(state), C(created_ms), END};
static const struct export_column of_packs[] = {
    UUID,      C(digest), C(name),    C(version), C(origin),   C(model_fingerprint),
    C(signer), C(trust),  C(license), C(path),    C(manifest), C(created_ms),
    END};

const struct export_table export_tables[] = {
    {"runs",
     "run x JOIN experiment e ON e.id = x.experiment_id LEFT JOIN crafted c ON c.id = x.crafted_id"
     " LEFT JOIN model m ON m.id = coalesce(x.model_id, c.model_id)"
     " LEFT JOIN run p ON p.id = x.parent_run_id WHERE x.id = ?1",
     1, of_runs},
    {"params", "param x" RUN " ORDER BY x.key", 1, of_params},
    {"tags", "tag x" RUN " ORDER BY x.key", 1, of_params},
    {"metrics", "metric x JOIN metric_key k ON k.id = x.key_id" RUN " ORDER BY x.key_id, x.step", 1,
     of_metrics},
    {"evals",
     "eval x LEFT JOIN dataset d ON d.id = x.dataset_id" RUN " ORDER BY x.step, x.task, x.metric",
     1, of_evals},
    {"segments", "segment x JOIN env v ON v.id = x.env_id" RUN " ORDER BY x.seq", 1, of_segments},
    {"plans", "plan x" RUN " ORDER BY x.seq", 3, of_plans},
    {"datasets",
     "run_dataset x JOIN dataset d ON d.id = x.dataset_id" RUN " ORDER BY x.role, x.dataset_id", 1,
     of_datasets},
    {"router_layer", "router_layer x" RUN " ORDER BY x.layer, x.step", 1, of_router_layer},
    {"router_expert", "router_expert x" RUN " ORDER BY x.layer, x.expert, x.step", 1,
     of_router_expert},
    {"router_domain", "router_domain x" RUN " ORDER BY x.layer, x.expert, x.domain, x.step", 1,
     of_router_domain},
    {"router_domain_layer", "router_domain_layer x" RUN " ORDER BY x.layer, x.domain, x.step", 4,
     of_router_domain_layer},
    {"router_eval", "router_eval x" RUN " ORDER BY x.step, x.task, x.domain, x.layer, x.expert", 4,
     of_router_eval},
    {"router_eval_layer", "router_eval_layer x" RUN " ORDER BY x.step, x.task, x.domain, x.layer",
     4, of_router_eval_layer},
    {"events", "event x" RUN " ORDER BY x.id", 1, of_events},
    {"artifacts", "artifact x" RUN " ORDER BY x.id", 1, of_artifacts},
    {"packs", "pack x" RUN " ORDER BY x.id", 1, of_packs},
    {NULL, NULL, 0, NULL}};

const struct export_table *export_table_of(const char *name)
{
    const struct export_table *t = export_tables;
    while (t->name && strcmp(t->name, name))
        t++;
    return t->name ? t : NULL;
}

const char *export_table_names(char *buf, size_t size)
{
    size_t n = 0;
    buf[0] = 0;
    for (const struct export_table *t = export_tables; t->name && n < size; t++)
        n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? ", " : "", t->name);
    return buf;
}

/* Between the query and the sink: NaN is put back. */
struct between {
    const struct export_table *t;
    const struct row_sink *to;
};

static int pass_head(void *ctx, int n, const char *const *names, struct pesc_error *err)
{
    struct between *b = ctx;
    return b->to->head ? b->to->head(b->to->ctx, n, names, err) : 0;
}

static int pass_row(void *ctx, int n, const struct cell *cells, struct pesc_error *err)
{
    struct between *b = ctx;
    struct cell out[64];
    for (int i = 0; i < n; i++) {
        out[i] = cells[i];
        if (b->t->columns[i].nan && cells[i].kind == CELL_NULL)
            out[i] = (struct cell){.kind = CELL_REAL, .d = NAN};
    }
    return b->to->row(b->to->ctx, n, out, err);
}

int export_table_rows(struct reader *r, const struct export_table *t, long long run,
                      const struct row_sink *sink, struct pesc_error *err)
{
    char sql[4096];
    struct between b = {t, sink};
    struct row_sink mine = {&b, pass_head, pass_row};
    size_t n = 0;
    for (const struct export_column *c = t->columns; c->name; c++)
        n += (size_t)snprintf(sql + n, sizeof sql - n, "%s%s AS %s", n ? ", " : "SELECT ",
                              c->since <= reader_version(r) ? c->expr : "NULL", c->name);
    n += (size_t)snprintf(sql + n, sizeof sql - n, " FROM %s", t->from);
    if (n >= sizeof sql)
        return FAIL(err, INTERNAL, "table %s has too many columns", t->name);
    if (t->since > reader_version(r))
        return FAIL(err, INTERNAL, "table %s is younger than the history", t->name);
    return query_run(r, &mine, err, sql, "i", run);
}

int export_stopped(const struct export_job *job, struct pesc_error *err)
{
    int sig = job->stop ? atomic_load(job->stop) : 0;
    if (!sig)
        return 0;
    return error_set(err, sig == SIGINT ? PESC_E_INT : PESC_E_TERM,
                     "stopped, nothing was exported");
}
