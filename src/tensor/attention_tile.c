#include "config.h"
#include "core/isa.h"
#include "tensor/attention_tile.h"
#include "tensor/tile_f32.h"
#include "tensor/vecmath.h"

#include <string.h>

typedef float lanes __attribute__((vector_size(64), aligned(4), may_alias));

/* Six accumulators, one load and six broadcasts per step: enough independent sums to hide the
 * latency of a fused multiply-add, few enough for 16 registers. */
static HOT void mm(float *C, long ldc, const float *A, long a_row, long a_col, const float *B,
                   long ldb, long M, long N, long K, int add)
{
    for (long m = 0; m < M; m += 6) {
        for (long n = 0; n < N; n += LANES) {
            const float *a = A + m * a_row, *b = B + n;
            float *c = C + m * ldc + n;
            lanes c0 = {0}, c1 = {0}, c2 = {0}, c3 = {0}, c4 = {0}, c5 = {0};
            for (long k = 0; k < K; k++, a += a_col, b += ldb) {
                lanes x = *(const lanes *)b;
                c0 += a[0] * x;
                c1 += a[a_row] * x;
                c2 += a[2 * a_row] * x;
                c3 += a[3 * a_row] * x;
                c4 += a[4 * a_row] * x;
                c5 += a[5 * a_row] * x;
            }
            if (add) {
                c0 += *(const lanes *)c;
                c1 += *(const lanes *)(c + ldc);
                c2 += *(const lanes *)(c + 2 * ldc);
                c3 += *(const lanes *)(c + 3 * ldc);
                c4 += *(const lanes *)(c + 4 * ldc);
                c5 += *(const lanes *)(c + 5 * ldc);
            }
            *(lanes *)c = c0;
            *(lanes *)(c + ldc) = c1;
            *(lanes *)(c + 2 * ldc) = c2;
            *(lanes *)(c + 3 * ldc) = c3;
            *(lanes *)(c + 4 * ldc) = c4;
            *(lanes *)(c + 5 * ldc) = c5;
        }
    }
}

void tile_mm(float *C, long ldc, const float *A, long a_row, long a_col, const float *B, long ldb,
             long M, long N, long K, int add)
{
    if (isa_avx512() || !isa_avx2()) { /* vectors of 16, or whatever the compiler makes of them */
        mm(C, ldc, A, a_row, a_col, B, ldb, M, N, K, add);
        return;
    }
    for (long n = 0; n < N; n += LANES)
        tile_f32_mm(C + n, ldc, A, a_row, a_col, B + n, ldb, M, K, add);
}

HOT void tile_load(float *dst, long ld, const float *src, long stride, long rep, long f0, long n,
                   long pad_rows, long C, float scale)
{
    for (long r = 0; r < n; r++) {
        const float *s = src + (f0 + r) / rep * stride + (f0 + r) % rep * C;
        float *d = dst + r * ld;
#pragma omp simd
        for (long c = 0; c < C; c++)
            d[c] = s[c] * scale;
        for (long c = C; c < ld; c++)
            d[c] = 0;
    }
    if (pad_rows > n)
        memset(dst + n * ld, 0, (size_t)((pad_rows - n) * ld) * sizeof *dst);
}

HOT void tile_load_t(float *dst, const float *src, long stride, long f0, long n, long C)
{
    for (long r = 0; r < n; r++) {
        const float *s = src + (f0 + r) * stride;
        for (long c = 0; c < C; c++)
            dst[c * TILE_KEYS + r] = s[c];
    }
    for (long c = 0; c < C; c++)
        for (long r = n; r < TILE_KEYS; r++)
            dst[c * TILE_KEYS + r] = 0;
}

HOT void tile_store(float *dst, long stride, long rep, long f0, long n, long C, const float *src,
                    long ld, const float *factor, float scale)
{
    for (long r = 0; r < n; r++) {
        float *d = dst + (f0 + r) / rep * stride + (f0 + r) % rep * C;
        const float *s = src + r * ld;
        float x = factor ? factor[r] : scale;
#pragma omp simd
        for (long c = 0; c < C; c++)
            d[c] = s[c] * x;
    }
}

static int clamp(long x, long top)
{
    return (int)(x < 0 ? 0 : x > top ? top : x);
}

void tile_band(int *lo, int *hi, long rep, long f0, long n, long pad_rows, long shift, long window,
               long k0, long nk)
{
    for (long r = 0; r < pad_rows; r++) {
        long at = (f0 + r) / rep + shift - k0;
        lo[r] = r < n && window > 0 ? clamp(at - window + 1, TILE_KEYS) : 0;
        hi[r] = r < n ? clamp(at < nk - k0 ? at + 1 : nk - k0, TILE_KEYS) : 0;
    }
}
