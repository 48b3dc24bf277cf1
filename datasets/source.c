#include "config.h"
#include "datasets/records.h"

#include "core/file.h"
#include "core/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What files that are no JSON begin with; tar carries its mark further in. */
static const struct {
    const char *magic;
    size_t len, off;
    enum pesc_code code;
    const char *kind;
} magics[] = {
    {"\x1f\x8b", 2, 0, PESC_E_AR_FORMAT, "gzip"},
    {"PK\x03\x04", 4, 0, PESC_E_AR_FORMAT, "zip"},
    {"PK\x05\x06", 4, 0, PESC_E_AR_FORMAT, "zip"},
    {"\x28\xb5\x2f\xfd", 4, 0, PESC_E_AR_FORMAT, "zstd"},
    {"\xfd\x37zXZ\0", 6, 0, PESC_E_AR_FORMAT, "xz"},
    {"BZh", 3, 0, PESC_E_AR_FORMAT, "bzip2"},
    {"\x04\x22\x4d\x18", 4, 0, PESC_E_AR_FORMAT, "lz4"},
    {"7z\xbc\xaf\x27\x1c", 6, 0, PESC_E_AR_FORMAT, "7-zip"},
    {"Rar!", 4, 0, PESC_E_AR_FORMAT, "rar"},
    {"ustar", 5, 257, PESC_E_AR_FORMAT, "tar"},
    {"PAR1", 4, 0, PESC_E_DS_FORMAT, "Parquet"},
    {"ARROW1", 6, 0, PESC_E_DS_FORMAT, "Arrow"},
};

struct data_file {
    int fd;
    uint64_t bytes;
    struct hash *hash;
    char head[512]; /* looked at before anything else, then handed out first */
    size_t head_n, head_pos;
    char path[PATH_CAP];
};

static long read_some(struct data_file *f, void *buf, size_t cap, struct pesc_error *err)
{
    for (;;) {
        ssize_t got = read(f->fd, buf, cap);
        if (got >= 0) {
            hash_add(f->hash, buf, (size_t)got);
            f->bytes += (uint64_t)got;
            return (long)got;
        }
        if (errno != EINTR && errno != EAGAIN)
            return FAIL(err, IO, "%s: cannot read: %s", f->path, strerror(errno));
    }
}

static int refuse_known(struct data_file *f, struct pesc_error *err)
{
    while (f->head_n < sizeof f->head) {
        long got = read_some(f, f->head + f->head_n, sizeof f->head - f->head_n, err);
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        f->head_n += (size_t)got;
    }
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        if (f->head_n < magics[i].off + magics[i].len ||
            memcmp(f->head + magics[i].off, magics[i].magic, magics[i].len) != 0)
            continue;
        if (magics[i].code == PESC_E_AR_FORMAT)
            return error_set(err, magics[i].code,
                             "%s: %s data; only plain JSON files are read, unpack it first",
                             f->path, magics[i].kind);
        return error_set(err, magics[i].code, "%s: %s data; a JSON array or JSON lines are read",
                         f->path, magics[i].kind);
    }
    return 0;
}

struct data_file *data_file_open(const char *path, struct pesc_error *err)
{
    if (path_is_dir(path)) {
        FAIL(err, DS_FORMAT, "%s: a folder; name the data files in it", path);
        return NULL;
    }
    if (strlen(path) >= PATH_CAP) {
        FAIL(err, IO, "path too long: %.200s...", path);
        return NULL;
    }
    struct data_file *f = calloc(1, sizeof *f);
    if (!f) {
        FAIL(err, MEMORY, "%s: no memory", path);
        return NULL;
    }
    strcpy(f->path, path);
    f->fd = file_open_read(path, NULL, err);
    if (f->fd < 0)
        goto fail;
    f->hash = hash_new(err);
    if (!f->hash || refuse_known(f, err) != 0)
        goto fail;
    return f;
fail:
    data_file_close(f);
    return NULL;
}

static long source_read(void *ctx, void *buf, size_t cap, struct pesc_error *err)
{
    struct data_file *f = ctx;
    if (f->head_pos == f->head_n)
        return read_some(f, buf, cap, err);
    size_t n = f->head_n - f->head_pos;
    if (n > cap)
        n = cap;
    memcpy(buf, f->head + f->head_pos, n);
    f->head_pos += n;
    return (long)n;
}

struct byte_source data_file_source(struct data_file *f)
{
    return (struct byte_source){source_read, f};
}

int data_file_finish(struct data_file *f, char *sha256, uint64_t *bytes, struct pesc_error *err)
{
    char buf[16384];
    long got;
    while ((got = read_some(f, buf, sizeof buf, err)) > 0)
        ;
    if (got < 0)
        return -1;
    hash_hex(f->hash, sha256);
    *bytes = f->bytes;
    return 0;
}

void data_file_close(struct data_file *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    hash_free(f->hash);
    free(f);
}
