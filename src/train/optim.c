#include "config.h"
#include "train/optim.h"

#include "core/hot.h"
#include "core/rng.h"
#include "core/tfile.h"
#include "tensor/kernels.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A thread's share of a stretch, in blocks; memory and the file are cut at page borders. */
enum { CHUNK = 64, ALIGN = 64, PAGE = 4096 };

static const char *const form_names[] = {"adamw", "adamw8bit"};

static const struct adamw_part parts_f32[] = {{"adam_m.", 0, 0}, {"adam_v.", 0, 0}};
static const struct adamw_part parts_8bit[] = {
    {"adam8_m.", 1, 0}, {"adam8_v.", 1, 0}, {"adam8_m_scale.", 0, 1}, {"adam8_v_scale.", 0, 1}};

int adamw_form_from_name(const char *name)
{
    for (int i = 0; i < 2; i++)
        if (!strcmp(form_names[i], name))
            return i;
    return -1;
}

const char *adamw_form_name(enum adamw_form f)
{
    return form_names[f];
}

long adamw_parts(enum adamw_form form, const struct adamw_part **parts)
{
    *parts = form == ADAMW_8BIT ? parts_8bit : parts_f32;
    return form == ADAMW_8BIT ? 4 : 2;
}

size_t adamw_blocks(const struct param *p)
{
    return (p->n + MOMENTS8_BLOCK - 1) / MOMENTS8_BLOCK;
}

/* --- where everything is --- */

/* The stretch that begins with a parameter. */
static struct stretch stretch_at(const struct params *ps, long first)
{
    struct stretch s = {.first = first, .from = ps->p[first].offset};
    for (s.end = first; s.end < ps->count && ps->p[s.end].layer == ps->p[first].layer; s.end++) {
        s.n += ps->p[s.end].n;
        s.blocks += adamw_blocks(&ps->p[s.end]);
    }
    return s;
}

static size_t moments_bytes(enum adamw_form form, size_t n, size_t blocks)
{
    return form == ADAMW_8BIT ? 2 * (blocks * sizeof(float) + n) : 2 * n * sizeof(float);
}

/* Scales before bytes, so that floats are aligned. */
static struct moments moments_in(float *memory, enum adamw_form form, size_t n, size_t blocks)
{
    uint8_t *bytes = (uint8_t *)(memory + 2 * blocks);
    return form == ADAMW_8BIT ? (struct moments){.m_scale = memory,
                                                 .v_scale = memory + blocks,
                                                 .m8 = bytes,
                                                 .v8 = bytes + n}
                              : (struct moments){.m = memory, .v = memory + n};
}

static struct moments moments_from(const struct moments *all, enum adamw_form form, size_t n,
                                   size_t block)
{
    return form == ADAMW_8BIT ? (struct moments){.m_scale = all->m_scale + block,
                                                 .v_scale = all->v_scale + block,
                                                 .m8 = all->m8 + n,
                                                 .v8 = all->v8 + n}
                              : (struct moments){.m = all->m + n, .v = all->v + n};
}

static void *part_of(const struct moments *x, enum adamw_form form, long part, size_t n,
                     size_t block)
{
    if (form != ADAMW_8BIT)
        return (part == 0 ? x->m : x->v) + n;
    return part < 2 ? (void *)((part == 0 ? x->m8 : x->v8) + n)
                    : (void *)((part == 2 ? x->m_scale : x->v_scale) + block);
}

