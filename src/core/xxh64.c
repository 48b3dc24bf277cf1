#include "config.h"
#include "core/xxh64.h"

#include <string.h>

#define P1 0x9e3779b185ebca87u
#define P2 0xc2b2ae3d27d4eb4fu
#define P3 0x165667b19e3779f9u
#define P4 0x85ebca77c2b2ae63u
#define P5 0x27d4eb2f165667c5u

static uint64_t rotl(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static uint64_t read_le(const unsigned char *p, int n)
{
    uint64_t v = 0;
    for (int i = n; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

static uint64_t mix(uint64_t lane, uint64_t input)
{
    return rotl(lane + input * P2, 31) * P1;
}

void xxh64_init(struct xxh64 *x)
{
    memset(x, 0, sizeof *x);
    x->lane[0] = P1 + P2;
    x->lane[1] = P2;
    x->lane[3] = 0 - P1;
}

static void stripe(struct xxh64 *x, const unsigned char *p)
{
    for (int i = 0; i < 4; i++)
        x->lane[i] = mix(x->lane[i], read_le(p + 8 * i, 8));
}

void xxh64_add(struct xxh64 *x, const void *data, size_t n)
{
    const unsigned char *p = data;
    x->total += n;
    if (x->buffered) {
        size_t k = sizeof x->buf - x->buffered < n ? sizeof x->buf - x->buffered : n;
        memcpy(x->buf + x->buffered, p, k);
        x->buffered += k;
        p += k;
        n -= k;
        if (x->buffered < sizeof x->buf)
            return;
        stripe(x, x->buf);
        x->buffered = 0;
    }
    for (; n >= sizeof x->buf; p += sizeof x->buf, n -= sizeof x->buf)
        stripe(x, p);
    if (n)
        memcpy(x->buf, p, n);
    x->buffered = n;
}

uint64_t xxh64_end(const struct xxh64 *x)
{
    static const int turns[4] = {1, 7, 12, 18};
    uint64_t h = 0;
    if (x->total >= sizeof x->buf) {
        for (int i = 0; i < 4; i++)
            h += rotl(x->lane[i], turns[i]);
        for (int i = 0; i < 4; i++)
            h = (h ^ mix(0, x->lane[i])) * P1 + P4;
    } else {
        h = P5;
    }
    h += x->total;
    const unsigned char *p = x->buf, *end = x->buf + x->buffered;
    for (; end - p >= 8; p += 8)
        h = rotl(h ^ mix(0, read_le(p, 8)), 27) * P1 + P4;
    if (end - p >= 4) {
        h = rotl(h ^ read_le(p, 4) * P1, 23) * P2 + P3;
        p += 4;
    }
    for (; p < end; p++)
        h = rotl(h ^ *p * P5, 11) * P1;
    h = (h ^ h >> 33) * P2;
    h = (h ^ h >> 29) * P3;
    return h ^ h >> 32;
}
