/* From older schemas to this program's. */
#include "config.h"
#include "experiments/db.h"

#include "experiments/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* steps[v - 1] goes from version v to v + 1; what schema.sql makes must come out. */
static const char *const steps[SCHEMA_VERSION - 1] = {
    "ALTER TABLE run_dataset ADD COLUMN records INTEGER;"
    "ALTER TABLE run_dataset ADD COLUMN reasons TEXT NOT NULL DEFAULT '{}';"
    "ALTER TABLE run_dataset ADD COLUMN truncated INTEGER;"
    "ALTER TABLE run_dataset ADD COLUMN split INTEGER;"
    "ALTER TABLE run_dataset ADD COLUMN pieces_dropped INTEGER;"
    "ALTER TABLE run_dataset ADD COLUMN samples INTEGER;"
    "ALTER TABLE run_dataset ADD COLUMN trained_tokens INTEGER;"
    "PRAGMA user_version = 2;",
    "CREATE TABLE plan( "
    "run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, seq INTEGER NOT NULL, "
    "budget_bytes INTEGER, "
    "peak_bytes INTEGER NOT NULL, disk_bytes INTEGER NOT NULL, traffic_bytes INTEGER NOT NULL, "
    "tokens_per_s REAL, seconds REAL, "
    "terms TEXT NOT NULL, places TEXT NOT NULL, "
    "real_peak_bytes INTEGER, real_tokens_per_s REAL, real_seconds REAL, "
    "PRIMARY KEY(run_id,seq)) STRICT, WITHOUT ROWID; "
    "CREATE VIEW v_plan AS SELECT r.uuid, r.name AS run, p.seq, p.budget_bytes, p.peak_bytes, "
    "p.real_peak_bytes, round(100.0*p.peak_bytes/p.real_peak_bytes-100, 2) AS peak_error, "
    "p.tokens_per_s, p.real_tokens_per_s, "
    "round(100.0*p.real_tokens_per_s/p.tokens_per_s-100, 2) AS step_error, "
    "p.seconds, p.real_seconds, p.disk_bytes, p.traffic_bytes, p.terms, p.places "
    "FROM plan p JOIN run r ON r.id=p.run_id WHERE r.deleted_ms IS NULL; "
    "PRAGMA user_version = 3;",
    "ALTER TABLE router_layer ADD COLUMN top1 REAL;"
    "ALTER TABLE router_layer ADD COLUMN tokens INTEGER;"
    "ALTER TABLE router_expert ADD COLUMN first REAL;"
    "ALTER TABLE router_domain ADD COLUMN prob REAL;"
    "ALTER TABLE router_domain ADD COLUMN first REAL;"
    "ALTER TABLE eval ADD COLUMN lo REAL;"
    "ALTER TABLE eval ADD COLUMN hi REAL;"
    "CREATE TABLE router_domain_layer( "
    "run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, layer INTEGER NOT NULL, "
    "domain TEXT NOT NULL, step INTEGER NOT NULL, entropy REAL, top1 REAL, tokens INTEGER, "
    "PRIMARY KEY(run_id,layer,domain,step)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE router_eval( "
    "run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, step INTEGER NOT NULL, "
    "task TEXT NOT NULL, domain TEXT NOT NULL, layer INTEGER NOT NULL, expert INTEGER NOT NULL, "
    "load REAL, prob REAL, first REAL, "
    "PRIMARY KEY(run_id,step,task,domain,layer,expert)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE router_eval_layer( "
    "run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, step INTEGER NOT NULL, "
    "task TEXT NOT NULL, domain TEXT NOT NULL, layer INTEGER NOT NULL, "
    "entropy REAL, top1 REAL, tokens INTEGER, "
    "PRIMARY KEY(run_id,step,task,domain,layer)) STRICT, WITHOUT ROWID;"
    "DROP VIEW v_router;"
    "CREATE VIEW v_router AS SELECT r.uuid, x.run_id, r.name AS run, x.layer, x.step, "
    "max(x.load)*count(*) AS max_over_mean, min(x.load)*count(*) AS min_over_mean, "
    "sum(x.load < 0.1/(SELECT c.n_experts FROM crafted c WHERE c.id=r.crafted_id)) AS "
    "dead_experts, "
    "max(x.first)*count(*) AS first_max_over_mean, "
    "l.entropy, l.top1, l.aux_loss, l.tokens "
    "FROM router_expert x JOIN run r ON r.id=x.run_id "
    "LEFT JOIN router_layer l ON l.run_id=x.run_id AND l.layer=x.layer AND l.step=x.step "
    "GROUP BY x.run_id, x.layer, x.step;"
    "CREATE VIEW v_router_domain AS SELECT r.uuid, x.run_id, r.name AS run, x.layer, x.domain, "
    "x.step, "
    "max(x.load)*count(*) AS max_over_mean, min(x.load)*count(*) AS min_over_mean, "
    "sum(x.load < 0.1/(SELECT c.n_experts FROM crafted c WHERE c.id=r.crafted_id)) AS "
    "dead_experts, "
    "max(x.first)*count(*) AS first_max_over_mean, "
    "l.entropy, l.top1, l.tokens "
    "FROM router_domain x JOIN run r ON r.id=x.run_id "
    "LEFT JOIN router_domain_layer l ON l.run_id=x.run_id AND l.layer=x.layer AND "
    "l.domain=x.domain "
    "AND l.step=x.step "
    "GROUP BY x.run_id, x.layer, x.domain, x.step;"
    "CREATE VIEW v_router_eval AS SELECT r.uuid, x.run_id, r.name AS run, x.task, x.domain, "
    "x.layer, "
    "x.step, max(x.load)*count(*) AS max_over_mean, min(x.load)*count(*) AS min_over_mean, "
    "sum(x.load < 0.1/(SELECT c.n_experts FROM crafted c WHERE c.id=r.crafted_id)) AS "
    "dead_experts, "
    "max(x.first)*count(*) AS first_max_over_mean, "
    "l.entropy, l.top1, l.tokens "
    "FROM router_eval x JOIN run r ON r.id=x.run_id "
    "LEFT JOIN router_eval_layer l ON l.run_id=x.run_id AND l.step=x.step AND l.task=x.task "
    "AND l.domain=x.domain AND l.layer=x.layer "
    "GROUP BY x.run_id, x.step, x.task, x.domain, x.layer;"
    "CREATE VIEW v_eval AS SELECT r.uuid, r.id AS run_id, r.name AS run, e.step, e.task, e.metric, "
    "coalesce(e.value,'NaN') AS value, e.lo, e.hi, e.stderr, e.n, e.config, "
    "datetime(e.t_ms/1000,'unixepoch') AS at "
    "FROM eval e JOIN run r ON r.id=e.run_id WHERE r.deleted_ms IS NULL;"
    "CREATE VIEW v_event AS SELECT r.uuid, r.id AS run_id, r.name AS run, e.step, e.level, e.code, "
    "e.text, datetime(e.t_ms/1000,'unixepoch') AS at "
    "FROM event e JOIN run r ON r.id=e.run_id WHERE r.deleted_ms IS NULL;"
    "PRAGMA user_version = 4;"};

