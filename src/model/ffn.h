/* The shared feed-forward network, z = Wd (silu(Wg x) * (Wu x)), used by the dense part and the
 * PESC part alike. */
#ifndef PESC_MODEL_FFN_H
#define PESC_MODEL_FFN_H

#include "model/part.h"

struct ffn_saved {
    float *xn, *r;      /* [T,D] normed input, kept only where it has to be; [T] */
    float *g, *u, *act; /* [T,F] */
    float *dact, *dxn;  /* [T,F], [T,D] */
    uint16_t *g16, *u16, *act16, *dact16; /* instead, where the part has bf16 between products */
};
void ffn_layout(const struct part *p, struct ffn_saved *s, struct arena *a, long T, enum lay kind);
/* Norm, gate, up, SwiGLU; z[T,D] too unless NULL. */
void ffn_fwd(const struct part *p, struct pass *pass, struct ffn_saved *s, float *z,
             const float *in);
/* The normed input again, in s->xn, before the backward pass where that needs it. */
void ffn_again(const struct part *p, struct pass *pass, struct ffn_saved *s, const float *in);
/* From dz[T,D]: parameter gradients, and with need_dx s->dxn. dxn_beta 1 adds to what is there. */
void ffn_bwd(const struct part *p, struct pass *pass, struct ffn_saved *s, const float *dz,
             float dxn_beta, int need_dx);

#endif
