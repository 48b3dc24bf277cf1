#include "config.h"
#include "tests/unit/model_twin.h"

#include "tests/unit/small_model.h"
#include "tests/unit/twin.h"

#include <stdarg.h>

static void widen(double *to, const float *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[i];
}

void twin_open(struct twin *t, const struct model *m, const struct base *b, long T)
{
    struct pesc_error err = {0};
    memset(t, 0, sizeof *t);
    t->c = m->c;
    t->moe = m->moe;
    t->crafted = m->crafted;
    t->loss_scale = 1;
    must_do(weights_declare(&m->c, &t->dense, &err), &err);
    t->w = DOUBLES(t->dense.total);
    for (long i = 0; i < t->dense.count; i++) {
        const struct param *p = &t->dense.p[i];
        float *v = FLOATS(p->n);
        if (b)
            must_do(base_read_f32(b, p->name, v, &err), &err);
        else
            memcpy(v, m->params.value + params_find(&m->params, p->name)->offset, p->n * sizeof *v);
        widen(t->w + p->offset, v, p->n);
        free(v);
    }
    if (m->crafted) {
        must_do(moe_declare(&t->adapters, &m->moe, m->c.num_layers, m->c.hidden_size, &err), &err);
        t->a = DOUBLES(t->adapters.total);
        widen(t->a, m->params.value, t->adapters.total);
        t->chosen = must_alloc((size_t)(m->c.num_layers * T * m->moe.experts), 1);
        t->load = DOUBLES(m->c.num_layers * m->moe.experts);
    }
    t->logits = DOUBLES(T * m->c.vocab_size);
}

void twin_close(struct twin *t)
{
    params_free(&t->dense);
    params_free(&t->adapters);
    free(t->w), free(t->a), free(t->chosen), free(t->load), free(t->logits);
}

static const double *find(const struct params *ps, const double *v, const char *fmt, ...)
{
    char name[PARAM_NAME_CAP];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    const struct param *p = params_find(ps, name);
    return p ? v + p->offset : NULL;
}
#define LAYER(what) find(&t->dense, t->w, "model.layers.%ld." what, l)

static double *linear(const double *x, const double *W, const double *bias, long T, long N, long K)
{
    double *y = DOUBLES(T * N);
    for (long i = 0; i < T; i++)
        for (long n = 0; n < N; n++) {
            double sum = bias ? bias[n] : 0;
            for (long k = 0; k < K; k++)
                sum += W[n * K + k] * x[i * K + k];
            y[i * N + n] = sum;
        }
    return y;
}

/* The definitions of transformers' ROPE_INIT_FUNCTIONS, for a sequence of n tokens. */
static void frequencies(double *f, const struct model_config *c, long n)
{
    double C = (double)c->head_dim, base = c->rope_theta, k = c->rope_factor;
    if (c->rope == ROPE_DYNAMIC && n > c->max_positions)
        base *= pow(k * (double)n / (double)c->max_positions - (k - 1), C / (C - 2));
    for (long i = 0; i < c->head_dim / 2; i++) {
        f[i] = 1 / pow(base, 2 * (double)i / C);
        if (c->rope == ROPE_LINEAR)
            f[i] /= k;
        if (c->rope != ROPE_LLAMA3)
            continue;
        /* in periods within the original context: below low_freq stretched, above high_freq kept */
        double periods = (double)c->rope_original_positions * f[i] / (2 * acos(-1));
        double s = (periods - c->rope_low_freq) / (c->rope_high_freq - c->rope_low_freq);
        s = fmin(1, fmax(0, s));
        f[i] = f[i] * (s + (1 - s) / k);
    }
}

static void rotate(const struct twin *t, double *y, const double *x, const struct batch *b,
                   long heads)
{
    long C = t->c.head_dim;
    double *f = DOUBLES(C / 2);
    long *position = must_alloc((size_t)b->T, sizeof *position);
    for (long s = 0; s < b->S; s++) {
        long from = b->cu[s], n = b->cu[s + 1] - from;
        for (long i = 0; i < n; i++)
            position[i] = i;
        frequencies(f, &t->c, n);
        twin_rope(y + from * heads * C, x + from * heads * C, position, f, n, heads, C);
    }
    free(f), free(position);
}

