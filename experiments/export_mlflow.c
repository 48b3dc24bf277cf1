#include "config.h"
#include "experiments/export_impl.h"

#include "datasets/unicode.h"
#include "experiments/export_names.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* MLflow's own limits, in characters. */
enum { PARAM_CHARS = 6000, TAG_CHARS = 5000, RUN_NAME_CHARS = 250, TEXT_CHARS = 500 };

struct store {
    struct reader *r;
    const struct export_job *job;
    struct export_out *o;
    long long rows;
    long long run;
    char uuid[33];
    char dir[64]; /* EXPERIMENT/UUID */
    const char *kind;
    const char **names; /* [n_names], sorted: what kind has */
    long n_names;
    long cap; /* characters of a value */
};

/* One text file below the run's folder. Whole values are also in its artifacts. */
static int value_file(struct store *s, const char *key, const char *text, size_t n,
                      struct pesc_error *err)
{
    char name[EXPORT_NAME_CAP], path[PATH_CAP];
    int renamed = export_name(name, key, s->names, s->n_names, err);
    if (renamed < 0)
        return -1;
    if (renamed > 0)
        note(&s->job->notes, "W-EXPORT-NAME", "run %.8s: %s '%s' is '%s' in MLflow", s->uuid,
             s->kind, key, name);
    snprintf(path, sizeof path, "%s/%s/%s", s->dir, s->kind, name);
    TRY(out_file(s->o, path, err));
    if (!text)
        return 0;
    int sound = utf8_valid(text, n, NULL, NULL) == n, changed = 0;
    long chars = 0;
    size_t i = 0;
    for (; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!sound || c < 0x80 || c >= 0xc0)
            chars += c == 0 || c == '\r' || (!sound && c >= 0x80) ? 4 : 1;
        if (chars > s->cap)
            break;
        if (c == 0 || c == '\r' || (!sound && c >= 0x80)) { /* readers would change it silently */
            fprintf(s->o->f, "\\x%02x", c);
            changed = 1;
        } else {
            putc(c, s->o->f);
        }
    }
    if (i < n || changed)
        note(&s->job->notes, "W-EXPORT-VALUE", "run %.8s: %s '%s' is %s; whole in its artifacts",
             s->uuid, s->kind, key, i < n ? "cut to what MLflow takes" : "escaped");
    s->rows++;
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int take_names(struct store *s, const char *kind, const struct rows *rows,
                      struct pesc_error *err)
{
    free(s->names);
    s->kind = kind;
    s->n_names = rows->n_rows;
    s->names = malloc((size_t)(rows->n_rows + 1) * sizeof *s->names);
    if (!s->names)
        return FAIL(err, MEMORY, "no memory for the names of a run");
    for (long i = 0; i < rows->n_rows; i++)
        s->names[i] = cell_text(rows_at(rows, i, 0));
    qsort(s->names, (size_t)rows->n_rows, sizeof *s->names, by_bytes);
    return 0;
}

static int values(struct store *s, const char *kind, long cap, const char *sql,
                  struct pesc_error *err)
{
    struct rows rows;
    char path[PATH_CAP];
    s->cap = cap;
    snprintf(path, sizeof path, "%s/%s", s->dir, kind);
    TRY(out_folder(s->o, path, err));
    TRY(query_rows(s->r, &rows, err, sql, "i", s->run));
    int rc = take_names(s, kind, &rows, err);
    for (long i = 0; i < rows.n_rows && rc == 0; i++) {
        const struct cell *value = rows_at(&rows, i, 1);
        rc = value_file(s, cell_text(rows_at(&rows, i, 0)), cell_text(value), value->n, err);
    }
    rows_free(&rows);
    s->n_names = 0;
    return rc;
}

static const char params_sql[] = "SELECT key, value FROM param WHERE run_id = ?1 ORDER BY key";

