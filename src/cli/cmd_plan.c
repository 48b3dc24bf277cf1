/* pesc plan: what a training run would need and take, under one budget or several. */
#include "config.h"
#include "cli/data_arg.h"
#include "cli/table.h"
#include "cli/train_session.h"
#include "core/json.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { CALIBRATION_SECONDS = 4 };

struct row {
    uint64_t budget;           /* 0: what is free, UINT64_MAX: any */
    struct pesc_error refused; /* code 0: it works */
    struct place place;
    struct memory_terms terms;
    int has_other; /* see train_session */
    struct place other;
    struct memory_terms other_terms;
    struct prediction said;
};

struct plan {
    struct train_session s;
    struct row row[OPT_SIZES_CAP];
    long n;
    double tokens; /* of an average step */
};

/* Before any weight is read: a budget that does not work is a row that says so. */
static int choose(struct plan *p, struct train_cli *o, struct pesc_error *err)
{
    int works = 0;
    p->n = o->budgets.n ? o->budgets.n : 1;
    for (long i = 0; i < p->n; i++) {
        struct row *r = &p->row[i];
        o->memory = r->budget = o->budgets.n ? o->budgets.v[i] : 0;
        if (train_choose_places(&p->s, o, &r->refused) == 0)
            works = 1;
        else if (r->refused.code != PESC_E_MEMORY_BUDGET || (i + 1 == p->n && !works)) {
            *err = r->refused;
            return -1;
        }
        r->place = p->s.place;
        r->terms = p->s.terms;
        r->said.peak = p->s.need;
        r->has_other = p->s.has_other;
        r->other = p->s.other;
        r->other_terms = p->s.other_terms;
    }
    return 0;
}

static int measure(struct plan *p, struct train_cli *o, struct pesc_error *err)
{
    struct train_session *s = &p->s;
    for (long i = 0; i < p->n; i++) {
        struct row *r = &p->row[i];
        if (r->refused.code)
            continue;
        s->place = r->place;
        s->terms = r->terms;
        s->need = r->said.peak;
        s->has_other = r->has_other;
        s->other = r->other;
        s->other_terms = r->other_terms;
        TRY(train_calibrate(s, o, CALIBRATION_SECONDS, err));
        train_predict(s, o, &r->said);
        r->place = s->place;
        r->terms = s->terms;
        p->tokens = r->said.tokens;
    }
    return 0;
}

/* --- telling --- */

static void say(FILE *f, const char *key, const char *text)
{
    fprintf(f, "%-9s %s\n", key, text);
}

static void head(FILE *f, const struct plan *p, const struct train_cli *o)
{
    const struct train_session *s = &p->s;
    const struct model_config *c = &s->model->c;
    char text[600];
    snprintf(text, sizeof text, "%s: %s, %ld layers, hidden %ld, base %s", o->model, c->arch_name,
             c->num_layers, c->hidden_size, base_stored(s->arg.base));
    say(f, "model", text);
    if (s->arg.is_crafted) {
        adapters_line(s->model, text, sizeof text);
        say(f, "adapters", text);
    }
    snprintf(text, sizeof text, "%zu parameters", params_trained(&s->model->params));
    say(f, "trained", text);
    data_line(s->data, text, sizeof text);
    say(f, "data", text);
    snprintf(text, sizeof text, "%ld, at most %ld tokens each", s->steps,
             s->source.max_tokens * o->accumulation);
    say(f, "steps", text);
    snprintf(text, sizeof text, "%s (%s), %ld threads", compute_name(s->compute), s->why,
             s->threads);
    say(f, "compute", text);
}

