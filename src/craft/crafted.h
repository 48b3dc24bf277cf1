/* A crafted folder: pesc.json, which names the base (by place and fingerprint) and the structure of
 * the adapters, and adapter.safetensors, their initial values. It may contain its base in a folder
 * of its own. */
#ifndef PESC_CRAFT_CRAFTED_H
#define PESC_CRAFT_CRAFTED_H

#include "core/file.h"
#include "model/convert.h"
#include "model/model.h"

#define CRAFTED_FILE "pesc.json"
#define CRAFTED_BASE "base"
#define CRAFTED_ADAPTERS "adapter.safetensors"

struct crafted {
    struct moe_config moe;
    char base[PATH_CAP]; /* absolute, resolved against the folder when stored relative */
    char fingerprint[FINGERPRINT_CAP];
    enum dtype base_dtype; /* DT_COUNT: as stored */
    uint64_t seed;
};

int crafted_is(const char *dir); /* whether dir holds a pesc.json */
/* E-CFG-CRAFT for a malformed one; E-IO-MISSING. */
int crafted_read(const char *dir, struct crafted *c, struct pesc_error *err) MUST_USE;
/* Makes the folder, whole or not at all: zero up-projections, so that the crafted model computes
 * exactly what its base does. contain (may be NULL): how the base is written into the folder; c
 * then gets the fingerprint of that, and out what it takes. E-USAGE-EXISTS, those of base_convert.
 */
int crafted_write(const char *dir, const struct base *b, struct crafted *c,
                  const struct convert *contain, struct converted *out,
                  struct pesc_error *err) MUST_USE;
/* {"experts":8,"top_k":2,"adapter_dim":64,"scaling":"1","dropout":"0","balance":"switch",
 * "balance_coef":"0.01"}, and "layers":"15-29" where not all have adapters: whole numbers as such,
 * others as text. NULL without memory. */
json_t *crafted_moe_json(const struct moe_config *m);
/* Whether a model has such layers is for moe_layers_fit to say. */
int crafted_moe_parse(const json_t *o, const char *where, struct moe_config *m,
                      struct pesc_error *err) MUST_USE;
int crafted_layers_parse(const json_t *o, const char *where, struct moe_config *m,
                         struct pesc_error *err) MUST_USE; /* of that only the layers */
/* Ranges that make sense: 1 <= top_k <= experts <= 1024 and so on. E-USAGE-VALUE. */
int crafted_moe_check(const struct moe_config *m, struct pesc_error *err) MUST_USE;

#endif
