#include "config.h"
#include "experiments/keep.h"

#include "experiments/history.h"

#include <string.h>

enum { PATIENCE_MS = 10000, CHUNK = 20000 };

/* ?1 run, ?2 key, ?3 stretches. */
static const char choose[] =
    "WITH b AS (SELECT step, value, ntile(?3) OVER (ORDER BY step) AS t FROM metric"
    "  WHERE run_id = ?1 AND key_id = ?2)"
    " INSERT OR IGNORE INTO temp.kept SELECT max(step) FROM b GROUP BY t"
    "  UNION ALL SELECT step FROM (SELECT step, row_number() OVER"
    "   (PARTITION BY t ORDER BY value, step) AS n FROM b WHERE value IS NOT NULL) WHERE n = 1"
    "  UNION ALL SELECT step FROM (SELECT step, row_number() OVER"
    "   (PARTITION BY t ORDER BY value DESC, step) AS n FROM b WHERE value IS NOT NULL) WHERE n = 1"
    "  UNION ALL SELECT min(step) FROM b WHERE value IS NULL GROUP BY t";

/* In transactions of so many rows, so that trainers come by. */
static int remove_others(struct db *d, long long id, long long key, struct pruned *out,
                         struct pesc_error *err)
{
    for (long long after = -1, last = -1;; after = last) {
        TRY(db_int(
            d, err, &last,
            "SELECT max(step) FROM (SELECT step FROM metric WHERE run_id = ?1 AND key_id = ?2"
            " AND step > ?3 ORDER BY step LIMIT ?4)",
            "iiii", id, key, after, (long long)CHUNK));
        if (last <= after)
            return 0;
        TRY(db_begin(d, PATIENCE_MS, err));
        int rc = db_run(d, err,
                        "DELETE FROM metric WHERE run_id = ?1 AND key_id = ?2 AND step > ?3"
                        " AND step <= ?4 AND step NOT IN (SELECT step FROM temp.kept)",
                        "iiii", id, key, after, last);
        long long gone = sqlite3_changes(d->c);
        if (rc == 0)
            rc = db_commit(d, err);
        else
            db_rollback(d);
        TRY(rc);
        out->metrics += gone;
    }
}

/* What stays is chosen without the lock: the run is at rest. */
static int thin_metrics(struct db *d, long long id, const struct prune *what, struct pruned *out,
                        struct pesc_error *err)
{
    long long key = 0;
    TRY(db_run(d, err, "CREATE TEMP TABLE kept(step INTEGER PRIMARY KEY)", ""));
    for (;;) {
        long long next = 0, n = 0, kept = 0;
        TRY(db_int(d, err, &next, "SELECT min(id) FROM metric_key WHERE id > ?1", "i", key));
        if (!next)
            return 0;
        key = next;
        TRY(db_int(d, err, &n, "SELECT count(*) FROM metric WHERE run_id = ?1 AND key_id = ?2",
                   "ii", id, key));
        if (n <= what->points)
            continue;
        TRY(db_run(d, err, "DELETE FROM temp.kept", ""));
        TRY(db_run(d, err, choose, "iii", id, key, (long long)what->points / 4));
        TRY(db_int(d, err, &kept, "SELECT count(*) FROM temp.kept", ""));
        if (what->dry)
            out->metrics += n - kept;
        else
            TRY(remove_others(d, id, key, out, err));
    }
}

static int drop_routers(struct db *d, long long id, const struct prune *what, struct pruned *out,
                        struct pesc_error *err)
{
    static const char *const rows[] = {
        "DELETE FROM router_expert WHERE run_id = ?1 AND step <"
        " (SELECT max(step) FROM router_expert WHERE run_id = ?1)",
        "DELETE FROM router_layer WHERE run_id = ?1 AND step <"
        " (SELECT max(step) FROM router_layer WHERE run_id = ?1)",
        "DELETE FROM router_domain WHERE run_id = ?1 AND step <"
        " (SELECT max(step) FROM router_domain WHERE run_id = ?1)",
        "DELETE FROM router_domain_layer WHERE run_id = ?1 AND step <"
        " (SELECT max(step) FROM router_domain_layer WHERE run_id = ?1)",
    };
    int rc = 0;
    TRY(db_begin(d, PATIENCE_MS, err));
    for (size_t i = 0; i < sizeof rows / sizeof *rows && rc == 0; i++) {
        rc = db_run(d, err, rows[i], "i", id);
        out->routers += rc == 0 ? sqlite3_changes(d->c) : 0;
    }
    if (rc == 0 && !what->dry)
        return db_commit(d, err);
    db_rollback(d);
    return rc;
}

static int prune(struct db *d, long long id, const struct prune *what, struct pruned *out,
                 struct pesc_error *err)
{
    char uuid[33], dir[PATH_CAP], path[PATH_CAP];
    long long running = 0, heard = 0;
    TRY(run_folder(d, id, uuid, dir, err));
    TRY(db_int(d, err, &running, "SELECT status = 'running' FROM run WHERE id = ?1", "i", id));
    TRY(db_int(d, err, &heard,
               "SELECT max(coalesce(ended_ms, 0), coalesce(heartbeat_ms, 0)) FROM"
               " run WHERE id = ?1",
               "i", id));
    TRY(path_join(path, dir, "metrics.jsonl", err));
    out->running = running != 0;
    out->no_log = !run_folder_holds(dir, uuid) || !path_exists(path);
    if (out->running || out->no_log)
        return 0;
    if (what->points)
        TRY(thin_metrics(d, id, what, out, err));
    if (what->router_days >= 0 && history_now() - heard > what->router_days * 86400000LL)
        TRY(drop_routers(d, id, what, out, err));
    return 0;
}

int keep_prune(const char *db, long long run_id, const struct prune *what, struct pruned *out,
               struct pesc_error *err)
{
    struct db d;
    *out = (struct pruned){0};
    TRY(db_open(&d, db, err));
    int rc = prune(&d, run_id, what, out, err);
    db_close(&d);
    return rc;
}
