/* Samples on disk are samples in memory, and take no memory. */
#include "config.h"
#include "core/machine.h"
#include "datasets/reading.h"
#include "tests/unit/data_make.h"
#include "tests/unit/fake_tokenizer.h"

#include <signal.h>
#include <sys/resource.h>

/* Records of every kind: scored in part, with labels of their own, longer than a block of the
 * cache, in two domains; some twice. */
static char *mixture(long n)
{
    char *text = malloc((size_t)n * 400 + 40000), *at = text;
    for (long i = 0; text && i < n; i++) {
        long v = i % 10 == 9 ? 3 : i, len = i == 7 ? 3000 : 2 + v * 7 % 11;
        at += sprintf(at, "{\"dataset\":\"%s\",\"input_ids\":[%ld", v % 3 ? "a" : "b", v);
        for (long j = 1; j < len; j++)
            at += sprintf(at, ",%ld", 1 + (v + j) % 9);
        at += sprintf(at, "]");
        for (long j = 0; v % 4 == 1 && j < len; j++)
            at += sprintf(at, "%s%ld%s", j ? "," : ",\"labels\":[",
                          j + 1 == len ? 1L
                          : v % 8 == 1 ? j % 2 ? -100L : 5L
                                       : 1 + (v + j) % 9,
                          j + 1 == len ? "]" : "");
        at += sprintf(at, "}\n");
    }
    return text;
}

static int same_sample(const struct sample *a, const struct sample *b)
{
    return a->n == b->n && a->trained == b->trained && a->domain == b->domain &&
           a->record == b->record && !memcmp(a->ids, b->ids, (size_t)a->n * sizeof *a->ids) &&
           !memcmp(a->labels, b->labels, (size_t)a->n * sizeof *a->labels);
}

static int same_batch(const struct batch *a, const struct batch *b)
{
    return a->T == b->T && a->S == b->S && !memcmp(a->ids, b->ids, (size_t)a->T * sizeof *a->ids) &&
           !memcmp(a->labels, b->labels, (size_t)a->T * sizeof *a->labels) &&
           !memcmp(a->cu, b->cu, (size_t)(a->S + 1) * sizeof *a->cu) &&
           !memcmp(a->domain, b->domain, (size_t)a->S * sizeof *a->domain) &&
           !memcmp(a->record, b->record, (size_t)a->S * sizeof *a->record);
}

static void test_disk(void)
{
    enum { N = 6000 };
    char *text = mixture(N);
    const char *const texts[] = {text};
    struct pesc_error err = {0};
    struct dataset *m = data_open(texts, 1, (struct dataset_options){0}, NULL);
    struct dataset *f =
        data_open(texts, 1, (struct dataset_options){.spill_dir = ".", .spill_bytes = 1000}, NULL);
    free(text);
    if (!m || !f)
        return;
    int same = dataset_size(m) == N && dataset_size(f) == N;
    long own = 0;
    for (long i = 0; i < N && same; i++) { /* from both ends, so that blocks are fetched again */
        long at = i % 2 ? N - 1 - i / 2 : i / 2, len = 0, found = -1;
        struct sample x, y;
        same = dataset_sample(m, at, &x, &err) == 0 && dataset_sample(f, at, &y, &err) == 0 &&
               same_sample(&x, &y) && dataset_length(f, at, &len, &err) == 0 && len == x.n &&
               dataset_find(f, x.record, &found, &err) == 0 && found == at;
        for (long t = 1; t < x.n; t++)
            own += x.labels[t] != LABEL_MASKED && x.labels[t] != x.ids[t];
    }
    ok(same && own > 100, "samples on disk are those in memory");
    is_str(dataset_sha256(f), dataset_sha256(m), "and so is their digest");
    long i = 0;
    ok(dataset_find(f, N, &i, &err) == 0 && i == -1, "a record that is not there is not found");
    long a = -1, b = -2;
    ok(dataset_repeats(m, &a, &err) == 0 && dataset_repeats(f, &b, &err) == 0, "repeats");
    is_long(a, N / 10, "are counted");
    is_long(b, a, "on disk as well");
    static const struct batch_options shapes[] = {
        {.records = 16, .order = ORDER_SHUFFLED, .seed = 3},
        {.packing = PACK_NEXT, .tokens = 100, .order = ORDER_SHUFFLED, .seed = 3},
        {.packing = PACK_BEST_FIT, .tokens = 100, .order = ORDER_SHUFFLED, .seed = 3},
    };
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        struct batcher *p = NULL, *q = NULL;
        long steps = 0;
        int good = batcher_open(m, &shapes[k], &p, &err) == 0 &&
                   batcher_open(f, &shapes[k], &q, &err) == 0 &&
                   batcher_steps(q, 2, &steps, &err) == 0 && steps > 700;
        for (long s = 0; s < steps && good; s++) {
            struct batch_source x = batcher_source(p), y = batcher_source(q);
            struct batch u, v;
            good = x.get(x.ctx, s, &u, &err) == 0 && y.get(y.ctx, s, &v, &err) == 0 &&
                   same_batch(&u, &v);
        }
        ok(good, "two shuffled epochs are the same, packing %s", packing_name(shapes[k].packing));
        batcher_close(p);
        batcher_close(q);
    }
    dataset_close(m);
    dataset_close(f);
}

