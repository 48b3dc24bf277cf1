/* The experts' part of the mixture, in floats and in bf16 with float sums. Private to the adapters.
 */
#ifndef ADAPTERS_EXPERTS_H
#define ADAPTERS_EXPERTS_H

#include "adapters/dropout.h"
#include "core/hot.h"

struct experts_pass {
    const struct moe_weights *W;
    const struct moe_config *c;
    const struct moe_saved *s; /* routing done */
    struct dropout drop;
    long T, D;
};

/* y[T,D] = z[T,D] + the experts' sum; y may be z's memory. Leaves in the pass's s what bwd needs.
 */
void experts_fwd(const struct experts_pass *p, struct gemm *g, float *y, const float *z);
/* dz[T,D] = dy[T,D] + the experts' part, may be dy's memory; dw[T,K] overwritten with the gradient
 * of the routing weights; dW adds. 0, or -1 without room in scratch, which is left as found. */
int experts_bwd(const struct experts_pass *p, struct gemm *g, float *dz, float *dw,
                struct moe_weights *dW, const float *dy, struct arena *scratch);
void experts_bwd_scratch(struct arena *a, long T, long D, const struct moe_config *c);

/* The same with bf16 factors, where isa_avx512_bf16 and experts_bf16_fit. */
int experts_bf16_fit(const struct moe_config *c, long D);
void experts_bf16_layout(struct moe_saved *s, struct arena *a, long T, long D,
                         const struct moe_config *c);
void experts_bf16_work(struct moe_saved *s, struct arena *a, long D, const struct moe_config *c);
void experts_fwd_bf16(const struct experts_pass *p, float *y, const float *z);
int experts_bwd_bf16(const struct experts_pass *p, float *dz, float *dw, struct moe_weights *dW,
                     const float *dy, struct arena *scratch);
void experts_bf16_scratch(struct arena *a, long T, long D, const struct moe_config *c);

/* act = gelu(pre), pre Phi(pre), n elements; g *= its derivative there. */
void gelu(float *restrict act, const float *restrict pre, long n);
void gelu_bwd(float *restrict g, const float *restrict pre, long n);
double moe_dot(const float *restrict a, const float *restrict b, long n);

#endif
