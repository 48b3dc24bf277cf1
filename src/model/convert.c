#include "config.h"
#include "model/convert.h"

#include "core/file.h"
#include "core/json.h"
#include "model/quantised.h"
#include "model/save.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Values read at a time: whole blocks, and room for several threads. */
enum { PIECE = 1 << 20, SLICE = 1 << 16, META_CAP = 512 };

enum part { PLAIN, CODE, ABSMAX, NESTED_ABSMAX, NESTED_MAP, MAP, STATE, INT8, SCALE };

struct matrix {
    struct model_tensor t;
    const struct st_tensor *stored;
    enum quant kind;
    /* NF4: the scales that codes are made for, and they quantised, from when the first part of the
     * matrix is written until the last is */
    float *scale;
    unsigned char *absmax;
    float *nested, offset;
    char state[META_CAP];
};

struct piece {
    enum part part;
    struct matrix *m;
    char name[QUANT_NAME_CAP];
};

struct job {
    const char *dir;
    const struct base *b;
    const struct convert *how;
    struct converted *out;
    struct matrix *m; /* all tensors, in the order of slots */
    long n;
    uint64_t done, total;
    struct piece *piece; /* of the shard at work */
    struct st_out *st;
    long pieces;
    float *wide;        /* [PIECE] */
    unsigned char *raw; /* [PIECE * 4] */
    json_t *index;      /* name to file */
};

static size_t values(const struct matrix *m)
{
    return (size_t)m->stored->n;
}

static struct qmat shape_of(const struct matrix *m)
{
    return (struct qmat){.kind = m->kind,
                         .N = m->t.shape[0],
                         .K = m->t.shape[1],
                         .block = NF4_BLOCK,
                         .nested = NF4_NESTED};
}

/* k values from the at-th into j->wide, all finite. */
static int read_piece(struct job *j, const struct matrix *m, size_t at, size_t k,
                      struct pesc_error *err)
{
    size_t size = dtype_size(m->stored->dtype);
    int finite = 1;
    TRY(base_read_range(j->b, m->t.name, at * size, k * size, j->raw, err));
    dtype_to_f32(j->wide, j->raw, m->stored->dtype, k);
    for (size_t i = 0; i < k; i++)
        finite &= isfinite(j->wide[i]) != 0;
    return finite ? 0
                  : FAIL(err, MODEL_NONFINITE, "%s holds NaN or infinite values", m->stored->name);
}

static void advance(struct job *j, size_t k)
{
    j->done += k;
    if (j->how->progress)
        j->how->progress(j->how->ctx, j->done, j->total);
}

/* --- NF4 --- */

/* Scales or codes of k values in j->wide, on all threads. A block is in one slice whole. */
static int each_slice(struct job *j, float *scale, unsigned char *code, size_t k)
{
    long slices = (long)((k + SLICE - 1) / SLICE);
    int bad = 0;
#pragma omp parallel for schedule(static) reduction(| : bad)
    for (long s = 0; s < slices; s++) {
        size_t from = (size_t)s * SLICE, len = k - from < SLICE ? k - from : SLICE;
        float *own = scale + from / NF4_BLOCK;
        if (code)
            nf4_codes(j->wide + from, len, NF4_BLOCK, own, code + from / 2);
        else
            bad |=
                (j->how->fitted ? nf4_fit : nf4_scales)(j->wide + from, len, NF4_BLOCK, own) != 0;
    }
    return bad ? -1 : 0;
}

/* The scales are needed before the codes are written, and read the matrix a first time. Codes of
 * scales that fit are made for what is left of these when they were quantised. */
