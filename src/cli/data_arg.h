/* --data and what goes with it, for every command that reads records. */
#ifndef PESC_CLI_DATA_ARG_H
#define PESC_CLI_DATA_ARG_H

#include "cli/model_arg.h"
#include "datasets/dataset.h"

struct data_options {
    struct opt_list data;
    const char *template_id, *domain;
    long max_seq_length, bad_records, max_records;
    int train_on_prompt;
    const char *split, *member;
    uint64_t max_unpacked;
};
/* Rows for a command's option table; base is the offset of its struct data_options. */
#define DATA_OPTIONS(base)                                                                         \
    {"data",    "d",                                                                               \
     OPT_LIST,  (base) + offsetof(struct data_options, data),                                      \
     "FILE...", "records: files, folders, archives",                                               \
     0,         0},                                                                                \
        {"split",                                                                                  \
         NULL,                                                                                     \
         OPT_CHOICE,                                                                               \
         (base) + offsetof(struct data_options, split),                                            \
         "train|valid|test",                                                                       \
         "the part of a folder or an archive",                                                     \
         0,                                                                                        \
         0},                                                                                       \
        {"member",   NULL,                                                                         \
         OPT_STRING, (base) + offsetof(struct data_options, member),                               \
         "NAME",     "the one file of an archive to read",                                         \
         0,          0},                                                                           \
        {"max-uncompressed",                                                                       \
         NULL,                                                                                     \
         OPT_SIZE,                                                                                 \
         (base) + offsetof(struct data_options, max_unpacked),                                     \
         "SIZE",                                                                                   \
         "what a compressed file may unpack to (default 64GiB)",                                   \
         0,                                                                                        \
         0},                                                                                       \
        {"template",                                                                               \
         NULL,                                                                                     \
         OPT_CHOICE,                                                                               \
         (base) + offsetof(struct data_options, template_id),                                      \
         "camelidae|alpaca",                                                                       \
         "prompt template (default: by the records' format)",                                      \
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
            "score prompts too, not only answers", 0, 0                                            \
    }

void data_defaults(struct data_options *o);
/* What --split says, or else. */
enum data_part data_part_arg(const struct data_options *o, enum data_part otherwise);
/* files: which list to read (o->data, or another with the same options). part: which part of what
 * has parts. */
int data_arg_open(const struct data_options *o, const struct opt_list *files, enum data_part part,
                  const struct model_arg *a, const struct notes *notes, struct dataset **out,
                  struct pesc_error *err) MUST_USE;
/* The same for dataset_open, for a model of that vocabulary. */
struct dataset_options data_options(const struct data_options *o, long vocab_size);
/* "12 of 20 records, 8 skipped (...)...": one line for headers. */
void data_line(const struct dataset *d, char *buf, size_t size);
/* Domain names by number; the caller frees the array. NULL without memory. */
const char **data_domains(const struct dataset *d);

#endif
