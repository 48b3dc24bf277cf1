#include "config.h"
#include "cli/eval_routing.h"

#include "core/json.h"
#include "experiments/rundir.h"

#include <stdlib.h>
#include <string.h>

/* Reports live only as long as their callback: what they point to is copied. */
struct kept {
    struct history_router *list;
    double *values; /* [room, 3, experts] */
    long n, room;
};

static void keep(void *ctx, const struct router_metrics *m)
{
    struct kept *k = ctx;
    size_t row = (size_t)m->experts;
    if (k->n == k->room)
        return;
    double *to = k->values + (size_t)k->n * 3 * row;
    memcpy(to, m->load, row * sizeof *to);
    memcpy(to + row, m->prob, row * sizeof *to);
    memcpy(to + 2 * row, m->first, row * sizeof *to);
    k->list[k->n++] = (struct history_router){.layer = m->layer,
                                              .experts = (int)m->experts,
                                              .domain = m->domain,
                                              .entropy = m->entropy,
                                              .aux = m->balance,
                                              .top1 = m->top1,
                                              .tokens = m->tokens,
                                              .load = to,
                                              .prob = to + row,
                                              .first = to + 2 * row};
}

static json_t *array_of(const double *v, long n)
{
    json_t *list = json_array();
    for (long e = 0; e < n; e++)
        json_add(&list, json_real_or_text(v[e]));
    return list;
}

/* As the recorder of a training writes them. */
static int append(struct rundir *dir, long step, const char *task, const struct history_router *m,
                  struct pesc_error *err)
{
    json_t *line = json_pack("{s:s, s:I, s:i, s:I, s:s, s:s}", "event", "router_eval", "step",
                             (json_int_t)step, "layer", m->layer, "tokens", (json_int_t)m->tokens,
                             "task", task, "domain", m->domain ? m->domain : "");
    json_put(&line, "entropy", json_real_or_text(m->entropy));
    json_put(&line, "top1", json_real_or_text(m->top1));
    json_put(&line, "load", array_of(m->load, m->experts));
    json_put(&line, "prob", array_of(m->prob, m->experts));
    json_put(&line, "first", array_of(m->first, m->experts));
    int rc = line ? rundir_append(dir, line, err) : FAIL(err, MEMORY, "no memory for a line");
    json_decref(line);
    return rc;
}

static int to_folder(const char *path, const char *run_uuid, long step, const char *task,
                     const struct kept *k, struct pesc_error *err)
{
    struct rundir *dir;
    TRY(rundir_open(path, 1, &dir, err));
    int rc = strcmp(rundir_uuid(dir), run_uuid) == 0
                 ? 0
                 : FAIL(err, CK_CORRUPT, "%s holds another run, %s", path, rundir_uuid(dir));
    for (long i = 0; i < k->n && rc == 0; i++)
        rc = append(dir, step, task, &k->list[i], err);
    if (rc == 0)
        rc = rundir_sync(dir, err);
    rundir_close(dir);
    return rc;
}

int eval_routing_record(struct history *h, const char *dir, const char *run_uuid, long step,
                        const char *task, struct routing *r, const struct dataset *data,
                        struct pesc_error *err)
{
    long n = dataset_domain_count(data);
    struct kept k = {.room = r->layers * (n + 1)};
    struct train_sink sink = {.ctx = &k, .router_eval = keep};
    const char **names = calloc((size_t)n + 1, sizeof *names);
    k.list = calloc((size_t)k.room, sizeof *k.list);
    k.values = calloc((size_t)k.room * 3 * (size_t)r->experts, sizeof *k.values);
    int rc = -1;
    if (!names || !k.list || !k.values) {
        FAIL(err, MEMORY, "no memory to record the routers of %ld layers", r->layers);
        goto done;
    }
    for (long d = 0; d < n; d++)
        names[d] = dataset_domain(data, d);
    routing_report(r, step, task, names, &sink);
    rc = *dir ? to_folder(dir, run_uuid, step, task, &k, err) : 0;
    if (h && history_router_eval_of(h, run_uuid, step, task, k.list, k.n, err) != 0)
        rc = -1;
done:
    free(names);
    free(k.list);
    free(k.values);
    return rc;
}
