#include "config.h"
#include "adapters/pack_internal.h"

#include "core/json.h"
#include "core/number.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Readers of one field; where is the object's place, "" for the top. */
static int get_str(const json_t *o, const char *where, const char *key, size_t cap, char *out,
                   enum pesc_code code, struct pesc_error *err)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v) || json_string_length(v) == 0)
        return error_set(err, code, "manifest.json: %s%s is not a text", where, key);
    if (json_string_length(v) >= cap)
        return error_set(err, code, "manifest.json: %s%s has more than %zu bytes", where, key,
                         cap - 1);
    memcpy(out, json_string_value(v), json_string_length(v) + 1);
    return 0;
}

static int get_int(const json_t *o, const char *where, const char *key, long long min,
                   long long max, long long *out, enum pesc_code code, struct pesc_error *err)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v))
        return error_set(err, code, "manifest.json: %s%s is not an integer", where, key);
    *out = json_integer_value(v);
    if (*out < min || *out > max)
        return error_set(err, code, "manifest.json: %s%s is %lld, outside %lld..%lld", where, key,
                         *out, min, max);
    return 0;
}

static int get_long(const json_t *o, const char *where, const char *key, long max, long *out,
                    enum pesc_code code, struct pesc_error *err)
{
    long long v = 0;
    TRY(get_int(o, where, key, 1, max, &v, code, err));
    *out = (long)v;
    return 0;
}

static int is_hex64(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static int is_fingerprint(const char *s)
{
    return strncmp(s, "pesc-fp1:", 9) == 0 && is_hex64(s + 9);
}

static int get_hash(const json_t *o, const char *where, const char *key, char out[SHA256_HEX],
                    struct pesc_error *err)
{
    TRY(get_str(o, where, key, SHA256_HEX, out, PESC_E_PK_JSON, err));
    if (!is_hex64(out))
        return FAIL(err, PK_JSON, "manifest.json: %s%s is not a SHA-256", where, key);
    return 0;
}

/* Integers and texts only: a float has more than one spelling, and so would the digest. */
static int check_values(const json_t *v, int depth, struct pesc_error *err)
{
    const char *key;
    const json_t *sub;
    size_t i;
    if (json_is_real(v))
        return FAIL(err, PK_JSON, "manifest.json: holds a number that is not an integer");
    if (depth > 16)
        return FAIL(err, PK_JSON, "manifest.json: nested too deeply");
    if (json_is_array(v)) {
        json_array_foreach(v, i, sub) TRY(check_values(sub, depth + 1, err));
    } else if (json_is_object(v)) {
        json_object_foreach((json_t *)v, key, sub) TRY(check_values(sub, depth + 1, err));
    }
    return 0;
}

/* A name or version: what may stand in a file name. */
static int check_word(const char *what, const char *s, struct pesc_error *err)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-";
    if (strspn(s, allowed) != strlen(s) || strchr("._+-", s[0]))
        return FAIL(err, PK_JSON, "manifest.json: %s '%s' has other than letters, digits, . _ + -",
                    what, s);
    return 0;
}

static int check_time(const char *s, struct pesc_error *err)
{
    static const char shape[] = "0000-00-00T00:00:00Z";
    int good = strlen(s) == sizeof shape - 1;
    for (size_t i = 0; good && shape[i]; i++)
        good = shape[i] == '0' ? s[i] >= '0' && s[i] <= '9' : s[i] == shape[i];
    if (!good)
        return FAIL(err, PK_JSON, "manifest.json: created '%s' is not like 2026-11-23T00:00:00Z",
                    s);
    return 0;
}

