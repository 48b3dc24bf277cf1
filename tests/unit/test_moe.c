/* The mixture of adapters against its double-precision twin: values, statistics, every derivative
 * (experts, router through softmax and top-k, balance loss, dropout), and what must hold exactly.
 */
#include "config.h"
#include "tests/unit/moe_twin.h"

static const char *const in_name[INPUTS] = {"dx", "dz", "dWr", "dDn", "dUp"};

static void test_case(long T, long D, long E, long K, long A, enum balance_kind kind,
                      double dropout)
{
    struct moe_case m = case_new(T, D, E, K, A);
    m.c.balance = kind;
    m.c.dropout = dropout;
    m.rng.training = dropout > 0;
    m.balance = 3;
    struct fast f = fast_new(&m);
    fast_fwd(&f, &m);
    twin_moe(&m);
    int good = close_to(f.y, m.y, T * D, 2e-6, "y");
    for (long i = 0; i < T * K; i++)
        good &= f.s.expert[i] == m.choice[i];
    for (long t = 0; t < T; t++) {
        double sum = 0;
        for (long k = 0; k < K; k++)
            sum += f.s.w[t * K + k];
        good &= fabs(sum - 1) < 3e-7;
    }
    ok(good, "T=%ld D=%ld E=%ld K=%ld A=%ld %s dropout %g: output, choice, weights sum to 1", T, D,
       E, K, A, balance_name(kind), dropout);
    struct moe_stats stats;
    double *load = DOUBLES(E), *prob = DOUBLES(E), want = 0;
    moe_stats(&stats, load, prob, &f.s, &m.c, T);
    for (long e = 0; e < E; e++) {
        good &= fabs(load[e] - m.load[e]) < 1e-12 && fabs(prob[e] - m.mean_prob[e]) < 1e-6;
        want += (double)E * m.load[e] * m.mean_prob[e];
    }
    want = kind == BALANCE_SWITCH     ? want / (double)K
           : kind == BALANCE_MIXTRAL  ? want
           : kind == BALANCE_OFFICIAL ? (double)E / (double)K
                                      : 0;
    good &= fabs(stats.balance - want) < 1e-5;
    ok(good, "  statistics: load, probability, balance %.4f", stats.balance);
    for (long i = 0; i < T * D; i++)
        f.grad[IN_X][i] = 0.5f; /* dx adds, dz does not */
    for (long i = 0; i < T * D; i++)
        f.grad[IN_Z][i] = 9;
    fast_bwd(&f, &m);
    for (long i = 0; i < T * D; i++)
        f.grad[IN_X][i] -= 0.5f;
    for (int i = 0; i < INPUTS; i++) {
        long n, tried;
        double *p = input(&m, i, &n);
        int router = i == IN_X || i == IN_WR;
        if (router && K == 1 && kind != BALANCE_SWITCH && kind != BALANCE_MIXTRAL) {
            double most = 0;
            for (long j = 0; j < n; j++)
                most = fmax(most, fabsf(f.grad[i][j]));
            ok(most == 0, "  %s: exactly zero with one expert a token", in_name[i]);
            continue;
        }
        long kept = derivatives(f.grad[i], p, n, twin_moe, &m, 1e-5, 2e-5, in_name[i]);
        tried = n > TWIN_SAMPLES ? (n + (n / TWIN_SAMPLES | 1) - 1) / (n / TWIN_SAMPLES | 1) : n;
        ok(kept > tried * 9 / 10, "  %s: %ld of %ld derivatives", in_name[i], kept, tried);
    }
    /* Gradients of weights add; the scratch is left as found. */
    float before[3] = {f.grad[IN_WR][1], f.grad[IN_DN][1], f.grad[IN_UP][1]};
    fast_bwd(&f, &m);
    ok(f.grad[IN_WR][1] == 2 * before[0] && f.grad[IN_DN][1] == 2 * before[1] &&
           f.grad[IN_UP][1] == 2 * before[2] && f.scratch.used == 0 && !f.scratch.overflow &&
           f.scratch.peak == f.scratch.cap,
       "  weight gradients add, scratch as counted");
    free(load), free(prob);
    fast_free(&f);
    case_free(&m);
}

