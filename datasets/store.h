/* Samples end to end in large blocks, with their domains and digest. Internal to datasets/. */
#ifndef DATASETS_STORE_H
#define DATASETS_STORE_H

#include "core/hash.h"
#include "core/json.h"
#include "datasets/dataset.h"

enum { STORE_DOMAINS = 1000 }; /* more labels than that are no domains */

struct store_domain {
    char *name;
    struct domain_counts counts;
};

struct store {
    int32_t **blocks;
    long n_blocks, cap_blocks;
    size_t used, size; /* of the last block, in ids */
    struct sample *samples;
    long n, cap;
    struct store_domain *domains;
    long n_domains;
    json_t *domain_index; /* name to number */
    struct hash *hash;
};

/* Zero it first. store_free is right after any failure. */
int store_open(struct store *s, struct pesc_error *err) MUST_USE;
void store_free(struct store *s);
/* Copies ids[n] and labels[n]. */
int store_add(struct store *s, const int32_t *ids, const int32_t *labels, long n, long trained,
              const char *domain, long record, struct pesc_error *err) MUST_USE;

#endif
