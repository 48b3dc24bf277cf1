/* Element types of stored tensors and their conversion to and from float. */
#ifndef PESC_TENSOR_DTYPE_H
#define PESC_TENSOR_DTYPE_H

#include <stddef.h>
#include <stdint.h>

/* X(identifier, safetensors name, bytes, name on the command line or NULL) */
#define DTYPES(X)                                                                                  \
    X(F32, "F32", 4, "f32")                                                                        \
    X(BF16, "BF16", 2, "bf16")                                                                     \
    X(F16, "F16", 2, "f16")

enum dtype {
#define PESC_X(id, st, size, cli) DT_##id,
    DTYPES(PESC_X)
#undef PESC_X
        DT_COUNT
};

const char *dtype_name(enum dtype d);      /* "bf16" */
const char *dtype_st_name(enum dtype d);   /* "BF16" */
size_t dtype_size(enum dtype d);
int dtype_from_st(const char *st_name);    /* enum dtype, or -1 */
int dtype_from_name(const char *cli_name); /* enum dtype, or -1 */

/* Rounding is to nearest, ties to even; NaN stays NaN; f16 overflows to infinity. src may be
 * unaligned bytes as they lie in a file. */
void dtype_to_f32(float *dst, const void *src, enum dtype d, size_t n);
void dtype_from_f32(void *dst, const float *src, enum dtype d, size_t n);

#endif
