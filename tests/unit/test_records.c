/* Bad and good input files, by the codes that users see (reliability dossier D01-D07, D11, D14). */
#include "config.h"
#include "core/file.h"
#include "core/hash.h"
#include "datasets/dataset.h"
#include "datasets/records.h"
#include "tests/tap.h"
#include "tests/unit/fake_tokenizer.h"

#include <sys/resource.h>

#define TMP "test_records.tmp"

/* The address sanitizer keeps freed memory for a while. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined __SANITIZE_ADDRESS__ || __has_feature(address_sanitizer)
enum { PEAK_MIB = 512 };
#else
enum { PEAK_MIB = 128 };
#endif

static const struct tokenizer tok = {.bos = FAKE_BOS, .eos = FAKE_EOS, .adds_bos = 1};

static int open_with(const char *text, size_t n, long bad_max, struct dataset **d,
                     struct pesc_error *err)
{
    struct dataset_options o = {.bad_max = bad_max, .vocab_size = FAKE_SIZE};
    const char *paths[] = {TMP ".jsonl"};
    *d = NULL;
    memset(err, 0, sizeof *err);
    if (file_write(paths[0], text, n, err) != 0)
        return -2;
    int rc = dataset_open(paths, 1, &tok, &o, NULL, d, err);
    remove(paths[0]);
    return rc;
}

#define T(s) s, sizeof s - 1
#define GOOD "{\"text\":\"abc\"}\n"

static const struct {
    const char *id, *text;
    size_t n;
    enum pesc_code code;
    const char *says; /* part of the message */
} refused[] = {
    {"D01 empty file", T(""), PESC_E_DS_EMPTY, "no records"},
    {"D01 white space", T(" \r\n\t\n"), PESC_E_DS_EMPTY, "no records"},
    {"D01 byte order mark alone", T("\xef\xbb\xbf"), PESC_E_DS_EMPTY, "no records"},
    {"D01 empty array", T(" [ ] \n"), PESC_E_DS_EMPTY, "no records"},
    {"D01 no usable record", T("{\"text\":\" \"}\n"), PESC_E_DS_EMPTY, "1 read, 1 empty"},
    {"D02 bad line", T(GOOD GOOD "{\"text\":}\n" GOOD), PESC_E_DS_JSON, "line 3"},
    {"D02 bad line tells the byte", T(GOOD GOOD "{\"text\":}\n"), PESC_E_DS_JSON, "byte 30"},
    {"D03 last line cut", T(GOOD "{\"text\":\"ab"), PESC_E_DS_JSON, "line 2"},
    {"D03 last line cut tells the byte", T(GOOD "{\"text\":\"ab"), PESC_E_DS_JSON, "byte 15"},
    {"D03 array cut in a record", T("[{\"text\":\"a\"},\n{\"text\":\"b"), PESC_E_DS_JSON,
     "line 2 (byte 15): the file ends within a record"},
    {"D03 array cut after a comma", T("[{\"text\":\"a\"},"), PESC_E_DS_JSON, "ends within"},
    {"D03 array cut after a record", T("[{\"text\":\"a\"}"), PESC_E_DS_JSON, "ends within"},
    {"D03 array cut at once", T("["), PESC_E_DS_JSON, "ends within"},
    {"D03 UTF-16 with mark", T("\xff\xfe{\0}\0"), PESC_E_DS_ENC, "UTF-16"},
    {"D03 UTF-16 big endian", T("\xfe\xff\0{\0}"), PESC_E_DS_ENC, "UTF-16"},
    {"D03 UTF-16 mark and nothing", T("\xff\xfe"), PESC_E_DS_ENC, "UTF-16"},
    {"D03 NUL byte", T(GOOD "{\"text\":\"a\0b\"}\n"), PESC_E_DS_ENC, "byte 25"},
    {"D03 NUL escape", T("{\"text\":\"a\\u0000b\"}\n"), PESC_E_DS_ENC, "line 1"},
    {"D03 not UTF-8", T("{\"text\":\"a\xff\"}\n"), PESC_E_DS_ENC, "line 1"},
    {"D03 half a surrogate pair", T("{\"text\":\"\\ud800\"}\n"), PESC_E_DS_ENC, "line 1"},
    {"D04 record is a string", T("\"abc\"\n"), PESC_E_DS_FIELD, "no JSON object"},
    {"D04 record is a number", T("[1]"), PESC_E_DS_FIELD, "no JSON object"},
    {"D04 record is null", T("[null ]"), PESC_E_DS_FIELD, "no JSON object"},
    {"D04 unknown schema", T("{\"headline\":\"a\",\"body\":\"b\"}"), PESC_E_DS_FIELD,
     "fields seen: headline, body"},
    {"D04 output missing", T("[{\"instruction\":\"a\",\"output\":\"b\"},{\"instruction\":\"a\"}]"),
     PESC_E_DS_FIELD, "'output' is missing"},
    {"D04 wrong type", T("{\"instruction\":\"a\",\"output\":7}"), PESC_E_DS_FIELD, "not a string"},
    {"D04 text wrong type", T("{\"text\":[\"a\"]}"), PESC_E_DS_FIELD, "'text' is not a string"},
    {"D04 domain wrong type", T("{\"text\":\"a\",\"dataset\":7}"), PESC_E_DS_FIELD, "'dataset'"},
    {"D04 other format later", T("{\"text\":\"a\"}\n{\"instruction\":\"a\",\"output\":\"b\"}"),
     PESC_E_DS_FIELD, "'text' is missing; fields seen: instruction, output"},
    {"D04 conversation wrong type", T("{\"conversation\":{}}"), PESC_E_DS_FIELD, "not an array"},
    {"D04 turn wrong type", T("{\"conversation\":[\"a\"]}"), PESC_E_DS_FIELD, "no object"},
    {"D04 turn without output", T("{\"conversation\":[{\"input\":\"a\"}]}"), PESC_E_DS_FIELD,
     "'output' is missing"},
    {"D04 corpus and conversation",
     T("{\"corpus\":\"a\",\"conversation\":[{\"input\":\"a\",\"output\":\"b\"}]}"), PESC_E_DS_FIELD,
     "both"},
    {"D06 duplicate keys", T("{\"text\":\"a\",\"text\":\"b\"}"), PESC_E_DS_JSON, "line 1"},
    {"D06 number out of range", T("{\"text\":\"a\",\"x\":1e999}"), PESC_E_DS_JSON, "line 1"},
    {"text after the array", T("[{\"text\":\"a\"}] x"), PESC_E_DS_JSON, "after the end"},
    {"two records, no comma", T("[{\"text\":\"a\"} {\"text\":\"a\"}]"), PESC_E_DS_JSON, "expected"},
    {"two records, no space", T("[{\"text\":\"a\"}{\"text\":\"a\"}]"), PESC_E_DS_JSON, "line 1"},
    {"two commas", T("[{\"text\":\"a\"},,{\"text\":\"a\"}]"), PESC_E_DS_JSON, "expected"},
    {"comma at the end", T("[{\"text\":\"a\"},]"), PESC_E_DS_JSON, "expected"},
    {"closing brace for a record", T("[}]"), PESC_E_DS_JSON, "expected"},
    {"brackets crossed", T("[{\"text\":[\"a\"}]]"), PESC_E_DS_JSON, "line 1"},
    {"error line within a record of an array", T("[\n{\"text\":\"a\",\n\"b\":\nx}]"),
     PESC_E_DS_JSON, "line 4"},
    {"plain prose", T("I had always thought\n"), PESC_E_DS_JSON, "line 1"},
    {"D12 gzip cut off", T("\x1f\x8b\x08\0\0\0\0\0"), PESC_E_AR_CORRUPT, "cut off"},
    {"D12 zip cut off", T("PK\x03\x04\0\0"), PESC_E_AR_CORRUPT, "cut off"},
    {"D12 zstd cut off", T("\x28\xb5\x2f\xfd\0\0"), PESC_E_AR_CORRUPT, "Truncated"},
    {"D12 xz cut off", T("\xfd\x37zXZ\0\0"), PESC_E_AR_CORRUPT, "zma"},
    {"D11 7-zip", T("7z\xbc\xaf\x27\x1c\0\4"), PESC_E_AR_FORMAT,
     "7-zip data; tar, zip, gz, xz, zst, bz2 only"},
    {"D11 rar", T("Rar!\x1a\7\1\0"), PESC_E_AR_FORMAT, "rar data; tar, zip"},
    {"D11 lz4", T("\4\x22\x4d\x18\x64"), PESC_E_AR_FORMAT, "lz4 data; tar, zip"},
    {"D11 mtree", T("#mtree\n"), PESC_E_AR_FORMAT, "mtree data; tar, zip"},
    {"Parquet", T("PAR1\x15\x04"), PESC_E_DS_FORMAT, "Parquet"},
    {"ids negative", T("{\"input_ids\":[1,-1]}"), PESC_E_DS_TOKEN, "input_ids[1] is -1"},
    {"ids out of the vocabulary", T("{\"input_ids\":[1,266]}"), PESC_E_DS_TOKEN, "is 266"},
    {"ids huge", T("{\"input_ids\":[1,4294967297]}"), PESC_E_DS_TOKEN, "4294967297"},
    {"labels out of range", T("{\"input_ids\":[1,2],\"labels\":[-100,-99]}"), PESC_E_DS_TOKEN,
     "labels[1] is -99"},
    {"ids not whole", T("{\"input_ids\":[1,2.0]}"), PESC_E_DS_FIELD, "whole number"},
    {"ids no array", T("{\"input_ids\":\"1 2\"}"), PESC_E_DS_FIELD, "not an array"},
    {"labels shorter", T("{\"input_ids\":[1,2],\"labels\":[1]}"), PESC_E_DS_FIELD, "as long"},
    {"mask shorter", T("{\"input_ids\":[1,2],\"attention_mask\":[1]}"), PESC_E_DS_FIELD, "as long"},
    {"mask with left padding", T("{\"input_ids\":[1,2],\"attention_mask\":[0,1]}"), PESC_E_DS_FIELD,
     "tail of zeros"},
    {"mask with a hole", T("{\"input_ids\":[1,2,3],\"attention_mask\":[1,0,1]}"), PESC_E_DS_FIELD,
     "tail of zeros"},
    {"mask that is no 0 or 1", T("{\"input_ids\":[1,2],\"attention_mask\":[1,2]}"), PESC_E_DS_FIELD,
     "tail of zeros"},
    {"mask that hides a label",
     T("{\"input_ids\":[1,2],\"labels\":[1,2],\"attention_mask\":[1,0]}"), PESC_E_DS_FIELD,
     "hides"},
};

