/* The memory of an engine: how it is laid out, and what becomes of block inputs. */
#include "config.h"
#include "model/engine_internal.h"

#include "core/tfile.h"

#include <stdlib.h>
#include <string.h>

/* Rows of logits at a time: enough for the product to be efficient, little against the model. */
static long chunk_rows(const struct model *m, long T)
{
    long n = (12L << 20) / m->c.vocab_size;
    n = n < 64 ? 64 : n > 512 ? 512 : n;
    return n < T ? n : T;
}

static size_t kept_size(const struct model *m)
{
    return dtype_size(compute_form(m->compute));
}

/* Layers whose inputs have a place in memory. Spilled ones need it only to be rounded in. */
static long kept_slots(const struct engine *e, int spills)
{
    if (!e->train)
        return 0;
    return !spills ? e->m->c.num_layers - e->lowest : kept_size(e->m) == 2 ? 1 : 0;
}

static int keeps_prefix(const struct engine *e, const struct prefix_options *o)
{
    return e->train && e->lowest > 0 && o->bytes > 0;
}

static void lay_out(struct engine *e, int spills, const struct prefix_options *prefix)
{
    const struct model *m = e->m;
    struct arena *a = &e->fixed;
    long T = e->max_tokens, D = m->c.hidden_size;
    e->position = arena_alloc(a, (size_t)T, sizeof *e->position);
    e->inv_freq = arena_alloc(a, (size_t)m->c.head_dim / 2, sizeof *e->inv_freq);
    e->cos = ARENA_FLOATS(a, T * m->c.head_dim / 2);
    e->sin = ARENA_FLOATS(a, T * m->c.head_dim / 2);
    e->kept = arena_alloc(a, (size_t)(kept_slots(e, spills) * T * D), kept_size(m));
    e->x = ARENA_FLOATS(a, T * D);
    e->h = ARENA_FLOATS(a, T * D);
    e->y = ARENA_FLOATS(a, T * D);
    e->dx = e->train ? ARENA_FLOATS(a, T * D) : NULL;
    e->rows = arena_alloc(a, (size_t)T, sizeof *e->rows);
    e->target = arena_alloc(a, (size_t)T, sizeof *e->target);
    e->chunk = chunk_rows(m, T);
    e->row_x = ARENA_FLOATS(a, e->chunk * D);
    e->row_dx = ARENA_FLOATS(a, e->chunk * D);
    e->logits = ARENA_FLOATS(a, e->chunk * m->c.vocab_size);
    e->row_loss = ARENA_FLOATS(a, e->chunk);
    if (!keeps_prefix(e, prefix))
        return;
    e->some_ids = arena_alloc(a, (size_t)T, sizeof *e->some_ids);
    e->some_cu = arena_alloc(a, (size_t)e->max_samples + 1, sizeof *e->some_cu);
    e->some = arena_alloc(a, (size_t)e->max_samples, sizeof *e->some);
}

enum { SAVED_MAX = 1024 }; /* the parts' own structs are small; while counting they live here */

static int fits(const struct part *p)
{
    return p->ops->saved_size <= SAVED_MAX;
}

static void lay(const struct part *p, void *saved, unsigned char *dry, struct arena *a, long T,
                enum lay kind)
{
    if (fits(p))
        p->ops->layout(p, saved ? saved : dry, a, T, kind);
}

/* keep and work may be the same. Training: what lasts, side by side; then the parts' working memory
 * on top of each other, the feed-forward network's at the end, where the adapters' goes on from.
 * Else all of both parts is on top of each other. */
