/* bench NAME [options]: trains the adapters of a shape for a few steps on random tokens, and says
 * how fast, where the time went, how near to the speed of the products alone, and in how much
 * memory. One JSON object on stdout, a table on stderr. One shape and compute type a process, so
 * that its peak memory is theirs. */
#include "config.h"

#include "cli/profile_report.h"
#include "core/build.h"
#include "core/file.h"
#include "core/machine.h"
#include "core/rng.h"
#include "experiments/bench/bound.h"
#include "experiments/bench/options.h"
#include "train/loop.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    long tokens, sample, experts, top_k, dim, steps, layers, threads, probe_ms;
    long stream, embed_on_disk, keep;
};

enum { STEPS_MAX = 64 };

struct bench {
    struct bench_options with;
    struct options o;
    const struct shape *shape;
    struct base *base;
    struct model *model;
    struct profile profile;
    struct bound bound;
    int32_t *ids;
    long *cu, *record, samples, scored;
    int *domain;
    uint64_t read[2]; /* weights read before the steps that count, and after them */
    double seconds[STEPS_MAX], paired[STEPS_MAX], loss;
    int failed; /* measuring, for error */
    struct pesc_error error;
    long n;
    uint64_t planned, peak, weights;
};

/* --- a batch of random tokens, another one for each step --- */

static int draw_batch(void *ctx, long step, struct batch *out, struct pesc_error *err)
{
    struct bench *b = ctx;
    struct rng_key k = {7, RNG_SAMPLE, (uint32_t)step, 0};
    (void)err;
    for (long t = 0; t < b->o.tokens; t++)
        b->ids[t] = (int32_t)(rng_u32(&k, (uint64_t)t) % (uint32_t)b->shape->vocab);
    *out = (struct batch){b->o.tokens, b->samples, b->ids, b->ids, b->cu, b->domain, b->record};
    return 0;
}

static int make_batch(struct bench *b, struct pesc_error *err)
{
    b->samples = (b->o.tokens + b->o.sample - 1) / b->o.sample;
    b->ids = calloc((size_t)b->o.tokens, sizeof *b->ids);
    b->cu = calloc((size_t)b->samples + 1, sizeof *b->cu);
    b->record = calloc((size_t)b->samples, sizeof *b->record);
    b->domain = calloc((size_t)b->samples, sizeof *b->domain);
    if (!b->ids || !b->cu || !b->record || !b->domain)
        return FAIL(err, MEMORY, "no memory for a batch of %ld tokens", b->o.tokens);
    for (long s = 1; s <= b->samples; s++)
        b->cu[s] = s * b->o.sample < b->o.tokens ? s * b->o.sample : b->o.tokens;
    b->scored = b->o.tokens - b->samples;
    return 0;
}

/* --- training --- */

/* The first step makes kernels and touches memory: it does not count. The products are measured
 * after each of the others, under whatever load the machine had then; the peak memory is that of
 * before. */
static void step_done(void *ctx, const struct step_metrics *m, int logged)
{
    struct bench *b = ctx;
    (void)logged;
    b->read[1] = weights_bytes_read(b->model->weights);
    if (m->step == 1) {
        memset(&b->profile, 0, sizeof b->profile);
        b->read[0] = b->read[1];
    }
    if (m->step == 2)
        b->peak = machine_peak_rss();
    if (m->step == 1 || b->n == STEPS_MAX || b->failed)
        return;
    b->failed = bound_measure(&b->bound, 1e-3 * (double)b->o.probe_ms, &b->error);
    b->paired[b->n] = b->bound.latest / m->seconds;
    b->seconds[b->n++] = m->seconds;
}

static int open_model(struct bench *b, struct pesc_error *err)
{
    char path[PATH_CAP];
    struct moe_config moe = {.experts = b->o.experts,
                             .top_k = b->o.top_k,
                             .dim = b->o.dim,
                             .scaling = 1,
                             .balance = BALANCE_SWITCH,
                             .balance_coef = 0.01};
    enum compute compute = b->with.compute;
    if ((compute == COMPUTE_BF16 && !gemm_has_bf16(NULL, 0)) ||
        (compute == COMPUTE_INT8 && !gemm_has_int8(NULL, 0)))
        return FAIL(err, USAGE_VALUE, "this processor has no %s products", compute_name(compute));
    TRY(bench_folder(&b->with.base, path, err));
    TRY(base_open(path, NULL, &b->base, err));
    TRY(model_shape(base_config(b->base), &moe, TRAIN_ADAPTERS, compute, &b->model, err));
    b->model->plan = (struct weights_plan){b->o.stream, b->o.embed_on_disk != 0, 0};
    return model_load(b->model, b->base, DT_COUNT, 42, err);
}