static void attention(struct twin *t, double *x, const struct batch *b, long l)
{
    const struct model_config *c = &t->c;
    long T = b->T, D = c->hidden_size, H = c->num_heads, G = c->num_kv_heads, C = c->head_dim;
    struct attn_dims d = {H, G, C, c->window[l], (float)(1 / sqrt((double)C)), NULL};
    double *xn = DOUBLES(T * D), *q2 = DOUBLES(T * H * C), *k2 = DOUBLES(T * G * C);
    double *o = DOUBLES(T * H * C);
    twin_rmsnorm(xn, x, LAYER("input_layernorm.weight"), c->rms_norm_eps, T, D);
    double *q =
        linear(xn, LAYER("self_attn.q_proj.weight"), LAYER("self_attn.q_proj.bias"), T, H * C, D);
    double *k =
        linear(xn, LAYER("self_attn.k_proj.weight"), LAYER("self_attn.k_proj.bias"), T, G * C, D);
    double *v =
        linear(xn, LAYER("self_attn.v_proj.weight"), LAYER("self_attn.v_proj.bias"), T, G * C, D);
    if (c->qk_norm) {
        twin_rmsnorm(q, q, LAYER("self_attn.q_norm.weight"), c->rms_norm_eps, T * H, C);
        twin_rmsnorm(k, k, LAYER("self_attn.k_norm.weight"), c->rms_norm_eps, T * G, C);
    }
    rotate(t, q2, q, b, H);
    rotate(t, k2, k, b, G);
    twin_attention(o, NULL, q2, k2, v, b->cu, b->cu, b->S, &d);
    double *y =
        linear(o, LAYER("self_attn.o_proj.weight"), LAYER("self_attn.o_proj.bias"), T, D, H * C);
    for (long i = 0; i < T * D; i++)
        x[i] += y[i];
    free(xn), free(q), free(k), free(v), free(q2), free(k2), free(o), free(y);
}

/* y += the mixture of adapters of one token: z the feed-forward network's output, xn its input.
 * prob[E]: softmax over all experts. Returns whether the choice is still the held one. */
static int mixture(struct twin *t, double *y, const double *z, const double *xn, double *prob,
                   long l, long token, unsigned char *chosen)
{
    long D = t->c.hidden_size, E = t->moe.experts, A = t->moe.dim;
    double all = 0, some = 0;
    const double *Wr =
        find(&t->adapters, t->a, "model.layers.%ld.mlp.moe_adapter.router.weight", l);
    double *logit = linear(xn, Wr, NULL, 1, E, D);
    int same = 1;
    for (long e = 0; e < E; e++) {
        long before = 0;
        for (long i = 0; i < E; i++)
            before += logit[i] > logit[e] || (logit[i] == logit[e] && i < e);
        int in = before < t->moe.top_k;
        same &= !t->held || in == chosen[e];
        if (!t->held)
            chosen[e] = (unsigned char)in;
        prob[e] = exp(logit[e]);
        all += prob[e];
        some += in ? prob[e] : 0;
    }
    for (long e = 0; e < E; e++) {
        const char *at = "model.layers.%ld.mlp.moe_adapter.experts.expert_%ld.adapter_%s.weight";
        const double *Dn = find(&t->adapters, t->a, at, l, e, "down");
        const double *Up = find(&t->adapters, t->a, at, l, e, "up");
        struct rng_key key = {t->rng.seed, RNG_DROPOUT, t->rng.step, (uint32_t)(l * E + e)};
        for (long a = 0; chosen[e] && a < A; a++) {
            double pre = 0;
            for (long d = 0; d < D; d++) {
                int drops =
                    t->rng.training && rng_unit(&key, (uint64_t)(token * D + d)) < t->moe.dropout;
                double keep = t->rng.training ? 1 / (1 - t->moe.dropout) : 1;
                pre += drops ? 0 : Dn[a * D + d] * z[d] * keep;
            }
            double act = pre * 0.5 * erfc(-pre / sqrt(2));
            for (long d = 0; d < D; d++)
                y[d] += prob[e] / some * t->moe.scaling * Up[d * A + a] * act;
        }
        prob[e] /= all;
    }
    free(logit);
    return same;
}

