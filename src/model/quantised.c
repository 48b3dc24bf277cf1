#include "config.h"
#include "model/quantised.h"

#include "core/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_CAP = 4096 };

struct reading {
    const struct shards *s;
    const char *dir;
    struct quantised_tensor *t;
};

/* A companion of the codes: its type and number of elements must be right. */
static int part(const struct reading *r, const char *suffix, const char *type, uint64_t n,
                const struct shard_tensor **out, struct pesc_error *err)
{
    char name[QUANT_NAME_CAP];
    snprintf(name, sizeof name, "%s%s", r->t->name, suffix);
    const struct shard_tensor *p = shards_find(r->s, name);
    if (!p)
        return FAIL(err, MODEL_MISSING, "%s: tensor '%s' is quantised, but '%s' is missing", r->dir,
                    r->t->name, name);
    if (strcmp(p->t->stored, type))
        return FAIL(err, MODEL_QUANT, "%s: tensor '%s' is %s, %s is expected", r->dir, name,
                    p->t->stored, type);
    if (n && p->t->n != n)
        return FAIL(err, MODEL_SHAPE, "%s: tensor '%s' has %llu elements, %llu are expected",
                    r->dir, name, (unsigned long long)p->t->n, (unsigned long long)n);
    r->t->part[r->t->n_parts++] = p;
    *out = p;
    return 0;
}

static int bad_state(const struct reading *r, const char *what, struct pesc_error *err)
{
    return FAIL(err, MODEL_QUANT, "%s: tensor '%s': its quant_state %s", r->dir, r->t->name, what);
}

/* A power of two that a block may have. */
static long block_of(const json_t *v)
{
    json_int_t n = json_integer_value(v);
    return json_is_integer(v) && n >= NF4_BLOCK_MIN && n <= NF4_BLOCK_MAX && !(n & (n - 1))
               ? (long)n
               : 0;
}

static int state_fields(const struct reading *r, const json_t *o, const struct model_tensor *want,
                        struct pesc_error *err)
{
    struct qmat *m = &r->t->shape;
    const char *type = json_string_value(json_object_get(o, "quant_type"));
    const json_t *shape = json_object_get(o, "shape");
    const json_t *nested = json_object_get(o, "nested_blocksize");
    const json_t *offset = json_object_get(o, "nested_offset");
    const char *dtype = json_string_value(json_object_get(o, "nested_dtype"));
    if (!type || strcmp(type, "nf4"))
        return bad_state(r, "does not say nf4", err);
    if (json_array_size(shape) != 2 || !json_is_integer(json_array_get(shape, 0)) ||
        !json_is_integer(json_array_get(shape, 1)))
        return bad_state(r, "has no shape", err);
    if (json_integer_value(json_array_get(shape, 0)) != want->shape[0] ||
        json_integer_value(json_array_get(shape, 1)) != want->shape[1])
        return FAIL(err, MODEL_SHAPE,
                    "%s: tensor '%s' is quantised from shape [%lld,%lld], the config asks for "
                    "[%ld,%ld]",
                    r->dir, r->t->name, (long long)json_integer_value(json_array_get(shape, 0)),
                    (long long)json_integer_value(json_array_get(shape, 1)), want->shape[0],
                    want->shape[1]);
    m->block = block_of(json_object_get(o, "blocksize"));
    if (!m->block)
        return bad_state(r, "has no blocksize of 32, 64, ... 4096", err);
    if (!nested && !offset)
        return 0;
    m->nested = block_of(nested);
    r->t->offset = (float)json_number_value(offset);
    if (!m->nested || !json_is_number(offset) || !isfinite(r->t->offset) ||
        (dtype && strcmp(dtype, "float32")))
        return bad_state(r, "has a nested part that is not understood", err);
    return 0;
}

