#include "config.h"
#include "cli/eval_tasks.h"

#include "cli/db_arg.h"
#include "experiments/history.h"
#include "experiments/query.h"
#include "experiments/scores.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

void eval_run_of_pack(struct eval_run *of, const struct pack_arg *p, const char *pack)
{
    snprintf(of->uuid, sizeof of->uuid, "%s", p->run_uuid);
    of->step = p->run_step;
    *of->dir = 0;
    if (!p->pack && pack && path_is_dir(pack))
        snprintf(of->dir, sizeof of->dir, "%s", pack);
}

/* Where the history says that the run's folder is; empty when it is not there. */
static void find_folder(const char *db, struct eval_run *of)
{
    struct reader *r = NULL;
    struct rows found = {0};
    char path[PATH_CAP];
    if (reader_open(db, &r, NULL) == 0 &&
        query_rows(r, &found, NULL, "SELECT dir FROM run WHERE uuid = ?1", "s", of->uuid) == 0 &&
        found.n_rows > 0)
        snprintf(of->dir, sizeof of->dir, "%s", cell_text(rows_at(&found, 0, 0)));
    if (*of->dir && (path_join(path, of->dir, "run.json", NULL) != 0 || !path_exists(path)))
        *of->dir = 0;
    rows_free(&found);
    reader_close(r);
}

static int to_history(const char *db, const struct eval_run *of, long long t_ms,
                      const struct history_score *list, long n, struct pesc_error *err)
{
    struct history *h = NULL;
    int rc = history_open(db, &h, err);
    if (rc == 0)
        rc = history_eval_of(h, of->uuid, of->step, t_ms, list, n, err);
    history_close(h);
    return rc;
}

/* The folder is the truth and comes first; either may do without the other. */
static void to_both(struct eval_run *of, const char *db, const struct history_score *list, long n,
                    const struct notes *notes)
{
    struct pesc_error e = {0}, f = {0};
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    long long t_ms = (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    if (!*of->dir && *db)
        find_folder(db, of);
    if (*of->dir && scores_append(of->dir, of->uuid, of->step, t_ms, list, n, &f) != 0)
        note(notes, "W-RUN-LOG", "the evaluation is not in the run's folder: %s", f.text);
    if (*db && to_history(db, of, t_ms, list, n, &e) != 0 &&
        e.code != PESC_E_DB_RUN) /* a run of another machine is no fault */
        note(notes, "W-DB-OFF", "the evaluation is not recorded: %s", e.text);
}

void eval_record(const struct eval_rows *rows, long first, struct eval_run *of, const char *db,
                 const struct notes *notes)
{
    char path[PATH_CAP];
    long n = rows->n - first;
    if (!*of->uuid || n == 0)
        return;
    struct history_score *list = calloc((size_t)n, sizeof *list);
    char(*names)[600] = calloc((size_t)n, sizeof *names);
    for (long i = 0; i < n && list && names; i++) {
        const struct eval_row *r = &rows->v[first + i];
        snprintf(names[i], sizeof names[i], "%s%s%s", r->task, r->domain ? "/" : "",
                 r->domain ? r->domain : "");
        list[i] = (struct history_score){names[i],   r->f.metric, r->f.value, r->f.stderr_,
                                         r->f.ci.lo, r->f.ci.hi,  r->f.n,     r->config};
    }
    if (cli_db_path(db, path, NULL) != 0 || !path_exists(path))
        *path = 0;
    if (list && names)
        to_both(of, path, list, n, notes);
    else
        note(notes, "W-DB-OFF", "the evaluation is not recorded: no memory");
    free(list);
    free(names);
}
