#include "config.h"
#include "tensor/kernels.h"
#include "tensor/vecmath.h"

enum { CHUNK = 4096 };

static HOT void fwd_chunk(float *restrict act, const float *restrict g, const float *restrict u,
                          long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++)
        act[i] = g[i] * vm_sigmoid(g[i]) * u[i];
}

void swiglu_fwd(float *act, const float *g, const float *u, long n)
{
#pragma omp parallel for schedule(static) if (n > CHUNK)
    for (long i = 0; i < n; i += CHUNK)
        fwd_chunk(act + i, g + i, u + i, n - i < CHUNK ? n - i : CHUNK);
}

/* d silu(g) / dg = s + g s (1 - s).  Outputs may be the inputs' memory, so no restrict: every
 * element is read before it is written. */
static HOT void bwd_chunk(float *dg, float *du, const float *dact, const float *g, const float *u,
                          long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++) {
        float gi = g[i], ui = u[i], di = dact[i], s = vm_sigmoid(gi);
        dg[i] = di * ui * (s + gi * s * (1.0f - s));
        du[i] = di * gi * s;
    }
}

void swiglu_bwd(float *dg, float *du, const float *dact, const float *g, const float *u, long n)
{
#pragma omp parallel for schedule(static)
    for (long i = 0; i < n; i += CHUNK)
        bwd_chunk(dg + i, du + i, dact + i, g + i, u + i, n - i < CHUNK ? n - i : CHUNK);
}

static HOT void fwd_chunk_bf16(uint16_t *restrict act, const uint16_t *restrict g,
                               const uint16_t *restrict u, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++) {
        float gi = vm_widen(g[i]);
        act[i] = vm_narrow(gi * vm_sigmoid(gi) * vm_widen(u[i]));
    }
}

void swiglu_fwd_bf16(uint16_t *act, const uint16_t *g, const uint16_t *u, long n)
{
#pragma omp parallel for schedule(static)
    for (long i = 0; i < n; i += CHUNK)
        fwd_chunk_bf16(act + i, g + i, u + i, n - i < CHUNK ? n - i : CHUNK);
}

static HOT void bwd_chunk_bf16(uint16_t *dg, uint16_t *du, const uint16_t *dact, const uint16_t *g,
                               const uint16_t *u, long n)
{
#pragma omp simd
    for (long i = 0; i < n; i++) {
        float gi = vm_widen(g[i]), ui = vm_widen(u[i]), di = vm_widen(dact[i]), s = vm_sigmoid(gi);
        dg[i] = vm_narrow(di * ui * (s + gi * s * (1.0f - s)));
        du[i] = vm_narrow(di * gi * s);
    }
}

void swiglu_bwd_bf16(uint16_t *dg, uint16_t *du, const uint16_t *dact, const uint16_t *g,
                     const uint16_t *u, long n)
{
#pragma omp parallel for schedule(static)
    for (long i = 0; i < n; i += CHUNK)
        bwd_chunk_bf16(dg + i, du + i, dact + i, g + i, u + i, n - i < CHUNK ? n - i : CHUNK);
}
