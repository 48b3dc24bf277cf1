/* The outer layers of a pack, read by rules and not by tolerance. libarchive only inflates: links,
 * long names, sparse files, extended records and second archives do not exist in the few header
 * fields that are accepted here, so there is nothing to filter.
 *
 *   zstd frame (RFC 8878)       ustar header (POSIX.1-1988), 512 bytes
 *   0  4  magic                   0 100 name         156   1 type '0'
 *   4  1  descriptor            100   8 mode 0644    157 100 link name, empty
 *   .. 1  window                108   8 uid 0        257   8 "ustar\0" "00"
 *   .. 0-8 content size         116   8 gid 0        265  64 owner names, empty
 *      blocks: 3 bytes last,    124  12 size         329  16 device numbers 0
 *      type, size; then data    136  12 mtime 0      345 155 prefix, empty
 *      4  checksum              148   8 checksum     500  12 zero
 *   seal (pack_internal.h)      after the last: two blocks of zeros, then the end */
#include "config.h"
#include "adapters/pack_internal.h"

#include "core/archive.h"
#include "core/hash.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { BLOCK = 512, ZSTD_BLOCK_MAX = 128 * 1024, WALK = 64 * 1024, WINDOW_LOG_MAX = 27 };

struct walk {
    int fd;
    const char *path;
    uint64_t size, off; /* off: of the next byte to be taken */
    uint64_t buf_off;
    size_t buf_n;
    unsigned char buf[WALK];
};

static int walk_take(struct walk *w, unsigned char *out, size_t n, struct pesc_error *err)
{
    if (w->size - w->off < n)
        return FAIL(err, PK_ZSTD, "%s: truncated at %llu bytes", w->path,
                    (unsigned long long)w->size);
    for (size_t i = 0; i < n; i++, w->off++) {
        if (w->off < w->buf_off || w->off >= w->buf_off + w->buf_n) {
            uint64_t rest = w->size - w->off;
            w->buf_off = w->off;
            w->buf_n = rest < WALK ? (size_t)rest : WALK;
            TRY(file_pread(w->fd, w->buf, w->buf_n, w->off, w->path, err));
        }
        out[i] = w->buf[w->off - w->buf_off];
    }
    return 0;
}

/* What may stand behind the frame: nothing, or the seal. */
static int walk_seal(struct walk *w, struct pesc_error *err)
{
    unsigned char seal[PACK_SEAL], sum[32];
    uint64_t end = w->off;
    if (w->off == w->size)
        return 0;
    if (w->size - w->off != PACK_SEAL)
        return FAIL(err, PK_TRAIL, "%s: %llu bytes follow the zstd frame", w->path,
                    (unsigned long long)(w->size - w->off));
    TRY(walk_take(w, seal, PACK_SEAL, err));
    if (memcmp(seal, PACK_SEAL_MAGIC, PACK_SEAL_HEAD) != 0)
        return FAIL(err, PK_TRAIL, "%s: %d bytes follow the zstd frame", w->path, (int)PACK_SEAL);
    struct hash *h = hash_new(err);
    if (!h)
        return -1;
    int rc = 0;
    for (uint64_t at = 0; at < end && rc == 0; at += WALK) {
        size_t n = end - at < WALK ? (size_t)(end - at) : WALK;
        rc = file_pread(w->fd, w->buf, n, at, w->path, err);
        hash_add(h, w->buf, n);
    }
    if (rc == 0)
        rc = hash_peek(h, sum, err);
    hash_free(h);
    if (rc == 0 && memcmp(sum, seal + PACK_SEAL_HEAD, sizeof sum) != 0)
        rc = FAIL(err, PK_HASH, "%s: the seal does not match: the file is damaged", w->path);
    return rc;
}