static void test_refused(void)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct dataset *d;
        struct pesc_error err;
        int rc = open_with(refused[i].text, refused[i].n, 0, &d, &err);
        int pass = rc == -1 && err.code == (int)refused[i].code && err.exit_status == 4 && !d &&
                   strstr(err.text, refused[i].says);
        ok(pass, "%s", refused[i].id);
        if (!pass)
            diag("got %d [%s] %s", rc, err.name, err.text);
    }
}

static void test_accepted(void)
{
    static const struct {
        const char *id, *text;
        long used;
    } good[] = {
        {"byte order mark and CR LF", "\xef\xbb\xbf{\"text\":\"a\"}\r\n\r\n{\"text\":\"b\"}\r\n",
         2},
        {"no line end at the end", "{\"text\":\"a\"}\n{\"text\":\"b\"}", 2},
        {"array over lines", "\n[\n {\"text\":\n\"a\"}\n ,\n{\"text\":\"b\"} ]\n\n", 2},
        {"objects over several lines", " {\r\n \"text\":\n\"a\"}\n{\n\"text\": \"b\"\n}\n", 2},
        {"brackets and quotes in strings", "[{\"text\":\"]},\\\"{[\\\\\"},{\"text\":\"b\"}]", 2},
        {"null where a field may be absent",
         "{\"instruction\":\"a\",\"input\":null,\"output\":\"b\",\"dataset\":null}", 1},
        {"mask of ones and zeros", "{\"input_ids\":[5,6,7],\"attention_mask\":[1,1,0]}", 1},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct dataset *d;
        struct pesc_error err;
        int rc = open_with(good[i].text, strlen(good[i].text), 0, &d, &err);
        if (!ok(rc == 0 && dataset_counts(d)->used == good[i].used, "accepted: %s", good[i].id))
            diag("[%s] %s", err.name, err.text);
        dataset_close(d);
    }
}

