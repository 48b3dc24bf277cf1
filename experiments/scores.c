#include "config.h"
#include "experiments/scores.h"

#include "core/json.h"
#include "experiments/rundir.h"

#include <stdlib.h>
#include <string.h>

json_t *scores_json(const struct history_score *rows, long n)
{
    json_t *list = json_array();
    for (long i = 0; i < n; i++) {
        const struct history_score *s = &rows[i];
        json_t *row = json_pack("{s:s, s:s, s:I}", "task", s->task, "metric", s->metric, "n",
                                (json_int_t)s->n);
        json_put(&row, "value", json_real_or_text(s->value));
        json_put(&row, "stderr", json_real_or_text(s->stderr_));
        json_put(&row, "lo", json_real_or_text(s->lo));
        json_put(&row, "hi", json_real_or_text(s->hi));
        if (s->config)
            json_put(&row, "config", json_parse(s->config, strlen(s->config), NULL, NULL, 0));
        json_add(&list, row);
    }
    return list;
}

int scores_append(const char *dir, const char *uuid, long step, long long t_ms,
                  const struct history_score *rows, long n, struct pesc_error *err)
{
    struct rundir *r = NULL;
    json_t *run = rundir_read_run(dir, err);
    if (!run)
        return -1;
    json_decref(run);
    json_t *line = json_pack("{s:s, s:I, s:I}", "event", "eval", "step", (json_int_t)step, "t_ms",
                             (json_int_t)t_ms);
    json_put(&line, "rows", scores_json(rows, n));
    int rc = line ? rundir_open(dir, 1, &r, err) : FAIL(err, MEMORY, "no memory for a line");
    if (rc == 0 && strcmp(rundir_uuid(r), uuid) != 0)
        rc = FAIL(err, CK_CORRUPT, "%s holds another run, %s", dir, rundir_uuid(r));
    if (rc == 0)
        rc = rundir_append(r, line, err);
    if (rc == 0)
        rc = rundir_sync(r, err);
    rundir_close(r);
    json_decref(line);
    return rc;
}

int scores_read(const json_t *line,
                int (*take)(void *ctx, long step, const struct history_score *row,
                            struct pesc_error *err),
                void *ctx, struct pesc_error *err)
{
    const char *event = json_string_value(json_object_get(line, "event"));
    const json_t *row;
    size_t i;
    if (!event || strcmp(event, "eval"))
        return 0;
    long step = (long)json_integer_value(json_object_get(line, "step"));
    json_array_foreach(json_object_get(line, "rows"), i, row)
    {
        struct history_score s = {.task = json_string_value(json_object_get(row, "task")),
                                  .metric = json_string_value(json_object_get(row, "metric")),
                                  .n = (long)json_integer_value(json_object_get(row, "n"))};
        const json_t *config = json_object_get(row, "config");
        if (!s.task || !s.metric || !json_real_read(json_object_get(row, "value"), &s.value))
            continue;
        json_real_read(json_object_get(row, "stderr"), &s.stderr_);
        json_real_read(json_object_get(row, "lo"), &s.lo);
        json_real_read(json_object_get(row, "hi"), &s.hi);
        char *text = json_is_object(config) ? json_canonical(config) : NULL;
        if (json_is_object(config) && !text)
            return FAIL(err, MEMORY, "no memory for a row of an evaluation");
        s.config = text;
        int rc = take(ctx, step, &s, err);
        free(text);
        TRY(rc);
    }
    return 0;
}
