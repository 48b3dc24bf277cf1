/* How the choices of a router lie, and when that is worth a warning. */
#ifndef PESC_TRAIN_ROUTING_ALARM_H
#define PESC_TRAIN_ROUTING_ALARM_H

#include "train/events.h"

struct route_shape {
    double max_over_mean; /* 1: even */
    double entropy;       /* over ln n: 1 is even */
    long dead;            /* experts under a tenth of an even share */
    int collapsed;        /* all tokens go to (nearly) the same experts; see routing_alarm.c */
    int known;            /* 0: no finite sum above 0, and all else is 0 */
};
/* share[n], relative to its sum, of which one expert can have 1 / top_k at most; top_k 0 is 1. */
struct route_shape route_shape(const double *share, long n, long top_k);
int route_dead(double share, long n); /* of a sum of 1 */

/* Alarms: W-ROUTE-DEAD, W-ROUTE-COLLAPSE, W-ROUTE-DOMAINS, each told once per layer when that many
 * reports in a row show it, and again only after one that does not. Reports of the first steps, or
 * of too few tokens to tell, count neither way. */
enum {
    ROUTE_REPORTS = 3,
    ROUTE_FRESH = 20,        /* steps before which nothing counts */
    ROUTE_CHOICES = 64,      /* per expert, on average: fewer are too few */
    ROUTE_DOMAIN_TOKENS = 64 /* fewer leave a domain out */
};
/* Domains use the same expert when more than half of every one's first choices are it (counted from
 * an even share: (1 + 1/n) / 2), and they differ by less than so many nats. */
#define ROUTE_ALIKE 0.02

struct route_alarms {
    long layers, experts, top_k;
    struct route_layer *layer; /* [layers] */
    int *dead;                 /* [layers, experts] reports in a row */
};
int route_alarms_open(struct route_alarms *a, long layers, long experts, long top_k,
                      struct pesc_error *err) MUST_USE;
void route_alarms_close(struct route_alarms *a);

struct route_report { /* of one layer */
    long step, tokens;
    int layer;          /* its number in the model */
    const double *load; /* [experts] */
    long domains;       /* that have tokens enough */
    int expert;         /* the first choice of all of them; -1: they have none in common */
    double least;       /* share of a domain's first choices that it has at least */
    double divergence;  /* of the domains' first choices, nats */
};
/* n: which of the layers. Tells sink->event. */
void route_alarm(struct route_alarms *a, long n, const struct route_report *r,
                 const struct train_sink *sink);

#endif
