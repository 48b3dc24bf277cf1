#include "config.h"
#include "cli/train_run.h"

#include "cli/profile_report.h"
#include "cli/recorder.h"
#include "cli/train_facts.h"
#include "core/hash.h"
#include "core/machine.h"
#include "model/save.h"
#include "train/loop.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void train_session_close(struct train_session *s)
{
    recorder_flush(&s->rec);
    history_close(s->rec.history);
    rundir_discard(s->rec.dir);
    pack_arg_close(&s->pack);
    model_close(s->model);
    batcher_close(s->batcher);
    batcher_close(s->eval_batcher);
    dataset_close(s->data);
    dataset_close(s->eval_data);
    model_arg_close(&s->arg);
    json_decref(s->recipe);
    free(s->domains);
    free(s->eval_domains);
    free(s->rates);
}

static int parse_rates(struct train_session *s, const char *text, struct pesc_error *err)
{
    long n = 1;
    for (const char *p = text; *p; p++)
        n += *p == ',';
    s->rates = calloc((size_t)n, sizeof *s->rates);
    if (!s->rates)
        return FAIL(err, MEMORY, "no memory for learning rates");
    for (const char *p = text; s->n_rates < n; s->n_rates++) {
        char *end;
        s->rates[s->n_rates] = strtod(p, &end);
        if (end == p || !isfinite(s->rates[s->n_rates]) || s->rates[s->n_rates] < 0 ||
            (*end && *end != ','))
            return FAIL(err, USAGE_VALUE, "--lr-list: '%s' is no list of learning rates", text);
        p = end + (*end == ',');
    }
    return 0;
}

/* What is evaluated: held out of --data, files of their own, or the validation part of what --data
 * names. */
static int open_eval_data(struct train_session *s, const struct train_cli *o,
                          const struct dataset_options *like, struct pesc_error *err)
{
    struct batch_options b = {.packing = PACK_NEXT, .tokens = EVAL_TOKENS};
    struct opt_list files = o->eval_data;
    enum data_part part = DATA_PART_WATCHED;
    s->eval_data = dataset_take_valid(s->data);
    if (!s->eval_data && !files.n && !o->data.split) {
        part = DATA_PART_VALID;
        for (int i = 0; i < o->data.data.n; i++)
            if (dataset_has_valid(s->data, i))
                files.v[files.n++] = o->data.data.v[i];
    }
    if (files.n) {
        struct dataset_options d;
        TRY(data_options(&o->data, &files, like->vocab_size, &d, err));
        d.spill_dir = like->spill_dir;
        d.part = part;
        int rc = data_arg_open(&files, &d, &s->arg, &s->rec.notes, &s->eval_data, err);
        data_options_free(&d);
        TRY(rc);
    }
    if (!s->eval_data)
        return 0;
    TRY(batcher_open(s->eval_data, &b, &s->eval_batcher, err));
    s->eval_source = batcher_source(s->eval_batcher);
    s->eval_domains = data_domains(s->eval_data);
    return s->eval_domains ? 0 : FAIL(err, MEMORY, "no memory for domains");
}

static int open_data(struct train_session *s, const struct train_cli *o, struct pesc_error *err)
{
    struct dataset_options d;
    TRY(data_options(&o->data, &o->data.data, base_config(s->arg.base)->vocab_size, &d, err));
    d.spill_dir = rundir_path(s->rec.dir); /* where there has to be room for checkpoints, too */
    d.valid_fraction = o->mix.valid_fraction;
    TRY(mix_batches(&o->mix, &o->data, &s->batches_of, err));
    s->batches_of.order = strcmp(o->order, "shuffled") ? ORDER_SEQUENTIAL : ORDER_SHUFFLED;
    s->batches_of.seed = (uint64_t)o->seed;
    int rc = data_arg_open(&o->data.data, &d, &s->arg, &s->rec.notes, &s->data, err);
    data_options_free(&d);
    TRY(rc);
    TRY(batcher_open(s->data, &s->batches_of, &s->batcher, err));
    s->source = batcher_source(s->batcher);
    s->domains = data_domains(s->data);
    if (!s->domains)
        return FAIL(err, MEMORY, "no memory for domains");
    return open_eval_data(s, o, &d, err);
}

