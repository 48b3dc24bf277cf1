/* What engine.c and decode.c share. */
#ifndef PESC_MODEL_ENGINE_INTERNAL_H
#define PESC_MODEL_ENGINE_INTERNAL_H

#include "model/engine.h"

struct engine {
    struct model *m;
    long max_tokens, max_samples, chunk;
    int train;
    struct arena fixed, block; /* buffers of a whole pass; the working set of one block */
    long *position;
    float *cos, *sin;
    double *inv_freq;
    void *kept;            /* [layers, T, D] block inputs, in the compute type */
    float *x, *h, *y, *dx; /* [T,D] */
    long *rows;            /* [T] scored positions; while embedding, scratch */
    int32_t *target;       /* [T] */
    float *row_x, *row_dx, *logits, *row_loss; /* [chunk, D], [chunk, V] */
};

/* One block's two parts, both alive during the backward pass of a block. */
struct block_saved {
    void *attn, *ffn;
};

struct block_saved engine_block(struct arena *a, const struct model *m, long l, long T);

/* e->x through all layers, in place; with e->train every block's input is kept. */
int engine_run_blocks(struct engine *e, struct pass *p, struct pesc_error *err) MUST_USE;

#endif
