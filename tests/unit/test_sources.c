/* Where records come from: every format in every kind of file and archive, folders, and what is
 * refused (reliability dossier D08-D12). */
#include "config.h"
#include "tests/unit/packing.h"
#include "tests/unit/sources.h"

#include <sys/resource.h>
#include <unistd.h>

/* One row per format: a record that is used, one that is empty, one that is bad; and the used one
 * as a header and a row of CSV, where that can say it. */
static const struct {
    enum data_format format;
    const char *used, *empty, *bad, *header, *row, *empty_row;
} formats[] = {
    {DATA_PESC, "{\"conversation\":[{\"input\":\"a\",\"output\":\"b\"}]}", "{\"conversation\":[]}",
     "{\"conversation\":7}", NULL, NULL, NULL},
    {DATA_ALPACA, "{\"instruction\":\"a\",\"output\":\"b\"}",
     "{\"instruction\":\"a\",\"output\":\"\"}", "{\"instruction\":7,\"output\":\"\"}",
     "instruction,output", "\"a, \"\"b\"\"\nc\",d", "a,"},
    {DATA_TEXT, "{\"text\":\"abc\"}", "{\"text\":\" \"}", "{\"text\":[]}", "id,text", "1,abc",
     "2,\" \""},
    {DATA_TOKENIZED, "{\"input_ids\":[1,2,3]}", "{\"input_ids\":[]}", "{\"input_ids\":[-1]}", NULL,
     NULL, NULL},
    {DATA_MESSAGES,
     "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":"
     "\"b\"}]}",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", "{\"messages\":7}", NULL, NULL,
     NULL},
    {DATA_SHAREGPT,
     "{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"gpt\",\"value\":\"b\"}]"
     "}",
     "{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"}]}", "{\"conversations\":7}", NULL,
     NULL, NULL},
    {DATA_SELF, "{\"instruction\":\"a\",\"instances\":[{\"input\":\"\",\"output\":\"b\"}]}",
     "{\"instruction\":\"a\",\"instances\":[{\"input\":\"\",\"output\":\"\"}]}",
     "{\"instruction\":\"a\",\"instances\":7}", NULL, NULL, NULL},
    {DATA_PAIRS, "{\"prompt\":\"a\",\"completion\":\"b\"}",
     "{\"prompt\":\"a\",\"completion\":\" \"}", "{\"prompt\":\"a\",\"completion\":7}",
     "prompt;completion", "a;\"b;c\"", "a;"},
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

enum shape { LINES, ARRAY, CSV, SHAPES };
static const char *const shape_names[SHAPES] = {"d.jsonl", "d.json", "d.csv"};

/* 5 used, 2 empty, 1 bad. NULL: not in that shape. */
static const char *file_of(int format, enum shape shape)
{
    static char text[4096];
    const char *used = formats[format].used, *empty = formats[format].empty,
               *bad = formats[format].bad;
    size_t n = 0;
    if (shape == CSV) {
        used = formats[format].row;
        empty = formats[format].empty_row;
        bad = "a,b,c,d";
        if (!used)
            return NULL;
        n += (size_t)snprintf(text, sizeof text, "%s\r\n", formats[format].header);
    }
    const char *rows[] = {used, empty, used, used, bad, used, empty, used};
    const char *between = shape == ARRAY ? ",\n" : "\n";
    for (size_t i = 0; i < 8; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s%s",
                              i == 0 && shape == ARRAY ? "[" : "", rows[i],
                              i == 7 ? shape == ARRAY ? "]\n" : "\n" : between);
    return text;
}

