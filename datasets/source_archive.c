/* Archives are read twice, as streams: once to learn what they hold, and that they are whole,
 * before any work is done on them; once for the members that were chosen. */
#include "config.h"
#include "datasets/source_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int open_reader(struct source *s, struct pesc_error *err)
{
    struct byte_source bytes = stored_source(s->stored);
    if (stored_kind(s->stored) == STORED_TAR)
        return arc_reader_open_stream(&bytes, s->path, ARC_TAR, ARC_PLAIN, &s->arc, err);
    return arc_reader_open(stored_fd(s->stored), s->path, ARC_ZIP, ARC_PLAIN, &s->arc, err);
}

/* The next entry. What the first bytes promised is damaged if libarchive does not know it. */
static int next_entry(struct source *s, struct arc_entry *e, struct pesc_error *err)
{
    struct pesc_error own = {0};
    int got = s->arc || open_reader(s, &own) == 0 ? arc_reader_any(s->arc, e, &own) : -1;
    if (got >= 0)
        return got;
    if (own.code == PESC_E_AR_FORMAT)
        return FAIL(err, AR_CORRUPT, "%s: %s", s->path,
                    stored_kind(s->stored) == STORED_ZIP
                        ? "a zip without the directory that stands at its end: cut off?"
                        : "a damaged tar");
    return error_set(err, (enum pesc_code)own.code, "%s", own.text);
}

/* All of the file is looked at, so that a cut shows. */
static int finish(struct source *s, struct pesc_error *err)
{
    char sha[SHA256_HEX];
    uint64_t bytes;
    TRY(arc_reader_end(s->arc, err));
    arc_reader_close(s->arc);
    s->arc = NULL;
    TRY(stored_end(s->stored, sha, &bytes, err));
    stored_close(s->stored);
    s->stored = NULL;
    if (*s->archive_sha256 && strcmp(sha, s->archive_sha256))
        return FAIL(err, DS_CHANGED, "%s: it changed while it was read", s->path);
    strcpy(s->archive_sha256, sha);
    return 0;
}

int archive_list(struct source *s, struct pesc_error *err)
{
    struct arc_entry e;
    int got;
    size_t n;
    const char *head = stored_head(s->stored, &n);
    if (stored_kind(s->stored) == STORED_ZIP && n >= 4 && !memcmp(head, "PK\5\6", 4))
        return 0; /* a directory of nothing, which libarchive does not know as a zip */
    while ((got = next_entry(s, &e, err)) == 1) {
        if (e.special && !strcmp(e.special, "a folder"))
            continue;
        struct entry *added = source_add(s, e.name, err);
        if (!added)
            return -1;
        int packed;
        (void)name_kind(e.name, &packed);
        added->special = e.special ? e.special : packed ? "compressed once more" : NULL;
        added->encrypted = e.encrypted;
    }
    return got < 0 ? -1 : finish(s, err);
}

/* The member's content, counted; its true end is where its size says. */
static long read_member(struct source *s, void *buf, size_t cap, struct pesc_error *err)
{
    size_t got = 0;
    if (s->at_end)
        return 0;
    struct pesc_error own = {0};
    if (arc_reader_data(s->arc, buf, cap, &got, &own) != 0)
        return error_set(
            err, own.code == PESC_E_AR_FORMAT ? PESC_E_AR_CORRUPT : (enum pesc_code)own.code,
            "%s: %s", s->name, own.text);
    if (got == 0 && s->has_size && s->bytes != s->size)
        return FAIL(err, AR_CORRUPT, "%s: %llu bytes of %llu", s->name,
                    (unsigned long long)s->bytes, (unsigned long long)s->size);
    s->at_end = got == 0;
    hash_add(s->hash, buf, got);
    s->bytes += got;
    s->unpacked += got;
    if (s->unpacked > s->limit && stored_kind(s->stored) == STORED_ZIP)
        return FAIL(err, AR_LIMIT,
                    "%s: unpacks to more than %llu bytes; --max-uncompressed raises the limit",
                    s->path, (unsigned long long)s->limit);
    return (long)got;
}

static long read_all(void *ctx, void *buf, size_t cap, struct pesc_error *err)
{
    struct source *s = ctx;
    size_t k = s->head_n - s->head_pos;
    if (k == 0)
        return read_member(s, buf, cap, err);
    k = k < cap ? k : cap;
    memcpy(buf, s->head + s->head_pos, k);
    s->head_pos += k;
    return (long)k;
}

/* The chosen member, which the reader stands at, as an input. */
static int as_input(struct source *s, const struct entry *x, const struct arc_entry *e,
                    struct input *in, struct pesc_error *err)
{
    int n = snprintf(s->name, sizeof s->name, "%s:%s", s->path, x->name);
    if (n < 0 || n >= (int)sizeof s->name)
        return FAIL(err, AR_MEMBER, "%s: a member's name is too long", s->path);
    if (x->encrypted || e->encrypted)
        return FAIL(err, AR_FORMAT,
                    "%s: encrypted; tar, zip, gz, xz, zst, bz2 only, and none of "
                    "them encrypted",
                    s->name);
    memcpy(in->path, s->name, sizeof in->path);
    name_plain(x->name, in->name, sizeof in->name);
    in->bytes = (struct byte_source){read_all, s};
    s->bytes = s->head_n = s->head_pos = 0;
    s->at_end = 0;
    s->size = e->size;
    s->has_size = e->has_size;
    hash_free(s->hash);
    s->hash = hash_new(err);
    if (!s->hash)
        return -1;
    while (s->head_n < sizeof s->head) {
        long got = read_member(s, s->head + s->head_n, sizeof s->head - s->head_n, err);
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        s->head_n += (size_t)got;
    }
    TRY(stored_refuse_nested(s->head, s->head_n, s->name, err));
    TRY(source_kind(s, x->name, s->head, s->head_n, &in->kind, err));
    return 1;
}

int archive_next(struct source *s, struct input *in, struct pesc_error *err)
{
    struct arc_entry e;
    int got;
    if (s->at > 0 && !s->arc)
        return 0;
    if (!s->stored) {
        s->stored = stored_open(s->path, s->limit, err);
        if (!s->stored)
            return -1;
    }
    while ((got = next_entry(s, &e, err)) == 1) {
        if (e.special && !strcmp(e.special, "a folder"))
            continue;
        if (s->at == s->n || strcmp(s->v[s->at].name, e.name) != 0)
            return FAIL(err, DS_CHANGED, "%s: it changed while it was read", s->path);
        const struct entry *x = &s->v[s->at++];
        if (x->chosen)
            return as_input(s, x, &e, in, err);
    }
    if (got < 0)
        return -1;
    s->at = s->n ? s->n : 1;
    return finish(s, err);
}

int archive_member_end(struct source *s, char *sha256, uint64_t *bytes, struct pesc_error *err)
{
    char buf[16384];
    long got;
    while ((got = read_member(s, buf, sizeof buf, err)) > 0)
        ;
    if (got < 0)
        return -1;
    hash_hex(s->hash, sha256);
    *bytes = s->bytes;
    return 0;
}
