/* Checkpoints: one safetensors file per saved state, DIR/ckpt-<step, 10
 * digits>-<sha256>.safetensors, whose name tells its content. For every trainable tensor NAME of
 * shape S it holds, of shape S,
 *
 *   param.NAME            the value (the f32 master), F32
 *   adam_m.NAME           first moment, F32         adam8_m.NAME   the same as bytes, U8
 *   adam_v.NAME           second moment, F32        adam8_v.NAME
 *
 * and with bytes their scales adam8_m_scale.NAME and adam8_v_scale.NAME, F32, one for each 256
 * values (train/moments8.h); and nothing else. Where the moments were, in memory or on disk, does
 * not show. __metadata__ has the one key "pesc": canonical JSON of the caller's object with "step"
 * set. What is written is on disk before it has a name; older files go only after that. */
#ifndef PESC_TRAIN_CHECKPOINT_H
#define PESC_TRAIN_CHECKPOINT_H

#include "core/file.h"
#include "train/optim.h"

#include <jansson.h>

enum { CHECKPOINT_KEEP = 3 };

struct checkpoint {
    struct params *params;
    struct adamw *adamw; /* of these parameters */
    long step;           /* the last update that it contains */
    json_t *meta; /* schema, run, seeds, hashes ...; from checkpoint_load the caller releases it */
};

struct checkpoint_file {
    char path[PATH_CAP], sha256[SHA256_HEX];
    uint64_t bytes;
};

/* Saves and then prunes to the newest keep files (at least 1; the one just written always stays).
 * Steps: temporary, space reserved, written, fsync, rename without replacing, fsync of the folder,
 * prune, fsync. E-IO-FULL, E-IO; on any error nothing was pruned. A prune that fails is only noted
 * (W-CK-PRUNE). out may be NULL. */
int checkpoint_save(const char *dir, const struct checkpoint *c, int keep,
                    const struct notes *notes, struct checkpoint_file *out,
                    struct pesc_error *err) MUST_USE;

/* The newest file whose content is what its name says; left-over temporaries are removed (hold the
 * run's lock). A damaged file is noted (E-CK-CORRUPT), renamed to NAME.bad and the next older one
 * taken; a file that cannot be opened or read is fatal (E-IO*), because an older state must not be
 * taken for the newest. E-CK-NONE. path: PATH_CAP bytes. */
int checkpoint_find(const char *dir, const struct notes *notes, char *path,
                    struct pesc_error *err) MUST_USE;

/* Fills values, moments, step and meta; c->params has its table and memory. E-CK-CORRUPT when name
 * and content differ or the file is no checkpoint, E-CK-MISMATCH when it is one of another set of
 * tensors or another form of the moments (before anything is overwritten). */
int checkpoint_load(const char *path, struct checkpoint *c, struct pesc_error *err) MUST_USE;

/* Only the description, "step" included, without touching tensors; the caller releases it. */
int checkpoint_meta(const char *path, json_t **meta, struct pesc_error *err) MUST_USE;

#endif
