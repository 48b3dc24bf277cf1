/* The reader of records, for the files that know one way of writing them each. Internal. */
#ifndef DATASETS_RECORDS_INTERNAL_H
#define DATASETS_RECORDS_INTERNAL_H

#include "datasets/records.h"

struct columns;
enum records_state { AT_START, IN_RECORDS, IN_VALUES, ARRAY_FIRST, ARRAY_NEXT, AT_END };

/* buf[pos..end) is unread; base is the offset of buf[0] in the input, line that of buf[pos]. */
struct records {
    struct byte_source src;
    const char *name;
    enum record_kind kind;
    char *buf;
    size_t cap, pos, end;
    uint64_t base;
    long line;
    enum records_state state;
    int eof, discard_line, resumable;
    int as_arrays;           /* rows */
    struct columns *columns; /* CSV */
    char *json;              /* a record that is no JSON by itself */
    size_t json_n, json_cap;
};

/* More bytes behind end; what is before pos goes. 1, 0 at the end of the input, -1. */
int records_fill(struct records *r, struct pesc_error *err) MUST_USE;
/* "record of more than 16 MiB", at pos. Always -1. */
int records_endless(struct records *r, struct pesc_error *err);
/* Appends to json, as it is, or as a JSON string. at: where text[0] stands in buf, for messages;
 * text that is not UTF-8 is E-DS-ENC. */
int records_put(struct records *r, const char *text, size_t n, struct pesc_error *err) MUST_USE;
int records_put_string(struct records *r, const char *text, size_t n, size_t at,
                       struct pesc_error *err) MUST_USE;
/* Hands out json as the record that begins at pos and has n bytes and so many line ends. Always 1.
 */
int records_give_json(struct records *r, size_t n, long lines, struct record *out);

int records_next_row(struct records *r, struct record *out, struct pesc_error *err);
void columns_free(struct columns *c);
int records_next_stretch(struct records *r, struct record *out, struct pesc_error *err);

#endif
