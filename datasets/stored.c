#include "config.h"
#include "datasets/stored.h"

#include "core/archive.h"
#include "core/gunzip.h"
#include "core/hash.h"
#include "datasets/naming.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum magic_use { GZIP, XZ, ZSTD, BZIP2, ZIP, TAR, REFUSED, TABLE, NOTHING };

/* What files that are no text begin with; some carry their mark further in. */
static const struct {
    const char *magic;
    size_t len, off;
    enum magic_use use;
    const char *kind;
} magics[] = {
    {"\x1f\x8b", 2, 0, GZIP, "gzip"},
    {"\xfd\x37zXZ\0", 6, 0, XZ, "xz"},
    {"\x28\xb5\x2f\xfd", 4, 0, ZSTD, "zstd"},
    {"\x2a\x4d\x18", 3, 1, ZSTD, "zstd"}, /* a skippable frame, whose first byte is 0x5? */
    {"BZh", 3, 0, BZIP2, "bzip2"},
    {"PK\x03\x04", 4, 0, ZIP, "zip"},
    {"PK\x05\x06", 4, 0, ZIP, "zip"},
    {"PK\x07\x08", 4, 0, ZIP, "zip"},
    {"ustar", 5, 257, TAR, "tar"},
    {"\x04\x22\x4d\x18", 4, 0, REFUSED, "lz4"},
    {"\x02\x21\x4c\x18", 4, 0, REFUSED, "lz4"},
    {"7z\xbc\xaf\x27\x1c", 6, 0, REFUSED, "7-zip"},
    {"Rar!\x1a\x07", 6, 0, REFUSED, "rar"},
    {"LZIP\x01", 5, 0, REFUSED, "lzip"},
    {"\x89LZO", 4, 0, REFUSED, "lzop"},
    {"LRZI", 4, 0, REFUSED, "lrzip"},
    {"\x1f\x9d", 2, 0, REFUSED, "compress (.Z)"},
    {"MSCF\0\0\0\0", 8, 0, REFUSED, "cab"},
    {"xar!\0", 5, 0, REFUSED, "xar"},
    {"!<arch>\n", 8, 0, REFUSED, "ar"},
    {"070701", 6, 0, REFUSED, "cpio"},
    {"070707", 6, 0, REFUSED, "cpio"},
    {"#mtree", 6, 0, REFUSED, "mtree"},
    {"WARC/", 5, 0, REFUSED, "warc"},
    {"\xed\xab\xee\xdb", 4, 0, REFUSED, "rpm"},
    {"PAR1", 4, 0, TABLE, "Parquet"},
    {"ARROW1", 6, 0, TABLE, "Arrow"},
    {"Obj\x01", 4, 0, TABLE, "Avro"},
    {"SQLite format 3", 16, 0, TABLE, "SQLite"},
    {"\x89HDF", 4, 0, TABLE, "HDF5"},
    {"\x80\x04\x95", 3, 0, TABLE, "pickle"},
};

struct stored {
    int fd;
    enum stored_kind kind;
    enum magic_use packing;
    struct hash *hash;
    uint64_t bytes;          /* as stored */
    uint64_t content, limit; /* out of the packing */
    struct gunzip *gunzip;
    struct arc_reader *arc;
    int empty, ended;
    char raw[STORED_HEAD]; /* looked at before anything else, then handed out first */
    size_t raw_n, raw_pos;
    char head[STORED_HEAD]; /* the same of the content */
    size_t head_n, head_pos;
    char path[PATH_CAP];
};

static long read_file(struct stored *s, void *buf, size_t cap, struct pesc_error *err)
{
    for (;;) {
        ssize_t got = read(s->fd, buf, cap);
        if (got >= 0) {
            hash_add(s->hash, buf, (size_t)got);
            s->bytes += (uint64_t)got;
            return (long)got;
        }
        if (errno != EINTR && errno != EAGAIN)
            return FAIL(err, IO, "%s: cannot read: %s", s->path, strerror(errno));
    }
}

static size_t take(const char *from, size_t n, size_t *pos, void *buf, size_t cap)
{
    size_t k = n - *pos < cap ? n - *pos : cap;
    memcpy(buf, from + *pos, k);
    *pos += k;
    return k;
}