static int find_scales(struct job *j, struct matrix *m, struct pesc_error *err)
{
    struct qmat q = shape_of(m);
    size_t n = values(m);
    if (m->absmax)
        return 0;
    m->scale = malloc((size_t)qmat_blocks(&q) * sizeof *m->scale);
    m->absmax = malloc((size_t)qmat_blocks(&q));
    m->nested = malloc((size_t)qmat_scales(&q) * sizeof *m->nested);
    int rc = m->scale && m->absmax && m->nested
                 ? 0
                 : FAIL(err, MEMORY, "no memory for the scales of %s", m->stored->name);
    for (size_t at = 0; rc == 0 && at < n; at += PIECE) {
        size_t k = n - at < PIECE ? n - at : PIECE;
        rc = read_piece(j, m, at, k, err);
        if (rc == 0 && each_slice(j, m->scale + at / NF4_BLOCK, NULL, k) != 0)
            rc = FAIL(err, INTERNAL, "%s: a value is not finite", m->stored->name);
        advance(j, k);
    }
    if (rc == 0)
        nf4_nest(m->scale, qmat_blocks(&q), m->absmax, m->nested, &m->offset);
    if (rc == 0 && j->how->fitted)
        nf4_unnest(m->absmax, m->nested, m->offset, qmat_blocks(&q), m->scale);
    return rc;
}

static const char *torch_name(enum dtype d)
{
    return d == DT_F32 ? "float32" : d == DT_F16 ? "float16" : "bfloat16";
}

/* The text has a fixed length, since it is announced before the offset is known. */
static void write_state(struct matrix *m)
{
    char number[40];
    snprintf(number, sizeof number, "%.17g", (double)m->offset);
    snprintf(
        m->state, sizeof m->state,
        "{\"quant_type\": \"nf4\", \"blocksize\": %d, \"dtype\": \"%s\", \"shape\": [%ld, %ld], "
        "\"nested_blocksize\": %d, \"nested_dtype\": \"float32\", \"nested_offset\": %-24s}",
        NF4_BLOCK, torch_name(m->stored->dtype), m->t.shape[0], m->t.shape[1], NF4_NESTED, number);
}

static int pour_codes(struct job *j, struct matrix *m, struct st_sink *to, struct pesc_error *err)
{
    size_t n = values(m);
    TRY(find_scales(j, m, err));
    for (size_t at = 0; at < n; at += PIECE) {
        size_t k = n - at < PIECE ? n - at : PIECE;
        TRY(read_piece(j, m, at, k, err));
        int rc = each_slice(j, m->scale + at / NF4_BLOCK, j->raw, k);
        if (rc != 0)
            return FAIL(err, INTERNAL, "%s has no codes", m->stored->name);
        TRY(st_put(to, j->raw, (k + 1) / 2, err));
        advance(j, k);
    }
    return 0;
}

/* --- int8 --- */

/* Codes or scales of whole rows; a row has at most 2^20 values. */
static int pour_rows(struct job *j, const struct matrix *m, int codes, struct st_sink *to,
                     struct pesc_error *err)
{
    long N = m->t.shape[0], K = m->t.shape[1], most = PIECE / K;
    float *scale = malloc((size_t)most * sizeof *scale);
    if (!scale)
        return FAIL(err, MEMORY, "no memory for the scales of %s", m->stored->name);
    int rc = 0;
    for (long r = 0; rc == 0 && r < N; r += most) {
        long rows = N - r < most ? N - r : most;
        rc = read_piece(j, m, (size_t)(r * K), (size_t)(rows * K), err);
        if (rc == 0)
            rc = int8_quantise(j->wide, rows, K, (signed char *)j->raw, scale);
        if (rc == 0)
            rc = codes ? st_put(to, j->raw, (size_t)(rows * K), err)
                       : st_put(to, scale, (size_t)rows * sizeof *scale, err);
        advance(j, (size_t)(rows * K));
    }
    free(scale);
    return rc;
}

/* --- the file --- */

static int pour_plain(struct job *j, const struct matrix *m, enum dtype dtype, struct st_sink *to,
                      struct pesc_error *err)
{
    size_t n = values(m);
    for (size_t at = 0; at < n; at += PIECE) {
        size_t k = n - at < PIECE ? n - at : PIECE;
        TRY(read_piece(j, m, at, k, err));
        if (dtype != m->stored->dtype)
            dtype_from_f32(j->raw, j->wide, dtype, k);
        TRY(st_put(to, j->raw, k * dtype_size(dtype), err));
        advance(j, k);
    }
    return 0;
}

