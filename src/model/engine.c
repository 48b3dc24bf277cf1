#include "config.h"
#include "model/engine_internal.h"

#include "model/rope.h"
#include "tensor/kernels.h"

#include <string.h>

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

void engine_positions(struct engine *e, const struct batch *b)
{
    const struct model *m = e->m;
    long half = m->c.head_dim / 2;
    for (long q = 0; q < b->S; q++) {
        long from = b->cu[q], n = b->cu[q + 1] - from;
        for (long i = 0; i < n; i++)
            e->position[from + i] = i;
        rope_inv_freq(&m->c, n, e->inv_freq);
        rope_table(e->cos + from * half, e->sin + from * half, e->position + from, e->inv_freq, n,
                   m->c.head_dim);
    }
}

static struct pass begin(struct engine *e, const struct batch *b, const struct engine_step *s)
{
    const struct model *m = e->m;
    arena_reset(&e->block, 0); /* a pass that failed left it as it was */
    profile_phase(gemm_profile(m->gemm), PHASE_FORWARD);
    profile_to(gemm_profile(m->gemm), STAGE_POINTWISE);
    engine_positions(e, b);
    struct pass p = {.gemm = m->gemm,
                     .profile = gemm_profile(m->gemm),
                     .T = b->T,
                     .S = b->S,
                     .cu = b->cu,
                     .cos = e->cos,
                     .sin = e->sin,
                     .scratch = &e->block};
    if (s) {
        p.rng = (struct moe_rng){.seed = s->seed, .step = s->number, .token = s->token};
        p.balance_scale = s->balance_scale;
        p.routed = s->routed;
        p.routed_ctx = s->routed_ctx;
    }
    return p;
}

/* For the profile: the lowest that trains is 0. */
static long place_of(const struct engine *e, long l)
{
    return l == e->lowest ? 0 : 1;
}

int engine_run_some(struct engine *e, struct pass *p, long from, long to, struct pesc_error *err)
{
    struct model *m = e->m;
    for (long l = from; l < to; l++) {
        struct layer_weights w;
        size_t mark = arena_mark(&e->block);
        struct block_saved s = engine_block(e, l, p->T);
        profile_layer(p->profile, place_of(e, l));
        profile_to(p->profile, e->back && e->spill ? STAGE_DISK : STAGE_POINTWISE);
        TRY(engine_keep(e, l, e->x, p->T, err));
        profile_to(p->profile, STAGE_DISK);
        TRY(weights_layer(m->weights, l, &w, err));
        p->w = &w;
        m->attn[l].ops->fwd(&m->attn[l], p, s.attn, s.h, e->x);
        m->ffn[l].ops->fwd(&m->ffn[l], p, s.ffn, e->x, s.h);
        profile_to(p->profile, STAGE_DISK);
        if (e->back)
            TRY(engine_put(e, l, err));
        profile_to(p->profile, STAGE_OTHER);
        weights_release(m->weights, l);
        arena_reset(&e->block, mark);
    }
    profile_layer(p->profile, -1);
    if (e->block.overflow)
        return FAIL(err, INTERNAL, "a block outgrew its planned memory");
    return gemm_check(m->gemm, err);
}

int engine_run_blocks(struct engine *e, struct pass *p, struct pesc_error *err)
{
    return engine_run_some(e, p, 0, e->m->c.num_layers, err);
}

