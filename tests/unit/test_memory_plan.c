/* What the planner of memory chooses, budget by budget, and that it counts what is allocated. */
#include "config.h"
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"
#include "train/memory_plan.h"

#include <stdint.h>

static const struct moe_config moe = {
    .experts = 4, .top_k = 2, .dim = 8, .scaling = 1, .balance_coef = 0.01};

static struct memory_question question(struct model *m)
{
    return (struct memory_question){
        .m = m,
        .data = {.max_tokens = 256, .max_samples = 4},
        .adamw = ADAMW_DEFAULTS,
        .in_use = 1 << 20,
        .budget = UINT64_MAX,
        .streamed_layers = -1,
        .keep_layers = -1,
        .embed_on_disk = -1,
        .spill = -1,
        .state_on_disk = -1,
    };
}

static int is_on_disk(const struct place *p)
{
    return p->streamed_layers || p->embed_on_disk || p->spill || p->state_on_disk;
}

static void test_choices(struct model *m)
{
    struct memory_question q = question(m);
    struct memory_terms t, all;
    struct place p;
    struct pesc_error err = {0};
    ok(memory_choose(&q, &p, &all, &err) == 0 && !is_on_disk(&p) && p.keep_layers == 0 &&
           all.traffic == 0 && all.disk == 0,
       "without a limit everything is in memory");
    is_long((long)all.total,
            (long)(all.in_use + all.weights + all.adapters + all.activations + all.optimiser +
                   all.margin),
            "the terms add up");
    q.comfort = 1;
    ok(memory_choose(&q, &p, &t, &err) == 0 && p.keep_layers == m->c.num_layers &&
           t.total > all.total,
       "what is left keeps activations");
    q.comfort = 0;

    uint64_t least = memory_smallest(&q), traffic = 0;
    long fitting = 0, grows = 0, steps = 64;
    for (long i = 0; i <= steps; i++) {
        q.budget = all.total - (all.total - least) * (uint64_t)i / (uint64_t)steps;
        struct pesc_error e = {0};
        fitting += memory_choose(&q, &p, &t, &e) == 0 && t.total <= q.budget;
        grows += t.traffic >= traffic;
        traffic = t.traffic;
    }
    ok(least < all.total, "less is possible: %llu of %llu", (unsigned long long)least,
       (unsigned long long)all.total);
    is_long(fitting, steps + 1, "every budget down to the least is kept");
    is_long(grows, steps + 1, "less memory never moves fewer bytes");
    ok(is_on_disk(&p) && t.traffic > 0, "the least is on disk");
    q.budget = least - 1;
    char number[32];
    snprintf(number, sizeof number, "%llu", (unsigned long long)least);
    ok(memory_choose(&q, &p, &t, &err) != 0 && err.code == PESC_E_MEMORY_BUDGET &&
           strstr(err.text, number),
       "one byte less is refused, and the least named");
}

static void test_wishes(struct model *m)
{
    struct memory_question q = question(m);
    struct memory_terms t;
    struct place p;
    struct pesc_error err = {0};
    q.streamed_layers = 3;
    q.keep_layers = 1;
    q.spill = q.state_on_disk = 1;
    ok(memory_choose(&q, &p, &t, &err) == 0 && p.streamed_layers == 3 && p.keep_layers == 1 &&
           p.spill && p.state_on_disk && !p.embed_on_disk,
       "what is asked for is done");
    q = question(m);
    q.spill = q.state_on_disk = q.embed_on_disk = q.streamed_layers = 0;
    ok(memory_choose(&q, &p, &t, &err) == 0, "nothing on disk");
    q.budget = t.total - 1;
    ok(memory_choose(&q, &p, &t, &err) != 0 && err.code == PESC_E_MEMORY_BUDGET,
       "is an error where it does not fit");
}

