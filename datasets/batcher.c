#include "config.h"
#include "datasets/dataset.h"

#include "core/rng.h"

#include <stdlib.h>
#include <string.h>

/* Epoch e is the batches first[e] .. first[e+1]-1. With batch_records every epoch has as many. With
 * batch_tokens where a batch ends depends on the epoch's order: epochs are counted one by one when
 * first asked for, and cut[] holds the boundaries of one of them. */
struct batcher {
    const struct dataset *d;
    long n, batch_records, batch_tokens, per_epoch;
    enum data_order order;
    uint64_t seed;
    long *first, epochs, cap_epochs; /* first[0 .. epochs] are known */
    long *cut, cut_epoch;            /* cut[n+1]; batch b is cut[b] .. cut[b+1]-1 */
    long max_tokens, max_samples;
    int32_t *ids, *labels;
    long *cu, *record;
    int *domain;
};

static long place(const struct batcher *b, long epoch, long i)
{
    if (b->order == ORDER_SEQUENTIAL)
        return i;
    return (long)rng_permute(b->seed, (uint64_t)epoch, (uint64_t)i, (uint64_t)b->n);
}

/* Cuts an epoch into batches; how many. */
static long cut_epoch(struct batcher *b, long epoch)
{
    long batches = 0, tokens = 0;
    for (long i = 0; i < b->n; i++) {
        long len = dataset_sample(b->d, place(b, epoch, i)).n;
        if (i == 0 || tokens + len > b->batch_tokens) {
            b->cut[batches++] = i;
            tokens = 0;
        }
        tokens += len;
    }
    b->cut[batches] = b->n;
    b->cut_epoch = epoch;
    return batches;
}

/* Makes first[] reach up to and including epoch + 1. */
static int know_epoch(struct batcher *b, long epoch, struct pesc_error *err)
{
    while (b->epochs <= epoch) {
        if (b->epochs + 2 > b->cap_epochs) {
            long cap = b->cap_epochs ? 2 * b->cap_epochs : 16;
            long *grown = realloc(b->first, (size_t)cap * sizeof *grown);
            if (!grown)
                return FAIL(err, MEMORY, "no memory for %ld epochs", cap);
            b->first = grown;
            b->cap_epochs = cap;
        }
        if (b->epochs == 0)
            b->first[0] = 0;
        long batches =
            b->epochs > 0 && b->order == ORDER_SEQUENTIAL ? b->first[1] : cut_epoch(b, b->epochs);
        b->first[b->epochs + 1] = b->first[b->epochs] + batches;
        b->epochs++;
    }
    return 0;
}

/* The samples of batch number step: places from .. to-1 of its epoch's order. */
static int locate(struct batcher *b, long step, long *epoch, long *from, long *to,
                  struct pesc_error *err)
{
    if (b->batch_records > 0) {
        *epoch = step / b->per_epoch;
        *from = step % b->per_epoch * b->batch_records;
        *to = b->n - *from > b->batch_records ? *from + b->batch_records : b->n;
        return 0;
    }
    if (b->order == ORDER_SEQUENTIAL) {
        *epoch = step / b->per_epoch;
        step %= b->per_epoch;
    } else {
        while (b->first[b->epochs] <= step)
            TRY(know_epoch(b, b->epochs, err));
        long lo = 0, hi = b->epochs; /* first[lo] <= step < first[hi] */
        while (hi - lo > 1) {
            long mid = lo + (hi - lo) / 2;
            if (b->first[mid] <= step)
                lo = mid;
            else
                hi = mid;
        }
        *epoch = lo;
        step -= b->first[lo];
        if (b->cut_epoch != lo)
            cut_epoch(b, lo);
    }
    *from = b->cut[step];
    *to = b->cut[step + 1];
    return 0;
}

static int get(void *ctx, long step, struct batch *out, struct pesc_error *err)
{
    struct batcher *b = ctx;
    long epoch, from, to, t = 0;
    if (step < 0)
        return FAIL(err, INTERNAL, "batch %ld was asked for", step);
    TRY(locate(b, step, &epoch, &from, &to, err));
    for (long i = from; i < to; i++) {
        struct sample s = dataset_sample(b->d, place(b, epoch, i));
        memcpy(b->ids + t, s.ids, (size_t)s.n * sizeof *s.ids);
        memcpy(b->labels + t, s.labels, (size_t)s.n * sizeof *s.labels);
        b->cu[i - from] = t;
        b->domain[i - from] = s.domain;
        b->record[i - from] = s.record;
        t += s.n;
    }
    b->cu[to - from] = t;
    *out = (struct batch){t, to - from, b->ids, b->labels, b->cu, b->domain, b->record};
    return 0;
}

