/* The whole decoder, dense or with adapters, once more in double precision from the published
 * formulas: Llama (arXiv 2302.13971) with grouped queries, and PESC (arXiv 2401.02731). Its
 * derivatives are central differences of its loss. */
#ifndef TESTS_UNIT_MODEL_TWIN_H
#define TESTS_UNIT_MODEL_TWIN_H

#include "core/batch.h"
#include "model/engine.h"

struct twin {
    struct model_config c;
    struct moe_config moe;
    int crafted;
    struct params dense, adapters; /* tables; their values are below */
    double *w, *a;                 /* [dense.total], [adapters.total] */
    double loss_scale, balance_scale;
    struct moe_rng rng; /* dropout, where training is set */
    /* Of the first pass, and then held: experts chosen [L,T,E] and loads [L,E]. */
    unsigned char *chosen;
    double *load;
    int held;
    /* Of the last pass: */
    double *logits; /* [T,V] */
    double ce;      /* summed */
};
/* The values of an open model; b gives those that m does not train. */
void twin_open(struct twin *t, const struct model *m, const struct base *b, long T);
void twin_close(struct twin *t);
/* loss_scale * summed cross-entropy + balance_scale * sum over layers of the balance loss, loads
 * held. NaN where a choice of experts is no longer that of the first pass. */
double twin_loss(struct twin *t, const struct batch *b);

#endif
