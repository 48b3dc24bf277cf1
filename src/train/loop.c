#include "config.h"
#include "train/loop.h"

#include "core/json.h"
#include "core/machine.h"
#include "train/evaluate.h"
#include "train/passes.h"
#include "train/routing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BAD_STEPS = 3, BAD_SAVES = 3 };

struct run {
    struct model *m;
    const struct batch_source *data;
    const struct train_options *o;
    const struct train_sink *sink;
    const struct notes *notes;
    struct engine *engine;
    struct passes passes;
    struct adamw adamw;
    struct routing routing, eval_routing; /* of a crafted model */
    struct eval_sum *eval_domain;
    struct train_result *r;
    int bad_in_a_row, bad_saves;
    long pass; /* of the update at work: 0 is its first */
};

struct step_sums {
    double loss, balance; /* summed cross-entropy; balance loss times tokens, summed over layers */
    long scored, tokens;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void tell(struct run *u, long step, const char *level, const char *code, const char *text)
{
    if (u->sink->event)
        u->sink->event(u->sink->ctx, step, level, code, text);
}

size_t train_bytes(const struct model *m, const struct batch_source *data,
                   const struct adamw_options *adamw, const struct engine_choices *engine)
{
    return engine_bytes(m, data->max_tokens, data->max_samples, 1, engine) +
           adamw_bytes(&m->params, adamw->form, adamw->disk != NULL);
}

/* A layer's gradients of one pass of an update, when they are on disk: stretch n of the optimiser
 * is the n-th layer with adapters. */
static float *grad_begin(void *ctx, long l, struct pesc_error *err)
{
    struct run *u = ctx;
    enum stage was = profile_to(u->o->profile, STAGE_OPTIM);
    float *g = adamw_take_grad(&u->adamw, l - u->m->moe.first, u->pass > 0, err);
    profile_to(u->o->profile, was);
    return g;
}

static int grad_end(void *ctx, long l, struct pesc_error *err)
{
    struct run *u = ctx;
    enum stage was = profile_to(u->o->profile, STAGE_OPTIM);
    int rc = adamw_put_grad(&u->adamw, l - u->m->moe.first, err);
    profile_to(u->o->profile, was);
    return rc;
}

/* Routers that are not trained are not pushed towards balance; the statistic is still told. */
static double balance_coef(const struct run *u)
{
    return u->m->crafted && u->m->trainable != TRAIN_EXPERTS ? u->o->balance_coef : 0;
}

/* The balance loss is a mean over so many layers. */
static double adapted(const struct model *m)
{
    return m->crafted ? (double)model_adapted(m) : 1;
}

/* Adds the gradient of batch number i to the update's, whose scored and all tokens these are. The
 * balance loss is that of each pass, in proportion to its tokens. */
static int batch_gradient(struct run *u, long i, const struct batch *b, long total_tokens,
                          struct step_sums *sum, struct pesc_error *err)
{
    const struct train_options *o = u->o;
    struct model *m = u->m;
    struct batch part;
    struct engine_step s = {.loss_scale = sum->scored ? 1.0 / (double)sum->scored : 0,
                            .seed = o->seed,
                            .number = (uint32_t)i};
    if (m->layer_grads) {
        s.grad_begin = grad_begin;
        s.grad_end = grad_end;
        s.grad_ctx = u;
    }
    if (m->crafted) {
        s.routed = routing_add;
        s.routed_ctx = &u->routing;
    }
    for (passes_begin(&u->passes, b); passes_next(&u->passes, &part, &s.token); u->pass++) {
        s.balance_scale = balance_coef(u) / adapted(m) * (double)part.T / (double)total_tokens;
        if (m->crafted)
            routing_batch(&u->routing, &part);
        TRY(engine_train(u->engine, &part, &s, err));
        sum->loss += s.loss_sum;
        sum->tokens += part.T;
    }
    return 0;
}

/* The gradient of one update: mean over all scored tokens of its batches, so that accumulating
 * halves gives the whole. */
static int gradients(struct run *u, long step, struct step_sums *sum, struct pesc_error *err)
{
    const struct train_options *o = u->o;
    struct model *m = u->m;
    struct batch b;
    long first = (step - 1) * o->accumulation, n = o->accumulation, total_tokens = 0;
    if (o->batches && n > o->batches - first)
        n = o->batches - first;
    *sum = (struct step_sums){0};
    profile_to(o->profile, STAGE_DATA);
    for (long i = 0; i < n; i++) {
        TRY(u->data->get(u->data->ctx, first + i, &b, err));
        sum->scored += batch_scored(&b);
        total_tokens += b.T;
    }
    profile_to(o->profile, STAGE_OPTIM);
    if (!m->layer_grads)
        memset(m->params.grad, 0, m->params.total * sizeof *m->params.grad);
    u->routing.step_balance = 0;
    u->pass = 0;
    for (long i = 0; i < n; i++) {
        profile_to(o->profile, STAGE_DATA);
        if (n > 1)
            TRY(u->data->get(u->data->ctx, first + i, &b, err));
        profile_to(o->profile, STAGE_OTHER);
        TRY(batch_gradient(u, first + i, &b, total_tokens, sum, err));
    }
    sum->balance = u->routing.step_balance / adapted(m) / (double)sum->tokens;
    return 0;
}

static int run_eval(struct run *u, long step, struct pesc_error *err)
{
    const struct train_options *o = u->o;
    struct eval_sum all;
    TRY(evaluate(u->engine, o->eval, o->eval_batches, &all, u->eval_domain, o->n_eval_domains,
                 u->m->crafted ? &u->eval_routing : NULL, err));
    u->r->eval_loss = eval_loss(&all);
    for (long d = -1; d < o->n_eval_domains && u->sink->eval; d++) {
        const struct eval_sum *s = d < 0 ? &all : &u->eval_domain[d];
        if (d >= 0 && s->scored == 0)
            continue;
        struct eval_metrics m = {.step = step,
                                 .task = o->eval_task,
                                 .domain = d < 0 ? NULL : o->eval_domains[d],
                                 .loss = eval_loss(s),
                                 .perplexity = exp(eval_loss(s)),
                                 .accuracy = eval_accuracy(s),
                                 .exact_match = eval_exact_match(s),
                                 .exact_stderr = eval_exact_stderr(s),
                                 .n = s->scored,
                                 .answers = s->answers,
                                 .loss_stderr = eval_loss_stderr(s),
                                 .accuracy_stderr = eval_stderr(s),
                                 .loss_ci = interval_mean(eval_loss(s), eval_loss_stderr(s)),
                                 .accuracy_ci = clusters_share(&s->hits),
                                 .exact_ci =
                                     interval_share(eval_exact_match(s), (double)s->answers)};
        m.perplexity_ci = interval_exp(m.loss_ci);
        u->sink->eval(u->sink->ctx, &m);
    }
    if (u->m->crafted)
        routing_report(&u->eval_routing, step, o->eval_task ? o->eval_task : "", o->eval_domains,
                       u->sink);
    return 0;
}

static int save(struct run *u, long step, struct pesc_error *err)
{
    const struct train_options *o = u->o;
    if (!o->checkpoint_dir)
        return 0;
    struct checkpoint c = {
        .params = &u->m->params, .adamw = &u->adamw, .step = step, .meta = o->checkpoint_meta};
    json_t *meta = json_copy_whole(o->checkpoint_meta);
    char ce[40], loss[40]; /* canonical JSON has no reals */
    snprintf(ce, sizeof ce, "%.17g", u->r->ce);
    snprintf(loss, sizeof loss, "%.17g", u->r->loss);
    if (!meta || json_object_set_new(meta, "ce", json_string(ce)) != 0 ||
        json_object_set_new(meta, "loss", json_string(loss)) != 0 ||
        json_object_set_new(meta, "tokens", json_integer(u->r->tokens)) != 0 ||
        json_object_set_new(meta, "trained_tokens", json_integer(u->r->trained_tokens)) != 0 ||
        json_object_set_new(meta, "updates", json_integer(u->adamw.updates)) != 0) {
        json_decref(meta);
        return FAIL(err, MEMORY, "no memory for a checkpoint");
    }
    c.meta = meta;
    struct checkpoint_file f;
    int rc = checkpoint_save(o->checkpoint_dir, &c, CHECKPOINT_KEEP, u->notes, &f, err);
    json_decref(meta);
    if (rc == 0 && u->sink->checkpoint)
        u->sink->checkpoint(u->sink->ctx, step, f.path, f.sha256, f.bytes);
    return rc;
}

/* A checkpoint that cannot be written does not stop the training at once: it is tried again at the
 * next turn. */
static int save_softly(struct run *u, long step, struct pesc_error *err)
{
    struct pesc_error e = {0};
    if (save(u, step, &e) == 0) {
        u->bad_saves = 0;
        return 0;
    }
    tell(u, step, "warn", e.name, e.text);
    if (++u->bad_saves < BAD_SAVES)
        return 0;
    *err = e;
    return -1;
}

static double real_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? strtod(text, NULL) : NAN;
}

