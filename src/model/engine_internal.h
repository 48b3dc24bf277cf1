/* What engine.c, engine_memory.c and decode.c share. */
#ifndef PESC_MODEL_ENGINE_INTERNAL_H
#define PESC_MODEL_ENGINE_INTERNAL_H

#include "model/engine.h"

struct tfile;
struct insides;
struct engine {
    struct model *m;
    long max_tokens, max_samples, chunk;
    int train;
    long lowest;               /* layers below train nothing (model_lowest) */
    int back;                  /* this pass has a backward one */
    long keep_from;            /* layers from here on are kept in full */
    long disk_from;            /* and from here on at least in a file */
    struct tfile *spill;       /* NULL: inputs are in memory */
    struct insides *insides;   /* NULL: disk_from is keep_from */
    int direct;                /* its file */
    struct arena fixed, block; /* buffers of a whole pass; the working set of one block */
    struct arena full;         /* the insides of the layers kept in full, full_layer bytes each */
    size_t full_layer;
    struct arena image; /* of the layer at work that is kept in the file, or of two */
    size_t image_used;  /* of the layer at work */
    long *position;
    float *cos, *sin;
    double *inv_freq;
    void *kept;            /* block inputs in the compute type: [layers, T, D], or one layer's */
    float *x, *h, *y, *dx; /* [T,D] */
    long *rows;            /* [T] scored positions; while embedding, scratch */
    int32_t *target;       /* [T] */
    float *row_x, *row_dx, *logits, *row_loss; /* [chunk, D], [chunk, V] */
    /* Of a training engine whose lowest is above 0: outputs kept, or NULL; then the samples that
     * are not there, end to end: */
    struct prefix *prefix;
    int32_t *some_ids; /* [T] */
    long *some_cu;     /* [S+1] */
    long *some;        /* [S] their numbers in the batch */
};

/* One block's two parts, both alive during the backward pass of a block, and its middle [T,D]. */
struct block_saved {
    void *attn, *ffn;
    float *h;
};

/* The memory of layer l for this pass. Of a layer that is kept in full, what the forward pass left
 * is still there when the backward pass asks again. */
struct block_saved engine_block(struct engine *e, long l, long T);

/* engine_insides.c: memory for the inside of a layer that is kept in the file, when nothing else is
 * on its way there. Then the inside goes to the file, and comes back for the backward pass, which
 * goes from the last layer to the first. */
int insides_open(const char *dir, size_t layer_bytes, long first, long layers, int direct,
                 unsigned char *memory, struct insides **out, struct pesc_error *err) MUST_USE;
void insides_close(struct insides *s);
unsigned char *insides_memory(struct insides *s, long l);
int engine_put(struct engine *e, long l, struct pesc_error *err) MUST_USE;
int engine_get(struct engine *e, long l, struct pesc_error *err) MUST_USE;

/* Keeps block l's input x[T,D] where a backward pass follows; in bf16 compute the stream itself
 * takes on the rounded values. */
int engine_keep(struct engine *e, long l, float *x, long T, struct pesc_error *err) MUST_USE;
/* It is back: *in is in buffer[T,D], or where it was kept. */
int engine_kept(struct engine *e, long l, float *buffer, long T, const float **in,
                struct pesc_error *err) MUST_USE;

/* e->x through all layers, in place; with e->back every block's input is kept. */
int engine_run_blocks(struct engine *e, struct pass *p, struct pesc_error *err) MUST_USE;
/* The same from layer from on up to, but without, layer to. */
int engine_run_some(struct engine *e, struct pass *p, long from, long to,
                    struct pesc_error *err) MUST_USE;
/* Positions and rotations of a batch. */
void engine_positions(struct engine *e, const struct batch *b);

/* engine_prefix.c: rows of a product below e->lowest. */
enum { PREFIX_ROWS = 256 };
/* Memory of an engine for what it keeps there, beside its arenas. */
size_t engine_prefix_bytes(const struct engine *e, const struct prefix_options *o);
int engine_prefix_open(struct engine *e, const struct prefix_options *o,
                       struct pesc_error *err) MUST_USE;
/* e->x[T,D]: what the embedding and the layers below e->lowest make of the batch, computed or read.
 * p: of the batch; its positions are there. */
int engine_prefix(struct engine *e, const struct batch *b, struct pass *p,
                  struct pesc_error *err) MUST_USE;

#endif
