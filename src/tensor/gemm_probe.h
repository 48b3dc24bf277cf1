/* How fast oneDNN itself is at a product of one shape: the bound that the engine is held to. */
#ifndef PESC_TENSOR_GEMM_PROBE_H
#define PESC_TENSOR_GEMM_PROBE_H

#include "tensor/gemm.h"

enum gemm_form { GEMM_NT, GEMM_NN, GEMM_TN };
enum gemm_way {
    /* the weights as they lie: f32 dnnl_sgemm, bf16 a matmul with float results, int8 one with
     * 32-bit sums */
    GEMM_PLAIN,
    GEMM_PACKED,      /* in the layout that oneDNN chooses, packing not counted */
    GEMM_PACKED_BF16, /* bf16: the same with results in bf16 */
    GEMM_WAYS
};

struct gemm_probe {
    long M, N, K;
    enum gemm_form form; /* TN: plain and f32 only */
    enum compute type;   /* of the operands */
    /* out: seconds of the fastest run of each way, 0 where there is none */
    double seconds[GEMM_WAYS];
};

/* On operands of its own, at least 5 runs each and about as many seconds as given. E-MEMORY. */
int gemm_probe(struct gemm_probe *p, double seconds, struct pesc_error *err) MUST_USE;
/* The fastest way without rounded results. */
double gemm_probe_best(const struct gemm_probe *p);

#endif
