/* What the products share. Private to src/tensor/gemm*.c. */
#ifndef PESC_TENSOR_GEMM_STATE_H
#define PESC_TENSOR_GEMM_STATE_H

#include "tensor/gemm.h"
#include "tensor/gemm_own.h"
#include "tensor/gemm_plan.h"

struct plan {
    struct matmul m;
    unsigned long used; /* for replacing the oldest */
};

enum { PLANS = 48 };

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
    int own[3];   /* whether products of bf16, codes, floats are our own: 0 not asked yet, 1, -1 */
    void *packed; /* their weights */
    size_t packed_cap;
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
        unsigned char *code; /* [T, n up to 4] activations + 128 */
        unsigned long code_of;
        float *scale;    /* [T] */
        int32_t *result; /* of oneDNN's product with some of the columns */
        size_t results;
    } int8;
};

/* X[T,K] for several products: what it is rounded to is made once for all of them, as long as no
 * other input comes in between. X must not change meanwhile. */
struct linear_in {
    const float *x;
    const uint16_t *x16; /* bf16 instead of x, where the matrix is multiplied so or as codes */
    long T, K;
    unsigned long narrow, code; /* gemm's: what was made of it; 0: nothing */
};
struct linear_in linear_in(const float *X, long T, long K);
void linear_fwd_in(struct gemm *g, float *Y, struct linear_in *X, const struct wmat *W,
                   const float *bias);
/* Whether the address space has room for the code of a product; else the product has failed. */
int gemm_has_room(struct gemm *g);
/* Rows of [N, K] that are taken at a time. */
long gemm_panel_rows(long N, long K);
/* op(A) op(B) of floats; a_row, c_row: from one row of A and C to the next. */
void gemm_floats(struct gemm *g, int ta, int tb, float *C, long c_row, float beta, const float *A,
                 long a_row, const float *B, long M, long N, long K);
/* A product as planned, weights and results where given; counts it. */
void gemm_product(struct gemm *g, const struct matmul *want, void *C, const void *A, const void *W);

/* Products with W's codes (gemm.h: struct wmat, row_shift); beta is 0 or 1. */
void int8_fwd(struct gemm *g, struct linear_in *X, const struct linear *l);
void int8_bwd_data(struct gemm *g, const struct linear_bwd *l);

#endif