static int walk_frame(struct walk *w, struct pesc_error *err)
{
    static const unsigned char magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
    unsigned char b[8];
    if (w->size < 4)
        return FAIL(err, PK_FORMAT, "%s: not a pack (%llu bytes)", w->path,
                    (unsigned long long)w->size);
    TRY(walk_take(w, b, 4, err));
    if (memcmp(b, magic, 4) != 0)
        return FAIL(err, PK_FORMAT, "%s: not a pack (no zstd frame)", w->path);
    TRY(walk_take(w, b, 1, err));
    unsigned d = b[0];
    int single = (d >> 5) & 1;
    if (d & 0x18)
        return FAIL(err, PK_ZSTD, "%s: reserved bits are set in the zstd header", w->path);
    if (d & 3)
        return FAIL(err, PK_ZSTD, "%s: needs a zstd dictionary", w->path);
    if (!(d & 4))
        return FAIL(err, PK_ZSTD, "%s: the zstd frame has no checksum", w->path);
    if (!single) {
        TRY(walk_take(w, b, 1, err));
        if (10 + (b[0] >> 3) > WINDOW_LOG_MAX || (b[0] & 7))
            return FAIL(err, PK_ZSTD, "%s: zstd window of an unwanted size (at most 2^%d)", w->path,
                        WINDOW_LOG_MAX);
    }
    static const unsigned char size_bytes[4] = {0, 2, 4, 8};
    size_t n = size_bytes[d >> 6] ? size_bytes[d >> 6] : (size_t)single;
    TRY(walk_take(w, b, n, err));
    if (single && n >= 4) { /* the content is the window then */
        uint64_t content = 0;
        for (size_t i = n; i-- > 0;)
            content = content << 8 | b[i];
        if (content > 1ull << WINDOW_LOG_MAX)
            return FAIL(err, PK_ZSTD, "%s: zstd window over 2^%d", w->path, WINDOW_LOG_MAX);
    }
    for (int last = 0; !last;) {
        TRY(walk_take(w, b, 3, err));
        unsigned h = b[0] | (unsigned)b[1] << 8 | (unsigned)b[2] << 16;
        unsigned type = (h >> 1) & 3, size = h >> 3;
        last = (int)(h & 1);
        if (type == 3 || size > ZSTD_BLOCK_MAX)
            return FAIL(err, PK_ZSTD, "%s: invalid zstd block at %llu", w->path,
                        (unsigned long long)w->off - 3);
        uint64_t skip = type == 1 ? 1 : size;
        if (w->size - w->off < skip)
            return FAIL(err, PK_ZSTD, "%s: truncated at %llu bytes", w->path,
                        (unsigned long long)w->size);
        w->off += skip;
    }
    TRY(walk_take(w, b, 4, err));
    return walk_seal(w, err);
}

struct pack_stream {
    struct arc_reader *arc;
    uint64_t left; /* of the entry's data */
    size_t pad;    /* zeros to the next block */
    long index;
    char path[PATH_CAP];
};

/* Errors of the archive layer are those of a pack here (a second compression inside the first is
 * a format); others pass. */
static int as_pack(struct pesc_error *err)
{
    if (!err || (err->code != PESC_E_AR_CORRUPT && err->code != PESC_E_AR_FORMAT))
        return -1;
    struct pesc_error was = *err;
    err->code = 0;
    return error_set(err, was.code == PESC_E_AR_FORMAT ? PESC_E_PK_FORMAT : PESC_E_PK_ZSTD, "%s",
                     was.text);
}

int pack_stream_open(int fd, const char *path, uint64_t size, struct pack_stream **out,
                     struct pesc_error *err)
{
    *out = NULL;
    if (size > PACK_FILE_MAX)
        return FAIL(err, PK_LIMIT, "%s: larger than 4 GiB", path);
    struct walk *w = calloc(1, sizeof *w);
    struct pack_stream *s = calloc(1, sizeof *s);
    struct arc_entry e;
    int rc = -1;
    if (!w || !s) {
        FAIL(err, MEMORY, "%s: no memory", path);
        goto done;
    }
    strncpy(s->path, path, PATH_CAP - 1);
    w->fd = fd;
    w->path = path;
    w->size = size;
    TRY_OR(walk_frame(w, err), done);
    if (arc_reader_open(fd, path, ARC_RAW, ARC_ZSTD, &s->arc, err) != 0 ||
        (rc = arc_reader_next(s->arc, &e, err)) < 0) {
        rc = as_pack(err);
        goto done;
    }
    if (rc == 0) {
        rc = FAIL(err, PK_FORMAT, "%s: not a pack (empty)", path);
        goto done;
    }
    *out = s;
    s = NULL;
    rc = 0;
done:
    free(w);
    pack_stream_close(s);
    return rc;
}

void pack_stream_close(struct pack_stream *s)
{
    if (!s)
        return;
    arc_reader_close(s->arc);
    free(s);
}

/* n bytes of the inflated stream, fewer only at its end. */
static int pull(struct pack_stream *s, void *buf, size_t n, size_t *got, struct pesc_error *err)
{
    *got = 0;
    while (*got < n) {
        size_t k;
        if (arc_reader_data(s->arc, (char *)buf + *got, n - *got, &k, err) != 0)
            return as_pack(err);
        if (k == 0)
            break;
        *got += k;
    }
    return 0;
}

static int is_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return 0;
    return 1;
}

/* Octal digits, then only spaces and zeros; all of the field may be digits. */
static int octal(const unsigned char *p, size_t n, uint64_t *out)
{
    size_t i = 0;
    *out = 0;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
        *out = *out * 8 + (uint64_t)(p[i] - '0');
    size_t digits = i;
    for (; i < n; i++)
        if (p[i] != ' ' && p[i] != 0)
            return -1;
    return digits ? 0 : -1;
}

static int octal_is(const unsigned char *p, size_t n, uint64_t want)
{
    uint64_t v;
    return octal(p, n, &v) == 0 && v == want;
}

