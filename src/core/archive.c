#include "config.h"
#include "core/archive.h"

#include "core/xxh64.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024 };

/* What libarchive's own ARCHIVE_ERRNO_FILE_FORMAT is, which it does not export. */
#ifdef EFTYPE
#define NOT_RECOGNISED EFTYPE
#else
#define NOT_RECOGNISED EILSEQ
#endif

/* What may be opened: our bit, libarchive's number, how it is switched on. A filter whose library
 * is missing would be run as a program; libarchive warns of that, and the warning is an error. */
static const struct {
    unsigned bit;
    int code;
    int (*support)(struct archive *);
} formats_known[] =
    {
        {ARC_RAW, ARCHIVE_FORMAT_RAW, archive_read_support_format_raw},
        {ARC_TAR, ARCHIVE_FORMAT_TAR, archive_read_support_format_tar},
        {ARC_ZIP, ARCHIVE_FORMAT_ZIP, archive_read_support_format_zip_seekable},
},
  filters_known[] = {
      {ARC_PLAIN, ARCHIVE_FILTER_NONE, archive_read_support_filter_none},
      {ARC_GZIP, ARCHIVE_FILTER_GZIP, archive_read_support_filter_gzip},
      {ARC_ZSTD, ARCHIVE_FILTER_ZSTD, archive_read_support_filter_zstd},
      {ARC_XZ, ARCHIVE_FILTER_XZ, archive_read_support_filter_xz},
      {ARC_BZIP2, ARCHIVE_FILTER_BZIP2, archive_read_support_filter_bzip2},
};
enum {
    N_FORMATS = sizeof formats_known / sizeof *formats_known,
    N_FILTERS = sizeof filters_known / sizeof *filters_known
};

struct arc_reader {
    struct archive *a;
    struct archive_entry *entry;
    struct byte_source from;
    int fd; /* -1: only from */
    off_t off;
    uint64_t pulled, last; /* bytes taken so far; behind the last one that is not zero */
    uint64_t data_end;     /* behind the data of the last entry */
    unsigned formats, filters;
    struct pesc_error io; /* of the descriptor: it must not be told as a corrupt archive */
    const char *path;
    char path_buf[PATH_CAP];
    int begun; /* an entry was asked for */
    unsigned char buf[CHUNK];
};

static long read_descriptor(void *ctx, void *buf, size_t cap, struct pesc_error *err)
{
    struct arc_reader *r = ctx;
    ssize_t n;
    do
        n = pread(r->fd, buf, cap, r->off);
    while (n < 0 && (errno == EINTR || errno == EAGAIN));
    if (n < 0)
        return FAIL(err, IO, "%s: cannot read: %s", r->path, strerror(errno));
    r->off += n;
    return (long)n;
}

static long pull(struct arc_reader *r)
{
    long n = r->from.read(r->from.ctx, r->buf, sizeof r->buf, &r->io);
    for (long i = n; i > 0; i--)
        if (r->buf[i - 1]) {
            r->last = r->pulled + (uint64_t)i;
            break;
        }
    if (n > 0)
        r->pulled += (uint64_t)n;
    return n;
}

static la_ssize_t reader_pull(struct archive *a, void *ctx, const void **data)
{
    struct arc_reader *r = ctx;
    long n = pull(r);
    if (n < 0) {
        archive_set_error(a, EIO, "read");
        return -1;
    }
    *data = r->buf;
    return n;
}

static la_int64_t reader_seek(struct archive *a, void *ctx, la_int64_t off, int whence)
{
    struct arc_reader *r = ctx;
    off_t from = 0;
    struct stat st;
    if (whence == SEEK_CUR)
        from = r->off;
    else if (whence == SEEK_END && fstat(r->fd, &st) == 0)
        from = st.st_size;
    else if (whence != SEEK_SET)
        return ARCHIVE_FATAL;
    if (from + off < 0) {
        archive_set_error(a, EINVAL, "an offset before the beginning");
        return ARCHIVE_FATAL;
    }
    return r->off = from + off;
}

