#include "config.h"
#include "experiments/spool.h"

#include "core/file.h"
#include "experiments/rebuild.h"
#include "experiments/runlist.h"

#include <fcntl.h>
#include <unistd.h>

static const char mark[] = "unrecorded";

int spool_mark(const char *run_dir, struct pesc_error *err)
{
    char path[PATH_CAP];
    TRY(path_join(path, run_dir, mark, err));
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return file_fail(err, path, "make");
    close(fd);
    return 0;
}

void spool_unmark(const char *run_dir)
{
    char path[PATH_CAP];
    if (path_join(path, run_dir, mark, NULL) == 0)
        (void)unlink(path); /* taken once more, if it stays: to the same rows */
}

struct taking {
    struct history *h;
    const struct notes *notes;
    long n;
};

static int take(void *ctx, const char *folder, struct pesc_error *err)
{
    struct taking *t = ctx;
    struct pesc_error e = {0};
    struct rebuilt r = {0};
    char path[PATH_CAP];
    (void)err; /* one that cannot be taken does not keep the others out */
    if (path_join(path, folder, mark, NULL) != 0 || access(path, F_OK) != 0)
        return 0;
    if (rebuild_run(t->h, folder, &r, &e) != 0) {
        note(t->notes, "W-DB-LIST", "%s is still missing in the history: %s", folder, e.text);
        return 0;
    }
    if (r.running)
        return 0;
    t->n++;
    spool_unmark(folder);
    return 0;
}

long spool_take(struct history *h, const char *db, const struct notes *notes)
{
    struct taking t = {h, notes, 0};
    struct pesc_error e = {0};
    if (runlist_each(db, take, &t, &e) != 0 && e.code != PESC_E_IO_MISSING)
        note(notes, "W-DB-LIST", "%s", e.text);
    return t.n;
}
