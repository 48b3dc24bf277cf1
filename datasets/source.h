/* What --data names, as one stream of records after the other: a file, a folder's files, an
 * archive's members; compressed or not. Everything is read from beginning to end and nothing is
 * written. Internal to datasets/. */
#ifndef DATASETS_SOURCE_H
#define DATASETS_SOURCE_H

#include "core/file.h"
#include "datasets/dataset.h"
#include "datasets/records.h"

/* A file or a member. */
struct input {
    char path[PATH_CAP]; /* for messages and the history: FILE, or ARCHIVE:MEMBER */
    char name[256];      /* its last part, without what only says how it is packed */
    enum record_kind kind;
    struct byte_source bytes;
};

struct source;
/* Finds out what there is; an archive is read through once for that. part, member and max_unpacked
 * of the options choose. E-IO-*, E-AR-*, E-DS-EMPTY, E-DS-FORMAT, E-USAGE-VALUE. */
struct source *source_open(const char *path, const struct dataset_options *o,
                           const struct notes *notes, struct pesc_error *err);
unsigned source_parts(const struct source *s); /* bits 1 << enum data_part that it has */
/* 1 and the next input, 0 after the last one, once all was found to be whole; -1. */
int source_next(struct source *s, struct input *in, struct pesc_error *err);
/* Reads what is left of the input, to its true end. sha256 and bytes (SHA256_HEX bytes) are of the
 * file as it is stored, or of a member's content. */
int source_end(struct source *s, char *sha256, uint64_t *bytes, struct pesc_error *err) MUST_USE;
const char *source_archive_sha256(const struct source *s); /* of an archive as stored, else "" */
void source_close(struct source *s);

#endif
