#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "cli/table.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *db;
    long step, layer;
    int newest, json;
};

static const struct opt opts[] = {
    {"db", NULL, OPT_STRING, offsetof(struct options, db), "PATH", DB_ARG_HELP, 0, 0},
    {"1", NULL, OPT_FLAG, offsetof(struct options, newest), NULL, "the newest run", 0, 0},
    {"step", NULL, OPT_LONG, offsetof(struct options, step), "N", "step; -1: the last recorded", -1,
     1e15},
    {"layer", NULL, OPT_LONG, offsetof(struct options, layer), "L", "one layer; -1: all", -1, 1e6},
    {"json", NULL, OPT_FLAG, offsetof(struct options, json), NULL, "one object", 0, 0},
    {0}};

static void defaults(void *values)
{
    struct options *o = values;
    o->step = o->layer = -1;
}

/* Rows first..first+n-1 of a result are the experts of one layer (and domain). */
struct loads {
    const struct rows *rows;
    long first, n;
    int load; /* column; the expert's number is in column 1 */
};

struct measures {
    double sum, max_over_mean, entropy; /* entropy over ln n: 1 is uniform */
    long dead;                          /* below a tenth of the uniform share */
};

static double load_at(const struct loads *l, long i)
{
    double x = cell_real(rows_at(l->rows, l->first + i, l->load));
    return isfinite(x) && x > 0 ? x : 0;
}

static int is_dead(double share, long n)
{
    return share * (double)n < 0.1;
}

static struct measures measure(const struct loads *l)
{
    struct measures m = {0};
    double max = 0, h = 0;
    for (long i = 0; i < l->n; i++)
        m.sum += load_at(l, i);
    for (long i = 0; i < l->n && m.sum > 0; i++) {
        double p = load_at(l, i) / m.sum;
        max = p > max ? p : max;
        h -= p > 0 ? p * log(p) : 0;
        m.dead += is_dead(p, l->n);
    }
    m.max_over_mean = max * (double)l->n;
    m.entropy = l->n > 1 ? h / log((double)l->n) : 1;
    return m;
}

/* Blue (starved) over white-ish grey (uniform) to red (crowded), of the 256-colour cube. */
static int shade(double times_uniform)
{
    static const int ramp[] = {19, 26, 68, 110, 252, 223, 216, 203, 160};
    double x = times_uniform * 4;
    return ramp[x < 8 ? (int)x : 8];
}

/* How a share is written, by how many experts must fit in 80 columns. */
static void put_share(FILE *f, double p, long n, int color)
{
    double times = p * (double)n;
    int digit = times < 0.1 ? 0 : times * 4 + 0.5 < 9 ? (int)(times * 4 + 0.5) : 9;
    if (color)
        fprintf(f, "\033[48;5;%d;38;5;%dm", shade(times), times < 0.5 || times >= 2 ? 231 : 16);
    if (n <= 8)
        fprintf(f, " %5.1f", 100 * p);
    else if (n <= 16)
        fprintf(f, "%3.0f", 100 * p);
    else
        fprintf(f, "%d", digit);
    if (color)
        fputs("\033[0m", f);
}

enum { PER_LINE = 50 };

/* Experts from..; returns how many were put. */
static long put_line(FILE *f, const struct loads *l, double sum, long from, int color)
{
    long n = l->n <= 16 ? l->n : l->n - from < PER_LINE ? l->n - from : PER_LINE;
    for (long i = from; i < from + n; i++)
        put_share(f, sum > 0 ? load_at(l, i) / sum : 0, l->n, color);
    return n;
}

static void put_legend(FILE *f, long n, const char *what)
{
    if (n <= 16) {
        int wide = n <= 8 ? 6 : 3;
        fprintf(f, "%-5s", what);
        for (long e = 0; e < n; e++)
            fprintf(f, "%*ld", wide, e);
        return;
    }
    fprintf(f, "%-5s %-*s", what, PER_LINE - 1, "experts in order");
}

static void show_dead(FILE *f, const struct loads *l, double sum)
{
    int shown = 0;
    for (long i = 0; i < l->n && shown < 8; i++)
        if (sum > 0 && is_dead(load_at(l, i) / sum, l->n))
            fprintf(f, "%s%lld", shown++ ? "," : " (", cell_int(rows_at(l->rows, l->first + i, 1)));
    if (shown)
        fputs(shown == 8 ? ",..)" : ")", f);
}

