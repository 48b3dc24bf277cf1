#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "cli/table.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *db;
    int newest, json;
};

static const struct opt opts[] = {
    {"db", NULL, OPT_STRING, offsetof(struct options, db), "PATH", DB_ARG_HELP, 0, 0},
    {"1", NULL, OPT_FLAG, offsetof(struct options, newest), NULL, "the newest run", 0, 0},
    {"json", NULL, OPT_FLAG, offsetof(struct options, json), NULL, "one object", 0, 0},
    {0}};

#define TIME(ms) "datetime(" ms "/1000, 'unixepoch')"

/* ?1 is the run. A record is one row shown as lines of "name value"; the others are tables. */
static const struct section {
    const char *title;
    int record, since; /* since: version of the schema */
    const char *sql;
} sections[] = {
    {"run", 1, 1,
     "SELECT r.uuid, r.name, v.experiment, v.status, v.steps, v.train_loss AS loss, v.best_valid,"
     " r.exit_code, r.error, v.created, " TIME(
         "r.ended_ms") " AS ended, v.hours, v.resumes,"
                       " r.tokens_seen, r.seed, r.determinism, r.dir AS folder, r.cmdline AS "
                       "command,"
                       " r.config_sha256, nullif(r.note, '') AS note"
                       " FROM run r JOIN v_run v ON v.id = r.id WHERE r.id = ?1"},
    {"model", 1, 1,
     "SELECT m.name, m.path, m.fingerprint, m.arch, m.n_layers, m.hidden, m.vocab, m.n_params,"
     " m.dtype, m.tokenizer_sha256, m.license FROM model m JOIN run r ON r.model_id = m.id"
     " WHERE r.id = ?1"},
    {"crafted", 1, 1,
     "SELECT c.n_experts, c.top_k, c.adapter_dim, c.n_trainable, c.seed, c.config_sha256"
     " FROM crafted c JOIN run r ON r.crafted_id = c.id WHERE r.id = ?1"},
    {"plan and outcome", 0, 3,
     "SELECT seq, CASE WHEN budget_bytes IS NULL THEN '-' WHEN budget_bytes > 9e18 THEN 'max'"
     " ELSE round(budget_bytes / 1048576.0, 1) END AS budget_mib,"
     " round(peak_bytes / 1048576.0, 1) AS peak_mib,"
     " round(real_peak_bytes / 1048576.0, 1) AS real_mib, peak_error || ' %' AS error,"
     " round(tokens_per_s, 2) AS tokens_s, round(real_tokens_per_s, 2) AS real_tokens_s,"
     " step_error || ' %' AS step_error, round(seconds, 1) AS seconds,"
     " round(real_seconds, 1) AS real_seconds FROM v_plan"
     " WHERE uuid = (SELECT uuid FROM run WHERE id = ?1) ORDER BY seq"},
    {"datasets", 0, 1,
     "SELECT x.role, d.name, d.format, d.records, x.used, x.skipped, x.tokens,"
     " substr(d.sha256, 1, 12) AS sha256, d.path FROM run_dataset x JOIN dataset d"
     " ON d.id = x.dataset_id WHERE x.run_id = ?1 ORDER BY x.role = 'train' DESC, x.role, d.id"},
    {"data counts", 0, 2,
     "SELECT x.role, d.name, x.weight, x.records AS read, x.used, x.truncated, x.split,"
     " x.pieces_dropped AS pieces_lost, x.samples, x.tokens, x.trained_tokens AS trained,"
     " x.reasons AS skipped FROM run_dataset x JOIN dataset d ON d.id = x.dataset_id"
     " WHERE x.run_id = ?1 AND x.records IS NOT NULL"
     " ORDER BY x.role = 'train' DESC, x.role, d.id"},
    {"parameters", 0, 1, "SELECT key, value FROM param WHERE run_id = ?1 ORDER BY key"},
    {"environment", 1, 1,
     "SELECT e.host, e.cpu_model, e.isa, e.cores, e.mem_mib, e.os, e.tool_version,"
     " e.git_commit || CASE e.git_dirty WHEN 1 THEN ' (changed)' ELSE '' END AS git_commit,"
     " e.compiler, e.libs FROM segment s JOIN env e ON e.id = s.env_id WHERE s.run_id = ?1"
     " ORDER BY s.seq DESC LIMIT 1"},
    {"segments", 0, 1,
     "SELECT seq, start_step AS start, end_step AS end, " TIME(
         "started_ms") " AS started,"
                       " round((ended_ms - started_ms) / 1000.0, 1) AS seconds, threads, pid, "
                       "reason, resumed_from"
                       " FROM segment WHERE run_id = ?1 ORDER BY seq"},
    {"metrics", 0, 1,
     "SELECT l.metric, coalesce(l.value, 'NaN') AS last, l.step, k.unit FROM v_last l"
     " JOIN metric_key k ON k.name = l.metric WHERE l.run_id = ?1 AND l.step IS NOT NULL"
     " ORDER BY l.metric"},
    {"evaluations", 0, 4,
     "SELECT step, task, metric, coalesce(value, 'NaN') AS value, lo, hi, n FROM eval"
     " WHERE run_id = ?1 ORDER BY step DESC, task, metric LIMIT 200"},
    {"tags", 0, 1, "SELECT key, value FROM tag WHERE run_id = ?1 ORDER BY key"},
    {"artifacts", 0, 1,
     "SELECT kind, step, state, bytes, substr(sha256, 1, 12) AS sha256, path FROM artifact"
     " WHERE run_id = ?1 ORDER BY kind, step, id"},
    {"packs", 0, 1,
     "SELECT v.pack, substr(p.digest, 1, 12) AS digest, p.origin, p.trust, v.base, v.trained_on,"
     " v.code, p.path FROM pack p JOIN v_lineage v ON v.digest = p.digest WHERE p.run_id = ?1"
     " ORDER BY p.id"},
    {"events", 0, 1,
     "SELECT * FROM (SELECT " TIME(
         "t_ms") " AS time, step, level, code, text FROM event"
                 " WHERE run_id = ?1 ORDER BY id DESC LIMIT 10) ORDER BY time, step"},
};

