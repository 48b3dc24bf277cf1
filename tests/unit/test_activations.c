/* Wherever the activations are between the passes - recomputed, kept, on disk - losses and
 * gradients are the same to the bit. */
#include "config.h"
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"

#include "core/tfile.h"
#include "model/engine_internal.h"

#include <dirent.h>
#include <omp.h>
#include <sys/resource.h>
#include <signal.h>

enum { LAYERS = 4, STEPS = 3 };
static const struct moe_config pesc = {
    .experts = 5, .top_k = 2, .dim = 6, .scaling = 0.75, .dropout = 0.1};
static const long three[] = {9, 4, 12}, two[] = {7, 3};

struct seen {
    double loss[STEPS][2];
    float *grad;
    size_t n;
};

/* Steps with batches of different sizes, each followed by a pass without gradients. */
static void look(struct seen *v, struct model *m, const struct batch *const b[2],
                 const struct engine_choices *c)
{
    struct pesc_error err = {0};
    struct engine *e;
    size_t n = m->params.total;
    float *start = calloc(n, sizeof *start);
    v->n = STEPS * n;
    v->grad = calloc(v->n, sizeof *v->grad);
    memcpy(start, m->params.value, n * sizeof *start);
    must_do(engine_open(m, b[0]->T, b[0]->S, 1, c, &e, &err), &err);
    for (int i = 0; i < STEPS; i++) {
        struct engine_step s = {.loss_scale = 0.1, .balance_scale = 1, .number = (uint32_t)i};
        memset(m->params.grad, 0, n * sizeof *m->params.grad);
        must_do(engine_train(e, b[i % 2], &s, &err), &err);
        memcpy(v->grad + (size_t)i * n, m->params.grad, n * sizeof *v->grad);
        for (size_t k = 0; k < n; k++)
            m->params.value[k] -= 0.01f * m->params.grad[k];
        weights_refresh(m->weights);
        v->loss[i][0] = s.loss_sum;
        must_do(engine_loss(e, b[1 - i % 2], &s, &err), &err);
        v->loss[i][1] = s.loss_sum;
    }
    engine_close(e);
    memcpy(m->params.value, start, n * sizeof *start);
    weights_refresh(m->weights);
    free(start);
}

static void test_same(const char *what, const struct small *o, const struct moe_config *moe,
                      enum compute compute)
{
    struct model *m = small_open(gen_path("m"), o, moe, moe ? TRAIN_ADAPTERS : TRAIN_FULL, compute);
    struct small_batch g[2];
    const struct batch *const b[2] = {&g[0].b, &g[1].b};
    struct seen want, got;
    int bits = 1;
    small_batch(&g[0], m->c.vocab_size, 1, 3, three);
    small_batch(&g[1], m->c.vocab_size, 2, 2, two);
    look(&want, m, b, NULL);
    for (long keep = 0; keep <= LAYERS + 1; keep++)
        for (int how = 0; how < 12; how++) {
            int spill = how % 2, disk = how / 2 % 3 * 2; /* 0, 2 or 4 layers in a file */
            struct engine_choices c = {.keep_layers = keep,
                                       .spill_dir = spill ? gen_dir : NULL,
                                       .disk_layers = disk,
                                       .disk_direct = how >= 6,
                                       .keep_dir = gen_dir};
            look(&got, m, b, &c);
            int same = !memcmp(want.loss, got.loss, sizeof want.loss) &&
                       !memcmp(want.grad, got.grad, want.n * sizeof *want.grad);
            if (!same)
                diag("%ld layers kept, %d in a file%s, %s: other bits", keep, disk,
                     how >= 6 ? " past the page cache" : "", spill ? "spilled" : "in memory");
            bits &= same;
            free(got.grad);
        }
    ok(bits, "%s%s: kept, recomputed, spilled, in a file: the same bits", what,
       compute == COMPUTE_BF16 ? " in bf16" : "");
    free(want.grad);
    small_batch_free(&g[0]), small_batch_free(&g[1]);
    model_close(m);
}