/* What the run's own tags do not say already. */
#define TAG(key, value) " UNION ALL SELECT '" key "', " value " FROM r"
static const char tags_sql[] =
    "WITH r AS (SELECT * FROM run WHERE id = ?1),"
    " v AS (SELECT e.* FROM segment s JOIN env e ON e.id = s.env_id WHERE s.run_id = ?1"
    " ORDER BY s.seq DESC LIMIT 1),"
    " d(key, value) AS (SELECT 'mlflow.runName', name FROM r" TAG(
        "mlflow.note.content",
        "nullif(note, '')") TAG("mlflow.source.name", "'pesc'") TAG("mlflow.source.type", "'LOCAL'")
        TAG("mlflow.source.git.commit", "(SELECT nullif(git_commit, '') FROM v)") TAG(
            "mlflow.parentRunId", "(SELECT p.uuid FROM run p WHERE p.id = r.parent_run_id)")
            TAG("pesc.git_dirty", "(SELECT CAST(git_dirty AS TEXT) FROM v)") TAG(
                "pesc.host", "(SELECT host FROM v)") TAG("pesc.cpu_model",
                                                         "(SELECT cpu_model FROM v)")
                TAG("pesc.tool_version", "(SELECT tool_version FROM v)") TAG(
                    "pesc.status", "status") TAG("pesc.exit_code", "CAST(exit_code AS TEXT)")
                    TAG("pesc.error", "error") TAG("pesc.command", "cmdline")
                        TAG("pesc.folder", "dir") TAG("pesc.seed", "CAST(seed AS TEXT)") TAG(
                            "pesc.determinism", "determinism") TAG("pesc.steps_planned",
                                                                   "CAST(steps_planned AS TEXT)")
                            TAG("pesc.last_step", "CAST(last_step AS TEXT)")
                                TAG("pesc.tokens_seen", "CAST(tokens_seen AS TEXT)")
                                    TAG("pesc.config_sha256", "config_sha256")
                                        TAG("pesc.base",
                                            "(SELECT m.name FROM model m WHERE m.id = r.model_id)")
                                            TAG("pesc.base_fingerprint",
                                                "(SELECT m.fingerprint FROM model "
                                                "m WHERE m.id = r.model_id)")
                                                TAG("pesc.moe",
                                                    "(SELECT c.n_experts || 'x' || "
                                                    "c.adapter_dim || ' top' || c.top_k"
                                                    " FROM crafted c WHERE c.id = "
                                                    "r.crafted_id)") ") SELECT key, value FROM "
                                                                     "tag WHERE run_id = ?1 "
                                                                     "UNION ALL SELECT key, "
                                                                     "value FROM d"
                                                                     " WHERE value IS NOT NULL "
                                                                     "AND key NOT IN (SELECT "
                                                                     "key FROM tag WHERE "
                                                                     "run_id = ?1) ORDER BY 1";

static void put_point(FILE *f, long long t_ms, double value, long long step)
{
    fprintf(f, "%lld ", t_ms);
    if (isnan(value)) /* as Python writes it */
        fputs("nan", f);
    else
        put_real(f, value, "inf");
    fprintf(f, " %lld\n", step);
}

static int head(void *ctx, int n, const char *const *names, struct pesc_error *err)
{
    (void)ctx, (void)n, (void)names, (void)err;
    return 0;
}

static int point(void *ctx, int n, const struct cell *c, struct pesc_error *err)
{
    struct store *s = ctx;
    (void)n;
    put_point(s->o->f, cell_int(&c[0]), cell_real(&c[1]), cell_int(&c[2]));
    s->rows++;
    if (out_bad(s->o))
        return 1; /* closing the file says of what */
    return s->rows % 1024 ? 0 : export_stopped(s->job, err);
}

static int curve(struct store *s, const struct rows *rows, long i, const char *name,
                 struct pesc_error *err)
{
    struct row_sink sink = {s, head, point};
    TRY(export_stopped(s->job, err));
    TRY(value_file(s, name, NULL, 0, err));
    if (rows_at(rows, i, 1)->kind == CELL_INT)
        return query_run(s->r, &sink, err,
                         "SELECT t_ms, value, step FROM metric WHERE run_id = ?1 AND key_id = ?2"
                         " ORDER BY step",
                         "ii", s->run, cell_int(rows_at(rows, i, 1)));
    return query_run(s->r, &sink, err,
                     "SELECT t_ms, value, step FROM eval WHERE run_id = ?1 AND task = ?2"
                     " AND metric = ?3 ORDER BY step",
                     "iss", s->run, cell_text(rows_at(rows, i, 2)), cell_text(rows_at(rows, i, 3)));
}

