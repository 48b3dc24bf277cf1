#include "config.h"
#include "cli/eval_tasks.h"

#include "cli/db_arg.h"
#include "core/json.h"
#include "experiments/query.h"
#include "experiments/rundir.h"

#include <stdlib.h>
#include <string.h>

int eval_tasks_usage(const struct eval_options *o, int argc, struct pesc_error *err)
{
    const struct data_options *d = &o->data;
    int tasks = o->task.n || o->runs.n, data = d->data.n > 0;
    if (o->runs.n && (argc || o->pack))
        return FAIL(err, USAGE, "--runs stands in place of a model and --pack");
    if (!o->runs.n && (argc != 1 || (!data && !o->task.n)))
        return FAIL(err, USAGE, "pesc eval takes a model and --data FILE or --task FILE");
    if (o->runs.n && !data && !o->task.n)
        return FAIL(err, USAGE, "--runs goes with --task FILE or --data FILE");
    if (tasks && (o->dump || o->routing || o->knock_out))
        return FAIL(err, USAGE,
                    "--dump-logits, --routing and --knock-out are for a model and "
                    "--data alone");
    if (!tasks && o->csv)
        return FAIL(err, USAGE, "--csv goes with --task or --runs");
    if (!o->task.n && (o->format || o->normalize || o->stop || o->items || o->limit ||
                       o->max_new_tokens || o->context))
        return FAIL(err, USAGE,
                    "--task-format, --normalize, --max-new-tokens, --stop, --context, "
                    "--limit and --items go with --task");
    if (tasks && !data &&
        (d->limits || d->train_on_prompt || d->bad_records || d->max_records ||
         d->max_seq_length != 512 || strcmp(d->loss_on, "answers") != 0 ||
         strcmp(d->long_records, "truncate") != 0))
        return FAIL(err, USAGE,
                    "--max-seq-length, --long, --loss-on, --train-on-prompt, "
                    "--bad-records, --max-records and --data-limits go with --data");
    if (data && d->template_id && !strcmp(d->template_id, "none"))
        return FAIL(err, USAGE, "--template none is for tasks, not for --data");
    if (o->task.n && d->domain && strchr(d->domain, ','))
        return FAIL(err, USAGE, "--domain with --task is one name");
    if (o->csv && o->json)
        return FAIL(err, USAGE, "--csv and --json exclude each other");
    return 0;
}

/* "\n", "\t" and "\\" as they are written on a command line. */
static char *unescaped(const char *text)
{
    char *out = strdup(text), *to = out;
    for (const char *s = text; out && *s; s++) {
        static const char letters[] = "nt\\", meant[] = "\n\t\\";
        const char *at = *s == '\\' && s[1] ? strchr(letters, s[1]) : NULL;
        *to++ = at ? meant[at - letters] : *s;
        s += at != NULL;
    }
    if (out)
        *to = 0;
    return out;
}

static int open_tasks(struct eval_work *w, struct pesc_error *err)
{
    const struct eval_options *o = w->o;
    const struct task_options t = {.format = o->format ? task_format_from_name(o->format)
                                                       : TASK_FORMAT_COUNT,
                                   .limit = o->limit,
                                   .domain = o->data.domain,
                                   .part = data_part_arg(&o->data, DATA_PART_HELD_OUT),
                                   .member = o->data.member,
                                   .max_unpacked = o->data.max_unpacked};
    if (o->normalize)
        TRY(normal_parse(o->normalize, "--normalize", &w->normal, err));
    w->stop = o->stop ? unescaped(o->stop) : NULL;
    w->tasks = calloc((size_t)o->task.n + 1, sizeof *w->tasks);
    if (!w->tasks || (o->stop && !w->stop))
        return FAIL(err, MEMORY, "no memory for tasks");
    if (w->stop && !*w->stop)
        return FAIL(err, USAGE_VALUE, "--stop is empty; none is for no such text");
    int generates = 0;
    for (long i = 0; i < o->task.n; i++) {
        TRY(task_open(o->task.v[i], &t, w->notes, &w->tasks[i], err));
        generates |= task_kind_of(w->tasks[i]->format) == SCORE_GENERATED;
        for (long k = 0; k < i; k++)
            if (!strcmp(w->tasks[k]->name, w->tasks[i]->name))
                return FAIL(err, USAGE, "%s and %s are both a task named '%s'", w->tasks[k]->path,
                            w->tasks[i]->path, w->tasks[i]->name);
    }
    if (o->task.n && !generates && (o->normalize || o->stop || o->max_new_tokens))
        return FAIL(err, USAGE,
                    "--normalize, --stop and --max-new-tokens are for tasks whose "
                    "answers are generated, and there is none");
    return 0;
}

