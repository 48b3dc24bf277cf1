/* One oneDNN matmul of a fixed shape, made once and run often. Private to src/tensor/gemm*.c. */
#ifndef PESC_TENSOR_GEMM_PLAN_H
#define PESC_TENSOR_GEMM_PLAN_H

#include <oneapi/dnnl/dnnl.h>
#include <stddef.h>

enum matmul_weights {
    WEIGHTS_NK, /* as [N,K], the forward product's */
    WEIGHTS_KN, /* as [K,N], towards data */
    WEIGHTS_OWN /* as oneDNN likes it best, in memory that belongs to the matmul */
};

/* dst[M,N] = src[M,K] weights, or += with add. */
struct matmul {
    long M, N, K;
    enum matmul_weights layout;
    int add;
    long src_row, dst_row,
        weights_row;                 /* elements from one row to the next; 0: as many as it has */
    dnnl_data_type_t type, dst_type; /* type: of src and weights */
    dnnl_data_type_t weights_type;   /* undef: the same */
    dnnl_primitive_t prim;
    dnnl_memory_t src, weights, dst;
    size_t weights_bytes; /* out */
};

/* p has shape and types; 0, or -1 with nothing made. */
int matmul_make(struct matmul *p, dnnl_engine_t engine);
void matmul_free(struct matmul *p); /* zeroes it */
/* weights NULL: what is there (WEIGHTS_OWN). A dnnl_status_t. */
int matmul_run(struct matmul *p, dnnl_stream_t stream, const void *src, const void *weights,
               void *dst);

#endif
