/* Whether a history is sound, by SQLite itself, and how many rows its tables have: db_check
 * DATABASE */
#include "config.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static int show(void *ctx, int n, char **value, char **name)
{
    (void)ctx, (void)n, (void)name;
    puts(value[0]);
    return 0;
}

int main(int argc, char **argv)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    const char *const sql =
        "SELECT count(*) FROM run UNION ALL SELECT count(*) FROM segment UNION "
        "ALL SELECT count(*) FROM metric UNION ALL SELECT count(*) FROM "
        "router_layer UNION ALL SELECT count(*) FROM router_expert UNION ALL "
        "SELECT count(*) FROM router_domain UNION ALL SELECT count(*) FROM "
        "eval UNION ALL SELECT count(*) FROM artifact UNION ALL SELECT 'dropped' "
        "FROM event WHERE code = 'W-DB-DROPPED'";
    if (argc == 2 && sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW && !strcmp((const char *)sqlite3_column_text(st, 0), "ok")) {
        sqlite3_finalize(st);
        sqlite3_exec(db, sql, show, NULL, NULL);
        sqlite3_close(db);
        return 0;
    }
    puts(db ? sqlite3_errmsg(db) : "no database is named");
    sqlite3_finalize(st);
    sqlite3_close(db);
    return 1;
}