static void tell_one(FILE *f, const struct plan *p)
{
    const struct row *r = &p->row[0];
    char text[400], a[32], b[32], c[32];
    uint64_t room = dir_free(p->s.ckpt_dir);
    progress_bytes(a, sizeof a, r->said.peak);
    snprintf(text, sizeof text, "at most %s", a);
    say(f, "memory", text);
    for (const struct memory_term *x = memory_term_table; x->name; x++)
        if (memory_term(&r->terms, x)) {
            progress_bytes(a, sizeof a, memory_term(&r->terms, x));
            fprintf(f, "%20s %s\n", a, x->name);
        }
    place_text(&r->place, text, sizeof text);
    say(f, "places", *text ? text : "all in memory, activations recomputed");
    progress_bytes(a, sizeof a, r->said.temporary);
    progress_bytes(b, sizeof b, r->said.kept);
    if (room) {
        progress_bytes(c, sizeof c, room);
        snprintf(text, sizeof text, "%s while it runs, %s in its folder; %s are free", a, b, c);
    } else {
        snprintf(text, sizeof text, "%s while it runs, %s in its folder", a, b);
    }
    say(f, "disk", text);
    progress_bytes(a, sizeof a, r->terms.weights_read);
    progress_bytes(b, sizeof b, r->said.traffic);
    snprintf(text, sizeof text, "%s of weights read a step; %s read and written in all", a, b);
    say(f, "traffic", text);
    snprintf(text, sizeof text, "%.*f tokens/s, %.3g s a step of %.0f tokens (measured in %.1f s)",
             r->said.tokens_per_s < 10 ? 2 : 0, r->said.tokens_per_s, r->said.step, r->said.tokens,
             p->s.measuring);
    say(f, "speed", text);
    if (r->place.prefix) {
        snprintf(text, sizeof text,
                 "%.3g s a step as long as frozen layers are computed, %.3g s when their outputs "
                 "are read",
                 r->said.first, r->said.later);
        say(f, "", text);
    }
    progress_time(a, sizeof a, r->said.rest);
    say(f, "time", a);
}

static void budget_text(uint64_t budget, char *out, size_t size)
{
    if (budget == UINT64_MAX)
        snprintf(out, size, "max");
    else
        progress_bytes(out, size, budget);
}

static void place_short(const struct place *p, char *out, size_t size)
{
    size_t n = 0;
    *out = 0;
    if (p->streamed_layers)
        n += (size_t)snprintf(out + n, size - n, "s%ld ", p->streamed_layers);
    if (p->keep_layers)
        n += (size_t)snprintf(out + n, size - n, "k%ld ", p->keep_layers);
    if (p->disk_layers)
        n += (size_t)snprintf(out + n, size - n, "%c%ld ", p->disk_direct ? 'D' : 'd',
                              p->disk_layers);
    snprintf(out + n, size - n, "%s%s%s", p->embed_on_disk ? "e" : "", p->spill ? "a" : "",
             p->state_on_disk ? "o" : "");
}

static void tell_table(FILE *f, const struct plan *p)
{
    fprintf(f, "\n%8s %8s %8s %9s %8s %7s %8s  %s\n", "budget", "memory", "disk", "read/step",
            "tokens/s", "s/step", "time", "places");
    for (long i = 0; i < p->n; i++) {
        const struct row *r = &p->row[i];
        char budget[32], peak[32], disk[32], traffic[32], rest[32], places[80];
        budget_text(r->budget, budget, sizeof budget);
        if (r->refused.code) {
            progress_bytes(peak, sizeof peak, r->terms.total);
            fprintf(f, "%8s  is too little: %s are the least\n", budget, peak);
            continue;
        }
        progress_bytes(peak, sizeof peak, r->said.peak);
        progress_bytes(disk, sizeof disk, r->said.temporary + r->said.kept);
        progress_bytes(traffic, sizeof traffic, r->said.traffic);
        progress_time(rest, sizeof rest, r->said.rest);
        place_short(&r->place, places, sizeof places);
        fprintf(f, "%8s %8s %8s %9s %8.*f %7.3g %8s  %s\n", budget, peak, disk, traffic,
                r->said.tokens_per_s < 10 ? 2 : 0, r->said.tokens_per_s, r->said.step, rest,
                places);
    }
    fputs("places: sN layers streamed, kN keep their activations, dN keep them in a\n"
          "        file, and on disk: e embedding, a inputs of layers, o optimiser state\n",
          f);
}

