#include "config.h"
#include "cli/eval_tasks.h"

#include "core/json.h"
#include "experiments/rundir.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct session {
    struct eval_work *w;
    struct model_arg arg;
    struct pack_arg pack;
    const struct template *template; /* NULL: plain text */
    struct template *own;
    struct task_how *how; /* [tasks] */
    struct dataset *data;
    struct batcher *batcher;
    struct batch_source source;
    struct model *model;
    struct engine *engine;
    struct decoder *decoder;
    enum compute compute;
    long scored, generated; /* tokens of the longest */
};

static void session_close(struct session *s)
{
    decoder_close(s->decoder);
    engine_close(s->engine);
    model_close(s->model);
    batcher_close(s->batcher);
    dataset_close(s->data);
    free(s->how);
    template_free(s->own);
    pack_arg_close(&s->pack);
    model_arg_close(&s->arg);
}

/* --template: none is plain text, and so is a model without one where none is named. */
static int choose_template(struct session *s, struct pesc_error *err)
{
    const char *name = s->w->o->data.template_id, *id = name, *sha256;
    const json_t *tree;
    if (!name)
        return template_of_model(s->arg.tokenizer, &s->template, err);
    if (!strcmp(name, "none"))
        return 0;
    TRY(template_arg(name, &id, &tree, &sha256, err));
    int rc = tree ? template_from_json(tree, id, sha256, &s->own, err) : 0;
    s->template = tree ? s->own : template_find(name);
    json_decref((json_t *)tree);
    free((char *)sha256);
    return rc;
}

/* In plain text a line is the end of an answer, but not where answers have several. */
static void choose_stops(const struct session *s, const struct task *t, struct answering *a)
{
    static const char *const line[] = {"\n"}, *const next[] = {"\nQuestion:"};
    int lines = 0;
    for (long i = 0; i < t->n; i++)
        for (long k = 0; k < t->items[i].n; k++)
            lines |= strchr(t->items[i].follows[k], '\n') != NULL;
    a->stops = lines ? next : line;
    a->n_stops = s->template ? 0 : 1;
    if (t->has_stops) {
        a->stops = t->stops;
        a->n_stops = t->n_stops;
    }
    if (s->w->o->stop) {
        a->stops = (const char *const *)&s->w->stop;
        a->n_stops = strcmp(s->w->o->stop, "none") != 0;
    }
}

static int choose_how(struct session *s, const struct task *t, struct task_how *h,
                      struct pesc_error *err)
{
    const struct eval_options *o = s->w->o;
    const struct model_config *c = base_config(s->arg.base);
    static const struct normal strip = {1, {NORMAL_STRIP}};
    long scored, generated;
    h->asking = (struct asking){.t = s->arg.tokenizer,
                                .template = s->template,
                                .system = o->data.system,
                                .context = o->context ? o->context : c->max_positions,
                                .vocab = c->vocab_size};
    h->normal = o->normalize ? s->w->normal : t->has_normal ? t->normal : strip;
    h->answering = (struct answering){.t = s->arg.tokenizer, .template = s->template};
    if (task_kind_of(t->format) == SCORE_GENERATED) {
        h->answering.max_new_tokens = o->max_new_tokens   ? o->max_new_tokens
                                      : t->max_new_tokens ? t->max_new_tokens
                                                          : 128;
        choose_stops(s, t, &h->answering);
        if (h->answering.max_new_tokens >= h->asking.context)
            return FAIL(err, USAGE_VALUE,
                        "%s: answers of %ld tokens leave no room for a prompt in a context of %ld "
                        "(--max-new-tokens)",
                        t->name, h->answering.max_new_tokens, h->asking.context);
    }
    TRY(task_measure(t, h, &scored, &generated, err));
    s->scored = scored > s->scored ? scored : s->scored;
    s->generated = generated > s->generated ? generated : s->generated;
    return 0;
}

static int open_data(struct session *s, struct pesc_error *err)
{
    const struct eval_options *o = s->w->o;
    struct dataset_options d;
    TRY(data_options(&o->data, &o->data.data, base_config(s->arg.base)->vocab_size, &d, err));
    d.part = data_part_arg(&o->data, DATA_PART_HELD_OUT);
    int rc = data_arg_open(&o->data.data, &d, &s->arg, s->w->notes, &s->data, err);
    data_options_free(&d);
    TRY(rc);
    struct batch_options b = {.packing = PACK_NEXT, .tokens = o->batch_tokens};
    TRY(batcher_open(s->data, &b, &s->batcher, err));
    s->source = batcher_source(s->batcher);
    return 0;
}

