/* What becomes of a record's tokens: cut, split or dropped where there are too many, and kept on
 * the side they belong to. */
#include "config.h"
#include "datasets/reading.h"

#include "core/rng.h"

#include <stdlib.h>
#include <string.h>

/* The tokens up to the last scored label, of the first n. */
static long scored_length(const struct ids *labels, long n)
{
    while (n > 1 && labels->v[n - 1] == LABEL_MASKED)
        n--;
    return n > 1 ? n : 0;
}

/* Where a record goes and is counted. */
struct side {
    struct dataset *d;
    struct dataset_source *s;
    const char *domain;
};

/* The row that counts what the file being read has on the held-out side. */
static int held_out_source(struct reading *r, struct dataset_source **out, struct pesc_error *err)
{
    struct dataset *v = r->d->valid;
    long i = r->source - r->d->sources;
    if (i >= v->n_sources) {
        struct dataset_source *grown = realloc(v->sources, (size_t)(i + 1) * sizeof *grown);
        if (!grown)
            return FAIL(err, MEMORY, "no memory for %ld data files", i + 1);
        memset(grown + v->n_sources, 0, (size_t)(i + 1 - v->n_sources) * sizeof *grown);
        v->sources = grown;
        v->n_sources = i + 1;
    }
    *out = &v->sources[i];
    return 0;
}

/* By what is trained on and nothing else: equal records stay together, whatever file they are in
 * and whatever else is there. The key is fixed, so that runs with other seeds hold out the same. */
static int choose_side(struct reading *r, const struct ids *ids, const struct ids *labels, long n,
                       struct side *to, struct pesc_error *err)
{
    if (!r->d->valid)
        return 0;
    uint64_t h = store_hash(ids->v, labels->v, n, 0);
    struct rng_key key = {.stream = RNG_SPLIT, .a = (uint32_t)h, .b = (uint32_t)(h >> 32)};
    if (rng_unit(&key, 0) >= r->o->valid_fraction)
        return 0;
    reading_skip(r, SKIP_HELD_OUT);
    to->d = r->d->valid;
    TRY(held_out_source(r, &to->s, err));
    to->d->counts.read++;
    to->s->read++;
    return 0;
}

static int add(struct reading *r, const struct side *to, const int32_t *ids, int32_t *labels,
               long n, struct pesc_error *err)
{
    struct dataset_counts *c = &to->d->counts;
    long trained = 0;
    labels[0] = LABEL_MASKED;
    for (long i = 0; i < n; i++)
        trained += labels[i] != LABEL_MASKED;
    TRY(store_add(&to->d->store, ids, labels, n, trained, to->domain, r->d->counts.read - 1, err));
    to->s->samples++;
    to->s->tokens += n;
    to->s->trained_tokens += trained;
    c->samples++;
    c->tokens += n;
    c->trained_tokens += trained;
    if (n > c->longest)
        c->longest = n;
    return 0;
}

/* The end of the piece that starts at from: behind the last answer that fits, else at most max. */
static long piece_end(const struct ids *labels, long from, long n, long max)
{
    long end = from + max < n ? from + max : n;
    for (long i = end; i > from + 1 && end < n; i--)
        if (labels->v[i - 1] != LABEL_MASKED && labels->v[i] == LABEL_MASKED)
            return i;
    return end;
}

/* Where a piece of at most max tokens starts, from on: further on when nothing would be scored in
 * it, so that the next answer has as much before it as fits. */
static long piece_start(const struct ids *labels, long from, long n, long max)
{
    long first = from + 1, end;
    while (first < n && labels->v[first] == LABEL_MASKED)
        first++;
    if (first == n || first < from + max)
        return from;
    for (end = first; end < n && labels->v[end] != LABEL_MASKED;)
        end++;
    return end - max < first - 1 ? end - max : first - 1;
}

/* Consecutive pieces of at most max tokens, each ending behind an answer where there is one. A
 * record that starts with BOS gives it to each of its pieces. The first token of a piece is scored
 * only with that BOS before it; a piece of which nothing is scored is dropped. to NULL: only says
 * how many would be kept. */
static int split(struct reading *r, const struct side *to, struct ids *ids, struct ids *labels,
                 long n, long *kept, struct pesc_error *err)
{
    long max = r->o->max_seq_length, dropped = 0;
    int32_t bos = r->t ? tokenizer_bos(r->t) : -1;
    int has_bos = bos >= 0 && ids->v[0] == bos && max > 2;
    *kept = 0;
    for (long from = 0, end; from < n; from = end) {
        long at = piece_start(labels, from, n, max - (has_bos && from > 0));
        if (at > from && has_bos) /* which needs room as well */
            at = piece_start(labels, from, n, max - 1);
        dropped += at > from;
        long head = has_bos && at > 0, first = at - head;
        end = piece_end(labels, at, n, max - head);
        long len = end - first;
        while (len > 1 && labels->v[first + len - 1] == LABEL_MASKED)
            len--;
        *kept += len > 1;
        dropped += len <= 1;
        if (!to || len <= 1)
            continue;
        if (head) /* over a token that was in the piece before, or is in none */
            ids->v[first] = bos;
        TRY(add(r, to, ids->v + first, labels->v + first, len, err));
    }
    if (to) {
        to->d->counts.pieces_dropped += dropped;
        to->s->pieces_dropped += dropped;
    }
    return 0;
}

int reading_keep(struct reading *r, struct made *m, struct pesc_error *err)
{
    struct ids *ids = &m->ids, *labels = &m->labels;
    long n = scored_length(labels, (long)ids->n), max = r->o->max_seq_length, kept = n > 0;
    int over = max > 0 && n > max;
    enum data_long how = r->o->long_records;
    struct side to = {r->d, r->source, m->domain ? m->domain : r->domain};
    if (over && how == LONG_DROP) {
        reading_skip(r, SKIP_LONG);
        return 0;
    }
    if (over && how == LONG_SPLIT) {
        TRY(split(r, NULL, ids, labels, n, &kept, err));
    } else if (over) {
        n = scored_length(labels, max);
        kept = n > 0;
    }
    if (kept)
        TRY(choose_side(r, ids, labels, n, &to, err));
    else
        reading_skip(r, SKIP_NO_TARGET);
    if (over) {
        ++*(how == LONG_SPLIT ? &to.d->counts.split : &to.d->counts.truncated);
        ++*(how == LONG_SPLIT ? &to.s->split : &to.s->truncated);
    }
    if (!kept)
        return 0;
    to.d->counts.used++;
    to.s->used++;
    return over && how == LONG_SPLIT ? split(r, &to, ids, labels, n, &kept, err)
                                     : add(r, &to, ids->v, labels->v, n, err);
}
