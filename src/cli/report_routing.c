#include "config.h"
#include "cli/report_heat.h"

#include "cli/markup.h"
#include "experiments/routing_query.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of so many runs the routing is shown; of so many steps its change; so many domains by layer. */
enum { RUNS_CAP = 8, STEPS_CAP = 16, DOMAINS_CAP = 16, TEXT_CAP = 200 };

/* Layers or domains by experts: what they got, against an even share. */
static void shares(struct report *p, const char *caption, const char *row,
                   const struct routing_map *m, const char *const *names)
{
    struct heat h = {.caption = caption,
                     .row = row,
                     .col = "expert",
                     .rows = m->n,
                     .cols = m->experts,
                     .row_names = names,
                     .row_numbers = m->row,
                     .value = m->value,
                     .times = (double)m->experts,
                     .shown = 100,
                     .decimals = m->experts > 16 ? 0 : 1,
                     .unit = " %",
                     .scale = &heat_even};
    report_heat(p, &h);
}

static int layers(struct report *p, long long id, const char *what, const char *title, long *found,
                  struct pesc_error *err)
{
    struct routing_ask ask = {.what = what, .step = -1, .layer = -1};
    struct routing_map m;
    char caption[TEXT_CAP];
    TRY(routing_map_read(p->r, id, &ask, &m, err));
    *found = m.n;
    if (m.n > 0) {
        snprintf(caption, sizeof caption, "%s, in %% of a layer, at step %lld", title, m.step);
        shares(p, caption, "layer", &m, NULL);
    }
    routing_map_free(&m);
    return 0;
}

/* The mean over the layers; what is not known is left out. */
static void mean_row(const struct routing_map *m, double *out)
{
    for (long e = 0; e < m->experts; e++) {
        double sum = 0;
        long n = 0;
        for (long l = 0; l < m->n; l++) {
            double v = m->value[l * m->experts + e];
            if (!isnan(v)) {
                sum += v;
                n++;
            }
        }
        out[e] = n ? sum / (double)n : NAN;
    }
}

struct by_domain {
    long n, experts;
    const char *name[DOMAINS_CAP];
    struct routing_map layer[DOMAINS_CAP];
};

static int show_domains(struct report *p, const struct by_domain *d, long all,
                        struct pesc_error *err)
{
    double *mean = calloc((size_t)(d->n * d->experts) + 1, sizeof *mean);
    if (!mean)
        return FAIL(err, MEMORY, "no memory for a report");
    for (long i = 0; i < d->n; i++)
        mean_row(&d->layer[i], mean + i * d->experts);
    struct routing_map means = {.n = d->n, .experts = d->experts, .value = mean};
    shares(p, "Load of the experts by data domain, in %, mean over the layers", "domain", &means,
           d->name);
    free(mean);
    if (all > d->n)
        fprintf(p->f, "<p>%ld more domains are not shown.</p>\n", all - d->n);
    fputs("<details><summary>By layer</summary>\n", p->f);
    for (long i = 0; i < d->n; i++) {
        char caption[TEXT_CAP];
        snprintf(caption, sizeof caption, "Load among the tokens of %.120s, in %%, at step %lld",
                 d->name[i], d->layer[i].step);
        shares(p, caption, "layer", &d->layer[i], NULL);
    }
    fputs("</details>\n", p->f);
    return 0;
}

static int domains(struct report *p, long long id, struct pesc_error *err)
{
    struct by_domain d = {0};
    struct rows names = {0};
    long all = 0;
    int rc = -1;
    TRY(routing_domains(p->r, id, NULL, &names, err));
    for (long i = 0; i < names.n_rows; i++) {
        const char *name = cell_text(rows_at(&names, i, 0));
        struct routing_ask ask = {.domain = name, .step = -1, .layer = -1};
        struct routing_map m;
        if (d.n == DOMAINS_CAP) {
            all++;
            continue;
        }
        TRY_OR(routing_map_read(p->r, id, &ask, &m, err), done);
        if (m.n == 0 || (d.n > 0 && m.experts != d.experts)) {
            routing_map_free(&m);
            continue;
        }
        all++;
        d.experts = m.experts;
        d.name[d.n] = name;
        d.layer[d.n++] = m;
    }
    rc = d.n ? show_domains(p, &d, all, err) : 0;
done:
    for (long i = 0; i < d.n; i++)
        routing_map_free(&d.layer[i]);
    rows_free(&names);
    return rc;
}

/* How a layer's load changed: column k of it is one of the recorded steps. */
struct change {
    long layers, cols;
    long long *layer, step[STEPS_CAP];
    double *crowd, *moved; /* [layers, cols] */
};

