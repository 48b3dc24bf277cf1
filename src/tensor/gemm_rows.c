/* Whether a row of a product depends on its place or on its neighbours: tried, since how a library
 * cuts up a product is its own affair. */
#include "config.h"
#include "core/xxh64.h"
#include "tensor/gemm_state.h"

#include <stdlib.h>

/* Numbers of both signs and several sizes, as activations have. */
static float number_at(long i)
{
    uint32_t h = (uint32_t)i * 2654435761u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    return (float)((double)(int32_t)h * 0x1p-31 * (h & 16 ? 8 : 1));
}

/* The product of so many rows, each row standing by places further down, those from some on being
 * zero: into in and out. */
static void try_rows(struct gemm *g, const struct wmat *W, long rows, long by, long some)
{
    for (long r = 0; r < rows; r++) {
        float *x = g->in + (r + by) % rows * W->K;
        for (long k = 0; k < W->K; k++)
            x[k] = r < some ? number_at(r * W->K + k) : 0;
    }
    linear_fwd(g, g->out, g->in, W, NULL, rows);
}

int linear_rows_alone(struct gemm *g, const struct wmat *W, long rows, int *alone,
                      struct pesc_error *err)
{
    static const long turns[] = {0, 1, 7, 13};
    long was = g->rows;
    uint64_t *sum = calloc((size_t)rows, sizeof *sum);
    *alone = 1;
    if (!sum)
        return FAIL(err, MEMORY, "no memory to try %ld rows of a product", rows);
    if (gemm_reserve_rows(g, rows, W->K, W->N, err) != 0) {
        free(sum);
        return -1;
    }
    gemm_set_rows(g, rows);
    for (size_t i = 0; i < sizeof turns / sizeof *turns && *alone; i++) {
        long by = turns[i] % rows, some = rows - turns[i] / 2 % rows;
        try_rows(g, W, rows, by, some);
        for (long r = 0; r < some && !g->failed; r++) {
            struct xxh64 h;
            xxh64_init(&h);
            xxh64_add(&h, g->out + (r + by) % rows * W->N, (size_t)W->N * sizeof *g->out);
            if (i == 0)
                sum[r] = xxh64_end(&h);
            else if (sum[r] != xxh64_end(&h))
                *alone = 0;
        }
    }
    gemm_set_rows(g, was);
    free(sum);
    return gemm_check(g, err);
}
