/* Packs that must be refused, by the P-numbers of the list of faults: each with its code and exit
 * status, and with nothing left on disk. */
#include "config.h"
#include "adapters/pack_internal.h"
#include "pack_fixture.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>

/* Every byte inverted, and one bit of every byte: nothing of it is accepted (P12). */
static void test_flips(void)
{
    struct pesc_error err = {0};
    char *p, digest[65];
    size_t n = 0, accepted = 0, other = 0, tried = 0;
    struct pack *k = NULL;
    ok(file_read(at("a.pescpack"), 1 << 20, &p, &n, &err) == 0 &&
           file_write(at("flip"), p, n, &err) == 0 &&
           pack_open(at("flip"), NULL, NULL, &k, &err) == 0,
       "a pack to damage");
    memcpy(digest, pack_digest(k), sizeof digest);
    pack_close(k);
    int fd = open(at("flip"), O_WRONLY);
    for (size_t i = 0; i < n; i += SANITIZED ? 7 : 1, tried++)
        for (int bit = 0; bit < 2; bit++) {
            struct pesc_error e = {0};
            char flipped = bit ? (char)(p[i] ^ 1 << i % 8) : (char)~p[i];
            k = NULL;
            if (pwrite(fd, &flipped, 1, (off_t)i) != 1)
                other++;
            if (pack_open(at("flip"), NULL, NULL, &k, &e) == 0) {
                accepted++;
                other += strcmp(pack_digest(k), digest) != 0;
            }
            if (pwrite(fd, p + i, 1, (off_t)i) != 1)
                other++;
            pack_close(k);
        }
    close(fd);
    ok(accepted == 0 && tried > 100,
       "none of %zu bytes, inverted or with a bit flipped, is accepted", tried);
    ok(other == 0, "nor opened as another pack");
    ok(same_files(at("flip"), at("a.pescpack")), "all were undone");
    is_long(left_behind(), 0, "nothing left");
    free(p);
}

