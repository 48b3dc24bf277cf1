#include "config.h"
#include "cli/runs.h"

#include "cli/db_arg.h"
#include "experiments/keep.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { TAGS_MAX = 1000 };

struct options {
    const char *db;
    int undo, folder;
    struct opt_list remove;
};
#define DB                                                                                         \
    {                                                                                              \
        "db", NULL, OPT_STRING, offsetof(struct options, db), "PATH", DB_ARG_HELP, 0, 0            \
    }
static const struct opt db_only[] = {DB, {0}};
static const struct opt tag_opts[] = {DB,
                                      {"remove", NULL, OPT_LIST, offsetof(struct options, remove),
                                       "KEY", "take these tags off", 0, 0},
                                      {0}};
static const struct opt delete_opts[] = {DB,
                                         {"undo", NULL, OPT_FLAG, offsetof(struct options, undo),
                                          NULL, "the runs are there again", 0, 0},
                                         {0}};
static const struct opt purge_opts[] = {
    DB,
    {"folder", NULL, OPT_FLAG, offsetof(struct options, folder), NULL,
     "remove the run folder, too: log, checkpoints, result", 0, 0},
    {0}};

/* The run that text means, among those that are deleted or those that are not. */
static int find(const struct options *o, const char *text, int deleted, char *db, long long *id,
                struct pesc_error *err)
{
    struct reader *r;
    int absent;
    TRY(cli_db_path(o->db, db, err));
    TRY(runs_open(o->db, &r, &absent, err));
    if (absent)
        return FAIL(err, DB_RUN, "no runs yet");
    int rc = deleted ? query_find_deleted(r, text, id, err) : query_find_run(r, text, id, err);
    reader_close(r);
    return rc;
}

static int change(struct cli *cli, const struct options *o, const char *text, int deleted,
                  const struct label_change *c, struct pesc_error *err)
{
    char db[PATH_CAP];
    long long id;
    struct notes notes = cli_notes(cli);
    struct pesc_error folder = {0};
    TRY(find(o, text, deleted, db, &id, err));
    TRY(keep_label(db, id, c, &folder, err));
    if (folder.code)
        note(&notes, "W-RUN-LABELS", "in the history only: %s", folder.text);
    return 0;
}

static int run_note(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    if (argc != 2)
        return FAIL(err, USAGE, "a RUN and its note are needed, the note in quotes");
    return change(cli, values, argv[0], 0, &(struct label_change){.note = argv[1]}, err);
}

static int run_name(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    if (argc != 2)
        return FAIL(err, USAGE, "a RUN and its new name are needed");
    if (!*argv[1])
        return FAIL(err, USAGE_VALUE, "a run's name cannot be empty");
    return change(cli, values, argv[0], 0, &(struct label_change){.name = argv[1]}, err);
}

static int run_tag(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    struct label_change c = {0};
    long n = argc - 1 + o->remove.n;
    if (argc < 1 || n < 1)
        return FAIL(err, USAGE, "a RUN and KEY=VALUE, or --remove KEY, are needed");
    if (n > TAGS_MAX)
        return FAIL(err, USAGE_VALUE, "more than %d tags", TAGS_MAX);
    const char **keys = calloc((size_t)n, sizeof *keys), **of = calloc((size_t)n, sizeof *of);
    int rc = keys && of ? 0 : FAIL(err, MEMORY, "no memory for tags");
    for (int i = 1; i < argc && rc == 0; i++) {
        char *equals = strchr(argv[i], '=');
        if (!equals || equals == argv[i]) {
            rc = FAIL(err, USAGE_VALUE, "'%s' is not KEY=VALUE", argv[i]);
            break;
        }
        *equals = 0;
        keys[c.n_tags] = argv[i];
        of[c.n_tags++] = equals + 1;
    }
    for (long i = 0; i < o->remove.n && rc == 0; i++)
        keys[c.n_tags++] = o->remove.v[i];
    c.keys = keys;
    c.values = of;
    if (rc == 0)
        rc = change(cli, o, argv[0], 0, &c, err);
    free(keys);
    free(of);
    return rc;
}

static int run_delete(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    const struct label_change c = {.deletion = o->undo ? -1 : 1};
    if (argc < 1)
        return FAIL(err, USAGE, "at least one RUN is needed");
    for (int i = 0; i < argc; i++)
        TRY(change(cli, o, argv[i], o->undo, &c, err));
    return 0;
}

static int run_purge(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    struct notes notes = cli_notes(cli);
    char db[PATH_CAP];
    long long id;
    if (argc < 1)
        return FAIL(err, USAGE, "at least one RUN is needed");
    for (int i = 0; i < argc; i++) {
        int removed = 0;
        TRY(find(o, argv[i], 1, db, &id, err));
        TRY(keep_purge(db, id, o->folder, &removed, err));
        if (o->folder && !removed)
            note(&notes, "W-RUN-LOG", "%s: the folder holds other files, too, and stays", argv[i]);
    }
    return 0;
}

static void reaped(void *ctx, const char *uuid, const char *name)
{
    char shown[400];
    text_escape(shown, sizeof shown, name);
    fprintf(ctx, "%.8s %s\n", uuid, shown);
}

static int run_reap(struct cli *cli, void *values, int argc, char **argv, struct pesc_error *err)
{
    struct options *o = values;
    char db[PATH_CAP];
    if (argc > 0)
        return FAIL(err, USAGE, "reap takes no '%s'", argv[0]);
    TRY(cli_db_path(o->db, db, err));
    return path_exists(db) ? keep_reap(db, reaped, cli->out, err) : 0;
}

#define COMMON(table, function) .opts = table, .opts_size = sizeof(struct options), .run = function
const struct cmd runs_note = {
    .name = "note",
    .usage = "RUN TEXT",
    .summary = "Writes a note on a run, in place of the one before.",
    .details = RUNS_WHICH " An empty text takes the note off.",
    COMMON(db_only, run_note),
};
const struct cmd runs_name = {
    .name = "name",
    .usage = "RUN NAME",
    .summary = "Gives a run another name.",
    .details = RUNS_WHICH,
    COMMON(db_only, run_name),
};
const struct cmd runs_tag = {
    .name = "tag",
    .usage = "RUN KEY=VALUE... [--remove KEY...]",
    .summary = "Puts tags on a run, or takes them off.",
    .details = RUNS_WHICH,
    COMMON(tag_opts, run_tag),
};
const struct cmd runs_delete = {
    .name = "delete",
    .usage = "RUN... [--undo]",
    .summary = "Hides runs; nothing is lost.",
    .details = RUNS_WHICH " A run that is resumed is there again.",
    COMMON(delete_opts, run_delete),
};
const struct cmd runs_purge = {
    .name = "purge",
    .usage = "RUN... [--folder]",
    .summary = "Removes deleted runs from the history for good.",
    .details = RUNS_WHICH " It must be deleted.\n"
                          "While its folder is there, runs rebuild brings it back, as deleted.",
    COMMON(purge_opts, run_purge),
};
const struct cmd runs_reap = {
    .name = "reap",
    .usage = "",
    .summary = "Runs that say they run, but have no process, become killed.",
    .details = "Each is named. What --resume goes on with runs again.",
    COMMON(db_only, run_reap),
};