static int is_device_name(const char *name)
{
    static const char *const names[] = {"con", "prn", "aux", "nul"};
    size_t n = strcspn(name, ".");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (n == 3 && !strncasecmp(name, names[i], 3))
            return 1;
    return n == 4 && (!strncasecmp(name, "com", 3) || !strncasecmp(name, "lpt", 3)) &&
           name[3] >= '1' && name[3] <= '9';
}

static int name_ok(const char *name)
{
    if (!name[0] || name[0] == '.' || name[0] == '-' || is_device_name(name))
        return 0;
    for (const char *p = name; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
              *p == '.' || *p == '_' || *p == '-'))
            return 0;
    return 1;
}

static int header_parse(struct pack_stream *s, const unsigned char h[BLOCK], struct pack_entry *e,
                        struct pesc_error *err)
{
    uint64_t sum, real = 8 * ' ';
    for (int i = 0; i < BLOCK; i++)
        real += i >= 148 && i < 156 ? 0 : h[i];
    if (octal(h + 148, 8, &sum) != 0 || sum != real) {
        if (s->index == 0)
            return FAIL(err, PK_FORMAT, "%s: not a pack (no tar inside)", s->path);
        return FAIL(err, PK_HEADER, "%s: entry %ld has a broken header", s->path, s->index);
    }
    if (h[156] == 'x' || h[156] == 'g' || h[156] == 'X' || h[156] == 'L' || h[156] == 'K')
        return FAIL(err, PK_HEADER, "%s: entry %ld is an extended header (type %c)", s->path,
                    s->index, h[156]);
    if (memcmp(h + 257,
               "ustar\0"
               "00",
               8) != 0)
        return FAIL(err, PK_HEADER, "%s: entry %ld is not plain ustar", s->path, s->index);
    if (h[156] != '0')
        return FAIL(err, PK_TYPE, "%s: entry %ld is not a regular file (type %c)", s->path,
                    s->index, h[156]);
    memcpy(e->name, h, 100);
    e->name[100] = 0;
    size_t n = strlen(e->name);
    if (!is_zero(h + 345, 155))
        return FAIL(err, PK_NAME, "%s: entry '%s' has a path before its name", s->path, e->name);
    if (!is_zero(h + n, 100 - n) || !name_ok(e->name))
        return FAIL(err, PK_NAME, "%s: '%s' is no name for a file of a pack", s->path, e->name);
    if (!octal_is(h + 100, 8, 0644) || !octal_is(h + 108, 8, 0) || !octal_is(h + 116, 8, 0) ||
        octal(h + 124, 12, &e->size) != 0 || !octal_is(h + 136, 12, 0) || !is_zero(h + 157, 100) ||
        !is_zero(h + 265, 64) || !octal_is(h + 329, 8, 0) || !octal_is(h + 337, 8, 0) ||
        !is_zero(h + 500, 12))
        return FAIL(err, PK_HEADER, "%s: the header of '%s' says more than name and size", s->path,
                    e->name);
    return 0;
}

int pack_stream_next(struct pack_stream *s, struct pack_entry *e, struct pesc_error *err)
{
    unsigned char h[BLOCK];
    size_t got;
    if (s->left)
        return FAIL(err, INTERNAL, "%s: entry %ld was not read to its end", s->path, s->index);
    TRY(pull(s, h, s->pad, &got, err));
    if (got != s->pad || !is_zero(h, got))
        return FAIL(err, PK_HEADER, "%s: entry %ld is not padded with zeros", s->path, s->index);
    s->pad = 0;
    TRY(pull(s, h, BLOCK, &got, err));
    if (got == BLOCK && is_zero(h, BLOCK)) {
        TRY(pull(s, h, BLOCK, &got, err));
        if (got != BLOCK || !is_zero(h, BLOCK))
            return FAIL(err, PK_TRAIL, "%s: the end mark is not whole", s->path);
        TRY(pull(s, h, 1, &got, err));
        if (got)
            return FAIL(err, PK_TRAIL, "%s: data follows the end mark", s->path);
        return 0;
    }
    if (got != BLOCK && s->index == 0)
        return FAIL(err, PK_FORMAT, "%s: not a pack (no tar inside)", s->path);
    if (got != BLOCK)
        return FAIL(err, PK_TRAIL, "%s: ends without an end mark", s->path);
    TRY(header_parse(s, h, e, err));
    s->index++;
    s->left = e->size;
    s->pad = (size_t)((BLOCK - e->size % BLOCK) % BLOCK);
    return 1;
}

int pack_stream_data(struct pack_stream *s, void *buf, size_t n, struct pesc_error *err)
{
    size_t got;
    if (n > s->left)
        return FAIL(err, INTERNAL, "%s: entry %ld has fewer bytes", s->path, s->index);
    TRY(pull(s, buf, n, &got, err));
    if (got != n)
        return FAIL(err, PK_LIMIT, "%s: entry %ld is shorter than it declares", s->path, s->index);
    s->left -= n;
    return 0;
}
