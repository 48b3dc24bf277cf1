/* What the parts of the pack share. Not for others. */
#ifndef ADAPTERS_PACK_INTERNAL_H
#define ADAPTERS_PACK_INTERNAL_H

#include "adapters/pack.h"
#include "core/number.h"
#include "core/file.h"
#include "core/hash.h"
#include "tensor/safetensors.h"

#define PACK_PREFIX "base_model.model."
#define PACK_WEIGHTS "adapter_model.safetensors"

/* The seal behind the zstd frame: a skippable frame, which zstd's own tools pass over, with the
 * SHA-256 of all bytes before it. Compressed data has bits that change nothing when flipped; with
 * the seal every byte of the file counts. A pack without one is accepted. */
#define PACK_SEAL_MAGIC "\x5e\x2a\x4d\x18\x20\x00\x00\x00" /* 0x184D2A5E, 32 bytes of data */
enum { PACK_SEAL_HEAD = 8, PACK_SEAL = PACK_SEAL_HEAD + 32 };

enum {
    PACK_MAX_FILES = 16,
    PACK_NAME_CAP = 101, /* ustar's name field and a zero */
    PACK_TEXT_MAX = 1 << 20,
    PACK_MAX_TENSORS = 65536
};
#define PACK_FILE_MAX (4ull << 30)  /* the compressed pack, and each file in it */
#define PACK_TOTAL_MAX (8ull << 30) /* all files unpacked */

/* pack_stream.c: the outer layers. The whole file must be one zstd frame with checksum and without
 * dictionary; its content plain ustar entries of regular files, and nothing behind the end mark. */
struct pack_entry {
    char name[PACK_NAME_CAP];
    uint64_t size;
    char sha256[SHA256_HEX]; /* of the manifest; not set by the stream */
};
struct pack_stream;
int pack_stream_open(int fd, const char *path, uint64_t size, struct pack_stream **out,
                     struct pesc_error *err) MUST_USE;
/* 1 and the next entry, whose data must then be read to the end; 0 after the last. */
int pack_stream_next(struct pack_stream *s, struct pack_entry *e, struct pesc_error *err);
/* The next n bytes of the entry; asking for more than it has is E-INTERNAL. */
int pack_stream_data(struct pack_stream *s, void *buf, size_t n, struct pesc_error *err) MUST_USE;
void pack_stream_close(struct pack_stream *s); /* NULL is fine */

/* pack_manifest.c: manifest.json as a tree and as what it means. */
struct pack_info {
    json_t *tree;
    char digest[SHA256_HEX];
    struct pack_base base;
    struct moe_config moe;
    enum dtype dtype;
    long n_files;
    struct pack_entry files[PACK_MAX_FILES];
};
/* Checks everything that the manifest alone can tell: canonical text, version, fields, files in
 * order and within limits, the tensor list against the configuration. Free with pack_info_free. */
int pack_manifest_parse(const char *text, size_t len, const struct notes *notes,
                        struct pack_info *info, struct pesc_error *err) MUST_USE;
void pack_info_free(struct pack_info *info);
/* The tree from what is exported, the files and the tensors (an array of entries). NULL on
 * failure; the caller releases. */
json_t *pack_manifest_build(const struct pack_export *x, const struct pack_entry *files,
                            long n_files, json_t *tensors, struct pesc_error *err);
/* adapter_config.json must say what the manifest says (seeds A11, P2). */
int pack_config_check(const char *text, size_t len, const struct pack_info *info,
                      struct pesc_error *err) MUST_USE;

/* pack_card.c: the texts that go along; NULL without memory. The caller frees. */
char *pack_card(const struct pack_export *x);
char *pack_adapter_config(const struct pack_export *x);

/* pack_names.c: the tensors that a configuration asks for, without the prefix, bytewise sorted. */
struct pack_tensor {
    char name[PARAM_NAME_CAP];
    long rows, cols;
    int is_router;
};
/* layers: of the model. E-PK-CONFIG when there would be more than PACK_MAX_TENSORS. The caller
 * frees. */
int pack_tensors(long layers, long hidden, const struct moe_config *moe, struct pack_tensor **out,
                 long *n, struct pesc_error *err) MUST_USE;

/* pack_weights.c: the weights file against the configuration: names, shapes, dtype, canonical
 * order, finite values; then its hashes against the manifest's, or listed as the manifest lists
 * them (NULL on failure). W-PK-SUSPECT for large weights and routers of zeros. */
int pack_weights_check(const char *path, const struct pack_info *info, const struct notes *notes,
                       struct pesc_error *err) MUST_USE;
json_t *pack_weights_list(const char *path, long layers, long hidden, const struct moe_config *moe,
                          enum dtype dtype, const struct notes *notes, struct pesc_error *err);

/* Table of the files that may be in a pack besides manifest and signature; NULL if not one. */
const char *pack_media(const char *name);
int pack_is_text(const char *name); /* limited to PACK_TEXT_MAX */

#endif
