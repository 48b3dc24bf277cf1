/* Quantised bases: written, read, kept in memory and streamed, against a base of numbers that has
 * the very values the codes stand for; and folders that are not as they should be. */
#include "config.h"
#include "model/convert.h"
#include "model/quantised.h"
#include "model/save.h"
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"

#include "model/shards.h"

#include <omp.h>

/* No size is a multiple of a block: rows begin in the middle of one. */
static const struct small shape = {.hidden = 40, .inter = 72, .vocab = 61, .layers = 3};

static struct base *convert(const char *to, const struct base *b, const struct convert *how)
{
    struct pesc_error err = {0};
    struct converted made;
    struct base *q;
    must_do(dir_make_all(to, &err), &err);
    must_do(base_convert(to, b, how, &made, &err), &err);
    must_do(base_open(to, NULL, &q, &err), &err);
    return q;
}

static struct convert how_of(enum quant kind, int outer)
{
    return (struct convert){
        .quant = kind, .dtype = DT_COUNT, .outer = outer, .fingerprint = "pesc-fp1:x", .name = "x"};
}

static const struct moe_config moe = {.experts = 3, .top_k = 2, .dim = 4, .scaling = 1};

static struct model *open_model(const struct base *b, enum compute compute, long streamed,
                                int on_disk)
{
    struct pesc_error err = {0};
    struct model *m;
    must_do(model_shape(base_config(b), &moe, TRAIN_ADAPTERS, compute, &m, &err), &err);
    m->plan.streamed_layers = streamed;
    m->plan.embed_on_disk = on_disk;
    must_do(model_load(m, b, DT_COUNT, 3, &err), &err);
    small_adapters(m);
    return m;
}

/* Loss, logits and gradients of b are those of want, bit for bit. */
static void test_same(const struct base *want, const struct base *b, enum compute compute,
                      long streamed, int on_disk, const char *what)
{
    struct small_batch g;
    struct engine_step s[2] = {{.loss_scale = 0.1, .seed = 1, .number = 1},
                               {.loss_scale = 0.1, .seed = 1, .number = 1}};
    struct model *x = open_model(want, compute, 0, 0),
                 *y = open_model(b, compute, streamed, on_disk);
    small_batch(&g, shape.vocab, 3, 3, (long[]){7, 12, 4});
    float *a = small_logits(x, &g.b), *c = small_logits(y, &g.b);
    ok(!memcmp(a, c, (size_t)(g.b.T * shape.vocab) * sizeof *a), "%s: logits, bit for bit", what);
    small_train(x, &g.b, &s[0], 0);
    small_train(y, &g.b, &s[1], 0);
    ok(s[0].loss_sum == s[1].loss_sum && s[0].loss_sum > 0 &&
           !memcmp(x->params.grad, y->params.grad, x->params.total * sizeof(float)),
       "%s: loss and gradients, bit for bit", what);
    is_long((long)weights_bytes(y->weights), (long)weights_size(&y->c, compute, &y->plan),
            "its memory is as planned");
    free(a);
    free(c);
    small_batch_free(&g);
    model_close(x);
    model_close(y);
}

static void test_identity(enum quant kind, int outer, int tied, int bf16)
{
    char dir[3][64], what[64];
    struct small o = shape;
    o.tied = tied;
    o.bf16 = bf16;
    for (int i = 0; i < 3; i++)
        snprintf(dir[i], sizeof dir[i], "same-%d-%s-%d-%d-%d", i, quant_name(kind), outer, tied,
                 bf16);
    struct convert how = how_of(kind, outer);
    struct base *plain = small_base(gen_path(dir[0]), &o);
    struct base *q = convert(gen_path(dir[1]), plain, &how);
    struct base *numbers = small_expanded(gen_path(dir[2]), plain, q);
    is_str(base_stored(q), quant_name(kind), "it says what it is");
    ok(base_param_count(q) == base_param_count(plain), "as many weights as the original");
    ok((base_config(q)->embed_form.kind == kind) == outer, "the embedding is quantised when asked");
    for (enum compute c = COMPUTE_F32; c <= COMPUTE_BF16; c++) {
        if (c == COMPUTE_BF16 && !gemm_has_bf16(NULL, 0))
            continue;
        snprintf(what, sizeof what, "%s in %s%s", quant_name(kind), c ? "bf16" : "f32",
                 outer ? ", all" : "");
        test_same(numbers, q, c, 0, 0, what);
        test_same(numbers, q, c, 2, !tied, "streamed");
    }
    base_close(plain);
    base_close(q);
    base_close(numbers);
}

