#include "config.h"
#include "datasets/reading.h"

#include "core/file.h"
#include "datasets/naming.h"
#include "datasets/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NOTED_BAD = 5,            /* tolerated bad records that are told one by one */
    BLOCK_RECORDS = 1024,     /* records made into drafts at a time, by all threads */
    BLOCK_BYTES = 4 << 20,    /* no more are begun behind so many bytes */
    PARALLEL_BYTES = 1 << 15, /* fewer are not worth waking threads */
    DRAFT_IDS = 4096          /* a draft's room that is kept for the next block */
};

/* Records that are waiting to become drafts; made in any order, kept in that of the file. */
struct block {
    char *text;
    size_t used, cap;
    long n, most; /* records now, and in any block so far */
    struct record rec[BLOCK_RECORDS];
    size_t at[BLOCK_RECORDS]; /* in text, which moves while it grows */
    struct draft draft[BLOCK_RECORDS];
    struct pesc_error err[BLOCK_RECORDS]; /* no code: the draft is made */
};

void reading_skip(struct reading *r, enum data_skip why)
{
    r->d->counts.skipped[why]++;
    r->source->skips[why]++;
    r->source->skipped++;
}

/* The record was at fault, not the machine or the options. */
static int is_record_fault(int code)
{
    return code == PESC_E_DS_JSON || code == PESC_E_DS_FIELD || code == PESC_E_DS_TOKEN ||
           code == PESC_E_DS_BIG || code == PESC_E_DS_ENC;
}

static int add_record(struct block *b, const struct record *rec, struct pesc_error *err)
{
    if (b->cap - b->used < rec->len) {
        size_t want = b->used + rec->len;
        want += want / 2;
        char *grown = realloc(b->text, want);
        if (!grown)
            return FAIL(err, MEMORY, "no memory for a record of %zu bytes", rec->len);
        b->text = grown;
        b->cap = want;
    }
    memcpy(b->text + b->used, rec->text, rec->len);
    b->rec[b->n] = *rec;
    b->at[b->n++] = b->used;
    b->used += rec->len;
    return 0;
}

/* Up to max records. What ends the block early (got 0 or -1, with end) comes after those. */
static int fill_block(struct reading *r, struct block *b, long max, struct pesc_error *end)
{
    int got = 1;
    b->n = 0;
    b->used = 0;
    memset(end, 0, sizeof *end);
    if (b->cap > 2 * BLOCK_BYTES) { /* one huge record does not make every block huge */
        free(b->text);
        b->text = NULL;
        b->cap = 0;
    }
    while (b->n < max && b->used < BLOCK_BYTES) {
        struct record rec;
        got = records_next(r->records, &rec, end);
        if (got > 0 && add_record(b, &rec, end) != 0)
            got = -1;
        if (got <= 0)
            break;
    }
    b->most = b->n > b->most ? b->n : b->most;
    for (long i = 0; i < b->n; i++)
        b->rec[i].text = b->text + b->at[i];
    return got;
}

static void make_one(struct reading *r, struct block *b, long i)
{
    b->err[i].code = 0;
    if (draft_make(r, &b->rec[i], &b->draft[i], &b->err[i]) != 0 && !b->err[i].code)
        FAIL(&b->err[i], INTERNAL, "a record failed for no reason");
}

static void make_all(struct reading *r, struct block *b, long from)
{
#pragma omp parallel for schedule(dynamic, 4) if (b->used >= PARALLEL_BYTES)
    for (long i = from; i < b->n; i++)
        make_one(r, b, i);
}

/* A record that cannot be used: counted and told, or the error that ends it all. */
static int bad_record(struct reading *r, const struct pesc_error *e, int resumable,
                      struct pesc_error *err)
{
    long bad = r->d->counts.skipped[SKIP_BAD];
    if (!resumable || !is_record_fault(e->code) || bad >= r->o->bad_max) {
        if (err && !err->code)
            *err = *e;
        return -1;
    }
    reading_skip(r, SKIP_BAD);
    if (bad < NOTED_BAD)
        note(r->notes, "W-DS-BAD", "skipped: [%s] %s", e->name, e->text);
    return 0;
}

void reading_count(struct reading *r)
{
    r->d->counts.read++;
    r->source->read++;
}

