/* What the loop reports, against the same figures by hand: one update, evaluation, routing. */
#include "config.h"
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"

#include "train/evaluate.h"
#include "train/loop.h"

#include <omp.h>

enum { E = 5, K = 2, L = 2, DOMAINS = 2 };
static const struct moe_config pesc = {.experts = E, .top_k = K, .dim = 6, .scaling = 0.75};
static const long lengths[2][3] = {{9, 4, 12}, {5, 8, 3}};

struct two {
    struct small_batch g[2];
};

static int get(void *ctx, long i, struct batch *out, struct pesc_error *err)
{
    struct two *t = ctx;
    (void)err;
    *out = t->g[i % 2].b;
    return 0;
}

static struct batch_source source(struct two *t, long vocab)
{
    for (int i = 0; i < 2; i++)
        small_batch(&t->g[i], vocab, 3 + (uint32_t)i, 3, lengths[i]);
    return (struct batch_source){get, t, 25, 3};
}

static void source_free(struct two *t)
{
    small_batch_free(&t->g[0]);
    small_batch_free(&t->g[1]);
}

/* Sums over tokens, taken from what every layer saved: of a domain, or of all in the last place. */
struct by_hand {
    const struct batch *b;
    double load[L][DOMAINS + 1][E], prob[L][DOMAINS + 1][E], first[L][DOMAINS + 1][E];
    double top1[L][DOMAINS + 1], balance[L], tokens[DOMAINS + 1];
};

static void add_by_hand(void *ctx, long l, const struct moe_saved *s, long T)
{
    struct by_hand *h = ctx;
    double load[E] = {0}, prob[E] = {0};
    for (long q = 0; q < h->b->S; q++)
        for (long t = h->b->cu[q]; t < h->b->cu[q + 1]; t++) {
            const float *p = s->prob + t * E;
            const int *chosen = s->expert + t * K;
            int best = 0;
            for (int e = 0; e < E; e++) {
                best = p[e] > p[best] ? e : best;
                prob[e] += p[e];
            }
            for (int k = 0; k < K; k++)
                load[chosen[k]]++;
            for (int i = 0; i < 2; i++) {
                int d = i ? DOMAINS : h->b->domain[q];
                for (int e = 0; e < E; e++)
                    h->prob[l][d][e] += p[e];
                for (int k = 0; k < K; k++)
                    h->load[l][d][chosen[k]]++;
                h->first[l][d][best]++;
                h->top1[l][d] += p[best];
                h->tokens[d] += l == 0;
            }
        }
    for (long e = 0; e < E; e++)
        h->balance[l] += E * load[e] / (double)(K * T) * prob[e];
}

struct told {
    struct step_metrics step;
    struct by_hand *h;
    double off;
    long routers, domains, evals, eval_domains, last_step;
};

static void on_step(void *ctx, const struct step_metrics *m, int logged)
{
    struct told *t = ctx;
    t->step = *m;
    (void)logged;
}

static void differ(struct told *t, double got, double want)
{
    double d = fabs(got - want);
    t->off = d <= t->off ? t->off : isnan(d) ? INFINITY : d;
}

/* Of all tokens, of a domain, and in an evaluation: in the places of the first letters. */
static void compare(struct told *t, const struct router_metrics *m)
{
    const struct by_hand *h = t->h;
    int d = !m->domain ? DOMAINS : !strcmp(m->domain, "b"), l = m->layer;
    double entropy = 0, sum = 0, first = 0, prob = 0;
    for (long e = 0; e < E; e++) {
        double share = h->load[l][d][e] / (h->tokens[d] * K);
        differ(t, m->load[e], share);
        differ(t, m->prob[e], h->prob[l][d][e] / h->tokens[d]);
        differ(t, m->first[e], h->first[l][d][e] / h->tokens[d]);
        entropy -= share > 0 ? share * log(share) : 0;
        sum += m->load[e], first += m->first[e], prob += m->prob[e];
    }
    differ(t, sum, 1), differ(t, first, 1), differ(t, prob, 1);
    differ(t, m->entropy, entropy);
    differ(t, m->top1, h->top1[l][d] / h->tokens[d]);
    differ(t, (double)m->tokens, h->tokens[d]);
    if (d == DOMAINS)
        differ(t, m->balance, h->balance[l] / h->tokens[d]);
    else if (!isnan(m->balance))
        t->off = INFINITY;
}

