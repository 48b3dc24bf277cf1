/* Routing statistics gathered over the passes of a report. */
#ifndef PESC_TRAIN_ROUTING_H
#define PESC_TRAIN_ROUTING_H

#include "adapters/moe.h"
#include "core/batch.h"
#include "train/routing_alarm.h"

struct routing {
    long first, layers, experts, n_domains; /* layers: that have adapters, from first on */
    int named;                              /* 0: one domain for all, that is not told of */
    const struct moe_config *moe;
    double *load, *prob;    /* [layers, experts] summed over tokens */
    double *balance, *top1; /* [layers] times tokens */
    long *by_domain;        /* [layers, top_k, domains, experts] choices by rank */
    double *domain_prob;    /* [layers, domains, experts] summed over tokens */
    double *domain_top1;    /* [layers, domains] likewise */
    long *tokens;           /* [layers] */
    long *domain_tokens;    /* [domains] */
    double step_balance;    /* of the current step: sum over layers times tokens */
    int *group;             /* [max_tokens] domain of each token of the current batch */
    double *own;            /* [3, experts] */
    struct route_alarms alarms;
};
/* layers: of the model. n_domains 0: all tokens are of one that has no name. Everything after this
 * allocates nothing. */
int routing_open(struct routing *r, const struct moe_config *moe, long layers, long n_domains,
                 long max_tokens, struct pesc_error *err) MUST_USE;
void routing_close(struct routing *r);
void routing_batch(struct routing *r, const struct batch *b); /* before the pass */
/* engine_step.routed; ctx is the struct routing. */
void routing_add(void *ctx, long layer, const struct moe_saved *s, long T);
/* Tells the sink and starts anew. task NULL: of the training, whose alarms go to sink->event;
 * otherwise of an evaluation on the data of that name. */
void routing_report(struct routing *r, long step, const char *task, const char *const *domains,
                    const struct train_sink *sink);
/* layer: its number in the model. Share of a domain (-1: of all) that expert has among the choices
 * of that rank (-1: of any, 0: the most probable one ...) since the last report; sums to 1 over the
 * experts, NaN without tokens. */
double routing_share(const struct routing *r, long layer, long rank, long domain, long expert);
/* How far the domains differ in it: the mean over domains with tokens of the Kullback-Leibler
 * divergence of their shares from the average of these shares, in nats: the generalised
 * Jensen-Shannon divergence with equal weights (J. Lin, IEEE Trans. Inf. Theory 37, 1991). 0: all
 * domains are treated alike. */
double routing_divergence(const struct routing *r, long layer, long rank);
/* max over experts of share times experts: 1 is even. */
double routing_max_load(const struct routing *r, long layer, long rank);

#endif
