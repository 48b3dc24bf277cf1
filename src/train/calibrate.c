#include "config.h"
#include "train/calibrate.h"

#include "core/tfile.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LAYERS = 2, STEPS = 8 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct measuring {
    const struct calibrate_what *w;
    struct profile profile;
    long n, tokens; /* of the steps that count */
    atomic_int stop;
    double begun;
};

/* The first step makes kernels and touches memory: it counts only when there is no time for a
 * second. */
static void step_done(void *ctx, const struct step_metrics *s, int logged)
{
    struct measuring *m = ctx;
    double used = now() - m->begun;
    (void)logged;
    m->n++;
    m->tokens += s->tokens;
    if (used + s->seconds > m->w->enough)
        atomic_store(&m->stop, 1);
    else if (s->step == 1) {
        memset(&m->profile, 0, sizeof m->profile);
        m->n = 0;
        m->tokens = 0;
    }
}

/* A layer with adapters and one without are told apart by the adapters' time, where both measured
 * have them; else each is one of the two. */
static void settle(const struct measuring *m, const struct model *few, long layers,
                   struct calibration *c)
{
    const struct profile *p = &m->profile;
    double steps = (double)m->n, all = 0;
    double update = profile_stage_seconds(p, STAGE_OPTIM) / steps;
    int mixed = few->crafted && model_adapted(few) < layers;
    for (int k = 0; k < PHASE_COUNT; k++) {
        double low = p->places[PLACE_LOWEST_LAYER][k] / steps;
        double high = p->places[PLACE_LAYER][k] / steps;
        double moe = p->seconds[STAGE_MOE][k] / (double)layers / steps;
        if (mixed) {
            c->layer[k] = low;
            c->dense[k] = high;
        } else {
            c->layer[k] = (k == PHASE_BACKWARD && layers > 1 ? high : low + high) /
                          (double)(k == PHASE_BACKWARD ? 1 : layers);
            c->dense[k] = c->layer[k] > moe ? c->layer[k] - moe : 0;
        }
        all += p->places[PLACE_OUTSIDE][k];
    }
    c->lowest_backward = p->places[PLACE_LOWEST_LAYER][PHASE_BACKWARD] / steps;
    c->rest = all / steps - update;
    c->rest_forward = p->seconds[STAGE_HEAD][PHASE_FORWARD] + p->seconds[STAGE_LOSS][PHASE_FORWARD];
    c->rest_forward /= steps;
    c->update = few->params.total ? update / (double)few->params.total : 0;
    c->file[0] = p->seconds[STAGE_DISK][PHASE_FORWARD] / (double)layers / steps;
    c->file[1] = p->seconds[STAGE_DISK][PHASE_RECOMPUTE] / (double)layers / steps;
    c->tokens = (double)m->tokens / steps;
}

static int train_few(const struct calibrate_what *w, struct model *few, long layers,
                     struct calibration *c, struct pesc_error *err)
{
    struct measuring m = {.w = w, .begun = now()};
    struct train_options o = *w->run;
    struct train_sink sink = {.ctx = &m, .step = step_done};
    struct train_result r;
    struct pesc_error e = {0};
    o.steps = STEPS;
    o.accumulation = 1; /* a batch is a batch */
    o.batches = 0;
    o.eval = NULL;
    o.checkpoint_dir = o.resume_from = NULL;
    o.save_steps = o.eval_steps = o.router_steps = 0;
    o.engine.keep_layers = 0;
    o.engine.prefix.bytes = 0;
    o.engine.disk_layers = w->place->disk_layers ? layers : 0;
    o.engine.disk_direct = w->place->disk_direct;
    o.profile = &m.profile;
    o.stop = &m.stop;
    atomic_init(&m.stop, 0);
    int rc = train_run(few, w->data, &o, &sink, NULL, &r, &e);
    /* What so few layers make of a text is no answer; that it took its time is. */
    if (rc != 0 && (e.code != PESC_E_NUM_NONFINITE || m.n == 0)) {
        *err = e;
        return -1;
    }
    settle(&m, few, layers, c);
    return 0;
}