/* Engine and decoder as the items and records need them. */
static int open_engine(struct session *s, struct pesc_error *err)
{
    const struct eval_options *o = s->w->o;
    long tokens = s->scored || s->data ? o->batch_tokens : 0, samples;
    tokens = s->scored > tokens ? s->scored : tokens;
    if (s->data && s->source.max_tokens > tokens)
        tokens = s->source.max_tokens;
    if (s->data && dataset_counts(s->data)->longest > tokens)
        tokens = dataset_counts(s->data)->longest;
    samples = s->data && s->source.max_samples > tokens ? s->source.max_samples : tokens;
    if (s->generated)
        model_for_generating(s->model);
    size_t need = tokens ? engine_bytes(s->model, tokens, samples, 0, NULL) : 0;
    need += s->generated ? decoder_bytes(s->model, s->generated) : 0;
    TRY(place_fitting(&o->place, o->memory, need, s->model, err));
    TRY(model_arg_load(&s->arg, &s->pack, s->model, err));
    if (tokens)
        TRY(engine_open(s->model, tokens, samples, 0, NULL, &s->engine, err));
    if (s->generated)
        TRY(decoder_open(s->model, s->generated, &s->decoder, err));
    for (long i = 0; i < s->w->o->task.n; i++) {
        s->how[i].answering.m = s->model;
        s->how[i].answering.decoder = s->decoder;
    }
    return 0;
}

static int session_open(struct session *s, const char *model, const char *pack,
                        struct pesc_error *err)
{
    const struct eval_options *o = s->w->o;
    TRY(model_arg_open(model, o->base, s->w->notes, &s->arg, err));
    TRY(pack_arg_open(pack, o->force_base, &s->arg, s->w->notes, &s->pack, err));
    TRY(compute_arg(o->compute, &s->arg, &s->compute, NULL, 0, err));
    if (o->task.n && !s->arg.tokenizer)
        return FAIL(err, IO_MISSING, "%s has no tokenizer.json", base_dir(s->arg.base));
    if (o->task.n)
        TRY(choose_template(s, err));
    if (o->task.n && o->data.system && !s->template)
        return FAIL(err, USAGE, "--system goes with a template, and tasks are asked in plain text");
    if (o->context > base_config(s->arg.base)->max_positions)
        return FAIL(err, USAGE_VALUE, "--context %ld: the model has %ld positions", o->context,
                    base_config(s->arg.base)->max_positions);
    s->how = calloc((size_t)o->task.n + 1, sizeof *s->how);
    if (!s->how)
        return FAIL(err, MEMORY, "no memory for tasks");
    for (long i = 0; i < o->task.n; i++)
        TRY(choose_how(s, s->w->tasks[i], &s->how[i], err));
    if (o->data.data.n)
        TRY(open_data(s, err));
    TRY(model_shape(base_config(s->arg.base), s->arg.is_crafted ? &s->arg.craft.moe : NULL,
                    TRAIN_NOTHING, s->compute, &s->model, err));
    return open_engine(s, err);
}

/* How the rows of a task came about. */
static char *config_text(const struct session *s, const struct task *t, const struct task_how *h)
{
    const struct eval_options *o = s->w->o;
    json_t *c =
        json_pack("{s:s, s:s, s:s, s:I, s:i, s:I, s:s}", "format", task_format_name(t->format),
                  "template", s->template ? template_id(s->template) : "none", "compute",
                  compute_name(s->compute), "context", (json_int_t)h->asking.context, "shots", 0,
                  "limit", (json_int_t)o->limit, "sha256", t->sha256);
    if (o->data.system)
        json_put(&c, "system", json_string(o->data.system));
    if (task_kind_of(t->format) == SCORE_GENERATED) {
        char steps[128];
        json_t *stops = json_array();
        normal_text(&h->normal, steps, sizeof steps);
        for (long i = 0; i < h->answering.n_stops; i++)
            json_add(&stops, json_string(h->answering.stops[i]));
        json_put(&c, "normalize", json_string(steps));
        json_put(&c, "max_new_tokens", json_integer(h->answering.max_new_tokens));
        json_put(&c, "stop", stops);
    }
    char *text = c ? json_canonical(c) : NULL;
    json_decref(c);
    return text;
}

static int add_rows(struct session *s, long run, const struct task *t, const char *config,
                    const struct task_sum *sum, const char *domain, struct pesc_error *err)
{
    struct task_figure f[TASK_FIGURES];
    int n = task_figures(task_kind_of(t->format), sum, f);
    for (int i = 0; i < n; i++) {
        struct eval_row row = {run,  (char *)t->name, (char *)domain, (char *)config,
                               f[i], sum->cut,        sum->too_long};
        TRY(eval_rows_add(&s->w->rows, &row, err));
    }
    return 0;
}

