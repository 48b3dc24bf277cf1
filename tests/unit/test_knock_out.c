/* Experts that a router may not choose, and who is chosen by rank: against plain formulas. */
#include "config.h"
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"
#include "tests/unit/twin.h"

#include "train/evaluate.h"

enum { T = 60, D = 16, E = 6, K = 2, A = 4, OFF = 3 };
static const struct moe_config pesc = {.experts = E, .top_k = K, .dim = A, .scaling = 0.75};

struct mixture {
    struct moe_config c;
    struct moe_weights W, dW;
    float *x, *z, *y, *dz, *dx;
    struct arena saved, scratch;
    struct moe_saved s;
};

static void back(struct arena *a)
{
    struct pesc_error err = {0};
    must_do(arena_back(a, &err), &err);
}

/* From the same numbers, of which expert without (-1: none) is left out. */
static struct mixture mixture(long without)
{
    struct mixture m = {.c = pesc};
    double *x = randoms(T * D, 1, 1), *z = randoms(T * D, 1, 2), *r = randoms(E * D, 0.5, 3);
    double *dn = randoms(E * A * D, 0.3, 4), *up = randoms(E * D * A, 0.5, 5);
    m.c.experts = without < 0 ? E : E - 1;
    m.x = to_floats(x, T * D), m.z = to_floats(z, T * D), m.y = FLOATS(T * D);
    m.dx = FLOATS(T * D), m.dz = FLOATS(T * D);
    m.W = (struct moe_weights){FLOATS(E * D), FLOATS(E * A * D), FLOATS(E * D * A), NULL};
    m.dW = (struct moe_weights){FLOATS(E * D), FLOATS(E * A * D), FLOATS(E * D * A), NULL};
    for (long e = 0, to = 0; e < E; e++) {
        if (e == without)
            continue;
        for (long i = 0; i < D; i++)
            m.W.Wr[to * D + i] = (float)r[e * D + i];
        for (long i = 0; i < A * D; i++) {
            m.W.Dn[to * A * D + i] = (float)dn[e * A * D + i];
            m.W.Up[to * A * D + i] = (float)up[e * A * D + i];
        }
        to++;
    }
    arena_count(&m.saved);
    moe_saved_layout(&m.s, &m.saved, T, D, &m.c);
    back(&m.saved);
    moe_saved_layout(&m.s, &m.saved, T, D, &m.c);
    arena_count(&m.scratch);
    moe_bwd_scratch(&m.scratch, T, D, &m.c);
    back(&m.scratch);
    free(x), free(z), free(r), free(dn), free(up);
    return m;
}

static void mixture_free(struct mixture *m)
{
    free(m->x), free(m->z), free(m->y), free(m->dx), free(m->dz);
    free(m->W.Wr), free(m->W.Dn), free(m->W.Up), free(m->dW.Wr), free(m->dW.Dn), free(m->dW.Up);
    arena_free(&m->saved), arena_free(&m->scratch);
}

/* Token t of y = z + s sum_k w_k A_k(z), w the softmax over the K largest logits of all but OFF;
 * expert, w: [K]. */
static void twin_token(double *y, int *expert, double *w, const struct mixture *m, long t)
{
    double l[E], sum = 0;
    for (long e = 0; e < E; e++) {
        l[e] = 0;
        for (long d = 0; d < D; d++)
            l[e] += (double)m->W.Wr[e * D + d] * m->x[t * D + d];
    }
    for (long k = 0; k < K; k++) {
        expert[k] = -1;
        for (int e = 0; e < E; e++)
            if (e != OFF && (k == 0 || e != expert[0]) && (expert[k] < 0 || l[e] > l[expert[k]]))
                expert[k] = e;
        sum += w[k] = exp(l[expert[k]]);
    }
    for (long d = 0; d < D; d++)
        y[d] = m->z[t * D + d];
    for (long k = 0; k < K; k++) {
        w[k] /= sum;
        for (long a = 0; a < A; a++) {
            double pre = 0;
            for (long d = 0; d < D; d++)
                pre += (double)m->W.Dn[(expert[k] * A + a) * D + d] * m->z[t * D + d];
            for (long d = 0; d < D; d++)
                y[d] += m->c.scaling * w[k] * m->W.Up[(expert[k] * D + d) * A + a] * pre * 0.5 *
                        erfc(-pre / sqrt(2));
        }
    }
}

