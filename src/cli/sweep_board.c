/* The leaderboard, from the run folders. */
#include "config.h"
#include "cli/sweep.h"

#include "cli/table.h"
#include "core/file.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A metric: the last value that a line of this event in metrics.jsonl has under this key; that of
 * an evaluation over all its data. */
struct metric {
    const char *name, *event, *key;
    int most; /* the more the better */
};
static const struct metric metrics[] = {{"valid/loss", "eval", "loss", 0},
                                        {"valid/perplexity", "eval", "perplexity", 0},
                                        {"valid/accuracy", "eval", "accuracy", 1},
                                        {"valid/exact_match", "eval", "exact_match", 1},
                                        {"train/loss", "step", "train/loss", 0},
                                        {"ce", "step", "ce", 0},
                                        {"balance", "step", "balance", 0},
                                        {"tokens_per_s", "step", "tokens_per_s", 1},
                                        {"peak_rss_bytes", "step", "peak_rss_bytes", 0}};
enum { METRICS = sizeof metrics / sizeof *metrics };

static const struct metric *metric_of(const char *name)
{
    for (int i = 0; i < METRICS; i++)
        if (!strcmp(metrics[i].name, name))
            return &metrics[i];
    return NULL;
}

int sweep_metric_check(const char *name, struct pesc_error *err)
{
    char list[256] = "";
    if (!name || metric_of(name))
        return 0;
    for (int i = 0; i < METRICS; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "",
                 metrics[i].name);
    return FAIL(err, USAGE_CONFIG, "metric: '%s' is none of %s", name, list);
}

struct place_on_board {
    const struct trial *trial;
    double value; /* NaN: none */
    long step;
    int has;
    char status[32];
};

/* As json_real_or_text wrote it. */
static double real_of(const json_t *v)
{
    const char *s = json_string_value(v);
    if (json_is_number(v))
        return json_number_value(v);
    return s && !strcmp(s, "Infinity") ? INFINITY : s && !strcmp(s, "-Infinity") ? -INFINITY : NAN;
}

static int take_line(struct place_on_board *b, const struct metric *m, char **task,
                     const char *line, size_t n)
{
    enum json_fault fault;
    char why[160];
    json_t *o = json_parse(line, n, &fault, why, sizeof why);
    const char *event = json_string_value(json_object_get(o, "event"));
    const char *of = json_string_value(json_object_get(o, "task"));
    const json_t *v = json_object_get(o, m->key);
    /* The first task that a run evaluates is its data as a whole; its domains come after it. */
    if (event && !strcmp(event, "eval") && of && !*task && !(*task = strdup(of))) {
        json_decref(o);
        return -1;
    }
    if (event && !strcmp(event, m->event) && v &&
        (strcmp(event, "eval") != 0 || (of && *task && !strcmp(of, *task)))) {
        b->value = real_of(v);
        b->step = (long)json_integer_value(json_object_get(o, "step"));
        b->has = 1;
    }
    json_decref(o);
    return 0;
}

static int read_run(const struct sweep *s, const struct trial *t, const struct metric *m,
                    struct place_on_board *b, struct pesc_error *err)
{
    char dir[PATH_CAP], path[PATH_CAP], *line = NULL, *task = NULL;
    size_t cap = 0;
    ssize_t n;
    int rc = 0;
    *b = (struct place_on_board){.trial = t, .value = NAN};
    if (!sweep_status(s, t, b->status))
        snprintf(b->status, sizeof b->status, "not begun");
    TRY(path_join(dir, s->dir, t->name, err));
    TRY(path_join(path, dir, "metrics.jsonl", err));
    FILE *f = fopen(path, "re");
    if (!f)
        return errno == ENOENT ? 0 : file_fail(err, path, "open");
    while (rc == 0 && (n = getline(&line, &cap, f)) > 0)
        rc = take_line(b, m, &task, line, (size_t)n);
    if (rc != 0)
        FAIL(err, MEMORY, "no memory to read %s", path);
    else if (ferror(f))
        rc = file_fail(err, path, "read");
    fclose(f);
    free(line);
    free(task);
    return rc;
}

