/* Frequencies of the rotary embedding (RoFormer, arXiv 2104.09864) with the scalings of
 * config.json: none, linear, dynamic (NTK-aware, by sequence length) and llama3. */
#ifndef PESC_MODEL_ROPE_H
#define PESC_MODEL_ROPE_H

#include "model/hf_config.h"

/* inv_freq[head_dim/2] for a sequence of length tokens (only dynamic scaling looks at it). */
void rope_inv_freq(const struct model_config *c, long length, double *inv_freq);

#endif
