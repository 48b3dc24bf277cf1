/* Adapter packs, NAME-VERSION.pescpack: a deterministic tar.zst of manifest.json and what it lists
 * (reliability: flat names, fixed order, hashes of files and tensors, refused on the wrong base). */
#ifndef ADAPTERS_PACK_H
#define ADAPTERS_PACK_H

#include "adapters/moe.h"
#include "core/error.h"
#include "tensor/params.h"

#include <jansson.h>

/* What an adapter set is for; strings are copied. */
struct pack_base {
    char fingerprint[80], tokenizer_sha256[65], config_sha256[65], arch[32], name[256];
    long layers, hidden, vocab;
};

struct pack_export {
    const char *name, *version, *license, *author; /* license and author may be NULL */
    struct pack_base base;
    struct moe_config moe;
    const struct params *params;
    int bf16;                /* else f32, which evaluates bit-equal to the run */
    const char *template_id; /* may be NULL */
    const json_t *training;  /* canonical-safe object (integers and strings), or NULL */
    const json_t *metrics;   /* array of objects, or NULL */
};
/* Writes the pack, whole or not at all; digest (65 bytes) is the SHA-256 of manifest.json. The same
 * input gives the same bytes. */
int pack_write(const char *path, const struct pack_export *x, int fresh, char *digest,
               struct pesc_error *err) MUST_USE;

struct pack; /* a pack verified in full and held open, or nothing */
/* Verifies everything of section 5.3 that needs no base: archive, manifest, hashes, tensors,
 * finiteness. E-PK-*. The weights are extracted into dir (a fresh private temporary folder that
 * pack_close removes) or, with keep_dir, into that folder, which must not exist. */
int pack_open(const char *path, const char *keep_dir, const struct notes *notes, struct pack **out,
              struct pesc_error *err) MUST_USE;
void pack_close(struct pack *p);
const char *pack_digest(const struct pack *p);
const json_t *pack_manifest(const struct pack *p);
const struct pack_base *pack_base(const struct pack *p);
const struct moe_config *pack_moe(const struct pack *p);
const char *pack_weights_path(const struct pack *p); /* adapter_model.safetensors, extracted */
/* E-PK-BASE / E-PK-TOK unless it was made for this base; force turns them into notes. */
int pack_check_base(const struct pack *p, const struct pack_base *base, int force,
                    const struct notes *notes, struct pesc_error *err) MUST_USE;

/* The store of imported packs: DIR/<digest>/... ; importing again is "already present" (1). */
int pack_import(const char *path, const char *store_dir, const struct notes *notes, char *digest,
                struct pesc_error *err);

#endif
