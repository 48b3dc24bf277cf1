#include "config.h"
#include "datasets/store.h"

#include "core/xxh64.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t TRAINED = UINT32_C(1) << 31; /* of a word: its label is its id */
enum { OWN_LABELS = 1, DOMAIN_SHIFT = 48 };

struct entry {
    uint64_t at;     /* first word, times two; OWN_LABELS: as many words of labels follow */
    uint64_t record; /* and the domain from bit DOMAIN_SHIFT */
};

int store_open(struct store *s, const char *dir, size_t limit, struct pesc_error *err)
{
    s->hash = hash_new(err);
    if (!s->hash)
        return -1;
    s->dir = dir ? strdup(dir) : NULL;
    s->domain_index = json_object();
    s->domains = calloc(STORE_DOMAINS, sizeof *s->domains);
    spool_open(&s->ids, s->dir, limit);
    spool_open(&s->index, s->dir, limit / 4);
    spool_open(&s->lengths, s->dir, limit / 16);
    return s->domain_index && s->domains && !s->dir == !dir
               ? 0
               : FAIL(err, MEMORY, "no memory for a data set");
}

void store_free(struct store *s)
{
    spool_close(&s->ids);
    spool_close(&s->index);
    spool_close(&s->lengths);
    for (long i = 0; i < s->n_domains; i++)
        free(s->domains[i].name);
    free(s->dir);
    free(s->of_length);
    free(s->view);
    free(s->domains);
    json_decref(s->domain_index);
    hash_free(s->hash);
}

static int find_domain(struct store *s, const char *name, int *out, struct pesc_error *err)
{
    const json_t *known = json_object_get(s->domain_index, name);
    if (known) {
        *out = (int)json_integer_value(known);
        return 0;
    }
    if (s->n_domains == STORE_DOMAINS)
        return FAIL(err, DS_FIELD,
                    "more than %d domains (fields 'dataset' and 'domain' name them); "
                    "the next would be '%.80s'",
                    STORE_DOMAINS, name);
    char *copy = strdup(name);
    if (!copy || json_object_set_new(s->domain_index, name, json_integer(s->n_domains)) != 0) {
        free(copy);
        return FAIL(err, MEMORY, "no memory for a domain's name");
    }
    *out = (int)s->n_domains;
    s->domains[s->n_domains++].name = copy;
    return 0;
}

/* Exact lengths cost memory for the longest sample, as a batch of it does, not for their number. */
static int count_length(struct store *s, long n, struct pesc_error *err)
{
    if (n >= s->cap_lengths) {
        long cap = 2 * n + 64;
        long *grown = realloc(s->of_length, (size_t)cap * sizeof *grown);
        if (!grown)
            return FAIL(err, MEMORY, "no memory for a sample of %ld tokens", n);
        memset(grown + s->cap_lengths, 0, (size_t)(cap - s->cap_lengths) * sizeof *grown);
        s->of_length = grown;
        s->cap_lengths = cap;
    }
    s->of_length[n]++;
    if (n > s->longest)
        s->longest = n;
    return 0;
}

/* The tokens as words, a piece at a time. */
static int add_words(struct store *s, const int32_t *ids, const int32_t *labels, long n,
                     struct pesc_error *err)
{
    uint32_t words[1024];
    for (long i = 0; i < n;) {
        size_t k = 0;
        for (; i < n && k < sizeof words / sizeof *words; i++)
            words[k++] = (uint32_t)ids[i] | (labels[i] == LABEL_MASKED ? 0 : TRAINED);
        TRY(spool_add(&s->ids, words, k * sizeof *words, err));
    }
    return 0;
}