/* Batches of 256 tokens, of samples of at most 32. */
/* A file instead of recomputing: only where it is free to, and there is room. */
static void test_on_disk(struct model *m)
{
    struct memory_question q = question(m);
    struct memory_terms t, more;
    struct place p, disk;
    struct pesc_error err = {0};
    long L = m->c.num_layers;
    q.comfort = 1;
    q.disk_layers = -1;
    ok(memory_choose(&q, &p, &t, &err) == 0 && p.keep_layers == L &&
           !memory_on_disk(&q, &p, UINT64_MAX, UINT64_MAX, &disk, &more),
       "not where everything is kept in memory");
    q.budget = memory_smallest(&q) + (1280 << 10);
    ok(memory_choose(&q, &p, &t, &err) == 0 && p.keep_layers == 0 && p.disk_layers == 0,
       "a small budget recomputes");
    ok(memory_on_disk(&q, &p, UINT64_MAX, UINT64_MAX, &disk, &more) && disk.disk_layers == L &&
           more.total <= q.budget,
       "or has it in a file, within the budget");
    struct engine_choices c = {.disk_layers = L};
    uint64_t file = engine_disk_bytes(m, 256, &c);
    ok(file > 0 && more.disk >= t.disk + file && more.traffic >= t.traffic + 2 * file,
       "which is written and read");
    uint64_t all = more.disk; /* inputs and optimiser state are there, too */
    ok(memory_on_disk(&q, &p, 2 * all, 2 * all, &disk, &more) && !disk.disk_direct &&
           !memory_on_disk(&q, &p, 2 * all, 2 * all - 2, &disk, &more),
       "where twice the size of all that is there is free");
    ok(memory_on_disk(&q, &p, 2 * all - 2, 4 * all, &disk, &more) && disk.disk_direct &&
           more.total <= q.budget,
       "past the page cache where that has no room, within the budget");
    q.disk_layers = 0;
    ok(!memory_on_disk(&q, &p, UINT64_MAX, UINT64_MAX, &disk, &more), "not where it is forbidden");
    q.disk_layers = L;
    ok(memory_choose(&q, &p, &t, &err) == 0 && p.disk_layers == L, "where it is asked for at once");
}

static void test_passes(struct model *m)
{
    struct memory_question q = question(m);
    struct memory_terms t;
    struct place p;
    struct pesc_error err = {0};
    q.longest = 32;
    uint64_t whole = memory_smallest(&q);
    q.pass_tokens = -1;
    uint64_t least = memory_smallest(&q);
    ok(least < whole, "passes take less: %llu of %llu", (unsigned long long)least,
       (unsigned long long)whole);
    q.budget = whole;
    ok(memory_choose(&q, &p, &t, &err) == 0 && p.pass_tokens == 0, "whole batches where they fit");
    long fitting = 0, falls = 0, last = 256, steps = 32;
    for (long i = 1; i <= steps; i++) {
        q.budget = whole - (whole - least) * (uint64_t)i / (uint64_t)steps;
        struct pesc_error e = {0};
        fitting += memory_choose(&q, &p, &t, &e) == 0 && t.total <= q.budget;
        falls += p.pass_tokens >= q.longest && p.pass_tokens <= last;
        last = p.pass_tokens;
    }
    is_long(fitting, steps, "every budget below is kept");
    is_long(falls, steps, "less memory, smaller passes");
    q.budget = whole - 1;
    struct place two;
    struct memory_terms of_two;
    ok(memory_choose(&q, &two, &of_two, &err) == 0 && two.pass_tokens == 128,
       "a little too little: two passes, no more");
    is_long(last, 32, "the least has passes of one sample");
    struct engine_choices c = {.keep_layers = p.keep_layers, .spill_dir = p.spill ? "." : NULL};
    is_long((long)t.activations, (long)engine_bytes(m, 32, 4, 1, &c), "whose activations count");
    q.budget = least - 1;
    char number[64];
    snprintf(number, sizeof number, "%llu with whole batches", (unsigned long long)whole);
    ok(memory_choose(&q, &p, &t, &err) != 0 && err.code == PESC_E_MEMORY_BUDGET &&
           strstr(err.text, number),
       "below that both are named");
    err = (struct pesc_error){0};
    q.pass_tokens = 0;
    q.budget = whole - 1;
    ok(memory_choose(&q, &p, &t, &err) != 0 && strstr(err.text, "--micro-batch-tokens"),
       "where batches stay whole it is said what would help");
    q.budget = UINT64_MAX;
    q.pass_tokens = 64;
    ok(memory_choose(&q, &p, &t, &err) == 0 && p.pass_tokens == 64 && t.traffic == 0,
       "passes that are asked for");
    q.streamed_layers = 4;
    ok(memory_choose(&q, &p, &t, &err) == 0, "and streamed layers");
    uint64_t four = t.traffic;
    q.pass_tokens = 256;
    ok(memory_choose(&q, &p, &t, &err) == 0 && p.pass_tokens == 0 && four == 4 * t.traffic,
       "which are read once a pass");
    err = (struct pesc_error){0};
    q.pass_tokens = 31;
    is_error(memory_choose(&q, &p, &t, &err), &err, "E-USAGE-VALUE", 2, "smaller than a sample");
}

