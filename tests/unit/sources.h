/* What tests of sources share: a folder, reading a path, what is to be refused. */
#ifndef TESTS_UNIT_SOURCES_H
#define TESTS_UNIT_SOURCES_H

#include "core/file.h"
#include "core/hash.h"
#include "datasets/dataset.h"
#include "tests/tap.h"
#include "tests/unit/fake_tokenizer.h"

#define A "{\"text\":\"a\"}\n"

static const struct tokenizer tok = {.bos = FAKE_BOS, .eos = FAKE_EOS, .adds_bos = 1};
static char dir[] = "/tmp/pesc-test-sources-XXXXXX";
static char heard[4096]; /* what was noted */

static void hear(void *ctx, const char *code, const char *text)
{
    size_t n = strlen(heard);
    (void)ctx;
    snprintf(heard + n, sizeof heard - n, "%s %s\n", code, text);
}
static const struct notes notes = {hear, NULL};

static const char *at(const char *name)
{
    static char path[4][PATH_CAP];
    static int i;
    i = (i + 1) % 4;
    snprintf(path[i], PATH_CAP, "%s/%s", dir, name);
    return path[i];
}

static struct dataset *read_path(const char *path, struct dataset_options o, struct pesc_error *err)
{
    struct dataset *d = NULL;
    memset(err, 0, sizeof *err);
    *heard = 0;
    if (!o.vocab_size)
        o.vocab_size = FAKE_SIZE;
    return dataset_open(&path, 1, &tok, &o, &notes, &d, err) == 0 ? d : NULL;
}

#define NONE ((struct dataset_options){0})

static int adds_up(const struct dataset *d)
{
    const struct dataset_counts *c = dataset_counts(d);
    long read = 0, used = 0, skips[SKIP_COUNT] = {0};
    int good = 1;
    for (long i = 0; i < dataset_source_count(d); i++) {
        const struct dataset_source *s = dataset_source_at(d, i);
        long sum = 0;
        for (int k = 0; k < SKIP_COUNT; k++) {
            sum += s->skips[k];
            skips[k] += s->skips[k];
        }
        good &= s->read == s->used + s->skipped && s->skipped == sum;
        read += s->read;
        used += s->used;
    }
    for (int k = 0; k < SKIP_COUNT; k++)
        good &= skips[k] == c->skipped[k];
    return good && read == c->read && used == c->used;
}

static void refused(const char *path, struct dataset_options o, enum pesc_code code,
                    const char *says, const char *what)
{
    struct pesc_error err;
    struct dataset *d = read_path(path, o, &err);
    if (!ok(!d && err.code == (int)code && strstr(err.text, says), "%s", what))
        diag("[%s] %s", err.name, err.text);
    dataset_close(d);
}

static long reads(const char *path, struct dataset_options o, long samples, const char *what)
{
    struct pesc_error err;
    struct dataset *d = read_path(path, o, &err);
    long sources = d ? dataset_source_count(d) : 0;
    if (!ok(d && dataset_size(d) == samples && adds_up(d), "%s", what))
        diag("%ld samples, wanted %ld; [%s] %s", d ? dataset_size(d) : -1, samples, err.name,
             err.text);
    dataset_close(d);
    return sources;
}

static int put(const char *name, const char *text)
{
    char path[PATH_CAP];
    snprintf(path, sizeof path, "%s", at(name));
    char *slash = strrchr(path, '/');
    *slash = 0;
    int rc = dir_make_all(path, NULL);
    *slash = '/';
    return rc | file_write(path, text, strlen(text), NULL);
}

#endif