/* Metrics, and evaluations as eval/TASK/METRIC; a name that is taken gets "#2" and so on. */
static int curves(struct store *s, struct pesc_error *err)
{
    struct rows rows;
    char path[PATH_CAP];
    snprintf(path, sizeof path, "%s/metrics", s->dir);
    TRY(out_folder(s->o, path, err));
    TRY(query_rows(s->r, &rows, err,
                   "SELECT k.name, k.id, NULL, NULL FROM metric_key k WHERE EXISTS"
                   " (SELECT 1 FROM metric m WHERE m.run_id = ?1 AND m.key_id = k.id)"
                   " UNION ALL SELECT 'eval/' || task || '/' || metric, NULL, task, metric"
                   " FROM eval WHERE run_id = ?1 GROUP BY task, metric ORDER BY 1, 2 DESC, 3",
                   "i", s->run));
    int rc = take_names(s, "metrics", &rows, err), times = 1;
    for (long i = 0; i < rows.n_rows && rc == 0; i++) {
        const char *name = cell_text(rows_at(&rows, i, 0));
        times = i && !strcmp(name, cell_text(rows_at(&rows, i - 1, 0))) ? times + 1 : 1;
        size_t size = strlen(name) + 16;
        char *other = times > 1 ? malloc(size) : NULL;
        if (other)
            snprintf(other, size, "%s#%d", name, times);
        rc = times > 1 && !other ? FAIL(err, MEMORY, "no memory for a name")
                                 : curve(s, &rows, i, other ? other : name, err);
        free(other);
    }
    rows_free(&rows);
    s->n_names = 0;
    return rc;
}

/* All there is but the curves, so that nothing is lost on the way, and the configuration. */
static int artifacts(struct store *s, struct pesc_error *err)
{
    struct rows rows;
    struct export_job one = *s->job;
    char path[PATH_CAP];
    one.ids = &s->run;
    one.n = 1;
    snprintf(path, sizeof path, "%s/artifacts/history.jsonl", s->dir);
    TRY(out_file(s->o, path, err));
    for (const struct export_table *t = export_tables; t->name; t++)
        if (strcmp(t->name, "metrics"))
            TRY(export_jsonl(s->r, t, &one, s->o, &s->rows, err));
    TRY(query_rows(s->r, &rows, err, "SELECT config FROM run WHERE id = ?1", "i", s->run));
    const struct cell *config = rows_at(&rows, 0, 0);
    snprintf(path, sizeof path, "%s/artifacts/config.yaml", s->dir);
    int rc = config->n ? out_file(s->o, path, err) : 0;
    if (rc == 0 && config->n)
        fwrite(config->text, 1, config->n, s->o->f);
    rows_free(&rows);
    return rc;
}

/* At most so many characters of a text. */
static size_t cut(const char *text, size_t n, long chars)
{
    size_t i = 0;
    for (; i < n; i++)
        if (((unsigned char)text[i] & 0xc0) != 0x80 && chars-- == 0)
            break;
    return i;
}

static void put_text(FILE *f, const char *key, const struct cell *c, long chars)
{
    fprintf(f, "%s: ", key);
    put_yaml_text(f, cell_text(c), cut(cell_text(c), c->kind == CELL_TEXT ? c->n : 0, chars));
    putc('\n', f);
}

static void put_ms(FILE *f, const char *key, const struct cell *c)
{
    if (c->kind == CELL_INT)
        fprintf(f, "%s: %lld\n", key, c->i);
    else
        fprintf(f, "%s: null\n", key);
}

