/* What holds for the whole engine, on small random models. */
#include "config.h"
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"

#include "model/decode.h"

#include <omp.h>

#define ROPE3                                                                                      \
    "{\"rope_type\":\"llama3\",\"factor\":4.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"   \
    "\"original_max_position_embeddings\":16}"
#define DYNAMIC "{\"rope_type\":\"dynamic\",\"factor\":2.0}"
static const struct moe_config pesc = {.experts = 5, .top_k = 2, .dim = 6, .scaling = 0.75};
static const long four[] = {9, 4, 12, 7};

/* Sums in another order: measured below 1e-6 of the largest value. */
#define ROUNDING 1e-5

static size_t logits_size(const struct model *m, const struct batch *b)
{
    return (size_t)(b->T * m->c.vocab_size);
}

/* Untrained adapters change no bit, whatever the model and the type of the products. */
static void test_zero_up(enum compute compute)
{
    const struct small kinds[] = {
        SMALL(.vocab = 131), SMALL(.attention_bias = 1, .mlp_bias = 1, .rope = ROPE3, .bf16 = 1),
        SMALL(.type = "qwen2", .window = 4, .tied = 1), SMALL(.type = "qwen3", .kv_heads = 1),
        SMALL(.type = "mistral", .window = 3, .layers = 3)};
    struct moe_config moe = pesc;
    moe.dropout = 0.5; /* only training drops */
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct base *b = small_base(gen_path("m"), &kinds[i]);
        struct model *dense = small_model(b, NULL, TRAIN_NOTHING, compute);
        struct model *crafted = small_model(b, &moe, TRAIN_ADAPTERS, compute);
        struct small_batch g;
        small_batch(&g, dense->c.vocab_size, 1, 4, four);
        float *want = small_logits(dense, &g.b), *got = small_logits(crafted, &g.b);
        size_t n = logits_size(dense, &g.b) * sizeof *got;
        int same = !memcmp(want, got, n);
        small_adapters(crafted);
        float *other = small_logits(crafted, &g.b);
        ok(same && memcmp(want, other, n), "%s, %s: zero up-projections leave every bit",
           dense->c.arch_name, compute == COMPUTE_BF16 ? "bf16" : "f32");
        free(want), free(got), free(other);
        small_batch_free(&g);
        model_close(dense);
        model_close(crafted);
        base_close(b);
    }
}

struct seen {
    long calls, T, layers[8];
    const struct moe_config *moe;
    int good;
};

static void check_routing(void *ctx, long layer, const struct moe_saved *s, long T)
{
    struct seen *v = ctx;
    long E = v->moe->experts, K = v->moe->top_k;
    v->layers[layer]++;
    v->calls++;
    v->good &= T == v->T;
    for (long t = 0; t < T; t++) {
        double sum = 0, all = 0;
        for (long k = 0; k < K; k++) {
            const int *e = s->expert + t * K;
            sum += s->w[t * K + k];
            v->good &= e[k] >= 0 && e[k] < E && s->w[t * K + k] > 0;
            v->good &= k == 0 || (e[k] != e[k - 1] && s->w[t * K + k] <= s->w[t * K + k - 1]);
        }
        for (long e = 0; e < E; e++)
            all += s->prob[t * E + e];
        v->good &= fabs(sum - 1) < 3e-7 && fabs(all - 1) < 1e-6;
    }
}

static void test_routing(void)
{
    struct model *m =
        small_open(gen_path("m"), &SMALL(.layers = 3), &pesc, TRAIN_ADAPTERS, COMPUTE_F32);
    struct small_batch g;
    small_batch(&g, m->c.vocab_size, 1, 4, four);
    struct seen v = {.T = g.b.T, .moe = &m->moe, .good = 1};
    struct engine_step s = {.loss_scale = 1, .routed = check_routing, .routed_ctx = &v};
    small_train(m, &g.b, &s, 0);
    ok(v.good && v.calls == 3 && v.layers[0] == 1 && v.layers[1] == 1 && v.layers[2] == 1,
       "routing is told once a layer, weights sum to 1, the most probable expert first");
    small_batch_free(&g);
    model_close(m);
}

