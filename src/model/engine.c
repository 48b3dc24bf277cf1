#include "config.h"
#include "model/engine_internal.h"

#include "model/rope.h"
#include "tensor/kernels.h"

#include <stdlib.h>
#include <string.h>

/* Rows of logits at a time: enough for the product to be efficient, little against the model. */
static long chunk_rows(const struct model *m, long T)
{
    long n = (8L << 20) / m->c.vocab_size;
    n = n < 64 ? 64 : n > 512 ? 512 : n;
    return n < T ? n : T;
}

static size_t kept_size(const struct model *m)
{
    return m->compute == COMPUTE_BF16 ? 2 : 4;
}

static void lay_out(struct engine *e)
{
    const struct model *m = e->m;
    struct arena *a = &e->fixed;
    long T = e->max_tokens, D = m->c.hidden_size;
    e->position = arena_alloc(a, (size_t)T, sizeof *e->position);
    e->inv_freq = arena_alloc(a, (size_t)m->c.head_dim / 2, sizeof *e->inv_freq);
    e->cos = ARENA_FLOATS(a, T * m->c.head_dim / 2);
    e->sin = ARENA_FLOATS(a, T * m->c.head_dim / 2);
    if (e->train)
        e->kept = arena_alloc(a, (size_t)(m->c.num_layers * T * D), kept_size(m));
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
}

struct block_saved engine_block(struct arena *a, const struct model *m, long l, long T)
{
    /* The parts' own structs are small; while counting they live here. */
    unsigned char dry[2][1024];
    struct block_saved s = {arena_alloc(a, 1, m->attn[l].ops->saved_size),
                            arena_alloc(a, 1, m->ffn[l].ops->saved_size)};
    if (m->attn[l].ops->saved_size <= sizeof dry[0] && m->ffn[l].ops->saved_size <= sizeof dry[1]) {
        m->attn[l].ops->layout(&m->attn[l], s.attn ? s.attn : dry[0], a, T);
        m->ffn[l].ops->layout(&m->ffn[l], s.ffn ? s.ffn : dry[1], a, T);
    }
    return s;
}

static void count_memory(struct engine *e)
{
    const struct model *m = e->m;
    arena_count(&e->fixed);
    lay_out(e);
    arena_count(&e->block);
    size_t most = 0;
    for (long l = 0; l < m->c.num_layers; l++) {
        struct arena a;
        arena_count(&a);
        engine_block(&a, m, l, e->max_tokens);
        if (m->crafted && e->train)
            moe_bwd_scratch(&a, e->max_tokens, m->c.hidden_size, &m->moe);
        if (a.peak > most)
            most = a.peak;
    }
    e->block.peak = most;
}

static size_t widest(const struct model *m)
{
    long w = m->c.hidden_size, q = m->c.num_heads * m->c.head_dim;
    w = m->c.intermediate_size > w ? m->c.intermediate_size : w;
    return (size_t)(q > w ? q : w);
}

/* Activations that oneDNN sees rounded; the head's gradient rows are vocabulary wide. */
static size_t rounded(const struct engine *e)
{
    size_t n = (size_t)e->max_tokens * widest(e->m);
    size_t head = (size_t)e->chunk * (size_t)e->m->c.vocab_size;
    return e->m->compute == COMPUTE_BF16 ? (n > head ? n : head) : 0;
}

/* The largest panel that a quantised matrix is expanded into. */
static size_t panel(const struct model *m)
{
    const struct model_config *c = &m->c;
    enum dtype type = m->compute == COMPUTE_BF16 ? DT_BF16 : DT_F32;
    size_t most = 0;
    for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
        long rows, cols;
        if (!layer_tensor_shape(c, t, &rows, &cols) || !c->layer_form[t].kind)
            continue;
        size_t n = gemm_panel_bytes(rows, cols, type);
        most = n > most ? n : most;
    }
    const struct quant_form *head = c->tied ? &c->embed_form : &c->head_form;
    size_t n = head->kind ? gemm_panel_bytes(c->vocab_size, c->hidden_size, type) : 0;
    return n > most ? n : most;
}

size_t engine_bytes(const struct model *m, long max_tokens, long max_samples, int train)
{
    struct engine e = {.m = (struct model *)m,
                       .max_tokens = max_tokens,
                       .max_samples = max_samples,
                       .train = train};
    count_memory(&e);
    return e.fixed.peak + e.block.peak + 2 * rounded(&e) + panel(m);
}

