/* The optimiser's moments as bytes, against a twin that knows only the formulas; and on disk,
 * against the same in memory. */
#include "config.h"
#include "tests/unit/gen.h"

#include "core/rng.h"
#include "train/optim.h"

#include <dirent.h>
#include <float.h>
#include <omp.h>
#include <signal.h>
#include <sys/resource.h>

/* --- bytes --- */

/* The share of a byte's b lower bits, as moments8.h has it. */
static double share(int code, int b)
{
    int e = 0;
    while (code && !(code >> (b - 1 - e)))
        e++;
    int f = b - 1 - e;
    return code ? pow(10, -e) * (0.1 + 0.9 * (code - (1 << f) + 1) / (1 << f)) : 0;
}

/* The byte below a share of 0..1, and how far it is from there to the next. */
static int below(double x, int b, double *rest)
{
    int c = 0;
    while (c + 1 < 1 << b && share(c + 1, b) <= x)
        c++;
    *rest = c + 1 < 1 << b ? (x - share(c, b)) / (share(c + 1, b) - share(c, b)) : 0;
    return c;
}

static int brute(double x, int b, uint32_t bits)
{
    double rest;
    int c = below(x, b, &rest);
    return c + (rest + (bits + 0.5) / 65536 >= 1);
}

/* By which everything is rounded to the nearest. */
static void middle(uint32_t *chance)
{
    for (int i = 0; i < 256; i++)
        chance[i] = 0x80008000u;
}

static void test_codes(void)
{
    struct moments8 t;
    uint8_t code[256], again[256];
    uint32_t chance[256];
    float x[256];
    double off = 0, worst = 0;
    int rising = 1, ends = 1;
    moments8_tables(&t);
    middle(chance);
    for (int i = 0; i < 256; i++) {
        code[i] = (uint8_t)i;
        off = fmax(off, fabs((double)t.v[i] - share(i, 8)));
        off = fmax(off, fabs((double)t.m[i] - (i & 0x80 ? -1 : 1) * share(i & 0x7f, 7)));
        rising &= i == 0 || t.v[i] > t.v[i - 1];
    }
    ends = t.v[0] == 0 && t.v[255] == 1 && t.m[0] == 0 && t.m[127] == 1 && t.m[255] == -1;
    ok(off < 1e-7 && rising && ends, "shares by the formula, rising from 0 to exactly 1");

    moments8_get(x, code, 3.7F, t.v, 256);
    ok(moments8_put_v(again, x, chance, 256) == 3.7F && !memcmp(code, again, 256),
       "every byte of v comes back");
    moments8_get(x, code, 3.7F, t.m, 256);
    code[128] = 0; /* minus 0 */
    ok(moments8_put_m(again, x, chance, 256) == 3.7F && !memcmp(code, again, 256),
       "every byte of m comes back");

    long missed = 0, wrong = 0, draws = 4000;
    struct rng_key k = {3, RNG_INIT, 0, 0};
    double sum[2][256] = {{0}}, most = 0;
    for (int i = 0; i < 256; i++) {
        double size = pow(10, -8 * rng_unit(&k, (uint64_t)i));
        x[i] = (float)(size * rng_normal(&k, 500 + (uint64_t)i));
        most = fmax(most, fabs((double)x[i]));
    }
    for (long d = 0; d < draws; d++) {
        float y[256];
        k.a = 1 + (uint32_t)d;
        rng_blocks(&k, 0, chance, 64);
        float scale = moments8_put_m(code, x, chance, 256);
        wrong += (double)scale != most;
        moments8_get(y, code, scale, t.m, 256);
        for (int i = 0; i < 256; i++) {
            double rest;
            int c = below(fabs((double)x[i]) / most, 7, &rest), got = code[i] & 0x7f;
            wrong += got != c && got != c + 1 && fmin(rest, 1 - rest) > 1e-4;
            wrong += got && (code[i] >> 7) != (x[i] < 0);
            sum[0][i] += (double)y[i] / (double)draws;
            y[i] = fabsf(x[i]);
        }
        scale = moments8_put_v(code, y, chance, 256);
        moments8_get(y, code, scale, t.v, 256);
        for (int i = 0; i < 256; i++) {
            missed += x[i] < 0 && code[i] == 0;
            sum[1][i] += (double)y[i] / (double)draws;
        }
    }
    for (int i = 0; i < 256; i++)
        for (int form = 0; form < 2; form++) {
            double rest, s = fabs((double)x[i]) / most;
            int b = form ? 8 : 7, c = below(s, b, &rest);
            double step = share(c + 1, b) - share(c, b);
            if (form && c == 0) /* not to 0 */
                continue;
            /* five standard deviations of a mean of draws */
            double d = fabs(sum[form][i]) / most - s;
            worst =
                fmax(worst, fabs(d) - 5 * step * sqrt((rest * (1 - rest) + 1e-4) / (double)draws));
        }
    ok(wrong == 0, "the byte below or above, with its sign and the largest as scale");
    ok(worst <= 0, "and right on average");
    ok(missed == 0, "a v that is not 0 does not become 0");
}

