/* Adapters on some layers only, and what frozen layers below them make of a sample kept in a file:
 * computed or read, in whatever batch, the same bits. Reads and writes of files go through the
 * test. */
#include "config.h"
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"

#include "core/arena.h"
#include "train/loop.h"

#include <errno.h>
#include <omp.h>

enum { LAYERS = 4, SAMPLES = 8 };
static const struct moe_config pesc = {
    .experts = 5, .top_k = 2, .dim = 6, .scaling = 0.75, .dropout = 0.1};
static const long lengths[SAMPLES] = {9, 4, 12, 7, 1, 21, 8, 6};

/* The next read (or write) of so many bytes or more: harmed, or failing. */
static struct {
    size_t least;
    int flip, fail_read, fail_write;
} disk;

ssize_t __real_pread(int fd, void *buf, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at)
{
    if (disk.fail_read && n >= disk.least) {
        errno = EIO;
        return -1;
    }
    ssize_t got = __real_pread(fd, buf, n, at);
    if (disk.flip && n >= disk.least && got == (ssize_t)n) {
        ((unsigned char *)buf)[n - 3] ^= 4;
        disk.flip--;
    }
    return got;
}
ssize_t __real_pread64(int fd, void *buf, size_t n, off_t at);
ssize_t __wrap_pread64(int fd, void *buf, size_t n, off_t at);
ssize_t __wrap_pread64(int fd, void *buf, size_t n, off_t at)
{
    return __wrap_pread(fd, buf, n, at);
}
ssize_t __real_pwrite(int fd, const void *buf, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *buf, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *buf, size_t n, off_t at)
{
    if (disk.fail_write) {
        errno = ENOSPC;
        return -1;
    }
    return __real_pwrite(fd, buf, n, at);
}
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t n, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t n, off_t at)
{
    return __wrap_pwrite(fd, buf, n, at);
}

static void test_parse(void)
{
    static const struct {
        const char *text;
        long first, layers;
    } good[] = {{"0-3", 0, 0}, {"0-", 0, 0}, {"1-", 1, 3}, {"1-3", 1, 3},
                {"2-2", 2, 1}, {"2", 2, 1},  {"3", 3, 1},  {"0-2", 0, 3}};
    static const char *const bad[] = {"",    "-",    "-2",   "4",    "0-4", "2-1",         "a",
                                      "1-b", "1--2", "1-2x", " 1-2", "1,2", "99999999999-"};
    struct moe_config c;
    char text[MOE_LAYERS_CAP];
    int right = 1, wrong = 1;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct moe_config again = pesc;
        c = pesc;
        right &= moe_layers_parse(&c, good[i].text, LAYERS) == 0 && c.first == good[i].first &&
                 c.layers == good[i].layers;
        right &= moe_layers_parse(&again, moe_layers_text(&c, LAYERS, text), LAYERS) == 0 &&
                 again.first == c.first && again.layers == c.layers;
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        c = (struct moe_config){.first = 7, .layers = 9};
        wrong &= moe_layers_parse(&c, bad[i], LAYERS) == -1 && c.first == 7 && c.layers == 9;
    }
    ok(right, "layers as text, and back");
    ok(wrong, "what is none, or not of the model, changes nothing");
    c = (struct moe_config){.first = 0, .layers = LAYERS};
    ok(moe_layers_fit(&c, LAYERS) == 0 && c.layers == 0 && moe_layers(&c, LAYERS) == LAYERS,
       "all layers have one form");
    c = (struct moe_config){.first = 2, .layers = 3};
    ok(moe_layers_fit(&c, LAYERS) == -1, "layers that a model has not got");
}

static struct moe_config on_layers(const char *text)
{
    struct moe_config c = pesc;
    if (moe_layers_parse(&c, text, LAYERS) != 0)
        exit(99);
    return c;
}

/* A model's adapters into those of another that has them on fewer layers; up-projections of the
 * others become zero. */
static void match(struct model *few, struct model *all)
{
    for (long i = 0; i < all->params.count; i++) {
        const struct param *p = &all->params.p[i], *to = params_find(&few->params, p->name);
        float *from = all->params.value + p->offset;
        if (to)
            memcpy(few->params.value + to->offset, from, p->n * sizeof *from);
        else if (strstr(p->name, "adapter_up"))
            memset(from, 0, p->n * sizeof *from);
    }
}

struct seen {
    long calls[LAYERS];
};

static void see(void *ctx, long layer, const struct moe_saved *s, long T)
{
    (void)s, (void)T;
    ((struct seen *)ctx)->calls[layer]++;
}

/* Losses and gradients are those of a model with adapters everywhere, of which the others do
 * nothing. exact: the same products are taken. */
