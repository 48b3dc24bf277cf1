/* What the tests of packs share: a tiny mixture, its pack, and ways to see a pack refused. */
#ifndef TESTS_PACK_FIXTURE_H
#define TESTS_PACK_FIXTURE_H

#include "pack_forge.h"

#include "adapters/pack.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "tests/tap.h"

#include <dirent.h>
#include <unistd.h>

#if defined __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#elif defined __has_feature
#if __has_feature(address_sanitizer)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif
#else
enum { SANITIZED = 0 };
#endif

enum { LAYERS = 1, HIDDEN = 4 };
static char dir[] = "/tmp/pesc-test-pack-XXXXXX";
static struct params params;
static struct pack_export spec;
static struct forged good;
static int suspects, signatures, forced;

static inline void listen(void *ctx, const char *code, const char *text)
{
    (void)ctx, (void)text;
    suspects += !strcmp(code, "W-PK-SUSPECT");
    signatures += !strcmp(code, "W-PK-SIGNATURE");
    forced += !strcmp(code, "W-PK-FORCED");
}
static const struct notes notes = {listen, NULL};

static inline const char *at(const char *name)
{
    static char path[8][PATH_CAP];
    static int i;
    i = (i + 1) % 8;
    snprintf(path[i], PATH_CAP, "%s/%s", dir, name);
    return path[i];
}

static inline int count_entries(const char *where, const char *prefix)
{
    int n = 0;
    DIR *d = opendir(where);
    for (struct dirent *e; d && (e = readdir(d));)
        n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
             !strncmp(e->d_name, prefix, strlen(prefix));
    if (d)
        closedir(d);
    return n;
}

/* Folders that this process left in the temporary places. */
static inline int left_behind(void)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "pesc-pack-%ld-", (long)getpid());
    return count_entries("/tmp", prefix) + count_entries("/var/tmp", prefix) +
           count_entries(dir, ".pesc-pack") + count_entries(dir, ".tmp");
}

static inline int same_files(const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    struct pesc_error err = {0};
    if (file_read(a, 1 << 20, &x, &n, &err) != 0)
        return 0;
    int same = file_read(b, 1 << 20, &y, &m, &err) == 0 && n == m && !memcmp(x, y, n);
    free(x);
    if (!err.code)
        free(y);
    return same;
}

/* Opening and importing fail with the code and leave nothing. */
static inline void refused_file(const char *path, const char *code, int status, const char *what)
{
    struct pesc_error err = {0}, err2 = {0};
    struct pack *p = NULL;
    char digest[65];
    int rc = pack_open(path, NULL, &notes, &p, &err);
    int rc2 = pack_import(path, at("store"), NULL, 0, &notes, digest, &err2);
    int pass = rc == -1 && rc2 == -1 && err.name && !strcmp(err.name, code) &&
               err.exit_status == status && err2.code == err.code && !strchr(err.text, 0x1b) &&
               left_behind() == 0 && count_entries(at("store"), "") == 0;
    ok(pass, "%s: %s", what, code);
    if (!pass)
        diag("rc %d %d, %s (%d) %s, left %d, stored %d", rc, rc2, err.name, err.exit_status,
             err.text, left_behind(), count_entries(at("store"), ""));
    pack_close(p);
}

static inline void refused_bytes(const struct bytes *b, const char *code, int status,
                                 const char *what)
{
    struct pesc_error err = {0};
    if (file_write(at("bad"), b->p, b->n, &err) != 0)
        diag("%s", err.text);
    refused_file(at("bad"), code, status, what);
}

static inline void refused_tar(struct bytes *tar, const char *code, const char *what)
{
    struct pesc_error err = {0};
    if (zstd_write(at("bad"), tar->p, tar->n, &err) != 0)
        diag("%s", err.text);
    refused_file(at("bad"), code, !strcmp(code, "E-PK-VERSION") ? 7 : 5, what);
    clear(tar);
}

static inline void setup(void)
{
    struct pesc_error err = {0};
    spec = (struct pack_export){.name = "tiny-moe",
                                .version = "1.2.0",
                                .license = "apache-2.0",
                                .author = "A. Uthor",
                                .created = "2026-11-23T00:00:00Z",
                                .template_id = "camelidae",
                                .curve = "{\"step\":1}\n",
                                .params = &params};
    memset(spec.base.fingerprint, 'a', 73);
    memcpy(spec.base.fingerprint, "pesc-fp1:", 9);
    memset(spec.base.tokenizer_sha256, 'b', 64);
    memset(spec.base.config_sha256, 'c', 64);
    strcpy(spec.base.arch, "llama");
    strcpy(spec.base.name, "someone/tiny");
    spec.base.layers = LAYERS;
    spec.base.hidden = HIDDEN;
    spec.base.vocab = 99;
    spec.moe = (struct moe_config){.experts = 2,
                                   .top_k = 1,
                                   .dim = 3,
                                   .scaling = 0.25,
                                   .dropout = 0.1,
                                   .balance = BALANCE_SWITCH,
                                   .balance_coef = 0.01};
    spec.training =
        json_pack("{s:s, s:I, s:[{s:s, s:I}]}", "tool", "pesc 0.1", "steps", (json_int_t)100,
                  "datasets", "name", "exa|mple", "records", (json_int_t)8);
    spec.metrics = json_pack("[{s:s, s:s, s:s, s:I}]", "task", "valid", "metric", "ppl", "value",
                             "3.25", "n", (json_int_t)64);
    ok(moe_declare(&params, &spec.moe, LAYERS, HIDDEN, &err) == 0 && params.count == 5 &&
           params_alloc(&params, 0, &err) == 0,
       "parameters of a tiny mixture");
    for (size_t i = 0; i < params.total; i++)
        params.value[i] = (float)((i * 2654435761u) % 1000) / 977.0f - 0.5f;
    ok(mkdtemp(dir) && pack_write(at("a.pescpack"), &spec, 1, &notes, NULL, NULL, &err) == 0 &&
           forged_load(&good, at("a.pescpack"), at("kept"), &err) == 0,
       "a good pack, taken apart");
    if (err.code)
        diag("%s", err.text);
}

static inline int teardown(void)
{
    struct pesc_error err = {0};
    forged_free(&good);
    params_free(&params);
    json_decref((json_t *)spec.training);
    json_decref((json_t *)spec.metrics);
    ok(dir_remove_all(dir, &err) == 0 && left_behind() == 0, "cleaned up");
    return tap_done();
}

#endif
