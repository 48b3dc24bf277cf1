#include "config.h"
#include "cli/data_report.h"

enum { BINS = 40 }; /* bin k: lengths 2^k .. 2^(k+1)-1 */

struct lengths {
    long n, shortest, median, p90, p99, longest, bins[BINS], repeated;
};

static int measure(const struct dataset *d, struct lengths *l, struct pesc_error *err)
{
    const long *of_length = dataset_lengths(d);
    long n = dataset_size(d), longest = dataset_counts(d)->longest, seen = 0;
    const struct {
        long *to, rank; /* how many samples come before it when sorted */
    } at[] = {{&l->shortest, 0},
              {&l->median, n / 2},
              {&l->p90, n - 1 - n / 10},
              {&l->p99, n - 1 - n / 100}};
    *l = (struct lengths){.n = n, .longest = longest};
    for (long len = 0; len <= longest; len++) {
        int bin = 0;
        while (bin + 1 < BINS && len >> (bin + 1))
            bin++;
        l->bins[bin] += of_length[len];
        for (size_t k = 0; k < sizeof at / sizeof *at; k++)
            if (seen <= at[k].rank && at[k].rank < seen + of_length[len])
                *at[k].to = len;
        seen += of_length[len];
    }
    return dataset_repeats(d, &l->repeated, err);
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
            json_add(&bins, json_pack("{s:I, s:I, s:I}", "from", (json_int_t)(1L << k), "to",
                                      (json_int_t)((1L << (k + 1)) - 1), "samples",
                                      (json_int_t)l.bins[k]));
    json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "shortest", (json_int_t)l.shortest,
                          "median", (json_int_t)l.median, "p90", (json_int_t)l.p90, "p99",
                          (json_int_t)l.p99, "longest", (json_int_t)l.longest, "repeated",
                          (json_int_t)l.repeated, "histogram", bins);
    if (!o)
        FAIL(err, MEMORY, "no memory for the report");
    return o;
}