/* Zero up-projections: the output is the FFN's, bit for bit, whatever its values; and at that
 * point only Up has a gradient from the output. */
static void test_identity(void)
{
    struct moe_case m = case_new(33, 24, 8, 2, 5);
    struct fast f = fast_new(&m);
    memset(f.in[IN_UP], 0, 8 * 24 * 5 * sizeof(float));
    f.in[IN_Z][3] = -0.0f;
    f.in[IN_Z][9] = 1e-42f;
    f.in[IN_Z][11] = -3e38f;
    fast_fwd(&f, &m);
    ok(!memcmp(f.y, f.in[IN_Z], 33 * 24 * sizeof(float)), "zero Up: bit-equal output");
    float *keep = FLOATS(33 * 24);
    memcpy(keep, f.in[IN_Z], 33 * 24 * sizeof(float));
    struct moe_weights W = {f.in[IN_WR], f.in[IN_DN], f.in[IN_UP], NULL};
    moe_fwd(NULL, f.in[IN_Z], f.in[IN_Z], f.in[IN_X], &W, &m.c, NULL, &f.s, m.T, m.D);
    ok(!memcmp(keep, f.in[IN_Z], 33 * 24 * sizeof(float)), "zero Up: in place as well");
    fast_bwd(&f, &m);
    double most[INPUTS] = {0};
    for (int i = 0; i < INPUTS; i++) {
        long n;
        (void)input(&m, i, &n);
        for (long j = 0; j < n; j++)
            most[i] = fmax(most[i], fabsf(f.grad[i][j]));
    }
    ok(most[IN_X] == 0 && most[IN_WR] == 0 && most[IN_DN] == 0 && most[IN_UP] > 0.1,
       "zero Up: only Up has a gradient");
    ok(!memcmp(f.grad[IN_Z], f.dy, 33 * 24 * sizeof(float)), "zero Up: dz is dy, bit for bit");
    free(keep);
    fast_free(&f);
    case_free(&m);
}

/* Experts and router rows in another order: the same output and loads, permuted gradients. */
static void test_permutation(void)
{
    enum { T = 21, D = 16, E = 6, A = 4 };
    static const int to[E] = {4, 2, 0, 5, 1, 3};
    struct moe_case m = case_new(T, D, E, 2, A);
    struct fast f = fast_new(&m), p = fast_new(&m);
    for (int e = 0; e < E; e++) {
        memcpy(p.in[IN_WR] + to[e] * D, f.in[IN_WR] + e * D, D * sizeof(float));
        memcpy(p.in[IN_DN] + to[e] * A * D, f.in[IN_DN] + e * A * D, A * D * sizeof(float));
        memcpy(p.in[IN_UP] + to[e] * A * D, f.in[IN_UP] + e * A * D, A * D * sizeof(float));
    }
    fast_fwd(&f, &m);
    fast_fwd(&p, &m);
    fast_bwd(&f, &m);
    fast_bwd(&p, &m);
    double diff = 0;
    int same = 1;
    for (int i = 0; i < T * D; i++) {
        diff = fmax(diff, fabsf(f.y[i] - p.y[i]));
        diff = fmax(diff, fabsf(f.grad[IN_X][i] - p.grad[IN_X][i]));
        diff = fmax(diff, fabsf(f.grad[IN_Z][i] - p.grad[IN_Z][i]));
    }
    for (int i = 0; i < 2 * T; i++)
        same &= p.s.expert[i] == to[f.s.expert[i]];
    for (int e = 0; e < E; e++)
        for (int i = 0; i < A * D; i++)
            diff =
                fmax(diff, fabsf(f.grad[IN_DN][e * A * D + i] - p.grad[IN_DN][to[e] * A * D + i]));
    ok(same && diff < 2e-6, "experts in another order: the same result (%.2g)", diff);
    fast_free(&f);
    fast_free(&p);
    case_free(&m);
}

