/* Tiny random models, as Hugging Face folders written at run time, and batches for them. */
#ifndef TESTS_UNIT_SMALL_MODEL_H
#define TESTS_UNIT_SMALL_MODEL_H

#include "core/batch.h"
#include "model/engine.h"

struct small {        /* 0 or NULL: what stands behind */
    const char *type; /* llama; also mistral, qwen2 (biases of q, k, v), qwen3 (norms of q and k) */
    long layers;      /* 2 */
    long hidden;      /* 16 */
    long inter;       /* 24 */
    long heads;       /* 4 */
    long kv_heads;    /* 2 */
    long head_dim;    /* 8 */
    long vocab;       /* 29 */
    long positions;   /* 64 */
    int tied, attention_bias, mlp_bias;
    long window;       /* none; mistral, and qwen2 and qwen3 from layer 1 on */
    const char *rope;  /* rope_scaling as JSON text */
    double head_scale; /* 1 */
    int bf16;          /* stored so */
};
#define SMALL(...) ((struct small){__VA_ARGS__})

/* Stops the program with the error's text. */
void must_do(int rc, const struct pesc_error *err);

/* Writes config.json and model.safetensors to dir and opens it. Weights are normal numbers of the
 * sizes that keep activations of order 1; norms are around 1, biases 0.3. */
struct base *small_base(const char *dir, const struct small *o);
/* moe NULL: dense. The up-projections are zero, as crafted. */
struct model *small_model(const struct base *b, const struct moe_config *moe, enum trainable tr,
                          enum compute compute);
/* Base written, opened, read and closed: a model with random up-projections and routers that tell
 * tokens apart. */
struct model *small_open(const char *dir, const struct small *o, const struct moe_config *moe,
                         enum trainable tr, enum compute compute);
void small_adapters(struct model *m); /* gives it such adapters */

/* n samples of the lengths given, with random ids; about a quarter of the labels is masked. */
enum { SMALL_SAMPLES = 8 };
struct small_batch {
    struct batch b;
    int32_t *ids, *labels;
    long cu[SMALL_SAMPLES + 1], record[SMALL_SAMPLES];
    int domain[SMALL_SAMPLES];
};
void small_batch(struct small_batch *g, long vocab, uint32_t seed, long n, const long *lengths);
/* The samples of another batch that order names, in that order. */
void small_batch_pick(struct small_batch *g, const struct batch *from, long n, const long *order);
void small_batch_free(struct small_batch *g);

/* All logits [T,V] of a pass; the caller frees. */
float *small_logits(struct model *m, const struct batch *b);
/* Opens an engine, does one engine_train into cleared gradients (add: not cleared). */
void small_train(struct model *m, const struct batch *b, struct engine_step *s, int add);
/* Largest difference of a from b relative to b's largest value. */
double small_diff(const float *a, const float *b, size_t n);

/* A base of numbers with the values of a quantised one, in dir; plain is what that was made of. */
struct base *small_expanded(const char *dir, const struct base *plain, const struct base *q);

#endif
