#include "config.h"
#include "core/file.h"

#include "core/hash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

int path_join(char *out, const char *dir, const char *name, struct pesc_error *err)
{
    int n = name[0] == '/' ? snprintf(out, PATH_CAP, "%s", name)
                           : snprintf(out, PATH_CAP, "%s/%s", dir, name);
    if (n < 0 || n >= PATH_CAP)
        return FAIL(err, IO, "path too long: %.200s...", name);
    return 0;
}

int path_real(char *out, const char *path, struct pesc_error *err)
{
    char buf[PATH_MAX];
    if (!realpath(path, buf))
        return errno == ENOENT ? FAIL(err, IO_MISSING, "%s: no such file or folder", path)
                               : FAIL(err, IO, "%s: %s", path, strerror(errno));
    if (strlen(buf) >= PATH_CAP)
        return FAIL(err, IO, "path too long: %.200s...", path);
    strcpy(out, buf);
    return 0;
}

int path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

uint64_t dir_free(const char *dir)
{
    struct statvfs v;
    return statvfs(dir, &v) == 0 ? (uint64_t)v.f_bavail * v.f_frsize : 0;
}

int path_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int file_fail(struct pesc_error *err, const char *path, const char *what)
{
    int e = errno;
    if (e == ENOSPC || e == EDQUOT || e == EFBIG)
        return FAIL(err, IO_FULL, "%s: cannot %s: %s", path, what, strerror(e));
    if (e == ENOMEM)
        return FAIL(err, MEMORY, "%s: cannot %s: no memory", path, what);
    return FAIL(err, IO, "%s: cannot %s: %s", path, what, strerror(e));
}

int dir_make(const char *path, struct pesc_error *err)
{
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && path_is_dir(path)))
        return 0;
    return file_fail(err, path, "make folder");
}

int dir_make_all(const char *path, struct pesc_error *err)
{
    char buf[PATH_CAP];
    TRY(path_join(buf, ".", path, err));
    for (char *p = buf + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (!path_is_dir(buf))
            TRY(dir_make(buf, err));
        *p = '/';
    }
    return dir_make(buf, err);
}

static int remove_entry(const char *dir, const char *name, struct pesc_error *err)
{
    char sub[PATH_CAP];
    struct stat st;
    if (!strcmp(name, ".") || !strcmp(name, ".."))
        return 0;
    TRY(path_join(sub, dir, name, err));
    if (lstat(sub, &st) == 0 && S_ISDIR(st.st_mode))
        return dir_remove_all(sub, err);
    return unlink(sub) == 0 ? 0 : file_fail(err, sub, "remove");
}

/* Without opendir, which allocates: what is half done is also removed for want of memory. */
int dir_remove_all(const char *path, struct pesc_error *err)
{
    _Alignas(struct dirent64) char entries[4096];
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), rc = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : file_fail(err, path, "open");
    ssize_t n = 0;
    while (rc == 0 && (n = getdents64(fd, entries, sizeof entries)) > 0)
        for (ssize_t at = 0; rc == 0 && at < n;) {
            const struct dirent64 *e = (const struct dirent64 *)(const void *)(entries + at);
            rc = remove_entry(path, e->d_name, err);
            at += e->d_reclen;
        }
    if (n < 0)
        rc = file_fail(err, path, "read");
    close(fd);
    if (rc == 0 && rmdir(path) != 0)
        rc = file_fail(err, path, "remove");
    return rc;
}

int dir_sync(const char *path, struct pesc_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        file_fail(err, path, "flush");
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return close(fd) == 0 ? 0 : file_fail(err, path, "close");
}

int file_open_read(const char *path, struct stat *st, struct pesc_error *err)
{
    struct stat own;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        if (errno == ENOENT)
            return FAIL(err, IO_MISSING, "%s: no such file", path);
        return file_fail(err, path, "open");
    }
    if (!st)
        st = &own;
    if (fstat(fd, st) != 0) {
        file_fail(err, path, "stat");
        close(fd);
        return -1;
    }
    if (!S_ISREG(st->st_mode)) {
        close(fd);
        return FAIL(err, IO_TYPE, "%s: not a regular file", path);
    }
    return fd;
}