/* --- how NF4 is made --- */

/* Squared difference of the first query matrix from the original's. */
static double miss(const struct base *plain, const struct base *q)
{
    static const char name[] = "model.layers.0.self_attn.q_proj.weight";
    struct pesc_error err = {0};
    float a[32 * 40], b[32 * 40];
    double sum = 0;
    must_do(base_read_f32(plain, name, a, &err), &err);
    must_do(base_read_f32(q, name, b, &err), &err);
    for (int i = 0; i < 32 * 40; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

static void test_fitted(void)
{
    struct pesc_error err = {0};
    struct convert how = how_of(QUANT_NF4, 0);
    char id[3][FINGERPRINT_CAP];
    struct base *plain = small_base(gen_path("fit"), &shape), *q;
    q = convert(gen_path("fit-absmax"), plain, &how);
    double before = miss(plain, q);
    base_close(q);
    how.fitted = 1;
    int usual = omp_get_max_threads();
    for (int threads = 1; threads <= 3; threads++) {
        char dir[32];
        snprintf(dir, sizeof dir, "fit-%d", threads);
        omp_set_num_threads(threads);
        q = convert(gen_path(dir), plain, &how);
        must_do(base_fingerprint(q, id[threads - 1], &err), &err);
        if (threads == 1)
            ok(miss(plain, q) < 0.97 * before, "scales that fit: %.1f %% less squared error",
               100 * (1 - miss(plain, q) / before));
        base_close(q);
    }
    omp_set_num_threads(usual);
    ok(!strcmp(id[0], id[1]) && !strcmp(id[0], id[2]), "the same base on any number of threads");
    base_close(plain);
}

/* Matrices below a size are int8. Of the shape: q and o have 1280 values, k and v 640, the others
 * 2880. */
static void test_small(void)
{
    struct convert how = how_of(QUANT_NF4, 0);
    struct base *plain = small_base(gen_path("size"), &shape);
    how.small = 1280;
    struct base *q = convert(gen_path("size-some"), plain, &how);
    const struct model_config *c = base_config(q);
    ok(c->layer_form[LT_K].kind == QUANT_INT8 && c->layer_form[LT_V].kind == QUANT_INT8 &&
           c->layer_form[LT_Q].kind == QUANT_NF4 && c->layer_form[LT_DOWN].kind == QUANT_NF4,
       "matrices of fewer values are int8");
    const json_t *say = json_object_get(base_config_json(q), "quantization_config");
    is_str(json_string_value(json_object_get(say, "quant_method")), "pesc_mixed",
           "which the config says");
    struct base *numbers = small_expanded(gen_path("size-numbers"), plain, q);
    test_same(numbers, q, COMPUTE_F32, 0, 0, "nf4 and int8");
    test_same(numbers, q, COMPUTE_F32, 2, 1, "nf4 and int8, streamed");
    base_close(numbers);
    base_close(q);
    how.small = 2881;
    q = convert(gen_path("size-all"), plain, &how);
    is_str(base_stored(q), "int8", "all of them make a base of int8");
    base_close(q);
    base_close(plain);
}

/* --- large matrices --- */

/* A vocabulary of several panels: the same bits from codes as from numbers, and the right ones. */
static void test_panels(void)
{
    enum { N = 600000, K = 64, T = 2 };
    struct pesc_error err = {0};
    struct qmat q = {.kind = QUANT_INT8, .N = N, .K = K};
    struct gemm *g = gemm_new(&err);
    void *memory = aligned_alloc(64, qmat_bytes(&q));
    float *w = malloc((size_t)N * K * sizeof *w), *y[2], dx[2][T * K], x[T * K], worst = 0;
    if (!g || !memory || !w)
        exit(99);
    qmat_place(&q, memory);
    for (long i = 0; i < (long)N * K; i++)
        ((signed char *)q.code)[i] = (signed char)((i * 37 + i / 501) % 255 - 127);
    for (long i = 0; i < N; i++)
        ((float *)q.scale)[i] = 1e-3f * (float)(i % 7 + 1);
    qmat_expand_rows(&q, 0, N, w, DT_F32);
    for (int i = 0; i < T * K; i++)
        x[i] = (float)(i % 11 - 5);
    ok(gemm_panel_bytes(N, K, DT_F32) < (size_t)N * K * 4, "it does not fit one panel");
    for (int i = 0; i < 2; i++) {
        struct wmat m = {.dtype = DT_F32, .N = N, .K = K, .data = w};
        if (i)
            m.q = q;
        y[i] = malloc((size_t)N * T * sizeof **y);
        linear_fwd(g, y[i], x, &m, NULL, T);
        for (int k = 0; k < T * K; k++)
            dx[i][k] = 1e9f;
        linear_bwd_data(g, dx[i], 0, y[i], &m, T); /* overwrites */
        linear_bwd_data(g, dx[i], 1, y[i], &m, T); /* adds */
    }
    ok(gemm_check(g, &err) == 0 && !memcmp(y[0], y[1], (size_t)N * T * sizeof **y) &&
           !memcmp(dx[0], dx[1], sizeof dx[0]),
       "products are the same bits");
    for (long n = 0; n < N; n += 1 + n % 13)
        for (long t = 0; t < T; t++) {
            double sum = 0;
            for (long k = 0; k < K; k++)
                sum += (double)x[t * K + k] * (double)w[n * K + k];
            worst = fmaxf(worst, fabsf((float)(sum - (double)y[1][t * N + n])));
        }
    ok(worst < 1e-4f, "and the right ones");
    double sum[T * K], size = 0, off = 0;
    memset(sum, 0, sizeof sum);
    for (long n = 0; n < N; n++)
        for (long t = 0; t < T; t++)
            for (long k = 0; k < K; k++)
                sum[t * K + k] += 2 * (double)y[1][t * N + n] * (double)w[n * K + k];
    for (int i = 0; i < T * K; i++) {
        size = fmax(size, fabs(sum[i]));
        off = fmax(off, fabs(sum[i] - (double)dx[1][i]));
    }
    ok(off < 1e-4 * size, "also towards data");
    free(y[0]);
    free(y[1]);
    free(w);
    free(memory);
    gemm_free(g);
}

/* --- spoiled folders --- */

enum { MOST = 256 };
static struct st_out list[MOST];
static unsigned char *bytes[MOST];
static char names[MOST][256];
static long count;

static int fill(void *ctx, long i, const struct st_out *t, void *dst, struct pesc_error *err)
{
    size_t n = t->dtype == DT_F32 ? 4 : t->dtype == DT_BF16 ? 2 : 1;
    (void)ctx, (void)err;
    for (int d = 0; d < t->ndim; d++)
        n *= (size_t)t->shape[d];
    memcpy(dst, bytes[i], n);
    return 0;
}

/* All tensors of a folder into the list. */
static void take(const struct base *b)
{
    struct pesc_error err = {0};
    const struct shards *s = base_shards(b);
    for (long i = 0; i < count; i++)
        free(bytes[i]);
    for (count = 0; count < s->count; count++) {
        const struct st_tensor *t = s->all[count].t;
        snprintf(names[count], sizeof names[count], "%s", t->name);
        list[count] = (struct st_out){.name = names[count],
                                      .dtype = !strcmp(t->stored, "U8")   ? ST_U8
                                               : !strcmp(t->stored, "I8") ? ST_I8
                                                                          : t->dtype,
                                      .ndim = t->ndim};
        memcpy(list[count].shape, t->shape, sizeof t->shape);
        bytes[count] = calloc(1, (size_t)t->bytes + 8192);
        must_do(st_read(s->all[count].file, t, bytes[count], &err), &err);
    }
}

static long at(const char *name)
{
    for (long i = 0; i < count; i++)
        if (!strcmp(names[i], name))
            return i;
    printf("Bail out! no %s\n", name);
    exit(99);
}

/* The list as a folder with the config of another. */
static const char *put(const char *like, const char *name)
{
    struct pesc_error err = {0};
    char path[PATH_CAP];
    must_do(dir_remove_all(gen_path(name), &err), &err);
    must_do(dir_make_all(gen_path(name), &err), &err);
    must_do(base_copy_file(like, gen_path(name), "config.json", &err), &err);
    must_do(path_join(path, gen_path(name), "model.safetensors", &err), &err);
    must_do(st_write(path, list, count, "format", "pt", fill, NULL, 0, NULL, NULL, &err), &err);
    return gen_path(name);
}

#define Q "model.layers.1.self_attn.q_proj.weight"

static void state(const char *text)
{
    long i = at(Q QUANT_STATE);
    list[i].shape[0] = (long)strlen(text);
    memcpy(bytes[i], text, strlen(text));
}

static void refused(const char *like, const char *code, int status, const char *what)
{
    struct pesc_error err = {0};
    struct base *b;
    int rc = base_open(put(like, "spoiled"), NULL, &b, &err);
    struct model *m = NULL;
    if (rc == 0) { /* what only the values show */
        rc = model_open(b, NULL, TRAIN_NOTHING, COMPUTE_F32, DT_COUNT, 1, &m, &err);
        model_close(m);
        base_close(b);
    }
    is_error(rc, &err, code, status, what);
}

static void test_spoiled(void)
{
    struct convert how = how_of(QUANT_NF4, 0);
    struct base *plain = small_base(gen_path("p"), &shape);
    struct base *q = convert(gen_path("q"), plain, &how);
    char like[PATH_CAP];
    snprintf(like, sizeof like, "%s", gen_path("q"));
#define CASE(code, status, what, ...)                                                              \
    take(q);                                                                                       \
    __VA_ARGS__;                                                                                   \
    refused(like, code, status, what)
    static const char *const parts[] = {QUANT_ABSMAX, QUANT_MAP, QUANT_NESTED_ABSMAX,
                                        QUANT_NESTED_MAP, QUANT_STATE};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char name[256];
        snprintf(name, sizeof name, Q "%s", parts[i]);
        CASE("E-MODEL-MISSING", 3, parts[i], strcpy(names[at(name)], "other"));
    }
    CASE("E-CFG-QUANT", 7, "fp4",
         strcpy(names[at(Q QUANT_STATE)], Q ".quant_state.bitsandbytes__fp4"));
    CASE("E-MODEL-SHAPE", 3, "a scale too few", list[at(Q QUANT_ABSMAX)].shape[0]--);
    CASE("E-MODEL-SHAPE", 3, "a nested scale too many", list[at(Q QUANT_NESTED_ABSMAX)].shape[0]++);
    CASE("E-MODEL-SHAPE", 3, "255 nested values", list[at(Q QUANT_NESTED_MAP)].shape[0]--);
    CASE("E-MODEL-SHAPE", 3, "codes too short", list[at(Q)].shape[0]--);
    CASE("E-MODEL-QUANT", 3, "scales of another type", list[at(Q QUANT_ABSMAX)].dtype = DT_F32);
    CASE("E-MODEL-QUANT", 3, "other values than nf4's",
         ((float *)bytes[at(Q QUANT_MAP)])[3] = 0.5f);
#define STATE(rest) "{\"quant_type\":\"nf4\",\"shape\":[32,40],\"blocksize\":" rest "}"
#define NESTED "\"nested_blocksize\":256,\"nested_dtype\":\"float32\",\"nested_offset\":0.1"
    CASE("E-MODEL-QUANT", 3, "no JSON", state("{\"quant_type\": \"nf4\""));
    CASE("E-MODEL-QUANT", 3, "a list", state("[]"));
    CASE("E-MODEL-QUANT", 3, "nothing", state(""); list[at(Q QUANT_STATE)].shape[0] = 0);
    CASE("E-MODEL-QUANT", 3, "another type", state("{\"quant_type\":\"fp4\"}"));
    CASE("E-MODEL-QUANT", 3, "no shape", state("{\"quant_type\":\"nf4\",\"blocksize\":64}"));
    CASE("E-MODEL-SHAPE", 3, "another shape",
         state("{\"quant_type\":\"nf4\",\"shape\":[40,32],\"blocksize\":64," NESTED "}"));
    CASE("E-MODEL-QUANT", 3, "blocks of 48", state(STATE("48," NESTED)));
    CASE("E-MODEL-QUANT", 3, "blocks of 16", state(STATE("16," NESTED)));
    CASE("E-MODEL-QUANT", 3, "blocks of 8192", state(STATE("8192," NESTED)));
    CASE("E-MODEL-SHAPE", 3, "other blocks than the scales'", state(STATE("128," NESTED)));
    CASE("E-MODEL-QUANT", 3, "no offset", state(STATE("64,\"nested_blocksize\":256")));
    CASE("E-MODEL-QUANT", 3, "an offset beyond float",
         state(STATE("64,\"nested_blocksize\":256,\"nested_offset\":1e300")));
    CASE("E-MODEL-QUANT", 3, "nested scales of another type",
         state(STATE("64,\"nested_blocksize\":256,\"nested_dtype\":\"float16\","
                     "\"nested_offset\":0.1")));
    CASE("E-MODEL-QUANT", 3, "an offset without nested scales, which are U8 then",
         state(STATE("64")));
    CASE("E-MODEL-NONFINITE", 3, "an infinite scale",
         ((float *)bytes[at(Q QUANT_NESTED_ABSMAX)])[0] = INFINITY);
    CASE("E-MODEL-NONFINITE", 3, "a scale that overflows",
         ((float *)bytes[at(Q QUANT_NESTED_ABSMAX)])[0] = 3e38f);
    CASE("E-ST-DTYPE", 3, "codes of int8", list[at(Q)].dtype = ST_I8);
    snprintf(like, sizeof like, "%s", gen_path("p"));
    CASE("E-ST-DTYPE", 3, "codes that the config does not announce", (void)0);

    /* one matrix of a kind stored as numbers: all of its kind are held so, with the same values */
    float *v = calloc(1, 32 * 40 * sizeof *v);
    struct pesc_error err = {0};
    struct base *mixed, *numbers = small_expanded(gen_path("n"), plain, q);
    take(q);
    must_do(base_read_f32(q, Q, v, &err), &err);
    list[at(Q)] = (struct st_out){names[at(Q)], DT_F32, 2, {32, 40}};
    free(bytes[at(Q)]);
    bytes[at(Q)] = (unsigned char *)v;
    must_do(base_open(put(gen_path("q"), "mixed"), NULL, &mixed, &err), &err);
    ok(base_config(mixed)->layer_form[LT_Q].kind == QUANT_NONE &&
           base_config(mixed)->layer_form[LT_K].kind == QUANT_NF4,
       "a kind of matrix that is not quantised everywhere is expanded");
    test_same(numbers, mixed, COMPUTE_F32, 0, 0, "mixed");
    base_close(mixed);
    base_close(numbers);
    base_close(q);

    how = how_of(QUANT_INT8, 1);
    q = convert(gen_path("q8"), plain, &how);
    snprintf(like, sizeof like, "%s", gen_path("q8"));
    CASE("E-MODEL-MISSING", 3, "int8 without scales", strcpy(names[at(Q QUANT_SCALE)], "other"));
    CASE("E-MODEL-SHAPE", 3, "int8 with a scale too few", list[at(Q QUANT_SCALE)].shape[0]--);
    CASE("E-MODEL-SHAPE", 3, "int8 with a row too few", list[at(Q)].shape[0]--);
    CASE("E-MODEL-NONFINITE", 3, "a scale that is NaN",
         ((float *)bytes[at(Q QUANT_SCALE)])[3] = NAN);
    base_close(q);
    base_close(plain);
    for (long i = 0; i < count; i++)
        free(bytes[i]);
    count = 0;
}

/* --- writing --- */

static void test_convert(void)
{
    struct pesc_error err = {0};
    struct converted made;
    struct convert how = how_of(QUANT_NF4, 1);
    char one[FINGERPRINT_CAP], many[FINGERPRINT_CAP], original[FINGERPRINT_CAP];
    struct base *plain = small_base(gen_path("plain"), &shape), *q, *copy;
    q = convert(gen_path("one"), plain, &how);
    must_do(base_fingerprint(q, one, &err), &err);
    how.shard = 5000;
    copy = convert(gen_path("many"), plain, &how);
    must_do(base_fingerprint(copy, many, &err), &err);
    ok(base_shards(copy)->n_files > 3, "several weight files");
    is_str(many, one, "of the same identity as one");
    base_close(copy);
    const json_t *origin = json_object_get(base_config_json(q), "pesc_origin");
    is_str(json_string_value(json_object_get(origin, "fingerprint")), "pesc-fp1:x",
           "where it comes from is told");
    ok(base_convert(gen_path("again"), q, &how, &made, &err) == -1 && err.exit_status == 7,
       "quantising twice is refused");
    err.code = 0;
    struct model *m;
    is_error(model_open(q, NULL, TRAIN_FULL, COMPUTE_F32, DT_COUNT, 1, &m, &err), &err,
             "E-MODEL-KIND", 7, "training every weight");
    how = how_of(QUANT_NONE, 0);
    copy = convert(gen_path("copy"), plain, &how);
    must_do(base_fingerprint(plain, original, (err.code = 0, &err)), &err);
    must_do(base_fingerprint(copy, many, &err), &err);
    is_str(many, original, "a copy is the same base");
    base_close(copy);
    how.dtype = DT_BF16;
    copy = convert(gen_path("narrow"), plain, &how);
    ok(base_dtype(copy) == DT_BF16, "numbers in another type");
    base_close(copy);
    base_close(q);

    take(plain);
    ((float *)bytes[at(Q)])[77] = NAN;
    must_do(base_open(put(gen_path("plain"), "nan"), NULL, &copy, &err), &err);
    for (enum quant k = QUANT_NF4; k <= QUANT_INT8; k++) {
        how = how_of(k, 0);
        must_do(dir_make_all(gen_path("bad"), &err), &err);
        is_error(base_convert(gen_path("bad"), copy, &how, &made, &err), &err, "E-MODEL-NONFINITE",
                 3, "a weight that is NaN");
        err = (struct pesc_error){0};
    }
    base_close(copy);
    base_close(plain);
    for (long i = 0; i < count; i++)
        free(bytes[i]);
    count = 0;
}

int main(void)
{
    gen_begin();
    test_identity(QUANT_NF4, 0, 0, 0);
    test_identity(QUANT_NF4, 1, 0, 1);
    test_identity(QUANT_NF4, 1, 1, 0);
    test_identity(QUANT_INT8, 0, 0, 1);
    test_identity(QUANT_INT8, 1, 0, 0);
    test_fitted();
    test_small();
    test_panels();
    test_spoiled();
    test_convert();
    return gen_end();
}
