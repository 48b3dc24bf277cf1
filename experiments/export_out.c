#include "config.h"
#include "experiments/export_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Its presence lets --force replace the folder; nothing else is ever removed. */
static const char MARK[] = ".pesc-export";

/* The parent's real path, so that what is written into files about it holds anywhere. */
static int absolute(struct export_out *o, const char *out, struct pesc_error *err)
{
    char parent[PATH_CAP], real[PATH_CAP];
    size_t n = strlen(out);
    while (n > 1 && out[n - 1] == '/')
        n--;
    if (n == 0 || n >= PATH_CAP)
        return FAIL(err, USAGE_VALUE, "-o: no usable name");
    snprintf(parent, sizeof parent, "%.*s", (int)n, out);
    const char *base = path_base(parent);
    if (!*base || !strcmp(base, ".") || !strcmp(base, ".."))
        return FAIL(err, USAGE_VALUE, "-o %s: give a name of its own", out);
    char name[PATH_CAP];
    snprintf(name, sizeof name, "%s", base);
    if (base == parent)
        snprintf(parent, sizeof parent, ".");
    else if (base == parent + 1)
        parent[1] = 0;
    else
        parent[base - parent - 1] = 0;
    TRY(path_real(real, parent, err));
    return path_join(o->path, strcmp(real, "/") ? real : "", name, err);
}

static int may_take(const struct export_out *o, struct pesc_error *err)
{
    char mark[PATH_CAP];
    struct stat st;
    if (lstat(o->path, &st) != 0)
        return errno == ENOENT ? 0 : file_fail(err, o->path, "look at");
    if (!o->force)
        return FAIL(err, USAGE_EXISTS, "%s exists already; --force replaces an export", o->path);
    if (!o->folder)
        return S_ISREG(st.st_mode) ? 0 : FAIL(err, USAGE_EXISTS, "%s is no file", o->path);
    TRY(path_join(mark, o->path, MARK, err));
    if (S_ISDIR(st.st_mode) && path_exists(mark))
        return 0;
    return FAIL(err, USAGE_EXISTS, "%s is no folder that an export made; it stays", o->path);
}

int out_begin(struct export_out *o, const char *out, int folder, int force, struct pesc_error *err)
{
    memset(o, 0, sizeof *o);
    o->folder = folder;
    o->force = force;
    TRY(absolute(o, out, err));
    TRY(may_take(o, err));
    char suffix[32];
    snprintf(suffix, sizeof suffix, ".tmp-%ld", (long)getpid());
    if (strlen(o->path) + strlen(suffix) >= PATH_CAP)
        return FAIL(err, IO, "path too long: %.200s...", o->path);
    strcat(strcpy(o->tmp, o->path), suffix);
    if (!folder)
        return 0;
    struct pesc_error old = {0};
    if (dir_remove_all(o->tmp, &old) != 0 || mkdir(o->tmp, 0777) != 0) {
        file_fail(err, o->path, "make folder");
        o->tmp[0] = 0;
        return -1;
    }
    TRY(out_file(o, MARK, err));
    fputs("pesc runs export\n", o->f);
    return out_close(o, err);
}

static int make_parents(const struct export_out *o, char *path, struct pesc_error *err)
{
    for (char *p = path + strlen(o->tmp) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        int rc = dir_make(path, err);
        *p = '/';
        TRY(rc);
    }
    return 0;
}

int out_file(struct export_out *o, const char *name, struct pesc_error *err)
{
    TRY(out_close(o, err));
    if (name)
        TRY(path_join(o->name, o->tmp, name, err));
    else
        strcpy(o->name, o->tmp);
    if (name)
        TRY(make_parents(o, o->name, err));
    else
        unlink(o->name); /* left by an earlier process of the same number */
    int fd = open(o->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return file_fail(err, o->name, "create");
    o->why = 0;
    o->f = fdopen(fd, "w");
    if (o->f)
        return 0;
    close(fd);
    return FAIL(err, MEMORY, "%s: no memory", o->name);
}

int out_folder(struct export_out *o, const char *name, struct pesc_error *err)
{
    char path[PATH_CAP];
    TRY(path_join(path, o->tmp, name, err));
    TRY(make_parents(o, path, err));
    return dir_make(path, err);
}

int out_taken(const struct export_out *o, const char *name)
{
    char path[PATH_CAP];
    struct pesc_error e = {0};
    return path_join(path, o->tmp, name, &e) != 0 || path_exists(path);
}

int out_bad(struct export_out *o)
{
    if (!ferror(o->f))
        return 0;
    o->why = o->why ? o->why : errno;
    return 1;
}

int out_close(struct export_out *o, struct pesc_error *err)
{
    FILE *f = o->f;
    o->f = NULL;
    if (!f)
        return 0;
    errno = 0;
    int bad = fflush(f) != 0 || ferror(f) || (!o->folder && fsync(fileno(f)) != 0);
    int why = o->why ? o->why : errno;
    if (fclose(f) != 0 && !bad) {
        bad = 1;
        why = errno;
    }
    errno = why ? why : EIO;
    return bad ? file_fail(err, o->name, "write") : 0;
}

static int flush_folder(const struct export_out *o, struct pesc_error *err)
{
    int fd = open(o->tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return file_fail(err, o->tmp, "open");
    int bad = syncfs(fd) != 0;
    int why = errno;
    close(fd);
    errno = why;
    return bad ? file_fail(err, o->tmp, "flush") : 0;
}

int out_commit(struct export_out *o, struct pesc_error *err)
{
    char parent[PATH_CAP];
    TRY(out_close(o, err));
    if (o->folder)
        TRY(flush_folder(o, err));
    TRY(may_take(o, err));
    struct stat st;
    int replace = o->force && lstat(o->path, &st) == 0;
    if (renameat2(AT_FDCWD, o->tmp, AT_FDCWD, o->path,
                  replace ? RENAME_EXCHANGE : RENAME_NOREPLACE) != 0) {
        if (errno == EEXIST)
            return FAIL(err, USAGE_EXISTS, "%s exists already", o->path);
        return file_fail(err, o->path, "name");
    }
    if (replace && o->folder)
        TRY(dir_remove_all(o->tmp, err));
    else if (replace && unlink(o->tmp) != 0)
        return file_fail(err, o->tmp, "remove");
    o->tmp[0] = 0;
    size_t n = (size_t)(path_base(o->path) - o->path);
    snprintf(parent, sizeof parent, "%.*s", (int)(n > 1 ? n - 1 : n), o->path);
    return dir_sync(parent, err);
}

void out_abort(struct export_out *o)
{
    struct pesc_error e = {0};
    if (o->f)
        fclose(o->f);
    o->f = NULL;
    if (!o->tmp[0])
        return;
    if (o->folder)
        (void)!dir_remove_all(o->tmp, &e);
    else
        unlink(o->tmp);
}
