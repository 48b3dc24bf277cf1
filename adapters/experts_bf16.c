/* The experts with bf16 factors: blocks of an expert's rows go through down-projection, GELU and
 * up-projection while they are in the cache, and nothing of size [R,D] is ever in memory. Experts
 * come one after the other and a token is in one block of an expert, so what adds to a token's row
 * adds in the order of the experts, whatever the threads. Kept for the backward pass are z and pre;
 * with g = Up_e^T dy also the routing weights' gradient needs no output: dy . A_e(z) = act . g. */
#include "config.h"
#include "adapters/experts.h"
#include "core/isa.h"
#include "tensor/dtype.h"
#include "tensor/tile_bf16.h"

#include <string.h>

/* Rows of a block: as many as keep its tiles in the second-level cache. COLS: of a tile's results.
 * PAIRS: of rows, in a sum over an expert's rows. */
enum { ROWS = 48, COLS = 64, PAIRS = 256, TILE_WORDS = 48 << 10, WIDEST_DIM = 1024 };

static long up_to(long n, long step)
{
    return (n + step - 1) / step * step;
}

/* The widths of words and of padded columns. */
struct widths {
    long d2, a2;   /* pairs of D and of A */
    long d16, a16; /* columns */
};

static struct widths widths_of(long D, long A)
{
    return (struct widths){(D + 1) / 2, (A + 1) / 2, up_to(D, BF16_COLS), up_to(A, BF16_COLS)};
}

static long block_rows(const struct widths *w)
{
    long wide = w->d2 > w->a16 ? w->d2 : w->a16, n = TILE_WORDS / wide / 6 * 6;
    return n > ROWS ? ROWS : n;
}

int experts_bf16_fit(const struct moe_config *c, long D)
{
    struct widths w = widths_of(D, c->dim);
    return isa_avx512_bf16() && c->dim <= WIDEST_DIM && block_rows(&w) >= 6;
}

void experts_bf16_layout(struct moe_saved *s, struct arena *a, long T, long D,
                         const struct moe_config *c)
{
    struct widths w = widths_of(D, c->dim);
    s->zb = arena_alloc(a, (size_t)(T * w.d2), sizeof *s->zb);
}

/* One layer's matrices as B of a product, those with A columns first. */
static size_t packed_words(long D, const struct moe_config *c)
{
    struct widths w = widths_of(D, c->dim);
    return (size_t)c->experts * (size_t)(w.d2 * w.a16 + w.a2 * w.d16);
}

void experts_bf16_work(struct moe_saved *s, struct arena *a, long D, const struct moe_config *c)
{
    s->packed = arena_alloc(a, packed_words(D, c), sizeof *s->packed);
}

struct scratch {
    uint32_t *packed;
    uint32_t *dy;         /* [T,d2] */
    uint32_t *act, *gact; /* [pairs of rows, a16]: scaling w act, and the gradient of pre */
};

/* Where expert e's pairs of rows begin: each expert begins a pair, so there is at most one more for
 * each. */
static long first_pair(const struct moe_saved *s, long e)
{
    return (s->offset[e] + e + 1) / 2;
}

static int scratch_layout(struct scratch *b, struct arena *a, long T, long D,
                          const struct moe_config *c)
{
    struct widths w = widths_of(D, c->dim);
    size_t pairs = (size_t)((T * c->top_k + c->experts + 1) / 2 + 1);
    b->packed = arena_alloc(a, packed_words(D, c), sizeof *b->packed);
    b->dy = arena_alloc(a, (size_t)(T * w.d2), sizeof *b->dy);
    b->act = arena_alloc(a, pairs * (size_t)w.a16, sizeof *b->act);
    b->gact = arena_alloc(a, pairs * (size_t)w.a16, sizeof *b->gact);
    return b->packed && b->dy && b->act && b->gact ? 0 : -1;
}

void experts_bf16_scratch(struct arena *a, long T, long D, const struct moe_config *c)
{
    struct scratch b;
    (void)scratch_layout(&b, a, T, D, c);
}

/* Rounds x[T,D] to rows of words, and copies it where it has to be somewhere else. Within a
 * parallel region. */
static void round_rows(uint32_t *words, float *copy, const float *x, long T, long D, long d2)
{
#pragma omp for schedule(static)
    for (long t = 0; t < T; t++) {
        tile_bf16_rows(words + t * d2, d2, x + t * D, D, 1, D);
        if (copy && copy != x)
            memcpy(copy + t * D, x + t * D, (size_t)D * sizeof *x);
    }
}