static void test_format(void)
{
    struct bytes b = {0}, tar = {0};
    struct pesc_error err = {0};
    char *zst;
    size_t n;
    forged_tar(&good, &tar);
    refused_bytes(&b, "E-PK-FORMAT", 5, "P01 empty file");
    put(&b, "this is no pack", 15);
    refused_bytes(&b, "E-PK-FORMAT", 5, "P01 text");
    clear(&b);
    put(&b, "\x1f\x8b\x08\0\0\0\0\0\0\x03", 10);
    refused_bytes(&b, "E-PK-FORMAT", 5, "P01 gzip");
    refused_bytes(&tar, "E-PK-FORMAT", 5, "P01 plain tar");
    refused_file(dir, "E-IO-TYPE", 9, "a folder");
    clear(&b);
    put(&b, "only some text, compressed", 26);
    refused_tar(&b, "E-PK-FORMAT", "P01 text in zstd");
    if (file_read(at("a.pescpack"), 1 << 20, &zst, &n, &err) != 0)
        return;
    put(&b, zst, n);
    refused_tar(&b, "E-PK-FORMAT", "P01 compressed twice");

    put(&b, zst, n);
    put(&b, "x", 1);
    refused_bytes(&b, "E-PK-TRAIL", 5, "P11 a byte behind");
    b.n = n;
    put(&b, zst, n);
    refused_bytes(&b, "E-PK-TRAIL", 5, "P11 a second frame");
    b.n = n;
    put(&b, "\x50\x2a\x4d\x18\0\0\0\0", 8);
    refused_bytes(&b, "E-PK-TRAIL", 5, "P11 a skippable frame");
    b.n = n - 1;
    refused_bytes(&b, "E-PK-TRAIL", 5, "truncated within the seal");
    b.n = n - PACK_SEAL - 1;
    refused_bytes(&b, "E-PK-ZSTD", 5, "truncated within the frame");
    b.n = n / 2;
    refused_bytes(&b, "E-PK-ZSTD", 5, "cut in half");
    b.n = n;
    b.p[n - 1] ^= 1;
    refused_bytes(&b, "E-PK-HASH", 5, "P12 the seal");
    b.p[n - 1] ^= 1;
    b.n = n - PACK_SEAL;
    b.p[b.n - 1] ^= 1;
    refused_bytes(&b, "E-PK-ZSTD", 5, "P10 checksum, without the seal");
    b.p[b.n - 1] ^= 1;
    b.n = n;
    b.p[5] = (28 - 10) << 3;
    refused_bytes(&b, "E-PK-ZSTD", 5, "P10 window of 2^28");
    clear(&b);
    put(&b, "\x28\xb5\x2f\xfd\x05\x58\x07\x01\0\0abcd", 14);
    refused_bytes(&b, "E-PK-ZSTD", 5, "P10 dictionary");
    clear(&b);
    put(&b, zst, n - PACK_SEAL - 4);
    b.p[4] = 0;
    refused_bytes(&b, "E-PK-ZSTD", 5, "P10 no checksum");
    clear(&b);
    put(&b, zst, n);
    b.p[4] |= 0x10;
    refused_bytes(&b, "E-PK-ZSTD", 5, "P10 unused bit");
    clear(&b);
    free(zst);

    size_t whole = tar.n;
    put(&tar, "x", 1);
    struct bytes copy = {0};
    put(&copy, tar.p, tar.n);
    refused_tar(&copy, "E-PK-TRAIL", "P11 a byte behind the end mark");
    tar.n = whole;
    put_zeros(&tar, 512);
    put(&copy, tar.p, tar.n);
    refused_tar(&copy, "E-PK-TRAIL", "P11 a third block of zeros");
    tar.n = whole;
    put(&copy, tar.p, whole);
    put(&copy, tar.p, whole);
    refused_tar(&copy, "E-PK-TRAIL", "P11 a second tar");
    put(&copy, tar.p, whole - 512);
    refused_tar(&copy, "E-PK-TRAIL", "half an end mark");
    put(&copy, tar.p, whole - 1024);
    refused_tar(&copy, "E-PK-TRAIL", "no end mark");
    put(&copy, tar.p, whole - 1024 - 512 + 5);
    refused_tar(&copy, "E-PK-LIMIT", "P08 data ends early");
    clear(&tar);
}

static void set_mode(unsigned char *h)
{
    h[103] = '7';
}
static void set_uid(unsigned char *h)
{
    h[113] = '1';
}
static void set_time(unsigned char *h)
{
    h[146] = '1';
}
static void set_owner(unsigned char *h)
{
    memcpy(h + 265, "root", 4);
}
static void set_link(unsigned char *h)
{
    memcpy(h + 157, "/etc/passwd", 11);
}
static void set_prefix(unsigned char *h)
{
    memcpy(h + 345, "../..", 5);
}
static void set_gnu(unsigned char *h)
{
    memcpy(h + 257, "ustar  ", 8);
}
static void set_binary_size(unsigned char *h)
{
    h[124] = 0x80;
}
static void set_nul_name(unsigned char *h)
{
    memcpy(h, "README.md\0../../evil", 20);
}
static void set_tail(unsigned char *h)
{
    h[511] = 1;
}

/* Manifest, then one odd entry. */
static void odd(const char *name, char type, edit_header edit, const char *code, const char *what)
{
    struct bytes tar = {0};
    char *text = json_canonical(good.manifest);
    tar_put(&tar, "manifest.json", '0', -1, text, strlen(text), NULL);
    tar_put(&tar, name, type, -1, "data", 4, edit);
    tar_end(&tar);
    free(text);
    refused_tar(&tar, code, what);
}