static int resume(struct run *u, long *step, struct pesc_error *err)
{
    const struct train_options *o = u->o;
    struct checkpoint c = {.params = &u->m->params, .adamw = &u->adamw};
    TRY(checkpoint_load(o->resume_from, &c, err));
    *step = c.step;
    if (!json_is_integer(json_object_get(c.meta, "updates"))) {
        json_decref(c.meta);
        return FAIL(err, CK_CORRUPT, "%s: the number of updates is missing", o->resume_from);
    }
    u->adamw.updates = (long)json_integer_value(json_object_get(c.meta, "updates"));
    u->r->ce = real_of(c.meta, "ce");
    u->r->loss = real_of(c.meta, "loss");
    u->r->tokens = (long)json_integer_value(json_object_get(c.meta, "tokens"));
    u->r->trained_tokens = (long)json_integer_value(json_object_get(c.meta, "trained_tokens"));
    json_decref(c.meta);
    weights_refresh(u->m->weights);
    return 0;
}

/* One update; a loss or gradient that is not finite changes nothing. */
static int update(struct run *u, long step, struct pesc_error *err)
{
    const struct train_options *o = u->o;
    struct step_sums sum;
    double t0 = now();
    profile_begin(o->profile);
    TRY(gradients(u, step, &sum, err));
    profile_to(o->profile, STAGE_OPTIM);
    double ce = sum.scored ? sum.loss / (double)sum.scored : 0;
    double loss = ce + balance_coef(u) * sum.balance;
    double norm = adamw_grad_norm(&u->adamw), lr = schedule_lr(&o->schedule, step);
    if (isfinite(loss) && isfinite(norm)) {
        u->bad_in_a_row = 0;
        TRY(adamw_step(&u->adamw, &u->m->params, lr, clip_coefficient(norm, o->max_grad_norm),
                       err));
        weights_refresh(u->m->weights);
    } else {
        char text[160];
        snprintf(text, sizeof text, "loss %g, gradient norm %g: update skipped (%d in a row)", loss,
                 norm, ++u->bad_in_a_row);
        u->r->skipped_steps++;
        tell(u, step, "warn", "W-NUM-SKIPPED", text);
    }
    profile_end(o->profile);
    double seconds = now() - t0;
    u->r->steps = step;
    u->r->ce = ce;
    u->r->loss = loss;
    u->r->tokens += sum.tokens;
    u->r->trained_tokens += sum.scored;
    u->r->own_tokens += sum.tokens;
    u->r->own_trained_tokens += sum.scored;
    u->r->seconds += seconds;
    u->r->peak_rss = machine_peak_rss();
    long batches = step * o->accumulation;
    if (o->batches && batches > o->batches)
        batches = o->batches;
    int logged = o->logging_steps && (step % o->logging_steps == 0 || step == o->steps);
    struct step_metrics m = {.step = step,
                             .steps_planned = o->steps,
                             .loss = loss,
                             .ce = ce,
                             .balance = u->m->crafted ? sum.balance : 0,
                             .lr = lr,
                             .grad_norm = norm,
                             .tokens = sum.tokens,
                             .trained_tokens = sum.scored,
                             .seconds = seconds,
                             .tokens_per_s = (double)sum.tokens / seconds,
                             .trained_tokens_per_s = (double)sum.scored / seconds,
                             .peak_rss = u->r->peak_rss,
                             .epoch = (double)batches /
                                      (double)(o->batches_per_epoch ? o->batches_per_epoch : 1)};
    if (u->sink->step)
        u->sink->step(u->sink->ctx, &m, logged);
    if (u->bad_in_a_row >= BAD_STEPS)
        return FAIL(err, NUM_NONFINITE,
                    "step %ld: %d updates in a row without a finite loss and gradient", step,
                    BAD_STEPS);
    return 0;
}

