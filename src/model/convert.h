/* A base written anew: quantised, in another type, or as it is. */
#ifndef PESC_MODEL_CONVERT_H
#define PESC_MODEL_CONVERT_H

#include "model/base.h"

struct convert {
    enum quant quant; /* of the matrices; QUANT_NONE: dtype says what they become */
    enum dtype dtype; /* DT_COUNT: a copy, byte for byte */
    int fitted;       /* NF4: scales with the least squared error, not the largest magnitudes */
    uint64_t small;   /* NF4: matrices of fewer values become int8 instead */
    int outer;        /* quantise embedding and head too, which bitsandbytes leaves alone */
    uint64_t shard;   /* bytes of a weight file; 0: 1 GB */
    const char *fingerprint, *name; /* of the base, for config.json's pesc_origin */
    void (*progress)(void *ctx, uint64_t done, uint64_t total); /* values; NULL: nobody asks */
    void *ctx;
};

struct converted {
    uint64_t bytes;                       /* of the weight files */
    uint64_t matrix_values, matrix_bytes; /* of what was quantised, with scales and maps */
    uint64_t small_values;                /* those of them that became int8 inside of NF4 */
};

/* 4 bits of a matrix below this save less than 32 KiB over 8. */
enum { CONVERT_SMALL = 65536 };

/* Fills the existing folder dir with config.json, weights and the files beside them, reading and
 * writing a few MiB at a time. Vectors, and matrices that are not quantised, stay as they are
 * stored. A base that is quantised is only copied: else E-MODEL-KIND. E-MODEL-NONFINITE, E-IO*. On
 * failure the caller removes dir. */
int base_convert(const char *dir, const struct base *b, const struct convert *how,
                 struct converted *out, struct pesc_error *err) MUST_USE;

#endif