static void show_layer(FILE *f, const struct loads *l, int color)
{
    struct measures m = measure(l);
    fprintf(f, "%4lld ", cell_int(rows_at(l->rows, l->first, 0)));
    long done = put_line(f, l, m.sum, 0, color);
    if (l->n > 16)
        fprintf(f, "%*s", (int)(PER_LINE - done), "");
    fprintf(f, "  %5.2f  %5.3f  %3ld", m.max_over_mean, m.entropy, m.dead);
    show_dead(f, l, m.sum);
    fputc('\n', f);
    while (done < l->n) {
        fputs("     ", f);
        done += put_line(f, l, m.sum, done, color);
        fputc('\n', f);
    }
}

static int show_domain(FILE *f, const struct loads *l, const struct cell *name, int color,
                       struct pesc_error *err)
{
    struct measures m = measure(l);
    char *text = cell_shown(name, 6);
    if (!text)
        return FAIL(err, MEMORY, "no memory to show a run");
    int have = text_columns(text), bytes = 0, cols = 0;
    while (text[bytes] && (cols < 16 || ((unsigned char)text[bytes] & 0xc0) == 0x80))
        cols += ((unsigned char)text[++bytes] & 0xc0) != 0x80;
    fprintf(f, "  %.*s%*s", bytes, text, have < 16 ? 17 - have : 1, "");
    long done = put_line(f, l, m.sum, 0, color);
    fputc('\n', f);
    while (done < l->n) {
        fprintf(f, "%19s", "");
        done += put_line(f, l, m.sum, done, color);
        fputc('\n', f);
    }
    free(text);
    return 0;
}

/* The next stretch of rows with equal layer (column 0) and, if key >= 0, equal text there. */
static int next_group(struct loads *l, int key)
{
    const struct rows *rows = l->rows;
    l->first += l->n;
    l->n = 0;
    while (l->first + l->n < rows->n_rows) {
        long i = l->first + l->n;
        if (cell_int(rows_at(rows, i, 0)) != cell_int(rows_at(rows, l->first, 0)))
            break;
        if (key >= 0 &&
            strcmp(cell_text(rows_at(rows, i, key)), cell_text(rows_at(rows, l->first, key))))
            break;
        l->n++;
    }
    return l->n > 0;
}

static int show_text(struct cli *cli, const char *name, long long step, const struct rows *layers,
                     const struct rows *domains, struct pesc_error *err)
{
    FILE *f = cli->out;
    int color = cli->out_tty && cli->color;
    struct loads l = {.rows = layers, .load = 2};
    if (!next_group(&l, -1))
        return 0;
    long n = l.n;
    fprintf(f, "%s, step %lld\n", name, step);
    if (n <= 16)
        fprintf(f, "share of the assignments per expert, in %% (uniform is %.1f)\n",
                100.0 / (double)n);
    else
        fprintf(f, "share per expert; 0: dead, 4: uniform, 8: twice as much, 9: more\n");
    put_legend(f, n, "layer");
    fprintf(f, "  %s\n", "max/mn entropy dead");
    do
        show_layer(f, &l, color);
    while (next_group(&l, -1));
    fprintf(f,
            "max/mn: busiest over mean; entropy: 1 is uniform; dead: under a tenth of uniform\n");
    struct loads d = {.rows = domains, .load = 3};
    long long layer = -1;
    while (next_group(&d, 2)) {
        if (cell_int(rows_at(domains, d.first, 0)) != layer) {
            layer = cell_int(rows_at(domains, d.first, 0));
            fprintf(f, "\nlayer %lld by domain\n", layer);
        }
        TRY(show_domain(f, &d, rows_at(domains, d.first, 2), color, err));
    }
    return 0;
}

static void put_loads(FILE *f, const char *key, const struct loads *l, int column)
{
    fprintf(f, "\"%s\": [", key);
    for (long i = 0; i < l->n; i++) {
        fputs(i ? ", " : "", f);
        json_put_cell(f, rows_at(l->rows, l->first + i, column));
    }
    fputc(']', f);
}