int file_pread(int fd, void *buf, size_t n, uint64_t off, const char *path, struct pesc_error *err)
{
    unsigned char *p = buf;
    while (n > 0) {
        ssize_t got = pread(fd, p, n, (off_t)off);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got < 0)
            return file_fail(err, path, "read");
        if (got == 0)
            return FAIL(err, ST_CHANGED, "%s: file shrank while it was being read", path);
        p += got;
        n -= (size_t)got;
        off += (uint64_t)got;
    }
    return 0;
}

int file_read(const char *path, size_t cap, char **data, size_t *len, struct pesc_error *err)
{
    struct stat st;
    int fd = file_open_read(path, &st, err);
    if (fd < 0)
        return -1;
    if ((uint64_t)st.st_size > cap) {
        close(fd);
        return FAIL(err, LIMIT, "%s: %lld bytes, at most %zu are read", path, (long long)st.st_size,
                    cap);
    }
    size_t n = (size_t)st.st_size;
    char *buf = malloc(n + 1);
    if (!buf) {
        close(fd);
        return FAIL(err, MEMORY, "%s: no memory for %zu bytes", path, n);
    }
    int rc = file_pread(fd, buf, n, 0, path, err);
    close(fd);
    if (rc != 0) {
        free(buf);
        return rc;
    }
    buf[n] = 0;
    *data = buf;
    *len = n;
    return 0;
}

int file_temporary(const char *dir, int *fd, struct pesc_error *err)
{
    char name[PATH_CAP];
    int f = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (f < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        /* The file system cannot; its name is taken away at once. */
        int n = snprintf(name, sizeof name, "%s/.tmp-XXXXXX", dir);
        if (n < 0 || n >= PATH_CAP)
            return FAIL(err, IO, "path too long: %.200s...", dir);
        f = mkostemp(name, O_CLOEXEC);
        if (f >= 0)
            unlink(name);
    }
    if (f < 0)
        return file_fail(err, dir, "make a temporary file in it");
    *fd = f;
    if (f > 0)
        return 0;
    *fd = fcntl(f, F_DUPFD_CLOEXEC, 3); /* standard input was closed */
    close(f);
    return *fd > 0 ? 0 : file_fail(err, dir, "make a temporary file in it");
}

void file_close_temporary(int fd)
{
    if (fd > 0)
        close(fd);
}

