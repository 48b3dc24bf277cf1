#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "cli/heat.h"
#include "cli/routing_view.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *db, *what, *domain, *eval;
    long step, layer;
    int newest, change, json, csv;
};

#define AT(field) offsetof(struct options, field)
static const struct opt opts[] = {
    {"db", NULL, OPT_STRING, AT(db), "PATH", DB_ARG_HELP, 0, 0},
    {"1", NULL, OPT_FLAG, AT(newest), NULL, "the newest run", 0, 0},
    {"what", NULL, OPT_CHOICE, AT(what), "load|prob|first",
     "share of all choices, mean probability, share of first choices", 0, 0},
    {"step", NULL, OPT_LONG, AT(step), "N", "step; -1: the last recorded", -1, 1e15},
    {"layer", NULL, OPT_LONG, AT(layer), "L", "one layer; -1: all", -1, 1e6},
    {"domain", NULL, OPT_STRING, AT(domain), "NAME", "tokens of one data domain", 0, 0},
    {"eval", NULL, OPT_STRING, AT(eval), "TASK", "what an evaluation saw, not the training", 0, 0},
    {"change", NULL, OPT_FLAG, AT(change), NULL,
     "over time: how much moves; with --layer, its experts", 0, 0},
    {"csv", NULL, OPT_FLAG, AT(csv), NULL, "one line for each expert", 0, 0},
    {"json", NULL, OPT_FLAG, AT(json), NULL, "one object", 0, 0},
    {0}};

static void defaults(void *values)
{
    struct options *o = values;
    o->what = what_names[WHAT_LOAD];
    o->step = o->layer = -1;
}

/* --- reading --- */

static struct routing_ask ask_of(const struct options *o, const char *domain)
{
    return (struct routing_ask){
        .what = o->what, .task = o->eval, .domain = domain, .step = o->step, .layer = o->layer};
}

static void view_free(struct routing_view *v)
{
    for (long i = 0; i < v->n; i++)
        for (int w = 0; w < WHATS; w++)
            routing_map_free(&v->sheets[i].m[w]);
    free(v->sheets);
    free(v->steps);
    rows_free(&v->domains);
    routing_map_free(&v->moved);
}

/* "a", "b", ... as a terminal may see them. */
static void name_list(const struct rows *names, char *out, size_t size)
{
    size_t at = 0;
    *out = 0;
    for (long i = 0; i < names->n_rows && at + 80 < size; i++) {
        char shown[64];
        text_escape(shown, sizeof shown, cell_text(rows_at(names, i, 0)));
        at += (size_t)snprintf(out + at, size - at, "%s%s", i ? ", " : "", shown);
    }
}

/* Why there is nothing to show. */
static int refuse(struct reader *r, long long id, const struct options *o, struct pesc_error *err)
{
    struct rows names;
    char list[400], name[64];
    struct routing_map last;
    struct routing_ask ask = ask_of(o, NULL);
    if (o->eval) {
        TRY(routing_tasks(r, id, &names, err));
        long found = 0, n = names.n_rows;
        for (long i = 0; i < n; i++)
            found += !strcmp(cell_text(rows_at(&names, i, 0)), o->eval);
        name_list(&names, list, sizeof list);
        rows_free(&names);
        text_escape(name, sizeof name, o->eval);
        if (!found)
            return FAIL(err, DB_RUN, "no router statistics of an evaluation '%s'; there %s%s", name,
                        n ? "are: " : "are none", list);
    }
    ask.step = -1;
    TRY(routing_map_read(r, id, &ask, &last, err));
    long long step = last.step;
    long rows = last.n;
    routing_map_free(&last);
    if (rows == 0)
        return FAIL(err, DB_RUN, "no router statistics are recorded for this run%s",
                    o->layer >= 0 ? " and layer" : "");
    if (o->domain) {
        TRY(routing_domains(r, id, o->eval, &names, err));
        long n = names.n_rows;
        name_list(&names, list, sizeof list);
        rows_free(&names);
        text_escape(name, sizeof name, o->domain);
        return FAIL(err, DB_RUN, "no router statistics of a domain '%s'%s; there %s%s", name,
                    o->step >= 0 ? " at that step" : "", n ? "are: " : "are none", list);
    }
    return FAIL(err, DB_RUN, "no router statistics at step %ld; the last are at %lld", o->step,
                step);
}

