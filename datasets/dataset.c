#include "config.h"
#include "datasets/dataset.h"

#include "core/file.h"
#include "datasets/formats.h"
#include "datasets/records.h"
#include "datasets/store.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOTED_BAD = 5 }; /* tolerated bad records that are told one by one */

struct dataset {
    struct store store;
    struct dataset_counts counts;
    struct dataset_source *sources;
    long n_sources;
    char sha256[SHA256_HEX];
};

/* What reading needs from record to record. */
struct reading {
    struct dataset *d;
    const struct dataset_options *o;
    const struct tokenizer *t;
    const struct notes *notes;
    struct dataset_source *source;
    struct records *records;
    const struct template *template;
    const char *domain;
    long vocab;
    struct item item;
    struct ids ids, labels;
};

static void count_skip(struct reading *r, enum data_skip why)
{
    r->d->counts.skipped[why]++;
    r->source->skips[why]++;
    r->source->skipped++;
}

/* The tokens up to the last scored label, of the first n. */
static long scored_length(const struct ids *labels, long n)
{
    while (n > 1 && labels->v[n - 1] == LABEL_MASKED)
        n--;
    return n > 1 ? n : 0;
}

/* Cuts, masks what is never scored, drops what follows the last scored label, and keeps the rest.
 */
static int keep(struct reading *r, struct ids *ids, struct ids *labels, struct pesc_error *err)
{
    long n = scored_length(labels, (long)ids->n), trained = 0, max = r->o->max_seq_length;
    if (max > 0 && n > max) {
        n = scored_length(labels, max);
        r->d->counts.truncated++;
        r->source->truncated++;
    }
    if (n == 0) {
        count_skip(r, SKIP_NO_TARGET);
        return 0;
    }
    labels->v[0] = LABEL_MASKED;
    for (long i = 0; i < n; i++)
        trained += labels->v[i] != LABEL_MASKED;
    TRY(store_add(&r->d->store, ids->v, labels->v, n, trained,
                  r->item.domain ? r->item.domain : r->domain, r->d->counts.read - 1, err));
    r->source->used++;
    r->source->tokens += n;
    r->source->trained_tokens += trained;
    struct dataset_counts *c = &r->d->counts;
    c->used++;
    c->tokens += n;
    c->trained_tokens += trained;
    if (n > c->longest)
        c->longest = n;
    return 0;
}

static int tokenize(struct reading *r, const char *where, struct pesc_error *err)
{
    struct ids *ids = &r->ids, *labels = &r->labels;
    if (!r->t)
        return FAIL(err, DS_FORMAT, "%s: %s records need a tokenizer", where,
                    data_format_name(r->source->format));
    ids->n = labels->n = 0;
    if (r->item.text)
        TRY(template_plain(r->t, r->item.text, ids, labels, err));
    else
        TRY(template_render(r->template, r->t, r->item.system, r->item.turns, r->item.n_turns, ids,
                            labels, err));
    for (size_t i = 0; i < ids->n; i++) {
        if (ids->v[i] < 0 || ids->v[i] >= r->vocab)
            return FAIL(err, TOK_ID,
                        "%s: the tokenizer gives id %ld, but the model's ids are "
                        "0 .. %ld",
                        where, (long)ids->v[i], r->vocab - 1);
        if (r->o->train_on_prompt)
            labels->v[i] = ids->v[i];
    }
    return keep(r, ids, labels, err);
}

static int choose_template(struct reading *r, struct pesc_error *err)
{
    const char *id = r->o->template_id;
    if (!id)
        id = r->source->format == DATA_ALPACA ? "alpaca" : "camelidae";
    r->template = template_find(id);
    return r->template ? 0
                       : FAIL(err, USAGE_VALUE, "template '%s' is none of %s", id, template_ids());
}

/* One record's text, from JSON to a sample. */
static int take(struct reading *r, const struct record *rec, struct pesc_error *err)
{
    char where[PATH_CAP + 64], why[256];
    enum json_fault fault;
    snprintf(where, sizeof where, "%s, line %ld", r->source->path, rec->line);
    json_t *v = json_parse(rec->text, rec->len, &fault, why, sizeof why);
    if (!v) {
        long line = 1;
        int column = 0;
        const char *text = strstr(why, ": ");
        if (sscanf(why, "line %ld, column %d", &line, &column) != 2 || !text)
            text = "  no JSON";
        if (fault == JSON_FAULT_MEMORY)
            return FAIL(err, MEMORY, "%s: no memory for a record of %zu bytes", where, rec->len);
        return error_set(err,
                         fault == JSON_FAULT_UTF8 || fault == JSON_FAULT_NUL ? PESC_E_DS_ENC
                                                                             : PESC_E_DS_JSON,
                         "%s, line %ld, column %d (record at byte %llu): %s", r->source->path,
                         rec->line + line - 1, column, (unsigned long long)rec->byte, text + 2);
    }
    int rc = -1;
    if (r->source->format == DATA_FORMAT_COUNT) {
        TRY_OR(format_detect(v, where, &r->source->format, err), done);
        TRY_OR(choose_template(r, err), done);
    }
    TRY_OR(format_read(r->source->format, v, r->vocab, where, &r->item, err), done);
    if (r->item.skip >= 0) {
        count_skip(r, (enum data_skip)r->item.skip);
        rc = 0;
    } else if (r->source->format == DATA_TOKENIZED) {
        rc = keep(r, &r->item.ids, &r->item.labels, err);
    } else {
        rc = tokenize(r, where, err);
    }
done:
    json_decref(v);
    return rc;
}

