/* How the tensors of a model lie in memory: one table, from which sizes, reading and views derive.
 *
 * All tensors of a layer lie in one block, so that a layer is one allocation, and one buffer where
 * layers are streamed. Every layer of a model has the same table. A matrix's form decides its
 * bytes; a form with companions (scales and the like) keeps them within its place. Vectors are
 * always float. */
#ifndef PESC_MODEL_WEIGHTS_LAYOUT_H
#define PESC_MODEL_WEIGHTS_LAYOUT_H

#include "model/base.h"
#include "model/names.h"
#include "model/weights.h"

enum { WEIGHTS_ALIGN = 64 };

struct tensor_place {
    enum dtype form; /* how it lies in memory, whatever the file has */
    long rows, cols; /* cols 0: a vector */
    size_t at;       /* from the block's start, a multiple of WEIGHTS_ALIGN */
    size_t bytes;    /* 0: models of this configuration do not have it */
    struct quant_form
        quant; /* of a kind: its qmat_bytes lie there, and form is what it expands to */
    int int8;  /* multiplied as codes: int8_shift_bytes lie behind them */
};

struct layer_layout {
    struct tensor_place t[LT_COUNT];
    size_t bytes; /* of a block, a multiple of WEIGHTS_ALIGN */
};
/* int8_min: linear_int8's. */
void layer_layout(struct layer_layout *l, const struct model_config *c, enum compute compute,
                  long int8_min);
/* Bytes that loading such a layer takes beside its block: codes of NF4 that become int8. */
size_t layer_scratch(const struct layer_layout *l, const struct model_config *c);

/* What is outside of the layers: two blocks, since the embedding may stay on disk. */
struct outer_layout {
    struct tensor_place embed;      /* of the first block, which is nothing else */
    struct tensor_place head, norm; /* of the second; a tied head has no bytes */
    size_t embed_bytes, rest_bytes;
};
void outer_layout(struct outer_layout *o, const struct model_config *c, enum compute compute);

/* A matrix of a block as the products take it (block NULL: without data). */
struct wmat place_mat(const struct tensor_place *p, const void *block);
/* A layer's tensors, all of them in its block. */
void layer_view(struct layer_weights *w, const struct layer_layout *l, const void *block);

/* How a base is read into blocks. */
struct load_how {
    const struct base *base;
    enum dtype store; /* what float matrices are rounded to on the way; DT_COUNT: nothing */
    int check;        /* refuse values that are not finite: E-MODEL-NONFINITE */
    int forget;       /* drop what was read from the page cache */
    void *scratch;    /* layer_scratch bytes, of one thread at a time */
};
/* One tensor, in bounded pieces: no more memory than its place, scratch and some stack.
 * E-ST-CHANGED, E-IO*, E-MODEL-*. */
int load_tensor(const struct load_how *how, const char *name, const struct tensor_place *p,
                void *block, struct pesc_error *err) MUST_USE;
/* Row number row of a matrix, as float with the values that it has in memory; *read adds the bytes
 * read from the file. */
int load_row(const struct load_how *how, const char *name, const struct tensor_place *p, long row,
             float *to, uint64_t *read, struct pesc_error *err) MUST_USE;
/* All tensors of layer l; read, if not NULL, adds the bytes read from files. */
int load_layer(const struct load_how *how, const struct layer_layout *layout, long l, void *block,
               uint64_t *read, struct pesc_error *err) MUST_USE;

#endif
