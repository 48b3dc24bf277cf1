#include "config.h"
#include "model/base.h"

#include "core/file.h"
#include "model/quantised.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMED = 10, LIST_CAP = 900 }; /* of a list of names in a message */

struct base {
    char *dir;
    struct model_config config;
    json_t *json;
    struct shards shards;
    struct quantised quantised;
    enum dtype dtype;
    uint64_t params, bytes;
};

const struct shards *base_shards(const struct base *b)
{
    return &b->shards;
}

/* A list of names that stops at ten or when its room is used up, but keeps counting. */
struct name_list {
    long n, shown;
    char text[LIST_CAP];
};

static void list_add(struct name_list *l, const char *name)
{
    size_t used = strlen(l->text);
    if (l->n++ == l->shown && l->shown < NAMED && used + strlen(name) + 3 < sizeof l->text) {
        snprintf(l->text + used, sizeof l->text - used, "%s%s", used ? ", " : "", name);
        l->shown++;
    }
}

static const char *list_more(const struct name_list *l)
{
    return l->n > l->shown ? ", ..." : "";
}

/* Where a name's bytes are: a tied model stores its one matrix under either name. */
static const struct shard_tensor *locate(const struct base *b, const char *name)
{
    if (b->config.tied && (!strcmp(name, NAME_HEAD) || !strcmp(name, NAME_EMBED))) {
        const struct shard_tensor *st = shards_find(&b->shards, NAME_EMBED);
        return st ? st : shards_find(&b->shards, NAME_HEAD);
    }
    return shards_find(&b->shards, name);
}

static int check_kind(const struct base *b, struct pesc_error *err)
{
    for (long i = 0; i < b->shards.count; i++) {
        const char *name = b->shards.all[i].t->name;
        if (strstr(name, "moe_adapter") || strstr(name, "lora_"))
            return FAIL(err, MODEL_KIND,
                        "%s: holds adapters ('%s'); a dense base model is expected", b->dir, name);
    }
    return 0;
}

static int check_present(const struct base *b, struct pesc_error *err)
{
    struct name_list missing = {0};
    struct model_tensor want;
    for (long i = 0; i < model_tensor_slots(&b->config); i++)
        if (model_tensor_at(&b->config, i, &want) && !locate(b, want.name))
            list_add(&missing, want.name);
    if (missing.n == 0)
        return 0;
    return FAIL(err, MODEL_MISSING, "%s: %ld tensor%s missing: %s%s", b->dir, missing.n,
                missing.n == 1 ? "" : "s", missing.text, list_more(&missing));
}

static void shape_text(char *out, size_t size, int ndim, const long *shape)
{
    size_t o = 0;
    out[0] = 0;
    for (int d = 0; d < ndim && o < size; d++)
        o += (size_t)snprintf(out + o, size - o, "%s%ld", d ? "," : "", shape[d]);
}

static int check_one(const struct base *b, const struct model_tensor *want, struct pesc_error *err)
{
    const struct st_tensor *t = locate(b, want->name)->t;
    char have_text[ST_MAX_DIM * 21], want_text[48];
    int is_vocab = !strcmp(want->name, NAME_EMBED) || !strcmp(want->name, NAME_HEAD);
    if (t->dtype == DT_COUNT)
        return FAIL(err, ST_DTYPE,
                    "%s: tensor '%s': unsupported dtype %s; F32, BF16 and F16 are "
                    "read",
                    b->dir, t->name, t->stored);
    if (t->ndim == want->ndim && t->shape[0] == want->shape[0] &&
        (t->ndim == 1 || t->shape[1] == want->shape[1]))
        return 0;
    if (is_vocab && t->ndim == 2 && t->shape[1] == want->shape[1])
        return FAIL(err, CFG_VOCAB, "%s: vocab_size is %ld, but tensor '%s' has %ld rows", b->dir,
                    want->shape[0], t->name, t->shape[0]);
    shape_text(have_text, sizeof have_text, t->ndim, t->shape);
    shape_text(want_text, sizeof want_text, want->ndim, want->shape);
    return FAIL(err, MODEL_SHAPE, "%s: tensor '%s' has shape [%s], the config asks for [%s]",
                b->dir, t->name, have_text, want_text);
}

