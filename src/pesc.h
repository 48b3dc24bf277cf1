/* pesc: parameter-efficient sparsity crafting on a CPU. The public interface.
 *
 * Functions return 0 on success and -1 on failure unless they say otherwise; a failure fills the
 * caller's struct pesc_error. Nothing here prints, exits, or keeps state between calls. */
#ifndef PESC_H
#define PESC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The first error of a call chain. code is 0 while there is none; exit_status is what the program
 * would exit with; name is the stable code, for example "E-ST-TRUNC". */
struct pesc_error {
    int code;
    int exit_status;
    const char *name;
    char text[1024];
};

/* The library's version, for example "0.1.0". */
const char *pesc_version(void);

/* A model ready to run: a dense Hugging Face folder, or a crafted folder with its adapters. */
typedef struct pesc_model pesc_model;

/* Type of the products with the frozen weights. PESC_COMPUTE_AUTO takes bf16 where the CPU has it
 * and the base is stored in 16 bits. */
enum pesc_compute {
    PESC_COMPUTE_AUTO,
    PESC_COMPUTE_F32,
    PESC_COMPUTE_BF16,
    PESC_COMPUTE_INT8 /* of the layers' large matrices, as codes of one scale a row */
};

/* Opens dir; pack (may be NULL) is an adapter pack, a safetensors file of adapters, or the folder
 * of a run. A pack made for another base is refused. threads: OpenMP's own setting is used. Free
 * with pesc_model_close, which takes NULL. */
int pesc_model_open(const char *dir, const char *pack, enum pesc_compute compute, pesc_model **out,
                    struct pesc_error *err);
void pesc_model_close(pesc_model *m);
/* Tokens of the vocabulary. */
long pesc_model_vocab(const pesc_model *m);

/* Token ids of UTF-8 text[n], with the special tokens that the tokenizer puts around a text. *ids
 * is the caller's to free(); *n_ids its length. */
int pesc_encode(const pesc_model *m, const char *text, size_t n, int32_t **ids, size_t *n_ids,
                struct pesc_error *err);
/* Text of ids, special tokens left out; the caller frees it. NULL on failure. */
char *pesc_decode(const pesc_model *m, const int32_t *ids, size_t n, struct pesc_error *err);

/* logits[n, vocab]: row t scores what follows ids[0..t]. */
int pesc_logits(pesc_model *m, const int32_t *ids, size_t n, float *logits, struct pesc_error *err);

/* Continues ids[n] by at most max_new tokens, each the most probable (ties to the lowest id), until
 * an end token, which is not delivered, or until token returns other than 0. */
int pesc_generate(pesc_model *m, const int32_t *ids, size_t n, size_t max_new,
                  int (*token)(void *ctx, int32_t id), void *ctx, struct pesc_error *err);

/* Verifies a pack in full: structure, hashes of every file and tensor, finite values. digest
 * (65 bytes) gets its identity, the SHA-256 of its manifest. Says nothing of its behaviour. */
int pesc_pack_verify(const char *path, char *digest, struct pesc_error *err);

#ifdef __cplusplus
}
#endif
#endif
