#include "config.h"
#include "tensor/safetensors.h"
#include "tests/unit/gen.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#define T(name, dtype, shape, off)                                                                 \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" off "}"

/* Opens what lies at path; rc of st_open. */
static int try_open(const char *path, enum st_mode mode, struct pesc_error *err)
{
    struct st_file *f;
    *err = (struct pesc_error){0};
    int rc = st_open(path, mode, NULL, &f, err);
    st_close(f);
    return rc;
}

struct bad {
    const char *what, *header;
    size_t data;
    const char *code;
};

static const struct bad both[] = {
    {"S05 array", "[]", 0, "E-ST-START"},
    {"S05 empty header", "", 0, "E-ST-START"},
    {"S05 byte order mark", "\xef\xbb\xbf{}", 0, "E-ST-START"},
    {"S06 invalid UTF-8 in a name", "{" T("a\xff", "F32", "[1]", "[0,4]") "}", 4, "E-ST-UTF8"},
    {"S06 overlong", "{" T("a\xc0\xaf", "F32", "[1]", "[0,4]") "}", 4, "E-ST-UTF8"},
    {"S06 lone surrogate", "{" T("\\ud800", "F32", "[1]", "[0,4]") "}", 4, "E-ST-UTF8"},
    {"S06 \\u0000", "{" T("a\\u0000b", "F32", "[1]", "[0,4]") "}", 4, "E-ST-NAME"},
    {"S06 escaped control character", "{" T("a\\u001b[31m", "F32", "[1]", "[0,4]") "}", 4,
     "E-ST-NAME"},
    {"S06 C1 control character", "{" T("a\\u009bm", "F32", "[1]", "[0,4]") "}", 4, "E-ST-NAME"},
    {"S06 empty name", "{" T("", "F32", "[1]", "[0,4]") "}", 4, "E-ST-NAME"},
    {"S07 truncated", "{\"a\":{\"dtype\":\"F32\"", 0, "E-ST-JSON"},
    {"S07 truncated in a string", "{\"a", 0, "E-ST-JSON"},
    {"S07 truncated behind a backslash", "{\"a\\", 0, "E-ST-JSON"},
    {"S07 only a brace", "{", 0, "E-ST-JSON"},
    {"S07 text behind", "{} x", 0, "E-ST-JSON"},
    {"S07 second object", "{}{}", 0, "E-ST-JSON"},
    {"S07 comment", "{/* */}", 0, "E-ST-JSON"},
    {"S07 NaN", "{\"a\":NaN}", 0, "E-ST-JSON"},
    {"S07 trailing comma", "{" T("a", "F32", "[1]", "[0,4]") ",}", 4, "E-ST-JSON"},
    {"S07 missing comma", "{" T("a", "F32", "[1]", "[0,4]") T("b", "F32", "[1]", "[4,8]") "}", 8,
     "E-ST-JSON"},
    {"S07 missing colon", "{\"a\" {}}", 0, "E-ST-JSON"},
    {"S07 missing value", "{\"a\":,\"b\":{}}", 0, "E-ST-JSON"},
    {"S07 name without quotation marks", "{a:{}}", 0, "E-ST-JSON"},
    {"S07 wrong bracket", "{\"a\":{]}", 0, "E-ST-JSON"},
    {"S07 bracket without its like", "{\"a\":1]", 0, "E-ST-JSON"},
    {"S07 description is a number", "{\"a\":5}", 0, "E-ST-JSON"},
    {"S09 same name twice", "{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[4,8]") "}",
     8, "E-ST-DUP"},
    {"S09 same name escaped",
     "{" T("t", "F32", "[1]", "[0,4]") "," T("\\u0074", "F32", "[1]", "[4,8]") "}", 8, "E-ST-DUP"},
    {"S09 dtype twice",
     "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "E-ST-DUP"},
    {"S11 unknown dtype", "{" T("a", "F31", "[1]", "[0,4]") "}", 4, "E-ST-DTYPE"},
    {"S11 dtype missing", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "E-ST-DTYPE"},
    {"S11 dtype a number", "{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "E-ST-DTYPE"},
    {"S12 negative dimension", "{" T("a", "F32", "[-2]", "[0,8]") "}", 8, "E-ST-SHAPE"},
    {"S12 real dimension", "{" T("a", "F32", "[2.0]", "[0,8]") "}", 8, "E-ST-SHAPE"},
    {"S12 exponent", "{" T("a", "F32", "[2e0]", "[0,8]") "}", 8, "E-ST-SHAPE"},
    {"S12 string dimension", "{" T("a", "F32", "[\"2\"]", "[0,8]") "}", 8, "E-ST-SHAPE"},
    {"S12 true as a dimension", "{" T("a", "F32", "[true]", "[0,4]") "}", 4, "E-ST-SHAPE"},
    {"S12 leading zeros", "{" T("a", "F32", "[007]", "[0,28]") "}", 28, "E-ST-JSON"},
    {"S12 rank 9", "{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "E-ST-SHAPE"},
    {"S12 shape a number", "{" T("a", "F32", "1", "[0,4]") "}", 4, "E-ST-SHAPE"},
    {"S12 shape missing", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "E-ST-SHAPE"},
    {"S13 product wraps to 0", "{" T("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0,
     "E-ST-OVERFLOW"},
    {"S13 product wraps to 4", "{" T("a", "F32", "[6148914691236517206,6]", "[0,16]") "}", 16,
     "E-ST-OVERFLOW"},
    {"S13 bytes wrap", "{" T("a", "F32", "[4611686018427387905]", "[0,4]") "}", 4, "E-ST-OVERFLOW"},
    {"S13 above 2^53", "{" T("a", "F32", "[9007199254740993]", "[0,4]") "}", 4, "E-ST-OVERFLOW"},
    {"S13 bits wrap to 0", "{" T("a", "F32", "[4294967296,2147483648]", "[0,0]") "}", 0,
     "E-ST-OVERFLOW"},
    {"S13 a dimension above 2^53 beside 0", "{" T("a", "F32", "[0,9007199254740993]", "[0,0]") "}",
     0, "E-ST-OVERFLOW"},
    {"S08 nested in an unknown field",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4],\"x\":[[[[[[[[]]]]]]]]}}", 4,
     "E-ST-JSON"},
    {"S13 bytes above 2^53", "{" T("a", "F32", "[9007199254740992]", "[0,36028797018963968]") "}",
     4, "E-ST-OVERFLOW"},
    {"S13 above 2^64", "{" T("a", "F32", "[99999999999999999999]", "[0,4]") "}", 4, "E-ST-JSON"},
    {"S14 reversed", "{" T("a", "F32", "[1]", "[4,0]") "}", 4, "E-ST-OFF"},
    {"S14 one number", "{" T("a", "F32", "[1]", "[4]") "}", 4, "E-ST-OFF"},
    {"S14 three numbers", "{" T("a", "F32", "[1]", "[0,4,8]") "}", 8, "E-ST-OFF"},
    {"S14 negative", "{" T("a", "F32", "[1]", "[-4,0]") "}", 4, "E-ST-OFF"},
    {"S14 real", "{" T("a", "F32", "[1]", "[0.0,4.0]") "}", 4, "E-ST-OFF"},
    {"S14 missing", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "E-ST-OFF"},
    {"S15 offsets longer than the shape", "{" T("a", "F32", "[1]", "[0,8]") "}", 8, "E-ST-SIZE"},
    {"S15 offsets shorter", "{" T("a", "BF16", "[3]", "[0,4]") "}", 4, "E-ST-SIZE"},
    {"S15 no bytes for a scalar", "{" T("a", "F32", "[]", "[0,0]") "}", 0, "E-ST-SIZE"},
    {"S16 overlap", "{" T("a", "F32", "[2]", "[0,8]") "," T("b", "F32", "[2]", "[4,12]") "}", 12,
     "E-ST-OVERLAP"},
    {"S16 same bytes twice",
     "{" T("a", "F32", "[2]", "[0,8]") "," T("b", "F32", "[2]", "[0,8]") "}", 8, "E-ST-OVERLAP"},
    {"S16 hole", "{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[8,12]") "}", 12,
     "E-ST-HOLE"},
    {"S16 hole at the start", "{" T("a", "F32", "[1]", "[4,8]") "}", 8, "E-ST-HOLE"},
    {"S17 data ends early", "{" T("a", "F32", "[4]", "[0,16]") "}", 15, "E-ST-EOF"},
    {"S17 bytes behind", "{" T("a", "F32", "[4]", "[0,16]") "}", 17, "E-ST-TRAIL"},
    {"S17 bytes and no tensor", "{}", 1, "E-ST-TRAIL"},
    {"S18 metadata is a list", "{\"__metadata__\":[]}", 0, "E-ST-META"},
    {"S18 value is a number", "{\"__metadata__\":{\"a\":1}}", 0, "E-ST-META"},
    {"S18 value is an object", "{\"__metadata__\":{\"a\":{}}}", 0, "E-ST-META"},
    {"S18 twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "E-ST-META"},
    {"S18 key twice", "{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0, "E-ST-META"},
};

static const struct bad strict_only[] = {
    {"S05 leading space", " {}", 0, "E-ST-START"},
    {"S05 padded with tabs", "{}\t", 0, "E-ST-JSON"},
    {"S11 I64", "{" T("a", "I64", "[1]", "[0,8]") "}", 8, "E-ST-DTYPE"},
    {"S11 F8", "{" T("a", "F8_E4M3", "[1]", "[0,1]") "}", 1, "E-ST-DTYPE"},
    {"S18 metadata null", "{\"__metadata__\":null}", 0, "E-ST-META"},
    {"S19 unknown field",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":[{}]}}", 4,
     "E-ST-FIELD"},
};

static void test_bad(const struct bad *b, size_t n, enum st_mode mode)
{
    const char *path = gen_path("bad");
    for (size_t i = 0; i < n; i++) {
        struct pesc_error err;
        gen_st(path, b[i].header, strlen(b[i].header), b[i].data);
        int rc = try_open(path, mode, &err);
        is_error(rc, &err, b[i].code, 3, b[i].what);
    }
    unlink(path);
}

static void test_length(void)
{
    struct pesc_error err;
    const char *path = gen_path("length");
    static const struct {
        const char *what;
        unsigned char bytes[10];
        size_t n;
        const char *code;
    } cases[] = {
        {"S01 empty", {0}, 0, "E-ST-TRUNC"},
        {"S01 7 bytes", {0}, 7, "E-ST-TRUNC"},
        {"S02 2^63", {0, 0, 0, 0, 0, 0, 0, 0x80}, 10, "E-ST-HDRBIG"},
        {"S02 100,000,001", {1, 0xe1, 0xf5, 5}, 10, "E-ST-HDRBIG"},
        {"S03 2^64 - 1", {255, 255, 255, 255, 255, 255, 255, 255}, 10, "E-ST-HDRBIG"},
        {"S03 2^64 - 5", {251, 255, 255, 255, 255, 255, 255, 255}, 10, "E-ST-HDRBIG"},
        {"S04 length 3 with 2 bytes", {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, 10, "E-ST-HDRLEN"},
        {"S04 100,000,000", {0, 0xe1, 0xf5, 5}, 10, "E-ST-HDRLEN"},
        {"S04 nothing behind the length", {2}, 8, "E-ST-HDRLEN"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gen_write(path, cases[i].bytes, cases[i].n);
        int rc = try_open(path, ST_BASE, &err);
        is_error(rc, &err, cases[i].code, 3, cases[i].what);
    }
    unsigned char four_mib[10] = {1, 0, 0x40};
    gen_write(path, four_mib, 10);
    int rc = try_open(path, ST_STRICT, &err);
    is_error(rc, &err, "E-ST-HDRBIG", 3, "S02 strict: 4 MiB and 1");
    unlink(path);
}

static void test_kinds(void)
{
    struct pesc_error err;
    const char *fifo = gen_path("fifo");
    alarm(5);
    int rc = try_open(gen_dir, ST_BASE, &err);
    is_error(rc, &err, "E-IO-TYPE", 9, "S26 folder");
    ok(mkfifo(fifo, 0600) == 0, "a FIFO is made");
    rc = try_open(fifo, ST_BASE, &err);
    is_error(rc, &err, "E-IO-TYPE", 9, "S26 FIFO");
    rc = try_open("/dev/zero", ST_BASE, &err);
    is_error(rc, &err, "E-IO-TYPE", 9, "S26 /dev/zero");
    rc = try_open(gen_path("nothing"), ST_BASE, &err);
    is_error(rc, &err, "E-IO-MISSING", 9, "no file");
    alarm(0);
    unlink(fifo);
}

/* n copies of unit between head and tail, as a whole header. */
static void repeat(const char *path, const char *head, const char *unit, long n, const char *tail)
{
    FILE *f = fopen(path, "wb");
    uint64_t len = strlen(head) + (size_t)n * strlen(unit) + strlen(tail);
    if (!f)
        exit(99);
    fwrite(&len, 8, 1, f);
    fputs(head, f);
    for (long i = 0; i < n; i++)
        fputs(unit, f);
    fputs(tail, f);
    fclose(f);
}

static long peak_kib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

/* Opens under a stack of 256 KiB, and minds CPU time and memory. */
static void hostile(const char *path, const char *code, const char *what, long most_mib)
{
    struct pesc_error err;
    struct rlimit old, small;
    getrlimit(RLIMIT_STACK, &old);
    small = old;
    small.rlim_cur = 256 << 10;
    setrlimit(RLIMIT_STACK, &small);
    long before = peak_kib();
    clock_t start = clock();
    int rc = try_open(path, ST_BASE, &err);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    long mib = (peak_kib() - before) / 1024;
    setrlimit(RLIMIT_STACK, &old);
    is_error(rc, &err, code, 3, what);
    ok(seconds < 1 && mib <= most_mib, "%s: %.3f s of CPU and %ld MiB more", what, seconds, mib);
    unlink(path);
}

static void test_hostile(void)
{
    const char *path = gen_path("hostile");
    repeat(path, "{\"a\":", "[", 100000, "");
    hostile(path, "E-ST-JSON", "S08 100,000 brackets open", 2);
    repeat(path, "{\"a\":{\"dtype\":\"F32\",\"shape\":", "[", 8000, "]}}");
    hostile(path, "E-ST-JSON", "S08 8,000 brackets in a shape", 2);
    repeat(path, "{\"a\":{\"dtype\":\"F32\",\"shape\":[", "[],", 5000000, "1]}}");
    hostile(path, "E-ST-JSON", "5,000,000 lists in a shape", 20);
    repeat(path, "{\"__metadata__\":{\"a\":[", "0,", 400000, "0]}}");
    hostile(path, "E-ST-META", "400,000 numbers in the metadata", 2);
    repeat(path, "{\"__metadata__\":{\"a\":\"", "x", 1 << 20, "\"}}");
    hostile(path, "E-ST-META", "S18 more than 1 MiB", 2);
    repeat(path, "{\"", "x", 1000000, "\":{}}");
    hostile(path, "E-ST-NAME", "a name of 1,000,000 bytes", 2);
    repeat(path, "{\"", "x", ST_NAME_CAP,
           "\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}");
    hostile(path, "E-ST-NAME", "a name of 256 bytes", 1);
    repeat(path, "{", "\"1234567\":{},", 5000000, "\"b\":{}}");
    hostile(path, "E-ST-MANY", "S10 5,000,000 tensors", 70);
}

/* Many small tensors: the limit itself, and that nothing is quadratic. */
static void test_many(long n, const char *code)
{
    char *text = malloc((size_t)n * 64 + 2), *p = text;
    struct pesc_error err;
    const char *path = gen_path("many");
    if (!text)
        exit(99);
    for (long i = 0; i < n; i++)
        p += sprintf(p, "%c" T("%ld", "F32", "[0]", "[0,0]"), i ? ',' : '{', (i * 7919) % n);
    *p++ = '}';
    gen_st(path, text, (size_t)(p - text), 0);
    struct st_file *f;
    err = (struct pesc_error){0};
    clock_t start = clock();
    int rc = st_open(path, ST_BASE, NULL, &f, &err);
    if (code) {
        is_error(rc, &err, code, 3, "65,537 tensors");
    } else {
        long missed = 0;
        for (long i = 0; rc == 0 && i < n; i++) {
            char name[32];
            snprintf(name, sizeof name, "%ld", i);
            missed += !st_find(f, name);
        }
        ok(rc == 0 && st_count(f) == n && missed == 0, "65,536 tensors are read and found");
        double s = (double)(clock() - start) / CLOCKS_PER_SEC;
        ok(s < 3, "in %.3f s of CPU", s);
    }
    st_close(f);
    free(text);
    unlink(path);
}

static void test_good(void)
{
    struct pesc_error err = {0};
    struct heard h = {0};
    struct notes notes = {hear, &h};
    struct st_file *f;
    const char *path = gen_path("good");
    /* Out of order in the header, odd offsets, a scalar, an empty one, a carried type. */
    static const char header[] = " \n{" T("w", "BF16", "[2,1]", "[1,5]") "," T(
        "mask", "BOOL", "[1]", "[0,1]") ","
                                        "\"__metadata__\":{\"format\":\"pt\"}," T(
                                            "none", "F32", "[3,0]",
                                            "[5,5]") ","
                                                     "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_"
                                                     "offsets\":[5,9],\"extra\":{\"a\":[1]}} } ";
    gen_st(path, header, strlen(header), 9);
    ok(st_open(path, ST_BASE, &notes, &f, &err) == 0, "a lenient header is read");
    diag("%s", err.text);
    is_long(h.n, 1, "with one note");
    is_str(h.code, "W-ST-FIELD", "S19 about the unknown field");
    is_long(st_count(f), 4, "four tensors");
    is_str(st_at(f, 0)->name, "mask", "in order of data");
    is_str(st_metadata(f, "format"), "pt", "metadata");
    ok(!st_metadata(f, "none") && !st_find(f, "x") && !st_at(f, 4), "what is not there is NULL");
    const struct st_tensor *w = st_find(f, "w"), *s = st_find(f, "s"), *mask = st_find(f, "mask");
    uint16_t raw[2];
    float x[2];
    unsigned char byte;
    ok(w && w->ndim == 2 && w->shape[0] == 2 && w->shape[1] == 1 && w->n == 2 &&
           w->dtype == DT_BF16,
       "shape and dtype");
    ok(st_read(f, w, raw, &err) == 0 && raw[0] == 0x0302 && raw[1] == 0x0504,
       "S20 unaligned bytes");
    uint32_t want = 0x03020000, scalar;
    ok(st_read_f32(f, w, x, &err) == 0 && !memcmp(x, &want, 4), "S20 unaligned to float");
    ok(s && s->n == 1 && st_read(f, s, &scalar, &err) == 0 && scalar == 0x09080706, "scalar");
    ok(st_read_f32(f, st_find(f, "none"), x, &err) == 0, "empty tensor");
    ok(st_read_range(f, w, 2, 2, raw, &err) == 0 && raw[0] == 0x0504, "range");
    int rc = st_read_range(f, w, 3, 2, raw, &err);
    is_error(rc, &err, "E-INTERNAL", 1, "a range outside is refused");
    err = (struct pesc_error){0};
    ok(mask->dtype == DT_COUNT && !strcmp(mask->stored, "BOOL") &&
           st_read(f, mask, &byte, &err) == 0 && byte == 1,
       "a carried type is read as bytes");
    rc = st_read_f32(f, mask, x, &err);
    is_error(rc, &err, "E-ST-DTYPE", 3, "S11 and not as float");
    ok(strstr(err.text, "mask") && strstr(err.text, "BOOL"), "naming tensor and dtype");
    st_close(f);
    unlink(path);
    gen_st(path, "{\"__metadata__\":null}", 21, 0);
    err = (struct pesc_error){0};
    ok(try_open(path, ST_BASE, &err) == 0, "metadata null is none");
    gen_st(path, "{}", 2, 0);
    ok(try_open(path, ST_STRICT, &err) == 0, "no tensors at all");
    unlink(path);
}

static void test_changed(void)
{
    static const char header[] = "{" T("a", "F32", "[4]", "[0,16]") "}";
    static const char *const what[] = {"S21 cut short", "S21 grown", "S21 grown, time restored",
                                       "S21 touched a second earlier"};
    const char *path = gen_path("changed");
    for (int i = 0; i < 4; i++) {
        struct pesc_error err = {0};
        struct st_file *f;
        struct stat st;
        float x[4];
        gen_st(path, header, strlen(header), 16);
        ok(st_open(path, ST_STRICT, NULL, &f, &err) == 0 &&
               st_read_f32(f, st_at(f, 0), x, &err) == 0 && stat(path, &st) == 0,
           "reads before the change");
        struct timespec times[2] = {st.st_mtim, st.st_mtim};
        times[1].tv_sec -= i == 3;
        int done = i == 0 ? truncate(path, 20) : i < 3 ? truncate(path, 1 << 20) : 0;
        if (i >= 2)
            done = utimensat(AT_FDCWD, path, times, 0);
        int rc = st_read_f32(f, st_at(f, 0), x, &err);
        is_error(done ? 0 : rc, &err, "E-ST-CHANGED", 9, what[i]);
        st_close(f);
    }
    unlink(path);
}

static int fill(void *ctx, long i, const struct st_out *t, void *dst, struct pesc_error *err)
{
    float x[6];
    if (ctx && i == *(long *)ctx)
        return FAIL(err, NUM_NONFINITE, "on purpose");
    for (int k = 0; k < 6; k++)
        x[k] = (float)(10 * i + k);
    dtype_from_f32(dst, x, t->dtype, t->ndim == 0 ? 1 : 6);
    return 0;
}

static void test_write(void)
{
    struct pesc_error err = {0};
    struct st_file *f;
    char hash[2][SHA256_HEX], file_hash[SHA256_HEX];
    uint64_t bytes;
    static const struct st_out t[] = {{"z", DT_BF16, 2, {2, 3}},
                                      {"y\"\\", DT_F32, 1, {6}},
                                      {"b", DT_F16, 2, {3, 2}},
                                      {"a", DT_F32, 0, {0}},
                                      {"e", DT_F16, 2, {0, 9}}};
    const char *path = gen_path("out"), *again = gen_path("again");
    ok(st_write(path, t, 5, "format", "pt", fill, NULL, 0, hash[0], &bytes, &err) == 0 &&
           st_write(again, t, 5, "format", "pt", fill, NULL, 1, hash[1], NULL, &err) == 0,
       "writes");
    diag("%s", err.text);
    is_str(hash[0], hash[1], "the same bytes twice");
    ok(st_open(path, ST_STRICT, NULL, &f, &err) == 0, "its own file is canonical");
    diag("%s", err.text);
    is_long(st_count(f), 5, "all tensors");
    is_str(st_at(f, 0)->name, "a", "wide types first");
    is_str(st_at(f, 1)->name, "y\"\\", "then by name");
    is_long((long)(st_at(f, 0)->begin % 8), 0, "data begins at a multiple of 8");
    is_long((long)bytes, (long)(st_find(f, "b")->begin + st_find(f, "b")->bytes), "file size");
    float x[6];
    int same = 1;
    for (long i = 0; i < 3; i++) {
        same &= st_read_f32(f, st_find(f, t[i].name), x, &err) == 0;
        for (int k = 0; k < 6; k++)
            same &= x[k] == (float)(10 * i + k);
    }
    ok(same, "values come back");
    st_close(f);
    char *data;
    size_t len;
    ok(file_read(path, 1 << 20, &data, &len, &err) == 0 && len == bytes, "file is as long as said");
    /* What the reference writer makes of the same tensors. */
    static const char want[] =
        "{\"__metadata__\":{\"format\":\"pt\"}," T("a", "F32", "[]", "[0,4]") "," T(
            "y\\\"\\\\", "F32", "[6]",
            "[4,28]") "," T("z", "BF16", "[2,3]",
                            "[28,40]") "," T("b", "F16", "[3,2]",
                                             "[40,52]") "," T("e", "F16", "[0,9]", "[52,52]") "}";
    ok(!memcmp(data + 8, want, strlen(want)), "the header is the reference writer's");
    free(data);
    ok(st_open(path, ST_STRICT, NULL, &f, &err) == 0, "and opens again");
    st_close(f);
    int rc = st_write(path, t, 5, NULL, NULL, fill, NULL, 1, NULL, NULL, &err);
    is_error(rc, &err, "E-USAGE-EXISTS", 2, "fresh does not overwrite");
    snprintf(file_hash, sizeof file_hash, "%s", hash[0]);
    unlink(path);
    unlink(again);

    err = (struct pesc_error){0};
    long at = 3;
    rc = st_write(path, t, 5, NULL, NULL, fill, &at, 0, NULL, NULL, &err);
    is_error(rc, &err, "E-NUM-NONFINITE", 11, "the filler's error is passed on");
    ok(!path_exists(path), "and no file is left");
    static const struct st_out twice[] = {
        {"a", DT_F32, 0, {0}}, {"b", DT_F32, 0, {0}}, {"a", DT_BF16, 0, {0}}};
    err = (struct pesc_error){0};
    rc = st_write(path, twice, 3, NULL, NULL, fill, NULL, 0, NULL, NULL, &err);
    ok(!path_exists(path), "nothing is left of a refused file");
    is_error(rc, &err, "E-ST-DUP", 3, "one name in two types is refused");
    err = (struct pesc_error){0};
    ok(st_write(path, NULL, 0, "k", "v", fill, NULL, 0, NULL, NULL, &err) == 0 &&
           st_open(path, ST_STRICT, NULL, &f, &err) == 0 && !strcmp(st_metadata(f, "k"), "v"),
       "metadata alone");
    st_close(f);
    unlink(path);
}

static int fill_bytes(void *ctx, long i, const struct st_out *t, void *dst, struct pesc_error *err)
{
    (void)ctx, (void)t, (void)err;
    memcpy(dst, i == 0 ? "\x07\xff\x80" : "\0\0\x80\x3f", i == 0 ? 3 : 4);
    return 0;
}

/* Bytes stand behind the floats; a checkpoint may hold them, a pack may not. */
static void test_bytes(void)
{
    static const struct st_out t[] = {{"a", ST_U8, 1, {3}}, {"b", DT_F32, 1, {1}}};
    struct pesc_error err = {0};
    struct st_file *f = NULL;
    unsigned char got[3] = {0};
    const char *path = gen_path("bytes");
    int rc = st_write(path, t, 2, NULL, NULL, fill_bytes, NULL, 0, NULL, NULL, &err);
    ok(rc == 0 && st_open(path, ST_STATE, NULL, &f, &err) == 0, "bytes are written and read");
    const struct st_tensor *a = f ? st_find(f, "a") : NULL;
    ok(a && a->dtype == DT_COUNT && !strcmp(a->stored, "U8") && a == st_at(f, 1) &&
           st_read(f, a, got, &err) == 0 && !memcmp(got, "\x07\xff\x80", 3),
       "behind the floats, as they were");
    st_close(f);
    is_error(try_open(path, ST_STRICT, &err), &err, "E-ST-DTYPE", 3, "not in a pack");
    unlink(path);
}

/* Every byte of a header changed in several ways, and every length: no verdict is asked for but
 * that there is one, and that what opens can be read. */
static void test_mutations(void)
{
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"}," T("model.w", "F32", "[2,2]", "[0,16]") "," T(
            "b\\u0041", "BF16", "[3]", "[16,22]") "," T("c", "I64", "[]", "[22,30]") "}  ";
    static const unsigned char with[] = {0x01, 0x02, 0x20, 0x80, 0xff, '"' ^ ',', '0' ^ '{'};
    unsigned char file[8 + sizeof header - 1 + 30];
    const char *path = gen_path("mutant");
    long opened = 0, refused = 0, uncoded = 0, unread = 0;
    size_t n = sizeof file;
    gen_st(path, header, strlen(header), 30);
    FILE *in = fopen(path, "rb");
    ok(in && fread(file, 1, n, in) == n, "a file to be spoilt");
    fclose(in);
    for (size_t i = 0; i < n - 30; i++)
        for (size_t k = 0; k < 2 * sizeof with + 1; k++) {
            unsigned char keep = file[i];
            file[i] = k < sizeof with       ? (unsigned char)(keep ^ with[k])
                      : k < 2 * sizeof with ? (unsigned char)(with[k - sizeof with])
                                            : 0;
            gen_write(path, file, n);
            file[i] = keep;
            for (int mode = ST_BASE; mode <= ST_STATE; mode++) {
                struct pesc_error err = {0};
                struct st_file *f;
                int rc = st_open(path, (enum st_mode)mode, NULL, &f, &err);
                opened += rc == 0;
                refused += rc != 0;
                uncoded += rc != 0 && err.exit_status != 3;
                for (long t = 0; rc == 0 && t < st_count(f); t++) {
                    unsigned char data[64];
                    unread += st_at(f, t)->bytes > sizeof data ||
                              st_read(f, st_at(f, t), data, &err) != 0;
                }
                st_close(f);
            }
        }
    for (size_t cut = 0; cut < n; cut++) {
        struct pesc_error err;
        gen_write(path, file, cut);
        int rc = try_open(path, ST_BASE, &err);
        uncoded += rc == 0 || err.exit_status != 3;
    }
    ok(opened > 100 && refused > 1000, "mutants: %ld opened, %ld refused", opened, refused);
    is_long(uncoded, 0, "each refusal has a code of exit status 3");
    is_long(unread, 0, "what opens can be read");
    unlink(path);
}

int main(void)
{
    gen_begin();
    test_length();
    test_bad(both, sizeof both / sizeof *both, ST_BASE);
    test_bad(both, sizeof both / sizeof *both, ST_STRICT);
    test_bad(strict_only, sizeof strict_only / sizeof *strict_only, ST_STRICT);
    test_kinds();
    test_hostile();
    test_many(65536, NULL);
    test_many(65537, "E-ST-MANY");
    test_good();
    test_changed();
    test_write();
    test_bytes();
    test_mutations();
    return gen_end();
}