static void test_entries(void)
{
    static const char *const names[] = {"/etc/passwd", "..",        ".",       "../evil", "a/b",
                                        "a\\b",        "a\xc3\xa9", ".hidden", "-o",      "con",
                                        "NUL.txt",     "com1",      "a b",     "a\nb",    "",
                                        "a\x1b[31m",   "a:stream",  "LPT9.md", "~root"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        odd(names[i], '0', NULL, "E-PK-NAME", "P04 name");
    char longest[102];
    memset(longest, 'n', 101);
    longest[101] = 0;
    odd(longest, '0', NULL, "E-PK-EXTRA", "P04 a name of 100 bytes");
    odd("README.md", '0', set_prefix, "E-PK-NAME", "P04 name with prefix");
    odd("README.md", '0', set_nul_name, "E-PK-NAME", "P04 name behind a NUL");
    for (const char *t = "1234567S\0"; *t; t++)
        odd("README.md", *t, NULL, "E-PK-TYPE", "P05 type");
    odd("README.md", 0, NULL, "E-PK-TYPE", "P05 old regular file");
    for (const char *t = "xgXLK"; *t; t++)
        odd("README.md", *t, NULL, "E-PK-HEADER", "P07 extended header");
    static const struct {
        edit_header edit;
        const char *what;
    } edits[] = {{set_mode, "P07 mode"}, {set_uid, "P07 owner"},
                 {set_time, "P07 time"}, {set_owner, "P07 owner"},
                 {set_link, "P07 link"}, {set_gnu, "P07 GNU magic"},
                 {set_tail, "P07 tail"}, {set_binary_size, "P07 binary size"}};
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++)
        odd("README.md", '0', edits[i].edit, "E-PK-HEADER", edits[i].what);
    odd("evil.py", '0', NULL, "E-PK-EXTRA", "P21 a program");
    odd("moe_model.bin", '0', NULL, "E-PK-EXTRA", "P21 a pickle");
    odd("manifest.json", '0', NULL, "E-PK-DUP", "P06 manifest twice");
    odd("adapter_config.json", '0', NULL, "E-PK-ORDER", "P06 order");
    odd("README.md", '0', NULL, "E-PK-LIMIT", "P08 size is not the manifest's");
}

/* All entries, changed by how: 0 first left out, 1 last left out, 2 first twice, 3 two swapped,
 * 4 dirty padding, 5 broken header. */
static void arranged(int how, const char *code, const char *what)
{
    struct bytes tar = {0};
    char *text = json_canonical(good.manifest);
    tar_put(&tar, "manifest.json", '0', -1, text, strlen(text), NULL);
    free(text);
    static const int order[6][6] = {{1, 2, 3, -1},    {0, 1, 2, -1},    {0, 0, 1, 2, 3, -1},
                                    {0, 2, 1, 3, -1}, {0, 1, 2, 3, -1}, {0, 1, 2, 3, -1}};
    for (const int *i = order[how]; *i >= 0; i++) {
        size_t before = tar.n;
        tar_put(&tar, good.file[*i].name, '0', -1, good.file[*i].data.p, good.file[*i].data.n,
                NULL);
        if (*i == 1 && how == 4)
            tar.p[tar.n - 1] = 1;
        if (*i == 1 && how == 5)
            tar.p[before + 149] ^= 1;
    }
    tar_end(&tar);
    refused_tar(&tar, code, what);
}

static void test_manifest_place(void)
{
    struct bytes tar = {0};
    char *text = json_canonical(good.manifest);
    tar_put(&tar, "README.md", '0', -1, "x", 1, NULL);
    tar_put(&tar, "manifest.json", '0', -1, text, strlen(text), NULL);
    tar_end(&tar);
    refused_tar(&tar, "E-PK-MANIFEST", "P02 manifest is not first");
    tar_end(&tar);
    refused_tar(&tar, "E-PK-MANIFEST", "P02 no entry at all");
    tar_put(&tar, "manifest.json", '0', 2 << 20, text, strlen(text), NULL);
    refused_tar(&tar, "E-PK-MANIFEST", "P02 manifest over 1 MiB");
    free(text);
    arranged(0, "E-PK-ORDER", "P06 the first file is missing");
    arranged(1, "E-PK-MISSING", "P06 the last file is missing");
    arranged(2, "E-PK-DUP", "P06 a file twice");
    arranged(3, "E-PK-ORDER", "P06 other order");
    arranged(4, "E-PK-HEADER", "padding that is not zero");
    arranged(5, "E-PK-HEADER", "header checksum");
}

