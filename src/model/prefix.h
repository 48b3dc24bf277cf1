/* What the frozen layers below all that is trained make of a sample. It is a function of the
 * sample's tokens alone: computed once, kept in a file without a name, and found again by those
 * tokens in whatever batch they come.
 *
 * A record of the file: XXH64 of the rest, number of tokens (8 bytes each), the tokens (4 bytes
 * each), values [n, D] as the next layer gets them, in the type that the engine keeps inputs of
 * layers in. A record that is not what was written is told, and its sample computed again; a file
 * that cannot be read or written is told and given up. None of that ends a run. */
#ifndef PESC_MODEL_PREFIX_H
#define PESC_MODEL_PREFIX_H

#include "core/error.h"

struct prefix_options {
    const char *dir;           /* of the file */
    uint64_t bytes;            /* that the file may take; 0: nothing is kept */
    long samples;              /* that are to have a place, PREFIX_SAMPLES at most */
    const struct notes *notes; /* told W-PREFIX-*; may be NULL */
};
enum { PREFIX_SAMPLES = 1 << 20 };

struct prefix;
/* For samples of at most max_tokens, of D values each of so many bytes (2: bf16, 4: float).
 * E-MEMORY. */
int prefix_open(const struct prefix_options *o, long max_tokens, long D, size_t value,
                struct prefix **out, struct pesc_error *err) MUST_USE;
void prefix_close(struct prefix *p); /* NULL is fine */
/* Bytes that prefix_open allocates, and that a sample of n tokens takes in the file. */
size_t prefix_memory(const struct prefix_options *o, long max_tokens, long D, size_t value);
uint64_t prefix_record(long n, long D, size_t value);

/* A read of this sample, if it is there, will come soon. */
void prefix_soon(struct prefix *p, const int32_t *ids, long n);
/* x[n, D] of the sample; 0: it is not there. */
int prefix_get(struct prefix *p, const int32_t *ids, long n, float *x);
/* Keeps x[n, D], where there is room. */
void prefix_put(struct prefix *p, const int32_t *ids, long n, const float *x);

struct prefix_counts {
    long found, kept, damaged; /* samples */
    uint64_t bytes;            /* of the file */
};
struct prefix_counts prefix_counts(const struct prefix *p);

#endif
