/* From bytes to records: a JSON array or JSON lines, told apart by the first byte that is not white
 * space, read as a stream with memory bounded by one record. Internal to datasets/. */
#ifndef DATASETS_RECORDS_H
#define DATASETS_RECORDS_H

#include "core/error.h"

/* Where bytes come from. read gives 1..cap bytes, 0 at the end, -1 with err. */
struct byte_source {
    long (*read)(void *ctx, void *buf, size_t cap, struct pesc_error *err);
    void *ctx;
};

/* A data file, hashed while it is read. A folder is E-DS-FORMAT, a compressed file or an archive
 * E-AR-FORMAT: both are named by what they are. */
struct data_file;
struct data_file *data_file_open(const char *path, struct pesc_error *err); /* NULL on failure */
struct byte_source data_file_source(struct data_file *f);
/* Reads what is left and gives the digest (SHA256_HEX bytes) and size of the whole file. */
int data_file_finish(struct data_file *f, char *sha256, uint64_t *bytes,
                     struct pesc_error *err) MUST_USE;
void data_file_close(struct data_file *f);

enum {
    RECORD_BYTES = 16 << 20, /* a longer record is E-DS-BIG */
    RECORD_VALUES = 1000000  /* so is one of more JSON values: each costs a tree node */
};

struct record {
    const char *text; /* valid until the next call */
    size_t len;
    long line;     /* where it starts, from 1 */
    uint64_t byte; /* from 0 */
};

struct records;
/* name is for messages and must outlive the reader. NULL without memory. */
struct records *records_open(const struct byte_source *src, const char *name,
                             struct pesc_error *err);
/* 1 and a record, 0 at the end, -1 with E-DS-JSON, E-DS-ENC, E-DS-BIG or an input error. A byte
 * order mark and CR LF are accepted; UTF-16 and NUL bytes are not. */
int records_next(struct records *r, struct record *out, struct pesc_error *err);
/* After a failed records_next: can the next record still be found? (JSON lines: yes, unless the
 * bytes themselves are wrong.) */
int records_resumable(const struct records *r);
void records_close(struct records *r);

#endif
