#include "config.h"
#include "craft/crafted.h"

#include "core/json.h"
#include "core/number.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int crafted_is(const char *dir)
{
    char path[PATH_CAP];
    return path_join(path, dir, CRAFTED_FILE, NULL) == 0 && path_exists(path);
}

json_t *crafted_moe_json(const struct moe_config *m)
{
    char scaling[NUMBER_CAP], dropout[NUMBER_CAP], coef[NUMBER_CAP], layers[MOE_LAYERS_CAP];
    number_text(m->scaling, scaling);
    number_text(m->dropout, dropout);
    number_text(m->balance_coef, coef);
    json_t *o =
        json_pack("{s:I, s:I, s:I, s:s, s:s, s:s, s:s}", "experts", (json_int_t)m->experts, "top_k",
                  (json_int_t)m->top_k, "adapter_dim", (json_int_t)m->dim, "scaling", scaling,
                  "dropout", dropout, "balance", balance_name(m->balance), "balance_coef", coef);
    if (m->layers)
        json_put(&o, "layers", json_string(moe_layers_text(m, m->layers, layers)));
    return o;
}

int crafted_moe_check(const struct moe_config *m, struct pesc_error *err)
{
    if (m->experts < 1 || m->experts > 1024)
        return FAIL(err, USAGE_VALUE, "experts: %ld is outside 1..1024", m->experts);
    if (m->top_k < 1 || m->top_k > m->experts)
        return FAIL(err, USAGE_VALUE, "top-k: %ld of %ld experts", m->top_k, m->experts);
    if (m->dim < 1 || m->dim > 65536)
        return FAIL(err, USAGE_VALUE, "adapter-dim: %ld is outside 1..65536", m->dim);
    if (!isfinite(m->scaling) || m->scaling == 0 || fabs(m->scaling) > 1e4)
        return FAIL(err, USAGE_VALUE, "adapter-scaling: %g is not a usable factor", m->scaling);
    if (!(m->dropout >= 0 && m->dropout < 1))
        return FAIL(err, USAGE_VALUE, "adapter-dropout: %g is outside [0, 1)", m->dropout);
    if (!(m->balance_coef >= 0 && m->balance_coef < 1e4))
        return FAIL(err, USAGE_VALUE, "balance-coef: %g is not a usable factor", m->balance_coef);
    return 0;
}

static int real_of(const json_t *o, const char *key, double *out)
{
    const char *text = json_string_value(json_object_get(o, key));
    char *end;
    if (!text || !*text)
        return -1;
    *out = strtod(text, &end);
    return *end || !isfinite(*out) ? -1 : 0;
}

int crafted_layers_parse(const json_t *o, const char *where, struct moe_config *m,
                         struct pesc_error *err)
{
    const json_t *v = json_object_get(o, "layers");
    m->first = m->layers = 0;
    if (v && (!json_is_string(v) || moe_layers_parse(m, json_string_value(v), 1 << 20) != 0))
        return FAIL(err, CFG_CRAFT, "%s: adapters.layers is not like \"15-29\"", where);
    return 0;
}

int crafted_moe_parse(const json_t *o, const char *where, struct moe_config *m,
                      struct pesc_error *err)
{
    const json_t *E = json_object_get(o, "experts"), *K = json_object_get(o, "top_k"),
                 *A = json_object_get(o, "adapter_dim");
    const char *balance = json_string_value(json_object_get(o, "balance"));
    int kind = balance ? balance_from_name(balance) : -1;
    if (!json_is_integer(E) || !json_is_integer(K) || !json_is_integer(A) || kind < 0 ||
        real_of(o, "scaling", &m->scaling) != 0 || real_of(o, "dropout", &m->dropout) != 0 ||
        real_of(o, "balance_coef", &m->balance_coef) != 0)
        return FAIL(err, CFG_CRAFT, "%s: the adapters' structure is missing or malformed", where);
    m->experts = (long)json_integer_value(E);
    m->top_k = (long)json_integer_value(K);
    m->dim = (long)json_integer_value(A);
    m->balance = (enum balance_kind)kind;
    TRY(crafted_layers_parse(o, where, m, err));
    struct pesc_error bad = {0};
    if (crafted_moe_check(m, &bad) != 0)
        return FAIL(err, CFG_CRAFT, "%s: %s", where, bad.text);
    return 0;
}

