/* Answers made comparable: what does not count is taken out of the text of both. */
#ifndef DATASETS_NORMAL_H
#define DATASETS_NORMAL_H

#include "datasets/unicode.h"

/* X(identifier, name) */
#define NORMALISERS(X)                                                                             \
    X(STRIP, "strip")             /* white space at both ends goes */                              \
    X(LOWER, "lower")             /* small letters, by Unicode */                                  \
    X(PUNCTUATION, "punctuation") /* ASCII punctuation goes */                                     \
    X(ARTICLES, "articles")       /* the words a, an, the become a space */                        \
    X(WHITESPACE, "whitespace")   /* runs of white space become one space, none at the ends */     \
    X(NUMBER, "number") /* the number behind the last "####", or else the text's last one, without \
                           commas in thousands and zeros that say nothing; "" without any */
enum normaliser {
#define PESC_X(id, name) NORMAL_##id,
    NORMALISERS(PESC_X)
#undef PESC_X
        NORMALISER_COUNT
};

enum { NORMAL_STEPS = 8 };
struct normal {
    int n; /* 0: texts as they are */
    enum normaliser step[NORMAL_STEPS];
};
/* "lower,punctuation,articles,whitespace", applied in this order, or "none". where: what says it,
 * for E-USAGE-VALUE. */
int normal_parse(const char *list, const char *where, struct normal *out,
                 struct pesc_error *err) MUST_USE;
/* The other way; "none" for no step. */
void normal_text(const struct normal *n, char *out, size_t size);
/* out becomes what is left of text[n], which need not be valid UTF-8, with a zero behind. */
int normal_apply(const struct normal *n, const char *text, size_t len, struct buf *out,
                 struct pesc_error *err) MUST_USE;

#endif
