/* A file that is printed into, and appears whole or not at all. */
#ifndef PESC_CLI_PAGE_H
#define PESC_CLI_PAGE_H

#include "core/file.h"

#include <stdio.h>

struct page {
    FILE *f; /* to print into; failures are kept until page_end */
    struct afile *file;
    struct pesc_error *err;
};
/* p and err must stay where they are until page_end. */
int page_open(struct page *p, const char *path, struct pesc_error *err) MUST_USE;
/* The file is there from here on; with an rc other than 0, or when something could not be written,
 * it is not, and this returns -1. */
int page_end(struct page *p, int rc) MUST_USE;

#endif
