#include "config.h"
#include "tensor/safetensors.h"

#include "core/file.h"
#include "tensor/st_header.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BASE_HEADER_CAP = 100000000, STRICT_HEADER_CAP = 4 << 20, CHUNK = 64 << 10 };

struct st_file {
    int fd;
    char *path;
    struct stat st; /* as opened */
    struct st_header h;
};

static int read_header(struct st_file *f, enum st_mode mode, const struct notes *notes,
                       struct pesc_error *err)
{
    unsigned char le[8];
    uint64_t size = (uint64_t)f->st.st_size, len = 0;
    uint64_t cap = mode == ST_BASE ? BASE_HEADER_CAP : STRICT_HEADER_CAP;
    if (size < sizeof le)
        return FAIL(err, ST_TRUNC, "%s: %" PRIu64 " bytes, not even a header length", f->path,
                    size);
    TRY(file_pread(f->fd, le, sizeof le, 0, f->path, err));
    for (int i = 7; i >= 0; i--)
        len = len << 8 | le[i];
    if (len > cap)
        return FAIL(err, ST_HDRBIG,
                    "%s: header length %" PRIu64 ", at most %" PRIu64
                    " is read; not a safetensors file?",
                    f->path, len, cap);
    if (len > size - sizeof le)
        return FAIL(err, ST_HDRLEN,
                    "%s: header length %" PRIu64 " in a file of %" PRIu64
                    " bytes; download incomplete?",
                    f->path, len, size);
    char *text = malloc((size_t)len + 1);
    if (!text)
        return FAIL(err, MEMORY, "%s: no memory for a header of %" PRIu64 " bytes", f->path, len);
    int rc = file_pread(f->fd, text, (size_t)len, sizeof le, f->path, err);
    if (rc == 0)
        rc = st_header_parse(&f->h, text, (size_t)len, sizeof le + len, size, mode, f->path, notes,
                             err);
    free(text);
    return rc;
}

int st_open(const char *path, enum st_mode mode, const struct notes *notes, struct st_file **out,
            struct pesc_error *err)
{
    *out = NULL;
    struct st_file *f = calloc(1, sizeof *f);
    if (!f)
        return FAIL(err, MEMORY, "%s: no memory", path);
    f->fd = file_open_read(path, &f->st, err);
    if (f->fd < 0)
        goto fail;
    f->path = strdup(path);
    if (!f->path) {
        FAIL(err, MEMORY, "%s: no memory", path);
        goto fail;
    }
    TRY_OR(read_header(f, mode, notes, err), fail);
    *out = f;
    return 0;
fail:
    st_close(f);
    return -1;
}

void st_close(struct st_file *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    st_header_free(&f->h);
    free(f->path);
    free(f);
}

long st_count(const struct st_file *f)
{
    return f->h.count;
}

const struct st_tensor *st_at(const struct st_file *f, long i)
{
    return i >= 0 && i < f->h.count ? &f->h.t[i] : NULL;
}

static int name_to_tensor(const void *key, const void *element)
{
    const struct st_tensor *const *t = element;
    return strcmp(key, (*t)->name);
}

const struct st_tensor *st_find(const struct st_file *f, const char *name)
{
    if (f->h.count == 0)
        return NULL;
    const struct st_tensor **hit =
        bsearch(name, f->h.by_name, (size_t)f->h.count, sizeof *f->h.by_name, name_to_tensor);
    return hit ? *hit : NULL;
}

const char *st_metadata(const struct st_file *f, const char *key)
{
    return json_string_value(json_object_get(f->h.meta, key));
}

const char *st_path(const struct st_file *f)
{
    return f->path;
}

/* Looked at after reading, so that a change meanwhile is seen too. */
static int check_same(const struct st_file *f, struct pesc_error *err)
{
    struct stat now;
    if (fstat(f->fd, &now) != 0)
        return FAIL(err, IO, "%s: cannot stat", f->path);
    if (now.st_size != f->st.st_size || now.st_ino != f->st.st_ino || now.st_dev != f->st.st_dev ||
        now.st_mtim.tv_sec != f->st.st_mtim.tv_sec || now.st_mtim.tv_nsec != f->st.st_mtim.tv_nsec)
        return FAIL(err, ST_CHANGED, "%s: file was changed while in use", f->path);
    return 0;
}

int st_read_range(const struct st_file *f, const struct st_tensor *t, uint64_t from, size_t bytes,
                  void *dst, struct pesc_error *err)
{
    if (from > t->bytes || bytes > t->bytes - from)
        return FAIL(err, INTERNAL, "%s: tensor '%s': read outside of it", f->path, t->name);
    TRY(file_pread(f->fd, dst, bytes, t->begin + from, f->path, err));
    return check_same(f, err);
}

void st_forget(const struct st_file *f, const struct st_tensor *t)
{
    /* The kernel drops whole pages only: what a neighbour has of the first and last is read again.
     */
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), from = t->begin / page * page;
    uint64_t to = (t->begin + t->bytes + page - 1) / page * page;
    (void)posix_fadvise(f->fd, (off_t)from, (off_t)(to - from), POSIX_FADV_DONTNEED);
}

int st_read(const struct st_file *f, const struct st_tensor *t, void *dst, struct pesc_error *err)
{
    return st_read_range(f, t, 0, (size_t)t->bytes, dst, err);
}

int st_read_f32(const struct st_file *f, const struct st_tensor *t, float *dst,
                struct pesc_error *err)
{
    unsigned char chunk[CHUNK];
    if (t->dtype == DT_COUNT)
        return FAIL(err, ST_DTYPE, "%s: tensor '%s': unsupported dtype %s", f->path, t->name,
                    t->stored);
    if (t->dtype == DT_F32)
        return st_read(f, t, dst, err);
    size_t size = dtype_size(t->dtype), done = 0, n = (size_t)t->n;
    while (done < n) {
        size_t now = n - done < CHUNK / size ? n - done : CHUNK / size;
        TRY(file_pread(f->fd, chunk, now * size, t->begin + done * size, f->path, err));
        dtype_to_f32(dst + done, chunk, t->dtype, now);
        done += now;
    }
    return check_same(f, err);
}