/* Ours and older: which version; else 0. */
static int older(struct db *d, long long *version, struct pesc_error *err)
{
    long long app = 0;
    *version = 0;
    TRY(db_int(d, err, &app, "PRAGMA application_id", ""));
    TRY(db_int(d, err, version, "PRAGMA user_version", ""));
    if (app != SCHEMA_APPLICATION_ID || *version < 1 || *version >= SCHEMA_VERSION)
        *version = 0;
    return 0;
}

/* The database as it is, whole and on disk, beside it. */
static int back_up(struct db *d, long long version, struct pesc_error *err)
{
    char to[PATH_CAP], tmp[PATH_CAP], dir[PATH_CAP];
    if (snprintf(to, sizeof to, "%s.v%lld.bak", d->path, version) >= (int)sizeof to ||
        snprintf(tmp, sizeof tmp, "%s.tmp-%ld", to, (long)getpid()) >= (int)sizeof tmp)
        return FAIL(err, DB, "path too long: %.200s...", d->path);
    unlink(tmp);
    int rc = db_run(d, err, "VACUUM INTO ?1", "s", tmp);
    int fd = rc == 0 ? open(tmp, O_RDONLY | O_CLOEXEC) : -1;
    if (rc == 0 && (fd < 0 || fsync(fd) != 0 || rename(tmp, to) != 0))
        rc = FAIL(err, DB, "%s: cannot be kept before the upgrade: %s", to, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (rc != 0) {
        unlink(tmp);
        return rc;
    }
    TRY(path_join(dir, ".", d->path, err));
    *(char *)path_base(dir) = 0;
    return dir_sync(dir, err);
}

int db_upgrade(struct db *d, struct pesc_error *err)
{
    long long version, now;
    TRY(older(d, &version, err));
    if (!version)
        return 0;
    TRY(back_up(d, version, err));
    int rc = sqlite3_exec(d->c, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return db_fail(d, rc, "upgrade it", err);
    int result = older(d, &now, err);
    for (; result == 0 && now && now < SCHEMA_VERSION; now++) {
        rc = sqlite3_exec(d->c, steps[now - 1], NULL, NULL, NULL);
        if (rc != SQLITE_OK)
            result = db_fail(d, rc, "upgrade it", err);
    }
    if (result == 0) {
        rc = sqlite3_exec(d->c, "COMMIT", NULL, NULL, NULL);
        if (rc != SQLITE_OK)
            result = db_fail(d, rc, "upgrade it", err);
    }
    if (!sqlite3_get_autocommit(d->c))
        sqlite3_exec(d->c, "ROLLBACK", NULL, NULL, NULL);
    return result;
}
