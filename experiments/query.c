#include "config.h"
#include "experiments/query.h"

#include "core/file.h"
#include "experiments/rundir.h"
#include "experiments/schema.h"

#include <math.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROW_CAP = 1000000, WORK_MS = 10000, COLUMN_CAP = 200 };

struct reader {
    sqlite3 *c;
    long long work_left, step_started; /* ms; counts only while SQLite works */
    long long version;
    int snapshot; /* no limits of time and rows */
    char path[PATH_CAP];
};

static long long monotonic_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int out_of_time(void *ctx)
{
    struct reader *r = ctx;
    return !r->snapshot && monotonic_ms() - r->step_started > r->work_left;
}

static int authorize(void *ctx, int action, const char *a, const char *b, const char *c,
                     const char *d)
{
    (void)ctx, (void)a, (void)c, (void)d;
    if (action == SQLITE_SELECT || action == SQLITE_READ || action == SQLITE_RECURSIVE)
        return SQLITE_OK;
    if (action == SQLITE_FUNCTION && b && sqlite3_stricmp(b, "load_extension"))
        return SQLITE_OK;
    return SQLITE_DENY;
}

/* Only what SQLite itself would not bound tightly enough for a stranger's query. */
static void set_limits(sqlite3 *c)
{
    static const int limits[][2] = {
        {SQLITE_LIMIT_LENGTH, 16 << 20},          {SQLITE_LIMIT_SQL_LENGTH, 100000},
        {SQLITE_LIMIT_COLUMN, COLUMN_CAP},        {SQLITE_LIMIT_EXPR_DEPTH, 200},
        {SQLITE_LIMIT_COMPOUND_SELECT, 100},      {SQLITE_LIMIT_VDBE_OP, 250000},
        {SQLITE_LIMIT_FUNCTION_ARG, 50},          {SQLITE_LIMIT_ATTACHED, 0},
        {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000}, {SQLITE_LIMIT_WORKER_THREADS, 0},
    };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        sqlite3_limit(c, limits[i][0], limits[i][1]);
}

