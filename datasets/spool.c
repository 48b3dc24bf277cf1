#include "config.h"
#include "datasets/spool.h"

#include "core/file.h"

#include <stdlib.h>
#include <string.h>

enum { WRITE_BYTES = 256 << 10, BLOCK = 4096, BLOCKS = 64 };

struct spool_cache { /* block b of the file stands in slot b % BLOCKS */
    uint64_t block[BLOCKS];
    size_t n[BLOCKS]; /* bytes of it; 0: none */
    unsigned char data[BLOCKS][BLOCK];
};

void spool_open(struct spool *s, const char *dir, size_t limit)
{
    *s = (struct spool){.dir = dir, .limit = limit, .fd = 0};
}

void spool_close(struct spool *s)
{
    file_close_temporary(s->fd);
    free(s->mem);
    free(s->cache);
    *s = (struct spool){.fd = 0};
}

/* What is in memory goes to the end of the file. */
static int flush(struct spool *s, struct pesc_error *err)
{
    TRY(file_pwrite(s->fd, s->mem, s->used, s->filed, s->dir, err));
    s->filed += s->used;
    s->used = 0;
    return 0;
}

static int leave_memory(struct spool *s, struct pesc_error *err)
{
    TRY(file_temporary(s->dir, &s->fd, err));
    TRY(flush(s, err));
    unsigned char *small = realloc(s->mem, WRITE_BYTES);
    if (!small)
        return FAIL(err, MEMORY, "no memory to write samples to disk");
    s->mem = small;
    s->cap = WRITE_BYTES;
    return 0;
}

static int grow(struct spool *s, size_t n, struct pesc_error *err)
{
    size_t cap = s->cap ? s->cap : 4096;
    while (cap < n)
        cap *= 2;
    unsigned char *grown = cap > s->cap ? realloc(s->mem, cap) : s->mem;
    if (!grown)
        return FAIL(err, MEMORY, "no memory for %zu bytes of samples", n);
    s->mem = grown;
    s->cap = cap;
    return 0;
}

int spool_add(struct spool *s, const void *data, size_t n, struct pesc_error *err)
{
    const unsigned char *p = data;
    if (!spool_is_filed(s)) {
        if (!s->dir || s->used + n <= s->limit) {
            TRY(grow(s, s->used + n, err));
            memcpy(s->mem + s->used, p, n);
            s->used += n;
            s->size += n;
            return 0;
        }
        TRY(leave_memory(s, err));
    }
    s->size += n;
    while (n > 0) {
        size_t k = s->cap - s->used < n ? s->cap - s->used : n;
        memcpy(s->mem + s->used, p, k);
        s->used += k;
        p += k;
        n -= k;
        if (s->used == s->cap)
            TRY(flush(s, err));
    }
    return 0;
}

int spool_end(struct spool *s, struct pesc_error *err)
{
    if (!spool_is_filed(s))
        return 0;
    TRY(flush(s, err));
    free(s->mem);
    s->mem = NULL;
    s->cap = 0;
    s->cache = calloc(1, sizeof *s->cache);
    return s->cache ? 0 : FAIL(err, MEMORY, "no memory to read samples from disk");
}

int spool_read(const struct spool *s, void *out, size_t n, uint64_t at, struct pesc_error *err)
{
    unsigned char *to = out;
    if (at > s->size || n > s->size - at)
        return FAIL(err, INTERNAL, "bytes past the end of the samples were asked for");
    if (!spool_is_filed(s)) {
        if (n > 0)
            memcpy(to, s->mem + at, n);
        return 0;
    }
    if (n >= BLOCK)
        return file_pread(s->fd, to, n, at, s->dir, err);
    while (n > 0) {
        struct spool_cache *c = s->cache;
        uint64_t block = at / BLOCK, start = block * BLOCK;
        size_t slot = (size_t)(block % BLOCKS), from = (size_t)(at - start);
        if (c->n[slot] == 0 || c->block[slot] != block) {
            size_t len = s->size - start < BLOCK ? (size_t)(s->size - start) : BLOCK;
            c->n[slot] = 0;
            TRY(file_pread(s->fd, c->data[slot], len, start, s->dir, err));
            c->block[slot] = block;
            c->n[slot] = len;
        }
        size_t k = c->n[slot] - from < n ? c->n[slot] - from : n;
        memcpy(to, c->data[slot] + from, k);
        to += k;
        at += k;
        n -= k;
    }
    return 0;
}