static void test_gradients(const char *text, enum compute compute, int exact)
{
    struct moe_config moe = on_layers(text);
    struct base *b = small_base(gen_path("m"), &SMALL(.layers = LAYERS));
    struct model *few = small_model(b, &moe, TRAIN_ADAPTERS, compute);
    struct model *all = small_model(b, &pesc, TRAIN_ADAPTERS, compute);
    struct small_batch g;
    long n = moe_layers(&moe, LAYERS), each = 1 + 2 * moe.experts;
    int init = few->params.count == n * each;
    for (long i = 0; i < few->params.count; i++) {
        const struct param *p = &few->params.p[i], *q = params_find(&all->params, p->name);
        init &= p->layer == moe.first + i / each && q &&
                !memcmp(few->params.value + p->offset, all->params.value + q->offset,
                        p->n * sizeof(float));
    }
    ok(init, "layers %s: initial values are those of all layers' adapters", text);
    small_adapters(all);
    match(few, all);
    small_batch(&g, few->c.vocab_size, 1, 8, lengths);
    struct seen v = {{0}};
    struct engine_step s[2] = {{.loss_scale = 0.1, .seed = 5}};
    /* Idle routers above would pull at what is below. */
    s[0].balance_scale = moe.first + n < LAYERS ? 0 : 0.1;
    s[1] = s[0];
    s[0].routed = see;
    s[0].routed_ctx = &v;
    small_train(few, &g.b, &s[0], 0);
    small_train(all, &g.b, &s[1], 0);
    double worst = 0;
    int same = s[0].loss_sum == s[1].loss_sum, some = 1, told = 1;
    for (long i = 0; i < few->params.count; i++) {
        const struct param *p = &few->params.p[i], *q = params_find(&all->params, p->name);
        const float *x = few->params.grad + p->offset, *y = all->params.grad + q->offset;
        double d = small_diff(x, y, p->n), size = 0;
        for (size_t k = 0; k < p->n; k++)
            size += fabsf(y[k]);
        some &= size > 0;
        worst = fmax(worst, d);
        same &= !memcmp(x, y, p->n * sizeof *x);
    }
    for (long l = 0; l < LAYERS; l++)
        told &= v.calls[l] == moe_has(&moe, LAYERS, l);
    ok(some && worst < (compute == COMPUTE_F32 ? 1e-5 : 5e-2) && (same || !exact),
       "layers %s%s: gradients are those with idle adapters elsewhere%s", text,
       compute == COMPUTE_BF16 ? " in bf16" : "", exact ? ", to the bit" : "");
    diag("off by %.2g%s", worst, same ? "; the same bits" : "");
    ok(told, "layers %s: routing is told of these layers", text);
    small_batch_free(&g);
    model_close(few), model_close(all);
    base_close(b);
}

/* No product of the backward pass, and none computed again, is of a layer below. */
static void test_products(void)
{
    uint64_t flops[2][PHASE_COUNT] = {{0}};
    struct small_batch g;
    for (int i = 0; i < 2; i++) {
        struct pesc_error err = {0};
        struct moe_config moe = on_layers("2-");
        struct profile p = {0};
        struct engine *e;
        struct engine_step s = {.loss_scale = 1};
        struct model *m = small_open(gen_path("m"), &SMALL(.layers = i ? 2 : LAYERS),
                                     i ? &pesc : &moe, TRAIN_ADAPTERS, COMPUTE_F32);
        small_batch(&g, m->c.vocab_size, 1, 8, lengths);
        must_do(engine_open(m, g.b.T, g.b.S, 1, NULL, &e, &err), &err);
        gemm_set_profile(m->gemm, &p);
        profile_begin(&p);
        must_do(engine_train(e, &g.b, &s, &err), &err);
        profile_end(&p);
        for (int ph = 0; ph < PHASE_COUNT; ph++)
            for (int st = 0; st < STAGE_COUNT; st++)
                flops[i][ph] += p.flops[st][ph];
        engine_close(e);
        model_close(m);
        small_batch_free(&g);
    }
    ok(flops[0][PHASE_BACKWARD] == flops[1][PHASE_BACKWARD] &&
           flops[0][PHASE_RECOMPUTE] == flops[1][PHASE_RECOMPUTE] &&
           flops[0][PHASE_FORWARD] > flops[1][PHASE_FORWARD],
       "two upper layers of four have the backward products of a model of two");
}

/* --- outputs kept --- */

enum { EPOCHS = 3, BATCHES = 3 };
struct trace {
    double loss[EPOCHS][BATCHES];
    float *grad;
    size_t n;
    struct prefix_counts counts;
    uint64_t read[EPOCHS]; /* bytes of weights */
    struct heard heard;
};

