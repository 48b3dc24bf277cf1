#include "config.h"
#include "cli/eval_experts.h"

#include "experiments/rundir.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- tables --- */

enum { PER_BLOCK = 8, NAME_BYTES = 17 };

/* A cell's value for a domain (-1: all) and an expert. */
struct grid {
    const struct dataset *data;
    long experts;
    double (*cell)(const void *ctx, long domain, long expert);
    const void *ctx;
    int decimals;
};

static void put_row(FILE *f, const struct grid *g, long domain, long from, long to)
{
    char name[NAME_BYTES];
    if (isnan(g->cell(g->ctx, domain, from))) /* no tokens of it */
        return;
    text_escape(name, sizeof name, domain < 0 ? "all" : dataset_domain(g->data, domain));
    fprintf(f, "%-16s", name);
    for (long e = from; e < to; e++)
        fprintf(f, " %7.*f", g->decimals, g->cell(g->ctx, domain, e));
    fputc('\n', f);
}

static void put_grid(FILE *f, const struct grid *g)
{
    long n = dataset_domain_count(g->data);
    for (long from = 0; from < g->experts; from += PER_BLOCK) {
        long to = from + PER_BLOCK < g->experts ? from + PER_BLOCK : g->experts;
        fprintf(f, "%-16s", "  expert");
        for (long e = from; e < to; e++)
            fprintf(f, " %7ld", e);
        fputc('\n', f);
        for (long d = 0; d < n && n > 1; d++)
            put_row(f, g, d, from, to);
        put_row(f, g, -1, from, to);
    }
}

/* --- routing --- */

struct place {
    const struct routing *r;
    long layer, rank;
};

static double percent(const void *ctx, long domain, long expert)
{
    const struct place *p = ctx;
    return 100 * routing_share(p->r, p->layer, p->rank, domain, expert);
}

static void rank_name(char *out, size_t size, long rank)
{
    if (rank < 0)
        snprintf(out, size, "any");
    else
        snprintf(out, size, "%ld", rank + 1);
}

void routing_text(FILE *f, const struct routing *r, const struct dataset *data)
{
    for (long l = r->first; l < r->first + r->layers; l++)
        for (long rank = -1; rank < r->moe->top_k; rank++) {
            struct place p = {r, l, rank};
            struct grid g = {data, r->experts, percent, &p, 1};
            char name[32];
            rank_name(name, sizeof name, rank);
            fprintf(f, "\nlayer %ld, choice %s: share in %%; max/mean %.2f, divergence %.4f\n", l,
                    name, routing_max_load(r, l, rank), routing_divergence(r, l, rank));
            put_grid(f, &g);
        }
}

static json_t *choice_row(long layer, long rank)
{
    char name[32];
    rank_name(name, sizeof name, rank);
    return json_pack("{s:I, s:s}", "layer", (json_int_t)layer, "choice", name);
}

static json_t *domain_name(const struct dataset *data, long domain)
{
    return domain < 0 ? json_null() : json_string(dataset_domain(data, domain));
}

json_t *routing_json(const struct routing *r, const struct dataset *data)
{
    json_t *list = json_array();
    for (long l = r->first; l < r->first + r->layers; l++)
        for (long rank = -1; rank < r->moe->top_k; rank++) {
            json_t *row = choice_row(l, rank);
            json_put(&row, "max_load", json_real_or_text(routing_max_load(r, l, rank)));
            json_put(&row, "divergence", json_real_or_text(routing_divergence(r, l, rank)));
            json_add(&list, row);
            for (long d = -1; d < r->n_domains; d++) {
                json_t *share = json_array();
                for (long e = 0; e < r->experts; e++)
                    json_add(&share, json_real_or_text(routing_share(r, l, rank, d, e)));
                row = choice_row(l, rank);
                json_put(&row, "domain", domain_name(data, d));
                json_put(&row, "share", share);
                json_add(&list, row);
            }
        }
    return list;
}

/* --- knocking out --- */

