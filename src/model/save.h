/* Writing a dense model as a Hugging Face folder. */
#ifndef PESC_MODEL_SAVE_H
#define PESC_MODEL_SAVE_H

#include "model/base.h"

/* Writes the new folder dir, whole or not at all: config.json of like with its type updated, its
 * tokenizer files and generation_config.json byte for byte, and model.safetensors with the tensors
 * that like has and its config asks for, in dtype. get returns a tensor's values by its name
 * (model.embed_tokens.weight for a tied matrix, whatever it is stored as), in the base's shape;
 * NULL is an error. E-USAGE-EXISTS, E-IO*. */
int base_save(const char *dir, const struct base *like,
              const float *(*get)(void *ctx, const char *name), void *ctx, enum dtype dtype,
              struct pesc_error *err) MUST_USE;

/* One file of a folder into another, byte for byte; one that is not there is none. */
int base_copy_file(const char *from_dir, const char *to_dir, const char *name,
                   struct pesc_error *err) MUST_USE;
/* The files beside config and weights: tokenizer, chat template, generation_config.json. */
int base_copy_others(const struct base *b, const char *to_dir, struct pesc_error *err) MUST_USE;
/* Writes a config.json. Takes json, which may be NULL (no memory). */
int base_write_config(const char *dir, json_t *json, struct pesc_error *err) MUST_USE;

#endif