/* Epochs of all samples, each in another order and cut into other batches. */
static void look(struct trace *v, struct model *m, const struct batch *from, uint64_t bytes,
                 void (*between)(int epoch))
{
    static const long order[EPOCHS][SAMPLES] = {
        {0, 1, 2, 3, 4, 5, 6, 7}, {5, 2, 7, 0, 6, 4, 1, 3}, {3, 6, 1, 5, 0, 7, 2, 4}};
    static const long cut[EPOCHS][BATCHES + 1] = {{0, 3, 6, 8}, {0, 2, 7, 8}, {0, 5, 6, 8}};
    struct pesc_error err = {0};
    struct engine *e;
    struct notes notes = {hear, &v->heard};
    struct engine_choices c = {
        .prefix = {.dir = gen_dir, .bytes = bytes, .samples = SAMPLES, .notes = &notes}};
    size_t n = m->params.total;
    *v = (struct trace){.n = n * EPOCHS * BATCHES};
    v->grad = calloc(v->n, sizeof *v->grad);
    must_do(engine_open(m, from->T, SAMPLES, 1, &c, &e, &err), &err);
    if (bytes) {
        int alone;
        must_do(engine_rows_alone(e, &alone, &err), &err);
        if (!alone)
            diag("rows of a product are not alone on this machine");
    }
    for (int i = 0; i < EPOCHS; i++) {
        uint64_t before = weights_bytes_read(m->weights);
        if (between)
            between(i);
        for (int k = 0; k < BATCHES; k++) {
            struct small_batch g;
            struct engine_step s = {.loss_scale = 0.1, .number = (uint32_t)(i * BATCHES + k)};
            small_batch_pick(&g, from, cut[i][k + 1] - cut[i][k], order[i] + cut[i][k]);
            memset(m->params.grad, 0, n * sizeof *m->params.grad);
            must_do(engine_train(e, &g.b, &s, &err), &err);
            v->loss[i][k] = s.loss_sum;
            memcpy(v->grad + (size_t)(i * BATCHES + k) * n, m->params.grad, n * sizeof *v->grad);
            must_do(engine_loss(e, &g.b, &s, &err), &err); /* an evaluation in between */
            small_batch_free(&g);
        }
        v->read[i] = weights_bytes_read(m->weights) - before;
    }
    if (engine_prefix_of(e))
        v->counts = prefix_counts(engine_prefix_of(e));
    engine_close(e);
}

static int same(const struct trace *a, const struct trace *b)
{
    return a->n == b->n && !memcmp(a->loss, b->loss, sizeof a->loss) &&
           !memcmp(a->grad, b->grad, a->n * sizeof *a->grad);
}

static void test_kept(const char *what, const struct small *o, enum compute compute)
{
    struct moe_config moe = on_layers("2-");
    struct base *b = small_base(gen_path("m"), o);
    struct pesc_error err = {0};
    struct model *m;
    struct small_batch g;
    struct trace off, on, part;
    size_t value = dtype_size(compute_form(compute));
    must_do(model_shape(base_config(b), &moe, TRAIN_ADAPTERS, compute, &m, &err), &err);
    m->plan.int8_min = 1; /* every matrix, small as they are */
    must_do(model_load(m, b, DT_COUNT, 3, &err), &err);
    small_adapters(m);
    base_close(b);
    small_batch(&g, m->c.vocab_size, 1, SAMPLES, lengths);
    look(&off, m, &g.b, 0, NULL);
    look(&on, m, &g.b, 1 << 20, NULL);
    uint64_t whole = 0;
    for (long s = 0; s < SAMPLES; s++)
        whole += prefix_record(lengths[s], m->c.hidden_size, value);
    ok(same(&off, &on), "%s: computed once or each time, the same bits", what);
    ok(on.counts.kept == SAMPLES && on.counts.found == 2 * SAMPLES && on.counts.bytes == whole &&
           on.heard.n == 0,
       "%s: each sample is computed in the first epoch only", what);
    look(&part, m, &g.b, whole / 2, NULL);
    ok(same(&off, &part) && part.counts.kept > 0 && part.counts.kept < SAMPLES &&
           part.counts.bytes <= whole / 2 && part.counts.found == 2 * part.counts.kept,
       "%s: a bounded file changes no bit either (%ld of %d samples)", what, part.counts.kept,
       SAMPLES);
    ok(part.heard.n == 1 && !strcmp(part.heard.code, "W-PREFIX-FULL"), "%s: which is told once",
       what);
    free(off.grad), free(on.grad), free(part.grad);
    small_batch_free(&g);
    model_close(m);
}