/* Kept layers are not computed again. */
static void test_products(void)
{
    struct model *m =
        small_open(gen_path("m"), &SMALL(.layers = LAYERS), &pesc, TRAIN_ADAPTERS, COMPUTE_F32);
    struct pesc_error err = {0};
    struct small_batch g;
    struct engine_step s = {.loss_scale = 1};
    uint64_t again[LAYERS + 1] = {0};
    small_batch(&g, m->c.vocab_size, 1, 3, three);
    for (long keep = 0; keep <= LAYERS; keep++) {
        struct engine *e;
        struct profile p = {0};
        gemm_set_profile(m->gemm, &p);
        must_do(engine_open(m, g.b.T, g.b.S, 1, &(struct engine_choices){.keep_layers = keep}, &e,
                            &err),
                &err);
        profile_begin(&p);
        must_do(engine_train(e, &g.b, &s, &err), &err);
        profile_end(&p);
        for (int i = 0; i < STAGE_COUNT; i++)
            again[keep] += p.flops[i][PHASE_RECOMPUTE];
        engine_close(e);
    }
    ok(again[0] > 0 && again[2] * 2 == again[0] && again[LAYERS] == 0,
       "what is kept is not computed again");
    small_batch_free(&g);
    model_close(m);
}

static int is_empty(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *f; d && (f = readdir(d));)
        n += strcmp(f->d_name, ".") && strcmp(f->d_name, "..");
    return d && closedir(d) == 0 && n == 0;
}

static void test_spill_file(void)
{
    struct model *m =
        small_open(gen_path("m"), &SMALL(.layers = LAYERS), &pesc, TRAIN_ADAPTERS, COMPUTE_F32);
    struct pesc_error err = {0}, none = {0}, full = {0};
    struct engine *e;
    struct engine_choices c = {.spill_dir = gen_path("spill")};
    is_error(engine_open(m, 25, 3, 1, &c, &e, &none), &none, "E-IO-MISSING", 9,
             "no folder to spill to");
    must_do(dir_make(c.spill_dir, &err), &err);
    must_do(engine_open(m, 25, 3, 1, &c, &e, &err), &err);
    ok(is_empty(c.spill_dir), "the file has no name");
    engine_close(e);
    struct rlimit was, small = {1000, 1000};
    getrlimit(RLIMIT_FSIZE, &was);
    small.rlim_max = was.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    int rc = engine_open(m, 25, 3, 1, &c, &e, &full);
    setrlimit(RLIMIT_FSIZE, &was);
    is_error(rc, &full, "E-IO-FULL", 9, "no room for the spilled inputs");
    ok(engine_spill_bytes(m, 25) == LAYERS * 25 * 16 * 4, "room that spilling takes");
    ok(engine_bytes(m, 25, 3, 1, NULL) - engine_bytes(m, 25, 3, 1, &c) == LAYERS * 25 * 16 * 4,
       "which is what memory it saves");
    model_close(m);
}

static void test_tfile(void)
{
    struct pesc_error err = {0};
    struct tfile *s;
    char a[5000], b[5000];
    for (size_t i = 0; i < sizeof a; i++)
        a[i] = (char)(i * 7);
    must_do(tfile_open(gen_dir, 20000, TFILE_DROPPED, &s, &err), &err);
    must_do(tfile_write(s, a, sizeof a, 7001, &err), &err);
    tfile_soon(s, sizeof b, 7001);
    must_do(tfile_read(s, b, sizeof b, 7001, &err), &err);
    int same = !memcmp(a, b, sizeof a), zero = 1;
    must_do(tfile_read(s, b, sizeof b, 0, &err), &err);
    for (size_t i = 0; i < sizeof b; i++)
        zero &= b[i] == 0;
    ok(same && zero, "a file without a name gives back what was written, else zeros");
    is_error(tfile_read(s, b, sizeof b, 1 << 20, &err), &err, "E-ST-CHANGED", 9,
             "reading past its end");
    tfile_close(s);
    tfile_close(NULL);
}

