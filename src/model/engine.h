/* Forward and backward passes of a whole model over packed samples.
 *
 * Memory, all laid out once for at most T tokens: one input per block (bf16 when the compute type
 * is, f32 otherwise), unless it is spilled to disk; the working set of one block, which every block
 * reuses since its inside is recomputed in the backward pass; the insides of those blocks that are
 * kept in full; and a chunk of the head's logits. The [tokens, vocabulary] matrix never exists.
 * In bf16 compute the residual stream is rounded to bf16 between blocks, so
 * that what is kept is exactly what was computed with.
 *
 * Layers below all that train (model_lowest) keep nothing and have no backward pass. A training
 * engine computes them so that a sample's values do not depend on what else is in the batch: what
 * they make of it may then be kept, for epochs to come, without changing a bit. */
#ifndef PESC_MODEL_ENGINE_H
#define PESC_MODEL_ENGINE_H

#include "core/batch.h"
#include "model/model.h"
#include "model/prefix.h"

/* Where the activations of a training engine are between the passes. The same bits in every case.
 */
struct engine_choices {
    long keep_layers;      /* of the top ones everything is kept and nothing recomputed */
    const char *spill_dir; /* block inputs go to a file without a name in this folder, not memory */
    /* Of so many layers below those everything is kept, too, in a file that the page cache may
     * hold: memory that the kernel lends, and takes back. Or past it (disk_direct), by a thread
     * while the next layer is computed, for which two layers have room. keep_dir: its folder. */
    long disk_layers;
    int disk_direct;
    const char *keep_dir;
    /* What layers below all that train make of a sample, kept for its next time; bytes 0: not. */
    struct prefix_options prefix;
};

struct engine;
/* max_tokens, max_samples: of any batch. train: keeps what the backward pass needs, as choices say
 * (NULL: inputs in memory, everything else recomputed). E-MEMORY; E-IO* of the folder. */
int engine_open(struct model *m, long max_tokens, long max_samples, int train,
                const struct engine_choices *choices, struct engine **out,
                struct pesc_error *err) MUST_USE;
void engine_close(struct engine *e);
long engine_max_tokens(const struct engine *e);
/* Bytes that engine_open would allocate, without allocating. */
size_t engine_bytes(const struct model *m, long max_tokens, long max_samples, int train,
                    const struct engine_choices *choices);
/* Bytes of disk that disk_layers take. */
uint64_t engine_disk_bytes(const struct model *m, long max_tokens,
                           const struct engine_choices *choices);
/* Whether the engine's products keep a row's bits wherever it stands (linear_rows_alone): without
 * that, outputs of frozen layers that were kept would not be those computed anew. For a model that
 * is loaded, with a training engine; E-MEMORY, and what goes wrong with reading weights. */
int engine_rows_alone(struct engine *e, int *yes, struct pesc_error *err) MUST_USE;
/* The outputs of frozen layers that are kept; NULL: none are. */
struct prefix *engine_prefix_of(const struct engine *e);
void engine_prefix_drop(struct engine *e); /* none are kept from now on */
/* Bytes of disk that spilling takes. */
uint64_t engine_spill_bytes(const struct model *m, long max_tokens);

struct engine_step {      /* what a pass is to do, and what it found */
    double loss_scale;    /* gradient of the summed cross-entropy: usually 1 / scored tokens */
    double balance_scale; /* per layer; see moe_bwd */
    uint64_t seed;        /* dropout */
    uint32_t number;      /* of the batch, for dropout */
    long token;           /* where in that batch the pass begins, for dropout */
    void (*routed)(void *ctx, long layer, const struct moe_saved *s, long T); /* may be NULL */
    void *routed_ctx;
    /* Where the gradients of layer l's adapters add: called before its backward pass, which goes
     * from the last layer to the first, and after it. NULL: to the model's params.grad. */
    float *(*grad_begin)(void *ctx, long layer, struct pesc_error *err); /* NULL: failed */
    int (*grad_end)(void *ctx, long layer, struct pesc_error *err);
    void *grad_ctx;
    float *losses;   /* [T] loss of scored tokens (by the position that predicts), or NULL */
    int32_t *argmax; /* [T] most probable next token at scored positions, or NULL */
    double loss_sum; /* out: summed cross-entropy */
    long scored;     /* out */
};

/* Scored tokens of a batch: positions t with labels[t+1] in the same sample and not masked. */
long batch_scored(const struct batch *b);

/* Loss only. */
int engine_loss(struct engine *e, const struct batch *b, struct engine_step *s,
                struct pesc_error *err) MUST_USE;
/* Loss and gradients, which add to the model's params.grad. */
int engine_train(struct engine *e, const struct batch *b, struct engine_step *s,
                 struct pesc_error *err) MUST_USE;
/* All logits, a chunk of positions at a time, in order: rows[n,V] of positions from.. */
int engine_logits(struct engine *e, const struct batch *b,
                  int (*rows)(void *ctx, long from, long n, const float *logits,
                              struct pesc_error *err),
                  void *ctx, struct pesc_error *err) MUST_USE;

#endif
