/* --data and what goes with it, for every command that reads records. */
#ifndef PESC_CLI_DATA_ARG_H
#define PESC_CLI_DATA_ARG_H

#include "cli/cmd.h"
#include "cli/model_arg.h"
#include "datasets/batcher.h"

struct data_options {
    struct opt_list data;
    const char *template_id, *system, *domain, *loss_on, *limits, *long_records;
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
         "NAME,...", "label for records that bring none: one, or one for each of --data",          \
         0,          0},                                                                           \
        {"max-seq-length",                                                                         \
         "cutoff-len",                                                                             \
         OPT_LONG,                                                                                 \
         (base) + offsetof(struct data_options, max_seq_length),                                   \
         "N",                                                                                      \
         "tokens of a sample; see --long",                                                         \
         2,                                                                                        \
         1 << 24},                                                                                 \
        {"long",                                                                                   \
         NULL,                                                                                     \
         OPT_CHOICE,                                                                               \
         (base) + offsetof(struct data_options, long_records),                                     \
         "truncate|split|drop",                                                                    \
         "what becomes of longer records, counted",                                                \
         0,                                                                                        \
         0},                                                                                       \
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
        {"data-limits",                                                                            \
         NULL,                                                                                     \
         OPT_STRING,                                                                               \
         (base) + offsetof(struct data_options, limits),                                           \
         "N,N,...",                                                                                \
         "the same for each of --data",                                                            \
         0,                                                                                        \
         0},                                                                                       \
    {                                                                                              \
        "train-on-prompt", NULL, OPT_FLAG,                                                         \
            (base) + offsetof(struct data_options, train_on_prompt), NULL,                         \
            "the same as --loss-on all", 0, 0                                                      \
    }

/* How samples become batches, for training and for what shows it beforehand. */
struct mix_options {
    const char *weights, *packing;
    double valid_fraction;
    long batch_size, batch_tokens;
};
#define MIX_AT(base, field) ((base) + offsetof(struct mix_options, field))
/* clang-format off */
#define MIX_OPTIONS(base)                                                                          \
    {"data-weights", NULL, OPT_STRING, MIX_AT(base, weights), "W,W,...",                           \
     "shares of each of --data in an epoch (default: by size)", 0, 0},                             \
    {"valid-fraction", NULL, OPT_REAL, MIX_AT(base, valid_fraction), "P",                          \
     "share of the records to hold out for evaluation", 0, 0.99},                                  \
    {"packing", NULL, OPT_CHOICE, MIX_AT(base, packing), "off|next|best-fit",                      \
     "batches by number or by tokens (default: off, or next)", 0, 0},                              \
    {"batch-size", NULL, OPT_LONG, MIX_AT(base, batch_size), "N", "samples per step", 1, 1e6},     \
    {"batch-tokens", NULL, OPT_LONG, MIX_AT(base, batch_tokens), "N",                              \
     "packed: tokens per step (default: batch x sequence)", 0, 1e9}
/* clang-format on */

void data_defaults(struct data_options *o);
/* What --split says, or else. */
enum data_part data_part_arg(const struct data_options *o, enum data_part otherwise);
void mix_defaults(struct mix_options *o);
/* What reading takes, for a model of that vocabulary; samples that are too many for memory go to
 * the folder for temporary files. files is the list that will be read (o->data, or another with
 * the same options, to which what stands for each of --data does not apply). What it reads a
 * template file into is freed with data_options_free when the data set is open. */
int data_options(const struct data_options *o, const struct opt_list *files, long vocab_size,
                 struct dataset_options *out, struct pesc_error *err) MUST_USE;
void data_options_free(struct dataset_options *o);
int data_arg_open(const struct opt_list *files, const struct dataset_options *d,
                  const struct model_arg *a, const struct notes *notes, struct dataset **out,
                  struct pesc_error *err) MUST_USE;
/* What batches are made of, in sequential order; E-USAGE. */
int mix_batches(const struct mix_options *m, const struct data_options *o,
                struct batch_options *out, struct pesc_error *err) MUST_USE;
/* --template: the name of a known one is left as it is; a file is read, *id becomes its name, and
 * tree and sha256 are the caller's. */
int template_arg(const char *name, const char **id, const json_t **tree, const char **sha256,
                 struct pesc_error *err) MUST_USE;
/* "12 of 20 records, 8 skipped (...)...": one line for headers. */
void data_line(const struct dataset *d, char *buf, size_t size);
/* "next, at most 2048 tokens: 31 batches an epoch, 97.3 % full". */
void packing_line(const struct batcher *b, const struct batch_options *o, char *buf, size_t size);
/* Domain names by number; the caller frees the array. NULL without memory. */
const char **data_domains(const struct dataset *d);

#endif
