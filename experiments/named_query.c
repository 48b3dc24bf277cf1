#include "config.h"
#include "experiments/named_query.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RUN                                                                                        \
    {                                                                                              \
        QUERY_RUN, "RUN", NULL                                                                     \
    }
#define NUMBER(name, otherwise)                                                                    \
    {                                                                                              \
        QUERY_NUMBER, name, otherwise                                                              \
    }
#define TEXT(name, otherwise)                                                                      \
    {                                                                                              \
        QUERY_TEXT, name, otherwise                                                                \
    }

/* The run of a row, and whether it is still there. */
#define OF_RUN "substr(r.uuid, 1, 8) AS run, r.name"
#define THERE "r.deleted_ms IS NULL"

const struct named_query named_queries[] = {
    {"last",
     "the last value of each metric of a run",
     {RUN},
     "SELECT k.name AS metric, coalesce(m.value, 'NaN') AS value, m.step, k.unit FROM metric_key k"
     " CROSS JOIN metric m ON m.run_id = ?1 AND m.key_id = k.id AND m.step = (SELECT max(step) FROM"
     " metric WHERE run_id = ?1 AND key_id = k.id) ORDER BY k.name"},
    {"curve",
     "a metric of a run in at most so many buckets of steps",
     {RUN, TEXT("METRIC", "train/loss"), NUMBER("POINTS", "100")},
     "WITH k(id) AS (SELECT id FROM metric_key WHERE name = ?2), range(a, b) AS (SELECT"
     " (SELECT min(step) FROM metric WHERE run_id = ?1 AND key_id = (SELECT id FROM k)),"
     " (SELECT max(step) FROM metric WHERE run_id = ?1 AND key_id = (SELECT id FROM k)))"
     " SELECT min(m.step) AS step, min(m.value) AS low, avg(m.value) AS mean, max(m.value) AS high,"
     " count(*) AS n, count(*) - count(m.value) AS nan"
     " FROM k CROSS JOIN range CROSS JOIN metric m ON m.run_id = ?1 AND m.key_id = k.id"
     " GROUP BY (m.step - a) * max(?3, 1) / (b - a + 1) ORDER BY 1"},
    {"params-diff",
     "parameters in which two runs differ",
     {RUN, {QUERY_RUN, "RUN2", NULL}},
     "SELECT key, max(CASE run_id WHEN ?1 THEN value END) AS first,"
     " max(CASE run_id WHEN ?2 THEN value END) AS second FROM param WHERE run_id IN (?1, ?2)"
     " GROUP BY key HAVING first IS NOT second ORDER BY key"},
    {"why-stopped",
     "a run's end and its last events",
     {RUN, NUMBER("EVENTS", "10")},
     "SELECT NULL AS step, status AS level, 'exit ' || coalesce(exit_code, '?') AS code,"
     " coalesce(error, '') AS text FROM run WHERE id = ?1 UNION ALL SELECT * FROM (SELECT step,"
     " level, code, text FROM event WHERE run_id = ?1 ORDER BY t_ms DESC, id DESC LIMIT ?2)"},
    {"checkpoints",
     "a run's checkpoints",
     {RUN},
     "SELECT step, state, bytes, path, sha256 FROM artifact WHERE run_id = ?1"
     " AND kind = 'checkpoint' ORDER BY step"},
    {"resumed",
     "runs that were resumed more than so many times",
     {NUMBER("TIMES", "0")},
     "SELECT " OF_RUN ", count(*) - 1 AS resumes, r.status, r.last_step FROM run r"
     " JOIN segment s ON s.run_id = r.id WHERE " THERE
     " GROUP BY r.id HAVING count(*) - 1 > ?1 ORDER BY resumes DESC, r.id"},
    {"speed",
     "tokens per second by machine and threads, of ended runs",
     {{0}},
     "SELECT v.host, v.cpu_model AS cpu, v.isa, s.threads, count(*) AS segments,"
     " round(avg(p.real_tokens_per_s), 1) AS mean_tokens_per_s,"
     " round(max(p.real_tokens_per_s), 1) AS best_tokens_per_s"
     " FROM segment s JOIN env v ON v.id = s.env_id JOIN plan p ON p.run_id = s.run_id"
     " AND p.seq = s.seq JOIN run r ON r.id = s.run_id WHERE p.real_tokens_per_s IS NOT NULL"
     " AND " THERE " GROUP BY v.host, v.cpu_model, v.isa, s.threads ORDER BY 6 DESC"},
    {"hours",
     "what each experiment took",
     {{0}},
     "SELECT e.name AS experiment, count(DISTINCT r.id) AS runs, sum(r.status = 'failed') AS "
     "failed,"
     " round(sum((coalesce(s.ended_ms, r.heartbeat_ms) - s.started_ms) / 3600000.0), 2) AS hours,"
     " round(sum((coalesce(s.ended_ms, r.heartbeat_ms) - s.started_ms) / 3600000.0 * s.threads), 2)"
     " AS thread_hours FROM experiment e JOIN run r ON r.experiment_id = e.id"
     " JOIN segment s ON s.run_id = r.id WHERE " THERE " GROUP BY e.id ORDER BY hours DESC"},
    {"lr-best",
     "learning rate and best validation loss of each run",
     {{0}},
     "SELECT " OF_RUN ", (SELECT value FROM param WHERE run_id = r.id AND key = 'learning-rate')"
     " AS learning_rate, (SELECT min(value) FROM metric WHERE run_id = r.id AND key_id ="
     " (SELECT id FROM metric_key WHERE name = 'valid/loss')) AS best_valid FROM run r WHERE " THERE
     " ORDER BY best_valid IS NULL, best_valid, r.id"},
    {"best",
     "runs by an evaluation's figure, the last of each run",
     {TEXT("TASK", NULL), TEXT("METRIC", "accuracy"), NUMBER("RUNS", "20")},
     "SELECT " OF_RUN ", e.step, coalesce(e.value, 'NaN') AS value, e.lo, e.hi, e.n FROM eval e"
     " JOIN run r ON r.id = e.run_id WHERE e.task = ?1 AND e.metric = ?2 AND " THERE
     " AND e.step = (SELECT max(step) FROM eval x WHERE x.run_id = e.run_id AND x.task = ?1"
     " AND x.metric = ?2) ORDER BY e.value IS NULL,"
     " CASE WHEN ?2 IN ('loss', 'perplexity') THEN e.value ELSE -e.value END, r.id LIMIT ?3"},
    {"router-imbalance",
     "how even the experts of each layer of a run are used, at the last report",
     {RUN},
     /* By seeks: v_router would read all steps to find the last. */
     "WITH RECURSIVE expert(e, n) AS (SELECT 0, c.n_experts FROM run r JOIN crafted c"
     " ON c.id = r.crafted_id WHERE r.id = ?1 UNION ALL SELECT e + 1, n FROM expert"
     " WHERE e + 1 < n), last(at) AS (SELECT max(step) FROM router_layer WHERE run_id = ?1)"
     " SELECT l.layer, l.step, round(max(x.load) * count(*), 3) AS max_over_mean,"
     " round(min(x.load) * count(*), 3) AS min_over_mean, sum(x.load < 0.1 / n) AS dead_experts,"
     " round(l.entropy, 4) AS entropy, round(max(x.first) * count(*), 3) AS first_max_over_mean"
     " FROM last CROSS JOIN router_layer l ON l.run_id = ?1 AND l.step = last.at"
     " CROSS JOIN expert CROSS JOIN router_expert x ON x.run_id = ?1 AND x.layer = l.layer"
     " AND x.expert = e AND x.step = l.step GROUP BY l.layer ORDER BY l.layer"},
    {"dead-experts",
     "dead experts of a layer of a run over time",
     {RUN, NUMBER("LAYER", "0")},
     "SELECT step, dead_experts, round(max_over_mean, 3) AS max_over_mean FROM v_router"
     " WHERE run_id = ?1 AND layer = ?2 ORDER BY step"},
    {"dataset",
     "runs that used data of that name, or of a hash that begins so",
     {TEXT("DATA", NULL)},
     "SELECT " OF_RUN ", d.name AS data, substr(d.sha256, 1, 12) AS sha256, u.role, u.used,"
     " u.skipped, u.tokens FROM dataset d JOIN run_dataset u ON u.dataset_id = d.id"
     " JOIN run r ON r.id = u.run_id WHERE (d.name = ?1 OR (length(?1) > 3"
     " AND substr(d.sha256, 1, length(?1)) = ?1)) AND " THERE " ORDER BY r.id DESC"},
    {"skipped",
     "records that runs did not train on, and why",
     {{0}},
     "SELECT " OF_RUN ", d.name AS data, u.role, u.records, u.used, u.skipped, u.truncated,"
     " u.reasons FROM run_dataset u JOIN dataset d ON d.id = u.dataset_id"
     " JOIN run r ON r.id = u.run_id WHERE " THERE " AND (u.skipped > 0 OR u.truncated > 0)"
     " ORDER BY r.id DESC, u.role, d.name"},
    {"lineage",
     "what each pack is made of, or the one whose digest or name@version begins so",
     {TEXT("PACK", "")},
     "SELECT pack, substr(digest, 1, 12) AS digest, substr(run, 1, 8) AS run, run_name, base,"
     " trained_on, code FROM v_lineage WHERE substr(digest, 1, length(?1)) = ?1"
     " OR substr(pack, 1, length(?1)) = ?1 ORDER BY pack"},
    {"packs",
     "packs of each base model",
     {{0}},
     "SELECT coalesce(m.name, '?') AS base, substr(p.model_fingerprint, 1, 12) AS fingerprint,"
     " count(*) AS packs, group_concat(p.name || '@' || p.version, ', ') AS names FROM pack p"
     " LEFT JOIN model m ON m.fingerprint = p.model_fingerprint GROUP BY p.model_fingerprint"
     " ORDER BY packs DESC, base"},
    {"plans",
     "what runs were planned to take, and took; errors in percent",
     {{0}},
     "SELECT substr(uuid, 1, 8) AS run, run AS name, seq, budget_bytes >> 20 AS budget_mib,"
     " peak_bytes >> 20 AS planned_mib, real_peak_bytes >> 20 AS real_mib, peak_error,"
     " round(tokens_per_s, 1) AS planned_tokens_per_s, round(real_tokens_per_s, 1)"
     " AS real_tokens_per_s, step_error FROM v_plan"
     " ORDER BY (SELECT id FROM run r WHERE r.uuid = v_plan.uuid) DESC, seq"},
    {"alarms",
     "warnings and errors of all runs, by kind",
     {{0}},
     "SELECT code, level, count(*) AS events, count(DISTINCT run_id) AS runs, max(at) AS last"
     " FROM v_event WHERE level IN ('warn', 'error') GROUP BY code, level ORDER BY events DESC,"
     " code"},
    {NULL, NULL, {{0}}, NULL}};

