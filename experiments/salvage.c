#include "config.h"
#include "experiments/keep.h"

#include "experiments/schema.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Tables, what others refer to first, and the integers by which their rows lie in order: a place
 * that cannot be read is gone round from both sides, first by the first, then within it by the
 * next. */
enum { LEVELS = 4, VALUES_MAX = 4096, COLUMNS_CAP = 1024 };
static const struct table {
    const char *name, *by[LEVELS];
} tables[] = {
    {"experiment", {"rowid"}},
    {"env", {"rowid"}},
    {"model", {"rowid"}},
    {"crafted", {"rowid"}},
    {"dataset", {"rowid"}},
    {"run", {"rowid"}},
    {"segment", {"run_id", "seq"}},
    {"plan", {"run_id", "seq"}},
    {"run_dataset", {"run_id"}},
    {"param", {"run_id"}},
    {"tag", {"run_id"}},
    {"metric_key", {"rowid"}},
    {"metric", {"run_id", "key_id", "step"}},
    {"router_layer", {"run_id", "layer", "step"}},
    {"router_expert", {"run_id", "layer", "expert", "step"}},
    {"router_domain", {"run_id", "layer", "expert"}},
    {"router_domain_layer", {"run_id", "layer"}},
    {"router_eval", {"run_id", "step"}},
    {"router_eval_layer", {"run_id", "step"}},
    {"eval", {"rowid"}},
    {"artifact", {"rowid"}},
    {"pack", {"rowid"}},
    {"event", {"rowid"}},
};

struct salvage {
    struct db from, to;
    const struct table *t;
    char columns[COLUMNS_CAP];
    int n_columns;
    sqlite3_stmt *insert;
    struct salvaged out;
};

/* What a damaged page or file makes a statement say. */
static int is_damage(int rc)
{
    int kind = rc & 0xff;
    return kind == SQLITE_CORRUPT || kind == SQLITE_IOERR || kind == SQLITE_NOTADB;
}

/* Columns of the table that both have. */
static int find_columns(struct salvage *s, struct pesc_error *err)
{
    sqlite3_stmt *st = NULL, *has = NULL;
    size_t n = 0;
    s->n_columns = 0;
    s->columns[0] = 0;
    int rc = sqlite3_prepare_v2(s->to.c, "SELECT name FROM pragma_table_info(?1)", -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(st, 1, s->t->name, -1, SQLITE_STATIC);
    while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(st, 0);
        rc = sqlite3_prepare_v2(s->from.c, "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2",
                                -1, &has, NULL);
        if (rc == SQLITE_OK)
            rc = sqlite3_bind_text(has, 1, s->t->name, -1, SQLITE_STATIC);
        if (rc == SQLITE_OK)
            rc = sqlite3_bind_text(has, 2, name, -1, SQLITE_STATIC);
        if (rc == SQLITE_OK)
            rc = sqlite3_step(has);
        if (rc == SQLITE_ROW && n + strlen(name) + 4 < COLUMNS_CAP) {
            n += (size_t)sprintf(s->columns + n, ", \"%s\"", name);
            s->n_columns++;
        }
        sqlite3_finalize(has);
        if (rc == SQLITE_ROW || rc == SQLITE_DONE)
            rc = SQLITE_OK;
    }
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : db_fail(&s->from, rc, "read its tables", err);
}

static int prepare_insert(struct salvage *s, struct pesc_error *err)
{
    char sql[2 * COLUMNS_CAP];
    int n = snprintf(sql, sizeof sql, "INSERT OR IGNORE INTO %s(%s) VALUES(", s->t->name,
                     s->columns + 2);
    for (int i = 0; i < s->n_columns; i++)
        n += snprintf(sql + n, sizeof sql - (size_t)n, i ? ", ?" : "?");
    snprintf(sql + n, sizeof sql - (size_t)n, ")");
    int rc = sqlite3_prepare_v2(s->to.c, sql, -1, &s->insert, NULL);
    return rc == SQLITE_OK ? 0 : db_fail(&s->to, rc, "write", err);
}

/* A row whose columns begin behind the first. What breaks a constraint is damage, too. */
static int insert(struct salvage *s, sqlite3_stmt *row, struct pesc_error *err)
{
    int rc = SQLITE_OK;
    for (int i = 0; i < s->n_columns && rc == SQLITE_OK; i++)
        rc = sqlite3_bind_value(s->insert, i + 1, sqlite3_column_value(row, i + 1));
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s->insert);
    sqlite3_reset(s->insert);
    if (rc == SQLITE_DONE) {
        s->out.rows += sqlite3_changes(s->to.c);
        return 0;
    }
    if ((rc & 0xff) != SQLITE_CONSTRAINT)
        return db_fail(&s->to, rc, "write", err);
    s->out.holes++;
    return 0;
}