/* Moves expert e of every layer to place to[e]. */
static void permute(float *out, const float *in, const struct model *m, const int *to)
{
    size_t D = (size_t)m->c.hidden_size, E = (size_t)m->moe.experts, A = (size_t)m->moe.dim;
    size_t layer = E * D + 2 * E * A * D;
    for (size_t l = 0; l < (size_t)m->c.num_layers; l++)
        for (size_t e = 0; e < E; e++) {
            const float *from = in + l * layer;
            float *at = out + l * layer;
            size_t t = (size_t)to[e], n = A * D;
            memcpy(at + t * D, from + e * D, D * sizeof *at);
            memcpy(at + E * D + t * n, from + E * D + e * n, n * sizeof *at);
            memcpy(at + E * D + E * n + t * n, from + E * D + E * n + e * n, n * sizeof *at);
        }
}

static void test_permutation(void)
{
    static const int to[] = {3, 0, 4, 1, 2};
    struct model *m = small_open(gen_path("m"), &SMALL(), &pesc, TRAIN_ADAPTERS, COMPUTE_F32);
    size_t n = m->params.total;
    float *copy = calloc(n, sizeof *copy), *grad = calloc(n, sizeof *grad);
    struct small_batch g;
    struct engine_step s = {.loss_scale = 1, .balance_scale = 1};
    small_batch(&g, m->c.vocab_size, 1, 4, four);
    float *want = small_logits(m, &g.b);
    small_train(m, &g.b, &s, 0);
    permute(grad, m->params.grad, m, to);
    memcpy(copy, m->params.value, n * sizeof *copy);
    permute(m->params.value, copy, m, to);
    float *got = small_logits(m, &g.b);
    small_train(m, &g.b, &s, 0);
    double off = small_diff(got, want, logits_size(m, &g.b)),
           goff = small_diff(m->params.grad, grad, n);
    ok(off <= ROUNDING && memcmp(copy, m->params.value, n * sizeof *copy),
       "renumbering the experts leaves the logits");
    ok(goff <= ROUNDING, "and renumbers the gradients");
    diag("logits off by %.2g, gradients by %.2g of the largest", off, goff);
    free(copy), free(grad), free(want), free(got);
    small_batch_free(&g);
    model_close(m);
}

/* Each sample's logits: alone, packed, packed in another order. */
static void test_packing(void)
{
    static const long order[] = {2, 0, 3, 1};
    const struct small kinds[] = {SMALL(.vocab = 131), SMALL(.type = "qwen3", .window = 4),
                                  SMALL(.rope = DYNAMIC, .positions = 6)};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct model *m = small_open(gen_path("m"), &kinds[i], &pesc, TRAIN_NOTHING, COMPUTE_F32);
        struct small_batch g, h, one;
        double off = 0;
        int bits = 1;
        size_t V = (size_t)m->c.vocab_size;
        small_batch(&g, (long)V, 1, 4, four);
        small_batch_pick(&h, &g.b, 4, order);
        float *all = small_logits(m, &g.b), *moved = small_logits(m, &h.b);
        for (long s = 0; s < 4; s++) {
            long from = order[s];
            size_t n = (size_t)(g.cu[from + 1] - g.cu[from]) * V;
            small_batch_pick(&one, &g.b, 1, &from);
            float *alone = small_logits(m, &one.b);
            const float *a = all + (size_t)g.cu[from] * V, *b = moved + (size_t)h.cu[s] * V;
            off = fmax(off, fmax(small_diff(a, alone, n), small_diff(b, alone, n)));
            bits &= !memcmp(a, b, n * sizeof *a) && !memcmp(a, alone, n * sizeof *a);
            free(alone);
            small_batch_free(&one);
        }
        ok(off <= ROUNDING, "%s%s: a sample's logits do not depend on its company", m->c.arch_name,
           kinds[i].rope ? ", dynamic rope" : "");
        diag("off by %.2g of the largest; %s bits", off, bits ? "equal" : "other");
        free(all), free(moved);
        small_batch_free(&g), small_batch_free(&h);
        model_close(m);
    }
}

