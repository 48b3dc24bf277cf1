/* The quantised matrices of a folder: which they are, and where their parts lie.
 *
 * NF4, as bitsandbytes saves it beside X.weight (U8 [codes, 1]): .absmax (U8, or F32 when not
 * nested), .quant_map (F32 [16]), .nested_absmax, .nested_quant_map (F32 [256]) and
 * .quant_state.bitsandbytes__nf4, a JSON text of U8 with shape, blocksize and the nested offset.
 * int8, this program's own: X.weight (I8 [N, K]) and .scale (F32 [N]). */
#ifndef PESC_MODEL_QUANTISED_H
#define PESC_MODEL_QUANTISED_H

#include "model/shards.h"
#include "model/tensors.h"
#include "tensor/quant.h"

#define QUANT_ABSMAX ".absmax"
#define QUANT_MAP ".quant_map"
#define QUANT_NESTED_ABSMAX ".nested_absmax"
#define QUANT_NESTED_MAP ".nested_quant_map"
#define QUANT_STATE ".quant_state.bitsandbytes__nf4"
#define QUANT_SCALE ".scale"
enum { QUANT_NAME_CAP = TENSOR_NAME_CAP + 40 };

struct quantised_tensor {
    const char *name;  /* of the codes, as stored */
    struct qmat shape; /* without parts */
    float offset;      /* NF4, nested */
    long n_parts;
    const struct shard_tensor *code, *scale, *absmax, *map, *part[8]; /* part: all of them */
};

struct quantised {
    long count;
    struct quantised_tensor *t; /* by name */
};
/* Checks and adds the matrix want whose codes are st. E-MODEL-QUANT, E-MODEL-MISSING,
 * E-MODEL-SHAPE, E-CFG-QUANT. */
int quantised_add(struct quantised *q, enum quant kind, const struct shards *s, const char *dir,
                  const struct shard_tensor *st, const struct model_tensor *want,
                  struct pesc_error *err) MUST_USE;
void quantised_sort(struct quantised *q); /* once all are in */
const struct quantised_tensor *quantised_find(const struct quantised *q, const char *name);
void quantised_free(struct quantised *q);
/* Fills the parts of m, which has the tensor's shape and was placed. E-MODEL-NONFINITE. */
int quantised_read(const struct quantised_tensor *t, struct qmat *m,
                   struct pesc_error *err) MUST_USE;
/* n values from the from-th, as they would be expanded from memory, read from the files; read adds
 * the bytes. */
int quantised_read_range(const struct quantised_tensor *t, size_t from, size_t n, void *dst,
                         enum dtype to, uint64_t *read, struct pesc_error *err) MUST_USE;

#endif
