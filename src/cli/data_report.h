/* What pesc data prints. */
#ifndef PESC_CLI_DATA_REPORT_H
#define PESC_CLI_DATA_REPORT_H

#include "cli/cmd.h"
#include "core/json.h"
#include "datasets/dataset.h"

/* Files, skipped records by reason, domains, totals. */
void data_summary(struct cli *cli, const struct dataset *d, const struct dataset_options *o);
json_t *data_summary_json(const struct dataset *d, const struct dataset_options *o);

/* One sample as text, trained tokens in colour or between [[ and ]]; t may be NULL: ids. */
int data_sample(struct cli *cli, const struct dataset *d, long i, const struct tokenizer *t,
                struct pesc_error *err) MUST_USE;
/* As {record, domain, ids, labels, spans: [{text, trained}]}; NULL with err. */
json_t *data_sample_json(const struct dataset *d, long i, const struct tokenizer *t,
                         struct pesc_error *err);

/* Lengths and repeated samples. */
int data_lengths(struct cli *cli, const struct dataset *d, struct pesc_error *err) MUST_USE;
json_t *data_lengths_json(const struct dataset *d, struct pesc_error *err);

#endif
