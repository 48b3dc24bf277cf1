/* Many processes and one history: nothing lost, nothing twice, nobody kept waiting. With
 * PESC_STRESS=full (make stress) at the size that is promised, otherwise as much as some seconds
 * have room for. */
#include "config.h"
#include "core/file.h"
#include "experiments/history.h"
#include "tests/tap.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WRITERS = 8, READERS = 2 };

static char dir[] = "/tmp/pesc-stress-XXXXXX";
static int full;

static const char *at(const char *name)
{
    static char path[PATH_CAP];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void nap(long us)
{
    nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

/* The first column of the first row, as text; "" without one or when it fails. */
static const char *ask(const char *db, const char *sql)
{
    static char out[256];
    sqlite3 *c = NULL;
    sqlite3_stmt *st = NULL;
    out[0] = 0;
    if (sqlite3_open_v2(at(db), &c, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
        sqlite3_busy_timeout(c, 10000) == SQLITE_OK &&
        sqlite3_prepare_v2(c, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        snprintf(out, sizeof out, "%s", (const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    sqlite3_close(c);
    return out;
}

static void uuid_of(char out[33], int i)
{
    snprintf(out, 33, "%032x", i + 1);
}

/* A run that goes on at that step; NULL with a line on stderr. */
static struct history *begin(const char *db, int i, long first)
{
    struct pesc_error err = {0};
    struct history *h = NULL;
    struct history_run r = {.name = "stress", .dir = dir, .start_step = first};
    char uuid[33];
    uuid_of(uuid, i);
    if (history_open(at(db), &h, &err) == 0 && history_run_start(h, uuid, &r, &err) == 0)
        return h;
    fprintf(stderr, "# writer %d: %s\n", i, err.text);
    history_close(h);
    return NULL;
}

/* --- trainers --- */

/* What is wrong: rows dropped, errors told, an end that was not written. */
static int train(int i, long rows)
{
    struct pesc_error err = {0};
    struct history *h = begin("trainers.db", i, 0);
    int bad = 0;
    if (!h || history_background(h, &err) != 0)
        return 100;
    for (long s = 0; s < rows / 10; s++) { /* ten metrics a step */
        for (long m = 0; m < 10; m++) {
            char key[16];
            snprintf(key, sizeof key, "metric/%ld", m);
            bad += history_metric(h, key, s, (double)(s * 10 + m)) != 0;
        }
        history_progress(h, s, s);
        if (s % 50 == 49) {
            bad += history_flush(h, &err) != 0;
            nap(2000);
        }
    }
    bad += history_run_end(h, "finished", 0, NULL, &err) != 0;
    if (bad)
        fprintf(stderr, "# trainer %d: %d errors, %s\n", i, bad, err.text);
    history_close(h);
    return bad > 99 ? 99 : bad;
}

static int read_on(const volatile int *stop)
{
    long queries = 0;
    while (!*stop) {
        queries += *ask("trainers.db", "SELECT sum(value) FROM metric") != 0;
        queries += *ask("trainers.db", "SELECT group_concat(train_loss) FROM v_run") != 0;
    }
    return queries > 0 ? 0 : 1;
}

static int wait_all(pid_t *child, int n)
{
    int bad = 0;
    for (int i = 0; i < n; i++) {
        int status = 0;
        if (child[i] <= 0 || waitpid(child[i], &status, 0) < 0 || status != 0)
            bad++;
    }
    return bad;
}

static void test_trainers(void)
{
    const long rows = full ? 10000 : 1000;
    volatile int *stop =
        mmap(NULL, sizeof *stop, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t writer[WRITERS], reader[READERS];
    char sql[256], want[64];
    double start = now();
    struct history *h = NULL;
    struct pesc_error err = {0};
    ok(stop != MAP_FAILED && history_open(at("trainers.db"), &h, &err) == 0, "a history");
    history_close(h);
    for (int i = 0; i < WRITERS; i++)
        if ((writer[i] = fork()) == 0)
            _exit(train(i, rows));
    for (int i = 0; i < READERS; i++)
        if ((reader[i] = fork()) == 0)
            _exit(read_on(stop));
    ok(wait_all(writer, WRITERS) == 0, "%d trainers, %ld rows each: no error seen", WRITERS, rows);
    *stop = 1;
    ok(wait_all(reader, READERS) == 0, "%d readers had answers", READERS);
    snprintf(want, sizeof want, "%ld", WRITERS * rows);
    is_str(ask("trainers.db", "SELECT count(*) FROM metric"), want, "no row lost, none twice");
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM metric m JOIN metric_key k ON k.id = m.key_id"
             " WHERE m.value = m.step * 10 + substr(k.name, 8)");
    is_str(ask("trainers.db", sql), want, "each with its value");
    is_str(ask("trainers.db", "SELECT count(*) FROM event"), "0", "nothing is said to be dropped");
    is_str(ask("trainers.db", "SELECT count(*) FROM run WHERE status = 'finished'"), "8",
           "all have ended");
    is_str(ask("trainers.db", "PRAGMA integrity_check"), "ok", "integrity_check");
    diag("%ld rows in %.1f s", WRITERS * rows, now() - start);
    munmap((void *)(uintptr_t)stop, sizeof *stop);
}

/* --- first opens --- */

static void test_opens(void)
{
    enum { MOST = 360 };
    static pid_t child[MOST];
    int n = full ? MOST : 60, go[2];
    double start = now();
    if (pipe(go) != 0)
        exit(99);
    for (int i = 0; i < n; i++)
        if ((child[i] = fork()) == 0) {
            char c;
            struct history *h = NULL;
            struct pesc_error err = {0};
            close(go[1]);
            if (read(go[0], &c, 1) < 0) /* until all are there */
                _exit(2);
            int rc = history_open(at("opens.db"), &h, &err);
            if (rc != 0)
                fprintf(stderr, "# %s\n", err.text);
            history_close(h);
            _exit(rc != 0);
        }
    close(go[0]);
    close(go[1]);
    ok(wait_all(child, n) == 0, "%d concurrent first opens: no failure", n);
    is_str(ask("opens.db", "PRAGMA integrity_check"), "ok", "integrity_check");
    is_str(ask("opens.db", "SELECT count(*) FROM meta WHERE key = 'db_uuid'"), "1", "made once");
    diag("%.1f s", now() - start);
}

/* --- killed writers --- */

/* Writes until killed; acknowledged[i]: rows that are in the database for sure. */
static void write_on(int i, volatile long *acknowledged)
{
    struct pesc_error err = {0};
    long first = acknowledged[i];
    struct history *h = begin("killed.db", i, first);
    if (!h)
        _exit(1);
    for (long s = first;; s++) {
        if (history_metric(h, "x", s, (double)s) != 0)
            _exit(1);
        if (s % 5 == 4) {
            if (history_flush(h, &err) != 0)
                _exit(1);
            acknowledged[i] = s + 1;
        }
    }
}

static void test_kills(void)
{
    const int rounds = full ? 200 : 10;
    volatile long *acknowledged = mmap(NULL, WRITERS * sizeof *acknowledged, PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int killed = 0, sound = 1;
    unsigned dice = 1;
    double start = now();
    long total = 0, lost = 0;
    for (int round = 0; round < rounds; round++) {
        pid_t child[WRITERS];
        for (int i = 0; i < WRITERS; i++)
            if ((child[i] = fork()) == 0)
                write_on(i, acknowledged);
        nap(full ? 150000 : 100000);
        for (int i = 0; i < WRITERS; i++) {
            dice = dice * 1103515245u + 12345u;
            nap(dice >> 16 & 0x1fff);
            kill(child[i], SIGKILL);
        }
        for (int i = 0; i < WRITERS; i++) {
            int status = 0;
            waitpid(child[i], &status, 0);
            killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        }
        if (round % 20 == 19 || round == rounds - 1)
            sound &= !strcmp(ask("killed.db", "PRAGMA integrity_check"), "ok");
    }
    ok(killed == rounds * WRITERS, "%d rounds, %d of %d writers killed at work", rounds, killed,
       rounds * WRITERS);
    for (int i = 0; i < WRITERS; i++) {
        char sql[256], uuid[33];
        uuid_of(uuid, i);
        snprintf(sql, sizeof sql,
                 "SELECT count(*) FROM metric m JOIN run r ON r.id = m.run_id WHERE r.uuid = '%s'"
                 " AND m.step < %ld AND m.value = m.step",
                 uuid, acknowledged[i]);
        total += acknowledged[i];
        lost += acknowledged[i] - atol(ask("killed.db", sql));
    }
    ok(total > 0 && lost == 0, "%ld rows acknowledged, %ld of them lost", total, lost);
    ok(sound, "integrity_check");
    diag("%.1f s", now() - start);
    munmap((void *)(uintptr_t)acknowledged, WRITERS * sizeof *acknowledged);
}

/* --- a foreign program holds the database --- */

static pid_t hold(const char *db, long ms)
{
    pid_t p = fork();
    if (p != 0)
        return p;
    sqlite3 *c = NULL;
    if (sqlite3_open(at(db), &c) != SQLITE_OK ||
        sqlite3_exec(c, "PRAGMA busy_timeout = 5000; BEGIN EXCLUSIVE", NULL, NULL, NULL) !=
            SQLITE_OK)
        _exit(1);
    FILE *f = fopen(at("held"), "w");
    if (f)
        fclose(f);
    nap(ms * 1000);
    sqlite3_exec(c, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(c);
    _exit(0);
}

static void test_locked(void)
{
    const long ms = full ? 60000 : 3000;
    struct pesc_error err = {0};
    struct history *h = begin("locked.db", 0, 0);
    double worst = 0, start;
    long steps = 0, told = 0;
    char want[32];
    int status = 0;
    ok(h && history_background(h, &err) == 0, "a run %s", err.text);
    if (!h)
        return;
    pid_t p = hold("locked.db", ms);
    while (access(at("held"), F_OK) != 0)
        nap(1000);
    for (start = now(); now() - start < 1e-3 * (double)ms + 3; steps++) {
        double t = now();
        history_metric(h, "train/loss", steps, 1);
        history_progress(h, steps, steps);
        if (steps % 50 == 0)
            told += history_flush(h, &err) != 0;
        t = now() - t;
        worst = t > worst ? t : worst;
        nap(20000);
    }
    ok(waitpid(p, &status, 0) == p && status == 0, "held for %.1f s", 1e-3 * (double)ms);
    ok(told > 0, "which the trainer was told: %s", err.text);
    ok(worst < 0.05, "no step was delayed by more than %.1f ms", 1e3 * worst);
    snprintf(want, sizeof want, "%ld", steps);
    for (int i = 0; i < 30 && strcmp(ask("locked.db", "SELECT count(*) FROM metric"), want); i++)
        nap(100000);
    is_str(ask("locked.db", "SELECT count(*) FROM metric"), want, "all rows arrived afterwards");
    ok(history_run_end(h, "finished", 0, NULL, &err) == 0, "and the end");
    history_close(h);
}

int main(void)
{
    char clean[PATH_CAP];
    const char *how = getenv("PESC_STRESS");
    full = how && !strcmp(how, "full");
    if (!mkdtemp(dir))
        return 99;
    test_trainers();
    test_opens();
    test_kills();
    test_locked();
    snprintf(clean, sizeof clean, "rm -rf '%s'", dir);
    ok(system(clean) == 0, "test files are removed");
    return tap_done();
}
