#include "config.h"
#include "train/memory_plan.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Whether oneDNN is still asked in a step with our own products: for weights' gradients, or for
 * experts that are not bf16. */
static int multiplies_floats(const struct model *m)
{
    return m->trainable == TRAIN_FULL || (m->crafted && !m->moe.bf16);
}

/* oneDNN's code and what it copies for each thread, where it makes the products; the threads'
 * stacks; what the allocator keeps. Measured: experiments/bench/NOTES.md. */
uint64_t memory_margin(const struct model *m, long threads)
{
    enum { ALONE = 14 << 20, INT8 = 4 << 20, THREAD_F32 = 512 << 10, THREAD_BF16 = 2 << 20 };
    enum { ALONE_OWN = 5 << 20, THREAD_OWN = 1 << 20 };
    const struct model_config *c = &m->c;
    int bf16 = compute_form(m->compute) == DT_BF16;
    if (bf16 && gemm_has_own() && !multiplies_floats(m))
        return ALONE_OWN + (uint64_t)(threads > 0 ? threads : 1) * THREAD_OWN;
    size_t copied = bf16 ? gemm_copy_bytes(c->vocab_size, c->hidden_size) : 0;
    for (enum layer_tensor t = 0; bf16 && t < LT_COUNT; t++) {
        long rows, cols;
        int in_bf16 = layer_tensor_shape(c, t, &rows, &cols) &&
                      !(m->compute == COMPUTE_INT8 && linear_int8(rows, cols, m->plan.int8_min));
        size_t n = in_bf16 ? gemm_copy_bytes(rows, cols) : 0;
        copied = n > copied ? n : copied;
    }
    threads = threads > 0 ? threads : 1;
    copied += m->compute == COMPUTE_INT8 ? INT8 : 0;
    return ALONE + copied + (uint64_t)threads * (bf16 ? THREAD_BF16 : THREAD_F32);
}

uint64_t memory_budget(uint64_t wish, uint64_t in_use, uint64_t free_now)
{
    return wish ? wish : free_now ? in_use + free_now / 4 * 3 : UINT64_MAX;
}

#define TERM(field, name)                                                                          \
    {                                                                                              \
        name, #field, offsetof(struct memory_terms, field)                                         \
    }
const struct memory_term memory_term_table[] = {TERM(in_use, "the program and its data"),
                                                TERM(weights, "weights"),
                                                TERM(adapters, "adapters and gradients"),
                                                TERM(activations, "activations"),
                                                TERM(optimiser, "optimiser state"),
                                                TERM(margin, "margin"),
                                                {0}};

uint64_t memory_term(const struct memory_terms *t, const struct memory_term *x)
{
    return *(const uint64_t *)(const void *)((const char *)t + x->at);
}

void memory_place(const struct place *p, struct model *m)
{
    m->plan.streamed_layers = p->streamed_layers;
    m->plan.embed_on_disk = p->embed_on_disk;
    m->layer_grads = p->state_on_disk;
}

/* Of one layer's weights, as they are held. */
static uint64_t layer_bytes(const struct memory_question *q)
{
    struct model *m = q->m;
    struct weights_plan was = m->plan;
    long L = m->c.num_layers;
    if (L < 2 || m->trainable == TRAIN_FULL)
        return 0;
    m->plan = (struct weights_plan){.int8_min = was.int8_min};
    uint64_t all = model_bytes(m);
    m->plan.streamed_layers = L; /* but for two buffers */
    uint64_t buffers = model_bytes(m);
    m->plan = was;
    return L > 2 && all > buffers ? (all - buffers) / (uint64_t)(L - 2) : 0;
}

