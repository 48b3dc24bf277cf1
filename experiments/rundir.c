#include "config.h"
#include "experiments/rundir.h"

#include "core/file.h"
#include "core/json.h"
#include "experiments/history.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { RUN_JSON_MAX = 16 << 20 };

struct rundir {
    char path[PATH_CAP], uuid[33];
    int lock, metrics, resumed, made; /* made: the folder is new */
};

json_t *json_real_or_text(double x)
{
    if (isfinite(x))
        return json_real(x);
    return json_string(isnan(x) ? "NaN" : x > 0 ? "Infinity" : "-Infinity");
}

int json_real_read(const json_t *v, double *out)
{
    const char *text = json_string_value(v);
    *out = NAN;
    if (json_is_number(v))
        *out = json_number_value(v);
    else if (text && !strcmp(text, "Infinity"))
        *out = INFINITY;
    else if (text && !strcmp(text, "-Infinity"))
        *out = -INFINITY;
    else
        return text && !strcmp(text, "NaN");
    return 1;
}

json_t *json_text(const char *text)
{
    json_t *o = json_string(text);
    size_t n = o ? 0 : 4 * strlen(text) + 1;
    char *safe = n ? malloc(n) : NULL;
    if (safe) {
        text_escape(safe, n, text);
        o = json_string(safe);
        free(safe);
    }
    return o;
}

static int busy(int fd, const char *dir, struct pesc_error *err)
{
    char holder[200];
    ssize_t n = pread(fd, holder, sizeof holder - 1, 0);
    holder[n > 0 ? n : 0] = 0;
    holder[strcspn(holder, "\n")] = 0;
    return FAIL(err, RUN_BUSY, "%s: in use by process %s", dir, *holder ? holder : "(unknown)");
}

