/* Metrics of several runs as charts: one chart for each unit. */
#ifndef PESC_CLI_PANELS_H
#define PESC_CLI_PANELS_H

#include "cli/curves.h"

struct shown_run {
    long long id;
    char uuid[33];
    char *label; /* its name, and the start of its uuid where another here has that name */
};
struct shown_runs {
    long n;
    struct shown_run *v;
};
/* The runs that words name, each once, and with newest the newest one. E-USAGE when that is none,
 * E-DB-RUN. */
int shown_runs_find(struct reader *r, int newest, int argc, char **argv, struct shown_runs *out,
                    struct pesc_error *err) MUST_USE;
void shown_runs_free(struct shown_runs *runs);

struct panels_wish {
    long n_metrics;
    const char *const *metrics;
    enum chart_x x;
    int log_y;
    double smooth; /* as curve_init */
    long cap;      /* points of a curve */
};
/* Metrics of the same unit share a chart; one that no run has makes none. Curves without a value
 * are left out. panels_free also after a failure. */
struct panels {
    long n;
    struct chart *v;
    char **texts; /* that the charts point to */
    long n_texts, cap_texts;
};
int panels_read(struct reader *r, const struct shown_runs *runs, const struct panels_wish *wish,
                struct panels *out, struct pesc_error *err) MUST_USE;
void panels_free(struct panels *p);

#endif