static int by_length(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

/* The largest batch that any order could make. */
static int bounds(struct batcher *b, struct pesc_error *err)
{
    long *len = malloc((size_t)b->n * sizeof *len), total = 0;
    if (!len)
        return FAIL(err, MEMORY, "no memory for %ld lengths", b->n);
    for (long i = 0; i < b->n; i++)
        len[i] = dataset_sample(b->d, i).n;
    qsort(len, (size_t)b->n, sizeof *len, by_length);
    if (b->batch_records > 0) {
        b->max_samples = b->batch_records;
        for (long i = b->n - b->batch_records; i < b->n; i++)
            total += len[i];
        b->max_tokens = total;
    } else {
        while (b->max_samples < b->n && total + len[b->max_samples] <= b->batch_tokens)
            total += len[b->max_samples++];
        if (b->max_samples == 0)
            b->max_samples = 1;
        long all = dataset_counts(b->d)->tokens,
             most = b->batch_tokens < all ? b->batch_tokens : all;
        b->max_tokens = len[b->n - 1] > most ? len[b->n - 1] : most;
    }
    free(len);
    return 0;
}

int batcher_open(const struct dataset *d, long batch_records, long batch_tokens,
                 enum data_order order, uint64_t seed, struct batcher **out, struct pesc_error *err)
{
    if (batch_records <= 0 && batch_tokens <= 0)
        return FAIL(err, USAGE_VALUE, "a batch needs a number of records or of tokens");
    struct batcher *b = calloc(1, sizeof *b);
    if (!b)
        return FAIL(err, MEMORY, "no memory for batches");
    b->d = d;
    b->n = dataset_size(d);
    b->batch_records = batch_records > b->n ? b->n : batch_records > 0 ? batch_records : 0;
    b->batch_tokens = batch_tokens;
    b->order = order;
    b->seed = seed;
    b->cut_epoch = -1;
    TRY_OR(bounds(b, err), fail);
    b->ids = malloc((size_t)b->max_tokens * sizeof *b->ids);
    b->labels = malloc((size_t)b->max_tokens * sizeof *b->labels);
    b->cu = malloc((size_t)(b->max_samples + 1) * sizeof *b->cu);
    b->record = malloc((size_t)b->max_samples * sizeof *b->record);
    b->domain = malloc((size_t)b->max_samples * sizeof *b->domain);
    if (!b->batch_records)
        b->cut = malloc((size_t)(b->n + 1) * sizeof *b->cut);
    if (!b->ids || !b->labels || !b->cu || !b->record || !b->domain ||
        (!b->batch_records && !b->cut)) {
        FAIL(err, MEMORY, "no memory for batches of %ld tokens", b->max_tokens);
        goto fail;
    }
    if (b->batch_records) {
        b->per_epoch = (b->n + b->batch_records - 1) / b->batch_records;
    } else {
        TRY_OR(know_epoch(b, 0, err), fail);
        b->per_epoch = b->first[1];
    }
    *out = b;
    return 0;
fail:
    batcher_close(b);
    return -1;
}

void batcher_close(struct batcher *b)
{
    if (!b)
        return;
    free(b->first);
    free(b->cut);
    free(b->ids);
    free(b->labels);
    free(b->cu);
    free(b->record);
    free(b->domain);
    free(b);
}

struct batch_source batcher_source(struct batcher *b)
{
    return (struct batch_source){get, b, b->max_tokens, b->max_samples};
}

long batcher_batches_per_epoch(const struct batcher *b)
{
    return b->per_epoch;
}

long batcher_steps(struct batcher *b, long epochs)
{
    if (epochs <= 0)
        return 0;
    if (b->batch_records > 0 || b->order == ORDER_SEQUENTIAL)
        return b->per_epoch * epochs;
    return know_epoch(b, epochs - 1, NULL) == 0 ? b->first[epochs] : -1;
}