static int count_steps(struct train_session *s, const struct train_cli *o, struct pesc_error *err)
{
    s->steps = o->max_steps;
    if (s->steps == 0) {
        TRY(batcher_steps(s->batcher, o->num_epochs, &s->batches, err));
        s->steps = (s->batches + o->accumulation - 1) / o->accumulation;
    }
    return 0;
}

/* On disk means beside the checkpoints, where left-over temporaries are removed. */
static struct adamw_options adamw_of(const struct train_session *s, const struct train_cli *o)
{
    return (struct adamw_options){.beta1 = o->beta1,
                                  .beta2 = o->beta2,
                                  .eps = o->eps,
                                  .weight_decay = o->weight_decay,
                                  .decay = strcmp(o->decay_set, "all") ? DECAY_MATRICES : DECAY_ALL,
                                  .form = (enum adamw_form)adamw_form_from_name(o->optimizer),
                                  .disk = s->place.state_on_disk ? s->ckpt_dir : NULL};
}

/* In what passes batches may go. A resumed run keeps to those that it had; what depends on the
 * machine of the day, which is free memory, has no say in it. */
static int passes_wish(const struct train_session *s, const struct train_cli *o, long *tokens,
                       struct pesc_error *err)
{
    *tokens = o->pass_tokens ? o->pass_tokens : o->memory ? -1 : 0;
    if (o->pass_tokens || !*s->resume_from)
        return 0;
    json_t *was;
    TRY(checkpoint_meta(s->resume_from, &was, err));
    *tokens = (long)json_integer_value(json_object_get(was, "micro_batch_tokens"));
    json_decref(was);
    return 0;
}

/* What the options leave open is chosen so that the run fits --memory (or a share of what is free),
 * before any weight is read. */
static int choose_places(struct train_session *s, const struct train_cli *o, struct pesc_error *err)
{
    uint64_t free_now = machine_memory_limit(), rss = machine_rss();
    int full = s->model->trainable == TRAIN_FULL;
    long L = s->model->c.num_layers, resident = o->place.resident_layers;
    struct memory_question q = {.m = s->model,
                                .data = s->source,
                                .adamw = adamw_of(s, o),
                                .in_use = rss,
                                .budget = memory_budget(o->memory, rss, free_now),
                                .comfort = 1,
                                .longest = dataset_counts(s->data)->longest,
                                .threads = s->threads,
                                .streamed_layers = resident > L || (full && resident < 0) ? 0
                                                   : resident < 0                         ? -1
                                                                  : L - resident,
                                .keep_layers = o->place.keep_layers,
                                .embed_on_disk = o->place.embed_on_disk ? 1 : -1,
                                .spill = o->place.spill ? 1 : -1,
                                .state_on_disk = full ? 0
                                                 : !strcmp(o->optimizer_state, "auto")
                                                     ? -1
                                                     : !strcmp(o->optimizer_state, "disk")};
    if (o->place.spill && !path_is_dir(o->place.spill))
        return FAIL(err, IO_MISSING, "%s: no such folder", o->place.spill);
    if (s->eval_data && s->eval_source.max_tokens > q.data.max_tokens)
        q.data.max_tokens = s->eval_source.max_tokens;
    if (s->eval_data && s->eval_source.max_samples > q.data.max_samples)
        q.data.max_samples = s->eval_source.max_samples;
    if (s->eval_data && dataset_counts(s->eval_data)->longest > q.longest)
        q.longest = dataset_counts(s->eval_data)->longest;
    if (o->memory && machine_peak_rss() > o->memory)
        q.in_use = machine_peak_rss();
    s->free_at_start = free_now;
    TRY(passes_wish(s, o, &q.pass_tokens, err));
    struct pesc_error as_before = {0};
    if (memory_choose(&q, &s->place, &s->terms, &as_before) != 0) {
        if (!o->memory || o->pass_tokens || q.pass_tokens < 0) {
            *err = as_before;
            return -1;
        }
        q.pass_tokens = -1; /* a resumed run in less memory; that bits differ is noted later */
        TRY(memory_choose(&q, &s->place, &s->terms, err));
    }
    s->need = s->terms.total > machine_peak_rss() ? s->terms.total : machine_peak_rss();
    return 0;
}

static struct engine_choices engine_of(const struct train_session *s, const struct train_cli *o)
{
    const char *to = o->place.spill ? o->place.spill : s->ckpt_dir;
    return (struct engine_choices){.keep_layers = s->place.keep_layers,
                                   .spill_dir = s->place.spill ? to : NULL};
}

