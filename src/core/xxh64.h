/* XXH64 with seed 0, the checksum of zstd frames (xxHash specification 0.1.1). Not cryptographic.
 */
#ifndef PESC_CORE_XXH64_H
#define PESC_CORE_XXH64_H

#include <stddef.h>
#include <stdint.h>

struct xxh64 {
    uint64_t lane[4], total;
    unsigned char buf[32];
    size_t buffered;
};
void xxh64_init(struct xxh64 *x);
void xxh64_add(struct xxh64 *x, const void *data, size_t n);
uint64_t xxh64_end(const struct xxh64 *x);

#endif
