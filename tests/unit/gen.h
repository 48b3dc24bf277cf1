/* Files made at run time, in a folder of the test's own that is removed at its end. */
#ifndef TESTS_UNIT_GEN_H
#define TESTS_UNIT_GEN_H

#include "core/file.h"
#include "tests/tap.h"

#include <stdint.h>
#include <unistd.h>

static char gen_dir[PATH_CAP];

static inline void gen_begin(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(gen_dir, sizeof gen_dir, "%s/pesc-test-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(gen_dir)) {
        printf("Bail out! no folder for test files\n");
        exit(99);
    }
}

static inline int gen_end(void)
{
    struct pesc_error err = {0};
    ok(dir_remove_all(gen_dir, &err) == 0, "test files are removed");
    return tap_done();
}

/* A path in the test's folder; four of them are valid at a time. */
static inline const char *gen_path(const char *name)
{
    static char path[4][PATH_CAP];
    static int turn;
    turn = (turn + 1) % 4;
    if (snprintf(path[turn], PATH_CAP, "%s/%s", gen_dir, name) >= PATH_CAP)
        exit(99);
    return path[turn];
}

static inline void gen_write(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || (n && fwrite(data, 1, n, f) != n) || fclose(f) != 0) {
        printf("Bail out! cannot write %s\n", path);
        exit(99);
    }
}

/* A safetensors file: the length of the header, the header, n bytes of data 1, 2, 3, ... */
static inline void gen_st(const char *path, const char *header, size_t header_len, size_t n)
{
    size_t total = 8 + header_len + n;
    unsigned char *file = malloc(total);
    if (!file)
        exit(99);
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)((uint64_t)header_len >> 8 * i);
    if (header_len)
        memcpy(file + 8, header, header_len);
    for (size_t i = 0; i < n; i++)
        file[8 + header_len + i] = (unsigned char)(i + 1);
    gen_write(path, file, total);
    free(file);
}

/* Checks code and exit status of a failure. */
static inline int is_error(int rc, const struct pesc_error *err, const char *name, int status,
                           const char *what)
{
    int pass = rc == -1 && err->name && !strcmp(err->name, name) && err->exit_status == status;
    ok(pass, "%s: %s, exit %d", what, name, status);
    if (!pass)
        diag("got rc %d, %s, exit %d: %s", rc, err->name ? err->name : "no error", err->exit_status,
             err->text);
    return pass;
}

/* A listener that keeps what was said last and counts. */
struct heard {
    int n;
    char code[32], text[1024];
};

static inline void hear(void *ctx, const char *code, const char *text)
{
    struct heard *h = ctx;
    h->n++;
    snprintf(h->code, sizeof h->code, "%s", code);
    snprintf(h->text, sizeof h->text, "%s", text);
}

#endif