static int steps(struct run *u, long from, struct pesc_error *err)
{
    const struct train_options *o = u->o;
    long saved = from;
    if (o->eval && (from == 0 || from == o->steps))
        TRY(run_eval(u, from, err));
    for (long step = from + 1; step <= o->steps; step++) {
        if (update(u, step, err) != 0) {
            struct pesc_error second = {0};
            if (u->bad_in_a_row >= BAD_STEPS && save_softly(u, step, &second) != 0)
                tell(u, step, "error", second.name, second.text);
            return -1;
        }
        int last = step == o->steps || (o->stop && atomic_load(o->stop));
        int due = !last && o->save_steps && step % o->save_steps == 0 && !u->bad_in_a_row;
        /* Also before a checkpoint, which does not hold what was counted since the last report. */
        if (u->m->crafted && (last || due || (o->router_steps && step % o->router_steps == 0)))
            routing_report(&u->routing, step, NULL, o->domains, u->sink);
        if (o->eval && (step == o->steps || (o->eval_steps && step % o->eval_steps == 0)))
            TRY(run_eval(u, step, err));
        if (due) {
            TRY(save_softly(u, step, err));
            saved = step;
        }
        if (last && step < o->steps) {
            u->r->stopped = 1;
            break;
        }
    }
    return u->r->steps > saved || from == 0 ? save(u, u->r->steps, err) : 0;
}

