/* Which sample stands where in an epoch: a pure function, so that any step can be gone to at once.
 * Internal to datasets/. */
#ifndef DATASETS_ORDER_H
#define DATASETS_ORDER_H

#include "datasets/batcher.h"

struct order_group { /* samples first .. first + n - 1, drawn quota times in every block */
    long first, n, quota, start;
    uint64_t key;
};

struct order {
    long n; /* places of an epoch: as many as there are samples */
    enum data_order kind;
    uint64_t seed, slots;
    struct order_group *group; /* NULL: no weights, a bijection over all samples */
    long n_groups, block, stride;
};

/* weights (NULL, or "3,1,1"): one per group of the data set; E-USAGE-VALUE. */
int order_open(struct order *o, const struct dataset *d, enum data_order kind, uint64_t seed,
               const char *weights, struct pesc_error *err) MUST_USE;
void order_close(struct order *o); /* also one that was only zeroed */
long order_place(const struct order *o, long epoch, long i);

#endif