static int reader_fail(struct arc_reader *r, struct pesc_error *err)
{
    if (r->io.code)
        return error_set(err, (enum pesc_code)r->io.code, "%s", r->io.text);
    const char *why = archive_error_string(r->a);
    int e = archive_errno(r->a);
    /* Libraries below libarchive do not tell it that they had no memory, but errno does. While the
     * format is unknown the other number means that nobody recognised the file. */
    enum pesc_code code = e == ENOMEM || errno == ENOMEM                     ? PESC_E_MEMORY
                          : e == NOT_RECOGNISED && archive_format(r->a) == 0 ? PESC_E_AR_FORMAT
                                                                             : PESC_E_AR_CORRUPT;
    return error_set(err, code, "%s: %s", r->path, why ? why : "not readable");
}

static int is_listed(struct arc_reader *r)
{
    int n = archive_filter_count(r->a);
    /* The last filter is always "none", the file itself. */
    int outer = archive_filter_code(r->a, 0),
        format = archive_format(r->a) & ARCHIVE_FORMAT_BASE_MASK;
    if (n > 2)
        return 0;
    int filter_ok = 0, format_ok = 0;
    for (int i = 0; i < N_FILTERS; i++)
        filter_ok |= filters_known[i].code == outer && (filters_known[i].bit & r->filters);
    for (int i = 0; i < N_FORMATS; i++)
        format_ok |= formats_known[i].code == format && (formats_known[i].bit & r->formats);
    return filter_ok && format_ok;
}

static int open_reader(int fd, const struct byte_source *from, const char *path, unsigned formats,
                       unsigned filters, struct arc_reader **out, struct pesc_error *err)
{
    *out = NULL;
    struct arc_reader *r = calloc(1, sizeof *r);
    if (!r)
        return FAIL(err, MEMORY, "%s: no memory", path);
    r->from = from ? *from : (struct byte_source){read_descriptor, r};
    strncpy(r->path_buf, path, PATH_CAP - 1);
    r->path = r->path_buf;
    r->fd = fd;
    r->formats = formats;
    r->filters = filters;
    r->a = archive_read_new();
    r->entry = archive_entry_new(); /* not libarchive's own, which may be missing */
    if (!r->a || !r->entry) {
        FAIL(err, MEMORY, "%s: no memory", path);
        goto fail;
    }
    for (int i = 0; i < N_FORMATS; i++)
        if ((formats & formats_known[i].bit) && formats_known[i].support(r->a) != ARCHIVE_OK) {
            reader_fail(r, err);
            goto fail;
        }
    for (int i = 0; i < N_FILTERS; i++)
        if ((filters & filters_known[i].bit) && filters_known[i].support(r->a) != ARCHIVE_OK) {
            reader_fail(r, err);
            goto fail;
        }
    if (((formats & ARC_ZIP) && archive_read_set_seek_callback(r->a, reader_seek) != ARCHIVE_OK) ||
        archive_read_set_read_callback(r->a, reader_pull) != ARCHIVE_OK ||
        /* archive_read_open would go on without memory for its argument, and crash */
        archive_read_set_callback_data(r->a, r) != ARCHIVE_OK ||
        archive_read_open1(r->a) != ARCHIVE_OK) {
        reader_fail(r, err);
        goto fail;
    }
    *out = r;
    return 0;
fail:
    arc_reader_close(r);
    return -1;
}

int arc_reader_open(int fd, const char *path, unsigned formats, unsigned filters,
                    struct arc_reader **out, struct pesc_error *err)
{
    return open_reader(fd, NULL, path, formats, filters, out, err);
}

int arc_reader_open_stream(const struct byte_source *from, const char *path, unsigned formats,
                           unsigned filters, struct arc_reader **out, struct pesc_error *err)
{
    return open_reader(-1, from, path, formats, filters, out, err);
}

static const char *special(struct archive_entry *entry)
{
    if (archive_entry_hardlink(entry))
        return "a hard link";
    if (archive_entry_symlink(entry))
        return "a symbolic link";
    switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
        return NULL;
    case AE_IFDIR:
        return "a folder";
    case AE_IFLNK:
        return "a symbolic link";
    case AE_IFIFO:
        return "a FIFO";
    case AE_IFSOCK:
        return "a socket";
    default:
        return "a device";
    }
}

