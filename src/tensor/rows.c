/* Embedding rows and sums over long vectors. */
#include "config.h"
#include "tensor/kernels.h"

#include "tensor/dtype.h"

#include <string.h>

enum { COLS = 256, CHUNK = 4096, PARTS = 1024 };

void embed_fwd(float *x, const float *table, const int32_t *ids, long T, long D)
{
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++)
        memcpy(x + t * D, table + ids[t] * D, (size_t)D * sizeof *x);
}

static HOT void add_chunk(float *restrict y, const float *restrict x, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        y[i] += x[i];
}

/* A thread owns columns, not rows: tokens that share an id are added in order. */
void embed_bwd(float *dtable, const float *dx, const int32_t *ids, long T, long D)
{
#pragma omp parallel for schedule(static)
    for (long d = 0; d < D; d += COLS)
        for (long t = 0; t < T; t++)
            add_chunk(dtable + ids[t] * D + d, dx + t * D + d, D - d < COLS ? D - d : COLS);
}

void add_to(float *y, const float *x, long n)
{
#pragma omp parallel for schedule(static) if (n > CHUNK)
    for (long i = 0; i < n; i += CHUNK)
        add_chunk(y + i, x + i, n - i < CHUNK ? n - i : CHUNK);
}

static HOT double square_chunk(const float *restrict x, long n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

/* Pairwise over chunks; the split depends on n alone. */
static double square_tree(const float *x, long n)
{
    if (n <= CHUNK)
        return square_chunk(x, n);
    long half = CHUNK;
    while (2 * half < n)
        half *= 2;
    return square_tree(x, half) + square_tree(x + half, n - half);
}

double sum_squares(const float *x, long n)
{
    double part[PARTS];
    long size = CHUNK, parts;
    while (size * PARTS < n)
        size *= 2;
    parts = (n + size - 1) / size;
#pragma omp parallel for schedule(static)
    for (long p = 0; p < parts; p++)
        part[p] = square_tree(x + p * size, n - p * size < size ? n - p * size : size);
    for (long step = 1; step < parts; step *= 2)
        for (long p = 0; p + step < parts; p += 2 * step)
            part[p] += part[p + step];
    return parts > 0 ? part[0] : 0;
}

void round_rows(uint16_t *y, const float *x, long T, long D)
{
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++)
        dtype_from_f32(y + t * D, x + t * D, DT_BF16, (size_t)D);
}