/* A token's result does not depend on its company. */
static void test_batch(void)
{
    enum { T = 40, D = 16, CUT = 13 };
    struct moe_case m = case_new(T, D, 8, 2, 8), part = case_new(T - CUT, D, 8, 2, 8);
    struct fast f = fast_new(&m), g = fast_new(&part);
    memcpy(g.in[IN_X], f.in[IN_X] + CUT * D, (T - CUT) * D * sizeof(float));
    memcpy(g.in[IN_Z], f.in[IN_Z] + CUT * D, (T - CUT) * D * sizeof(float));
    fast_fwd(&f, &m);
    fast_fwd(&g, &part);
    double diff = 0;
    for (int i = 0; i < (T - CUT) * D; i++)
        diff = fmax(diff, fabsf(g.y[i] - f.y[CUT * D + i]));
    ok(diff < 1e-6, "a token's output does not depend on the others (%.2g)", diff);
    fast_free(&f);
    fast_free(&g);
    case_free(&m);
    case_free(&part);
}

/* Equal logits go to the lowest experts; hostile logits never choose an invalid one. */
static void test_choice(void)
{
    enum { T = 6, D = 8, E = 5, K = 3 };
    struct moe_case m = case_new(T, D, E, K, 4);
    struct fast f = fast_new(&m);
    memset(f.in[IN_WR], 0, E * D * sizeof(float));
    fast_fwd(&f, &m);
    int good = 1;
    for (int t = 0; t < T; t++)
        for (int k = 0; k < K; k++)
            good &= f.s.expert[t * K + k] == k && fabsf(f.s.w[t * K + k] - 1.0f / K) < 1e-7f;
    ok(good, "ties go to the lowest expert");
    static const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f};
    good = 1;
    for (int i = 0; i < 4; i++)
        for (int e = 0; e < E; e++) {
            memset(f.in[IN_WR], 0, E * D * sizeof(float));
            f.in[IN_WR][e * D] = odd[i];
            fast_fwd(&f, &m);
            fast_bwd(&f, &m);
            for (int t = 0; t < T; t++)
                for (int k = 0; k < K; k++) {
                    int c = f.s.expert[t * K + k];
                    good &= c >= 0 && c < E && (k < 1 || c != f.s.expert[t * K + k - 1]) &&
                            (k < 2 || c != f.s.expert[t * K + k - 2]);
                }
            good &= f.s.offset[0] == 0 && f.s.offset[E] == T * K;
        }
    ok(good, "NaN and infinite logits choose distinct, valid experts");
    fast_free(&f);
    case_free(&m);
}

static void test_sorting(void)
{
    enum { T = 50, E = 7, K = 3 };
    struct moe_case m = case_new(T, 8, E, K, 4);
    struct fast f = fast_new(&m);
    fast_fwd(&f, &m);
    const struct moe_saved *s = &f.s;
    int good = s->offset[0] == 0 && s->offset[E] == T * K;
    for (int e = 0; e < E; e++)
        for (long r = s->offset[e]; r < s->offset[e + 1]; r++) {
            good &= s->expert[s->row_token[r] * K + s->row_slot[r]] == e;
            good &= r == s->offset[e] || s->row_token[r - 1] < s->row_token[r];
        }
    for (int t = 0; t < T; t++)
        for (int k = 0; k < K; k++) {
            good &= s->row_token[s->token_row[t * K + k]] == t;
            good &= k == 0 || s->token_row[t * K + k - 1] < s->token_row[t * K + k];
        }
    ok(good, "rows: by expert, then token, and back");
    int group[T];
    long count[K * 3 * E] = {0}, total = 0, first = 0;
    double load[E];
    struct moe_stats stats;
    for (int t = 0; t < T; t++)
        group[t] = t % 3;
    moe_count(count, group, 3, s, &m.c, T);
    moe_stats(&stats, load, NULL, s, &m.c, T);
    for (int e = 0; e < E; e++) {
        long sum = 0;
        for (int i = 0; i < K * 3; i++)
            sum += count[i * E + e];
        good &= sum == s->offset[e + 1] - s->offset[e] && fabs(load[e] * T - (double)sum) < 1e-9;
        total += count[e] + count[3 * E + e] + count[6 * E + e];
    }
    for (int t = 0; t < T; t += 3)
        first += s->expert[t * K + 1] == 2;
    ok(good && total == K * ((T + 2) / 3) && count[3 * E + 2] == first, "counts by rank and group");
    double entropy = 0, top1 = 0;
    for (int e = 0; e < E; e++)
        entropy -= load[e] > 0 ? load[e] / K * log(load[e] / K) : 0;
    for (int t = 0; t < T; t++) {
        float most = 0;
        for (int e = 0; e < E; e++)
            most = fmaxf(most, s->prob[t * E + e]);
        top1 += most / (double)T;
    }
    ok(fabs(stats.entropy - entropy) < 1e-12 && fabs(stats.top1 - top1) < 1e-9,
       "entropy of the load, mean first probability");
    fast_free(&f);
    case_free(&m);
}

