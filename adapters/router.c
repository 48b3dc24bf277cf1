#include "config.h"
#include "adapters/route.h"
#include "tensor/kernels.h"
#include "tensor/vecmath.h"

#include <math.h>
#include <string.h>

static const char *const balance_names[] = {[BALANCE_SWITCH] = "switch",
                                            [BALANCE_MIXTRAL] = "mixtral",
                                            [BALANCE_OFFICIAL] = "official",
                                            [BALANCE_NONE] = "none"};
enum { BALANCE_KINDS = sizeof balance_names / sizeof *balance_names };

int balance_from_name(const char *name)
{
    for (int i = 0; i < BALANCE_KINDS; i++)
        if (!strcmp(name, balance_names[i]))
            return i;
    return -1;
}

const char *balance_name(enum balance_kind k)
{
    return (unsigned)k < BALANCE_KINDS ? balance_names[k] : "?";
}

typedef float lanes __attribute__((vector_size(64), aligned(4), may_alias));
enum { LANES = 16, GROUP = 4, TOKENS = 128 };

static HOT float sum_of(const lanes *v)
{
    float s = 0;
    for (int j = 0; j < LANES; j++)
        s += (*v)[j];
    return s;
}

/* GROUP experts at a time share what is read of x; n of them are wanted. */
static HOT void logits_of(float *restrict l, const float *restrict x, const float *restrict W,
                          long n, long D)
{
    const float *w[GROUP];
    lanes a0 = {0}, a1 = {0}, a2 = {0}, a3 = {0};
    for (long i = 0; i < GROUP; i++)
        w[i] = W + (i < n ? i : 0) * D;
    long d = 0;
    for (; d + LANES <= D; d += LANES) {
        lanes v = *(const lanes *)(x + d);
        a0 += v * *(const lanes *)(w[0] + d);
        a1 += v * *(const lanes *)(w[1] + d);
        a2 += v * *(const lanes *)(w[2] + d);
        a3 += v * *(const lanes *)(w[3] + d);
    }
    float sum[GROUP] = {sum_of(&a0), sum_of(&a1), sum_of(&a2), sum_of(&a3)};
    for (long i = 0; i < n; i++) {
        for (long k = d; k < D; k++)
            sum[i] += x[k] * w[i][k];
        l[i] = sum[i];
    }
}

void route_logits(float *l, const float *x, const float *Wr, long T, long E, long D)
{
#pragma omp parallel for schedule(static) if (T > 1)
    for (long t = 0; t < T; t++)
        for (long e = 0; e < E; e += GROUP)
            logits_of(l + t * E + e, x + t * D, Wr + e * D, E - e < GROUP ? E - e : GROUP, D);
}

static HOT void add_rows(float *restrict dx, const float *restrict dl, const float *restrict W,
                         long E, long D)
{
    for (long e = 0; e < E; e++)
#pragma omp simd
        for (long d = 0; d < D; d++)
            dx[d] += dl[e] * W[e * D + d];
}

void route_logits_bwd_data(float *dx, const float *dl, const float *Wr, long T, long E, long D)
{
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++)
        add_rows(dx + t * D, dl + t * E, Wr, E, D);
}

/* LANES columns from d (n of them are there) of GROUP experts, of which m are wanted. */
static HOT void weights_of(float *restrict dW, const float *restrict dl, const float *restrict x,
                           long T, long E, long D, long m, long n)
{
    for (long from = 0; from < T; from += TOKENS) {
        long end = from + TOKENS < T ? from + TOKENS : T;
        lanes a[GROUP] = {{0}};
        for (long t = from; t < end; t++) {
            lanes v = {0};
            if (n == LANES)
                v = *(const lanes *)(x + t * D);
            else
                for (long j = 0; j < n; j++)
                    v[j] = x[t * D + j];
            const float *g = dl + t * E;
            a[0] += g[0] * v;
            a[1] += (m > 1 ? g[1] : 0) * v;
            a[2] += (m > 2 ? g[2] : 0) * v;
            a[3] += (m > 3 ? g[3] : 0) * v;
        }
        for (long i = 0; i < m; i++)
            for (long j = 0; j < n; j++)
                dW[i * D + j] += a[i][j];
    }
}

void route_logits_bwd_weight(float *dWr, const float *dl, const float *x, long T, long E, long D)
{
#pragma omp parallel for schedule(static)
    for (long d = 0; d < D; d += LANES)
        for (long e = 0; e < E; e += GROUP)
            weights_of(dWr + e * D + d, dl + e, x + d, T, E, D, E - e < GROUP ? E - e : GROUP,
                       D - d < LANES ? D - d : LANES);
}

static int taken(const int *chosen, long k, long e)
{
    for (long i = 0; i < k; i++)
        if (chosen[i] == e)
            return 1;
    return 0;
}

/* The K largest, most probable first; the first of equals. A NaN is only ever taken where it is
 * the first candidate, and the index is valid whatever the logits are. */
static void top_k(int *chosen, const float *l, long E, long K)
{
    for (long k = 0; k < K; k++) {
        long best = -1;
        for (long e = 0; e < E; e++)
            if (!taken(chosen, k, e) && (best < 0 || l[e] > l[best]))
                best = e;
        chosen[k] = (int)best;
    }
}

static HOT void softmax(float *l, float max, long E)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long e = 0; e < E; e++) {
        l[e] = vm_exp(l[e] - max);
        sum += l[e];
    }
