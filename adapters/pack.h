/* Adapter packs, NAME-VERSION.pescpack: a deterministic tar.zst of manifest.json and what it lists
 * (reliability: flat names, fixed order, hashes of files and tensors, refused on the wrong base).
 */
#ifndef ADAPTERS_PACK_H
#define ADAPTERS_PACK_H

#include "adapters/moe.h"
#include "core/error.h"
#include "tensor/params.h"

#include <jansson.h>

/* What an adapter set is for; strings are copied. */
struct pack_base {
    char fingerprint[80], tokenizer_sha256[65], config_sha256[65], arch[32], name[256];
    char
        origin[80]; /* fingerprint of what the base was quantised or converted from; may be empty */
    long layers, hidden, vocab;
};

struct pack_export {
    const char *name, *version, *license, *author; /* license and author may be NULL */
    struct pack_base base;
    struct moe_config moe;
    const struct params *params;
    int bf16;                /* else f32, which evaluates bit-equal to the run */
    const char *created;     /* 2026-11-23T00:00:00Z: when the run ended; not the time of writing */
    const char *template_id; /* may be NULL */
    const json_t *training;  /* canonical-safe object (integers and strings), or NULL */
    const json_t *metrics;   /* array of objects, or NULL */
    const char *curve;       /* text of metrics.jsonl, at most 1 MiB; or NULL */
};
/* Writes the pack, whole or not at all; digest (65 bytes, may be NULL) is the SHA-256 of
 * manifest.json, whose text the caller gets in *manifest to free (may be NULL). The same input
 * gives the same bytes. Texts that begin like an absolute path are refused (E-PK-CONFIG), and so is
 * anything that pack_open would refuse. */
int pack_write(const char *path, const struct pack_export *x, int fresh, const struct notes *notes,
               char *digest, char **manifest, struct pesc_error *err) MUST_USE;
struct pack; /* a pack verified in full and held open, or nothing */
/* Verifies everything that needs no base: archive, manifest, hashes, tensors, finiteness. E-PK-*.
 * The files are extracted into a fresh private folder under /var/tmp (or /tmp) that pack_close
 * removes or, with keep_dir, into that folder, which must not exist and stays. Nothing stays on
 * failure. */
int pack_open(const char *path, const char *keep_dir, const struct notes *notes, struct pack **out,
              struct pesc_error *err) MUST_USE;
/* The same for an unpacked pack, as pack_import keeps them: verified anew, left where it is. */
int pack_open_kept(const char *dir, const struct notes *notes, struct pack **out,
                   struct pesc_error *err) MUST_USE;
int pack_is_kept(const char *dir); /* whether the folder holds a manifest.json */
void pack_close(struct pack *p);
const char *pack_digest(const struct pack *p);
const json_t *pack_manifest(const struct pack *p);
const struct pack_base *pack_base(const struct pack *p);
const struct moe_config *pack_moe(const struct pack *p);
const char *pack_weights_path(const struct pack *p); /* adapter_model.safetensors, extracted */
int pack_has_signature(const struct pack *p);        /* present; this version does not verify it */
/* E-PK-BASE / E-PK-TOK unless it was made for this base; force turns them into notes. */
int pack_check_base(const struct pack *p, const struct pack_base *base, int force,
                    const struct notes *notes, struct pesc_error *err) MUST_USE;

/* Verifies the pack and keeps it unpacked as STORE_DIR/<digest>/, whole or not at all; a pack that
 * is there already is 1. base (NULL: any) and force as for pack_check_base. digest: 65 bytes. */
int pack_import(const char *path, const char *store_dir, const struct pack_base *base, int force,
                const struct notes *notes, char *digest, struct pesc_error *err) MUST_USE;

#endif
