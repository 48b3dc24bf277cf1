/* What pesc eval says about experts: who is chosen by layer and domain (--routing), and what the
 * loss would be without one of them (--knock-out). */
#ifndef PESC_CLI_EVAL_EXPERTS_H
#define PESC_CLI_EVAL_EXPERTS_H

#include "datasets/dataset.h"
#include "train/evaluate.h"

#include <jansson.h>
#include <stdio.h>

/* --knock-out LAYER:EXPERT or all; NULL: none, then layer is -1. E-USAGE-VALUE. */
struct knock_out {
    int all;
    long layer, expert;
};
int knock_out_parse(const char *text, struct knock_out *k, struct pesc_error *err) MUST_USE;

/* A table per layer and rank of choice, within 80 columns: rows are domains, columns experts. */
void routing_text(FILE *f, const struct routing *r, const struct dataset *data);
/* Flat rows: one per layer and choice ("any", "1" the most probable, "2" ...) with max_load and
 * divergence, and one per domain (null: all) of it with share[experts]. NULL without memory. */
json_t *routing_json(const struct routing *r, const struct dataset *data);

/* How much the mean loss grows without each expert, by domain and in all. */
struct damage {
    long first, layers, experts, n_domains; /* layers with experts, from first on */
    double
        *increase; /* [layers, experts, n_domains + 1], in all last; NaN where nothing is scored */
};
/* all and domain[n_domains] are what the whole model had on the same batches. Leaves the model
 * whole; free with damage_free. */
int damage_measure(struct damage *d, struct model *m, struct engine *e,
                   const struct batch_source *data, long n_batches, const struct eval_sum *all,
                   const struct eval_sum *domain, long n_domains, struct pesc_error *err) MUST_USE;
void damage_free(struct damage *d);
void damage_text(FILE *f, const struct damage *d, const struct dataset *data);
/* Flat rows: layer, expert, domain (null: all), increase. NULL without memory. */
json_t *damage_json(const struct damage *d, const struct dataset *data);

#endif
