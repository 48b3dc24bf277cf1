/* Adapter packs: what is written and read, the base that they belong to, the store. P-numbers are
 * those of the list of faults (see also test_pack_refused). */
#include "config.h"
#include "pack_fixture.h"

#include <locale.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static void test_round_trip(void)
{
    struct pesc_error err = {0};
    struct pack *p = NULL;
    char digest[65], hex[65];
    ok(pack_write(at("n.pescpack"), &spec, 1, &notes, digest, NULL, &err) == 0, "writes a pack");
    if (err.code)
        diag("%s", err.text);
    is_long(left_behind(), 0, "nothing beside it");
    ok(pack_write(at("n.pescpack"), &spec, 1, &notes, digest, NULL, &err) != 0 &&
           err.code == PESC_E_USAGE_EXISTS,
       "does not overwrite");
    memset(&err, 0, sizeof err);
    ok(pack_open(at("a.pescpack"), NULL, &notes, &p, &err) == 0, "opens it");
    if (!p) {
        diag("%s", err.text);
        exit(1);
    }
    is_str(pack_digest(p), digest, "the same digest");
    char *canonical = json_canonical(pack_manifest(p));
    ok(hash_bytes(canonical, strlen(canonical), hex, &err) == 0 && !strcmp(hex, digest),
       "which is that of the canonical manifest");
    free(canonical);
    const struct moe_config *m = pack_moe(p);
    ok(m->experts == 2 && m->top_k == 1 && m->dim == 3 && m->scaling == 0.25 && m->dropout == 0.1 &&
           m->balance == BALANCE_SWITCH && m->balance_coef == 0.01,
       "configuration");
    ok(!memcmp(pack_base(p), &spec.base, sizeof spec.base), "base");
    struct params back = {0};
    ok(moe_declare(&back, m, LAYERS, HIDDEN, &err) == 0 && params_alloc(&back, 0, &err) == 0 &&
           params_load(&back, pack_weights_path(p), &err) == 0 &&
           !memcmp(back.value, params.value, params.total * sizeof(float)),
       "weights, bit for bit");
    params_free(&back);
    ok(suspects == 0 && !pack_has_signature(p), "nothing to remark");
    char folder[PATH_CAP];
    snprintf(folder, sizeof folder, "%.*s",
             (int)(path_base(pack_weights_path(p)) - pack_weights_path(p)), pack_weights_path(p));
    struct stat st;
    ok(stat(folder, &st) == 0 && (st.st_mode & 0777) == 0700, "in a private folder");
    pack_close(p);
    ok(!path_exists(folder), "that is removed");

    spec.bf16 = 1;
    ok(pack_write(at("b.pescpack"), &spec, 1, &notes, NULL, NULL, &err) == 0 &&
           pack_open(at("b.pescpack"), at("kept"), &notes, &p, &err) == 0,
       "bf16, kept");
    spec.bf16 = 0;
    is_str(
        json_string_value(json_object_get(json_object_get(pack_manifest(p), "adapter"), "dtype")),
        "bf16", "and said so");
    pack_close(p);
    ok(path_exists(at("kept/adapter_model.safetensors")) && path_exists(at("kept/metrics.jsonl")),
       "a kept folder stays");
    ok(pack_open(at("b.pescpack"), at("kept"), &notes, &p, &err) != 0 &&
           err.code == PESC_E_USAGE_EXISTS && path_exists(at("kept/README.md")),
       "and is not overwritten");
    memset(&err, 0, sizeof err);
    char *text;
    size_t n;
    ok(file_read(at("kept/README.md"), 1 << 20, &text, &n, &err) == 0, "model card");
    ok(!strncmp(text, "---\nbase_model: \"someone/tiny\"\nbase_model_relation: adapter\n", 60) &&
           strstr(text, "\nlicense: \"apache-2.0\"\ndatasets:\n- \"exa|mple\"\ntags:\n- moe\n"),
       "its front matter");
    free(text);
    ok(dir_remove_all(at("kept"), &err) == 0, "until the caller removes it");
    struct bytes tar = {0};
    forged_tar(&good, &tar);
    ok(zstd_write(at("same"), tar.p, tar.n, &err) == 0 &&
           pack_open(at("same"), NULL, &notes, &p, &err) == 0,
       "and put together by hand it opens");
    if (p)
        is_str(pack_digest(p), digest, "with the same digest");
    pack_close(p);
    clear(&tar);
}