static int train(struct bench *b, struct pesc_error *err)
{
    struct train_result r;
    struct batch_source data = {draw_batch, b, b->o.tokens, b->samples};
    struct train_sink sink = {.ctx = b, .step = step_done};
    struct train_options o = {.steps = b->o.steps + 1,
                              .accumulation = 1,
                              .schedule = {.kind = SCHEDULE_CONSTANT, .peak = 2e-4},
                              .adamw = ADAMW_DEFAULTS,
                              .max_grad_norm = 0.3,
                              .balance_coef = 0.01,
                              .batches_per_epoch = 1,
                              .engine = {b->o.keep, b->with.spill},
                              .profile = &b->profile};
    b->planned = model_bytes(b->model) + train_bytes(b->model, &data, &o.adamw, &o.engine);
    b->weights = weights_bytes(b->model->weights);
    double pairs = 0;
    for (long i = 0; i < b->samples; i++) {
        double len = (double)(b->cu[i + 1] - b->cu[i]);
        pairs += len * (len + 1) / 2;
    }
    bound_count(&b->bound, b->model, b->o.tokens, b->scored, pairs);
    TRY(train_run(b->model, &data, &o, &sink, NULL, &r, err));
    if (b->failed)
        *err = b->error;
    b->loss = r.ce;
    return b->failed;
}

/* --- the report --- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(const double *v, long n)
{
    double s[STEPS_MAX];
    memcpy(s, v, (size_t)n * sizeof *s);
    qsort(s, (size_t)n, sizeof *s, by_size);
    return n % 2 ? s[n / 2] : (s[n / 2 - 1] + s[n / 2]) / 2;
}

static const char *const way_name[GEMM_WAYS] = {"plain", "packed", "packed_bf16"};

static json_t *products_json(const struct bound *b)
{
    static const char *const form[] = {"nt", "nn", "tn"};
    json_t *list = json_array();
    for (long i = 0; list && i < b->n; i++) {
        const struct product *p = &b->p[i];
        double flops = 2.0 * (double)p->probe.M * (double)p->probe.N * (double)p->probe.K;
        json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "name", p->name, "phase",
                              p->phase == PHASE_FORWARD ? "forward" : "backward", "type",
                              compute_name(p->probe.type), "form", form[p->probe.form], "M",
                              (json_int_t)p->probe.M, "N", (json_int_t)p->probe.N, "K",
                              (json_int_t)p->probe.K, "times", (json_int_t)p->times);
        for (int w = 0; w < GEMM_WAYS; w++) {
            char key[40];
            snprintf(key, sizeof key, "%s_gflops", way_name[w]);
            if (p->probe.seconds[w] > 0)
                json_object_set_new(o, key, json_real(flops / p->probe.seconds[w] * 1e-9));
        }
        json_array_append_new(list, o);
    }
    return list;
}

/* The engine's count of a stage and phase, per step, against the count from the shapes. */
static double counted_error(const struct bench *b)
{
    double worst = 0;
    const enum phase phases[] = {PHASE_FORWARD, PHASE_BACKWARD};
    for (int s = 0; s < STAGE_COUNT; s++)
        for (int i = 0; i < 2; i++) {
            double want = bound_flops(&b->bound, (enum stage)s, phases[i]);
            double got = (double)b->profile.flops[s][phases[i]] / (double)b->n;
            double d = want > 0 ? got / want - 1 : got;
            d = d < 0 ? -d : d;
            worst = d > worst ? d : worst;
        }
    return worst;
}

