#include "config.h"
#include "experiments/export_impl.h"

#include <string.h>

struct rows_out {
    const struct export_table *t;
    const struct export_job *job;
    struct export_out *out;
    FILE *f;
    long long rows;
};

static int next(struct rows_out *o, struct pesc_error *err)
{
    o->rows++;
    if (out_bad(o->out))
        return 1; /* closing the file says of what */
    return o->rows % 1024 ? 0 : export_stopped(o->job, err);
}

static int csv_row(void *ctx, int n, const struct cell *cells, struct pesc_error *err)
{
    struct rows_out *o = ctx;
    for (int i = 0; i < n; i++) {
        put_csv_cell(o->f, &cells[i]);
        fputs(i + 1 < n ? "," : "\r\n", o->f);
    }
    return next(o, err);
}

static int jsonl_row(void *ctx, int n, const struct cell *cells, struct pesc_error *err)
{
    struct rows_out *o = ctx;
    fprintf(o->f, "{\"table\":\"%s\"", o->t->name);
    for (int i = 0; i < n; i++) {
        fprintf(o->f, ",\"%s\":", o->t->columns[i].name);
        put_json_cell(o->f, &cells[i]);
    }
    fputs("}\n", o->f);
    return next(o, err);
}

static int all_rows(struct reader *r, struct rows_out *o,
                    int (*row)(void *, int, const struct cell *, struct pesc_error *),
                    long long *rows, struct pesc_error *err)
{
    struct row_sink sink = {o, NULL, row};
    int rc = 0;
    if (o->t->since > reader_version(r))
        return 0;
    for (long i = 0; i < o->job->n && rc == 0; i++) {
        rc = export_stopped(o->job, err);
        if (rc == 0)
            rc = export_table_rows(r, o->t, o->job->ids[i], &sink, err);
    }
    *rows += o->rows;
    return rc;
}

int export_csv(struct reader *r, const struct export_table *t, const struct export_job *job,
               struct export_out *out, long long *rows, struct pesc_error *err)
{
    struct rows_out o = {t, job, out, out->f, 0};
    for (const struct export_column *c = t->columns; c->name; c++)
        fprintf(o.f, "%s%s", c == t->columns ? "" : ",", c->name);
    fputs("\r\n", o.f);
    return all_rows(r, &o, csv_row, rows, err);
}

int export_jsonl(struct reader *r, const struct export_table *t, const struct export_job *job,
                 struct export_out *out, long long *rows, struct pesc_error *err)
{
    struct rows_out o = {t, job, out, out->f, 0};
    return all_rows(r, &o, jsonl_row, rows, err);
}
