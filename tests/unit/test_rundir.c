#include "config.h"
#include "core/file.h"
#include "core/json.h"
#include "experiments/rundir.h"
#include "experiments/scores.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/pesc-rundir-XXXXXX";

static const char *at(const char *name)
{
    static char path[4][PATH_CAP];
    static int turn;
    char *to = path[turn++ % 4];
    snprintf(to, PATH_CAP, "%s/%s", dir, name);
    return to;
}

static const char *text_of(const char *name)
{
    static char text[4096];
    struct pesc_error err = {0};
    char *data = NULL;
    size_t n;
    snprintf(text, sizeof text, "%s", "(unreadable)");
    if (file_read(at(name), sizeof text - 1, &data, &n, &err) == 0)
        memcpy(text, data, n + 1);
    free(data);
    return text;
}

static void append(struct rundir *r, long step, double loss)
{
    struct pesc_error err = {0};
    json_t *o = json_pack("{s:i, s:o}", "step", (int)step, "loss", json_real_or_text(loss));
    ok(rundir_append(r, o, &err) == 0, "append %s", err.text);
    json_decref(o);
}

static void put(const char *name, const char *text, int flags)
{
    int fd = open(at(name), O_WRONLY | O_CREAT | flags, 0600);
    ok(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "prepare %s", name);
    close(fd);
}

static int open_code(const char *name, int resume, char *text)
{
    struct pesc_error err = {0};
    struct rundir *r = NULL;
    int rc = rundir_open(at(name), resume, &r, &err);
    snprintf(text, 1024, "%s", err.text);
    rundir_close(r);
    return rc == 0 ? 0 : err.code;
}

static void test_life(void)
{
    struct pesc_error err = {0};
    struct rundir *r = NULL;
    char text[1024], uuid[33], pid[32];
    if (!ok(rundir_open(at("run"), 0, &r, &err) == 0, "a new run %s", err.text))
        return;
    snprintf(uuid, sizeof uuid, "%s", rundir_uuid(r));
    ok(strspn(uuid, "0123456789abcdef") == 32 && !rundir_resumed(r), "has a uuid");
    ok(rundir_path(r)[0] == '/', "absolute path");
    json_t *run = json_pack("{s:s, s:s}", "name", "x", "uuid", "stale");
    ok(rundir_write_run(r, run, &err) == 0, "run.json %s", err.text);
    json_decref(run);
    char want[128];
    snprintf(want, sizeof want, "{\"name\":\"x\",\"uuid\":\"%s\"}", uuid);
    is_str(text_of("run/run.json"), want, "canonical, with the uuid");
    ok(rundir_write_config(r, "lr: 1\n", &err) == 0, "config");
    append(r, 1, 2.5);
    append(r, 2, NAN);
    append(r, 3, -INFINITY);
    ok(rundir_sync(r, &err) == 0, "sync");
    is_str(text_of("run/metrics.jsonl"),
           "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":\"NaN\"}\n"
           "{\"step\":3,\"loss\":\"-Infinity\"}\n",
           "lines, NaN as text");
    json_t *seg = json_pack("{s:i}", "segment", 1);
    ok(rundir_append_segment(r, seg, &err) == 0, "segment");
    json_decref(seg);
    snprintf(pid, sizeof pid, "process %ld on ", (long)getpid());
    is_long(open_code("run", 1, text), PESC_E_RUN_BUSY, "a second opener is refused");
    ok(strstr(text, pid) != NULL, "naming the holder: %s", text);
    rundir_close(r);
    r = NULL;

    is_long(open_code("run", 0, text), PESC_E_USAGE_EXISTS, "a run that is there");
    put("run/metrics.jsonl", "{\"step\":4,\"lo", O_APPEND);
    ok(rundir_open(at("run"), 1, &r, &err) == 0 && rundir_resumed(r), "resumes %s", err.text);
    if (!r)
        return;
    is_str(rundir_uuid(r), uuid, "under the same uuid");
    append(r, 4, 1);
    rundir_close(r);
    ok(strstr(text_of("run/metrics.jsonl"), "\"-Infinity\"}\n{\"step\":4,\"loss\":1.0}\n") != NULL,
       "half a line is cut, the next follows whole");
    run = rundir_read_run(at("run"), &err);
    is_str(json_string_value(json_object_get(run, "uuid")), uuid, "run.json reads back");
    json_decref(run);
}