void memory_terms_of(const struct memory_question *q, const struct place *p, struct memory_terms *t)
{
    struct model *m = q->m;
    struct engine_choices engine = {.keep_layers = p->keep_layers,
                                    .spill_dir = p->spill ? "." : NULL,
                                    .disk_layers = p->disk_layers,
                                    .disk_direct = p->disk_direct,
                                    .keep_dir = ".",
                                    .prefix = q->prefix};
    struct adamw_options adamw = q->adamw;
    struct batch_source data = q->data;
    uint64_t passes = 1, layer = layer_bytes(q);
    engine.prefix.bytes = p->prefix;
    if (p->pass_tokens && p->pass_tokens < data.max_tokens) {
        passes = (uint64_t)((data.max_tokens + p->pass_tokens - 1) / p->pass_tokens);
        data.max_tokens = p->pass_tokens;
    }
    adamw.disk = p->state_on_disk ? "." : NULL;
    memory_place(p, m);
    memset(t, 0, sizeof *t);
    t->in_use = q->in_use;
    t->weights = model_bytes(m);
    t->adapters = m->crafted ? (p->state_on_disk ? 1 : 2) * m->params.total * sizeof(float) : 0;
    t->weights -= t->adapters;
    t->activations = engine_bytes(m, data.max_tokens, data.max_samples, 1, &engine);
    t->optimiser = train_bytes(m, &data, &adamw, &engine) - t->activations;
    t->margin = memory_margin(m, q->threads);
    t->total = t->in_use + t->weights + t->adapters + t->activations + t->optimiser + t->margin;
    if (p->spill) {
        uint64_t kept = engine_spill_bytes(m, data.max_tokens);
        t->disk += kept;
        t->traffic += 2 * passes * kept;
    }
    if (p->disk_layers) {
        uint64_t kept = engine_disk_bytes(m, data.max_tokens, &engine);
        t->disk += kept;
        t->file_traffic = 2 * passes * kept;
        t->traffic += t->file_traffic;
    }
    if (p->state_on_disk) {
        uint64_t state = adamw_disk_bytes(&m->params, adamw.form);
        t->disk += state;
        t->traffic += 2 * state + 2 * (passes - 1) * m->params.total * sizeof(float);
    }
    /* Layers are streamed evenly (weights.c), and those below all that train read once. */
    uint64_t streamed = (uint64_t)p->streamed_layers;
    uint64_t below = (uint64_t)model_lowest(m) * streamed / (uint64_t)m->c.num_layers;
    t->weights_read_kept = 2 * passes * (streamed - below) * layer;
    t->weights_read = t->weights_read_kept + passes * below * layer;
    t->traffic += t->weights_read;
    if (p->prefix) {
        t->disk += p->prefix;
        t->prefix_traffic = prefix_record(q->data.max_tokens, m->c.hidden_size,
                                          dtype_size(compute_form(m->compute)));
        t->traffic += t->prefix_traffic;
    }
    if (p->embed_on_disk)
        t->traffic += (uint64_t)(q->data.max_tokens * m->c.hidden_size) * 2;
}

static int allowed(long wish, int value)
{
    return wish < 0 || wish == value;
}

/* Streams as few layers as make the place fit; 0 when even all of them do not. */
static int fit(const struct memory_question *q, struct place *p, struct memory_terms *t)
{
    long L = q->m->c.num_layers;
    uint64_t layer = layer_bytes(q);
    p->streamed_layers = q->streamed_layers >= 0 ? q->streamed_layers : 0;
    memory_terms_of(q, p, t);
    if (t->total <= q->budget)
        return 1;
    if (q->streamed_layers >= 0 || layer == 0)
        return 0;
    uint64_t over = t->total - q->budget;
    long n = 2 + (long)((over + layer - 1) / layer); /* two buffers take what two layers give */
    p->streamed_layers = n < L ? n : L;
    memory_terms_of(q, p, t);
    return t->total <= q->budget;
}

/* The next place of all combinations of what may go to disk; 0 behind the last. */
static int combination(const struct memory_question *q, int i, struct place *p)
{
    const struct model *m = q->m;
    int embed = i & 1, spill = i >> 1 & 1, state = i >> 2 & 1;
    if (!allowed(q->embed_on_disk, embed) || !allowed(q->spill, spill) ||
        !allowed(q->state_on_disk, state))
        return 0;
    /* What is asked for is passed on, to be refused where the reason is known. */
    if (m->trainable == TRAIN_FULL && ((embed && q->embed_on_disk < 0) || state))
        return 0;
    if (m->c.tied && embed && q->embed_on_disk < 0)
        return 0;
    p->embed_on_disk = embed;
    p->spill = spill;
    p->state_on_disk = state;
    return 1;
}
enum { COMBINATIONS = 8 };

/* Of the places with passes of so many tokens. */
static int best_of(const struct memory_question *q, long pass_tokens, struct place *best,
                   struct memory_terms *t)
{
    int found = 0;
    for (int i = 0; i < COMBINATIONS; i++) {
        struct place p = {.keep_layers = q->keep_layers > 0 ? q->keep_layers : 0,
                          .disk_layers = q->disk_layers > 0 ? q->disk_layers : 0,
                          .disk_direct = q->disk_direct,
                          .pass_tokens = pass_tokens,
                          .prefix = q->prefix.bytes};
        struct memory_terms now;
        if (!combination(q, i, &p) || !fit(q, &p, &now))
            continue;
        if (found && now.traffic >= t->traffic)
            continue;
        found = 1;
        *best = p;
        *t = now;
    }
    return found;
}

