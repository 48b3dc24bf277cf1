#include "config.h"
#include "tensor/params.h"

#include "tensor/safetensors.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEFT_PREFIX "base_model.model."

enum { LISTED = 10, LIST_CAP = 700, PARAMS_ALIGN = 64 };

long params_add(struct params *ps, int layer, int ndim, long rows, long cols,
                struct pesc_error *err, const char *fmt, ...)
{
    if (ps->value)
        return FAIL(err, INTERNAL, "a parameter added after the table was given memory");
    if (ps->count == ps->cap) {
        long cap = ps->cap ? 2 * ps->cap : 64;
        struct param *grown = realloc(ps->p, (size_t)cap * sizeof *grown);
        if (!grown)
            return FAIL(err, MEMORY, "no memory for a table of %ld parameters", cap);
        ps->p = grown;
        ps->cap = cap;
    }
    struct param *p = &ps->p[ps->count];
    memset(p, 0, sizeof *p);
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(p->name, sizeof p->name, fmt, ap);
    va_end(ap);
    if (len < 0 || len >= PARAM_NAME_CAP)
        return FAIL(err, LIMIT, "parameter name longer than %d bytes: %.100s...",
                    PARAM_NAME_CAP - 1, p->name);
    if (ndim < 1 || ndim > PARAM_MAX_DIM || rows < 1 || (ndim == 2 && cols < 1))
        return FAIL(err, INTERNAL, "%s: %d dimensions, %ld x %ld", p->name, ndim, rows, cols);
    size_t total, n = (size_t)rows;
    if ((ndim == 2 && __builtin_mul_overflow(n, (size_t)cols, &n)) ||
        __builtin_add_overflow(ps->total, n, &total) ||
        total > SIZE_MAX / sizeof(float) - PARAMS_ALIGN)
        return FAIL(err, LIMIT, "%s: more parameters than can be addressed", p->name);
    p->ndim = ndim;
    p->shape[0] = rows;
    p->shape[1] = ndim == 2 ? cols : 0;
    p->layer = layer;
    p->offset = ps->total;
    p->n = n;
    ps->total = total;
    return ps->count++;
}

static float *floats(size_t n, struct pesc_error *err)
{
    size_t bytes = n * sizeof(float);
    bytes = (bytes + PARAMS_ALIGN - 1) / PARAMS_ALIGN * PARAMS_ALIGN;
    float *v = aligned_alloc(PARAMS_ALIGN, bytes ? bytes : PARAMS_ALIGN);
    if (!v) {
        FAIL(err, MEMORY, "no memory for %zu parameters", n);
        return NULL;
    }
    memset(v, 0, bytes);
    return v;
}

int params_alloc(struct params *ps, int with_grad, struct pesc_error *err)
{
    if (!ps->value)
        ps->value = floats(ps->total, err);
    if (ps->value && with_grad && !ps->grad)
        ps->grad = floats(ps->total, err);
    return ps->value && (!with_grad || ps->grad) ? 0 : -1;
}

void params_free(struct params *ps)
{
    free(ps->p);
    free(ps->value);
    free(ps->grad);
    memset(ps, 0, sizeof *ps);
}

const struct param *params_find(const struct params *ps, const char *name)
{
    for (long i = 0; i < ps->count; i++)
        if (!strcmp(ps->p[i].name, name))
            return &ps->p[i];
    return NULL;
}

size_t params_trained(const struct params *ps)
{
    size_t n = 0;
    for (long i = 0; i < ps->count; i++)
        n += ps->p[i].frozen ? 0 : ps->p[i].n;
    return n;
}

/* --- saving --- */

struct save {
    const struct params *ps;
    struct st_out *out;
    char (*names)[ST_NAME_CAP];
};

static int save_fill(void *ctx, long i, const struct st_out *t, void *dst, struct pesc_error *err)
{
    (void)err;
    const struct save *s = ctx;
    const struct param *p = &s->ps->p[i];
    dtype_from_f32(dst, s->ps->value + p->offset, t->dtype, p->n);
    return 0;
}

