#include "config.h"
#include "datasets/reading.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One value of a list with commas between. */
static char *next_of(char **list)
{
    char *at = *list, *comma = at ? strchr(at, ',') : NULL;
    if (comma)
        *comma = 0;
    *list = comma ? comma + 1 : NULL;
    return at;
}

static long count_of(const char *list)
{
    long n = 1;
    while ((list = strchr(list, ',')))
        n++, list++;
    return n;
}

static int next_limit(char **list, long *out, struct pesc_error *err)
{
    char *text = next_of(list), *end;
    *out = text ? strtol(text, &end, 10) : 0;
    if (text && (end == text || *end || *out < 0))
        return FAIL(err, USAGE_VALUE, "data-limits: '%s' is no number of records", text);
    return 0;
}

/* Every path in turn, with what the options say about it. */
static int read_paths(struct reading *r, const char *const *paths, long n, struct pesc_error *err)
{
    const struct dataset_options *o = r->o;
    char *limits = o->limits ? strdup(o->limits) : NULL, *limit = limits;
    char *labels = o->domain ? strdup(o->domain) : NULL, *label = labels;
    long given = labels ? count_of(labels) : 0;
    int rc = -1;
    if (!limits != !o->limits || !labels != !o->domain)
        FAIL(err, MEMORY, "no memory for the options");
    else if (limits && count_of(limits) != n)
        FAIL(err, USAGE_VALUE, "data-limits: %ld limits for %ld data paths", count_of(limits), n);
    else if (given > 1 && given != n)
        FAIL(err, USAGE_VALUE, "domain: %ld names for %ld data paths", given, n);
    else
        rc = 0;
    for (long i = 0; i < n && rc == 0; i++) {
        long from = r->d->n_sources;
        if (i == 0 || given > 1)
            r->label = next_of(&label);
        r->before = r->d->counts.read;
        rc = next_limit(&limit, &r->limit, err);
        if (rc == 0)
            rc = reading_path(r, paths[i], &r->d->has_valid[i], err);
        for (; from < r->d->n_sources; from++)
            r->d->sources[from].arg = i;
    }
    free(limits);
    free(labels);
    return rc;
}

static int fail_empty(const struct dataset *d, const char *path, long n_paths,
                      struct pesc_error *err)
{
    char why[256] = "";
    size_t at = 0;
    for (int k = 0; k < SKIP_COUNT && at < sizeof why; k++)
        if (d->counts.skipped[k])
            at += (size_t)snprintf(why + at, sizeof why - at, ", %ld %s", d->counts.skipped[k],
                                   data_skip_name((enum data_skip)k));
    return FAIL(err, DS_EMPTY, "%s%s: no usable record: %ld read%s", path,
                n_paths > 1 ? " ..." : "", d->counts.read, why);
}

/* The side held out describes the same files. */
static int end_valid(struct dataset *d, const struct dataset_options *o, struct pesc_error *err)
{
    struct dataset *v = d->valid;
    if (v->counts.used == 0)
        return FAIL(err, DS_EMPTY, "valid-fraction %g: none of %ld records is held out",
                    o->valid_fraction, d->counts.used);
    struct dataset_source *grown = realloc(v->sources, (size_t)d->n_sources * sizeof *grown);
    if (!grown)
        return FAIL(err, MEMORY, "no memory for %ld data files", d->n_sources);
    v->sources = grown;
    for (long i = 0; i < d->n_sources; i++) {
        struct dataset_source *s = &grown[i], counts = {0};
        if (i < v->n_sources)
            counts = *s;
        *s = d->sources[i];
        s->read = counts.read;
        s->used = counts.used;
        s->skipped = 0;
        memset(s->skips, 0, sizeof s->skips);
        s->truncated = counts.truncated;
        s->split = counts.split;
        s->pieces_dropped = counts.pieces_dropped;
        s->samples = counts.samples;
        s->tokens = counts.tokens;
        s->trained_tokens = counts.trained_tokens;
    }
    v->n_sources = d->n_sources;
    v->n_paths = d->n_paths;
    TRY(store_end(&v->store, err));
    hash_hex(v->store.hash, v->sha256);
    return 0;
}

static int open_store(struct dataset *d, const struct dataset_options *o, struct pesc_error *err)
{
    return store_open(&d->store, o->spill_dir, o->spill_bytes ? o->spill_bytes : SPILL_BYTES, err);
}