static long longest(const struct memory_question *q)
{
    long T = q->data.max_tokens;
    return q->longest > 0 && q->longest < T ? q->longest : T;
}

/* A place with the fewest passes that make it fit; the steps become coarse when they are many. */
static int in_passes(const struct memory_question *q, struct place *best, struct memory_terms *t)
{
    long T = q->data.max_tokens, least = longest(q), tokens = T;
    for (long n = 2; tokens > least; n += 1 + n / 8) {
        tokens = (T + n - 1) / n > least ? (T + n - 1) / n : least;
        if (tokens < T && best_of(q, tokens, best, t))
            return 1;
    }
    return 0;
}

uint64_t memory_smallest(const struct memory_question *q)
{
    uint64_t smallest = UINT64_MAX;
    for (int i = 0; i < COMBINATIONS; i++) {
        struct place p = {.keep_layers = q->keep_layers > 0 ? q->keep_layers : 0,
                          .disk_layers = q->disk_layers > 0 ? q->disk_layers : 0,
                          .disk_direct = q->disk_direct,
                          .pass_tokens = q->pass_tokens < 0 ? longest(q) : q->pass_tokens,
                          .prefix = q->prefix.bytes};
        struct memory_terms t;
        if (!combination(q, i, &p))
            continue;
        p.streamed_layers = q->streamed_layers >= 0 ? q->streamed_layers
                            : layer_bytes(q)        ? q->m->c.num_layers
                                                    : 0;
        memory_terms_of(q, &p, &t);
        if (t.total < smallest)
            smallest = t.total;
    }
    return smallest;
}

/* What is left of the budget keeps activations, from the top down. */
static void spend(const struct memory_question *q, struct place *p, struct memory_terms *t)
{
    if (!q->comfort || q->keep_layers >= 0 || t->traffic > t->prefix_traffic)
        return;
    for (long keep = q->m->c.num_layers - model_lowest(q->m); keep > 0; keep--) {
        struct place more = *p;
        struct memory_terms now;
        more.keep_layers = keep;
        memory_terms_of(q, &more, &now);
        if (now.total > q->budget)
            continue;
        *p = more;
        *t = now;
        break;
    }
}

int memory_on_disk(const struct memory_question *q, const struct place *p, uint64_t room,
                   uint64_t disk, struct place *out, struct memory_terms *t)
{
    long L = q->m->c.num_layers - model_lowest(q->m);
    if (q->disk_layers >= 0 || q->keep_layers >= 0 || !q->comfort || p->keep_layers >= L)
        return 0;
    struct memory_question ask = *q;
    ask.keep_layers = p->keep_layers;
    ask.disk_layers = L - p->keep_layers;
    for (ask.disk_direct = 0; ask.disk_direct < 2; ask.disk_direct++) {
        if (!best_of(&ask, p->pass_tokens, out, t))
            continue;
        uint64_t there = t->disk - out->prefix;
        if (there <= disk / 2 && (ask.disk_direct || there <= room / 2))
            return 1;
    }
    return 0;
}

int memory_choose(const struct memory_question *q, struct place *out, struct memory_terms *t,
                  struct pesc_error *err)
{
    long asked = q->pass_tokens > 0 && q->pass_tokens < q->data.max_tokens ? q->pass_tokens : 0;
    if (asked > 0 && asked < longest(q))
        return FAIL(err, USAGE_VALUE,
                    "--micro-batch-tokens %ld: a sample has %ld tokens, and stays whole "
                    "(--max-seq-length cuts it)",
                    asked, longest(q));
    if (best_of(q, asked, out, t) || (q->pass_tokens < 0 && in_passes(q, out, t))) {
        spend(q, out, t);
        memory_terms_of(q, out, t);
        return 0;
    }
    uint64_t least = memory_smallest(q);
    *t = (struct memory_terms){.total = least};
    char also[96] = "";
    if (q->pass_tokens < 0 && longest(q) < q->data.max_tokens) {
        struct memory_question whole = *q;
        whole.pass_tokens = 0;
        snprintf(also, sizeof also, ", and %llu with whole batches",
                 (unsigned long long)memory_smallest(&whole));
    } else if (asked == 0 && longest(q) < q->data.max_tokens) {
        snprintf(also, sizeof also, "; with --micro-batch-tokens it needs less");
    }
    return FAIL(err, MEMORY_BUDGET,
                "%llu bytes of memory are too few: %llu (%.0f MiB) are the least that this run can "
                "do with%s",
                (unsigned long long)q->budget, (unsigned long long)least,
                (double)((least + (1 << 20) - 1) >> 20), also);
}