static void test_mask(void)
{
    struct pesc_error err = {0};
    struct gemm *g = gemm_new(&err);
    must_do(g ? 0 : -1, &err);
    struct mixture whole = mixture(-1), m = mixture(-1), less = mixture(OFF);
    const unsigned char off[E] = {[OFF] = 1};
    m.c.balance = BALANCE_SWITCH;
    moe_fwd(g, whole.y, whole.z, whole.x, &whole.W, &whole.c, NULL, &whole.s, T, D);
    m.W.off = off;
    moe_fwd(g, m.y, m.z, m.x, &m.W, &m.c, NULL, &m.s, T, D);
    moe_fwd(g, less.y, less.z, less.x, &less.W, &less.c, NULL, &less.s, T, D);
    double *y = DOUBLES(T * D), most = 0;
    long moved = 0, kept = 0;
    int good = 1, fewer = 1, bits = 1;
    for (long t = 0; t < T; t++) {
        double w[K], sum = 0;
        int expert[K], touched = 0;
        twin_token(y + t * D, expert, w, &m, t);
        for (long k = 0; k < K; k++) {
            int one = less.s.expert[t * K + k];
            sum += m.s.w[t * K + k];
            most = fmax(most, fabs(m.s.w[t * K + k] - w[k]));
            good &= m.s.expert[t * K + k] == expert[k];
            fewer &= one + (one >= OFF) == expert[k];
            touched |= whole.s.expert[t * K + k] == OFF;
        }
        good &= fabs(sum - 1) < 3e-7 && m.s.prob[t * E + OFF] == 0;
        if (!touched)
            bits &= !memcmp(m.y + t * D, whole.y + t * D, D * sizeof *m.y);
        kept += !touched;
        moved += touched;
    }
    ok(good && most < 1e-6, "a masked expert is never chosen, the others' weights sum to 1");
    ok(close_to(m.y, y, T * D, 2e-6, "y"), "and the output is that of the plain formula");
    for (long i = 0; i < T * D; i++)
        y[i] = less.y[i];
    ok(fewer && close_to(m.y, y, T * D, 1e-6, "y"), "which is a mixture without that expert");
    ok(bits && kept > 5 && moved > 5, "tokens that had not chosen it keep every bit (%ld of %d)",
       kept, T);
    moe_bwd(g, m.dz, m.dx, &m.dW, m.z, m.x, &m.W, &m.c, NULL, &m.s, 0.5, &m.scratch, T, D);
    double at = 0, rest = 0;
    for (long i = 0; i < A * D; i++) {
        at += fabsf(m.dW.Dn[OFF * A * D + i]) + fabsf(m.dW.Up[OFF * A * D + i]);
        at += i < D ? fabsf(m.dW.Wr[OFF * D + i]) : 0;
        rest += fabsf(m.dW.Wr[i]);
    }
    ok(at == 0 && rest > 0 && isfinite(rest), "nothing of it has a gradient");
    free(y);
    mixture_free(&whole), mixture_free(&m), mixture_free(&less);
    gemm_free(g);
}

static int refused(struct model *m, long layer, long expert, const char *code)
{
    struct pesc_error err = {0};
    int rc = model_knock_out(m, layer, expert, &err);
    return rc != 0 && err.code && !strcmp(err.name, code);
}

static int get(void *ctx, long i, struct batch *out, struct pesc_error *err)
{
    (void)i, (void)err;
    *out = *(struct batch *)ctx;
    return 0;
}