/* Two half-batches add up to one; also where the head works in several chunks. */
static void test_halves(const char *what, const struct small *o, const struct moe_config *moe,
                        long long_sample)
{
    static const long halves[2][2] = {{0, 1}, {2, 3}};
    long lengths[] = {9 + long_sample, 4 + long_sample, 12, 7};
    struct model *m =
        small_open(gen_path("m"), o, moe, moe ? TRAIN_ADAPTERS : TRAIN_FULL, COMPUTE_F32);
    size_t n = m->params.total;
    struct small_batch g, h;
    struct engine_step s = {.loss_scale = 0.25}, part = {.loss_scale = 0.25};
    double sum = 0;
    long scored = 0;
    float *want = calloc(n, sizeof *want);
    small_batch(&g, m->c.vocab_size, 1, 4, lengths);
    small_train(m, &g.b, &s, 0);
    memcpy(want, m->params.grad, n * sizeof *want);
    memset(m->params.grad, 0, n * sizeof *want);
    for (int i = 0; i < 2; i++) {
        small_batch_pick(&h, &g.b, 2, halves[i]);
        small_train(m, &h.b, &part, 1);
        sum += part.loss_sum;
        scored += part.scored;
        small_batch_free(&h);
    }
    double off = small_diff(m->params.grad, want, n);
    ok(fabs(sum - s.loss_sum) <= 1e-6 * sum && scored == s.scored && off <= ROUNDING,
       "%s: two half-batches accumulate to one", what);
    diag("gradients off by %.2g of the largest", off);
    free(want);
    small_batch_free(&g);
    model_close(m);
}

/* With one expert a token its weight is the constant 1. */
static void test_top_1(void)
{
    struct moe_config one = pesc;
    one.top_k = 1;
    struct model *m = small_open(gen_path("m"), &SMALL(), &one, TRAIN_ADAPTERS, COMPUTE_F32);
    size_t n = m->params.total;
    struct small_batch g;
    const double scales[3][2] = {{1, 0}, {1, 2}, {0, 2}};
    float *grad[3];
    int zero = 1, same = 1, moves = 0;
    small_batch(&g, m->c.vocab_size, 1, 4, four);
    for (int i = 0; i < 3; i++) {
        struct engine_step s = {.loss_scale = scales[i][0], .balance_scale = scales[i][1]};
        grad[i] = calloc(n, sizeof **grad);
        small_train(m, &g.b, &s, 0);
        memcpy(grad[i], m->params.grad, n * sizeof **grad);
    }
    for (long i = 0; i < m->params.count; i++) {
        const struct param *p = &m->params.p[i];
        for (size_t k = p->offset; k < p->offset + p->n; k++) {
            if (strstr(p->name, "router")) {
                zero &= grad[0][k] == 0;
                moves |= grad[1][k] != 0;
                same &= grad[1][k] == grad[2][k];
            }
        }
    }
    ok(zero, "top 1: the loss gives the router no gradient");
    ok(same && moves, "top 1: the router's gradient is the balance loss's, to the bit");
    for (int i = 0; i < 3; i++)
        free(grad[i]);
    small_batch_free(&g);
    model_close(m);
}

static int all_null(const struct part *p)
{
    int none = 1;
    for (int t = 0; t < LT_COUNT; t++)
        none &= p->grads.g[t] == NULL;
    return none;
}

