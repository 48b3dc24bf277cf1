#include "config.h"
#include "cli/cmd.h"
#include "cli/db_arg.h"
#include "cli/eval_experts.h"
#include "cli/eval_routing.h"
#include "cli/eval_tasks.h"
#include "core/machine.h"
#include "experiments/history.h"
#include "experiments/rundir.h"
#include "train/evaluate.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void defaults(void *opts)
{
    struct eval_options *o = opts;
    memset(o, 0, sizeof *o);
    data_defaults(&o->data);
    place_defaults(&o->place);
    o->compute = "auto";
    o->batch_tokens = 2048;
}

#define AT(field) offsetof(struct eval_options, field)
static const struct opt options[] = {
    DATA_OPTIONS(AT(data)),
    TASK_OPTIONS,
    {"pack", NULL, OPT_STRING, AT(pack), "P", "adapters: a pack, a safetensors file or a run", 0,
     0},
    {"base", NULL, OPT_STRING, AT(base), "DIR", "where a crafted folder's base is now", 0, 0},
    {"force-base", NULL, OPT_FLAG, AT(force_base), NULL, "use a pack made for another base", 0, 0},
    {"dump-logits", NULL, OPT_STRING, AT(dump), "OUT.safetensors",
     "write record_N [positions, vocab] for every record used", 0, 0},
    {"routing", NULL, OPT_FLAG, AT(routing), NULL,
     "also which experts are chosen, by layer, domain and rank of choice", 0, 0},
    {"knock-out", NULL, OPT_STRING, AT(knock_out), "L:E|all",
     "mask expert E of layer L; or what each one is worth, by domain", 0, 0},
    {"batch-tokens", NULL, OPT_LONG, AT(batch_tokens), "N", "tokens at a time", 1, 1e9},
    {"compute", NULL, OPT_CHOICE, AT(compute), "auto|f32|bf16|int8", "type of the matrix products",
     0, 0},
    {"memory", NULL, OPT_SIZE, AT(memory), "SIZE",
     "resident memory at most; what does not fit goes to disk", 0, 0},
    WEIGHT_OPTIONS(AT(place)),
    {"threads", NULL, OPT_LONG, AT(threads), "N", "default: OMP_NUM_THREADS, else the cores", 0,
     4096},
    {"db", NULL, OPT_STRING, AT(db), "FILE", DB_ARG_HELP, 0, 0},
    {"quiet", "q", OPT_FLAG, AT(quiet), NULL, "warnings only", 0, 0},
    {"json", NULL, OPT_FLAG, AT(json), NULL, "print the result as JSON", 0, 0},
    {0},
};

struct session {
    struct model_arg arg;
    struct pack_arg pack;
    struct dataset *data;
    struct batcher *batcher;
    struct batch_source source;
    struct model *model;
    struct engine *engine;
    enum compute compute;
    struct eval_sum all, *domain;
    struct knock_out knock_out;
    struct routing routing; /* layers 0: nobody asks, and nothing is recorded */
    struct damage damage;   /* likewise */
};

static void session_close(struct session *s)
{
    routing_close(&s->routing);
    damage_free(&s->damage);
    engine_close(s->engine);
    model_close(s->model);
    batcher_close(s->batcher);
    dataset_close(s->data);
    pack_arg_close(&s->pack);
    model_arg_close(&s->arg);
    free(s->domain);
}

/* An evaluation of a recorded run's adapters joins its history; not that of a part of them. */
static int recordable(const struct session *s)
{
    return *s->pack.run_uuid && s->knock_out.layer < 0;
}