/* Rows with the first values of by as in at, and the next within after+1 .. last, one way or the
 * other. Copies them; *reached is how far it came. 1: to the end; 0: up to damage; -1. limit: so
 * many rows at most, 0: all. */
static int walk(struct salvage *s, int level, const long long *at, long long after, long long last,
                int back, int limit, long long *reached, struct pesc_error *err)
{
    char sql[2 * COLUMNS_CAP];
    sqlite3_stmt *st = NULL;
    const char *by = s->t->by[level];
    int n = snprintf(sql, sizeof sql, "SELECT %s%s FROM %s WHERE ", by, s->columns, s->t->name);
    for (int i = 0; i < level; i++)
        n += snprintf(sql + n, sizeof sql - (size_t)n, "%s = ?%d AND ", s->t->by[i], i + 3);
    snprintf(sql + n, sizeof sql - (size_t)n, "%s > ?1 AND %s <= ?2 ORDER BY %s %s", by, by, by,
             back ? "DESC" : "ASC");
    int rc = sqlite3_prepare_v2(s->from.c, sql, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(st, 1, after);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(st, 2, last);
    for (int i = 0; i < level && rc == SQLITE_OK; i++)
        rc = sqlite3_bind_int64(st, i + 3, at[i]);
    int copied = 0, stop = 0;
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(st);
        if (rc != SQLITE_ROW)
            break;
        *reached = sqlite3_column_int64(st, 0);
        copied++;
        stop = insert(s, st, err) != 0;
        if (stop || copied == limit)
            break;
    }
    if (!stop && rc != SQLITE_DONE && rc != SQLITE_ROW && !is_damage(rc))
        stop = db_fail(&s->from, rc, "read it", err) != 0;
    sqlite3_finalize(st);
    return stop ? -1 : rc == SQLITE_DONE || rc == SQLITE_ROW;
}

static int copy(struct salvage *s, int level, long long *at, struct pesc_error *err)
{
    long long pos = -1;
    for (;;) {
        long long gap, reached = pos;
        int rc = walk(s, level, at, pos, INT64_MAX, 0, 0, &reached, err);
        if (rc != 0)
            return rc < 0 ? -1 : 0;
        int deeper = level + 1 < LEVELS && s->t->by[level + 1];
        s->out.holes += !deeper;
        /* Where it can be read again. */
        for (gap = 1, rc = 0; rc == 0 && gap < 1LL << 40; gap *= 2) {
            long long there = 0;
            rc = walk(s, level, at, reached + gap, INT64_MAX, 0, 1, &there, err);
            if (rc == 1)
                break;
        }
        if (rc < 0)
            return -1;
        long long far = reached, end = rc == 1 ? reached + gap : INT64_MAX;
        if (walk(s, level, at, reached, end, 1, 0, &far, err) < 0)
            return -1;
        /* In between: value by value, within each by the next column. */
        long long upto = rc == 1 ? end : reached + VALUES_MAX;
        for (long long v = reached < 0 ? 0 : reached;
             deeper && v <= upto && v < reached + VALUES_MAX; v++) {
            at[level] = v;
            TRY(copy(s, level + 1, at, err));
        }
        if (rc != 1)
            return 0;
        pos = end;
    }
}

static int copy_table(struct salvage *s, const struct table *t, struct pesc_error *err)
{
    long long at[LEVELS] = {0};
    s->t = t;
    s->out = (struct salvaged){.table = t->name};
    TRY(find_columns(s, err));
    if (!s->n_columns) /* an older schema */
        return 0;
    TRY(prepare_insert(s, err));
    int rc = copy(s, 0, at, err);
    sqlite3_finalize(s->insert);
    s->insert = NULL;
    return rc;
}