static void test_budget(void)
{
    ok(memory_budget(400, 100, 1000) == 400, "what is asked for is the budget");
    ok(memory_budget(0, 100, 1000) == 850,
       "else three quarters of what is free beside what is had");
    ok(memory_budget(0, 100, 0) == UINT64_MAX, "which may be unknown");
}

/* The layouts that count are those that allocate: see test_engine_memory. Here: the parts are those
 * of the functions that the run calls. */
static void test_terms(struct model *m)
{
    struct memory_question q = question(m);
    struct place p = {.streamed_layers = 4, .spill = 1, .state_on_disk = 1};
    struct engine_choices c = {.spill_dir = "."};
    struct memory_terms t;
    memory_terms_of(&q, &p, &t);
    is_long((long)t.margin, (long)memory_margin(m, 1), "the margin of one thread");
    q.threads = 32;
    memory_terms_of(&q, &p, &t);
    ok(t.margin > memory_margin(m, 1) + (15 << 20), "is wider for more");
    ok(m->plan.streamed_layers == 4 && m->layer_grads == 1, "the model knows its place");
    is_long((long)(t.weights + t.adapters), (long)model_bytes(m), "weights and adapters");
    is_long((long)t.activations, (long)engine_bytes(m, 256, 4, 1, &c), "activations");
    is_long((long)t.optimiser, (long)adamw_bytes(&m->params, ADAMW_F32, 1), "optimiser");
    is_long((long)t.disk,
            (long)(engine_spill_bytes(m, 256) + adamw_disk_bytes(&m->params, ADAMW_F32)), "disk");
}

/* Adapters on the upper half: half the inputs, parameters and moments; layers below are read once a
 * step, and not at all where their outputs are kept. */
static void test_upper(const struct base *b, struct model *all)
{
    struct pesc_error err = {0};
    struct moe_config half = moe;
    struct model *m;
    struct memory_terms t, whole, kept;
    struct place p = {.streamed_layers = 6, .spill = 1};
    half.first = half.layers = 3;
    must_do(model_shape(base_config(b), &half, TRAIN_ADAPTERS, COMPUTE_F32, &m, &err), &err);
    struct memory_question q = question(m), qa = question(all);
    memory_terms_of(&q, &p, &t);
    memory_terms_of(&qa, &p, &whole);
    ok(2 * t.adapters == whole.adapters && t.optimiser < whole.optimiser &&
           engine_spill_bytes(m, 256) * 2 == engine_spill_bytes(all, 256),
       "half the layers have adapters, moments and inputs");
    ok(4 * t.weights_read == 3 * whole.weights_read &&
           2 * t.weights_read_kept == whole.weights_read,
       "the others are read once, or not at all");
    q.prefix = (struct prefix_options){.dir = ".", .bytes = 12345, .samples = 40};
    p.prefix = 12345;
    memory_terms_of(&q, &p, &kept);
    ok(kept.activations > t.activations + prefix_memory(&q.prefix, 256, 64, 4) &&
           kept.disk == t.disk + 12345 && kept.traffic == t.traffic + prefix_record(256, 64, 4),
       "a file for outputs counts on the disk, in memory and in traffic");
    q.comfort = 1;
    struct place chosen;
    ok(memory_choose(&q, &chosen, &t, &err) == 0 && chosen.keep_layers == 3 &&
           chosen.prefix == 12345,
       "what is left keeps the activations of layers that train, beside the file");
    model_close(m);
}

int main(void)
{
    static const struct small shapes[] = {
        {.layers = 6, .hidden = 64, .inter = 128, .vocab = 300, .head_dim = 16},
        {.layers = 6, .hidden = 64, .inter = 128, .vocab = 300, .head_dim = 16, .tied = 1}};
    gen_begin();
    test_budget();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct base *b = small_base(gen_path(shapes[i].tied ? "tied" : "untied"), &shapes[i]);
        struct pesc_error err = {0};
        struct model *m;
        must_do(model_shape(base_config(b), &moe, TRAIN_ADAPTERS, COMPUTE_F32, &m, &err), &err);
        diag("%s", shapes[i].tied ? "tied" : "untied");
        test_choices(m);
        test_wishes(m);
        test_on_disk(m);
        test_passes(m);
        test_terms(m);
        test_upper(b, m);
        model_close(m);
        base_close(b);
    }
    return gen_end();
}
