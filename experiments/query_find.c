#include "config.h"
#include "experiments/query.h"

#include "core/file.h"
#include "experiments/rundir.h"

#include <stdio.h>
#include <string.h>

/* 1 found, 0 none, -1 several or failure. */
static int one_run(struct reader *r, const char *text, const char *sql, const char *arg,
                   int deleted, long long *id, struct pesc_error *err)
{
    struct rows rows;
    TRY(query_rows(r, &rows, err, sql, "si", arg, (long long)deleted));
    int found = rows.n_rows > 0;
    if (found)
        *id = cell_int(rows_at(&rows, 0, 0));
    if (rows.n_rows > 1)
        found = FAIL(err, DB_RUN, "'%s' means several runs: %.8s, %.8s%s; give more of the uuid",
                     text, cell_text(rows_at(&rows, 0, 1)), cell_text(rows_at(&rows, 1, 1)),
                     rows.n_rows > 2 ? ", ..." : "");
    rows_free(&rows);
    return found;
}

/* ?2: deleted ones. */
#define RUNS "SELECT id, uuid FROM run WHERE (deleted_ms IS NOT NULL) = ?2 AND "
#define NEWEST " ORDER BY created_ms DESC, id DESC"

static int by_folder(struct reader *r, const char *dir, int deleted, long long *id,
                     struct pesc_error *err)
{
    char real[PATH_CAP];
    struct pesc_error why = {0};
    if (!path_is_dir(dir))
        return 0;
    json_t *run = rundir_read_run(dir, &why);
    if (run) {
        char uuid[33];
        snprintf(uuid, sizeof uuid, "%s", json_string_value(json_object_get(run, "uuid")));
        json_decref(run);
        int found = one_run(r, dir, RUNS "uuid = ?1", uuid, deleted, id, err);
        return found ? found : FAIL(err, DB_RUN, "%s: run %.8s is not in the database", dir, uuid);
    }
    if (why.code == PESC_E_MEMORY) {
        *err = why;
        return -1;
    }
    if (path_real(real, dir, &why) != 0)
        return 0;
    return one_run(r, dir, RUNS "dir = ?1" NEWEST " LIMIT 1", real, deleted, id, err);
}

static int find(struct reader *r, const char *text, int deleted, long long *id,
                struct pesc_error *err)
{
    int found;
    if (!strcmp(text, "latest") || !strcmp(text, "-1")) {
        found = one_run(r, text, RUNS "?1 IS NOT NULL" NEWEST " LIMIT 1", text, deleted, id, err);
    } else {
        found = one_run(r, text, RUNS "uuid = ?1", text, deleted, id, err);
        if (found == 0)
            found = one_run(r, text, RUNS "name = ?1" NEWEST, text, deleted, id, err);
        if (found == 0)
            found = by_folder(r, text, deleted, id, err);
        if (found == 0 && *text && strspn(text, "0123456789abcdef") == strlen(text))
            found = one_run(r, text, RUNS "uuid GLOB ?1 || '*'" NEWEST, text, deleted, id, err);
    }
    if (found == 0)
        return deleted ? FAIL(err, DB_RUN, "no deleted run '%s'", text)
                       : FAIL(err, DB_RUN, "no run '%s'; see 'pesc runs list'", text);
    return found > 0 ? 0 : -1;
}

int query_find_run(struct reader *r, const char *text, long long *id, struct pesc_error *err)
{
    return find(r, text, 0, id, err);
}

int query_find_deleted(struct reader *r, const char *text, long long *id, struct pesc_error *err)
{
    return find(r, text, 1, id, err);
}