static int session_open(struct session *s, const struct eval_options *o, const char *model,
                        const struct notes *notes, struct pesc_error *err)
{
    long threads;
    TRY(knock_out_parse(o->knock_out, &s->knock_out, err));
    TRY(threads_arg(o->threads, &threads, err));
    TRY(model_arg_open(model, o->base, notes, &s->arg, err));
    TRY(pack_arg_open(o->pack, o->force_base, &s->arg, notes, &s->pack, err));
    TRY(compute_arg(o->compute, &s->arg, &s->compute, NULL, 0, err));
    struct dataset_options data;
    TRY(data_options(&o->data, &o->data.data, base_config(s->arg.base)->vocab_size, &data, err));
    data.part = data_part_arg(&o->data, DATA_PART_HELD_OUT);
    int rc = data_arg_open(&o->data.data, &data, &s->arg, notes, &s->data, err);
    data_options_free(&data);
    TRY(rc);
    struct batch_options b = {.packing = PACK_NEXT, .tokens = o->batch_tokens};
    TRY(batcher_open(s->data, &b, &s->batcher, err));
    s->source = batcher_source(s->batcher);
    TRY(model_shape(base_config(s->arg.base), s->arg.is_crafted ? &s->arg.craft.moe : NULL,
                    TRAIN_NOTHING, s->compute, &s->model, err));
    long longest = dataset_counts(s->data)->longest, tokens = s->source.max_tokens;
    tokens = longest > tokens ? longest : tokens;
    TRY(place_fitting(&o->place, o->memory,
                      engine_bytes(s->model, tokens, s->source.max_samples, 0, NULL), s->model,
                      err));
    TRY(model_arg_load(&s->arg, &s->pack, s->model, err));
    TRY(engine_open(s->model, tokens, s->source.max_samples, 0, NULL, &s->engine, err));
    s->domain = calloc((size_t)dataset_domain_count(s->data) + 1, sizeof *s->domain);
    if (!s->domain)
        return FAIL(err, MEMORY, "no memory for domains");
    if (o->routing && !s->arg.is_crafted)
        return FAIL(err, MODEL_KIND, "a dense model has no routers");
    if (o->routing || (s->arg.is_crafted && recordable(s)))
        TRY(routing_open(&s->routing, &s->model->moe, s->model->c.num_layers,
                         dataset_domain_count(s->data), tokens, err));
    if (s->knock_out.all) /* whether it can be done, before it takes its time */
        TRY(model_knock_out(s->model, s->model->moe.first, 0, err));
    return o->knock_out ? model_knock_out(s->model, s->knock_out.layer, s->knock_out.expert, err)
                        : 0;
}

struct rows {
    float *to;
    long V;
};

static int copy_rows(void *ctx, long from, long n, const float *logits, struct pesc_error *err)
{
    const struct rows *r = ctx;
    (void)err;
    memcpy(r->to + from * r->V, logits, (size_t)(n * r->V) * sizeof *logits);
    return 0;
}

static int fill_logits(void *ctx, long i, const struct st_out *t, void *dst, struct pesc_error *err)
{
    const struct session *s = ctx;
    struct sample x;
    TRY(dataset_sample(s->data, i, &x, err));
    long cu[2] = {0, x.n};
    struct batch b = {.T = x.n,
                      .S = 1,
                      .ids = x.ids,
                      .labels = x.labels,
                      .cu = cu,
                      .domain = &x.domain,
                      .record = &x.record};
    struct rows r = {dst, t->shape[1]};
    return engine_logits(s->engine, &b, copy_rows, &r, err);
}

static int dump_logits(struct session *s, const char *path, struct pesc_error *err)
{
    long n = dataset_size(s->data), before = -1, piece = 0;
    int rc = -1;
    struct st_out *t = calloc((size_t)n, sizeof *t);
    char(*names)[48] = calloc((size_t)n, sizeof *names);
    if (!t || !names) {
        FAIL(err, MEMORY, "no memory to list %ld records", n);
        goto done;
    }
    for (long i = 0; i < n; i++) {
        struct sample x;
        TRY_OR(dataset_sample(s->data, i, &x, err), done);
        piece = x.record == before ? piece + 1 : 0;
        before = x.record;
        snprintf(names[i], sizeof names[i], piece ? "record_%ld.%ld" : "record_%ld", x.record,
                 piece);
        t[i] = (struct st_out){names[i], DT_F32, 2, {x.n, s->model->c.vocab_size}};
    }
    rc = st_write(path, t, n, NULL, NULL, fill_logits, s, 0, NULL, NULL, err);
done:
    free(t);
    free(names);
    return rc;
}

