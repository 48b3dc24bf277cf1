#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "core/file.h"
#include "experiments/rebuild.h"
#include "experiments/runlist.h"

#include <dirent.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 8 };

struct options {
    const char *db;
    struct opt_list runs;
};

static const struct opt opts[] = {
    {"db", NULL, OPT_STRING, offsetof(struct options, db), "PATH", DB_ARG_HELP, 0, 0},
    {"runs", NULL, OPT_LIST, offsetof(struct options, runs), "DIR",
     "look in these folders, too, and in those below", 0, 0},
    {0}};

struct folder {
    char *path;
    int is_pack;
    long long began;
};
struct folders {
    struct folder *v;
    size_t n;
    long gone;
    const struct notes *notes;
};

static int holds(const char *dir, const char *name)
{
    char path[PATH_CAP];
    struct stat st;
    return path_join(path, dir, name, NULL) == 0 && lstat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* A folder of a run or of a pack: 1; another: 0. */
static int add(struct folders *f, const char *dir, struct pesc_error *err)
{
    int is_run = holds(dir, "run.json"), is_pack = !is_run && holds(dir, "manifest.json");
    char real[PATH_CAP];
    if (!is_run && !is_pack)
        return 0;
    if (path_real(real, dir, err) != 0)
        return -1;
    for (size_t i = 0; i < f->n; i++)
        if (!strcmp(f->v[i].path, real))
            return 1;
    struct folder *grown = realloc(f->v, (f->n + 1) * sizeof *grown);
    char *copy = grown ? strdup(real) : NULL;
    if (grown)
        f->v = grown;
    if (!copy)
        return FAIL(err, MEMORY, "no memory for a list of runs");
    f->v[f->n++] = (struct folder){copy, is_pack, is_run ? rebuild_began(real) : 0};
    return 1;
}

static int search(struct folders *f, const char *dir, int depth, struct pesc_error *err)
{
    char path[PATH_CAP];
    struct stat st;
    int rc = add(f, dir, err);
    if (rc != 0 || depth == 0)
        return rc < 0 ? -1 : 0;
    DIR *d = opendir(dir);
    if (!d) {
        note(f->notes, "W-DB-LIST", "%s: cannot be looked into", dir);
        return 0;
    }
    for (struct dirent *e; rc == 0 && (e = readdir(d));)
        if (e->d_name[0] != '.' && path_join(path, dir, e->d_name, NULL) == 0 &&
            lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
            rc = search(f, path, depth - 1, err);
    closedir(d);
    return rc;
}

static int listed(void *ctx, const char *folder, struct pesc_error *err)
{
    struct folders *f = ctx;
    int rc = add(f, folder, err);
    if (rc == 0) {
        f->gone++;
        note(f->notes, "W-DB-LIST", "%s holds no run any more; where it is now, --runs finds it",
             folder);
    }
    return rc < 0 ? -1 : 0;
}

/* Runs in the order in which they began, then packs, which may be of them. */
static int by_time(const void *a, const void *b)
{
    const struct folder *x = a, *y = b;
    if (x->is_pack != y->is_pack)
        return x->is_pack - y->is_pack;
    if (x->began != y->began)
        return x->began < y->began ? -1 : 1;
    return strcmp(x->path, y->path);
}

struct counts {
    long runs, packs, failed;
};

static int take(struct history *h, const char *db, const struct folder *f, struct counts *c,
                const struct notes *notes, struct pesc_error *err)
{
    struct rebuilt r;
    if (f->is_pack) {
        TRY(rebuild_pack(h, f->path, err));
        c->packs++;
        return runlist_add(db, f->path, err);
    }
    TRY(rebuild_run(h, f->path, &r, err));
    if (r.elsewhere) {
        note(notes, "W-DB-LIST", "%s is a copy of run %.8s, which is where the history says it is",
             f->path, r.uuid);
        return 0;
    }
    if (r.known && r.running)
        note(notes, "W-DB-LIST", "%s is being trained: its process tells the history itself",
             f->path);
    if (r.passed_over)
        note(notes, "W-RUN-LOG", "%s: %ld of %ld lines of metrics.jsonl could not be used", f->path,
             r.passed_over, r.lines);
    c->runs++;
    return runlist_add(db, f->path, err);
}

static int gather(struct folders *f, const char *db, const struct options *o,
                  struct pesc_error *err)
{
    struct pesc_error none = {0};
    if (runlist_each(db, listed, f, &none) != 0) {
        if (none.code != PESC_E_IO_MISSING) {
            *err = none;
            return -1;
        }
        if (o->runs.n == 0)
            return FAIL(err, IO_MISSING,
                        "%s.runs, the list of run folders, is not there; say where they are with "
                        "--runs DIR",
                        db);
        note(f->notes, "W-DB-LIST", "%s.runs, the list of run folders, is not there", db);
    }
    for (long i = 0; i < o->runs.n; i++) {
        if (!path_is_dir(o->runs.v[i]))
            return FAIL(err, IO_MISSING, "%s: no such folder", o->runs.v[i]);
        TRY(search(f, o->runs.v[i], DEPTH, err));
    }
    return 0;
}

static int rebuild(struct cli *cli, const char *db, const struct options *o, struct folders *f,
                   struct pesc_error *err)
{
    struct history *h = NULL;
    struct counts c = {0};
    TRY(gather(f, db, o, err));
    if (f->n)
        qsort(f->v, f->n, sizeof *f->v, by_time);
    TRY(history_open(db, &h, err));
    for (size_t i = 0; i < f->n; i++) {
        struct pesc_error e = {0};
        if (take(h, db, &f->v[i], &c, f->notes, &e) == 0)
            continue;
        if (e.code == PESC_E_DB || e.code == PESC_E_MEMORY) {
            history_close(h);
            *err = e;
            return -1;
        }
        c.failed++;
        note(f->notes, "W-DB-LIST", "not taken: %s", e.text);
    }
    history_close(h);
    fprintf(cli->talk, "%ld run%s and %ld pack%s are in %s\n", c.runs, c.runs == 1 ? "" : "s",
            c.packs, c.packs == 1 ? "" : "s", db);
    if (c.failed)
        return FAIL(err, IO, "%ld of %zu folders could not be taken", c.failed, f->n);
    return 0;
}

static int run(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    struct notes notes = cli_notes(cli);
    struct folders f = {.notes = &notes};
    char db[PATH_CAP];
    if (argc > 0)
        return FAIL(err, USAGE, "rebuild takes no '%s'; folders come with --runs", argv[0]);
    TRY(cli_db_path(o->db, db, err));
    int rc = rebuild(cli, db, o, &f, err);
    for (size_t i = 0; i < f.n; i++)
        free(f.v[i].path);
    free(f.v);
    return rc;
}

const struct cmd runs_rebuild = {
    .name = "rebuild",
    .usage = "[--runs DIR...]",
    .summary = "Makes the history again from the run folders.",
    .details = "What the history lacks is added; the same again changes nothing. Folders are\n"
               "those of the list beside the database, DATABASE.runs, and those that --runs\n"
               "finds.",
    .opts = opts,
    .opts_size = sizeof(struct options),
    .run = run,
};