static void test_every_format_everywhere(void)
{
    struct pesc_error err;
    char path[PATH_CAP], sha[SHAPES][65];
    for (int f = 0; f < N_FORMATS; f++)
        for (int p = 0; p < PACK_ZIP_SECRET; p++)
            for (int shape = 0; shape < SHAPES; shape++) {
                const char *text = file_of(f, (enum shape)shape);
                if (!text)
                    continue;
                struct packed files[] = {
                    {.name = "x/README.md", .text = "read me", .n = 7},
                    {.name = shape_names[shape], .text = text, .n = strlen(text)}};
                int skip = !packing_is_archive((enum packing)p);
                snprintf(path, sizeof path, "%s/%s%s", dir, shape_names[shape],
                         packing_ending((enum packing)p));
                int rc = pack_files(path, (enum packing)p, files + skip, 2 - skip);
                struct dataset *d =
                    rc == 0 ? read_path(path, (struct dataset_options){.bad_max = 1}, &err) : NULL;
                const struct dataset_counts *c = d ? dataset_counts(d) : NULL;
                int good = d && c->read == 8 && c->used == 5 && c->skipped[SKIP_EMPTY] == 2 &&
                           c->skipped[SKIP_BAD] == 1 && adds_up(d) &&
                           dataset_source_at(d, 0)->format == formats[f].format &&
                           dataset_source_count(d) == 1 && !strcmp(dataset_domain(d, 0), "d");
                if (d && p == PACK_PLAIN)
                    strcpy(sha[shape], dataset_sha256(d));
                good = good && !strcmp(dataset_sha256(d), sha[shape]);
                if (!ok(good, "%s as %s%s: counts add up, samples are the same",
                        data_format_name(formats[f].format), shape_names[shape],
                        packing_ending((enum packing)p)))
                    diag("[%s] %s", err.name, err.text);
                dataset_close(d);
                remove(path);
            }
}

/* Whatever is cut off a file or an archive shows, if not as what it is, then as an error. */
static void test_cuts(void)
{
    static const char text[] = "{\"text\":\"abc\"}\n{\"text\":\"a different one\"}\n";
    struct packed files[] = {{.name = "d.jsonl", .text = text, .n = sizeof text - 1}};
    struct pesc_error err;
    for (int p = PACK_GZ; p < PACK_ZIP_SECRET; p++) {
        char *all = NULL;
        size_t n = 0, whole = 0;
        long bad = 0, corrupt = 0, tried = 0;
        char path[PATH_CAP];
        snprintf(path, sizeof path, "%s/d.jsonl%s", dir, packing_ending((enum packing)p));
        if (pack_files(path, (enum packing)p, files, 1) != 0 ||
            file_read(path, 1 << 20, &all, &n, &err) != 0) {
            ok(0, "%s is made", path);
            continue;
        }
        /* A tar is cut at every byte up to the padding of its end, which says nothing. */
        for (size_t cut = 0; cut < n; cut += p == PACK_TAR && cut > 2048 ? 511 : 1) {
            if (file_write(path, all, cut, &err) != 0)
                break;
            struct dataset *d = read_path(path, NONE, &err);
            int padding = p == PACK_TAR && d && cut % 512 == 0 && dataset_size(d) == 2;
            whole += d != NULL;
            bad += d && !padding;
            corrupt += !d && err.code == PESC_E_AR_CORRUPT;
            tried++;
            dataset_close(d);
        }
        ok(bad == 0 && tried > 30 && corrupt > tried * 3 / 5,
           "D12 %s cut at every byte is an error", packing_ending((enum packing)p));
        if (bad || corrupt <= tried * 3 / 5)
            diag("%ld tried, %ld corrupt, %zu read, %ld of them wrong", tried, corrupt, whole, bad);
        char *more = malloc(n + 8);
        if (!more)
            break;
        memcpy(more, all, n);
        memcpy(more + n, "garbage", 7);
        int zip = p == PACK_ZIP || p == PACK_ZIP_STORED;
        if (!zip && file_write(path, more, n + 7, &err) == 0) {
            struct dataset *d = read_path(path, NONE, &err);
            if (!ok(!d && err.code == PESC_E_AR_CORRUPT, "D12 %s with garbage behind it",
                    packing_ending((enum packing)p)))
                diag("[%s] %s", err.name, err.text);
            dataset_close(d);
        }
        free(more);
        free(all);
        remove(path);
    }
}

/* Every byte changed, where checksums are complete: what is read is right, or refused. */
static void test_flips(void)
{
    static const enum packing summed[] = {PACK_GZ, PACK_XZ, PACK_BZ2, PACK_ZIP, PACK_ZIP_STORED};
    static const char text[] = "{\"text\":\"abc\"}\n{\"text\":\"a different one\"}\n";
    struct packed files[] = {{.name = "d.jsonl", .text = text, .n = sizeof text - 1}};
    struct pesc_error err;
    for (size_t k = 0; k < sizeof summed / sizeof *summed; k++) {
        char *all = NULL, path[PATH_CAP], want[65] = "";
        size_t n = 0;
        long wrong = 0, refused = 0;
        snprintf(path, sizeof path, "%s/d.jsonl%s", dir, packing_ending(summed[k]));
        int rc = pack_files(path, summed[k], files, 1);
        struct dataset *d = rc == 0 ? read_path(path, NONE, &err) : NULL;
        if (d)
            strcpy(want, dataset_sha256(d));
        dataset_close(d);
        rc |= file_read(path, 1 << 20, &all, &n, &err);
        for (size_t i = 0; i < n && rc == 0; i++) {
            all[i] ^= 0x10;
            rc = file_write(path, all, n, &err);
            d = read_path(path, NONE, &err);
            wrong += d && strcmp(dataset_sha256(d), want);
            refused += !d;
            dataset_close(d);
            all[i] ^= 0x10;
        }
        ok(rc == 0 && *want && wrong == 0 && refused > 0,
           "D12 %s with a changed byte: %ld of %zu refused, none read wrongly",
           packing_ending(summed[k]), refused, n);
        free(all);
        remove(path);
    }
}

