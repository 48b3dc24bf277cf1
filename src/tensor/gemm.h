/* Matrix products: the one home of oneDNN, and of our own (gemm_own.c) with frozen weights.
 * Row-major throughout. */
#ifndef PESC_TENSOR_GEMM_H
#define PESC_TENSOR_GEMM_H

#include "core/error.h"
#include "tensor/dtype.h"
#include "tensor/quant.h"

/* Compute type of the products with frozen weights. INT8: of the layers' large matrices, as codes
 * with codes; what is not multiplied so (small ones, the vocabulary) is bf16, or f32 on a CPU
 * without bf16. */
enum compute { COMPUTE_F32, COMPUTE_BF16, COMPUTE_INT8 };
const char *compute_name(enum compute c); /* "bf16" */
/* Type of the matrices that are not multiplied as codes, and of kept activations. */
enum dtype compute_form(enum compute c);
/* Whether int8 compute multiplies a matrix [N, K] as codes: not where it has fewer weights than
 * least (0: INT8_LEAST), for which there is little to gain and most to lose. */
enum { INT8_LEAST = 65536 };
int linear_int8(long N, long K, long least);

struct gemm;
/* threads: what OpenMP was told. A product that fails (only for want of memory) makes every later
 * one a no-op; gemm_check reports it. */
struct gemm *gemm_new(struct pesc_error *err);
void gemm_free(struct gemm *g);
/* Room for rounding activations of the widest product (elements), so that no step allocates. */
int gemm_reserve(struct gemm *g, size_t activations, struct pesc_error *err) MUST_USE;
/* Bytes of the panel that a quantised matrix [N, K] is expanded into, and room for the largest. */
size_t gemm_panel_bytes(long N, long K, enum dtype type);
/* Whether it is multiplied in panels: then a result towards data is a sum of several, in floats. */
int gemm_in_panels(long N, long K);
/* Bytes that oneDNN copies of a bf16 matrix [N, K], whatever the threads, where it is multiplied in
 * panels; 0 for one that is not. */
size_t gemm_copy_bytes(long N, long K);
int gemm_reserve_panel(struct gemm *g, size_t bytes, struct pesc_error *err) MUST_USE;
/* Codes of T rows of activations and what their products are summed in; widest: rows or columns of
 * any matrix. */
size_t gemm_int8_bytes(long T, long widest);
int gemm_reserve_int8(struct gemm *g, long T, long widest, struct pesc_error *err) MUST_USE;
/* From now on linear_fwd multiplies so many rows at a time, no more and no fewer: the last ones are
 * filled up with zeros. What becomes of a row then does not depend on how many others there are;
 * that it does not depend on which they are, or on its place, is for gemm_rows_alone to say. 0: all
 * at once. gemm_reserve_rows: room for that, with matrices of so many columns (in) and rows (out);
 * gemm_rows_bytes of it. */
void gemm_set_rows(struct gemm *g, long rows);
size_t gemm_rows_bytes(long rows, long in, long out);
int gemm_reserve_rows(struct gemm *g, long rows, long in, long out,
                      struct pesc_error *err) MUST_USE;
/* Room in which n activations may be rounded that are then given as X16 or dY16: until the next
 * product with floats. NULL (and gemm_check fails) without memory; gemm_reserve plans it. */
uint16_t *gemm_narrow(struct gemm *g, size_t n);
/* Room for what threads pack of a matrix [N, K] for products of our own: codes of int8, or bf16. 0:
 * oneDNN's are used. */
size_t gemm_packed_bytes(long N, long K, int codes);
int gemm_reserve_packed(struct gemm *g, size_t bytes, struct pesc_error *err) MUST_USE;
int gemm_check(const struct gemm *g, struct pesc_error *err) MUST_USE;
/* Floating point operations of all products so far (2 M N K each). */
double gemm_flops(const struct gemm *g);
/* Counts a product that was made elsewhere. */
void gemm_count(struct gemm *g, long M, long N, long K);
/* Who is told about each product from now on (borrowed; NULL: nobody). */
struct profile;
void gemm_set_profile(struct gemm *g, struct profile *p);
struct profile *gemm_profile(const struct gemm *g);

/* Whether this CPU has bf16 products (AVX512-BF16 or AMX); why names what was found. */
int gemm_has_bf16(char *why, size_t size);
/* Whether it has int8 products whose sums are exact (AVX512-VNNI, AVX-VNNI or AMX). */
int gemm_has_int8(char *why, size_t size);