static int parse_top(const json_t *o, const struct notes *notes, struct pesc_error *err)
{
    static const char *const known[] = {"pesc_pack", "name",    "version",  "created", "license",
                                        "author",    "base",    "adapter",  "files",   "tensors",
                                        "training",  "metrics", "template", "parents", "requires"};
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)o, key, v)
    {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(key, known[i]) != 0)
            i++;
        if (i == sizeof known / sizeof *known)
            note(notes, "W-PK-FIELD", "manifest.json: '%.100s' is not known here", key);
    }
    char text[300];
    TRY(get_str(o, "", "name", 97, text, PESC_E_PK_JSON, err));
    TRY(check_word("name", text, err));
    TRY(get_str(o, "", "version", 65, text, PESC_E_PK_JSON, err));
    TRY(check_word("version", text, err));
    TRY(get_str(o, "", "created", 32, text, PESC_E_PK_JSON, err));
    TRY(check_time(text, err));
    if (json_object_get(o, "license"))
        TRY(get_str(o, "", "license", 129, text, PESC_E_PK_JSON, err));
    if (json_object_get(o, "author"))
        TRY(get_str(o, "", "author", 257, text, PESC_E_PK_JSON, err));
    if (json_object_get(o, "template"))
        TRY(get_str(json_object_get(o, "template"), "template.", "id", 129, text, PESC_E_PK_JSON,
                    err));
    if (json_object_get(o, "training") && !json_is_object(json_object_get(o, "training")))
        return FAIL(err, PK_JSON, "manifest.json: training is not an object");
    if (json_object_get(o, "metrics") && !json_is_array(json_object_get(o, "metrics")))
        return FAIL(err, PK_JSON, "manifest.json: metrics is not an array");
    const json_t *requires = json_object_get(o, "requires");
    if (requires) {
        unsigned major, minor, own_major = 0, own_minor = 0;
        TRY(get_str(requires, "requires.", "pesc", 33, text, PESC_E_PK_JSON, err));
        if (sscanf(text, ">=%5u.%5u", &major, &minor) != 2)
            return FAIL(err, PK_JSON, "manifest.json: requires.pesc '%s' is not like >=0.1", text);
        if (sscanf(pesc_version(), "%5u.%5u", &own_major, &own_minor) != 2 || major > own_major ||
            (major == own_major && minor > own_minor))
            return FAIL(err, PK_VERSION, "the pack needs pesc %s, this is %s", text,
                        pesc_version());
    }
    return 0;
}

static int parse_base(const json_t *o, struct pack_base *b, struct pesc_error *err)
{
    const enum pesc_code code = PESC_E_PK_JSON;
    TRY(get_str(o, "base.", "name", sizeof b->name, b->name, code, err));
    TRY(get_str(o, "base.", "fingerprint", sizeof b->fingerprint, b->fingerprint, code, err));
    if (!is_fingerprint(b->fingerprint))
        return FAIL(err, PK_JSON, "manifest.json: base.fingerprint '%s' is of no known kind",
                    b->fingerprint);
    if (json_object_get(o, "origin"))
        TRY(get_str(o, "base.", "origin", sizeof b->origin, b->origin, code, err));
    if (*b->origin && !is_fingerprint(b->origin))
        return FAIL(err, PK_JSON, "manifest.json: base.origin '%s' is of no known kind", b->origin);
    if (json_object_get(o, "tokenizer_sha256")) /* a base may have no tokenizer */
        TRY(get_hash(o, "base.", "tokenizer_sha256", b->tokenizer_sha256, err));
    TRY(get_hash(o, "base.", "config_sha256", b->config_sha256, err));
    TRY(get_str(o, "base.", "arch", sizeof b->arch, b->arch, code, err));
    TRY(get_long(o, "base.", "layers", PACK_MAX_TENSORS, &b->layers, code, err));
    TRY(get_long(o, "base.", "hidden", 1 << 24, &b->hidden, code, err));
    TRY(get_long(o, "base.", "vocab", 1 << 30, &b->vocab, code, err));
    return 0;
}

static int get_real(const json_t *o, const char *key, double *x, struct pesc_error *err)
{
    char text[40];
    TRY(get_str(o, "adapter.", key, sizeof text, text, PESC_E_PK_CONFIG, err));
    if (number_parse(text, x) != 0)
        return FAIL(err, PK_CONFIG, "manifest.json: adapter.%s '%s' is not a number", key, text);
    return 0;
}

