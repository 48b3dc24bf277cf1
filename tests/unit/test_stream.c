/* Weights that are streamed are the same numbers as resident ones, whatever goes wrong is told with
 * its code, and memory does not grow. */
#include "config.h"
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"

#include "model/decode.h"

#include <dirent.h>
#include <errno.h>
#include <omp.h>
#include <signal.h>
#include <time.h>

enum { LAYERS = 5, STEPS = 3, NEW = 4 };
/* Reads go through here: they can be made slow, or fail. */
static struct {
    _Atomic long calls, fail_at, sleep_us;
} disk;

ssize_t __real_pread(int fd, void *buf, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at);
ssize_t __real_pread64(int fd, void *buf, size_t n, off_t at);
ssize_t __wrap_pread64(int fd, void *buf, size_t n, off_t at);

static int disk_works(void)
{
    const struct timespec t = {0, 1000 * disk.sleep_us};
    if (t.tv_nsec)
        nanosleep(&t, NULL);
    errno = EIO;
    return ++disk.calls != disk.fail_at;
}

ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at)
{
    return disk_works() ? __real_pread(fd, buf, n, at) : -1;
}

ssize_t __wrap_pread64(int fd, void *buf, size_t n, off_t at)
{
    return disk_works() ? __real_pread64(fd, buf, n, at) : -1;
}

static const struct moe_config pesc = {
    .experts = 5, .top_k = 2, .dim = 6, .scaling = 0.75, .dropout = 0.1};
static const long three[] = {9, 4, 12};

static struct model *open_planned(const struct base *b, enum compute compute, enum dtype store,
                                  struct weights_plan plan)
{
    struct pesc_error err = {0};
    struct model *m;
    must_do(model_shape(base_config(b), &pesc, TRAIN_ADAPTERS, compute, &m, &err), &err);
    m->plan = plan;
    must_do(model_load(m, b, store, 3, &err), &err);
    small_adapters(m);
    return m;
}

/* Everything that a user could see: losses and gradients of a few steps, a loss between them,
 * logits, tokens generated one by one. */
struct seen {
    double loss[STEPS][2];
    float *grad, *logits, *next; /* [STEPS, params], [T, V], [NEW, V] */
    size_t n_grad, n_logits, n_next;
};

static void look(struct seen *v, struct model *m, const struct batch *b)
{
    struct pesc_error err = {0};
    struct engine *e;
    struct decoder *d;
    size_t n = m->params.total, V = (size_t)m->c.vocab_size;
    v->n_grad = STEPS * n;
    v->n_logits = (size_t)b->T * V;
    v->n_next = NEW * V;
    v->grad = calloc(v->n_grad, sizeof *v->grad);
    v->next = calloc(v->n_next, sizeof *v->next);
    must_do(engine_open(m, b->T, b->S, 1, NULL, &e, &err), &err);
    for (int i = 0; i < STEPS; i++) {
        struct engine_step s = {.loss_scale = 0.1, .balance_scale = 1, .number = (uint32_t)i};
        memset(m->params.grad, 0, n * sizeof *m->params.grad);
        must_do(engine_train(e, b, &s, &err), &err);
        memcpy(v->grad + (size_t)i * n, m->params.grad, n * sizeof *v->grad);
        for (size_t k = 0; k < n; k++)
            m->params.value[k] -= 0.1f * m->params.grad[k];
        v->loss[i][0] = s.loss_sum;
        must_do(engine_loss(e, b, &s, &err), &err);
        v->loss[i][1] = s.loss_sum;
    }
    engine_close(e);
    v->logits = small_logits(m, b);
    must_do(decoder_open(m, 16, &d, &err), &err);
    for (int i = 0; i < NEW; i++) {
        const float *logits;
        must_do(decoder_feed(d, b->ids + 3 * i, i ? 1 : 3, &logits, &err), &err);
        memcpy(v->next + (size_t)i * V, logits, V * sizeof *logits);
    }
    decoder_close(d);
}

static int same(const struct seen *a, const struct seen *b)
{
    return !memcmp(a->loss, b->loss, sizeof a->loss) &&
           !memcmp(a->grad, b->grad, a->n_grad * sizeof *a->grad) &&
           !memcmp(a->logits, b->logits, a->n_logits * sizeof *a->logits) &&
           !memcmp(a->next, b->next, a->n_next * sizeof *a->next);
}

static void seen_free(struct seen *v)
{
    free(v->grad), free(v->logits), free(v->next);
}

