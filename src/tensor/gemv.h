/* Products of few rows with a matrix in its stored form: the matrix is read once, at the speed of
 * the memory. Values of a quantised one are decoded in registers and not rounded to the compute
 * type, nor are the activations; sums are float. A result depends on its row of X and of W alone,
 * not on what else is computed, nor on the number of threads. Private to src/tensor. */
#ifndef PESC_TENSOR_GEMV_H
#define PESC_TENSOR_GEMV_H

#include "tensor/gemm.h"

/* Sums over k of x[k] w[k], for one instruction set. */
struct gemv_kernels {
    const char *name;
    float (*f32)(const float *x, const float *w, long K);
    float (*bf16)(const float *x, const uint16_t *w, long K);
    float (*int8)(const float *x, const signed char *w, long K); /* without the scale */
    /* A row of whole blocks of 64 with these scales; x from gemv_turn. NULL: there is none. */
    float (*nf4)(const float *x, const unsigned char *code, const float *absmax, long K);
};

enum gemv_isa { GEMV_PLAIN, GEMV_AVX2, GEMV_AVX512, GEMV_ISAS };
/* NULL where this processor or this build does not have it. */
const struct gemv_kernels *gemv_kernels(enum gemv_isa isa);
const struct gemv_kernels *gemv_best(void);

/* Floats of a row of K activations in the order in which NF4 kernels meet their codes, and that:
 * of 128 values the (8 i + (j ^ 1))-th is in place 16 j + i. Zeros fill up. */
long gemv_turned(long K);
void gemv_turn(float *dst, const float *x, long T, long K);

enum { GEMV_LIST = 16 }; /* products at a time */
/* n <= GEMV_LIST products, by all threads in one go. turned: room floats for gemv_turn; with too
 * little of it NF4 takes the way over numbers. */
void gemv_products(const struct gemv_kernels *k, const struct linear *l, int n, float *turned,
                   size_t room);

/* Private to gemv*.c. */
extern const struct gemv_kernels gemv_avx2, gemv_avx512;

#endif