/* Which layers have adapters: said only where not all do, and in one spelling. */
static int parse_layers(const json_t *o, struct pack_info *info, struct pesc_error *err)
{
    char text[MOE_LAYERS_CAP], spelled[MOE_LAYERS_CAP];
    long L = info->base.layers;
    TRY(get_str(o, "adapter.", "layers", sizeof text, text, PESC_E_PK_CONFIG, err));
    if (moe_layers_parse(&info->moe, text, L) != 0 || info->moe.layers == 0 ||
        strcmp(moe_layers_text(&info->moe, L, spelled), text) != 0)
        return FAIL(err, PK_CONFIG, "manifest.json: adapter.layers '%s' is no part of %ld layers",
                    text, L);
    return 0;
}

/* Every key here changes the result, so one that is not known or has another value is refused. */
static int parse_adapter(const json_t *o, struct pack_info *info, struct pesc_error *err)
{
    static const char *const fixed[][2] = {{"type", "pesc-moe"},
                                           {"act", "gelu"},
                                           {"router_input", "mlp_in"},
                                           {"where", "mlp_out"},
                                           {"trainable", "adapters+routers"}};
    enum { N_FIXED = sizeof fixed / sizeof *fixed, N_READ = 8 };
    const enum pesc_code code = PESC_E_PK_CONFIG;
    struct moe_config *m = &info->moe;
    char text[64];
    for (int i = 0; i < N_FIXED; i++) {
        TRY(get_str(o, "adapter.", fixed[i][0], sizeof text, text, code, err));
        if (strcmp(text, fixed[i][1]) != 0)
            return FAIL(err, PK_CONFIG, "manifest.json: adapter.%s '%s' is not known here, only %s",
                        fixed[i][0], text, fixed[i][1]);
    }
    TRY(get_long(o, "adapter.", "experts", PACK_MAX_TENSORS, &m->experts, code, err));
    TRY(get_long(o, "adapter.", "top_k", m->experts, &m->top_k, code, err));
    TRY(get_long(o, "adapter.", "dim", 1 << 24, &m->dim, code, err));
    TRY(get_real(o, "scaling", &m->scaling, err));
    TRY(get_real(o, "dropout", &m->dropout, err));
    TRY(get_real(o, "balance_coef", &m->balance_coef, err));
    if (!(m->dropout >= 0 && m->dropout < 1) || !(m->balance_coef >= 0))
        return FAIL(err, PK_CONFIG, "manifest.json: adapter.dropout or balance_coef out of range");
    TRY(get_str(o, "adapter.", "balance", sizeof text, text, code, err));
    int kind = balance_from_name(text);
    if (kind < 0)
        return FAIL(err, PK_CONFIG, "manifest.json: adapter.balance '%s' is not known", text);
    m->balance = (enum balance_kind)kind;
    TRY(get_str(o, "adapter.", "dtype", sizeof text, text, code, err));
    int dtype = dtype_from_name(text);
    if (dtype != DT_F32 && dtype != DT_BF16)
        return FAIL(err, PK_CONFIG, "manifest.json: adapter.dtype '%s' is not f32 or bf16", text);
    info->dtype = (enum dtype)dtype;
    int partly = json_object_get(o, "layers") != NULL;
    if (partly)
        TRY(parse_layers(o, info, err));
    if (json_object_size(o) != (size_t)(N_FIXED + N_READ + partly))
        return FAIL(err, PK_CONFIG, "manifest.json: adapter holds a key that is not known here");
    return 0;
}