static json_t *row_json(const struct row *r)
{
    json_t *o = json_pack("{s:b}", "fits", !r->refused.code);
    if (r->budget == UINT64_MAX)
        json_put(&o, "budget", json_string("max"));
    else
        json_put(&o, "budget_bytes", r->budget ? json_integer((json_int_t)r->budget) : json_null());
    if (r->refused.code) {
        json_put(&o, "least_bytes", json_integer((json_int_t)r->terms.total));
        return o;
    }
    json_t *disk = json_pack("{s:I, s:I, s:I, s:I}", "temporary_bytes",
                             (json_int_t)r->said.temporary, "kept_bytes", (json_int_t)r->said.kept,
                             "traffic_bytes_per_step", (json_int_t)r->said.traffic,
                             "weights_bytes_read_per_step", (json_int_t)r->terms.weights_read);
    json_put(&o, "peak_bytes", json_integer((json_int_t)r->said.peak));
    json_put(&o, "memory", terms_json(&r->terms));
    json_put(&o, "places", place_json(&r->place));
    json_put(&o, "disk", disk);
    json_put(&o, "tokens_per_s", json_real(r->said.tokens_per_s));
    json_put(&o, "step_seconds", json_real(r->said.step));
    json_put(&o, "first_step_seconds", json_real(r->said.first));
    json_put(&o, "later_step_seconds", json_real(r->said.later));
    json_put(&o, "seconds", json_real(r->said.rest));
    return o;
}

static int tell_json(struct cli *cli, const struct plan *p, struct pesc_error *err)
{
    const struct train_session *s = &p->s;
    json_t *rows = json_array();
    for (long i = 0; i < p->n; i++)
        json_add(&rows, row_json(&p->row[i]));
    json_t *o =
        json_pack("{s:s, s:s, s:I, s:I, s:f, s:s, s:I, s:f, s:o}", "model", s->arg.dir, "base",
                  base_stored(s->arg.base), "trained_parameters",
                  (json_int_t)params_trained(&s->model->params), "steps", (json_int_t)s->steps,
                  "tokens_per_step", p->tokens, "compute", compute_name(s->compute), "threads",
                  (json_int_t)s->threads, "measuring_seconds", p->s.measuring, "plans", rows);
    char *text = o ? json_written(o, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(o);
    if (!text)
        return FAIL(err, MEMORY, "no memory for the plan");
    fprintf(cli->out, "%s\n", text);
    free(text);
    return 0;
}

static int plan(struct cli *cli, struct plan *p, struct train_cli *o, struct pesc_error *err)
{
    struct train_session *s = &p->s;
    const char *tmp = getenv("TMPDIR");
    TRY(threads_arg(o->threads, &s->threads, err));
    /* What a run puts beside its checkpoints is, while measuring, in a folder that is there. */
    snprintf(s->ckpt_dir, sizeof s->ckpt_dir, "%s", tmp && *tmp ? tmp : "/var/tmp");
    if (o->out && path_is_dir(o->out))
        snprintf(s->ckpt_dir, sizeof s->ckpt_dir, "%s", o->out);
    TRY(train_open(s, o, err));
    TRY(choose(p, o, err));
    TRY(measure(p, o, err));
    if (o->json)
        return tell_json(cli, p, err);
    head(cli->out, p, o);
    if (p->n == 1)
        tell_one(cli->out, p);
    else
        tell_table(cli->out, p);
    return 0;
}

static int run(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    struct train_cli *o = opts;
    if (argc != 1)
        return FAIL(err, USAGE, "pesc plan takes a model and --data FILE");
    if (o->sweep || o->print_commands || o->leaderboard || o->jobs != 1)
        return FAIL(err, USAGE, "a sweep's options are for pesc train; plan looks at one run");
    TRY(train_opts_check(o, err));
    struct plan *p = calloc(1, sizeof *p);
    if (!p)
        return FAIL(err, MEMORY, "no memory for a plan");
    cli->quiet = o->quiet;
    o->model = argv[0];
    p->s.rec.notes = cli_notes(cli);
    int rc = plan(cli, p, o, err);
    p->s.rec.notes = cli_notes(cli);
    train_session_close(&p->s);
    free(p);
    return rc;
}

const struct cmd cmd_plan = {
    .name = "plan",
    .usage = "MODEL --data FILE... [--memory SIZE,SIZE,max] [options]",
    .summary = "Says what a training run would need and take; trains nothing.",
    .details = "Takes the options and the configuration file of pesc train; what changes neither "
               "memory nor time is accepted and makes no difference. A few seconds of training the "
               "lowest layers on the real data tell the speed.",
    .opts = train_opts,
    .opts_size = sizeof(struct train_cli),
    .defaults = train_defaults,
    .run = run,
};
