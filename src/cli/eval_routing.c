#include "config.h"
#include "cli/eval_routing.h"

#include "experiments/router_lines.h"

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
    rc = *dir ? router_lines_append(dir, run_uuid, step, history_now(), task, k.list, k.n, err) : 0;
    if (h && history_router_eval_of(h, run_uuid, step, task, k.list, k.n, err) != 0)
        rc = -1;
done:
    free(names);
    free(k.list);
    free(k.values);
    return rc;
}
