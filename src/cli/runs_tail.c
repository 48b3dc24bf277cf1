/* A run's log as it grows. It is the run folder's, not the history's: that is what is there first.
 */
#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "cli/table.h"
#include "core/file.h"
#include "core/json.h"
#include "experiments/rundir.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NAP_MS = 200 };

struct options {
    const char *db;
    long lines;
    int newest, json, routers;
};

#define AT(field) offsetof(struct options, field)
static const struct opt opts[] = {
    {"db", NULL, OPT_STRING, AT(db), "PATH", DB_ARG_HELP, 0, 0},
    {"1", NULL, OPT_FLAG, AT(newest), NULL, "the newest run", 0, 0},
    {"lines", NULL, OPT_LONG, AT(lines), "N", "of what is there already, the last N", 0, 1e9},
    {"routers", NULL, OPT_FLAG, AT(routers), NULL, "lines of routers, too", 0, 0},
    {"json", NULL, OPT_FLAG, AT(json), NULL, "the lines as they are", 0, 0},
    {0}};

static void defaults(void *values)
{
    struct options *o = values;
    memset(o, 0, sizeof *o);
    o->lines = 10;
}

static void put_value(FILE *f, const json_t *v)
{
    if (json_is_integer(v)) {
        fprintf(f, "%lld", (long long)json_integer_value(v));
    } else if (json_is_real(v)) {
        fprintf(f, "%.6g", json_real_value(v));
    } else if (json_is_string(v)) {
        const char *s = json_string_value(v);
        struct cell c = {.kind = CELL_TEXT, .text = s, .n = strlen(s)};
        char *shown = cell_shown(&c, 6);
        fputs(shown ? shown : "", f);
        free(shown);
    }
}

/* "step 12  train/loss 2.1  lr 0.0002 ...": what is not a list or an object, the event first. */
static void put_line(FILE *f, const json_t *o)
{
    const char *key, *event = json_string_value(json_object_get(o, "event"));
    json_t *v;
    fprintf(f, "%s ", event ? event : "?");
    put_value(f, json_object_get(o, "step"));
    json_object_foreach((json_t *)(uintptr_t)o, key, v)
    {
        if (!strcmp(key, "event") || !strcmp(key, "step") || !strcmp(key, "t_ms") ||
            json_is_object(v) || json_is_array(v))
            continue;
        fprintf(f, "  %s ", key);
        put_value(f, v);
    }
    fputc('\n', f);
}

static int is_shown(const struct options *o, const json_t *line)
{
    const char *event = json_string_value(json_object_get(line, "event"));
    return o->routers || !event || strncmp(event, "router", 6) != 0;
}

static void show(struct cli *cli, const struct options *o, const char *line, size_t n)
{
    enum json_fault fault;
    char why[160];
    json_t *v = json_parse(line, n, &fault, why, sizeof why);
    if (v && is_shown(o, v)) {
        if (o->json)
            fwrite(line, 1, n, cli->out);
        else
            put_line(cli->out, v);
    }
    json_decref(v);
}

/* Where the last lines begin that are shown: a ring of their places. */
static int find_start(FILE *f, const struct options *o, long *start, struct pesc_error *err)
{
    long cap = o->lines > 0 && o->lines < 100000 ? o->lines : o->lines ? 100000 : 1, n = 0;
    long *ring = calloc((size_t)cap, sizeof *ring), at = 0;
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    if (!ring)
        return FAIL(err, MEMORY, "no memory to read a run's log");
    while ((len = getline(&line, &size, f)) > 0 && line[len - 1] == '\n') {
        enum json_fault fault;
        char why[160];
        json_t *v = json_parse(line, (size_t)len, &fault, why, sizeof why);
        if (v && is_shown(o, v))
            ring[n++ % cap] = at;
        json_decref(v);
        at += len;
    }
    *start = !o->lines || n == 0 ? at : ring[n > cap ? n % cap : 0];
    free(line);
    free(ring);
    return fseek(f, *start, SEEK_SET) == 0 ? 0 : FAIL(err, IO, "a run's log cannot be read again");
}

static int follow(struct cli *cli, FILE *f, const char *dir, const struct options *o,
                  struct pesc_error *err)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    long at = 0;
    TRY(find_start(f, o, &at, err));
    for (int ended = 0;;) {
        while ((n = getline(&line, &size, f)) > 0 && line[n - 1] == '\n') {
            show(cli, o, line, (size_t)n);
            at += n;
        }
        if (fflush(cli->out) != 0 || ended)
            break;
        clearerr(f);
        if (fseek(f, at, SEEK_SET) != 0) /* half a line comes again when it is whole */
            break;
        ended = !rundir_is_held(dir); /* what it wrote last is read once more */
        if (!ended)
            nanosleep(&(struct timespec){0, NAP_MS * 1000000L}, NULL);
    }
    free(line);
    return 0;
}

static int run(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    struct reader *r;
    struct rows rows;
    long long id;
    char path[PATH_CAP], dir[PATH_CAP];
    TRY(runs_open_one(o->db, o->newest, argc, argv, &r, &id, err));
    int rc = query_rows(r, &rows, err, "SELECT dir FROM run WHERE id = ?1", "i", id);
    if (rc == 0)
        snprintf(dir, sizeof dir, "%s", rows.n_rows ? cell_text(rows_at(&rows, 0, 0)) : "");
    if (rc == 0)
        rows_free(&rows);
    reader_close(r);
    if (rc != 0 || path_join(path, dir, "metrics.jsonl", err) != 0)
        return -1;
    FILE *f = fopen(path, "re");
    if (!f)
        return file_fail(err, path, "open");
    rc = follow(cli, f, dir, o, err);
    fclose(f);
    return rc;
}

const struct cmd runs_tail = {
    .name = "tail",
    .usage = "RUN [--lines N] [--routers] [--json]",
    .summary = "Follows what a run logs, until it ends.",
    .details = RUNS_WHICH,
    .opts = opts,
    .opts_size = sizeof(struct options),
    .defaults = defaults,
    .run = run,
};
