#include "config.h"
#include "core/archive.h"
#include "core/xxh64.h"
#include "tests/tap.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

static char dir[] = "/tmp/pesc-test-archive-XXXXXX";

static const char *at(const char *name)
{
    static char path[4][PATH_CAP];
    static int i;
    i = (i + 1) % 4;
    snprintf(path[i], PATH_CAP, "%s/%s", dir, name);
    return path[i];
}

/* Writes entries through the writer; returns the commit's result. */
static int write_tar(const char *path, struct pesc_error *err)
{
    static char big[200000];
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 7919 >> 5);
    struct afile *f = afile_open(path, err);
    struct arc_writer *w = f ? arc_writer_open(f, ARC_TAR, err) : NULL;
    if (!w || arc_writer_entry(w, "a.txt", 5, err) != 0 || arc_writer_data(w, "hello", 5, err) ||
        arc_writer_entry(w, "empty", 0, err) != 0 ||
        arc_writer_entry(w, "big", sizeof big, err) != 0 || arc_writer_data(w, big, 1, err) != 0 ||
        arc_writer_data(w, big + 1, sizeof big - 1, err) != 0 || arc_writer_close(w, err) != 0)
        return -1;
    return afile_commit(f, 0, NULL, NULL, err);
}

static int write_raw(const char *path, const void *data, size_t n, struct pesc_error *err)
{
    struct afile *f = afile_open(path, err);
    struct arc_writer *w = f ? arc_writer_open(f, ARC_RAW, err) : NULL;
    if (!w || arc_writer_data(w, data, n, err) != 0 || arc_writer_close(w, err) != 0)
        return -1;
    return afile_commit(f, 0, NULL, NULL, err);
}

/* First entry's first bytes; -1 with err, 0 for an empty archive, 1. */
static int first(const char *path, unsigned formats, unsigned filters, struct arc_entry *e,
                 char *buf, size_t cap, size_t *got, struct pesc_error *err)
{
    int fd = file_open_read(path, NULL, err);
    struct arc_reader *r = NULL;
    int rc = fd < 0 ? -1 : arc_reader_open(fd, path, formats, filters, &r, err);
    if (rc == 0)
        rc = arc_reader_next(r, e, err);
    *got = 0;
    for (size_t k = 1; rc == 1 && k > 0 && *got < cap; *got += k)
        if (arc_reader_data(r, buf + *got, cap - *got, &k, err) != 0)
            rc = -1;
    e->name = NULL;
    arc_reader_close(r);
    if (fd >= 0)
        close(fd);
    return rc;
}

static void refused(const char *path, unsigned formats, unsigned filters, const char *code,
                    const char *what)
{
    struct pesc_error err = {0};
    struct arc_entry e;
    char buf[64];
    size_t got;
    ok(first(path, formats, filters, &e, buf, sizeof buf, &got, &err) == -1, "%s: refused", what);
    is_str(err.name, code, what);
}

static void test_tar(void)
{
    struct pesc_error err = {0};
    const char *path = at("a.tar.zst");
    ok(write_tar(path, &err) == 0, "writes a tar");
    int fd = file_open_read(path, NULL, &err);
    struct arc_reader *r = NULL;
    struct arc_entry e;
    char buf[4096];
    size_t got, total = 0;
    ok(arc_reader_open(fd, path, ARC_TAR | ARC_RAW, ARC_ZSTD, &r, &err) == 0, "opens it");
    ok(arc_reader_next(r, &e, &err) == 1 && e.size == 5 && !strcmp(e.name, "a.txt"), "first entry");
    ok(arc_reader_data(r, buf, sizeof buf, &got, &err) == 0 && got == 5 && !memcmp(buf, "hello", 5),
       "its data");
    ok(arc_reader_next(r, &e, &err) == 1 && e.size == 0 && !strcmp(e.name, "empty"), "empty entry");
    ok(arc_reader_next(r, &e, &err) == 1 && e.size == 200000, "large entry");
    do {
        if (arc_reader_data(r, buf, sizeof buf, &got, &err) != 0)
            break;
        total += got;
    } while (got);
    is_long((long)total, 200000, "its data in pieces");
    is_long(arc_reader_next(r, &e, &err), 0, "the end");
    ok(lseek(fd, 0, SEEK_CUR) == 0, "the caller's descriptor is not moved");
    arc_reader_close(r);
    close(fd);
    refused(path, ARC_TAR, ARC_PLAIN | ARC_GZIP, "E-AR-FORMAT", "a filter that is not listed");
}

