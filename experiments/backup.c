#include "config.h"
#include "experiments/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 10000 };

static int is_sound(struct db *d, struct pesc_error *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(d->c, "PRAGMA quick_check(1)", -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    int sound = rc == SQLITE_ROW && !strcmp((const char *)sqlite3_column_text(st, 0), "ok");
    sqlite3_finalize(st);
    if (sound)
        return 0;
    return rc == SQLITE_ROW || (rc & 0xff) == SQLITE_CORRUPT
               ? FAIL(err, DB, "the database is damaged: no backup; see 'pesc runs salvage'")
               : db_fail(d, rc, "check it", err);
}

/* In one step: with a write-ahead log readers hold up no writer, and nothing starts over. */
static int copy(struct db *from, struct db *to, struct pesc_error *err)
{
    sqlite3_backup *b = sqlite3_backup_init(to->c, "main", from->c, "main");
    if (!b)
        return db_fail(to, sqlite3_errcode(to->c), "copy into it", err);
    int rc = sqlite3_backup_step(b, -1);
    int ended = sqlite3_backup_finish(b);
    if (rc == SQLITE_DONE && ended == SQLITE_OK)
        return is_sound(to, err);
    if ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB)
        return FAIL(err, DB, "%s: the database is damaged: no backup; see 'pesc runs salvage'",
                    from->path);
    return db_fail((rc & 0xff) == SQLITE_FULL ? to : from, rc == SQLITE_DONE ? ended : rc,
                   "copy it", err);
}

int keep_backup(const char *db, const char *to, struct pesc_error *err)
{
    struct db from = {.lock = -1}, copied = {.lock = -1};
    int rc = -1, fd;
    if (path_exists(to))
        return FAIL(err, USAGE_EXISTS, "%s: is there already", to);
    TRY(path_join(from.path, ".", db, err));
    if (snprintf(copied.path, PATH_CAP, "%s.tmp-%ld", to, (long)getpid()) >= PATH_CAP)
        return FAIL(err, LIMIT, "path too long: %.200s...", to);
    unlink(copied.path); /* of a process of that number that died */
    int made = sqlite3_open_v2(from.path, &from.c, SQLITE_OPEN_READONLY, NULL);
    if (made != SQLITE_OK) {
        db_fail(&from, made, "open it", err);
        goto done;
    }
    sqlite3_busy_timeout(from.c, PATIENCE_MS);
    TRY_OR(db_probe(&from, err) == 1 ? 0 : FAIL(err, DB_SCHEMA, "%s: no history", db), done);
    made =
        sqlite3_open_v2(copied.path, &copied.c,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE, NULL);
    if (made != SQLITE_OK) {
        db_fail(&copied, made, "make it", err);
        goto done;
    }
    TRY_OR(copy(&from, &copied, err), done);
    rc = 0;
done:
    sqlite3_close(from.c);
    if (sqlite3_close(copied.c) != SQLITE_OK && rc == 0)
        rc = FAIL(err, DB, "%s: cannot be closed", copied.path);
    fd = rc == 0 ? open(copied.path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (rc == 0 && (fd < 0 || fsync(fd) != 0))
        rc = file_fail(err, copied.path, "flush");
    if (fd >= 0)
        close(fd);
    if (rc == 0 && link(copied.path, to) != 0) /* and never over another file */
        rc = errno == EEXIST ? FAIL(err, USAGE_EXISTS, "%s: is there already", to)
                             : file_fail(err, to, "make");
    unlink(copied.path);
    return rc;
}
