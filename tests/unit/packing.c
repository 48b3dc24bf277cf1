#include "config.h"
#include "tests/unit/packing.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *ending;
    int members, zip;
    int (*filter)(struct archive *);
} kinds[PACK_COUNT] = {
    [PACK_PLAIN] = {"", 0, 0, NULL},
    [PACK_GZ] = {".gz", 0, 0, archive_write_add_filter_gzip},
    [PACK_XZ] = {".xz", 0, 0, archive_write_add_filter_xz},
    [PACK_ZST] = {".zst", 0, 0, archive_write_add_filter_zstd},
    [PACK_BZ2] = {".bz2", 0, 0, archive_write_add_filter_bzip2},
    [PACK_TAR] = {".tar", 1, 0, NULL},
    [PACK_TAR_GZ] = {".tar.gz", 1, 0, archive_write_add_filter_gzip},
    [PACK_TAR_XZ] = {".tar.xz", 1, 0, archive_write_add_filter_xz},
    [PACK_TAR_ZST] = {".tar.zst", 1, 0, archive_write_add_filter_zstd},
    [PACK_TAR_BZ2] = {".tar.bz2", 1, 0, archive_write_add_filter_bzip2},
    [PACK_ZIP] = {".zip", 1, 1, NULL},
    [PACK_ZIP_STORED] = {".stored.zip", 1, 1, NULL},
    [PACK_ZIP_SECRET] = {".secret.zip", 1, 1, NULL},
};

const char *packing_ending(enum packing p)
{
    return kinds[p].ending;
}

int packing_is_archive(enum packing p)
{
    return kinds[p].members;
}

static struct archive *open_packing(const char *path, enum packing p)
{
    struct archive *a = archive_write_new();
    int rc = !kinds[p].members ? archive_write_set_format_raw(a)
             : kinds[p].zip    ? archive_write_set_format_zip(a)
                               : archive_write_set_format_pax_restricted(a);
    if (rc == ARCHIVE_OK && kinds[p].filter)
        rc = kinds[p].filter(a);
    if (rc == ARCHIVE_OK && kinds[p].zip)
        rc = archive_write_set_options(a, p == PACK_ZIP_STORED ? "zip:compression=store"
                                                               : "zip:compression=deflate");
    if (rc == ARCHIVE_OK && p == PACK_ZIP_SECRET) {
        rc = archive_write_set_options(a, "zip:encryption=traditional");
        if (rc == ARCHIVE_OK)
            rc = archive_write_set_passphrase(a, "secret");
    }
    archive_write_set_bytes_in_last_block(a, 1);
    if (rc == ARCHIVE_OK)
        rc = archive_write_open_filename(a, path);
    if (rc == ARCHIVE_OK)
        return a;
    printf("# %s: %s\n", path, archive_error_string(a));
    archive_write_free(a);
    return NULL;
}

static int begin(struct archive *a, const struct packed *f, unsigned long long size)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, f->name);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_filetype(e, f->fifo ? AE_IFIFO : f->link ? AE_IFLNK : AE_IFREG);
    if (f->link)
        archive_entry_set_symlink(e, f->link);
    if (f->hard)
        archive_entry_set_hardlink(e, f->hard);
    archive_entry_set_size(e, (la_int64_t)size);
    int rc = archive_write_header(a, e);
    archive_entry_free(e);
    return rc == ARCHIVE_OK ? 0 : -1;
}

static int end(struct archive *a, const char *path, int rc)
{
    if (rc == 0 && archive_write_close(a) != ARCHIVE_OK)
        rc = -1;
    if (rc != 0)
        printf("# %s: %s\n", path, archive_error_string(a));
    archive_write_free(a);
    return rc;
}

static int pack_plain(const char *path, const char *piece, size_t n, unsigned long long times)
{
    FILE *f = fopen(path, "wb");
    int rc = f ? 0 : -1;
    for (unsigned long long i = 0; i < times && rc == 0; i++)
        rc = fwrite(piece, 1, n, f) == n ? 0 : -1;
    if (f && fclose(f) != 0)
        rc = -1;
    return rc;
}

int pack_files(const char *path, enum packing p, const struct packed *files, long count)
{
    if (p == PACK_PLAIN)
        return pack_plain(path, files->text, files->n, 1);
    struct archive *a = open_packing(path, p);
    int rc = a ? 0 : -1;
    for (long i = 0; i < (kinds[p].members ? count : 1) && rc == 0; i++) {
        rc = begin(a, &files[i], files[i].n);
        if (rc == 0 && files[i].n &&
            archive_write_data(a, files[i].text, files[i].n) != (la_ssize_t)files[i].n)
            rc = -1;
    }
    return a ? end(a, path, rc) : -1;
}

int pack_large(const char *path, enum packing p, const char *name, const char *piece,
               unsigned long long size)
{
    enum { AT_ONCE = 1 << 20 };
    size_t n = strlen(piece), each = AT_ONCE / n * n;
    unsigned long long times = size / each + 1;
    struct packed f = {.name = name};
    char *text = malloc(each);
    if (!text)
        return -1;
    for (size_t i = 0; i < each; i += n)
        memcpy(text + i, piece, n);
    int rc = -1;
    if (p == PACK_PLAIN) {
        rc = pack_plain(path, text, each, times);
    } else {
        struct archive *a = open_packing(path, p);
        rc = a ? begin(a, &f, times * each) : -1;
        for (unsigned long long i = 0; i < times && rc == 0; i++)
            rc = archive_write_data(a, text, each) == (la_ssize_t)each ? 0 : -1;
        rc = a ? end(a, path, rc) : -1;
    }
    free(text);
    return rc;
}
