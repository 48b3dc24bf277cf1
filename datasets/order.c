#include "config.h"
#include "datasets/order.h"

#include "core/rng.h"

#include <math.h>
#include <stdlib.h>

enum { BLOCK_LEAST = 256, BLOCK_MOST = 4096 };

static uint64_t key_of(uint64_t seed, uint32_t what)
{
    uint32_t w[4];
    rng_block(&(struct rng_key){.seed = seed, .stream = RNG_MIX, .a = what}, 0, w);
    return w[0] | (uint64_t)w[1] << 32;
}

/* "3,1,1" into shares of 1, of the groups that have samples. */
static int read_shares(const struct order *o, const char *weights, double *share,
                       struct pesc_error *err)
{
    double sum = 0;
    long n = 0;
    for (const char *p = weights;; n++) {
        char *end;
        double w = strtod(p, &end);
        if (end == p || (*end && *end != ',') || !isfinite(w) || w <= 0 || w > 1e15)
            return FAIL(err, USAGE_VALUE, "data-weights: '%s' is no list of numbers above 0",
                        weights);
        if (n < o->n_groups)
            sum += share[n] = o->group[n].n > 0 ? w : 0;
        if (!*end)
            break;
        p = end + 1;
    }
    if (++n != o->n_groups)
        return FAIL(err, USAGE_VALUE, "data-weights: %ld weights for %ld data paths", n,
                    o->n_groups);
    for (long g = 0; g < n; g++)
        share[g] /= sum;
    return 0;
}

/* The length of blocks in which whole samples come nearest to the shares: for weights such as 3,1,1
 * there is one that is exact. */
static int choose_block(struct order *o, const double *share, struct pesc_error *err)
{
    double best = INFINITY, least = 1;
    for (long g = 0; g < o->n_groups; g++)
        if (share[g] > 0 && share[g] < least)
            least = share[g];
    if (least * BLOCK_MOST < 1)
        return FAIL(err, USAGE_VALUE, "data-weights: a share of %.3g is below 1 in %d", least,
                    BLOCK_MOST);
    for (long b = BLOCK_LEAST; b <= BLOCK_MOST; b++) {
        double off = 0;
        if ((double)b * least < 1)
            continue;
        for (long g = 0; g < o->n_groups; g++)
            off += fabs((double)b * share[g] - round((double)b * share[g]));
        if (off < best - 1e-9) {
            best = off;
            o->block = b;
        }
    }
    return 0;
}

/* Largest remainders: every quota within one of its share, and all make up the block. */
static void set_quotas(struct order *o, double *share)
{
    long left = o->block;
    for (long g = 0; g < o->n_groups; g++) {
        double exact = (double)o->block * share[g];
        o->group[g].quota = (long)floor(exact + 1e-9);
        share[g] = exact - (double)o->group[g].quota;
        left -= o->group[g].quota;
    }
    for (; left > 0; left--) {
        long most = 0;
        for (long g = 1; g < o->n_groups; g++)
            if (share[g] > share[most])
                most = g;
        o->group[most].quota++;
        share[most] = -1;
    }
}

/* Every slot goes to the group that is furthest behind its share, so that each stretch of a block
 * holds the groups as evenly as can be. */
static int lay_out(struct order *o, struct pesc_error *err)
{
    long *drawn = calloc((size_t)o->n_groups, sizeof *drawn);
    o->slot = malloc((size_t)o->block * sizeof *o->slot);
    if (!drawn || !o->slot) {
        free(drawn);
        return FAIL(err, MEMORY, "no memory for %ld weights", o->n_groups);
    }
    for (long i = 0; i < o->block; i++) {
        long most = 0, behind = 0;
        for (long g = 0; g < o->n_groups; g++) {
            long by = o->group[g].quota * (i + 1) - o->block * drawn[g];
            if (g == 0 || by > behind) {
                most = g;
                behind = by;
            }
        }
        o->slot[i] = (struct order_slot){(uint16_t)most, (uint16_t)drawn[most]++};
    }
    free(drawn);
    return 0;
}

int order_open(struct order *o, const struct dataset *d, enum data_order kind, uint64_t seed,
               const char *weights, struct pesc_error *err)
{
    *o = (struct order){.n = dataset_size(d), .kind = kind, .seed = seed};
    if (!weights)
        return 0;
    o->n_groups = dataset_path_count(d);
    o->group = calloc((size_t)o->n_groups, sizeof *o->group);
    double *share = calloc((size_t)o->n_groups, sizeof *share);
    int rc = -1;
    if (!o->group || !share) {
        FAIL(err, MEMORY, "no memory for %ld weights", o->n_groups);
        goto done;
    }
    for (long g = 0; g < o->n_groups; g++) {
        dataset_path_samples(d, g, &o->group[g].first, &o->group[g].n);
        o->group[g].key = key_of(seed, (uint32_t)g);
    }
    TRY_OR(read_shares(o, weights, share, err), done);
    TRY_OR(choose_block(o, share, err), done);
    set_quotas(o, share);
    TRY_OR(lay_out(o, err), done);
    rc = 0;
done:
    free(share);
    return rc;
}

void order_close(struct order *o)
{
    free(o->group);
    free(o->slot);
}

long order_place(const struct order *o, long epoch, long i)
{
    int shuffled = o->kind == ORDER_SHUFFLED;
    if (!o->group)
        return shuffled ? (long)rng_permute(o->seed, (uint64_t)epoch, (uint64_t)i, (uint64_t)o->n)
                        : i;
    long at = epoch * o->n + i;
    struct order_slot slot = o->slot[at % o->block];
    const struct order_group *g = &o->group[slot.group];
    long drawn = at / o->block * g->quota + slot.rank, turn = drawn / g->n, k = drawn % g->n;
    return g->first +
           (shuffled ? (long)rng_permute(g->key, (uint64_t)turn, (uint64_t)k, (uint64_t)g->n) : k);
}
