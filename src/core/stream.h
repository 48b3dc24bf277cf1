/* Bytes that come from somewhere, in order. */
#ifndef PESC_CORE_STREAM_H
#define PESC_CORE_STREAM_H

#include "core/error.h"

/* read gives 1..cap bytes, 0 at the end (and again when asked again), -1 with err. */
struct byte_source {
    long (*read)(void *ctx, void *buf, size_t cap, struct pesc_error *err);
    void *ctx;
};

#endif
