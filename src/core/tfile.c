#include "config.h"
#include "core/tfile.h"

#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tfile {
    int fd;
    uint64_t at; /* of the last write, which may still be on its way */
    size_t n;
    char *dir; /* for messages */
};

/* Nameless from the start, or (where the file system cannot do that) within a moment, under a name
 * that is removed with other temporaries. */
static int open_nameless(struct tfile *f)
{
    char name[PATH_CAP + 32];
    int fd = open(f->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    snprintf(name, sizeof name, "%s/.tmp-%ld-state", f->dir, (long)getpid());
    fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0 && unlink(name) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int tfile_open(const char *dir, uint64_t bytes, struct tfile **out, struct pesc_error *err)
{
    struct tfile *f = calloc(1, sizeof *f);
    char *copy = strdup(dir);
    if (!f || !copy) {
        free(f);
        free(copy);
        return FAIL(err, MEMORY, "%s: no memory for a temporary file", dir);
    }
    f->dir = copy;
    f->fd = open_nameless(f);
    if (f->fd < 0) {
        file_fail(err, f->dir, "make a temporary file in");
        goto fail;
    }
    if (ftruncate(f->fd, (off_t)bytes) != 0 ||
        (bytes && fallocate(f->fd, 0, 0, (off_t)bytes) != 0 && errno != EOPNOTSUPP &&
         errno != EINVAL && errno != ENOSYS && errno != EINTR)) {
        file_fail(err, f->dir, "reserve space for a temporary file in");
        goto fail;
    }
    *out = f;
    return 0;
fail:
    tfile_close(f);
    return -1;
}

void tfile_close(struct tfile *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    free(f->dir);
    free(f);
}

static void drop(const struct tfile *f, size_t n, uint64_t at)
{
    posix_fadvise(f->fd, (off_t)at, (off_t)n, POSIX_FADV_DONTNEED);
}

/* Waits for the last write. Pages can be dropped only when they are on the disk; and an error of
 * the disk comes to light here. */
static int settle(struct tfile *f, struct pesc_error *err)
{
    if (f->n == 0)
        return 0;
    int rc = sync_file_range(f->fd, (off_t)f->at, (off_t)f->n,
                             SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                 SYNC_FILE_RANGE_WAIT_AFTER);
    if (rc != 0 && (errno == EIO || errno == ENOSPC || errno == EDQUOT))
        return file_fail(err, f->dir, "write a temporary file in");
    drop(f, f->n, f->at);
    f->n = 0;
    return 0;
}

int tfile_write(struct tfile *f, const void *data, size_t n, uint64_t at, struct pesc_error *err)
{
    const unsigned char *p = data;
    TRY(settle(f, err));
    f->at = at;
    f->n = n;
    while (n > 0) {
        ssize_t put = pwrite(f->fd, p, n, (off_t)at);
        if (put < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (put < 0)
            return file_fail(err, f->dir, "write a temporary file in");
        p += put;
        n -= (size_t)put;
        at += (uint64_t)put;
    }
    sync_file_range(f->fd, (off_t)f->at, (off_t)f->n, SYNC_FILE_RANGE_WRITE);
    return 0;
}

int tfile_read(struct tfile *f, void *data, size_t n, uint64_t at, struct pesc_error *err)
{
    TRY(file_pread(f->fd, data, n, at, f->dir, err));
    drop(f, n, at);
    return 0;
}

void tfile_soon(struct tfile *f, size_t n, uint64_t at)
{
    posix_fadvise(f->fd, (off_t)at, (off_t)n, POSIX_FADV_WILLNEED);
}
