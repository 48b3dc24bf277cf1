/* From bytes to records, read as a stream with memory bounded by one record. Internal to datasets/.
 */
#ifndef DATASETS_RECORDS_H
#define DATASETS_RECORDS_H

#include "core/json.h"
#include "core/stream.h"

enum {
    RECORD_BYTES = 16 << 20, /* a longer record is E-DS-BIG */
    RECORD_VALUES = 1000000  /* so is one of more JSON values: each costs a tree node */
};

enum record_kind {
    RECORDS_JSON, /* an array, or lines, or objects over several lines, told apart by the first
                     bytes */
    RECORDS_CSV,  /* a header names the columns; the delimiter is looked for in it */
    RECORDS_TSV,  /* the same with tabs */
    RECORDS_TEXT  /* all of it is text; of a megabyte, then cut at the end of a paragraph */
};

struct record {
    const char *text; /* JSON, whatever the file is; valid until the next call */
    size_t len;
    long line;     /* where it starts, from 1 */
    uint64_t byte; /* from 0 */
};

struct records;
/* name is for messages and must outlive the reader. NULL without memory. */
struct records *records_open(const struct byte_source *src, const char *name, enum record_kind kind,
                             struct pesc_error *err);
/* Before the first record: rows of CSV leave as arrays of texts, the first one too, and none is
 * compared with it. No meaning for other kinds. */
void records_as_arrays(struct records *r);
/* 1 and a record, 0 at the end, -1 with E-DS-JSON, E-DS-ENC, E-DS-BIG, for CSV E-DS-FIELD and
 * E-DS-FORMAT, or an input error. A byte order mark and CR LF are accepted; UTF-16 and NUL bytes
 * are not. */
int records_next(struct records *r, struct record *out, struct pesc_error *err);
/* After a failed records_next: can the next record still be found? (JSON lines and rows: yes,
 * unless the bytes themselves are wrong.) */
int records_resumable(const struct records *r);
void records_close(struct records *r);
/* The record as a tree, which the caller releases; NULL with E-DS-JSON, E-DS-ENC (also for a NUL in
 * a string) that name path, line and column, or E-MEMORY. */
json_t *record_parse(const struct record *rec, const char *path, struct pesc_error *err);

#endif
