#include "config.h"
#include "core/hot.h"
#include "core/rng.h"

#include <math.h>

static void philox(const uint32_t ctr[4], uint64_t key, uint32_t out[4])
{
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3];
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c0 = n0;
        c1 = (uint32_t)p1;
        c2 = n2;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void rng_block(const struct rng_key *k, uint32_t block, uint32_t out[4])
{
    uint32_t ctr[4] = {block, k->a, k->b, k->stream};
    philox(ctr, k->seed, out);
}

HOT void rng_blocks(const struct rng_key *k, uint32_t first, uint32_t *out, long n)
{
    enum { LANES = 16 };
    long done = 0;
    for (; done + LANES <= n; done += LANES) {
        /* Words as 64-bit lanes: the round multiplies 32 by 32 bits and keeps both halves. */
        uint64_t c0[LANES], c1[LANES], c2[LANES], c3[LANES];
        uint32_t k0 = (uint32_t)k->seed, k1 = (uint32_t)(k->seed >> 32);
        for (int i = 0; i < LANES; i++) {
            c0[i] = (uint32_t)(first + (uint32_t)(done + i));
            c1[i] = k->a;
            c2[i] = k->b;
            c3[i] = k->stream;
        }
        for (int round = 0; round < 10; round++) {
#pragma omp simd
            for (int i = 0; i < LANES; i++) {
                uint64_t p0 = (uint64_t)0xD2511F53u * (uint32_t)c0[i];
                uint64_t p1 = (uint64_t)0xCD9E8D57u * (uint32_t)c2[i];
                c0[i] = (p1 >> 32) ^ c1[i] ^ k0;
                c2[i] = (p0 >> 32) ^ c3[i] ^ k1;
                c1[i] = (uint32_t)p1;
                c3[i] = (uint32_t)p0;
            }
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        for (int i = 0; i < LANES; i++) {
            uint32_t *o = out + 4 * (done + i);
            o[0] = (uint32_t)c0[i];
            o[1] = (uint32_t)c1[i];
            o[2] = (uint32_t)c2[i];
            o[3] = (uint32_t)c3[i];
        }
    }
    for (; done < n; done++)
        rng_block(k, first + (uint32_t)done, out + 4 * done);
}

uint32_t rng_u32(const struct rng_key *k, uint64_t index)
{
    uint32_t out[4];
    rng_block(k, (uint32_t)(index / 4), out);
    return out[index % 4];
}

double rng_unit(const struct rng_key *k, uint64_t index)
{
    return rng_u32(k, index) * 0x1p-32;
}

double rng_normal(const struct rng_key *k, uint64_t index)
{
    uint32_t out[4];
    rng_block(k, (uint32_t)(index / 2), out);
    const uint32_t *u = out + 2 * (index % 2);
    double r = sqrt(-2.0 * log((u[0] + 0.5) * 0x1p-32));
    return r * cos(2 * 3.14159265358979323846 * (u[1] * 0x1p-32));
}

void rng_fill_uniform(const struct rng_key *k, float bound, float *out, long n)
{
    for (long i = 0; i < n; i++)
        out[i] = (float)((2 * rng_unit(k, (uint64_t)i) - 1) * bound);
}

uint64_t rng_permute(uint64_t seed, uint64_t epoch, uint64_t i, uint64_t n)
{
    int bits = 2;
    while (bits < 64 && ((uint64_t)1 << bits) < n)
        bits += 2;
    int half = bits / 2;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t l = i >> half, r = i & mask;
        for (uint32_t round = 0; round < 6; round++) {
            uint32_t ctr[4] = {(uint32_t)r, (uint32_t)epoch, (uint32_t)(epoch >> 32) ^ round << 24,
                               RNG_ORDER},
                     out[4];
            philox(ctr, seed, out);
            uint64_t f = (out[0] | (uint64_t)out[1] << 32) & mask;
            uint64_t t = l ^ f;
            l = r;
            r = t;
        }
        i = l << half | r;
    } while (i >= n);
    return i;
}
