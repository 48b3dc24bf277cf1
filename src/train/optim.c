#include "config.h"
#include "train/optim.h"

#include "tensor/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 16384, ALIGN = 64 };

static float *state(size_t n)
{
    size_t bytes = (n * sizeof(float) + ALIGN) / ALIGN * ALIGN;
    float *x = aligned_alloc(ALIGN, bytes);
    if (x)
        memset(x, 0, bytes);
    return x;
}

static int in_range(double x, double low, double below)
{
    return isfinite(x) && x >= low && x < below;
}

int adamw_init(struct adamw *a, const struct adamw_options *o, size_t n, struct pesc_error *err)
{
    memset(a, 0, sizeof *a);
    if (!in_range(o->beta1, 0, 1) || !in_range(o->beta2, 0, 1))
        return FAIL(err, USAGE_VALUE, "AdamW betas %g, %g: each must be at least 0 and below 1",
                    o->beta1, o->beta2);
    if (!in_range(o->eps, 0, INFINITY) || o->eps == 0)
        return FAIL(err, USAGE_VALUE, "AdamW eps %g: must be above 0", o->eps);
    if (!in_range(o->weight_decay, 0, INFINITY))
        return FAIL(err, USAGE_VALUE, "weight decay %g: must not be negative", o->weight_decay);
    a->o = *o;
    a->n = n;
    a->m = state(n);
    a->v = state(n);
    if (!a->m || !a->v) {
        adamw_free(a);
        return FAIL(err, MEMORY, "no memory for the optimiser state of %zu parameters", n);
    }
    return 0;
}

void adamw_free(struct adamw *a)
{
    free(a->m);
    free(a->v);
    memset(a, 0, sizeof *a);
}

struct factors {
    float keep; /* 1 - lr * weight_decay */
    float beta1, rest1, beta2, rest2;
    float rate, root2, eps, scale;
};

HOT static void update(float *restrict p, float *restrict m, float *restrict v,
                       const float *restrict g, long n, float keep, const struct factors *f)
{
    const float beta1 = f->beta1, rest1 = f->rest1, beta2 = f->beta2, rest2 = f->rest2;
    const float rate = f->rate, root2 = f->root2, eps = f->eps, scale = f->scale;
#pragma omp simd
    for (long i = 0; i < n; i++) {
        float gi = g[i] * scale;
        float mi = beta1 * m[i] + rest1 * gi;
        float vi = beta2 * v[i] + rest2 * gi * gi;
        m[i] = mi;
        v[i] = vi;
        p[i] = p[i] * keep - rate * mi / (sqrtf(vi) * root2 + eps);
    }
}

/* The last tensor that begins at or before a place in the flat vector. */
static long param_at(const struct params *ps, size_t place)
{
    long low = 0, high = ps->count - 1;
    while (low < high) {
        long mid = (low + high + 1) / 2;
        if (ps->p[mid].offset <= place)
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}

static void update_chunk(struct adamw *a, struct params *ps, size_t from, size_t to,
                         const struct factors *f)
{
    for (long i = param_at(ps, from); from < to; i++) {
        const struct param *p = &ps->p[i];
        size_t end = p->offset + p->n < to ? p->offset + p->n : to;
        float keep = a->o.decay == DECAY_ALL || p->ndim >= 2 ? f->keep : 1.0f;
        if (!p->frozen)
            update(ps->value + from, a->m + from, a->v + from, ps->grad + from, (long)(end - from),
                   keep, f);
        from = end;
    }
}

void adamw_step(struct adamw *a, struct params *ps, double lr, double grad_scale)
{
    long t = ++a->updates;
    double correct1 = 1 - pow(a->o.beta1, (double)t), correct2 = 1 - pow(a->o.beta2, (double)t);
    struct factors f = {.keep = (float)(1 - lr * a->o.weight_decay),
                        .beta1 = (float)a->o.beta1,
                        .rest1 = (float)(1 - a->o.beta1),
                        .beta2 = (float)a->o.beta2,
                        .rest2 = (float)(1 - a->o.beta2),
                        .rate = (float)(lr / correct1),
                        .root2 = (float)(1 / sqrt(correct2)),
                        .eps = (float)a->o.eps,
                        .scale = (float)grad_scale};
    long chunks = (long)((a->n + CHUNK - 1) / CHUNK);
#pragma omp parallel for schedule(static)
    for (long c = 0; c < chunks; c++) {
        size_t from = (size_t)c * CHUNK, to = from + CHUNK < a->n ? from + CHUNK : a->n;
        update_chunk(a, ps, from, to, &f);
    }
}

double grad_norm(const struct params *ps)
{
    return sqrt(sum_squares(ps->grad, (long)ps->total));
}

double clip_coefficient(double norm, double max_norm)
{
    if (max_norm <= 0)
        return 1;
    double c = max_norm / (norm + 1e-6);
    return c < 1 ? c : 1;
}
