#include "config.h"
#include "cli/report.h"

#include "cli/markup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TIME(ms) "datetime(" ms "/1000, 'unixepoch')"
#define MIB(b) "round(" b " / 1048576.0, 1)"

#define REASONS "skipped by reason" /* a column of JSON */

enum { LONG_TEXT = 28 }; /* bytes that stay on a line */

void report_cell(FILE *f, const struct cell *c)
{
    switch (c->kind) {
    case CELL_INT:
        fprintf(f, "<td class=\"n\">%lld</td>", c->i);
        break;
    case CELL_REAL:
        fputs("<td class=\"n\">", f);
        report_number(f, c->d, 6);
        fputs("</td>", f);
        break;
    case CELL_TEXT:
        if (!strcmp(c->text, "NaN")) {
            fputs("<td class=\"n\">NaN</td>", f);
            break;
        }
        fprintf(f, "<td class=\"%s\">", c->n > LONG_TEXT ? "l" : "s");
        markup_text(f, c->text);
        fputs("</td>", f);
        break;
    default: /* bytes are nowhere in the history */
        fputs("<td>–</td>", f);
    }
}

/* {"empty":2,"long":0} as "empty 2"; what is no such object as it is. */
static int put_reasons(FILE *f, const struct cell *c, struct pesc_error *err)
{
    enum json_fault fault;
    json_t *o = json_parse(cell_text(c), strlen(cell_text(c)), &fault, NULL, 0), *v;
    const char *key;
    int any = 0;
    if (!o && fault == JSON_FAULT_MEMORY)
        return FAIL(err, MEMORY, "no memory for a report");
    if (!json_is_object(o)) {
        report_cell(f, c);
        json_decref(o);
        return 0;
    }
    fputs("<td class=\"l\">", f);
    json_object_foreach(o, key, v)
    {
        if (!json_is_number(v) || json_number_value(v) == 0)
            continue;
        fputs(any++ ? ", " : "", f);
        markup_text(f, key);
        fprintf(f, " %.15g", json_number_value(v));
    }
    fputs(any ? "</td>" : "none</td>", f);
    json_decref(o);
    return 0;
}

static void put_head(struct report *p, const char *caption, const struct rows *rows)
{
    fputs("<div class=\"scroll\" tabindex=\"0\">\n<table>\n<caption><span>", p->f);
    markup_text(p->f, caption);
    fputs("</span></caption>\n<thead><tr>", p->f);
    if (p->runs->n > 1)
        fputs("<th scope=\"col\">run</th>", p->f);
    for (int i = 0; i < rows->n_cols; i++) {
        fputs("<th scope=\"col\">", p->f);
        markup_text(p->f, rows->names[i]);
        fputs("</th>", p->f);
    }
    fputs("</tr></thead>\n<tbody>\n", p->f);
}

int report_table(struct report *p, const struct report_table *t, struct pesc_error *err)
{
    long shown = 0;
    const char *sql = reader_version(p->r) < t->since ? t->old : t->sql;
    if (!sql) {
        fputs("<p>The version of pesc that made this history did not record it.</p>\n", p->f);
        return 0;
    }
    for (long i = 0; i < p->runs->n; i++) {
        struct rows rows;
        int rc = 0;
        TRY(query_rows(p->r, &rows, err, sql, "i", p->runs->v[i].id));
        for (long k = 0; k < rows.n_rows; k++) {
            if (shown++ == 0)
                put_head(p, t->caption, &rows);
            fputs("<tr>", p->f);
            if (p->runs->n > 1) {
                fputs("<th scope=\"row\">", p->f);
                report_swatch(p, i);
                fputs("</th>", p->f);
            }
            for (int c = 0; c < rows.n_cols; c++)
                if (strcmp(rows.names[c], REASONS))
                    report_cell(p->f, rows_at(&rows, k, c));
                else if (put_reasons(p->f, rows_at(&rows, k, c), err) != 0)
                    rc = -1;
            fputs("</tr>\n", p->f);
        }
        rows_free(&rows);
        TRY(rc);
    }
    if (shown)
        fputs("</tbody>\n</table>\n</div>\n", p->f);
    else if (t->empty)
        fprintf(p->f, "<p>%s</p>\n", t->empty);
    return 0;
}

