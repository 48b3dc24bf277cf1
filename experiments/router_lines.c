#include "config.h"
#include "experiments/router_lines.h"

#include "core/json.h"
#include "experiments/rundir.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *array_of(const double *v, long n)
{
    json_t *list = json_array();
    for (long e = 0; e < n; e++)
        json_add(&list, json_real_or_text(v[e]));
    return list;
}

json_t *router_line(long step, const char *task, const struct history_router *m)
{
    const char *event = task ? "router_eval" : m->domain ? "router_domain" : "router";
    json_t *line = json_pack("{s:s, s:I, s:i, s:I}", "event", event, "step", (json_int_t)step,
                             "layer", m->layer, "tokens", (json_int_t)m->tokens);
    if (task)
        json_put(&line, "task", json_text(task));
    if (task || m->domain)
        json_put(&line, "domain", json_text(m->domain ? m->domain : ""));
    else
        json_put(&line, "balance", json_real_or_text(m->aux));
    json_put(&line, "entropy", json_real_or_text(m->entropy));
    json_put(&line, "top1", json_real_or_text(m->top1));
    json_put(&line, "load", array_of(m->load, m->experts));
    json_put(&line, "prob", array_of(m->prob, m->experts));
    json_put(&line, "first", array_of(m->first, m->experts));
    return line;
}

static int append(struct rundir *r, json_t *line, long long t_ms, struct pesc_error *err)
{
    json_put(&line, "t_ms", json_integer((json_int_t)t_ms));
    int rc = line ? rundir_append(r, line, err) : FAIL(err, MEMORY, "no memory for a line");
    json_decref(line);
    return rc;
}

int router_lines_append(const char *dir, const char *uuid, long step, long long t_ms,
                        const char *task, const struct history_router *list, long n,
                        struct pesc_error *err)
{
    struct rundir *r = NULL;
    json_t *run = rundir_read_run(dir, err);
    if (!run)
        return -1;
    json_decref(run);
    TRY(rundir_open(dir, 1, &r, err));
    int rc = strcmp(rundir_uuid(r), uuid)
                 ? FAIL(err, CK_CORRUPT, "%s holds another run, %s", dir, rundir_uuid(r))
                 : append(r,
                          json_pack("{s:s, s:I, s:o}", "event", "router_eval_again", "step",
                                    (json_int_t)step, "task", json_text(task)),
                          t_ms, err);
    for (long i = 0; i < n && rc == 0; i++)
        rc = append(r, router_line(step, task, &list[i]), t_ms, err);
    if (rc == 0)
        rc = rundir_sync(r, err);
    rundir_close(r);
    return rc;
}

/* n values of a list, NaN where there is none. */
static void read_list(const json_t *line, const char *key, double *to, size_t n)
{
    const json_t *list = json_object_get(line, key);
    for (size_t i = 0; i < n; i++)
        json_real_read(json_array_get(list, i), &to[i]);
}

int router_line_read(struct history *h, const json_t *line, struct pesc_error *err)
{
    const char *event = json_string_value(json_object_get(line, "event"));
    const char *task = json_string_value(json_object_get(line, "task"));
    size_t n = json_array_size(json_object_get(line, "load"));
    long step = (long)json_integer_value(json_object_get(line, "step"));
    const json_t *tokens = json_object_get(line, "tokens");
    if (!event || n == 0 || n > 65536 || (!strcmp(event, "router_eval") && !task) ||
        (strcmp(event, "router") != 0 && strcmp(event, "router_domain") != 0 &&
         strcmp(event, "router_eval") != 0))
        return 0;
    double *v = calloc(3 * n, sizeof *v);
    if (!v)
        return FAIL(err, MEMORY, "no memory for the routers of a run");
    read_list(line, "load", v, n);
    read_list(line, "prob", v + n, n);
    read_list(line, "first", v + 2 * n, n);
    struct history_router m = {.layer = (int)json_integer_value(json_object_get(line, "layer")),
                               .experts = (int)n,
                               .domain = json_string_value(json_object_get(line, "domain")),
                               .tokens = tokens ? (long)json_integer_value(tokens) : -1,
                               .load = v,
                               .prob = v + n,
                               .first = v + 2 * n};
    json_real_read(json_object_get(line, "balance"), &m.aux);
    json_real_read(json_object_get(line, "entropy"), &m.entropy);
    json_real_read(json_object_get(line, "top1"), &m.top1);
    if (!strcmp(event, "router_eval"))
        history_router_eval(h, step, task, &m);
    else
        history_router(h, step, &m);
    free(v);
    return 0;
}
