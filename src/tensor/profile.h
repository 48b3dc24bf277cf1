/* Where the time of training goes. Exactly one stage is at work at any time, so the times add up to
 * the whole; a NULL profile costs a comparison per mark. One thread marks; products are counted by
 * gemm.c for the stage and phase at work. */
#ifndef PESC_TENSOR_PROFILE_H
#define PESC_TENSOR_PROFILE_H

#include <stdint.h>

/* X(identifier, name, what it is) */
#define STAGES(X)                                                                                  \
    X(PROJ, "projections", "products of the attention's matrices")                                 \
    X(FFN, "ffn", "products of the feed-forward network")                                          \
    X(HEAD, "head", "product with the vocabulary")                                                 \
    X(ROUND, "rounding", "activations to bf16 or int8 for the products, int8 results to f32")      \
    X(DEQUANT, "dequantising", "quantised weights to numbers for the products")                    \
    X(ATTENTION, "attention", "scores, softmax and mixing of values")                              \
    X(MOE, "adapters", "router and adapters, products included")                                   \
    X(NORM, "norms", "root mean square norms")                                                     \
    X(POINTWISE, "pointwise", "rotation, SwiGLU, residual sums, embedding, kept inputs")           \
    X(LOSS, "loss", "cross-entropy")                                                               \
    X(OPTIM, "optimiser", "gradient norm, clipping, update")                                       \
    X(DATA, "data", "batches")                                                                     \
    X(DISK, "disk", "waiting for weights, kept inputs, outputs of frozen layers")                  \
    X(OTHER, "other", "everything else of a step")

enum stage {
#define PESC_X(id, name, what) STAGE_##id,
    STAGES(PESC_X)
#undef PESC_X
        STAGE_COUNT
};
const char *stage_name(enum stage s);

enum phase { PHASE_FORWARD, PHASE_RECOMPUTE, PHASE_BACKWARD, PHASE_COUNT };

/* The lowest layer that trains is apart: nothing below it wants a gradient of it. */
enum profile_place { PLACE_OUTSIDE, PLACE_LOWEST_LAYER, PLACE_LAYER, PLACE_COUNT };

struct profile {
    double seconds[STAGE_COUNT][PHASE_COUNT];
    uint64_t flops[STAGE_COUNT][PHASE_COUNT]; /* of products: 2 M N K each */
    double places[PLACE_COUNT][PHASE_COUNT];  /* the same seconds, by where they were spent */
    int running;
    enum stage stage;
    enum phase phase;
    enum profile_place place;
    double since;
};
/* Time and products count between the two; the stage is OTHER, forward, at first. */
void profile_begin(struct profile *p);
void profile_end(struct profile *p);
/* From here on another stage is at work; the one before is returned. */
enum stage profile_to(struct profile *p, enum stage s);
void profile_phase(struct profile *p, enum phase phase);
/* 0: the lowest layer that trains, above: any other; -1: outside of the layers. */
void profile_layer(struct profile *p, long layer);

double profile_seconds(const struct profile *p);                     /* all stages */
double profile_stage_seconds(const struct profile *p, enum stage s); /* all phases */

#endif