static int ask_int(sqlite3 *c, const char *sql, long long *out)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(c, sql, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *out = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int connect_to(struct reader *r, const char *name, long long *app)
{
    int rc = sqlite3_open_v2(name, &r->c, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(r->c, 2000);
    if (rc == SQLITE_OK)
        rc = ask_int(r->c, "PRAGMA application_id", app);
    return rc;
}

/* "file:" name of a path, so that no character of it has a meaning. */
static void uri_of(char *out, const char *path, const char *tail)
{
    out += sprintf(out, "file:");
    for (const unsigned char *p = (const unsigned char *)path; *p; p++)
        out += sprintf(out, (*p >= 'a' && *p <= 'z') || *p == '/' ? "%c" : "%%%02x", *p);
    strcpy(out, tail);
}

/* On read-only media the log's shared index cannot be made; an empty log needs none. */
static int connect_somehow(struct reader *r, long long *app, struct pesc_error *err)
{
    char uri[PATH_CAP * 3 + 64], wal[PATH_CAP + 8];
    struct stat st;
    uri_of(uri, r->path, "");
    int rc = connect_to(r, uri, app);
    int kind = rc & 0xff;
    if (kind == SQLITE_CANTOPEN || kind == SQLITE_READONLY) {
        snprintf(wal, sizeof wal, "%s-wal", r->path);
        if (stat(wal, &st) == 0 && st.st_size > 0)
            return FAIL(err, DB,
                        "%s: the folder is read-only and the database has unmerged changes (%s);"
                        " copy both elsewhere to read them",
                        r->path, path_base(wal));
        sqlite3_close(r->c);
        r->c = NULL;
        uri_of(uri, r->path, "?immutable=1");
        rc = connect_to(r, uri, app);
    }
    if ((rc & 0xff) == SQLITE_NOTADB)
        return FAIL(err, DB_SCHEMA, "%s: not a database", r->path);
    if ((rc & 0xff) == SQLITE_NOMEM)
        return FAIL(err, MEMORY, "%s: no memory to open it", r->path);
    if (rc != SQLITE_OK)
        return FAIL(err, DB, "%s: cannot open: %s", r->path,
                    r->c ? sqlite3_errmsg(r->c) : sqlite3_errstr(rc));
    return 0;
}

static int check_schema(struct reader *r, long long app, struct pesc_error *err)
{
    long long version = 0, min_reader = 0;
    if (app != SCHEMA_APPLICATION_ID)
        return FAIL(err, DB_SCHEMA, "%s: not a history of pesc", r->path);
    int rc = ask_int(r->c, "PRAGMA user_version", &version);
    if (rc == SQLITE_OK && version > SCHEMA_VERSION)
        rc = ask_int(r->c, "SELECT value FROM meta WHERE key = 'min_reader'", &min_reader);
    if ((rc & 0xff) == SQLITE_NOMEM)
        return FAIL(err, MEMORY, "%s: no memory to read it", r->path);
    if (rc != SQLITE_OK)
        return FAIL(err, DB, "%s: cannot read: %s", r->path, sqlite3_errmsg(r->c));
    if (version < 1 ||
        (version > SCHEMA_VERSION && (min_reader < 1 || min_reader > SCHEMA_VERSION)))
        return FAIL(err, DB_SCHEMA, "%s: schema version %lld, this program knows %d", r->path,
                    version, SCHEMA_VERSION);
    r->version = version;
    return 0;
}

long long reader_version(const struct reader *r)
{
    return r->version;
}

int reader_open(const char *path, struct reader **out, struct pesc_error *err)
{
    long long app = 0;
    struct stat st;
    struct reader *r = calloc(1, sizeof *r);
    if (!r)
        return FAIL(err, MEMORY, "no memory to read the history");
    TRY_OR(path_join(r->path, ".", path, err), fail);
    if (stat(r->path, &st) != 0) {
        FAIL(err, DB, "%s: no history there", path);
        goto fail;
    }
    if (!S_ISREG(st.st_mode)) {
        FAIL(err, DB, "%s: not a regular file", path);
        goto fail;
    }
    TRY_OR(connect_somehow(r, &app, err), fail);
    TRY_OR(check_schema(r, app, err), fail);
    if (sqlite3_exec(r->c,
                     "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;"
                     "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;",
                     NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_db_config(r->c, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL) != SQLITE_OK ||
        sqlite3_set_authorizer(r->c, authorize, r) != SQLITE_OK) {
        if ((sqlite3_errcode(r->c) & 0xff) == SQLITE_NOMEM)
            FAIL(err, MEMORY, "%s: no memory to open it", path);
        else
            FAIL(err, DB, "%s: cannot open safely: %s", path, sqlite3_errmsg(r->c));
        goto fail;
    }
    set_limits(r->c);
    sqlite3_progress_handler(r->c, 5000, out_of_time, r);
    *out = r;
    return 0;
fail:
    reader_close(r);
    return -1;
}

void reader_close(struct reader *r)
{
    if (!r)
        return;
    sqlite3_close(r->c);
    free(r);
}

static int query_fail(struct reader *r, int rc, struct pesc_error *err)
{
    switch (rc & 0xff) {
    case SQLITE_INTERRUPT:
        return FAIL(err, DB_QUERY, "stopped after %d s", WORK_MS / 1000);
    case SQLITE_AUTH:
        return FAIL(err, DB_QUERY, "%s: a query may only SELECT", sqlite3_errmsg(r->c));
    case SQLITE_BUSY:
        return FAIL(err, DB, "%s: busy, another program holds the database", r->path);
    case SQLITE_NOMEM:
        return FAIL(err, MEMORY, "no memory for a query");
    default:
        return FAIL(err, DB_QUERY, "%s", sqlite3_errmsg(r->c));
    }
}

int reader_snapshot(struct reader *r, struct pesc_error *err)
{
    if (r->snapshot)
        return 0;
    sqlite3_set_authorizer(r->c, NULL, NULL);
    int rc = sqlite3_exec(r->c, "BEGIN; SELECT count(*) FROM meta;", NULL, NULL, NULL);
    int fenced = sqlite3_set_authorizer(r->c, authorize, r);
    r->snapshot = rc == SQLITE_OK && fenced == SQLITE_OK;
    return r->snapshot ? 0 : query_fail(r, rc != SQLITE_OK ? rc : fenced, err);
}

/* Prepares the one statement of sql; anything but comments behind it is refused. */
static int prepare_only(struct reader *r, const char *sql, sqlite3_stmt **st,
                        struct pesc_error *err)
{
    const char *tail = sql;
    sqlite3_stmt *next = NULL;
    *st = NULL;
    while (*tail) {
        int rc = sqlite3_prepare_v2(r->c, tail, -1, &next, &tail);
        if (rc != SQLITE_OK)
            query_fail(r, rc, err);
        else if (next && *st)
            rc = FAIL(err, DB_QUERY, "more than one statement");
        else if (next)
            *st = next;
        if (rc != SQLITE_OK) {
            if (next != *st)
                sqlite3_finalize(next);
            sqlite3_finalize(*st);
            *st = NULL;
            return -1;
        }
    }
    if (!*st)
        return FAIL(err, DB_QUERY, "no statement");
    if (sqlite3_column_count(*st) > 0 && sqlite3_stmt_readonly(*st))
        return 0;
    sqlite3_finalize(*st);
    *st = NULL;
    return FAIL(err, DB_QUERY, "a query may only SELECT");
}

/* -1 without memory. */
static int column(sqlite3_stmt *st, int i, struct cell *out)
{
    struct cell c = {.kind = CELL_NULL};
    switch (sqlite3_column_type(st, i)) {
    case SQLITE_INTEGER:
        c.kind = CELL_INT;
        c.i = sqlite3_column_int64(st, i);
        break;
    case SQLITE_FLOAT:
        c.kind = CELL_REAL;
        c.d = sqlite3_column_double(st, i);
        break;
    case SQLITE_TEXT:
        c.kind = CELL_TEXT;
        c.text = (const char *)sqlite3_column_text(st, i);
        break;
    case SQLITE_BLOB:
        c.kind = CELL_BLOB;
        c.text = sqlite3_column_blob(st, i);
        break;
    }
    if (c.kind == CELL_TEXT || c.kind == CELL_BLOB) {
        c.n = (size_t)sqlite3_column_bytes(st, i);
        if (!c.text && (c.kind == CELL_TEXT || c.n > 0))
            return -1;
        if (!c.text)
            c.text = "";
    }
    *out = c;
    return 0;
}

static int step_all(struct reader *r, sqlite3_stmt *st, const struct row_sink *sink,
                    struct pesc_error *err)
{
    const char *names[COLUMN_CAP];
    struct cell cells[COLUMN_CAP];
    int n = sqlite3_column_count(st);
    if (n > COLUMN_CAP)
        return FAIL(err, DB_QUERY, "more than %d columns", COLUMN_CAP);
    for (int i = 0; i < n; i++)
        if (!(names[i] = sqlite3_column_name(st, i)))
            return FAIL(err, MEMORY, "no memory for a query");
    TRY(sink->head(sink->ctx, n, names, err));
    r->work_left = WORK_MS;
    for (long count = 0;; count++) {
        r->step_started = monotonic_ms();
        int rc = sqlite3_step(st);
        r->work_left -= monotonic_ms() - r->step_started;
        if (rc == SQLITE_DONE)
            return 0;
        if (rc != SQLITE_ROW)
            return query_fail(r, rc, err);
        if (count == ROW_CAP && !r->snapshot)
            return FAIL(err, DB_QUERY, "stopped after %d rows; add a LIMIT", ROW_CAP);
        for (int i = 0; i < n; i++)
            if (column(st, i, &cells[i]) != 0)
                return FAIL(err, MEMORY, "no memory for a query");
        int taken = sink->row(sink->ctx, n, cells, err);
        if (taken != 0)
            return taken > 0 ? 0 : -1;
    }
}

static int run_va(struct reader *r, const struct row_sink *sink, const char *sql, const char *fmt,
                  va_list ap, struct pesc_error *err)
{
    sqlite3_stmt *st;
    r->work_left = WORK_MS; /* preparing may already run SQL of the schema */
    r->step_started = monotonic_ms();
    TRY(prepare_only(r, sql, &st, err));
    int rc = SQLITE_OK;
    for (int i = 1; *fmt && rc == SQLITE_OK; fmt++, i++)
        rc = *fmt == 'i' ? sqlite3_bind_int64(st, i, va_arg(ap, long long))
                         : sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
    int result = rc == SQLITE_OK ? step_all(r, st, sink, err) : query_fail(r, rc, err);
    sqlite3_finalize(st);
    return result;
}

int query_run_values(struct reader *r, const struct row_sink *sink, struct pesc_error *err,
                     const char *sql, const struct query_value *v, int n)
{
    sqlite3_stmt *st;
    r->work_left = WORK_MS;
    r->step_started = monotonic_ms();
    TRY(prepare_only(r, sql, &st, err));
    int rc = SQLITE_OK;
    for (int i = 0; i < n && rc == SQLITE_OK; i++)
        rc = v[i].text      ? sqlite3_bind_text(st, i + 1, v[i].text, -1, SQLITE_TRANSIENT)
             : v[i].is_real ? sqlite3_bind_double(st, i + 1, v[i].real)
                            : sqlite3_bind_int64(st, i + 1, v[i].number);
    int result = rc == SQLITE_OK ? step_all(r, st, sink, err) : query_fail(r, rc, err);
    sqlite3_finalize(st);
    return result;
}

int query_run(struct reader *r, const struct row_sink *sink, struct pesc_error *err,
              const char *sql, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = run_va(r, sink, sql, fmt, ap, err);
    va_end(ap);
    return rc;
}

static int keep_head(void *ctx, int n, const char *const *names, struct pesc_error *err)
{
    struct rows *out = ctx;
    out->names = calloc((size_t)n, sizeof *out->names);
    for (int i = 0; out->names && i < n; i++) {
        out->n_cols = i + 1;
        if (!(out->names[i] = strdup(names[i])))
            return FAIL(err, MEMORY, "no memory for a query");
    }
    return out->names ? 0 : FAIL(err, MEMORY, "no memory for a query");
}

static int keep_row(void *ctx, int n, const struct cell *cells, struct pesc_error *err)
{
    struct rows *out = ctx;
    if (out->n_rows == out->cap) {
        long cap = out->cap ? out->cap * 2 : 16;
        struct cell *grown = realloc(out->cells, (size_t)cap * (size_t)n * sizeof *grown);
        if (!grown)
            return FAIL(err, MEMORY, "no memory for a query");
        out->cells = grown;
        out->cap = cap;
    }
    struct cell *to = out->cells + out->n_rows * n;
    out->n_rows++;
    for (int i = 0; i < n; i++)
        to[i] = (struct cell){.kind = cells[i].kind, .i = cells[i].i, .d = cells[i].d};
    for (int i = 0; i < n; i++) {
        if (cells[i].kind != CELL_TEXT && cells[i].kind != CELL_BLOB)
            continue;
        char *copy = malloc(cells[i].n + 1);
        if (!copy)
            return FAIL(err, MEMORY, "no memory for a query");
        memcpy(copy, cells[i].text, cells[i].n);
        copy[cells[i].n] = 0;
        to[i].text = copy;
        to[i].n = cells[i].n;
    }
    return 0;
}

int query_rows(struct reader *r, struct rows *out, struct pesc_error *err, const char *sql,
               const char *fmt, ...)
{
    struct row_sink sink = {out, keep_head, keep_row};
    va_list ap;
    *out = (struct rows){0};
    va_start(ap, fmt);
    int rc = run_va(r, &sink, sql, fmt, ap, err);
    va_end(ap);
    if (rc != 0)
        rows_free(out);
    return rc;
}

void rows_free(struct rows *rows)
{
    for (long i = 0; i < rows->n_rows * rows->n_cols; i++)
        free((char *)rows->cells[i].text);
    for (int i = 0; i < rows->n_cols; i++)
        free(rows->names[i]);
    free(rows->cells);
    free(rows->names);
    *rows = (struct rows){0};
}

const struct cell *rows_at(const struct rows *rows, long row, int col)
{
    return &rows->cells[row * rows->n_cols + col];
}

long long cell_int(const struct cell *c)
{
    return c->kind == CELL_INT ? c->i : c->kind == CELL_REAL ? (long long)c->d : 0;
}

const char *cell_text(const struct cell *c)
{
    return c->kind == CELL_TEXT ? c->text : "";
}

double cell_real(const struct cell *c)
{
    return c->kind == CELL_REAL ? c->d : c->kind == CELL_INT ? (double)c->i : NAN;
}