static void on_router(void *ctx, const struct router_metrics *m)
{
    struct told *t = ctx;
    compare(t, m);
    t->routers += !m->domain && !m->task;
}

static void on_domain(void *ctx, const struct router_metrics *m)
{
    struct told *t = ctx;
    compare(t, m);
    t->domains += m->domain && !m->task;
}

static void on_router_eval(void *ctx, const struct router_metrics *m)
{
    struct told *t = ctx;
    compare(t, m);
    t->evals += m->task && !strcmp(m->task, "held out");
    t->eval_domains += m->domain != NULL;
    t->last_step = m->step;
}

/* One update of two batches, and another with rate 0. */
static void test_update(void)
{
    static const double rates[] = {0.03, 0};
    static const char *const names[] = {"a", "b"};
    struct pesc_error err = {0};
    struct model *m = small_open(gen_path("m"), &SMALL(), &pesc, TRAIN_ADAPTERS, COMPUTE_F32);
    size_t n = m->params.total;
    struct two two;
    struct by_hand h = {.b = NULL};
    struct told told = {.h = &h};
    struct batch_source data = source(&two, m->c.vocab_size);
    struct train_sink sink = {&told, on_step, on_router, on_domain, NULL, NULL, NULL, NULL};
    struct train_result r;
    double coef = 0.3, clip = 0.01, ce = 0, norm = 0, off = 0, balance = 0;
    double tokens = 25 + 16,
           scored = (double)(batch_scored(&two.g[0].b) + batch_scored(&two.g[1].b));
    float *before = calloc(n, sizeof *before);
    memset(m->params.grad, 0, n * sizeof *m->params.grad);
    memcpy(before, m->params.value, n * sizeof *before);
    for (int i = 0; i < 2; i++) {
        h.b = &two.g[i].b;
        struct engine_step s = {.loss_scale = 1 / scored,
                                .balance_scale = coef / L * (double)h.b->T / tokens,
                                .routed = add_by_hand,
                                .routed_ctx = &h};
        small_train(m, h.b, &s, 1);
        ce += s.loss_sum / scored;
    }
    for (size_t i = 0; i < n; i++)
        norm += (double)m->params.grad[i] * m->params.grad[i];
    norm = sqrt(norm);
    for (long l = 0; l < L; l++)
        balance += h.balance[l] / tokens / L;
    float *grad = calloc(n, sizeof *grad);
    memcpy(grad, m->params.grad, n * sizeof *grad);
    struct train_options o = {.steps = 1,
                              .accumulation = 2,
                              .schedule = {.kind = SCHEDULE_LIST, .list = rates, .n_list = 2},
                              .adamw = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-3},
                              .max_grad_norm = clip,
                              .balance_coef = coef,
                              .router_steps = 1,
                              .batches_per_epoch = 4,
                              .domains = names,
                              .n_domains = DOMAINS};
    must_do(train_run(m, &data, &o, &sink, NULL, &r, &err), &err);
    const struct step_metrics *s = &told.step;
    ok(fabs(s->ce - ce) < 1e-6 && fabs(s->balance - balance) < 1e-6 &&
           fabs(s->loss - ce - coef * balance) < 1e-6 && fabs(s->grad_norm / norm - 1) < 1e-6,
       "losses and gradient norm of an update");
    ok(s->tokens == 41 && s->trained_tokens == (long)scored && s->lr == 0.03 && s->epoch == 0.5 &&
           s->steps_planned == 1 && r.tokens == 41 && r.trained_tokens == (long)scored,
       "its tokens, rate and epoch");
    for (size_t i = 0; i < n; i++) { /* the first update: m / correction is g, v / correction g^2 */
        double g = grad[i] * clip / (norm + 1e-6);
        off = fmax(off, fabs(before[i] - 0.03 * g / (fabs(g) + 1e-3) - m->params.value[i]));
    }
    ok(norm > 2 * clip && off < 1e-6, "its clipped gradient in AdamW's first step");
    diag("weights off by %.2g", off);
    ok(told.routers == L && told.domains == L * DOMAINS && told.off < 1e-6,
       "routing: loads, probabilities, entropy, first choices and balance, in all and by domain");
    diag("off by %.2g", told.off);
    free(before), free(grad);
    source_free(&two);
    model_close(m);
}