static void test_extremes(void)
{
    struct moments8 t;
    float x[5] = {0}, y[5];
    uint8_t code[5] = {9, 9, 9, 9, 9};
    uint32_t chance[256];
    middle(chance);
    moments8_tables(&t);
    float scale = moments8_put_m(code, x, chance, 5);
    ok(scale == 0 && !memcmp(code, "\0\0\0\0\0", 5) && moments8_put_v(code, x, chance, 5) == 0,
       "zeros have scale 0 and bytes 0");
    memcpy(x, ((float[]){1e-42F, 0, 5e-43F, 0, 1e-44F}), sizeof x);
    scale = moments8_put_v(code, x, chance, 5);
    moments8_get(y, code, scale, t.v, 5);
    ok(y[0] == x[0] && y[1] == 0 && fabs((double)y[2] / 5e-43 - 1) < 0.01 && code[4] > 0,
       "numbers too small to be normal");
    memcpy(x, ((float[]){INFINITY, 1, FLT_MAX, 0, 1e30F}), sizeof x);
    scale = moments8_put_v(code, x, chance, 5);
    moments8_get(y, code, scale, t.v, 5);
    ok(y[0] == FLT_MAX && y[2] == FLT_MAX && y[3] == 0 && y[1] > 0 && isfinite(y[4]),
       "what overflowed is the largest float");
    memcpy(x, ((float[]){NAN, -2, 1, 0, -0.0F}), sizeof x);
    scale = moments8_put_m(code, x, chance, 5);
    moments8_get(y, code, scale, t.m, 5);
    ok(y[0] == 0 && y[1] == -2 && fabsf(y[2] - 1) < 0.015F && y[3] == 0 && y[4] == 0,
       "not a number is 0, and spoils nothing beside it");
}

/* --- updates --- */

static float drawn(uint32_t what, uint32_t step, size_t i)
{
    struct rng_key k = {7, RNG_INIT, what, step};
    return (float)rng_normal(&k, i);
}