#pragma omp simd
    for (long e = 0; e < E; e++)
        l[e] /= sum;
}

static void mask(float *l, const unsigned char *off, long E)
{
    for (long e = 0; e < E; e++)
        if (off[e])
            l[e] = -INFINITY;
}

void route_choose(struct moe_saved *s, const unsigned char *off, const struct moe_config *c, long T)
{
    long E = c->experts, K = c->top_k;
#pragma omp parallel for schedule(static) if (T > 1)
    for (long t = 0; t < T; t++) {
        float *l = s->prob + t * E, *w = s->w + t * K;
        int *chosen = s->expert + t * K;
        if (off)
            mask(l, off, E);
        top_k(chosen, l, E, K);
        for (long k = 0; k < K; k++)
            w[k] = l[chosen[k]];
        float max = w[0];
        softmax(w, max, K);
        softmax(l, max, E);
    }
}

void route_sort(struct moe_saved *s, const struct moe_config *c, long T)
{
    long E = c->experts, K = c->top_k, *next = s->offset;
    memset(next, 0, (size_t)(E + 1) * sizeof *next);
    for (long i = 0; i < T * K; i++)
        next[s->expert[i] + 1]++;
    for (long e = 0; e < E; e++)
        next[e + 1] += next[e];
    for (long t = 0; t < T; t++) {
        const int *chosen = s->expert + t * K;
        for (long k = 0; k < K; k++) {
            long row = next[chosen[k]]++, rank = 0;
            for (long j = 0; j < K; j++)
                rank += chosen[j] < chosen[k];
            s->row_token[row] = (int)t;
            s->row_slot[row] = (int)k;
            s->token_row[t * K + rank] = (int)row;
        }
    }
    /* Each start has moved to its end, which is the next one's start. */
    memmove(next + 1, next, (size_t)E * sizeof *next);
    next[0] = 0;
}

/* Load f_e as the balance losses count it; 0 for those without a gradient. */
static double balance_load(const struct moe_saved *s, const struct moe_config *c, long e, long T)
{
    double share = (double)(s->offset[e + 1] - s->offset[e]) / (double)T;
    switch (c->balance) {
    case BALANCE_SWITCH:
        return share / (double)c->top_k;
    case BALANCE_MIXTRAL:
        return share;
    case BALANCE_OFFICIAL:
    case BALANCE_NONE:
        break;
    }
    return 0;
}

static void balance_bwd(float *dl, const struct moe_saved *s, const struct moe_config *c,
                        double scale, long T)
{
    long E = c->experts;
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++) {
        const float *p = s->prob + t * E;
        double mean = 0;
        for (long e = 0; e < E; e++)
            mean += p[e] * balance_load(s, c, e, T);
        for (long e = 0; e < E; e++)
            dl[t * E + e] +=
                (float)(scale * (double)E / (double)T * p[e] * (balance_load(s, c, e, T) - mean));
    }
}

void route_bwd(float *dl, const float *dw, const struct moe_saved *s, const struct moe_config *c,
               double balance_scale, long T)
{
    long E = c->experts, K = c->top_k;
    memset(dl, 0, (size_t)(T * E) * sizeof *dl);
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++) {
        const float *w = s->w + t * K, *g = dw + t * K;
        double mean = 0;
        for (long k = 0; k < K; k++)
            mean += (double)w[k] * g[k];
        for (long k = 0; k < K; k++)
            dl[t * E + s->expert[t * K + k]] = (float)(w[k] * (g[k] - mean));
    }
    if (balance_scale != 0 && (c->balance == BALANCE_SWITCH || c->balance == BALANCE_MIXTRAL))
        balance_bwd(dl, s, c, balance_scale, T);
}

void moe_stats(struct moe_stats *out, double *load, double *prob, const struct moe_saved *s,
               const struct moe_config *c, long T)
{
    long E = c->experts, K = c->top_k;
    memset(out, 0, sizeof *out);
    for (long e = 0; e < E; e++) {
        double share = 0, mean = 0;
        if (T > 0) {
            share = (double)(s->offset[e + 1] - s->offset[e]) / (double)T;
            for (long t = 0; t < T; t++)
                mean += s->prob[t * E + e];
            mean /= (double)T;
            out->balance += (double)E * balance_load(s, c, e, T) * mean;
            if (share > 0)
                out->entropy -= share / (double)K * log(share / (double)K);
        }
        if (load)
            load[e] = share;
        if (prob)
            prob[e] = mean;
    }
    for (long t = 0; t < T; t++)
        out->top1 += s->prob[t * E + s->expert[t * K]] / (double)T;
    if (c->balance == BALANCE_OFFICIAL)
        out->balance = (double)E / (double)K;
}

void moe_count(long *count, const int *group, long n_groups, const struct moe_saved *s,
               const struct moe_config *c, long T)
{
    long E = c->experts, K = c->top_k;
    for (long t = 0; t < T; t++)
        for (long k = 0; k < K; k++)
            count[(k * n_groups + group[t]) * E + s->expert[t * K + k]]++;
}

void moe_sums(double *prob, double *top1, const int *group, const struct moe_saved *s,
              const struct moe_config *c, long T)
{
    long E = c->experts, K = c->top_k;
    for (long t = 0; t < T; t++) {
        const float *p = s->prob + t * E;
        double *to = prob + group[t] * E;
        for (long e = 0; e < E; e++)
            to[e] += p[e];
        top1[group[t]] += p[s->expert[t * K]];
    }
}