static void test_reports(void)
{
    static const char *const names[] = {"a", "b"};
    struct pesc_error err = {0};
    struct model *m = small_open(gen_path("m"), &SMALL(), &pesc, TRAIN_ADAPTERS, COMPUTE_F32);
    struct two two;
    struct by_hand h = {.b = NULL};
    struct told told = {.h = &h};
    struct batch_source data = source(&two, m->c.vocab_size);
    struct train_sink sink = {&told, NULL, on_router, on_domain, NULL, NULL, NULL, NULL};
    struct train_result r;
    for (int i = 0; i < 2; i++) {
        h.b = &two.g[i].b;
        struct engine_step s = {.routed = add_by_hand, .routed_ctx = &h};
        small_train(m, h.b, &s, 0);
    }
    struct train_options o = {.steps = 4, /* rate 0, so that both reports are of the same */
                              .accumulation = 1,
                              .adamw = ADAMW_DEFAULTS,
                              .router_steps = 2,
                              .domains = names,
                              .n_domains = DOMAINS};
    must_do(train_run(m, &data, &o, &sink, NULL, &r, &err), &err);
    ok(told.routers == 2 * L && told.domains == 2 * L * DOMAINS && told.off < 1e-6,
       "every report of routing starts anew");
    diag("off by %.2g", told.off);
    source_free(&two);
    model_close(m);
}

/* At rate 0 each of the evaluations, before and after two steps, sees what one pass over both
 * batches does; without names of domains it tells of all tokens alone. */
static void test_eval_routing(void)
{
    static const char *const names[] = {"a", "b"};
    for (int named = 0; named < 2; named++) {
        struct pesc_error err = {0};
        struct model *m = small_open(gen_path("m"), &SMALL(), &pesc, TRAIN_ADAPTERS, COMPUTE_F32);
        struct two two;
        struct by_hand h = {.b = NULL};
        struct told told = {.h = &h, .last_step = -1};
        struct batch_source data = source(&two, m->c.vocab_size);
        struct train_sink sink = {.ctx = &told, .router_eval = on_router_eval};
        struct train_result r;
        for (int i = 0; i < 2; i++) {
            h.b = &two.g[i].b;
            struct engine_step s = {.routed = add_by_hand, .routed_ctx = &h};
            small_train(m, h.b, &s, 0);
        }
        struct train_options o = {.steps = 2,
                                  .accumulation = 1,
                                  .adamw = ADAMW_DEFAULTS,
                                  .router_steps = 1,
                                  .domains = names,
                                  .n_domains = DOMAINS,
                                  .eval = &data,
                                  .eval_batches = 2,
                                  .eval_task = "held out",
                                  .eval_domains = names,
                                  .n_eval_domains = named ? DOMAINS : 0};
        must_do(train_run(m, &data, &o, &sink, NULL, &r, &err), &err);
        ok(told.evals == 2 * L * (named ? 1 + DOMAINS : 1) &&
               told.eval_domains == (named ? 2 * L * DOMAINS : 0) && told.last_step == 2 &&
               told.off < 1e-6,
           "routing of every evaluation, %s", named ? "by domain too" : "without domains");
        diag("off by %.2g", told.off);
        source_free(&two);
        model_close(m);
    }
}

static void on_loss(void *ctx, const struct step_metrics *m, int logged)
{
    double *ce = ctx;
    (void)logged;
    ce[m->step] = m->ce;
}

/* The same batch at rate 0: only dropout can tell one step from the next. */
static void test_dropout(void)
{
    double ce[2][7];
    for (int i = 0; i < 2; i++) {
        struct moe_config moe = pesc;
        struct pesc_error err = {0};
        struct two two;
        moe.dropout = i ? 0.3 : 0;
        struct model *m = small_open(gen_path("m"), &SMALL(), &moe, TRAIN_ADAPTERS, COMPUTE_F32);
        struct batch_source data = source(&two, m->c.vocab_size);
        struct train_sink sink = {.ctx = ce[i], .step = on_loss};
        struct train_result r;
        struct train_options o = {.steps = 6, .accumulation = 2, .adamw = ADAMW_DEFAULTS};
        must_do(train_run(m, &data, &o, &sink, NULL, &r, &err), &err);
        source_free(&two);
        model_close(m);
    }
    int same = 1, other = 1;
    for (int k = 1; k < 6; k++) {
        same &= ce[0][k] == ce[0][k + 1];
        other &= ce[1][k] != ce[1][k + 1] && ce[1][k] != ce[0][k];
    }
    ok(same && other, "every step drops other elements, and none without dropout");
}