static void test_holder_dies(void)
{
    char text[1024];
    int gate[2];
    if (pipe(gate) != 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        struct rundir *r = NULL;
        int bad = rundir_open(at("held"), 0, &r, NULL) != 0;
        if (write(gate[1], bad ? "n" : "y", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    char c = 'n';
    ok(read(gate[0], &c, 1) == 1 && c == 'y', "another process holds a run");
    is_long(open_code("held", 0, text), PESC_E_RUN_BUSY, "it is busy");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    is_long(open_code("held", 0, text), 0, "killed before run.json: free again");
    close(gate[0]);
    close(gate[1]);
}

static void test_refusals(void)
{
    struct pesc_error err = {0};
    char text[1024];
    is_long(open_code("no/such/parent", 0, text), PESC_E_IO, "parent must exist");
    ok(dir_make(at("home"), &err) == 0, "a folder");
    put("home/config.yaml", "mine", 0);
    is_long(open_code("home", 0, text), PESC_E_USAGE_EXISTS, "someone's folder");
    is_long(open_code("home", 1, text), PESC_E_USAGE_EXISTS, "also with resume");
    ok(!path_exists(at("home/.lock")), "and nothing is left in it");
    ok(dir_make(at("empty"), &err) == 0, "an empty folder");
    is_long(open_code("empty", 1, text), 0, "is fine; resume without a run starts one");
    put("empty/run.json", "{\"uuid\":\"../../x\"}", 0);
    is_long(open_code("empty", 1, text), PESC_E_CK_CORRUPT, "bad uuid");
    put("empty/run.json", "{\"uuid\":", O_TRUNC);
    is_long(open_code("empty", 1, text), PESC_E_CK_CORRUPT, "bad JSON");
    put("file", "x", 0);
    ok(open_code("file", 0, text) != 0, "a file: %s", text);
}

struct taken {
    int n, bad;
};

static int take(void *ctx, long step, const struct history_score *s, struct pesc_error *err)
{
    struct taken *t = ctx;
    int first = t->n++ == 0;
    (void)err;
    t->bad += step != 7 || strcmp(s->task, "a\x1b/b") || s->n != (first ? 12 : 3);
    if (first)
        t->bad += strcmp(s->metric, "loss") || !isnan(s->value) || s->stderr_ != 0.25 ||
                  s->lo != -INFINITY || s->hi != INFINITY || strcmp(s->config, "{\"limit\":3}");
    else
        t->bad += strcmp(s->metric, "exact_match") || s->value != 0.1 || !isnan(s->lo) || s->config;
    return 0;
}

static int refuse(void *ctx, long step, const struct history_score *s, struct pesc_error *err)
{
    (void)ctx;
    (void)step;
    return FAIL(err, DB, "%s", s->metric);
}

/* Rows of evaluations, there and back through text. */
static void test_scores(void)
{
    struct pesc_error err = {0};
    const struct history_score rows[] = {
        {"a\x1b/b", "loss", NAN, 0.25, -INFINITY, INFINITY, 12, "{\"limit\": 3}"},
        {"a\x1b/b", "exact_match", 0.1, NAN, NAN, NAN, 3, NULL}};
    struct taken t = {0};
    json_t *line =
        json_pack("{s:s, s:i, s:o}", "event", "eval", "step", 7, "rows", scores_json(rows, 2));
    char *text = line ? json_written(line, JSON_COMPACT) : NULL;
    json_t *read = text ? json_parse(text, strlen(text), NULL, NULL, 0) : NULL;
    ok(read && scores_read(read, take, &t, &err) == 0 && t.n == 2 && t.bad == 0,
       "evaluations survive the run folder");
    ok(scores_read(read, refuse, NULL, &err) == -1 && err.code == PESC_E_DB, "a refusal is told");
    json_object_set_new(read, "event", json_string("step"));
    t.n = 0;
    ok(scores_read(read, take, &t, &err) == 0 && t.n == 0, "other lines hold none");
    json_decref(read);
    read = json_pack("{s:s, s:[{s:s}, {s:s, s:s, s:s}, i]}", "event", "eval", "rows", "task", "t",
                     "task", "t", "metric", "m", "value", "many", 3);
    ok(read && scores_read(read, take, &t, &err) == 0 && t.n == 0, "rows that lack something");
    json_decref(read);
    json_decref(line);
    free(text);
}

int main(void)
{
    struct pesc_error err = {0};
    if (!mkdtemp(dir))
        return 99;
    test_life();
    test_holder_dies();
    test_refusals();
    test_scores();
    ok(dir_remove_all(dir, &err) == 0, "clean-up");
    return tap_done();
}