static json_t *interval_json(struct interval i)
{
    json_t *pair = json_array();
    json_add(&pair, json_real_or_text(i.lo));
    json_add(&pair, json_real_or_text(i.hi));
    return pair;
}

static json_t *row_json(const struct eval_sum *s)
{
    json_t *o =
        json_pack("{s:I, s:I}", "n", (json_int_t)s->scored, "records", (json_int_t)s->samples);
    json_put(&o, "loss", json_real_or_text(eval_loss(s)));
    json_put(&o, "perplexity", json_real_or_text(exp(eval_loss(s))));
    json_put(&o, "accuracy", json_real_or_text(eval_accuracy(s)));
    json_put(&o, "exact_match", json_real_or_text(eval_exact_match(s)));
    struct interval loss = interval_mean(eval_loss(s), eval_loss_stderr(s));
    json_put(&o, "loss_95", interval_json(loss));
    json_put(&o, "perplexity_95", interval_json(interval_exp(loss)));
    json_put(&o, "accuracy_95", interval_json(clusters_share(&s->hits)));
    json_put(&o, "exact_match_95",
             interval_json(interval_share(eval_exact_match(s), (double)s->answers)));
    return o;
}

static void row_text(struct cli *cli, const char *name, const struct eval_sum *s)
{
    char shown[64];
    text_escape(shown, sizeof shown, name);
    fprintf(cli->out, "%-20s %10.6f %11.4f %8.2f%% %7.2f%% %8ld %8ld\n", shown, eval_loss(s),
            exp(eval_loss(s)), 100 * eval_accuracy(s), 100 * eval_exact_match(s), s->scored,
            s->samples);
}