/* streamed: every number of layers; rows of the embedding from disk where that is possible. */
static void test_same(const char *what, const struct small *o, enum compute compute,
                      enum dtype store)
{
    struct base *b = small_base(gen_path("m"), o);
    struct small_batch g;
    struct seen want, got;
    int bits = 1, sizes = 1;
    small_batch(&g, base_config(b)->vocab_size, 1, 3, three);
    struct model *m = open_planned(b, compute, store, (struct weights_plan){0});
    look(&want, m, &g.b);
    ok(weights_bytes_read(m->weights) == 0, "%s: what is resident is read once", what);
    model_close(m);
    for (long n = 0; n <= LAYERS; n++) {
        struct weights_plan plan = {.streamed_layers = n, .embed_on_disk = !o->tied};
        m = open_planned(b, compute, store, plan);
        sizes &= weights_bytes(m->weights) == weights_size(&m->c, compute, &plan);
        look(&got, m, &g.b);
        bits &= same(&want, &got);
        sizes &= weights_bytes_read(m->weights) > 0 || (n == 0 && o->tied);
        seen_free(&got);
        model_close(m);
    }
    ok(bits, "%s: streamed layers change no bit", what);
    ok(sizes, "%s: they take the memory that was planned", what);
    seen_free(&want);
    small_batch_free(&g);
    base_close(b);
}

static void test_kinds(enum compute compute)
{
    int b = compute == COMPUTE_BF16;
    test_same(b ? "llama in bf16, bf16 on disk" : "llama, bf16 on disk",
              &SMALL(.layers = LAYERS, .bf16 = 1, .attention_bias = 1, .mlp_bias = 1), compute,
              DT_COUNT);
    test_same(b ? "tied qwen3 in bf16, f32 on disk" : "tied qwen3, f32 on disk",
              &SMALL(.layers = LAYERS, .type = "qwen3", .window = 4, .tied = 1), compute, DT_COUNT);
    test_same(b ? "mistral in bf16, rounded to f16" : "mistral, rounded to f16",
              &SMALL(.layers = LAYERS, .type = "mistral", .window = 3), compute, DT_F16);
}

static uint64_t layer_bytes(const struct base *b)
{
    uint64_t n = 0;
    for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
        char name[TENSOR_NAME_CAP];
        layer_tensor_name(name, t, 0);
        n += base_tensor(b, name) ? base_tensor(b, name)->bytes : 0;
    }
    return n;
}

/* A step reads all but those layers that the buffers still hold when the direction turns. */
static void test_reads(void)
{
    struct base *b = small_base(gen_path("m"), &SMALL(.layers = LAYERS, .bf16 = 1));
    struct model *m =
        open_planned(b, COMPUTE_F32, DT_COUNT, (struct weights_plan){.streamed_layers = LAYERS});
    struct pesc_error err = {0};
    struct engine *e;
    struct small_batch g;
    struct engine_step s = {.loss_scale = 1};
    small_batch(&g, m->c.vocab_size, 1, 3, three);
    must_do(engine_open(m, g.b.T, g.b.S, 1, NULL, &e, &err), &err);
    uint64_t layer = layer_bytes(b), at[2];
    for (int i = 0; i < 4; i++) {
        must_do(engine_train(e, &g.b, &s, &err), &err);
        if (i % 2)
            at[i / 2] = weights_bytes_read(m->weights);
    }
    ok(at[1] - at[0] == 2 * 2 * (LAYERS - 2) * layer,
       "a step reads each layer twice but for turns");
    engine_close(e);
    small_batch_free(&g);
    model_close(m);
    base_close(b);
}

/* Layers asked for in any order are those asked for. */
static void test_any_order(void)
{
    static const long order[] = {3, 0, 4, 4, 1, 2, 0, 3};
    struct base *b = small_base(gen_path("m"), &SMALL(.layers = LAYERS));
    struct model *m =
        open_planned(b, COMPUTE_F32, DT_COUNT, (struct weights_plan){.streamed_layers = LAYERS});
    struct pesc_error err = {0};
    struct layer_weights w;
    size_t n = (size_t)(m->c.intermediate_size * m->c.hidden_size);
    float *down = calloc(n, sizeof *down);
    int good = 1;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        char name[TENSOR_NAME_CAP];
        layer_tensor_name(name, LT_DOWN, order[i]);
        must_do(base_read_f32(b, name, down, &err), &err);
        must_do(weights_layer(m->weights, order[i], &w, &err), &err);
        good &= !memcmp(down, w.mat[LT_DOWN].data, n * sizeof *down);
        weights_release(m->weights, order[i]);
    }
    ok(good, "layers in any order");
    must_do(weights_layer(m->weights, 1, &w, &err), &err);
    is_error(weights_layer(m->weights, 2, &w, &err), &err, "E-INTERNAL", 1, "two at a time");
    free(down);
    model_close(m);
    base_close(b);
}