static void flip(int epoch)
{
    disk.least = 200; /* records, not small reads of others */
    disk.flip = epoch == 1;
}
static void fail_read(int epoch)
{
    disk.least = 200;
    disk.fail_read = epoch == 1;
}
static void fail_write(int epoch)
{
    (void)epoch;
    disk.fail_write = 1;
}

static void test_harm(void)
{
    struct moe_config moe = on_layers("1-");
    struct model *m =
        small_open(gen_path("m"), &SMALL(.layers = LAYERS), &moe, TRAIN_ADAPTERS, COMPUTE_F32);
    struct small_batch g;
    struct trace off, on;
    small_batch(&g, m->c.vocab_size, 1, SAMPLES, lengths);
    look(&off, m, &g.b, 0, NULL);
    look(&on, m, &g.b, 1 << 20, flip);
    ok(same(&off, &on) && on.counts.damaged == 1 && on.counts.kept == SAMPLES + 1 &&
           on.counts.bytes < 5000 && on.counts.found == 2 * SAMPLES - 1,
       "a record that has changed is computed again, and kept again");
    ok(on.heard.n == 1 && !strcmp(on.heard.code, "W-PREFIX-DAMAGED"), "which is told");
    free(on.grad);
    look(&on, m, &g.b, 1 << 20, fail_read);
    disk.fail_read = 0;
    ok(same(&off, &on) && on.counts.found == 0 && on.heard.n == 1 &&
           !strcmp(on.heard.code, "W-PREFIX-OFF"),
       "a file that cannot be read is given up, and told");
    free(on.grad);
    look(&on, m, &g.b, 1 << 20, fail_write);
    disk.fail_write = 0;
    ok(same(&off, &on) && on.counts.kept == 0 && on.heard.n == 1 &&
           !strcmp(on.heard.code, "W-PREFIX-OFF") && strstr(on.heard.text, "space"),
       "so is one that cannot be written");
    free(on.grad), free(off.grad);
    small_batch_free(&g);
    model_close(m);
}

/* Streamed layers below are not read where their output is. */
static void test_streamed(void)
{
    struct moe_config moe = on_layers("2-");
    struct base *b = small_base(gen_path("m"), &SMALL(.layers = LAYERS));
    struct pesc_error err = {0};
    struct small_batch g;
    struct trace want, got;
    struct model *m = small_model(b, &moe, TRAIN_ADAPTERS, COMPUTE_F32);
    small_batch(&g, m->c.vocab_size, 1, SAMPLES, lengths);
    look(&want, m, &g.b, 0, NULL);
    model_close(m);
    for (int kept = 0; kept < 2; kept++)
        for (long n = 1; n <= LAYERS; n++) {
            must_do(model_shape(base_config(b), &moe, TRAIN_ADAPTERS, COMPUTE_F32, &m, &err), &err);
            m->plan = (struct weights_plan){n, 1, 0};
            must_do(model_load(m, b, DT_COUNT, 3, &err), &err);
            look(&got, m, &g.b, kept ? 1 << 20 : 0, NULL);
            ok(same(&want, &got), "%ld layers streamed, outputs %s: the same bits", n,
               kept ? "kept" : "computed");
            if (n == LAYERS && kept)
                ok(got.read[2] < got.read[0], "and read less when outputs are there: %llu, %llu",
                   (unsigned long long)got.read[2], (unsigned long long)got.read[0]);
            free(got.grad);
            model_close(m);
        }
    free(want.grad);
    small_batch_free(&g);
    base_close(b);
}

int main(void)
{
    gen_begin();
    omp_set_num_threads(2);
    test_parse();
    for (int bf16 = 0; bf16 <= gemm_has_bf16(NULL, 0); bf16++) {
        enum compute c = bf16 ? COMPUTE_BF16 : COMPUTE_F32;
        test_gradients("0-1", c, 1);
        test_gradients("2-", c, 0);
        test_gradients("1-2", c, 0);
        test_gradients("3", c, 0);
        test_kept(bf16 ? "llama in bf16" : "llama", &SMALL(.layers = LAYERS, .attention_bias = 1),
                  c);
        test_kept(bf16 ? "qwen3 in bf16" : "qwen3",
                  &SMALL(.layers = LAYERS, .type = "qwen3", .window = 4, .tied = 1), c);
        test_kept(bf16 ? "dynamic rotation in bf16" : "dynamic rotation",
                  &SMALL(.layers = LAYERS, .positions = 8,
                         .rope = "{\"rope_type\":\"dynamic\",\"factor\":2.0}"),
                  c);
    }
    if (gemm_has_int8(NULL, 0))
        test_kept("llama in int8", &SMALL(.layers = LAYERS), COMPUTE_INT8);
    test_products();
    test_harm();
    test_streamed();
    return gen_end();
}