static void test_tolerance(void)
{
    static const char text[] = "nonsense\n" GOOD "{\"text\":7}\n" GOOD "\"\xff\"\n[1\n";
    struct dataset *d;
    struct pesc_error err;
    ok(open_with(T(text), 4, &d, &err) == 0, "four bad records of at most four");
    if (d) {
        const struct dataset_counts *c = dataset_counts(d);
        ok(c->read == 6 && c->used == 2 && c->skipped[SKIP_BAD] == 4, "all are counted");
        ok(dataset_source_at(d, 0)->format == DATA_TEXT, "the first good one says the format");
        struct sample s;
        is_long(dataset_sample(d, 1, &s, &err) == 0 ? s.record : -1, 3,
                "records keep their number");
    }
    dataset_close(d);
    ok(open_with(T(text), 3, &d, &err) != 0 && err.code == PESC_E_DS_JSON &&
           strstr(err.text, "line 6"),
       "a fourth bad one of at most three is the error");
    ok(open_with(T("[{\"text\":\"a\"},{\"text\":7},{\"text\":\"b\"}]"), 1, &d, &err) == 0 &&
           dataset_counts(d)->used == 2,
       "in an array a wrong record is skipped");
    dataset_close(d);
    ok(open_with(T("[{\"text\":\"a\"} {\"text\":\"b\"}]"), 9, &d, &err) != 0 &&
           err.code == PESC_E_DS_JSON,
       "a broken array is an error whatever is tolerated");
}