int arc_reader_any(struct arc_reader *r, struct arc_entry *e, struct pesc_error *err)
{
    struct archive_entry *entry = r->entry;
    int rc = r->begun ? archive_read_data_skip(r->a) : ARCHIVE_OK;
    if (rc < ARCHIVE_WARN)
        return reader_fail(r, err);
    r->begun = 1;
    r->data_end = (uint64_t)archive_filter_bytes(r->a, 0);
    rc = archive_read_next_header2(r->a, entry);
    if (rc == ARCHIVE_EOF)
        return 0;
    /* A warning is about a name that the C locale cannot show; such names are taken as UTF-8. */
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
        return reader_fail(r, err);
    if (!is_listed(r))
        return FAIL(err, AR_FORMAT, "%s: %s in %s is not read here", r->path,
                    archive_format_name(r->a), archive_filter_name(r->a, 0));
    e->name = archive_entry_pathname_utf8(entry);
    if (!e->name)
        e->name = archive_entry_pathname(entry);
    if (!e->name)
        return FAIL(err, AR_MEMBER, "%s: an entry has no readable name", r->path);
    e->has_size = archive_entry_size_is_set(entry) != 0;
    e->size = e->has_size ? (uint64_t)archive_entry_size(entry) : 0;
    e->special = special(entry);
    e->encrypted = archive_entry_is_encrypted(entry) != 0;
    return 1;
}

int arc_reader_next(struct arc_reader *r, struct arc_entry *e, struct pesc_error *err)
{
    struct archive_entry *entry = r->entry;
    for (;;) {
        int rc = archive_read_next_header2(r->a, entry);
        if (rc == ARCHIVE_EOF)
            return 0;
        if (rc != ARCHIVE_OK)
            return reader_fail(r, err);
        if (!is_listed(r))
            return FAIL(err, AR_FORMAT, "%s: %s in %s is not read here", r->path,
                        archive_format_name(r->a), archive_filter_name(r->a, 0));
        e->special = special(entry);
        e->encrypted = 0;
        e->name = archive_entry_pathname(entry);
        e->has_size = archive_entry_size_is_set(entry) != 0;
        e->size = e->has_size ? (uint64_t)archive_entry_size(entry) : 0;
        if (!e->name)
            return FAIL(err, AR_MEMBER, "%s: an entry has no readable name", r->path);
        if (!e->special)
            return 1;
        if (archive_entry_filetype(entry) != AE_IFDIR)
            return FAIL(err, AR_MEMBER, "%s: '%s' is not a regular file", r->path, e->name);
    }
}

int arc_reader_end(struct arc_reader *r, struct pesc_error *err)
{
    enum { BLOCK = 512 };
    long n;
    int format = archive_format(r->a) & ARCHIVE_FORMAT_BASE_MASK;
    uint64_t used = (uint64_t)archive_filter_bytes(r->a, -1),
             end = (r->data_end + BLOCK - 1) / BLOCK * BLOCK;
    if (format == ARCHIVE_FORMAT_ZIP)
        return 0;
    while ((n = pull(r)) > 0)
        ;
    if (n < 0)
        return reader_fail(r, err);
    if (format == ARCHIVE_FORMAT_TAR && (r->pulled % BLOCK || r->pulled < end + 2 * BLOCK))
        return FAIL(err, AR_CORRUPT, "%s: the tar is cut off: its end is not marked", r->path);
    if (format == ARCHIVE_FORMAT_TAR ? r->last > end : r->pulled != used)
        return FAIL(err, AR_CORRUPT, "%s: data follows where it should end", r->path);
    return 0;
}

int arc_reader_is_empty(const struct arc_reader *r, const struct pesc_error *err)
{
    return err->code == PESC_E_AR_FORMAT && archive_format(r->a) == 0 && !r->io.code;
}

int arc_reader_data(struct arc_reader *r, void *buf, size_t n, size_t *got, struct pesc_error *err)
{
    la_ssize_t rc = archive_read_data(r->a, buf, n);
    if (rc < 0)
        return reader_fail(r, err);
    *got = (size_t)rc;
    return 0;
}

void arc_reader_close(struct arc_reader *r)
{
    if (!r)
        return;
    archive_entry_free(r->entry);
    (void)archive_read_free(r->a);
    free(r);
}