enum harm { CUT, TOUCHED, FAILING, NOT_FINITE };

static void harm(enum harm how, const struct base *b)
{
    char path[PATH_CAP];
    struct stat st;
    if (path_join(path, base_dir(b), "model.safetensors", NULL) != 0 || stat(path, &st) != 0)
        exit(99);
    if (how == FAILING) {
        disk.fail_at = disk.calls + 1;
    } else if (how == CUT) {
        if (truncate(path, st.st_size / 2) != 0)
            exit(99);
    } else {
        char name[TENSOR_NAME_CAP];
        layer_tensor_name(name, LT_UP, 2);
        const uint16_t nan = 0x7fc0;
        FILE *f = fopen(path, "r+b");
        if (!f || fseek(f, (long)base_tensor(b, name)->begin + 8, SEEK_SET) != 0 ||
            fwrite(&nan, 1, sizeof nan, f) != sizeof nan || fclose(f) != 0)
            exit(99);
    }
}

static void test_harm(enum harm how, enum compute compute, const char *name, int status,
                      const char *what)
{
    struct base *b = small_base(gen_path("harmed"), &SMALL(.layers = LAYERS, .bf16 = 1));
    if (how == NOT_FINITE) {
        struct pesc_error err = {0};
        char dir[PATH_CAP];
        snprintf(dir, sizeof dir, "%s", base_dir(b));
        harm(how, b);
        base_close(b);
        must_do(base_open(dir, NULL, &b, &err), &err);
    }
    struct model *m =
        open_planned(b, compute, DT_COUNT, (struct weights_plan){.streamed_layers = LAYERS - 1});
    struct pesc_error err = {0}, again = {0};
    struct engine *e;
    struct small_batch g;
    struct engine_step s = {.loss_scale = 1};
    small_batch(&g, m->c.vocab_size, 1, 3, three);
    must_do(engine_open(m, g.b.T, g.b.S, 1, NULL, &e, &err), &err);
    if (how != NOT_FINITE) {
        must_do(engine_train(e, &g.b, &s, &err), &err);
        harm(how, b);
    }
    is_error(engine_train(e, &g.b, &s, &err), &err, name, status, what);
    ok(engine_loss(e, &g.b, &s, &again) == -1 && again.code == err.code, "%s: and it stays so",
       what);
    disk.fail_at = 0;
    engine_close(e);
    small_batch_free(&g);
    model_close(m);
    base_close(b);
}

/* Threads of this process; *blocked: each but this one blocks these signals. */
static long threads(int *blocked)
{
    const unsigned long want = 1ul << (SIGINT - 1) | 1ul << (SIGTERM - 1) | 1ul << (SIGHUP - 1) |
                               1ul << (SIGALRM - 1) | 1ul << (SIGWINCH - 1);
    long n = 0;
    DIR *d = opendir("/proc/self/task");
    *blocked = 1;
    for (struct dirent *t; d && (t = readdir(d));) {
        char path[300], line[256];
        unsigned long mask = 0;
        if (t->d_name[0] == '.')
            continue;
        n++;
        if (atol(t->d_name) == (long)getpid())
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", t->d_name);
        FILE *f = fopen(path, "r");
        while (f && fgets(line, sizeof line, f))
            sscanf(line, "SigBlk: %lx", &mask);
        if (f)
            fclose(f);
        *blocked &= (mask & want) == want;
    }
    if (d)
        closedir(d);
    return n;
}

/* Closing does not wait for what nobody wants any more, and nothing is left running. */
static void test_shutdown(void)
{
    struct base *b = small_base(gen_path("m"), &SMALL(.layers = LAYERS));
    struct weights_plan plan = {.streamed_layers = LAYERS};
    struct pesc_error err = {0};
    struct layer_weights w;
    int blocked;
    long before = threads(&blocked);
    for (int i = 0; i < 40; i++) {
        struct model *m = open_planned(b, COMPUTE_F32, DT_COUNT, plan);
        disk.sleep_us = i % 4 * 500;
        if (i % 3)
            must_do(weights_layer(m->weights, i % LAYERS, &w, &err), &err);
        if (i % 3 == 2)
            weights_release(m->weights, i % LAYERS);
        model_close(m);
    }
    disk.sleep_us = 0;
    ok(threads(&blocked) == before, "closing while reading ahead ends the thread");
    struct model *m = open_planned(b, COMPUTE_F32, DT_COUNT, plan);
    must_do(weights_layer(m->weights, 0, &w, &err), &err); /* so it has started */
    weights_release(m->weights, 0);
    ok(threads(&blocked) == before + 1 && blocked, "the reading thread takes no signals");
    model_close(m);
    base_close(b);
}

