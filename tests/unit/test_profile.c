/* Products counted by stage and phase against formulas of the shapes, and times that add up. */
#include "config.h"
#include "tests/unit/gen.h"

#include "experiments/bench/shape.h"
#include "model/engine.h"

#include <time.h>

enum { D = 48, F = 80, L = 3, H = 6, G = 2, C = D / H, V = 300, T = 90, E = 4, K = 2, A = 8 };

static const struct shape tiny = {
    "tiny", "llama", "LlamaForCausalLM", D, F, L, H, G, V, 128, 1e-5, 1e4, 1, 1, 2};

static void must(int rc, const struct pesc_error *err)
{
    if (rc == 0)
        return;
    printf("Bail out! %s: %s\n", err->name, err->text);
    exit(99);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Multiply-adds of one layer or of the head, T tokens; scored tokens for the head. */
struct work {
    long proj, ffn, up_gate, router, experts;
};

static void is_flops(const struct profile *p, enum stage s, long forward, long recompute,
                     long backward, const char *path)
{
    static const char *const name[] = {"forward", "again", "backward"};
    const long want[] = {forward, recompute, backward};
    for (int i = 0; i < PHASE_COUNT; i++) {
        char what[80];
        snprintf(what, sizeof what, "%s: %s %s", path, stage_name(s), name[i]);
        is_long((long)p->flops[s][i], 2 * want[i], what);
    }
}

static void run(const struct base *b, int crafted, enum compute compute, const char *path)
{
    struct pesc_error err = {0};
    struct model *m;
    struct engine *e;
    struct moe_config moe = {.experts = E, .top_k = K, .dim = A, .scaling = 1};
    struct profile p = {0};
    const struct work w = {.proj = T * (2L * D * H * C + 2L * D * G * C),
                           .ffn = T * 3L * D * F,
                           .up_gate = T * 2L * D * F,
                           .router = T * (long)D * E,
                           .experts = T * K * 2L * A * D};
    int32_t ids[T], labels[T];
    long cu[] = {0, 40, T}, record[] = {0, 1};
    int domain[] = {0, 0};
    struct batch batch = {T, 2, ids, labels, cu, domain, record};
    for (int t = 0; t < T; t++) {
        ids[t] = (t * 37 + 5) % V;
        labels[t] = t < 25 ? LABEL_MASKED : ids[t];
    }
    long n = batch_scored(&batch), head = n * (long)V * D;
    is_long(n, 40 - 25 + T - 40 - 1, "scored tokens");
    must(model_open(b, crafted ? &moe : NULL, crafted ? TRAIN_ADAPTERS : TRAIN_FULL, compute,
                    DT_COUNT, 1, &m, &err),
         &err);
    must(engine_open(m, T, 2, 1, NULL, &e, &err), &err);
    gemm_set_profile(m->gemm, &p);
    struct engine_step s = {.loss_scale = 1.0 / (double)n};
    double t0 = now(), before = gemm_flops(m->gemm);
    profile_begin(&p);
    must(engine_train(e, &batch, &s, &err), &err);
    profile_end(&p);
    double wall = now() - t0, all = 0;
    for (int st = 0; st < STAGE_COUNT; st++)
        for (int ph = 0; ph < PHASE_COUNT; ph++)
            all += (double)p.flops[st][ph];
    ok(all == gemm_flops(m->gemm) - before, "%s: stages hold all products", path);
    if (crafted) {
        /* The lowest block's backward pass ends at its adapters. */
        is_flops(&p, STAGE_PROJ, L * w.proj, L * w.proj, (L - 1) * w.proj, path);
        is_flops(&p, STAGE_FFN, L * w.ffn, L * w.ffn, (L - 1) * w.ffn, path);
        /* In bf16 the backward pass needs no output of the adapters. */
        is_flops(&p, STAGE_MOE, L * (w.router + w.experts),
                 L * (w.router + (m->moe.bf16 ? w.experts / 2 : w.experts)),
                 2 * L * (w.router + w.experts), path);
        is_flops(&p, STAGE_HEAD, head, 0, head, path);
    } else {
        /* Every matrix has a gradient; the recomputation leaves out the last product. */
        is_flops(&p, STAGE_PROJ, L * w.proj, L * w.proj, 2 * L * w.proj, path);
        is_flops(&p, STAGE_FFN, L * w.ffn, L * w.up_gate, 2 * L * w.ffn, path);
        is_flops(&p, STAGE_MOE, 0, 0, 0, path);
        is_flops(&p, STAGE_HEAD, head, 0, 2 * head, path);
    }
    double sum = profile_seconds(&p);
    ok(sum > 0.95 * wall && sum <= wall, "%s: %.3f of %.3f ms are accounted for", path, 1e3 * sum,
       1e3 * wall);
    ok(profile_stage_seconds(&p, STAGE_OTHER) < 0.9 * sum, "%s: most of it has a name", path);
    ok(profile_stage_seconds(&p, STAGE_ATTENTION) > 0 && p.seconds[STAGE_NORM][PHASE_RECOMPUTE] > 0,
       "%s: stages and phases took time", path);
    double places = 0;
    int inside = 1; /* every phase has time in the lowest layer and in others */
    for (int place = 0; place < PLACE_COUNT; place++)
        for (int ph = 0; ph < PHASE_COUNT; ph++) {
            places += p.places[place][ph];
            inside &= place == PLACE_OUTSIDE || p.places[place][ph] > 0;
        }
    ok(places > 0.999999 * sum && places < 1.000001 * sum, "%s: places add up to the same", path);
    ok(inside && p.places[PLACE_OUTSIDE][PHASE_RECOMPUTE] == 0 &&
           p.places[PLACE_OUTSIDE][PHASE_FORWARD] > 0,
       "%s: what is recomputed is in layers, and not all is", path);
    double was = profile_seconds(&p);
    must(engine_train(e, &batch, &s, &err), &err);
    ok(profile_seconds(&p) == was, "%s: nothing is added when it does not run", path);
    gemm_set_profile(m->gemm, NULL);
    engine_close(e);
    model_close(m);
}

int main(void)
{
    struct pesc_error err = {0};
    struct base *b;
    gen_begin();
    must(shape_write(&tiny, gen_path("m"), &(struct shape_options){0, 1, 1000000}, &err), &err);
    must(base_open(gen_path("m"), NULL, &b, &err), &err);
    run(b, 1, COMPUTE_F32, "pesc f32");
    run(b, 0, COMPUTE_F32, "full f32");
    if (gemm_has_bf16(NULL, 0)) {
        run(b, 1, COMPUTE_BF16, "pesc bf16");
        run(b, 0, COMPUTE_BF16, "full bf16");
    }
    base_close(b);
    return gen_end();
}