const struct named_query *named_query_find(const char *name, struct pesc_error *err)
{
    for (const struct named_query *q = named_queries; q->name; q++)
        if (!strcmp(q->name, name))
            return q;
    FAIL(err, USAGE, "no query is named '%s'; 'pesc runs query' lists them", name);
    return NULL;
}

static int number_of(const struct query_param *p, const char *text, long long *out,
                     struct pesc_error *err)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (end == text || *end || errno)
        return FAIL(err, USAGE_VALUE, "%s: '%s' is not a whole number", p->name, text);
    return 0;
}

int named_query_run(struct reader *r, const struct named_query *q, int n_words, char **words,
                    const struct row_sink *sink, struct pesc_error *err)
{
    struct query_value v[QUERY_PARAMS];
    int n = 0;
    for (; n < QUERY_PARAMS && q->param[n].kind != QUERY_NONE; n++) {
        const struct query_param *p = &q->param[n];
        const char *text = n < n_words ? words[n] : p->otherwise;
        v[n] = (struct query_value){.text = text};
        if (!text)
            return FAIL(err, USAGE, "%s: %s is missing", q->name, p->name);
        if (p->kind == QUERY_TEXT)
            continue;
        v[n].text = NULL;
        if (p->kind == QUERY_RUN)
            TRY(query_find_run(r, text, &v[n].number, err));
        else
            TRY(number_of(p, text, &v[n].number, err));
    }
    if (n_words > n)
        return FAIL(err, USAGE, "%s takes no '%s'", q->name, words[n]);
    return query_run_values(r, sink, err, q->sql, v, n);
}
