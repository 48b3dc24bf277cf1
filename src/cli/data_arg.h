/* --data and what goes with it, for every command that reads records. */
#ifndef PESC_CLI_DATA_ARG_H
#define PESC_CLI_DATA_ARG_H

#include "cli/cmd.h"
#include "cli/model_arg.h"
#include "datasets/dataset.h"

struct data_options {
    struct opt_list data;
    const char *template_id, *system, *domain, *loss_on;
    long max_seq_length, bad_records, max_records;
    int train_on_prompt;
};
/* Rows for a command's option table; base is the offset of its struct data_options. */
#define DATA_OPTIONS(base)                                                                         \
    {"data",    "d",                                                                               \
     OPT_LIST,  (base) + offsetof(struct data_options, data),                                      \
     "FILE...", "records: JSON or JSONL",                                                          \
     0,         0},                                                                                \
        {"template",                                                                               \
         NULL,                                                                                     \
         OPT_STRING,                                                                               \
         (base) + offsetof(struct data_options, template_id),                                      \
         "NAME|FILE.yaml",                                                                         \
         "chat template (default: the model's own)",                                               \
         0,                                                                                        \
         0},                                                                                       \
        {"system",   NULL,                                                                         \
         OPT_STRING, (base) + offsetof(struct data_options, system),                               \
         "TEXT",     "system text for records that bring none",                                    \
         0,          0},                                                                           \
        {"loss-on",                                                                                \
         NULL,                                                                                     \
         OPT_CHOICE,                                                                               \
         (base) + offsetof(struct data_options, loss_on),                                          \
         "answers|last|all",                                                                       \
         "what is scored: every answer, the last, or all",                                         \
         0,                                                                                        \
         0},                                                                                       \
        {"domain",   NULL,                                                                         \
         OPT_STRING, (base) + offsetof(struct data_options, domain),                               \
         "NAME",     "label for records that bring none (default: the file's name)",               \
         0,          0},                                                                           \
        {"max-seq-length",                                                                         \
         "cutoff-len",                                                                             \
         OPT_LONG,                                                                                 \
         (base) + offsetof(struct data_options, max_seq_length),                                   \
         "N",                                                                                      \
         "tokens of a record; longer ones are cut and counted",                                    \
         2,                                                                                        \
         1 << 24},                                                                                 \
        {"bad-records",                                                                            \
         NULL,                                                                                     \
         OPT_LONG,                                                                                 \
         (base) + offsetof(struct data_options, bad_records),                                      \
         "N",                                                                                      \
         "malformed records to skip and count before giving up",                                   \
         0,                                                                                        \
         1e15},                                                                                    \
        {"max-records",                                                                            \
         NULL,                                                                                     \
         OPT_LONG,                                                                                 \
         (base) + offsetof(struct data_options, max_records),                                      \
         "N",                                                                                      \
         "read no more than this (0: all)",                                                        \
         0,                                                                                        \
         1e15},                                                                                    \
    {                                                                                              \
        "train-on-prompt", NULL, OPT_FLAG,                                                         \
            (base) + offsetof(struct data_options, train_on_prompt), NULL,                         \
            "the same as --loss-on all", 0, 0                                                      \
    }

void data_defaults(struct data_options *o);
/* files: which list to read (o->data, or another with the same options). */
int data_arg_open(const struct data_options *o, const struct opt_list *files,
                  const struct model_arg *a, const struct notes *notes, struct dataset **out,
                  struct pesc_error *err) MUST_USE;
/* The same for dataset_open, for a model of that vocabulary. What it reads a template file into is
 * freed with data_options_free when the data set is open. */
int data_options(const struct data_options *o, long vocab_size, struct dataset_options *out,
                 struct pesc_error *err) MUST_USE;
void data_options_free(struct dataset_options *o);
/* --template: the name of a known one is left as it is; a file is read, *id becomes its name, and
 * tree and sha256 are the caller's. */
int template_arg(const char *name, const char **id, const json_t **tree, const char **sha256,
                 struct pesc_error *err) MUST_USE;
/* "12 of 20 records, 8 skipped (...)...": one line for headers. */
void data_line(const struct dataset *d, char *buf, size_t size);
/* Domain names by number; the caller frees the array. NULL without memory. */
const char **data_domains(const struct dataset *d);

#endif