int store_add(struct store *s, const int32_t *ids, const int32_t *labels, long n, long trained,
              const char *domain, long record, struct pesc_error *err)
{
    int d = 0, own = 0;
    size_t bytes = (size_t)n * sizeof *ids;
    TRY(find_domain(s, domain, &d, err));
    for (long i = 0; i < n && !own; i++)
        own = labels[i] != LABEL_MASKED && labels[i] != ids[i];
    struct entry e = {.at = s->words << 1 | (own ? OWN_LABELS : 0),
                      .record = (uint64_t)record | (uint64_t)d << DOMAIN_SHIFT};
    uint32_t length = (uint32_t)n;
    TRY(count_length(s, n, err));
    TRY(add_words(s, ids, labels, n, err));
    if (own)
        TRY(spool_add(&s->ids, labels, bytes, err));
    TRY(spool_add(&s->index, &e, sizeof e, err));
    TRY(spool_add(&s->lengths, &length, sizeof length, err));
    s->words += (uint64_t)n << own;
    s->n++;
    s->domains[d].counts.samples++;
    s->domains[d].counts.tokens += n;
    s->domains[d].counts.trained_tokens += trained;
    uint64_t hashed = (uint64_t)n;
    hash_add(s->hash, &hashed, sizeof hashed);
    hash_add(s->hash, ids, bytes);
    hash_add(s->hash, labels, bytes);
    return 0;
}

int store_end(struct store *s, struct pesc_error *err)
{
    TRY(spool_end(&s->ids, err));
    TRY(spool_end(&s->index, err));
    TRY(spool_end(&s->lengths, err));
    s->view = malloc(2 * (size_t)(s->longest + 1) * sizeof *s->view);
    return s->view ? 0 : FAIL(err, MEMORY, "no memory for a sample of %ld tokens", s->longest);
}

int store_length(const struct store *s, long i, long *n, struct pesc_error *err)
{
    uint32_t length;
    TRY(spool_read(&s->lengths, &length, sizeof length, (uint64_t)i * sizeof length, err));
    *n = length;
    return 0;
}

static int read_entry(const struct store *s, long i, struct entry *e, struct pesc_error *err)
{
    return spool_read(&s->index, e, sizeof *e, (uint64_t)i * sizeof *e, err);
}

int store_record(const struct store *s, long i, long *record, struct pesc_error *err)
{
    struct entry e;
    TRY(read_entry(s, i, &e, err));
    *record = (long)(e.record & ((UINT64_C(1) << DOMAIN_SHIFT) - 1));
    return 0;
}

int store_read(const struct store *s, long i, int32_t *ids, int32_t *labels, struct sample *out,
               struct pesc_error *err)
{
    struct entry e;
    long n, trained = 0;
    TRY(read_entry(s, i, &e, err));
    TRY(store_length(s, i, &n, err));
    size_t bytes = (size_t)n * sizeof *ids;
    uint64_t at = (e.at >> 1) * sizeof *ids;
    int own = (e.at & OWN_LABELS) != 0;
    TRY(spool_read(&s->ids, ids, bytes, at, err));
    if (own)
        TRY(spool_read(&s->ids, labels, bytes, at + bytes, err));
    for (long t = 0; t < n; t++) {
        uint32_t word = (uint32_t)ids[t];
        ids[t] = (int32_t)(word & ~TRAINED);
        if (!own)
            labels[t] = word & TRAINED ? ids[t] : LABEL_MASKED;
        trained += (word & TRAINED) != 0;
    }
    *out = (struct sample){.ids = ids,
                           .labels = labels,
                           .n = n,
                           .trained = trained,
                           .domain = (int)(e.record >> DOMAIN_SHIFT),
                           .record = (long)(e.record & ((UINT64_C(1) << DOMAIN_SHIFT) - 1))};
    return 0;
}

uint64_t store_hash(const int32_t *ids, const int32_t *labels, long n, uint32_t salt)
{
    struct xxh64 x;
    uint64_t length = (uint64_t)n;
    xxh64_init(&x);
    if (salt) /* moves every token to another place of the hash's lanes */
        xxh64_add(&x, &salt, sizeof salt);
    xxh64_add(&x, &length, sizeof length);
    xxh64_add(&x, ids, (size_t)n * sizeof *ids);
    xxh64_add(&x, labels, (size_t)n * sizeof *labels);
    return xxh64_end(&x);
}
