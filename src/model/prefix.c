#include "config.h"
#include "model/prefix.h"

#include "core/tfile.h"
#include "core/xxh64.h"
#include "tensor/dtype.h"

#include <stdlib.h>
#include <string.h>

enum { HEAD = 16 };

/* Where a sample of these tokens is: open addressing, twice as many places as samples. */
struct place {
    uint64_t key; /* XXH64 of the tokens */
    uint64_t at;  /* in the file, plus 1; 0: nobody's; with LOST: what is there is damaged */
};
#define LOST (1ull << 63)

struct prefix {
    struct prefix_options o;
    long D, max_tokens, n;
    size_t value;
    uint64_t places, end; /* end: of the file */
    struct place *place;
    unsigned char *record;
    struct tfile *file; /* NULL: given up */
    int full;
    struct prefix_counts counts;
};

static long samples_of(const struct prefix_options *o)
{
    long n = o->samples < PREFIX_SAMPLES ? o->samples : PREFIX_SAMPLES;
    return n > 1 ? n : 1;
}

/* A power of two, at least half of it free. */
static uint64_t places_of(const struct prefix_options *o)
{
    uint64_t n = 2;
    while (n < 2 * (uint64_t)samples_of(o))
        n *= 2;
    return n;
}

uint64_t prefix_record(long n, long D, size_t value)
{
    return HEAD + (uint64_t)n * (sizeof(int32_t) + (uint64_t)D * value);
}

size_t prefix_memory(const struct prefix_options *o, long max_tokens, long D, size_t value)
{
    return (size_t)places_of(o) * sizeof(struct place) +
           (size_t)prefix_record(max_tokens, D, value);
}

/* Its room goes back to the disk, where checkpoints need it. */
static void give_up(struct prefix *p, const char *what, const struct pesc_error *why)
{
    tfile_close(p->file);
    p->file = NULL;
    note(p->o.notes, "W-PREFIX-OFF",
         "outputs of frozen layers are not kept any more, but computed: %s: %s", what, why->text);
}

int prefix_open(const struct prefix_options *o, long max_tokens, long D, size_t value,
                struct prefix **out, struct pesc_error *err)
{
    struct prefix *p = calloc(1, sizeof *p);
    if (!p)
        return FAIL(err, MEMORY, "no memory for outputs of frozen layers");
    *p = (struct prefix){
        .o = *o, .D = D, .max_tokens = max_tokens, .value = value, .places = places_of(o)};
    p->place = calloc(p->places, sizeof *p->place);
    p->record = malloc(prefix_record(max_tokens, D, value));
    if (!p->place || !p->record) {
        prefix_close(p);
        return FAIL(err, MEMORY, "no memory for outputs of frozen layers");
    }
    struct pesc_error e = {0};
    if (tfile_open(o->dir, 0, TFILE_DROPPED, &p->file, &e) != 0) {
        if (e.code == PESC_E_MEMORY) {
            prefix_close(p);
            *err = e;
            return -1;
        }
        give_up(p, "a file for them", &e);
    }
    *out = p;
    return 0;
}

void prefix_close(struct prefix *p)
{
    if (!p)
        return;
    tfile_close(p->file);
    free(p->place);
    free(p->record);
    free(p);
}

static uint64_t key_of(const int32_t *ids, long n)
{
    struct xxh64 x;
    xxh64_init(&x);
    xxh64_add(&x, ids, (size_t)n * sizeof *ids);
    return xxh64_end(&x);
}

/* The place that is the key's, or the free one that would be. */
static struct place *find(const struct prefix *p, uint64_t key)
{
    uint64_t i = key & (p->places - 1);
    while (p->place[i].at && p->place[i].key != key)
        i = (i + 1) & (p->places - 1);
    return &p->place[i];
}

static uint64_t sum_of(const unsigned char *record, size_t bytes)
{
    struct xxh64 x;
    xxh64_init(&x);
    xxh64_add(&x, record + sizeof(uint64_t), bytes - sizeof(uint64_t));
    return xxh64_end(&x);
}

