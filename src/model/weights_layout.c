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
    struct tensor_place p = {form, rows, cols, *used, 0, f, 0};
    struct qmat q = quant_shape(f, rows, cols);
    p.bytes = f.kind ? qmat_bytes(&q) : (size_t)rows * (size_t)(cols ? cols : 1) * dtype_size(form);
    *used += (p.bytes + WEIGHTS_ALIGN - 1) / WEIGHTS_ALIGN * WEIGHTS_ALIGN;
    return p;
}

/* Codes are of the values as they are stored, whatever else is bf16. */
static struct tensor_place place_int8(size_t *used, long rows, long cols)
{
    size_t shifts = int8_shift_bytes(rows, cols);
    struct tensor_place p = place(used, DT_F32, (struct quant_form){QUANT_INT8, 0, 0}, rows, cols);
    p.int8 = 1;
    p.bytes += shifts;
    *used += shifts;
    return p;
}

void layer_layout(struct layer_layout *l, const struct model_config *c, enum compute compute,
                  long int8_min)
{
    memset(l, 0, sizeof *l);
    for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
        long rows, cols;
        if (!layer_tensor_shape(c, t, &rows, &cols))
            continue;
        if (compute == COMPUTE_INT8 && cols && linear_int8(rows, cols, int8_min))
            l->t[t] = place_int8(&l->bytes, rows, cols);
        else
            l->t[t] = place(&l->bytes, cols ? compute_form(compute) : DT_F32, c->layer_form[t],
                            rows, cols);
    }
}

/* Of a kind of matrix that is not the same in all layers it is only known how small blocks may be.
 */
size_t layer_scratch(const struct layer_layout *l, const struct model_config *c)
{
    size_t most = 0;
    for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
        struct quant_form f = c->layer_form[t];
        if (!l->t[t].int8 || c->quant != QUANT_NF4 || f.kind == QUANT_INT8)
            continue;
        if (f.kind == QUANT_NONE)
            f = (struct quant_form){QUANT_NF4, NF4_BLOCK_MIN, 0};
        struct qmat q = quant_shape(f, l->t[t].rows, l->t[t].cols);
        most = qmat_bytes(&q) > most ? qmat_bytes(&q) : most;
    }
    return most;
}

void outer_layout(struct outer_layout *o, const struct model_config *c, enum compute compute)
{
    enum dtype form = compute_form(compute);
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
        if (p->int8)
            int8_shift_place(&w, (char *)at + qmat_bytes(&w.q));
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

/* Where the values of a matrix come from: a file of numbers, or codes in memory. */
struct source {
    const struct load_how *how;
    const char *name;
    enum dtype stored;
    const struct tensor_place *p;
    const struct qmat *q; /* NULL: the file */
};

static int values(const struct source *s, size_t from, float *to, size_t n, struct pesc_error *err)
{
    if (!s->q)
        return read_piece(s->how, s->name, s->stored, s->p, from, to, n, err);
    qmat_expand(s->q, from, n, to, DT_F32);
    return 0;
}

/* A row that is longer than a piece is taken twice. */
static int long_row(const struct source *s, size_t from, size_t K, signed char *code, float *scale,
                    struct pesc_error *err)
{
    float wide[PIECE];
    *scale = 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t k = 0; k < K; k += PIECE) {
            size_t n = K - k < PIECE ? K - k : PIECE;
            TRY(values(s, from + k, wide, n, err));
            float now = int8_scale(wide, n);
            if (pass)
                int8_codes(wide, n, *scale, code + k);
            else if (now > *scale)
                *scale = now;
        }
    return 0;
}

/* The codes that a base of int8 made of these values would have. */
static int make_codes(const struct source *s, const struct qmat *to, struct pesc_error *err)
{
    float wide[PIECE], *scale = (float *)to->scale;
    signed char *code = (signed char *)to->code;
    size_t K = (size_t)to->K;
    long most = PIECE / to->K;
    for (long r = 0; r < to->N; r += most ? most : 1) {
        long rows = to->N - r < most ? to->N - r : most;
        size_t at = (size_t)r * K;
        if (most == 0) {
            TRY(long_row(s, at, K, code + at, scale + r, err));
        } else {
            TRY(values(s, at, wide, (size_t)rows * K, err));
            (void)int8_quantise(wide, rows, to->K, code + at, scale + r);
        }
    }
    return 0;
}

static int load_int8(const struct load_how *how, const char *name, const struct quantised_tensor *t,
                     enum dtype stored, const struct tensor_place *p, void *block,
                     struct pesc_error *err)
{
    struct wmat w = place_mat(p, block);
    struct source s = {.how = how, .name = name, .stored = stored, .p = p};
    struct qmat q;
    if (t && t->shape.kind == QUANT_INT8) {
        TRY(quantised_read(t, &w.q, err));
    } else {
        if (t) {
            q = t->shape;
            qmat_place(&q, how->scratch);
            TRY(quantised_read(t, &q, err));
            s.q = &q;
        }
        TRY(make_codes(&s, &w.q, err));
    }
    int8_shifts(&w);
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
    if (p->int8)
        TRY(load_int8(how, name, q, q ? DT_COUNT : t->dtype, p, block, err));
    else if (q)
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
        const struct quantised_tensor *q = base_quantised(how->base, name);
        if (read)
            *read += q ? qmat_bytes(&q->shape) : base_tensor(how->base, name)->bytes;
    }
    return 0;
}