static struct block_saved lay_block(struct arena *keep, struct arena *work, const struct engine *e,
                                    long l, long T)
{
    const struct model *m = e->m;
    const struct part *attn = &m->attn[l], *ffn = &m->ffn[l];
    unsigned char dry[2][SAVED_MAX];
    struct block_saved s = {arena_alloc(keep, 1, attn->ops->saved_size),
                            arena_alloc(keep, 1, ffn->ops->saved_size), e->h};
    size_t mark;
    if (!e->train || l < e->lowest) {
        mark = arena_mark(work);
        lay(attn, s.attn, dry[0], work, T, LAY_KEPT);
        lay(attn, s.attn, dry[0], work, T, LAY_FORWARD);
        arena_reset(work, mark);
        lay(ffn, s.ffn, dry[1], work, T, LAY_KEPT);
        lay(ffn, s.ffn, dry[1], work, T, LAY_FORWARD);
        return s;
    }
    if (keep != work)
        s.h = ARENA_FLOATS(keep, T * m->c.hidden_size);
    lay(attn, s.attn, dry[0], keep, T, LAY_KEPT);
    lay(ffn, s.ffn, dry[1], keep, T, LAY_KEPT);
    mark = arena_mark(work);
    lay(attn, s.attn, dry[0], work, T, LAY_FORWARD);
    lay(attn, s.attn, dry[0], work, T, LAY_BACKWARD);
    arena_reset(work, mark);
    lay(ffn, s.ffn, dry[1], work, T, LAY_FORWARD);
    lay(ffn, s.ffn, dry[1], work, T, LAY_BACKWARD);
    return s;
}

struct block_saved engine_block(struct engine *e, long l, long T)
{
    if (l < e->disk_from)
        return lay_block(&e->block, &e->block, e, l, T);
    unsigned char *at = l < e->keep_from
                            ? insides_memory(e->insides, l)
                            : e->full.base + (size_t)(l - e->keep_from) * e->full_layer;
    struct arena own = {.base = at, .cap = e->full_layer};
    struct block_saved s = lay_block(&own, &e->block, e, l, T);
    e->block.overflow |= own.overflow;
    e->image_used = own.used;
    return s;
}

static void count_memory(struct engine *e, const struct engine_choices *c)
{
    const struct model *m = e->m;
    size_t most = 0;
    long keep = e->train ? c->keep_layers : 0, most_kept;
    e->lowest = model_lowest(m);
    most_kept = m->c.num_layers - e->lowest;
    e->keep_from = m->c.num_layers - (keep < most_kept ? keep : most_kept);
    long disk = e->train ? c->disk_layers : 0;
    most_kept = e->keep_from - e->lowest;
    e->disk_from = e->keep_from - (disk < most_kept ? disk : most_kept);
    arena_count(&e->fixed);
    lay_out(e, c->spill_dir != NULL, &c->prefix);
    arena_count(&e->block);
    arena_count(&e->full);
    for (long l = 0; l < m->c.num_layers; l++) {
        struct arena work, own;
        int full = l >= e->disk_from;
        arena_count(&work);
        arena_count(&own);
        (void)lay_block(full ? &own : &work, &work, e, l, e->max_tokens);
        if (model_is_adapted(m, l) && e->train)
            moe_bwd_scratch(&work, e->max_tokens, m->c.hidden_size, &m->moe);
        if (work.peak > most)
            most = work.peak;
        if (own.peak > e->full_layer)
            e->full_layer = own.peak;
    }
    e->full_layer = (e->full_layer + TFILE_BLOCK - 1) / TFILE_BLOCK * TFILE_BLOCK;
    e->direct = c->disk_direct;
    e->block.peak = most;
    e->full.peak = (size_t)(m->c.num_layers - e->keep_from) * e->full_layer;
    arena_count(&e->image);
    e->image.peak = e->disk_from < e->keep_from ? e->full_layer * (e->direct ? 2 : 1) : 0;
}

static int is_int8(const struct model *m, long rows, long cols)
{
    return m->compute == COMPUTE_INT8 && linear_int8(rows, cols, m->plan.int8_min);
}

/* The longest row or column of a layer's matrices that are multiplied as codes, or of the others.
 */
static size_t widest(const struct model *m, int int8)
{
    long most = 0;
    for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
        long rows, cols;
        if (!layer_tensor_shape(&m->c, t, &rows, &cols) || !cols || is_int8(m, rows, cols) != int8)
            continue;
        most = rows > most ? rows : most;
        most = cols > most ? cols : most;
    }
    return (size_t)most;
}

