#include "config.h"
#include "cli/cmd.h"

#include "cli/data_arg.h"
#include "cli/data_report.h"
#include "cli/data_tokens.h"

#include <stddef.h>
#include <stdlib.h>

struct data_opts {
    struct data_options data;
    struct mix_options mix;
    long records, record;
    int json;
};

#define AT(field) offsetof(struct data_opts, field)
#define SHARED_OPTS                                                                                \
    DATA_OPTIONS(AT(data)),                                                                        \
    {                                                                                              \
        "json", NULL, OPT_FLAG, AT(json), NULL, "one JSON object instead of text", 0, 0            \
    }

static const struct opt inspect_opts[] = {
    SHARED_OPTS,
    MIX_OPTIONS(AT(mix)),
    {"records", NULL, OPT_LONG, AT(records), "N", "samples shown", 0, 1e15},
    {0}};
static const struct opt stats_opts[] = {SHARED_OPTS, MIX_OPTIONS(AT(mix)), {0}};
static const struct opt mask_opts[] = {
    SHARED_OPTS,
    {"record", NULL, OPT_LONG, AT(record), "N", "number of the record, from 0", 0, 1e15},
    {0}};

static void defaults(void *opts)
{
    struct data_opts *o = opts;
    data_defaults(&o->data);
    mix_defaults(&o->mix);
    o->records = 3;
}

struct loaded {
    struct tokenizer *tokenizer;
    struct dataset *data, *valid;
    struct dataset_options options;
    struct batch_options batches_of;
};

static void unload(struct loaded *l)
{
    dataset_close(l->data);
    dataset_close(l->valid);
    data_options_free(&l->options);
    if (l->tokenizer)
        tokenizer_close(l->tokenizer);
}

/* On failure there is nothing to unload. */
static int load(struct cli *cli, const struct data_opts *o, int argc, char **argv, struct loaded *l,
                struct pesc_error *err)
{
    struct notes notes = cli_notes(cli);
    long vocab;
    *l = (struct loaded){0};
    if (argc != 1)
        return FAIL(err, USAGE, argc ? "one MODEL is read, not %d" : "a MODEL folder is needed",
                    argc);
    if (o->data.data.n == 0)
        return FAIL(err, USAGE, "--data FILE... is needed");
    TRY_OR(model_tokenizer(argv[0], &notes, &l->tokenizer, &vocab, err), fail);
    TRY_OR(data_options(&o->data, &o->data.data, vocab, &l->options, err), fail);
    l->options.valid_fraction = o->mix.valid_fraction;
    TRY_OR(mix_batches(&o->mix, &o->data, &l->batches_of, err), fail);
    TRY_OR(dataset_open(o->data.data.v, o->data.data.n, l->tokenizer, &l->options, &notes, &l->data,
                        err),
           fail);
    l->valid = dataset_take_valid(l->data);
    l->batches_of.order = ORDER_SHUFFLED;
    l->batches_of.seed = 42; /* train's default */
    return 0;
fail:
    unload(l);
    return -1;
}

/* Prints and ends a report; it may be NULL for want of memory. */
static int put_json(struct cli *cli, json_t *report, struct pesc_error *err)
{
    char *text = report ? json_written(report, JSON_COMPACT) : NULL;
    json_decref(report);
    if (!text)
        return FAIL(err, MEMORY, "no memory for the report");
    fprintf(cli->out, "%s\n", text);
    free(text);
    return 0;
}

/* The parts that inspect and stats share; NULL with err. */
static json_t *summary_json(const struct loaded *l, int every, struct pesc_error *err)
{
    json_t *packing = data_packing_json(l->data, &l->batches_of, every, err);
    json_t *report = packing ? data_summary_json(l->data, &l->options) : NULL;
    if (!report || json_object_set(report, "epoch", packing) != 0 ||
        json_object_set_new(report, "held_out", data_held_out_json(l->valid)) != 0) {
        FAIL(err, MEMORY, "no memory for the report");
        json_decref(report);
        report = NULL;
    }
    json_decref(packing);
    return report;
}

