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
}

int data_options(const struct data_options *o, long vocab_size, struct dataset_options *out,
                 struct pesc_error *err)
{
    *out = (struct dataset_options){.template_id = o->template_id,
                                    .system = o->system,
                                    .max_seq_length = o->max_seq_length,
                                    .bad_max = o->bad_records,
                                    .max_records = o->max_records,
                                    .domain = o->domain,
                                    .loss_on = LOSS_ANSWERS,
                                    .vocab_size = vocab_size};
    if (o->train_on_prompt || !strcmp(o->loss_on, "all"))
        out->loss_on = LOSS_ALL;
    else if (!strcmp(o->loss_on, "last"))
        out->loss_on = LOSS_LAST;
    return template_arg(o->template_id, &out->template_id, &out->template_tree,
                        &out->template_sha256, err);
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

int data_arg_open(const struct data_options *o, const struct opt_list *files,
                  const struct model_arg *a, const struct notes *notes, struct dataset **out,
                  struct pesc_error *err)
{
    struct dataset_options d;
    if (files->n == 0)
        return FAIL(err, USAGE, "--data FILE is needed");
    TRY(data_options(o, base_config(a->base)->vocab_size, &d, err));
    int rc = dataset_open(files->v, files->n, a->tokenizer, &d, notes, out, err);
    data_options_free(&d);
    return rc;
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
