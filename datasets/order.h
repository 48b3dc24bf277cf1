/* Which sample stands where in an epoch: a pure function, so that any step can be gone to at once.
 * Internal to datasets/. */
#ifndef DATASETS_ORDER_H
#define DATASETS_ORDER_H

#include "datasets/batcher.h"

struct order_group { /* samples first .. first + n - 1, drawn quota times in every block */
    long first, n, quota;
    uint64_t key;
};
struct order_slot { /* the rank-th draw of a group in a block */
    uint16_t group, rank;
};

struct order {
    long n; /* places of an epoch: as many as there are samples */
    enum data_order kind;
    uint64_t seed;
    struct order_group *group; /* NULL: no weights, a bijection over all samples */
    struct order_slot *slot;   /* [block] */
    long n_groups, block;
};

/* weights (NULL, or "3,1,1"): one per group of the data set; E-USAGE-VALUE. */
int order_open(struct order *o, const struct dataset *d, enum data_order kind, uint64_t seed,
               const char *weights, struct pesc_error *err) MUST_USE;
void order_close(struct order *o); /* also one that was only zeroed */
long order_place(const struct order *o, long epoch, long i);

#endif
