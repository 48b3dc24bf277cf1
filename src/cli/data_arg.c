#include "config.h"
#include "cli/data_arg.h"

#include "core/file.h"
#include "core/hash.h"

#include <stdlib.h>
#include <string.h>

void data_defaults(struct data_options *o)
{
    memset(o, 0, sizeof *o);
    o->max_seq_length = 512;
    o->loss_on = "answers";
    o->long_records = "truncate";
}

enum data_part data_part_arg(const struct data_options *o, enum data_part otherwise)
{
    for (int p = DATA_PART_TRAIN; o->split && p <= DATA_PART_TEST; p++)
        if (!strcmp(o->split, data_part_name((enum data_part)p)))
            return (enum data_part)p;
    return otherwise;
}

void data_options_free(struct dataset_options *o)
{
    json_decref((json_t *)o->template_tree);
    free((char *)o->template_sha256);
    o->template_tree = NULL;
    o->template_sha256 = NULL;
}

int template_arg(const char *name, const char **id, const json_t **tree, const char **sha256,
                 struct pesc_error *err)
{
    *tree = NULL;
    *sha256 = NULL;
    if (!name || template_find(name))
        return 0;
    if (!strchr(name, '/') && !strchr(name, '.'))
        return FAIL(err, USAGE_VALUE, "template '%s' is none of %s, and no file", name,
                    template_ids());
    char *digest = malloc(SHA256_HEX);
    json_t *read = digest ? config_tree(name, digest, err) : NULL;
    if (!digest)
        return FAIL(err, MEMORY, "no memory for a template");
    if (!read) {
        free(digest);
        return -1;
    }
    *id = path_base(name);
    *tree = read;
    *sha256 = digest;
    return 0;
}

void mix_defaults(struct mix_options *o)
{
    *o = (struct mix_options){.batch_size = 16};
}

int data_options(const struct data_options *o, const struct opt_list *files, long vocab_size,
                 struct dataset_options *out, struct pesc_error *err)
{
    const char *tmp = getenv("TMPDIR");
    int own = files == &o->data;
    *out = (struct dataset_options){
        .template_id = o->template_id,
        .system = o->system,
        .loss_on = LOSS_ANSWERS,
        .max_seq_length = o->max_seq_length,
        .long_records = data_long_from_name(o->long_records),
        .bad_max = o->bad_records,
        .max_records = o->max_records,
        .limits = own ? o->limits : NULL,
        .domain = own || (o->domain && !strchr(o->domain, ',')) ? o->domain : NULL,
        .part = data_part_arg(o, DATA_PART_ANY),
        .member = o->member,
        .max_unpacked = o->max_unpacked,
        .vocab_size = vocab_size,
        .spill_dir = tmp && *tmp ? tmp : "/var/tmp"};
    if (o->train_on_prompt || !strcmp(o->loss_on, "all"))
        out->loss_on = LOSS_ALL;
    else if (!strcmp(o->loss_on, "last"))
        out->loss_on = LOSS_LAST;
    return template_arg(o->template_id, &out->template_id, &out->template_tree,
                        &out->template_sha256, err);
}

int data_arg_open(const struct opt_list *files, const struct dataset_options *d,
                  const struct model_arg *a, const struct notes *notes, struct dataset **out,
                  struct pesc_error *err)
{
    if (files->n == 0)
        return FAIL(err, USAGE, "--data FILE is needed");
    return dataset_open(files->v, files->n, a->tokenizer, d, notes, out, err);
}

int mix_batches(const struct mix_options *m, const struct data_options *o,
                struct batch_options *out, struct pesc_error *err)
{
    enum packing p = m->packing        ? packing_from_name(m->packing)
                     : m->batch_tokens ? PACK_NEXT
                                       : PACK_OFF;
    if (p == PACK_OFF && m->batch_tokens)
        return FAIL(err, USAGE, "--batch-tokens packs samples, which --packing off forbids");
    *out = (struct batch_options){.packing = p,
                                  .records = m->batch_size,
                                  .tokens = m->batch_tokens ? m->batch_tokens
                                                            : m->batch_size * o->max_seq_length,
                                  .weights = m->weights};
    return 0;
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
    if (c->split && n > 0 && (size_t)n < size)
        n += snprintf(buf + n, size - (size_t)n, ", %ld split, %ld samples", c->split, c->samples);
    if (n > 0 && (size_t)n < size)
        snprintf(buf + n, size - (size_t)n, "; %ld tokens, %ld trained", c->tokens,
                 c->trained_tokens);
}

void packing_line(const struct batcher *b, const struct batch_options *o, char *buf, size_t size)
{
    long n = batcher_batches_per_epoch(b);
    if (o->packing == PACK_OFF)
        snprintf(buf, size, "off, %ld samples: %ld batches an epoch", o->records, n);
    else
        snprintf(buf, size, "%s, at most %ld tokens: %ld batches an epoch, %.1f %% full",
                 packing_name(o->packing), o->tokens, n, 100 * batcher_fill(b));
}

const char **data_domains(const struct dataset *d)
{
    long n = dataset_domain_count(d);
    const char **v = calloc((size_t)n + 1, sizeof *v);
    for (long i = 0; v && i < n; i++)
        v[i] = dataset_domain(d, i);
    return v;
}
