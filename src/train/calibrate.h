/* How long a step will take on this machine: the lowest layers of the model itself train for a few
 * seconds on the run's own batches, everything being where the run will have it. A layer costs what
 * a layer costs; the rest (head, loss, embedding) is there once. */
#ifndef PESC_TRAIN_CALIBRATE_H
#define PESC_TRAIN_CALIBRATE_H

#include "train/memory_plan.h"

struct calibration {
    /* seconds of one batch: of a layer (with adapters, of a crafted model) by phase, of the lowest
     * one's backward pass, of what is outside of the layers (of that: in the forward pass), and of
     * the update of one value */
    double layer[PHASE_COUNT], lowest_backward, rest, rest_forward, update;
    double dense[PHASE_COUNT]; /* of a layer without adapters (of a crafted model) */
    double
        prefix_rate;  /* bytes per second of kept outputs of frozen layers, read; 0: not measured */
    double file[2];   /* of layer, and of its recomputation: what its file of activations takes */
    double file_rate; /* bytes per second of that file, past the page cache; 0: not measured */
    double tokens;    /* of a batch, on average */
    double read_rate; /* bytes per second of layers read from disk; 0: not measured */
    double seconds;   /* that the measuring took */
};

struct calibrate_what {
    const struct base *base;
    enum dtype store; /* see weights_open */
    const struct model *like;
    const struct batch_source *data;
    const struct train_options *run; /* only what a step consists of matters */
    const struct place *place;
    double enough; /* seconds: no step begins after that; at least one is measured */
};
/* Needs no more memory than the run. E-MEMORY, and whatever the run itself would fail with at its
 * beginning. */
int calibrate(const struct calibrate_what *w, struct calibration *out,
              struct pesc_error *err) MUST_USE;
/* The same without the file of activations, whose time is a part of what was measured: a layer is
 * then computed again. So the two can be compared by what one measuring, under one load, has said.
 */
struct calibration calibrated_recomputing(const struct calibration *c);
/* Seconds of an update of so many batches of so many tokens in all; kept: whose samples' outputs of
 * frozen layers are all read. */
double calibrated_step(const struct calibration *c, const struct model *m, const struct place *p,
                       const struct memory_terms *t, long batches, double tokens, int kept);
/* Seconds of an evaluation of so many tokens. */
double calibrated_evaluation(const struct calibration *c, const struct model *m, double tokens);

#endif