static size_t rounded(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* Bytes of a stretch in the file. */
static size_t record(const struct stretch *s, enum adamw_form form)
{
    return s->n * sizeof(float) + moments_bytes(form, s->n, s->blocks);
}

/* What all stretches take: their number, that of all blocks, the largest record, the file. */
struct extent {
    long stretches;
    size_t blocks, largest;
    uint64_t file;
};

static struct extent extent(const struct params *ps, enum adamw_form form)
{
    struct extent x = {0};
    for (long first = 0; first < ps->count; x.stretches++) {
        struct stretch s = stretch_at(ps, first);
        size_t bytes = record(&s, form);
        x.blocks += s.blocks;
        x.largest = bytes > x.largest ? bytes : x.largest;
        x.file += rounded(bytes, PAGE);
        first = s.end;
    }
    return x;
}

/* Bytes of what is in memory, beside tables: all moments, or one record. */
static size_t resident(const struct params *ps, enum adamw_form form, int on_disk,
                       const struct extent *x)
{
    size_t all = moments_bytes(form, ps->total, x->blocks);
    return rounded((on_disk ? x->largest : all) + 1, ALIGN);
}

size_t adamw_bytes(const struct params *ps, enum adamw_form form, int on_disk)
{
    struct extent x = extent(ps, form);
    return resident(ps, form, on_disk, &x) +
           (size_t)(x.stretches + 1) * (sizeof(struct stretch) + sizeof(double)) +
           (size_t)(ps->count + 1) * sizeof(size_t);
}

uint64_t adamw_disk_bytes(const struct params *ps, enum adamw_form form)
{
    return extent(ps, form).file;
}

static void lay_out(struct adamw *a)
{
    uint64_t at = 0;
    size_t block = 0;
    for (long first = 0; first < a->ps->count;) {
        struct stretch *s = &a->stretch[a->n_stretches++];
        *s = stretch_at(a->ps, first);
        s->block = block;
        s->at = at;
        at += rounded(record(s, a->o.form), PAGE);
        for (; first < s->end; first++) {
            a->block[first] = block;
            block += adamw_blocks(&a->ps->p[first]);
        }
    }
    a->block[a->ps->count] = block;
}

/* --- beginning and end --- */

static int in_range(double x, double low, double below)
{
    return isfinite(x) && x >= low && x < below;
}

static int check_options(const struct adamw_options *o, struct pesc_error *err)
{
    if (!in_range(o->beta1, 0, 1) || !in_range(o->beta2, 0, 1))
        return FAIL(err, USAGE_VALUE, "AdamW betas %g, %g: each must be at least 0 and below 1",
                    o->beta1, o->beta2);
    if (!in_range(o->eps, 0, INFINITY) || o->eps == 0)
        return FAIL(err, USAGE_VALUE, "AdamW eps %g: must be above 0", o->eps);
    if (!in_range(o->weight_decay, 0, INFINITY))
        return FAIL(err, USAGE_VALUE, "weight decay %g: must not be negative", o->weight_decay);
    return 0;
}

int adamw_init(struct adamw *a, const struct adamw_options *o, const struct params *ps,
               struct pesc_error *err)
{
    memset(a, 0, sizeof *a);
    TRY(check_options(o, err));
    struct extent x = extent(ps, o->form);
    size_t bytes = resident(ps, o->form, o->disk != NULL, &x);
    a->o = *o;
    a->ps = ps;
    a->stretch = calloc((size_t)x.stretches + 1, sizeof *a->stretch);
    a->squares = calloc((size_t)x.stretches + 1, sizeof *a->squares);
    a->block = calloc((size_t)ps->count + 1, sizeof *a->block);
    a->layer = aligned_alloc(ALIGN, bytes);
    if (!a->stretch || !a->squares || !a->block || !a->layer) {
        FAIL(err, MEMORY, "no memory for the optimiser state of %zu parameters", ps->total);
        goto fail;
    }
    memset(a->layer, 0, bytes);
    moments8_tables(&a->tables);
    lay_out(a);
    if (o->disk)
        TRY_OR(tfile_open(o->disk, x.file, o->disk_cached ? TFILE_CACHED : TFILE_DROPPED, &a->file,
                          err),
               fail);
    else
        a->all = moments_in(a->layer, o->form, ps->total, x.blocks);
    return 0;
fail:
    adamw_free(a);
    return -1;
}

void adamw_free(struct adamw *a)
{
    tfile_close(a->file);
    free(a->layer);
    free(a->stretch);
    free(a->squares);
    free(a->block);
    memset(a, 0, sizeof *a);
}

/* --- one update --- */

struct factors {
    float keep; /* 1 - lr * weight_decay */
    float beta1, rest1, beta2, rest2;
    float rate, root2, eps, scale;
};

HOT static void update(float *restrict p, float *restrict m, float *restrict v,
                       const float *restrict g, long n, float keep, const struct factors *f)
{
    const float beta1 = f->beta1, rest1 = f->rest1, beta2 = f->beta2, rest2 = f->rest2;
    const float rate = f->rate, root2 = f->root2, eps = f->eps, scale = f->scale;
#pragma omp simd
    for (long i = 0; i < n; i++) {
        float gi = g[i] * scale;
        float mi = beta1 * m[i] + rest1 * gi;
        float vi = beta2 * v[i] + rest2 * gi * gi;
        m[i] = mi;
        v[i] = vi;
        p[i] = p[i] * keep - rate * mi / (sqrtf(vi) * root2 + eps);
    }
}

/* A block; at is the number of its scale, block that among all, which its chances are drawn for. */
static void update8(const struct adamw *a, float *p, const struct moments *x, size_t at,
                    size_t block, const float *g, long n, float keep, const struct factors *f)
{
    float m[MOMENTS8_BLOCK], v[MOMENTS8_BLOCK];
    uint32_t chance[MOMENTS8_BLOCK];
    struct rng_key key = {0, RNG_ROUND, (uint32_t)a->updates, (uint32_t)block};
    moments8_get(m, x->m8, x->m_scale[at], a->tables.m, n);
    moments8_get(v, x->v8, x->v_scale[at], a->tables.v, n);
    update(p, m, v, g, n, keep, f);
    rng_blocks(&key, 0, chance, MOMENTS8_BLOCK / 4);
    x->m_scale[at] = moments8_put_m(x->m8, m, chance, n);
    x->v_scale[at] = moments8_put_v(x->v8, v, chance, n);
}

/* What one stretch is updated with; pointers are to its beginning. */
struct job {
    const struct adamw *a;
    const struct stretch *s;
    float *value;
    const float *grad;
    struct moments x;
    struct factors f;
};

/* Blocks of one tensor, which begin at float at of the stretch. */
static void update_blocks(const struct job *j, const struct param *p, size_t at, size_t n,
                          size_t block)
{
    const struct moments *x = &j->x;
    float keep = j->a->o.decay == DECAY_ALL || p->ndim >= 2 ? j->f.keep : 1.0f;
    if (j->a->o.form != ADAMW_8BIT) {
        update(j->value + at, x->m + at, x->v + at, j->grad + at, (long)n, keep, &j->f);
        return;
    }
    for (size_t end = at + n; at < end; at += MOMENTS8_BLOCK, block++) {
        long k = end - at < MOMENTS8_BLOCK ? (long)(end - at) : MOMENTS8_BLOCK;
        struct moments own = *x;
        own.m8 += at;
        own.v8 += at;
        update8(j->a, j->value + at, &own, block, j->s->block + block, j->grad + at, k, keep,
                &j->f);
    }
}

/* The tensor that a block is of. */
static long param_at(const struct adamw *a, const struct stretch *s, size_t block)
{
    long low = s->first, high = s->end - 1;
    while (low < high) {
        long mid = (low + high + 1) / 2;
        if (a->block[mid] <= block)
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}

static void update_chunk(const struct job *j, size_t block, size_t end)
{
    const struct adamw *a = j->a;
    const struct stretch *s = j->s;
    for (long i = param_at(a, s, block); block < end; i++) {
        const struct param *p = &a->ps->p[i];
        size_t last = a->block[i + 1] < end ? a->block[i + 1] : end;
        size_t from = (block - a->block[i]) * MOMENTS8_BLOCK;
        size_t to = (last - a->block[i]) * MOMENTS8_BLOCK;
        to = to < p->n ? to : p->n;
        if (!p->frozen)
            update_blocks(j, p, p->offset - s->from + from, to - from, block - s->block);
        block = last;
    }
}

static void update_stretch(const struct job *j)
{
    const struct stretch *s = j->s;
    long chunks = (long)((s->blocks + CHUNK - 1) / CHUNK);
#pragma omp parallel for schedule(static)
    for (long c = 0; c < chunks; c++) {
        size_t from = (size_t)c * CHUNK;
        size_t to = from + CHUNK < s->blocks ? from + CHUNK : s->blocks;
        update_chunk(j, s->block + from, s->block + to);
    }
}

int adamw_step(struct adamw *a, struct params *ps, double lr, double grad_scale,
               struct pesc_error *err)
{
    long t = ++a->updates;
    double correct1 = 1 - pow(a->o.beta1, (double)t), correct2 = 1 - pow(a->o.beta2, (double)t);
    struct job j = {.a = a,
                    .f = {.keep = (float)(1 - lr * a->o.weight_decay),
                          .beta1 = (float)a->o.beta1,
                          .rest1 = (float)(1 - a->o.beta1),
                          .beta2 = (float)a->o.beta2,
                          .rest2 = (float)(1 - a->o.beta2),
                          .rate = (float)(lr / correct1),
                          .root2 = (float)(1 / sqrt(correct2)),
                          .eps = (float)a->o.eps,
                          .scale = (float)grad_scale}};
    for (long i = 0; i < a->n_stretches; i++) {
        const struct stretch *s = &a->stretch[i];
        size_t bytes = record(s, a->o.form), grads = s->n * sizeof(float);
        j.s = s;
        j.value = ps->value + s->from;
        if (!a->file) {
            j.grad = ps->grad + s->from;
            j.x = moments_from(&a->all, a->o.form, s->from, s->block);
            update_stretch(&j);
            continue;
        }
        TRY(tfile_read(a->file, a->layer, bytes, s->at, err));
        if (i + 1 < a->n_stretches)
            tfile_soon(a->file, record(s + 1, a->o.form), s[1].at);
        j.grad = a->layer;
        j.x = moments_in(a->layer + s->n, a->o.form, s->n, s->blocks);
        update_stretch(&j);
        TRY(tfile_write(a->file, a->layer + s->n, bytes - grads, s->at + grads, err));
    }
    return 0;
}

/* --- the gradient --- */

float *adamw_take_grad(struct adamw *a, long s, int add, struct pesc_error *err)
{
    const struct stretch *x = &a->stretch[s];
    size_t bytes = x->n * sizeof(float);
    if (!add)
        memset(a->layer, 0, bytes);
    else if (tfile_read(a->file, a->layer, bytes, x->at, err) != 0)
        return NULL;
    if (add && s > 0) /* the backward pass goes on to the layer below */
        tfile_soon(a->file, x[-1].n * sizeof(float), x[-1].at);
    return a->layer;
}

int adamw_put_grad(struct adamw *a, long s, struct pesc_error *err)
{
    const struct stretch *x = &a->stretch[s];
    a->squares[s] = sum_squares(a->layer, (long)x->n);
    return tfile_write(a->file, a->layer, x->n * sizeof(float), x->at, err);
}

double adamw_grad_norm(const struct adamw *a)
{
    double sum = 0;
    if (!a->file)
        return grad_norm(a->ps);
    for (long s = 0; s < a->n_stretches; s++)
        sum += a->squares[s];
    return sqrt(sum);
}

double grad_norm(const struct params *ps)
{
    double sum = 0;
    for (long first = 0; first < ps->count;) {
        struct stretch s = stretch_at(ps, first);
        sum += sum_squares(ps->grad + s.from, (long)s.n);
        first = s.end;
    }
    return sqrt(sum);
}

double clip_coefficient(double norm, double max_norm)
{
    if (max_norm <= 0)
        return 1;
    double c = max_norm / (norm + 1e-6);
    return c < 1 ? c : 1;
}

/* --- keeping it --- */

/* A part of a parameter: where in memory, or where in the file; its bytes. */
struct place {
    unsigned char *memory;
    uint64_t at;
    size_t bytes;
};

static struct place place_of(const struct adamw *a, long part, long param)
{
    const struct adamw_part *parts;
    const struct param *p = &a->ps->p[param];
    long i = 0;
    adamw_parts(a->o.form, &parts);
    struct place x = {.bytes = parts[part].per_block  ? adamw_blocks(p) * sizeof(float)
                               : parts[part].is_bytes ? p->n
                                                      : p->n * sizeof(float)};
    if (!a->file) {
        x.memory = part_of(&a->all, a->o.form, part, p->offset, a->block[param]);
        return x;
    }
    while (a->stretch[i].end <= param)
        i++;
    const struct stretch *s = &a->stretch[i];
    /* Where it would be if the record were in the buffer. */
    struct moments own = moments_in(a->layer + s->n, a->o.form, s->n, s->blocks);
    unsigned char *there =
        part_of(&own, a->o.form, part, p->offset - s->from, a->block[param] - s->block);
    x.at = s->at + (uint64_t)(there - (unsigned char *)a->layer);
    return x;
}

int adamw_get(struct adamw *a, long part, long param, void *dst, struct pesc_error *err)
{
    struct place x = place_of(a, part, param);
    if (!x.memory)
        return tfile_read(a->file, dst, x.bytes, x.at, err);
    memcpy(dst, x.memory, x.bytes);
    return 0;
}

int adamw_put(struct adamw *a, long part, long param, const void *src, struct pesc_error *err)
{
    struct place x = place_of(a, part, param);
    if (!x.memory)
        return tfile_write(a->file, src, x.bytes, x.at, err);
    memcpy(x.memory, src, x.bytes);
    return 0;
}
