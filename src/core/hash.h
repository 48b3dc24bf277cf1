/* SHA-256. The one home of libcrypto's digests. */
#ifndef PESC_CORE_HASH_H
#define PESC_CORE_HASH_H

#include "core/error.h"

struct hash;
struct hash *hash_new(struct pesc_error *err); /* NULL on failure */
void hash_add(struct hash *h, const void *data, size_t n);
void hash_hex(struct hash *h, char hex[65]); /* ends the digest; 64 digits and a zero */
int hash_peek(const struct hash *h, unsigned char raw[32],
              struct pesc_error *err) MUST_USE; /* of what was added so far; more may be added */
void hash_free(struct hash *h);                 /* NULL is fine */

int hash_bytes(const void *data, size_t n, char hex[65], struct pesc_error *err) MUST_USE;
int hash_file(const char *path, char hex[65], uint64_t *bytes, struct pesc_error *err) MUST_USE;

const char *hash_library(void); /* libcrypto's version at run time */

#endif
