/* The mixture of adapters in plain double precision, and a case of it with the engine's side, for
 * the tests of the mixture. */
#ifndef TESTS_UNIT_MOE_TWIN_H
#define TESTS_UNIT_MOE_TWIN_H

#include "adapters/moe.h"
#include "tests/unit/twin.h"

struct moe_case {
    struct moe_config c;
    struct moe_rng rng;
    long T, D;
    double balance; /* what the balance loss is multiplied with */
    double *x, *z, *Wr, *Dn, *Up, *dy;
    double *y, *load, *mean_prob; /* the twin's results */
    int *choice;                  /* [T,K] of the twin; -1 before its first run */
};

/* Sizes of the five inputs, and their places, so that tests can loop over them. */
enum { IN_X, IN_Z, IN_WR, IN_DN, IN_UP, INPUTS };

static inline double *input(const struct moe_case *m, int i, long *n)
{
    long E = m->c.experts, A = m->c.dim, D = m->D;
    *n = i <= IN_Z ? m->T * D : i == IN_WR ? E * D : E * A * D;
    return i == IN_X ? m->x : i == IN_Z ? m->z : i == IN_WR ? m->Wr : i == IN_DN ? m->Dn : m->Up;
}

static inline struct moe_case case_new(long T, long D, long E, long K, long A)
{
    struct moe_case m = {
        .c = {.experts = E, .top_k = K, .dim = A, .scaling = 0.75}, .T = T, .D = D};
    m.x = randoms(T * D, 1, 1), m.z = randoms(T * D, 1, 2), m.dy = randoms(T * D, 1, 6);
    m.Wr = randoms(E * D, 1 / sqrt((double)D), 3);
    m.Dn = randoms(E * A * D, 1 / sqrt((double)D), 4);
    m.Up = randoms(E * D * A, 1 / sqrt((double)A), 5);
    m.y = DOUBLES(T * D), m.load = DOUBLES(E), m.mean_prob = DOUBLES(E);
    m.choice = must_alloc((size_t)(T * K), sizeof *m.choice);
    m.choice[0] = -1;
    m.rng = (struct moe_rng){.seed = 7, .step = 3, .layer = 2};
    return m;
}

static inline void case_free(struct moe_case *m)
{
    free(m->x), free(m->z), free(m->dy), free(m->Wr), free(m->Dn), free(m->Up), free(m->y);
    free(m->load), free(m->mean_prob), free(m->choice);
}

/* The mask as documented: draw token * D + d of (step, layer * experts + expert). */
static inline double twin_mask(const struct moe_case *m, long e, long t, long d)
{
    struct rng_key key = {m->rng.seed, RNG_DROPOUT, m->rng.step,
                          m->rng.layer * (uint32_t)m->c.experts + (uint32_t)e};
    if (!m->rng.training || m->c.dropout <= 0)
        return 1;
    return rng_unit(&key, (uint64_t)(t * m->D + d)) < m->c.dropout ? 0 : 1 / (1 - m->c.dropout);
}

static inline void twin_adapter(double *out, const struct moe_case *m, long e, long t)
{
    long D = m->D, A = m->c.dim;
    const double *z = m->z + t * D;
    memset(out, 0, (size_t)D * sizeof *out);
    for (long a = 0; a < A; a++) {
        double pre = 0;
        for (long d = 0; d < D; d++)
            pre += m->Dn[(e * A + a) * D + d] * z[d] * twin_mask(m, e, t, d);
        double act = pre * 0.5 * erfc(-pre / sqrt(2));
        for (long d = 0; d < D; d++)
            out[d] += m->c.scaling * m->Up[(e * D + d) * A + a] * act;
    }
}

/* Ranks of sorting: expert e's place is the number of experts before it. */
static inline long place(const double *l, long E, long e)
{
    long before = 0;
    for (long i = 0; i < E; i++)
        before += l[i] > l[e] || (l[i] == l[e] && i < e);
    return before;
}

/* Loss: the weighted output, plus balance times the balance loss with loads held at those of the
 * first run. NaN when the choice of any token has changed since. */