static void test_deterministic(void)
{
    struct pesc_error err = {0};
    char cwd[PATH_CAP];
    ok(pack_write(at("again"), &spec, 1, &notes, NULL, NULL, &err) == 0 &&
           same_files(at("again"), at("a.pescpack")),
       "the same bytes again");
    mode_t mask = umask(0077);
    setenv("TZ", "Asia/Kathmandu", 1);
    tzset();
    const char *locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8", "C"};
    const char *set = NULL;
    for (size_t i = 0; i < 4 && !set; i++)
        set = setlocale(LC_ALL, locales[i]);
    ok(getcwd(cwd, sizeof cwd) && chdir("/") == 0, "elsewhere, locale %s", set);
    ok(pack_write(at("third"), &spec, 1, &notes, NULL, NULL, &err) == 0 &&
           same_files(at("third"), at("a.pescpack")),
       "under another umask, time zone, locale and folder");
    setlocale(LC_ALL, "C");
    umask(mask);
    ok(chdir(cwd) == 0, "and back");
    /* Order of the table does not matter. */
    struct params turned = {0};
    for (long i = params.count; i-- > 0;)
        if (params_add(&turned, 0, 2, params.p[i].shape[0], params.p[i].shape[1], &err, "%s",
                       params.p[i].name) < 0)
            diag("%s", err.text);
    ok(params_alloc(&turned, 0, &err) == 0, "parameters in another order");
    for (long i = 0; i < turned.count; i++) {
        const struct param *p = params_find(&params, turned.p[i].name);
        memcpy(turned.value + turned.p[i].offset, params.value + p->offset, p->n * sizeof(float));
    }
    spec.params = &turned;
    ok(pack_write(at("fourth"), &spec, 1, &notes, NULL, NULL, &err) == 0 &&
           same_files(at("fourth"), at("a.pescpack")),
       "the same bytes");
    spec.params = &params;
    params_free(&turned);
}

static void test_base(void)
{
    struct pesc_error err = {0};
    struct pack *p = NULL;
    struct pack_base base = spec.base;
    char digest[65];
    ok(pack_open(at("a.pescpack"), NULL, &notes, &p, &err) == 0 &&
           pack_check_base(p, &base, 0, &notes, &err) == 0,
       "fits its base");
    base.fingerprint[20] = '0';
    ok(pack_check_base(p, &base, 0, &notes, &err) != 0 && err.code == PESC_E_PK_BASE &&
           err.exit_status == 7,
       "P16 another base");
    memset(&err, 0, sizeof err);
    ok(pack_check_base(p, &base, 1, &notes, &err) == 0 && forced == 1, "P16 forced, and noted");
    ok(pack_import(at("a.pescpack"), at("store"), &base, 0, &notes, digest, &err) == -1 &&
           err.code == PESC_E_PK_BASE && count_entries(at("store"), "") == 0,
       "P16 not imported for another base");
    memset(&err, 0, sizeof err);
    base.layers++;
    ok(pack_check_base(p, &base, 1, &notes, &err) != 0 && err.code == PESC_E_PK_BASE,
       "P16 another depth cannot be forced");
    memset(&err, 0, sizeof err);
    base = spec.base;
    base.tokenizer_sha256[0] = '0';
    ok(pack_check_base(p, &base, 0, &notes, &err) != 0 && err.code == PESC_E_PK_TOK &&
           err.exit_status == 7,
       "P17 another tokenizer");
    pack_close(p);
}

static void test_signature(void)
{
    struct pesc_error err = {0};
    struct pack *p = NULL;
    for (int late = 0; late < 2; late++) {
        struct bytes tar = {0};
        char *text = json_canonical(good.manifest);
        tar_put(&tar, "manifest.json", '0', -1, text, strlen(text), NULL);
        free(text);
        for (long i = 0; i < good.n; i++) {
            if (i == (late ? 2 : 0))
                tar_put(&tar, "manifest.json.minisig", '0', -1, "untrusted comment", 17, NULL);
            tar_put(&tar, good.file[i].name, '0', -1, good.file[i].data.p, good.file[i].data.n,
                    NULL);
        }
        tar_end(&tar);
        if (late) {
            refused_tar(&tar, "E-PK-ORDER", "a signature elsewhere");
            continue;
        }
        ok(zstd_write(at("signed"), tar.p, tar.n, &err) == 0 &&
               pack_open(at("signed"), NULL, &notes, &p, &err) == 0 && pack_has_signature(p) &&
               signatures == 1,
           "a signature is noted as not verified");
        pack_close(p);
        clear(&tar);
    }
}

static int stored_whole(const char *digest)
{
    char path[PATH_CAP], hex[65];
    struct pesc_error err = {0};
    for (long i = -1; i < good.n; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", at("store"), digest,
                 i < 0 ? "manifest.json" : good.file[i].name);
        if (hash_file(path, hex, NULL, &err) != 0)
            return 0;
        const char *want =
            i < 0 ? digest
                  : json_string_value(json_object_get(
                        json_array_get(json_object_get(good.manifest, "files"), (size_t)i),
                        "sha256"));
        if (strcmp(hex, want) != 0)
            return 0;
    }
    return 1;
}

