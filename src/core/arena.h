/* Memory is planned: an arena is first run dry to count what a layout needs, then backed by one
 * block and run again with the same calls. Allocations are 64-byte aligned; a block of a page or
 * more begins one. */
#ifndef PESC_CORE_ARENA_H
#define PESC_CORE_ARENA_H

#include "core/error.h"

struct arena {
    unsigned char *base; /* NULL while only counting */
    size_t cap, used, peak;
    int overflow; /* a layout asked for more than it had counted */
};

/* An arena with base NULL counts. arena_back gives it the block that it counted (peak bytes) and
 * rewinds it; the pages are touched only when used. */
void arena_count(struct arena *a);
int arena_back(struct arena *a, struct pesc_error *err) MUST_USE;
void arena_free(struct arena *a);

/* n items of size bytes, NULL while counting or on overflow (also of n * size). */
void *arena_alloc(struct arena *a, size_t n, size_t size);
#define ARENA_FLOATS(a, n) ((float *)arena_alloc((a), (size_t)(n), sizeof(float)))

/* Scratch is left as found: mark before, reset after. */
size_t arena_mark(const struct arena *a);
void arena_reset(struct arena *a, size_t mark);

#endif
