/* What the files of the export share. */
#ifndef EXPERIMENTS_EXPORT_IMPL_H
#define EXPERIMENTS_EXPORT_IMPL_H

#include "core/file.h"
#include "experiments/export.h"

#include <stdio.h>

/* export_out.c: where the files go. Everything is made beside its place, under a name with our
 * process number, and gets its own name at the end. */
struct export_out {
    char path[PATH_CAP]; /* absolute, without links but for the last part */
    char tmp[PATH_CAP];
    int folder, force;
    FILE *f; /* the one file that is open */
    int why; /* its first error, which stdio forgets */
    char name[PATH_CAP];
};
/* E-USAGE-EXISTS when out is taken and may not be replaced. */
int out_begin(struct export_out *o, const char *out, int folder, int force,
              struct pesc_error *err) MUST_USE;
/* The file NAME of the folder (its folders are made), or the only one: name NULL. Closes the last.
 */
int out_file(struct export_out *o, const char *name, struct pesc_error *err) MUST_USE;
int out_folder(struct export_out *o, const char *name, struct pesc_error *err) MUST_USE;
int out_taken(const struct export_out *o, const char *name); /* in the folder */
/* After some writes: 1 when they failed, of which out_close tells. */
int out_bad(struct export_out *o);
int out_close(struct export_out *o, struct pesc_error *err) MUST_USE;
/* Flushes all to disk and gives it its name; on failure nothing is left. */
int out_commit(struct export_out *o, struct pesc_error *err) MUST_USE;
void out_abort(struct export_out *o); /* after a failure, also of out_begin */

/* export_text.c: cells as texts. Bytes that are not UTF-8 are written as \\xHH. */
void put_json_text(FILE *f, const char *text, size_t n);
void put_json_cell(FILE *f, const struct cell *c); /* "NaN" needs a real; NULL is null */
void put_csv_text(FILE *f, const char *text, size_t n);
void put_csv_cell(FILE *f, const struct cell *c);  /* NULL is empty, an empty text is "" */
void put_real(FILE *f, double x, const char *inf); /* shortest that reads back; inf: its word */
/* Within double quotes, ASCII alone: what no YAML reader takes for anything but this text. */
void put_yaml_text(FILE *f, const char *text, size_t n);

/* export_tables.c */
struct export_column {
    const char *name, *expr;
    int since; /* version of the schema; NULL before */
    int nan;   /* NULL is a NaN that SQLite cannot store */
};
struct export_table {
    const char *name, *from; /* from: FROM and WHERE with ?1 for the run, ORDER BY */
    int since;
    const struct export_column *columns; /* ends with a NULL name */
};
extern const struct export_table export_tables[];             /* ends with a NULL name */
const struct export_table *export_table_of(const char *name); /* NULL: none */
/* Rows of one run; NULL in a nan column comes as a real NaN. */
int export_table_rows(struct reader *r, const struct export_table *t, long long run,
                      const struct row_sink *sink, struct pesc_error *err) MUST_USE;

/* export_rows.c: one table of some runs into o->f, which is open. */
int export_csv(struct reader *r, const struct export_table *t, const struct export_job *job,
               struct export_out *o, long long *rows, struct pesc_error *err) MUST_USE;
int export_jsonl(struct reader *r, const struct export_table *t, const struct export_job *job,
                 struct export_out *o, long long *rows, struct pesc_error *err) MUST_USE;

int export_stopped(const struct export_job *job, struct pesc_error *err) MUST_USE; /* or 0 */

/* export_tensorboard.c, export_mlflow.c: job's runs into a folder. */
int export_tensorboard(struct reader *r, const struct export_job *job, struct export_out *o,
                       long long *rows, struct pesc_error *err) MUST_USE;
int export_mlflow(struct reader *r, const struct export_job *job, struct export_out *o,
                  long long *rows, struct pesc_error *err) MUST_USE;

#endif
