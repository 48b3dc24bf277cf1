/* What the golden tests share: tensors and JSON of the material, batches of id rows. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include "core/batch.h"
#include "core/json.h"
#include "model/engine.h"
#include "tests/tap.h"

/* Stops the program with the error's text. */
void must(int rc, const struct pesc_error *err);
json_t *golden_json(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* All floats of a tensor; the caller frees. n may be NULL. */
float *golden_tensor(const char *file, const char *name, uint64_t *n);

/* Rows of ids (and labels; NULL: the ids) as one packed batch. */
struct golden_batch {
    struct batch b;
    int32_t *ids, *labels;
    long *cu, *record;
    int *domain;
};
/* trim: a row ends at its last scored label. */
struct golden_batch golden_batch(const json_t *ids, const json_t *labels, int trim);
void golden_batch_free(struct golden_batch *g);

struct base *golden_base(const char *dir);
/* Largest absolute difference between the model's logits on one row of ids and want [n, V]. */
double golden_logits_diff(struct model *m, const json_t *ids, const float *want);
/* sqrt(sum (a-b)^2 / sum b^2), and 0 when both are all zero. */
double golden_rel_l2(const float *a, const float *b, size_t n);

#endif
