/* The training loop with the optimiser's state in each form and place: disk is memory to the bit,
 * and a checkpoint does not tell them apart. */
#include "config.h"
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"

#include "core/json.h"
#include "train/loop.h"

#include <omp.h>

static const struct moe_config pesc = {
    .experts = 5, .top_k = 2, .dim = 6, .scaling = 0.75, .dropout = 0.1};

struct data {
    struct small_batch all, one;
    float *poke, kept; /* not a number in batches from..to-1 */
    long from, to;
};

static int get(void *ctx, long i, struct batch *out, struct pesc_error *err)
{
    struct data *d = ctx;
    long order[2] = {2 * i % 8, (2 * i + 1) % 8};
    (void)err;
    if (d->poke && i == d->from && !isnan(*d->poke)) {
        d->kept = *d->poke;
        *d->poke = NAN;
    }
    if (d->poke && i == d->to && isnan(*d->poke))
        *d->poke = d->kept;
    small_batch_free(&d->one);
    small_batch_pick(&d->one, &d->all.b, 2, order);
    *out = d->one.b;
    return 0;
}

static struct model *open_as(enum trainable trainable, int layer_grads)
{
    struct pesc_error err = {0};
    struct base *b = small_base(gen_path("m"), &SMALL(.layers = 3));
    struct model *m;
    must_do(model_shape(base_config(b), &pesc, trainable, COMPUTE_F32, &m, &err), &err);
    m->layer_grads = layer_grads;
    must_do(model_load(m, b, DT_COUNT, 1, &err), &err);
    small_adapters(m);
    base_close(b);
    return m;
}

static struct model *open_model(int layer_grads)
{
    return open_as(TRAIN_ADAPTERS, layer_grads);
}

struct told {
    char path[PATH_CAP], name[PATH_CAP];
    double norms;
    long skipped;
    int routers_moved;
};

static void on_step(void *ctx, const struct step_metrics *m, int logged)
{
    struct told *t = ctx;
    (void)logged;
    t->norms += isfinite(m->grad_norm) ? m->grad_norm * (double)m->step : 0;
}

static void on_checkpoint(void *ctx, long step, const char *path, const char *sha256,
                          uint64_t bytes)
{
    struct told *t = ctx;
    (void)step, (void)sha256, (void)bytes;
    snprintf(t->path, sizeof t->path, "%s", path);
    snprintf(t->name, sizeof t->name, "%s", path_base(path));
}

struct run {
    enum adamw_form form;
    int disk, frozen;
    long steps, accumulation;
    double clip, balance;
    const char *resume;
    int poke;
};

/* Trains, and gives the values. */
static float *train(const struct run *x, struct told *t)
{
    static const long lengths[] = {9, 4, 12, 7, 5, 3, 8, 6};
    struct pesc_error err = {0};
    struct model *m = open_as(x->frozen ? TRAIN_EXPERTS : TRAIN_ADAPTERS, x->disk);
    struct data d = {.from = 8, .to = 10};
    struct train_sink sink = {.ctx = t, .step = on_step, .checkpoint = on_checkpoint};
    struct batch_source source = {get, &d, 64, 8};
    struct train_result r;
    json_t *meta = json_pack("{s:s}", "run", "x");
    const char *dir = gen_path("ckpt");
    struct train_options o = {
        .steps = x->steps,
        .accumulation = x->accumulation,
        .schedule = {.kind = SCHEDULE_CONSTANT, .peak = 0.01},
        .adamw = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.05, .form = x->form},
        .max_grad_norm = x->clip,
        .balance_coef = x->balance,
        .seed = 21,
        .checkpoint_meta = meta,
        .resume_from = x->resume,
        .checkpoint_dir = dir};
    o.adamw.disk = x->disk ? dir : NULL;
    o.adamw.disk_cached = x->disk == 2;
    must_do(dir_make_all(dir, &err), &err);
    small_batch(&d.all, m->c.vocab_size, 2, 8, lengths);
    if (x->poke)
        d.poke = m->ffn[1].W.Dn + 7;
    float *before = calloc(m->params.total, sizeof *before);
    memcpy(before, m->params.value, m->params.total * sizeof *before);
    memset(t, 0, sizeof *t);
    must_do(train_run(m, &source, &o, &sink, NULL, &r, &err), &err);
    t->skipped = r.skipped_steps;
    for (long i = 0; i < m->params.count; i++) {
        const struct param *p = &m->params.p[i];
        if (strstr(p->name, "router"))
            t->routers_moved |=
                memcmp(before + p->offset, m->params.value + p->offset, p->n * sizeof *before) != 0;
    }
    free(before);
    float *value = calloc(m->params.total, sizeof *value);
    memcpy(value, m->params.value, m->params.total * sizeof *value);
    small_batch_free(&d.all);
    small_batch_free(&d.one);
    model_close(m);
    json_decref(meta);
    return value;
}

static size_t total(void)
{
    struct model *m = open_model(0);
    size_t n = m->params.total;
    model_close(m);
    return n;
}

