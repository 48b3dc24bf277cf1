/* A data set while it is read: files to records (reading.c), a record to a sample (samples.c).
 * Internal to datasets/. */
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
    const struct template *template;             /* of this source; NULL: not needed so far */
    int told_template, told_system, told_remark; /* remarks made about this source */
    const char *domain;
    long vocab;
    struct item item;
    struct ids ids, labels;
};

/* Reads one more file; E-DS-*. */
int reading_file(struct reading *r, const char *path, struct pesc_error *err) MUST_USE;
/* One record's text, from JSON to a sample that is kept, or to a count of what was skipped. */
int reading_record(struct reading *r, const struct record *rec, struct pesc_error *err) MUST_USE;
void reading_skip(struct reading *r, enum data_skip why);

#endif