/* libarchive's zstd filter makes frames without a checksum. So the tar goes through a second
 * archive object, which sees the content that the checksum is of: the checksum's flag is set in the
 * frame header as it passes, and its four bytes follow the frame. */
enum { DESCRIPTOR = 4, CHECKSUM_FLAG = 4 };

struct arc_writer {
    struct archive *tar; /* NULL: raw */
    struct archive *zst;
    struct afile *f;
    uint64_t left; /* tar: bytes that the open entry still wants */
    uint64_t out;  /* bytes of the frame so far */
    int sealed;    /* the frame has a checksum of its own after all */
    int dropped;   /* nothing more is written */
    struct xxh64 sum;
    struct pesc_error io;
};

static la_ssize_t push_frame(struct archive *a, void *ctx, const void *data, size_t n)
{
    struct arc_writer *w = ctx;
    const unsigned char *p = data;
    if (w->dropped)
        return -1;
    size_t head = w->out <= DESCRIPTOR && w->out + n > DESCRIPTOR ? DESCRIPTOR - w->out : n;
    int rc = afile_write(w->f, p, head, &w->io);
    if (rc == 0 && head < n) {
        unsigned char d = p[head] | CHECKSUM_FLAG;
        w->sealed = p[head] & CHECKSUM_FLAG;
        rc = afile_write(w->f, &d, 1, &w->io);
        if (rc == 0)
            rc = afile_write(w->f, p + head + 1, n - head - 1, &w->io);
    }
    w->out += n;
    if (rc == 0)
        return (la_ssize_t)n;
    archive_set_error(a, EIO, "write");
    return -1;
}

static int writer_fail(struct arc_writer *w, struct archive *a, struct pesc_error *err)
{
    if (w->io.code)
        return error_set(err, (enum pesc_code)w->io.code, "%s", w->io.text);
    const char *why = archive_error_string(a);
    return error_set(err, archive_errno(a) == ENOMEM || errno == ENOMEM ? PESC_E_MEMORY : PESC_E_IO,
                     "cannot write the archive: %s", why ? why : "unknown reason");
}

static int add_content(struct arc_writer *w, const void *data, size_t n, struct pesc_error *err)
{
    const unsigned char *p = data;
    xxh64_add(&w->sum, data, n);
    while (n > 0) {
        la_ssize_t put = archive_write_data(w->zst, p, n);
        if (put <= 0)
            return writer_fail(w, w->zst, err);
        p += put;
        n -= (size_t)put;
    }
    return 0;
}

static la_ssize_t push_tar(struct archive *a, void *ctx, const void *data, size_t n)
{
    struct arc_writer *w = ctx;
    struct pesc_error err = {0};
    if (w->dropped)
        return -1;
    if (add_content(w, data, n, &err) == 0)
        return (la_ssize_t)n;
    if (!w->io.code)
        w->io = err;
    archive_set_error(a, EIO, "write");
    return -1;
}

static int open_zst(struct arc_writer *w, struct pesc_error *err)
{
    struct archive_entry *e = archive_entry_new();
    int rc = ARCHIVE_FATAL;
    if (!e)
        return FAIL(err, MEMORY, "no memory for an archive");
    archive_entry_set_pathname(e, "data");
    archive_entry_set_filetype(e, AE_IFREG);
    if (archive_write_set_format_raw(w->zst) == ARCHIVE_OK &&
        archive_write_add_filter_zstd(w->zst) == ARCHIVE_OK &&
        archive_write_set_filter_option(w->zst, "zstd", "compression-level", "3") == ARCHIVE_OK &&
        archive_write_set_bytes_per_block(w->zst, CHUNK) == ARCHIVE_OK &&
        archive_write_set_bytes_in_last_block(w->zst, 1) == ARCHIVE_OK &&
        archive_write_open(w->zst, w, NULL, push_frame, NULL) == ARCHIVE_OK)
        rc = archive_write_header(w->zst, e);
    archive_entry_free(e);
    return rc == ARCHIVE_OK ? 0 : writer_fail(w, w->zst, err);
}