int params_save(const struct params *ps, const char *path, int bf16, const char *prefix,
                const char *meta_key, const char *meta_value, char *sha256, uint64_t *bytes,
                struct pesc_error *err)
{
    int rc = -1;
    size_t n = (size_t)(ps->count ? ps->count : 1);
    struct save s = {ps, calloc(n, sizeof *s.out), calloc(n, sizeof *s.names)};
    if (!s.out || !s.names) {
        FAIL(err, MEMORY, "%s: no memory for %ld names", path, ps->count);
        goto done;
    }
    for (long i = 0; i < ps->count; i++) {
        const struct param *p = &ps->p[i];
        int len = snprintf(s.names[i], ST_NAME_CAP, "%s%s", prefix ? prefix : "", p->name);
        if (len < 0 || len >= ST_NAME_CAP) {
            FAIL(err, LIMIT, "%s: tensor name too long: %.100s...", path, s.names[i]);
            goto done;
        }
        s.out[i] = (struct st_out){s.names[i], bf16 ? DT_BF16 : DT_F32, p->ndim, {0}};
        for (int d = 0; d < p->ndim; d++)
            s.out[i].shape[d] = p->shape[d];
    }
    rc = st_write(path, s.out, ps->count, meta_key, meta_value, save_fill, &s, 0, sha256, bytes,
                  err);
done:
    free(s.out);
    free(s.names);
    return rc;
}

/* --- loading --- */

/* The one spelling that names are compared in: without PEFT's prefix, experts by number. */
static void common_name(char *out, size_t size, const char *name)
{
    static const char dialect[] = ".experts.expert_", plain[] = ".experts.";
    if (!strncmp(name, PEFT_PREFIX, sizeof PEFT_PREFIX - 1))
        name += sizeof PEFT_PREFIX - 1;
    const char *at = strstr(name, dialect);
    if (at)
        snprintf(out, size, "%.*s%s%s", (int)(at - name), name, plain, at + sizeof dialect - 1);
    else
        snprintf(out, size, "%s", name);
}

/* The first names of those that do not fit: "a, b, c ..." */
struct name_list {
    long n;
    size_t used;
    int full;
    char text[LIST_CAP];
};

static void list_add(struct name_list *l, const char *name)
{
    static const char more[] = " ...";
    size_t room = sizeof l->text - l->used - sizeof more;
    if (!l->full && l->n < LISTED && strlen(name) + 2 < room) {
        l->used += (size_t)snprintf(l->text + l->used, room, "%s%s", l->n ? ", " : "", name);
    } else if (!l->full) {
        l->full = 1;
        strcpy(l->text + l->used, more);
    }
    l->n++;
}

struct slot {
    char name[ST_NAME_CAP];
    const struct param *p;  /* as the file should have it */
    const struct param *to; /* NULL: not wanted */
    const struct st_tensor *t;
};

static int slot_order(const void *a, const void *b)
{
    return strcmp(((const struct slot *)a)->name, ((const struct slot *)b)->name);
}

static int shape_equal(const struct param *p, const struct st_tensor *t)
{
    if (p->ndim != t->ndim)
        return 0;
    for (int d = 0; d < p->ndim; d++)
        if (p->shape[d] != t->shape[d])
            return 0;
    return 1;
}

static void shape_text(char *out, size_t size, const char *name, const long *want, int n_want,
                       const long *got, int n_got)
{
    size_t used = (size_t)snprintf(out, size, "%.120s is ", name);
    for (int d = 0; d < n_got && used < size; d++)
        used += (size_t)snprintf(out + used, size - used, "%s%ld", d ? "x" : "", got[d]);
    for (int d = 0; d < n_want && used < size; d++)
        used += (size_t)snprintf(out + used, size - used, "%s%ld", d ? "x" : ", needed ", want[d]);
}