/* Three stretches; tensors that end inside a block, and one that takes several chunks. */
static void table(struct params *ps)
{
    struct pesc_error err = {0};
    params_add(ps, 0, 2, 131, 257, &err, "layer.%d.weight", 0);
    params_add(ps, 0, 1, 77, 0, &err, "layer.%d.norm", 0);
    params_add(ps, 1, 2, 3, 5, &err, "layer.%d.weight", 1);
    params_add(ps, 1, 1, 20000, 0, &err, "layer.%d.bias", 1);
    params_add(ps, 2, 2, 16, 32, &err, "layer.%d.weight", 2);
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

static const struct adamw_options options[] = {
    {0.9, 0.999, 1e-8, 0, DECAY_ALL, ADAMW_8BIT, NULL, 0},
    {0.9, 0.95, 1e-8, 0.1, DECAY_MATRICES, ADAMW_8BIT, NULL, 0}};

/* Each step from the state that the one before has left: the twin takes that apart, updates in
 * double precision, and puts the moments together again. */
static void test_twin(const struct adamw_options *o, double scale, const char *what)
{
    struct pesc_error err = {0};
    struct params ps = {0};
    struct adamw a;
    table(&ps);
    ok(adamw_init(&a, o, &ps, &err) == 0, "%s: state", what);
    double off = 0, off_scale = 0;
    long other = 0, far = 0, all = 0;
    for (uint32_t t = 1; t <= 20; t++) {
        double lr = 0.01 / t;
        size_t block = 0;
        struct moments was = {.m8 = malloc(ps.total), .v8 = malloc(ps.total)};
        float *p = malloc(ps.total * sizeof *p), *scales = malloc(2 * ps.total * sizeof *scales);
        size_t blocks = a.block[ps.count];
        memcpy(was.m8, a.all.m8, ps.total);
        memcpy(was.v8, a.all.v8, ps.total);
        memcpy(p, ps.value, ps.total * sizeof *p);
        memcpy(scales, a.all.m_scale, blocks * sizeof *scales);
        memcpy(scales + blocks, a.all.v_scale, blocks * sizeof *scales);
        set_grad(&ps, t);
        if (adamw_step(&a, &ps, lr, scale, &err) != 0)
            diag("%s", err.text);
        for (long i = 0; i < ps.count; i++) {
            int decays = o->decay == DECAY_ALL || ps.p[i].ndim >= 2;
            for (size_t from = 0; from < ps.p[i].n; from += 256, block++) {
                double m[256], v[256], most_m = 0, most_v = 0;
                size_t n = ps.p[i].n - from < 256 ? ps.p[i].n - from : 256;
                for (size_t k = 0; k < n; k++) {
                    size_t at = ps.p[i].offset + from + k;
                    double g = scale * (double)ps.grad[at], x = (double)p[at];
                    m[k] = share(was.m8[at] & 0x7f, 7) * (was.m8[at] & 0x80 ? -1 : 1) *
                           (double)scales[block];
                    v[k] = share(was.v8[at], 8) * (double)scales[blocks + block];
                    m[k] = o->beta1 * m[k] + (1 - o->beta1) * g;
                    v[k] = o->beta2 * v[k] + (1 - o->beta2) * g * g;
                    x -= decays ? lr * o->weight_decay * x : 0;
                    x -= lr * m[k] / (1 - pow(o->beta1, t)) /
                         (sqrt(v[k] / (1 - pow(o->beta2, t))) + o->eps);
                    off = fmax(off, fabs(x - (double)ps.value[at]) / (1 + fabs(x)));
                    most_m = fmax(most_m, fabs(m[k]));
                    most_v = fmax(most_v, v[k]);
                }
                off_scale = fmax(off_scale, fabs((double)a.all.m_scale[block] / most_m - 1));
                off_scale = fmax(off_scale, fabs((double)a.all.v_scale[block] / most_v - 1));
                struct rng_key key = {0, RNG_ROUND, t, (uint32_t)block};
                for (size_t k = 0; k < n; k++, all += 2) {
                    size_t at = ps.p[i].offset + from + k;
                    uint32_t chance = rng_u32(&key, k);
                    int cm = brute(fabs(m[k]) / most_m, 7, chance & 0xffff);
                    int cv = brute(v[k] / most_v, 8, chance >> 16);
                    int dm = abs(cm - (a.all.m8[at] & 0x7f)),
                        dv = abs((cv ? cv : v[k] > 0) - a.all.v8[at]);
                    other += (dm > 0) + (dv > 0);
                    far += (dm > 1) + (dv > 1);
                }
            }
        }
        free(was.m8), free(was.v8), free(p), free(scales);
    }
    ok(off < 1e-6 && off_scale < 1e-5, "%s: values and scales as the twin's", what);
    ok(far == 0 && other * 1000 < all, "%s: bytes too, but for what lies between two", what);
    diag("values off by %.2g, scales by %.2g, %ld of %ld bytes by one", off, off_scale, other, all);
    adamw_free(&a);
    params_free(&ps);
}

/* Byte moments move the parameters nearly as float ones do, where the gradients of a block are of
 * sizes that a byte can tell apart. */
static void test_near(void)
{
    struct pesc_error err = {0};
    struct params ps[2] = {{0}, {0}};
    double moved = 0, apart = 0;
    for (int form = 0; form < 2; form++) {
        struct adamw a;
        struct adamw_options o = ADAMW_DEFAULTS;
        o.form = (enum adamw_form)form;
        table(&ps[form]);
        int rc = adamw_init(&a, &o, &ps[form], &err);
        for (uint32_t t = 1; rc == 0 && t <= 30; t++) {
            for (size_t i = 0; i < ps[form].total; i++)
                ps[form].grad[i] = (float)(1 + i % 7) * drawn(1, t, i);
            rc = adamw_step(&a, &ps[form], 1e-3, 1, &err);
        }
        ok(rc == 0, "30 updates of form %d", form);
        adamw_free(&a);
    }
    for (size_t i = 0; i < ps[0].total; i++) {
        double d = (double)ps[0].value[i] - (double)drawn(0, 0, i);
        double e = (double)ps[1].value[i] - (double)ps[0].value[i];
        moved += d * d;
        apart += e * e;
    }
    ok(sqrt(apart / moved) < 0.1, "bytes lead to nearly the same place as floats");
    diag("%.3f of the way apart", sqrt(apart / moved));
    params_free(&ps[0]);
    params_free(&ps[1]);
}

/* A gradient so large that its square is no float. */
static void test_huge(void)
{
    struct pesc_error err = {0};
    struct params ps = {0};
    struct adamw a;
    table(&ps);
    int rc = adamw_init(&a, &options[0], &ps, &err), finite = 1;
    for (uint32_t t = 1; rc == 0 && t <= 3; t++) {
        set_grad(&ps, t);
        ps.grad[5] = t == 1 ? 3e38F : 0;
        rc = adamw_step(&a, &ps, 1e-3, 1, &err);
    }
    for (size_t i = 0; i < ps.total; i++)
        finite &= isfinite(ps.value[i]) != 0;
    ok(rc == 0 && finite, "the largest gradient leaves numbers");
    adamw_free(&a);
    params_free(&ps);
}

/* --- on disk --- */

/* All that is kept, of all parameters. */
static unsigned char *kept(struct adamw *a, size_t *size)
{
    struct pesc_error err = {0};
    const struct adamw_part *parts;
    long n = adamw_parts(a->o.form, &parts);
    size_t at = 0;
    unsigned char *all = calloc(a->ps->total, 9);
    for (long i = 0; i < a->ps->count; i++)
        for (long k = 0; k < n; k++) {
            if (adamw_get(a, k, i, all + at, &err) != 0)
                diag("%s", err.text);
            at += parts[k].per_block  ? adamw_blocks(&a->ps->p[i]) * sizeof(float)
                  : parts[k].is_bytes ? a->ps->p[i].n
                                      : a->ps->p[i].n * sizeof(float);
        }
    *size = at;
    return all;
}

/* The gradient through the file, in two parts that add. */
static int through_file(struct adamw *a, struct params *ps, struct pesc_error *err)
{
    for (int part = 0; part < 2; part++)
        for (long s = a->n_stretches; s-- > 0;) {
            const struct stretch *x = &a->stretch[s];
            float *g = adamw_take_grad(a, s, part, err);
            for (size_t i = 0; g && i < x->n; i++)
                g[i] += part == 0 ? 0.25F * ps->grad[x->from + i]
                                  : ps->grad[x->from + i] - 0.25F * ps->grad[x->from + i];
            if (!g || adamw_put_grad(a, s, err) != 0)
                return -1;
        }
    return 0;
}

static long files_in(const char *path)
{
    long n = 0;
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.' || !strncmp(e->d_name, ".tmp-", 5);
    if (d)
        closedir(d);
    return n;
}

static void test_disk(enum adamw_form form)
{
    struct pesc_error err = {0};
    struct params ps[3] = {{0}, {0}, {0}};
    struct adamw a[3];
    int same = 1, rc = 0, nobody = 1;
    const char *dir = gen_path("state");
    if (dir_make(dir, &err) != 0)
        diag("%s", err.text);
    for (int i = 0; i < 3; i++) {
        struct adamw_options o = options[1];
        o.form = form;
        o.disk = i ? dir : NULL;
        table(&ps[i]);
        omp_set_num_threads(i ? i : 1);
        rc |= adamw_init(&a[i], &o, &ps[i], &err);
        nobody &= files_in(dir) == 0;
        for (uint32_t t = 1; rc == 0 && t <= 20; t++) {
            set_grad(&ps[i], t);
            for (size_t k = 0; k < ps[i].total; k++) /* as two parts round it */
                ps[i].grad[k] = 0.25F * ps[i].grad[k] + (ps[i].grad[k] - 0.25F * ps[i].grad[k]);
            if (i)
                rc |= through_file(&a[i], &ps[i], &err);
            double norm = adamw_grad_norm(&a[i]);
            same &= norm == grad_norm(&ps[i]);
            rc |= adamw_step(&a[i], &ps[i], 1e-3, clip_coefficient(norm, 1), &err);
        }
    }
    omp_set_num_threads(1);
    ok(rc == 0 && same, "%s: 20 updates on disk, with the norms of memory", adamw_form_name(form));
    ok(nobody, "%s: in a file that nobody sees", adamw_form_name(form));
    for (int i = 1; i < 3; i++) {
        size_t n[2];
        unsigned char *x = kept(&a[0], &n[0]), *y = kept(&a[i], &n[1]);
        ok(!memcmp(ps[0].value, ps[i].value, ps[0].total * sizeof(float)) && n[0] == n[1] &&
               !memcmp(x, y, n[0]),
           "%s: values and moments to the bit, %d threads", adamw_form_name(form), i);
        free(x), free(y);
    }
    size_t n = ps[0].total;
    double each = (double)adamw_bytes(&ps[0], form, 0) / (double)n;
    ok(fabs(each - (form == ADAMW_8BIT ? 2.04 : 8.01)) < 0.01 &&
           adamw_bytes(&ps[0], form, 1) < adamw_bytes(&ps[0], ADAMW_F32, 0) &&
           adamw_disk_bytes(&ps[0], form) >= n * (form == ADAMW_8BIT ? 6 : 12),
       "%s: %.3f bytes of moments each", adamw_form_name(form), each);
    for (int i = 0; i < 3; i++) {
        adamw_free(&a[i]);
        params_free(&ps[i]);
    }
}

static void limit_files(rlim_t bytes)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_FSIZE, &r) != 0)
        diag("no limits");
    r.rlim_cur = bytes;
    if (setrlimit(RLIMIT_FSIZE, &r) != 0)
        diag("cannot set the limit");
}

