/* Samples to batches: which of them a step trains on. */
#ifndef DATASETS_BATCHER_H
#define DATASETS_BATCHER_H

#include "datasets/dataset.h"

enum data_order { ORDER_SEQUENTIAL, ORDER_SHUFFLED };

/* X(identifier, name) */
#define PACKINGS(X)                                                                                \
    X(OFF, "off")           /* so many samples, whatever their length */                           \
    X(NEXT, "next")         /* in order, as many whole samples as fit so many tokens */            \
    X(BEST_FIT, "best-fit") /* the same out of order, so that packs are fuller */
enum packing {
#define PESC_X(id, name) PACK_##id,
    PACKINGS(PESC_X)
#undef PESC_X
        PACK_COUNT
};
const char *packing_name(enum packing p);
enum packing packing_from_name(const char *name); /* PACK_COUNT: none of them */

struct batch_options {
    enum packing packing;
    long records; /* PACK_OFF: samples of a batch */
    long tokens;  /* else: tokens of a batch; one longer sample is a batch of its own */
    enum data_order order;
    uint64_t seed;
    /* NULL: an epoch is every sample once. "3,1,1": one number above 0 for each path that the data
     * set was opened with. An epoch then is as many samples as there are in all, drawn from the
     * paths in these proportions, exactly so in every block of some hundred; each path is gone
     * through in an order of its own, and again as soon as it ends, whatever the epoch. A path
     * without samples takes no part. */
    const char *weights;
};

/* Batches end to end, by number. The order is sequential, or a keyed bijection that changes every
 * epoch; nothing is kept of it, so step n costs the same whether it comes after step n-1 or first.
 * By tokens, an epoch is cut in windows of WINDOW samples, and no batch spans two: what is known of
 * an epoch is one count per window. The last batch of an epoch or window may be smaller. The data
 * set must outlive the batcher. */
enum { WINDOW = 4096 };
struct batcher;
int batcher_open(const struct dataset *d, const struct batch_options *o, struct batcher **out,
                 struct pesc_error *err) MUST_USE;
void batcher_close(struct batcher *b);
struct batch_source batcher_source(struct batcher *b); /* get() wraps round into further epochs */
/* Of the first epoch; by tokens later ones may differ by a few when shuffled. */
long batcher_batches_per_epoch(const struct batcher *b);
long batcher_tokens_per_epoch(const struct batcher *b); /* of the first, exactly */
/* Tokens of an average batch of the first epoch, as a share of what fits; NaN with PACK_OFF. */
double batcher_fill(const struct batcher *b);
/* Batches of the first so many epochs, exactly; by tokens this goes through all their lengths. */
int batcher_steps(struct batcher *b, long epochs, long *steps, struct pesc_error *err) MUST_USE;

#endif