#define FILE_OF(file, s)                                                                           \
    {                                                                                              \
        .name = file, .text = s, .n = sizeof s - 1                                                 \
    }

static void test_members(void)
{
    static const enum packing kinds[] = {PACK_TAR, PACK_TAR_ZST, PACK_ZIP};
    static const struct packed two[] = {FILE_OF("x/a.jsonl", A), FILE_OF("b.json", "[" A "," A "]"),
                                        FILE_OF("x/notes.md", "n")};
    static const struct packed none[] = {FILE_OF("README.txt", A), FILE_OF("__MACOSX/._a.json", A),
                                         FILE_OF("weights.bin", "0")};
    static const struct packed parts[] = {
        FILE_OF("d/valid.jsonl", A A), FILE_OF("d/train/0.jsonl", A), FILE_OF("d/LICENSE.txt", A),
        FILE_OF("d/train/1.jsonl", A A), FILE_OF("d/extra.jsonl", A A A A A)};
    static const struct packed odd[] = {
        FILE_OF("../../x.jsonl", A),
        {.name = "link.jsonl", .link = "/etc/passwd"},
        {.name = "hard.jsonl", .hard = "../../x.jsonl"},
        {.name = "pipe.jsonl", .fifo = 1},
        FILE_OF("inner.jsonl.gz", "\x1f\x8b\x08"),
        FILE_OF("inner.tar", "x"),
    };
    static const struct packed packed_twice[] = {
        FILE_OF("a.jsonl", "\x1f\x8b\x08\0\0\0\0\0\0\x03 and so on")};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        char path[PATH_CAP];
        snprintf(path, sizeof path, "%s/m%s", dir, packing_ending(kinds[k]));
        int zip = kinds[k] == PACK_ZIP;
        ok(pack_files(path, kinds[k], two, 3) == 0, "%s", packing_ending(kinds[k]));
        refused(path, NONE, PESC_E_AR_MEMBER, "x/a.jsonl, b.json", "D09 two files of data");
        reads(path, (struct dataset_options){.member = "b.json"}, 2, "D09 --member");
        reads(path, (struct dataset_options){.member = "a.jsonl"}, 1, "D09 --member by its end");
        refused(path, (struct dataset_options){.member = "c.json"}, PESC_E_AR_MEMBER,
                "no member is named 'c.json'; there is: x/a.jsonl", "D09 no such member");
        ok(pack_files(path, kinds[k], none, 3) == 0, "an archive without data");
        refused(path, NONE, PESC_E_AR_MEMBER, "weights.bin", "D09 no data");
        ok(pack_files(path, kinds[k], none, 0) == 0, "an empty archive");
        refused(path, NONE, PESC_E_AR_MEMBER, "none", "D09 an empty archive");

        ok(pack_files(path, kinds[k], parts, 5) == 0, "an archive with parts");
        is_long(reads(path, NONE, 3, "the training part"), 2, "of two files");
        ok(strstr(heard, "d/extra.jsonl") && strstr(heard, "LICENSE"), "the rest is named");
        reads(path, (struct dataset_options){.part = DATA_PART_VALID}, 2, "the valid part");
        reads(path, (struct dataset_options){.part = DATA_PART_HELD_OUT}, 2, "without a test part");
        refused(path, (struct dataset_options){.part = DATA_PART_TEST}, PESC_E_USAGE_VALUE,
                "no test part; there is: train, valid", "no test part");

        ok(pack_files(path, kinds[k], odd, zip ? 2 : 6) == 0, "an archive with odd members");
        reads(path, NONE, 1, "D10 paths out of it and links: streamed, skipped");
        ok(strstr(heard, "link.jsonl") &&
               (zip || (strstr(heard, "pipe.jsonl") && strstr(heard, "inner.tar"))),
           "D08 D10 what is skipped is named");
        refused(path, (struct dataset_options){.member = "link.jsonl"}, PESC_E_AR_MEMBER,
                "is a symbolic link", "D10 nor can it be chosen");
        ok(pack_files(path, kinds[k], packed_twice, 1) == 0, "a member that is packed");
        refused(path, NONE, PESC_E_AR_FORMAT, "gzip data inside", "D08 is not opened");
        remove(path);
    }
    ok(!path_exists("x.jsonl") && !path_exists("../../x.jsonl"), "D10 nothing was written");
    ok(pack_files(at("s.zip"), PACK_ZIP_SECRET, two, 1) == 0, "an encrypted zip");
    refused(at("s.zip"), NONE, PESC_E_AR_FORMAT, "encrypted", "D11 an encrypted zip");
    remove(at("s.zip"));
}