/* Activations that oneDNN sees rounded; the head's gradient rows are vocabulary wide. */
static size_t rounded(const struct engine *e)
{
    size_t n = (size_t)e->max_tokens * widest(e->m, 0);
    size_t head = (size_t)e->chunk * (size_t)e->m->c.vocab_size;
    return compute_form(e->m->compute) == DT_BF16 ? (n > head ? n : head) : 0;
}

static size_t coded(const struct engine *e)
{
    size_t n = widest(e->m, 1);
    return n ? gemm_int8_bytes(e->max_tokens, (long)n) : 0;
}

/* The largest panel that a quantised matrix is expanded into. */
static size_t panel(const struct model *m)
{
    const struct model_config *c = &m->c;
    const struct quant_form *head = c->tied ? &c->embed_form : &c->head_form;
    enum dtype type = compute_form(m->compute);
    size_t most = head->kind ? gemm_panel_bytes(c->vocab_size, c->hidden_size, type) : 0;
    for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
        long rows, cols;
        if (!layer_tensor_shape(c, t, &rows, &cols) || !c->layer_form[t].kind ||
            is_int8(m, rows, cols))
            continue;
        size_t n = gemm_panel_bytes(rows, cols, type);
        most = n > most ? n : most;
    }
    return most;
}

/* The most of any matrix that is packed for a product. */
static size_t packed(const struct model *m)
{
    const struct model_config *c = &m->c;
    int bf16 = compute_form(m->compute) == DT_BF16;
    size_t most = bf16 ? gemm_packed_bytes(c->vocab_size, c->hidden_size, 0) : 0;
    for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
        long rows, cols;
        if (!layer_tensor_shape(c, t, &rows, &cols) || cols <= 1)
            continue;
        int codes = is_int8(m, rows, cols);
        size_t n = codes || bf16 ? gemm_packed_bytes(rows, cols, codes) : 0;
        most = n > most ? n : most;
    }
    return most;
}

static const struct engine_choices nothing_special;

size_t engine_bytes(const struct model *m, long max_tokens, long max_samples, int train,
                    const struct engine_choices *choices)
{
    struct engine e = {.m = (struct model *)m,
                       .max_tokens = max_tokens,
                       .max_samples = max_samples,
                       .train = train};
    count_memory(&e, choices ? choices : &nothing_special);
    const struct engine_choices *c = choices ? choices : &nothing_special;
    return e.fixed.peak + e.block.peak + e.full.peak + e.image.peak + 2 * rounded(&e) + coded(&e) +
           panel(m) + packed(m) + engine_prefix_bytes(&e, &c->prefix);
}

static uint64_t spill_layer(const struct engine *e)
{
    return (uint64_t)e->max_tokens * (uint64_t)e->m->c.hidden_size * kept_size(e->m);
}

uint64_t engine_spill_bytes(const struct model *m, long max_tokens)
{
    struct engine e = {.m = (struct model *)m, .max_tokens = max_tokens};
    return (uint64_t)(m->c.num_layers - model_lowest(m)) * spill_layer(&e);
}

static uint64_t disk_bytes(const struct engine *e)
{
    return (uint64_t)(e->keep_from - e->disk_from) * e->full_layer;
}

uint64_t engine_disk_bytes(const struct model *m, long max_tokens,
                           const struct engine_choices *choices)
{
    struct engine e = {.m = (struct model *)m, .max_tokens = max_tokens, .train = 1};
    count_memory(&e, choices);
    return disk_bytes(&e);
}

static int back(struct arena *a, struct pesc_error *err)
{
    return a->peak ? arena_back(a, err) : 0;
}