/* As the run will read them: by a thread, ahead, and the page cache dropped behind. */
static int time_reading(const struct calibrate_what *w, struct calibration *c,
                        struct pesc_error *err)
{
    struct model_config few = w->like->c;
    struct weights *from;
    if (few.num_layers > LAYERS + 1)
        few.num_layers = LAYERS + 1;
    struct weights_plan plan = {few.num_layers, w->place->embed_on_disk, w->like->plan.int8_min};
    TRY(weights_open(w->base, &few, w->like->compute, w->store, &plan, &from, err));
    uint64_t before = weights_bytes_read(from);
    double t0 = now();
    int rc = 0;
    weights_pass(from, 0);
    for (long l = 0; rc == 0 && l < few.num_layers; l++) {
        struct layer_weights layer;
        rc = weights_layer(from, l, &layer, err);
        if (rc == 0)
            weights_release(from, l);
    }
    double t = now() - t0;
    uint64_t bytes = weights_bytes_read(from) - before;
    weights_free(from);
    c->read_rate = t > 0 ? (double)bytes / t : 0;
    return rc;
}

/* As the run will read them: written, on the disk, and not in the page cache any more. */
static int time_prefix(const struct calibrate_what *w, struct calibration *c,
                       struct pesc_error *err)
{
    enum { TOKENS = 2048 };
    const struct model *m = w->like;
    struct prefix_options o = w->run->engine.prefix;
    long D = m->c.hidden_size, n = w->data->max_tokens < TOKENS ? w->data->max_tokens : TOKENS;
    size_t value = dtype_size(compute_form(m->compute));
    struct prefix *p = NULL;
    n = w->run->pass_tokens && w->run->pass_tokens < n ? w->run->pass_tokens : n;
    int32_t *ids = calloc((size_t)n, sizeof *ids);
    float *x = calloc((size_t)(n * D), sizeof *x);
    int rc = ids && x ? 0 : FAIL(err, MEMORY, "no memory to measure %ld tokens", n);
    o.samples = 4;
    o.bytes = UINT64_MAX;
    o.notes = NULL;
    if (rc == 0)
        rc = prefix_open(&o, n, D, value, &p, err);
    for (int32_t i = 0; rc == 0 && i < 2; i++) { /* the second waits for the first */
        ids[0] = i;
        prefix_put(p, ids, n, x);
    }
    if (rc == 0) {
        ids[0] = 0;
        double t0 = now();
        int found = prefix_get(p, ids, n, x);
        double t = now() - t0;
        c->prefix_rate = found && t > 0 ? (double)prefix_record(n, D, value) / t : 0;
    }
    prefix_close(p);
    free(x);
    free(ids);
    return rc;
}

/* Activations past the page cache: a few pieces there and back. */
static int time_file(const struct calibrate_what *w, struct calibration *c, struct pesc_error *err)
{
    enum { BYTES = 4 << 20, PIECES = 8 };
    struct tfile *f = NULL;
    void *p = NULL;
    int rc = posix_memalign(&p, TFILE_BLOCK, BYTES) == 0
                 ? 0
                 : FAIL(err, MEMORY, "no memory to measure a file of activations");
    if (rc == 0) {
        memset(p, 1, BYTES);
        rc = tfile_open(w->run->engine.keep_dir, (uint64_t)PIECES * BYTES, TFILE_DIRECT, &f, err);
    }
    double t0 = now();
    for (uint64_t i = 0; rc == 0 && i < 2 * PIECES; i++)
        rc = i < PIECES ? tfile_write(f, p, BYTES, i * BYTES, err)
                        : tfile_read(f, p, BYTES, (i - PIECES) * BYTES, err);
    double t = now() - t0;
    c->file_rate = rc == 0 && t > 0 ? 2.0 * PIECES * BYTES / t : 0;
    tfile_close(f);
    free(p);
    return rc;
}

/* What is measured, of at most two layers, so that it needs no more memory than the run. */
static struct moe_config few_adapters(const struct model *like, long layers)
{
    struct moe_config moe = like->moe;
    moe.first = moe.layers = 0;
    if (like->crafted && model_adapted(like) == 1 && layers > 1) {
        moe.layers = 1;
        moe.first = like->moe.first + 1 == like->c.num_layers;
    }
    return moe;
}