static int parse_files(const json_t *list, struct pack_info *info, struct pesc_error *err)
{
    uint64_t total = 0;
    size_t n = json_array_size(list);
    int weights = 0, config = 0;
    if (!json_is_array(list))
        return FAIL(err, PK_JSON, "manifest.json: files is not an array");
    if (n > PACK_MAX_FILES - 1)
        return FAIL(err, PK_LIMIT, "manifest.json: %zu files, at most %d", n, PACK_MAX_FILES - 1);
    for (size_t i = 0; i < n; i++) {
        struct pack_entry *f = &info->files[i];
        TRY(get_str(json_array_get(list, i), "files.", "name", sizeof f->name, f->name,
                    PESC_E_PK_JSON, err));
        if (!pack_media(f->name))
            return FAIL(err, PK_EXTRA, "'%s' does not belong in a pack", f->name);
        int order = i > 0 ? strcmp(f[-1].name, f->name) : -1;
        if (order == 0)
            return FAIL(err, PK_DUP, "manifest.json: '%s' is listed twice", f->name);
        if (order > 0)
            return FAIL(err, PK_ORDER, "manifest.json: '%s' is listed after '%s'", f->name,
                        f[-1].name);
        weights |= !strcmp(f->name, PACK_WEIGHTS);
        config |= !strcmp(f->name, "adapter_config.json");
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, i);
        struct pack_entry *f = &info->files[i];
        long long size = 0;
        char media[64];
        TRY(get_int(o, "files.", "size", 0, INT64_MAX, &size, PESC_E_PK_JSON, err));
        f->size = (uint64_t)size;
        if (f->size > (pack_is_text(f->name) ? (uint64_t)PACK_TEXT_MAX : PACK_FILE_MAX) ||
            (total += f->size) > PACK_TOTAL_MAX)
            return FAIL(err, PK_LIMIT, "'%s' has %lld bytes, more than a pack may hold", f->name,
                        size);
        TRY(get_hash(o, "files.", "sha256", f->sha256, err));
        TRY(get_str(o, "files.", "media", sizeof media, media, PESC_E_PK_JSON, err));
        if (strcmp(media, pack_media(f->name)) != 0)
            return FAIL(err, PK_JSON, "manifest.json: '%s' is not %s", f->name, media);
    }
    info->n_files = (long)n;
    if (!weights || !config)
        return FAIL(err, PK_MISSING, "manifest.json: no %s",
                    weights ? "adapter_config.json" : PACK_WEIGHTS);
    return 0;
}

/* The list must be the one that follows from the configuration, in order. */
static int parse_tensors(const json_t *list, const struct pack_info *info, struct pesc_error *err)
{
    struct pack_tensor *t = NULL;
    long n, with = moe_layers(&info->moe, info->base.layers);
    char name[ST_NAME_CAP], dtype[8], hash[SHA256_HEX];
    int rc = -1;
    if (!json_is_array(list))
        return FAIL(err, PK_JSON, "manifest.json: tensors is not an array");
    if (json_array_size(list) !=
        (unsigned long long)with * (1 + 2 * (unsigned long long)info->moe.experts))
        return FAIL(err, PK_CONFIG,
                    "manifest.json: %zu tensors do not make %ld layers of %ld experts",
                    json_array_size(list), with, info->moe.experts);
    TRY_OR(pack_tensors(info->base.layers, info->base.hidden, &info->moe, &t, &n, err), done);
    for (long i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, (size_t)i);
        const json_t *shape = json_object_get(o, "shape");
        TRY_OR(get_str(o, "tensors.", "name", sizeof name, name, PESC_E_PK_CONFIG, err), done);
        TRY_OR(get_str(o, "tensors.", "dtype", sizeof dtype, dtype, PESC_E_PK_CONFIG, err), done);
        TRY_OR(get_hash(o, "tensors.", "sha256", hash, err), done);
        if (strncmp(name, PACK_PREFIX, strlen(PACK_PREFIX)) != 0 ||
            strcmp(name + strlen(PACK_PREFIX), t[i].name) != 0) {
            FAIL(err, PK_CONFIG, "manifest.json: tensor %ld is '%s', expected '%s%s'", i, name,
                 PACK_PREFIX, t[i].name);
            goto done;
        }
        if (json_array_size(shape) != 2 || !json_is_integer(json_array_get(shape, 0)) ||
            !json_is_integer(json_array_get(shape, 1)) ||
            json_integer_value(json_array_get(shape, 0)) != t[i].rows ||
            json_integer_value(json_array_get(shape, 1)) != t[i].cols ||
            strcmp(dtype, dtype_st_name(info->dtype)) != 0) {
            FAIL(err, PK_CONFIG, "manifest.json: '%s' is not %s [%ld, %ld]", name,
                 dtype_st_name(info->dtype), t[i].rows, t[i].cols);
            goto done;
        }
    }
    rc = 0;