/* A layer of a model, and what an evaluation counts of it. */
static void test_model(void)
{
    enum { LAYERS = 3, DOMAINS = 3 };
    static const long four[] = {9, 4, 12, 7};
    struct pesc_error err = {0};
    struct model *m =
        small_open(gen_path("m"), &SMALL(.layers = LAYERS), &pesc, TRAIN_NOTHING, COMPUTE_F32);
    struct small_batch g;
    struct engine *e;
    struct eval_sum all;
    struct routing r;
    small_batch(&g, m->c.vocab_size, 1, 4, four);
    for (int i = 0; i < 4; i++)
        g.domain[i] = i % 2; /* the third has no tokens */
    size_t n = (size_t)(g.b.T * m->c.vocab_size) * sizeof(float);
    float *whole = small_logits(m, &g.b);
    must_do(model_knock_out(m, 1, OFF, &err), &err);
    float *masked = small_logits(m, &g.b);
    struct batch_source data = {get, &g.b, g.b.T, 4};
    must_do(engine_open(m, g.b.T, 4, 0, NULL, &e, &err), &err);
    must_do(routing_open(&r, &m->moe, LAYERS, DOMAINS, g.b.T, &err), &err);
    must_do(evaluate(e, &data, 1, &all, NULL, 0, &r, &err), &err);
    int good = 1;
    for (long l = 0; l < LAYERS; l++)
        for (long rank = -1; rank < K; rank++)
            for (long d = -1; d < 2; d++) {
                double sum = 0;
                for (long x = 0; x < E; x++)
                    sum += routing_share(&r, l, rank, d, x);
                good &= fabs(sum - 1) < 1e-12;
            }
    ok(good && isnan(routing_share(&r, 0, -1, 2, 0)),
       "shares of any choice, the first, the second sum to 1 in all and by domain");
    double first = routing_share(&r, 0, 0, 0, 1), second = routing_share(&r, 0, 1, 0, 1);
    is_near(routing_share(&r, 0, -1, 0, 1), (first + second) / 2, 1e-12,
            "any choice is the mean of the ranks");
    ok(routing_share(&r, 1, -1, -1, OFF) == 0 && routing_share(&r, 0, -1, -1, OFF) > 0 &&
           routing_share(&r, 2, -1, -1, OFF) > 0,
       "an expert is knocked out in its layer alone");
    must_do(model_knock_out(m, -1, 0, &err), &err);
    float *again = small_logits(m, &g.b);
    ok(memcmp(whole, masked, n) && !memcmp(whole, again, n),
       "the model is another then, and to the bit what it was when it is back");
    ok(refused(m, 0, E, "E-USAGE-VALUE") && refused(m, LAYERS, 0, "E-USAGE-VALUE") &&
           refused(m, 0, -1, "E-USAGE-VALUE"),
       "experts that there are not are refused");
    m->moe.top_k = E;
    ok(refused(m, 0, 0, "E-USAGE-VALUE"), "and one that all tokens need");
    free(whole), free(masked), free(again);
    routing_close(&r);
    engine_close(e);
    small_batch_free(&g);
    model_close(m);
    m = small_open(gen_path("m"), &SMALL(), NULL, TRAIN_NOTHING, COMPUTE_F32);
    ok(refused(m, 0, 0, "E-MODEL-KIND"), "a dense model has none");
    model_close(m);
}

/* Shares (1,0) and (0,1) are ln 2 from their average; (3/4,1/4) and (1/4,3/4) are
 * 3/4 ln(3/2) + 1/4 ln(1/2); a domain without tokens does not count. */
static void test_divergence(void)
{
    struct pesc_error err = {0};
    struct moe_config c = {.experts = 2, .top_k = 2, .dim = 1, .scaling = 1};
    struct routing r;
    must_do(routing_open(&r, &c, 1, 3, 1, &err), &err);
    static const long choices[2][3][2] = {{{4, 0}, {0, 0}, {0, 8}}, {{3, 1}, {0, 0}, {2, 6}}};
    memcpy(r.by_domain, choices, sizeof choices);
    r.domain_tokens[0] = 4, r.domain_tokens[2] = 8;
    is_near(routing_divergence(&r, 0, 0), log(2), 1e-12, "divergence of domains kept apart");
    is_near(routing_divergence(&r, 0, 1), 0.75 * log(1.5) + 0.25 * log(0.5), 1e-12,
            "of the second choice");
    is_near(routing_max_load(&r, 0, 0), 2 * 8.0 / 12, 1e-12, "the largest load");
    r.domain_tokens[2] = 0;
    is_near(routing_divergence(&r, 0, 0), 0, 1e-12, "one domain is its own average");
    r.domain_tokens[0] = 0;
    ok(isnan(routing_divergence(&r, 0, 0)), "no tokens are not a number");
    routing_close(&r);
}

int main(void)
{
    gen_begin();
    omp_set_num_threads(1);
    test_mask();
    test_model();
    test_divergence();
    return gen_end();
}