int crafted_read(const char *dir, struct crafted *c, struct pesc_error *err)
{
    char path[PATH_CAP];
    TRY(path_join(path, dir, CRAFTED_FILE, err));
    json_t *o = json_file(path, 1 << 20, PESC_E_CFG_CRAFT, err);
    if (!o)
        return -1;
    int rc = -1;
    const json_t *base = json_object_get(o, "base"), *version = json_object_get(o, "pesc_crafted"),
                 *seed = json_object_get(o, "seed");
    const char *at = json_string_value(json_object_get(base, "path"));
    const char *fp = json_string_value(json_object_get(base, "fingerprint"));
    const char *dtype = json_string_value(json_object_get(base, "dtype"));
    memset(c, 0, sizeof *c);
    if (!json_is_integer(version) || json_integer_value(version) != 1) {
        FAIL(err, CFG_CRAFT, "%s: no crafted model of version 1", path);
        goto done;
    }
    if (!at || !*at || !fp || strlen(fp) >= sizeof c->fingerprint || !json_is_integer(seed)) {
        FAIL(err, CFG_CRAFT, "%s: base.path, base.fingerprint or seed is missing", path);
        goto done;
    }
    int dt = !dtype || !strcmp(dtype, "stored") ? DT_COUNT : dtype_from_name(dtype);
    if (dt != DT_COUNT && dt != DT_F32 && dt != DT_BF16 && dt != DT_F16) {
        FAIL(err, CFG_CRAFT, "%s: base.dtype '%s' is not known", path, dtype);
        goto done;
    }
    c->base_dtype = (enum dtype)dt;
    c->seed = (uint64_t)json_integer_value(seed);
    strcpy(c->fingerprint, fp);
    TRY_OR(path_join(c->base, dir, at, err), done);
    TRY_OR(crafted_moe_parse(json_object_get(o, "adapters"), path, &c->moe, err), done);
    rc = 0;
done:
    json_decref(o);
    return rc;
}

static int write_adapters(const char *path, const struct model_config *mc, const struct crafted *c,
                          struct pesc_error *err)
{
    struct params ps = {0};
    int rc = -1;
    TRY_OR(moe_declare(&ps, &c->moe, mc->num_layers, mc->hidden_size, err), done);
    TRY_OR(params_alloc(&ps, 0, err), done);
    moe_init_all(ps.value, &c->moe, c->seed, mc->num_layers, mc->hidden_size);
    rc = params_save(&ps, path, 0, "", "format", "pt", NULL, NULL, err);
done:
    params_free(&ps);
    return rc;
}

/* The base in dir, written and read again for its fingerprint. */
static int write_base(const char *dir, const struct base *b, struct crafted *c,
                      const struct convert *how, struct converted *out, struct pesc_error *err)
{
    char path[PATH_CAP];
    struct base *own;
    TRY(path_join(path, dir, CRAFTED_BASE, err));
    TRY(dir_make(path, err));
    TRY(base_convert(path, b, how, out, err));
    TRY(base_open(path, NULL, &own, err));
    int rc = base_fingerprint(own, c->fingerprint, err);
    base_close(own);
    return rc;
}

static int write_description(const char *dir, const struct base *b, const struct crafted *c,
                             int contained, struct pesc_error *err)
{
    char path[PATH_CAP], absolute[PATH_CAP];
    TRY(path_real(absolute, base_dir(b), err));
    int stored = contained || c->base_dtype == DT_COUNT;
    json_t *o =
        json_pack("{s:i, s:{s:s, s:s, s:s, s:s}, s:o, s:I}", "pesc_crafted", 1, "base", "path",
                  contained ? CRAFTED_BASE : absolute, "name", path_base(absolute), "fingerprint",
                  c->fingerprint, "dtype", stored ? "stored" : dtype_name(c->base_dtype),
                  "adapters", crafted_moe_json(&c->moe), "seed", (json_int_t)c->seed);
    char *text = o ? json_written(o, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    json_decref(o);
    if (!text)
        return FAIL(err, MEMORY, "no memory to describe %s", dir);
    int rc = path_join(path, dir, CRAFTED_FILE, err);
    if (rc == 0)
        rc = file_write(path, text, strlen(text), err);
    free(text);
    return rc;
}

int crafted_write(const char *dir, const struct base *b, struct crafted *c,
                  const struct convert *contain, struct converted *out, struct pesc_error *err)
{
    char target[PATH_CAP], tmp[PATH_CAP], path[PATH_CAP];
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/')
        len--;
    if (path_exists(dir))
        return FAIL(err, USAGE_EXISTS, "%s exists already", dir);
    int n = len < PATH_CAP ? snprintf(target, sizeof target, "%.*s", (int)len, dir) : -1;
    if (n > 0)
        n = snprintf(tmp, sizeof tmp, "%s.tmp-%ld", target, (long)getpid());
    if (n <= 0 || n >= PATH_CAP)
        return FAIL(err, IO, "path too long: %.200s...", dir);
    int rc = -1;
    TRY_OR(dir_make(tmp, err), done);
    if (contain)
        TRY_OR(write_base(tmp, b, c, contain, out, err), done);
    TRY_OR(path_join(path, tmp, CRAFTED_ADAPTERS, err), done);
    TRY_OR(write_adapters(path, base_config(b), c, err), done);
    TRY_OR(write_description(tmp, b, c, contain != NULL, err), done);
    if (renameat2(AT_FDCWD, tmp, AT_FDCWD, target, RENAME_NOREPLACE) == 0)
        rc = 0;
    else
        FAIL(err, IO, "%s: cannot be given its name: %s", target, strerror(errno));
done:
    if (rc != 0) {
        int ignored = dir_remove_all(tmp, NULL);
        (void)ignored;
    }
    return rc;
}