static int pour(void *ctx, long i, const struct st_out *t, struct st_sink *to,
                struct pesc_error *err)
{
    struct job *j = ctx;
    struct matrix *m = j->piece[i].m;
    struct qmat q = shape_of(m);
    float map[256];
    switch (j->piece[i].part) {
    case PLAIN:
        return pour_plain(j, m, t->dtype, to, err);
    case INT8:
    case SCALE:
        return pour_rows(j, m, j->piece[i].part == INT8, to, err);
    case CODE:
        return pour_codes(j, m, to, err);
    case MAP:
        return st_put(to, nf4_values, sizeof nf4_values, err);
    case NESTED_MAP:
        nf4_nested_map(map);
        return st_put(to, map, sizeof map, err);
    case NESTED_ABSMAX:
        TRY(find_scales(j, m, err));
        return st_put(to, m->nested, (size_t)qmat_scales(&q) * sizeof *m->nested, err);
    case ABSMAX:
        TRY(find_scales(j, m, err));
        return st_put(to, m->absmax, (size_t)qmat_blocks(&q), err);
    default:
        TRY(find_scales(j, m, err));
        write_state(m);
        return st_put(to, m->state, strlen(m->state), err);
    }
}

static void add_piece(struct job *j, struct matrix *m, enum part part, const char *suffix,
                      enum dtype dtype, long rows, long cols)
{
    struct piece *p = &j->piece[j->pieces];
    *p = (struct piece){.part = part, .m = m};
    snprintf(p->name, sizeof p->name, "%s%s", m->stored->name, suffix);
    j->st[j->pieces++] = (struct st_out){
        .name = p->name, .dtype = dtype, .ndim = cols ? 2 : 1, .shape = {rows, cols}};
}

/* Plans what a tensor becomes; its bytes. */
static uint64_t add_tensor(struct job *j, struct matrix *m)
{
    long first = j->pieces, N = m->t.shape[0], K = m->t.ndim == 2 ? m->t.shape[1] : 0;
    struct qmat q = shape_of(m);
    enum dtype own = m->stored->dtype;
    if (m->kind == QUANT_NONE) {
        int keep = !K || j->how->quant != QUANT_NONE || j->how->dtype == DT_COUNT;
        add_piece(j, m, PLAIN, "", keep ? own : j->how->dtype, N, K);
    } else if (m->kind == QUANT_INT8) {
        add_piece(j, m, INT8, "", ST_I8, N, K);
        add_piece(j, m, SCALE, QUANT_SCALE, DT_F32, N, 0);
    } else {
        write_state(m);
        add_piece(j, m, CODE, "", ST_U8, (long)qmat_code_bytes(&q), 1);
        add_piece(j, m, ABSMAX, QUANT_ABSMAX, ST_U8, qmat_blocks(&q), 0);
        add_piece(j, m, NESTED_ABSMAX, QUANT_NESTED_ABSMAX, DT_F32, qmat_scales(&q), 0);
        add_piece(j, m, NESTED_MAP, QUANT_NESTED_MAP, DT_F32, 256, 0);
        add_piece(j, m, MAP, QUANT_MAP, DT_F32, 16, 0);
        add_piece(j, m, STATE, QUANT_STATE, ST_U8, (long)strlen(m->state), 0);
    }
    uint64_t bytes = 0;
    for (long i = first; i < j->pieces; i++) {
        const struct st_out *o = &j->st[i];
        uint64_t size = o->dtype >= DT_COUNT ? 1 : dtype_size(o->dtype);
        for (int d = 0; d < o->ndim; d++)
            size *= (uint64_t)o->shape[d];
        bytes += size;
    }
    return bytes;
}

static void forget_scales(struct matrix *m)
{
    free(m->scale);
    free(m->absmax);
    free(m->nested);
    m->scale = NULL;
    m->absmax = NULL;
    m->nested = NULL;
}

