/* pesc-fp1: what a base is, whatever its files are called and however they are cut. */
#include "config.h"
#include "model/base.h"

#include "core/hash.h"
#include "model/shards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 20 };

static int hash_tensor(const struct shard_tensor *st, unsigned char *chunk, char hex[65],
                       struct pesc_error *err)
{
    struct hash *h = hash_new(err);
    int rc = h ? 0 : -1;
    for (uint64_t at = 0; rc == 0 && at < st->t->bytes;) {
        size_t now = st->t->bytes - at < CHUNK ? (size_t)(st->t->bytes - at) : CHUNK;
        rc = st_read_range(st->file, st->t, at, now, chunk, err);
        hash_add(h, chunk, now);
        at += now;
    }
    if (rc == 0)
        hash_hex(h, hex);
    hash_free(h);
    return rc;
}

/* One digest per tensor, in the order of names; tensors are taken by whichever thread is free. */
static int hash_all(const struct shards *s, char (*hex)[65], struct pesc_error *err)
{
    long failed = s->count; /* the first by name is reported, whoever met it first */
#pragma omp parallel
    {
        unsigned char *chunk = malloc(CHUNK);
#pragma omp for schedule(dynamic)
        for (long i = 0; i < s->count; i++) {
            struct pesc_error own = {0};
            int rc = chunk ? hash_tensor(&s->all[i], chunk, hex[i], &own)
                           : FAIL(&own, MEMORY, "no memory for %d bytes", CHUNK);
            if (rc != 0) {
#pragma omp critical(pesc_fingerprint)
                if (i < failed) {
                    failed = i;
                    if (err)
                        *err = own;
                }
            }
        }
        free(chunk);
    }
    return failed < s->count ? -1 : 0;
}

static void add_line(struct hash *h, const struct st_tensor *t, const char *hex)
{
    char shape[ST_MAX_DIM * 21] = "";
    size_t o = 0;
    for (int d = 0; d < t->ndim; d++)
        o += (size_t)snprintf(shape + o, sizeof shape - o, "%s%ld", d ? "," : "", t->shape[d]);
    const char *part[] = {t->name, "\t", t->stored, "\t", shape, "\t", hex, "\n"};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        hash_add(h, part[i], strlen(part[i]));
}

int base_fingerprint(const struct base *b, char out[FINGERPRINT_CAP], struct pesc_error *err)
{
    const struct shards *s = base_shards(b);
    char whole[65];
    if (err && err->code)
        return -1;
    char(*hex)[65] = malloc(((size_t)s->count + 1) * sizeof *hex);
    if (!hex)
        return FAIL(err, MEMORY, "%s: no memory", base_dir(b));
    struct hash *h = NULL;
    int rc = hash_all(s, hex, err);
    if (rc == 0)
        rc = (h = hash_new(err)) ? 0 : -1;
    if (rc == 0) {
        for (long i = 0; i < s->count; i++)
            add_line(h, s->all[i].t, hex[i]);
        hash_hex(h, whole);
        snprintf(out, FINGERPRINT_CAP, "pesc-fp1:%s", whole);
    }
    hash_free(h);
    free(hex);
    return rc;
}
