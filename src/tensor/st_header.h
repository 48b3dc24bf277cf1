/* Inside of the safetensors reader: the header's text and what it becomes. */
#ifndef PESC_TENSOR_ST_HEADER_H
#define PESC_TENSOR_ST_HEADER_H

#include "core/json.h"
#include "tensor/safetensors.h"

enum { ST_MAX_TENSORS = 65536 };

struct st_header {
    long count, cap;
    struct st_tensor *t;              /* in order of data; names are owned */
    const struct st_tensor **by_name; /* sorted */
    json_t *meta;                     /* object of strings, or NULL */
};

/* Name rules of headers read and written: 1 to ST_NAME_CAP - 1 bytes, no control characters.
 * E-ST-NAME. */
int st_name_check(const char *name, const char *path, struct pesc_error *err) MUST_USE;

/* Parses text[len]; begin is made relative to the file by adding data_at; the data must end at
 * file_size exactly. h is zeroed by the caller and released with st_header_free in every case. */
int st_header_parse(struct st_header *h, const char *text, size_t len, uint64_t data_at,
                    uint64_t file_size, enum st_mode mode, const char *path,
                    const struct notes *notes, struct pesc_error *err) MUST_USE;
void st_header_free(struct st_header *h);

#endif
