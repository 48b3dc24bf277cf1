/* Inside of the config reader: typed access to the keys of config.json. */
#ifndef PESC_MODEL_HF_CONFIG_READ_H
#define PESC_MODEL_HF_CONFIG_READ_H

#include "model/hf_config.h"

#include <limits.h>

struct cfg_src {
    const json_t *root;
    const char *where; /* the file, for messages */
    struct pesc_error *err;
};

/* As a default: the key must be there. */
#define CFG_REQUIRED LONG_MIN

int cfg_absent(const struct cfg_src *s, const char *key);                   /* or null */
int cfg_type(const struct cfg_src *s, const char *key, const char *wanted); /* E-CFG-TYPE */
/* E-CFG-UNSUP */
int cfg_unsupported(const struct cfg_src *s, const char *key, const char *value);

int cfg_int(const struct cfg_src *s, const char *key, long dflt, long lo, long hi,
            long *out) MUST_USE;
/* null leaves *out alone. */
int cfg_int_or_null(const struct cfg_src *s, const char *key, long dflt, long lo, long hi,
                    long *out) MUST_USE;
int cfg_real(const struct cfg_src *s, const char *key, double dflt, double *out) MUST_USE;
int cfg_bool(const struct cfg_src *s, const char *key, int dflt, int *out) MUST_USE;

/* rope_theta, rope_scaling and rope_parameters. E-CFG-ROPE. */
int cfg_read_rope(const struct cfg_src *s, struct model_config *c) MUST_USE;
/* quantization_config: what can be read of it. E-CFG-QUANT. */
int cfg_read_quant(const struct cfg_src *s, struct model_config *c) MUST_USE;
/* Keys that would change the result in a way that is not computed here. E-CFG-UNSUP. */
int cfg_refuse_unsupported(const struct cfg_src *s) MUST_USE;

#endif
