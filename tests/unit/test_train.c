/* The optimiser against a double-precision twin, clipping, and the learning rate schedules. */
#include "config.h"
#include "tests/tap.h"

#include "core/json.h"
#include "core/rng.h"
#include "tensor/params.h"
#include "train/optim.h"
#include "train/schedule.h"

#include <omp.h>
#include <stdint.h>

static float drawn(uint32_t what, uint32_t step, size_t i)
{
    struct rng_key k = {7, RNG_INIT, what, step};
    return (float)rng_normal(&k, i);
}

/* Matrices and vectors whose borders fall inside the optimiser's chunks. */
static void table(struct params *ps)
{
    struct pesc_error err = {0};
    params_add(ps, 0, 2, 131, 257, &err, "layer.%d.weight", 0);
    params_add(ps, 0, 1, 77, 0, &err, "layer.%d.norm", 0);
    params_add(ps, 1, 2, 3, 5, &err, "layer.%d.weight", 1);
    params_add(ps, 1, 1, 20000, 0, &err, "layer.%d.bias", 1);
    if (params_alloc(ps, 1, &err) != 0 || err.code)
        diag("%s", err.text);
    for (size_t i = 0; i < ps->total; i++)
        ps->value[i] = drawn(0, 0, i);
}

static void set_grad(struct params *ps, uint32_t step)
{
    for (size_t i = 0; i < ps->total; i++)
        ps->grad[i] = (float)pow(10.0, (double)(i % 7) - 4) * drawn(1, step, i);
}

/* The formula of the paper in double precision, in its own order of operations. */
static void twin(double *p, double *m, double *v, const struct params *ps,
                 const struct adamw_options *o, long t, double lr, double scale)
{
    for (long i = 0; i < ps->count; i++) {
        int decays = o->decay == DECAY_ALL || ps->p[i].ndim >= 2;
        for (size_t j = ps->p[i].offset; j < ps->p[i].offset + ps->p[i].n; j++) {
            double g = scale * (double)ps->grad[j];
            if (decays)
                p[j] -= lr * o->weight_decay * p[j];
            m[j] = o->beta1 * m[j] + (1 - o->beta1) * g;
            v[j] = o->beta2 * v[j] + (1 - o->beta2) * g * g;
            double mh = m[j] / (1 - pow(o->beta1, (double)t));
            double vh = v[j] / (1 - pow(o->beta2, (double)t));
            p[j] -= lr * mh / (sqrt(vh) + o->eps);
        }
    }
}

static void test_adamw(const struct adamw_options *o, double scale, const char *what)
{
    struct pesc_error err = {0};
    struct params ps = {0};
    struct adamw a = {0};
    table(&ps);
    double *p = calloc(3 * ps.total, sizeof *p), *m = p + ps.total, *v = m + ps.total;
    for (size_t i = 0; i < ps.total; i++)
        p[i] = (double)ps.value[i];
    ok(adamw_init(&a, o, &ps, &err) == 0, "%s: state", what);
    double worst = 0, moved = 0;
    for (uint32_t t = 1; t <= 20; t++) {
        double lr = 0.01 / t;
        set_grad(&ps, t);
        twin(p, m, v, &ps, o, (long)t, lr, scale);
        if (adamw_step(&a, &ps, lr, scale, &err) != 0)
            diag("%s", err.text);
    }
    for (size_t i = 0; i < ps.total; i++) {
        worst = fmax(worst, fabs(p[i] - (double)ps.value[i]) / (1 + fabs(p[i])));
        moved = fmax(moved, fabs(p[i] - (double)drawn(0, 0, i)));
    }
    ok(moved > 0.01, "%s: parameters moved", what);
    is_near(worst, 0, 1e-6, what);
    is_long(a.updates, 20, "updates counted");
    free(p);
    adamw_free(&a);
    params_free(&ps);
}

static void test_threads(void)
{
    struct pesc_error err = {0};
    struct adamw_options o = ADAMW_DEFAULTS;
    o.weight_decay = 0.1;
    float *first = NULL;
    double norm = 0;
    for (int threads = 1; threads <= 3; threads++) {
        struct params ps = {0};
        struct adamw a;
        omp_set_num_threads(threads);
        table(&ps);
        int rc = adamw_init(&a, &o, &ps, &err);
        for (uint32_t t = 1; rc == 0 && t <= 3; t++) {
            set_grad(&ps, t);
            rc = adamw_step(&a, &ps, 1e-3, clip_coefficient(grad_norm(&ps), 1), &err);
        }
        size_t bytes = ps.total * sizeof(float);
        if (threads == 1) {
            first = malloc(bytes);
            memcpy(first, ps.value, bytes);
            norm = grad_norm(&ps);
        } else {
            ok(!memcmp(first, ps.value, bytes), "%d threads give the bits of one", threads);
            ok(norm == grad_norm(&ps), "%d threads give the norm of one", threads);
        }
        adamw_free(&a);
        params_free(&ps);
    }
    free(first);
}