static void test_full(void)
{
    struct pesc_error err = {0};
    struct params ps = {0};
    struct adamw a;
    struct adamw_options o = options[0];
    struct rlimit before;
    table(&ps);
    signal(SIGXFSZ, SIG_IGN);
    o.disk = gen_path("nowhere");
    is_error(adamw_init(&a, &o, &ps, &err), &err, "E-IO-MISSING", 9, "no such folder");
    o.disk = gen_dir;
    if (getrlimit(RLIMIT_FSIZE, &before) != 0)
        diag("no limits");
    limit_files(4096);
    err = (struct pesc_error){0};
    is_error(adamw_init(&a, &o, &ps, &err), &err, "E-IO-FULL", 9, "no room for the file");
    limit_files(before.rlim_cur);
    err = (struct pesc_error){0};
    set_grad(&ps, 1);
    int rc = adamw_init(&a, &o, &ps, &err);
    ok(rc == 0 && through_file(&a, &ps, &err) == 0, "room for it");
    limit_files(4096);
    is_error(through_file(&a, &ps, &err), &err, "E-IO-FULL", 9, "a gradient finds no room");
    err = (struct pesc_error){0};
    is_error(adamw_step(&a, &ps, 1e-3, 1, &err), &err, "E-IO-FULL", 9, "moments find no room");
    limit_files(before.rlim_cur);
    adamw_free(&a);
    params_free(&ps);
}

int main(void)
{
    gen_begin();
    omp_set_num_threads(1);
    test_codes();
    test_extremes();
    test_twin(&options[0], 1, "defaults");
    test_twin(&options[1], 0.25, "decay of matrices, clipped");
    test_near();
    test_huge();
    test_disk(ADAMW_F32);
    test_disk(ADAMW_8BIT);
    test_full();
    return gen_end();
}
