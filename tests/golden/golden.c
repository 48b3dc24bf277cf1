#include "config.h"
#include "tests/golden/golden.h"

#include <stdarg.h>

void must(int rc, const struct pesc_error *err)
{
    if (rc == 0)
        return;
    printf("Bail out! %s %s\n", err->name ? err->name : "?", err->text);
    exit(99);
}

json_t *golden_json(const char *fmt, ...)
{
    char path[4096];
    struct pesc_error err = {0};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    json_t *v = json_file(path, 64 << 20, PESC_E_IO, &err);
    must(v ? 0 : -1, &err);
    return v;
}

float *golden_tensor(const char *file, const char *name, uint64_t *n)
{
    struct pesc_error err = {0};
    struct st_file *f;
    must(st_open(file, ST_BASE, NULL, &f, &err), &err);
    const struct st_tensor *t = st_find(f, name);
    if (!t) {
        printf("Bail out! %s has no %s\n", file, name);
        exit(99);
    }
    float *v = malloc(t->n * sizeof *v);
    must(st_read_f32(f, t, v, &err), &err);
    if (n)
        *n = t->n;
    st_close(f);
    return v;
}

struct golden_batch golden_batch(const json_t *ids, const json_t *labels, int trim)
{
    struct golden_batch g = {0};
    size_t rows = json_array_size(ids), total = 0;
    for (size_t r = 0; r < rows; r++)
        total += json_array_size(json_array_get(ids, r));
    g.ids = calloc(total, sizeof *g.ids);
    g.labels = calloc(total, sizeof *g.labels);
    g.cu = calloc(rows + 1, sizeof *g.cu);
    g.record = calloc(rows, sizeof *g.record);
    g.domain = calloc(rows, sizeof *g.domain);
    long at = 0;
    for (size_t r = 0; r < rows; r++) {
        const json_t *row = json_array_get(ids, r), *lab = json_array_get(labels ? labels : ids, r);
        size_t n = json_array_size(row);
        while (trim && n > 0 && json_integer_value(json_array_get(lab, n - 1)) == LABEL_MASKED)
            n--;
        for (size_t i = 0; i < n; i++) {
            g.ids[at] = (int32_t)json_integer_value(json_array_get(row, i));
            g.labels[at++] = (int32_t)json_integer_value(json_array_get(lab, i));
        }
        g.cu[r + 1] = at;
        g.record[r] = (long)r;
    }
    g.b = (struct batch){at, (long)rows, g.ids, g.labels, g.cu, g.domain, g.record};
    return g;
}

void golden_batch_free(struct golden_batch *g)
{
    free(g->ids);
    free(g->labels);
    free(g->cu);
    free(g->record);
    free(g->domain);
}

struct base *golden_base(const char *dir)
{
    struct pesc_error err = {0};
    struct base *b;
    must(base_open(dir, NULL, &b, &err), &err);
    return b;
}

struct diff {
    const float *want;
    long V;
    double most;
};

static int compare(void *ctx, long from, long n, const float *logits, struct pesc_error *err)
{
    struct diff *d = ctx;
    (void)err;
    for (long i = 0; i < n * d->V; i++) {
        double x = fabs((double)logits[i] - d->want[from * d->V + i]);
        if (!(x <= d->most)) /* a NaN counts as the largest difference */
            d->most = isnan(x) ? INFINITY : x;
    }
    return 0;
}

double golden_logits_diff(struct model *m, const json_t *ids, const float *want)
{
    struct pesc_error err = {0};
    struct engine *e;
    json_t *rows = json_pack("[O]", ids);
    struct golden_batch g = golden_batch(rows, NULL, 0);
    struct diff d = {want, m->c.vocab_size, 0};
    must(engine_open(m, g.b.T, 1, 0, NULL, &e, &err), &err);
    must(engine_logits(e, &g.b, compare, &d, &err), &err);
    engine_close(e);
    golden_batch_free(&g);
    json_decref(rows);
    return d.most;
}

double golden_rel_l2(const float *a, const float *b, size_t n)
{
    double num = 0, den = 0;
    for (size_t i = 0; i < n; i++) {
        num += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        den += (double)b[i] * b[i];
    }
    return num == 0 ? 0 : sqrt(num / den);
}
