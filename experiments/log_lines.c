#include "config.h"
#include "experiments/log_lines.h"

#include "core/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_CAP = 65536, LINE_MAX_BYTES = 16 << 20 };

int log_open(struct log_lines *l, const char *path, struct pesc_error *err)
{
    *l = (struct log_lines){.path = path, .cap = FIRST_CAP};
    l->fd = file_open_read(path, NULL, err);
    if (l->fd < 0)
        return -1;
    l->buf = malloc(l->cap);
    if (l->buf)
        return 0;
    close(l->fd);
    return FAIL(err, MEMORY, "%s: no memory for a line", path);
}

/* More behind what there is, which moves to the front. */
static int fill(struct log_lines *l, struct pesc_error *err)
{
    memmove(l->buf, l->buf + l->at, l->n - l->at);
    l->n -= l->at;
    l->at = 0;
    if (l->n == l->cap) {
        char *grown = realloc(l->buf, l->cap * 2);
        if (!grown)
            return FAIL(err, MEMORY, "%s: no memory for a line", l->path);
        l->buf = grown;
        l->cap *= 2;
    }
    ssize_t got;
    do
        got = read(l->fd, l->buf + l->n, l->cap - l->n);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return file_fail(err, l->path, "read");
    l->n += (size_t)got;
    l->ended = got == 0;
    return 0;
}

int log_next(struct log_lines *l, const char **text, size_t *n, struct pesc_error *err)
{
    size_t looked = l->at;
    int skipping = 0;
    for (;;) {
        char *end = memchr(l->buf + looked, '\n', l->n - looked);
        if (end) {
            size_t from = l->at;
            l->at = looked = (size_t)(end - l->buf) + 1;
            if (skipping || l->at - from == 1) {
                skipping = 0;
                continue;
            }
            *text = l->buf + from;
            *n = l->at - from - 1;
            return 1;
        }
        if (l->n - l->at >= LINE_MAX_BYTES) {
            l->passed_over += !skipping;
            skipping = 1;
        }
        if (skipping)
            l->at = l->n;
        if (l->ended) {
            l->passed_over += l->n > l->at;
            l->at = l->n;
            return 0;
        }
        looked = l->n - l->at; /* of what will stand at the front */
        TRY(fill(l, err));
    }
}

void log_close(struct log_lines *l)
{
    close(l->fd);
    free(l->buf);
}
