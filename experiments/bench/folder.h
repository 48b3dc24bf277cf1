/* Where a shape's base is, made when it is not there. */
#ifndef EXPERIMENTS_BENCH_FOLDER_H
#define EXPERIMENTS_BENCH_FOLDER_H

#include "core/file.h"
#include "experiments/bench/shape.h"

struct bench_base {
    const struct shape *shape;
    long layers;       /* 0: the shape's own */
    const char *dir;   /* holds the folders */
    const char *form;  /* "stored", "nf4", "int8": of the layers */
    const char *embed; /* "stored", "quantised": embedding and head of such a base */
};
int bench_folder(const struct bench_base *b, char path[PATH_CAP], struct pesc_error *err) MUST_USE;

#endif
