#include "config.h"
#include "cli/eval_tasks.h"

#include "cli/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static char *copied(const char *s)
{
    return s ? strdup(s) : NULL;
}

int eval_rows_add(struct eval_rows *rows, const struct eval_row *like, struct pesc_error *err)
{
    if (rows->n == rows->cap) {
        long cap = rows->cap ? 2 * rows->cap : 64;
        struct eval_row *grown = realloc(rows->v, (size_t)cap * sizeof *grown);
        if (!grown)
            return FAIL(err, MEMORY, "no memory for %ld figures", cap);
        rows->v = grown;
        rows->cap = cap;
    }
    struct eval_row *r = &rows->v[rows->n++];
    *r = *like;
    r->task = copied(like->task);
    r->domain = copied(like->domain);
    r->config = copied(like->config);
    return r->task && !r->domain == !like->domain && !r->config == !like->config
               ? 0
               : FAIL(err, MEMORY, "no memory for figures");
}

void eval_rows_free(struct eval_rows *rows)
{
    for (long i = 0; i < rows->n; i++) {
        free(rows->v[i].task);
        free(rows->v[i].domain);
        free(rows->v[i].config);
    }
    free(rows->v);
    memset(rows, 0, sizeof *rows);
}

static int add_sums(struct eval_rows *rows, long run, const struct dataset *d,
                    const struct eval_sum *e, const char *domain, struct pesc_error *err)
{
    double loss = eval_loss(e), exact = eval_exact_match(e);
    struct interval ci = interval_mean(loss, eval_loss_stderr(e));
    const struct task_figure f[] = {
        {"loss", loss, eval_loss_stderr(e), ci, e->scored},
        {"perplexity", exp(loss), NAN, interval_exp(ci), e->scored},
        {"accuracy", eval_accuracy(e), eval_stderr(e), clusters_share(&e->hits), e->scored},
        {"exact_match", exact, eval_exact_stderr(e), interval_share(exact, (double)e->answers),
         e->answers}};
    const char *name = dataset_source_at(d, 0)->name;
    for (size_t i = 0; i < sizeof f / sizeof *f; i++) {
        struct eval_row row = {run, (char *)name, (char *)domain, NULL, f[i], 0, 0};
        if (!domain)
            row.cut = dataset_counts(d)->truncated;
        TRY(eval_rows_add(rows, &row, err));
    }
    return 0;
}

int eval_rows_of_data(struct eval_rows *rows, long run, const struct dataset *d,
                      const struct eval_sum *all, const struct eval_sum *domain,
                      struct pesc_error *err)
{
    long n = dataset_domain_count(d);
    for (long i = 0; i < n && n > 1; i++)
        if (domain[i].scored)
            TRY(add_sums(rows, run, d, &domain[i], dataset_domain(d, i), err));
    return add_sums(rows, run, d, all, NULL, err);
}

static struct cell text_cell(const char *s)
{
    return s ? (struct cell){.kind = CELL_TEXT, .text = s, .n = strlen(s)}
             : (struct cell){.kind = CELL_NULL};
}

static struct cell int_cell(long n)
{
    return (struct cell){.kind = CELL_INT, .i = n};
}

/* A value that is NaN is one; a bound that is, is not known. */
static struct cell real_cell(double x, int bound)
{
    if (isnan(x))
        return text_cell(bound ? NULL : "NaN");
    return (struct cell){.kind = CELL_REAL, .d = x};
}

/* For programs: one row for each figure. */
static int print_long(struct table *t, const struct eval_rows *rows, const struct opt_list *runs,
                      struct pesc_error *err)
{
    static const char *const names[] = {"run", "task", "domain", "metric", "value",   "stderr",
                                        "lo",  "hi",   "n",      "cut",    "too_long"};
    enum { N = sizeof names / sizeof *names };
    struct row_sink sink = table_sink(t);
    int skip = !runs;
    TRY(sink.head(t, N - skip, names + skip, err));
    for (long i = 0; i < rows->n; i++) {
        const struct eval_row *r = &rows->v[i];
        const struct cell cells[N] = {text_cell(runs ? runs->v[r->run] : NULL),
                                      text_cell(r->task),
                                      text_cell(r->domain),
                                      text_cell(r->f.metric),
                                      real_cell(r->f.value, 0),
                                      real_cell(r->f.stderr_, 1),
                                      real_cell(r->f.ci.lo, 1),
                                      real_cell(r->f.ci.hi, 1),
                                      int_cell(r->f.n),
                                      int_cell(r->cut),
                                      int_cell(r->too_long)};
        if (sink.row(t, N - skip, cells + skip, err) < 0)
            return -1;
    }
    return 0;
}