/* A result of one row for each run, its columns downwards. */
static int record(struct report *p, const struct report_table *t, struct pesc_error *err)
{
    struct rows *all = calloc((size_t)p->runs->n, sizeof *all);
    long n = 0;
    int rc = -1, cols = 0;
    if (!all)
        return FAIL(err, MEMORY, "no memory for a report");
    for (; n < p->runs->n; n++) {
        TRY_OR(query_rows(p->r, &all[n], err, t->sql, "i", p->runs->v[n].id), done);
        cols = all[n].n_rows ? all[n].n_cols : cols;
    }
    fprintf(p->f, "<div class=\"scroll\" tabindex=\"0\">\n<table%s>\n<caption><span>",
            p->runs->n > 1 ? "" : " class=\"record\"");
    markup_text(p->f, t->caption);
    fputs("</span></caption>\n", p->f);
    if (p->runs->n > 1) {
        fputs("<thead><tr><td></td>", p->f);
        for (long i = 0; i < p->runs->n; i++) {
            fputs("<th scope=\"col\">", p->f);
            report_swatch(p, i);
            fputs("</th>", p->f);
        }
        fputs("</tr></thead>\n", p->f);
    }
    fputs("<tbody>\n", p->f);
    for (int c = 0; c < cols; c++) {
        int any = 0;
        for (long i = 0; i < n; i++)
            any |= all[i].n_rows && rows_at(&all[i], 0, c)->kind != CELL_NULL;
        if (!any)
            continue;
        fputs("<tr><th scope=\"row\">", p->f);
        markup_text(p->f, all[0].names[c]);
        fputs("</th>", p->f);
        for (long i = 0; i < n; i++) {
            struct cell none = {.kind = CELL_NULL};
            report_cell(p->f, all[i].n_rows ? rows_at(&all[i], 0, c) : &none);
        }
        fputs("</tr>\n", p->f);
    }
    fputs("</tbody>\n</table>\n</div>\n", p->f);
    rc = 0;
done:
    for (long i = 0; i < n; i++)
        rows_free(&all[i]);
    free(all);
    return rc;
}

static const struct report_table runs_table = {
    .caption = "How far they came",
    .sql = "SELECT v.status, v.steps, coalesce(v.train_loss, (SELECT 'NaN' FROM metric m JOIN"
           " metric_key k ON k.id = m.key_id WHERE m.run_id = r.id AND k.name = 'train/loss'"
           " LIMIT 1)) AS \"last loss, nats\","
           " v.best_valid AS \"best validation loss, nats\", v.hours, v.base,"
           " coalesce(v.moe, 'dense') AS \"experts x size\", v.resumes, v.created,"
           " nullif(r.note, '') AS note, v.error FROM run r JOIN v_run v ON v.id = r.id"
           " WHERE r.id = ?1"};

int report_runs(struct report *p, struct pesc_error *err)
{
    report_section(p, "runs", p->runs->n > 1 ? "Runs" : "Run");
    TRY(p->runs->n > 1 ? report_table(p, &runs_table, err) : record(p, &runs_table, err));
    report_section_end(p);
    return 0;
}

