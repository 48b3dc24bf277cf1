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
    if (o->template_id && !o->template_tree && !template_find(o->template_id))
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
    if (o->template_tree)
        TRY_OR(template_from_json(o->template_tree, o->template_id, o->template_sha256,
                                  &d->own_template, err),
               done);
    for (long i = 0; i < n_paths; i++)
        TRY_OR(reading_file(&r, paths[i], err), done);
    const struct dataset_counts *c = &d->counts;
    if (c->used == 0) {
        FAIL(err, DS_EMPTY,
             "%s%s: no usable record: %ld read, %ld bad, %ld empty, %ld without a place in the "
             "template, %ld without trained tokens",
             paths[0], n_paths > 1 ? " ..." : "", c->read, c->skipped[SKIP_BAD],
             c->skipped[SKIP_EMPTY], c->skipped[SKIP_TEMPLATE], c->skipped[SKIP_NO_TARGET]);
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
    template_free(d->own_template);
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
