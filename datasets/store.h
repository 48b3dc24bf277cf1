/* Samples end to end, with their domains and digest: in memory, or past a limit in files without a
 * name, so that what stays in memory does not grow with them. Internal to datasets/. */
#ifndef DATASETS_STORE_H
#define DATASETS_STORE_H

#include "core/hash.h"
#include "core/json.h"
#include "datasets/dataset.h"
#include "datasets/spool.h"

enum { STORE_DOMAINS = 1000 }; /* more labels than that are no domains */

struct store_domain {
    char *name;
    struct domain_counts counts;
};

struct store {
    char *dir;
    struct spool ids;     /* a word per token, then the labels where they are not the ids */
    struct spool index;   /* struct entry of every sample */
    struct spool lengths; /* uint32_t of every sample: what cutting into batches needs */
    uint64_t words;       /* in ids */
    long n, longest;
    long *of_length; /* [longest + 1] samples that long */
    long cap_lengths;
    struct store_domain *domains;
    long n_domains;
    json_t *domain_index; /* name to number */
    struct hash *hash;
    int32_t *view; /* [2 longest] of dataset_sample, from store_end on */
};

/* Zero it first. store_free is right after any failure. dir NULL: in memory only. */
int store_open(struct store *s, const char *dir, size_t limit, struct pesc_error *err) MUST_USE;
void store_free(struct store *s);
/* Copies ids[n] and labels[n]; ids are not negative. */
int store_add(struct store *s, const int32_t *ids, const int32_t *labels, long n, long trained,
              const char *domain, long record, struct pesc_error *err) MUST_USE;
/* No more samples come; now they can be read. */
int store_end(struct store *s, struct pesc_error *err) MUST_USE;
int store_length(const struct store *s, long i, long *n, struct pesc_error *err) MUST_USE;
int store_record(const struct store *s, long i, long *record, struct pesc_error *err) MUST_USE;
/* Sample i into ids and labels, which have room for the longest. */
int store_read(const struct store *s, long i, int32_t *ids, int32_t *labels, struct sample *out,
               struct pesc_error *err) MUST_USE;
/* Of a sample's tokens and labels; another salt is another function. */
uint64_t store_hash(const int32_t *ids, const int32_t *labels, long n, uint32_t salt);

#endif
