/* A file as it is stored: what it is, by its first bytes, and its content with the packing undone.
 * Internal to datasets/. */
#ifndef DATASETS_STORED_H
#define DATASETS_STORED_H

#include "core/file.h"
#include "core/stream.h"

enum stored_kind { STORED_PLAIN, STORED_TAR, STORED_ZIP };

struct stored;
/* limit: bytes that a compressed file may give, else E-AR-LIMIT. What is no plain data, tar, zip,
 * gz, xz, zst or bz2 is named and refused with E-AR-FORMAT (tables such as Parquet: E-DS-FORMAT),
 * and so is what is packed twice. NULL on failure. */
struct stored *stored_open(const char *path, uint64_t limit, struct pesc_error *err);
enum stored_kind stored_kind(const struct stored *s);
int stored_fd(const struct stored *s); /* for a zip; at no particular offset */
/* The first bytes of the content, at most STORED_HEAD. */
enum { STORED_HEAD = 512 };
const char *stored_head(const struct stored *s, size_t *n);
struct byte_source stored_source(struct stored *s); /* all of the content; of a zip, as it is */
/* Reads what is left: the rest must be whole too. Digest (SHA256_HEX bytes) and size as stored. */
int stored_end(struct stored *s, char *sha256, uint64_t *bytes, struct pesc_error *err) MUST_USE;
void stored_close(struct stored *s);

/* Refuses what begins like an archive or a compressed file, where it is the content of something
 * else. */
int stored_refuse_nested(const char *head, size_t n, const char *path,
                         struct pesc_error *err) MUST_USE;

#endif