static void change_row(struct change *c, long l, const struct routing_map *s)
{
    for (long k = 0; k < c->cols; k++)
        for (long i = 0; i < s->n; i++) {
            if (s->row[i] != c->step[k])
                continue;
            const double *v = s->value + i * s->experts;
            double sum = 0, max = 0;
            for (long e = 0; e < s->experts; e++) {
                sum += v[e];
                max = v[e] > max ? v[e] : max;
            }
            c->crowd[l * c->cols + k] = sum > 0 ? max * (double)s->experts / sum : NAN;
            c->moved[l * c->cols + k] = routing_moved(v, s->value, s->experts);
        }
}

/* Evenly among the recorded ones, the last included. */
static void pick_steps(struct change *c, const struct routing_map *s)
{
    c->cols = s->n < STEPS_CAP ? s->n : STEPS_CAP;
    for (long k = 0; k < c->cols; k++)
        c->step[k] = s->row[c->cols > 1 ? k * (s->n - 1) / (c->cols - 1) : s->n - 1];
}

static void show_change(struct report *p, const struct change *c)
{
    struct heat h = {.caption = "Change over time: busiest expert over the mean",
                     .row = "layer",
                     .col = "step",
                     .rows = c->layers,
                     .cols = c->cols,
                     .row_numbers = c->layer,
                     .col_numbers = c->step,
                     .value = c->crowd,
                     .times = 1,
                     .shown = 1,
                     .decimals = 2,
                     .unit = "",
                     .scale = &heat_crowd};
    report_heat(p, &h);
    report_heat_key(p, h.scale);
    h.caption = "Change over time: assignments that went to other experts than at the first of"
                " these steps, in %";
    h.value = c->moved;
    h.shown = 100;
    h.decimals = 0;
    h.unit = " %";
    h.scale = &heat_moved;
    report_heat(p, &h);
    report_heat_key(p, h.scale);
}

static int change(struct report *p, long long id, struct pesc_error *err)
{
    struct routing_ask ask = {.step = -1, .layer = -1};
    struct routing_map now, s;
    struct change c = {0};
    int rc = -1;
    TRY(routing_map_read(p->r, id, &ask, &now, err));
    c.layers = now.n;
    c.layer = now.row;
    c.crowd = malloc(((size_t)now.n * STEPS_CAP + 1) * sizeof *c.crowd);
    c.moved = malloc(((size_t)now.n * STEPS_CAP + 1) * sizeof *c.moved);
    if (!c.crowd || !c.moved) {
        FAIL(err, MEMORY, "no memory for a report");
        goto done;
    }
    for (long i = 0; i < now.n * STEPS_CAP; i++)
        c.crowd[i] = c.moved[i] = NAN;
    for (long l = 0; l < now.n; l++) {
        ask.layer = now.row[l];
        TRY_OR(routing_series_read(p->r, id, &ask, &s, err), done);
        if (l == 0)
            pick_steps(&c, &s);
        change_row(&c, l, &s);
        routing_map_free(&s);
    }
    if (c.cols > 1)
        show_change(p, &c);
    rc = 0;
done:
    free(c.crowd);
    free(c.moved);
    routing_map_free(&now);
    return rc;
}

static int of_run(struct report *p, long i, long *shown, struct pesc_error *err)
{
    long long id = p->runs->v[i].id;
    long found;
    struct rows any;
    TRY(query_rows(p->r, &any, err, "SELECT 1 FROM router_expert WHERE run_id = ?1 LIMIT 1", "i",
                   id));
    found = any.n_rows;
    rows_free(&any);
    if (!found)
        return 0;
    (*shown)++;
    if (*shown > RUNS_CAP)
        return 0;
    if (p->runs->n > 1) {
        fputs("<h3>", p->f);
        report_swatch(p, i);
        fputs("</h3>\n", p->f);
    }
    report_heat_key(p, &heat_even);
    TRY(layers(p, id, "load", "Load of the experts: share of the assignments", &found, err));
    TRY(layers(p, id, "prob", "Mean probability of the experts", &found, err));
    TRY(domains(p, id, err));
    return change(p, id, err);
}

int report_routing(struct report *p, struct pesc_error *err)
{
    long shown = 0;
    report_section(p, "routing", "Routing");
    for (long i = 0; i < p->runs->n; i++)
        TRY(of_run(p, i, &shown, err));
    if (!shown)
        fputs("<p>No router statistics are recorded.</p>\n", p->f);
    if (shown > RUNS_CAP)
        fprintf(p->f,
                "<p>The routing of %ld more runs is not shown; 'pesc runs routing' has it."
                "</p>\n",
                shown - RUNS_CAP);
    report_section_end(p);
    return 0;
}
