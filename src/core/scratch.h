/* A file without a name: room on disk for what is not to be in memory. Nothing else can open it,
 * and it is gone with the process, whatever ends that. What was written or read is dropped from the
 * page cache. */
#ifndef PESC_CORE_SCRATCH_H
#define PESC_CORE_SCRATCH_H

#include "core/error.h"

#include <stdint.h>

struct scratch;
/* In folder dir, with space for bytes taken at once: E-IO-FULL, E-IO*. */
int scratch_open(const char *dir, uint64_t bytes, struct scratch **out,
                 struct pesc_error *err) MUST_USE;
void scratch_close(struct scratch *s); /* NULL is fine */
int scratch_write(struct scratch *s, const void *data, size_t n, uint64_t at,
                  struct pesc_error *err) MUST_USE;
/* What was not written reads as zeros. */
int scratch_read(struct scratch *s, void *data, size_t n, uint64_t at,
                 struct pesc_error *err) MUST_USE;
/* The system begins to read this, and does not wait. */
void scratch_ahead(struct scratch *s, size_t n, uint64_t at);
/* Written and not soon read: leaves the page cache, once it is on disk. */
void scratch_forget(struct scratch *s, size_t n, uint64_t at);

#endif
