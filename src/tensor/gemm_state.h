/* What the products share. Private to src/tensor/gemm*.c. */
#ifndef PESC_TENSOR_GEMM_STATE_H
#define PESC_TENSOR_GEMM_STATE_H

#include "tensor/gemm.h"
#include "tensor/gemm_plan.h"

struct plan {
    struct matmul m;
    unsigned long used; /* for replacing the oldest */
};

enum { PLANS = 32 };

struct gemm {
    int failed;
    uint64_t flops;
    struct profile *profile;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    unsigned long clock;
    int limited; /* address space is */
    struct plan plans[PLANS];
    unsigned long made;      /* counts what was made of inputs */
    uint16_t *narrow;        /* activations rounded to bf16 */
    unsigned long narrow_of; /* which input's they are */
    size_t narrow_cap;
    void *panel; /* rows of a quantised matrix, expanded */
    size_t panel_cap;
    int few;
    const struct gemv_kernels *few_kernels;
    float *turned; /* activations in the order of NF4 codes */
    size_t turned_cap;
    long rows;       /* of a forward product; 0: all */
    float *in, *out; /* those of the last one, filled up; its result */
    size_t in_cap, out_cap;
    struct {
        void *memory;
        long T, widest;      /* that there is room for */
        unsigned char *code; /* [T, widest] activations + 128 */
        unsigned long code_of;
        float *scale;    /* [T] */
        int32_t *result; /* of a product with some of the columns */
    } int8;
};

/* A product as planned, weights and results where given; counts it. */
void gemm_product(struct gemm *g, const struct matmul *want, void *C, const void *A, const void *W);

/* Products with W's codes (gemm.h: struct wmat, row_shift); beta is 0 or 1. */
void int8_fwd(struct gemm *g, struct linear_in *X, const struct linear *l);
void int8_bwd_data(struct gemm *g, const struct linear_bwd *l);

#endif