/* The values of the table at even load and even probabilities. */
static void test_balance_values(void)
{
    enum { T = 12, E = 6, K = 2 };
    static const double want[] = {1, K, (double)E / K, 0};
    struct moe_case m = case_new(T, 8, E, K, 4);
    struct fast f = fast_new(&m);
    struct moe_stats stats;
    for (int i = 0; i < T * E; i++)
        f.s.prob[i] = 1.0f / E;
    for (int i = 0; i < T * K; i++)
        f.s.expert[i] = i % E;
    for (int e = 0; e <= E; e++)
        f.s.offset[e] = e * T * K / E;
    for (int kind = 0; kind < 4; kind++) {
        m.c.balance = (enum balance_kind)kind;
        moe_stats(&stats, NULL, NULL, &f.s, &m.c, T);
        ok(fabs(stats.balance - want[kind]) < 1e-6, "even balance of %s is %g",
           balance_name(m.c.balance), want[kind]);
        is_long(balance_from_name(balance_name(m.c.balance)), kind, "name of a balance loss");
    }
    is_long(balance_from_name("swit"), -1, "unknown balance loss");
    moe_stats(&stats, NULL, NULL, &f.s, &m.c, 0);
    ok(isfinite(stats.balance + stats.entropy + stats.top1), "statistics of no tokens are finite");
    fast_free(&f);
    case_free(&m);
}

static void test_dropout_rate(void)
{
    struct moe_case m = case_new(64, 128, 4, 2, 4);
    m.c.dropout = 0.3;
    m.rng.training = 1;
    struct fast f = fast_new(&m);
    fast_fwd(&f, &m);
    long zero = 0, n = 64 * 2 * 128;
    for (long i = 0; i < n; i++)
        zero += f.s.zg[i] == 0;
    ok(fabs((double)zero / (double)n - 0.3) < 0.02, "dropout drops %.3f of the inputs",
       (double)zero / (double)n);
    float *y = FLOATS(64 * 128);
    memcpy(y, f.y, 64 * 128 * sizeof(float));
    fast_fwd(&f, &m);
    int same = !memcmp(y, f.y, 64 * 128 * sizeof(float));
    m.rng.step++;
    fast_fwd(&f, &m);
    ok(same && memcmp(y, f.y, 64 * 128 * sizeof(float)),
       "the mask is the step's: same, then other");
    m.rng.training = 0;
    fast_fwd(&f, &m);
    m.c.dropout = 0;
    memcpy(y, f.y, 64 * 128 * sizeof(float));
    fast_fwd(&f, &m);
    ok(!memcmp(y, f.y, 64 * 128 * sizeof(float)), "no dropout outside training");
    free(y);
    fast_free(&f);
    case_free(&m);
}

static void test_threads(void)
{
    struct moe_case m = case_new(70, 40, 8, 3, 12);
    m.c.dropout = 0.1;
    m.rng.training = 1;
    m.balance = 1;
    ok(same_for_threads(&m), "mixture: same bits for 1 to 5 threads");
    case_free(&m);
}