static int open_model(struct train_session *s, const struct train_cli *o, struct pesc_error *err)
{
    enum trainable t = !strcmp(o->trainable, "full") ? TRAIN_FULL
                       : o->freeze_router            ? TRAIN_EXPERTS
                                                     : TRAIN_ADAPTERS;
    if (t == TRAIN_FULL && o->freeze_router)
        return FAIL(err, USAGE_VALUE, "--freeze-router: --trainable full has no routers");
    TRY(pack_arg_open(o->pack, 0, &s->arg, &s->rec.notes, &s->pack, err));
    struct moe_config moe = s->arg.craft.moe;
    moe.dropout = o->dropout;
    moe.balance = (enum balance_kind)balance_from_name(o->balance);
    moe.balance_coef = o->balance_coef;
    if (s->arg.is_crafted && moe.experts > 1 && moe.top_k == 1 && !o->freeze_router)
        note(&s->rec.notes, "W-CRAFT-TOP1",
             "with top-k 1 the router learns from the balance loss alone");
    TRY(compute_arg(o->compute, &s->arg, &s->compute, s->why, sizeof s->why, err));
    TRY(model_shape(base_config(s->arg.base), s->arg.is_crafted ? &moe : NULL, t, s->compute,
                    &s->model, err));
    TRY(choose_places(s, o, err));
    TRY(model_load(s->model, s->arg.base, s->arg.is_crafted ? s->arg.craft.base_dtype : DT_COUNT,
                   s->arg.craft.seed, err));
    return s->arg.is_crafted ? pack_arg_load(&s->pack, s->model, err) : 0;
}

/* Which checkpoint to go on from; empty: from the beginning. */
static int find_checkpoint(struct train_session *s, const struct train_cli *o,
                           struct pesc_error *err)
{
    struct pesc_error none = {0};
    TRY(path_join(s->ckpt_dir, rundir_path(s->rec.dir), "ckpt", err));
    TRY(dir_make(s->ckpt_dir, err));
    if (!o->resume)
        return 0;
    if (strcmp(o->resume, "auto")) {
        snprintf(s->resume_from, sizeof s->resume_from, "%s", o->resume);
        return 0;
    }
    if (checkpoint_find(s->ckpt_dir, &s->rec.notes, s->resume_from, &none) == 0)
        return 0;
    *s->resume_from = 0;
    if (none.code == PESC_E_CK_NONE)
        return 0;
    *err = none;
    return -1;
}

static void show_memory(struct train_session *s, const struct train_cli *o)
{
    const struct place *p = &s->place;
    char need[32], of[32], places[240] = "";
    uint64_t all = o->memory ? o->memory : s->free_at_start;
    size_t n = 0;
    const struct {
        int on;
        long many;
        const char *text;
    } what[] = {{p->streamed_layers > 0, p->streamed_layers, " layers streamed"},
                {p->embed_on_disk, 0, "embedding on disk"},
                {p->spill, 0, "activations spilled"},
                {p->state_on_disk, 0, "optimiser state on disk"},
                {p->keep_layers > 0, p->keep_layers, " layers keep their activations"}};
    progress_bytes(need, sizeof need, s->need);
    for (size_t i = 0; i < sizeof what / sizeof *what; i++)
        if (what[i].many)
            n += (size_t)snprintf(places + n, sizeof places - n, ", %ld%s", what[i].many,
                                  what[i].text);
        else if (what[i].on)
            n += (size_t)snprintf(places + n, sizeof places - n, ", %s", what[i].text);
    progress_bytes(of, sizeof of, all);
    if (p->pass_tokens)
        snprintf(places + n, sizeof places - n, ", passes of at most %ld tokens", p->pass_tokens);
    if (all)
        progress_header(s->rec.progress, "memory", "at most %s of %s %s%s", need, of,
                        o->memory ? "allowed" : "free", places);
    else
        progress_header(s->rec.progress, "memory", "at most %s%s", need, places);
}