/* In the page cache: several files, ranges that begin and end within a piece of 1 MiB. */
static void test_tfile_cached(int threads)
{
    enum { N = 7 << 20 };
    struct pesc_error err = {0};
    struct tfile *f;
    char *a = malloc(N), *b = malloc(N);
    int was = omp_get_max_threads(), same = 1;
    static const long range[][2] = {
        {0, N}, {5, 1000}, {1 << 20, 1 << 20}, {3000000, 4000000}, {1048570, 12}, {N - 1, 1}};
    if (!a || !b)
        exit(99);
    for (long i = 0; i < N; i++)
        a[i] = (char)(i * 31 + i / 4099);
    omp_set_num_threads(threads);
    must_do(tfile_open(gen_dir, N, TFILE_CACHED, &f, &err), &err);
    for (size_t i = 0; i < sizeof range / sizeof *range; i++) {
        long at = range[i][0], n = range[i][1];
        for (long k = 0; k < n; k++)
            a[at + k] = (char)(a[at + k] + 1);
        must_do(tfile_write(f, a + at, (size_t)n, (uint64_t)at, &err), &err);
        memset(b, 0, (size_t)n);
        must_do(tfile_read(f, b, (size_t)n, (uint64_t)at, &err), &err);
        same &= !memcmp(a + at, b, (size_t)n);
    }
    must_do(tfile_read(f, b, N, 0, &err), &err);
    ok(same && !memcmp(a, b, N), "a cached one gives back what was written, %d threads", threads);
    is_error(tfile_read(f, b, 8, 64 << 20, &err), &err, "E-ST-CHANGED", 9, "reading past its end");
    tfile_close(f);
    omp_set_num_threads(was);
    free(a);
    free(b);
}

/* A disk that fails while layers go there: each pass says so, and none waits for ever. */
static void test_failing(int direct)
{
    struct model *m =
        small_open(gen_path("m"), &SMALL(.layers = LAYERS), &pesc, TRAIN_ADAPTERS, COMPUTE_F32);
    struct pesc_error err = {0};
    struct small_batch g;
    struct engine *e;
    struct engine_step s = {.loss_scale = 1};
    struct engine_choices c = {.disk_layers = LAYERS, .disk_direct = direct, .keep_dir = gen_dir};
    struct rlimit was, small;
    small_batch(&g, m->c.vocab_size, 1, 3, three);
    must_do(engine_open(m, g.b.T, g.b.S, 1, &c, &e, &err), &err);
    must_do(engine_train(e, &g.b, &s, &err), &err);
    getrlimit(RLIMIT_FSIZE, &was);
    small = (struct rlimit){4096, was.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    for (int pass = 0; pass < 2; pass++) {
        struct pesc_error failed = {0};
        int rc = engine_train(e, &g.b, &s, &failed);
        is_error(rc, &failed, "E-IO-FULL", 9,
                 direct ? "past the page cache: layers cannot be written"
                        : "in the page cache: layers cannot be written");
    }
    setrlimit(RLIMIT_FSIZE, &was);
    engine_close(e);
    small_batch_free(&g);
    model_close(m);
}

static void test_kinds(enum compute compute)
{
    test_same("llama", &SMALL(.layers = LAYERS), &pesc, compute);
    test_same("qwen3, window", &SMALL(.layers = LAYERS, .type = "qwen3", .window = 4), &pesc,
              compute);
    test_same("qwen2, all weights", &SMALL(.layers = LAYERS, .type = "qwen2", .tied = 1), NULL,
              compute);
    test_same("llama with biases, all weights",
              &SMALL(.layers = LAYERS, .attention_bias = 1, .mlp_bias = 1), NULL, compute);
}

int main(void)
{
    gen_begin();
    omp_set_num_threads(1);
    test_kinds(COMPUTE_F32);
    if (gemm_has_bf16(NULL, 0))
        test_kinds(COMPUTE_BF16);
    test_products();
    test_spill_file();
    test_tfile();
    test_failing(0);
    test_failing(1);
    test_tfile_cached(1);
    test_tfile_cached(3);
    return gen_end();
}