/* What the tensor's bytes are codes of, which the config must have announced. */
static enum quant codes_of(const struct base *b, const struct shard_tensor *st,
                           const struct model_tensor *want)
{
    const struct model_config *c = &b->config;
    if (want->ndim == 2 && c->quant == QUANT_NF4 && !strcmp(st->t->stored, "U8"))
        return QUANT_NF4;
    int may_be_int8 = c->quant == QUANT_INT8 || c->quant_mixed;
    return want->ndim == 2 && may_be_int8 && !strcmp(st->t->stored, "I8") ? QUANT_INT8 : QUANT_NONE;
}

static int check_tensor(struct base *b, const struct model_tensor *want, char *needed,
                        struct pesc_error *err)
{
    const struct shard_tensor *st = locate(b, want->name);
    needed[st - b->shards.all] = 1;
    enum quant kind = codes_of(b, st, want);
    if (kind == QUANT_NONE) {
        b->params += st->t->n;
        b->bytes += st->t->bytes;
        return check_one(b, want, err);
    }
    TRY(quantised_add(&b->quantised, kind, &b->shards, b->dir, st, want, err));
    const struct quantised_tensor *q = &b->quantised.t[b->quantised.count - 1];
    b->params += (uint64_t)want->shape[0] * (uint64_t)want->shape[1];
    for (long i = 0; i < q->n_parts; i++) {
        needed[q->part[i] - b->shards.all] = 1;
        b->bytes += q->part[i]->t->bytes;
    }
    return 0;
}

static struct quant_form form_of(const struct base *b, const char *name)
{
    const struct quantised_tensor *q = base_quantised(b, name);
    return q ? (struct quant_form){q->shape.kind, q->shape.block, q->shape.nested}
             : (struct quant_form){0};
}

/* A kind of matrix is held quantised where it is stored so in every layer; else it is expanded as
 * it is read, since all layers lie in memory alike. */
static void find_forms(struct base *b)
{
    struct model_config *c = &b->config;
    char name[TENSOR_NAME_CAP];
    _Static_assert((int)LT_COUNT <= (int)QUANT_FORMS, "room for every kind of matrix");
    for (enum layer_tensor t = 0; t < LT_COUNT; t++)
        for (long l = 0; l < c->num_layers; l++) {
            layer_tensor_name(name, t, l);
            struct quant_form f = form_of(b, name), *g = &c->layer_form[t];
            if (l == 0)
                *g = f;
            else if (f.kind != g->kind || f.block != g->block || f.nested != g->nested)
                *g = (struct quant_form){0};
        }
    c->embed_form = form_of(b, NAME_EMBED);
    c->head_form = form_of(b, NAME_HEAD);
}

/* Shapes and types of what is needed; the rest is noted. */
static int check_tensors(struct base *b, const struct notes *notes, struct pesc_error *err)
{
    struct model_tensor want;
    struct name_list extra = {0};
    char *needed = calloc((size_t)b->shards.count + 1, 1);
    if (!needed)
        return FAIL(err, MEMORY, "%s: no memory", b->dir);
    for (long i = 0; i < model_tensor_slots(&b->config); i++)
        if (model_tensor_at(&b->config, i, &want) && check_tensor(b, &want, needed, err) != 0) {
            free(needed);
            return -1;
        }
    for (long i = 0; i < b->shards.count; i++)
        if (!needed[i] && !strstr(b->shards.all[i].t->name, ".rotary_emb.inv_freq"))
            list_add(&extra, b->shards.all[i].t->name);
    free(needed);
    if (extra.n)
        note(notes, "W-MODEL-EXTRA", "%s: %ld tensor%s not needed: %s%s", b->dir, extra.n,
             extra.n == 1 ? "" : "s", extra.text, list_more(&extra));
    quantised_sort(&b->quantised);
    find_forms(b);
    b->dtype = locate(b, "model.layers.0.self_attn.q_proj.weight")->t->dtype;
    return 0;
}