/* Of all that a sheet can hold; text needs what it shows alone. */
static int read_sheet(struct reader *r, long long id, const struct options *o,
                      struct routing_view *v, struct sheet *s, const char *domain, long long step,
                      struct pesc_error *err)
{
    struct routing_ask ask = ask_of(o, domain);
    ask.step = step;
    s->domain = domain;
    for (int w = 0; w < WHATS; w++) {
        ask.what = what_names[w];
        if (w != v->what && !o->json && !o->csv)
            continue;
        if (v->change)
            TRY(routing_series_read(r, id, &ask, &s->m[w], err));
        else
            TRY(routing_map_read(r, id, &ask, &s->m[w], err));
    }
    return 0;
}

/* So many steps from those that there are, first and last among them. */
static long thin(long long *steps, long n, long most)
{
    if (n <= most)
        return n;
    for (long i = 0; i < most; i++)
        steps[i] = steps[i * (n - 1) / (most - 1)];
    return most;
}

enum { SHOWN_STEPS = 8, MOVED_CELL = 8 };

static int read_moved(struct reader *r, long long id, const struct options *o,
                      struct routing_view *v, struct pesc_error *err)
{
    struct routing_ask ask = ask_of(o, o->domain);
    struct routing_map now = {0}, before = {0}, series;
    struct routing_map *to = &v->moved;
    int rc = -1;
    ask.step = -1;
    TRY(routing_map_read(r, id, &ask, &now, err));
    if (now.n == 0) {
        refuse(r, id, o, err);
        goto done;
    }
    ask.layer = now.row[0];
    TRY_OR(routing_series_read(r, id, &ask, &series, err), done);
    v->steps = series.row;
    series.row = NULL;
    long n = series.n;
    routing_map_free(&series);
    if (!o->json && !o->csv)
        n = thin(v->steps, n, SHOWN_STEPS);
    *to = (struct routing_map){.n = now.n, .experts = n};
    to->row = calloc((size_t)to->n + 1, sizeof *to->row);
    to->value = calloc((size_t)(to->n * n) + 1, sizeof *to->value);
    if (!to->row || !to->value) {
        FAIL(err, MEMORY, "no memory to show a run");
        goto done;
    }
    memcpy(to->row, now.row, (size_t)now.n * sizeof *to->row);
    ask.layer = -1;
    for (long s = 0; s < n; s++) {
        routing_map_free(&now);
        ask.step = v->steps[s];
        TRY_OR(routing_map_read(r, id, &ask, &now, err), done);
        for (long l = 0; l < to->n; l++)
            to->value[l * n + s] = s && l < now.n && l < before.n && now.experts == before.experts
                                       ? routing_moved(before.value + l * now.experts,
                                                       now.value + l * now.experts, now.experts)
                                       : NAN;
        routing_map_free(&before);
        before = now;
        now = (struct routing_map){.step = -1};
    }
    rc = 0;
done:
    routing_map_free(&now);
    routing_map_free(&before);
    return rc;
}

/* The first sheet and, of one step and all tokens, one for each domain. */
static int read_sheets(struct reader *r, long long id, const struct options *o,
                       struct routing_view *v, struct pesc_error *err)
{
    if (!o->domain && !v->change)
        TRY(routing_domains(r, id, o->eval, &v->domains, err));
    v->sheets = calloc((size_t)v->domains.n_rows + 1, sizeof *v->sheets);
    if (!v->sheets)
        return FAIL(err, MEMORY, "no memory to show a run");
    v->n = 1;
    v->sheets[0].domain = o->domain;
    if (v->change && o->layer < 0)
        return read_moved(r, id, o, v, err);
    TRY(read_sheet(r, id, o, v, &v->sheets[0], o->domain, o->step, err));
    const struct routing_map *m = &v->sheets[0].m[v->what];
    if (m->n == 0)
        return refuse(r, id, o, err);
    for (long d = 0; d < v->domains.n_rows; d++) {
        struct sheet *s = &v->sheets[v->n];
        const char *name = cell_text(rows_at(&v->domains, d, 0));
        v->n++;
        TRY(read_sheet(r, id, o, v, s, name, m->step, err));
        if (s->m[v->what].n == 0) /* no tokens of it in this report */
            v->n--;
    }
    return 0;
}