static double balance_of(const struct twin *t, const double *mean, long l)
{
    double sum = 0, E = (double)t->moe.experts, K = (double)t->moe.top_k;
    for (long e = 0; e < t->moe.experts; e++)
        sum += E * mean[e] * t->load[l * t->moe.experts + e];
    return t->moe.balance == BALANCE_SWITCH ? sum / K : t->moe.balance == BALANCE_MIXTRAL ? sum : 0;
}

/* Adds the layer's balance loss to *balance; returns whether all choices are the held ones. */
static int feed_forward(struct twin *t, double *x, const struct batch *b, long l, double *balance)
{
    long T = b->T, D = t->c.hidden_size, F = t->c.intermediate_size, E = t->moe.experts;
    double *xn = DOUBLES(T * D), *act = DOUBLES(T * F);
    int same = 1;
    twin_rmsnorm(xn, x, LAYER("post_attention_layernorm.weight"), t->c.rms_norm_eps, T, D);
    double *g = linear(xn, LAYER("mlp.gate_proj.weight"), LAYER("mlp.gate_proj.bias"), T, F, D);
    double *u = linear(xn, LAYER("mlp.up_proj.weight"), LAYER("mlp.up_proj.bias"), T, F, D);
    twin_swiglu(act, g, u, T * F);
    double *z = linear(act, LAYER("mlp.down_proj.weight"), LAYER("mlp.down_proj.bias"), T, D, F);
    for (long i = 0; i < T * D; i++)
        x[i] += z[i];
    if (t->crafted) {
        double *mean = DOUBLES(E), *prob = DOUBLES(E);
        for (long i = 0; i < T; i++) {
            unsigned char *chosen = t->chosen + (l * T + i) * E;
            same &= mixture(t, x + i * D, z + i * D, xn + i * D, prob, l, i, chosen);
            for (long e = 0; e < E; e++) {
                mean[e] += prob[e] / (double)T;
                t->load[l * E + e] += t->held ? 0 : chosen[e] / (double)T;
            }
        }
        *balance += balance_of(t, mean, l);
        free(mean), free(prob);
    }
    free(xn), free(g), free(u), free(act), free(z);
    return same;
}

double twin_loss(struct twin *t, const struct batch *b)
{
    long T = b->T, D = t->c.hidden_size, V = t->c.vocab_size;
    const double *embed = find(&t->dense, t->w, NAME_EMBED);
    const double *head = t->c.tied ? embed : find(&t->dense, t->w, NAME_HEAD);
    double *x = DOUBLES(T * D), *xn = DOUBLES(T * D), balance = 0;
    int same = 1;
    for (long i = 0; i < T * D; i++)
        x[i] = embed[b->ids[i / D] * D + i % D];
    for (long l = 0; l < t->c.num_layers; l++) {
        attention(t, x, b, l);
        same &= feed_forward(t, x, b, l, &balance);
    }
    t->held = 1;
    twin_rmsnorm(xn, x, find(&t->dense, t->w, NAME_NORM), t->c.rms_norm_eps, T, D);
    free(t->logits);
    t->logits = linear(xn, head, NULL, T, V, D);
    t->ce = 0;
    for (long s = 0; s < b->S; s++)
        for (long i = b->cu[s]; i + 1 < b->cu[s + 1]; i++)
            if (b->labels[i + 1] != LABEL_MASKED)
                t->ce += twin_cross_entropy(t->logits + i * V, b->labels[i + 1], V);
    free(x), free(xn);
    return same ? t->loss_scale * t->ce + t->balance_scale * balance : NAN;
}
