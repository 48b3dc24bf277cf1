#include "config.h"
#include "core/tfile.h"

#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tfile {
    int fd;
    uint64_t at; /* of the last write, which may still be on its way */
    size_t n;
    char *dir; /* for messages */
    int cached;
};

int tfile_open(const char *dir, uint64_t bytes, struct tfile **out, struct pesc_error *err)
{
    if (!path_is_dir(dir))
        return FAIL(err, IO_MISSING, "%s: no such folder", dir);
    struct tfile *f = calloc(1, sizeof *f);
    char *copy = strdup(dir);
    if (!f || !copy) {
        free(f);
        free(copy);
        return FAIL(err, MEMORY, "%s: no memory for a temporary file", dir);
    }
    f->dir = copy;
    TRY_OR(file_temporary(f->dir, &f->fd, err), fail);
    if (ftruncate(f->fd, (off_t)bytes) != 0 ||
        (bytes && fallocate(f->fd, 0, 0, (off_t)bytes) != 0 && errno != EOPNOTSUPP &&
         errno != EINVAL && errno != ENOSYS && errno != EINTR)) {
        file_fail(err, f->dir, "reserve space for a temporary file in it");
        goto fail;
    }
    *out = f;
    return 0;
fail:
    tfile_close(f);
    return -1;
}

void tfile_cached(struct tfile *f)
{
    f->cached = 1;
}

void tfile_close(struct tfile *f)
{
    if (!f)
        return;
    file_close_temporary(f->fd);
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
        return file_fail(err, f->dir, "write a temporary file in it");
    drop(f, f->n, f->at);
    f->n = 0;
    return 0;
}

int tfile_write(struct tfile *f, const void *data, size_t n, uint64_t at, struct pesc_error *err)
{
    if (f->cached)
        return file_pwrite(f->fd, data, n, at, f->dir, err);
    TRY(settle(f, err));
    f->at = at;
    f->n = n;
    TRY(file_pwrite(f->fd, data, n, at, f->dir, err));
    sync_file_range(f->fd, (off_t)f->at, (off_t)f->n, SYNC_FILE_RANGE_WRITE);
    return 0;
}

int tfile_read(struct tfile *f, void *data, size_t n, uint64_t at, struct pesc_error *err)
{
    TRY(file_pread(f->fd, data, n, at, f->dir, err));
    if (!f->cached)
        drop(f, n, at);
    return 0;
}

void tfile_soon(struct tfile *f, size_t n, uint64_t at)
{
    posix_fadvise(f->fd, (off_t)at, (off_t)n, POSIX_FADV_WILLNEED);
}