/* --- text --- */

static const char *const captions[WHATS] = {"share of all choices", "mean probability",
                                            "share of the first choices"};
enum { LAYER_LABEL = 6, NAME_LABEL = 17, STEP_LABEL = 10, TAIL = 21, SHORT_TAIL = 9 };

/* Figures behind a row. What is wrong with a layer is marked: dead experts are named as far as
 * there is room, a collapse is said; a domain may well have few experts. */
static void shape_text(const struct heat *h, const struct routing_view *v, const double *share,
                       long top_k, int of_layer, char *out, size_t size)
{
    struct route_shape s = route_shape(share, h->n, v->what == WHAT_LOAD ? top_k : 1);
    if (!s.known) {
        snprintf(out, size, h->tail < TAIL ? "      -" : "      -      -    -");
        return;
    }
    if (h->tail < TAIL) {
        snprintf(out, size, " %6.2f%s%s", s.max_over_mean, s.dead && of_layer ? "d" : "",
                 s.collapsed && of_layer ? "C" : "");
        return;
    }
    size_t at =
        (size_t)snprintf(out, size, "  %5.2f  %5.3f  %3ld", s.max_over_mean, s.entropy, s.dead);
    long room = h->width ? h->width - 1 - h->label - h->n * h->cell - (long)at : 60, shown = 0;
    double sum = 0;
    if (!of_layer)
        return;
    for (long e = 0; e < h->n; e++)
        sum += share[e];
    if (s.collapsed && room >= 10) {
        at += (size_t)snprintf(out + at, size - at, " collapsed");
        room -= 10;
    }
    for (long e = 0; e < h->n && s.dead; e++) {
        char one[24];
        if (!route_dead(share[e] / sum, h->n))
            continue;
        long n = snprintf(one, sizeof one, "%s%ld", shown ? "," : " (", e);
        if (n + 4 > room) { /* of ",..)" */
            if (shown)
                at += (size_t)snprintf(out + at, size - at, ",..");
            break;
        }
        at += (size_t)snprintf(out + at, size - at, "%s", one);
        room -= n;
        shown++;
    }
    if (shown)
        snprintf(out + at, size - at, ")");
}

static void tail_legend(const struct heat *h)
{
    if (h->tail < TAIL)
        fputs("max/mn: busiest over mean; d: an expert is dead; C: collapsed\n", h->f);
    else
        fputs("max/mn: busiest over mean; entropy: 1 is even; dead: under a tenth of even\n", h->f);
}

static const char *tail_head(const struct heat *h)
{
    return h->tail < TAIL ? " max/mn" : "  max/mn entropy dead";
}

static void show_layers(struct cli *cli, const struct routing_view *v)
{
    const struct routing_map *m = &v->sheets[0].m[v->what];
    struct heat h = heat_new(cli->out, cli->out_tty && cli->color, cli_width(cli), HEAT_SHARE,
                             m->experts, LAYER_LABEL, TAIL, SHORT_TAIL);
    fprintf(cli->out, "%s, by layer and expert\n", captions[v->what]);
    heat_head(&h, "layer", NULL, "experts", tail_head(&h));
    for (long i = 0; i < m->n; i++) {
        char label[24], tail[160];
        snprintf(label, sizeof label, "%4lld", m->row[i]);
        shape_text(&h, v, m->value + i * m->experts, m->top_k, 1, tail, sizeof tail);
        heat_row(&h, label, m->value + i * m->experts, tail);
    }
    heat_legend(&h);
    tail_legend(&h);
}

/* Means over layers of what domains have, and of how far they are apart in each: the divergence of
 * routing.h. */
