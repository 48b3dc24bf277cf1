/* decode NAME [options]: generates tokens one by one with a shape's random weights and says how
 * fast, and how near to the speed at which the memory gives as many bytes, measured in between by a
 * plain sum over a buffer of the weights' size. One JSON object on stdout, a line on stderr. */
#include "config.h"

#include "core/hot.h"
#include "core/machine.h"
#include "core/rng.h"
#include "experiments/bench/options.h"
#include "model/decode.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define OPTIONS(X)                                                                                 \
    X(decode, 64, "tokens generated in each round")                                                \
    X(rounds, 7, "of generating, with reading before and after each")                              \
    X(prompt, 16, "tokens before them")                                                            \
    X(experts, 8, "of a layer")                                                                    \
    X(top_k, 2, "experts of a token")                                                              \
    X(dim, 64, "of the adapters")                                                                  \
    X(layers, 0, "instead of the shape's own")                                                     \
    X(threads, 0, "instead of the cores")

struct options {
#define PESC_X(name, value, what) long name;
    OPTIONS(PESC_X)
#undef PESC_X
};

enum { ROUNDS = 64, PASSES = 3 };

struct bench {
    struct bench_options with;
    struct options o;
    const struct shape *shape;
    struct base *base;
    struct model *model;
    struct decoder *decoder;
    float *buffer; /* of as many floats as the weights have room for */
    long floats;
    double token[ROUNDS], read[ROUNDS]; /* seconds of a token; bytes a second of the best pass */
    double best_read, processor;        /* processor seconds of a token */
    double used[ROUNDS * PASSES * 2];   /* processor seconds of a pass over the buffer */
    long passes;
    double weights, adapters, cache; /* bytes of a token; cache: its mean */
    float sum;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double processor_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* --- the bound --- */

/* Four sums, so that it is the memory that is waited for. */
static HOT float sum_part(const float *restrict x, long n)
{
    float a = 0, b = 0, c = 0, d = 0;
    long q = n / 4;
#pragma omp simd reduction(+ : a, b, c, d)
    for (long i = 0; i < q; i++) {
        a += x[i];
        b += x[q + i];
        c += x[2 * q + i];
        d += x[3 * q + i];
    }
    return a + b + c + d;
}

/* Bytes a second of one pass over the buffer, each thread over a part of its own. */
static double read_once(struct bench *b)
{
    enum { PIECE = 16384 };
    double start = now(), used = processor_seconds();
    float part[256] = {0};
#pragma omp parallel
    {
        long n = omp_get_num_threads(), me = omp_get_thread_num();
        long from = b->floats / n * me, to = me + 1 == n ? b->floats : from + b->floats / n;
        float sum = 0;
        for (long i = from; i < to; i += PIECE)
            sum += sum_part(b->buffer + i, to - i < PIECE ? to - i : PIECE);
        part[me % 256] = sum;
    }
    double seconds = now() - start;
    if (b->passes < ROUNDS * PASSES * 2)
        b->used[b->passes++] = processor_seconds() - used;
    for (int i = 0; i < 256; i++)
        b->sum += part[i];
    return (double)b->floats * sizeof *b->buffer / seconds;
}

static double read_best(struct bench *b)
{
    double best = 0;
    for (int i = 0; i < PASSES; i++) {
        double speed = read_once(b);
        best = speed > best ? speed : best;
    }
    b->best_read = best > b->best_read ? best : b->best_read;
    return best;
}

static double matrix_bytes(const struct wmat *w)
{
    if (w->q.kind)
        return (double)qmat_bytes(&w->q);
    return w->data ? (double)w->N * (double)w->K * (double)dtype_size(w->dtype) : 0;
}

/* What one token has to read. */
static int count_bytes(struct bench *b, struct pesc_error *err)
{
    const struct model *m = b->model;
    double D = (double)m->c.hidden_size, L = (double)m->c.num_layers;
    weights_pass(m->weights, 0);
    for (long l = 0; l < m->c.num_layers; l++) {
        struct layer_weights w;
        TRY(weights_layer(m->weights, l, &w, err));
        for (int t = 0; t < LT_COUNT; t++)
            b->weights += matrix_bytes(&w.mat[t]);
        weights_release(m->weights, l);
    }
    b->weights += matrix_bytes(&weights_outer(m->weights)->head) + (2 * L + 1) * D * sizeof(float);
    b->adapters = L * D * sizeof(float) * (double)(m->moe.experts + m->moe.top_k * m->moe.dim * 2);
    double mean = (double)b->o.prompt + (double)(b->o.decode * b->o.rounds + 1) / 2;
    b->cache = L * mean * (double)(m->c.num_kv_heads * m->c.head_dim) * 2 * sizeof(float);
    return 0;
}

/* --- generating --- */

static int open_model(struct bench *b, struct pesc_error *err)
{
    char path[PATH_CAP];
    struct moe_config moe = {.experts = b->o.experts,
                             .top_k = b->o.top_k,
                             .dim = b->o.dim,
                             .scaling = 1,
                             .balance = BALANCE_SWITCH};
    enum compute compute = b->with.compute;
    if ((compute == COMPUTE_BF16 && !gemm_has_bf16(NULL, 0)) ||
        (compute == COMPUTE_INT8 && !gemm_has_int8(NULL, 0)))
        return FAIL(err, USAGE_VALUE, "this processor has no %s products", compute_name(compute));
    TRY(bench_folder(&b->with.base, path, err));
    TRY(base_open(path, NULL, &b->base, err));
    TRY(model_shape(base_config(b->base), &moe, TRAIN_NOTHING, compute, &b->model, err));
    model_for_generating(b->model);
    TRY(model_load(b->model, b->base, DT_COUNT, 42, err));
    TRY(count_bytes(b, err));
    b->floats = (long)(b->weights / sizeof *b->buffer);
    b->buffer = malloc((size_t)b->floats * sizeof *b->buffer);
    if (!b->buffer)
        return FAIL(err, MEMORY, "no memory for a buffer of the weights' size");
#pragma omp parallel for schedule(static)
    for (long i = 0; i < b->floats; i++)
        b->buffer[i] = 1;
    return decoder_open(b->model, b->o.prompt + b->o.rounds * b->o.decode + 1, &b->decoder, err);
}

static int generate(struct bench *b, struct pesc_error *err)
{
    const struct sampling greedy = {.top_p = 1};
    struct rng_key key = {7, RNG_SAMPLE, 0, 0};
    const float *logits;
    int32_t id = 0;
    for (long i = 0; i < b->o.prompt; i++) {
        id = (int32_t)(rng_u32(&key, (uint64_t)i) % (uint32_t)b->shape->vocab);
        TRY(decoder_feed(b->decoder, &id, 1, &logits, err));
    }
    double before = read_best(b);
    for (long r = 0; r < b->o.rounds; r++) {
        double start = now(), used = processor_seconds();
        for (long i = 0; i < b->o.decode; i++) {
            id = sample_token(logits, b->shape->vocab, &greedy, 0, NULL);
            TRY(decoder_feed(b->decoder, &id, 1, &logits, err));
        }
        b->token[r] = (now() - start) / (double)b->o.decode;
        b->processor += (processor_seconds() - used) / (double)(b->o.decode * b->o.rounds);
        double after = read_best(b);
        b->read[r] = before > after ? before : after;
        before = after;
    }
    return 0;
}

/* --- the report --- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(const double *v, long n)
{
    double s[ROUNDS * PASSES * 2];
    memcpy(s, v, (size_t)n * sizeof *s);
    qsort(s, (size_t)n, sizeof *s, by_size);
    return n % 2 ? s[n / 2] : (s[n / 2 - 1] + s[n / 2]) / 2;
}

static int report(const struct bench *b)
{
    char cpu[256];
    long n = b->o.rounds;
    double bytes = b->weights + b->adapters + b->cache, paired[ROUNDS], best = b->token[0];
    for (long r = 0; r < n; r++) {
        paired[r] = bytes / b->token[r] / b->read[r];
        best = b->token[r] < best ? b->token[r] : best;
    }
    double token = median(b->token, n), read = median(b->read, n);
    double by_processor =
        bytes / b->processor * median(b->used, b->passes) / ((double)b->floats * sizeof *b->buffer);
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:I}", "shape", b->shape->name,
        "compute", compute_name(b->with.compute), "base", base_stored(b->base), "layers",
        (json_int_t)b->model->c.num_layers, "experts", (json_int_t)b->o.experts, "top_k",
        (json_int_t)b->o.top_k, "adapter_dim", (json_int_t)b->o.dim, "prompt",
        (json_int_t)b->o.prompt, "decode", (json_int_t)b->o.decode, "rounds", (json_int_t)n, "cpu",
        machine_cpu_model("", cpu, sizeof cpu), "threads", (json_int_t)omp_get_max_threads());
    json_t *figures = json_pack(
        "{s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "tokens_per_s",
        1 / token, "best_tokens_per_s", 1 / best, "processor_seconds_per_token", b->processor,
        "bytes_per_token", (json_int_t)bytes, "weight_bytes", (json_int_t)b->weights,
        "adapter_bytes", (json_int_t)b->adapters, "cache_bytes", (json_int_t)b->cache,
        "read_bytes_per_s", read, "best_read_bytes_per_s", b->best_read, "bound_fraction",
        bytes / token / read, "paired_fraction", median(paired, n), "fraction_of_best",
        bytes / token / b->best_read, "processor_fraction", by_processor);
    if (!o || !figures || json_object_update(o, figures) != 0)
        return 8;
    json_dumpf(o, stdout, JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(figures);
    json_decref(o);
    fprintf(stderr,
            "%s %s %s: %.1f tokens/s (best round %.1f), %.1f MB a token (weights %.1f, adapters "
            "%.1f, cache %.1f)\nreading: %.2f GB/s (best %.2f); %.1f%% of that reached, %.1f%% by "
            "rounds, %.1f%% of the best, %.1f%% by processor time\n",
            b->shape->name, compute_name(b->with.compute), base_stored(b->base), 1 / token,
            1 / best, bytes * 1e-6, b->weights * 1e-6, b->adapters * 1e-6, b->cache * 1e-6,
            read * 1e-9, b->best_read * 1e-9, 100 * bytes / token / read, 100 * median(paired, n),
            100 * bytes / token / b->best_read, 100 * by_processor);
    return fflush(stdout) != 0 ? 9 : 0;
}

/* --- the command line --- */

static int run(struct bench *b, struct pesc_error *err)
{
    TRY(open_model(b, err));
    return generate(b, err);
}

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
    if (bench_options_read(&b.with, "decode", numbers, n, argc, argv) != 0)
        return 2;
    b.with.base.layers = b.o.layers;
    b.shape = b.with.base.shape;
    if (b.o.rounds > ROUNDS || b.o.top_k > b.o.experts || b.with.spill) {
        fprintf(stderr, "decode: at most %d rounds, as many experts as a token has, no spilling\n",
                ROUNDS);
        return 2;
    }
    omp_set_num_threads((int)(b.o.threads ? b.o.threads : machine_cores()));
    int rc = run(&b, &err) == 0 ? report(&b) : err.exit_status;
    if (err.code)
        fprintf(stderr, "%s: %s\n", err.name, err.text);
    decoder_close(b.decoder);
    model_close(b.model);
    base_close(b.base);
    free(b.buffer);
    return rc;
}
