/* All tensors that a config asks for, one after the other. */
#ifndef PESC_MODEL_TENSORS_H
#define PESC_MODEL_TENSORS_H

#include "model/names.h"

struct model_tensor {
    char name[TENSOR_NAME_CAP];
    int ndim;
    long shape[2];
};

/* Slots are numbered from 0: the embedding, the layers, the last norm, the head. Some are empty,
 * depending on the config; a tied head is. */
long model_tensor_slots(const struct model_config *c);
int model_tensor_at(const struct model_config *c, long slot, struct model_tensor *t); /* 0: empty */

#endif