static void test_archive_facts(void)
{
    static const struct packed files[] = {FILE_OF("d/a.jsonl", A A)};
    struct pesc_error err;
    char sha[65], path[PATH_CAP], want[PATH_CAP + 16];
    uint64_t bytes;
    snprintf(path, sizeof path, "%s", at("f.tar.zst"));
    int rc = pack_files(path, PACK_TAR_ZST, files, 1);
    rc |= hash_file(path, sha, &bytes, &err);
    struct dataset *d = rc == 0 ? read_path(path, NONE, &err) : NULL;
    ok(d != NULL, "an archive");
    if (d) {
        const struct dataset_source *s = dataset_source_at(d, 0);
        snprintf(want, sizeof want, "%s:d/a.jsonl", path);
        is_str(s->path, want, "a member's path");
        is_str(s->archive_sha256, sha, "the archive's digest");
        ok(hash_bytes(A A, sizeof A A - 1, sha, &err) == 0, "digest");
        is_str(s->sha256, sha, "the member's digest");
        is_long((long)s->bytes, sizeof A A - 1, "the member's size");
        is_str(s->name, "a.jsonl", "the member's name");
    }
    dataset_close(d);
    remove(path);

    /* two gzip members and two zstd frames in a row are one file */
    static const enum packing twice[] = {PACK_GZ, PACK_ZST, PACK_XZ, PACK_BZ2};
    for (size_t k = 0; k < 4; k++) {
        char *one = NULL, *two;
        size_t n = 0;
        snprintf(path, sizeof path, "%s/c.jsonl%s", dir, packing_ending(twice[k]));
        rc = pack_files(path, twice[k], files, 1);
        rc |= file_read(path, 1 << 20, &one, &n, &err);
        two = malloc(2 * n);
        if (rc == 0 && two) {
            memcpy(two, one, n);
            memcpy(two + n, one, n);
            rc = file_write(path, two, 2 * n, &err);
        }
        ok(rc == 0, "two pieces");
        reads(path, NONE, 4, "D12 pieces that follow each other are read whole");
        free(one);
        free(two);
        remove(path);
    }
}

static void test_bombs(void)
{
    static const enum packing kinds[] = {PACK_GZ,     PACK_XZ,      PACK_ZST, PACK_BZ2,
                                         PACK_TAR_GZ, PACK_TAR_ZST, PACK_ZIP};
    struct dataset_options o = {.max_unpacked = 1 << 20}, enough = {.max_unpacked = 5 << 20};
    char path[PATH_CAP];
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        snprintf(path, sizeof path, "%s/b.jsonl%s", dir, packing_ending(kinds[k]));
        ok(pack_large(path, kinds[k], "b.jsonl", "{\"text\":\" \",\"pad\":\"0123456789\"}\n",
                      3 << 20) == 0,
           "a bomb");
        refused(path, o, PESC_E_AR_LIMIT, "--max-uncompressed",
                "D08 more than the limit comes out");
        refused(path, enough, PESC_E_DS_EMPTY, "no usable record", "and not less");
        remove(path);
    }
}

