#include "config.h"
#include "experiments/export_impl.h"

#include "experiments/tfevents.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* Router rows have no time of their own: that of the last logged step, or of the start. */
#define AT                                                                                         \
    "coalesce((SELECT m.t_ms FROM metric m WHERE m.run_id = ?1 AND m.key_id ="                     \
    " (SELECT id FROM metric_key WHERE name = 'train/loss') AND m.step <= x.step"                  \
    " ORDER BY m.step DESC LIMIT 1), (SELECT coalesce(started_ms, created_ms) FROM run"            \
    " WHERE id = ?1))"
#define OF_RUN " WHERE x.run_id = ?1"
#define LAYER(tag, value)                                                                          \
    "SELECT printf('router/layer_%02d/" tag "', x.layer), x.step, " AT ", x." value                \
    " FROM router_layer x" OF_RUN
#define EXPERT(value)                                                                              \
    "SELECT printf('router/layer_%02d/expert_%d/" value "', x.layer, x.expert), x.step, " AT       \
    ", x." value " FROM router_expert x" OF_RUN
#define DOMAIN(value)                                                                              \
    "SELECT printf('router/layer_%02d/domain/%s/" value "', x.layer, x.domain), x.step, " AT       \
    ", x." value " FROM router_domain_layer x" OF_RUN

/* Rows of tag, step, time in ms, value; a value that is NULL is NaN. */
static const struct source {
    int since;
    const char *sql;
} sources[] = {
    {1, "SELECT k.name, x.step, x.t_ms, x.value FROM metric x JOIN metric_key k"
        " ON k.id = x.key_id" OF_RUN " ORDER BY x.key_id, x.step"},
    {1, "SELECT 'eval/' || x.task || '/' || x.metric, x.step, x.t_ms, x.value FROM eval x" OF_RUN
        " ORDER BY x.task, x.metric, x.step"},
    {4, "SELECT 'eval/' || x.task || '/' || x.metric || '/low', x.step, x.t_ms, x.lo"
        " FROM eval x" OF_RUN " AND x.lo IS NOT NULL ORDER BY x.task, x.metric, x.step"},
    {4, "SELECT 'eval/' || x.task || '/' || x.metric || '/high', x.step, x.t_ms, x.hi"
        " FROM eval x" OF_RUN " AND x.hi IS NOT NULL ORDER BY x.task, x.metric, x.step"},
    {1, LAYER("entropy", "entropy") " ORDER BY x.layer, x.step"},
    {1, LAYER("balance", "aux_loss") " ORDER BY x.layer, x.step"},
    {4, LAYER("top1", "top1") " AND x.top1 IS NOT NULL ORDER BY x.layer, x.step"},
    {1, EXPERT("load") " ORDER BY x.layer, x.expert, x.step"},
    {1, EXPERT("prob") " ORDER BY x.layer, x.expert, x.step"},
    {4, EXPERT("first") " AND x.first IS NOT NULL ORDER BY x.layer, x.expert, x.step"},
    {1, "SELECT printf('router/layer_%02d/domain/%s/expert_%d', x.layer, x.domain, x.expert),"
        " x.step, " AT ", x.load FROM router_domain x" OF_RUN
        " ORDER BY x.layer, x.expert, x.domain, x.step"},
    {4, DOMAIN("entropy") " ORDER BY x.layer, x.domain, x.step"},
    {4, DOMAIN("top1") " AND x.top1 IS NOT NULL ORDER BY x.layer, x.domain, x.step"},
};

/* What a run says of itself, and its parameters. */
static const char facts[] =
    "SELECT 'run' AS key, r.uuid AS value, 0 AS part FROM run r WHERE r.id = ?1"
    " UNION ALL SELECT 'name', r.name, 1 FROM run r WHERE r.id = ?1"
    " UNION ALL SELECT 'status', r.status, 2 FROM run r WHERE r.id = ?1"
    " UNION ALL SELECT 'base', m.name, 3 FROM run r JOIN model m ON m.id = r.model_id"
    " WHERE r.id = ?1"
    " UNION ALL SELECT 'seed', r.seed || '', 4 FROM run r WHERE r.id = ?1"
    " UNION ALL SELECT 'command', r.cmdline, 5 FROM run r WHERE r.id = ?1"
    " UNION ALL SELECT 'note', r.note, 6 FROM run r WHERE r.id = ?1 AND r.note <> ''"
    " UNION ALL SELECT key, value, 7 FROM param WHERE run_id = ?1 ORDER BY 3, 1";

struct writing {
    const struct export_job *job;
    struct export_out *o;
    struct tfevents t;
    struct buf tag;
    double started; /* seconds */
    long long rows;
};

/* Protobuf's strings are UTF-8. */
static int sound_text(struct buf *out, const char *text, size_t n, struct pesc_error *err)
{
    char hex[8];
    out->n = 0;
    if (utf8_valid(text, n, NULL, NULL) == n)
        return n ? buf_put(out, text, n, err) : 0;
    for (size_t i = 0; i < n; i++) {
        int plain = (unsigned char)text[i] < 0x80;
        snprintf(hex, sizeof hex, "\\x%02x", (unsigned char)text[i]);
        TRY(buf_put(out, plain ? text + i : hex, plain ? 1 : 4, err));
    }
    return 0;
}

