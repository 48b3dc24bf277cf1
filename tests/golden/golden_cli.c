/* The goldens again, through the command line alone: records of token ids, recipes as flags, JSON
 * lines and dumped logits read back. What the other golden tests call, users cannot. */
#include "config.h"
#include "core/file.h"
#include "tests/golden/golden.h"

#include <unistd.h>

#define BASE "ckpt-stories260K"

static const char *material;
static char dir[64], text[8192];

/* A path in the test's folder, or in the material. */
static const char *in(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static const char *of(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s/%s", material, BASE, name);
    return path;
}

/* $PESC with arguments; its output goes to out and err in the folder. Returns the exit status. */
static int pesc(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int pesc(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t n = strlen(text);
    snprintf(text + n, sizeof text - n, " >%s/out 2>%s/err", dir, dir);
    int rc = system(text);
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

static void worked(int status, const char *what)
{
    char line[600];
    if (ok(status == 0, "%s: exit %d", what, status))
        return;
    diag("%.500s", text);
    FILE *f = fopen(in("err"), "r");
    while (f && fgets(line, sizeof line, f))
        diag("%s", line);
    if (f)
        fclose(f);
}

static void put_record(FILE *f, const json_t *ids, const json_t *labels)
{
    json_t *o = json_object();
    json_object_set(o, "input_ids", (json_t *)ids);
    if (labels)
        json_object_set(o, "labels", (json_t *)labels);
    json_dumpf(o, f, JSON_COMPACT);
    fputc('\n', f);
    json_decref(o);
}

/* All rows of all batches, one record each; how many rows a batch has. */
static long write_batches(const char *name, const json_t *batches)
{
    FILE *f = fopen(in(name), "w");
    long rows = 0;
    size_t i;
    const json_t *one;
    json_array_foreach(batches, i, one)
    {
        const json_t *ids = json_is_object(one) ? json_object_get(one, "ids") : one;
        const json_t *labels = json_object_get(one, "labels");
        rows = (long)json_array_size(ids);
        for (long r = 0; r < rows; r++)
            put_record(f, json_array_get(ids, (size_t)r), json_array_get(labels, (size_t)r));
    }
    fclose(f);
    return rows;
}

struct worst {
    double ce, rel, balance, norm;
    long steps;
};

static void widen(double *most, const json_t *got, const json_t *want, const char *got_key,
                  const char *want_key, int relative)
{
    const json_t *g = json_object_get(got, got_key), *w = json_object_get(want, want_key);
    double x = json_number_value(w), d = fabs(json_number_value(g) - x) / (relative ? x : 1);
    if (!json_is_number(g) || !json_is_number(w) || !(d <= *most))
        *most = json_is_number(g) && json_is_number(w) && !isnan(d) ? d : INFINITY;
}

/* The step lines of out against the steps of a golden run. ce_key: the golden's name of it. */
static struct worst compare(const json_t *steps, const char *ce_key)
{
    struct worst w = {0};
    static char line[8192];
    FILE *f = fopen(in("out"), "r");
    while (f && fgets(line, sizeof line, f)) {
        json_t *got = json_parse(line, strcspn(line, "\n"), NULL, NULL, 0);
        const char *event = json_string_value(json_object_get(got, "event"));
        if (event && !strcmp(event, "step")) {
            const json_t *want = json_array_get(steps, (size_t)w.steps++);
            widen(&w.ce, got, want, "ce", ce_key, 0);
            widen(&w.rel, got, want, "ce", ce_key, 1);
            widen(&w.norm, got, want, "grad_norm", "grad_norm", 0);
            if (json_object_get(want, "balance"))
                widen(&w.balance, got, want, "balance", "balance", 0);
        }
        json_decref(got);
    }
    if (f)
        fclose(f);
    return w;
}

/* Gradient norms of a whole model are large: their tolerance is relative to their size. */
static void check(const char *name, const json_t *steps, const char *ce_key, double norm_tol)
{
    struct worst w = compare(steps, ce_key);
    is_long(w.steps, (long)json_array_size(steps), "a line for every step");
    ok(w.ce < 1e-4, "%s: ce within 1e-4 at every step (%.2g)", name, w.ce);
    ok(w.balance < 1e-4, "%s: balance within 1e-4 (%.2g)", name, w.balance);
    ok(w.norm < norm_tol, "%s: gradient norm within %g (%.2g)", name, norm_tol, w.norm);
}

static char *rate_list(const json_t *lr)
{
    static char list[2048];
    size_t i, n = 0;
    const json_t *x;
    json_array_foreach(lr, i, x) n +=
        (size_t)snprintf(list + n, sizeof list - n, "%s%.17g", i ? "," : "", json_number_value(x));
    return list;
}

static int copy_zeroed(void *ctx, long i, const struct st_out *t, void *dst, struct pesc_error *err)
{
    const struct st_file *f = ctx;
    const struct st_tensor *from = st_find(f, t->name);
    (void)i;
    if (!strstr(t->name, "adapter_up"))
        return st_read_f32(f, from, dst, err);
    memset(dst, 0, from->n * sizeof(float));
    return 0;
}

/* init.safetensors with every up-projection set to zero. */
static void write_zero_up(void)
{
    struct pesc_error err = {0};
    struct st_file *f;
    must(st_open(of("golden-pesc/init.safetensors"), ST_BASE, NULL, &f, &err), &err);
    long n = st_count(f);
    struct st_out *t = calloc((size_t)n, sizeof *t);
    for (long i = 0; i < n; i++) {
        const struct st_tensor *s = st_at(f, i);
        t[i] = (struct st_out){s->name, DT_F32, s->ndim, {0}};
        memcpy(t[i].shape, s->shape, sizeof t[i].shape);
    }
    must(st_write(in("zero.safetensors"), t, n, NULL, NULL, copy_zeroed, f, 1, NULL, NULL, &err),
         &err);
    free(t);
    st_close(f);
}

static void test_pesc(void)
{
    json_t *j = golden_json("%s/%s/golden-pesc/pesc.json", material, BASE);
    const json_t *batches = json_object_get(j, "batches"), *results = json_object_get(j, "results");
    const json_t *lm = json_object_get(results, "adamw_lm"),
                 *sft = json_object_get(results, "adamw_sft_from_zero_up");
    char common[1024];
    worked(
        pesc("\"$PESC\" craft '%s' -o %s/M --experts 8 --top-k 2 --adapter-dim 16", of("hf"), dir),
        "craft");
    long B = write_batches("lm.jsonl", json_object_get(batches, "lm"));
    is_long(write_batches("sft.jsonl", json_object_get(batches, "sft")), B, "batches of a size");
    snprintf(common, sizeof common,
             "\"$PESC\" train %s/M --data-order sequential --batch-size %ld --warmup-ratio 0 "
             "--balance-loss switch --balance-coef 0.01 --json",
             dir, B);
    worked(pesc("%s --data %s/lm.jsonl -o %s/lm --pack '%s' --compute f32 --max-steps %zu "
                "--learning-rate 1e-3 --weight-decay 0 --max-grad-norm 1",
                common, dir, dir, of("golden-pesc/init.safetensors"),
                json_array_size(json_object_get(lm, "steps"))),
           "adamw_lm");
    check("adamw_lm", json_object_get(lm, "steps"), "ce", 1e-4);
    write_zero_up();
    worked(pesc("%s --data %s/sft.jsonl -o %s/sft --pack %s/zero.safetensors --compute f32 "
                "--max-steps %zu --lr-list %s --weight-decay 0.01 --max-grad-norm 0.3",
                common, dir, dir, dir, json_array_size(json_object_get(sft, "steps")),
                rate_list(json_object_get(sft, "lr"))),
           "adamw_sft_from_zero_up");
    check("adamw_sft_from_zero_up", json_object_get(sft, "steps"), "ce", 1e-4);
    if (gemm_has_bf16(NULL, 0)) {
        worked(pesc("%s --data %s/lm.jsonl -o %s/lm16 --pack '%s' --compute bf16 --max-steps %zu "
                    "--learning-rate 1e-3 --weight-decay 0 --max-grad-norm 1",
                    common, dir, dir, of("golden-pesc/init.safetensors"),
                    json_array_size(json_object_get(lm, "steps"))),
               "adamw_lm in bf16");
        struct worst w = compare(json_object_get(lm, "steps"), "ce");
        ok(w.steps > 0 && w.rel < 0.01, "adamw_lm in bf16: ce within 1 %% at %ld steps (%.2g)",
           w.steps, w.rel);
    }
    json_decref(j);
}

static void test_dense(void)
{
    static const struct {
        const char *name, *data, *flags;
    } recipes[] = {
        {"adamw_plain", "lm",
         "--learning-rate 5e-4 --warmup-ratio 0 --weight-decay 0.01 "
         "--max-grad-norm 0"},
        {"adamw_clip", "lm",
         "--learning-rate 1e-3 --warmup-ratio 0 --weight-decay 0.1 --decay matrices "
         "--max-grad-norm 1 --adam-beta2 0.95"},
        {"sft_masked_warmup", "sft",
         "--learning-rate 1e-3 --warmup-ratio 0.5 --lr-scheduler cosine --max-grad-norm 1"},
    };
    json_t *j = golden_json("%s/%s/golden/train.json", material, BASE);
    const json_t *batches = json_object_get(j, "batches"), *results = json_object_get(j, "results");
    long B = write_batches("dense-lm.jsonl", json_object_get(batches, "lm"));
    is_long(write_batches("dense-sft.jsonl", json_object_get(batches, "sft")), B,
            "batches of a size");
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        const json_t *steps = json_object_get(json_object_get(results, recipes[i].name), "float64");
        worked(pesc("\"$PESC\" train '%s' --trainable full --data %s/dense-%s.jsonl -o %s/%s "
                    "--data-order sequential --batch-size %ld --compute f32 --max-steps %zu %s "
                    "--json",
                    of("hf"), dir, recipes[i].data, dir, recipes[i].name, B, json_array_size(steps),
                    recipes[i].flags),
               recipes[i].name);
        check(recipes[i].name, steps, "loss", 1e-3);
    }
    json_decref(j);
}

static void test_logits(const char *model, const char *what)
{
    struct pesc_error err = {0};
    json_t *cases = golden_json("%s/%s/golden/cases.json", material, BASE), *one;
    FILE *f = fopen(in("cases.jsonl"), "w");
    size_t i;
    json_array_foreach(json_object_get(cases, "cases"), i, one)
        put_record(f, json_object_get(one, "ids"), NULL);
    fclose(f);
    unlink(in("dump.safetensors"));
    worked(pesc("\"$PESC\" eval %s --data %s/cases.jsonl --compute f32 --dump-logits "
                "%s/dump.safetensors --json",
                model, dir, dir),
           what);
    struct st_file *dump;
    must(st_open(in("dump.safetensors"), ST_BASE, NULL, &dump, &err), &err);
    is_long(st_count(dump), (long)json_array_size(json_object_get(cases, "cases")),
            "a tensor for every record");
    json_array_foreach(json_object_get(cases, "cases"), i, one)
    {
        char name[32];
        uint64_t n = 0;
        double worst = 0;
        snprintf(name, sizeof name, "case%zu.f64", i);
        float *want = golden_tensor(of("golden/logits.safetensors"), name, &n);
        snprintf(name, sizeof name, "record_%zu", i);
        const struct st_tensor *t = st_find(dump, name);
        int fits = t && t->ndim == 2 && t->n == n &&
                   t->shape[0] == (long)json_array_size(json_object_get(one, "ids"));
        float *got = malloc(n * sizeof *got);
        if (fits)
            must(st_read_f32(dump, t, got, &err), &err);
        for (uint64_t k = 0; fits && k < n; k++)
            if (!(fabs((double)got[k] - want[k]) <= worst))
                worst = isnan(got[k]) ? INFINITY : fabs((double)got[k] - want[k]);
        ok(fits && worst < 1e-4, "%s: logits of %s within 1e-4 (%.2g)", what, name, worst);
        free(got);
        free(want);
    }
    st_close(dump);
    json_decref(cases);
}

/* Each case's text as prompt, and the greedy continuation of another program. */
static void test_greedy(void)
{
    struct pesc_error err = {0};
    json_t *cases = golden_json("%s/%s/golden/cases.json", material, BASE);
    json_t *greedy = golden_json("%s/%s/golden/greedy.json", material, BASE), *one;
    size_t i;
    json_array_foreach(json_object_get(greedy, "cases"), i, one)
    {
        const json_t *c = json_array_get(json_object_get(cases, "cases"), i);
        const char *prompt = json_string_value(json_object_get(c, "text"));
        const json_t *want = json_object_get(one, "greedy_ids");
        must(file_write(in("prompt.txt"), prompt, strlen(prompt), &err), &err);
        int rc = pesc("\"$PESC\" generate '%s' --prompt-file %s/prompt.txt -n %zu --compute f32 "
                      "--json",
                      of("hf"), dir, json_array_size(want));
        json_t *got = rc == 0 ? golden_json("%s/out", dir) : NULL;
        const json_t *ids = json_object_get(got, "ids");
        size_t n = json_array_size(ids), same = 0;
        while (same < n && json_equal(json_array_get(ids, same), json_array_get(want, same)))
            same++;
        ok(rc == 0 && same == json_array_size(want), "greedy text %zu: %zu of %zu tokens equal", i,
           same, json_array_size(want));
        ok(json_equal(json_object_get(got, "prompt_ids"), json_object_get(one, "prompt_ids")),
           "and the prompt's ids");
        json_decref(got);
    }
    json_decref(greedy);
    json_decref(cases);
}

static void test_negative(void)
{
    char *err_text;
    size_t n;
    struct pesc_error err = {0};
    int rc = pesc("\"$PESC\" craft '%s/ckpt-negative-godgraph' -o %s/no", material, dir);
    is_long(rc, 3, "a Llama without layer norms is refused: exit 3");
    must(file_read(in("err"), 1 << 16, &err_text, &n, &err), &err);
    ok(strstr(err_text, "error[E-MODEL-MISSING]") && strstr(err_text, "input_layernorm"),
       "naming what is missing");
    ok(!path_exists(in("no")), "and nothing is made");
    free(err_text);
}

int main(void)
{
    char db[128], model[4200];
    struct pesc_error err = {0};
    if (!(material = tap_material()))
        return tap_skip_all(TAP_NO_MATERIAL);
    snprintf(dir, sizeof dir, "/tmp/pesc-cli-XXXXXX");
    if (!getenv("PESC") || !mkdtemp(dir)) {
        printf("Bail out! no PESC, or no folder\n");
        return 99;
    }
    snprintf(db, sizeof db, "%s/history.db", dir);
    setenv("PESC_DB", db, 1);
    setenv("OMP_NUM_THREADS", "1", 1); /* small, and threads would wait for each other */
    test_pesc();
    test_dense();
    snprintf(model, sizeof model, "'%s'", of("hf"));
    test_logits(model, "dense");
    snprintf(model, sizeof model, "'%s' --batch-tokens 1", of("hf"));
    test_logits(model, "a record at a time");
    snprintf(model, sizeof model, "%s/M", dir);
    test_logits(model, "crafted");
    test_greedy();
    test_negative();
    must(dir_remove_all(dir, &err), &err);
    return tap_done();
}
