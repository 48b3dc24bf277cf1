/* Products with frozen weights in code of our own. Private to src/tensor/gemm*.c. */
#ifndef PESC_TENSOR_GEMM_OWN_H
#define PESC_TENSOR_GEMM_OWN_H

#include <stddef.h>
#include <stdint.h>

struct gemm;

/* C[M,N] (+)= A[M,K] B. Lengths of rows are in numbers. */
struct own {
    long M, N, K;
    long size;     /* bytes of a number: 2, bf16; 1, codes */
    const void *A; /* bf16, or activations' codes with 128 added */
    long a_row;
    const void *w; /* B^T[N,K] by_rows, else B[K,N] */
    long w_row;
    int by_rows;
    float *C; /* or: */
    uint16_t *C16;
    long c_row;
    int add; /* to C */
    /* Codes: C = (sum - shift[n]) row_scale[m] (column_scale[n], where there are such) */
    const int32_t *shift;
    const float *row_scale, *column_scale;
};

/* A product's results in blocks of columns, and each of those in strips of rows. block makes strips
 * from..end-1 of the block that begins at column n; room: bytes of its own memory there. */
struct blocks {
    long M, N, rows, columns;
    size_t room;
    int alone; /* not worth waking threads */
    void (*block)(const void *product, void *room, long n, long from, long end);
};
void gemm_blocks(struct gemm *g, const struct blocks *b, const void *product);

/* Whether this CPU's are used for numbers of so many bytes (4: gemm_own_floats), for M rows of
 * them, and for this product. */
int gemm_own_usable(long size);
int gemm_own_rows(struct gemm *g, long size, long M);
int gemm_own_fits(const struct own *p); /* any of its shape, where they are used */
int gemm_own(struct gemm *g, const struct own *p);
void gemm_own_product(struct gemm *g, const struct own *p);

/* C[M,N] (+)= A[M,K] B of floats (gemm_f32.c). Element (m, k) of A is A[m * a_row + k * a_step]; B
 * as above. Where gemm_own_rows(g, sizeof(float), M). */
struct own_floats {
    long M, N, K;
    const float *A;
    long a_row, a_step;
    const float *w;
    long w_row;
    int by_rows;
    float *C;
    long c_row;
    int add;
};
size_t gemm_floats_bytes(void); /* of their packed blocks, of all threads */
void gemm_own_floats(struct gemm *g, const struct own_floats *p);

/* Results r.., n.. of sums[rows,cols] (gemm_int8.c). */
void int8_results(const struct own *p, const int32_t *sums, long ld, long r, long n, long rows,
                  long cols);

#endif
