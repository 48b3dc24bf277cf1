/* Lines of a log, one in memory at a time. */
#ifndef EXPERIMENTS_LOG_LINES_H
#define EXPERIMENTS_LOG_LINES_H

#include "core/error.h"

#include <stddef.h>

struct log_lines {
    int fd;
    const char *path;
    char *buf;
    size_t at, n, cap;
    int ended;
    long passed_over; /* lines over 16 MiB, and a last one without its end */
};

int log_open(struct log_lines *l, const char *path, struct pesc_error *err) MUST_USE;
/* 1 and the next whole line, until the next call; 0 at the end. */
int log_next(struct log_lines *l, const char **text, size_t *n, struct pesc_error *err);
void log_close(struct log_lines *l);

#endif