static void test_filters(void)
{
    /* gzip of "hi\n": one stored block. */
    static const char gz[] =
        "\x1f\x8b\x08\0\0\0\0\0\0\x03\x01\x03\0\xfc\xffhi\n\x7a\x7a\x6f\xed\x03"
        "\0\0\0";
    struct pesc_error err = {0};
    struct arc_entry e;
    char buf[64], *zst = NULL;
    size_t got, n = 0;
    ok(file_write(at("x.gz"), gz, sizeof gz - 1, &err) == 0, "a gzip file");
    ok(first(at("x.gz"), ARC_RAW, ARC_GZIP, &e, buf, sizeof buf, &got, &err) == 1 && got == 3 &&
           !memcmp(buf, "hi\n", 3),
       "is read");
    refused(at("x.gz"), ARC_RAW, ARC_ZSTD, "E-AR-FORMAT", "gzip, when only zstd is listed");
    ok(file_write(at("plain"), "text", 4, &err) == 0 &&
           first(at("plain"), ARC_RAW, ARC_PLAIN, &e, buf, sizeof buf, &got, &err) == 1 && got == 4,
       "a plain file where that is listed");
    refused(at("plain"), ARC_RAW, ARC_GZIP | ARC_ZSTD, "E-AR-FORMAT", "and where it is not");
    ok(write_raw(at("twice.zst"), gz, sizeof gz - 1, &err) == 0, "gzip in zstd");
    refused(at("twice.zst"), ARC_RAW, ARC_GZIP | ARC_ZSTD | ARC_PLAIN, "E-AR-FORMAT",
            "compressed twice");
    ok(write_raw(at("c.zst"), "some text that is long enough", 29, &err) == 0 &&
           file_read(at("c.zst"), 4096, &zst, &n, &err) == 0,
       "a zstd file");
    zst[n - 1] ^= 1;
    ok(file_write(at("c.zst"), zst, n, &err) == 0, "its checksum changed");
    refused(at("c.zst"), ARC_RAW, ARC_ZSTD, "E-AR-CORRUPT", "checksum");
    ok(file_write(at("c.zst"), zst, n / 2, &err) == 0, "cut in half");
    refused(at("c.zst"), ARC_RAW, ARC_ZSTD, "E-AR-CORRUPT", "truncated");
    free(zst);
    refused(at("plain"), ARC_TAR, ARC_PLAIN, "E-AR-FORMAT", "text as tar");
}

static void test_writer(void)
{
    struct pesc_error err = {0};
    struct afile *f = afile_open(at("w"), &err);
    struct arc_writer *w = arc_writer_open(f, ARC_TAR, &err);
    ok(arc_writer_entry(w, "a", 3, &err) == 0 && arc_writer_data(w, "ab", 2, &err) == 0, "2 of 3");
    ok(arc_writer_data(w, "cd", 2, &err) != 0 && err.code == PESC_E_INTERNAL, "not more than said");
    memset(&err, 0, sizeof err);
    ok(arc_writer_entry(w, "b", 0, &err) != 0 && err.code == PESC_E_INTERNAL, "nor less");
    memset(&err, 0, sizeof err);
    ok(arc_writer_close(w, &err) != 0 && err.code == PESC_E_INTERNAL, "nor less at the end");
    afile_abort(f);
    ok(!path_exists(at("w")), "an aborted file is not there");

    /* A limit on file sizes serves as a full disk. Nothing is printed while it holds. */
    struct rlimit was, small;
    static unsigned char noise[300000];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (unsigned char)(i * i >> 7 ^ i * 2654435761u >> 13);
    memset(&err, 0, sizeof err);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &was);
    small = was;
    small.rlim_cur = 4096;
    f = afile_open(at("w"), &err);
    w = arc_writer_open(f, ARC_TAR, &err);
    int rc = setrlimit(RLIMIT_FSIZE, &small);
    rc |= arc_writer_entry(w, "noise", sizeof noise, &err);
    int failed = arc_writer_data(w, noise, sizeof noise, &err) != 0;
    if (failed)
        arc_writer_abort(w);
    else
        failed = arc_writer_close(w, &err) != 0;
    rc |= setrlimit(RLIMIT_FSIZE, &was);
    afile_abort(f);
    ok(rc == 0 && failed && err.code == PESC_E_IO_FULL, "a full disk is said to be one");
}

/* Known answers; the seams of blocks are tried by cutting the input everywhere. */
static void test_xxh64(void)
{
    struct xxh64 x;
    unsigned char data[101];
    xxh64_init(&x);
    ok(xxh64_end(&x) == 0xef46db3751d8e999, "xxh64 of nothing");
    xxh64_add(&x, "abc", 3);
    ok(xxh64_end(&x) == 0x44bc2cf5ad770999, "xxh64 of abc");
    for (int i = 0; i < 101; i++)
        data[i] = (unsigned char)(i * 37);
    xxh64_init(&x);
    xxh64_add(&x, data, sizeof data);
    uint64_t whole = xxh64_end(&x);
    int same = 1;
    for (size_t cut = 0; cut <= sizeof data; cut++) {
        xxh64_init(&x);
        xxh64_add(&x, data, cut);
        xxh64_add(&x, data + cut, sizeof data - cut);
        same &= xxh64_end(&x) == whole;
    }
    ok(same, "xxh64 in two pieces");
}

int main(void)
{
    struct pesc_error err = {0};
    if (!mkdtemp(dir))
        return 99;
    test_xxh64();
    test_tar();
    test_filters();
    test_writer();
    ok(dir_remove_all(dir, &err) == 0, "cleaned up");
    return tap_done();
}