static void test_options(void)
{
    static const struct adamw_options bad[] = {
        {1.0, 0.9, 1e-8, 0, DECAY_ALL, ADAMW_F32, NULL, 0},
        {0.9, -0.1, 1e-8, 0, DECAY_ALL, ADAMW_F32, NULL, 0},
        {0.9, 0.9, 0, 0, DECAY_ALL, ADAMW_F32, NULL, 0},
        {0.9, 0.9, 1e-8, -1, DECAY_ALL, ADAMW_F32, NULL, 0},
        {0.9, 0.9, 1e-8, NAN, DECAY_ALL, ADAMW_F32, NULL, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pesc_error err = {0};
        struct adamw a;
        struct params none = {0};
        ok(adamw_init(&a, &bad[i], &none, &err) != 0 && err.code == PESC_E_USAGE_VALUE,
           "bad options %zu refused", i);
    }
}

static void test_clip(void)
{
    struct pesc_error err = {0};
    struct params ps = {0};
    params_add(&ps, -1, 1, 3, 0, &err, "a");
    if (params_alloc(&ps, 1, &err) != 0)
        diag("%s", err.text);
    ps.grad[0] = 3;
    ps.grad[1] = -4;
    ps.grad[2] = 12;
    is_near(grad_norm(&ps), 13, 1e-12, "norm of 3, -4, 12");
    is_near(clip_coefficient(13, 1), 1 / 13.000001, 1e-12, "coefficient when clipped");
    ok(clip_coefficient(13, 14) == 1, "no clipping below the maximum");
    ok(clip_coefficient(13, 13) < 1, "at the maximum the 1e-6 shows, as in torch");
    ok(clip_coefficient(1e9, 0) == 1, "0 is off");
    params_free(&ps);
}

static void test_schedules(void)
{
    struct schedule s = {SCHEDULE_COSINE, 1e-3, 10, 2, NULL, 0};
    is_near(schedule_lr(&s, 1), 5e-4, 1e-15, "warm-up");
    is_near(schedule_lr(&s, 2), 1e-3, 1e-15, "peak at the end of the warm-up");
    is_near(schedule_lr(&s, 6), 5e-4, 1e-15, "cosine half-way");
    is_near(schedule_lr(&s, 10), 0, 1e-15, "cosine ends at 0");
    is_near(schedule_lr(&s, 11), 0, 1e-15, "and stays there");
    s.kind = SCHEDULE_LINEAR;
    is_near(schedule_lr(&s, 4), 7.5e-4, 1e-15, "linear");
    is_near(schedule_lr(&s, 10), 0, 1e-15, "linear ends at 0");
    s.kind = SCHEDULE_CONSTANT;
    is_near(schedule_lr(&s, 1), 5e-4, 1e-15, "constant warms up");
    is_near(schedule_lr(&s, 9), 1e-3, 1e-15, "constant");
    s.warmup = 10;
    is_near(schedule_lr(&s, 10), 1e-3, 1e-15, "all warm-up");
    static const double values[] = {1, 3, 2};
    struct schedule l = {SCHEDULE_LIST, 0, 10, 0, values, 3};
    ok(schedule_lr(&l, 1) == 1 && schedule_lr(&l, 2) == 3 && schedule_lr(&l, 3) == 2 &&
           schedule_lr(&l, 7) == 2,
       "a list, its last value repeated");
    is_long(schedule_warmup(0.03, 100), 3, "3 % of 100");
    is_long(schedule_warmup(0.03, 50), 2, "halves up");
    is_long(schedule_warmup(0.03, 16), 0, "below a half: none");
    is_long(schedule_warmup(2, 16), 16, "at most all");
    is_long(schedule_from_name("linear"), SCHEDULE_LINEAR, "name");
    is_long(schedule_from_name("list"), -1, "a list is not named");
    is_str(schedule_name(SCHEDULE_COSINE), "cosine", "name of a kind");
}

/* The list of an independent program; without the material it is skipped, the formula is above. */
static void test_golden(void)
{
    const char *dir = tap_material();
    if (!dir) {
        printf("ok %d - golden schedule # SKIP %s\n", ++tap_n, TAP_NO_MATERIAL);
        return;
    }
    struct pesc_error err = {0};
    char path[4200];
    snprintf(path, sizeof path, "%s/ckpt-stories260K/golden/train.json", dir);
    json_t *root = json_file(path, 1 << 26, PESC_E_IO, &err), *lr = NULL;
    int unpacked = root && json_unpack(root, "{s{s{s{so}}}}", "results", "sft_masked_warmup",
                                       "recipe", "lr", &lr) == 0;
    struct schedule s = {SCHEDULE_COSINE, 1e-3, 8, schedule_warmup(0.5, 8), NULL, 0};
    ok(unpacked && json_array_size(lr) == 8, "golden list of rates");
    double worst = 0;
    for (size_t i = 0; unpacked && i < json_array_size(lr); i++)
        worst = fmax(worst,
                     fabs(json_number_value(json_array_get(lr, i)) - schedule_lr(&s, (long)i + 1)));
    is_near(worst, 0, 1e-18, "golden rates");
    json_decref(root);
}

int main(void)
{
    struct adamw_options plain = ADAMW_DEFAULTS,
                         full = {0.9, 0.95, 1e-8, 0.1, DECAY_MATRICES, ADAMW_F32, NULL, 0},
                         odd = {0.8, 0.99, 1e-3, 0.5, DECAY_ALL, ADAMW_F32, NULL, 0};
    test_adamw(&plain, 1, "defaults");
    test_adamw(&full, 0.25, "decay of matrices only, clipped");
    test_adamw(&odd, 1, "decay of all, large eps");
    test_threads();
    test_options();
    test_clip();
    test_schedules();
    test_golden();
    return tap_done();
}
