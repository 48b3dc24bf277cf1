/* Questions about the history that have a name: what users ask for, written so that it stays fast.
 */
#ifndef EXPERIMENTS_NAMED_QUERY_H
#define EXPERIMENTS_NAMED_QUERY_H

#include "experiments/query.h"

/* A parameter: a run (its id is given to the query), a number or a text. */
enum query_param_kind { QUERY_NONE, QUERY_RUN, QUERY_NUMBER, QUERY_TEXT };
struct query_param {
    enum query_param_kind kind;
    const char *name;
    const char *otherwise; /* where none is given; NULL: it must be */
};

enum { QUERY_PARAMS = 3 };
struct named_query {
    const char *name, *summary;
    struct query_param param[QUERY_PARAMS];
    const char *sql; /* ?1, ?2, ... are its parameters */
};
extern const struct named_query named_queries[]; /* ends with a NULL name */

/* E-USAGE for a name that there is not, too few or too many values or what is no number; E-DB-RUN;
 * E-DB-QUERY. */
const struct named_query *named_query_find(const char *name, struct pesc_error *err);
int named_query_run(struct reader *r, const struct named_query *q, int n_words, char **words,
                    const struct row_sink *sink, struct pesc_error *err) MUST_USE;

#endif
