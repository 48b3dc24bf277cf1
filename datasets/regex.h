/* Regular expressions of tokenizer files. They are written for Oniguruma; regex.c, the one home of
 * PCRE2, rewrites what PCRE2 understands differently and refuses what has no equal. */
#ifndef DATASETS_REGEX_H
#define DATASETS_REGEX_H

#include "core/error.h"

#include <stddef.h>

struct regex;
struct regex_match; /* scratch of one thread */

/* E-TOK-UNSUP naming the pattern when it cannot be compiled or translated. */
struct regex *regex_new(const char *pattern, size_t n, struct pesc_error *err);
void regex_free(struct regex *r);

struct regex_match *regex_match_new(struct pesc_error *err);
void regex_match_free(struct regex_match *m);

/* First match at or after from in valid UTF-8 text[n]: 1 and [*start, *end), 0 for none, -1 and
 * E-LIMIT when the pattern needs more steps or memory than allowed. */
int regex_find(const struct regex *r, struct regex_match *m, const char *text, size_t n,
               size_t from, size_t *start, size_t *end, struct pesc_error *err);

#endif
