/* Metrics of the history as curves, thinned while they are read. */
#ifndef PESC_CLI_CURVES_H
#define PESC_CLI_CURVES_H

#include "cli/chart.h"
#include "experiments/query.h"

/* How a run's steps become places on the x axis. */
struct timeline {
    long long run;
    enum chart_x x;
    double tokens_per_step;
    struct rows parts; /* of CHART_TIME: when its processes worked */
};
/* The time is that of work: pauses between processes are left out. The tokens of a step are the
 * run's mean per step. */
int timeline_read(struct reader *r, long long run, enum chart_x x, struct timeline *out,
                  struct pesc_error *err) MUST_USE;
void timeline_free(struct timeline *t);

/* One metric of the run; a curve without points when it has none. As curve_init. The caller frees
 * the curve, on failure too. */
int curve_read(struct reader *r, const struct timeline *t, const char *metric, long cap,
               double smooth, struct curve *out, struct pesc_error *err) MUST_USE;

/* Unit of a metric: the history's, else of those that training writes; "" when there is none. out:
 * UNIT_CAP bytes. */
enum { UNIT_CAP = 64 };
int metric_unit(struct reader *r, const char *metric, char *out, struct pesc_error *err) MUST_USE;

#endif