done:
    free(t);
    return rc;
}

static int check_canonical(const json_t *tree, const char *text, size_t len, struct pesc_error *err)
{
    TRY(check_values(tree, 0, err));
    char *canonical = json_canonical(tree);
    if (!canonical)
        return FAIL(err, MEMORY, "manifest.json: no memory");
    int same = strlen(canonical) == len && !memcmp(canonical, text, len);
    free(canonical);
    return same ? 0 : FAIL(err, PK_JSON, "manifest.json: not canonical (sorted keys, no spaces)");
}

int pack_manifest_parse(const char *text, size_t len, const struct notes *notes,
                        struct pack_info *info, struct pesc_error *err)
{
    char why[160];
    enum json_fault fault;
    memset(info, 0, sizeof *info);
    json_t *o = info->tree = json_parse(text, len, &fault, why, sizeof why);
    if (!o)
        return error_set(err, fault == JSON_FAULT_MEMORY ? PESC_E_MEMORY : PESC_E_PK_JSON,
                         "manifest.json: %s", why);
    const json_t *version = json_object_get(o, "pesc_pack");
    if (!json_is_integer(version)) {
        FAIL(err, PK_JSON, "manifest.json: no integer pesc_pack");
        goto fail;
    }
    if (json_integer_value(version) != 1) {
        FAIL(err, PK_VERSION, "manifest.json: pack format %lld, this program knows 1",
             (long long)json_integer_value(version));
        goto fail;
    }
    TRY_OR(check_canonical(o, text, len, err), fail);
    TRY_OR(parse_top(o, notes, err), fail);
    TRY_OR(parse_base(json_object_get(o, "base"), &info->base, err), fail);
    TRY_OR(parse_adapter(json_object_get(o, "adapter"), info, err), fail);
    TRY_OR(parse_files(json_object_get(o, "files"), info, err), fail);
    TRY_OR(parse_tensors(json_object_get(o, "tensors"), info, err), fail);
    TRY_OR(hash_bytes(text, len, info->digest, err), fail);
    return 0;
fail:
    pack_info_free(info);
    return -1;
}

void pack_info_free(struct pack_info *info)
{
    json_decref(info->tree);
    info->tree = NULL;
}

int pack_config_check(const char *text, size_t len, const struct pack_info *info,
                      struct pesc_error *err)
{
    char why[160];
    enum json_fault fault;
    json_t *o = json_parse(text, len, &fault, why, sizeof why);
    if (!o)
        return error_set(err, fault == JSON_FAULT_MEMORY ? PESC_E_MEMORY : PESC_E_PK_CONFIG,
                         "adapter_config.json: %s", why);
    const char *type = json_string_value(json_object_get(o, "peft_type"));
    const char *scaling = json_string_value(json_object_get(o, "pesc_scaling"));
    double s = NAN;
    int same = type && !strcmp(type, "PESC_MOE") && scaling && number_parse(scaling, &s) == 0 &&
               s == info->moe.scaling;
    const struct {
        const char *key;
        long want;
    } ints[] = {{"pesc_num_experts", info->moe.experts},
                {"pesc_topk", info->moe.top_k},
                {"pesc_adapter_dim", info->moe.dim}};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        const json_t *v = json_object_get(o, ints[i].key);
        same = same && json_is_integer(v) && json_integer_value(v) == ints[i].want;
    }
    char spelled[MOE_LAYERS_CAP];
    const json_t *layers = json_object_get(o, "pesc_layers");
    const char *said = json_string_value(layers);
    same = same &&
           (info->moe.layers
                ? said && !strcmp(said, moe_layers_text(&info->moe, info->base.layers, spelled))
                : !layers);
    json_decref(o);
    return same ? 0
                : FAIL(err, PK_CONFIG, "adapter_config.json does not say what manifest.json says");
}

