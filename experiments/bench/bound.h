/* The least time that a step's products could take: what the method needs, counted from the shapes,
 * at the speed that oneDNN reaches on each shape alone.
 *
 * Needed are the forward products, and in the backward pass those towards activations down to the
 * lowest adapters, and all of the router's and the adapters' (their gradients included). Not
 * needed, and so not in the bound: the engine's recomputation of the forward pass, everything that
 * is no product, roundings and gathers. Attention's products (two forward, four backward, causal)
 * are counted apart, at the speed of the fastest of the others: no shape of oneDNN's stands for
 * them. */
#ifndef EXPERIMENTS_BENCH_BOUND_H
#define EXPERIMENTS_BENCH_BOUND_H

#include "model/model.h"
#include "tensor/gemm_probe.h"
#include "tensor/profile.h"

struct product {
    const char *name;
    enum stage stage;
    enum phase phase;
    long times; /* per step */
    struct gemm_probe probe;
};

enum { PRODUCTS_MAX = 32 };
struct bound {
    long n;
    struct product p[PRODUCTS_MAX];
    double seconds; /* of all that a step needs, the fastest way of each, the best of all times */
    double latest;  /* the same by the last measurement alone */
    double flops;
    double attention; /* floating point operations of attention */
};

/* The products of a step of T tokens, of which scored ones reach the head and so many pairs see
 * each other. */
void bound_count(struct bound *b, const struct model *m, long T, long scored, double pairs);
/* The time that attention's products would take. */
double bound_attention(const struct bound *b);
/* Measures each product for so many seconds; may be called again for better times. */
int bound_measure(struct bound *b, double seconds, struct pesc_error *err) MUST_USE;
double bound_flops(const struct bound *b, enum stage s, enum phase phase);

#endif