static inline double twin_moe(void *ctx)
{
    struct moe_case *m = ctx;
    long T = m->T, D = m->D, E = m->c.experts, K = m->c.top_k;
    int first = m->choice[0] < 0, changed = 0;
    double *l = DOUBLES(E), *out = DOUBLES(D), loss = 0;
    memset(m->mean_prob, 0, (size_t)E * sizeof *m->mean_prob);
    for (long t = 0; t < T; t++) {
        double all = 0, chosen = 0;
        for (long e = 0; e < E; e++) {
            l[e] = 0;
            for (long d = 0; d < D; d++)
                l[e] += m->Wr[e * D + d] * m->x[t * D + d];
            all += exp(l[e]);
        }
        for (long e = 0; e < E; e++) {
            long k = place(l, E, e);
            m->mean_prob[e] += exp(l[e]) / all / (double)T;
            if (k >= K)
                continue;
            chosen += exp(l[e]);
            if (first) {
                m->choice[t * K + k] = (int)e;
                m->load[e] += 1 / (double)T;
            }
            changed |= m->choice[t * K + k] != e;
        }
        memcpy(m->y + t * D, m->z + t * D, (size_t)D * sizeof *m->y);
        for (long e = 0; e < E; e++) {
            if (place(l, E, e) >= K)
                continue;
            twin_adapter(out, m, e, t);
            for (long d = 0; d < D; d++)
                m->y[t * D + d] += exp(l[e]) / chosen * out[d];
        }
    }
    loss = weighted(m->y, m->dy, T * D);
    for (long e = 0; e < E; e++)
        loss += m->balance * (double)E * m->mean_prob[e] *
                (m->c.balance == BALANCE_SWITCH    ? m->load[e] / (double)K
                 : m->c.balance == BALANCE_MIXTRAL ? m->load[e]
                                                   : 0);
    free(l), free(out);
    return changed ? NAN : loss;
}

/* The engine's side: floats, arenas, outputs. */
struct fast {
    float *in[INPUTS], *grad[INPUTS], *y, *dy;
    struct arena saved, scratch;
    struct moe_saved s;
};

static inline struct fast fast_new(const struct moe_case *m)
{
    struct fast f = {0};
    struct pesc_error err = {0};
    for (int i = 0; i < INPUTS; i++) {
        long n;
        double *p = input(m, i, &n);
        f.in[i] = to_floats(p, n);
        f.grad[i] = FLOATS(n);
    }
    f.dy = to_floats(m->dy, m->T * m->D);
    f.y = FLOATS(m->T * m->D);
    arena_count(&f.saved);
    moe_saved_layout(&f.s, &f.saved, m->T, m->D, &m->c);
    moe_work_layout(&f.s, &f.saved, m->D, &m->c);
    arena_count(&f.scratch);
    moe_bwd_scratch(&f.scratch, m->T, m->D, &m->c);
    if (arena_back(&f.saved, &err) || arena_back(&f.scratch, &err)) {
        printf("Bail out! no memory\n");
        exit(99);
    }
    moe_saved_layout(&f.s, &f.saved, m->T, m->D, &m->c);
    moe_work_layout(&f.s, &f.saved, m->D, &m->c);
    return f;
}

static inline void fast_free(struct fast *f)
{
    for (int i = 0; i < INPUTS; i++)
        free(f->in[i]), free(f->grad[i]);
    free(f->y), free(f->dy);
    arena_free(&f->saved);
    arena_free(&f->scratch);
}

static inline void fast_fwd(struct fast *f, const struct moe_case *m)
{
    struct moe_weights W = {f->in[IN_WR], f->in[IN_DN], f->in[IN_UP], NULL};
    moe_fwd(NULL, f->y, f->in[IN_Z], f->in[IN_X], &W, &m->c, &m->rng, &f->s, m->T, m->D);
}

static inline void fast_bwd(struct fast *f, const struct moe_case *m)
{
    struct moe_weights W = {f->in[IN_WR], f->in[IN_DN], f->in[IN_UP], NULL};
    struct moe_weights dW = {f->grad[IN_WR], f->grad[IN_DN], f->grad[IN_UP], NULL};
    moe_bwd(NULL, f->grad[IN_Z], f->grad[IN_X], &dW, f->dy, f->in[IN_X], &W, &m->c, &m->rng, &f->s,
            m->balance, &f->scratch, m->T, m->D);
}

/* Whether output and gradients have the same bits for 1 to 5 threads. */
static inline int same_for_threads(const struct moe_case *m)
{
    enum { MOST = 5 };
    struct fast f[MOST];
    int same = 1;
    for (int i = 0; i < MOST; i++) {
        omp_set_num_threads(i + 1);
        f[i] = fast_new(m);
        fast_fwd(&f[i], m);
        fast_bwd(&f[i], m);
        same &= !memcmp(f[0].y, f[i].y, (size_t)(m->T * m->D) * sizeof(float));
        for (int k = 0; k < INPUTS; k++) {
            long n;
            (void)input(m, k, &n);
            same &= !memcmp(f[0].grad[k], f[i].grad[k], (size_t)n * sizeof(float));
        }
    }
    for (int i = 0; i < MOST; i++)
        fast_free(&f[i]);
    return same;
}

#endif
