#include "config.h"
#include "core/file.h"
#include "core/hash.h"
#include "experiments/history.h"
#include "experiments/query.h"
#include "tests/tap.h"
#include "tests/unit/old_history.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/pesc-history-XXXXXX";
static const char UUID[] = "0123456789abcdef0123456789abcdef";

static const char *at(const char *name)
{
    static char path[PATH_CAP];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

/* One value by SQLite itself; text of the first column, "(none)" without a row. */
static const char *ask(const char *db, const char *sql)
{
    enum { N = 16384 };
    static char out[4][N];
    static int turn;
    char *to = out[turn++ % 4];
    sqlite3 *c = NULL;
    sqlite3_stmt *st = NULL;
    snprintf(to, N, "(none)");
    if (sqlite3_open_v2(at(db), &c, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_busy_timeout(c, 5000) == SQLITE_OK &&
        sqlite3_prepare_v2(c, sql, -1, &st, NULL) == SQLITE_OK) {
        if (sqlite3_step(st) == SQLITE_ROW)
            snprintf(to, N, "%s",
                     sqlite3_column_text(st, 0) ? (const char *)sqlite3_column_text(st, 0)
                                                : "NULL");
    } else {
        snprintf(to, N, "error: %s", sqlite3_errmsg(c));
    }
    sqlite3_finalize(st);
    sqlite3_close(c);
    return to;
}

static struct history_run a_run(void)
{
    static const struct history_dataset data[] = {{.sha256 = "d1",
                                                   .name = "one",
                                                   .path = "/data/one.jsonl",
                                                   .format = "alpaca",
                                                   .role = "train",
                                                   .bytes = 100,
                                                   .records = 12,
                                                   .used = 10,
                                                   .skipped = 2,
                                                   .reasons = "{\"empty\":2}",
                                                   .weight = 3,
                                                   .truncated = 1,
                                                   .split = 4,
                                                   .pieces_dropped = 5,
                                                   .samples = 11,
                                                   .tokens = 345,
                                                   .trained_tokens = 300},
                                                  {.sha256 = "d2",
                                                   .name = "two",
                                                   .format = "text",
                                                   .role = "valid",
                                                   .records = 3,
                                                   .used = 3}};
    static const char *const keys[] = {"lr", "top_k"}, *const values[] = {"2e-4", "2"};
    return (struct history_run){.experiment = "trial",
                                .name = "first",
                                .dir = "/runs/first",
                                .cmdline = "pesc train",
                                .config = "lr: 2e-4\n",
                                .config_sha256 = "c0",
                                .seed = 42,
                                .steps_planned = 120,
                                .threads = 2,
                                .plan = {.peak = 3 << 20,
                                         .disk = 10,
                                         .traffic = 20,
                                         .tokens_per_s = 50,
                                         .seconds = 100,
                                         .places = "{\"spill\":true}"},
                                .env = {.host = "box",
                                        .cpu_model = "cpu",
                                        .isa = "avx2",
                                        .os = "Linux",
                                        .git_commit = "abc123-dirty",
                                        .compiler = "gcc",
                                        .libs = "{}",
                                        .cores = 2},
                                .model = {.fingerprint = "f0",
                                          .name = "tiny",
                                          .arch = "llama",
                                          .dtype = "F32",
                                          .n_layers = 2,
                                          .hidden = 64,
                                          .vocab = 256,
                                          .n_params = 1000},
                                .crafted = {.config_sha256 = "k0",
                                            .n_experts = 8,
                                            .top_k = 2,
                                            .adapter_dim = 64,
                                            .n_trainable = 500,
                                            .seed = 42},
                                .datasets = data,
                                .n_datasets = 2,
                                .param_keys = keys,
                                .param_values = values,
                                .n_params = 2};
}

static void test_rows(void)
{
    struct pesc_error err = {0};
    struct history *h = NULL;
    struct history_run r = a_run();
    char uuid[33], name[] = "note", text[] = "first line";
    ok(history_open(at("a.db"), &h, &err) == 0, "a new database opens %s", err.text);
    if (!h)
        return;
    ok(history_uuid(uuid, &err) == 0 && strspn(uuid, "0123456789abcdef") == 32, "uuid");
    is_str(ask("a.db", "PRAGMA application_id"), "1346720579", "application_id");
    is_str(ask("a.db", "PRAGMA user_version"), "4", "user_version");
    is_str(ask("a.db", "PRAGMA journal_mode"), "wal", "write-ahead log");
    ok(history_run_start(h, UUID, &r, &err) == 0, "run starts %s", err.text);
    history_metric(h, "train/loss", 1, 2.5);
    history_metric(h, "train/loss", 2, NAN);
    history_metric(h, "train/loss", 3, INFINITY);
    history_metric(h, "train/loss", 4, -INFINITY);
    history_metric(h, "train/loss", 5, 2.25);
    history_metric(h, "valid/loss", 5, 2.0);
    for (int e = 0; e < 8; e++) {
        history_router_expert(h, 0, e, 5, e == 7 ? 0.001 : 0.999 / 7, 0.125);
        history_router_domain(h, 0, e, "code", 5, 0.125);
    }
    history_router_layer(h, 0, 5, 1.9, 1.1);
    history_event(h, 3, "shouting", name, text);
    strcpy(name, "gone"); /* texts are copied */
    strcpy(text, "gone");
    history_eval(h, 5,
                 &(struct history_score){"arc", "accuracy", 0.5, NAN, -INFINITY, NAN, 100, NULL});
    history_artifact(h, "checkpoint", "/runs/first/ckpt/5", 5, "aa", 1234);
    history_progress(h, 5, 5000);
    is_long(history_queued(h), 26, "rows wait");
    is_str(ask("a.db", "SELECT count(*) FROM metric"), "0", "nothing written before a flush");
    ok(history_flush(h, &err) == 0, "flush %s", err.text);
    is_long(history_queued(h), 0, "queue is empty");
    is_str(ask("a.db", "SELECT count(*) FROM metric"), "6", "metrics written");
    is_str(ask("a.db", "SELECT value FROM metric WHERE step=1"), "2.5", "value");
    is_str(ask("a.db", "SELECT value IS NULL FROM metric WHERE step=2"), "1", "NaN is NULL");
    is_str(ask("a.db", "SELECT value FROM metric WHERE step=3"), "Inf", "+Inf");
    is_str(ask("a.db", "SELECT value FROM metric WHERE step=4"), "-Inf", "-Inf");
    is_str(ask("a.db", "SELECT value FROM v_metric WHERE step=2"), "NaN", "v_metric says NaN");
    is_str(ask("a.db", "SELECT level||code||text FROM event"), "infonotefirst line", "event");
    is_str(ask("a.db",
               "SELECT stderr IS NULL AND n=100 AND lo=-9e999 AND hi IS NULL AND config='{}' FROM"
               " eval"),
           "1", "eval");
    is_str(ask("a.db", "SELECT dead_experts FROM v_router"), "1", "v_router sees the dead expert");
    is_str(ask("a.db", "SELECT count(*) FROM router_domain WHERE domain='code'"), "8", "domains");
    is_str(ask("a.db", "SELECT state||bytes FROM artifact"), "complete1234", "artifact");
    is_str(ask("a.db", "SELECT steps||' '||base||' '||moe||' '||train_loss||' '||best_valid"
                       " FROM v_run"),
           "5/120 tiny 8x64 top2 2.25 2.0", "v_run");
    is_str(ask("a.db", "SELECT git_commit||git_dirty FROM env"), "abc1231", "dirty tree");
    is_str(ask("a.db", "SELECT used||' '||skipped||' '||tokens FROM run_dataset"
                       " WHERE role='train'"),
           "10 2 345", "data counts");
    history_metric(h, "train/loss", 1, 2.75);
    is_str(ask("a.db", "SELECT budget_bytes IS NULL AND real_seconds IS NULL FROM v_plan"), "1",
           "a plan without a budget, and no outcome yet");
    history_outcome(h, 2 << 20, 40, 110);
    ok(history_run_end(h, "finished", 0, NULL, &err) == 0, "run ends %s", err.text);
    is_str(ask("a.db", "SELECT peak_error || ' ' || step_error || ' ' || real_seconds || places"
                       " FROM v_plan WHERE run = 'first' AND seq = 1"),
           "50.0 -20.0 110.0{\"spill\":true}", "plan against outcome");
    is_str(ask("a.db", "SELECT value FROM metric WHERE step=1"), "2.75", "logged again: replaced");
    is_str(ask("a.db", "SELECT status||exit_code FROM run"), "finished0", "status");
    is_str(ask("a.db", "SELECT end_step||reason FROM segment"), "5finished", "segment");
    struct history_pack p = {.digest = "dd",
                             .name = "p",
                             .version = "1",
                             .run_uuid = UUID,
                             .model_fingerprint = "f0",
                             .path = "/p.pescpack"};
    ok(history_pack(h, &p, &err) == 0, "pack %s", err.text);
    p.path = "/elsewhere.pescpack";
    ok(history_pack(h, &p, &err) == 0, "the same pack again");
    is_str(ask("a.db", "SELECT count(*)||path FROM pack"), "1/elsewhere.pescpack", "one pack");
    is_str(ask("a.db", "SELECT pack||' '||run_name||' '||base||' '||trained_on||' '||code"
                       " FROM v_lineage"),
           "p@1 first tiny one d1 abc123+", "lineage");
    const struct history_score arc[] = {
        {"arc", "accuracy", 0.75, 0.1, 0.5, 0.9, 200, "{\"limit\":200}"},
        {"arc", "accuracy_norm", NAN, NAN, 0.25, INFINITY, 200, NULL}};
    ok(history_eval_of(h, UUID, 5, 86400000, arc, 2, &err) == 0, "eval of a run");
    is_str(ask("a.db", "SELECT count(*)||' '||value||' '||lo||' '||hi||' '||config FROM eval"
                       " WHERE metric='accuracy'"),
           "1 0.75 0.5 0.9 {\"limit\":200}", "eval replaced");
    is_str(ask("a.db", "SELECT value||' '||lo||' '||(hi=9e999)||' '||at FROM v_eval"
                       " WHERE metric='accuracy_norm'"),
           "NaN 0.25 1 1970-01-02 00:00:00", "with the values that are no numbers");
    ok(history_eval_of(h, "ffff", 1, 1, arc, 1, &err) == -1 && err.code == PESC_E_DB_RUN,
       "eval of an unknown run is refused");
    history_close(h);
}

static void test_routers(void)
{
    struct pesc_error err = {0};
    struct history *h = NULL;
    struct history_run r = a_run();
    static const double load[] = {0.5, 0.25, 0.25}, prob[] = {0.4, 0.35, NAN}, first[] = {1, 0, 0};
    struct history_router m = {3, 3, NULL, 1.5, 1.25, 0.75, 96, load, prob, first}, list[2];
    if (!ok(history_open(at("o.db"), &h, &err) == 0, "open"))
        return;
    ok(history_run_start(h, UUID, &r, &err) == 0, "start");
    history_router(h, 5, &m);
    history_router_eval(h, 5, "held out", &m);
    m.domain = "code";
    history_router(h, 5, &m);
    history_router_eval(h, 5, "held out", &m);
    is_long(history_queued(h), 16, "a row of the layer and of each expert");
    ok(history_flush(h, &err) == 0, "flush %s", err.text);
    is_str(ask("o.db", "SELECT layer||' '||entropy||' '||aux_loss||' '||top1||' '||tokens"
                       " FROM router_layer"),
           "3 1.5 1.25 0.75 96", "a layer");
    is_str(ask("o.db", "SELECT group_concat(layer||':'||expert||' '||load||' '||"
                       "coalesce(prob,'-')||' '||first) FROM router_expert"),
           "3:0 0.5 0.4 1.0,3:1 0.25 0.35 0.0,3:2 0.25 - 0.0", "its experts; NaN is NULL");
    is_str(ask("o.db", "SELECT domain||layer||' '||entropy||' '||top1||' '||tokens"
                       " FROM router_domain_layer"),
           "code3 1.5 0.75 96", "a layer of a domain");
    is_str(ask("o.db", "SELECT group_concat(domain||expert||' '||load||' '||coalesce(prob,'-')||"
                       "' '||first) FROM router_domain"),
           "code0 0.5 0.4 1.0,code1 0.25 0.35 0.0,code2 0.25 - 0.0", "its experts");
    is_str(ask("o.db", "SELECT group_concat(domain||'/'||step||task||layer||' '||entropy||' '||"
                       "top1||' '||tokens) FROM router_eval_layer"),
           "/5held out3 1.5 0.75 96,code/5held out3 1.5 0.75 96", "layers of an evaluation");
    is_str(ask("o.db", "SELECT group_concat(expert||domain||' '||load||' '||first)"
                       " FROM router_eval WHERE expert < 2 AND step = 5 AND task = 'held out'"),
           "0 0.5 1.0,1 0.25 0.0,0code 0.5 1.0,1code 0.25 0.0", "their experts");
    list[0] = list[1] = m;
    list[0].domain = NULL, list[0].tokens = 7;
    list[1].domain = "chat", list[1].tokens = 8;
    ok(history_router_eval_of(h, UUID, 5, "held out", list, 2, &err) == 0, "outside of training %s",
       err.text);
    is_str(ask("o.db", "SELECT count(*)||' '||sum(tokens) FROM router_eval_layer"), "2 15",
           "replaces what was there");
    ok(history_router_eval_of(h, "ffff", 5, "t", list, 2, &err) == -1 && err.code == PESC_E_DB_RUN,
       "of an unknown run it is refused");
    history_close(h);
}

static void test_refused_row(void)
{
    struct pesc_error err = {0};
    struct history *h = NULL;
    struct history_run r = a_run();
    if (!ok(history_open(at("t.db"), &h, &err) == 0, "open"))
        return;
    ok(history_run_start(h, UUID, &r, &err) == 0, "start");
    ask("t.db", "CREATE TRIGGER no BEFORE INSERT ON metric WHEN new.step = 2 BEGIN"
                " SELECT raise(ABORT, 'no'); END");
    for (long s = 1; s <= 3; s++)
        history_metric(h, "train/loss", s, 1.0);
    ok(history_flush(h, &err) == 0, "a row that cannot be written holds nothing up %s", err.text);
    is_str(ask("t.db", "SELECT group_concat(step) FROM metric"), "1,3", "the others are there");
    is_str(ask("t.db", "SELECT level||' '||code||' '||text FROM event"),
           "warn W-DB-DROPPED 1 rows are missing here; metrics.jsonl has them", "and it is said");
    history_close(h);
}

static void test_resume(void)
{
    struct pesc_error err = {0};
    struct history *h = NULL;
    struct history_run r = a_run();
    if (!ok(history_open(at("r.db"), &h, &err) == 0, "open"))
        return;
    ok(history_run_start(h, UUID, &r, &err) == 0, "start");
    for (long s = 1; s <= 10; s++) {
        history_metric(h, "train/loss", s, 1.0);
        history_router_expert(h, 0, 0, s, 1, 1);
        history_router_layer(h, 0, s, 1, 1);
        history_router_domain(h, 0, 0, "x", s, 1);
        history_router(h, s, &(struct history_router){.domain = "x", .tokens = s});
    }
    history_progress(h, 10, 100);
    history_close(h); /* without run_end: as if killed, rows flushed */
    h = NULL;
    ok(history_open(at("r.db"), &h, &err) == 0, "open again");
    r.start_step = 6;
    r.resumed_from = "ckpt-6";
    ok(history_run_start(h, UUID, &r, &err) == 0, "resume %s", err.text);
    is_str(ask("r.db", "SELECT (SELECT max(step) FROM metric)||' '||(SELECT max(step) FROM"
                       " router_expert)||' '||(SELECT max(step) FROM router_layer)||' '||"
                       "(SELECT max(step) FROM router_domain)||' '||"
                       "(SELECT max(step) FROM router_domain_layer)"),
           "6 6 6 6 6", "rows past the checkpoint are gone");
    is_str(ask("r.db", "SELECT count(*) FROM metric"), "6", "rows before it stay");
    is_str(ask("r.db", "SELECT status||' '||last_step FROM run"), "running 6", "running again");
    is_str(ask("r.db", "SELECT group_concat(seq||':'||start_step||':'||coalesce(end_step,'-')||"
                       "':'||coalesce(reason,'-'),' ') FROM segment"),
           "1:0:10:killed 2:6:-:-", "segments tell");
    is_str(ask("r.db", "SELECT count(*) FROM run"), "1", "one run");
    is_str(ask("r.db", "SELECT resumes FROM v_run"), "1", "v_run counts resumes");
    history_close(h);
}

static void wait_all(pid_t *pid, int n, int *failed)
{
    *failed = 0;
    for (int i = 0; i < n; i++) {
        int status;
        if (pid[i] < 0 || waitpid(pid[i], &status, 0) < 0 || !WIFEXITED(status) ||
            WEXITSTATUS(status))
            ++*failed;
    }
}

/* All wait at a pipe, so that they start together. */
static int many(int n, const char *db, long rows)
{
    pid_t pid[64];
    int gate[2], failed;
    if (pipe(gate) != 0)
        return -1;
    for (int i = 0; i < n; i++) {
        pid[i] = fork();
        if (pid[i] != 0)
            continue;
        struct pesc_error err = {0};
        struct history *h = NULL;
        char c, uuid[33];
        close(gate[1]);
        if (read(gate[0], &c, 1) != 0 || history_open(at(db), &h, &err) != 0) {
            diag("open: %s", err.text);
            _exit(1);
        }
        if (rows) {
            struct history_run r = a_run();
            if (history_uuid(uuid, &err) != 0 || history_run_start(h, uuid, &r, &err) != 0) {
                diag("start: %s", err.text);
                _exit(1);
            }
            for (long s = 0; s < rows; s++) {
                history_metric(h, "train/loss", s, (double)s);
                if (s % 50 == 49 && history_flush(h, &err) != 0)
                    err = (struct pesc_error){0}; /* stays queued */
            }
            while (history_flush(h, NULL) != 0)
                ;
            if (history_run_end(h, "finished", 0, NULL, &err) != 0)
                _exit(1);
        }
        history_close(h);
        _exit(0);
    }
    close(gate[0]);
    close(gate[1]);
    wait_all(pid, n, &failed);
    return failed;
}

static void test_many(void)
{
    is_long(many(24, "race.db", 0), 0, "24 processes open a fresh database at once");
    is_str(ask("race.db", "SELECT count(*) FROM meta"), "4", "its schema was made once");
    is_long(many(4, "four.db", 1000), 0, "4 processes write");
    is_str(ask("four.db", "SELECT count(*)||' '||sum(value) FROM metric"), "4000 1998000.0",
           "4 x 1000 rows, none lost");
    is_str(ask("four.db", "PRAGMA integrity_check"), "ok", "integrity");
    is_str(ask("four.db", "SELECT count(*)||' '||sum(status='finished') FROM run"), "4 4",
           "all ended");
}

static void test_busy(void)
{
    struct pesc_error err = {0};
    struct history *h = NULL;
    struct history_run r = a_run();
    sqlite3 *other = NULL;
    if (!ok(history_open(at("b.db"), &h, &err) == 0, "open"))
        return;
    ok(history_run_start(h, UUID, &r, &err) == 0, "start");
    history_metric(h, "train/loss", 1, 1.0);
    sqlite3_open(at("b.db"), &other);
    ok(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL) == SQLITE_OK, "a foreign holder");
    ok(history_flush(h, &err) == -1 && err.code == PESC_E_DB && strstr(err.text, "busy"),
       "flush reports busy: %s", err.text);
    is_long(history_queued(h), 1, "the row is kept");
    history_metric(h, "train/loss", 2, 2.0);
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    ok(history_flush(h, NULL) == -1, "still busy");
    clock_gettime(CLOCK_MONOTONIC, &b);
    double waited = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
    ok(waited < 0.5, "but does not wait again (%.3f s)", waited);
    sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(other);
    memset(&err, 0, sizeof err);
    ok(history_flush(h, &err) == 0, "then it succeeds %s", err.text);
    is_str(ask("b.db", "SELECT count(*) FROM metric"), "2", "both rows arrived");
    history_close(h);
}

/* Another pesc in the middle of a transaction: its flock on the lock file. */
static void test_lock(void)
{
    struct pesc_error err = {0};
    struct history *h = NULL;
    struct history_run r = a_run();
    if (!ok(history_open(at("l.db"), &h, &err) == 0, "open"))
        return;
    ok(history_run_start(h, UUID, &r, &err) == 0, "start");
    history_metric(h, "train/loss", 1, 1.0);
    int fd = open(at("l.db.lock"), O_RDWR | O_CLOEXEC);
    ok(fd >= 0 && flock(fd, LOCK_EX) == 0, "another holds the lock file");
    ok(history_flush(h, &err) == -1 && err.code == PESC_E_DB && strstr(err.text, "busy"),
       "no transaction without the lock: %s", err.text);
    is_str(ask("l.db", "SELECT count(*) FROM metric"), "0", "nothing was written");
    history_close(h);
    ok(path_exists(at("l.db-wal")), "closing without the lock leaves the log unmerged");
    close(fd);
    is_str(ask("l.db", "SELECT count(*) FROM run"), "1", "nothing is lost by that");
}

static void make(const char *name, const char *sql)
{
    sqlite3 *c = NULL;
    sqlite3_open(at(name), &c);
    sqlite3_exec(c, sql, NULL, NULL, NULL);
    sqlite3_close(c);
}

static void refused(const char *name, int code, const char *what)
{
    struct pesc_error err = {0};
    struct history *h = NULL;
    char before[65] = "", after[65] = "";
    if (path_exists(at(name)) && hash_file(at(name), before, NULL, &err) != 0)
        diag("%s", err.text);
    ok(history_open(at(name), &h, &err) == -1 && err.code == code, "%s: refused: %s", what,
       err.text);
    err = (struct pesc_error){0};
    if (*before && hash_file(at(name), after, NULL, &err) != 0)
        diag("%s", err.text);
    is_str(after, before, "and left as it was");
    err = (struct pesc_error){0};
    struct reader *r = NULL;
    ok(reader_open(at(name), &r, &err) == -1 && err.code == code, "reader too: %s", err.text);
    reader_close(r);
    history_close(h);
}

static void test_foreign(void)
{
    struct pesc_error err = {0};
    struct history *h = NULL;
    make("other.db", "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    refused("other.db", PESC_E_DB_SCHEMA, "another program's database");
    make("new.db", "PRAGMA application_id=0x50455343; PRAGMA user_version=99;"
                   "CREATE TABLE meta(key, value); INSERT INTO meta VALUES('min_reader', '99')");
    refused("new.db", PESC_E_DB_SCHEMA, "a newer schema");
    int fd = open(at("text.db"), O_WRONLY | O_CREAT, 0600);
    for (int i = 0; fd >= 0 && i < 100; i++)
        if (write(fd, "this is not a database\n", 23) != 23)
            break;
    close(fd);
    refused("text.db", PESC_E_DB_SCHEMA, "a text file");
    ok(history_open(at("none/x.db"), &h, &err) == -1 && err.code == PESC_E_DB, "no folder: %s",
       err.text);
    /* A newer program changes the file while we have it open. */
    struct history_run r = a_run();
    err = (struct pesc_error){0};
    ok(history_open(at("later.db"), &h, &err) == 0, "open");
    make("later.db", "PRAGMA user_version=5; UPDATE meta SET value='1' WHERE key='min_reader'");
    ok(history_run_start(h, UUID, &r, &err) == -1 && err.code == PESC_E_DB_SCHEMA,
       "written no more after a migration: %s", err.text);
    history_close(h);
    struct reader *rd = NULL;
    err = (struct pesc_error){0};
    ok(reader_open(at("later.db"), &rd, &err) == 0, "but read, since min_reader allows %s",
       err.text);
    reader_close(rd);
}

#define COLUMNS                                                                                    \
    "SELECT group_concat(x, ' ') FROM (SELECT m.name || '.' || p.name || p.type || p.\"notnull\""  \
    " || p.pk AS x FROM sqlite_schema m, pragma_table_info(m.name) p WHERE m.type IN"              \
    " ('table', 'view') ORDER BY m.name, p.name)"

static void test_upgrade(void)
{
    struct pesc_error err = {0};
    struct history *h = NULL;
    struct history_run r = a_run();
    char columns[16384];
    ok(history_open(at("old.db"), &h, &err) == 0 && history_run_start(h, UUID, &r, &err) == 0,
       "a history %s", err.text);
    history_close(h);
    snprintf(columns, sizeof columns, "%s", ask("old.db", COLUMNS));
    make("old.db", TO_VERSION_1);
    is_str(ask("old.db", "SELECT samples FROM run_dataset"), "error: no such column: samples",
           "of version 1");
    struct reader *reader = NULL;
    ok(reader_open(at("old.db"), &reader, &err) == 0 && reader_version(reader) == 1,
       "can be read as it is");
    reader_close(reader);
    /* A copy that cannot be made: nothing is changed. */
    ok(mkdir(at("old.db.v1.bak"), 0700) == 0, "something is in the copy's way");
    err = (struct pesc_error){0};
    ok(history_open(at("old.db"), &h, &err) == -1 && err.code == PESC_E_DB, "no copy, no upgrade");
    is_str(ask("old.db", "PRAGMA user_version"), "1", "still version 1");
    ok(rmdir(at("old.db.v1.bak")) == 0, "out of the way");
    err = (struct pesc_error){0};
    ok(history_open(at("old.db"), &h, &err) == 0, "it is upgraded when opened %s", err.text);
    is_str(ask("old.db", "PRAGMA user_version"), "4", "to version 4");
    is_str(ask("old.db", COLUMNS), columns, "with the same columns as a new one");
    is_str(ask("old.db", "SELECT used || coalesce(samples, 'none') || reasons FROM run_dataset"),
           "10none{}", "and its rows");
    r.start_step = 1;
    ok(history_run_start(h, UUID, &r, &err) == 0, "its run goes on");
    history_close(h);
    is_str(ask("old.db", "SELECT samples FROM run_dataset"), "11", "with all counts");
    is_str(ask("old.db.v1.bak", "PRAGMA user_version"), "1", "the copy is version 1");
    is_str(ask("old.db.v1.bak", "SELECT used FROM run_dataset"), "10", "and whole");
}

static void test_path(void)
{
    struct pesc_error err = {0};
    char out[PATH_CAP], home[PATH_CAP], want[PATH_CAP];
    struct stat st;
    snprintf(home, sizeof home, "%s/home", dir);
    ok(history_default_path("x.db", "/xdg", home, out, &err) == 0, "PESC_DB");
    is_str(out, "x.db", "PESC_DB wins");
    ok(history_default_path(NULL, "relative", home, out, &err) == 0, "HOME");
    snprintf(want, sizeof want, "%.4000s/.local/share/pesc/history.db", home);
    is_str(out, want, "below HOME; a relative XDG_DATA_HOME is ignored");
    *strrchr(want, '/') = 0;
    ok(stat(want, &st) == 0 && (st.st_mode & 0777) == 0700, "its folder is made, for us only");
    ok(history_default_path(NULL, home, NULL, out, &err) == 0 && strstr(out, "home/pesc/"), "XDG");
    ok(history_default_path("", NULL, NULL, out, &err) == -1 && err.code == PESC_E_DB, "nowhere");
}

int main(void)
{
    struct pesc_error err = {0};
    if (!mkdtemp(dir))
        return 99;
    test_many(); /* forks first: no process may fork with a database open */
    test_rows();
    test_routers();
    test_refused_row();
    test_resume();
    test_busy();
    test_lock();
    test_foreign();
    test_upgrade();
    test_path();
    ok(dir_remove_all(dir, &err) == 0, "clean-up");
    return tap_done();
}
