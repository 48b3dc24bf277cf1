/* Rotary position embedding as Hugging Face configs state it: rope_theta beside an object
 * rope_scaling, or both inside of an object rope_parameters. */
#include "config.h"
#include "model/hf_config_read.h"

#include <string.h>

struct rope {
    enum rope_kind kind;
    double theta, factor, low, high;
    long original;
};

static const struct {
    const char *name;
    enum rope_kind kind;
} kinds[] = {
    {"default", ROPE_DEFAULT},
    {"linear", ROPE_LINEAR},
    {"dynamic", ROPE_DYNAMIC},
    {"llama3", ROPE_LLAMA3},
};

#define ROPE_FAIL(s, ...) error_set((s)->err, PESC_E_CFG_ROPE, __VA_ARGS__)

static int read_kind(const struct cfg_src *s, const char *whole, const json_t *o, struct rope *r)
{
    const json_t *new_key = json_object_get(o, "rope_type"), *old_key = json_object_get(o, "type");
    const json_t *type = new_key ? new_key : old_key;
    if (type && !json_is_string(type))
        return ROPE_FAIL(s, "%s: %s: rope_type is not a string", s->where, whole);
    if (new_key && old_key && !json_equal(new_key, old_key))
        return ROPE_FAIL(s, "%s: %s: type and rope_type disagree", s->where, whole);
    const char *name = type ? json_string_value(type) : "default";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].name, name)) {
            r->kind = kinds[i].kind;
            return 0;
        }
    return ROPE_FAIL(s,
                     "%s: %s: rope type '%.32s' is not supported; default, linear, dynamic and "
                     "llama3 are",
                     s->where, whole, name);
}

/* A number above 0 and not absurd. */
static int positive(const struct cfg_src *s, const char *whole, const char *key, const json_t *v,
                    double *out)
{
    if (!v)
        return ROPE_FAIL(s, "%s: %s: %s is missing", s->where, whole, key);
    if (!json_is_number(v))
        return ROPE_FAIL(s, "%s: %s: %s is not a number", s->where, whole, key);
    *out = json_number_value(v);
    if (!(*out > 0 && *out <= 1e15))
        return ROPE_FAIL(s, "%s: %s: %s %g is not above 0 or too large", s->where, whole, key,
                         *out);
    return 0;
}

static int read_original(const struct cfg_src *s, const char *whole, const json_t *o,
                         struct rope *r)
{
    const json_t *v = json_object_get(o, "original_max_position_embeddings");
    const json_t *outer = json_object_get(s->root, "original_max_position_embeddings");
    if (!v)
        v = outer;
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > 1 << 30)
        return ROPE_FAIL(s,
                         "%s: %s: original_max_position_embeddings is missing or not a whole "
                         "number from 1",
                         s->where, whole);
    if (outer && !json_is_null(outer) && !json_equal(v, outer))
        return ROPE_FAIL(s, "%s: two different original_max_position_embeddings", s->where);
    r->original = (long)json_integer_value(v);
    return 0;
}

static int known_field(enum rope_kind kind, const char *key)
{
    if (!strcmp(key, "rope_type") || !strcmp(key, "type") || !strcmp(key, "rope_theta") ||
        !strcmp(key, "partial_rotary_factor"))
        return 1;
    if (!strcmp(key, "factor"))
        return kind != ROPE_DEFAULT;
    return kind == ROPE_LLAMA3 &&
           (!strcmp(key, "low_freq_factor") || !strcmp(key, "high_freq_factor") ||
            !strcmp(key, "original_max_position_embeddings"));
}

static int read_object(const struct cfg_src *s, const char *whole, const json_t *o, struct rope *r)
{
    const char *key;
    json_t *v;
    if (!json_is_object(o))
        return ROPE_FAIL(s, "%s: %s is not an object", s->where, whole);
    TRY(read_kind(s, whole, o, r));
    json_object_foreach((json_t *)o, key, v)
    {
        if (!known_field(r->kind, key))
            return ROPE_FAIL(s, "%s: %s: '%.64s' is not a field of this rope type", s->where, whole,
                             key);
        if (!strcmp(key, "partial_rotary_factor") &&
            !(json_is_null(v) || (json_is_number(v) && json_number_value(v) == 1)))
            return cfg_unsupported(s, key, "not 1");
    }
    v = json_object_get(o, "rope_theta");
    if (v)
        TRY(positive(s, whole, "rope_theta", v, &r->theta));
    if (r->kind != ROPE_DEFAULT)
        TRY(positive(s, whole, "factor", json_object_get(o, "factor"), &r->factor));
    if (r->kind != ROPE_LLAMA3)
        return 0;
    TRY(positive(s, whole, "low_freq_factor", json_object_get(o, "low_freq_factor"), &r->low));
    TRY(positive(s, whole, "high_freq_factor", json_object_get(o, "high_freq_factor"), &r->high));
    if (r->high <= r->low)
        return ROPE_FAIL(s, "%s: %s: high_freq_factor is not above low_freq_factor", s->where,
                         whole);
    return read_original(s, whole, o, r);
}

/* An empty object says nothing, as null does. */
static int says_something(const json_t *o)
{
    return o && !json_is_null(o) && !(json_is_object(o) && json_object_size(o) == 0);
}

static int same_rope(const struct rope *a, const struct rope *b)
{
    return a->kind == b->kind && a->theta == b->theta && a->factor == b->factor &&
           a->low == b->low && a->high == b->high && a->original == b->original;
}

int cfg_read_rope(const struct cfg_src *s, struct model_config *c)
{
    const json_t *theta = json_object_get(s->root, "rope_theta");
    const json_t *scaling = json_object_get(s->root, "rope_scaling");
    const json_t *params = json_object_get(s->root, "rope_parameters");
    struct rope r = {ROPE_DEFAULT, 10000, 1, 0, 0, 0}, other;
    if (theta && !json_is_number(theta))
        return cfg_type(s, "rope_theta", "a number");
    if (theta)
        TRY(positive(s, "config", "rope_theta", theta, &r.theta));
    other = r;
    if (says_something(params))
        TRY(read_object(s, "rope_parameters", params, &r));
    if (says_something(scaling)) {
        if (says_something(params) && !json_object_get(scaling, "rope_theta"))
            other.theta = r.theta;
        TRY(read_object(s, "rope_scaling", scaling, &other));
        if (says_something(params) && !same_rope(&r, &other))
            return ROPE_FAIL(s, "%s: rope_scaling and rope_parameters disagree", s->where);
        r = other;
    }
    if (theta && says_something(params) && json_number_value(theta) != r.theta)
        return ROPE_FAIL(s, "%s: rope_theta stands twice with different values", s->where);
    if (r.kind == ROPE_DYNAMIC) {
        r.original = c->max_positions;
        if (c->head_dim < 4)
            return ROPE_FAIL(s, "%s: dynamic rope scaling needs head_dim 4 or more", s->where);
    }
    c->rope = r.kind;
    c->rope_theta = r.theta;
    c->rope_factor = r.factor;
    c->rope_low_freq = r.low;
    c->rope_high_freq = r.high;
    c->rope_original_positions = r.original;
    return 0;
}