static HOT void widen(float *restrict dst, const uint16_t *restrict src, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++) {
        union {
            uint32_t u;
            float f;
        } x = {(uint32_t)src[i] << 16};
        dst[i] = x.f;
    }
}

/* Columns from..from+n-1 of the expert's input of a token, dropped out, as bf16; from is even. */
static void input_part(uint16_t *dst, const struct experts_pass *p, const uint32_t *row, long e,
                       long t, long from, long n)
{
    enum { PART = 512 };
    const uint16_t *src = (const uint16_t *)row + from;
    for (long i = 0; i < n; i += PART) {
        float x[PART];
        long m = n - i < PART ? n - i : PART;
        widen(x, src + i, m);
        dropout_apply(x, &p->drop, e, t, p->D, from + i, m);
        dtype_from_f32(dst + i, x, DT_BF16, (size_t)m);
    }
    if (n % 2)
        dst[n] = 0;
}

/* The rows' inputs of expert e into a tile. */
static void gather(uint32_t *tile, const struct experts_pass *p, const uint32_t *rows, long e,
                   long at, long n, long d2, int drop)
{
    for (long r = 0; r < n; r++) {
        long t = p->s->row_token[at + r];
        if (drop && p->drop.on)
            input_part((uint16_t *)(tile + r * d2), p, rows + t * d2, e, t, 0, p->D);
        else
            memcpy(tile + r * d2, rows + t * d2, (size_t)d2 * sizeof *tile);
    }
}

/* y += by x where x is not 0: untrained adapters change no bit, not even the sign of a zero. */
static HOT void add_row(float *restrict y, const float *restrict x, float by, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        y[i] = x[i] == 0 ? y[i] : y[i] + by * x[i];
}

static HOT void scale(float *x, float by, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        x[i] *= by;
}

static float row_weight(const struct experts_pass *p, long row)
{
    const struct moe_saved *s = p->s;
    return (float)p->c->scaling * s->w[s->row_token[row] * p->c->top_k + s->row_slot[row]];
}

/* The rows' results in the tile's columns: A x B, a piece of COLS columns at a time, added to their
 * tokens' rows. weighted: by the routing weight. */
static void spread(float *y, const struct experts_pass *p, const uint32_t *A, long a_row,
                   const uint32_t *B, long e, long at, long n, long K, int back)
{
    struct widths w = widths_of(p->D, p->c->dim);
    _Alignas(64) float tile[ROWS * COLS];
    for (long d = 0; d < w.d16; d += COLS) {
        long wide = w.d16 - d < COLS ? w.d16 - d : COLS, cols = p->D - d < wide ? p->D - d : wide;
        tile_bf16_mm(tile, COLS, A, a_row, 1, B + d, w.d16, n, wide, K, 0);
        for (long r = 0; r < n; r++) {
            long t = p->s->row_token[at + r];
            if (back && p->drop.on)
                dropout_apply(tile + r * COLS, &p->drop, e, t, p->D, d, cols);
            add_row(y + t * p->D + d, tile + r * COLS, back ? 1.0f : row_weight(p, at + r), cols);
        }
    }
}

static void fwd_block(const struct experts_pass *p, float *y, const uint32_t *dn,
                      const uint32_t *up, long e, long at, long n)
{
    struct widths w = widths_of(p->D, p->c->dim);
    long A = p->c->dim;
    _Alignas(64) uint32_t in[TILE_WORDS];
    _Alignas(64) float pre[TILE_WORDS];
    uint32_t *act = in; /* the inputs are used up by then */
    in[0] = 0;          /* compilers do not see that there are rows */
    gather(in, p, p->s->zb, e, at, n, w.d2, 1);
    tile_bf16_mm(pre, w.a16, in, w.d2, 1, dn, w.a16, n, w.a16, w.d2, 0);
    for (long r = 0; r < n; r++) {
        memcpy(p->s->pre + (at + r) * A, pre + r * w.a16, (size_t)A * sizeof *pre);
        if (y)
            gelu(pre + r * w.a16, p->s->pre + (at + r) * A, A);
    }
    if (!y)
        return;
    tile_bf16_rows(act, w.a2, pre, w.a16, n, A);
    spread(y, p, act, w.a2, up, e, at, n, w.a2, 0);
}