/* A manifest as text, alone in its pack. */
static void manifest_text(const char *text, const char *code, const char *what)
{
    struct bytes tar = {0};
    tar_put(&tar, "manifest.json", '0', -1, text, strlen(text), NULL);
    tar_end(&tar);
    refused_tar(&tar, code, what);
}

/* One value of the manifest replaced (NULL: removed), hashes left as they are. */
static void manifest_value(const char *object, long index, const char *key, json_t *v,
                           const char *code, const char *what)
{
    struct forged f = {.n = good.n};
    f.manifest = json_deep_copy(good.manifest);
    for (long i = 0; i < f.n; i++)
        f.file[i] = good.file[i];
    json_t *o = object ? json_object_get(f.manifest, object) : f.manifest;
    if (index >= 0)
        o = json_array_get(o, (size_t)index);
    if (v)
        json_object_set_new(o, key, v);
    else
        json_object_del(o, key);
    struct bytes tar = {0};
    forged_tar(&f, &tar);
    json_decref(f.manifest);
    refused_tar(&tar, code, what);
}

static json_t *integers(long a, long b)
{
    return json_pack("[I, I]", (json_int_t)a, (json_int_t)b);
}

static void test_manifest(void)
{
    manifest_text("{", "E-PK-JSON", "P03 broken JSON");
    manifest_text("", "E-PK-JSON", "P03 no JSON");
    manifest_text("[]", "E-PK-JSON", "P03 not an object");
    manifest_text("{\"pesc_pack\":1,\"pesc_pack\":1}", "E-PK-JSON", "P03 duplicate key");
    manifest_text("{\"pesc_pack\":2}", "E-PK-VERSION", "P03 another major version");
    manifest_text("{\"pesc_pack\":1.0}", "E-PK-JSON", "P03 version as float");
    char *text = json_dumps(good.manifest, JSON_SORT_KEYS);
    manifest_text(text, "E-PK-JSON", "spaces: not canonical");
    free(text);
    manifest_value(NULL, -1, "x", json_real(1.5), "E-PK-JSON", "P03 float");
    manifest_value("training", -1, "lr", json_real(2e-4), "E-PK-JSON", "P03 float inside");
    manifest_value(NULL, -1, "name", json_string("../x"), "E-PK-JSON", "name as path");
    manifest_value(NULL, -1, "name", json_string("a\x1b[31mred"), "E-PK-JSON", "P20 escape");
    manifest_value(NULL, -1, "name", NULL, "E-PK-JSON", "no name");
    manifest_value(NULL, -1, "version", json_string("1 2"), "E-PK-JSON", "version");
    manifest_value(NULL, -1, "created", json_string("yesterday"), "E-PK-JSON", "time");
    manifest_value(NULL, -1, "files", json_string("x"), "E-PK-JSON", "files");
    manifest_value(NULL, -1, "training", json_string("x"), "E-PK-JSON", "training");
    manifest_value("requires", -1, "pesc", json_string(">=99.0"), "E-PK-VERSION", "too new");
    manifest_value("requires", -1, "pesc", json_string("new"), "E-PK-JSON", "requirement");
    manifest_value("base", -1, "fingerprint", json_string("md5:0"), "E-PK-JSON", "fingerprint");
    manifest_value("base", -1, "layers", json_integer(2), "E-PK-CONFIG", "P18 layers");
    manifest_value("base", -1, "hidden", json_integer(5), "E-PK-CONFIG", "P18 hidden");
    manifest_value("adapter", -1, "experts", json_integer(3), "E-PK-CONFIG", "P18 experts");
    manifest_value("adapter", -1, "experts", json_integer(1000000000), "E-PK-CONFIG",
                   "P18 10^9 experts");
    manifest_value("adapter", -1, "top_k", json_integer(3), "E-PK-CONFIG", "P18 top_k > experts");
    manifest_value("adapter", -1, "top_k", json_integer(0), "E-PK-CONFIG", "P18 top_k 0");
    manifest_value("adapter", -1, "dim", json_integer(4), "E-PK-CONFIG", "P18 dim");
    manifest_value("adapter", -1, "layers", json_string("0-0"), "E-PK-CONFIG",
                   "P18 layers that are all of them");
    manifest_value("adapter", -1, "layers", json_string("1-1"), "E-PK-CONFIG",
                   "P18 layers that there are not");
    manifest_value("adapter", -1, "layers", json_integer(0), "E-PK-CONFIG", "P18 layers as number");
    manifest_value("adapter", -1, "act", json_string("relu"), "E-PK-CONFIG", "activation");
    manifest_value("adapter", -1, "scaling", json_string("nan"), "E-PK-CONFIG", "scaling nan");
    manifest_value("adapter", -1, "scaling", json_string("1e999"), "E-PK-CONFIG", "scaling inf");
    manifest_value("adapter", -1, "scaling", json_string("0.5"), "E-PK-CONFIG",
                   "scaling of manifest and adapter_config.json differ");
    manifest_value("adapter", -1, "dropout", json_string("1"), "E-PK-CONFIG", "dropout 1");
    manifest_value("adapter", -1, "dtype", json_string("f16"), "E-PK-CONFIG", "dtype");
    manifest_value("adapter", -1, "gate", json_string("x"), "E-PK-CONFIG", "unknown adapter key");
    manifest_value("tensors", 0, "shape", integers(4, 3), "E-PK-CONFIG", "P18 tensor shape");
    manifest_value("tensors", 0, "name", json_string("a\x1b[31m"), "E-PK-CONFIG", "P20 name");
    manifest_value("tensors", 0, "sha256", json_string(good.file[0].name), "E-PK-JSON", "hash");
    char zeros[65];
    memset(zeros, '0', 64);
    zeros[64] = 0;
    manifest_value("tensors", 4, "sha256", json_string(zeros), "E-PK-HASH", "P13 tensor hash");
    for (long i = 0; i < good.n; i++)
        manifest_value("files", i, "sha256", json_string(zeros), "E-PK-HASH", "P13 file hash");
    manifest_value("files", 0, "name", json_string("evil.py"), "E-PK-EXTRA", "P21 listed program");
    manifest_value("files", 0, "name", json_string("adapter_config.json"), "E-PK-DUP", "P06 dup");
    manifest_value("files", 0, "name", json_string("run.json"), "E-PK-ORDER", "P06 order");
    manifest_value("files", 1, "name", json_string("adapter_model.safetensors"), "E-PK-DUP",
                   "P06 config replaced");
    manifest_value("files", 2, "size", json_integer(5ll << 30), "E-PK-LIMIT", "P08 file limit");
    manifest_value("files", 0, "size", json_integer(2 << 20), "E-PK-LIMIT", "P08 text limit");
    manifest_value("files", 2, "size", json_integer(7), "E-PK-LIMIT", "P08 size");
    manifest_value("files", 2, "media", json_string("x/y"), "E-PK-JSON", "media");
    json_t *many = json_array();
    for (int i = 0; i < 17; i++)
        json_array_append_new(many, json_object());
    manifest_value(NULL, -1, "files", many, "E-PK-LIMIT", "P08 17 files");
}

