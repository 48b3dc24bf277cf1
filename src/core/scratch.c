#include "config.h"
#include "core/scratch.h"

#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct scratch {
    int fd;
    char dir[PATH_CAP]; /* for messages */
};

static int fail(const struct scratch *s, const char *what, struct pesc_error *err)
{
    int e = errno;
    if (e == ENOSPC || e == EDQUOT || e == EFBIG)
        return FAIL(err, IO_FULL, "%s: cannot %s a temporary file: %s", s->dir, what, strerror(e));
    return FAIL(err, IO, "%s: cannot %s a temporary file: %s", s->dir, what, strerror(e));
}

static int create(struct scratch *s, struct pesc_error *err)
{
    char path[PATH_CAP];
    s->fd = open(s->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (s->fd >= 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL)
        return fail(s, "make", err);
    /* A file system without files that have no name: one that loses it at once. */
    TRY(path_join(path, s->dir, ".pesc-XXXXXX", err));
    s->fd = mkostemp(path, O_CLOEXEC);
    if (s->fd < 0)
        return fail(s, "make", err);
    unlink(path);
    return 0;
}

int scratch_open(const char *dir, uint64_t bytes, struct scratch **out, struct pesc_error *err)
{
    if (!path_is_dir(dir))
        return FAIL(err, IO_MISSING, "%s: no such folder", dir);
    struct scratch *s = calloc(1, sizeof *s);
    if (!s)
        return FAIL(err, MEMORY, "no memory for a temporary file");
    snprintf(s->dir, sizeof s->dir, "%s", dir);
    s->fd = -1;
    if (create(s, err) != 0) {
        scratch_close(s);
        return -1;
    }
    if (fallocate(s->fd, 0, 0, (off_t)bytes) != 0 &&
        ((errno != EOPNOTSUPP && errno != EINVAL && errno != ENOSYS && errno != EINTR) ||
         ftruncate(s->fd, (off_t)bytes) != 0)) {
        fail(s, "reserve space for", err);
        scratch_close(s);
        return -1;
    }
    *out = s;
    return 0;
}

void scratch_close(struct scratch *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

int scratch_write(struct scratch *s, const void *data, size_t n, uint64_t at,
                  struct pesc_error *err)
{
    const unsigned char *p = data;
    for (size_t done = 0; done < n;) {
        ssize_t put = pwrite(s->fd, p + done, n - done, (off_t)(at + done));
        if (put < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (put < 0)
            return fail(s, "write to", err);
        done += (size_t)put;
    }
    return 0;
}

int scratch_read(struct scratch *s, void *data, size_t n, uint64_t at, struct pesc_error *err)
{
    TRY(file_pread(s->fd, data, n, at, s->dir, err));
    scratch_forget(s, n, at);
    return 0;
}

void scratch_ahead(struct scratch *s, size_t n, uint64_t at)
{
    (void)posix_fadvise(s->fd, (off_t)at, (off_t)n, POSIX_FADV_WILLNEED);
}

void scratch_forget(struct scratch *s, size_t n, uint64_t at)
{
    (void)posix_fadvise(s->fd, (off_t)at, (off_t)n, POSIX_FADV_DONTNEED);
}