static int open_engine(struct run *u, long tokens, long samples, struct pesc_error *err)
{
    struct engine_choices c = u->o->engine;
    int alone = 1;
    c.prefix.notes = u->notes;
    TRY(engine_open(u->m, tokens, samples, 1, &c, &u->engine, err));
    if (!engine_prefix_of(u->engine))
        return 0;
    TRY(engine_rows_alone(u->engine, &alone, err));
    if (!alone) {
        engine_prefix_drop(u->engine);
        note(u->notes, "W-PREFIX-OFF",
             "outputs of frozen layers are computed each time: on this machine they would differ "
             "in the last bits from those that were kept");
    }
    return 0;
}

/* The result's share of it; what is found later tells how often it was of use. */
static void count_prefix(struct run *u)
{
    const struct prefix *p = u->engine ? engine_prefix_of(u->engine) : NULL;
    if (p)
        u->r->prefix = prefix_counts(p);
}

int train_run(struct model *m, const struct batch_source *data, const struct train_options *o,
              const struct train_sink *sink, const struct notes *notes, struct train_result *r,
              struct pesc_error *err)
{
    struct run u = {.m = m, .data = data, .o = o, .sink = sink, .notes = notes, .r = r};
    long from = 0, tokens = data->max_tokens, samples = data->max_samples;
    int rc = -1;
    *r = (struct train_result){.eval_loss = NAN, .ce = NAN, .loss = NAN};
    if (o->eval) {
        tokens = o->eval->max_tokens > tokens ? o->eval->max_tokens : tokens;
        samples = o->eval->max_samples > samples ? o->eval->max_samples : samples;
        u.eval_domain = calloc((size_t)o->n_eval_domains + 1, sizeof *u.eval_domain);
        if (!u.eval_domain)
            return FAIL(err, MEMORY, "no memory for evaluation");
    }
    if (o->pass_tokens && o->pass_tokens < tokens)
        tokens = o->pass_tokens;
    TRY_OR(open_engine(&u, tokens, samples, err), done);
    TRY_OR(passes_open(&u.passes, tokens, samples, err), done);
    TRY_OR(adamw_init(&u.adamw, &o->adamw, &m->params, err), done);
    if (m->layer_grads ? !o->adamw.disk || u.adamw.n_stretches != model_adapted(m)
                       : o->adamw.disk != NULL) {
        FAIL(err, INTERNAL, "gradients are neither all in memory nor all on disk");
        goto done;
    }
    if (m->crafted)
        TRY_OR(routing_open(&u.routing, &m->moe, m->c.num_layers, o->n_domains, tokens, err), done);
    if (m->crafted && o->eval)
        TRY_OR(
            routing_open(&u.eval_routing, &m->moe, m->c.num_layers, o->n_eval_domains, tokens, err),
            done);
    if (o->resume_from)
        TRY_OR(resume(&u, &from, err), done);
    r->steps = from;
    gemm_set_profile(m->gemm, o->profile);
    rc = steps(&u, from, err);
done:
    gemm_set_profile(m->gemm, NULL);
    count_prefix(&u);
    routing_close(&u.routing);
    routing_close(&u.eval_routing);
    adamw_free(&u.adamw);
    passes_close(&u.passes);
    engine_close(u.engine);
    free(u.eval_domain);
    return rc;
}