static int in_child(int (*fn)(void))
{
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(fn());
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int import_once(void)
{
    struct pesc_error err = {0};
    char digest[65];
    int rc = pack_import(at("a.pescpack"), at("store"), NULL, 0, NULL, digest, &err);
    return rc < 0 ? err.exit_status + 100 : rc;
}

static int import_full(void)
{
    struct rlimit r = {256, 256};
    signal(SIGXFSZ, SIG_IGN);
    return setrlimit(RLIMIT_FSIZE, &r) == 0 ? import_once() : 1;
}

static int write_full(void)
{
    struct rlimit r = {256, 256};
    struct pesc_error err = {0};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &r) != 0)
        return 1;
    return pack_write(at("full"), &spec, 1, NULL, NULL, NULL, &err) < 0 ? err.exit_status + 100 : 0;
}

static void test_store(void)
{
    struct pesc_error err = {0};
    char digest[65] = "", again[65] = "";
    is_long(in_child(import_full), 109, "P22 import onto a full disk: exit 9");
    is_long(count_entries(at("store"), ""), 0, "P22 and nothing there");
    is_long(in_child(write_full), 109, "export onto a full disk: exit 9");
    ok(!path_exists(at("full")) && left_behind() == 0, "and nothing there");

    int torn = 0, whole = 0;
    for (int i = 0; i < 12; i++) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0)
            _exit(import_once());
        usleep((useconds_t)(i * 400));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        DIR *d = opendir(at("store"));
        for (struct dirent *e; d && (e = readdir(d));)
            if (e->d_name[0] != '.') {
                whole += stored_whole(e->d_name);
                torn += !stored_whole(e->d_name);
            }
        if (d)
            closedir(d);
    }
    ok(torn == 0, "P22 killed 12 times: %d times whole, never torn", whole);
    ok(dir_remove_all(at("store"), &err) == 0, "store emptied");

    fflush(stdout);
    pid_t a = fork();
    if (a == 0)
        _exit(import_once());
    pid_t b = fork();
    if (b == 0)
        _exit(import_once());
    int sa = -1, sb = -1;
    waitpid(a, &sa, 0);
    waitpid(b, &sb, 0);
    ok(WIFEXITED(sa) && WIFEXITED(sb) && WEXITSTATUS(sa) + WEXITSTATUS(sb) == 1,
       "P22 of two imports at once one finds it present");
    is_long(pack_import(at("a.pescpack"), at("store"), &spec.base, 0, &notes, digest, &err), 1,
            "P22 imported again: already present");
    ok(stored_whole(digest) && count_entries(at("store"), "") == 1, "whole, and alone");
    ok(pack_import(at("b.pescpack"), at("store"), NULL, 0, &notes, again, &err) == 0 &&
           strcmp(again, digest) != 0 && count_entries(at("store"), "") == 2,
       "another pack beside it");
    ok(dir_remove_all(at("store"), &err) == 0, "store emptied");
}

/* The writer refuses what the reader would. */
static void test_writer_refuses(void)
{
    struct pack_export x;
    struct pesc_error err;
#define REFUSED(id, what, ...)                                                                     \
    do {                                                                                           \
        x = spec;                                                                                  \
        memset(&err, 0, sizeof err);                                                               \
        __VA_ARGS__;                                                                               \
        ok(pack_write(at("no"), &x, 1, NULL, NULL, NULL, &err) != 0 && err.code == PESC_E_##id,    \
           "not written: " what);                                                                  \
        if (err.code != PESC_E_##id)                                                               \
            diag("%s %s", err.name, err.text);                                                     \
    } while (0)
    REFUSED(PK_JSON, "a name with a slash", x.name = "a/b");
    REFUSED(PK_JSON, "a time of another form", x.created = "23 Nov");
    REFUSED(PK_CONFIG, "top_k over experts", x.moe.top_k = 3);
    REFUSED(PK_CONFIG, "other shapes than the parameters'", x.moe.dim = 4);
    REFUSED(PK_CONFIG, "a path", strcpy(x.base.name, "/home/me/model"));
    REFUSED(PK_CONFIG, "scaling NaN", x.moe.scaling = NAN);
    json_t *real = json_pack("{s:f}", "lr", 2e-4);
    REFUSED(PK_JSON, "a float", x.training = real);
    json_decref(real);
    float was = params.value[3];
    params.value[3] = NAN;
    REFUSED(PK_NONFINITE, "NaN weights", x.bf16 = 0);
    params.value[3] = was;
    ok(!path_exists(at("no")) && left_behind() == 0, "nothing left");
}

int main(void)
{
    setup();
    test_round_trip();
    test_deterministic();
    test_base();
    test_signature();
    test_writer_refuses();
    test_store();
    return teardown();
}