/* Whether products with bf16 weights, and with codes where they are multiplied as they are, are
 * made by code of our own (tensor/gemm_own.c), which needs nothing for each number of rows. */
int gemm_has_own(void);

const char *gemm_library_version(char *buf, size_t size); /* "2.6.3"; returns buf */

/* C[M,N] = beta C + op(A) op(B), float. nt: A[M,K] B[N,K]; nn: A[M,K] B[K,N]; tn: A[K,M] B[K,N].
 * beta is 0 or 1. Any dimension may be 0. Safe inside a parallel region (then single-threaded). */
void gemm_nt(struct gemm *g, float *C, float beta, const float *A, const float *B, long M, long N,
             long K);
void gemm_nn(struct gemm *g, float *C, float beta, const float *A, const float *B, long M, long N,
             long K);
void gemm_tn(struct gemm *g, float *C, float beta, const float *A, const float *B, long M, long N,
             long K);

/* A frozen or master weight [N, K] (PyTorch's [out, in]) in f32 or bf16. bf16 weights are
 * multiplied with activations rounded to bf16 and float accumulation. A quantised one is expanded
 * to that type when a product needs it. A large matrix is taken in panels of rows, whatever form it
 * has, so that the same values give the same bits. */
struct wmat {
    enum dtype dtype;
    long N, K;
    const void *data;
    struct qmat q; /* of a kind other than QUANT_NONE: instead of data */
    /* Of int8 codes that are multiplied as they are: 128 times the sums of rows [N] and columns
     * [K]; NULL: they are expanded. Activations are then quantised per row, |x| <= 127 units, and
     * towards data dY times the rows' scales; the sums are exact, so that a row of results depends
     * on no other row, on no cut and on no number of threads. A row that is not finite gives NaN.
     */
    const int32_t *row_shift, *column_shift;
};
size_t int8_shift_bytes(long N, long K);                   /* multiples of 64 */
void int8_shift_place(struct wmat *w, const void *memory); /* points them into so many bytes */
void int8_shifts(const struct wmat *w);                    /* fills them from the codes */

/* Y[T,N] = X[T,K] W^T (+ bias[N], may be NULL) */
struct linear {
    float *Y;
    const float *X;
    const struct wmat *W;
    const float *bias;
    long T;
    uint16_t *Y16;       /* bf16 instead of Y, without a bias, from a matrix that is not float */
    const uint16_t *X16; /* instead of X, with such a one */
};
/* n products, none the input of another. What an input is rounded or quantised to is made once for
 * neighbours that share it. */
void linears_fwd(struct gemm *g, const struct linear *l, int n);

/* For generating: while few is on, forward products of at most GEMM_FEW rows are not oneDNN's but
 * read the matrix once in its stored form (tensor/gemv.h), those of one linears_fwd together.
 * Activations are then not rounded to bf16, nor the values of codes: a result differs from the
 * usual one within the rounding of that. */
enum { GEMM_FEW = 8 };
void gemm_set_few(struct gemm *g, int on);
/* Room for what NF4 needs beside it; widest: the largest K. */
size_t gemm_few_bytes(long widest);
int gemm_reserve_few(struct gemm *g, long widest, struct pesc_error *err) MUST_USE;

/* One product. */
void linear_fwd(struct gemm *g, float *Y, const float *X, const struct wmat *W, const float *bias,
                long T);
/* Whether, so many rows at a time, a row of linear_fwd's result has the same bits wherever it
 * stands and whatever the others are: tried with values of its own, in the memory of
 * gemm_reserve_rows. How a library cuts up a product is its own affair. E-MEMORY. */
int linear_rows_alone(struct gemm *g, const struct wmat *W, long rows, int *alone,
                      struct pesc_error *err) MUST_USE;
/* dX[T,K] = beta dX + dY[T,N] W */
void linear_bwd_data(struct gemm *g, float *dX, float beta, const float *dY, const struct wmat *W,
                     long T);
/* The same with rows of bf16 instead of floats, where dX16 or dY16 is given, of a matrix that is
 * not float. beta 0 with dX16. */
struct linear_bwd {
    float *dX;
    const float *dY;
    const struct wmat *W;
    float beta;
    long T;
    uint16_t *dX16;
    const uint16_t *dY16;
};
void linear_bwd_rows(struct gemm *g, const struct linear_bwd *l);
/* dW[N,K] += dY[T,N]^T X[T,K];  dbias[N] += sum_t dY (may be NULL) */
void linear_bwd_weight(struct gemm *g, float *dW, float *dbias, const float *dY, const float *X,
                       long T, long N, long K);

#endif
