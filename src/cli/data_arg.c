#include "config.h"
#include "cli/data_arg.h"

#include <stdlib.h>
#include <string.h>

void data_defaults(struct data_options *o)
{
    memset(o, 0, sizeof *o);
    o->max_seq_length = 512;
}

enum data_part data_part_arg(const struct data_options *o, enum data_part otherwise)
{
    for (int p = DATA_PART_TRAIN; o->split && p <= DATA_PART_TEST; p++)
        if (!strcmp(o->split, data_part_name((enum data_part)p)))
            return (enum data_part)p;
    return otherwise;
}

struct dataset_options data_options(const struct data_options *o, long vocab_size)
{
    return (struct dataset_options){.template_id = o->template_id,
                                    .max_seq_length = o->max_seq_length,
                                    .bad_max = o->bad_records,
                                    .max_records = o->max_records,
                                    .domain = o->domain,
                                    .train_on_prompt = o->train_on_prompt,
                                    .part = data_part_arg(o, DATA_PART_ANY),
                                    .member = o->member,
                                    .max_unpacked = o->max_unpacked,
                                    .vocab_size = vocab_size};
}

int data_arg_open(const struct data_options *o, const struct opt_list *files, enum data_part part,
                  const struct model_arg *a, const struct notes *notes, struct dataset **out,
                  struct pesc_error *err)
{
    struct dataset_options d = data_options(o, base_config(a->base)->vocab_size);
    d.part = part;
    if (files->n == 0)
        return FAIL(err, USAGE, "--data FILE is needed");
    return dataset_open(files->v, files->n, a->tokenizer, &d, notes, out, err);
}

void data_line(const struct dataset *d, char *buf, size_t size)
{
    const struct dataset_counts *c = dataset_counts(d);
    int n = snprintf(buf, size, "%ld of %ld records", c->used, c->read);
    for (int s = 0; s < SKIP_COUNT; s++)
        if (c->skipped[s] && n > 0 && (size_t)n < size)
            n += snprintf(buf + n, size - (size_t)n, ", %ld skipped (%s)", c->skipped[s],
                          data_skip_name((enum data_skip)s));
    if (c->truncated && n > 0 && (size_t)n < size)
        n += snprintf(buf + n, size - (size_t)n, ", %ld cut", c->truncated);
    if (n > 0 && (size_t)n < size)
        snprintf(buf + n, size - (size_t)n, "; %ld tokens, %ld trained", c->tokens,
                 c->trained_tokens);
}

const char **data_domains(const struct dataset *d)
{
    long n = dataset_domain_count(d);
    const char **v = calloc((size_t)n + 1, sizeof *v);
    for (long i = 0; v && i < n; i++)
        v[i] = dataset_domain(d, i);
    return v;
}