int dataset_open(const char *const *paths, long n_paths, const struct tokenizer *t,
                 const struct dataset_options *o, const struct notes *notes, struct dataset **out,
                 struct pesc_error *err)
{
    if (n_paths <= 0)
        return FAIL(err, USAGE, "no data files");
    if (o->template_id && !o->template_tree && !template_find(o->template_id))
        return FAIL(err, USAGE_VALUE, "template '%s' is none of %s", o->template_id,
                    template_ids());
    struct dataset *d = calloc(1, sizeof *d);
    struct reading r = {.d = d, .o = o, .t = t, .notes = notes};
    int rc = -1;
    r.vocab = o->vocab_size > 0 && o->vocab_size < INT32_MAX ? o->vocab_size : INT32_MAX;
    if (!d || !(d->has_valid = calloc((size_t)n_paths, sizeof *d->has_valid)) ||
        (o->valid_fraction > 0 && !(d->valid = calloc(1, sizeof *d->valid)))) {
        FAIL(err, MEMORY, "no memory for %ld data files", n_paths);
        goto done;
    }
    d->n_paths = n_paths;
    if (o->template_tree)
        TRY_OR(template_from_json(o->template_tree, o->template_id, o->template_sha256,
                                  &d->own_template, err),
               done);
    TRY_OR(open_store(d, o, err), done);
    if (d->valid)
        TRY_OR(open_store(d->valid, o, err), done);
    TRY_OR(read_paths(&r, paths, n_paths, err), done);
    if (d->counts.used == 0) {
        fail_empty(d, paths[0], n_paths, err);
        goto done;
    }
    if (t && tokenizer_eos(t) < 0)
        note(notes, "W-DS-EOS",
             "the tokenizer names no end-of-text token: answers are trained "
             "without one");
    TRY_OR(store_end(&d->store, err), done);
    hash_hex(d->store.hash, d->sha256);
    if (d->valid)
        TRY_OR(end_valid(d, o, err), done);
    *out = d;
    rc = 0;
done:
    if (rc != 0)
        dataset_close(d);
    return rc;
}

struct dataset *dataset_take_valid(struct dataset *d)
{
    struct dataset *v = d->valid;
    d->valid = NULL;
    return v;
}

static const char *const long_names[LONG_COUNT] = {
#define PESC_X(id, name) [LONG_##id] = name,
    DATA_LONGS(PESC_X)
#undef PESC_X
};

const char *data_long_name(enum data_long l)
{
    return l < LONG_COUNT ? long_names[l] : "?";
}

enum data_long data_long_from_name(const char *name)
{
    int l = 0;
    while (l < LONG_COUNT && strcmp(name, long_names[l]) != 0)
        l++;
    return (enum data_long)l;
}

void dataset_close(struct dataset *d)
{
    if (!d)
        return;
    dataset_close(d->valid);
    store_free(&d->store);
    template_free(d->own_template);
    free(d->sources);
    free(d->has_valid);
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

int dataset_has_valid(const struct dataset *d, long path)
{
    return d->has_valid[path];
}

long dataset_source_count(const struct dataset *d)
{
    return d->n_sources;
}

const struct dataset_source *dataset_source_at(const struct dataset *d, long i)
{
    return &d->sources[i];
}

long dataset_path_count(const struct dataset *d)
{
    return d->n_paths;
}

void dataset_path_samples(const struct dataset *d, long arg, long *first, long *n)
{
    *first = *n = 0;
    for (long i = 0; i < d->n_sources && d->sources[i].arg <= arg; i++)
        *(d->sources[i].arg < arg ? first : n) += d->sources[i].samples;
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

int dataset_read(const struct dataset *d, long i, int32_t *ids, int32_t *labels, struct sample *out,
                 struct pesc_error *err)
{
    return store_read(&d->store, i, ids, labels, out, err);
}

int dataset_sample(const struct dataset *d, long i, struct sample *out, struct pesc_error *err)
{
    return store_read(&d->store, i, d->store.view, d->store.view + d->store.longest, out, err);
}

int dataset_length(const struct dataset *d, long i, long *n, struct pesc_error *err)
{
    return store_length(&d->store, i, n, err);
}

const long *dataset_lengths(const struct dataset *d)
{
    return d->store.of_length;
}

int dataset_find(const struct dataset *d, long record, long *i, struct pesc_error *err)
{
    long lo = 0, hi = d->store.n, at; /* samples stand in the order of their records */
    while (lo < hi) {
        long mid = lo + (hi - lo) / 2;
        TRY(store_record(&d->store, mid, &at, err));
        if (at < record)
            lo = mid + 1;
        else
            hi = mid;
    }
    *i = -1;
    if (lo == d->store.n)
        return 0;
    TRY(store_record(&d->store, lo, &at, err));
    if (at == record)
        *i = lo;
    return 0;
}
