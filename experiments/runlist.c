#include "config.h"
#include "experiments/runlist.h"

#include "core/file.h"
#include "core/json.h"
#include "experiments/log_lines.h"
#include "experiments/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int list_path(char *out, const char *db, struct pesc_error *err)
{
    return snprintf(out, PATH_CAP, "%s.runs", db) < PATH_CAP
               ? 0
               : FAIL(err, LIMIT, "path too long: %.200s...", db);
}

struct search {
    const char *folder;
    int found;
};

static int look(void *ctx, const char *folder, struct pesc_error *err)
{
    struct search *s = ctx;
    (void)err;
    s->found |= !strcmp(s->folder, folder);
    return 0;
}

int runlist_add(const char *db, const char *folder, struct pesc_error *err)
{
    char path[PATH_CAP];
    struct search s = {folder, 0};
    TRY(list_path(path, db, err));
    if (path_exists(path))
        TRY(runlist_each(db, look, &s, err));
    if (s.found)
        return 0;
    json_t *name = json_text(folder);
    char *text = name ? json_written(name, JSON_ENCODE_ANY) : NULL;
    json_decref(name);
    char *line = text ? malloc(strlen(text) + 3) : NULL;
    int fd = line ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666) : -1;
    int rc = !line    ? FAIL(err, MEMORY, "no memory for %s", path)
             : fd < 0 ? file_fail(err, path, "open")
                      : 0;
    if (rc == 0) { /* the line before may have been cut off by a crash */
        size_t n = (size_t)sprintf(line, "\n%s\n", text);
        ssize_t put = write(fd, line, n);
        rc = put == (ssize_t)n ? 0 : file_fail(err, path, "write");
    }
    if (fd >= 0)
        close(fd);
    free(line);
    free(text);
    return rc;
}

struct seen {
    char **v;
    size_t n;
};

static int is_seen(struct seen *s, const char *folder, struct pesc_error *err)
{
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->v[i], folder))
            return 1;
    char **grown = realloc(s->v, (s->n + 1) * sizeof *grown);
    char *copy = grown ? strdup(folder) : NULL;
    if (grown)
        s->v = grown;
    if (!copy)
        return FAIL(err, MEMORY, "no memory for a list of runs");
    s->v[s->n++] = copy;
    return 0;
}

int runlist_each(const char *db, int (*take)(void *ctx, const char *folder, struct pesc_error *err),
                 void *ctx, struct pesc_error *err)
{
    char path[PATH_CAP];
    struct log_lines l;
    struct seen seen = {0};
    const char *text;
    size_t n;
    int rc;
    TRY(list_path(path, db, err));
    TRY(log_open(&l, path, err));
    while ((rc = log_next(&l, &text, &n, err)) > 0) {
        json_t *name = json_parse(text, n, NULL, NULL, 0);
        const char *folder = json_string_value(name);
        int known = folder && *folder == '/' ? is_seen(&seen, folder, err) : 1;
        rc = known < 0 ? -1 : known ? 0 : take(ctx, folder, err);
        json_decref(name);
        if (rc != 0)
            break;
    }
    for (size_t i = 0; i < seen.n; i++)
        free(seen.v[i]);
    free(seen.v);
    log_close(&l);
    return rc;
}