static double mean_of(const struct routing_view *v, double *mean)
{
    long E = v->sheets[0].m[v->what].experts, L = v->sheets[0].m[v->what].n, D = v->n - 1;
    double apart = 0;
    memset(mean, 0, (size_t)(D * E) * sizeof *mean);
    for (long l = 0; l < L; l++)
        for (long e = 0; e < E; e++) {
            double sum = 0;
            for (long d = 0; d < D; d++) {
                const struct routing_map *m = &v->sheets[d + 1].m[v->what];
                double p = l < m->n && e < m->experts ? m->value[l * m->experts + e] : NAN;
                mean[d * E + e] += p / (double)L;
                sum += p / (double)D;
            }
            for (long d = 0; d < D; d++) {
                const struct routing_map *m = &v->sheets[d + 1].m[v->what];
                double p = l < m->n && e < m->experts ? m->value[l * m->experts + e] : NAN;
                apart += isnan(p) ? NAN : p > 0 ? p * log(p / sum) / (double)(D * L) : 0;
            }
        }
    return apart;
}

static int show_domains(struct cli *cli, const struct routing_view *v, struct pesc_error *err)
{
    const struct routing_map *m = &v->sheets[0].m[v->what];
    long E = m->experts;
    if (v->n < 2)
        return 0;
    double *mean = malloc((size_t)((v->n - 1) * E) * sizeof *mean);
    if (!mean)
        return FAIL(err, MEMORY, "no memory to show a run");
    double apart = mean_of(v, mean);
    struct heat h = heat_new(cli->out, cli->out_tty && cli->color, cli_width(cli), HEAT_SHARE, E,
                             NAME_LABEL, TAIL, SHORT_TAIL);
    if (v->layer >= 0)
        fprintf(cli->out, "\nlayer %lld, by domain and expert\n", v->layer);
    else
        fprintf(cli->out, "\nby domain and expert, mean of %ld layer%s\n", m->n,
                m->n == 1 ? "" : "s");
    heat_head(&h, "domain", NULL, "experts", tail_head(&h));
    for (long d = 0; d + 1 < v->n; d++) {
        char label[4 * NAME_LABEL], tail[160];
        text_escape(label, sizeof label, v->sheets[d + 1].domain);
        shape_text(&h, v, mean + d * E, m->top_k, 0, tail, sizeof tail);
        heat_row(&h, label, mean + d * E, tail);
    }
    if (v->n > 2)
        fprintf(cli->out,
                "domains differ by %.4f nats in each layer (0: not at all, %.2f: entirely)\n",
                apart, log((double)(v->n - 1)));
    free(mean);
    return 0;
}

/* One layer's experts, a row for each report. */
static int show_series(struct cli *cli, const struct routing_view *v, struct pesc_error *err)
{
    enum { ROWS = 40 };
    const struct routing_map *m = &v->sheets[0].m[v->what];
    long long *at = malloc((size_t)(m->n + 1) * sizeof *at);
    if (!at)
        return FAIL(err, MEMORY, "no memory to show a run");
    for (long i = 0; i < m->n; i++)
        at[i] = i;
    long n = thin(at, m->n, ROWS), E = m->experts;
    struct heat h = heat_new(cli->out, cli->out_tty && cli->color, cli_width(cli), HEAT_SHARE, E,
                             STEP_LABEL, TAIL, SHORT_TAIL);
    int full = h.tail == TAIL;
    fprintf(cli->out, "%s in layer %lld, by step and expert: %ld of %ld reports\n",
            captions[v->what], v->layer, n, m->n);
    heat_head(&h, "step", NULL, "experts", full ? "   moved   since first" : "  moved");
    for (long i = 0; i < n; i++) {
        char label[24], tail[64];
        const double *now = m->value + at[i] * E, *was = m->value + at[i ? i - 1 : 0] * E;
        double moved = 100 * routing_moved(was, now, E),
               all = 100 * routing_moved(m->value, now, E);
        snprintf(label, sizeof label, "%9lld", m->row[at[i]]);
        snprintf(tail, sizeof tail, full ? "  %5.1f %%    %5.1f %%" : " %5.1f", moved, all);
        heat_row(&h, label, now, tail);
    }
    heat_legend(&h);
    fputs("moved: how much goes to other experts than in the row above\n", cli->out);
    free(at);
    return 0;
}

