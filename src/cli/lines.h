/* Lines of a file or of standard input, one in memory at a time. */
#ifndef PESC_CLI_LINES_H
#define PESC_CLI_LINES_H

#include "core/error.h"

#include <stddef.h>

enum { LINE_CAP = 16 << 20 }; /* bytes; as for a record of a data file */

struct lines {
    int fd;
    const char *name; /* in messages */
    long number;      /* of the line last given, from 1 */
    char *buf;
    size_t at, n, cap;
    int ended;
};

/* path: a regular file; NULL or "-" is standard input. lines_close also after a failure. */
int lines_open(struct lines *l, const char *path, struct pesc_error *err) MUST_USE;
/* 1 and the next line without its end, until the next call; 0 at the end. E-DS-BIG for a line over
 * LINE_CAP. A byte order mark at the very start is passed over. */
int lines_next(struct lines *l, const char **text, size_t *n, struct pesc_error *err);
/* Whether the next line is in memory already, so that lines_next will not wait for one. */
int lines_ready(const struct lines *l);
void lines_close(struct lines *l);

#endif
