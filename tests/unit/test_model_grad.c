/* The whole model against its double-precision twin: logits, loss, and every tensor's gradient. */
#include "config.h"
#include "tests/unit/gen.h"
#include "tests/unit/model_twin.h"
#include "tests/unit/small_model.h"

#include "core/rng.h"

#include <omp.h>

#define ROPE3                                                                                      \
    "{\"rope_type\":\"llama3\",\"factor\":4.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"   \
    "\"original_max_position_embeddings\":16}"
#define DYNAMIC "{\"rope_type\":\"dynamic\",\"factor\":2.0}"
#define LINEAR "{\"type\":\"linear\",\"factor\":2.5}"
static const struct moe_config pesc = {.experts = 5, .top_k = 2, .dim = 6, .scaling = 0.75};

enum { PER_TENSOR = 10 };
/* Measured: at most 2e-6; float products of some ten terms, and central differences. */
#define LOGIT_TOL 1e-5
#define GRAD_TOL 4e-5

struct case_ {
    const char *name;
    struct small small;
    struct moe_config moe; /* experts 0: dense, everything trains */
    double loss_scale, balance_scale;
};

static long dropped, kept;

/* One tensor: some elements' derivatives. Errors are relative to the tensor's largest derivative,
 * or to 1e-3 of the model's largest where it is smaller. */
static double tensor_error(struct twin *t, const struct batch *b, const struct param *p,
                           double *value, const float *grad, double floor)
{
    struct rng_key key = {.seed = 11, .stream = 80, .a = (uint32_t)p->offset};
    double diff = 0, size = floor, h = 1e-4;
    for (size_t i = 0; i < (p->n < PER_TENSOR ? p->n : PER_TENSOR); i++) {
        size_t at = p->n < PER_TENSOR ? i : rng_u32(&key, i) % p->n;
        double *v = value + p->offset + at, old = *v;
        *v = old + h;
        double up = twin_loss(t, b);
        *v = old - h;
        double down = twin_loss(t, b);
        *v = old;
        if (isnan(up) || isnan(down)) {
            dropped++;
            continue;
        }
        double want = (up - down) / (2 * h), e = fabs(grad[p->offset + at] - want);
        diff = e <= diff ? diff : isnan(e) ? INFINITY : e;
        size = fmax(size, fabs(want));
        kept++;
    }
    return diff / size;
}

static int compare_gradients(struct twin *t, const struct batch *b, const struct model *m)
{
    const struct params *ps = &m->params;
    double largest = 0, worst = 0;
    int good = 1;
    for (size_t i = 0; i < ps->total; i++)
        largest = fmax(largest, fabs((double)ps->grad[i]));
    for (long i = 0; i < ps->count; i++) {
        double e =
            tensor_error(t, b, &ps->p[i], m->crafted ? t->a : t->w, ps->grad, 1e-3 * largest);
        worst = fmax(worst, e);
        if (!(e <= GRAD_TOL)) {
            diag("%s: derivative off by %.3g of the largest", ps->p[i].name, e);
            good = 0;
        }
    }
    diag("largest relative error of a derivative %.2g, %ld tensors", worst, ps->count);
    return good && largest > 0;
}

static void test_case(const struct case_ *k)
{
    static const long lengths[] = {9, 1, 7};
    int crafted = k->moe.experts > 0;
    struct base *b = small_base(gen_path("m"), &k->small);
    struct model *m = small_model(b, crafted ? &k->moe : NULL,
                                  crafted ? TRAIN_ADAPTERS : TRAIN_FULL, COMPUTE_F32);
    struct small_batch g;
    struct twin t;
    if (crafted)
        small_adapters(m);
    small_batch(&g, m->c.vocab_size, 4, 3, lengths);
    twin_open(&t, m, crafted ? b : NULL, g.b.T);
    t.loss_scale = k->loss_scale;
    t.balance_scale = k->balance_scale;
    t.rng = (struct moe_rng){.seed = 8, .step = 5, .training = 0};
    twin_loss(&t, &g.b);
    float *logits = small_logits(m, &g.b);
    double off = 0, size = 0;
    for (long i = 0; i < g.b.T * m->c.vocab_size; i++) {
        double e = fabs(logits[i] - t.logits[i]);
        off = e <= off ? off : isnan(e) ? INFINITY : e;
        size = fmax(size, fabs(t.logits[i]));
    }
    ok(off <= LOGIT_TOL * size, "%s: logits", k->name);
    diag("off by %.2g of the largest", off / size);
    /* the pass with gradients has dropout; its choices are its own */
    t.rng.training = k->moe.dropout > 0;
    t.held = 0;
    if (crafted)
        memset(t.load, 0, (size_t)(m->c.num_layers * k->moe.experts) * sizeof *t.load);
    twin_loss(&t, &g.b);
    struct engine_step s = {
        .loss_scale = k->loss_scale, .balance_scale = k->balance_scale, .seed = 8, .number = 5};
    small_train(m, &g.b, &s, 0);
    ok(fabs(s.loss_sum - t.ce) <= 1e-5 * t.ce && s.scored == batch_scored(&g.b), "%s: loss",
       k->name);
    dropped = kept = 0;
    int good = compare_gradients(&t, &g.b, m);
    ok(good, "%s: every tensor's gradient", k->name);
    ok(kept >= 9 * dropped, "%s: nine in ten directions keep the choice of experts", k->name);
    diag("%ld directions kept, %ld dropped", kept, dropped);
    twin_close(&t);
    small_batch_free(&g);
    free(logits);
    model_close(m);
    base_close(b);
}

int main(void)
{
    struct moe_config dropping = pesc, mixtral = pesc, single = pesc, whole = pesc;
    dropping.dropout = 0.25;
    mixtral.balance = BALANCE_MIXTRAL;
    mixtral.top_k = 3;
    single.top_k = 1;
    whole.top_k = whole.experts;
    const struct case_ cases[] = {
        {"llama, all weights", SMALL(), {0}, 1, 0},
        {"llama, tied, all biases",
         SMALL(.tied = 1, .attention_bias = 1, .mlp_bias = 1),
         {0},
         1,
         0},
        {"qwen2, biases and window", SMALL(.type = "qwen2", .window = 4, .layers = 3), {0}, 0.5, 0},
        {"qwen3, norms of q and k, tied",
         SMALL(.type = "qwen3", .tied = 1, .kv_heads = 1),
         {0},
         1,
         0},
        {"mistral, window, linear rope",
         SMALL(.type = "mistral", .window = 3, .rope = LINEAR),
         {0},
         1,
         0},
        {"llama3 rope, one head a key", SMALL(.kv_heads = 4, .rope = ROPE3), {0}, 1, 0},
        {"dynamic rope", SMALL(.rope = DYNAMIC, .positions = 6), {0}, 1, 0},
        {"pesc, switch", SMALL(), pesc, 1, 3},
        {"pesc, mixtral, top 3", SMALL(.attention_bias = 1, .mlp_bias = 1), mixtral, 0.1, 1},
        {"pesc, dropout", SMALL(.layers = 3), dropping, 1, 0.5},
        {"pesc, top 1", SMALL(.type = "qwen3"), single, 1, 2},
        {"pesc, top 5 of 5: a dense mixture", SMALL(.type = "qwen2", .window = 4), whole, 1, 1},
        {"pesc, balance alone", SMALL(), pesc, 0, 1},
    };
    gen_begin();
    omp_set_num_threads(1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        test_case(&cases[i]);
    return gen_end();
}