static void show_moved(struct cli *cli, const struct routing_view *v)
{
    const struct routing_map *m = &v->moved;
    int width = cli_width(cli);
    struct heat h = heat_new(cli->out, cli->out_tty && cli->color, width, HEAT_MOVED, m->experts,
                             LAYER_LABEL, 0, 0);
    if (!width || LAYER_LABEL + m->experts * MOVED_CELL < width)
        h.cell = MOVED_CELL;
    fprintf(cli->out, "%s: how much moves to other experts from step to step\n", captions[v->what]);
    if (h.cell == MOVED_CELL) {
        heat_head(&h, "layer", v->steps, "", "");
    } else {
        char what[64];
        snprintf(what, sizeof what, "%lld..%lld", v->steps[0], v->steps[m->experts - 1]);
        h.cell = 1;
        heat_head(&h, "layer", NULL, "", what);
    }
    for (long i = 0; i < m->n; i++) {
        char label[24];
        snprintf(label, sizeof label, "%4lld", m->row[i]);
        heat_row(&h, label, m->value + i * m->experts, "");
    }
    heat_legend(&h);
}

static int show_text(struct cli *cli, const struct routing_view *v, struct pesc_error *err)
{
    FILE *f = cli->out;
    char task[128], domain[128];
    text_escape(task, sizeof task, v->task ? v->task : "");
    text_escape(domain, sizeof domain, v->n && v->sheets[0].domain ? v->sheets[0].domain : "");
    fprintf(f, "%s%s%s%s%s", v->name, v->task ? ", evaluation " : "", task,
            *domain ? ", domain " : "", domain);
    if (v->change)
        fputc('\n', f);
    else
        fprintf(f, ", step %lld\n", v->sheets[0].m[v->what].step);
    if (v->change && v->layer >= 0)
        return show_series(cli, v, err);
    if (v->change) {
        show_moved(cli, v);
        return 0;
    }
    show_layers(cli, v);
    return show_domains(cli, v, err);
}

static int show(struct cli *cli, struct reader *r, long long id, const struct options *o,
                struct pesc_error *err)
{
    struct rows run = {0};
    struct routing_view v = {.task = o->eval, .layer = o->layer, .change = o->change};
    char *name = NULL;
    int rc = -1;
    for (int w = 0; w < WHATS; w++)
        if (!strcmp(o->what, what_names[w]))
            v.what = w;
    TRY_OR(query_rows(r, &run, err, "SELECT uuid, name FROM run WHERE id = ?1", "i", id), done);
    name = cell_shown(rows_at(&run, 0, 1), 6);
    if (!name) {
        FAIL(err, MEMORY, "no memory to show a run");
        goto done;
    }
    v.uuid = cell_text(rows_at(&run, 0, 0));
    v.name = name;
    TRY_OR(read_sheets(r, id, o, &v, err), done);
    rc = 0;
    if (o->json)
        view_json(cli->out, &v);
    else if (o->csv)
        rc = view_csv(cli->out, &v, err);
    else
        rc = show_text(cli, &v, err);
done:
    free(name);
    view_free(&v);
    rows_free(&run);
    return rc;
}

static int run(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    struct reader *r;
    enum table_form form;
    long long id;
    TRY(table_form_of(o->csv, o->json, &form, err));
    if (o->change && o->step >= 0)
        return FAIL(err, USAGE, "--change is over all steps: no --step");
    TRY(runs_open_one(o->db, o->newest, argc, argv, &r, &id, err));
    int rc = show(cli, r, id, o, err);
    reader_close(r);
    return rc;
}

const struct cmd runs_routing = {
    .name = "routing",
    .usage = "RUN [--what load|prob|first] [--eval TASK] [--change] [options]",
    .summary = "Heat maps of which experts the routers use, by layer, data domain and step.",
    .details = RUNS_WHICH,
    .opts = opts,
    .opts_size = sizeof(struct options),
    .defaults = defaults,
    .run = run,
};
