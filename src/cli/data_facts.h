/* What is known about the files of a data set, for reports, the run folder and the history. */
#ifndef PESC_CLI_DATA_FACTS_H
#define PESC_CLI_DATA_FACTS_H

#include "core/json.h"
#include "datasets/dataset.h"

/* {"bad record": 0, ...}: every reason. */
json_t *data_reasons_json(const long *skips);
/* One file: name, format, digest and every count. NULL without memory. */
json_t *data_source_json(const struct dataset_source *s);
json_t *data_sources_json(const struct dataset *d);

#endif