static void figure_text(const struct task_figure *f, char *out, size_t size)
{
    if (isnan(f->ci.lo) || isnan(f->ci.hi))
        snprintf(out, size, "%.4f", f->value);
    else
        snprintf(out, size, "%.4f [%.4f, %.4f]", f->value, f->ci.lo, f->ci.hi);
}

static int same_figure(const struct eval_row *a, const struct eval_row *b)
{
    return !strcmp(a->task, b->task) && !strcmp(a->f.metric, b->f.metric) &&
           !a->domain == !b->domain && (!a->domain || !strcmp(a->domain, b->domain));
}

static const struct eval_row *find(const struct eval_rows *rows, const struct eval_row *like,
                                   long run)
{
    for (long i = 0; i < rows->n; i++)
        if (rows->v[i].run == run && same_figure(&rows->v[i], like))
            return &rows->v[i];
    return NULL;
}

/* For people: a row for each figure, a column for each run. */
static int print_wide(struct table *t, const struct eval_rows *rows, const struct opt_list *runs,
                      struct pesc_error *err)
{
    enum { BEFORE = 4, CELL = 64 };
    long n_runs = runs ? runs->n : 1, n = BEFORE + n_runs;
    struct row_sink sink = table_sink(t);
    const char **names = calloc((size_t)n, sizeof *names);
    struct cell *cells = calloc((size_t)n, sizeof *cells);
    char(*texts)[CELL] = calloc((size_t)n, sizeof *texts);
    int rc = -1;
    if (!names || !cells || !texts) {
        FAIL(err, MEMORY, "no memory for a table");
        goto done;
    }
    names[0] = "task";
    names[1] = "domain";
    names[2] = "metric";
    names[3] = "n";
    for (long k = 0; k < n_runs; k++)
        names[BEFORE + k] = runs ? runs->v[k] : "value [95 %]";
    TRY_OR(sink.head(t, (int)n, names, err), done);
    for (long i = 0; i < rows->n; i++) {
        const struct eval_row *r = &rows->v[i];
        int seen = 0;
        for (long k = 0; k < i && !seen; k++)
            seen = same_figure(&rows->v[k], r);
        if (seen)
            continue;
        cells[0] = text_cell(r->task);
        cells[1] = text_cell(r->domain ? r->domain : "all");
        cells[2] = text_cell(r->f.metric);
        cells[3] = int_cell(r->f.n);
        for (long k = 0; k < n_runs; k++) {
            const struct eval_row *of = find(rows, r, k);
            if (of)
                figure_text(&of->f, texts[BEFORE + k], CELL);
            cells[BEFORE + k] = text_cell(of ? texts[BEFORE + k] : NULL);
        }
        if (sink.row(t, (int)n, cells, err) < 0)
            goto done;
    }
    rc = 0;
done:
    free(names);
    free(cells);
    free(texts);
    return rc;
}

int eval_rows_print(struct cli *cli, const struct eval_rows *rows, const struct opt_list *runs,
                    int csv, int json, struct pesc_error *err)
{
    enum table_form form;
    TRY(table_form_of(csv, json, &form, err));
    struct table *t = table_new(cli->out, form, cli_width(cli), err);
    if (!t)
        return -1;
    table_cut_only(t, 3); /* task and domain */
    int rc = form == TABLE_TEXT ? print_wide(t, rows, runs, err) : print_long(t, rows, runs, err);
    if (rc == 0)
        table_finish(t);
    table_free(t);
    return rc;
}