void prefix_soon(struct prefix *p, const int32_t *ids, long n)
{
    if (!p->file)
        return;
    const struct place *at = find(p, key_of(ids, n));
    if (at->at && !(at->at & LOST))
        tfile_soon(p->file, prefix_record(n, p->D, p->value), at->at - 1);
}

/* Whether the record read is that of the tokens. Other tokens with their key are no damage. */
enum verdict { MINE, ANOTHER, DAMAGED };
static enum verdict look(const struct prefix *p, const int32_t *ids, long n, size_t bytes)
{
    uint64_t head[2];
    memcpy(head, p->record, sizeof head);
    if (head[1] != (uint64_t)n || head[0] != sum_of(p->record, bytes))
        return DAMAGED;
    return memcmp(p->record + HEAD, ids, (size_t)n * sizeof *ids) ? ANOTHER : MINE;
}

int prefix_get(struct prefix *p, const int32_t *ids, long n, float *x)
{
    struct pesc_error e = {0};
    size_t bytes = prefix_record(n, p->D, p->value), row = (size_t)p->D * p->value;
    struct place *at = p->file ? find(p, key_of(ids, n)) : NULL;
    if (!at || !at->at || at->at & LOST || at->at - 1 + bytes > p->end)
        return 0;
    if (tfile_read(p->file, p->record, bytes, at->at - 1, &e) != 0) {
        give_up(p, "reading", &e);
        return 0;
    }
    enum verdict v = look(p, ids, n, bytes);
    if (v == DAMAGED)
        at->at |= LOST;
    if (v == DAMAGED && p->counts.damaged++ == 0)
        note(p->o.notes, "W-PREFIX-DAMAGED",
             "what was kept of a sample of %ld tokens has changed on the disk, and is computed "
             "again",
             n);
    if (v != MINE)
        return 0;
    const unsigned char *from = p->record + HEAD + (size_t)n * sizeof *ids;
#pragma omp parallel for schedule(static)
    for (long t = 0; t < n; t++)
        dtype_to_f32(x + t * p->D, from + (size_t)t * row, p->value == 2 ? DT_BF16 : DT_F32,
                     (size_t)p->D);
    p->counts.found++;
    return 1;
}

void prefix_put(struct prefix *p, const int32_t *ids, long n, const float *x)
{
    struct pesc_error e = {0};
    size_t bytes = prefix_record(n, p->D, p->value), row = (size_t)p->D * p->value;
    struct place *at = p->file ? find(p, key_of(ids, n)) : NULL;
    int again = at && at->at & LOST;
    if (!at || (at->at && !again)) /* there, or other tokens have the key */
        return;
    if (!again && (p->full || p->end + bytes > p->o.bytes || p->n >= samples_of(&p->o))) {
        if (!p->full)
            note(
                p->o.notes, "W-PREFIX-FULL",
                "outputs of frozen layers fill the %llu bytes that they may take with %ld samples; "
                "those of others are computed each time",
                (unsigned long long)p->o.bytes, p->n);
        p->full = 1;
        return;
    }
    uint64_t to_at = again ? (at->at & ~LOST) - 1 : p->end;
    uint64_t head[2] = {0, (uint64_t)n};
    unsigned char *to = p->record + HEAD + (size_t)n * sizeof *ids;
    memcpy(p->record, head, sizeof head);
    memcpy(p->record + HEAD, ids, (size_t)n * sizeof *ids);
#pragma omp parallel for schedule(static)
    for (long t = 0; t < n; t++)
        dtype_from_f32(to + (size_t)t * row, x + t * p->D, p->value == 2 ? DT_BF16 : DT_F32,
                       (size_t)p->D);
    head[0] = sum_of(p->record, bytes);
    memcpy(p->record, head, sizeof head[0]);
    if (tfile_write(p->file, p->record, bytes, to_at, &e) != 0) {
        give_up(p, "writing", &e);
        return;
    }
    *at = (struct place){key_of(ids, n), to_at + 1};
    p->n += !again;
    p->end += again ? 0 : bytes;
    p->counts.kept++;
    p->counts.bytes = p->end;
}

struct prefix_counts prefix_counts(const struct prefix *p)
{
    return p->counts;
}