/* What a run trained, and where that lies. */
static int find_run(const struct eval_work *w, const char *name, struct eval_run *of, char *model,
                    int *is_pack, struct pesc_error *err)
{
    char path[PATH_CAP];
    TRY(path_join(path, name, "run.json", err));
    snprintf(of->dir, sizeof of->dir, "%s", name);
    if (!path_exists(path)) {
        struct reader *r = NULL;
        struct rows found = {0};
        long long id;
        TRY(cli_db_path(w->o->db, path, err));
        if (!path_exists(path))
            return FAIL(err, DB_RUN, "'%s' is no run folder, and there is no history to look in",
                        name);
        int rc = reader_open(path, &r, err);
        if (rc == 0)
            rc = query_find_run(r, name, &id, err);
        if (rc == 0)
            rc = query_rows(r, &found, err, "SELECT dir FROM run WHERE id = ?1", "i", id);
        if (rc == 0)
            snprintf(of->dir, sizeof of->dir, "%s", cell_text(rows_at(&found, 0, 0)));
        rows_free(&found);
        reader_close(r);
        TRY(rc);
    }
    json_t *run = rundir_read_run(of->dir, err);
    if (!run)
        return -1;
    const char *kind = json_string_value(json_object_get(run, "kind"));
    const char *recorded = json_string_value(json_object_get(run, "model"));
    const char *uuid = json_string_value(json_object_get(run, "uuid"));
    int rc = 0;
    *is_pack = !(kind && !strcmp(kind, "full"));
    of->step = (long)json_integer_value(json_object_get(run, "steps"));
    snprintf(of->uuid, sizeof of->uuid, "%s", uuid ? uuid : "");
    if (*is_pack && (!recorded || strlen(recorded) >= PATH_CAP))
        rc = FAIL(err, CK_CORRUPT, "%s: the run does not say which model it trained", of->dir);
    else
        snprintf(model, PATH_CAP, "%s", *is_pack ? recorded : of->dir);
    json_decref(run);
    return rc;
}

static int one_model(struct eval_work *w, const char *model, struct pesc_error *err)
{
    struct eval_run of = {0};
    TRY(eval_model(w, model, w->o->pack, 0, &of, err));
    eval_record(&w->rows, 0, &of, w->o->db, w->notes);
    return 0;
}

/* Each run by itself: one that fails takes its rows along, and the others go on. */
static long all_runs(struct eval_work *w, struct pesc_error *first)
{
    long failed = 0;
    for (long i = 0; i < w->o->runs.n; i++) {
        char model[PATH_CAP];
        struct eval_run of = {0};
        struct pesc_error e = {0};
        long before = w->rows.n;
        int is_pack;
        int rc = find_run(w, w->o->runs.v[i], &of, model, &is_pack, &e);
        if (rc == 0)
            rc = eval_model(w, model, is_pack ? of.dir : NULL, i, &of, &e);
        if (rc == 0) {
            eval_record(&w->rows, before, &of, w->o->db, w->notes);
            continue;
        }
        struct eval_rows gone = {w->rows.v + before, w->rows.n - before, 0};
        for (long k = 0; k < gone.n; k++) {
            free(gone.v[k].task);
            free(gone.v[k].domain);
            free(gone.v[k].config);
        }
        w->rows.n = before;
        note(w->notes, "W-EVAL-RUN", "%s: [%s] %s", w->o->runs.v[i], e.name, e.text);
        if (!failed++)
            *first = e;
    }
    return failed;
}

int eval_tasks(struct cli *cli, const struct eval_options *o, const char *model,
               const struct notes *notes, struct pesc_error *err)
{
    struct eval_work w = {.cli = cli, .o = o, .notes = notes};
    struct pesc_error first = {0};
    long threads, failed = 0;
    int rc = threads_arg(o->threads, &threads, err);
    if (rc == 0)
        rc = open_tasks(&w, err);
    if (rc == 0 && o->items && !(w.items = afile_open(o->items, err)))
        rc = -1;
    if (rc == 0 && o->runs.n)
        failed = all_runs(&w, &first);
    else if (rc == 0)
        rc = one_model(&w, model, err);
    if (rc == 0 && w.items) {
        rc = afile_commit(w.items, 0, NULL, NULL, err);
        w.items = NULL;
    }
    if (rc == 0 && (failed < o->runs.n || !o->runs.n))
        rc = eval_rows_print(cli, &w.rows, o->runs.n ? &o->runs : NULL, o->csv, o->json, err);
    if (rc == 0 && failed)
        rc = error_set(err, (enum pesc_code)first.code,
                       "%ld of %ld runs could not be evaluated; the first: %s", failed, o->runs.n,
                       first.text);
    afile_abort(w.items);
    for (long i = 0; w.tasks && i < o->task.n; i++)
        task_close(w.tasks[i]);
    free(w.tasks);
    free(w.stop);
    eval_rows_free(&w.rows);
    return rc;
}