/* An endless input made of a head, a repeated piece and a tail. */
struct made {
    const char *head, *piece, *tail;
    uint64_t repeats;
    uint64_t at, done;
};
static long made_read(void *ctx, void *buf, size_t cap, struct pesc_error *err)
{
    struct made *m = ctx;
    char *out = buf;
    size_t n = 0;
    (void)err;
    while (n < cap) {
        const char *from = m->done == 0 ? m->head : m->done <= m->repeats ? m->piece : m->tail;
        if (m->done > m->repeats + 1)
            break;
        if (!from[m->at]) {
            m->at = 0;
            m->done++;
            continue;
        }
        out[n++] = from[m->at++];
    }
    return (long)n;
}

static long peak_mib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss / 1024;
}

/* Records until the end; the code it ended with. */
static int read_all(struct made *m, long *n, int *resumable)
{
    struct pesc_error err = {0};
    struct byte_source src = {made_read, m};
    struct records *r = records_open(&src, "made", RECORDS_JSON, &err);
    struct record rec;
    int got = -1;
    *n = 0;
    while (r && (got = records_next(r, &rec, &err)) > 0)
        ++*n;
    *resumable = r && records_resumable(r);
    records_close(r);
    return got < 0 ? err.code : 0;
}

static void test_sizes(void)
{
    long n, before = peak_mib();
    int resumable;
    struct made array = {.head = "[{\"a\":1}",
                         .piece = ",\n{\"text\":\"0123456789abcdef\"}",
                         .tail = "]",
                         .repeats = 4000000};
    ok(read_all(&array, &n, &resumable) == 0 && n == 4000001,
       "D07 a long array is read as a stream");
    struct made line = {.head = GOOD "{\"text\":\"",
                        .piece = "0123456789abcdef",
                        .tail = "\"}\n" GOOD,
                        .repeats = 8 << 20};
    ok(read_all(&line, &n, &resumable) == PESC_E_DS_BIG && n == 1 && resumable,
       "D06 a line of 128 MiB");
    struct made deep = {.head = "[", .piece = "[[[[[[[[[[", .tail = "", .repeats = 4000000};
    ok(read_all(&deep, &n, &resumable) == PESC_E_DS_BIG && n == 0, "D06 40 M brackets");
    struct made many = {.head = "{\"a\":[", .piece = "[],", .tail = "0]}", .repeats = 2000000};
    ok(read_all(&many, &n, &resumable) == PESC_E_DS_BIG && n == 0 && resumable,
       "a record of 2 M values");
    struct made commas = {.head = "{\"text\":\"", .piece = ",", .tail = "\"}", .repeats = 2000000};
    ok(read_all(&commas, &n, &resumable) == 0 && n == 1, "2 M commas in a string are one value");
    long grown = peak_mib() - before;
    if (!ok(grown < PEAK_MIB, "and memory stays below %d MiB more", PEAK_MIB))
        diag("%ld MiB", grown);

    /* after a line that is too long the next one is read */
    struct made again = {.head = GOOD "{\"text\":\"",
                         .piece = "0123456789abcdef",
                         .tail = "\"}\n" GOOD,
                         .repeats = 2 << 20};
    struct pesc_error err = {0};
    struct byte_source src = {made_read, &again};
    struct records *r = records_open(&src, "made", RECORDS_JSON, &err);
    struct record rec;
    ok(records_next(r, &rec, &err) == 1 && records_next(r, &rec, &err) == -1, "big line");
    err.code = 0;
    ok(records_next(r, &rec, &err) == 1 && rec.line == 3 && rec.byte == 15 + 9 + (32 << 20) + 3 &&
           records_next(r, &rec, &err) == 0,
       "the line behind it has its place");
    records_close(r);
}

