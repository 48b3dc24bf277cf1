/* Where the mathematics gets its weights from: layers that are resident, and layers that are
 * streamed, without the mathematics knowing. Vectors (norms, biases) are always float. */
#ifndef PESC_MODEL_WEIGHTS_H
#define PESC_MODEL_WEIGHTS_H

#include "model/base.h"
#include "model/names.h"
#include "tensor/gemm.h"
#include "tensor/params.h"

struct layer_weights {
    struct wmat mat[LT_COUNT];  /* data NULL: absent */
    const float *vec[LT_COUNT]; /* NULL: absent */
};

struct outer_weights {
    struct wmat embed, head; /* [V, D]; the same memory when tied; embed without data: on disk */
    const float *norm;       /* [D] */
};

/* What stays in memory; all zero: everything. Streamed layers are spread evenly, so that each is
 * read while several are computed: the disk has the whole pass for it, not a part. */
struct weights_plan {
    long streamed_layers; /* this many layers are read from disk for each use */
    int embed_on_disk;    /* so are the rows of the embedding; not of a tied model */
    long int8_min;        /* in int8 compute: linear_int8's least */
};

struct weights;
/* Reads a base into memory in the compute type (int8: the layers' matrices of linear_int8 become
 * codes of the stored values, or are taken as such), as far as the plan wants it there. store: the
 * type that the values are rounded to on the way (DT_COUNT: as they are on disk). Non-finite
 * weights are E-MODEL-NONFINITE. The base must outlive a source that leaves anything on disk; what
 * such a one reads does not stay in the page cache. c: the base's configuration, perhaps with fewer
 * layers: then those above are left out. */
int weights_open(const struct base *b, const struct model_config *c, enum compute compute,
                 enum dtype store, const struct weights_plan *plan, struct weights **out,
                 struct pesc_error *err) MUST_USE;
/* The weights are trainable: they live in ps under their names; in bf16 compute the source keeps
 * rounded copies, which weights_refresh brings up to date after an update. */
int weights_of_params(const struct model_config *c, const struct params *ps, enum compute compute,
                      struct weights **out, struct pesc_error *err) MUST_USE;
void weights_refresh(struct weights *w);
void weights_free(struct weights *w);
/* Resident memory that weights_open and weights_of_params take, before there is a source. */
size_t weights_size(const struct model_config *c, enum compute compute,
                    const struct weights_plan *plan);
size_t weights_of_params_size(const struct model_config *c, enum compute compute);
size_t weights_bytes(const struct weights *w); /* what it is, of a source */

/* A pass over the layers begins; back: it is followed by one from the last to the first. What is
 * streamed is read ahead in that order. */
void weights_pass(struct weights *w, int back);
/* The same with only the layers from first on going up, and back only to layer lowest; the next
 * pass is expected to be like it. */
void weights_pass_part(struct weights *w, long first, long lowest);
/* A layer's weights, valid until released. Where layers are streamed: one at a time, and what went
 * wrong with reading (E-ST-CHANGED, E-IO*, E-MODEL-NONFINITE). */
int weights_layer(struct weights *w, long layer, struct layer_weights *out,
                  struct pesc_error *err) MUST_USE;
void weights_release(struct weights *w, long layer);
const struct outer_weights *weights_outer(const struct weights *w);
/* x[T,D] = rows of the embedding as float, wherever it is. scratch[T]. */
int weights_embed(struct weights *w, float *x, const int32_t *ids, long T, long *scratch,
                  struct pesc_error *err) MUST_USE;
/* Bytes read from files since weights_open returned. */
uint64_t weights_bytes_read(struct weights *w);

/* Adds every tensor of a dense model to the table (names as on disk; a tied head once). */
int weights_declare(const struct model_config *c, struct params *ps,
                    struct pesc_error *err) MUST_USE;

#endif