static void test_frozen_and_small(void)
{
    struct moe_case m = case_new(9, 8, 4, 2, 4);
    struct fast f = fast_new(&m);
    struct moe_weights W = {f.in[IN_WR], f.in[IN_DN], f.in[IN_UP], NULL},
                       none = {NULL, NULL, NULL, NULL};
    fast_fwd(&f, &m);
    fast_bwd(&f, &m);
    float *dz = FLOATS(72);
    memcpy(dz, f.dy, 72 * sizeof(float));
    /* in place: dz is dy's memory */
    moe_bwd(NULL, dz, f.grad[IN_X], &none, dz, f.in[IN_X], &W, &m.c, NULL, &f.s, 0, &f.scratch, 9,
            8);
    ok(!memcmp(dz, f.grad[IN_Z], 72 * sizeof(float)),
       "frozen adapters pass the gradient; in place");
    f.scratch.cap -= 64;
    memset(dz, 0, 72 * sizeof(float));
    moe_bwd(NULL, dz, f.grad[IN_X], &none, f.dy, f.in[IN_X], &W, &m.c, NULL, &f.s, 0, &f.scratch, 9,
            8);
    ok(f.scratch.overflow && f.scratch.used == 0 && dz[0] == 0, "too small a scratch is reported");
    m.T = 0;
    f.scratch.cap += 64;
    fast_fwd(&f, &m);
    fast_bwd(&f, &m);
    ok(f.s.offset[4] == 0, "no tokens");
    free(dz);
    fast_free(&f);
    case_free(&m);
}

static void test_init(void)
{
    enum { D = 64, E = 3, A = 16 };
    struct moe_config c = {.experts = E, .top_k = 2, .dim = A};
    float Wr[2][E * D], Dn[2][E * A * D], Up[E * D * A];
    struct moe_weights W = {Wr[0], Dn[0], Up, NULL}, W2 = {Wr[1], Dn[1], Up, NULL};
    double sum = 0, squares = 0, most = 0;
    memset(Up, 1, sizeof Up);
    moe_init(&W, &c, 42, 1, D);
    moe_init(&W2, &c, 42, 1, D);
    ok(!memcmp(Wr[0], Wr[1], sizeof *Wr) && !memcmp(Dn[0], Dn[1], sizeof *Dn),
       "initial values depend on the seed and the layer alone");
    for (int i = 0; i < E * A * D; i++) {
        sum += Dn[0][i];
        squares += Dn[0][i] * Dn[0][i];
        most = fmax(most, fabsf(Dn[0][i]));
    }
    double n = E * A * D, b = 1 / sqrt(D);
    ok(most <= b && most > 0.99 * b && fabs(sum / n) < 0.05 * b &&
           fabs(squares / n / (b * b / 3) - 1) < 0.05,
       "down-projections are uniform within 1/sqrt(D)");
    int zero = 1;
    for (int i = 0; i < E * D * A; i++)
        zero &= Up[i] == 0;
    ok(zero, "up-projections are zero");
    moe_init(&W2, &c, 42, 2, D);
    ok(memcmp(Wr[0], Wr[1], sizeof *Wr) && memcmp(Dn[0], Dn[1], sizeof *Dn) &&
           memcmp(Dn[0], Dn[0] + A * D, A * D * sizeof(float)) &&
           memcmp(Dn[0], Wr[0], D * sizeof(float)),
       "layers, experts and router differ");
}

int main(void)
{
    omp_set_dynamic(0);
    test_case(1, 8, 4, 2, 4, BALANCE_SWITCH, 0);
    test_case(7, 16, 6, 2, 8, BALANCE_SWITCH, 0);
    test_case(9, 10, 5, 3, 3, BALANCE_MIXTRAL, 0);
    test_case(9, 10, 5, 3, 3, BALANCE_SWITCH, 0.25);
    test_case(8, 12, 4, 4, 5, BALANCE_NONE, 0); /* dense mixture */
    test_case(8, 12, 4, 1, 5, BALANCE_OFFICIAL, 0);
    test_case(8, 12, 4, 1, 5, BALANCE_SWITCH, 0.1);
    test_case(11, 13, 16, 2, 2, BALANCE_OFFICIAL, 0.5); /* some experts without tokens */
    test_identity();
    test_permutation();
    test_batch();
    test_choice();
    test_sorting();
    test_balance_values();
    test_dropout_rate();
    test_frozen_and_small();
    test_init();
    test_threads();
    return tap_done();
}
