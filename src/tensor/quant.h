/* Quantised matrices, [N, K] row-major: NF4 (QLoRA, arXiv 2305.14314) as bitsandbytes stores it,
 * and int8 with one scale a row. A value is defined by one float product of its code's float and
 * its scale, rounded to the type asked for; nothing of it depends on how a matrix is cut. */
#ifndef PESC_TENSOR_QUANT_H
#define PESC_TENSOR_QUANT_H

#include "core/error.h"
#include "tensor/dtype.h"

enum quant { QUANT_NONE, QUANT_NF4, QUANT_INT8, QUANT_COUNT };
const char *quant_name(enum quant q); /* "nf4" */

enum { NF4_OFFSET = 256 }; /* where the offset stands in a map */
enum { NF4_BLOCK = 64, NF4_NESTED = 256, NF4_BLOCK_MIN = 32, NF4_BLOCK_MAX = 4096 };

/* NF4: the matrix is one row of N K values, cut into blocks; two codes a byte, the first in the
 * high nibble. A block's scale is its largest magnitude: a float, or (nested > 0) map[absmax] times
 * the scale of its nested block, plus offset. */
struct qmat {
    enum quant kind;
    long N, K;
    long block, nested;          /* NF4: powers of two; nested 0: scales are floats */
    const void *code;            /* NF4: [(N K + 1) / 2]; INT8: [N K] signed */
    const float *scale;          /* NF4: [blocks], nested: [nested blocks]; INT8: [N] */
    const unsigned char *absmax; /* NF4, nested: [blocks] */
    const float *map;            /* NF4, nested: [257], the last is the offset */
};
long qmat_blocks(const struct qmat *q); /* NF4 */
long qmat_scales(const struct qmat *q); /* floats of scale */
size_t qmat_code_bytes(const struct qmat *q);
size_t qmat_bytes(const struct qmat *q);       /* all parts in memory, each at 64 bytes */
void qmat_place(struct qmat *q, void *memory); /* points the parts into qmat_bytes of it */
/* Whether every value is finite in every type it may become: scales are bounded. */
int qmat_finite(const struct qmat *q);

/* n values from the from-th, as f32 or bf16. Any range of the matrix. */
void qmat_expand(const struct qmat *q, size_t from, size_t n, void *dst, enum dtype to);
/* Whole rows, on all threads. */
void qmat_expand_rows(const struct qmat *q, long row, long rows, void *dst, enum dtype to);

extern const float nf4_values[16];
/* Codes and scales of n values that begin a block. The code is that of the nearest value of x
 * (1 / absmax) (of x / absmax in a last block that is not full: so does bitsandbytes), in the
 * middle between two the lower one. An all-zero block has absmax 0 and the code of 0, which also
 * fills the low nibble behind an odd n. -1 when a value is not finite. */
int nf4_quantise(const float *x, size_t n, long block, unsigned char *code, float *absmax);
/* Only the scales. */
int nf4_scales(const float *x, size_t n, long block, float *absmax);
/* Scales that fit better: of eight parts of the largest magnitude, 0.7 to 1.05, the one with which
 * the nearest values have the least squared error. What exceeds a scale becomes its end. The sums
 * have one order, whatever the processor. -1 when a value is not finite. */
int nf4_fit(const float *x, size_t n, long block, float *scale);
/* Only the codes, for these scales; with a negative one, which nesting may make of 0, those of 0.
 */
void nf4_codes(const float *x, size_t n, long block, const float *scale, unsigned char *code);
/* Quantises n scales a second time, as bitsandbytes does: their mean is taken off, blocks of
 * NF4_NESTED are divided by their largest magnitude and each takes the nearest of nf4_nested_map.
 */
void nf4_nest(const float *absmax, long n, unsigned char *code, float *scale, float *offset);
/* The n scales that this stands for, as an expansion finds them. */
void nf4_unnest(const unsigned char *code, const float *nested, float offset, long n, float *scale);
/* The signed "dynamic" 8-bit numbers of arXiv 1511.04561, ascending. */
void nf4_nested_map(float map[256]);

/* A row's scale is absmax / 127, the codes are round(x / scale), ties to even. */
int int8_quantise(const float *x, long rows, long K, signed char *code, float *scale);
/* The same of a row in parts: the scale of n values (infinite when one is not finite), of which the
 * row's is the largest; then their codes. */
float int8_scale(const float *x, size_t n);
void int8_codes(const float *x, size_t n, float scale, signed char *code);

/* The largest magnitude of n numbers; a NaN or infinity makes it infinite. */
float quant_magnitude(const float *x, size_t n);

#endif
