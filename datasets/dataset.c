#include "config.h"
#include "datasets/reading.h"

#include <limits.h>
#include <stdlib.h>

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
    TRY_OR(store_open(&d->store, o->spill_dir, o->spill_bytes ? o->spill_bytes : SPILL_BYTES, err),
           done);
    d->n_paths = n_paths;
    for (long i = 0; i < n_paths; i++) {
        long from = d->n_sources;
        TRY_OR(reading_file(&r, paths[i], err), done);
        for (; from < d->n_sources; from++)
            d->sources[from].arg = i;
    }
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
    TRY_OR(store_end(&d->store, err), done);
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