int file_pwrite(int fd, const void *buf, size_t n, uint64_t off, const char *path,
                struct pesc_error *err)
{
    const unsigned char *p = buf;
    while (n > 0) {
        ssize_t put = pwrite(fd, p, n, (off_t)off);
        if (put < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (put < 0)
            return file_fail(err, path, "write a temporary file in it");
        p += put;
        n -= (size_t)put;
        off += (uint64_t)put;
    }
    return 0;
}

struct afile {
    int fd;
    uint64_t bytes;
    struct hash *hash;
    char path[PATH_CAP], tmp[PATH_CAP], dir[PATH_CAP];
};

struct afile *afile_open(const char *path, struct pesc_error *err)
{
    struct afile *f = calloc(1, sizeof *f);
    if (!f) {
        FAIL(err, MEMORY, "%s: no memory", path);
        return NULL;
    }
    f->fd = -1;
    const char *base = path_base(path);
    int dir_len = (int)(base - path);
    snprintf(f->dir, PATH_CAP, "%.*s", dir_len ? dir_len : 2, dir_len ? path : "./");
    int n = snprintf(f->tmp, PATH_CAP, "%s.tmp-%ld-%s", f->dir, (long)getpid(), base);
    if (n < 0 || n >= PATH_CAP || strlen(path) >= PATH_CAP) {
        FAIL(err, IO, "path too long: %.200s...", path);
        goto fail;
    }
    strcpy(f->path, path);
    f->hash = hash_new(err);
    if (!f->hash)
        goto fail;
    unlink(f->tmp); /* left by an earlier process of the same number */
    f->fd = open(f->tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (f->fd < 0) {
        file_fail(err, path, "create");
        goto fail;
    }
    return f;
fail:
    hash_free(f->hash);
    free(f);
    return NULL;
}

int afile_write(struct afile *f, const void *data, size_t n, struct pesc_error *err)
{
    const unsigned char *p = data;
    hash_add(f->hash, data, n);
    f->bytes += n;
    while (n > 0) {
        ssize_t put = write(f->fd, p, n);
        if (put < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (put < 0)
            return file_fail(err, f->path, "write");
        p += put;
        n -= (size_t)put;
    }
    return 0;
}

int afile_digest(const struct afile *f, unsigned char raw[32], struct pesc_error *err)
{
    return hash_peek(f->hash, raw, err);
}

void afile_abort(struct afile *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    if (f->tmp[0])
        unlink(f->tmp);
    hash_free(f->hash);
    free(f);
}

const char *afile_path(const struct afile *f)
{
    return f->path;
}

int afile_reserve(struct afile *f, uint64_t bytes, struct pesc_error *err)
{
    if (fallocate(f->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) != 0 && errno != EOPNOTSUPP &&
        errno != EINVAL && errno != ENOSYS && errno != EINTR)
        return file_fail(err, f->path, "reserve space for");
    return 0;
}

/* Flushes and closes the temporary; its digest. A failed flush is never tried again. */
static int seal(struct afile *f, char hex[SHA256_HEX], struct pesc_error *err)
{
    if (fsync(f->fd) != 0)
        return file_fail(err, f->path, "flush");
    int closed = close(f->fd);
    f->fd = -1;
    if (closed != 0)
        return file_fail(err, f->path, "close");
    hash_hex(f->hash, hex);
    return 0;
}

static void finish(struct afile *f, const char *hex, char *sha256, uint64_t *bytes)
{
    if (sha256)
        memcpy(sha256, hex, SHA256_HEX);
    if (bytes)
        *bytes = f->bytes;
    f->tmp[0] = 0;
}

int afile_commit(struct afile *f, int fresh, char *sha256, uint64_t *bytes, struct pesc_error *err)
{
    int rc = -1;
    char hex[SHA256_HEX];
    TRY_OR(seal(f, hex, err), done);
    if (fresh ? renameat2(AT_FDCWD, f->tmp, AT_FDCWD, f->path, RENAME_NOREPLACE) != 0
              : rename(f->tmp, f->path) != 0) {
        if (errno == EEXIST)
            FAIL(err, USAGE_EXISTS, "%s exists already", f->path);
        else
            file_fail(err, f->path, "name");
        goto done;
    }
    finish(f, hex, sha256, bytes);
    rc = dir_sync(f->dir, err);
done:
    afile_abort(f);
    return rc;
}

int afile_commit_hashed(struct afile *f, const char *before, const char *after, char *path,
                        char *sha256, uint64_t *bytes, struct pesc_error *err)
{
    int rc = -1;
    char hex[SHA256_HEX];
    TRY_OR(seal(f, hex, err), done);
    int n = snprintf(path, PATH_CAP, "%s%s%s%s", f->dir, before, hex, after);
    if (n < 0 || n >= PATH_CAP) {
        FAIL(err, IO, "path too long: %.200s...", path);
        goto done;
    }
    if (renameat2(AT_FDCWD, f->tmp, AT_FDCWD, path, RENAME_NOREPLACE) != 0 &&
        (errno != EEXIST || rename(f->tmp, path) != 0)) {
        file_fail(err, path, "name");
        goto done;
    }
    finish(f, hex, sha256, bytes);
    struct pesc_error sync = {0};
    rc = dir_sync(f->dir, &sync) == 0 ? 0 : FAIL(err, IO, "durability unknown: %s", sync.text);
done:
    afile_abort(f);
    return rc;
}

int file_write(const char *path, const void *data, size_t n, struct pesc_error *err)
{
    struct afile *f = afile_open(path, err);
    if (!f)
        return -1;
    if (afile_write(f, data, n, err) != 0) {
        afile_abort(f);
        return -1;
    }
    return afile_commit(f, 0, NULL, NULL, err);
}
