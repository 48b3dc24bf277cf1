#include "config.h"
#include "datasets/store.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_IDS = 1 << 20 };

int store_open(struct store *s, struct pesc_error *err)
{
    s->hash = hash_new(err);
    if (!s->hash)
        return -1;
    s->domain_index = json_object();
    s->domains = calloc(STORE_DOMAINS, sizeof *s->domains);
    return s->domain_index && s->domains ? 0 : FAIL(err, MEMORY, "no memory for a data set");
}

void store_free(struct store *s)
{
    for (long i = 0; i < s->n_blocks; i++)
        free(s->blocks[i]);
    for (long i = 0; i < s->n_domains; i++)
        free(s->domains[i].name);
    free(s->blocks);
    free(s->samples);
    free(s->domains);
    json_decref(s->domain_index);
    hash_free(s->hash);
}

/* Room for n ids in one piece. */
static int32_t *room(struct store *s, size_t n, struct pesc_error *err)
{
    if (s->n_blocks == 0 || s->size - s->used < n) {
        if (s->n_blocks == s->cap_blocks) {
            long cap = s->cap_blocks ? 2 * s->cap_blocks : 16;
            int32_t **grown = realloc(s->blocks, (size_t)cap * sizeof *grown);
            if (!grown)
                goto fail;
            s->blocks = grown;
            s->cap_blocks = cap;
        }
        size_t size = n > BLOCK_IDS ? n : BLOCK_IDS;
        int32_t *block = malloc(size * sizeof *block);
        if (!block)
            goto fail;
        s->blocks[s->n_blocks++] = block;
        s->size = size;
        s->used = 0;
    }
    s->used += n;
    return s->blocks[s->n_blocks - 1] + s->used - n;
fail:
    FAIL(err, MEMORY, "no memory for %ld samples", s->n + 1);
    return NULL;
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

int store_add(struct store *s, const int32_t *ids, const int32_t *labels, long n, long trained,
              const char *domain, long record, struct pesc_error *err)
{
    int d = 0;
    TRY(find_domain(s, domain, &d, err));
    if (s->n == s->cap) {
        long cap = s->cap ? 2 * s->cap : 1024;
        struct sample *grown = realloc(s->samples, (size_t)cap * sizeof *grown);
        if (!grown)
            return FAIL(err, MEMORY, "no memory for %ld samples", cap);
        s->samples = grown;
        s->cap = cap;
    }
    size_t bytes = (size_t)n * sizeof *ids;
    int32_t *at = room(s, 2 * (size_t)n, err);
    if (!at)
        return -1;
    memcpy(at, ids, bytes);
    memcpy(at + n, labels, bytes);
    s->samples[s->n++] = (struct sample){at, at + n, n, trained, d, record};
    s->domains[d].counts.samples++;
    s->domains[d].counts.tokens += n;
    s->domains[d].counts.trained_tokens += trained;
    uint64_t length = (uint64_t)n;
    hash_add(s->hash, &length, sizeof length);
    hash_add(s->hash, ids, bytes);
    hash_add(s->hash, labels, bytes);
    return 0;
}
