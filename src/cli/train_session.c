#include "config.h"
#include "cli/train_session.h"

#include "core/file.h"
#include "core/machine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX_SHARE = 4 }; /* of the disk that is free, a quarter unless asked for more */

void train_session_close(struct train_session *s)
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
    if (s->rec.dir)
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
struct adamw_options train_adamw_of(const struct train_session *s, const struct train_cli *o)
{
    return (struct adamw_options){.beta1 = o->beta1,
                                  .beta2 = o->beta2,
                                  .eps = o->eps,
                                  .weight_decay = o->weight_decay,
                                  .decay = strcmp(o->decay_set, "all") ? DECAY_MATRICES : DECAY_ALL,
                                  .form = (enum adamw_form)adamw_form_from_name(o->optimizer),
                                  .disk = s->place.state_on_disk ? s->ckpt_dir : NULL,
                                  .disk_cached = s->place.disk_layers > 0 && !s->place.disk_direct};
}

/* Which layers have adapters: the crafted model's choice unless the options say otherwise; those of
 * a pack are where they are. */
static int choose_layers(const struct train_session *s, const struct train_cli *o,
                         struct moe_config *moe, struct pesc_error *err)
{
    long L = base_config(s->arg.base)->num_layers;
    char text[MOE_LAYERS_CAP];
    if (!o->layers)
        return 0;
    if (!s->arg.is_crafted)
        return FAIL(err, USAGE_VALUE, "--layers: a dense model has no adapters");
    if (moe_layers_parse(moe, o->layers, L) != 0)
        return FAIL(err, USAGE_VALUE, "--layers %s: the layers of this model are 0 to %ld",
                    o->layers, L - 1);
    const struct moe_config *has = &s->pack.moe;
    if (o->pack && (moe->first != has->first || moe->layers != has->layers))
        return FAIL(err, USAGE_VALUE, "--layers %s: the adapters of %s are on layers %s", o->layers,
                    o->pack, moe_layers_text(has, L, text));
    return 0;
}

static int shape_model(struct train_session *s, const struct train_cli *o, struct pesc_error *err)
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
    TRY(choose_layers(s, o, &moe, err));
    if (s->arg.is_crafted && moe.experts > 1 && moe.top_k == 1 && !o->freeze_router)
        note(&s->rec.notes, "W-CRAFT-TOP1",
             "with top-k 1 the router learns from the balance loss alone");
    TRY(compute_arg(o->compute, &s->arg, &s->compute, s->why, sizeof s->why, err));
    uint64_t size;
    if (opts_size(o->prefix_cache, &size) == 0 && moe.first == 0)
        note(&s->rec.notes, "W-PREFIX-OFF",
             "--prefix-cache %s: there is no layer below those that train", o->prefix_cache);
    return model_shape(base_config(s->arg.base), s->arg.is_crafted ? &moe : NULL, t, s->compute,
                       &s->model, err);
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

static uint64_t need_of(const struct memory_terms *t)
{
    return t->total > machine_peak_rss() ? t->total : machine_peak_rss();
}

/* Bytes that are free beside what the run will hold, in memory and on the disk of its folder. */
static uint64_t room_beside(const struct train_session *s, uint64_t free_now, uint64_t rss)
{
    uint64_t more = s->terms.total > rss ? s->terms.total - rss : 0;
    return free_now > more ? free_now - more : 0;
}

/* A file for what the layers below all adapters make of the samples, where some sample comes twice.
 * All of its size is counted as taken. */
static void choose_prefix(struct train_session *s, const struct train_cli *o)
{
    const struct dataset_counts *c = dataset_counts(s->data);
    const struct model *m = s->model;
    long D = m->c.hidden_size, epoch = batcher_batches_per_epoch(s->batcher);
    size_t value = dtype_size(compute_form(m->compute));
    uint64_t wish = 0, free_now = dir_free(s->ckpt_dir);
    int given = opts_size(o->prefix_cache, &wish) == 0;
    s->prefix = (struct prefix_options){.dir = s->ckpt_dir, .samples = c->samples};
    s->prefix_whole = (uint64_t)c->samples * prefix_record(0, D, value) +
                      prefix_record(c->tokens, D, value) - prefix_record(0, D, value);
    if (model_lowest(m) == 0 || !strcmp(o->prefix_cache, "off") ||
        (!given && !o->mix.weights && s->steps * o->accumulation <= epoch))
        return;
    uint64_t bound = given ? wish : free_now / PREFIX_SHARE;
    s->prefix.bytes = bound < s->prefix_whole ? bound : s->prefix_whole;
}

