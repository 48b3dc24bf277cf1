/* Reading the history. Every statement, ours and the user's, runs behind the same fence: opened
 * read-only, query_only, an authorizer that lets only SELECT, READ, FUNCTION (no load_extension)
 * and RECURSIVE through, SQLite's own limits, 10 s of work, a million rows, one statement. */
#ifndef EXPERIMENTS_QUERY_H
#define EXPERIMENTS_QUERY_H

#include "core/error.h"

struct reader;
/* E-DB when there is none, E-DB-SCHEMA when it is not ours or needs a newer reader. */
int reader_open(const char *path, struct reader **out, struct pesc_error *err) MUST_USE;
long long reader_version(const struct reader *r); /* of the schema; may be older than ours */
void reader_close(struct reader *r);              /* NULL is fine */
/* For exports, once or again: until it is closed every statement sees one state of the database, and time and rows
 * have no limit. The rest of the fence stays. */
int reader_snapshot(struct reader *r, struct pesc_error *err) MUST_USE;

enum cell_kind { CELL_NULL, CELL_INT, CELL_REAL, CELL_TEXT, CELL_BLOB };
struct cell {
    enum cell_kind kind;
    long long i;
    double d;
    const char *text; /* text (zero-terminated) or bytes */
    size_t n;
};

/* Where rows go. A callback that fails (-1, with err) ends the query; row may return 1 to end it
 * early without an error. */
struct row_sink {
    void *ctx;
    int (*head)(void *ctx, int n, const char *const *names, struct pesc_error *err);
    int (*row)(void *ctx, int n, const struct cell *cells, struct pesc_error *err);
};

/* Values by fmt: i long long, s text. E-DB-QUERY with SQLite's words. */
int query_run(struct reader *r, const struct row_sink *sink, struct pesc_error *err,
              const char *sql, const char *fmt, ...) MUST_USE;

/* The same with values in an array; those without text are numbers, whole unless is_real. */
struct query_value {
    const char *text;
    long long number;
    int is_real;
    double real;
};
int query_run_values(struct reader *r, const struct row_sink *sink, struct pesc_error *err,
                     const char *sql, const struct query_value *v, int n) MUST_USE;

/* A small result as a whole. cells: [n_rows * n_cols]; texts belong to it. */
struct rows {
    int n_cols;
    long n_rows, cap;
    char **names;
    struct cell *cells;
};
int query_rows(struct reader *r, struct rows *out, struct pesc_error *err, const char *sql,
               const char *fmt, ...) MUST_USE;
void rows_free(struct rows *rows);
const struct cell *rows_at(const struct rows *rows, long row, int col);
long long cell_int(const struct cell *c);    /* 0 for NULL */
double cell_real(const struct cell *c);      /* NaN for NULL */
const char *cell_text(const struct cell *c); /* "" when it is no text */

/* The run that text means: "latest", "-1", a uuid, a name, a run folder, or the start of a uuid.
 * E-DB-RUN when there is none or several. */
int query_find_run(struct reader *r, const char *text, long long *id,
                   struct pesc_error *err) MUST_USE;
/* The same among runs that are deleted. */
int query_find_deleted(struct reader *r, const char *text, long long *id,
                       struct pesc_error *err) MUST_USE;

#endif