static int summary(struct cli *cli, const struct loaded *l, int every, struct pesc_error *err)
{
    data_summary(cli, l->data, &l->options);
    data_held_out(cli, l->valid);
    return data_packing(cli, l->data, &l->batches_of, every, err);
}

static int inspect(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    const struct data_opts *o = opts;
    struct loaded l;
    int rc = -1;
    TRY(load(cli, o, argc, argv, &l, err));
    long shown = dataset_size(l.data) < o->records ? dataset_size(l.data) : o->records;
    json_t *samples = json_array(), *report = NULL;
    if (o->json) {
        for (long i = 0; i < shown; i++) {
            json_t *s = data_sample_json(l.data, i, l.tokenizer, err);
            if (!s)
                goto done;
            json_add(&samples, s);
        }
        report = summary_json(&l, 0, err);
        if (!report)
            goto done;
        json_put(&report, "samples", json_incref(samples));
        rc = put_json(cli, report, err);
    } else {
        TRY_OR(summary(cli, &l, 0, err), done);
        for (long i = 0; i < shown; i++)
            TRY_OR(data_sample(cli, l.data, i, l.tokenizer, err), done);
        rc = 0;
    }
done:
    json_decref(samples);
    unload(&l);
    return rc;
}

static int stats(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    const struct data_opts *o = opts;
    struct loaded l;
    int rc = -1;
    TRY(load(cli, o, argc, argv, &l, err));
    if (o->json) {
        json_t *report = summary_json(&l, 1, err);
        json_t *lengths = report ? data_lengths_json(l.data, err) : NULL;
        if (lengths && json_object_set(report, "lengths", lengths) == 0)
            rc = put_json(cli, json_incref(report), err);
        json_decref(lengths);
        json_decref(report);
    } else {
        rc = summary(cli, &l, 1, err);
        if (rc == 0)
            rc = data_lengths(cli, l.data, err);
    }
    unload(&l);
    return rc;
}

static int mask(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    const struct data_opts *o = opts;
    struct loaded l;
    long i = 0;
    int rc = -1;
    TRY(load(cli, o, argc, argv, &l, err));
    TRY_OR(dataset_find(l.data, o->record, &i, err), done);
    if (i < 0) {
        long read = dataset_counts(l.data)->read;
        FAIL(err, USAGE_VALUE, "record %ld %s %ld records", o->record,
             o->record < read ? "was skipped; 'pesc data inspect' counts why, of" : "is not among",
             read);
    } else if (o->json) {
        json_t *s = data_sample_json(l.data, i, l.tokenizer, err);
        rc = s ? put_json(cli, s, err) : -1;
    } else {
        rc = data_sample(cli, l.data, i, l.tokenizer, err);
    }
done:
    unload(&l);
    return rc;
}

#define DATA_CMD(verb, what)                                                                       \
    {                                                                                              \
        .name = #verb, .usage = "MODEL --data FILE... [options]", .summary = what,                 \
        .details =                                                                                 \
            "FILE is JSON (an array or lines), CSV or text, plain or as gz, xz, zst, bz2; "        \
            "a folder of\nsuch files, or a tar or zip. Names with train, valid and test in "       \
            "them are parts: --split\nchooses, train otherwise. What records are is told by "      \
            "looking (man pesc).\nMODEL gives the tokenizer and the chat template.",               \
        .opts = verb##_opts, .opts_size = sizeof(struct data_opts), .defaults = defaults,          \
        .run = verb                                                                                \
    }

static const struct cmd data_inspect =
    DATA_CMD(inspect, "Files, formats, what is skipped and why, domains, and the first samples");
static const struct cmd data_stats =
    DATA_CMD(stats, "As inspect, with a histogram of lengths and the number of repeated samples");
static const struct cmd data_mask = DATA_CMD(mask, "One record with its trained tokens marked");
static const struct cmd *const subs[] = {&data_inspect, &data_stats,  &data_mask,
                                         &data_encode,  &data_decode, NULL};

const struct cmd cmd_data = {.name = "data",
                             .usage = "COMMAND MODEL [options]",
                             .summary = "Shows what the trainer would really see",
                             .subs = subs};