/* The forward pass of what has no backward one. */
static int forward(struct engine *e, const struct batch *b, struct pass *p, struct pesc_error *err)
{
    e->back = 0;
    weights_pass(e->m->weights, 0);
    TRY(weights_embed(e->m->weights, e->x, b->ids, b->T, e->rows, err));
    return engine_run_blocks(e, p, err);
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

/* Whether the head's gradient is rounded where it is made. */
static int head_narrow(const struct model *m)
{
    return compute_form(m->compute) == DT_BF16 && !m->grad_head;
}

/* Head and cross-entropy over chunks of scored rows of e->y; with want_grad their gradient becomes
 * e->dx (zero elsewhere) and the head's adds. */
static void head(struct engine *e, const struct batch *b, struct engine_step *s, int want_grad)
{
    struct model *m = e->m;
    const struct wmat *W = &weights_outer(m->weights)->head;
    long D = m->c.hidden_size, V = m->c.vocab_size, n = find_scored(e, b);
    float scale = want_grad ? (float)s->loss_scale : 0;
    int narrow = head_narrow(m) && scale != 0;
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
        uint16_t *grad = narrow ? gemm_narrow(m->gemm, (size_t)(k * V)) : NULL;
        if (grad)
            cross_entropy_bf16(grad, e->logits, e->row_loss, e->target + from, scale, k, V);
        else
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
        linear_bwd_rows(
            m->gemm,
            &(struct linear_bwd){.dX = e->row_dx, .dY = e->logits, .dY16 = grad, .W = W, .T = k});
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
    TRY(forward(e, b, &p, err));
    final_norm(e, &p, e->h);
    head(e, b, s, 0);
    return gemm_check(e->m->gemm, err);
}

/* Gives layer l's part memory for its gradients, or takes it away. */
static int layer_grads(const struct engine *e, const struct engine_step *s, long l, int begin,
                       struct pesc_error *err)
{
    struct model *m = e->m;
    float *grad = NULL;
    if (!s->grad_begin || !model_is_adapted(m, l))
        return 0;
    profile_layer(gemm_profile(m->gemm), -1); /* that is the optimiser's work */
    if (begin && !(grad = s->grad_begin(s->grad_ctx, l, err)))
        return -1;
    m->ffn[l].dW = model_adapter_grads(m, grad, 0);
    int rc = begin ? 0 : s->grad_end(s->grad_ctx, l, err);
    profile_layer(gemm_profile(m->gemm), place_of(e, l));
    return rc;
}

int engine_train(struct engine *e, const struct batch *b, struct engine_step *s,
                 struct pesc_error *err)
{
    struct model *m = e->m;
    long D = m->c.hidden_size, T = b->T;
    TRY(check_batch(e, b, err));
    struct pass p = begin(e, b, s);
    p.rng.training = 1;
    e->back = 1;
    TRY(engine_prefix(e, b, &p, err));
    TRY(engine_run_some(e, &p, e->lowest, m->c.num_layers, err));
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
    for (long l = m->c.num_layers; l-- > e->lowest;) {
        struct layer_weights w;
        size_t mark = arena_mark(&e->block);
        struct block_saved saved = engine_block(e, l, T);
        int below = l > e->lowest || m->grad_embed != NULL;
        const float *in;
        profile_layer(p.profile, place_of(e, l));
        profile_phase(p.profile, PHASE_RECOMPUTE);
        profile_to(p.profile, e->spill ? STAGE_DISK : STAGE_POINTWISE);
        TRY(engine_kept(e, l, e->x, T, &in, err));
        profile_to(p.profile, STAGE_DISK);
        TRY(weights_layer(m->weights, l, &w, err));
        p.w = &w;
        TRY(engine_get(e, l, err));
        if (l < e->disk_from) {
            m->attn[l].ops->fwd(&m->attn[l], &p, saved.attn, saved.h, in);
            m->ffn[l].ops->fwd(&m->ffn[l], &p, saved.ffn, e->dx, saved.h);
        }
        profile_phase(p.profile, PHASE_BACKWARD);
        TRY(layer_grads(e, s, l, 1, err));
        m->ffn[l].ops->bwd(&m->ffn[l], &p, saved.ffn, dx, saved.h, below);
        TRY(layer_grads(e, s, l, 0, err));
        m->attn[l].ops->bwd(&m->attn[l], &p, saved.attn, dx, in, below);
        profile_to(p.profile, STAGE_OTHER);
        weights_release(m->weights, l);
        arena_reset(&e->block, mark);
    }
    profile_layer(p.profile, -1);
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
    TRY(forward(e, b, &p, err));
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