int engine_open(struct model *m, long max_tokens, long max_samples, int train, struct engine **out,
                struct pesc_error *err)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return FAIL(err, MEMORY, "no memory for an engine");
    *e = (struct engine){
        .m = m, .max_tokens = max_tokens, .max_samples = max_samples, .train = train};
    count_memory(e);
    size_t block = e->block.peak;
    if (arena_back(&e->fixed, err) != 0)
        goto fail;
    e->block.peak = block;
    if (arena_back(&e->block, err) != 0)
        goto fail;
    lay_out(e);
    TRY_OR(gemm_reserve(m->gemm, rounded(e), err), fail);
    TRY_OR(gemm_reserve_panel(m->gemm, panel(m), err), fail);
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
    arena_free(&e->fixed);
    arena_free(&e->block);
    free(e);
}

long batch_scored(const struct batch *b)
{
    long n = 0;
    for (long s = 0; s < b->S; s++)
        for (long t = b->cu[s] + 1; t < b->cu[s + 1]; t++)
            n += b->labels[t] != LABEL_MASKED;
    return n;
}

static int check_batch(const struct engine *e, const struct batch *b, struct pesc_error *err)
{
    if (b->T > e->max_tokens || b->S > e->max_samples || b->T < 1)
        return FAIL(err, INTERNAL, "batch of %ld tokens, %ld samples; room for %ld, %ld", b->T,
                    b->S, e->max_tokens, e->max_samples);
    for (long t = 0; t < b->T; t++)
        if (b->ids[t] < 0 || b->ids[t] >= e->m->c.vocab_size)
            return FAIL(err, DS_TOKEN, "token id %ld is outside the vocabulary of %ld",
                        (long)b->ids[t], e->m->c.vocab_size);
    return 0;
}

static struct pass begin(struct engine *e, const struct batch *b, const struct engine_step *s)
{
    const struct model *m = e->m;
    long half = m->c.head_dim / 2;
    profile_phase(gemm_profile(m->gemm), PHASE_FORWARD);
    profile_to(gemm_profile(m->gemm), STAGE_POINTWISE);
    for (long q = 0; q < b->S; q++) {
        long from = b->cu[q], n = b->cu[q + 1] - from;
        for (long i = 0; i < n; i++)
            e->position[from + i] = i;
        rope_inv_freq(&m->c, n, e->inv_freq);
        rope_table(e->cos + from * half, e->sin + from * half, e->position + from, e->inv_freq, n,
                   m->c.head_dim);
    }
    struct pass p = {.gemm = m->gemm,
                     .profile = gemm_profile(m->gemm),
                     .T = b->T,
                     .S = b->S,
                     .cu = b->cu,
                     .cos = e->cos,
                     .sin = e->sin,
                     .scratch = &e->block};
    if (s) {
        p.rng = (struct moe_rng){.seed = s->seed, .step = s->number};
        p.balance_scale = s->balance_scale;
        p.routed = s->routed;
        p.routed_ctx = s->routed_ctx;
    }
    return p;
}

static void round_bf16(float *x, size_t n)
{
    uint16_t narrow[1024];
    for (size_t i = 0; i < n; i += 1024) {
        size_t k = n - i < 1024 ? n - i : 1024;
        dtype_from_f32(narrow, x + i, DT_BF16, k);
        dtype_to_f32(x + i, narrow, DT_BF16, k);
    }
}

/* In bf16 compute the values are those that a resident table in bf16 would have. */
static void embed_quantised(float *x, const struct wmat *table, const int32_t *ids, long T)
{
    size_t D = (size_t)table->K;
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++) {
        float *to = x + (size_t)t * D;
        qmat_expand(&table->q, (size_t)ids[t] * D, D, to, DT_F32);
        if (table->dtype == DT_BF16)
            round_bf16(to, D);
    }
}

void engine_embed(float *x, const struct wmat *table, const int32_t *ids, long T)
{
    long D = table->K;
    size_t row = (size_t)D * dtype_size(table->dtype);
    if (table->q.kind) {
        embed_quantised(x, table, ids, T);
        return;
    }
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++)
        dtype_to_f32(x + t * D, (const char *)table->data + (size_t)ids[t] * row, table->dtype,
                     (size_t)D);
}

/* Keeps block l's input; in bf16 compute the stream itself takes on the rounded values. */
static void keep(struct engine *e, long l, float *x, long T)
{
    const struct model *m = e->m;
    long D = m->c.hidden_size;
    size_t at = (size_t)l * (size_t)e->max_tokens * (size_t)D;
    if (m->compute == COMPUTE_F32) {
        if (e->train)
            memcpy((float *)e->kept + at, x, (size_t)(T * D) * sizeof *x);
        return;
    }
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++) {
        uint16_t own[4096], *to = e->train ? (uint16_t *)e->kept + at + (size_t)(t * D) : own;
        for (long d = 0; d < D; d += 4096) {
            size_t n = (size_t)(D - d < 4096 ? D - d : 4096);
            uint16_t *at16 = e->train ? to + d : own;
            dtype_from_f32(at16, x + t * D + d, DT_BF16, n);
            dtype_to_f32(x + t * D + d, at16, DT_BF16, n);
        }
    }
}

