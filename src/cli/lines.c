#include "config.h"
#include "cli/lines.h"

#include "core/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 64 << 10 };

int lines_open(struct lines *l, const char *path, struct pesc_error *err)
{
    *l = (struct lines){.fd = STDIN_FILENO, .name = "standard input"};
    if (!path || !strcmp(path, "-"))
        return 0;
    l->name = path;
    l->fd = file_open_read(path, NULL, err);
    return l->fd < 0 ? -1 : 0;
}

void lines_close(struct lines *l)
{
    if (l->fd > STDIN_FILENO)
        close(l->fd);
    free(l->buf);
    l->fd = -1;
    l->buf = NULL;
}

int lines_ready(const struct lines *l)
{
    return l->n > l->at && memchr(l->buf + l->at, '\n', l->n - l->at) != NULL;
}

/* Reads on behind what is there, of which only the line begun is kept. */
static int fill(struct lines *l, struct pesc_error *err)
{
    size_t left = l->n - l->at;
    ssize_t got;
    if (left)
        memmove(l->buf, l->buf + l->at, left);
    l->at = 0;
    l->n = left;
    if (l->cap - left < BLOCK) {
        size_t cap = 2 * left + BLOCK;
        char *buf = realloc(l->buf, cap);
        if (!buf)
            return FAIL(err, MEMORY, "%s, line %ld: no memory for it", l->name, l->number + 1);
        l->buf = buf;
        l->cap = cap;
    }
    do
        got = read(l->fd, l->buf + left, BLOCK);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return FAIL(err, IO, "%s: %s", l->name, strerror(errno));
    l->ended = got == 0;
    l->n += (size_t)got;
    return 0;
}

int lines_next(struct lines *l, const char **text, size_t *n, struct pesc_error *err)
{
    static const char mark[] = "\xef\xbb\xbf";
    const char *end;
    size_t seen = 0;
    for (;;) {
        size_t left = l->n - l->at;
        end = left > seen ? memchr(l->buf + l->at + seen, '\n', left - seen) : NULL;
        if ((end ? (size_t)(end - l->buf) - l->at : left) > LINE_CAP)
            return FAIL(err, DS_BIG, "%s, line %ld: a line of more than %d bytes", l->name,
                        l->number + 1, LINE_CAP);
        if (end || l->ended)
            break;
        seen = left;
        TRY(fill(l, err));
    }
    if (!end && l->at == l->n)
        return 0;
    *text = l->buf + l->at;
    *n = end ? (size_t)(end - *text) : l->n - l->at;
    l->at += *n + (end != NULL);
    if (l->number++ == 0 && *n >= 3 && !memcmp(*text, mark, 3)) {
        *text += 3;
        *n -= 3;
    }
    return 1;
}