static void test_frozen(void)
{
    struct base *b = small_base(gen_path("m"), &SMALL());
    struct model *m = small_model(b, &pesc, TRAIN_ADAPTERS, COMPUTE_F32);
    struct model *rest = small_model(b, &pesc, TRAIN_NOTHING, COMPUTE_F32);
    long D = m->c.hidden_size, E = m->moe.experts, A = m->moe.dim, L = m->c.num_layers;
    int none = !m->grad_embed && !m->grad_head && !m->grad_norm;
    for (long l = 0; l < L; l++)
        none &= all_null(&m->attn[l]) && all_null(&m->ffn[l]) && m->ffn[l].dW.Wr != NULL &&
                rest->ffn[l].dW.Wr == NULL && rest->ffn[l].dW.Up == NULL;
    ok(none && (long)m->params.total == L * (E * D + 2 * E * A * D),
       "only adapters and routers have gradients");
    ok(!rest->params.grad, "a model that does not train has none");
    small_adapters(m);
    size_t n = (size_t)(m->c.vocab_size * D), k = (size_t)(m->c.intermediate_size * D);
    struct layer_weights w;
    struct small_batch g;
    struct pesc_error err = {0};
    struct engine_step s = {.loss_scale = 1, .balance_scale = 1};
    float *embed = calloc(n, sizeof *embed), *down = calloc(k, sizeof *down);
    small_batch(&g, m->c.vocab_size, 1, 4, four);
    must_do(base_read_f32(b, NAME_EMBED, embed, &err), &err);
    must_do(base_read_f32(b, "model.layers.1.mlp.down_proj.weight", down, &err), &err);
    small_train(m, &g.b, &s, 0);
    must_do(weights_layer(m->weights, 1, &w, &err), &err);
    ok(!memcmp(embed, weights_outer(m->weights)->embed.data, n * sizeof *embed) &&
           !memcmp(down, w.mat[LT_DOWN].data, k * sizeof *down),
       "training steps leave frozen weights");
    free(embed), free(down);
    small_batch_free(&g);
    model_close(m);
    model_close(rest);
    base_close(b);
}

/* Of the labels, only those that are scored count; losses and choices are those of the logits. */
static void test_loss(void)
{
    struct model *m = small_open(gen_path("m"), &SMALL(), &pesc, TRAIN_ADAPTERS, COMPUTE_F32);
    long V = m->c.vocab_size;
    size_t n = m->params.total;
    struct pesc_error err = {0};
    struct engine *e;
    struct small_batch g;
    float losses[32], *grad = calloc(n, sizeof *grad);
    int32_t argmax[32];
    struct engine_step s = {.loss_scale = 0.5, .losses = losses, .argmax = argmax}, t = s;
    small_batch(&g, V, 1, 4, four);
    float *logits = small_logits(m, &g.b);
    for (int i = 0; i < 32; i++)
        losses[i] = -1, argmax[i] = -1;
    small_train(m, &g.b, &s, 0);
    memcpy(grad, m->params.grad, n * sizeof *grad);
    double sum = 0, worst = 0;
    long scored = 0;
    int good = 1;
    for (long q = 0; q < g.b.S; q++)
        for (long i = g.cu[q]; i < g.cu[q + 1]; i++) {
            const float *l = logits + i * V;
            double z = 0;
            long best = 0;
            if (i + 1 == g.cu[q + 1] || g.labels[i + 1] == LABEL_MASKED) {
                good &= losses[i] == -1 && argmax[i] == -1;
                continue;
            }
            for (long v = 0; v < V; v++) {
                z += exp((double)l[v]);
                best = l[v] > l[best] ? v : best;
            }
            double want = log(z) - l[g.labels[i + 1]];
            worst = fmax(worst, fabs(want - losses[i]));
            good &= argmax[i] == best;
            sum += want;
            scored++;
        }
    ok(good && worst < 1e-5 && scored > 5 && scored == s.scored && scored == batch_scored(&g.b) &&
           fabs(sum - s.loss_sum) < 1e-5 * sum,
       "loss and most probable token of each scored position are those of the logits");
    diag("losses off by %.2g", worst);
    must_do(engine_open(m, g.b.T, g.b.S, 0, NULL, &e, &err), &err);
    must_do(engine_loss(e, &g.b, &t, &err), &err);
    engine_close(e);
    ok(t.loss_sum == s.loss_sum && t.scored == s.scored,
       "the pass without gradients finds the same loss");
    for (long q = 0; q < g.b.S; q++) /* nothing predicts a sample's first token */
        g.labels[g.cu[q]] = g.labels[g.cu[q]] == LABEL_MASKED ? 3 : LABEL_MASKED;
    small_train(m, &g.b, &s, 0);
    ok(s.loss_sum == t.loss_sum && s.scored == t.scored &&
           !memcmp(grad, m->params.grad, n * sizeof *grad),
       "labels of first tokens do not count");
    for (long i = 0; i < g.b.T; i++)
        g.labels[i] = LABEL_MASKED;
    small_train(m, &g.b, &s, 0);
    int zero = 1;
    for (size_t i = 0; i < n; i++)
        zero &= m->params.grad[i] == 0;
    ok(s.scored == 0 && s.loss_sum == 0 && zero, "all masked: no loss and no gradient");
    free(grad), free(logits);
    small_batch_free(&g);
    model_close(m);
}