/* flock and not a pid file: it dies with the process, so there are no stale locks. */
static int take_lock(struct rundir *r, struct pesc_error *err)
{
    char path[PATH_CAP], text[128] = "", host[65] = "";
    TRY(path_join(path, r->path, ".lock", err));
    r->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (r->lock < 0)
        return file_fail(err, path, "open");
    if (flock(r->lock, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? busy(r->lock, r->path, err) : file_fail(err, path, "lock");
    gethostname(host, sizeof host - 1);
    int n = snprintf(text, sizeof text, "%ld on %s\n", (long)getpid(), host);
    if (ftruncate(r->lock, 0) != 0 || pwrite(r->lock, text, (size_t)n, 0) != n)
        return file_fail(err, path, "write");
    return 0;
}

/* Whether the folder has anything in it that a run of ours did not leave. */
static int is_foreign(const char *dir, struct pesc_error *err)
{
    static const char *const own[] = {
        ".", "..", ".lock", "metrics.jsonl", "segments.jsonl", "config.yaml", "ckpt", NULL};
    int other = 0, had_lock = 0, count = 0;
    DIR *d = opendir(dir);
    if (!d)
        return file_fail(err, dir, "open");
    for (struct dirent *e; (e = readdir(d));) {
        int known = !strncmp(e->d_name, ".tmp-", 5);
        for (int i = 0; own[i] && !known; i++)
            known = !strcmp(e->d_name, own[i]);
        had_lock |= !strcmp(e->d_name, ".lock");
        count += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
        other |= !known;
    }
    closedir(d);
    return other || (count > 0 && !had_lock);
}

static int uuid_is_sound(const char *s)
{
    return s && strspn(s, "0123456789abcdef") == 32 && s[32] == 0;
}

json_t *rundir_read_run(const char *dir, struct pesc_error *err)
{
    char path[PATH_CAP];
    if (path_join(path, dir, "run.json", err) != 0)
        return NULL;
    json_t *run = json_file(path, RUN_JSON_MAX, PESC_E_CK_CORRUPT, err);
    if (run && !uuid_is_sound(json_string_value(json_object_get(run, "uuid")))) {
        FAIL(err, CK_CORRUPT, "%s: no uuid of 32 hex digits", path);
        json_decref(run);
        return NULL;
    }
    return run;
}

/* Cuts half a line off the end. */
static int cut_torn_line(int fd, const char *path, struct pesc_error *err)
{
    char buf[4096];
    struct stat st;
    if (fstat(fd, &st) != 0)
        return file_fail(err, path, "stat");
    off_t end = st.st_size;
    while (end > 0) {
        size_t n = end < (off_t)sizeof buf ? (size_t)end : sizeof buf;
        TRY(file_pread(fd, buf, n, (uint64_t)(end - (off_t)n), path, err));
        for (; n > 0 && buf[n - 1] != '\n'; n--)
            end--;
        if (n > 0)
            break;
    }
    if (end != st.st_size && ftruncate(fd, end) != 0)
        return file_fail(err, path, "shorten");
    return 0;
}

static int open_log(struct rundir *r, const char *name, int *fd, struct pesc_error *err)
{
    char path[PATH_CAP];
    struct stat st;
    TRY(path_join(path, r->path, name, err));
    *fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (*fd < 0)
        return file_fail(err, path, "open");
    if (fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(*fd);
        *fd = -1;
        return FAIL(err, IO_TYPE, "%s: not a regular file", path);
    }
    return 0;
}

/* The log ends in a whole line, or is not there yet. */
static int mend_log(struct rundir *r, const char *name, struct pesc_error *err)
{
    int fd = -1;
    TRY(open_log(r, name, &fd, err));
    int rc = cut_torn_line(fd, name, err);
    close(fd);
    return rc;
}

static int open_locked(struct rundir *r, int resume, struct pesc_error *err)
{
    char run_json[PATH_CAP], log[PATH_CAP];
    struct stat st;
    TRY(path_join(run_json, r->path, "run.json", err));
    TRY(path_join(log, r->path, "metrics.jsonl", err));
    if (path_exists(run_json)) {
        if (!resume)
            return FAIL(err, USAGE_EXISTS,
                        "%s holds a run already; go on with it by --resume auto, or choose another "
                        "folder",
                        r->path);
        json_t *run = rundir_read_run(r->path, err);
        if (!run)
            return -1;
        snprintf(r->uuid, sizeof r->uuid, "%s", json_string_value(json_object_get(run, "uuid")));
        json_decref(run);
        r->resumed = 1;
        TRY(mend_log(r, "metrics.jsonl", err));
        TRY(mend_log(r, "segments.jsonl", err));
    } else {
        if (stat(log, &st) == 0 && st.st_size > 0)
            return FAIL(err, USAGE_EXISTS, "%s: has metrics.jsonl but no run.json", r->path);
        TRY(mend_log(r, "segments.jsonl", err));
        TRY(history_uuid(r->uuid, err));
    }
    return open_log(r, "metrics.jsonl", &r->metrics, err);
}

int rundir_open(const char *dir, int resume, struct rundir **out, struct pesc_error *err)
{
    struct rundir *r = calloc(1, sizeof *r);
    if (!r)
        return FAIL(err, MEMORY, "%s: no memory", dir);
    r->lock = r->metrics = -1;
    int held = 0, foreign;
    int was = path_exists(dir);
    TRY_OR(dir_make(dir, err), fail);
    r->made = !was;
    TRY_OR(path_real(r->path, dir, err), fail);
    /* Before the lock file is made: a folder of someone else stays as it was. */
    char run_json[PATH_CAP];
    TRY_OR(path_join(run_json, r->path, "run.json", err), fail);
    held = path_exists(run_json);
    foreign = held ? 0 : is_foreign(r->path, err);
    if (foreign > 0)
        FAIL(err, USAGE_EXISTS, "%s: not empty, and holds no run", dir);
    if (foreign != 0)
        goto fail;
    TRY_OR(take_lock(r, err), fail);
    TRY_OR(open_locked(r, resume, err), fail);
    *out = r;
    return 0;
fail:
    rundir_close(r);
    return -1;
}

void rundir_close(struct rundir *r)
{
    if (!r)
        return;
    if (r->metrics >= 0)
        close(r->metrics);
    if (r->lock >= 0)
        close(r->lock);
    free(r);
}

void rundir_discard(struct rundir *r)
{
    static const char *const files[] = {"metrics.jsonl", "segments.jsonl", "config.yaml", ".lock"};
    char path[PATH_CAP];
    int gone =
        r && !r->resumed && path_join(path, r->path, "run.json", NULL) == 0 && !path_exists(path);
    if (gone && path_join(path, r->path, "ckpt", NULL) == 0)
        rmdir(path);
    for (size_t i = 0; gone && i < sizeof files / sizeof *files; i++)
        if (path_join(path, r->path, files[i], NULL) == 0)
            unlink(path);
    if (gone && r->made)
        rmdir(r->path);
    rundir_close(r);
}

const char *rundir_uuid(const struct rundir *r)
{
    return r->uuid;
}

const char *rundir_path(const struct rundir *r)
{
    return r->path;
}

int rundir_resumed(const struct rundir *r)
{
    return r->resumed;
}

int rundir_write_run(struct rundir *r, const json_t *run, struct pesc_error *err)
{
    char path[PATH_CAP];
    char *text = NULL;
    TRY(path_join(path, r->path, "run.json", err));
    json_t *copy = json_copy_whole(run);
    if (copy && json_object_set_new(copy, "uuid", json_string(r->uuid)) == 0)
        text = json_canonical(copy);
    json_decref(copy);
    if (!text)
        return FAIL(err, MEMORY, "%s: no memory, or not an object", path);
    int rc = file_write(path, text, strlen(text), err);
    free(text);
    return rc;
}

int rundir_write_config(struct rundir *r, const char *yaml, struct pesc_error *err)
{
    char path[PATH_CAP];
    TRY(path_join(path, r->path, "config.yaml", err));
    return file_write(path, yaml, strlen(yaml), err);
}

/* One write, so that lines of a log never mix; what a full disk left of it is taken back. */
static int append_line(int fd, const char *path, const json_t *line, struct pesc_error *err)
{
    struct stat st;
    char *text = json_written(line, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        return FAIL(err, MEMORY, "%s: no memory for a line", path);
    size_t len = strlen(text), done = 0;
    text[len++] = '\n'; /* over the final zero */
    int rc = fstat(fd, &st) == 0 ? 0 : file_fail(err, path, "stat");
    while (rc == 0 && done < len) {
        ssize_t put = write(fd, text + done, len - done);
        if (put < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (put < 0) {
            rc = file_fail(err, path, "write");
            if (done > 0 && ftruncate(fd, st.st_size) != 0)
                rc = file_fail(err, path, "shorten");
        } else {
            done += (size_t)put;
        }
    }
    free(text);
    return rc;
}

int rundir_append(struct rundir *r, const json_t *line, struct pesc_error *err)
{
    char path[PATH_CAP];
    TRY(path_join(path, r->path, "metrics.jsonl", err));
    return append_line(r->metrics, path, line, err);
}

static int append_flushed(struct rundir *r, const char *name, const json_t *line,
                          struct pesc_error *err)
{
    int fd = -1;
    TRY(open_log(r, name, &fd, err));
    int rc = append_line(fd, name, line, err);
    if (rc == 0 && fsync(fd) != 0)
        rc = file_fail(err, name, "flush");
    close(fd);
    return rc;
}

int rundir_append_segment(struct rundir *r, const json_t *line, struct pesc_error *err)
{
    return append_flushed(r, "segments.jsonl", line, err);
}

int rundir_append_to(const char *dir, const char *name, const json_t *line, struct pesc_error *err)
{
    struct rundir r = {.lock = -1, .metrics = -1};
    TRY(path_real(r.path, dir, err));
    return append_flushed(&r, name, line, err);
}

int rundir_is_held(const char *dir)
{
    char path[PATH_CAP];
    int fd = path_join(path, dir, ".lock", NULL) == 0
                 ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
                 : -1;
    int held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (fd >= 0)
        close(fd);
    return held;
}

int rundir_sync(struct rundir *r, struct pesc_error *err)
{
    return fsync(r->metrics) == 0 ? 0 : file_fail(err, r->path, "flush metrics.jsonl of");
}