static void show_header(struct train_session *s, const struct train_cli *o, long threads)
{
    struct progress *p = s->rec.progress;
    char data[512], disk[32];
    const struct model_config *c = &s->model->c;
    data_line(s->data, data, sizeof data);
    progress_header(p, "model", "%s: %s, %ld layers, hidden %ld", o->model, c->arch_name,
                    c->num_layers, c->hidden_size);
    if (s->arg.is_crafted && o->freeze_router)
        progress_header(p, "adapters", "%ld experts, top-%ld, dim %ld; routers frozen",
                        s->model->moe.experts, s->model->moe.top_k, s->model->moe.dim);
    else if (s->arg.is_crafted)
        progress_header(p, "adapters", "%ld experts, top-%ld, dim %ld; balance %s x %g",
                        s->model->moe.experts, s->model->moe.top_k, s->model->moe.dim, o->balance,
                        o->balance_coef);
    progress_header(p, "trained", "%zu parameters (%s)", params_trained(&s->model->params),
                    o->freeze_router ? "adapters without routers" : o->trainable);
    if (s->model->layer_grads) {
        progress_bytes(disk, sizeof disk, adamw_disk_bytes(&s->model->params, adamw_of(s, o).form));
        progress_header(p, "optimiser", "%s, its state on disk (%s)", o->optimizer, disk);
    } else {
        progress_header(p, "optimiser", "%s", o->optimizer);
    }
    progress_header(p, "data", "%s", data);
    packing_line(s->batcher, &s->batches_of, data, sizeof data);
    progress_header(p, "packing", "%s%s%s", data, o->mix.weights ? "; weights " : "",
                    o->mix.weights ? o->mix.weights : "");
    if (s->eval_data) {
        int held_out = !o->eval_data.n && o->mix.valid_fraction > 0;
        data_line(s->eval_data, data, sizeof data);
        if (held_out)
            progress_header(p, "held out", "%s", data);
        else
            progress_header(p, "eval data", "%s%s: %s", dataset_source_at(s->eval_data, 0)->path,
                            dataset_source_count(s->eval_data) > 1 ? " ..." : "", data);
    }
    progress_header(p, "steps", "%ld, at most %ld tokens each; lr %g %s", s->steps,
                    s->source.max_tokens * o->accumulation,
                    s->rates ? s->rates[0] : o->learning_rate,
                    s->rates ? "first of a list" : o->scheduler);
    progress_header(p, "compute", "%s (%s), %ld threads",
                    s->compute == COMPUTE_BF16 ? "bf16" : "f32", s->why, threads);
    show_memory(s, o);
    progress_header(p, "run", "%s", rundir_path(s->rec.dir));
    if (*s->resume_from)
        progress_header(p, "resume", "%s", path_base(s->resume_from));
}

static const float *value_of(void *ctx, const char *name)
{
    const struct params *ps = ctx;
    const struct param *p = params_find(ps, name);
    return p ? ps->value + p->offset : NULL;
}

static int save_result(struct train_session *s, struct pesc_error *err)
{
    char path[PATH_CAP], sha[SHA256_HEX] = "";
    uint64_t bytes = 0;
    int full = s->model->trainable == TRAIN_FULL;
    TRY(path_join(path, rundir_path(s->rec.dir), full ? "model" : CRAFTED_ADAPTERS, err));
    if (full) {
        if (path_exists(path)) /* of an earlier process of this run, which was resumed */
            TRY(dir_remove_all(path, err));
        TRY(base_save(path, s->arg.base, value_of, &s->model->params, base_dtype(s->arg.base),
                      err));
        char weights[PATH_CAP];
        TRY(path_join(weights, path, "model.safetensors", err));
        TRY(hash_file(weights, sha, &bytes, err));
    } else {
        TRY(params_save(&s->model->params, path, 0, "", "format", "pt", sha, &bytes, err));
    }
    if (s->rec.history)
        history_artifact(s->rec.history, full ? "other" : "adapter", path, s->steps, sha,
                         (long long)bytes);
    return 0;
}

