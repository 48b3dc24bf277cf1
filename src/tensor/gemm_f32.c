/* Products of floats where the CPU has AVX2 and no AVX-512, frozen weights' and all others: as
 * gemm_own.c's, a sum depends on nothing but its factors - not on the rows beside it, nor on the
 * number of threads, as oneDNN's do there. */
#include "config.h"
#include "tensor/gemm_own.h"
#include "tensor/gemm_state.h"
#include "tensor/tile_f32.h"

#include <omp.h>
#include <string.h>

/* At most; a block of B (288 KiB) stays in the second-level cache, a panel of 16 of its columns and
 * six rows of A in the first one. */
enum { COLUMNS = 192, ROWS = 48, DEPTH = 384, A_LD = DEPTH + F32_COLS };
enum { WORTH_THREADS = 1 << 15 }; /* multiplications */

/* Pieces of n that are as even as can be, none longer than most. */
static long even(long n, long most, long step)
{
    long pieces = (n + most - 1) / most, piece = (n + pieces - 1) / pieces;
    return (piece + step - 1) / step * step;
}

struct strip {
    _Alignas(64) float a[ROWS * A_LD];
    long row, step;
};

/* Rows r.. of A, from k on, end to end: as they lie they may be too many pages and too few sets. */
static void take(struct strip *s, const struct own_floats *p, long r, long rows, long k, long depth)
{
    const float *A = p->A + r * p->a_row + k * p->a_step;
    s->row = p->a_step == 1 ? A_LD : 1;
    s->step = p->a_step == 1 ? 1 : ROWS;
    if (p->a_step == 1)
        for (long m = 0; m < rows; m++)
            memcpy(s->a + m * A_LD, A + m * p->a_row, (size_t)depth * sizeof *A);
    else
        for (long i = 0; i < depth; i++)
            memcpy(s->a + i * ROWS, A + i * p->a_step, (size_t)rows * sizeof *A);
}

/* Sixteen columns of the results of a strip. */
static void panel(const struct strip *s, float *C, long c_row, const float *B, long rows, long cols,
                  long depth, int add)
{
    _Alignas(64) float tile[ROWS * F32_COLS];
    if (cols >= F32_COLS) {
        tile_f32_mm(C, c_row, s->a, s->row, s->step, B, F32_COLS, rows, depth, add);
        return;
    }
    for (long m = 0; m < rows && add; m++)
        memcpy(tile + m * F32_COLS, C + m * c_row, (size_t)cols * sizeof *C);
    tile_f32_mm(tile, F32_COLS, s->a, s->row, s->step, B, F32_COLS, rows, depth, add);
    for (long m = 0; m < rows; m++)
        memcpy(C + m * c_row, tile + m * F32_COLS, (size_t)cols * sizeof *C);
}

static void strips(const void *product, void *room, long n, long from, long end)
{
    const struct own_floats *p = product;
    float *B = room;
    struct strip s;
    long block = even(p->N, COLUMNS, F32_COLS), most = even(p->K, DEPTH, 8);
    long columns = p->N - n < block ? p->N - n : block;
    for (long k = 0; k < p->K; k += most) {
        long depth = p->K - k < most ? p->K - k : most;
        int add = p->add || k > 0;
        for (long c = 0; c < columns; c += F32_COLS)
            tile_f32_pack(B + c * DEPTH,
                          p->w + (p->by_rows ? (n + c) * p->w_row + k : k * p->w_row + n + c),
                          p->w_row, p->by_rows, depth, columns - c);
        for (long i = from; i < end; i++) {
            long r = i * ROWS, rows = p->M - r < ROWS ? p->M - r : ROWS;
            take(&s, p, r, rows, k, depth);
            for (long c = 0; c < columns; c += F32_COLS)
                panel(&s, p->C + r * p->c_row + n + c, p->c_row, B + c * DEPTH, rows, columns - c,
                      depth, add);
        }
    }
}

size_t gemm_floats_bytes(void)
{
    return gemm_own_usable(sizeof(float))
               ? (size_t)(COLUMNS * DEPTH) * sizeof(float) * (size_t)omp_get_max_threads()
               : 0;
}

void gemm_own_floats(struct gemm *g, const struct own_floats *p)
{
    struct blocks b = {.M = p->M,
                       .N = p->N,
                       .rows = ROWS,
                       .columns = even(p->N, COLUMNS, F32_COLS),
                       .room = (size_t)(COLUMNS * DEPTH) * sizeof(float),
                       .alone = p->M * p->N < WORTH_THREADS / p->K,
                       .block = strips};
    gemm_blocks(g, &b, p);
    gemm_count(g, p->M, p->N, p->K);
}