static int read_state(const struct reading *r, const struct model_tensor *want,
                      struct pesc_error *err)
{
    char text[STATE_CAP];
    const struct shard_tensor *p;
    char fp4[QUANT_NAME_CAP];
    snprintf(fp4, sizeof fp4, "%s.quant_state.bitsandbytes__fp4", r->t->name);
    if (shards_find(r->s, fp4))
        return FAIL(err, CFG_QUANT, "%s: tensor '%s' is fp4, which is not read; nf4 is", r->dir,
                    r->t->name);
    TRY(part(r, QUANT_STATE, "U8", 0, &p, err));
    if (p->t->n == 0 || p->t->n > sizeof text)
        return bad_state(r, "is empty or too long", err);
    TRY(st_read(p->file, p->t, text, err));
    enum json_fault fault;
    json_t *o = json_parse(text, (size_t)p->t->n, &fault, NULL, 0);
    if (!o && fault == JSON_FAULT_MEMORY)
        return FAIL(err, MEMORY, "%s: no memory for a tensor's description", r->dir);
    int rc = json_is_object(o) ? state_fields(r, o, want, err)
                               : bad_state(r, "is not a JSON object", err);
    json_decref(o);
    return rc;
}

/* The 16 values, exactly: others would be another type. */
static int check_map(const struct reading *r, const struct shard_tensor *map,
                     struct pesc_error *err)
{
    float v[16];
    TRY(st_read(map->file, map->t, v, err));
    if (memcmp(v, nf4_values, sizeof v))
        return FAIL(err, MODEL_QUANT, "%s: '%s' does not hold the values of nf4", r->dir,
                    map->t->name);
    return 0;
}

static int open_nf4(const struct reading *r, const struct model_tensor *want,
                    struct pesc_error *err)
{
    struct quantised_tensor *t = r->t;
    const struct shard_tensor *map;
    TRY(read_state(r, want, err));
    uint64_t blocks = (uint64_t)qmat_blocks(&t->shape), scales = (uint64_t)qmat_scales(&t->shape);
    if (t->shape.nested) {
        TRY(part(r, QUANT_ABSMAX, "U8", blocks, &t->absmax, err));
        TRY(part(r, QUANT_NESTED_ABSMAX, "F32", scales, &t->scale, err));
        TRY(part(r, QUANT_NESTED_MAP, "F32", 256, &t->map, err));
    } else {
        TRY(part(r, QUANT_ABSMAX, "F32", blocks, &t->scale, err));
    }
    TRY(part(r, QUANT_MAP, "F32", 16, &map, err));
    return check_map(r, map, err);
}