static void put_place(FILE *f, const char *key, const char *root, const char *below)
{
    fprintf(f, "%s: \"file://", key);
    for (const char *p = root; *p; p++) {
        unsigned char c = (unsigned char)*p;
        int plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr("0123456789/._-", c);
        fprintf(f, plain ? "%c" : "%%%02X", c);
    }
    fprintf(f, "/%s\"\n", below);
}

static int put_dataset(struct store *s, const struct rows *d, long i, const char *experiment,
                       struct pesc_error *err)
{
    static const struct {
        const char *key;
        int col;
    } tags[] = {{"mlflow.data.context", 4}, {"weight", 5}, {"used", 6}, {"tokens", 7}};
    const char *sha256 = cell_text(rows_at(d, i, 0));
    char path[PATH_CAP], inside[40];
    /* MLflow only wants an id that is unique. */
    snprintf(path, sizeof path, "%s/datasets/%lld/meta.yaml", experiment,
             cell_int(rows_at(d, i, 8)));
    snprintf(inside, sizeof inside, "%lld", cell_int(rows_at(d, i, 8)));
    if (!out_taken(s->o, path)) {
        struct cell digest = {.kind = CELL_TEXT, .text = sha256, .n = strlen(sha256)};
        digest.n = digest.n > 36 ? 36 : digest.n;
        TRY(out_file(s->o, path, err));
        put_text(s->o->f, "name", rows_at(d, i, 1), TEXT_CHARS);
        put_text(s->o->f, "digest", &digest, 36);
        fputs("source_type: \"local\"\n", s->o->f);
        put_text(s->o->f, "source", rows_at(d, i, 2), 60000);
        fputs("schema: null\n", s->o->f);
        put_text(s->o->f, "profile", rows_at(d, i, 3), 60000);
    }
    snprintf(path, sizeof path, "%s/inputs/%s/meta.yaml", s->dir, inside);
    TRY(out_file(s->o, path, err));
    fprintf(s->o->f,
            "source_type: \"DATASET\"\nsource_id: \"%s\"\ndestination_type: \"RUN\"\n"
            "destination_id: \"%s\"\ntags:\n",
            inside, s->uuid);
    for (size_t t = 0; t < sizeof tags / sizeof *tags; t++) {
        char key[64];
        snprintf(key, sizeof key, "  %s", tags[t].key);
        put_text(s->o->f, key, rows_at(d, i, tags[t].col), TEXT_CHARS);
    }
    return 0;
}

/* A data set in several roles is one input: MLflow has no more. */
static int datasets(struct store *s, const char *experiment, struct pesc_error *err)
{
    struct rows d;
    TRY(query_rows(
        s->r, &d, err,
        "SELECT d.sha256, d.name, json_object('uri', d.path), json_object('num_rows', d.records,"
        " 'bytes', d.bytes, 'format', d.format, 'sha256', d.sha256),"
        " group_concat(CASE x.role WHEN 'train' THEN 'training' WHEN 'valid' THEN 'validation'"
        " ELSE x.role END, ', '), group_concat(x.weight, ', '), group_concat(x.used, ', '),"
        " group_concat(x.tokens, ', '), d.id FROM run_dataset x JOIN dataset d"
        " ON d.id = x.dataset_id WHERE x.run_id = ?1 GROUP BY d.id ORDER BY d.id",
        "i", s->run));
    int rc = 0;
    for (long i = 0; i < d.n_rows && rc == 0; i++)
        rc = put_dataset(s, &d, i, experiment, err);
    rows_free(&d);
    return rc;
}

/* MLflow's numbers: RUNNING 1, SCHEDULED 2, FINISHED 3, FAILED 4, KILLED 5. */
static int status_of(const char *status)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {{"created", 2}, {"running", 1}, {"finished", 3}, {"failed", 4}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(status, known[i].name))
            return known[i].number;
    return 5; /* killed, interrupted */
}