struct telling {
    struct afile *to;
    const char *run;
    struct pesc_error *err;
    int failed;
};

/* One line of --items. */
static void tell_item(void *ctx, const struct task *t, long i, const struct score *v,
                      const char *answer)
{
    struct telling *g = ctx;
    const struct task_item *it = &t->items[i];
    json_t *o = json_pack("{s:s, s:I, s:s, s:I}", "task", t->name, "item", (json_int_t)i, "domain",
                          t->domains[it->domain], "line", (json_int_t)it->line);
    if (g->run)
        json_put(&o, "run", json_string(g->run));
    if (answer)
        json_put(&o, "said", json_string(answer));
    if (v && task_kind_of(t->format) == SCORE_TEXT) {
        json_put(&o, "loglik", json_real_or_text(v->loglik));
        json_put(&o, "tokens", json_integer(v->tokens));
    } else if (v) {
        json_t *sums = json_array();
        for (long k = 0; k < it->n; k++)
            json_add(&sums, json_real_or_text(v[k].loglik));
        json_put(&o, "loglik", sums);
        json_put(&o, "right", json_integer(it->right));
        json_put(&o, "chosen", json_integer(task_choice(it, v, 0)));
        json_put(&o, "chosen_norm", json_integer(task_choice(it, v, 1)));
    }
    char *line = o ? json_written(o, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(o);
    if (g->failed)
        ; /* the first failure is told at the end */
    else if (!line)
        g->failed = FAIL(g->err, MEMORY, "no memory for --items");
    else if (afile_write(g->to, line, strlen(line), g->err) != 0 ||
             afile_write(g->to, "\n", 1, g->err) != 0)
        g->failed = -1;
    free(line);
}

static int run_task(struct session *s, long run, long k, struct pesc_error *err)
{
    struct eval_work *w = s->w;
    const struct task *t = w->tasks[k];
    struct task_sum all, *domain = calloc((size_t)t->n_domains + 1, sizeof *domain);
    char *config = config_text(s, t, &s->how[k]);
    struct telling g = {w->items, w->o->runs.n ? w->o->runs.v[run] : NULL, err, 0};
    const struct task_told told = {tell_item, &g};
    struct timespec t0, t1;
    int rc = domain && config ? 0 : FAIL(err, MEMORY, "no memory for a task");
    clock_gettime(CLOCK_MONOTONIC, &t0);
    if (rc == 0)
        rc = task_run(t, &s->how[k], s->engine, &all, domain, w->items ? &told : NULL, err);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    if (rc == 0)
        rc = g.failed;
    for (long d = 0; d < t->n_domains && t->n_domains > 1 && rc == 0; d++)
        rc = add_rows(s, run, t, config, &domain[d], t->domains[d], err);
    if (rc == 0)
        rc = add_rows(s, run, t, config, &all, NULL, err);
    if (rc == 0 && !w->o->quiet) {
        char name[512];
        text_escape(name, sizeof name, t->name);
        fprintf(w->cli->talk, "%s: %s of %ld items, %ld cut, %ld too long, %s, %.1f s\n", name,
                task_kind_name(task_kind_of(t->format)), all.items, all.cut, all.too_long,
                s->template ? template_id(s->template) : "plain text",
                (double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec));
    }
    free(config);
    free(domain);
    return rc;
}

static int run_data(struct session *s, long run, struct pesc_error *err)
{
    long n = dataset_domain_count(s->data);
    struct eval_sum all, *domain = calloc((size_t)n + 1, sizeof *domain);
    if (!domain)
        return FAIL(err, MEMORY, "no memory for domains");
    int rc = evaluate(s->engine, &s->source, batcher_batches_per_epoch(s->batcher), &all, domain, n,
                      NULL, err);
    if (rc == 0)
        rc = eval_rows_of_data(&s->w->rows, run, s->data, &all, domain, err);
    if (rc == 0 && !s->w->o->quiet) {
        char line[512];
        data_line(s->data, line, sizeof line);
        fprintf(s->w->cli->talk, "%s: %s\n", dataset_source_at(s->data, 0)->path, line);
    }
    free(domain);
    return rc;
}

int eval_model(struct eval_work *w, const char *model, const char *pack, long run,
               struct eval_run *of, struct pesc_error *err)
{
    struct session s = {.w = w};
    int rc = session_open(&s, model, pack, err);
    for (long i = 0; i < w->o->task.n && rc == 0; i++)
        rc = run_task(&s, run, i, err);
    if (rc == 0 && s.data)
        rc = run_data(&s, run, err);
    if (rc == 0 && !*of->uuid)
        eval_run_of_pack(of, &s.pack, pack);
    session_close(&s);
    return rc;
}
