#include "config.h"
#include "experiments/db.h"

#include "experiments/history.h"
#include "experiments/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

enum { OPEN_PATIENCE_MS = 10000, CLOSE_PATIENCE_MS = 1000 };

static long long monotonic_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int db_fail(struct db *d, int rc, const char *what, struct pesc_error *err)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return FAIL(err, DB, "%s: busy, another program holds the database", d->path);
    case SQLITE_FULL:
        return FAIL(err, DB, "%s: cannot %s: the disk is full", d->path, what);
    case SQLITE_NOTADB:
        return FAIL(err, DB_SCHEMA, "%s: not a database", d->path);
    case SQLITE_NOMEM:
        return FAIL(err, MEMORY, "%s: cannot %s: no memory", d->path, what);
    default:
        return FAIL(err, DB, "%s: cannot %s: %s", d->path, what,
                    d->c ? sqlite3_errmsg(d->c) : sqlite3_errstr(rc));
    }
}

/* Locks across machines do not hold on these, and the write-ahead log needs shared memory. */
static int is_network(const char *dir)
{
    static const unsigned long types[] = {0x6969,     0xff534d42, 0xfe534d42, 0x01021997,
                                          0x65735546, 0x00c36400, 0x0bd00bd0, 0x19830326,
                                          0x47504653}; /* NFS CIFS SMB2 9p FUSE Ceph ... */
    struct statfs st;
    if (statfs(dir, &st) != 0)
        return 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (((unsigned long)st.f_type & 0xffffffffUL) == types[i])
            return 1;
    return 0;
}