static void show_json(FILE *f, const struct rows *run, long long step, const struct rows *layers,
                      const struct rows *domains)
{
    struct loads l = {.rows = layers, .load = 2}, d = {.rows = domains, .load = 3};
    int more = next_group(&d, 2);
    fputs("{\"run\": ", f);
    json_put_cell(f, rows_at(run, 0, 0));
    fprintf(f, ", \"step\": %lld, \"layers\": [", step);
    for (int first = 1; next_group(&l, -1); first = 0) {
        struct measures m = measure(&l);
        long long layer = cell_int(rows_at(layers, l.first, 0));
        fprintf(f, "%s\n {\"layer\": %lld, \"max_over_mean\": ", first ? "" : ",", layer);
        json_put_real(f, m.max_over_mean);
        fputs(", \"entropy\": ", f);
        json_put_real(f, m.entropy);
        fprintf(f, ", \"dead\": %ld, ", m.dead);
        put_loads(f, "load", &l, 2);
        fputs(", ", f);
        put_loads(f, "prob", &l, 3);
        fputs(", \"domains\": {", f);
        for (int comma = 0; more && cell_int(rows_at(domains, d.first, 0)) <= layer;
             more = next_group(&d, 2)) {
            if (cell_int(rows_at(domains, d.first, 0)) < layer)
                continue;
            const struct cell *name = rows_at(domains, d.first, 2);
            fputs(comma++ ? ", " : "", f);
            json_put_text(f, cell_text(name), strlen(cell_text(name)));
            fputs(": {", f);
            put_loads(f, "load", &d, 3);
            fputc('}', f);
        }
        fputs("}}", f);
    }
    fputs("]}\n", f);
}

static int pick_step(struct reader *r, long long id, struct options *o, long long *step,
                     struct pesc_error *err)
{
    struct rows rows;
    TRY(query_rows(r, &rows, err,
                   "SELECT max(CASE WHEN ?2 < 0 OR step = ?2 THEN step END), max(step)"
                   " FROM router_expert WHERE run_id = ?1 AND (?3 < 0 OR layer = ?3)",
                   "iii", id, (long long)o->step, (long long)o->layer));
    struct cell at = *rows_at(&rows, 0, 0), last = *rows_at(&rows, 0, 1);
    rows_free(&rows);
    if (last.kind == CELL_NULL)
        return FAIL(err, DB_RUN, "no router statistics are recorded for this run%s",
                    o->layer >= 0 ? " and layer" : "");
    if (at.kind == CELL_NULL)
        return FAIL(err, DB_RUN, "no router statistics at step %ld; the last are at %lld", o->step,
                    last.i);
    *step = at.i;
    return 0;
}

static int show(struct cli *cli, struct reader *r, long long id, struct options *o,
                struct pesc_error *err)
{
    struct rows run = {0}, layers = {0}, domains = {0};
    long long step = 0, layer = o->layer;
    char *name = NULL;
    int rc = -1;
    TRY(pick_step(r, id, o, &step, err));
    TRY_OR(query_rows(r, &run, err, "SELECT uuid, name FROM run WHERE id = ?1", "i", id), done);
    TRY_OR(query_rows(r, &layers, err,
                      "SELECT layer, expert, load, prob FROM router_expert WHERE run_id = ?1"
                      " AND step = ?2 AND (?3 < 0 OR layer = ?3) ORDER BY layer, expert",
                      "iii", id, step, layer),
           done);
    TRY_OR(query_rows(r, &domains, err,
                      "SELECT layer, expert, domain, load FROM router_domain WHERE run_id = ?1"
                      " AND step = ?2 AND (?3 < 0 OR layer = ?3) ORDER BY layer, domain, expert",
                      "iii", id, step, layer),
           done);
    name = cell_shown(rows_at(&run, 0, 1), 6);
    rc = 0;
    if (o->json)
        show_json(cli->out, &run, step, &layers, &domains);
    else if (name)
        rc = show_text(cli, name, step, &layers, &domains, err);
    else
        rc = FAIL(err, MEMORY, "no memory to show a run");
done:
    free(name);
    rows_free(&run);
    rows_free(&layers);
    rows_free(&domains);
    return rc;
}

static int run(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    struct reader *r;
    long long id;
    TRY(runs_open_one(o->db, o->newest, argc, argv, &r, &id, err));
    int rc = show(cli, r, id, o, err);
    reader_close(r);
    return rc;
}

const struct cmd runs_routing = {
    .name = "routing",
    .usage = "RUN [--step N] [--layer L] [--json]",
    .summary = "Shows which experts the routers use, by layer and by data domain.",
    .details = RUNS_WHICH,
    .opts = opts,
    .opts_size = sizeof(struct options),
    .defaults = defaults,
    .run = run,
};
