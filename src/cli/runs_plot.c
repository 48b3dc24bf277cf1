#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "cli/panels.h"
#include "cli/table.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

struct options {
    const char *db, *x, *out;
    struct opt_list metrics;
    long smooth, height;
    int log, newest;
};

static const struct opt opts[] = {
    {"db", NULL, OPT_STRING, offsetof(struct options, db), "PATH", DB_ARG_HELP, 0, 0},
    {"1", NULL, OPT_FLAG, offsetof(struct options, newest), NULL, "the newest run", 0, 0},
    {"metric", "m", OPT_LIST, offsetof(struct options, metrics), "NAME",
     "what to draw; default: train/loss valid/loss", 0, 0},
    {"output", "o", OPT_STRING, offsetof(struct options, out), "FILE",
     "an .svg or .png instead of the terminal", 0, 0},
    {"x", NULL, OPT_CHOICE, offsetof(struct options, x), "step|time|tokens",
     "axis; time: of work, without pauses", 0, 0},
    {"log", NULL, OPT_FLAG, offsetof(struct options, log), NULL, "logarithmic y axis", 0, 0},
    {"smooth", NULL, OPT_LONG, offsetof(struct options, smooth), "N",
     "exponential mean over about N values", 1, 1e6},
    {"height", NULL, OPT_LONG, offsetof(struct options, height), "N", "lines of a drawing", 4, 200},
    {0}};

static void defaults(void *values)
{
    struct options *o = values;
    o->x = "step";
    o->smooth = 1;
    o->height = 16;
    o->metrics.n = 0;
}

enum { WIDTH = 960 }; /* of a drawing in a file */

static int ends_in(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    return n > m && !strcasecmp(name + n - m, ending);
}

static int show(struct cli *cli, const struct panels *p, const struct options *o,
                struct pesc_error *err)
{
    int width = cli_width(cli), color = cli->out_tty && cli->color;
    for (long i = 0; i < p->n; i++) {
        if (i > 0)
            fputc('\n', cli->out);
        TRY(chart_text(cli->out, &p->v[i], width ? width : 80, (int)o->height, color, chart_utf8(),
                       err));
    }
    return 0;
}

static int plot(struct cli *cli, struct reader *r, const struct shown_runs *runs,
                const struct options *o, struct pesc_error *err)
{
    static const char *const usual[] = {"train/loss", "valid/loss"};
    struct panels_wish w = {.n_metrics = o->metrics.n ? o->metrics.n : 2,
                            .metrics = o->metrics.n ? o->metrics.v : usual,
                            .x = !strcmp(o->x, "time")     ? CHART_TIME
                                 : !strcmp(o->x, "tokens") ? CHART_TOKENS
                                                           : CHART_STEP,
                            .log_y = o->log,
                            .smooth = (double)o->smooth,
                            .cap = 1000};
    struct panels p;
    int rc = panels_read(r, runs, &w, &p, err);
    if (rc == 0 && p.n == 0)
        rc = FAIL(err, DB_RUN,
                  "no values of %s%s are recorded there; 'pesc runs show RUN' lists"
                  " the metrics",
                  w.metrics[0], w.n_metrics > 1 ? " and the others" : "");
    if (rc == 0 && o->out)
        rc = (ends_in(o->out, ".png") ? chart_write_png : chart_write_svg)(o->out, p.v, p.n, WIDTH,
                                                                           err);
    else if (rc == 0)
        rc = show(cli, &p, o, err);
    panels_free(&p);
    return rc;
}

static int run(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    const struct options *o = values;
    struct reader *r = NULL;
    struct shown_runs runs;
    if (o->out && !ends_in(o->out, ".svg") && !ends_in(o->out, ".png"))
        return FAIL(err, USAGE_VALUE, "--output %s: a drawing is an .svg or a .png", o->out);
    TRY(runs_open(o->db, &r, NULL, err));
    int rc = shown_runs_find(r, o->newest, argc, argv, &runs, err);
    if (rc == 0) {
        rc = plot(cli, r, &runs, o, err);
        shown_runs_free(&runs);
    }
    reader_close(r);
    return rc;
}

const struct cmd runs_plot = {
    .name = "plot",
    .usage = "RUN... [--metric NAME ...] [-x AXIS] [--log] [--smooth N] [-o FILE]",
    .summary = "Draws metrics of runs as curves.",
    .details = RUNS_WHICH
    "\nMetrics of one unit share a drawing. Long curves are thinned: least and greatest\n"
    "value of a column, NaN and Infinity stay to be seen.",
    .opts = opts,
    .opts_size = sizeof(struct options),
    .defaults = defaults,
    .run = run,
};
