#include "config.h"
#include "experiments/export_impl.h"

#include <string.h>

static int tables_out(struct reader *r, const struct export_job *job, struct export_out *o,
                      long long *rows, struct pesc_error *err)
{
    int csv = !strcmp(job->format, "csv");
    char name[64];
    if (!o->folder)
        TRY(out_file(o, NULL, err));
    for (const struct export_table *t = export_tables; t->name; t++) {
        if (job->table && strcmp(t->name, job->table))
            continue;
        snprintf(name, sizeof name, "%s.csv", t->name);
        if (o->folder)
            TRY(out_file(o, name, err));
        TRY((csv ? export_csv : export_jsonl)(r, t, job, o, rows, err));
    }
    return 0;
}

static const struct format {
    const char *name;
    int folder; /* as long as not one table is asked for */
    int tables; /* --table is known */
    int (*write)(struct reader *, const struct export_job *, struct export_out *, long long *,
                 struct pesc_error *);
} formats[] = {
    {"csv", 1, 1, tables_out},
    {"jsonl", 0, 1, tables_out},
    {"tensorboard", 1, 0, export_tensorboard},
    {"mlflow", 1, 0, export_mlflow},
};

int export_runs(struct reader *r, const struct export_job *job, long long *rows,
                struct pesc_error *err)
{
    char names[512];
    struct export_out o;
    long long count = 0;
    const struct format *f = formats;
    while (f < formats + sizeof formats / sizeof *formats && strcmp(f->name, job->format))
        f++;
    if (f == formats + sizeof formats / sizeof *formats)
        return FAIL(err, USAGE_VALUE, "no format '%s'; there are " EXPORT_FORMATS, job->format);
    if (job->table && !f->tables)
        return FAIL(err, USAGE, "--table goes with csv and jsonl");
    if (job->table && !export_table_of(job->table))
        return FAIL(err, USAGE_VALUE, "no table '%s'; there are %s", job->table,
                    export_table_names(names, sizeof names));
    int rc = reader_snapshot(r, err);
    if (rc == 0)
        rc = out_begin(&o, job->out, f->folder && !job->table, job->force, err);
    else
        o.tmp[0] = 0, o.f = NULL;
    if (rc == 0)
        rc = f->write(r, job, &o, &count, err);
    if (rc == 0)
        rc = out_commit(&o, err);
    if (rc != 0)
        out_abort(&o);
    if (rows)
        *rows = count;
    return rc;
}