/* What the options leave open is chosen so that the run fits --memory (or a share of what is free),
 * before any weight is read. */
int train_choose_places(struct train_session *s, const struct train_cli *o, struct pesc_error *err)
{
    uint64_t free_now = machine_memory_limit(), rss = machine_rss();
    int full = s->model->trainable == TRAIN_FULL;
    long L = s->model->c.num_layers, resident = o->place.resident_layers;
    struct memory_question q = {.m = s->model,
                                .data = s->source,
                                .adamw = train_adamw_of(s, o),
                                .in_use = rss,
                                .budget = memory_budget(o->memory, rss, free_now),
                                .comfort = 1,
                                .longest = dataset_counts(s->data)->longest,
                                .threads = s->threads,
                                .streamed_layers = resident > L || (full && resident < 0) ? 0
                                                   : resident < 0                         ? -1
                                                                  : L - resident,
                                .keep_layers = o->place.keep_layers,
                                .disk_layers = o->place.disk_layers,
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
    choose_prefix(s, o);
    q.prefix = s->prefix;
    TRY(passes_wish(s, o, &q.pass_tokens, err));
    struct pesc_error as_before = {0};
    int rc = memory_choose(&q, &s->place, &s->terms, &as_before);
    if (rc != 0 && as_before.code == PESC_E_MEMORY_BUDGET && q.prefix.bytes) {
        q.prefix.bytes = 0; /* it is no necessity */
        as_before = (struct pesc_error){0};
        rc = memory_choose(&q, &s->place, &s->terms, &as_before);
        if (rc == 0)
            note(&s->rec.notes, "W-PREFIX-OFF",
                 "outputs of frozen layers are not kept: --memory has no room for their index");
    }
    if (rc != 0) {
        if (!o->memory || o->pass_tokens || q.pass_tokens < 0) {
            *err = as_before;
            return -1;
        }
        q.pass_tokens = -1; /* a resumed run in less memory; that bits differ is noted later */
        TRY(memory_choose(&q, &s->place, &s->terms, err));
    }
    uint64_t room = room_beside(s, free_now, rss);
    if (s->place.disk_layers && s->terms.disk > room / 2) { /* it was asked for */
        q.disk_direct = 1;
        TRY(memory_choose(&q, &s->place, &s->terms, err));
    }
    s->need = need_of(&s->terms);
    s->has_other =
        memory_on_disk(&q, &s->place, room, dir_free(s->ckpt_dir), &s->other, &s->other_terms);
    memory_place(&s->place, s->model);
    return 0;
}

static struct engine_choices engine_of(const struct train_session *s, const struct train_cli *o)
{
    const char *to = o->place.spill ? o->place.spill : s->ckpt_dir;
    return (struct engine_choices){
        .keep_layers = s->place.keep_layers,
        .spill_dir = s->place.spill ? to : NULL,
        .disk_layers = s->place.disk_layers,
        .disk_direct = s->place.disk_direct,
        .keep_dir = to,
        .prefix = {.dir = s->ckpt_dir, .bytes = s->place.prefix, .samples = s->prefix.samples}};
}

struct train_options train_options_of(struct train_session *s, const struct train_cli *o)
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
        .adamw = train_adamw_of(s, o),
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
        .stop = s->stop ? stop_flag(s->stop) : NULL,
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

void place_text(const struct place *p, char *out, size_t size)
{
    const struct {
        int on;
        long many;
        const char *text;
    } what[] = {
        {p->streamed_layers > 0, p->streamed_layers, " layers streamed"},
        {p->embed_on_disk, 0, "embedding on disk"},
        {p->spill, 0, "activations spilled"},
        {p->state_on_disk, 0, "optimiser state on disk"},
        {p->keep_layers > 0, p->keep_layers, " layers keep their activations"},
        {p->disk_layers > 0, p->disk_layers,
         p->disk_direct ? " keep them in a file, past the page cache" : " keep them in a file"}};
    size_t n = 0;
    char size_of[32];
    *out = 0;
    for (size_t i = 0; i < sizeof what / sizeof *what && n < size; i++) {
        const char *comma = n ? ", " : "";
        if (what[i].many)
            n += (size_t)snprintf(out + n, size - n, "%s%ld%s", comma, what[i].many, what[i].text);
        else if (what[i].on)
            n += (size_t)snprintf(out + n, size - n, "%s%s", comma, what[i].text);
    }
    if (p->pass_tokens && n < size)
        n += (size_t)snprintf(out + n, size - n, "%spasses of at most %ld tokens", n ? ", " : "",
                              p->pass_tokens);
    if (p->prefix && n < size) {
        progress_bytes(size_of, sizeof size_of, p->prefix);
        snprintf(out + n, size - n, "%sfrozen layers' outputs in %s of disk", n ? ", " : "",
                 size_of);
    }
}

void adapters_line(const struct model *m, char *out, size_t size)
{
    char layers[MOE_LAYERS_CAP];
    int n = snprintf(out, size, "%ld experts, top-%ld, dim %ld", m->moe.experts, m->moe.top_k,
                     m->moe.dim);
    if (m->moe.layers && n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, ", layers %s",
                 moe_layers_text(&m->moe, m->c.num_layers, layers));
}

json_t *terms_json(const struct memory_terms *t)
{
    json_t *o = json_object();
    for (const struct memory_term *x = memory_term_table; x->name; x++)
        json_put(&o, x->key, json_integer((json_int_t)memory_term(t, x)));
    return o;
}

json_t *place_json(const struct place *p)
{
    return json_pack("{s:I, s:b, s:I, s:I, s:b, s:b, s:b, s:I, s:I}", "streamed_layers",
                     (json_int_t)p->streamed_layers, "embed_on_disk", p->embed_on_disk,
                     "keep_layers", (json_int_t)p->keep_layers, "keep_on_disk_layers",
                     (json_int_t)p->disk_layers, "keep_on_disk_direct", p->disk_direct,
                     "activations_spilled", p->spill, "optimizer_state_on_disk", p->state_on_disk,
                     "micro_batch_tokens", (json_int_t)p->pass_tokens, "prefix_cache_bytes",
                     (json_int_t)p->prefix);
}

/* A file for activations wears a disk: a step must be shorter, and by more than measuring errs. */
static const double WORTH_IT = 0.95;

/* Tokens and batches of an average update. */
static void average_step(const struct train_session *s, const struct train_cli *o, double *tokens,
                         long *batches)
{
    long n = batcher_batches_per_epoch(s->batcher);
    *batches = s->batches && o->accumulation > s->batches ? s->batches : o->accumulation;
    *tokens = (double)batcher_tokens_per_epoch(s->batcher) / (double)(n ? n : 1) * (double)*batches;
}

/* Checkpoints with the one that is being written, and the result. */
static uint64_t kept_bytes(const struct train_session *s, const struct train_cli *o)
{
    const struct params *ps = &s->model->params;
    uint64_t values = ps->total * sizeof(float);
    uint64_t one = values + adamw_bytes(ps, train_adamw_of(s, o).form, 0);
    long files = o->save_steps ? s->steps / o->save_steps + 1 : 1;
    return one * (uint64_t)(files > CHECKPOINT_KEEP ? CHECKPOINT_KEEP + 1 : files) + values;
}

/* What is measured depends on what is on disk, but hardly on how many layers are. */
static int alike(const struct place *a, const struct place *b)
{
    return a->spill == b->spill && a->state_on_disk == b->state_on_disk &&
           a->embed_on_disk == b->embed_on_disk && !a->streamed_layers == !b->streamed_layers &&
           !a->disk_layers == !b->disk_layers && a->disk_direct == b->disk_direct &&
           !a->prefix == !b->prefix && a->pass_tokens == b->pass_tokens;
}

/* s->speed of s->place. */
static int measure(struct train_session *s, const struct train_cli *o, double enough,
                   struct pesc_error *err)
{
    struct train_options t = train_options_of(s, o);
    struct calibrate_what what = {.base = s->arg.base,
                                  .store = s->arg.is_crafted ? s->arg.craft.base_dtype : DT_COUNT,
                                  .like = s->model,
                                  .data = &s->source,
                                  .run = &t,
                                  .place = &s->place,
                                  .enough = enough};
    for (long i = 0; i < s->n_measured; i++)
        if (alike(&s->measured[i].place, &s->place)) {
            s->speed = s->measured[i].speed;
            return 0;
        }
    TRY(calibrate(&what, &s->speed, err));
    s->measuring += s->speed.seconds;
    if (s->n_measured < MEASURED_MAX) {
        s->measured[s->n_measured].place = s->place;
        s->measured[s->n_measured++].speed = s->speed;
    }
    return 0;
}

static void put_place(struct train_session *s, const struct place *p, const struct memory_terms *t)
{
    s->place = *p;
    s->terms = *t;
}

/* Whether s->other is faster than s->place: by one measuring, where the file is all that they
 * differ in, as two under different loads have misled. Leaves s->other in place. */
static int is_worth_it(struct train_session *s, const struct train_cli *o, double enough,
                       int *worth, struct pesc_error *err)
{
    struct place place = s->place, as_other = s->place;
    struct memory_terms terms = s->terms;
    struct prediction plain, other;
    as_other.disk_layers = s->other.disk_layers;
    as_other.disk_direct = s->other.disk_direct;
    put_place(s, &s->other, &s->other_terms);
    TRY(measure(s, o, enough, err));
    train_predict(s, o, &other);
    put_place(s, &place, &terms);
    if (alike(&as_other, &s->other))
        s->speed = calibrated_recomputing(&s->speed);
    else
        TRY(measure(s, o, enough, err));
    train_predict(s, o, &plain);
    put_place(s, &s->other, &s->other_terms);
    *worth = other.step <= WORTH_IT * plain.step;
    return 0;
}

int train_calibrate(struct train_session *s, const struct train_cli *o, double enough,
                    struct pesc_error *err)
{
    struct place place = s->place;
    struct memory_terms terms = s->terms;
    int worth = 0;
    if (s->has_other)
        TRY(is_worth_it(s, o, enough, &worth, err));
    if (!worth)
        put_place(s, &place, &terms);
    TRY(measure(s, o, enough, err)); /* what was measured already is not measured again */
    s->need = need_of(&s->terms);
    memory_place(&s->place, s->model);
    return 0;
}

/* Each sample's frozen layers are computed once, as far as the file has room, by a process: it
 * begins with none of them. */
static void steps_of(const struct train_session *s, const struct train_cli *o, long batches,
                     double tokens, struct prediction *out)
{
    double rest = (double)(s->steps - s->resume_step), once = rest, share = 0;
    out->first = out->later =
        calibrated_step(&s->speed, s->model, &s->place, &s->terms, batches, tokens, 0);
    if (s->place.prefix) {
        double read =
            calibrated_step(&s->speed, s->model, &s->place, &s->terms, batches, tokens, 1);
        double epoch = (double)batcher_batches_per_epoch(s->batcher) / (double)o->accumulation;
        share = (double)s->place.prefix / (double)s->prefix_whole;
        once = epoch < rest ? epoch : rest;
        out->later += share * (read - out->first);
    }
    out->step = rest > 0 ? (once * out->first + (rest - once) * out->later) / rest : out->first;
}

void train_predict(const struct train_session *s, const struct train_cli *o, struct prediction *out)
{
    double tokens, rest;
    long batches;
    average_step(s, o, &tokens, &batches);
    out->peak = s->need;
    out->temporary = s->terms.disk;
    out->kept = kept_bytes(s, o);
    out->traffic = s->terms.traffic;
    steps_of(s, o, batches, tokens, out);
    out->tokens = tokens;
    out->tokens_per_s = out->step > 0 ? tokens / out->step : 0;
    rest = out->step * (double)(s->steps - s->resume_step);
    if (s->eval_data) {
        long turns = 2 + (o->eval_steps ? (s->steps - 1 - s->resume_step) / o->eval_steps : 0);
        rest += (double)turns *
                calibrated_evaluation(&s->speed, s->model,
                                      (double)batcher_tokens_per_epoch(s->eval_batcher));
    }
    out->rest = rest;
}

int train_open(struct train_session *s, const struct train_cli *o, struct pesc_error *err)
{
    if (o->lr_list)
        TRY(parse_rates(s, o->lr_list, err));
    TRY(model_arg_open(o->model, o->base, &s->rec.notes, &s->arg, err));
    TRY(open_data(s, o, err));
    TRY(count_steps(s, o, err));
    return shape_model(s, o, err);
}
