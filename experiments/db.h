/* The one home of writing SQLite: connection, lock, transactions, schema. Invariants:
 * 1. every write transaction, checkpoint and last close happens under DB".lock" (flock, dies with
 *    its process), because SQLite before 3.51.3 can lose commits when a checkpoint meets a commit
 *    (the WAL-reset bug);
 * 2. every write transaction is BEGIN IMMEDIATE and looks at application_id and user_version again;
 * 3. a file that is not ours is never changed. */
#ifndef EXPERIMENTS_DB_H
#define EXPERIMENTS_DB_H

#include "core/error.h"
#include "core/file.h"

#include <sqlite3.h>

struct db {
    sqlite3 *c;
    int lock; /* descriptor of DB".lock" */
    char path[PATH_CAP];
};

/* Opens for writing;creates file and schema when there is nothing yet, and
 * upgrades an older schema. E-DB (also "busy"),
 * E-DB-SCHEMA. On failure d is closed. */
int db_open(struct db *d, const char *path, struct pesc_error *err) MUST_USE;
void db_close(struct db *d);

/* Lock and BEGIN IMMEDIATE, waiting patience_ms at most in all; E-DB "... busy ...". */
int db_begin(struct db *d, int patience_ms, struct pesc_error *err) MUST_USE;
/* Ends the transaction and gives the lock back in every case. */
int db_commit(struct db *d, struct pesc_error *err) MUST_USE;
void db_rollback(struct db *d);

/* One statement with values by fmt: i long long, d double (NaN becomes NULL), s text or NULL. */
int db_run(struct db *d, struct pesc_error *err, const char *sql, const char *fmt, ...) MUST_USE;
/* The first column of the first row; *out stays as it is when there is none. */
int db_int(struct db *d, struct pesc_error *err, long long *out, const char *sql, const char *fmt,
           ...) MUST_USE;
/* Records what SQLite says; always -1. */
int db_fail(struct db *d, int rc, const char *what, struct pesc_error *err);

/* Under the lock, by db_open: an older schema of ours becomes this one, after a copy DB".vN.bak"
 * was made. Nothing to do for any other file. Whole or not at all. */
int db_upgrade(struct db *d, struct pesc_error *err) MUST_USE;

/* What the file is: 1 ours, 0 empty, -1 with E-DB-SCHEMA or E-DB. */
int db_probe(struct db *d, struct pesc_error *err);

#endif