static const struct {
    const char *id, *title;
    int record;
    struct report_table t;
} parts[] = {
    {"evaluations",
     "Evaluations",
     0,
     {.caption = "Evaluations: the last of each task, with 95 % confidence",
      .since = 4,
      .old = "SELECT e.task, e.metric, e.step, coalesce(e.value, 'NaN') AS value, e.stderr AS"
             " \"standard error\", e.n AS \"scored items\" FROM eval e WHERE e.run_id = ?1 AND"
             " e.step = (SELECT max(x.step) FROM eval x WHERE x.run_id = ?1 AND x.task = e.task"
             " AND x.metric = e.metric) ORDER BY e.task, e.metric LIMIT 500",
      .empty = "No evaluations are recorded.",
      .sql = "SELECT e.task, e.metric, e.step, coalesce(e.value, 'NaN') AS value,"
             " CASE WHEN e.lo IS NOT NULL AND e.hi IS NOT NULL THEN"
             " printf('%.4g to %.4g', e.lo, e.hi) WHEN e.stderr IS NOT NULL THEN"
             " printf('%.4g to %.4g (normal)', e.value - 1.96 * e.stderr,"
             " e.value + 1.96 * e.stderr) ELSE 'unknown' END AS \"95 % confidence\","
             " e.n AS \"scored items\" FROM eval e WHERE e.run_id = ?1 AND e.step ="
             " (SELECT max(x.step) FROM eval x WHERE x.run_id = ?1 AND x.task = e.task AND"
             " x.metric = e.metric) ORDER BY e.task, e.metric LIMIT 500"}},
    {"data",
     "Data",
     0,
     {.caption = "Data counts",
      .since = 2,
      .old = "SELECT x.role, d.name, x.weight, d.records AS \"records read\", x.used, x.skipped,"
             " x.tokens FROM run_dataset x JOIN dataset d ON d.id = x.dataset_id"
             " WHERE x.run_id = ?1 ORDER BY x.role = 'train' DESC, x.role, d.id",
      .empty = "No data is recorded.",
      .sql = "SELECT x.role, d.name, x.weight, coalesce(x.records, d.records) AS \"records read\","
             " x.used, x.skipped, x.reasons AS \"" REASONS "\", x.truncated, x.split,"
             " x.pieces_dropped AS \"pieces dropped\", x.samples, x.tokens,"
             " x.trained_tokens AS \"trained tokens\" FROM run_dataset x JOIN dataset d"
             " ON d.id = x.dataset_id WHERE x.run_id = ?1"
             " ORDER BY x.role = 'train' DESC, x.role, d.id"}},
    {"plan",
     "Plan and outcome",
     0,
     {.caption = "What each process was expected to need, and did",
      .since = 3,
      .empty = "No plan is recorded.",
      .sql =
          "SELECT p.seq AS part, CASE WHEN p.budget_bytes IS NULL THEN 'none' WHEN"
          " p.budget_bytes > 9e18 THEN 'max' ELSE " MIB(
              "p.budget_bytes") " END AS"
                                " \"budget, MiB\", " MIB(
                                    "p.peak_bytes") " AS \"planned peak, "
                                                    "MiB\", " MIB(
                                                        "p.real_peak_"
                                                        "bytes") " AS "
                                                                 "\"real "
                                                                 "peak, "
                                                                 "MiB\","
                                                                 " round("
                                                                 "100.0 * "
                                                                 "p.peak_"
                                                                 "bytes / "
                                                                 "p.real_"
                                                                 "peak_"
                                                                 "bytes - "
                                                                 "100, 2) "
                                                                 "AS "
                                                                 "\"peak "
                                                                 "off by, "
                                                                 "%\","
                                                                 " round("
                                                                 "p."
                                                                 "tokens_"
                                                                 "per_s, "
                                                                 "2) AS "
                                                                 "\"planne"
                                                                 "d "
                                                                 "tokens/"
                                                                 "s\","
                                                                 " round("
                                                                 "p.real_"
                                                                 "tokens_"
                                                                 "per_s, "
                                                                 "2) AS "
                                                                 "\"real "
                                                                 "tokens/"
                                                                 "s\","
                                                                 " round("
                                                                 "p."
                                                                 "seconds,"
                                                                 " 1) AS "
                                                                 "\"planne"
                                                                 "d time, "
                                                                 "s\","
                                                                 " round("
                                                                 "p.real_"
                                                                 "seconds,"
                                                                 " 1) AS "
                                                                 "\"real "
                                                                 "time, "
                                                                 "s\","
                                                                 " " MIB(
                                                                     "p."
                                                                     "disk"
                                                                     "_byt"
                                                                     "es") " AS \"disk, MiB\" FROM "
                                                                           "plan p WHERE p.run_id "
                                                                           "= ?1 ORDER BY p.seq"}},
    {"lineage",
     "Lineage",
     1,
     {.caption = "Where the runs come from, and what became of them",
      .since = 1,
      .sql =
          "SELECT r.uuid, e.name AS experiment, m.name AS base,"
          " m.fingerprint AS \"base fingerprint\", m.arch AS architecture,"
          " nullif(m.n_params, 0) AS parameters, c.n_experts || ' experts of ' || c.adapter_dim ||"
          " ', top ' || c.top_k AS crafted, c.config_sha256 AS \"crafted configuration\","
          " c.n_trainable AS \"trainable parameters\","
          " (SELECT group_concat(d.name || ' (' || x.role || ', ' || substr(d.sha256, 1, 12) ||"
          " ')', ', ') FROM run_dataset x JOIN dataset d ON d.id = x.dataset_id"
          " WHERE x.run_id = r.id) AS data, (SELECT group_concat(DISTINCT v.git_commit ||"
          " CASE v.git_dirty WHEN 1 THEN ' (changed)' ELSE '' END) FROM segment s JOIN env v"
          " ON v.id = s.env_id WHERE s.run_id = r.id) AS code, (SELECT group_concat(DISTINCT"
          " v.host || ', ' || v.cpu_model || ', ' || v.cores || ' cores') FROM segment s JOIN"
          " env v ON v.id = s.env_id WHERE s.run_id = r.id) AS machine, r.seed,"
          " r.determinism, nullif(r.config_sha256, '') AS \"configuration\","
          " (SELECT q.name || ' (' || substr(q.uuid, 1, 8) || ')' FROM run q"
          " WHERE q.id = r.parent_run_id) AS parent, r.dir AS folder, r.cmdline AS command,"
          " (SELECT group_concat(k.name || '@' || k.version || ' (' || k.origin || ', ' ||"
          " substr(k.digest, 1, 12) || ')', ', ') FROM pack k WHERE k.run_id = r.id) AS packs,"
          " (SELECT count(*) || ', the last at step ' || max(a.step) FROM artifact a"
          " WHERE a.run_id = r.id AND a.kind = 'checkpoint' HAVING count(*) > 0)"
          " AS checkpoints FROM run r JOIN experiment e ON e.id = r.experiment_id"
          " LEFT JOIN crafted c ON c.id = r.crafted_id"
          " LEFT JOIN model m ON m.id = coalesce(c.model_id, r.model_id) WHERE r.id = ?1"}},
    {"parts",
     "Starts and resumes",
     0,
     {.caption = "Processes that worked on a run",
      .since = 1,
      .sql = "SELECT s.seq AS part, s.start_step AS \"first step\", s.end_step AS \"last "
             "step\", " TIME(
                 "s.started_ms") " AS started, round((s.ended_ms - s.started_ms) / 1000.0, 1)"
                                 " AS \"time, s\", s.threads, s.reason AS \"ended by\","
                                 " s.resumed_from AS \"resumed from\" FROM segment s WHERE "
                                 "s.run_id = ?1"
                                 " ORDER BY s.seq"}},
    {"events",
     "Events and alarms",
     0,
     {.caption = "Events: the last 200 of a run",
      .since = 1,
      .empty = "No events are recorded.",
      .sql = "SELECT * FROM (SELECT step, level, code, text, " TIME(
          "t_ms") " AS time FROM event"
                  " WHERE run_id = ?1 ORDER BY id DESC LIMIT 200) ORDER BY time, step"}},
};

int report_part(struct report *p, const char *id, struct pesc_error *err)
{
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strcmp(parts[i].id, id))
            continue;
        if (!strcmp(id, "evaluations") && p->runs->n > 1)
            return report_scores(p, err);
        report_section(p, id, parts[i].title);
        TRY(parts[i].record ? record(p, &parts[i].t, err) : report_table(p, &parts[i].t, err));
        report_section_end(p);
    }
    return 0;
}
