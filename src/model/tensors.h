/* Which tensors a config asks for, under their Hugging Face names. */
#ifndef PESC_MODEL_TENSORS_H
#define PESC_MODEL_TENSORS_H

#include "model/config.h"

enum { TENSOR_NAME_CAP = 80 };

struct model_tensor {
    char name[TENSOR_NAME_CAP];
    int layer; /* -1: not of a layer */
    int ndim;
    long shape[2];
};

/* Slots are numbered from 0 in the order of the forward pass; some are empty, depending on the
 * config. A tied head has none. */
long model_tensor_slots(const struct model_config *c);
int model_tensor_at(const struct model_config *c, long slot, struct model_tensor *t); /* 0: empty */

#endif
