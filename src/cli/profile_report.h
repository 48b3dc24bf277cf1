/* Where the time of training went, as a table and as JSON. */
#ifndef PESC_CLI_PROFILE_REPORT_H
#define PESC_CLI_PROFILE_REPORT_H

#include "tensor/profile.h"

#include <jansson.h>
#include <stdio.h>

/* Stages that took any time: seconds, share, and for products their number and speed. */
void profile_table(FILE *f, const struct profile *p);
/* {"seconds": of all, "stages": {name: {"seconds", "share", "forward_seconds", "recompute_seconds",
 * "backward_seconds"; with products also "forward_flops", ...}}}; NULL without memory. */
json_t *profile_json(const struct profile *p);

#endif