static void test_folders(void)
{
    struct pesc_error err;
    int rc = dir_make(at("empty"), &err);
    refused(at("empty"), NONE, PESC_E_DS_EMPTY, "no data files", "an empty folder");
    rc |= put("plain/b.jsonl", A) | put("plain/a.txt", "first\n\nsecond\n") |
          put("plain/sub/c.csv", "text\nx\ny\n") | put("plain/README.md", "x") |
          put("plain/.hidden.jsonl", A) | put("plain/.git/x.jsonl", A);
    ok(rc == 0, "folders are made");
    struct dataset *d = read_path(at("plain"), NONE, &err);
    ok(d && dataset_source_count(d) == 3 && dataset_size(d) == 4 && adds_up(d) &&
           !strcmp(dataset_source_at(d, 0)->name, "a.txt") &&
           !strcmp(dataset_source_at(d, 1)->name, "b.jsonl") &&
           !strcmp(dataset_source_at(d, 2)->name, "c.csv"),
       "a folder's data files in the order of their names");
    dataset_close(d);
    ok(strstr(heard, "README.md") && strstr(heard, ".hidden.jsonl"), "others are named");
    refused(at("plain"), (struct dataset_options){.part = DATA_PART_VALID}, PESC_E_USAGE_VALUE,
            "no valid part; there is: no parts", "a folder without parts");
    reads(at("plain"), (struct dataset_options){.part = DATA_PART_HELD_OUT}, 4,
          "is evaluated as a whole");

    rc = put("parts/gsm8k_train.jsonl", A A A) | put("parts/test/0.jsonl", A) |
         put("parts/more-train.jsonl", A) | put("parts/other.jsonl", A);
    rc |= pack_files(at("parts/dev.jsonl.zst"), PACK_ZST, &(struct packed)FILE_OF("dev.jsonl", A A),
                     1);
    ok(rc == 0, "a folder of parts");
    is_long(reads(at("parts"), NONE, 4, "the training part"), 2, "of two files");
    ok(strstr(heard, "other.jsonl") != NULL, "what is of no part is named");
    reads(at("parts"), (struct dataset_options){.part = DATA_PART_VALID}, 2, "the valid part");
    reads(at("parts"), (struct dataset_options){.part = DATA_PART_HELD_OUT}, 1, "the test part");
    reads(at("parts"), (struct dataset_options){.part = DATA_PART_WATCHED}, 2, "valid before test");
    d = read_path(at("parts"), NONE, &err);
    ok(d && dataset_has_valid(d, 0), "that there is a valid part is known");
    dataset_close(d);
    rc = put("train/train.jsonl", A);
    refused(at("train"), (struct dataset_options){.part = DATA_PART_HELD_OUT}, PESC_E_USAGE_VALUE,
            "no test or valid part; there is: train", "a training part is not evaluated unasked");
    reads(at("train"), (struct dataset_options){.part = DATA_PART_TRAIN}, 1, "unless asked");
    rc |= pack_files(at("bad/x.jsonl"), PACK_ZIP, &(struct packed)FILE_OF("x.jsonl", A), 1);
    (void)rc;
}

/* Records that are skipped, so that nothing but reading takes memory. */
static void test_memory(void)
{
#if defined __SANITIZE_ADDRESS__
    enum { MIB = 24, PEAK = 1024 };
#else
    enum { MIB = 100, PEAK = 128 };
#endif
    static const enum packing kinds[] = {PACK_TAR_ZST, PACK_GZ, PACK_ZIP};
    static char piece[4096];
    snprintf(piece, sizeof piece, "{\"text\":\" \",\"pad\":\"");
    memset(piece + strlen(piece), 'x', 3000);
    strcat(piece, "\"}\n");
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct pesc_error err;
        struct rusage u;
        char path[PATH_CAP];
        snprintf(path, sizeof path, "%s/big.jsonl%s", dir, packing_ending(kinds[k]));
        int rc = pack_large(path, kinds[k], "big.jsonl", piece, (unsigned long long)MIB << 20);
        struct dataset *d = rc == 0 ? read_path(path, NONE, &err) : NULL;
        ok(rc == 0 && !d && err.code == PESC_E_DS_EMPTY && strstr(err.text, " empty"),
           "D07 %d MiB in %s are read", MIB, packing_ending(kinds[k]));
        dataset_close(d);
        getrusage(RUSAGE_SELF, &u);
        if (!ok(u.ru_maxrss / 1024 < PEAK, "D07 in less than %d MiB of memory", PEAK))
            diag("%ld MiB", u.ru_maxrss / 1024);
        remove(path);
    }
}

int main(void)
{
    struct pesc_error err = {0};
    if (!mkdtemp(dir))
        return 99;
    test_every_format_everywhere();
    test_cuts();
    test_flips();
    test_members();
    test_archive_facts();
    test_bombs();
    test_folders();
    test_memory();
    ok(dir_remove_all(dir, &err) == 0, "cleaned up");
    return tap_done();
}