static long read_raw(void *ctx, void *buf, size_t cap, struct pesc_error *err)
{
    struct stored *s = ctx;
    if (s->raw_pos < s->raw_n)
        return (long)take(s->raw, s->raw_n, &s->raw_pos, buf, cap);
    return read_file(s, buf, cap, err);
}

/* The content, its true end included: 0 only when all was whole. */
static long read_content(struct stored *s, void *buf, size_t cap, struct pesc_error *err)
{
    long got = 0;
    if (s->packing == NOTHING)
        return read_raw(s, buf, cap, err);
    if (s->ended)
        return 0;
    if (s->gunzip) {
        got = gunzip_read(s->gunzip, buf, cap, err);
    } else {
        size_t n = 0;
        if (!s->empty)
            TRY(arc_reader_data(s->arc, buf, cap, &n, err));
        got = (long)n;
        if (n == 0)
            TRY(arc_reader_end(s->arc, err));
    }
    if (got < 0)
        return -1;
    s->ended = got == 0;
    s->content += (uint64_t)got;
    if (s->content > s->limit)
        return FAIL(err, AR_LIMIT,
                    "%s: unpacks to more than %llu bytes; --max-uncompressed raises the limit",
                    s->path, (unsigned long long)s->limit);
    return got;
}

static long read_all(void *ctx, void *buf, size_t cap, struct pesc_error *err)
{
    struct stored *s = ctx;
    if (s->head_pos < s->head_n)
        return (long)take(s->head, s->head_n, &s->head_pos, buf, cap);
    return read_content(s, buf, cap, err);
}

/* A header of tar as it was before ustar: known by its checksum alone. */
static int is_old_tar(const char *head, size_t n)
{
    enum { SUM = 148, SUM_LEN = 8 };
    long sum = 0, want = 0;
    int digits = 0;
    if (n < STORED_HEAD || !head[0])
        return 0;
    for (size_t i = 0; i < STORED_HEAD; i++)
        sum += i >= SUM && i < SUM + SUM_LEN ? ' ' : (unsigned char)head[i];
    for (size_t i = SUM;
         i < SUM + SUM_LEN && (head[i] == ' ' || (head[i] >= '0' && head[i] <= '7')); i++)
        if (head[i] != ' ') {
            want = want * 8 + head[i] - '0';
            digits++;
        }
    return digits > 0 && sum == want;
}

static int is_zeros(const char *head, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (head[i])
            return 0;
    return n == STORED_HEAD;
}

static enum magic_use look(const char *head, size_t n, const char **kind)
{
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        if (n < magics[i].off + magics[i].len ||
            memcmp(head + magics[i].off, magics[i].magic, magics[i].len) != 0 ||
            (magics[i].off == 1 && (head[0] & 0xf0) != 0x50))
            continue;
        *kind = magics[i].kind;
        return magics[i].use;
    }
    *kind = "tar";
    return is_old_tar(head, n) ? TAR : NOTHING;
}

static int refuse(enum magic_use use, const char *kind, const char *path, struct pesc_error *err)
{
    if (use == TABLE)
        return FAIL(err, DS_FORMAT, "%s: %s data; JSON, JSON lines, CSV and text are read", path,
                    kind);
    return FAIL(err, AR_FORMAT, "%s: %s data; tar, zip, gz, xz, zst, bz2 only", path, kind);
}

int stored_refuse_nested(const char *head, size_t n, const char *path, struct pesc_error *err)
{
    const char *kind;
    enum magic_use use = look(head, n, &kind);
    if (use == NOTHING)
        return 0;
    if (use == REFUSED || use == TABLE)
        return refuse(use, kind, path, err);
    return FAIL(err, AR_FORMAT, "%s: %s data inside; what is packed twice is not opened", path,
                kind);
}

/* An image of a disc has its mark after 32 KiB. */
static int is_iso(int fd)
{
    char mark[5];
    return pread(fd, mark, sizeof mark, 32769) == sizeof mark && !memcmp(mark, "CD001", 5);
}

static int fill_head(struct stored *s, int raw, struct pesc_error *err)
{
    char *head = raw ? s->raw : s->head;
    size_t *n = raw ? &s->raw_n : &s->head_n;
    while (*n < STORED_HEAD) {
        long got = raw ? read_file(s, head + *n, STORED_HEAD - *n, err)
                       : read_content(s, head + *n, STORED_HEAD - *n, err);
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        *n += (size_t)got;
    }
    return 0;
}