/* The record was at fault, not the machine or the options. */
static int is_record_fault(int code)
{
    return code == PESC_E_DS_JSON || code == PESC_E_DS_FIELD || code == PESC_E_DS_TOKEN ||
           code == PESC_E_DS_BIG || code == PESC_E_DS_ENC;
}

static int read_records(struct reading *r, struct pesc_error *err)
{
    struct dataset_counts *c = &r->d->counts;
    while (r->o->max_records <= 0 || c->read < r->o->max_records) {
        struct record rec;
        struct pesc_error e = {0};
        int got = records_next(r->records, &rec, &e), resumable = 1;
        if (got == 0)
            return 0;
        if (got < 0)
            resumable = records_resumable(r->records);
        if (got > 0 || resumable) {
            c->read++;
            r->source->read++;
        }
        if (got > 0 && take(r, &rec, &e) == 0)
            continue;
        long bad = c->skipped[SKIP_BAD];
        if (!resumable || !is_record_fault(e.code) || bad >= r->o->bad_max) {
            if (err && !err->code)
                *err = e;
            return -1;
        }
        count_skip(r, SKIP_BAD);
        if (bad < NOTED_BAD)
            note(r->notes, "W-DS-BAD", "skipped: [%s] %s", e.name, e.text);
    }
    return 0;
}

static int read_file(struct reading *r, const char *path, struct pesc_error *err)
{
    struct dataset_source *s = r->source = &r->d->sources[r->d->n_sources];
    char domain[sizeof s->name];
    int rc = -1;
    struct data_file *f = data_file_open(path, err);
    if (!f)
        return -1;
    snprintf(s->path, sizeof s->path, "%s", path);
    snprintf(s->name, sizeof s->name, "%.255s", path_base(path));
    snprintf(domain, sizeof domain, "%s", s->name);
    char *dot = strrchr(domain, '.');
    if (dot && dot != domain && (!strcmp(dot, ".json") || !strcmp(dot, ".jsonl")))
        *dot = 0;
    r->domain = r->o->domain ? r->o->domain : domain;
    s->format = DATA_FORMAT_COUNT;
    struct byte_source bytes = data_file_source(f);
    r->records = records_open(&bytes, s->path, err);
    if (!r->records)
        goto done;
    TRY_OR(read_records(r, err), done);
    if (s->read == 0 && (r->o->max_records <= 0 || r->d->counts.read < r->o->max_records)) {
        FAIL(err, DS_EMPTY, "%s: no records", path);
        goto done;
    }
    TRY_OR(data_file_finish(f, s->sha256, &s->bytes, err), done);
    r->d->n_sources++;
    rc = 0;
done:
    records_close(r->records);
    r->records = NULL;
    data_file_close(f);
    return rc;
}

int dataset_open(const char *const *paths, long n_paths, const struct tokenizer *t,
                 const struct dataset_options *o, const struct notes *notes, struct dataset **out,
                 struct pesc_error *err)
{
    if (n_paths <= 0)
        return FAIL(err, USAGE, "no data files");
    if (o->template_id && !template_find(o->template_id))
        return FAIL(err, USAGE_VALUE, "template '%s' is none of %s", o->template_id,
                    template_ids());
    struct dataset *d = calloc(1, sizeof *d);
    struct reading r = {.d = d, .o = o, .t = t, .notes = notes};
    int rc = -1;
    r.vocab = o->vocab_size > 0 && o->vocab_size < INT32_MAX ? o->vocab_size : INT32_MAX;
    if (!d || !(d->sources = calloc((size_t)n_paths, sizeof *d->sources))) {
        FAIL(err, MEMORY, "no memory for %ld data files", n_paths);
        goto done;
    }
    TRY_OR(store_open(&d->store, err), done);
    for (long i = 0; i < n_paths; i++)
        TRY_OR(read_file(&r, paths[i], err), done);
    const struct dataset_counts *c = &d->counts;
    if (c->used == 0) {
        FAIL(err, DS_EMPTY,
             "%s%s: no usable record: %ld read, %ld bad, %ld empty, %ld without "
             "trained tokens",
             paths[0], n_paths > 1 ? " ..." : "", c->read, c->skipped[SKIP_BAD],
             c->skipped[SKIP_EMPTY], c->skipped[SKIP_NO_TARGET]);
        goto done;
    }
    if (t && tokenizer_eos(t) < 0)
        note(notes, "W-DS-EOS",
             "the tokenizer names no end-of-text token: answers are trained "
             "without one");
    hash_hex(d->store.hash, d->sha256);
    *out = d;
    rc = 0;
done:
    item_free(&r.item);
    free(r.ids.v);
    free(r.labels.v);
    if (rc != 0)
        dataset_close(d);
    return rc;
}

void dataset_close(struct dataset *d)
{
    if (!d)
        return;
    store_free(&d->store);
    free(d->sources);
    free(d);
}

long dataset_size(const struct dataset *d)
{
    return d->store.n;
}

const struct dataset_counts *dataset_counts(const struct dataset *d)
{
    return &d->counts;
}

long dataset_source_count(const struct dataset *d)
{
    return d->n_sources;
}

const struct dataset_source *dataset_source_at(const struct dataset *d, long i)
{
    return &d->sources[i];
}

long dataset_domain_count(const struct dataset *d)
{
    return d->store.n_domains;
}

const char *dataset_domain(const struct dataset *d, long i)
{
    return d->store.domains[i].name;
}

const struct domain_counts *dataset_domain_counts(const struct dataset *d, long i)
{
    return &d->store.domains[i].counts;
}

const char *dataset_sha256(const struct dataset *d)
{
    return d->sha256;
}

struct sample dataset_sample(const struct dataset *d, long i)
{
    return d->store.samples[i];
}