int calibrate(const struct calibrate_what *w, struct calibration *out, struct pesc_error *err)
{
    const struct model *like = w->like;
    struct model_config c = like->c;
    struct model *few;
    double t0 = now();
    memset(out, 0, sizeof *out);
    if (c.num_layers > LAYERS)
        c.num_layers = LAYERS;
    struct moe_config moe = few_adapters(like, c.num_layers);
    TRY(model_shape(&c, like->crafted ? &moe : NULL, like->trainable, like->compute, &few, err));
    memory_place(w->place, few);
    few->plan.streamed_layers = 0;
    few->plan.int8_min = like->plan.int8_min;
    int rc = model_load(few, w->base, w->store, w->run->seed, err);
    if (rc == 0)
        rc = train_few(w, few, c.num_layers, out, err);
    model_close(few);
    TRY(rc);
    if (w->place->streamed_layers)
        TRY(time_reading(w, out, err));
    if (w->place->prefix)
        TRY(time_prefix(w, out, err));
    if (w->place->disk_layers && w->place->disk_direct)
        TRY(time_file(w, out, err));
    out->seconds = now() - t0;
    return 0;
}

struct calibration calibrated_recomputing(const struct calibration *c)
{
    struct calibration plain = *c;
    for (int dense = 0; dense < 2; dense++) {
        double *of = dense ? plain.dense : plain.layer, forward = of[PHASE_FORWARD] - c->file[0];
        of[PHASE_FORWARD] = forward;
        of[PHASE_RECOMPUTE] += forward - c->file[1];
    }
    plain.file[0] = plain.file[1] = 0;
    return plain;
}

/* Layers below those that train, with adapters (or all of a dense model), and above them. */
struct kinds {
    double below, with, above;
};
static struct kinds kinds_of(const struct model *m)
{
    struct kinds k = {.below = (double)model_lowest(m),
                      .with = (double)(m->crafted ? model_adapted(m) : m->c.num_layers)};
    k.above = (double)m->c.num_layers - k.below - k.with;
    return k;
}

double calibrated_step(const struct calibration *c, const struct model *m, const struct place *p,
                       const struct memory_terms *t, long batches, double tokens, int kept)
{
    struct kinds n = kinds_of(m);
    double keep = (double)p->keep_layers, keep_above = keep < n.above ? keep : n.above;
    keep = keep - keep_above < n.with ? keep - keep_above : n.with;
    double batch =
        ((kept ? 0 : n.below) + n.above) * c->dense[PHASE_FORWARD] +
        n.with * c->layer[PHASE_FORWARD] + (n.above - keep_above) * c->dense[PHASE_RECOMPUTE] +
        (n.with - keep) * c->layer[PHASE_RECOMPUTE] + n.above * c->dense[PHASE_BACKWARD] +
        (n.with - 1) * c->layer[PHASE_BACKWARD] + c->lowest_backward + c->rest;
    double compute =
        (c->tokens > 0 ? batch * tokens / c->tokens : 0) + c->update * (double)m->params.total;
    if (kept && c->prefix_rate > 0)
        compute +=
            tokens *
            (double)(prefix_record(2, m->c.hidden_size, dtype_size(compute_form(m->compute))) -
                     prefix_record(1, m->c.hidden_size, dtype_size(compute_form(m->compute)))) /
            c->prefix_rate;
    /* The reading thread is ahead, on a processor that the others then have to share; what goes
     * past the page cache takes none. */
    double reading = 0, file = 0;
    if (c->read_rate > 0)
        reading = (double)(kept ? t->weights_read_kept : t->weights_read) / c->read_rate;
    if (c->file_rate > 0)
        file = (double)t->file_traffic / c->file_rate;
    double shared = compute + (double)batches * reading / (double)omp_get_max_threads();
    double disk = (double)batches * (reading + file);
    return shared > disk ? shared : disk;
}

double calibrated_evaluation(const struct calibration *c, const struct model *m, double tokens)
{
    struct kinds n = kinds_of(m);
    double batch = n.with * c->layer[PHASE_FORWARD] +
                   (n.below + n.above) * c->dense[PHASE_FORWARD] + c->rest_forward;
    return c->tokens > 0 ? batch * tokens / c->tokens : 0;
}
