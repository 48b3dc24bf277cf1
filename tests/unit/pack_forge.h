/* Packs made by hand, so that the reader meets what the writer never makes. */
#ifndef TESTS_PACK_FORGE_H
#define TESTS_PACK_FORGE_H

#include "core/error.h"

#include <jansson.h>

struct bytes {
    unsigned char *p;
    size_t n, cap;
};
void put(struct bytes *b, const void *data, size_t n);
void put_zeros(struct bytes *b, size_t n);
void clear(struct bytes *b);

/* One ustar entry; edit (may be NULL) changes the header before its checksum is made. size < 0: n.
 */
typedef void (*edit_header)(unsigned char *h);
void tar_put(struct bytes *b, const char *name, char type, long long size, const void *data,
             size_t n, edit_header edit);
void tar_end(struct bytes *b);

/* Compresses with the tool's own writer. */
int zstd_write(const char *path, const void *data, size_t n, struct pesc_error *err);
/* A frame of uncompressed blocks: head, raw data, then zeros in run-length blocks of 128 KiB. There
 * is no valid checksum at its end. */
void frame(struct bytes *b, const void *data, size_t n, size_t zero_blocks);

/* A good pack taken apart: manifest and files, to be changed and put together again. */
struct forged {
    json_t *manifest;
    long n;
    struct {
        char name[64];
        struct bytes data;
    } file[8];
};
int forged_load(struct forged *f, const char *pack, const char *scratch_dir,
                struct pesc_error *err);
void forged_free(struct forged *f);
struct bytes *forged_file(struct forged *f, const char *name);
/* Makes the manifest's hashes and sizes of files and tensors true again. */
void forged_rehash(struct forged *f);
/* The tar: manifest, then the files in order, then the end. */
void forged_tar(const struct forged *f, struct bytes *out);

#endif