/* The weights changed, all hashes made true again. */
static int with_weights(const char *path, void (*edit)(struct bytes *w))
{
    struct pesc_error err = {0};
    struct forged f;
    struct bytes tar = {0};
    if (forged_load(&f, at("a.pescpack"), at("kept"), &err) != 0)
        return -1;
    edit(forged_file(&f, "adapter_model.safetensors"));
    forged_rehash(&f);
    forged_tar(&f, &tar);
    int rc = zstd_write(path, tar.p, tar.n, &err);
    clear(&tar);
    forged_free(&f);
    return rc;
}

static void last_value(struct bytes *w, float v)
{
    memcpy(w->p + w->n - sizeof v, &v, sizeof v);
}
static void edit_nan(struct bytes *w)
{
    last_value(w, NAN);
}
static void edit_inf(struct bytes *w)
{
    last_value(w, -INFINITY);
}
static void edit_large(struct bytes *w)
{
    last_value(w, 10001);
}
static void edit_router(struct bytes *w) /* the router is last */
{
    memset(w->p + w->n - 2 * HIDDEN * sizeof(float), 0, 2 * HIDDEN * sizeof(float));
}
static void edit_name(struct bytes *w)
{
    for (size_t i = 8; i + 6 < w->n; i++)
        if (!memcmp(w->p + i, "router", 6)) {
            memcpy(w->p + i, "rooter", 6);
            return;
        }
}
static void edit_dtype(struct bytes *w)
{
    for (size_t i = 8; i + 3 < w->n; i++)
        if (!memcmp(w->p + i, "F32", 3))
            memcpy(w->p + i, "I32", 3);
}
static void edit_hole(struct bytes *w)
{
    put(w, "\0\0\0", 4);
}