static int keep_all(struct reading *r, struct block *b, struct pesc_error *err)
{
    long made = 0;
    for (long i = 0; i < b->n; i++) {
        if (i == made) {
            /* Until one has said what the file holds, they are made one by one. */
            make_one(r, b, made++);
            if (r->source->format != DATA_FORMAT_COUNT) {
                make_all(r, b, made);
                made = b->n;
            }
        }
        reading_count(r);
        if (!b->err[i].code && draft_keep(r, &b->draft[i], &b->err[i]) == 0) {
            continue;
        }
        TRY(bad_record(r, &b->err[i], 1, err));
    }
    return 0;
}

/* Records that may still be read, of all and of this path, at most a block's. */
static long wanted(const struct reading *r)
{
    long read = r->d->counts.read, left = BLOCK_RECORDS;
    if (r->o->max_records > 0 && r->o->max_records - read < left)
        left = r->o->max_records - read;
    if (r->limit > 0 && r->limit - (read - r->before) < left)
        left = r->limit - (read - r->before);
    return left;
}

static int read_records(struct reading *r, struct block *b, struct pesc_error *err)
{
    int got = 1;
    while (got != 0 && wanted(r) > 0) {
        struct pesc_error end;
        got = fill_block(r, b, wanted(r), &end);
        TRY(keep_all(r, b, err));
        if (got >= 0)
            continue;
        int resumable = records_resumable(r->records);
        if (resumable)
            reading_count(r);
        TRY(bad_record(r, &end, resumable, err));
    }
    return 0;
}

static int add_source(struct reading *r, const struct input *in, struct pesc_error *err)
{
    struct dataset *d = r->d;
    if (d->n_sources == d->cap_sources) {
        long cap = d->cap_sources ? 2 * d->cap_sources : 4;
        struct dataset_source *grown = realloc(d->sources, (size_t)cap * sizeof *grown);
        if (!grown)
            return FAIL(err, MEMORY, "no memory for %ld data files", cap);
        d->sources = grown;
        d->cap_sources = cap;
    }
    struct dataset_source *s = r->source = &d->sources[d->n_sources++];
    memset(s, 0, sizeof *s);
    snprintf(s->path, sizeof s->path, "%s", in->path);
    snprintf(s->name, sizeof s->name, "%s", in->name);
    s->format = DATA_FORMAT_COUNT;
    r->template = NULL;
    r->told_template = r->told_system = r->told_remark = 0;
    return 0;
}

static int read_input(struct reading *r, struct source *from, const struct input *in,
                      struct block *b, struct pesc_error *err)
{
    char domain[sizeof in->name];
    int rc = -1;
    TRY(add_source(r, in, err));
    snprintf(domain, sizeof domain, "%s", in->name);
    char *dot = strrchr(domain, '.');
    enum name_kind kind = name_kind(domain, NULL);
    if (dot && dot != domain && kind != NAME_OTHER && kind != NAME_IGNORED)
        *dot = 0;
    r->domain = r->label ? r->label : domain;
    r->records = records_open(&in->bytes, r->source->path, in->kind, err);
    if (!r->records)
        return -1;
    TRY_OR(read_records(r, b, err), done);
    if (r->source->read == 0 && wanted(r) > 0) {
        FAIL(err, DS_EMPTY, "%s: no records", in->path);
        goto done;
    }
    TRY_OR(source_end(from, r->source->sha256, &r->source->bytes, err), done);
    snprintf(r->source->archive_sha256, SHA256_HEX, "%s", source_archive_sha256(from));
    rc = 0;
done:
    records_close(r->records);
    r->records = NULL;
    return rc;
}

int reading_path(struct reading *r, const char *path, int *has_valid, struct pesc_error *err)
{
    struct input in;
    struct source *from = source_open(path, r->o, r->notes, err);
    struct block *b = calloc(1, sizeof *b);
    int rc = -1, got;
    if (from && !b)
        FAIL(err, MEMORY, "no memory to read %s", path);
    if (!from || !b)
        goto done;
    *has_valid = (source_parts(from) & 1u << DATA_PART_VALID) != 0;
    while ((got = source_next(from, &in, err)) == 1)
        TRY_OR(read_input(r, from, &in, b, err), done);
    rc = got;
done:
    source_close(from);
    for (long i = 0; b && i < b->most; i++)
        draft_free(&b->draft[i]);
    if (b)
        free(b->text);
    free(b);
    return rc;
}