void experts_fwd_bf16(const struct experts_pass *p, float *y, const float *z)
{
    const struct moe_saved *s = p->s;
    struct widths w = widths_of(p->D, p->c->dim);
    long E = p->c->experts, A = p->c->dim, D = p->D, rows = block_rows(&w);
    uint32_t *dn = s->packed, *up = s->packed + E * w.d2 * w.a16;
#pragma omp parallel
    {
        round_rows(s->zb, y, z, p->T, D, w.d2);
#pragma omp for schedule(static)
        for (long i = 0; i < 2 * E; i++) {
            if (s->offset[i / 2] == s->offset[i / 2 + 1])
                continue;
            if (i % 2)
                tile_bf16_rows_t(up + i / 2 * w.a2 * w.d16, w.d16, p->W->Up + i / 2 * D * A, A, D,
                                 A);
            else
                tile_bf16_rows_t(dn + i / 2 * w.d2 * w.a16, w.a16, p->W->Dn + i / 2 * A * D, D, A,
                                 D);
        }
        for (long e = 0; e < E; e++) {
            long from = s->offset[e], end = s->offset[e + 1];
#pragma omp for schedule(dynamic)
            for (long at = from; at < end; at += rows)
                fwd_block(p, y, dn + e * w.d2 * w.a16, up + e * w.a2 * w.d16, e, at,
                          end - at < rows ? end - at : rows);
        }
    }
}

/* Two neighbouring rows of a sum over rows, or one and zeros. */
static void put_pair(uint32_t *dst, const float *rows, long ld, int both, long a16, long A)
{
    tile_bf16_pairs(dst, a16, rows, ld, both ? 2 : 1, A);
}

static void bwd_block(const struct experts_pass *p, struct scratch *b, float *dz, float *dw,
                      const uint32_t *up, const uint32_t *dn, long e, long at, long n)
{
    const struct moe_saved *s = p->s;
    struct widths w = widths_of(p->D, p->c->dim);
    long A = p->c->dim, pair = first_pair(s, e) + (at - s->offset[e]) / 2;
    _Alignas(64) uint32_t in[TILE_WORDS];
    _Alignas(64) float g[TILE_WORDS], act[2 * (WIDEST_DIM + BF16_COLS)];
    in[0] = 0; /* compilers do not see that there are rows */
    gather(in, p, b->dy, e, at, n, w.d2, 0);
    tile_bf16_mm(g, w.a16, in, w.d2, 1, up, w.a16, n, w.a16, w.d2, 0);
    for (long r = 0; r < n; r++) {
        const float *pre = s->pre + (at + r) * A;
        float *a = act + r % 2 * w.a16, *gr = g + r * w.a16, by = row_weight(p, at + r);
        gelu(a, pre, A);
        dw[s->row_token[at + r] * p->c->top_k + s->row_slot[at + r]] =
            (float)(p->c->scaling * moe_dot(a, gr, A));
        scale(a, by, A);
        scale(gr, by, A);
        gelu_bwd(gr, pre, A);
        if (r % 2 || r + 1 == n)
            put_pair(b->act + (pair + r / 2) * w.a16, act, w.a16, r % 2 == 1, w.a16, A);
    }
    tile_bf16_pairs(b->gact + pair * w.a16, w.a16, g, w.a16, n, A);
    tile_bf16_rows(in, w.a2, g, w.a16, n, A);
    spread(dz, p, in, w.a2, dn, e, at, n, w.a2, 1);
}

/* Pairs k.. of the expert's rows, of COLS columns from d: words at dst[k * COLS]. */
static void pair_columns(uint32_t *dst, const struct experts_pass *p, const uint32_t *rows, long e,
                         long at, long n, long d, long cols, int drop)
{
    struct widths w = widths_of(p->D, p->c->dim);
    uint16_t part[2][COLS + 2];
    for (long r = 0; r < n; r += 2) {
        const uint16_t *x[2] = {NULL, NULL};
        for (long i = 0; i < 2 && r + i < n; i++) {
            long t = p->s->row_token[at + r + i];
            x[i] = (const uint16_t *)(rows + t * w.d2) + d;
            if (drop && p->drop.on) {
                input_part(part[i], p, rows + t * w.d2, e, t, d, cols);
                x[i] = part[i];
            }
        }
        tile_bf16_zip(dst + r / 2 * COLS, x[0], x[1], cols);
    }
}