/* Bytes one by one, so that every boundary falls between two reads. */
struct drip {
    const char *text;
    size_t n, at;
};
static long drip_read(void *ctx, void *buf, size_t cap, struct pesc_error *err)
{
    struct drip *d = ctx;
    (void)err;
    if (cap == 0 || d->at == d->n)
        return 0;
    *(char *)buf = d->text[d->at++];
    return 1;
}

static void test_reads(void)
{
    static const char *const texts[] = {
        "\xef\xbb\xbf\n [ {\"a\":\"]\\\"}\"} ,\n\n{\"b\":[1,{}]},7 , \"x\"\n]\n ",
        "\xef\xbb\xbf \r\n{\"a\":\"]\\\"}\"}\r\n\n{\"b\":[1,{}]}\n7\n \"x\"",
    };
    static const char *const want[] = {"{\"a\":\"]\\\"}\"}", "{\"b\":[1,{}]}", "7", "\"x\""};
    static const long lines[2][4] = {{2, 4, 4, 4}, {2, 4, 5, 6}};
    for (int k = 0; k < 2; k++) {
        struct drip drip = {texts[k], strlen(texts[k]), 0};
        struct byte_source src = {drip_read, &drip};
        struct pesc_error err = {0};
        struct records *r = records_open(&src, "drip", RECORDS_JSON, &err);
        struct record rec;
        int good = r != NULL;
        for (int i = 0; i < 4 && good; i++)
            good = records_next(r, &rec, &err) == 1 && rec.len == strlen(want[i]) &&
                   !memcmp(rec.text, want[i], rec.len) && rec.line == lines[k][i] &&
                   !memcmp(texts[k] + rec.byte, want[i], rec.len);
        good = good && records_next(r, &rec, &err) == 0 && records_next(r, &rec, &err) == 0;
        if (!ok(good, "%s byte by byte", k ? "JSON lines" : "an array"))
            diag("[%s] %s", err.name, err.text);
        records_close(r);
    }
}

static void test_nesting(void)
{
    size_t n = 2000000;
    char *deep = malloc(n);
    struct dataset *d;
    struct pesc_error err;
    if (!deep)
        return;
    memset(deep, '[', n);
    memcpy(deep, "{\"text\":", 8);
    ok(open_with(deep, n, 0, &d, &err) != 0 && err.code == PESC_E_DS_BIG, "D06 2 M deep");
    ok(open_with(deep, n / 4, 0, &d, &err) != 0 && err.code == PESC_E_DS_JSON, "D06 500 k deep");
    free(deep);
}

static void test_files(void)
{
    struct dataset_options o = {.vocab_size = FAKE_SIZE};
    struct dataset *d = NULL;
    struct pesc_error err = {0};
    const char *missing[] = {TMP ".none"};
    ok(dataset_open(missing, 1, &tok, &o, NULL, &d, &err) != 0 && err.code == PESC_E_IO_MISSING,
       "a missing file");

    /* a file longer than one read, its digest, and the digest when only a part is wanted */
    char hex[SHA256_HEX];
    const char *paths[] = {TMP ".json"};
    size_t n = 0, each = sizeof GOOD - 1;
    char *text = malloc(100000 * each);
    if (!text)
        return;
    for (; n < 100000 * each; n += each)
        memcpy(text + n, GOOD, each);
    err.code = 0;
    ok(file_write(paths[0], text, n, &err) == 0 && hash_bytes(text, n, hex, &err) == 0,
       "file made");
    free(text);
    for (int part = 0; part < 2; part++) {
        o.max_records = part ? 10 : 0;
        int rc = dataset_open(paths, 1, &tok, &o, NULL, &d, &err);
        ok(rc == 0 && dataset_size(d) == (part ? 10 : 100000), "read%s", part ? " in part" : "");
        if (rc == 0) {
            is_str(dataset_source_at(d, 0)->sha256, hex, "digest of the whole file");
            is_long((long)dataset_source_at(d, 0)->bytes, (long)n, "size of the whole file");
            is_str(dataset_domain(d, 0), "test_records.tmp", "the file's name is the domain");
        }
        dataset_close(d);
        d = NULL;
    }
    remove(paths[0]);
}

int main(void)
{
    test_refused();
    test_accepted();
    test_tolerance();
    test_sizes();
    test_reads();
    test_nesting();
    test_files();
    return tap_done();
}