static void test_places(void)
{
    size_t n = total();
    for (int form = 0; form < 2; form++)
        for (int i = 0; i < 8; i++) {
            struct run x = {.form = (enum adamw_form)form,
                            .steps = 20,
                            .accumulation = i & 1 ? 2 : 1,
                            .clip = i & 2 ? 0.05 : 0,
                            .balance = 0.01,
                            .poke = i & 4};
            struct told a, b;
            float *memory = train(&x, &a);
            x.disk = 1 + i % 2; /* 2: cached */
            float *disk = train(&x, &b);
            ok(!memcmp(memory, disk, n * sizeof *disk) && a.norms == b.norms && a.norms > 0 &&
                   *a.name && !strcmp(a.name, b.name) && a.skipped == b.skipped &&
                   a.skipped == (i & 4 ? (i & 1 ? 1 : 2) : 0),
               "%s%s%s%s: disk is memory to the bit in 20 steps, checkpoint and all",
               adamw_form_name(x.form), i & 1 ? ", accumulated" : "", i & 2 ? ", clipped" : "",
               i & 4 ? ", some skipped" : "");
            free(memory), free(disk);
        }
}

static void test_frozen(void)
{
    size_t n = total();
    for (int form = 0; form < 2; form++) {
        struct told free_, a, b;
        struct run x = {.form = (enum adamw_form)form, .steps = 5, .accumulation = 2, .clip = 0.05};
        free(train(&x, &free_));
        x.frozen = 1;
        float *memory = train(&x, &a);
        x.disk = 1;
        float *disk = train(&x, &b);
        ok(!memcmp(memory, disk, n * sizeof *disk) && a.norms == b.norms && a.norms > 0 &&
               !strcmp(a.name, b.name),
           "%s, frozen routers: disk is memory to the bit", adamw_form_name(x.form));
        ok(!a.routers_moved && !b.routers_moved && free_.routers_moved,
           "%s: no bit of a frozen router moves, in either place", adamw_form_name(x.form));
        free(memory), free(disk);
    }
}

/* A balance loss that is a number, but whose gradient is none. */
static void test_gradient(void)
{
    size_t n = total();
    for (int form = 0; form < 2; form++) {
        struct told t[2];
        struct pesc_error err = {0};
        struct adamw a;
        struct adamw_options o = ADAMW_DEFAULTS;
        struct model *m = open_model(0);
        struct checkpoint c = {.params = &m->params, .adamw = &a};
        int same = 1, zero = 1;
        struct run x = {.form = (enum adamw_form)form, .steps = 2, .accumulation = 1};
        for (int disk = 0; disk < 2; disk++) {
            x.disk = disk;
            x.balance = 1e44;
            float *value = train(&x, &t[disk]);
            same &= t[disk].skipped == 2 && !memcmp(value, m->params.value, n * sizeof *value);
            free(value);
        }
        ok(same && !strcmp(t[0].name, t[1].name),
           "%s: a gradient that is no number changes no value, in either place",
           adamw_form_name(x.form));
        o.form = x.form;
        must_do(adamw_init(&a, &o, &m->params, &err), &err);
        must_do(checkpoint_load(t[1].path, &c, &err), &err);
        for (size_t i = 0; i < n; i++)
            zero &= form ? !a.all.m8[i] && !a.all.v8[i] : a.all.m[i] == 0 && a.all.v[i] == 0;
        ok(zero && json_integer_value(json_object_get(c.meta, "updates")) == 0,
           "%s: nor any moment", adamw_form_name(x.form));
        json_decref(c.meta);
        adamw_free(&a);
        model_close(m);
    }
}

static void test_resume(void)
{
    size_t n = total();
    for (int form = 0; form < 2; form++)
        for (int first = 0; first < 2; first++) {
            struct told whole, half, rest;
            char path[PATH_CAP];
            struct run x = {.form = (enum adamw_form)form,
                            .steps = 20,
                            .accumulation = 2,
                            .clip = 0.05,
                            .balance = 0.01};
            float *want = train(&x, &whole);
            x.steps = 9;
            x.disk = first;
            free(train(&x, &half));
            snprintf(path, sizeof path, "%s", half.path);
            x.steps = 20;
            x.disk = !first;
            x.resume = path;
            float *got = train(&x, &rest);
            ok(!memcmp(want, got, n * sizeof *got) && !strcmp(whole.name, rest.name),
               "%s: from %s to %s in the middle, to the bit", adamw_form_name(x.form),
               first ? "disk" : "memory", first ? "memory" : "disk");
            free(want), free(got);
        }
}

/* Moments of one form are not taken for the other's. */
static void test_other_form(void)
{
    for (int form = 0; form < 2; form++) {
        struct told t;
        struct pesc_error err = {0};
        struct run x = {.form = (enum adamw_form)form, .steps = 2, .accumulation = 1};
        struct model *m = open_model(0);
        struct adamw a;
        struct adamw_options o = ADAMW_DEFAULTS;
        struct checkpoint c = {.params = &m->params, .adamw = &a};
        free(train(&x, &t));
        o.form = form ? ADAMW_F32 : ADAMW_8BIT;
        must_do(adamw_init(&a, &o, &m->params, &err), &err);
        is_error(checkpoint_load(t.path, &c, &err), &err, "E-CK-MISMATCH", 7,
                 adamw_form_name(x.form));
        ok(strstr(err.text, adamw_form_name(o.form)) != NULL, "the text says what was expected");
        adamw_free(&a);
        model_close(m);
    }
}

int main(void)
{
    gen_begin();
    omp_set_num_threads(1);
    test_places();
    test_frozen();
    test_gradient();
    test_resume();
    test_other_form();
    return gen_end();
}