static int open_packing(struct stored *s, struct pesc_error *err)
{
    struct byte_source raw = {read_raw, s};
    struct arc_entry e;
    struct pesc_error own = {0};
    if (s->packing == GZIP) {
        s->gunzip = gunzip_open(&raw, s->path, err);
        return s->gunzip ? 0 : -1;
    }
    unsigned filter = s->packing == XZ ? ARC_XZ : s->packing == ZSTD ? ARC_ZSTD : ARC_BZIP2;
    if (arc_reader_open_stream(&raw, s->path, ARC_RAW, filter, &s->arc, &own) == 0) {
        int rc = arc_reader_next(s->arc, &e, &own);
        if (rc == 1)
            return 0;
        s->empty = rc == 0 || arc_reader_is_empty(s->arc, &own);
        if (s->empty)
            return 0;
    }
    /* The first bytes said what it is. */
    return error_set(err,
                     own.code == PESC_E_AR_FORMAT ? PESC_E_AR_CORRUPT : (enum pesc_code)own.code,
                     "%s", own.text);
}

/* Both heads, and what they mean. */
static int recognise(struct stored *s, struct pesc_error *err)
{
    const char *kind;
    TRY(fill_head(s, 1, err));
    enum magic_use use = look(s->raw, s->raw_n, &kind);
    s->packing = NOTHING;
    if (use == REFUSED || use == TABLE)
        return refuse(use, kind, s->path, err);
    if (is_iso(s->fd))
        return refuse(REFUSED, "iso", s->path, err);
    if (use == GZIP || use == XZ || use == ZSTD || use == BZIP2) {
        s->packing = use;
        TRY(open_packing(s, err));
    }
    TRY(fill_head(s, 0, err));
    if (s->packing != NOTHING && look(s->head, s->head_n, &kind) != TAR)
        TRY(stored_refuse_nested(s->head, s->head_n, s->path, err));
    if (look(s->head, s->head_n, &kind) == TAR ||
        (is_zeros(s->head, s->head_n) && name_kind(s->path, NULL) == NAME_ARCHIVE))
        s->kind = STORED_TAR; /* zeros: a tar of nothing */
    else if (use == ZIP)
        s->kind = STORED_ZIP;
    return 0;
}

struct stored *stored_open(const char *path, uint64_t limit, struct pesc_error *err)
{
    if (strlen(path) >= PATH_CAP) {
        FAIL(err, IO, "path too long: %.200s...", path);
        return NULL;
    }
    struct stored *s = calloc(1, sizeof *s);
    if (!s) {
        FAIL(err, MEMORY, "%s: no memory", path);
        return NULL;
    }
    strcpy(s->path, path);
    s->limit = limit;
    s->fd = file_open_read(path, NULL, err);
    if (s->fd < 0)
        goto fail;
    s->hash = hash_new(err);
    if (!s->hash || recognise(s, err) != 0)
        goto fail;
    return s;
fail:
    stored_close(s);
    return NULL;
}

enum stored_kind stored_kind(const struct stored *s)
{
    return s->kind;
}

int stored_fd(const struct stored *s)
{
    return s->fd;
}

const char *stored_head(const struct stored *s, size_t *n)
{
    *n = s->head_n;
    return s->head;
}

struct byte_source stored_source(struct stored *s)
{
    return (struct byte_source){read_all, s};
}

int stored_end(struct stored *s, char *sha256, uint64_t *bytes, struct pesc_error *err)
{
    char buf[16384];
    long got;
    while ((got = read_content(s, buf, sizeof buf, err)) > 0)
        ;
    while (got == 0 && (got = read_raw(s, buf, sizeof buf, err)) > 0)
        got = 0;
    if (got < 0)
        return -1;
    hash_hex(s->hash, sha256);
    *bytes = s->bytes;
    return 0;
}

void stored_close(struct stored *s)
{
    if (!s)
        return;
    gunzip_close(s->gunzip);
    arc_reader_close(s->arc);
    if (s->fd >= 0)
        close(s->fd);
    hash_free(s->hash);
    free(s);
}
