/* What the history is told when a process starts on a run, as the run folder keeps it: the object
 * "run" of a start line of segments.jsonl. The history can be made again from it. */
#ifndef EXPERIMENTS_REGISTRATION_H
#define EXPERIMENTS_REGISTRATION_H

#include "experiments/history.h"

/* All of r but dir and process. Text that is not UTF-8 is escaped. NULL without memory. */
json_t *registration_json(const struct history_run *r);

struct registration {
    json_t *json; /* what run points to */
    struct history_run run;
    struct history_dataset *datasets;
    const char **keys, **values;
};
/* The other way; what is not there stays zero or NULL. json is kept until registration_free. */
int registration_read(json_t *json, struct registration *out, struct pesc_error *err) MUST_USE;
void registration_free(struct registration *r);

#endif