/* Patience in small sleeps: a blocking flock could not be given up. */
static int lock_take(struct db *d, int patience_ms, struct pesc_error *err)
{
    long long end = monotonic_ms() + patience_ms;
    for (int nap = 1;; nap = nap < 4 ? nap * 2 : 4) {
        if (flock(d->lock, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return FAIL(err, DB, "%s.lock: cannot lock: %s", d->path, strerror(errno));
        if (monotonic_ms() >= end)
            return FAIL(err, DB, "%s: busy, another pesc holds its lock", d->path);
        nanosleep(&(struct timespec){0, nap * 1000000L}, NULL);
    }
}

static void lock_give(struct db *d)
{
    flock(d->lock, LOCK_UN);
}

static int bind_all(sqlite3_stmt *st, const char *fmt, va_list ap)
{
    int rc = SQLITE_OK;
    for (int i = 1; *fmt && rc == SQLITE_OK; fmt++, i++) {
        if (*fmt == 'i')
            rc = sqlite3_bind_int64(st, i, va_arg(ap, long long));
        else if (*fmt == 'd')
            rc = sqlite3_bind_double(st, i, va_arg(ap, double));
        else
            rc = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
    }
    return rc;
}

static int run_first(struct db *d, long long *out, const char *sql, const char *fmt, va_list ap,
                     struct pesc_error *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(d->c, sql, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = bind_all(st, fmt, ap);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(st);
        if (rc == SQLITE_ROW && out)
            *out = sqlite3_column_int64(st, 0);
        while (rc == SQLITE_ROW)
            rc = sqlite3_step(st);
    }
    int result = rc == SQLITE_DONE ? 0 : db_fail(d, rc, "use it", err);
    sqlite3_finalize(st);
    return result;
}

int db_run(struct db *d, struct pesc_error *err, const char *sql, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = run_first(d, NULL, sql, fmt, ap, err);
    va_end(ap);
    return rc;
}

int db_int(struct db *d, struct pesc_error *err, long long *out, const char *sql, const char *fmt,
           ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = run_first(d, out, sql, fmt, ap, err);
    va_end(ap);
    return rc;
}

int db_probe(struct db *d, struct pesc_error *err)
{
    long long app = 0, version = 0, objects = 0;
    TRY(db_int(d, err, &app, "PRAGMA application_id", ""));
    TRY(db_int(d, err, &version, "PRAGMA user_version", ""));
    if (app == SCHEMA_APPLICATION_ID && version == SCHEMA_VERSION)
        return 1;
    if (app == SCHEMA_APPLICATION_ID)
        return FAIL(err, DB_SCHEMA, "%s: schema version %lld, this program knows %d", d->path,
                    version, SCHEMA_VERSION);
    TRY(db_int(d, err, &objects, "SELECT count(*) FROM sqlite_schema", ""));
    if (app || version || objects)
        return FAIL(err, DB_SCHEMA, "%s: a database of some other program", d->path);
    return 0;
}

int db_begin(struct db *d, int patience_ms, struct pesc_error *err)
{
    long long end = monotonic_ms() + patience_ms;
    TRY(lock_take(d, patience_ms, err));
    long long left = end - monotonic_ms();
    sqlite3_busy_timeout(d->c, left > 0 ? (int)left : 0);
    int rc = sqlite3_exec(d->c, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        db_fail(d, rc, "begin", err);
        lock_give(d);
        return -1;
    }
    int state = db_probe(d, err);
    if (state == 1)
        return 0;
    if (state == 0)
        FAIL(err, DB_SCHEMA, "%s: emptied by another program", d->path);
    db_rollback(d);
    return -1;
}

void db_rollback(struct db *d)
{
    if (!sqlite3_get_autocommit(d->c))
        sqlite3_exec(d->c, "ROLLBACK", NULL, NULL, NULL);
    lock_give(d);
}

int db_commit(struct db *d, struct pesc_error *err)
{
    int rc = sqlite3_exec(d->c, "COMMIT", NULL, NULL, NULL);
    int result = rc == SQLITE_OK ? 0 : db_fail(d, rc, "commit", err);
    db_rollback(d);
    return result;
}

static int exec(struct db *d, const char *sql, struct pesc_error *err)
{
    int rc = sqlite3_exec(d->c, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : db_fail(d, rc, "set it up", err);
}

static int fill_new(struct db *d, struct pesc_error *err)
{
    char uuid[33];
    TRY(history_uuid(uuid, err));
    TRY(exec(d, schema_sql, err));
    return db_run(d, err,
                  "INSERT INTO meta(key, value) VALUES('db_uuid', ?1), ('min_reader', '1'),"
                  " ('min_writer', '1'), ('created_by', 'pesc ' || ?2)",
                  "ss", uuid, pesc_version());
}

/* Under the lock. Journal mode cannot change within a transaction, so the schema has one of its
 * own and looks again whether some other program was faster. */
static int create_if_empty(struct db *d, struct pesc_error *err)
{
    int state = db_probe(d, err);
    if (state != 0)
        return state == 1 ? 0 : -1;
    TRY(exec(d, "PRAGMA page_size = 4096; PRAGMA auto_vacuum = NONE; PRAGMA journal_mode = WAL;",
             err));
    TRY(exec(d, "BEGIN IMMEDIATE", err));
    state = db_probe(d, err);
    int rc = state < 0 ? -1 : state == 0 ? fill_new(d, err) : 0;
    if (rc == 0)
        rc = exec(d, "COMMIT", err);
    if (!sqlite3_get_autocommit(d->c))
        sqlite3_exec(d->c, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static int connect_to(struct db *d, struct pesc_error *err)
{
    int rc = sqlite3_open_v2(d->path, &d->c, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    if (rc != SQLITE_OK)
        return db_fail(d, rc, "open it", err);
    sqlite3_busy_timeout(d->c, 5000);
    rc = sqlite3_db_config(d->c, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (rc != SQLITE_OK)
        return db_fail(d, rc, "configure it", err);
    return exec(d,
                "PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;"
                "PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 16777216;"
                "PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;"
                "PRAGMA cache_size = -256;", /* KiB: a run's memory is not to grow by 2 MiB of it */
                err);
}

int db_open(struct db *d, const char *path, struct pesc_error *err)
{
    char dir[PATH_CAP], lock[PATH_CAP];
    struct stat st;
    *d = (struct db){.lock = -1};
    /* "./" keeps SQLite's special names (":memory:", "") out. */
    TRY(path_join(d->path, ".", path, err));
    TRY(path_join(dir, ".", d->path, err));
    *(char *)path_base(dir) = 0;
    if (snprintf(lock, sizeof lock, "%s.lock", d->path) >= (int)sizeof lock)
        return FAIL(err, DB, "path too long: %.200s...", path);
    if (stat(d->path, &st) == 0 && !S_ISREG(st.st_mode))
        return FAIL(err, DB, "%s: not a regular file", d->path);
    if (is_network(dir))
        return FAIL(err, DB, "%s: on a network file system, where SQLite cannot be shared",
                    d->path);
    d->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (d->lock < 0)
        return FAIL(err, DB, "%s: cannot open: %s", lock, strerror(errno));
    if (lock_take(d, OPEN_PATIENCE_MS, err) != 0) {
        close(d->lock);
        return -1;
    }
    int rc = connect_to(d, err);
    if (rc == 0)
        rc = db_upgrade(d, err);
    if (rc == 0)
        rc = create_if_empty(d, err);
    if (rc != 0) {
        sqlite3_close(d->c); /* under the lock */
        d->c = NULL;
        close(d->lock);
        return -1;
    }
    lock_give(d);
    return 0;
}

void db_close(struct db *d)
{
    if (!d->c)
        return;
    /* The last close checkpoints; without the lock it must not. */
    if (lock_take(d, CLOSE_PATIENCE_MS, NULL) != 0)
        sqlite3_db_config(d->c, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(d->c);
    d->c = NULL;
    close(d->lock);
    d->lock = -1;
}

const char *history_library(void)
{
    return sqlite3_libversion();
}
