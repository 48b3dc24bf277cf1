/* How many samples repeat an earlier one, by a hash of 128 bits of their content, in constant
 * memory: hashes are sorted in runs, and the runs merged. */
#include "config.h"
#include "datasets/reading.h"

#include <stdlib.h>
#include <string.h>

enum { RUN = 1 << 19, MERGE_BYTES = 8 << 20, AHEAD_LEAST = 16 };

struct content {
    uint64_t a, b;
};

/* A sorted run, read some hashes ahead. */
struct run {
    uint64_t next, end; /* hashes of the spool that are not read yet */
    struct content *ahead;
    size_t at, n;
};

static int by_content(const void *x, const void *y)
{
    const struct content *p = x, *q = y;
    return p->a != q->a ? (p->a > q->a) - (p->a < q->a) : (p->b > q->b) - (p->b < q->b);
}

static int refill(struct run *r, const struct spool *s, size_t ahead, struct pesc_error *err)
{
    r->at = 0;
    r->n = r->end - r->next < ahead ? (size_t)(r->end - r->next) : ahead;
    TRY(spool_read(s, r->ahead, r->n * sizeof *r->ahead, r->next * sizeof *r->ahead, err));
    r->next += r->n;
    return 0;
}

/* The heap holds runs that have hashes left, the one with the least on top. */
static void sink(struct run **heap, size_t n, size_t i)
{
    for (;;) {
        size_t least = i;
        for (size_t k = 2 * i + 1; k <= 2 * i + 2 && k < n; k++)
            if (by_content(&heap[k]->ahead[heap[k]->at], &heap[least]->ahead[heap[least]->at]) < 0)
                least = k;
        if (least == i)
            return;
        struct run *t = heap[i];
        heap[i] = heap[least];
        heap[least] = t;
        i = least;
    }
}

static int merge(const struct spool *s, uint64_t n, long *repeated, struct pesc_error *err)
{
    size_t n_runs = (size_t)((n + RUN - 1) / RUN), left = n_runs;
    size_t ahead = MERGE_BYTES / sizeof(struct content) / n_runs;
    ahead = ahead < AHEAD_LEAST ? AHEAD_LEAST : ahead;
    struct run *runs = calloc(n_runs, sizeof *runs), **heap = calloc(n_runs, sizeof *heap);
    struct content *room = malloc(n_runs * ahead * sizeof *room), last = {0, 0};
    int rc = -1, any = 0;
    if (!runs || !heap || !room) {
        FAIL(err, MEMORY, "no memory to compare %llu samples", (unsigned long long)n);
        goto done;
    }
    for (size_t i = 0; i < n_runs; i++) {
        uint64_t from = (uint64_t)i * RUN, to = from + RUN;
        runs[i] = (struct run){.next = from, .end = to < n ? to : n, .ahead = room + i * ahead};
        TRY_OR(refill(&runs[i], s, ahead, err), done);
        heap[i] = &runs[i];
    }
    for (size_t i = n_runs; i-- > 0;)
        sink(heap, left, i);
    while (left > 0) {
        struct run *r = heap[0];
        struct content c = r->ahead[r->at++];
        *repeated += any && by_content(&c, &last) == 0;
        last = c;
        any = 1;
        if (r->at == r->n)
            TRY_OR(refill(r, s, ahead, err), done);
        if (r->n == 0)
            heap[0] = heap[--left];
        sink(heap, left, 0);
    }
    rc = 0;
done:
    free(runs);
    free(heap);
    free(room);
    return rc;
}

int dataset_repeats(const struct dataset *d, long *repeated, struct pesc_error *err)
{
    long n = dataset_size(d), k = 0;
    struct content *run = malloc((size_t)(n < RUN ? n : RUN) * sizeof *run);
    struct spool s;
    int rc = -1;
    *repeated = 0;
    spool_open(&s, d->store.dir, d->store.ids.limit / 4);
    if (!run) {
        FAIL(err, MEMORY, "no memory to compare %ld samples", n);
        goto done;
    }
    for (long i = 0; i < n; i++) {
        struct sample x;
        TRY_OR(dataset_sample(d, i, &x, err), done);
        run[k++] = (struct content){store_hash(x.ids, x.labels, x.n, 0),
                                    store_hash(x.ids, x.labels, x.n, 1)};
        if (k < RUN && i + 1 < n)
            continue;
        qsort(run, (size_t)k, sizeof *run, by_content);
        TRY_OR(spool_add(&s, run, (size_t)k * sizeof *run, err), done);
        k = 0;
    }
    free(run);
    run = NULL;
    TRY_OR(spool_end(&s, err), done);
    rc = n > 0 ? merge(&s, (uint64_t)n, repeated, err) : 0;
done:
    free(run);
    spool_close(&s);
    return rc;
}