/* The last logits of each prefix given in pieces, against one pass over the whole. */
static void test_decoder(const char *what, const struct small *o, const struct moe_config *moe,
                         long total, const long *pieces)
{
    struct model *m = small_open(gen_path("m"), o, moe, TRAIN_NOTHING, COMPUTE_F32);
    size_t V = (size_t)m->c.vocab_size;
    struct pesc_error err = {0};
    struct small_batch g;
    struct decoder *d;
    double off = 0;
    long at = 0;
    small_batch(&g, (long)V, 1, 1, &total);
    float *want = small_logits(m, &g.b);
    must_do(decoder_open(m, total, &d, &err), &err);
    for (long i = 0; at < total; i++) {
        const float *logits;
        long n = pieces[i] && pieces[i] < total - at ? pieces[i] : total - at;
        must_do(decoder_feed(d, g.ids + at, n, &logits, &err), &err);
        at += n;
        double o2 = small_diff(logits, want + (size_t)(at - 1) * V, V);
        off = o2 <= off ? off : o2;
    }
    ok(off <= ROUNDING && decoder_length(d) == total, "decoder: %s", what);
    diag("off by %.2g of the largest", off);
    const float *logits;
    is_error(decoder_feed(d, g.ids, 1, &logits, &err), &err, "E-LIMIT", 8, "one token more");
    decoder_close(d);
    free(want);
    small_batch_free(&g);
    model_close(m);
}

/* In one layer a query sees window keys, itself included, and no more. */
static void test_window(void)
{
    struct model *m = small_open(gen_path("m"), &SMALL(.type = "mistral", .layers = 1, .window = 5),
                                 NULL, TRAIN_NOTHING, COMPUTE_F32);
    const long T = 20;
    size_t V = (size_t)m->c.vocab_size;
    struct small_batch g;
    small_batch(&g, (long)V, 1, 1, &T);
    float *before = small_logits(m, &g.b);
    g.ids[6] = (g.ids[6] + 1) % (int32_t)V;
    float *after = small_logits(m, &g.b);
    int good = 1;
    for (size_t t = 0; t < (size_t)T; t++)
        good &=
            (memcmp(before + t * V, after + t * V, V * sizeof *after) != 0) == (t >= 6 && t < 11);
    ok(good, "a window of 5: a token is seen by itself and the next 4");
    free(before), free(after);
    small_batch_free(&g);
    model_close(m);
}

