#include "config.h"
#include "cli/data_report.h"

#include "cli/data_arg.h"
#include "cli/data_facts.h"

#include <math.h>
#include <stdlib.h>

void data_held_out(struct cli *cli, const struct dataset *valid)
{
    char line[512];
    if (!valid)
        return;
    data_line(valid, line, sizeof line);
    fprintf(cli->out, "held out: %s\n", line);
}

json_t *data_held_out_json(const struct dataset *valid)
{
    if (!valid)
        return json_null();
    const struct dataset_counts *c = dataset_counts(valid);
    return json_pack("{s:I, s:I, s:I, s:I, s:o, s:s}", "used", (json_int_t)c->used, "samples",
                     (json_int_t)c->samples, "tokens", (json_int_t)c->tokens, "trained_tokens",
                     (json_int_t)c->trained_tokens, "files", data_sources_json(valid), "sha256",
                     dataset_sha256(valid));
}

struct packed {
    enum packing kind;
    long batches, tokens, most;
    double fill;
};

static int measure(const struct dataset *d, const struct batch_options *o, struct packed *p,
                   struct pesc_error *err)
{
    struct batcher *b;
    TRY(batcher_open(d, o, &b, err));
    *p = (struct packed){o->packing, batcher_batches_per_epoch(b), batcher_tokens_per_epoch(b),
                         batcher_source(b).max_tokens, batcher_fill(b)};
    batcher_close(b);
    return 0;
}

/* The packing asked for, or every one; how many. */
static int measure_all(const struct dataset *d, const struct batch_options *o, int every,
                       struct packed *p, int *n, struct pesc_error *err)
{
    struct batch_options one = *o;
    *n = 0;
    for (int k = 0; k < PACK_COUNT; k++) {
        if (!every && k != (int)o->packing)
            continue;
        one.packing = (enum packing)k;
        TRY(measure(d, &one, &p[(*n)++], err));
    }
    return 0;
}

/* The first file of a path stands for it. */
static const char *path_of(const struct dataset *d, long arg)
{
    for (long i = 0; i < dataset_source_count(d); i++)
        if (dataset_source_at(d, i)->arg == arg)
            return dataset_source_at(d, i)->path;
    return "?";
}

/* How often an epoch goes through each path; the batcher has found the weights good. */
static void mixture(FILE *f, const struct dataset *d, const char *weights)
{
    double sum = 0;
    for (int turn = 0; turn < 2; turn++) {
        const char *at = weights;
        for (long g = 0; g < dataset_path_count(d); g++, at += *at == ',') {
            char *end, shown[256];
            long first, n;
            double w = strtod(at, &end), drawn;
            at = end;
            dataset_path_samples(d, g, &first, &n);
            if (turn == 0) {
                sum += n ? w : 0;
                continue;
            }
            drawn = n ? w / sum * (double)dataset_size(d) : 0;
            text_escape(shown, sizeof shown, path_of(d, g));
            fprintf(f, "%-36.60s %10.4g %12.0f %10.3f\n", shown, w, drawn,
                    n ? drawn / (double)n : 0);
        }
        if (turn == 0)
            fprintf(f, "\n%-36s %10s %12s %10s\n", "mixed from", "weight", "samples", "times");
    }
}

int data_packing(struct cli *cli, const struct dataset *d, const struct batch_options *o, int every,
                 struct pesc_error *err)
{
    struct packed p[PACK_COUNT];
    int n;
    TRY(measure_all(d, o, every, p, &n, err));
    const struct dataset_counts *c = dataset_counts(d);
    fprintf(cli->out, "\nan epoch: %ld samples, %ld tokens", c->samples, p[0].tokens);
    if (o->weights)
        fprintf(cli->out, ", mixed %s", o->weights);
    else
        fprintf(cli->out, ", %ld trained", c->trained_tokens);
    fputc('\n', cli->out);
    if (o->weights)
        mixture(cli->out, d, o->weights);
    fprintf(cli->out, "\n%-9s %10s %16s %10s\n", "packing", "batches", "tokens at most", "filled");
    for (int k = 0; k < n; k++) {
        fprintf(cli->out, "%-9s %10ld %16ld ", packing_name(p[k].kind), p[k].batches, p[k].most);
        if (p[k].kind == PACK_OFF)
            fprintf(cli->out, "%10s\n", "-");
        else
            fprintf(cli->out, "%8.1f %%\n", 100 * p[k].fill);
    }
    return 0;
}

json_t *data_packing_json(const struct dataset *d, const struct batch_options *o, int every,
                          struct pesc_error *err)
{
    struct packed p[PACK_COUNT];
    int n;
    if (measure_all(d, o, every, p, &n, err) != 0)
        return NULL;
    json_t *rows = json_array();
    for (int k = 0; k < n; k++) {
        json_t *row = json_pack("{s:s, s:I, s:I}", "packing", packing_name(p[k].kind), "batches",
                                (json_int_t)p[k].batches, "max_tokens", (json_int_t)p[k].most);
        json_put(&row, "fill", isfinite(p[k].fill) ? json_real(p[k].fill) : json_null());
        json_add(&rows, row);
    }
    json_t *r = json_pack("{s:I, s:I, s:o}", "samples", (json_int_t)dataset_counts(d)->samples,
                          "tokens", (json_int_t)p[0].tokens, "batches", rows);
    if (!r)
        FAIL(err, MEMORY, "no memory for the report");
    return r;
}
