/* What pesc data prints. */
#ifndef PESC_CLI_DATA_REPORT_H
#define PESC_CLI_DATA_REPORT_H

#include "cli/cmd.h"
#include "core/json.h"
#include "datasets/batcher.h"

/* Files, skipped records by reason, domains, totals. */
void data_summary(struct cli *cli, const struct dataset *d, const struct dataset_options *o);
json_t *data_summary_json(const struct dataset *d, const struct dataset_options *o);

/* One sample as text, trained tokens in colour or between [[ and ]]; t may be NULL: ids. */
int data_sample(struct cli *cli, const struct dataset *d, long i, const struct tokenizer *t,
                struct pesc_error *err) MUST_USE;
/* As {record, domain, ids, labels, spans: [{text, trained}]}; NULL with err. */
json_t *data_sample_json(const struct dataset *d, long i, const struct tokenizer *t,
                         struct pesc_error *err);

/* One line about the side held out; nothing when there is none. */
void data_held_out(struct cli *cli, const struct dataset *valid);
json_t *data_held_out_json(const struct dataset *valid); /* null when there is none */

/* What an epoch is, and (every: with every kind of packing) how full its batches are. */
int data_packing(struct cli *cli, const struct dataset *d, const struct batch_options *o, int every,
                 struct pesc_error *err) MUST_USE;
json_t *data_packing_json(const struct dataset *d, const struct batch_options *o, int every,
                          struct pesc_error *err);

/* Lengths and repeated samples. */
int data_lengths(struct cli *cli, const struct dataset *d, struct pesc_error *err) MUST_USE;
json_t *data_lengths_json(const struct dataset *d, struct pesc_error *err);

#endif