static void test_waiting(void)
{
    struct base *b = small_base(gen_path("m"), &SMALL(.layers = LAYERS));
    struct model *m =
        open_planned(b, COMPUTE_F32, DT_COUNT, (struct weights_plan){.streamed_layers = LAYERS});
    struct pesc_error err = {0};
    struct engine *e;
    struct small_batch g;
    struct engine_step s = {.loss_scale = 1};
    struct profile p = {0};
    small_batch(&g, m->c.vocab_size, 1, 3, three);
    must_do(engine_open(m, g.b.T, g.b.S, 1, NULL, &e, &err), &err);
    must_do(engine_train(e, &g.b, &s, &err), &err);
    gemm_set_profile(m->gemm, &p);
    disk.sleep_us = 300;
    profile_begin(&p);
    must_do(engine_train(e, &g.b, &s, &err), &err);
    profile_end(&p);
    disk.sleep_us = 0;
    /* 3 layers each way, 9 tensors a layer: 16 ms of sleep, most of it waited for */
    ok(profile_stage_seconds(&p, STAGE_DISK) > 4e-3, "waiting for the disk is a stage of its own");
    engine_close(e);
    small_batch_free(&g);
    model_close(m);
    base_close(b);
}

static long resident(void)
{
    long size = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &size, &pages) != 2 || fclose(f) != 0)
        exit(99);
    return pages * sysconf(_SC_PAGESIZE);
}

/* Under a sanitizer freed memory waits in a quarantine, and what grows is that. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { MAY_GROW = 256 << 20 };
#else
enum { MAY_GROW = 1 << 20 };
#endif

static void test_flat(void)
{
    struct base *b = small_base(gen_path("m"),
                                &SMALL(.layers = LAYERS, .hidden = 64, .inter = 128, .vocab = 640));
    struct model *m = open_planned(b, COMPUTE_F32, DT_COUNT,
                                   (struct weights_plan){.streamed_layers = 4, .embed_on_disk = 1});
    struct pesc_error err = {0};
    struct engine *e;
    struct small_batch g;
    struct engine_step s = {.loss_scale = 1};
    long before = 0;
    small_batch(&g, m->c.vocab_size, 1, 3, three);
    must_do(engine_open(m, g.b.T, g.b.S, 1, NULL, &e, &err), &err);
    for (int i = 0; i < 200; i++) {
        must_do(engine_train(e, &g.b, &s, &err), &err);
        if (i == 20)
            before = resident();
    }
    long grown = resident() - before;
    ok(grown < MAY_GROW, "200 steps: memory does not grow");
    diag("by %ld bytes", grown);
    engine_close(e);
    small_batch_free(&g);
    model_close(m);
    base_close(b);
}

static void test_refused(void)
{
    struct base *b = small_base(gen_path("m"), &SMALL(.tied = 1));
    struct weights *w;
    struct pesc_error err = {0}, tied = {0};
    is_error(weights_open(b, base_config(b), COMPUTE_F32, DT_COUNT,
                          &(struct weights_plan){.streamed_layers = 3}, &w, &err),
             &err, "E-USAGE-VALUE", 2, "more layers than there are");
    is_error(weights_open(b, base_config(b), COMPUTE_F32, DT_COUNT,
                          &(struct weights_plan){.embed_on_disk = 1}, &w, &tied),
             &tied, "E-USAGE-VALUE", 2, "a tied embedding on disk");
    struct model *m;
    struct pesc_error full = {0};
    must_do(model_shape(base_config(b), NULL, TRAIN_FULL, COMPUTE_F32, &m, &full), &full);
    m->plan.streamed_layers = 1;
    is_error(model_load(m, b, DT_COUNT, 1, &full), &full, "E-UNSUPPORTED", 2,
             "weights that train, streamed");
    model_close(m);
    base_close(b);
}

int main(void)
{
    gen_begin();
    alarm(300); /* a thread that waits for ever must not hold up the other tests */
    omp_set_num_threads(1);
    test_kinds(COMPUTE_F32);
    if (gemm_has_bf16(NULL, 0))
        test_kinds(COMPUTE_BF16);
    test_reads();
    test_any_order();
    test_harm(CUT, COMPUTE_F32, "E-ST-CHANGED", 9, "the file is cut off");
    test_harm(TOUCHED, COMPUTE_F32, "E-ST-CHANGED", 9, "the file is written to");
    test_harm(FAILING, COMPUTE_F32, "E-IO", 9, "a read fails");
    test_harm(NOT_FINITE, COMPUTE_F32, "E-MODEL-NONFINITE", 3, "a streamed weight is not finite");
    test_shutdown();
    test_waiting();
    test_flat();
    test_refused();
    return gen_end();
}