static const float *kept(struct engine *e, long l, float *buffer, long T)
{
    long D = e->m->c.hidden_size;
    size_t at = (size_t)l * (size_t)e->max_tokens * (size_t)D;
    if (e->m->compute == COMPUTE_F32)
        return (const float *)e->kept + at;
#pragma omp parallel for schedule(static)
    for (long t = 0; t < T; t++)
        dtype_to_f32(buffer + t * D, (const uint16_t *)e->kept + at + (size_t)(t * D), DT_BF16,
                     (size_t)D);
    return buffer;
}

int engine_run_blocks(struct engine *e, struct pass *p, struct pesc_error *err)
{
    struct model *m = e->m;
    for (long l = 0; l < m->c.num_layers; l++) {
        struct layer_weights w;
        size_t mark = arena_mark(&e->block);
        struct block_saved s = engine_block(&e->block, m, l, p->T);
        profile_to(p->profile, STAGE_POINTWISE);
        keep(e, l, e->x, p->T);
        profile_to(p->profile, STAGE_OTHER);
        TRY(weights_layer(m->weights, l, &w, err));
        p->w = &w;
        m->attn[l].ops->fwd(&m->attn[l], p, s.attn, e->h, e->x);
        m->ffn[l].ops->fwd(&m->ffn[l], p, s.ffn, e->x, e->h);
        profile_to(p->profile, STAGE_OTHER);
        weights_release(m->weights, l);
        arena_reset(&e->block, mark);
    }
    if (e->block.overflow)
        return FAIL(err, INTERNAL, "a block outgrew its planned memory");
    return gemm_check(m->gemm, err);
}

/* Final norm in place of e->y; e->x stays the input of it. */
static void final_norm(struct engine *e, const struct pass *p, float *r)
{
    profile_to(p->profile, STAGE_NORM);
    rmsnorm_fwd(e->y, r, e->x, weights_outer(e->m->weights)->norm, e->m->c.rms_norm_eps, p->T,
                e->m->c.hidden_size);
}

static long find_scored(struct engine *e, const struct batch *b)
{
    long n = 0;
    for (long s = 0; s < b->S; s++)
        for (long t = b->cu[s]; t + 1 < b->cu[s + 1]; t++)
            if (b->labels[t + 1] != LABEL_MASKED) {
                e->rows[n] = t;
                e->target[n++] = b->labels[t + 1];
            }
    return n;
}

static int32_t largest(const float *v, long n)
{
    long best = 0;
    for (long i = 1; i < n; i++)
        if (v[i] > v[best])
            best = i;
    return (int32_t)best;
}

/* Head and cross-entropy over chunks of scored rows of e->y; with want_grad their gradient becomes
 * e->dx (zero elsewhere) and the head's adds. */
static void head(struct engine *e, const struct batch *b, struct engine_step *s, int want_grad)
{
    struct model *m = e->m;
    const struct wmat *W = &weights_outer(m->weights)->head;
    long D = m->c.hidden_size, V = m->c.vocab_size, n = find_scored(e, b);
    float scale = want_grad ? (float)s->loss_scale : 0;
    struct profile *profile = gemm_profile(m->gemm);
    s->scored = n;
    s->loss_sum = 0;
    profile_to(profile, STAGE_POINTWISE);
    if (want_grad)
        memset(e->dx, 0, (size_t)(b->T * D) * sizeof *e->dx);
    for (long from = 0; from < n; from += e->chunk) {
        long k = n - from < e->chunk ? n - from : e->chunk;
        for (long i = 0; i < k; i++)
            memcpy(e->row_x + i * D, e->y + e->rows[from + i] * D, (size_t)D * sizeof *e->y);
        profile_to(profile, STAGE_HEAD);
        linear_fwd(m->gemm, e->logits, e->row_x, W, NULL, k);
        profile_to(profile, STAGE_LOSS);
        if (s->argmax)
            for (long i = 0; i < k; i++)
                s->argmax[e->rows[from + i]] = largest(e->logits + i * V, V);
        cross_entropy(e->logits, e->row_loss, e->target + from, scale, k, V);
        for (long i = 0; i < k; i++) {
            s->loss_sum += e->row_loss[i];
            if (s->losses)
                s->losses[e->rows[from + i]] = e->row_loss[i];
        }
        if (scale == 0) /* no gradient: the rows still hold logits */
            continue;
        profile_phase(profile, PHASE_BACKWARD);
        profile_to(profile, STAGE_HEAD);
        if (m->grad_head)
            linear_bwd_weight(m->gemm, m->grad_head, NULL, e->logits, e->row_x, k, V, D);
        linear_bwd_data(m->gemm, e->row_dx, 0, e->logits, W, k);
        profile_to(profile, STAGE_POINTWISE);
        profile_phase(profile, PHASE_FORWARD);
        for (long i = 0; i < k; i++)
            memcpy(e->dx + e->rows[from + i] * D, e->row_dx + i * D, (size_t)D * sizeof *e->dx);
    }
}