static int point(void *ctx, int n, const struct cell *c, struct pesc_error *err)
{
    struct writing *w = ctx;
    (void)n;
    TRY(sound_text(&w->tag, cell_text(&c[0]), c[0].n, err));
    TRY(tfevents_scalar(&w->t, (double)cell_int(&c[2]) / 1000, cell_int(&c[1]), w->tag.p, w->tag.n,
                        cell_real(&c[3]), err));
    w->rows++;
    if (out_bad(w->o))
        return 1; /* closing the file says of what */
    return w->rows % 1024 ? 0 : export_stopped(w->job, err);
}

/* Text in a table of Markdown that is shown, not obeyed. */
static int plain_text(struct buf *out, const char *text, size_t n, struct pesc_error *err)
{
    enum { SHOWN = 4000 };
    char put[16];
    int sound = utf8_valid(text, n, NULL, NULL) == n;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        int rest = sound && c >= 0x80 && c < 0xc0;
        if (i >= SHOWN && !rest)
            return buf_put(out, "...", 3, err);
        if (isalnum(c) || (c && strchr(" .,:/=-", c)) || (sound && c >= 0x80))
            TRY(buf_put(out, text + i, 1, err));
        else {
            snprintf(put, sizeof put, c < 0x20 || c >= 0x7f ? "&#92;x%02x" : "&#%d;", c);
            TRY(buf_put(out, put, strlen(put), err));
        }
    }
    return 0;
}

static int fact(void *ctx, int n, const struct cell *c, struct pesc_error *err)
{
    struct buf *b = ctx;
    (void)n;
    TRY(buf_put(b, "| ", 2, err));
    TRY(plain_text(b, cell_text(&c[0]), c[0].n, err));
    TRY(buf_put(b, " | ", 3, err));
    TRY(plain_text(b, cell_text(&c[1]), c[1].n, err));
    return buf_put(b, " |\n", 3, err);
}

static int head(void *ctx, int n, const char *const *names, struct pesc_error *err)
{
    (void)ctx, (void)n, (void)names, (void)err;
    return 0;
}

static int put_facts(struct reader *r, struct writing *w, long long run, struct pesc_error *err)
{
    static const char top[] = "| parameter | value |\n|---|---|\n";
    struct buf text = {0};
    struct row_sink sink = {&text, head, fact};
    int rc = buf_put(&text, top, strlen(top), err);
    if (rc == 0)
        rc = query_run(r, &sink, err, facts, "i", run);
    if (rc == 0)
        rc = tfevents_text(&w->t, w->started, "run/text_summary", text.p, text.n, err);
    buf_free(&text);
    return rc;
}

/* A part of a file name that means nothing to a shell or a browser. */
static void tame(char *out, size_t size, const char *text)
{
    size_t n = 0;
    for (; *text && n + 1 < size; text++, n++)
        out[n] = isalnum((unsigned char)*text) || (n && strchr("._-", *text)) ? *text : '_';
    out[n] = 0;
}

/* name-uuid, by the uuid's start where that is enough. */
static int open_file(struct export_out *o, const struct rows *run, struct pesc_error *err)
{
    char name[100], host[64], folder[160], path[320];
    const char *uuid = cell_text(rows_at(run, 0, 1));
    tame(name, sizeof name, cell_text(rows_at(run, 0, 0)));
    tame(host, sizeof host, cell_text(rows_at(run, 0, 3)));
    snprintf(folder, sizeof folder, "%s%s%.8s", name, *name ? "-" : "", uuid);
    if (out_taken(o, folder))
        snprintf(folder, sizeof folder, "%s%s%s", name, *name ? "-" : "", uuid);
    snprintf(path, sizeof path, "%s/events.out.tfevents.%010lld.%s.pesc", folder,
             cell_int(rows_at(run, 0, 2)) / 1000, *host ? host : "host");
    return out_file(o, path, err);
}

static int one_run(struct reader *r, struct writing *w, long long id, struct pesc_error *err)
{
    struct rows run;
    struct row_sink sink = {w, head, point};
    TRY(query_rows(r, &run, err,
                   "SELECT r.name, r.uuid, coalesce(r.started_ms, r.created_ms), (SELECT v.host"
                   " FROM segment s JOIN env v ON v.id = s.env_id WHERE s.run_id = r.id"
                   " ORDER BY s.seq DESC LIMIT 1) FROM run r WHERE r.id = ?1",
                   "i", id));
    int rc = run.n_rows == 1 ? open_file(w->o, &run, err) : FAIL(err, DB_RUN, "a run is gone");
    if (rc == 0) {
        w->t.f = w->o->f;
        w->started = (double)cell_int(rows_at(&run, 0, 2)) / 1000;
        rc = tfevents_start(&w->t, w->started, err);
    }
    rows_free(&run);
    if (rc == 0)
        rc = put_facts(r, w, id, err);
    for (size_t i = 0; i < sizeof sources / sizeof *sources && rc == 0; i++) {
        rc = export_stopped(w->job, err);
        if (rc == 0 && sources[i].since <= reader_version(r))
            rc = query_run(r, &sink, err, sources[i].sql, "i", id);
    }
    return rc == 0 ? out_close(w->o, err) : rc;
}

int export_tensorboard(struct reader *r, const struct export_job *job, struct export_out *o,
                       long long *rows, struct pesc_error *err)
{
    struct writing w = {.job = job, .o = o};
    int rc = 0;
    for (long i = 0; i < job->n && rc == 0; i++)
        rc = one_run(r, &w, job->ids[i], err);
    *rows = w.rows;
    tfevents_free(&w.t);
    buf_free(&w.tag);
    return rc;
}
