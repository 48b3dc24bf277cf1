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
