#include "config.h"
#include "core/arena.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

void arena_count(struct arena *a)
{
    memset(a, 0, sizeof *a);
    a->cap = SIZE_MAX;
}

int arena_back(struct arena *a, struct pesc_error *err)
{
    enum { PAGE = 4096 };
    size_t n = a->peak ? a->peak : ALIGN;
    void *p = NULL;
    if (n > SIZE_MAX - PAGE || posix_memalign(&p, n < PAGE ? ALIGN : PAGE, n) != 0)
        return FAIL(err, MEMORY, "no memory for %zu bytes", n);
    a->base = p;
    a->cap = n;
    a->used = a->peak = 0;
    return 0;
}

void arena_free(struct arena *a)
{
    free(a->base);
    memset(a, 0, sizeof *a);
}

void *arena_alloc(struct arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 2) {
        a->overflow = 1;
        return NULL;
    }
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (bytes > a->cap - a->used) {
        a->overflow = 1;
        return NULL;
    }
    void *p = a->base ? a->base + a->used : NULL;
    a->used += bytes;
    if (a->used > a->peak)
        a->peak = a->used;
    return p;
}

size_t arena_mark(const struct arena *a)
{
    return a->used;
}

void arena_reset(struct arena *a, size_t mark)
{
    a->used = mark;
}