static void test_threads(enum compute compute)
{
    struct moe_config moe = pesc;
    moe.dropout = 0.2;
    struct model *m = small_open(gen_path("m"), &SMALL(.hidden = 64, .inter = 160, .vocab = 301),
                                 &moe, TRAIN_ADAPTERS, compute);
    static const int threads[] = {1, 1, 2, 2, 3, 3};
    static const long lengths[] = {60, 37, 80};
    const char *type = compute == COMPUTE_BF16 ? "bf16" : "f32";
    size_t n = m->params.total;
    struct small_batch g;
    float *grad[6], *logits[6];
    int most = omp_get_max_threads();
    small_batch(&g, m->c.vocab_size, 1, 3, lengths);
    size_t ln = logits_size(m, &g.b);
    for (int i = 0; i < 6; i++) {
        struct engine_step s = {.loss_scale = 0.1, .balance_scale = 1, .seed = 4, .number = 9};
        omp_set_num_threads(threads[i]);
        grad[i] = calloc(n, sizeof **grad);
        logits[i] = small_logits(m, &g.b);
        small_train(m, &g.b, &s, 0);
        memcpy(grad[i], m->params.grad, n * sizeof **grad);
    }
    omp_set_num_threads(most);
    for (int i = 0; i < 6; i += 2)
        ok(!memcmp(grad[i], grad[i + 1], n * sizeof **grad) &&
               !memcmp(logits[i], logits[i + 1], ln * sizeof **logits),
           "%s: the same step twice with %d threads, the same bits", type, threads[i]);
    for (int i = 2; i < 6; i += 2) {
        double off = small_diff(grad[i], grad[0], n), loff = small_diff(logits[i], logits[0], ln);
        ok(loff <= (compute == COMPUTE_F32 ? ROUNDING : 0.02) &&
               off <= (compute == COMPUTE_F32 ? ROUNDING : 0.05),
           "%s: %d threads agree with one", type, threads[i]);
        diag("logits off by %.2g, gradients by %.2g of the largest", loff, off);
    }
    for (int i = 0; i < 6; i++)
        free(grad[i]), free(logits[i]);
    small_batch_free(&g);
    model_close(m);
}

int main(void)
{
    static const long ones[40] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, mixed[] = {3, 1, 1, 7, 2, 0},
                      whole[] = {0}, past[] = {290, 1, 4, 0};
    int bf16 = gemm_has_bf16(NULL, 0);
    gen_begin();
    omp_set_num_threads(1); /* with such small models threads only wait for each other */
    test_zero_up(COMPUTE_F32);
    if (bf16)
        test_zero_up(COMPUTE_BF16);
    else
        diag("this CPU has no bf16 products");
    test_routing();
    test_permutation();
    test_packing();
    test_halves("adapters", &SMALL(), &pesc, 0);
    test_halves("all weights, tied", &SMALL(.tied = 1), NULL, 0);
    test_halves("all weights, logits in chunks", &SMALL(.vocab = 70001, .hidden = 8, .heads = 2),
                NULL, 60);
    test_top_1();
    test_frozen();
    test_loss();
    test_decoder("tokens one by one", &SMALL(), &pesc, 12, ones);
    test_decoder("pieces, windows", &SMALL(.type = "mistral", .window = 4), NULL, 30, mixed);
    test_decoder("pieces, biases, norms", &SMALL(.type = "qwen3", .window = 6), &pesc, 30, mixed);
    test_decoder("a prompt of several chunks", &SMALL(.rope = ROPE3), &pesc, 300, past);
    test_decoder("dynamic rope within its positions", &SMALL(.rope = DYNAMIC), &pesc, 30, mixed);
    test_decoder("dynamic rope past its positions, several chunks", &SMALL(.rope = DYNAMIC), &pesc,
                 300, whole);
    test_window();
    test_threads(COMPUTE_F32);
    if (bf16)
        test_threads(COMPUTE_BF16);
    return gen_end();
}
