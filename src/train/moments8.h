/* AdamW's moments in one byte a value, in blocks with a scale of their own, after T. Dettmers et
 * al., "8-bit Optimizers via Block-wise Quantization", arXiv 2110.02861 (section 2: blocks, the
 * dynamic map and its unsigned form for the second moment).
 *
 * A byte is a share of the largest magnitude of its block. Of b bits (7 and a sign for m; 8 for v,
 * which has no sign) the number of leading zeros e is the decade, and the f = b - 1 - e bits behind
 * the first one divide it evenly:
 *
 *   share = 10^-e (0.1 + 0.9 (k + 1) / 2^f),  k the f bits;  0 for no bit at all
 *
 * Here the ends of the intervals stand for them, not the middles: so the largest magnitude is
 * exact, the last share of a decade is the border to the next, shares grow with the byte, and zero
 * bytes with a zero scale are zeros.
 *
 * Rounding is up or down by chance, so that it is right on average. To the nearest, as in the
 * paper, a moment that changes by less than half a step at a time never moves, and v changes by a
 * thousandth at a time; experiments/bench/NOTES.md has what that cost. A v that is not 0 does not
 * become 0: m / sqrt(v) would explode as soon as the gradient stays away. */
#ifndef PESC_TRAIN_MOMENTS8_H
#define PESC_TRAIN_MOMENTS8_H

#include <stdint.h>

enum { MOMENTS8_BLOCK = 256 };

struct moments8 {
    float m[256], v[256]; /* share by byte */
};
void moments8_tables(struct moments8 *t);

/* x[n] from n <= MOMENTS8_BLOCK bytes and their scale; table is m or v of the above. */
void moments8_get(float *x, const uint8_t *code, float scale, const float *table, long n);
/* The other way; the scale is returned. Infinities count as the largest float, NaN as 0. v must
 * not be negative. chance[n]: a random word for each value; m is rounded by its lower half, v by
 * its upper. */
float moments8_put_m(uint8_t *code, const float *x, const uint32_t *chance, long n);
float moments8_put_v(uint8_t *code, const float *x, const uint32_t *chance, long n);

#endif
