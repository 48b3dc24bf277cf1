/* What commands that run a model share: finding it (api/resolve.h), memory and threads. */
#ifndef PESC_CLI_MODEL_ARG_H
#define PESC_CLI_MODEL_ARG_H

#include "api/resolve.h"
#include "cli/cmd.h"
#include "model/engine.h"

#include <stddef.h>

/* Where weights and activations are, for those who know better than the defaults. */
struct place_options {
    long resident_layers, keep_layers, disk_layers;
    int embed_on_disk;
    const char *spill;
};
#define WEIGHT_OPTIONS(base)                                                                       \
    {"resident-layers",                                                                            \
     NULL,                                                                                         \
     OPT_LONG,                                                                                     \
     (base) + offsetof(struct place_options, resident_layers),                                     \
     "N",                                                                                          \
     "layers in memory; the others are read for each use (-1: as fit)",                            \
     -1,                                                                                           \
     1 << 20},                                                                                     \
    {                                                                                              \
        "embed-on-disk", NULL, OPT_FLAG, (base) + offsetof(struct place_options, embed_on_disk),   \
            NULL, "read the embedding's rows as they are needed", 0, 0                             \
    }
#define ACTIVATION_OPTIONS(base)                                                                   \
    {"keep-layers",                                                                                \
     NULL,                                                                                         \
     OPT_LONG,                                                                                     \
     (base) + offsetof(struct place_options, keep_layers),                                         \
     "N",                                                                                          \
     "top layers that keep their activations (-1: as fit)",                                        \
     -1,                                                                                           \
     1 << 20},                                                                                     \
        {"keep-on-disk",                                                                           \
         NULL,                                                                                     \
         OPT_LONG,                                                                                 \
         (base) + offsetof(struct place_options, disk_layers),                                     \
         "N",                                                                                      \
         "layers below those that keep theirs in a file (-1: all, where that is faster)",          \
         -1,                                                                                       \
         1 << 20},                                                                                 \
    {                                                                                              \
        "spill-activations", NULL, OPT_STRING, (base) + offsetof(struct place_options, spill),     \
            "DIR", "keep the layers' inputs in a file there, not in memory", 0, 0                  \
    }
void place_defaults(struct place_options *o);
/* Between model_shape and what measures or loads it. */
void place_weights(const struct place_options *o, struct model *m);

/* For commands that do not train: place_weights, and as few more layers (then the embedding) on
 * disk as make the model and the others' bytes fit, with what is in use and a margin, the budget
 * (0: a share of what is free, memory_budget in train/memory_plan.h). E-MEMORY-BUDGET names what
 * would do. */
int place_fitting(const struct place_options *o, uint64_t budget, uint64_t others, struct model *m,
                  struct pesc_error *err) MUST_USE;
/* Tells OpenMP how many threads: --threads, else OMP_NUM_THREADS, else the usable cores. */
int threads_arg(long threads, long *out, struct pesc_error *err) MUST_USE;

#endif
