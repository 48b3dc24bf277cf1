/* A dense base: a Hugging Face folder opened, checked and ready to be read. Weights stay on disk
 * until read. */
#ifndef PESC_MODEL_BASE_H
#define PESC_MODEL_BASE_H

#include "model/hf_config.h"
#include "tensor/safetensors.h"

enum { FINGERPRINT_CAP = 80 };

struct base;
/* Reads config, index and headers; checks that every tensor that the config asks for is there in
 * its shape (E-MODEL-MISSING names up to ten, E-MODEL-SHAPE) and notes what is not needed. A
 * folder that already holds adapters (moe_adapter tensors) is refused (E-MODEL-KIND). */
int base_open(const char *dir, const struct notes *notes, struct base **out,
              struct pesc_error *err) MUST_USE;
void base_close(struct base *b);
const struct model_config *base_config(const struct base *b);
const json_t *base_config_json(const struct base *b);
const char *base_dir(const struct base *b);
/* Of the first layer's q_proj; bf16 when that is quantised. */
enum dtype base_dtype(const struct base *b);
const char *base_stored(const struct base *b); /* "bf16", ... "nf4", "int8" */
uint64_t base_param_count(const struct base *b);
uint64_t base_bytes(const struct base *b); /* of what the config asks for, on disk */

/* Where a quantised matrix's parts are (model/quantised.h); NULL: it is none. */
struct quantised_tensor;
const struct quantised_tensor *base_quantised(const struct base *b, const char *name);
/* The tensor as stored (of a quantised matrix, its codes), or NULL. lm_head.weight of a tied model
 * resolves to the embedding, and an embedding stored only as lm_head.weight resolves to that. */
const struct st_tensor *base_tensor(const struct base *b, const char *name);
int base_read(const struct base *b, const char *name, void *dst, struct pesc_error *err) MUST_USE;
/* Quantised values are expanded. */
int base_read_f32(const struct base *b, const char *name, float *dst,
                  struct pesc_error *err) MUST_USE;
/* A range of the tensor's bytes as stored. */
int base_read_range(const struct base *b, const char *name, uint64_t from, size_t bytes, void *dst,
                    struct pesc_error *err) MUST_USE;
/* Drops the tensor from the page cache. */
void base_forget(const struct base *b, const char *name);

/* "pesc-fp1:" and the SHA-256 over the sorted lines name\tdtype\tshape\tsha256(data)\n of all
 * tensors: independent of shards and file names. Reads everything once. */
int base_fingerprint(const struct base *b, char out[FINGERPRINT_CAP],
                     struct pesc_error *err) MUST_USE;

#endif