/* Standard error of sum(x) / sum(n) over the samples that have any n. */
static double by_sample(const double *x, const double *n, long samples)
{
    double R = 0, X = 0, N = 0, squares = 0;
    for (long s = 0; s < samples; s++) {
        R += n[s] > 0;
        X += x[s];
        N += n[s];
    }
    for (long s = 0; s < samples; s++)
        squares += (x[s] - X / N * n[s]) * (x[s] - X / N * n[s]);
    return sqrt(R / (R - 1) * squares) / N;
}

static void test_evaluate(void)
{
    double losses[6] = {0}, hits[6] = {0}, counts[6] = {0};
    struct pesc_error err = {0};
    struct model *m = small_open(gen_path("m"), &SMALL(), &pesc, TRAIN_NOTHING, COMPUTE_F32);
    long V = m->c.vocab_size;
    struct two two;
    struct engine *e;
    struct batch_source data = source(&two, V);
    struct eval_sum all, domain[DOMAINS], want[DOMAINS] = {{0}}, total = {0};
    for (int i = 0; i < 2; i++) {
        struct small_batch *g = &two.g[i];
        for (long t = 0; t < g->b.T; t++) /* a few right answers */
            g->labels[t] = t % 3 ? g->labels[t] : 7;
        float *logits = small_logits(m, &g->b);
        for (long q = 0; q < g->b.S; q++) {
            struct eval_sum *w = &want[g->domain[q]];
            struct eval_sum before = *w;
            w->samples++;
            for (long t = g->cu[q]; t + 1 < g->cu[q + 1]; t++) {
                const float *l = logits + t * V;
                double z = 0;
                int right = 1;
                if (i == 1 && q == 0 && t % 2) /* sample with labels that are right */
                    for (long v = 0; v < V; v++)
                        g->labels[t + 1] = l[v] >= l[g->labels[t + 1] < 0 ? 0 : g->labels[t + 1]]
                                               ? (int32_t)v
                                               : g->labels[t + 1];
                int32_t y = g->labels[t + 1];
                if (y == LABEL_MASKED)
                    continue;
                for (long v = 0; v < V; v++) {
                    z += exp((double)l[v]);
                    right &= l[v] <= l[y];
                }
                w->loss += log(z) - l[y];
                w->correct += right;
                w->scored++;
            }
            losses[3 * i + q] = w->loss - before.loss;
            hits[3 * i + q] = (double)(w->correct - before.correct);
            counts[3 * i + q] = (double)(w->scored - before.scored);
        }
        free(logits);
    }
    for (int d = 0; d < DOMAINS; d++) {
        total.loss += want[d].loss;
        total.scored += want[d].scored;
        total.correct += want[d].correct;
    }
    must_do(engine_open(m, 25, 3, 0, NULL, &e, &err), &err);
    must_do(evaluate(e, &data, 2, &all, domain, DOMAINS, NULL, &err), &err);
    int good = all.samples == 6 && all.scored == total.scored && all.correct == total.correct &&
               all.correct > 1 && all.correct < all.scored && fabs(all.loss - total.loss) < 1e-4;
    for (int d = 0; d < DOMAINS; d++)
        good &= domain[d].samples == want[d].samples && domain[d].scored == want[d].scored &&
                domain[d].correct == want[d].correct && fabs(domain[d].loss - want[d].loss) < 1e-4;
    ok(good, "evaluation: loss and right tokens, in all and by domain");
    double p = (double)total.correct / (double)total.scored;
    ok(fabs(eval_loss(&all) - total.loss / (double)total.scored) < 1e-6 &&
           eval_accuracy(&all) == p &&
           fabs(eval_stderr(&all) - by_sample(hits, counts, 6)) < 1e-12 &&
           fabs(eval_loss_stderr(&all) - by_sample(losses, counts, 6)) < 1e-5,
       "means and their standard errors by samples");
    must_do(evaluate(e, &data, 1, &all, NULL, 0, NULL, &err), &err);
    ok(all.samples == 3 && isnan(eval_loss(&(struct eval_sum){0})) &&
           isnan(eval_accuracy(&(struct eval_sum){0})),
       "only the batches asked for; nothing scored is not a number");
    engine_close(e);
    source_free(&two);
    model_close(m);
}

int main(void)
{
    gen_begin();
    omp_set_num_threads(1);
    test_update();
    test_reports();
    test_eval_routing();
    test_dropout();
    test_evaluate();
    return gen_end();
}
