/* Which runs to list, in which columns and order: from users' words to SQL with bound values. */
#ifndef PESC_CLI_RUNS_FILTER_H
#define PESC_CLI_RUNS_FILTER_H

#include "cli/cmd.h"
#include "experiments/query.h"

enum { FILTER_VALUES = 96, FILTER_SQL = 24576, FILTER_COLUMNS = 40, FILTER_DEPTH = 16 };
struct filter {
    char sql[FILTER_SQL];
    size_t n;
    struct query_value v[FILTER_VALUES];
    int n_values;
    char *texts[FILTER_VALUES]; /* that values point to */
    int n_texts;
};
void filter_free(struct filter *f);

/* Adds text to the SQL; E-LIMIT when there is no room. */
int filter_add(struct filter *f, struct pesc_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4))) MUST_USE;
/* Adds "?N" for a value. */
int filter_text(struct filter *f, const char *text, size_t n, struct pesc_error *err) MUST_USE;
int filter_number(struct filter *f, double x, struct pesc_error *err) MUST_USE;

/* Adds a column's expression, of run r and v_run v: one of the names that "runs list --help" tells,
 * or param:KEY, metric:NAME (its last value), tag:KEY, eval:TASK/METRIC (its last value).
 * E-USAGE-VALUE. */
int filter_column(struct filter *f, const char *name, size_t n, struct pesc_error *err) MUST_USE;
/* The same as a number: NULL where it is none, or NaN. */
int filter_as_number(struct filter *f, const char *name, size_t n, struct pesc_error *err) MUST_USE;
/* Adds a condition: NAME OP VALUE, joined by and, or, not and parentheses; NAME a column, also as
 * params.KEY, metrics.NAME, tags.KEY or evals.TASK/METRIC; OP = != < <= > >= like; VALUE a number,
 * a word or 'text'. */
int filter_where(struct filter *f, const char *text, struct pesc_error *err) MUST_USE;

#endif
