#include "config.h"
#include "datasets/tok_internal.h"

#include <stdlib.h>
#include <string.h>

struct strmap_slot {
    uint32_t hash;
    int32_t id; /* -1: empty */
};

int strings_init(struct strings *s, long n, struct pesc_error *err)
{
    s->span = malloc((size_t)(n ? n : 1) * sizeof *s->span);
    if (!s->span)
        return FAIL(err, MEMORY, "no memory for %ld tokens", n);
    s->n = n;
    for (long i = 0; i < n; i++)
        s->span[i] = (struct span){UINT32_MAX, 0};
    return 0;
}

int strings_set(struct strings *s, long i, const char *p, size_t n, struct pesc_error *err)
{
    if (s->pool.n > UINT32_MAX - 1 - n)
        return FAIL(err, MEMORY, "tokens of more than 4 GiB");
    s->span[i] = (struct span){(uint32_t)s->pool.n, (uint32_t)n};
    TRY(buf_put(&s->pool, p, n, err));
    return buf_put(&s->pool, "", 1, err);
}

void strings_free(struct strings *s)
{
    buf_free(&s->pool);
    free(s->span);
    *s = (struct strings){0};
}

/* Seeded by the file's digest, so that a file cannot be made to collide with itself. */
static uint32_t hash_text(const char *p, size_t n, uint64_t seed)
{
    uint64_t h = seed ^ n * 0x9e3779b97f4a7c15u, w;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    w = 0;
    memcpy(&w, p, n);
    h = (h ^ w) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return (uint32_t)(h >> 32);
}

static size_t slots_for(size_t n)
{
    size_t slots = 16;
    while (slots * 3 < n * 4)
        slots *= 2;
    return slots;
}

int strmap_init(struct strmap *m, size_t n, uint64_t seed, struct pesc_error *err)
{
    size_t slots = slots_for(n + 1);
    m->slot = malloc(slots * sizeof *m->slot);
    if (!m->slot)
        return FAIL(err, MEMORY, "no memory for %zu tokens", n);
    m->mask = slots - 1;
    m->seed = seed;
    for (size_t i = 0; i < slots; i++)
        m->slot[i].id = -1;
    return 0;
}

int32_t strmap_get(const struct strmap *m, const struct strings *s, const char *p, size_t n)
{
    uint32_t h = hash_text(p, n, m->seed);
    for (size_t i = h & m->mask; m->slot[i].id >= 0; i = (i + 1) & m->mask) {
        int32_t id = m->slot[i].id;
        if (m->slot[i].hash == h && s->span[id].len == n &&
            !memcmp(s->pool.p + s->span[id].at, p, n))
            return id;
    }
    return -1;
}

void strmap_add(struct strmap *m, const struct strings *s, int32_t id)
{
    const char *p = s->pool.p + s->span[id].at;
    size_t n = s->span[id].len;
    if (strmap_get(m, s, p, n) >= 0)
        return;
    uint32_t h = hash_text(p, n, m->seed);
    size_t i = h & m->mask;
    while (m->slot[i].id >= 0)
        i = (i + 1) & m->mask;
    m->slot[i].hash = h;
    m->slot[i].id = id;
}

int merges_init(struct merges *m, size_t n, struct pesc_error *err)
{
    size_t slots = slots_for(n + 1);
    m->slot = malloc(slots * sizeof *m->slot);
    m->bridge = calloc(1u << (BRIDGE_BITS - 3), 1);
    if (!m->slot || !m->bridge)
        return FAIL(err, MEMORY, "no memory for %zu merges", n);
    m->mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        m->slot[i].pair = UINT64_MAX;
    return 0;
}

void merges_add(struct merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = pair_hash(pair) & m->mask;
    while (m->slot[i].pair != UINT64_MAX && m->slot[i].pair != pair)
        i = (i + 1) & m->mask;
    m->slot[i] = (struct merge){pair, rank, id}; /* the last of equal pairs counts */
}

void byte_map_init(struct byte_map *m)
{
    int next = 256;
    for (int i = 0; i < 512; i++)
        m->byte[i] = -1;
    for (int b = 0; b < 256; b++) {
        int shown = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        m->cp[b] = (uint16_t)(shown ? b : next++);
        m->byte[m->cp[b]] = (int16_t)b;
    }
}

int byte_map_put(const struct byte_map *m, struct buf *out, const char *p, size_t n,
                 struct pesc_error *err)
{
    TRY(buf_room(out, 2 * n, err));
    for (size_t i = 0; i < n; i++)
        out->n += utf8_put(out->p + out->n, m->cp[(unsigned char)p[i]]);
    return 0;
}