static void test_weights(void)
{
    static const struct {
        void (*edit)(struct bytes *w);
        const char *code, *what;
    } cases[] = {{edit_nan, "E-PK-NONFINITE", "P19 NaN"},
                 {edit_inf, "E-PK-NONFINITE", "P19 infinity"},
                 {edit_name, "E-PK-CONFIG", "P18 another tensor in the file"},
                 {edit_dtype, "E-PK-CONFIG", "a dtype that the format does not have"},
                 {edit_hole, "E-PK-CONFIG", "bytes behind the last tensor"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ok(with_weights(at("w"), cases[i].edit) == 0, "weights forged");
        refused_file(at("w"), cases[i].code, 5, cases[i].what);
    }
    struct pesc_error err = {0};
    struct pack *p = NULL;
    suspects = 0;
    ok(with_weights(at("w"), edit_large) == 0 && pack_open(at("w"), NULL, &notes, &p, &err) == 0 &&
           suspects == 1,
       "P19 a weight over 10000 is noted");
    pack_close(p);
    suspects = 0;
    ok(with_weights(at("w"), edit_router) == 0 && pack_open(at("w"), NULL, &notes, &p, &err) == 0 &&
           suspects == 1,
       "P19 a router of zeros is noted");
    pack_close(p);
    suspects = 0;
}

static long peak_kib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static void test_bombs(void)
{
    enum { TEN_GIB = 81920 }; /* blocks of 128 KiB */
    struct bytes tar = {0}, b = {0};
    struct timespec t0, t1;
    long before = peak_kib();
    clock_gettime(CLOCK_MONOTONIC, &t0);
    char *text = json_canonical(good.manifest);
    tar_put(&tar, "manifest.json", '0', 10ll << 30, NULL, 0, NULL);
    frame(&b, tar.p, tar.n, TEN_GIB);
    refused_bytes(&b, "E-PK-MANIFEST", 5, "P09 a manifest of 10 GiB");
    clear(&tar), clear(&b);
    tar_put(&tar, "manifest.json", '0', -1, text, strlen(text), NULL);
    size_t manifest = tar.n;
    tar_put(&tar, "README.md", '0', 8ll << 30, NULL, 0, NULL);
    frame(&b, tar.p, tar.n, TEN_GIB);
    refused_bytes(&b, "E-PK-LIMIT", 5, "P09 an entry of 8 GiB");
    clear(&b);
    tar.n = manifest;
    frame(&b, tar.p, tar.n, TEN_GIB);
    refused_bytes(&b, "E-PK-TRAIL", 5, "P09 10 GiB behind the end");
    clear(&b);
    frame(&b, NULL, 0, TEN_GIB);
    refused_bytes(&b, "E-PK-TRAIL", 5, "P09 10 GiB of zeros");
    clock_gettime(CLOCK_MONOTONIC, &t1);
    double s = (double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec);
    ok(s < 5, "quickly");
    ok(SANITIZED || peak_kib() - before < 32 * 1024, "with little memory");
    diag("4 bombs, each opened twice: %.3f s, %ld KiB more", s, peak_kib() - before);
    free(text);
    clear(&tar), clear(&b);
}

int main(void)
{
    setup();
    test_flips();
    test_format();
    test_entries();
    test_manifest_place();
    test_manifest();
    test_weights();
    test_bombs();
    return teardown();
}
