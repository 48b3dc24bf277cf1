#include "config.h"
#include "datasets/batcher.h"

#include "core/rng.h"
#include "datasets/order.h"
#include "datasets/packing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const packing_names[PACK_COUNT] = {
#define PESC_X(id, name) [PACK_##id] = name,
    PACKINGS(PESC_X)
#undef PESC_X
};

/* Epoch e is the batches first[e] .. first[e+1]-1. By tokens where a batch ends depends on the
 * epoch's order: epochs are counted window by window when first asked for, and one window is held
 * cut into packs. */
struct batcher {
    const struct dataset *d;
    struct batch_options o;
    struct order order;
    long n, windows, per_epoch, tokens_per_epoch;
    uint64_t pack_key;
    long *first, epochs, cap_epochs; /* first[0 .. epochs] are known */
    uint16_t *in_window;             /* [epochs][windows] batches */
    struct packer packer;
    long *place, *length; /* [WINDOW] of the window held */
    long held_epoch, held, held_packs;
    long max_tokens, max_samples;
    int32_t *ids, *labels;
    long *cu, *record;
    int *domain;
};

const char *packing_name(enum packing p)
{
    return p < PACK_COUNT ? packing_names[p] : "?";
}

enum packing packing_from_name(const char *name)
{
    int p = 0;
    while (p < PACK_COUNT && strcmp(name, packing_names[p]) != 0)
        p++;
    return (enum packing)p;
}

/* Cuts a window of an epoch into packs, unless it is held already. */
static int hold(struct batcher *b, long epoch, long window, struct pesc_error *err)
{
    long from = window * WINDOW, n = b->n - from < WINDOW ? b->n - from : WINDOW;
    if (b->held_epoch == epoch && b->held == window)
        return 0;
    b->held_epoch = -1;
    for (long i = 0; i < n; i++) {
        b->place[i] = order_place(&b->order, epoch, from + i);
        TRY(dataset_length(b->d, b->place[i], &b->length[i], err));
    }
    b->held_packs = packer_cut(&b->packer, b->length, n);
    b->held_epoch = epoch;
    b->held = window;
    return 0;
}

static int grow_epochs(struct batcher *b, struct pesc_error *err)
{
    if (b->epochs + 2 <= b->cap_epochs)
        return 0;
    long cap = b->cap_epochs ? 2 * b->cap_epochs : 4;
    long *first = realloc(b->first, (size_t)cap * sizeof *first);
    b->first = first ? first : b->first;
    uint16_t *in = realloc(b->in_window, (size_t)cap * (size_t)b->windows * sizeof *in);
    b->in_window = in ? in : b->in_window;
    if (!first || !in)
        return FAIL(err, MEMORY, "no memory for the batches of %ld epochs", cap);
    b->cap_epochs = cap;
    return 0;
}

/* Counts the batches of one more epoch. */
static int know_epoch(struct batcher *b, struct pesc_error *err)
{
    long e = b->epochs, batches = 0, tokens = 0;
    TRY(grow_epochs(b, err));
    if (e == 0)
        b->first[0] = 0;
    int same = e > 0 && b->o.order == ORDER_SEQUENTIAL && !b->o.weights; /* as the first */
    uint16_t *in = b->in_window + e * b->windows;
    for (long w = 0; w < b->windows; w++) {
        if (same) {
            in[w] = b->in_window[w];
        } else {
            TRY(hold(b, e, w, err));
            in[w] = (uint16_t)b->held_packs;
            for (long i = 0; e == 0 && i < b->packer.first[b->held_packs]; i++)
                tokens += b->length[i];
        }
        batches += in[w];
    }
    if (e == 0)
        b->tokens_per_epoch = tokens;
    b->first[e + 1] = b->first[e] + batches;
    b->epochs++;
    return 0;
}

/* Where packed batch number step stands: its epoch and pack in the window, which is then held. */
static int locate(struct batcher *b, long step, long *pack, struct pesc_error *err)
{
    while (b->first[b->epochs] <= step)
        TRY(know_epoch(b, err));
    long lo = 0, hi = b->epochs; /* first[lo] <= step < first[hi] */
    while (hi - lo > 1) {
        long mid = lo + (hi - lo) / 2;
        if (b->first[mid] <= step)
            lo = mid;
        else
            hi = mid;
    }
    const uint16_t *in = b->in_window + lo * b->windows;
    long window = 0;
    for (step -= b->first[lo]; step >= in[window]; window++)
        step -= in[window];
    TRY(hold(b, lo, window, err));
    /* Best fit makes packs of a kind side by side: they go in an order of their own. */
    if (b->o.packing == PACK_BEST_FIT && b->o.order == ORDER_SHUFFLED)
        step = (long)rng_permute(b->pack_key, (uint64_t)(lo * b->windows + window), (uint64_t)step,
                                 (uint64_t)b->held_packs);
    *pack = step;
    return 0;
}

/* Appends a sample to the batch that is made. */
static int append(struct batcher *b, long place, struct batch *out, struct pesc_error *err)
{
    struct sample s;
    TRY(dataset_read(b->d, place, b->ids + out->T, b->labels + out->T, &s, err));
    b->cu[out->S] = out->T;
    b->domain[out->S] = s.domain;
    b->record[out->S] = s.record;
    out->S++;
    out->T += s.n;
    return 0;
}

