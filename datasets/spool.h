/* Bytes that only grow, in memory up to a limit and then in a file without a name: it takes disk
 * space and page cache, no memory of the process, and is gone with it. Internal to datasets/. */
#ifndef DATASETS_SPOOL_H
#define DATASETS_SPOOL_H

#include "core/error.h"

#include <stddef.h>

struct spool_cache;
struct spool {
    const char *dir; /* borrowed: where the file would be; NULL: never leave memory */
    size_t limit;
    unsigned char *mem; /* everything, or (fd >= 0) the end that is not in the file yet */
    size_t used, cap;
    uint64_t size, filed; /* bytes in all, and of them in the file */
    int fd;
    struct spool_cache *cache;
};

void spool_open(struct spool *s, const char *dir, size_t limit);
void spool_close(struct spool *s); /* also one that was only zeroed */
/* E-IO-FULL, E-IO, E-MEMORY. */
int spool_add(struct spool *s, const void *data, size_t n, struct pesc_error *err) MUST_USE;
/* No more will be added; now it can be read. */
int spool_end(struct spool *s, struct pesc_error *err) MUST_USE;
/* Small pieces go through a cache of blocks: one thread at a time. */
int spool_read(const struct spool *s, void *out, size_t n, uint64_t at,
               struct pesc_error *err) MUST_USE;
static inline int spool_is_filed(const struct spool *s)
{
    return s->fd > 0;
}

#endif
