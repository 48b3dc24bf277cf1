/* Layers that are read from disk for each use, by a thread that is ahead of the mathematics.
 *
 * The order of use is known: up through the layers, and, where a backward pass follows, down again;
 * then the next pass. The buffers always hold, or are being filled with, the layers that come next
 * in that order, so at the turning points nothing is read twice. */
#ifndef PESC_MODEL_STREAM_H
#define PESC_MODEL_STREAM_H

#include "model/weights_layout.h"

/* One layer is computed with while the next is read. */
enum { STREAM_BUFFERS = 2 };

struct stream_plan {
    struct load_how how; /* the base must outlive the stream */
    struct layer_layout layout;
    const long *layer; /* [n] which ones, ascending; copied */
    long n;
    void *buffer[STREAM_BUFFERS]; /* borrowed; as many as min(n, STREAM_BUFFERS) */
};

struct stream;
/* Starts the thread, which begins to read. E-MEMORY. */
int stream_open(const struct stream_plan *plan, struct stream **out,
                struct pesc_error *err) MUST_USE;
/* Waits for the layer that is being read; NULL is fine. */
void stream_close(struct stream *s);
/* A pass begins at number from of the list, goes up, and comes down again to number low; no number
 * of the list is that high: it does not come down, or does not begin. The next one is expected to
 * be like it. */
void stream_pass(struct stream *s, long from, long low);
/* Layer number i of the list, once it is there; it stays until given back. One thread asks, for one
 * layer at a time. What went wrong in the thread (E-ST-CHANGED, E-IO*, E-MODEL-NONFINITE) comes
 * back from here, and from every later call. */
int stream_get(struct stream *s, long i, const void **block, struct pesc_error *err) MUST_USE;
void stream_put(struct stream *s, long i);
uint64_t stream_bytes_read(struct stream *s);

#endif
