/* quantization_config: bitsandbytes' NF4, this program's own int8 and both in one are read, the
 * rest is refused by its name. */
#include "config.h"
#include "model/hf_config_read.h"

#include <string.h>

static int refuse(const struct cfg_src *s, const char *key, const char *what)
{
    return FAIL(s->err, CFG_QUANT,
                "%s: %s (%.64s) is not read; bitsandbytes' nf4 and pesc's own int8 are. Take the "
                "original model",
                s->where, key, what);
}

static int is_true(const json_t *o, const char *key)
{
    char hidden[64] = "_";
    strncat(hidden, key, sizeof hidden - 2);
    const json_t *v = json_object_get(o, key);
    return json_is_true(v ? v : json_object_get(o, hidden));
}

static int read_bitsandbytes(const struct cfg_src *s, const json_t *q, struct model_config *c)
{
    static const char key[] = "quantization_config";
    const char *type = json_string_value(json_object_get(q, "bnb_4bit_quant_type"));
    const json_t *storage = json_object_get(q, "bnb_4bit_quant_storage");
    if (is_true(q, "load_in_8bit"))
        return refuse(s, key, "bitsandbytes llm_int8");
    if (!is_true(q, "load_in_4bit"))
        return refuse(s, key, "bitsandbytes without load_in_4bit");
    if (!type || strcmp(type, "nf4")) /* fp4 is what bitsandbytes takes when nothing is said */
        return refuse(s, key, type ? type : "fp4");
    if (storage && !json_is_null(storage) &&
        (!json_is_string(storage) || strcmp(json_string_value(storage), "uint8")))
        return refuse(s, key, "bnb_4bit_quant_storage other than uint8");
    c->quant = QUANT_NF4;
    return 0;
}

int cfg_read_quant(const struct cfg_src *s, struct model_config *c)
{
    const json_t *q = json_object_get(s->root, "quantization_config");
    const json_t *other = json_object_get(s->root, "compression_config");
    const char *method = json_string_value(json_object_get(q, "quant_method"));
    if (other && !json_is_null(other))
        return refuse(s, "compression_config", "compressed-tensors");
    if (!q || json_is_null(q))
        return 0;
    if (method ? !strcmp(method, "bitsandbytes") : is_true(q, "load_in_4bit"))
        return read_bitsandbytes(s, q, c);
    c->quant_mixed = method && !strcmp(method, "pesc_mixed");
    if (!method || (strcmp(method, "pesc_int8") && !c->quant_mixed))
        return refuse(s, "quantization_config", method ? method : "method not named");
    const json_t *version = json_object_get(q, "version");
    if (!json_is_integer(version) || json_integer_value(version) != 1)
        return refuse(s, method, "another version than 1");
    c->quant = c->quant_mixed ? QUANT_NF4 : QUANT_INT8;
    return 0;
}
