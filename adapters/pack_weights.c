#include "config.h"
#include "adapters/pack_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 16 }; /* elements */
#define SUSPECT 1e4f      /* a trained adapter's weights are around 1e-2 */

struct scan {
    struct st_file *st;
    const struct notes *notes;
    long large, zero_routers;
    const char *first_large, *first_zero;
    unsigned char raw[CHUNK * 4];
    float f[CHUNK];
};

/* Hash and values of one tensor in one reading. */
static int scan_tensor(struct scan *s, const struct st_tensor *t, int is_router,
                       char hex[SHA256_HEX], struct pesc_error *err)
{
    struct hash *h = hash_new(err);
    if (!h)
        return -1;
    size_t size = dtype_size(t->dtype);
    float max = 0;
    for (uint64_t i = 0; i < t->n; i += CHUNK) {
        size_t n = t->n - i < CHUNK ? (size_t)(t->n - i) : CHUNK;
        if (st_read_range(s->st, t, i * size, n * size, s->raw, err) != 0) {
            hash_free(h);
            return -1;
        }
        hash_add(h, s->raw, n * size);
        dtype_to_f32(s->f, s->raw, t->dtype, n);
        for (size_t k = 0; k < n; k++) {
            if (!isfinite(s->f[k])) {
                hash_free(h);
                return FAIL(err, PK_NONFINITE,
                            "'%s' holds a value that is not finite (element %llu)", t->name,
                            (unsigned long long)(i + k));
            }
            max = fmaxf(max, fabsf(s->f[k]));
        }
    }
    hash_hex(h, hex);
    hash_free(h);
    if (max > SUSPECT && s->large++ == 0)
        s->first_large = t->name;
    if (is_router && max == 0 && s->zero_routers++ == 0)
        s->first_zero = t->name;
    return 0;
}

/* What the file is must follow from the configuration alone, to the order of its tensors. */
static int match(const struct st_file *st, long i, const struct pack_tensor *want, enum dtype dtype,
                 struct pesc_error *err)
{
    const struct st_tensor *t = st_at(st, i);
    if (strncmp(t->name, PACK_PREFIX, strlen(PACK_PREFIX)) != 0 ||
        strcmp(t->name + strlen(PACK_PREFIX), want->name) != 0)
        return FAIL(err, PK_CONFIG, PACK_WEIGHTS ": tensor %ld is '%s', expected '%s%s'", i,
                    t->name, PACK_PREFIX, want->name);
    if (t->dtype != dtype || t->ndim != 2 || t->shape[0] != want->rows || t->shape[1] != want->cols)
        return FAIL(err, PK_CONFIG, PACK_WEIGHTS ": '%s' is not %s [%ld, %ld]", t->name,
                    dtype_st_name(dtype), want->rows, want->cols);
    return 0;
}

/* Calls one(ctx, i, tensor, hash) for each tensor in order. */
static int scan_file(const char *path, long layers, long hidden, const struct moe_config *moe,
                     enum dtype dtype, const struct notes *notes,
                     int (*one)(void *ctx, long i, const struct st_tensor *t, const char *hex,
                                struct pesc_error *err),
                     void *ctx, struct pesc_error *err)
{
    struct pack_tensor *want = NULL;
    long n = 0;
    int rc = -1;
    struct scan *s = calloc(1, sizeof *s);
    if (!s)
        return FAIL(err, MEMORY, "no memory to check weights");
    s->notes = notes;
    TRY_OR(pack_tensors(layers, hidden, moe, &want, &n, err), done);
    struct pesc_error st_err = {0};
    if (st_open(path, ST_STRICT, notes, &s->st, &st_err) != 0) {
        if (st_err.exit_status == 3) /* a bad file inside of a pack makes a bad pack */
            FAIL(err, PK_CONFIG, "weights: %s: %s", st_err.name, st_err.text);
        else
            error_set(err, (enum pesc_code)st_err.code, "%s", st_err.text);
        goto done;
    }
    if (st_count(s->st) != n) {
        FAIL(err, PK_CONFIG, PACK_WEIGHTS " has %ld tensors, the configuration %ld",
             st_count(s->st), n);
        goto done;
    }
    for (long i = 0; i < n; i++) {
        char hex[SHA256_HEX];
        TRY_OR(match(s->st, i, &want[i], dtype, err), done);
        TRY_OR(scan_tensor(s, st_at(s->st, i), want[i].is_router, hex, err), done);
        TRY_OR(one(ctx, i, st_at(s->st, i), hex, err), done);
    }
    if (s->large)
        note(notes, "W-PK-SUSPECT", "%ld tensors hold weights over 10000, the first is '%s'",
             s->large, s->first_large);
    if (s->zero_routers)
        note(notes, "W-PK-SUSPECT", "%ld routers are all zeros, the first is '%s'", s->zero_routers,
             s->first_zero);
    rc = 0;
done:
    st_close(s->st);
    free(want);
    free(s);
    return rc;
}

static int compare_one(void *ctx, long i, const struct st_tensor *t, const char *hex,
                       struct pesc_error *err)
{
    const json_t *o = json_array_get((const json_t *)ctx, (size_t)i);
    const char *want = json_string_value(json_object_get(o, "sha256"));
    if (!want || strcmp(want, hex) != 0)
        return FAIL(err, PK_HASH, "'%s' is not the tensor that the manifest lists", t->name);
    return 0;
}

int pack_weights_check(const char *path, const struct pack_info *info, const struct notes *notes,
                       struct pesc_error *err)
{
    return scan_file(path, info->base.layers, info->base.hidden, &info->moe, info->dtype, notes,
                     compare_one, json_object_get(info->tree, "tensors"), err);
}

static int list_one(void *ctx, long i, const struct st_tensor *t, const char *hex,
                    struct pesc_error *err)
{
    (void)i;
    json_t *o =
        json_pack("{s:s, s:s, s:[I, I], s:s}", "name", t->name, "dtype", dtype_st_name(t->dtype),
                  "shape", (json_int_t)t->shape[0], (json_int_t)t->shape[1], "sha256", hex);
    if (!o || json_array_append_new(ctx, o) != 0)
        return FAIL(err, MEMORY, "no memory for the manifest");
    return 0;
}

json_t *pack_weights_list(const char *path, long layers, long hidden, const struct moe_config *moe,
                          enum dtype dtype, const struct notes *notes, struct pesc_error *err)
{
    json_t *list = json_array();
    if (!list) {
        FAIL(err, MEMORY, "no memory for the manifest");
        return NULL;
    }
    if (scan_file(path, layers, hidden, moe, dtype, notes, list_one, list, err) != 0) {
        json_decref(list);
        return NULL;
    }
    return list;
}
