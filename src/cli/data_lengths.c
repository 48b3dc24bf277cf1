#include "config.h"
#include "cli/data_report.h"

#include <stdlib.h>
#include <string.h>

enum { BINS = 40 }; /* bin k: lengths 2^k .. 2^(k+1)-1 */

struct lengths {
    long n, shortest, median, p90, p99, longest, bins[BINS], repeated;
};

/* Samples by their tokens and labels. */
static int by_content(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;
    if (x->n != y->n)
        return x->n < y->n ? -1 : 1;
    int c = memcmp(x->ids, y->ids, (size_t)x->n * sizeof *x->ids);
    return c ? c : memcmp(x->labels, y->labels, (size_t)x->n * sizeof *x->labels);
}

static int measure(const struct dataset *d, struct lengths *l, struct pesc_error *err)
{
    long n = dataset_size(d);
    struct sample *s = malloc((size_t)n * sizeof *s);
    if (!s)
        return FAIL(err, MEMORY, "no memory for %ld samples", n);
    *l = (struct lengths){.n = n};
    for (long i = 0; i < n; i++) {
        int bin = 0;
        s[i] = dataset_sample(d, i);
        while (bin + 1 < BINS && s[i].n >> (bin + 1))
            bin++;
        l->bins[bin]++;
    }
    qsort(s, (size_t)n, sizeof *s, by_content);
    for (long i = 1; i < n; i++)
        l->repeated += by_content(&s[i - 1], &s[i]) == 0;
    l->shortest = s[0].n;
    l->median = s[n / 2].n;
    l->p90 = s[n - 1 - n / 10].n;
    l->p99 = s[n - 1 - n / 100].n;
    l->longest = s[n - 1].n;
    free(s);
    return 0;
}

int data_lengths(struct cli *cli, const struct dataset *d, struct pesc_error *err)
{
    struct lengths l;
    long most = 1;
    TRY(measure(d, &l, err));
    for (int k = 0; k < BINS; k++)
        if (l.bins[k] > most)
            most = l.bins[k];
    fprintf(cli->out, "\n%-16s %10s\n", "length in tokens", "samples");
    for (int k = 0; k < BINS; k++) {
        if (!l.bins[k])
            continue;
        char range[48];
        snprintf(range, sizeof range, "%ld..%ld", 1L << k, (1L << (k + 1)) - 1);
        fprintf(cli->out, "%-16s %10ld ", range, l.bins[k]);
        for (long i = 0; i < (40 * l.bins[k] + most - 1) / most; i++)
            fputc('#', cli->out);
        fputc('\n', cli->out);
    }
    fprintf(cli->out, "\nshortest %ld, median %ld, 90 %% up to %ld, 99 %% up to %ld, longest %ld\n",
            l.shortest, l.median, l.p90, l.p99, l.longest);
    fprintf(cli->out, "repeated samples %ld\n", l.repeated);
    return 0;
}

json_t *data_lengths_json(const struct dataset *d, struct pesc_error *err)
{
    struct lengths l;
    if (measure(d, &l, err) != 0)
        return NULL;
    json_t *bins = json_array();
    for (int k = 0; k < BINS; k++)
        if (l.bins[k])
            json_array_append_new(bins, json_pack("{s:I, s:I, s:I}", "from", (json_int_t)(1L << k),
                                                  "to", (json_int_t)((1L << (k + 1)) - 1),
                                                  "samples", (json_int_t)l.bins[k]));
    json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "shortest", (json_int_t)l.shortest,
                          "median", (json_int_t)l.median, "p90", (json_int_t)l.p90, "p99",
                          (json_int_t)l.p99, "longest", (json_int_t)l.longest, "repeated",
                          (json_int_t)l.repeated, "histogram", bins);
    if (!o)
        FAIL(err, MEMORY, "no memory for the report");
    return o;
}