static int experiment_meta(struct store *s, const struct rows *run, const char *id,
                           struct pesc_error *err)
{
    char path[64];
    snprintf(path, sizeof path, "%s/meta.yaml", id);
    if (out_taken(s->o, path))
        return 0;
    TRY(out_file(s->o, path, err));
    FILE *f = s->o->f;
    put_place(f, "artifact_location", s->o->path, id);
    put_ms(f, "creation_time", rows_at(run, 0, 8));
    fprintf(f, "experiment_id: '%s'\n", id);
    put_ms(f, "last_update_time", rows_at(run, 0, 8));
    fputs("lifecycle_stage: active\n", f);
    put_text(f, "name", rows_at(run, 0, 7), 256);
    const struct cell *remark = rows_at(run, 0, 9);
    if (remark->n == 0)
        return 0;
    snprintf(path, sizeof path, "%s/tags/mlflow.note.content", id);
    TRY(out_file(s->o, path, err));
    fwrite(remark->text, 1, cut(remark->text, remark->n, TAG_CHARS), s->o->f);
    return 0;
}

static int run_meta(struct store *s, const struct rows *run, const char *experiment,
                    struct pesc_error *err)
{
    char path[PATH_CAP];
    int deleted = rows_at(run, 0, 5)->kind == CELL_INT;
    snprintf(path, sizeof path, "%s/meta.yaml", s->dir);
    TRY(out_file(s->o, path, err));
    FILE *f = s->o->f;
    snprintf(path, sizeof path, "%s/artifacts", s->dir);
    put_place(f, "artifact_uri", s->o->path, path);
    put_ms(f, "deleted_time", rows_at(run, 0, 5));
    put_ms(f, "end_time", rows_at(run, 0, 4));
    fprintf(f, "entry_point_name: ''\nexperiment_id: '%s'\nlifecycle_stage: %s\nrun_id: %s\n",
            experiment, deleted ? "deleted" : "active", s->uuid);
    put_text(f, "run_name", rows_at(run, 0, 1), RUN_NAME_CHARS);
    fprintf(f, "run_uuid: %s\nsource_name: ''\nsource_type: 4\nsource_version: ''\n", s->uuid);
    put_ms(f, "start_time", rows_at(run, 0, 3));
    fprintf(f, "status: %d\ntags: []\nuser_id: ''\n", status_of(cell_text(rows_at(run, 0, 2))));
    return 0;
}

static int one_run(struct store *s, const struct rows *run, struct pesc_error *err)
{
    char experiment[24];
    snprintf(s->uuid, sizeof s->uuid, "%.32s", cell_text(rows_at(run, 0, 0)));
    snprintf(experiment, sizeof experiment, "%lld", cell_int(rows_at(run, 0, 6)));
    snprintf(s->dir, sizeof s->dir, "%s/%s", experiment, s->uuid);
    if (strspn(s->uuid, "0123456789abcdef") != 32)
        return FAIL(err, DB_RUN, "'%s' is no uuid of a run", s->uuid);
    TRY(experiment_meta(s, run, experiment, err));
    TRY(run_meta(s, run, experiment, err));
    TRY(values(s, "params", PARAM_CHARS, params_sql, err));
    TRY(values(s, "tags", TAG_CHARS, tags_sql, err));
    TRY(curves(s, err));
    TRY(datasets(s, experiment, err));
    return artifacts(s, err);
}

int export_mlflow(struct reader *r, const struct export_job *job, struct export_out *o,
                  long long *rows, struct pesc_error *err)
{
    struct store s = {.r = r, .job = job, .o = o};
    struct rows run;
    int rc = out_folder(o, ".trash", err); /* which a store is expected to have */
    for (long i = 0; i < job->n && rc == 0; i++) {
        s.run = job->ids[i];
        rc = query_rows(r, &run, err,
                        "SELECT r.uuid, r.name, r.status, coalesce(r.started_ms, r.created_ms),"
                        " r.ended_ms, r.deleted_ms, e.id, e.name, e.created_ms, e.note FROM run r"
                        " JOIN experiment e ON e.id = r.experiment_id WHERE r.id = ?1",
                        "i", s.run);
        if (rc == 0 && run.n_rows != 1)
            rc = FAIL(err, DB_RUN, "a run is gone");
        if (rc == 0)
            rc = one_run(&s, &run, err);
        rows_free(&run);
    }
    *rows = s.rows;
    free(s.names);
    return rc;
}
