#include "config.h"
#include "cli/train_facts.h"
#include "cli/train_history.h"

#include "cli/data_facts.h"
#include "cli/db_arg.h"
#include "cli/profile_report.h"
#include "core/build.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/machine.h"
#include "core/number.h"
#include "datasets/template.h"
#include "experiments/registration.h"
#include "experiments/runlist.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void set_real(json_t **o, const char *key, double x)
{
    char text[NUMBER_CAP];
    number_text(x, text);
    json_put(o, key, json_string(text));
}

double train_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void utc(char out[32])
{
    struct tm tm;
    time_t t = time(NULL);
    gmtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

int train_recipe(struct train_session *s, const struct train_cli *o, struct pesc_error *err)
{
    char isa[512], onednn[32], rates[SHA256_HEX] = "";
    if (o->lr_list)
        TRY(hash_bytes(o->lr_list, strlen(o->lr_list), rates, err));
    json_t *r = json_pack(
        "{s:i, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s, "
        "s:I, s:s, s:s, s:s, s:I}",
        "pesc_checkpoint", 1, "version", pesc_version(), "isa", machine_isa("", isa, sizeof isa),
        "onednn", gemm_library_version(onednn, sizeof onednn), "threads", (json_int_t)s->threads,
        "lr_list", rates, "base", s->arg.fingerprint, "data", dataset_sha256(s->data), "trainable",
        o->freeze_router ? "experts" : o->trainable, "seed", (json_int_t)o->seed, "batch_size",
        (json_int_t)(s->batches_of.packing == PACK_OFF ? s->batches_of.records : 0), "batch_tokens",
        (json_int_t)(s->batches_of.packing == PACK_OFF ? 0 : s->batches_of.tokens), "accumulation",
        (json_int_t)o->accumulation, "data_order", o->order, "scheduler",
        s->rates ? "list" : o->scheduler, "decay", o->decay_set, "compute",
        compute_name(s->compute), "warmup_steps", (json_int_t)o->warmup_steps, "packing",
        packing_name(s->batches_of.packing), "data_weights", o->mix.weights ? o->mix.weights : "",
        "optimizer", o->optimizer, "micro_batch_tokens", (json_int_t)s->place.pass_tokens);
    const struct {
        const char *key;
        double value;
    } reals[] = {{"learning_rate", o->learning_rate},
                 {"warmup_ratio", o->warmup_ratio},
                 {"weight_decay", o->weight_decay},
                 {"max_grad_norm", o->max_grad_norm},
                 {"adam_beta1", o->beta1},
                 {"adam_beta2", o->beta2},
                 {"adam_epsilon", o->eps}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        set_real(&r, reals[i].key, reals[i].value);
    if (s->arg.is_crafted)
        json_put(&r, "adapters", crafted_moe_json(&s->model->moe));
    s->recipe = r;
    return r ? 0 : FAIL(err, MEMORY, "no memory for the run's description");
}

/* Of adapters as crafted_moe_json describes them. */
static const char *layers_of(const json_t *adapters)
{
    const char *text = json_string_value(json_object_get(adapters, "layers"));
    return text ? text : "all";
}

int train_check_resume(struct train_session *s, struct pesc_error *err)
{
    json_t *was;
    TRY(checkpoint_meta(s->resume_from, &was, err));
    int rc = 0;
    const char *key;
    json_t *now;
    s->resume_step = s->rec.step = (long)json_integer_value(json_object_get(was, "step"));
    s->rec.tokens = (long long)json_integer_value(json_object_get(was, "tokens"));
    json_object_foreach(s->recipe, key, now)
    {
        json_t *then = json_object_get(was, key);
        /* What a checkpoint of before these options says by saying nothing. */
        const char *unsaid = !strcmp(key, "packing")        ? "off"
                             : !strcmp(key, "data_weights") ? ""
                             : !strcmp(key, "optimizer")    ? "adamw"
                                                            : NULL;
        if (rc != 0 || json_equal(then, now) ||
            (!then && unsaid && !strcmp(json_string_value(now), unsaid)) ||
            (!then && !strcmp(key, "micro_batch_tokens") && json_integer_value(now) == 0))
            continue;
        if (!strcmp(key, "threads"))
            note(&s->rec.notes, "W-RES-THREADS",
                 "%lld threads trained so far, %ld go on: the result may differ in the last bits",
                 (long long)json_integer_value(then), s->threads);
        else if (!strcmp(key, "isa") || !strcmp(key, "onednn") || !strcmp(key, "version"))
            note(&s->rec.notes, "W-RES-ENV",
                 "%s is not what the run had so far: the result may differ in the last bits", key);
        else if (!strcmp(key, "micro_batch_tokens"))
            note(&s->rec.notes, "W-RES-PASSES",
                 "batches went in passes of %lld tokens so far, and of %lld now (0: whole): the "
                 "result may differ in the last bits",
                 (long long)json_integer_value(then), (long long)json_integer_value(now));
        else if (!strcmp(key, "data"))
            rc = FAIL(err, DS_CHANGED, "the data is not what %s was trained on",
                      path_base(s->resume_from));
        else if (!strcmp(key, "adapters") &&
                 !json_equal(json_object_get(then, "layers"), json_object_get(now, "layers")))
            rc = FAIL(err, CK_MISMATCH, "%s: adapters on layers %s, this run's are on %s",
                      path_base(s->resume_from), layers_of(then), layers_of(now));
        else
            rc = FAIL(err, CK_MISMATCH, "%s: %s differs from this run's", path_base(s->resume_from),
                      key);
    }
    if (rc == 0 && s->resume_step > s->steps)
        rc = FAIL(err, CK_MISMATCH, "%s is at step %ld of %ld", path_base(s->resume_from),
                  s->resume_step, s->steps);
    json_decref(was);
    return rc;
}

static json_t *base_json(struct train_session *s, struct pesc_error *err)
{
    struct pack_base b;
    if (model_arg_pack_base(&s->arg, &b, err) != 0)
        return NULL;
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s}", "name", b.name,
                          "fingerprint", b.fingerprint, "tokenizer_sha256", b.tokenizer_sha256,
                          "config_sha256", b.config_sha256, "arch", b.arch, "layers",
                          (json_int_t)b.layers, "hidden", (json_int_t)b.hidden, "vocab",
                          (json_int_t)b.vocab, "path", base_dir(s->arg.base));
    if (*b.origin)
        json_put(&o, "origin", json_string(b.origin));
    if (!o)
        FAIL(err, MEMORY, "no memory to describe the run");
    return o;
}