static struct train_options options_of(struct train_session *s, const struct train_cli *o)
{
    struct train_options t = {
        .steps = s->steps,
        .batches = s->batches,
        .accumulation = o->accumulation,
        .pass_tokens = s->place.pass_tokens,
        .schedule = {.kind = (enum schedule_kind)schedule_from_name(o->scheduler),
                     .peak = o->learning_rate,
                     .total = s->steps,
                     .warmup = o->warmup_steps ? o->warmup_steps
                                               : schedule_warmup(o->warmup_ratio, s->steps)},
        .adamw = adamw_of(s, o),
        .max_grad_norm = o->max_grad_norm,
        .balance_coef = s->model->moe.balance == BALANCE_NONE ? 0 : o->balance_coef,
        .seed = (uint64_t)o->seed,
        .logging_steps = o->logging_steps,
        .eval_steps = o->eval_steps,
        .save_steps = o->save_steps,
        .router_steps = o->router_steps,
        .batches_per_epoch = batcher_batches_per_epoch(s->batcher),
        .checkpoint_dir = s->ckpt_dir,
        .checkpoint_meta = s->recipe,
        .resume_from = *s->resume_from ? s->resume_from : NULL,
        .domains = s->domains,
        .n_domains = dataset_domain_count(s->data),
        .engine = engine_of(s, o),
        .profile = o->profile ? &s->profile : NULL,
        .stop = stop_flag(s->stop),
    };
    if (s->rates) {
        t.schedule.kind = SCHEDULE_LIST;
        t.schedule.list = s->rates;
        t.schedule.n_list = s->n_rates;
    }
    if (s->eval_data) {
        t.eval = &s->eval_source;
        t.eval_batches = batcher_batches_per_epoch(s->eval_batcher);
        t.eval_task = dataset_source_at(s->eval_data, 0)->name;
        t.eval_domains = s->eval_domains;
        t.n_eval_domains = dataset_domain_count(s->eval_data);
    }
    return t;
}

static int train_and_save(struct train_session *s, const struct train_cli *o,
                          struct train_result *r, struct pesc_error *err)
{
    struct train_options t = options_of(s, o);
    struct train_sink sink = recorder_sink(&s->rec);
    progress_begin(s->rec.progress);
    TRY(train_run(s->model, &s->source, &t, &sink, &s->rec.notes, r, err));
    if (!r->stopped)
        TRY(save_result(s, err));
    return 0;
}

/* The run folder comes first: its lock, or that it cannot be written, shows before anything is
 * read. Until train_register has been through, a failure leaves nothing of it behind. */
static int prepare(struct cli *cli, struct train_session *s, struct train_cli *o,
                   struct pesc_error *err)
{
    s->threads = threads_arg(o->threads);
    if (o->lr_list)
        TRY(parse_rates(s, o->lr_list, err));
    TRY(rundir_open(o->out, o->resume != NULL, &s->rec.dir, err));
    TRY(model_arg_open(o->model, o->base, &s->rec.notes, &s->arg, err));
    TRY(model_arg_fingerprint(&s->arg, err));
    TRY(open_data(s, o, err));
    TRY(count_steps(s, o, err));
    TRY(find_checkpoint(s, o, err));
    TRY(open_model(s, o, err));
    TRY(train_recipe(s, o, err));
    if (*s->resume_from)
        TRY(train_check_resume(s, err));
    s->rec.progress = progress_open(cli, o->json, s->resume_step, s->steps, err);
    if (!s->rec.progress)
        return -1;
    stop_arm(s->stop);
    TRY(train_register(cli, s, o, err));
    s->rec.notes = recorder_notes(&s->rec);
    return 0;
}

int train_command(struct cli *cli, struct train_cli *o, struct pesc_error *err)
{
    struct train_session s = {.rec.notes = cli_notes(cli), .started = train_clock()};
    struct train_result r = {.eval_loss = NAN, .ce = NAN, .loss = NAN};
    TRY(stop_open(&s.stop, err));
    int rc = prepare(cli, &s, o, err);
    if (rc == 0) {
        show_header(&s, o, s.threads);
        rc = train_and_save(&s, o, &r, err);
        if (rc == 0 && r.stopped)
            rc = error_set(err, atomic_load(stop_flag(s.stop)) == SIGINT ? PESC_E_INT : PESC_E_TERM,
                           "stopped after step %ld of %ld, which is saved; go on with the same "
                           "command and --resume auto",
                           r.steps, s.steps);
        train_finish(&s, o, &r, rc, err);
    }
    struct pesc_error shown = {0};
    if (progress_close(s.rec.progress, &shown) != 0 && rc == 0) {
        *err = shown;
        rc = -1;
    }
    s.rec.progress = NULL;
    if (o->profile && !o->json && r.steps > s.resume_step)
        profile_table(cli->talk, &s.profile);
    s.rec.notes = cli_notes(cli);
    train_session_close(&s);
    stop_close(s.stop);
    return rc;
}