/* ustar has no extended records, so no times or ids of this process can slip in. */
static int open_tar(struct arc_writer *w, struct pesc_error *err)
{
    if (archive_write_set_format_ustar(w->tar) == ARCHIVE_OK &&
        archive_write_set_bytes_per_block(w->tar, CHUNK) == ARCHIVE_OK &&
        archive_write_set_bytes_in_last_block(w->tar, 1) == ARCHIVE_OK &&
        archive_write_open(w->tar, w, NULL, push_tar, NULL) == ARCHIVE_OK)
        return 0;
    return writer_fail(w, w->tar, err);
}

struct arc_writer *arc_writer_open(struct afile *f, enum arc_format format, struct pesc_error *err)
{
    struct arc_writer *w = calloc(1, sizeof *w);
    if (!w) {
        FAIL(err, MEMORY, "no memory for an archive");
        return NULL;
    }
    w->f = f;
    xxh64_init(&w->sum);
    w->zst = archive_write_new();
    w->tar = format == ARC_TAR ? archive_write_new() : NULL;
    if (!w->zst || (format == ARC_TAR && !w->tar)) {
        FAIL(err, MEMORY, "no memory for an archive");
        arc_writer_abort(w);
        return NULL;
    }
    if (open_zst(w, err) != 0 || (w->tar && open_tar(w, err) != 0)) {
        arc_writer_abort(w);
        return NULL;
    }
    return w;
}

int arc_writer_entry(struct arc_writer *w, const char *name, uint64_t size, struct pesc_error *err)
{
    if (!w->tar)
        return FAIL(err, INTERNAL, "a raw stream has no entries");
    if (w->left)
        return FAIL(err, INTERNAL, "archive entry before '%s' is short of %llu bytes", name,
                    (unsigned long long)w->left);
    struct archive_entry *e = archive_entry_new();
    if (!e)
        return FAIL(err, MEMORY, "no memory for an archive");
    archive_entry_set_pathname(e, name);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_uid(e, 0);
    archive_entry_set_gid(e, 0);
    archive_entry_set_mtime(e, 0, 0);
    archive_entry_set_size(e, (la_int64_t)size);
    int rc = archive_write_header(w->tar, e);
    archive_entry_free(e);
    if (rc != ARCHIVE_OK)
        return writer_fail(w, w->tar, err);
    w->left = size;
    return 0;
}

int arc_writer_data(struct arc_writer *w, const void *data, size_t n, struct pesc_error *err)
{
    if (!w->tar)
        return add_content(w, data, n, err);
    if (n > w->left)
        return FAIL(err, INTERNAL, "archive entry gets more bytes than declared");
    const unsigned char *p = data;
    while (n > 0) {
        la_ssize_t put = archive_write_data(w->tar, p, n);
        if (put <= 0)
            return writer_fail(w, w->tar, err);
        p += put;
        n -= (size_t)put;
        w->left -= (uint64_t)put;
    }
    return 0;
}

static int seal(struct arc_writer *w, struct pesc_error *err)
{
    uint64_t sum = xxh64_end(&w->sum);
    unsigned char le[4];
    for (int i = 0; i < 4; i++)
        le[i] = (unsigned char)(sum >> 8 * i);
    return w->sealed ? 0 : afile_write(w->f, le, sizeof le, err);
}

int arc_writer_close(struct arc_writer *w, struct pesc_error *err)
{
    int rc = 0;
    if (w->left)
        rc = FAIL(err, INTERNAL, "the last archive entry is short of %llu bytes",
                  (unsigned long long)w->left);
    else if (w->tar && archive_write_close(w->tar) != ARCHIVE_OK)
        rc = writer_fail(w, w->tar, err);
    else if (archive_write_close(w->zst) != ARCHIVE_OK)
        rc = writer_fail(w, w->zst, err);
    else
        rc = seal(w, err);
    arc_writer_abort(w);
    return rc;
}

/* Only closing frees all that libarchive holds, also when something has failed before. */
static void drop(struct archive *a)
{
    if (!a)
        return;
    (void)archive_write_close(a);
    (void)archive_write_free(a);
}

void arc_writer_abort(struct arc_writer *w)
{
    if (!w)
        return;
    w->dropped = 1;
    drop(w->tar);
    drop(w->zst);
    free(w);
}