/* The tensors from the first on that fit a file; the number of the one behind. */
static long plan_shard(struct job *j, long first, uint64_t *bytes)
{
    uint64_t most = j->how->shard ? j->how->shard : 1000000000;
    long i = first;
    *bytes = 0;
    j->pieces = 0;
    for (; i < j->n; i++) {
        long before = j->pieces;
        uint64_t now = add_tensor(j, &j->m[i]);
        if (i > first && *bytes + now > most) {
            j->pieces = before;
            break;
        }
        *bytes += now;
    }
    return i;
}

static int write_shards(struct job *j, struct pesc_error *err)
{
    long shards = 0, k = 0;
    uint64_t bytes = 0, total = 0;
    char name[64], path[PATH_CAP];
    for (long i = 0; i < j->n; shards++, total += bytes)
        i = plan_shard(j, i, &bytes);
    json_t *map = json_object();
    j->index =
        json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    for (long i = 0, next; i < j->n; i = next) {
        next = plan_shard(j, i, &bytes);
        if (shards == 1)
            snprintf(name, sizeof name, "model.safetensors");
        else
            snprintf(name, sizeof name, "model-%05ld-of-%05ld.safetensors", ++k, shards);
        TRY(path_join(path, j->dir, name, err));
        TRY(st_write_pieces(path, j->st, j->pieces, "format", "pt", pour, j, 1, &bytes, err));
        j->out->bytes += bytes;
        for (long p = 0; p < j->pieces; p++)
            if (json_object_set_new(map, j->piece[p].name, json_string(name)) != 0)
                return FAIL(err, MEMORY, "%s: no memory for its index", j->dir);
        for (long m = i; m < next; m++)
            forget_scales(&j->m[m]);
    }
    if (shards == 1)
        return 0;
    char *text = json_written(j->index, JSON_INDENT(2) | JSON_SORT_KEYS);
    int rc = text ? path_join(path, j->dir, "model.safetensors.index.json", err)
                  : FAIL(err, MEMORY, "%s: no memory for its index", j->dir);
    if (rc == 0)
        rc = file_write(path, text, strlen(text), err);
    free(text);
    return rc;
}

/* --- config.json --- */

static json_t *quantization_config(const struct job *j)
{
    /* Programs that do not know int8 inside of nf4 refuse it by the method's name. */
    int is_mixed = j->out->small_values > 0;
    if (j->how->quant == QUANT_INT8 || j->out->small_values == j->out->matrix_values)
        return json_pack("{s:s, s:i}", "quant_method", "pesc_int8", "version", 1);
    if (is_mixed)
        return json_pack("{s:s, s:i}", "quant_method", "pesc_mixed", "version", 1);
    return json_pack("{s:s, s:b, s:b, s:b, s:b, s:s, s:b, s:s, s:s, s:n, s:f}", "quant_method",
                     "bitsandbytes", "load_in_4bit", 1, "_load_in_4bit", 1, "load_in_8bit", 0,
                     "_load_in_8bit", 0, "bnb_4bit_quant_type", "nf4", "bnb_4bit_use_double_quant",
                     1, "bnb_4bit_compute_dtype", "bfloat16", "bnb_4bit_quant_storage", "uint8",
                     "llm_int8_skip_modules", "llm_int8_threshold", 6.0);
}

static int write_config(const struct job *j, struct pesc_error *err)
{
    json_t *json = json_copy_deep(base_config_json(j->b));
    int rc = json ? 0 : -1;
    if (rc == 0 && j->how->quant != QUANT_NONE)
        rc = json_object_set_new(json, "quantization_config", quantization_config(j));
    if (rc == 0 && j->how->quant == QUANT_NONE) {
        const char *key = json_object_get(json, "dtype") ? "dtype" : "torch_dtype";
        rc = json_object_set_new(json, key, json_string(torch_name(j->how->dtype)));
        if (rc == 0 && json_object_get(json, "torch_dtype"))
            rc = json_object_set_new(json, "torch_dtype", json_string(torch_name(j->how->dtype)));
    }
    if (rc == 0)
        rc = json_object_set_new(
            json, "pesc_origin",
            json_pack("{s:s, s:s}", "fingerprint", j->how->fingerprint, "name", j->how->name));
    if (rc == 0)
        return base_write_config(j->dir, json, err);
    json_decref(json);
    return FAIL(err, MEMORY, "%s: no memory for its config", j->dir);
}