/* Gives every slot its tensor, or says what does not fit. */
static int match(struct slot *slots, long n, const struct st_file *f, struct name_list lists[3],
                 struct pesc_error *err)
{
    struct name_list *missing = &lists[0], *extra = &lists[1], *shape = &lists[2];
    for (long i = 0; i < st_count(f); i++) {
        const struct st_tensor *t = st_at(f, i);
        struct slot key, *s;
        common_name(key.name, sizeof key.name, t->name);
        s = bsearch(&key, slots, (size_t)n, sizeof *slots, slot_order);
        if (!s || s->t) {
            list_add(extra, t->name);
            continue;
        }
        s->t = t;
        if (!shape_equal(s->p, t)) {
            char text[320];
            shape_text(text, sizeof text, t->name, s->p->shape, s->p->ndim, t->shape, t->ndim);
            list_add(shape, text);
        }
    }
    for (long i = 0; i < n; i++)
        if (!slots[i].t)
            list_add(missing, slots[i].p->name);
    if (missing->n)
        return FAIL(err, MODEL_MISSING, "%s: %ld of %ld tensors missing: %s%s%s", st_path(f),
                    missing->n, n, missing->text, extra->n ? "; not known: " : "", extra->text);
    if (extra->n)
        return FAIL(err, MODEL_MISSING, "%s: %ld tensors that the model has no place for: %s",
                    st_path(f), extra->n, extra->text);
    if (shape->n)
        return FAIL(err, MODEL_SHAPE, "%s: %ld tensors of another shape: %s", st_path(f), shape->n,
                    shape->text);
    return 0;
}

static int all_finite(const float *x, size_t n)
{
    int bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= !isfinite(x[i]);
    return !bad;
}

/* Which slots are wanted: those of parameters that ps has in the same shape. */
static void want(struct slot *slots, size_t n, const struct params *ps)
{
    for (long i = 0; i < ps->count; i++) {
        const struct param *p = &ps->p[i];
        struct slot key, *s;
        common_name(key.name, sizeof key.name, p->name);
        s = bsearch(&key, slots, n, sizeof *slots, slot_order);
        if (s && s->p->n == p->n)
            s->to = p;
    }
}

int params_load(struct params *ps, const char *path, struct pesc_error *err)
{
    return params_load_from(ps, ps, path, err);
}

int params_load_from(struct params *ps, const struct params *table, const char *path,
                     struct pesc_error *err)
{
    int rc = -1;
    size_t n = (size_t)table->count;
    struct st_file *f = NULL;
    struct slot *slots = calloc(n + 1, sizeof *slots);
    struct name_list *lists = calloc(4, sizeof *lists), *nonfinite = lists + 3;
    if (!slots || !lists) {
        FAIL(err, MEMORY, "%s: no memory for %ld names", path, table->count);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        slots[i].p = &table->p[i];
        common_name(slots[i].name, sizeof slots[i].name, table->p[i].name);
    }
    qsort(slots, n, sizeof *slots, slot_order);
    want(slots, n, ps);
    TRY_OR(st_open(path, ST_BASE, NULL, &f, err), done);
    TRY_OR(match(slots, table->count, f, lists, err), done);
    for (size_t i = 0; i < n; i++) {
        if (!slots[i].to)
            continue;
        float *v = ps->value + slots[i].to->offset;
        TRY_OR(st_read_f32(f, slots[i].t, v, err), done);
        if (!all_finite(v, slots[i].p->n))
            list_add(nonfinite, slots[i].t->name);
    }
    rc = nonfinite->n ? FAIL(err, MODEL_NONFINITE, "%s: infinite or NaN values in %ld tensors: %s",
                             path, nonfinite->n, nonfinite->text)
                      : 0;
done:
    st_close(f);
    free(lists);
    free(slots);
    return rc;
}