static int whole_number(const char **text, long *out)
{
    char *end;
    if (!isdigit((unsigned char)**text))
        return 0;
    errno = 0;
    *out = strtol(*text, &end, 10);
    *text = end;
    return errno == 0;
}

int knock_out_parse(const char *text, struct knock_out *k, struct pesc_error *err)
{
    const char *p = text;
    *k = (struct knock_out){0, -1, -1};
    if (!text)
        return 0;
    k->all = !strcmp(text, "all");
    if (k->all ||
        (whole_number(&p, &k->layer) && *p++ == ':' && whole_number(&p, &k->expert) && !*p))
        return 0;
    return FAIL(err, USAGE_VALUE, "--knock-out: '%s' is neither LAYER:EXPERT nor all", text);
}

static double *damage_at(const struct damage *d, long layer, long expert)
{
    return d->increase + ((layer - d->first) * d->experts + expert) * (d->n_domains + 1);
}

static int without_each(struct damage *d, struct model *m, struct engine *e,
                        const struct batch_source *data, long n_batches, const struct eval_sum *all,
                        const struct eval_sum *domain, struct eval_sum *own, struct pesc_error *err)
{
    for (long l = d->first; l < d->first + d->layers; l++)
        for (long x = 0; x < d->experts; x++) {
            struct eval_sum sum;
            double *to = damage_at(d, l, x);
            TRY(model_knock_out(m, l, x, err));
            TRY(evaluate(e, data, n_batches, &sum, own, d->n_domains, NULL, err));
            for (long i = 0; i < d->n_domains; i++)
                to[i] = eval_loss(&own[i]) - eval_loss(&domain[i]);
            to[d->n_domains] = eval_loss(&sum) - eval_loss(all);
        }
    return model_knock_out(m, -1, -1, err);
}

int damage_measure(struct damage *d, struct model *m, struct engine *e,
                   const struct batch_source *data, long n_batches, const struct eval_sum *all,
                   const struct eval_sum *domain, long n_domains, struct pesc_error *err)
{
    *d = (struct damage){m->moe.first, model_adapted(m), m->moe.experts, n_domains, NULL};
    struct eval_sum *own = calloc((size_t)n_domains + 1, sizeof *own);
    d->increase =
        calloc((size_t)(d->layers * d->experts * (n_domains + 1)) + 1, sizeof *d->increase);
    int rc = own && d->increase
                 ? without_each(d, m, e, data, n_batches, all, domain, own, err)
                 : FAIL(err, MEMORY, "no memory for %ld experts by domain", d->layers * d->experts);
    free(own);
    return rc;
}

void damage_free(struct damage *d)
{
    free(d->increase);
    d->increase = NULL;
}

struct damage_layer {
    const struct damage *d;
    long layer;
};

static double increase(const void *ctx, long domain, long expert)
{
    const struct damage_layer *p = ctx;
    return damage_at(p->d, p->layer, expert)[domain < 0 ? p->d->n_domains : domain];
}

void damage_text(FILE *f, const struct damage *d, const struct dataset *data)
{
    for (long l = d->first; l < d->first + d->layers; l++) {
        struct damage_layer p = {d, l};
        struct grid g = {data, d->experts, increase, &p, 4};
        fprintf(f, "\nlayer %ld: increase of the loss without one expert\n", l);
        put_grid(f, &g);
    }
}

json_t *damage_json(const struct damage *d, const struct dataset *data)
{
    json_t *list = json_array();
    for (long l = d->first; l < d->first + d->layers; l++)
        for (long e = 0; e < d->experts; e++)
            for (long i = -1; i < d->n_domains; i++) {
                json_t *row =
                    json_pack("{s:I, s:I}", "layer", (json_int_t)l, "expert", (json_int_t)e);
                struct damage_layer p = {d, l};
                json_put(&row, "domain", domain_name(data, i));
                json_put(&row, "increase", json_real_or_text(increase(&p, i, e)));
                json_add(&list, row);
            }
    return list;
}
