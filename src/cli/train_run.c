#include "config.h"
#include "cli/train_run.h"

#include "cli/profile_report.h"
#include "cli/train_facts.h"
#include "cli/train_history.h"
#include "core/hash.h"
#include "core/machine.h"
#include "model/save.h"
#include "train/loop.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CALIBRATION_SECONDS = 2 };

/* Which checkpoint to go on from; empty: from the beginning. */
static int find_checkpoint(struct train_session *s, const struct train_cli *o,
                           struct pesc_error *err)
{
    struct pesc_error none = {0};
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
    char need[32], of[32], places[240];
    uint64_t all = o->memory ? o->memory : s->free_at_start;
    progress_bytes(need, sizeof need, s->need);
    progress_bytes(of, sizeof of, all);
    place_text(&s->place, places, sizeof places);
    const char *comma = *places ? ", " : "";
    if (all && all != UINT64_MAX)
        progress_header(s->rec.progress, "memory", "at most %s of %s %s%s%s", need, of,
                        o->memory ? "allowed" : "free", comma, places);
    else
        progress_header(s->rec.progress, "memory", "at most %s%s%s", need, comma, places);
}

static void show_prefix(struct train_session *s)
{
    char file[32], of[32];
    progress_bytes(file, sizeof file, s->place.prefix);
    progress_bytes(of, sizeof of, dir_free(s->ckpt_dir));
    if (s->place.prefix)
        progress_header(s->rec.progress, "prefix",
                        "layers 0-%ld are computed once a sample: %s of %s free disk keep the "
                        "outputs of %.0f %%",
                        model_lowest(s->model) - 1, file, of,
                        100 * (double)s->place.prefix / (double)s->prefix_whole);
    else if (model_lowest(s->model))
        progress_header(s->rec.progress, "prefix", "layers 0-%ld have no backward pass",
                        model_lowest(s->model) - 1);
}

static void show_speed(struct train_session *s)
{
    char rest[32];
    const struct prediction *p = &s->prediction;
    progress_time(rest, sizeof rest, p->rest);
    int digits = p->tokens_per_s < 10 ? 2 : 0;
    if (s->place.prefix)
        progress_header(s->rec.progress, "speed",
                        "about %.*f tokens/s, %.*f where frozen layers' outputs are read, %s to "
                        "the end (measured in %.1f s)",
                        digits, p->tokens / p->first, digits, p->tokens / p->later, rest,
                        s->measuring);
    else
        progress_header(s->rec.progress, "speed",
                        "about %.*f tokens/s, %s to the end (measured in %.1f s)", digits,
                        p->tokens_per_s, rest, s->measuring);
}

static void show_header(struct train_session *s, const struct train_cli *o, long threads)
{
    struct progress *p = s->rec.progress;
    char data[512], disk[32], adapters[160];
    const struct model_config *c = &s->model->c;
    data_line(s->data, data, sizeof data);
    progress_header(p, "model", "%s: %s, %ld layers, hidden %ld", o->model, c->arch_name,
                    c->num_layers, c->hidden_size);
    if (s->arg.is_crafted)
        adapters_line(s->model, adapters, sizeof adapters);
    if (s->arg.is_crafted && o->freeze_router)
        progress_header(p, "adapters", "%s; routers frozen", adapters);
    else if (s->arg.is_crafted)
        progress_header(p, "adapters", "%s; balance %s x %g", adapters, o->balance,
                        o->balance_coef);
    progress_header(p, "trained", "%zu parameters (%s)", params_trained(&s->model->params),
                    o->freeze_router ? "adapters without routers" : o->trainable);
    if (s->model->layer_grads) {
        progress_bytes(disk, sizeof disk,
                       adamw_disk_bytes(&s->model->params, train_adamw_of(s, o).form));
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
    progress_header(p, "compute", "%s (%s), %ld threads", compute_name(s->compute), s->why,
                    threads);
    show_memory(s, o);
    show_prefix(s);
    show_speed(s);
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
    recorder_artifact(&s->rec, full ? "other" : "adapter", path, s->steps, sha, bytes);
    return 0;
}

static int train_and_save(struct train_session *s, const struct train_cli *o,
                          struct train_result *r, struct pesc_error *err)
{
    struct train_options t = train_options_of(s, o);
    struct train_sink sink = recorder_sink(&s->rec);
    progress_begin(s->rec.progress);
    s->begun = train_clock();
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
    TRY(threads_arg(o->threads, &s->threads, err));
    long cores = machine_cores();
    if (s->threads > cores)
        note(&s->rec.notes, "W-THREADS",
             "%ld threads on the %ld physical core%s that this process may use: those on one core "
             "share its arithmetic, and all wait for the slowest; by default there are %ld",
             s->threads, cores, cores > 1 ? "s" : "", cores);
    TRY(rundir_open(o->out, o->resume != NULL, &s->rec.dir, err));
    TRY(path_join(s->ckpt_dir, rundir_path(s->rec.dir), "ckpt", err));
    TRY(dir_make(s->ckpt_dir, err));
    TRY(train_open(s, o, err));
    TRY(find_checkpoint(s, o, err));
    TRY(train_choose_places(s, o, err));
    TRY(train_calibrate(s, o, CALIBRATION_SECONDS, err));
    TRY(model_arg_load(&s->arg, &s->pack, s->model, err));
    TRY(model_arg_fingerprint(&s->arg, err));
    TRY(train_recipe(s, o, err));
    if (*s->resume_from)
        TRY(train_check_resume(s, err));
    train_predict(s, o, &s->prediction);
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
        rc = train_finish(&s, o, &r, rc, err);
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
    struct notes notes = cli_notes(cli);
    train_session_close(&s);
    train_history_catch_up(&s, o, &notes);
    stop_close(s.stop);
    return rc;
}