int engine_open(struct model *m, long max_tokens, long max_samples, int train,
                const struct engine_choices *choices, struct engine **out, struct pesc_error *err)
{
    const struct engine_choices *c = choices ? choices : &nothing_special;
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return FAIL(err, MEMORY, "no memory for an engine");
    *e = (struct engine){
        .m = m, .max_tokens = max_tokens, .max_samples = max_samples, .train = train};
    count_memory(e, c);
    TRY_OR(arena_back(&e->fixed, err), fail);
    TRY_OR(arena_back(&e->block, err), fail);
    TRY_OR(back(&e->full, err), fail);
    TRY_OR(back(&e->image, err), fail);
    lay_out(e, c->spill_dir != NULL, &c->prefix);
    TRY_OR(engine_prefix_open(e, &c->prefix, err), fail);
    TRY_OR(gemm_reserve(m->gemm, rounded(e), err), fail);
    TRY_OR(gemm_reserve_panel(m->gemm, panel(m), err), fail);
    TRY_OR(gemm_reserve_packed(m->gemm, packed(m), err), fail);
    if (coded(e))
        TRY_OR(gemm_reserve_int8(m->gemm, max_tokens, (long)widest(m, 1), err), fail);
    enum tfile_kind kind = e->image.base && !e->direct ? TFILE_CACHED : TFILE_DROPPED;
    if (train && c->spill_dir) /* where there is room for the insides, there is for these */
        TRY_OR(tfile_open(c->spill_dir, engine_spill_bytes(m, max_tokens), kind, &e->spill, err),
               fail);
    if (e->image.base)
        TRY_OR(insides_open(c->keep_dir, e->full_layer, e->disk_from, e->keep_from - e->disk_from,
                            e->direct, e->image.base, &e->insides, err),
               fail);
    *out = e;
    return 0;
fail:
    engine_close(e);
    return -1;
}

void engine_close(struct engine *e)
{
    if (!e)
        return;
    prefix_close(e->prefix);
    tfile_close(e->spill);
    insides_close(e->insides);
    arena_free(&e->image);
    arena_free(&e->fixed);
    arena_free(&e->block);
    arena_free(&e->full);
    free(e);
}

long engine_max_tokens(const struct engine *e)
{
    return e->max_tokens;
}

/* --- block inputs --- */

static void *slot(const struct engine *e, long l)
{
    size_t at = e->spill ? 0 : (size_t)(l - e->lowest) * (size_t)spill_layer(e);
    return (char *)e->kept + at;
}

static int spill(struct engine *e, long l, const void *data, long T, struct pesc_error *err)
{
    uint64_t size = spill_layer(e);
    size_t n = (size_t)(T * e->m->c.hidden_size) * kept_size(e->m);
    return tfile_write(e->spill, data, n, (uint64_t)(l - e->lowest) * size, err);
}

int engine_keep(struct engine *e, long l, float *x, long T, struct pesc_error *err)
{
    long D = e->m->c.hidden_size;
    int wanted = e->back && l >= e->lowest;
    if (compute_form(e->m->compute) == DT_F32) {
        if (wanted && !e->spill)
            memcpy(slot(e, l), x, (size_t)(T * D) * sizeof *x);
        return wanted && e->spill ? spill(e, l, x, T, err) : 0;
    }
    uint16_t *to = wanted ? slot(e, l) : NULL;
#pragma omp parallel for schedule(static) if (T > 1)
    for (long t = 0; t < T; t++) {
        uint16_t own[4096];
        for (long d = 0; d < D; d += 4096) {
            size_t n = (size_t)(D - d < 4096 ? D - d : 4096);
            uint16_t *at = to ? to + t * D + d : own;
            dtype_from_f32(at, x + t * D + d, DT_BF16, n);
            dtype_to_f32(x + t * D + d, at, DT_BF16, n);
        }
    }
    return to && e->spill ? spill(e, l, to, T, err) : 0;
}

int engine_kept(struct engine *e, long l, float *buffer, long T, const float **in,
                struct pesc_error *err)
{
    long D = e->m->c.hidden_size;
    int narrow = compute_form(e->m->compute) == DT_BF16;
    if (e->spill) {
        uint64_t size = spill_layer(e);
        size_t n = (size_t)(T * D) * kept_size(e->m);
        uint64_t at = (uint64_t)(l - e->lowest) * size;
        TRY(tfile_read(e->spill, narrow ? slot(e, l) : buffer, n, at, err));
        if (l > e->lowest)
            tfile_soon(e->spill, n, at - size);
    }
    *in = narrow || e->spill ? buffer : slot(e, l);
    if (!narrow)
        return 0;
    const uint16_t *from = slot(e, l);
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++)
        dtype_to_f32(buffer + t * D, from + t * D, DT_BF16, (size_t)D);
    return 0;
}