int quantised_add(struct quantised *q, enum quant kind, const struct shards *s, const char *dir,
                  const struct shard_tensor *st, const struct model_tensor *want,
                  struct pesc_error *err)
{
    struct quantised_tensor *t =
        realloc(q->t, ((size_t)q->count + 1) * sizeof *t); /* some hundred, once */
    if (!t)
        return FAIL(err, MEMORY, "%s: no memory", dir);
    q->t = t;
    t += q->count++;
    *t =
        (struct quantised_tensor){.name = st->t->name,
                                  .shape = {.kind = kind, .N = want->shape[0], .K = want->shape[1]},
                                  .code = st,
                                  .part = {st},
                                  .n_parts = 1};
    struct reading r = {s, dir, t};
    if (kind == QUANT_NF4)
        TRY(open_nf4(&r, want, err));
    else
        TRY(part(&r, QUANT_SCALE, "F32", (uint64_t)t->shape.N, &t->scale, err));
    if (st->t->n != qmat_code_bytes(&t->shape))
        return FAIL(err, MODEL_SHAPE, "%s: tensor '%s' has %llu bytes of codes, %zu are expected",
                    dir, st->t->name, (unsigned long long)st->t->n, qmat_code_bytes(&t->shape));
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct quantised_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

void quantised_sort(struct quantised *q)
{
    if (q->count > 1)
        qsort(q->t, (size_t)q->count, sizeof *q->t, by_name);
}

const struct quantised_tensor *quantised_find(const struct quantised *q, const char *name)
{
    struct quantised_tensor key = {.name = name};
    return q->count ? bsearch(&key, q->t, (size_t)q->count, sizeof *q->t, by_name) : NULL;
}

void quantised_free(struct quantised *q)
{
    free(q->t);
    memset(q, 0, sizeof *q);
}

int quantised_read(const struct quantised_tensor *t, struct qmat *m, struct pesc_error *err)
{
    TRY(st_read(t->code->file, t->code->t, (void *)m->code, err));
    TRY(st_read(t->scale->file, t->scale->t, (void *)m->scale, err));
    if (t->absmax) {
        float *map = (float *)m->map;
        TRY(st_read(t->absmax->file, t->absmax->t, (void *)m->absmax, err));
        TRY(st_read(t->map->file, t->map->t, map, err));
        map[NF4_OFFSET] = t->offset;
    }
    if (!qmat_finite(m))
        return FAIL(err, MODEL_NONFINITE, "%s holds NaN, infinite or too large values", t->name);
    return 0;
}

enum { RANGE_BLOCKS = 16 };

static int get(const struct shard_tensor *st, uint64_t from, size_t n, void *dst, uint64_t *read,
               struct pesc_error *err)
{
    *read += n;
    return st_read_range(st->file, st->t, from, n, dst, err);
}

/* The scales of n blocks from the first on, rounded as in memory. */
static int range_scales(const struct quantised_tensor *t, long first, long n, float *scale,
                        uint64_t *read, struct pesc_error *err)
{
    unsigned char absmax[RANGE_BLOCKS];
    float map[256];
    if (!t->absmax)
        return get(t->scale, (uint64_t)first * sizeof *scale, (size_t)n * sizeof *scale, scale,
                   read, err);
    TRY(get(t->absmax, (uint64_t)first, (size_t)n, absmax, read, err));
    TRY(get(t->map, 0, sizeof map, map, read, err));
    for (long i = 0; i < n; i++) {
        float nested;
        uint64_t at = (uint64_t)((first + i) / t->shape.nested) * sizeof nested;
        TRY(get(t->scale, at, sizeof nested, &nested, read, err));
        volatile float a = map[absmax[i]] * nested; /* no fused operation */
        scale[i] = a + t->offset;
    }
    return 0;
}

/* At most what RANGE_BLOCKS blocks hold, or a row of int8; how many in *n. */
static int range_piece(const struct quantised_tensor *t, size_t from, size_t *n, void *dst,
                       enum dtype to, uint64_t *read, struct pesc_error *err)
{
    unsigned char code[RANGE_BLOCKS * NF4_BLOCK_MAX / 2];
    float scale[RANGE_BLOCKS];
    struct qmat q = {.kind = t->shape.kind, .N = 1, .block = t->shape.block, .code = code};
    q.scale = scale;
    if (q.kind == QUANT_INT8) {
        size_t K = (size_t)t->shape.K, left = K - from % K;
        *n = *n < left ? *n : left;
        *n = *n < sizeof code ? *n : sizeof code;
        q.K = (long)*n;
        TRY(get(t->code, from, *n, code, read, err));
        TRY(get(t->scale, from / K * sizeof *scale, sizeof *scale, scale, read, err));
        qmat_expand(&q, 0, *n, dst, to);
        return 0;
    }
    size_t block = (size_t)q.block, skip = from % block, begin = from - skip;
    size_t most = RANGE_BLOCKS * block - skip;
    *n = *n < most ? *n : most;
    q.K = (long)(skip + *n);
    TRY(get(t->code, begin / 2, ((size_t)q.K + 1) / 2, code, read, err));
    TRY(range_scales(t, (long)(begin / block), qmat_blocks(&q), scale, read, err));
    qmat_expand(&q, skip, *n, dst, to);
    return 0;
}

int quantised_read_range(const struct quantised_tensor *t, size_t from, size_t n, void *dst,
                         enum dtype to, uint64_t *read, struct pesc_error *err)
{
    while (n > 0) {
        size_t now = n;
        TRY(range_piece(t, from, &now, dst, to, read, err));
        from += now;
        n -= now;
        dst = (char *)dst + now * dtype_size(to);
    }
    return 0;
}
