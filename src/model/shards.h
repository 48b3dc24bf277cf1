/* The weight files of a folder: model.safetensors, or those that its index names. */
#ifndef PESC_MODEL_SHARDS_H
#define PESC_MODEL_SHARDS_H

#include "tensor/safetensors.h"

struct shard_tensor {
    const struct st_tensor *t;
    const struct st_file *file;
};

struct shards {
    long n_files, count;
    struct st_file **file;
    struct shard_tensor *all; /* of all files, sorted by name */
};

/* E-IDX-*, E-ST-*, E-IO*. s is released with shards_close in every case. */
int shards_open(struct shards *s, const char *dir, const struct notes *notes,
                struct pesc_error *err) MUST_USE;
void shards_close(struct shards *s);
const struct shard_tensor *shards_find(const struct shards *s, const char *name); /* or NULL */

struct base;
const struct shards *base_shards(const struct base *b);

#endif
