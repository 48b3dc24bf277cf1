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

/* Types that a file may hold beside them: sizes are checked, bytes can be read, nothing is computed
 * with them. X(safetensors name, bits) */
#define DTYPES_CARRIED(X)                                                                          \
    X("BOOL", 8)                                                                                   \
    X("U8", 8)                                                                                     \
    X("I8", 8)                                                                                     \
    X("I16", 16)                                                                                   \
    X("U16", 16)                                                                                   \
    X("I32", 32)                                                                                   \
    X("U32", 32)                                                                                   \
    X("I64", 64)                                                                                   \
    X("U64", 64)                                                                                   \
    X("F64", 64)                                                                                   \
    X("C64", 64)                                                                                   \
    X("F8_E4M3", 8)                                                                                \
    X("F8_E5M2", 8)                                                                                \
    X("F8_E8M0", 8) X("F8_E4M3FNUZ", 8) X("F8_E5M2FNUZ", 8) X("F4", 4) X("F6_E2M3", 6)             \
        X("F6_E3M2", 6)

enum dtype {
#define PESC_X(id, st, size, cli) DT_##id,
    DTYPES(PESC_X)
#undef PESC_X
        DT_COUNT /* in a tensor's description: one of DTYPES_CARRIED */
};

const char *dtype_name(enum dtype d);    /* "bf16" */
const char *dtype_st_name(enum dtype d); /* "BF16" */
size_t dtype_size(enum dtype d);
int dtype_from_st(const char *st_name);    /* enum dtype, or -1 */
int dtype_from_name(const char *cli_name); /* enum dtype, or -1 */

/* Bits per element and the static spelling of any safetensors type; 0 when there is none. */
int dtype_st_bits(const char *st_name, const char **spelling);

/* Rounding is to nearest, ties to even; NaN stays NaN; f16 overflows to infinity. src may be
 * unaligned bytes as they lie in a file. */
void dtype_to_f32(float *dst, const void *src, enum dtype d, size_t n);
void dtype_from_f32(void *dst, const float *src, enum dtype d, size_t n);

#endif