static int get(void *ctx, long step, struct batch *out, struct pesc_error *err)
{
    struct batcher *b = ctx;
    if (step < 0)
        return FAIL(err, INTERNAL, "batch %ld was asked for", step);
    *out = (struct batch){0, 0, b->ids, b->labels, b->cu, b->domain, b->record};
    if (b->o.packing == PACK_OFF) {
        long epoch = step / b->per_epoch, from = step % b->per_epoch * b->o.records;
        for (long i = from; i < b->n && i < from + b->o.records; i++)
            TRY(append(b, order_place(&b->order, epoch, i), out, err));
    } else {
        long pack;
        TRY(locate(b, step, &pack, err));
        for (long k = b->packer.first[pack]; k < b->packer.first[pack + 1]; k++)
            TRY(append(b, b->place[b->packer.member[k]], out, err));
    }
    b->cu[out->S] = out->T;
    return 0;
}

/* The largest batch that any order could make. */
static void bounds(struct batcher *b)
{
    const long *of_length = dataset_lengths(b->d);
    long longest = dataset_counts(b->d)->longest, all = dataset_counts(b->d)->tokens, left;
    if (b->o.packing == PACK_OFF) {
        left = b->max_samples = b->o.records;
        if (b->o.weights) { /* the longest may come again within a batch */
            b->max_tokens = left * longest;
            return;
        }
        for (long len = longest; len > 0 && left > 0; len--) {
            long k = of_length[len] < left ? of_length[len] : left;
            b->max_tokens += k * len;
            left -= k;
        }
        return;
    }
    left = b->o.tokens;
    for (long len = 1; len <= longest && len <= left; len++) {
        long k = left / len;
        if (!b->o.weights && k > of_length[len])
            k = of_length[len];
        b->max_samples += of_length[len] ? k : 0;
        left -= of_length[len] ? k * len : 0;
    }
    if (b->max_samples > WINDOW)
        b->max_samples = WINDOW;
    if (b->max_samples == 0)
        b->max_samples = 1;
    b->max_tokens = b->o.tokens < all || b->o.weights ? b->o.tokens : all;
    if (b->max_tokens > WINDOW * longest)
        b->max_tokens = WINDOW * longest;
    if (b->max_tokens < longest)
        b->max_tokens = longest;
}

static int make_room(struct batcher *b, struct pesc_error *err)
{
    bounds(b);
    b->ids = malloc((size_t)b->max_tokens * sizeof *b->ids);
    b->labels = malloc((size_t)b->max_tokens * sizeof *b->labels);
    b->cu = malloc((size_t)(b->max_samples + 1) * sizeof *b->cu);
    b->record = malloc((size_t)b->max_samples * sizeof *b->record);
    b->domain = malloc((size_t)b->max_samples * sizeof *b->domain);
    b->place = malloc(WINDOW * sizeof *b->place);
    b->length = malloc(WINDOW * sizeof *b->length);
    return b->ids && b->labels && b->cu && b->record && b->domain && b->place && b->length
               ? 0
               : FAIL(err, MEMORY, "no memory for batches of %ld tokens", b->max_tokens);
}

/* Without packing only an epoch's length is known; with weights its tokens have to be summed up. */
static int first_epoch(struct batcher *b, struct pesc_error *err)
{
    if (b->o.packing != PACK_OFF) {
        TRY(packer_open(&b->packer, b->o.packing, b->o.tokens, b->n < WINDOW ? b->n : WINDOW, err));
        TRY(know_epoch(b, err));
        b->per_epoch = b->first[1];
        return 0;
    }
    b->per_epoch = (b->n + b->o.records - 1) / b->o.records;
    b->tokens_per_epoch = dataset_counts(b->d)->tokens;
    if (!b->o.weights)
        return 0;
    b->tokens_per_epoch = 0;
    for (long i = 0; i < b->n; i++) {
        long len;
        TRY(dataset_length(b->d, order_place(&b->order, 0, i), &len, err));
        b->tokens_per_epoch += len;
    }
    return 0;
}

int batcher_open(const struct dataset *d, const struct batch_options *o, struct batcher **out,
                 struct pesc_error *err)
{
    uint32_t key[4];
    if (o->packing == PACK_OFF ? o->records <= 0 : o->tokens <= 0)
        return FAIL(err, USAGE_VALUE, "a batch needs a number of records or of tokens");
    struct batcher *b = calloc(1, sizeof *b);
    if (!b)
        return FAIL(err, MEMORY, "no memory for batches");
    b->d = d;
    b->o = *o;
    b->n = dataset_size(d);
    b->windows = (b->n + WINDOW - 1) / WINDOW;
    b->o.records = o->records < b->n ? o->records : b->n;
    b->held_epoch = -1;
    rng_block(&(struct rng_key){.seed = o->seed, .stream = RNG_PACK}, 0, key);
    b->pack_key = key[0] | (uint64_t)key[1] << 32;
    TRY_OR(order_open(&b->order, d, o->order, o->seed, o->weights, err), fail);
    TRY_OR(make_room(b, err), fail);
    TRY_OR(first_epoch(b, err), fail);
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
    order_close(&b->order);
    packer_close(&b->packer);
    free(b->first);
    free(b->in_window);
    free(b->place);
    free(b->length);
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

long batcher_tokens_per_epoch(const struct batcher *b)
{
    return b->tokens_per_epoch;
}

double batcher_fill(const struct batcher *b)
{
    if (b->o.packing == PACK_OFF)
        return NAN;
    return (double)b->tokens_per_epoch / ((double)b->per_epoch * (double)b->o.tokens);
}

int batcher_steps(struct batcher *b, long epochs, long *steps, struct pesc_error *err)
{
    *steps = 0;
    if (epochs <= 0)
        return 0;
    if (b->o.packing == PACK_OFF) {
        *steps = b->per_epoch * epochs;
        return 0;
    }
    while (b->epochs < epochs)
        TRY(know_epoch(b, err));
    *steps = b->first[epochs];
    return 0;
}