/* Values that are numbers first, the best of them in front; then runs without one, as they come. */
static int before(const struct place_on_board *a, const struct place_on_board *b, int most)
{
    int x = a->has && !isnan(a->value), y = b->has && !isnan(b->value);
    if (x != y)
        return x;
    if (x && a->value != b->value)
        return most ? a->value > b->value : a->value < b->value;
    if (!x && a->has != b->has)
        return a->has;
    return a->trial < b->trial;
}

static void rank(struct place_on_board *b, long n, int most)
{
    for (long i = 1; i < n; i++) { /* few, and mostly in order */
        struct place_on_board x = b[i];
        long k = i;
        for (; k > 0 && before(&x, &b[k - 1], most); k--)
            b[k] = b[k - 1];
        b[k] = x;
    }
}

/* What differs between runs, in the order of the file. */
static json_t *columns(const struct sweep *s)
{
    json_t *all = json_object();
    const char *key;
    json_t *v;
    for (long i = 0; i < s->n; i++)
        json_object_foreach(s->trials[i].values, key,
                            v) if (json_object_set_new(all, key, json_true()) != 0)
        {
            json_decref(all);
            return NULL;
        }
    return all;
}

static struct cell text_cell(const char *s)
{
    return s ? (struct cell){.kind = CELL_TEXT, .text = s, .n = strlen(s)}
             : (struct cell){.kind = CELL_NULL};
}

static struct cell value_cell(const struct place_on_board *b)
{
    if (!b->has)
        return (struct cell){.kind = CELL_NULL};
    return isnan(b->value) ? text_cell("NaN") : (struct cell){.kind = CELL_REAL, .d = b->value};
}

enum { COLUMNS_MOST = 64 };

static int print(struct cli *cli, const struct place_on_board *b, long n, const char *metric,
                 json_t *keys, int json, struct pesc_error *err)
{
    const char *names[COLUMNS_MOST] = {"rank", metric, "step"};
    struct cell cells[COLUMNS_MOST];
    const char *key;
    json_t *v;
    int count = 3, rc = 0;
    json_object_foreach(keys, key, v) if (count < COLUMNS_MOST - 2) names[count++] = key;
    names[count++] = "status";
    names[count++] = "run";
    struct table *t = table_new(cli->out, json ? TABLE_JSON : TABLE_TEXT, cli_width(cli), err);
    if (!t)
        return -1;
    struct row_sink sink = table_sink(t);
    rc = sink.head(sink.ctx, count, names, err);
    for (long i = 0; i < n && rc == 0; i++) {
        cells[0] = (struct cell){.kind = CELL_INT, .i = i + 1};
        cells[1] = value_cell(&b[i]);
        cells[2] = b[i].has ? (struct cell){.kind = CELL_INT, .i = b[i].step}
                            : (struct cell){.kind = CELL_NULL};
        for (int c = 3; c < count - 2; c++)
            cells[c] = text_cell(json_string_value(json_object_get(b[i].trial->values, names[c])));
        cells[count - 2] = text_cell(b[i].status);
        cells[count - 1] = text_cell(b[i].trial->name);
        rc = sink.row(sink.ctx, count, cells, err) < 0 ? -1 : 0;
    }
    if (rc == 0)
        table_finish(t);
    table_free(t);
    return rc;
}

int sweep_board(struct cli *cli, const struct sweep *s, int json, struct pesc_error *err)
{
    const struct metric *m = metric_of(s->metric ? s->metric : "valid/loss");
    struct place_on_board *b = calloc((size_t)s->n, sizeof *b);
    json_t *keys = columns(s);
    int rc = -1, any = 0;
    if (!b || !keys) {
        FAIL(err, MEMORY, "no memory for a leaderboard");
        goto done;
    }
    for (;;) {
        for (long i = 0; i < s->n; i++) {
            TRY_OR(read_run(s, &s->trials[i], m, &b[i], err), done);
            any |= b[i].has;
        }
        if (any || s->metric || m == metric_of("train/loss"))
            break;
        m = metric_of("train/loss"); /* nothing was held out */
    }
    rank(b, s->n, m->most);
    rc = print(cli, b, s->n, m->name, keys, json, err);
done:
    json_decref(keys);
    free(b);
    return rc;
}
