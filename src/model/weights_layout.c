#include "config.h"
#include "model/weights_layout.h"

#include "core/hot.h"
#include "model/quantised.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 8192, DIRECT = 1 << 20 }; /* elements converted, bytes read as they are, at a time */

static struct qmat quant_shape(struct quant_form f, long rows, long cols)
{
    return (struct qmat){
        .kind = f.kind, .N = rows, .K = cols, .block = f.block, .nested = f.nested};
}

static struct tensor_place place(size_t *used, enum dtype form, struct quant_form f, long rows,
                                 long cols)
{
    struct tensor_place p = {form, rows, cols, *used, 0, f};
    struct qmat q = quant_shape(f, rows, cols);
    p.bytes = f.kind ? qmat_bytes(&q) : (size_t)rows * (size_t)(cols ? cols : 1) * dtype_size(form);
    *used += (p.bytes + WEIGHTS_ALIGN - 1) / WEIGHTS_ALIGN * WEIGHTS_ALIGN;
    return p;
}

static enum dtype matrix_form(enum compute compute)
{
    return compute == COMPUTE_BF16 ? DT_BF16 : DT_F32;
}

void layer_layout(struct layer_layout *l, const struct model_config *c, enum compute compute)
{
    memset(l, 0, sizeof *l);
    for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
        long rows, cols;
        if (layer_tensor_shape(c, t, &rows, &cols))
            l->t[t] = place(&l->bytes, cols ? matrix_form(compute) : DT_F32, c->layer_form[t], rows,
                            cols);
    }
}

void outer_layout(struct outer_layout *o, const struct model_config *c, enum compute compute)
{
    enum dtype form = matrix_form(compute);
    memset(o, 0, sizeof *o);
    o->embed = place(&o->embed_bytes, form, c->embed_form, c->vocab_size, c->hidden_size);
    if (!c->tied)
        o->head = place(&o->rest_bytes, form, c->head_form, c->vocab_size, c->hidden_size);
    o->norm = place(&o->rest_bytes, DT_F32, (struct quant_form){0}, c->hidden_size, 0);
}

struct wmat place_mat(const struct tensor_place *p, const void *block)
{
    void *at = block ? (char *)block + p->at : NULL;
    struct wmat w = {.dtype = p->form, .N = p->rows, .K = p->cols, .data = at};
    if (p->quant.kind && at) {
        w.data = NULL;
        w.q = quant_shape(p->quant, p->rows, p->cols);
        qmat_place(&w.q, at);
    }
    return w;
}

void layer_view(struct layer_weights *w, const struct layer_layout *l, const void *block)
{
    memset(w, 0, sizeof *w);
    for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
        const struct tensor_place *p = &l->t[t];
        if (p->bytes && p->cols)
            w->mat[t] = place_mat(p, block);
        else if (p->bytes)
            w->vec[t] = (const float *)((const char *)block + p->at);
    }
}

/* --- reading --- */

static HOT int finite_bf16(const uint16_t *v, size_t n)
{
    unsigned bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < n; i++)
        bad |= (v[i] & 0x7f80) == 0x7f80;
    return !bad;
}

static HOT int finite_f32(const float *v, size_t n)
{
    unsigned bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < n; i++)
        bad |= !isfinite(v[i]);
    return !bad;
}

static int all_finite(enum dtype form, const void *v, size_t n)
{
    return form == DT_BF16 ? finite_bf16(v, n) : finite_f32(v, n);
}

static int not_finite(const char *name, struct pesc_error *err)
{
    return FAIL(err, MODEL_NONFINITE, "%s holds NaN or infinite values", name);
}

/* The file has it as it is to lie in memory. */
static int load_direct(const struct load_how *how, const char *name, const struct tensor_place *p,
                       char *to, struct pesc_error *err)
{
    for (size_t done = 0; done < p->bytes;) {
        size_t n = p->bytes - done < DIRECT ? p->bytes - done : DIRECT;
        TRY(base_read_range(how->base, name, done, n, to + done, err));
        if (how->check && !all_finite(p->form, to + done, n / dtype_size(p->form)))
            return not_finite(name, err);
        done += n;
    }
    return 0;
}

/* The type whose values an element has in memory. */
static enum dtype value_type(const struct load_how *how, const struct tensor_place *p)
{
    return p->form != DT_F32 ? p->form : p->cols && how->store != DT_COUNT ? how->store : DT_F32;
}