int base_open(const char *dir, const struct notes *notes, struct base **out, struct pesc_error *err)
{
    *out = NULL;
    if (!path_exists(dir))
        return FAIL(err, IO_MISSING, "%s: no such folder", dir);
    if (!path_is_dir(dir))
        return FAIL(err, IO_TYPE, "%s: not a folder", dir);
    struct base *b = calloc(1, sizeof *b);
    if (!b)
        return FAIL(err, MEMORY, "%s: no memory", dir);
    b->dir = strdup(dir);
    if (!b->dir) {
        FAIL(err, MEMORY, "%s: no memory", dir);
        goto fail;
    }
    TRY_OR(model_config_read(dir, notes, &b->config, &b->json, err), fail);
    TRY_OR(shards_open(&b->shards, dir, notes, err), fail);
    TRY_OR(check_kind(b, err), fail);
    TRY_OR(check_present(b, err), fail);
    TRY_OR(check_tensors(b, notes, err), fail);
    *out = b;
    return 0;
fail:
    base_close(b);
    return -1;
}

void base_close(struct base *b)
{
    if (!b)
        return;
    quantised_free(&b->quantised);
    shards_close(&b->shards);
    json_decref(b->json);
    free(b->dir);
    free(b);
}

const struct model_config *base_config(const struct base *b)
{
    return &b->config;
}

const json_t *base_config_json(const struct base *b)
{
    return b->json;
}

const char *base_dir(const struct base *b)
{
    return b->dir;
}

enum dtype base_dtype(const struct base *b)
{
    return b->dtype == DT_COUNT ? DT_BF16 : b->dtype;
}

const char *base_stored(const struct base *b)
{
    return b->quantised.count ? quant_name(b->config.quant) : dtype_name(b->dtype);
}

uint64_t base_bytes(const struct base *b)
{
    return b->bytes;
}

const struct quantised_tensor *base_quantised(const struct base *b, const char *name)
{
    const struct shard_tensor *st = locate(b, name);
    return st ? quantised_find(&b->quantised, st->t->name) : NULL;
}

uint64_t base_param_count(const struct base *b)
{
    return b->params;
}

const struct st_tensor *base_tensor(const struct base *b, const char *name)
{
    const struct shard_tensor *st = locate(b, name);
    return st ? st->t : NULL;
}

static const struct shard_tensor *find(const struct base *b, const char *name,
                                       struct pesc_error *err)
{
    const struct shard_tensor *st = locate(b, name);
    if (!st)
        FAIL(err, MODEL_MISSING, "%s: no tensor '%s'", b->dir, name);
    return st;
}

int base_read(const struct base *b, const char *name, void *dst, struct pesc_error *err)
{
    const struct shard_tensor *st = find(b, name, err);
    return st ? st_read(st->file, st->t, dst, err) : -1;
}

static int read_quantised(const struct quantised_tensor *t, float *dst, struct pesc_error *err)
{
    struct qmat m = t->shape;
    void *memory = NULL;
    if (posix_memalign(&memory, 64, qmat_bytes(&m)) != 0)
        return FAIL(err, MEMORY, "%s: no memory for %zu bytes", t->name, qmat_bytes(&m));
    qmat_place(&m, memory);
    int rc = quantised_read(t, &m, err);
    if (rc == 0)
        qmat_expand_rows(&m, 0, m.N, dst, DT_F32);
    free(memory);
    return rc;
}

int base_read_f32(const struct base *b, const char *name, float *dst, struct pesc_error *err)
{
    const struct shard_tensor *st = find(b, name, err);
    const struct quantised_tensor *q = st ? quantised_find(&b->quantised, st->t->name) : NULL;
    if (q)
        return read_quantised(q, dst, err);
    return st ? st_read_f32(st->file, st->t, dst, err) : -1;
}

int base_read_range(const struct base *b, const char *name, uint64_t from, size_t bytes, void *dst,
                    struct pesc_error *err)
{
    const struct shard_tensor *st = find(b, name, err);
    return st ? st_read_range(st->file, st->t, from, bytes, dst, err) : -1;
}

void base_forget(const struct base *b, const char *name)
{
    const struct shard_tensor *st = locate(b, name);
    const struct quantised_tensor *q = base_quantised(b, name);
    for (long i = 0; q && i < q->n_parts; i++)
        st_forget(q->part[i]->file, q->part[i]->t);
    if (st && !q)
        st_forget(st->file, st->t);
}