/* --- all of it --- */

static int plan_tensors(struct job *j, struct pesc_error *err)
{
    const struct model_config *c = base_config(j->b);
    long slots = model_tensor_slots(c);
    j->m = calloc((size_t)slots, sizeof *j->m);
    j->piece = calloc((size_t)slots * 6, sizeof *j->piece);
    j->st = calloc((size_t)slots * 6, sizeof *j->st);
    j->wide = malloc(PIECE * sizeof *j->wide);
    j->raw = malloc(PIECE * sizeof(float));
    if (!j->m || !j->piece || !j->st || !j->wide || !j->raw)
        return FAIL(err, MEMORY, "%s: no memory to convert it", base_dir(j->b));
    for (long i = 0; i < slots; i++) {
        struct matrix *m = &j->m[j->n];
        if (!model_tensor_at(c, i, &m->t))
            continue;
        int outer = !strcmp(m->t.name, NAME_EMBED) || !strcmp(m->t.name, NAME_HEAD);
        m->stored = base_tensor(j->b, m->t.name);
        m->kind = m->t.ndim == 2 && (!outer || j->how->outer) ? j->how->quant : QUANT_NONE;
        if (m->kind == QUANT_NF4 && m->stored->n < j->how->small) {
            m->kind = QUANT_INT8;
            j->out->small_values += m->stored->n;
        }
        j->total += m->stored->n * (m->kind ? 2 : 1);
        j->n++;
        if (m->kind) {
            long before = j->pieces;
            j->out->matrix_values += m->stored->n;
            j->out->matrix_bytes += add_tensor(j, m);
            j->pieces = before;
        }
    }
    return 0;
}

static int copy(const struct job *j, struct pesc_error *err)
{
    const struct shards *s = base_shards(j->b);
    TRY(base_copy_file(base_dir(j->b), j->dir, "config.json", err));
    TRY(base_copy_file(base_dir(j->b), j->dir, "model.safetensors.index.json", err));
    for (long i = 0; i < s->n_files; i++) {
        TRY(base_copy_file(base_dir(j->b), j->dir, path_base(st_path(s->file[i])), err));
        if (j->how->progress)
            j->how->progress(j->how->ctx, (uint64_t)i + 1, (uint64_t)s->n_files);
    }
    j->out->bytes = base_bytes(j->b);
    return 0;
}

int base_convert(const char *dir, const struct base *b, const struct convert *how,
                 struct converted *out, struct pesc_error *err)
{
    struct job j = {.dir = dir, .b = b, .how = how, .out = out};
    int is_copy = how->quant == QUANT_NONE && how->dtype == DT_COUNT;
    memset(out, 0, sizeof *out);
    if (!is_copy && base_config(b)->quant != QUANT_NONE)
        return FAIL(err, MODEL_KIND,
                    "%s is %s already: it is used as it is stored, or take the original model",
                    base_dir(b), base_stored(b));
    int rc = base_copy_others(b, dir, err);
    if (rc == 0 && is_copy)
        rc = copy(&j, err);
    if (rc == 0 && !is_copy) {
        rc = plan_tensors(&j, err);
        if (rc == 0)
            rc = write_config(&j, err);
        if (rc == 0)
            rc = write_shards(&j, err);
    }
    for (long i = 0; i < j.n; i++)
        forget_scales(&j.m[i]);
    json_decref(j.index);
    free(j.m);
    free(j.piece);
    free(j.st);
    free(j.wide);
    free(j.raw);
    return rc;
}