static int report(struct cli *cli, const struct session *s, const struct eval_options *o,
                  double seconds, struct pesc_error *err)
{
    long n = dataset_domain_count(s->data);
    double rate = (double)dataset_counts(s->data)->tokens / (seconds > 0 ? seconds : 1);
    if (!o->json) {
        char line[512];
        data_line(s->data, line, sizeof line);
        if (!o->quiet)
            fprintf(cli->talk, "%s, %.0f tokens/s, %s\n", line, rate, compute_name(s->compute));
        fprintf(cli->out, "%-20s %10s %11s %9s %8s %8s %8s\n", "domain", "loss", "perplexity",
                "accuracy", "exact", "tokens", "records");
        for (long d = 0; d < n && n > 1; d++)
            if (s->domain[d].scored)
                row_text(cli, dataset_domain(s->data, d), &s->domain[d]);
        row_text(cli, "all", &s->all);
        if (o->routing)
            routing_text(cli->out, &s->routing, s->data);
        if (s->damage.layers)
            damage_text(cli->out, &s->damage, s->data);
        return 0;
    }
    const struct dataset_counts *c = dataset_counts(s->data);
    long skipped = 0;
    json_t *root = row_json(&s->all), *domains = json_object();
    for (int i = 0; i < SKIP_COUNT; i++)
        skipped += c->skipped[i];
    for (long d = 0; d < n; d++) {
        json_t *row = row_json(&s->domain[d]);
        json_put(&row, "domain", json_string(dataset_domain(s->data, d)));
        json_put(&domains, dataset_domain(s->data, d), row);
    }
    json_put(&root, "domains", domains);
    if (o->knock_out)
        json_put(&root, "knock_out",
                 s->damage.layers ? damage_json(&s->damage, s->data) : json_string(o->knock_out));
    if (o->routing)
        json_put(&root, "routing", routing_json(&s->routing, s->data));
    json_put(&root, "read", json_integer(c->read));
    json_put(&root, "skipped", json_integer(skipped));
    json_put(&root, "truncated", json_integer(c->truncated));
    json_put(&root, "compute", json_string(compute_name(s->compute)));
    json_put(&root, "tokens_per_s", json_real_or_text(rate));
    json_put(&root, "peak_rss_bytes", json_integer((json_int_t)machine_peak_rss()));
    char *text = json_written(root, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(root);
    if (!text)
        return FAIL(err, MEMORY, "no memory for the result");
    fprintf(cli->out, "%s\n", text);
    free(text);
    return 0;
}

static int record_routing(struct session *s, const struct eval_run *of, const char *db,
                          struct pesc_error *err)
{
    char path[PATH_CAP];
    struct history *h = NULL;
    if (cli_db_path(db, path, NULL) == 0 && path_exists(path))
        TRY(history_open(path, &h, err));
    int rc = eval_routing_record(h, of->dir, of->uuid, of->step,
                                 dataset_source_at(s->data, 0)->name, &s->routing, s->data, err);
    history_close(h);
    return rc;
}

static void record(struct session *s, const struct eval_options *o, const struct notes *notes)
{
    struct pesc_error e = {0};
    struct eval_rows rows = {0};
    struct eval_run of;
    if (!recordable(s))
        return;
    eval_run_of_pack(&of, &s->pack, o->pack);
    if (eval_rows_of_data(&rows, 0, s->data, &s->all, s->domain, &e) != 0)
        note(notes, "W-DB-OFF", "the evaluation is not recorded: %s", e.text);
    else
        eval_record(&rows, 0, &of, o->db, notes);
    if (!e.code && s->routing.layers && record_routing(s, &of, o->db, &e) != 0 &&
        e.code != PESC_E_DB_RUN) /* a run of another machine is no fault */
        note(notes, "W-DB-OFF", "the evaluation's routers are not recorded: %s", e.text);
    eval_rows_free(&rows);
}

static int run(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    const struct eval_options *o = opts;
    struct notes notes = cli_notes(cli);
    struct timespec t0, t1;
    struct session s = {0};
    TRY(eval_tasks_usage(o, argc, err));
    if (o->task.n || o->runs.n)
        return eval_tasks(cli, o, argc ? argv[0] : NULL, &notes, err);
    int rc = session_open(&s, o, argv[0], &notes, err);
    clock_gettime(CLOCK_MONOTONIC, &t0);
    if (rc == 0 && o->dump)
        rc = dump_logits(&s, o->dump, err);
    if (rc == 0)
        rc = evaluate(s.engine, &s.source, batcher_batches_per_epoch(s.batcher), &s.all, s.domain,
                      dataset_domain_count(s.data), s.routing.layers ? &s.routing : NULL, err);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    if (rc == 0 && s.knock_out.all)
        rc = damage_measure(&s.damage, s.model, s.engine, &s.source,
                            batcher_batches_per_epoch(s.batcher), &s.all, s.domain,
                            dataset_domain_count(s.data), err);
    if (rc == 0)
        rc =
            report(cli, &s, o,
                   (double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec), err);
    if (rc == 0)
        record(&s, o, &notes);
    session_close(&s);
    return rc;
}

const struct cmd cmd_eval = {
    .name = "eval",
    .usage = "MODEL [--pack P] --data FILE...|--task FILE... [options]",
    .summary = "Held-out loss, perplexity, token accuracy and exact match, in all and by domain.",
    .details = "--task scores generated answers, multiple choice and perplexity of task files;\n"
               "--runs RUN... in place of MODEL does it, and --data, for each run in one table.",
    .opts = options,
    .opts_size = sizeof(struct eval_options),
    .defaults = defaults,
    .run = run,
};