/* k elements, at most PIECE, as float with the values that they have in memory. */
static int read_piece(const struct load_how *how, const char *name, enum dtype stored,
                      const struct tensor_place *p, size_t from, float *to, size_t k,
                      struct pesc_error *err)
{
    unsigned char raw[PIECE * sizeof(float)];
    enum dtype as = value_type(how, p);
    size_t size = dtype_size(stored);
    TRY(base_read_range(how->base, name, from * size, k * size, raw, err));
    dtype_to_f32(to, raw, stored, k);
    if (how->check && !finite_f32(to, k))
        return not_finite(name, err);
    if (as != stored && as != DT_F32) {
        dtype_from_f32(raw, to, as, k);
        dtype_to_f32(to, raw, as, k);
    }
    return 0;
}

static int load_converted(const struct load_how *how, const char *name, enum dtype stored,
                          const struct tensor_place *p, char *to, struct pesc_error *err)
{
    float wide[PIECE];
    size_t n = (size_t)p->rows * (size_t)(p->cols ? p->cols : 1);
    for (size_t done = 0; done < n;) {
        size_t k = n - done < PIECE ? n - done : PIECE;
        TRY(read_piece(how, name, stored, p, done, wide, k, err));
        dtype_from_f32(to + done * dtype_size(p->form), wide, p->form, k);
        done += k;
    }
    return 0;
}

/* Codes stay codes where the place is quantised; else they are expanded, as a float matrix would be
 * converted. */
static int load_quantised(const struct quantised_tensor *t, const char *name,
                          const struct tensor_place *p, char *to, struct pesc_error *err)
{
    struct qmat q = t->shape;
    if (p->quant.kind) {
        qmat_place(&q, to);
        return quantised_read(t, &q, err);
    }
    void *memory = NULL;
    if (posix_memalign(&memory, WEIGHTS_ALIGN, qmat_bytes(&q)) != 0)
        return FAIL(err, MEMORY, "no memory to expand %s", name);
    qmat_place(&q, memory);
    int rc = quantised_read(t, &q, err);
    if (rc == 0)
        qmat_expand_rows(&q, 0, q.N, to, p->form);
    free(memory);
    return rc;
}

int load_tensor(const struct load_how *how, const char *name, const struct tensor_place *p,
                void *block, struct pesc_error *err)
{
    const struct st_tensor *t = base_tensor(how->base, name);
    const struct quantised_tensor *q = base_quantised(how->base, name);
    char *to = (char *)block + p->at;
    if (!q && (!t || t->n != (uint64_t)p->rows * (uint64_t)(p->cols ? p->cols : 1)))
        return FAIL(err, MODEL_MISSING, "%s is not there", name);
    if (q)
        TRY(load_quantised(q, name, p, to, err));
    else
        TRY(t->dtype == p->form && (p->form == DT_BF16 || value_type(how, p) == DT_F32)
                ? load_direct(how, name, p, to, err)
                : load_converted(how, name, t->dtype, p, to, err));
    if (how->forget)
        base_forget(how->base, name);
    return 0;
}

int load_row(const struct load_how *how, const char *name, const struct tensor_place *p, long row,
             float *to, uint64_t *read, struct pesc_error *err)
{
    const struct st_tensor *t = base_tensor(how->base, name);
    const struct quantised_tensor *q = base_quantised(how->base, name);
    for (long done = 0; q && done < p->cols; done += PIECE) {
        size_t k = (size_t)(p->cols - done < PIECE ? p->cols - done : PIECE);
        unsigned char raw[PIECE * sizeof(float)];
        TRY(quantised_read_range(q, (size_t)(row * p->cols + done), k, raw, p->form, read, err));
        dtype_to_f32(to + done, raw, p->form, k);
    }
    if (q)
        return 0;
    if (!t || row < 0 || row >= p->rows || t->n != (uint64_t)p->rows * (uint64_t)p->cols)
        return FAIL(err, MODEL_MISSING, "%s is not there", name);
    for (long done = 0; done < p->cols; done += PIECE) {
        long k = p->cols - done < PIECE ? p->cols - done : PIECE;
        TRY(read_piece(how, name, t->dtype, p, (size_t)(row * p->cols + done), to + done, (size_t)k,
                       err));
        *read += (size_t)k * dtype_size(t->dtype);
    }
    return 0;
}

int load_layer(const struct load_how *how, const struct layer_layout *layout, long l, void *block,
               uint64_t *read, struct pesc_error *err)
{
    for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
        char name[TENSOR_NAME_CAP];
        if (!layout->t[t].bytes)
            continue;
        layer_tensor_name(name, t, l);
        TRY(load_tensor(how, name, &layout->t[t], block, err));
        if (read)
            *read +=
                layout->t[t].quant.kind ? layout->t[t].bytes : base_tensor(how->base, name)->bytes;
    }
    return 0;
}
