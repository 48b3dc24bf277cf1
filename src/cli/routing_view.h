/* What pesc runs routing has read, and how it leaves for programs. */
#ifndef PESC_CLI_ROUTING_VIEW_H
#define PESC_CLI_ROUTING_VIEW_H

#include "cli/table.h"
#include "experiments/routing_query.h"
#include "train/routing_alarm.h"

enum { WHAT_LOAD, WHAT_PROB, WHAT_FIRST, WHATS };
extern const char *const what_names[WHATS];

/* All tokens (the first sheet, whose domain is NULL unless one was asked for) or one domain's; rows
 * are layers, or the steps of one layer. Text reads only the one that it shows. */
struct sheet {
    const char *domain;
    struct routing_map m[WHATS];
};
struct routing_view {
    const char *uuid, *name, *task; /* task NULL: training */
    int what;                       /* which the figures are of */
    long long layer;                /* -1: all */
    struct sheet *sheets;
    long n;
    struct rows domains; /* the sheets' names */
    int change;          /* 0: of one step; 1: over time */
    /* change of all layers: moved[layers, steps] since the step before, NaN for the first */
    struct routing_map moved;
    long long *steps;
};
/* Experts of row i of the first sheet. */
struct route_shape view_shape(const struct routing_view *v, const struct routing_map *m, long i);
void view_json(FILE *f, const struct routing_view *v);
int view_csv(FILE *f, const struct routing_view *v, struct pesc_error *err) MUST_USE;

#endif