static int feed(struct table *t, const struct rows *rows, struct pesc_error *err)
{
    struct row_sink sink = table_sink(t);
    TRY(sink.head(t, rows->n_cols, (const char *const *)rows->names, err));
    for (long i = 0; i < rows->n_rows; i++)
        if (sink.row(t, rows->n_cols, rows_at(rows, i, 0), err) < 0)
            return -1;
    table_finish(t);
    return 0;
}

static int show_record(FILE *f, const struct rows *rows, struct pesc_error *err)
{
    for (int i = 0; i < rows->n_cols; i++) {
        const struct cell *c = rows_at(rows, 0, i);
        if (c->kind == CELL_NULL || (c->kind == CELL_TEXT && c->n == 0))
            continue;
        char *text = cell_shown(c, 6);
        if (!text)
            return FAIL(err, MEMORY, "no memory to show a run");
        fprintf(f, "  %-16s %s\n", rows->names[i], text);
        free(text);
    }
    return 0;
}

static int show_table(struct cli *cli, const struct rows *rows, struct pesc_error *err)
{
    struct table *t = table_new(cli->out, TABLE_TEXT, cli_width(cli), err);
    if (!t)
        return -1;
    int rc = feed(t, rows, err);
    table_free(t);
    return rc;
}

static int show_json(struct cli *cli, const struct section *s, const struct rows *rows, int first,
                     struct pesc_error *err)
{
    FILE *f = cli->out;
    fprintf(f, "%s\n\"%s\": ", first ? "{" : ",", s->title);
    if (s->record) {
        for (int i = 0; i < rows->n_cols && rows->n_rows; i++) {
            fprintf(f, "%s\"%s\": ", i ? ", " : "{", rows->names[i]);
            json_put_cell(f, rows_at(rows, 0, i));
        }
        fputs(rows->n_rows ? "}" : "null", f);
        return 0;
    }
    struct table *t = table_new(f, TABLE_JSON, 0, err);
    if (!t)
        return -1;
    int rc = feed(t, rows, err);
    table_free(t);
    return rc;
}

static int show_all(struct cli *cli, struct reader *r, long long id, int json,
                    struct pesc_error *err)
{
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        const struct section *s = &sections[i];
        struct rows rows;
        int rc = 0;
        if (s->since > reader_version(r))
            continue;
        TRY(query_rows(r, &rows, err, s->sql, "i", id));
        if (json) {
            rc = show_json(cli, s, &rows, i == 0, err);
        } else if (rows.n_rows > 0) {
            fprintf(cli->out, "%s%s\n", i ? "\n" : "", s->title);
            rc = s->record ? show_record(cli->out, &rows, err) : show_table(cli, &rows, err);
        }
        rows_free(&rows);
        TRY(rc);
    }
    if (json)
        fputs("}\n", cli->out);
    return 0;
}

static int run(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    struct reader *r;
    long long id;
    TRY(runs_open_one(o->db, o->newest, argc, argv, &r, &id, err));
    int rc = show_all(cli, r, id, o->json, err);
    reader_close(r);
    return rc;
}

const struct cmd runs_show = {
    .name = "show",
    .usage = "RUN [--json]",
    .summary = "Shows everything recorded about one run.",
    .details = RUNS_WHICH " Times are UTC.",
    .opts = opts,
    .opts_size = sizeof(struct options),
    .run = run,
};
