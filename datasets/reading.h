/* A data set while it is read: files to records (reading.c), a record to a draft and that to a
 * sample (samples.c). Internal to datasets/. */
#ifndef DATASETS_READING_H
#define DATASETS_READING_H

#include "core/file.h"
#include "core/hash.h"
#include "datasets/dataset.h"
#include "datasets/formats.h"
#include "datasets/records.h"
#include "datasets/store.h"

struct dataset {
    struct store store;
    struct template *own_template; /* made of a file */
    struct dataset_counts counts;
    struct dataset_source *sources;
    long n_sources, cap_sources, n_paths;
    int *has_valid;        /* by path */
    struct dataset *valid; /* NULL: nothing is held out, or it was taken */
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
    const struct template *template;             /* of this source; NULL: see template_err */
    struct pesc_error template_err;              /* why it has none, once one is needed */
    int told_template, told_system, told_remark; /* remarks made about this source */
    const char *label;                           /* of the path, or NULL */
    const char *domain;                          /* of the file */
    long limit, before; /* records of the path at most (0: all); read before it */
    long vocab;
};

/* What comes of one conversation of a record. */
struct made {
    struct ids ids, labels;
    char *domain;       /* NULL: none given */
    int skip;           /* an enum data_skip, or -1 */
    char *why;          /* told with the skip; or NULL */
    const char *remark; /* told once a source; or NULL */
    int templated;
};
/* A record made into samples (mostly one), neither counted nor kept so far. Zero it before the
 * first use, use it again and again, free it with draft_free. */
struct draft {
    struct item item; /* while they are made */
    struct made *made;
    long n, cap;
};

/* Reads all that one more path names; E-DS-*, E-AR-*. */
int reading_path(struct reading *r, const char *path, int *has_valid,
                 struct pesc_error *err) MUST_USE;
/* From a record to a draft: JSON, format, tokens. Changes nothing but the draft, so that several
 * threads may make some; but while the source's format is unknown, the first record says it, and is
 * made alone. */
int draft_make(struct reading *r, const struct record *rec, struct draft *d,
               struct pesc_error *err) MUST_USE;
/* The draft becomes samples, or counts of what was skipped: in the order of the records. Behind the
 * first, each conversation counts as a record of its own. */
int draft_keep(struct reading *r, struct draft *d, struct pesc_error *err) MUST_USE;
/* keep.c: what draft_keep does with tokens. */
int reading_keep(struct reading *r, struct made *m, struct pesc_error *err) MUST_USE;
void draft_free(struct draft *d);
void reading_count(struct reading *r); /* one more record was read */
void reading_skip(struct reading *r, enum data_skip why);

#endif