int engine_loss(struct engine *e, const struct batch *b, struct engine_step *s,
                struct pesc_error *err)
{
    TRY(check_batch(e, b, err));
    struct pass p = begin(e, b, s);
    engine_embed(e->x, &weights_outer(e->m->weights)->embed, b->ids, b->T);
    TRY(engine_run_blocks(e, &p, err));
    final_norm(e, &p, e->h);
    head(e, b, s, 0);
    return gemm_check(e->m->gemm, err);
}

int engine_train(struct engine *e, const struct batch *b, struct engine_step *s,
                 struct pesc_error *err)
{
    struct model *m = e->m;
    long D = m->c.hidden_size, T = b->T;
    TRY(check_batch(e, b, err));
    struct pass p = begin(e, b, s);
    p.rng.training = 1;
    engine_embed(e->x, &weights_outer(m->weights)->embed, b->ids, T);
    TRY(engine_run_blocks(e, &p, err));
    float *r = e->h; /* [T] 1/rms of the final norm */
    final_norm(e, &p, r);
    head(e, b, s, 1);
    profile_phase(p.profile, PHASE_BACKWARD);
    profile_to(p.profile, STAGE_NORM);
    /* y = norm(x): e->dx is dy; the gradient of x adds up in e->y, which is free now */
    memset(e->y, 0, (size_t)(T * D) * sizeof *e->y);
    rmsnorm_bwd(e->y, m->grad_norm, e->dx, e->x, weights_outer(m->weights)->norm, r, T, D);
    float *dx = e->y;
    p.recompute = 1;
    for (long l = m->c.num_layers; l-- > 0;) {
        struct layer_weights w;
        size_t mark = arena_mark(&e->block);
        struct block_saved saved = engine_block(&e->block, m, l, T);
        profile_phase(p.profile, PHASE_RECOMPUTE);
        profile_to(p.profile, STAGE_POINTWISE);
        const float *in = kept(e, l, e->x, T);
        int below = l > 0 || m->grad_embed != NULL;
        profile_to(p.profile, STAGE_OTHER);
        TRY(weights_layer(m->weights, l, &w, err));
        p.w = &w;
        m->attn[l].ops->fwd(&m->attn[l], &p, saved.attn, e->h, in);
        m->ffn[l].ops->fwd(&m->ffn[l], &p, saved.ffn, e->dx, e->h);
        profile_phase(p.profile, PHASE_BACKWARD);
        m->ffn[l].ops->bwd(&m->ffn[l], &p, saved.ffn, dx, e->h, below);
        m->attn[l].ops->bwd(&m->attn[l], &p, saved.attn, dx, in, below);
        profile_to(p.profile, STAGE_OTHER);
        weights_release(m->weights, l);
        arena_reset(&e->block, mark);
    }
    profile_to(p.profile, STAGE_POINTWISE);
    if (m->grad_embed)
        embed_bwd(m->grad_embed, dx, b->ids, T, D);
    profile_phase(p.profile, PHASE_FORWARD);
    profile_to(p.profile, STAGE_OTHER);
    if (e->block.overflow)
        return FAIL(err, INTERNAL, "a block outgrew its planned memory");
    return gemm_check(m->gemm, err);
}

int engine_logits(struct engine *e, const struct batch *b,
                  int (*rows)(void *ctx, long from, long n, const float *logits,
                              struct pesc_error *err),
                  void *ctx, struct pesc_error *err)
{
    TRY(check_batch(e, b, err));
    struct pass p = begin(e, b, NULL);
    engine_embed(e->x, &weights_outer(e->m->weights)->embed, b->ids, b->T);
    TRY(engine_run_blocks(e, &p, err));
    final_norm(e, &p, e->h);
    for (long from = 0; from < b->T; from += e->chunk) {
        long k = b->T - from < e->chunk ? b->T - from : e->chunk;
        linear_fwd(e->m->gemm, e->logits, e->y + from * e->m->c.hidden_size,
                   &weights_outer(e->m->weights)->head, NULL, k);
        TRY(gemm_check(e->m->gemm, err));
        TRY(rows(ctx, from, k, e->logits, err));
    }
    return 0;
}