static int put(json_t *o, const char *key, json_t *v)
{
    return v ? json_object_set_new(o, key, v) : -1;
}

json_t *pack_manifest_build(const struct pack_export *x, const struct pack_entry *files,
                            long n_files, json_t *tensors, struct pesc_error *err)
{
    char scaling[32], dropout[32], coef[32];
    number_text(x->moe.scaling, scaling);
    number_text(x->moe.dropout, dropout);
    number_text(x->moe.balance_coef, coef);
    const struct pack_base *b = &x->base;
    errno = 0;
    json_t *list = json_array();
    for (long i = 0; list && i < n_files; i++)
        if (json_array_append_new(list,
                                  json_pack("{s:s, s:I, s:s, s:s}", "name", files[i].name, "size",
                                            (json_int_t)files[i].size, "sha256", files[i].sha256,
                                            "media", pack_media(files[i].name))) != 0) {
            json_decref(list);
            list = NULL;
        }
    json_t *base = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "name", b->name, "fingerprint",
                             b->fingerprint, "config_sha256", b->config_sha256, "arch", b->arch,
                             "layers", (json_int_t)b->layers, "hidden", (json_int_t)b->hidden,
                             "vocab", (json_int_t)b->vocab);
    json_t *adapter =
        json_pack("{s:s, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "type",
                  "pesc-moe", "experts", (json_int_t)x->moe.experts, "top_k",
                  (json_int_t)x->moe.top_k, "dim", (json_int_t)x->moe.dim, "scaling", scaling,
                  "dropout", dropout, "balance", balance_name(x->moe.balance), "balance_coef", coef,
                  "act", "gelu", "router_input", "mlp_in", "where", "mlp_out", "trainable",
                  "adapters+routers", "dtype", dtype_name(x->bf16 ? DT_BF16 : DT_F32));
    json_t *o = json_object();
    char layers[MOE_LAYERS_CAP];
    int bad =
        !o || !base || !adapter ||
        (x->moe.layers &&
         put(adapter, "layers", json_string(moe_layers_text(&x->moe, b->layers, layers))) != 0) ||
        (b->origin[0] && put(base, "origin", json_string(b->origin)) != 0) ||
        (b->tokenizer_sha256[0] &&
         put(base, "tokenizer_sha256", json_string(b->tokenizer_sha256)) != 0);
    if (!bad) {
        bad |= put(o, "pesc_pack", json_integer(1)) | put(o, "name", json_string(x->name)) |
               put(o, "version", json_string(x->version)) |
               put(o, "created", json_string(x->created)) | put(o, "base", json_incref(base)) |
               put(o, "adapter", json_incref(adapter)) | put(o, "files", json_incref(list)) |
               put(o, "tensors", json_incref(tensors)) |
               put(o, "requires", json_pack("{s:s}", "pesc", ">=0.1"));
        if (x->license)
            bad |= put(o, "license", json_string(x->license));
        if (x->author)
            bad |= put(o, "author", json_string(x->author));
        if (x->template_id)
            bad |= put(o, "template", json_pack("{s:s}", "id", x->template_id));
        if (x->training)
            bad |= put(o, "training", json_incref((json_t *)x->training));
        if (x->metrics)
            bad |= put(o, "metrics", json_incref((json_t *)x->metrics));
    }
    json_decref(base);
    json_decref(adapter);
    json_decref(list);
    if (bad) {
        json_decref(o);
        if (errno == ENOMEM)
            FAIL(err, MEMORY, "no memory for the manifest");
        else
            FAIL(err, PK_JSON, "the manifest cannot be built: a text is not UTF-8");
        return NULL;
    }
    return o;
}