static HOT void add_tile(float *restrict dst, long row, const float *restrict src, long ld,
                         long rows, long cols)
{
    for (long r = 0; r < rows; r++)
#pragma omp simd
        for (long i = 0; i < cols; i++)
            dst[r * row + i] += src[r * ld + i];
}

/* Columns d.. of an expert's gradients: dUp[d,a] += dy^T act, dDn[a,d] += gact^T z, sums over the
 * expert's rows. */
static void weights_part(const struct experts_pass *p, const struct scratch *b,
                         struct moe_weights *dW, long e, long d)
{
    const struct moe_saved *s = p->s;
    struct widths w = widths_of(p->D, p->c->dim);
    long A = p->c->dim, D = p->D, cols = D - d < COLS ? D - d : COLS;
    _Alignas(64) uint32_t x[PAIRS * COLS];
    _Alignas(64) float sum[COLS * COLS];
    for (long at = s->offset[e]; at < s->offset[e + 1]; at += 2 * PAIRS) {
        long n = s->offset[e + 1] - at < 2 * PAIRS ? s->offset[e + 1] - at : 2 * PAIRS;
        long pair = first_pair(s, e) + (at - s->offset[e]) / 2, K = (n + 1) / 2;
        if (cols < COLS)
            memset(x, 0, sizeof x);
        pair_columns(x, p, b->dy, e, at, n, d, cols, 0);
        for (long a = 0; dW->Up && a < w.a16; a += COLS) {
            long wide = w.a16 - a < COLS ? w.a16 - a : COLS;
            tile_bf16_mm(sum, COLS, x, 1, COLS, b->act + pair * w.a16 + a, w.a16, cols, wide, K, 0);
            add_tile(dW->Up + (e * D + d) * A + a, A, sum, COLS, cols, A - a < wide ? A - a : wide);
        }
        pair_columns(x, p, s->zb, e, at, n, d, cols, 1);
        for (long a = 0; dW->Dn && a < A; a += COLS) {
            long high = A - a < COLS ? A - a : COLS;
            tile_bf16_mm(sum, COLS, b->gact + pair * w.a16 + a, 1, w.a16, x, COLS, high,
                         up_to(cols, BF16_COLS), K, 0);
            add_tile(dW->Dn + (e * A + a) * D + d, D, sum, COLS, high, cols);
        }
    }
}

int experts_bwd_bf16(const struct experts_pass *p, float *dz, float *dw, struct moe_weights *dW,
                     const float *dy, struct arena *scratch)
{
    const struct moe_saved *s = p->s;
    struct widths w = widths_of(p->D, p->c->dim);
    long E = p->c->experts, A = p->c->dim, D = p->D, rows = block_rows(&w);
    long parts = (D + COLS - 1) / COLS;
    size_t mark = arena_mark(scratch);
    struct scratch b;
    if (scratch_layout(&b, scratch, p->T, D, p->c) != 0) {
        arena_reset(scratch, mark);
        return -1;
    }
    uint32_t *up = b.packed, *dn = b.packed + E * w.d2 * w.a16;
#pragma omp parallel
    {
        round_rows(b.dy, dz, dy, p->T, D, w.d2);
#pragma omp for schedule(static)
        for (long i = 0; i < 2 * E; i++) {
            if (s->offset[i / 2] == s->offset[i / 2 + 1])
                continue;
            if (i % 2)
                tile_bf16_pairs(dn + i / 2 * w.a2 * w.d16, w.d16, p->W->Dn + i / 2 * A * D, D, A,
                                D);
            else
                tile_bf16_pairs(up + i / 2 * w.d2 * w.a16, w.a16, p->W->Up + i / 2 * D * A, A, D,
                                A);
        }
        for (long e = 0; e < E; e++) {
            long from = s->offset[e], end = s->offset[e + 1];
#pragma omp for schedule(dynamic)
            for (long at = from; at < end; at += rows)
                bwd_block(p, &b, dz, dw, up + e * w.d2 * w.a16, dn + e * w.a2 * w.d16, e, at,
                          end - at < rows ? end - at : rows);
        }
        if (dW->Up || dW->Dn) {
#pragma omp for schedule(dynamic)
            for (long i = 0; i < E * parts; i++)
                weights_part(p, &b, dW, i / parts, i % parts * COLS);
        }
    }
    arena_reset(scratch, mark);
    return 0;
}