/* What refers to rows that are lost. */
static int mend(struct db *d, struct pesc_error *err)
{
    static const char *const steps[] = {
        "INSERT OR IGNORE INTO experiment(id, name, created_ms) SELECT DISTINCT experiment_id,"
        " 'salvaged-' || experiment_id, created_ms FROM run"
        " WHERE experiment_id NOT IN (SELECT id FROM experiment)",
        "DELETE FROM crafted WHERE model_id NOT IN (SELECT id FROM model)",
        "UPDATE run SET crafted_id = NULL WHERE crafted_id NOT IN (SELECT id FROM crafted)",
        "UPDATE run SET model_id = NULL WHERE model_id NOT IN (SELECT id FROM model)",
        "UPDATE run SET parent_run_id = NULL WHERE parent_run_id NOT IN (SELECT id FROM run)",
        "DELETE FROM segment WHERE env_id NOT IN (SELECT id FROM env)",
        "DELETE FROM run_dataset WHERE dataset_id NOT IN (SELECT id FROM dataset)",
        "DELETE FROM metric WHERE key_id NOT IN (SELECT id FROM metric_key)",
        "UPDATE eval SET dataset_id = NULL WHERE dataset_id NOT IN (SELECT id FROM dataset)",
        "UPDATE pack SET run_id = NULL WHERE run_id NOT IN (SELECT id FROM run)",
        "UPDATE pack SET crafted_id = NULL WHERE crafted_id NOT IN (SELECT id FROM crafted)",
    };
    static const char *const of_runs[] = {"segment",       "plan",
                                          "run_dataset",   "param",
                                          "tag",           "metric",
                                          "router_layer",  "router_expert",
                                          "router_domain", "router_domain_layer",
                                          "router_eval",   "router_eval_layer",
                                          "eval",          "artifact",
                                          "event"};
    char sql[200];
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        TRY(db_run(d, err, steps[i], ""));
    for (size_t i = 0; i < sizeof of_runs / sizeof *of_runs; i++) {
        snprintf(sql, sizeof sql, "DELETE FROM %s WHERE run_id NOT IN (SELECT id FROM run)",
                 of_runs[i]);
        TRY(db_run(d, err, sql, ""));
    }
    return 0;
}

/* Read-only; where no log waits to be merged, not even an index of it is made beside it. */
static int open_damaged(struct db *d, const char *path, struct pesc_error *err)
{
    char wal[PATH_CAP + 8], uri[PATH_CAP * 3 + 64], *out = uri;
    struct stat st;
    long long app = 0;
    TRY(path_join(d->path, ".", path, err));
    snprintf(wal, sizeof wal, "%s-wal", d->path);
    out += sprintf(out, "file:");
    for (const unsigned char *p = (const unsigned char *)d->path; *p; p++)
        out += sprintf(out, (*p >= 'a' && *p <= 'z') || *p == '/' ? "%c" : "%%%02x", *p);
    if (stat(wal, &st) != 0 || st.st_size == 0)
        strcpy(out, "?immutable=1");
    int rc = sqlite3_open_v2(uri, &d->c, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    if (rc != SQLITE_OK)
        return db_fail(d, rc, "open it", err);
    struct pesc_error e = {0};
    if (db_int(d, &e, &app, "PRAGMA application_id", "") != 0 || app != SCHEMA_APPLICATION_ID ||
        db_int(d, &e, &app, "SELECT count(*) FROM sqlite_schema WHERE name = 'run'", "") != 0 ||
        app != 1)
        return FAIL(err, DB_SCHEMA,
                    "%s: its beginning cannot be read as a history; 'pesc runs rebuild' makes a "
                    "new one from the run folders",
                    path);
    sqlite3_exec(d->c, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;", NULL, NULL,
                 NULL);
    return 0;
}

static int run_all(struct salvage *s, void (*take)(void *ctx, const struct salvaged *s), void *ctx,
                   struct pesc_error *err)
{
    int rc = sqlite3_exec(s->to.c, "PRAGMA foreign_keys = OFF; BEGIN", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return db_fail(&s->to, rc, "begin", err);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        TRY(copy_table(s, &tables[i], err));
        if (s->n_columns)
            take(ctx, &s->out);
    }
    TRY(mend(&s->to, err));
    rc = sqlite3_exec(s->to.c, "COMMIT", NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : db_fail(&s->to, rc, "commit", err);
}

int keep_salvage(const char *db, const char *to, void (*take)(void *ctx, const struct salvaged *s),
                 void *ctx, struct pesc_error *err)
{
    struct salvage s = {.from.lock = -1, .to.lock = -1};
    char made[PATH_CAP], path[PATH_CAP + 8];
    if (path_exists(to))
        return FAIL(err, USAGE_EXISTS, "%s: is there already", to);
    if (snprintf(made, sizeof made, "%s.tmp-%ld", to, (long)getpid()) >= (int)sizeof made)
        return FAIL(err, LIMIT, "path too long: %.200s...", to);
    int rc = open_damaged(&s.from, db, err);
    if (rc == 0)
        rc = db_open(&s.to, made, err);
    if (rc == 0) {
        rc = run_all(&s, take, ctx, err);
        sqlite3_finalize(s.insert);
        db_close(&s.to);
    }
    sqlite3_close(s.from.c);
    if (rc == 0 && link(made, to) != 0)
        rc = errno == EEXIST ? FAIL(err, USAGE_EXISTS, "%s: is there already", to)
                             : file_fail(err, to, "make");
    static const char *const left[] = {"", ".lock", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        snprintf(path, sizeof path, "%s%s", made, left[i]);
        unlink(path);
    }
    return rc;
}
