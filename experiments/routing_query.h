/* Router statistics of a recorded run as a matrix: what heat maps, comparisons and reports show. */
#ifndef EXPERIMENTS_ROUTING_QUERY_H
#define EXPERIMENTS_ROUTING_QUERY_H

#include "experiments/query.h"

struct routing_ask {
    const char *what;   /* load|prob|first; NULL: load */
    const char *task;   /* of an evaluation's data; NULL: in training */
    const char *domain; /* NULL: all tokens */
    long long step;     /* -1: the last of it */
    long long layer;    /* -1: all */
};
struct routing_map {
    long long step;         /* -1: nothing is recorded, or a series */
    long n, experts, top_k; /* n rows; top_k 0: unknown */
    long long *row;         /* [n] numbers of layers, ascending */
    double *value;          /* [n, experts]; NaN: unknown */
};
/* n is 0 when there is nothing of it (at that step). {0} asks for step 0 and layer 0: say -1.
 * E-USAGE-VALUE for another what, E-DB-QUERY. */
int routing_map_read(struct reader *r, long long run_id, const struct routing_ask *ask,
                     struct routing_map *out, struct pesc_error *err) MUST_USE;
/* One layer over time: a row for each step that was recorded, ascending, with the steps for numbers
 * of layers. ask->step is not looked at. */
int routing_series_read(struct reader *r, long long run_id, const struct routing_ask *ask,
                        struct routing_map *out, struct pesc_error *err) MUST_USE;
void routing_map_free(struct routing_map *m);
/* Names of the domains that a run's routers (task NULL) or those of an evaluation were told by, in
 * order; tasks of evaluations. One column. */
int routing_domains(struct reader *r, long long run_id, const char *task, struct rows *out,
                    struct pesc_error *err) MUST_USE;
int routing_tasks(struct reader *r, long long run_id, struct rows *out,
                  struct pesc_error *err) MUST_USE;
/* Half of what is moved between two distributions: 0 equal, 1 disjoint. NaN when one of them is
 * unknown. */
double routing_moved(const double *a, const double *b, long n);

#endif
