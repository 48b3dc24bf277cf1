#include "config.h"
#include "experiments/labels.h"

#include "core/json.h"
#include "experiments/history.h"
#include "experiments/rundir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LABELS_MAX = 16 << 20, PATIENCE_MS = 10000 };

static int put_tag(struct db *d, long long id, const char *key, const char *value,
                   struct pesc_error *err)
{
    if (!value)
        return db_run(d, err, "DELETE FROM tag WHERE run_id = ?1 AND key = ?2", "is", id, key);
    return db_run(d, err,
                  "INSERT INTO tag(run_id, key, value) VALUES(?1, ?2, ?3)"
                  " ON CONFLICT DO UPDATE SET value = excluded.value",
                  "iss", id, key, value);
}

static int change_row(struct db *d, long long id, const struct label_change *c, long long t_ms,
                      struct pesc_error *err)
{
    if (c->name)
        TRY(db_run(d, err, "UPDATE run SET name = ?2 WHERE id = ?1", "is", id, c->name));
    if (c->note)
        TRY(db_run(d, err, "UPDATE run SET note = ?2 WHERE id = ?1", "is", id, c->note));
    for (long i = 0; i < c->n_tags; i++)
        TRY(put_tag(d, id, c->keys[i], c->values[i], err));
    if (!c->deletion)
        return 0;
    return db_run(d, err, "UPDATE run SET deleted_ms = nullif(?2, 0) WHERE id = ?1", "ii", id,
                  c->deletion > 0 ? t_ms : 0);
}

static int change_file(const char *dir, const struct label_change *c, long long t_ms,
                       struct pesc_error *err)
{
    char path[PATH_CAP];
    TRY(path_join(path, dir, "labels.json", err));
    json_t *o =
        path_exists(path) ? json_file(path, LABELS_MAX, PESC_E_CK_CORRUPT, err) : json_object();
    if (!o)
        return -1;
    json_t *old = json_object_get(o, "tags");
    json_t *tags = json_is_object(old) ? json_copy_whole(old) : json_object();
    if (c->name)
        json_put(&o, "name", json_text(c->name));
    if (c->note)
        json_put(&o, "note", json_text(c->note));
    for (long i = 0; i < c->n_tags; i++)
        if (c->values[i])
            json_put(&tags, c->keys[i], json_text(c->values[i]));
        else
            json_object_del(tags, c->keys[i]);
    json_put(&o, "tags", tags);
    if (c->deletion > 0)
        json_put(&o, "deleted_ms", json_integer((json_int_t)t_ms));
    if (c->deletion < 0)
        json_object_del(o, "deleted_ms");
    char *text = o ? json_canonical(o) : NULL;
    int rc =
        text ? file_write(path, text, strlen(text), err) : FAIL(err, MEMORY, "%s: no memory", path);
    free(text);
    json_decref(o);
    return rc;
}

int run_folder(struct db *d, long long id, char uuid[33], char *dir, struct pesc_error *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(d->c, "SELECT uuid, dir FROM run WHERE id = ?1", -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(st, 1, id);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        snprintf(uuid, 33, "%s", (const char *)sqlite3_column_text(st, 0));
        snprintf(dir, PATH_CAP, "%s", (const char *)sqlite3_column_text(st, 1));
    }
    sqlite3_finalize(st);
    if (rc == SQLITE_ROW)
        return 0;
    return rc == SQLITE_DONE ? FAIL(err, DB_RUN, "the run is not in %s any more", d->path)
                             : db_fail(d, rc, "look for a run", err);
}

int run_folder_holds(const char *dir, const char *uuid)
{
    json_t *run = *dir == '/' ? rundir_read_run(dir, NULL) : NULL;
    const char *its = json_string_value(json_object_get(run, "uuid"));
    int holds = its && !strcmp(its, uuid);
    json_decref(run);
    return holds;
}

int labels_change(struct db *d, long long run_id, const struct label_change *c,
                  struct pesc_error *folder, struct pesc_error *err)
{
    char uuid[33], dir[PATH_CAP];
    long long t_ms = history_now();
    TRY(db_begin(d, PATIENCE_MS, err));
    int rc = run_folder(d, run_id, uuid, dir, err);
    if (rc == 0)
        rc = change_row(d, run_id, c, t_ms, err);
    if (rc == 0 && !run_folder_holds(dir, uuid)) /* the lock keeps other changes of it away, too */
        FAIL(folder, IO_MISSING, "%s holds this run no more", dir);
    else if (rc == 0 && change_file(dir, c, t_ms, folder) != 0)
        folder->code = folder->code ? folder->code : PESC_E_IO;
    if (rc == 0)
        return db_commit(d, err);
    db_rollback(d);
    return rc;
}

int labels_read(struct db *d, long long run_id, const char *dir, struct pesc_error *err)
{
    char path[PATH_CAP];
    const char *key;
    json_t *value;
    TRY(path_join(path, dir, "labels.json", err));
    if (!path_exists(path))
        return 0;
    json_t *o = json_file(path, LABELS_MAX, PESC_E_CK_CORRUPT, err);
    if (!o)
        return -1;
    struct label_change c = {.name = json_string_value(json_object_get(o, "name")),
                             .note = json_string_value(json_object_get(o, "note"))};
    long long deleted = json_integer_value(json_object_get(o, "deleted_ms"));
    c.deletion = deleted ? 1 : -1;
    int rc = change_row(d, run_id, &c, deleted, err);
    if (rc == 0)
        rc = db_run(d, err, "DELETE FROM tag WHERE run_id = ?1", "i", run_id);
    json_object_foreach(json_object_get(o, "tags"), key, value)
    {
        if (rc == 0 && json_is_string(value))
            rc = put_tag(d, run_id, key, json_string_value(value), err);
    }
    json_decref(o);
    return rc;
}
