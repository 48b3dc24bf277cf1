#include "config.h"
#include "core/tfile.h"

#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One that the page cache keeps is in several files, pieces in turn, since writes to one file wait
 * for each other. */
enum { FILES = 8, PIECE = 1 << 20 };

struct tfile {
    int fd[FILES], files;
    uint64_t at; /* of the last write, which may still be on its way */
    size_t n;
    char *dir; /* for messages */
    enum tfile_kind kind;
};

static int reserve(int fd, uint64_t bytes, const char *dir, struct pesc_error *err)
{
    if (ftruncate(fd, (off_t)bytes) != 0 ||
        (bytes && fallocate(fd, 0, 0, (off_t)bytes) != 0 && errno != EOPNOTSUPP &&
         errno != EINVAL && errno != ENOSYS && errno != EINTR))
        return file_fail(err, dir, "reserve space for a temporary file in it");
    return 0;
}

static int open_file(struct tfile *f, uint64_t bytes, struct pesc_error *err)
{
    TRY(file_temporary(f->dir, &f->fd[f->files], err));
    f->files++;
    return reserve(f->fd[f->files - 1], bytes, f->dir, err);
}

int tfile_open(const char *dir, uint64_t bytes, enum tfile_kind kind, struct tfile **out,
               struct pesc_error *err)
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
    uint64_t pieces = (bytes + PIECE - 1) / PIECE;
    int files = kind != TFILE_CACHED            ? 1
                : omp_get_max_threads() < FILES ? omp_get_max_threads()
                                                : FILES;
    f->dir = copy;
    f->kind = kind;
    for (int i = 0; i < files; i++)
        if (open_file(f, files == 1 ? bytes : (pieces + files - 1) / files * PIECE, err) != 0) {
            tfile_close(f);
            return -1;
        }
    if (kind == TFILE_DIRECT && fcntl(f->fd[0], F_SETFL, O_DIRECT) != 0)
        f->kind = TFILE_DROPPED; /* a file system in memory, say */
    *out = f;
    return 0;
}

void tfile_close(struct tfile *f)
{
    if (!f)
        return;
    for (int i = 0; i < f->files; i++)
        file_close_temporary(f->fd[i]);
    free(f->dir);
    free(f);
}

static void drop(const struct tfile *f, size_t n, uint64_t at)
{
    posix_fadvise(f->fd[0], (off_t)at, (off_t)n, POSIX_FADV_DONTNEED);
}

/* Waits for the last write. Pages can be dropped only when they are on the disk; and an error of
 * the disk comes to light here. */
static int settle(struct tfile *f, struct pesc_error *err)
{
    if (f->n == 0)
        return 0;
    int rc = sync_file_range(f->fd[0], (off_t)f->at, (off_t)f->n,
                             SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                 SYNC_FILE_RANGE_WAIT_AFTER);
    if (rc != 0 && (errno == EIO || errno == ENOSPC || errno == EDQUOT))
        return file_fail(err, f->dir, "write a temporary file in it");
    drop(f, f->n, f->at);
    f->n = 0;
    return 0;
}

/* Bytes at..at+n-1 of the content, to or from memory, of which one is NULL. */
struct moved {
    char *to;
    const char *from;
    size_t n;
    uint64_t at;
};

/* What of it is in piece p, which is all in one file. */
static int move_piece(const struct tfile *f, const struct moved *m, uint64_t p,
                      struct pesc_error *err)
{
    uint64_t begin = p * PIECE, end = begin + PIECE, last = m->at + m->n;
    uint64_t from = begin > m->at ? begin : m->at, to = end < last ? end : last;
    uint64_t files = (uint64_t)f->files;
    uint64_t there = files == 1 ? from : p / files * PIECE + from - begin;
    int fd = f->fd[p % files];
    return m->to
               ? file_pread(fd, m->to + (from - m->at), (size_t)(to - from), there, f->dir, err)
               : file_pwrite(fd, m->from + (from - m->at), (size_t)(to - from), there, f->dir, err);
}

/* By all threads: it is mostly copying. */
static int move(const struct tfile *f, const struct moved *m, struct pesc_error *err)
{
    long first = (long)(m->at / PIECE), end = (long)((m->at + m->n + PIECE - 1) / PIECE);
    long failed = end;
#pragma omp parallel for schedule(static, 1) reduction(min : failed) if (end - first > 1)
    for (long p = first; p < end; p++) {
        struct pesc_error ignored = {0};
        int rc = move_piece(f, m, (uint64_t)p, &ignored);
        failed = rc != 0 && p < failed ? p : failed;
    }
    return failed == end ? 0 : move_piece(f, m, (uint64_t)failed, err); /* again, to say why */
}

int tfile_write(struct tfile *f, const void *data, size_t n, uint64_t at, struct pesc_error *err)
{
    if (f->kind == TFILE_DIRECT)
        return file_pwrite(f->fd[0], data, n, at, f->dir, err);
    if (f->kind == TFILE_CACHED)
        return move(f, &(struct moved){.from = data, .n = n, .at = at}, err);
    TRY(settle(f, err));
    f->at = at;
    f->n = n;
    TRY(file_pwrite(f->fd[0], data, n, at, f->dir, err));
    sync_file_range(f->fd[0], (off_t)f->at, (off_t)f->n, SYNC_FILE_RANGE_WRITE);
    return 0;
}

int tfile_read(struct tfile *f, void *data, size_t n, uint64_t at, struct pesc_error *err)
{
    if (f->kind == TFILE_CACHED)
        return move(f, &(struct moved){.to = data, .n = n, .at = at}, err);
    TRY(file_pread(f->fd[0], data, n, at, f->dir, err));
    if (f->kind == TFILE_DROPPED)
        drop(f, n, at);
    return 0;
}

void tfile_soon(struct tfile *f, size_t n, uint64_t at)
{
    if (f->kind == TFILE_DROPPED)
        posix_fadvise(f->fd[0], (off_t)at, (off_t)n, POSIX_FADV_WILLNEED);
}
