/* Memory as planned: engine_bytes, model_bytes and train_bytes against what is really allocated,
 * and no allocation in a step. The linker leads this program's allocations through the counters
 * below (--wrap); those of shared libraries, oneDNN's among them, go past. */
#include "config.h"
#include "tests/wrapped.h"
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"

#include "model/engine_internal.h"
#include "train/loop.h"

#include <omp.h>

static struct {
    long calls;
    size_t bytes;
} counted;

static void *count(void *p, size_t bytes)
{
    __atomic_fetch_add(&counted.calls, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&counted.bytes, bytes, __ATOMIC_RELAXED);
    return p;
}

void *__wrap_malloc(size_t n)
{
    return count(__real_malloc(n), n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return count(__real_calloc(n, size), n * size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return count(__real_realloc(p, n), n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    return count(__real_aligned_alloc(align, n), n);
}

int __wrap_posix_memalign(void **p, size_t align, size_t n)
{
    count(NULL, n);
    return __real_posix_memalign(p, align, n);
}

static const struct moe_config pesc = {
    .experts = 5, .top_k = 2, .dim = 6, .scaling = 0.75, .dropout = 0.1};

/* In int8 compute: all matrices of one model, and some of another. */
enum { int8_min = 17 * 16 };

static void test_engine(const char *what, const struct small *o, const struct moe_config *moe,
                        int train, enum compute compute, const long *lengths,
                        const struct engine_choices *choices)
{
    enum trainable tr = !train ? TRAIN_NOTHING : moe ? TRAIN_ADAPTERS : TRAIN_FULL;
    struct base *b = small_base(gen_path("m"), o);
    struct pesc_error err = {0};
    struct model *m;
    struct engine *e;
    struct small_batch g;
    must_do(model_shape(base_config(b), moe, tr, compute, &m, &err), &err);
    m->plan.int8_min = int8_min;
    must_do(model_load(m, b, DT_COUNT, 3, &err), &err);
    base_close(b);
    small_batch(&g, m->c.vocab_size, 1, 3, lengths);
    size_t want = engine_bytes(m, g.b.T, 3, train, choices);
    counted.bytes = 0;
    must_do(engine_open(m, g.b.T, 3, train, choices, &e, &err), &err);
    size_t got = counted.bytes - sizeof *e;
    size_t beside = choices && (choices->spill_dir || choices->disk_layers || choices->prefix.bytes)
                        ? 8192 /* the file's struct */
                        : 0;
    ok(got >= want && got - want <= beside, "%s: engine_bytes is what is allocated", what);
    if (got != want)
        diag("%zu bytes planned, %zu allocated", want, got);
    struct engine_step s = {.loss_scale = 1, .balance_scale = 1};
    counted.calls = 0;
    for (int i = 0; i < 3; i++)
        must_do(train ? engine_train(e, &g.b, &s, &err) : engine_loss(e, &g.b, &s, &err), &err);
    ok(counted.calls == 0, "%s: a pass allocates nothing", what);
    ok(e->block.peak == e->block.cap && e->fixed.peak == e->fixed.cap && e->block.used == 0,
       "%s: the largest batch uses all of it, and gives the block's back", what);
    engine_close(e);
    model_close(m);
    small_batch_free(&g);
}

static void test_model_bytes(const char *what, const struct moe_config *moe, enum trainable tr,
                             enum compute compute, int layer_grads)
{
    struct base *b = small_base(gen_path("m"), &SMALL(.hidden = 64, .inter = 128, .vocab = 640));
    struct model *m;
    struct pesc_error err = {0};
    must_do(model_shape(base_config(b), moe, tr, compute, &m, &err), &err);
    m->layer_grads = layer_grads;
    m->plan.int8_min = int8_min;
    size_t want = model_bytes(m);
    must_do(model_load(m, b, DT_COUNT, 1, &err), &err);
    size_t got =
        weights_bytes(m->weights) + m->params.total * sizeof(float) * (m->params.grad ? 2 : 1);
    ok(want == got && !m->params.grad == (layer_grads || tr == TRAIN_NOTHING),
       "%s: model_bytes is what the model holds", what);
    if (want != got)
        diag("%zu bytes planned, %zu held", want, got);
    model_close(m);
    base_close(b);
}

struct source {
    struct small_batch *g;
    long first; /* allocations when the second batch was asked for */
};

static int get(void *ctx, long i, struct batch *out, struct pesc_error *err)
{
    struct source *s = ctx;
    (void)err;
    if (i == 1)
        s->first = counted.calls;
    *out = s->g[i % 2].b;
    return 0;
}

struct end {
    long calls;
};

static void on_step(void *ctx, const struct step_metrics *m, int logged)
{
    struct end *e = ctx;
    (void)m, (void)logged;
    e->calls = counted.calls;
}

/* The loop with the optimiser's state as bytes (form), on disk; in passes of so many tokens. */
static void test_loop(const char *what, const struct moe_config *moe, enum compute compute,
                      enum adamw_form form, int disk, long pass_tokens)
{
    static const long lengths[2][3] = {{9, 4, 12}, {5, 5, 3}};
    struct base *b = small_base(gen_path("m"), &SMALL());
    struct model *m;
    struct pesc_error err = {0};
    struct small_batch g[2];
    struct train_result r;
    struct source src = {g, -1};
    struct end end = {0};
    struct batch_source data = {get, &src, 25, 3};
    struct train_sink sink = {.ctx = &end, .step = on_step};
    struct train_options o = {.steps = 6,
                              .accumulation = 1,
                              .schedule = {.kind = SCHEDULE_LINEAR, .peak = 0.01, .total = 6},
                              .adamw = ADAMW_DEFAULTS,
                              .max_grad_norm = 1,
                              .balance_coef = 0.01,
                              .router_steps = 1,
                              .logging_steps = 1};
    must_do(model_shape(base_config(b), moe, moe ? TRAIN_ADAPTERS : TRAIN_FULL, compute, &m, &err),
            &err);
    m->layer_grads = disk;
    m->plan.int8_min = int8_min;
    must_do(model_load(m, b, DT_COUNT, 1, &err), &err);
    base_close(b);
    o.adamw.form = form;
    o.adamw.disk = disk ? gen_dir : NULL;
    for (int i = 0; i < 2; i++)
        small_batch(&g[i], m->c.vocab_size, 1, 3, lengths[i]);
    struct batch_source pass = data;
    if (pass_tokens)
        pass.max_tokens = o.pass_tokens = pass_tokens;
    size_t want = train_bytes(m, &pass, &o.adamw, NULL);
    counted.bytes = 0;
    must_do(train_run(m, &data, &o, &sink, NULL, &r, &err), &err);
    /* beyond the plan: structs, routing statistics */
    ok(counted.bytes >= want && counted.bytes - want < 4096,
       "%s: train_bytes is what training adds", what);
    diag("%zu bytes planned, %zu allocated", want, counted.bytes);
    ok(src.first > 0 && end.calls == src.first, "%s: no step allocates", what);
    for (int i = 0; i < 2; i++)
        small_batch_free(&g[i]);
    model_close(m);
}

static void test_type(enum compute compute)
{
    static const long some[] = {9, 4, 12}, many[] = {300, 150, 70};
    int b = compute == COMPUTE_BF16;
    test_engine(b ? "bf16 adapters" : "adapters", &SMALL(), &pesc, 1, compute, some, NULL);
    test_engine(b ? "bf16 adapters, no training" : "adapters, no training", &SMALL(), &pesc, 0,
                compute, some, NULL);
    test_engine(b ? "bf16 all weights" : "all weights", &SMALL(.tied = 1, .mlp_bias = 1), NULL, 1,
                compute, many, NULL);
    test_engine(b ? "bf16 wide heads and norms" : "wide heads and norms",
                &SMALL(.type = "qwen3", .head_dim = 32, .layers = 3), &pesc, 1, compute, some,
                NULL);
    test_engine(b ? "bf16 large vocabulary" : "large vocabulary", &SMALL(.vocab = 30001), &pesc, 1,
                compute, many, NULL);
    test_engine(b ? "bf16 kept in part" : "kept in part", &SMALL(.layers = 3), &pesc, 1, compute,
                many, &(struct engine_choices){.keep_layers = 2});
    test_engine(b ? "bf16 kept and spilled" : "kept and spilled", &SMALL(.layers = 3), &pesc, 1,
                compute, many, &(struct engine_choices){.keep_layers = 3, .spill_dir = gen_dir});
    test_engine(b ? "bf16 kept in a file" : "kept in a file", &SMALL(.layers = 3), &pesc, 1,
                compute, many, &(struct engine_choices){.disk_layers = 2, .keep_dir = gen_dir});
    struct moe_config upper = pesc;
    upper.first = 2;
    upper.layers = 1;
    test_engine(b ? "bf16 upper layer" : "upper layer", &SMALL(.layers = 3), &upper, 1, compute,
                many, &(struct engine_choices){.keep_layers = 3});
    test_engine(
        b ? "bf16 upper layer, prefix kept" : "upper layer, prefix kept", &SMALL(.layers = 3),
        &upper, 1, compute, many,
        &(struct engine_choices){.spill_dir = gen_dir,
                                 .prefix = {.dir = gen_dir, .bytes = 1 << 20, .samples = 3}});
    upper.first = 1;
    test_engine(b ? "bf16 middle layer" : "middle layer", &SMALL(.layers = 3), &upper, 1, compute,
                many, &(struct engine_choices){.disk_layers = 2, .keep_dir = gen_dir});
    test_engine(b ? "bf16 all weights, spilled" : "all weights, spilled", &SMALL(.layers = 3), NULL,
                1, compute, many, &(struct engine_choices){.spill_dir = gen_dir});
    test_model_bytes(b ? "bf16 adapters" : "adapters", &pesc, TRAIN_ADAPTERS, compute, 0);
    test_model_bytes(b ? "bf16 adapters' gradients elsewhere" : "adapters' gradients elsewhere",
                     &pesc, TRAIN_ADAPTERS, compute, 1);
    test_model_bytes(b ? "bf16 adapters, frozen routers" : "adapters, frozen routers", &pesc,
                     TRAIN_EXPERTS, compute, 0);
    test_model_bytes(b ? "bf16 adapters at rest" : "adapters at rest", &pesc, TRAIN_NOTHING,
                     compute, 0);
    test_model_bytes(b ? "bf16 all weights" : "all weights", NULL, TRAIN_FULL, compute, 0);
    test_loop(b ? "bf16 adapters" : "adapters", &pesc, compute, ADAMW_F32, 0, 0);
    test_loop(b ? "bf16 all weights" : "all weights", NULL, compute, ADAMW_F32, 0, 0);
    test_loop(b ? "bf16 adapters, bytes" : "adapters, bytes", &pesc, compute, ADAMW_8BIT, 0, 0);
    test_loop(b ? "bf16 adapters, disk" : "adapters, disk", &pesc, compute, ADAMW_F32, 1, 0);
    test_loop(b ? "bf16 all weights, bytes" : "all weights, bytes", NULL, compute, ADAMW_8BIT, 0,
              0);
    test_loop(b ? "bf16 adapters, passes" : "adapters, passes", &pesc, compute, ADAMW_F32, 1, 13);
}

static void test_int8(void)
{
    static const long some[] = {9, 4, 12}, many[] = {300, 150, 70};
    const enum compute c = COMPUTE_INT8;
    test_engine("int8 adapters", &SMALL(), &pesc, 1, c, some, NULL);
    test_engine("int8 adapters, no training", &SMALL(), &pesc, 0, c, some, NULL);
    test_engine("int8 large vocabulary", &SMALL(.vocab = 30001), &pesc, 1, c, many, NULL);
    test_engine("int8 kept and spilled", &SMALL(.layers = 3), &pesc, 1, c, many,
                &(struct engine_choices){.keep_layers = 3, .spill_dir = gen_dir});
    test_model_bytes("int8 adapters", &pesc, TRAIN_ADAPTERS, c, 0);
    test_loop("int8 adapters", &pesc, c, ADAMW_F32, 0, 0);
    test_loop("int8 adapters, passes", &pesc, c, ADAMW_F32, 1, 13);
}

int main(void)
{
    gen_begin();
    omp_set_num_threads(1);
    test_type(COMPUTE_F32);
    if (gemm_has_bf16(NULL, 0))
        test_type(COMPUTE_BF16);
    if (gemm_has_int8(NULL, 0))
        test_int8();
    return gen_end();
}
