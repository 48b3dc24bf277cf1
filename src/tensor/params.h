/* Everything trainable is one flat vector of floats described by one table of named tensors, so
 * the optimiser, clipping, checkpoints and export are one loop each. */
#ifndef PESC_TENSOR_PARAMS_H
#define PESC_TENSOR_PARAMS_H

#include "core/error.h"

enum { PARAM_NAME_CAP = 160, PARAM_MAX_DIM = 2 };

struct param {
    char
        name[PARAM_NAME_CAP]; /* as in a model file: model.layers.0.mlp.moe_adapter.router.weight */
    int ndim;
    long shape[PARAM_MAX_DIM];
    size_t offset, n; /* floats in the flat vector */
    int layer;        /* -1: not of a layer */
    int frozen;       /* keeps its value: no gradient is computed, no update reaches it */
};

struct params {
    long count, cap;
    struct param *p;
    size_t total;        /* floats */
    float *value, *grad; /* [total]; grad may be NULL */
};

/* Adds one to the table (before params_alloc); its index, or -1 with err. */
long params_add(struct params *ps, int layer, int ndim, long rows, long cols,
                struct pesc_error *err, const char *fmt, ...) PRINTF_LIKE(7, 8);
/* Gives value (and grad, if wanted) zeroed memory. */
int params_alloc(struct params *ps, int with_grad, struct pesc_error *err) MUST_USE;
void params_free(struct params *ps);
const struct param *params_find(const struct params *ps, const char *name); /* or NULL */
size_t params_trained(const struct params *ps); /* floats that are not frozen */

/* As a safetensors file of f32 or bf16 with the given prefix before each name; metadata as for
 * st_write. */
int params_save(const struct params *ps, const char *path, int bf16, const char *prefix,
                const char *meta_key, const char *meta_value, char *sha256, uint64_t *bytes,
                struct pesc_error *err) MUST_USE;
/* Fills the values from a safetensors file. Names may carry the prefix base_model.model. and
 * either expert dialect (experts.expert_K. or experts.K.). Every parameter must be there in its
 * shape and finite, and nothing else: E-MODEL-MISSING, E-MODEL-SHAPE, E-MODEL-NONFINITE. */
int params_load(struct params *ps, const char *path, struct pesc_error *err) MUST_USE;
/* The same of a file that holds what table (which needs no memory) says and nothing else: those
 * that ps has too are filled in, ps's others left as they are. */
int params_load_from(struct params *ps, const struct params *table, const char *path,
                     struct pesc_error *err) MUST_USE;

#endif