/* The files of one side, for the run folder. "records" is what a pack's manifest takes. */
static json_t *data_json(const struct dataset *d)
{
    json_t *list = d ? data_sources_json(d) : json_array(), *f;
    size_t i;
    json_array_foreach(list, i, f)
    {
        if (json_object_set(f, "records", json_object_get(f, "used")) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* The template that the records were rendered with; empty for plain text and token ids. */
static const char *template_of(const struct train_session *s)
{
    for (long i = 0; i < dataset_source_count(s->data); i++)
        if (*dataset_source_at(s->data, i)->template_id)
            return dataset_source_at(s->data, i)->template_id;
    return "";
}

static double own_tokens_per_s(const struct train_result *r)
{
    return r->seconds > 0 ? (double)r->own_tokens / r->seconds : NAN;
}

/* What was expected and what became of it (r NULL: nothing yet). */
static json_t *plan_json(const struct train_session *s, const struct train_result *r)
{
    const struct prediction *p = &s->prediction;
    json_t *o =
        json_pack("{s:I, s:I, s:I, s:o, s:o}", "peak_bytes", (json_int_t)p->peak, "disk_bytes",
                  (json_int_t)(p->temporary + p->kept), "traffic_bytes", (json_int_t)p->traffic,
                  "terms", terms_json(&s->terms), "places", place_json(&s->place));
    set_real(&o, "tokens_per_s", p->tokens_per_s);
    set_real(&o, "seconds", p->rest);
    if (!r)
        return o;
    json_put(&o, "real_peak_bytes", json_integer((json_int_t)machine_peak_rss()));
    set_real(&o, "real_tokens_per_s", own_tokens_per_s(r));
    set_real(&o, "real_seconds", train_clock() - s->begun);
    return o;
}

static int write_run(struct train_session *s, const struct train_cli *o, const char *status,
                     const struct train_result *r, struct pesc_error *err)
{
    char when[32];
    int full = s->model->trainable == TRAIN_FULL;
    json_t *base = base_json(s, err);
    if (!base)
        return -1;
    utc(when);
    json_t *eval = json_array();
    if (r && s->eval_data && isfinite(r->eval_loss)) {
        json_t *row =
            json_pack("{s:s, s:s, s:I}", "task", dataset_source_at(s->eval_data, 0)->name, "metric",
                      "loss", "n", (json_int_t)dataset_counts(s->eval_data)->trained_tokens);
        set_real(&row, "value", r->eval_loss);
        json_add(&eval, row);
    }
    json_t *run =
        json_pack("{s:i, s:s, s:s, s:s, s:o, s:s, s:I, s:I, s:I, s:s, s:o, s:o}", "pesc_run", 1,
                  "name", o->name ? o->name : path_base(rundir_path(s->rec.dir)), "kind",
                  full ? "full" : "adapters", "model", s->arg.dir, "base", base, "status", status,
                  "steps", (json_int_t)(r ? r->steps : s->resume_step), "tokens",
                  (json_int_t)(r ? r->tokens : s->rec.tokens), "seed", (json_int_t)o->seed,
                  "template", template_of(s), "data", data_json(s->data), "eval", eval);
    if (s->eval_data)
        json_put(&run, "held_out", data_json(s->eval_data));
    json_put(&run, "plan", plan_json(s, r));
    json_put(&run, "compute", json_string(compute_name(s->compute)));
    if (r)
        json_put(&run, "ended", json_string(when));
    if (s->arg.is_crafted)
        json_put(&run, "crafted", crafted_moe_json(&s->model->moe));
    if (!strcmp(status, "finished"))
        json_put(&run, "result", json_string(full ? "model" : CRAFTED_ADAPTERS));
    int rc = run ? rundir_write_run(s->rec.dir, run, err)
                 : FAIL(err, MEMORY, "no memory to describe the run");
    json_decref(run);
    return rc;
}

static char *command_line(const struct cli *cli)
{
    size_t n = 1, at = 0;
    for (int i = 0; i < cli->argc; i++)
        n += strlen(cli->argv[i]) + 1;
    char *line = malloc(n);
    for (int i = 0; line && i < cli->argc; i++)
        at += (size_t)snprintf(line + at, n - at, "%s%s", i ? " " : "", cli->argv[i]);
    return line;
}

/* Texts and arrays that the history's structs point to while the run is registered. */
struct facts {
    char cpu[256], isa[512], os[256], host[256], onednn[32], libs[512], config_sha[65],
        crafted_sha[65], tok_sha[65];
    char *line, *yaml, *config, *crafted, *terms, *places;
    struct history_dataset *data;
    char **reasons; /* of each of data, as JSON */
    const char *keys[128], *values[128];
    char texts[128][64];
    struct history_run run;
};

/* The share of --data that a file came with, as it was given; 1: none was. */
static double weight_of(const char *weights, long arg)
{
    for (; weights && arg > 0; arg--) {
        weights = strchr(weights, ',');
        weights += weights != NULL;
    }
    return weights ? strtod(weights, NULL) : 1;
}

/* Files of the same content are one row of the history, with all their counts. */
static int is_counted(const struct dataset *d, long i)
{
    for (long k = 0; k < i; k++)
        if (!strcmp(dataset_source_at(d, k)->sha256, dataset_source_at(d, i)->sha256))
            return 1;
    return 0;
}

static struct dataset_source sum_of(const struct dataset *d, long i)
{
    struct dataset_source sum = *dataset_source_at(d, i);
    for (long k = i + 1; k < dataset_source_count(d); k++) {
        const struct dataset_source *x = dataset_source_at(d, k);
        if (strcmp(x->sha256, sum.sha256) != 0)
            continue;
        sum.read += x->read;
        sum.used += x->used;
        sum.skipped += x->skipped;
        for (int s = 0; s < SKIP_COUNT; s++)
            sum.skips[s] += x->skips[s];
        sum.truncated += x->truncated;
        sum.split += x->split;
        sum.pieces_dropped += x->pieces_dropped;
        sum.samples += x->samples;
        sum.tokens += x->tokens;
        sum.trained_tokens += x->trained_tokens;
    }
    return sum;
}

static int add_data(struct facts *f, const struct dataset *d, const char *role, const char *weights,
                    struct pesc_error *err)
{
    for (long i = 0; d && i < dataset_source_count(d); i++) {
        const struct dataset_source *named = dataset_source_at(d, i);
        if (is_counted(d, i))
            continue;
        struct dataset_source x = sum_of(d, i);
        json_t *reasons = data_reasons_json(x.skips);
        char *text = f->reasons[f->run.n_datasets] = json_canonical(reasons);
        json_decref(reasons);
        if (!text)
            return FAIL(err, MEMORY, "no memory to describe the run");
        f->data[f->run.n_datasets++] =
            (struct history_dataset){.sha256 = named->sha256,
                                     .name = named->name,
                                     .path = named->path,
                                     .format = data_format_name(x.format),
                                     .role = role,
                                     .reasons = text,
                                     .weight = weight_of(weights, x.arg),
                                     .bytes = (long long)x.bytes,
                                     .records = x.read,
                                     .used = x.used,
                                     .skipped = x.skipped,
                                     .truncated = x.truncated,
                                     .split = x.split,
                                     .pieces_dropped = x.pieces_dropped,
                                     .samples = x.samples,
                                     .tokens = x.tokens,
                                     .trained_tokens = x.trained_tokens};
    }
    return 0;
}

static int gather_data(struct facts *f, struct train_session *s, const struct train_cli *o,
                       struct pesc_error *err)
{
    size_t n = (size_t)(dataset_source_count(s->data) +
                        (s->eval_data ? dataset_source_count(s->eval_data) : 0));
    f->data = calloc(n, sizeof *f->data);
    f->reasons = calloc(n, sizeof *f->reasons);
    if (!f->data || !f->reasons)
        return FAIL(err, MEMORY, "no memory to describe the run");
    f->run.datasets = f->data;
    TRY(add_data(f, s->data, "train", o->mix.weights, err));
    return add_data(f, s->eval_data, "valid", NULL, err);
}

static void facts_free(struct facts *f)
{
    for (long i = 0; i < f->run.n_datasets; i++)
        free(f->reasons[i]);
    free(f->reasons);
    free(f->data);
    free(f->line);
    free(f->yaml);
    free(f->config);
    free(f->crafted);
    free(f->terms);
    free(f->places);
    free(f);
}

static void add_params(struct facts *f, const struct cli *cli, const struct train_cli *o)
{
    for (const struct opt *x = cli->cmd->opts; x->name && f->run.n_params < 128; x++) {
        long i = f->run.n_params;
        const char *v = opts_text(x, o, f->texts[i], sizeof f->texts[i]);
        if (!v)
            continue;
        f->keys[i] = x->name;
        f->values[i] = v;
        f->run.n_params++;
    }
}

static char *canonical_of(json_t *o)
{
    char *text = o ? json_canonical(o) : NULL;
    json_decref(o);
    return text;
}

static int gather(struct facts *f, const struct cli *cli, struct train_session *s,
                  const struct train_cli *o, struct pesc_error *err)
{
    const struct model_config *c = &s->model->c;
    struct machine_memory memory;
    machine_memory("", &memory);
    f->line = command_line(cli);
    f->yaml = config_yaml(cli->cmd, o);
    f->config = json_canonical(base_config_json(s->arg.base));
    json_t *moe = s->arg.is_crafted ? crafted_moe_json(&s->model->moe) : json_object();
    f->crafted = moe ? json_canonical(moe) : NULL;
    json_decref(moe);
    f->terms = canonical_of(terms_json(&s->terms));
    f->places = canonical_of(place_json(&s->place));
    if (!f->terms || !f->places || !f->line || !f->yaml || !f->config || !f->crafted)
        return FAIL(err, MEMORY, "no memory to describe the run");
    TRY(hash_bytes(f->yaml, strlen(f->yaml), f->config_sha, err));
    TRY(hash_bytes(f->crafted, strlen(f->crafted), f->crafted_sha, err));
    snprintf(f->libs, sizeof f->libs, "{\"built_with\":\"%s\",\"onednn\":\"%s\"}",
             build_libraries(), gemm_library_version(f->onednn, sizeof f->onednn));
    f->run = (struct history_run){
        .experiment = o->experiment,
        .name = o->name ? o->name : path_base(rundir_path(s->rec.dir)),
        .dir = rundir_path(s->rec.dir),
        .cmdline = f->line,
        .config = f->yaml,
        .config_sha256 = f->config_sha,
        .seed = o->seed,
        .steps_planned = s->steps,
        .threads = s->threads,
        .env = {.host = machine_host(f->host, sizeof f->host),
                .cpu_model = machine_cpu_model("", f->cpu, sizeof f->cpu),
                .isa = machine_isa("", f->isa, sizeof f->isa),
                .os = machine_os("", f->os, sizeof f->os),
                .tool_version = pesc_version(),
                .git_commit = "",
                .compiler = build_compiler(),
                .libs = f->libs,
                .cores = machine_cores(),
                .mem_mib = (long)(memory.total >> 20)},
        .model = {.fingerprint = s->arg.fingerprint,
                  .name = path_base(base_dir(s->arg.base)),
                  .path = base_dir(s->arg.base),
                  .arch = c->arch_name,
                  .dtype = base_stored(s->arg.base),
                  .tokenizer_sha256 = s->arg.tokenizer ? tokenizer_sha256(s->arg.tokenizer) : "",
                  .config = f->config,
                  .n_layers = c->num_layers,
                  .hidden = c->hidden_size,
                  .vocab = c->vocab_size,
                  .n_params = (long long)base_param_count(s->arg.base)},
        .param_keys = f->keys,
        .param_values = f->values,
        .resumed_from = *s->resume_from ? path_base(s->resume_from) : NULL,
        .start_step = s->resume_step,
        .plan = {.budget = o->memory > INT64_MAX ? INT64_MAX : o->memory,
                 .peak = s->prediction.peak,
                 .disk = s->prediction.temporary + s->prediction.kept,
                 .traffic = s->prediction.traffic,
                 .tokens_per_s = s->prediction.tokens_per_s,
                 .seconds = s->prediction.rest,
                 .terms = f->terms,
                 .places = f->places}};
    if (s->arg.is_crafted)
        f->run.crafted = (struct history_crafted){.config_sha256 = f->crafted_sha,
                                                  .config = f->crafted,
                                                  .n_experts = s->model->moe.experts,
                                                  .top_k = s->model->moe.top_k,
                                                  .adapter_dim = s->model->moe.dim,
                                                  .n_trainable = (long long)s->model->params.total,
                                                  .seed = (long long)s->arg.craft.seed};
    add_params(f, cli, o);
    return gather_data(f, s, o, err);
}

int train_register(struct cli *cli, struct train_session *s, const struct train_cli *o,
                   struct pesc_error *err)
{
    char when[32];
    struct facts *f = calloc(1, sizeof *f);
    if (!f)
        return FAIL(err, MEMORY, "no memory to describe the run");
    int rc = -1;
    utc(when);
    TRY_OR(gather(f, cli, s, o, err), done);
    TRY_OR(rundir_write_config(s->rec.dir, f->yaml, err), done);
    history_process(&f->run.process);
    const struct history_process *me = &f->run.process;
    json_t *seg = json_pack("{s:s, s:I, s:I, s:s, s:s, s:I, s:I, s:s, s:o}", "started", when,
                            "started_ms", (json_int_t)me->t_ms, "pid", (json_int_t)me->pid,
                            "boot_id", me->boot_id, "host", f->host, "threads",
                            (json_int_t)s->threads, "start_step", (json_int_t)s->resume_step,
                            "version", pesc_version(), "run", registration_json(&f->run));
    rc = seg ? rundir_append_segment(s->rec.dir, seg, err)
             : FAIL(err, MEMORY, "no memory to describe the run");
    json_decref(seg);
    /* What the log holds past this step is not of this run any more. */
    if (rc == 0 && rundir_resumed(s->rec.dir)) {
        json_t *mark =
            json_pack("{s:s, s:I}", "event", "resume", "step", (json_int_t)s->resume_step);
        rc = mark ? rundir_append(s->rec.dir, mark, err)
                  : FAIL(err, MEMORY, "no memory to describe the run");
        json_decref(mark);
    }
    if (rc == 0)
        rc = write_run(s, o, "running", NULL, err);
    if (rc == 0)
        train_history_start(s, o, &f->run);
done:
    facts_free(f);
    return rc;
}

static json_t *closing(const struct train_session *s, const struct train_cli *cli,
                       const struct train_result *r, const char *status)
{
    double t = r->seconds > 0 ? r->seconds : 1;
    json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "event", "end", "status",
                          status, "run_id", rundir_uuid(s->rec.dir), "steps", (json_int_t)r->steps,
                          "tokens", (json_int_t)r->tokens, "trained_tokens",
                          (json_int_t)r->trained_tokens, "peak_rss_bytes",
                          (json_int_t)machine_peak_rss(), "planned_bytes", (json_int_t)s->need);
    json_put(&o, "loss", json_real_or_text(r->loss));
    json_put(&o, "ce", json_real_or_text(r->ce));
    if (s->eval_data)
        json_put(&o, "eval_loss", json_real_or_text(r->eval_loss));
    json_put(&o, "tokens_per_s", json_real_or_text((double)r->own_tokens / t));
    json_put(&o, "trained_tokens_per_s", json_real_or_text((double)r->own_trained_tokens / t));
    json_put(&o, "step_seconds", json_real_or_text(r->seconds));
    json_put(&o, "wall_seconds", json_real_or_text(train_clock() - s->started));
    json_put(&o, "weights_bytes_read",
             json_integer((json_int_t)weights_bytes_read(s->model->weights)));
    if (s->place.prefix) {
        json_put(&o, "prefix_samples_kept", json_integer(r->prefix.kept));
        json_put(&o, "prefix_samples_read", json_integer(r->prefix.found));
        json_put(&o, "prefix_bytes", json_integer((json_int_t)r->prefix.bytes));
    }
    if (s->place.pass_tokens)
        json_put(&o, "micro_batch_tokens", json_integer(s->place.pass_tokens));
    if (cli->profile)
        json_put(&o, "profile", profile_json(&s->profile));
    return o;
}

int train_finish(struct train_session *s, const struct train_cli *o, const struct train_result *r,
                 int rc, struct pesc_error *err)
{
    struct pesc_error e = {0};
    const char *status = rc == 0 ? "finished" : r->stopped ? "interrupted" : "failed";
    if (write_run(s, o, status, r, &e) != 0 && rc == 0) {
        rc = -1;
        status = "failed";
        *err = e;
    } else if (e.code || rundir_sync(s->rec.dir, &e) != 0) {
        note(&s->rec.notes, "W-RUN-LOG", "%s", e.text);
    }
    train_history_end(s, r, own_tokens_per_s(r), status, rc == 0 ? 0 : err->exit_status,
                      rc == 0 ? NULL : err->text);
    json_t *end = closing(s, o, r, status);
    progress_json(s->rec.progress, end);
    return rc;
}
