/* safetensors files, strictly: header length u64 LE, JSON header, data fully indexed without hole
 * or overlap. Everything is checked before anything of a claimed size is allocated. */
#ifndef PESC_TENSOR_SAFETENSORS_H
#define PESC_TENSOR_SAFETENSORS_H

#include "core/error.h"
#include "tensor/dtype.h"

enum { ST_MAX_DIM = 8, ST_NAME_CAP = 256 };

struct st_tensor {
    const char *name;   /* owned by the file */
    enum dtype dtype;   /* DT_COUNT: carried only, see stored */
    const char *stored; /* the type as the file spells it, "BF16"; static */
    int ndim;
    long shape[ST_MAX_DIM];
    uint64_t n;     /* elements */
    uint64_t begin; /* bytes from the start of the file */
    uint64_t bytes;
};

/* ST_BASE: base models (header up to 100,000,000 bytes, leading white space accepted, unknown
 * fields noted as W-ST-FIELD, other element types carried). ST_STRICT: packs (4 MiB, canonical
 * start, no extras, F32, BF16 and F16 only). ST_STATE: checkpoints, the same with other element
 * types carried. Header memory stays below eight times the header's size and 1 MiB. */
enum st_mode { ST_BASE, ST_STRICT, ST_STATE };

struct st_file;
/* E-ST-*, E-IO*. notes may be NULL. Free with st_close (NULL is fine). */
int st_open(const char *path, enum st_mode mode, const struct notes *notes, struct st_file **out,
            struct pesc_error *err) MUST_USE;
void st_close(struct st_file *f);
long st_count(const struct st_file *f);
const struct st_tensor *st_at(const struct st_file *f, long i);             /* in order of data */
const struct st_tensor *st_find(const struct st_file *f, const char *name); /* or NULL */
const char *st_metadata(const struct st_file *f, const char *key);          /* or NULL */
const char *st_path(const struct st_file *f);

/* Raw bytes, or elements converted to float. E-ST-CHANGED when the file is no longer the one that
 * was opened; E-ST-DTYPE when a carried type is to be converted. Safe from several threads. */
int st_read(const struct st_file *f, const struct st_tensor *t, void *dst,
            struct pesc_error *err) MUST_USE;
int st_read_f32(const struct st_file *f, const struct st_tensor *t, float *dst,
                struct pesc_error *err) MUST_USE;
/* A range of the tensor's bytes. */
int st_read_range(const struct st_file *f, const struct st_tensor *t, uint64_t from, size_t bytes,
                  void *dst, struct pesc_error *err) MUST_USE;
/* Drops the tensor from the page cache, with the whole pages that it lies in. */
void st_forget(const struct st_file *f, const struct st_tensor *t);

/* Carried types that are written. */
#define ST_I8 ((enum dtype)(DT_COUNT + 1))
#define ST_U8 ((enum dtype)(DT_COUNT + 2))
const char *st_out_type(enum dtype d); /* as files spell it, of these too */
/* A tensor to be written. */
struct st_out {
    const char *name;
    enum dtype dtype; /* or ST_I8, ST_U8 */
    int ndim;
    long shape[ST_MAX_DIM];
};
/* Produces tensor i's elements in its dtype at dst (room for all its bytes). */
typedef int (*st_fill)(void *ctx, long i, const struct st_out *t, void *dst,
                       struct pesc_error *err);

/* Writes a canonical file (F32, then BF16, F16, I8, U8, each by name; header padded to 8
 * bytes; at most one metadata key, NULL for none), whole or not at all, holding one tensor in
 * memory at a time. fresh: E-USAGE-EXISTS if the name is taken. sha256 (65 bytes) and bytes may
 * be NULL. The same tensors give the same bytes. */
int st_write(const char *path, const struct st_out *t, long n, const char *meta_key,
             const char *meta_value, st_fill fill, void *ctx, int fresh, char *sha256,
             uint64_t *bytes, struct pesc_error *err) MUST_USE;
/* The same into a file that the caller opened and will commit (core/file.h), for names that are
 * known only when the content is; space is reserved first. */
struct afile;
int st_write_to(struct afile *f, const struct st_out *t, long n, const char *meta_key,
                const char *meta_value, st_fill fill, void *ctx, struct pesc_error *err) MUST_USE;
/* The same in pieces, for tensors that are not to lie in memory: pour calls st_put until all bytes
 * of the tensor have been put. */
struct st_sink;
int st_put(struct st_sink *to, const void *data, size_t n, struct pesc_error *err) MUST_USE;
typedef int (*st_pour)(void *ctx, long i, const struct st_out *t, struct st_sink *to,
                       struct pesc_error *err);
int st_write_pieces(const char *path, const struct st_out *t, long n, const char *meta_key,
                    const char *meta_value, st_pour pour, void *ctx, int fresh, uint64_t *bytes,
                    struct pesc_error *err) MUST_USE;

#endif