static int report(const struct bench *b)
{
    char cpu[256], lib[32];
    double step = median(b->seconds, b->n), best = b->seconds[0], sum = 0;
    json_t *steps = json_array();
    for (long i = 0; i < b->n; i++) {
        json_array_append_new(steps, json_real(b->seconds[i]));
        sum += b->seconds[i];
        best = b->seconds[i] < best ? b->seconds[i] : best;
    }
    double attention = bound_attention(&b->bound), all = (b->bound.seconds + attention) / step;
    double fraction = b->bound.seconds / step, paired = median(b->paired, b->n);
    double covered = profile_seconds(&b->profile) / sum, counted = counted_error(b);
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:s}", "shape",
        b->shape->name, "compute", compute_name(b->with.compute), "base", base_stored(b->base),
        "layers", (json_int_t)b->model->c.num_layers, "tokens", (json_int_t)b->o.tokens, "sample",
        (json_int_t)b->o.sample, "scored", (json_int_t)b->scored, "experts",
        (json_int_t)b->o.experts, "top_k", (json_int_t)b->o.top_k, "adapter_dim",
        (json_int_t)b->o.dim, "cpu", machine_cpu_model("", cpu, sizeof cpu), "threads",
        (json_int_t)omp_get_max_threads(), "onednn", gemm_library_version(lib, sizeof lib));
    double read = (double)(b->read[1] - b->read[0]) / (double)b->n;
    json_t *figures = json_pack(
        "{s:I, s:b, s:I, s:b, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, "
        "s:I, s:I, "
        "s:f}",
        "streamed_layers", (json_int_t)b->o.stream, "embed_on_disk", b->o.embed_on_disk != 0,
        "kept_layers", (json_int_t)b->o.keep, "spilled", b->with.spill != NULL,
        "read_bytes_per_step", read, "tokens_per_s", (double)b->o.tokens / step, "step_seconds",
        step, "bound_seconds", b->bound.seconds, "attention_bound_seconds", attention,
        "bound_fraction_with_attention", all, "bound_fraction", fraction, "paired_fraction", paired,
        "best_step_seconds", best, "needed_flops", b->bound.flops, "stages_over_steps", covered,
        "flops_error", counted, "peak_rss_bytes", (json_int_t)b->peak, "planned_bytes",
        (json_int_t)b->planned, "weights_bytes", (json_int_t)b->weights, "loss", b->loss);
    if (!o || !figures || json_object_update(o, figures) != 0 ||
        json_object_set_new(o, "steps", steps) != 0 ||
        json_object_set_new(o, "profile", profile_json(&b->profile)) != 0 ||
        json_object_set_new(o, "products", products_json(&b->bound)) != 0)
        return 8;
    json_dumpf(o, stdout, JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(figures);
    json_decref(o);
    profile_table(stderr, &b->profile);
    fprintf(stderr,
            "\n%s %s: %.1f tokens/s, a step of %ld tokens in %.3f s (%ld steps, best %.3f s)\n"
            "bound: %.3f s for %.1f GFLOP (%.1f GFLOP/s): %.1f%% of it reached,\n"
            "       %.1f%% with attention's products (%.3f s) counted, too\n"
            "       %.1f%% of what the same products took right after each step\n"
            "memory: peak %.0f MiB, planned %.0f MiB, of that weights %.0f MiB\n"
            "disk:   %.0f MiB of weights read a step; waited %.3f s a step\n"
            "stages add up to %.2f%% of the steps; products counted within %.2g of the shapes'\n",
            b->shape->name, compute_name(b->with.compute), (double)b->o.tokens / step, b->o.tokens,
            step, b->n, best, b->bound.seconds, b->bound.flops * 1e-9,
            b->bound.flops / b->bound.seconds * 1e-9, 100 * fraction, 100 * all, attention,
            100 * paired, (double)b->peak / 0x1p20, (double)b->planned / 0x1p20,
            (double)b->weights / 0x1p20, read / 0x1p20,
            profile_stage_seconds(&b->profile, STAGE_DISK) / (double)b->n, 100 * covered, counted);
    /* Rows per expert differ, the sum does not. */
    if (counted > 1e-9 || covered < 0.97 || covered > 1.0001) {
        fprintf(stderr, "bench: the figures do not agree with each other\n");
        return 1;
    }
    return fflush(stdout) != 0 ? 9 : 0;
}

static int run(struct bench *b, struct pesc_error *err)
{
    TRY(make_batch(b, err));
    TRY(open_model(b, err));
    return train(b, err);
}

/* --- the command line --- */

#define OPTIONS(X)                                                                                 \
    X(tokens, 2048, "of a step")                                                                   \
    X(sample, 512, "tokens of a sample")                                                           \
    X(experts, 8, "of a layer")                                                                    \
    X(top_k, 2, "experts of a token")                                                              \
    X(dim, 64, "of the adapters")                                                                  \
    X(steps, 3, "measured, after one that is not")                                                 \
    X(layers, 0, "instead of the shape's own")                                                     \
    X(threads, 0, "instead of the cores")                                                          \
    X(stream, 0, "layers read from disk for each use")                                             \
    X(embed_on_disk, 0, "1: its rows are read as they are needed")                                 \
    X(keep, 0, "top layers whose activations are kept in full")                                    \
    X(probe_ms, 60, "spent on measuring each product after a step")

int main(int argc, char **argv)
{
    struct pesc_error err = {0};
#define PESC_X(field, dflt, what) .field = dflt,
    struct bench b = {.o = {OPTIONS(PESC_X)}};
#undef PESC_X
#define PESC_X(field, dflt, what) {#field, what, &b.o.field},
    const struct bench_number numbers[] = {OPTIONS(PESC_X)};
#undef PESC_X
    long n = (long)(sizeof numbers / sizeof *numbers);
    if (bench_options_read(&b.with, "bench", numbers, n, argc, argv) != 0)
        return 2;
    b.with.base.layers = b.o.layers;
    b.shape = b.with.base.shape;
    if (b.o.steps >= STEPS_MAX || b.o.top_k > b.o.experts) {
        fprintf(stderr, "bench: at most %d steps, and as many experts as a token has\n",
                STEPS_MAX - 1);
        return 2;
    }
    omp_set_num_threads((int)(b.o.threads ? b.o.threads : machine_cores()));
    int rc = run(&b, &err) == 0 ? report(&b) : err.exit_status;
    if (err.code)
        fprintf(stderr, "%s: %s\n", err.name, err.text);
    model_close(b.model);
    base_close(b.base);
    free(b.ids);
    free(b.cu);
    free(b.record);
    free(b.domain);
    return rc;
}