/* Every tenth is the same. */
static void add_many(struct store *s, long n, int *rc, struct pesc_error *err)
{
    for (long i = 0; i < n && *rc == 0; i++) {
        int32_t ids[] = {i % 10 == 9 ? INT32_MAX : (int32_t)(i / 2), 5, 6};
        int32_t labels[] = {LABEL_MASKED, 5, 6};
        *rc = store_add(s, ids, labels, 2 + i % 2, 1 + i % 2, "d", i, err);
    }
}

#ifdef __SANITIZE_ADDRESS__
enum { KEPT = 64 }; /* MiB that were freed, and are kept to find who still uses them */
#else
enum { KEPT = 0 };
#endif

static void test_memory(void)
{
    enum { N = 1000000 };
    struct dataset d = {0};
    struct store *s = &d.store;
    struct pesc_error err = {0};
    struct sample x = {0};
    int32_t ids[3], labels[3];
    uint64_t before = machine_peak_rss();
    int rc = store_open(s, ".", 2 << 20, &err);
    add_many(s, N, &rc, &err);
    if (rc == 0)
        rc = store_end(s, &err);
    for (long i = 0; i < N && rc == 0; i += 997)
        rc = store_read(s, i, ids, labels, &x, &err) != 0 || x.record != i ||
             x.ids[0] != (i % 10 == 9 ? INT32_MAX : i / 2) || x.n != 2 + i % 2 || x.labels[1] != 5;
    ok(rc == 0 && s->n == N, "a million samples of two or three tokens");
    double grown = (double)(machine_peak_rss() - before) / (1 << 20);
    diag("%.1f MiB more", grown);
    ok(grown < 8 + KEPT, "take less than 8 MiB");
    long repeated = 0;
    ok(dataset_repeats(&d, &repeated, &err) == 0 && repeated == N / 10 - 1,
       "those that repeat another are found, run by run");
    grown = (double)(machine_peak_rss() - before) / (1 << 20);
    diag("%.1f MiB more", grown);
    ok(grown < 32 + KEPT, "in less than 32 MiB");
    store_free(s);
}

static void test_full_disk(void)
{
    struct store s = {0};
    struct pesc_error err = {0};
    struct rlimit was, small;
    int rc = store_open(&s, ".", 1 << 20, &err);
    getrlimit(RLIMIT_FSIZE, &was);
    small = was;
    small.rlim_cur = 3 << 20;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    add_many(&s, 1000000, &rc, &err);
    setrlimit(RLIMIT_FSIZE, &was);
    ok(rc != 0 && err.code == PESC_E_IO_FULL && err.exit_status == 9, "a disk that is full");
    store_free(&s);
    s = (struct store){0};
    err = (struct pesc_error){0};
    rc = store_open(&s, "data_make.nowhere", 1000, &err);
    add_many(&s, 1000, &rc, &err);
    ok(rc != 0 && err.exit_status == 9, "no folder to write in");
    store_free(&s);
}

int main(void)
{
    test_memory(); /* first, while the peak is small */
    test_disk();
    test_full_disk();
    return tap_done();
}
