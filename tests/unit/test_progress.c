/* What a training run shows: on a terminal, without one, as JSON, and when nobody reads it. */
#include "config.h"
#include "cli/progress.h"
#include "core/json.h"
#include "tests/tap.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

struct stage {
    struct cli cli;
    char *out, *talk;
    size_t out_n, talk_n;
};

static void stage_open(struct stage *s)
{
    memset(s, 0, sizeof *s);
    s->cli.out = open_memstream(&s->out, &s->out_n);
    s->cli.talk = open_memstream(&s->talk, &s->talk_n);
}

static void stage_close(struct stage *s)
{
    fclose(s->cli.out);
    fclose(s->cli.talk);
}

static void stage_free(struct stage *s)
{
    free(s->out);
    free(s->talk);
}

static struct step_metrics step_at(long step)
{
    return (struct step_metrics){.step = step,
                                 .steps_planned = 40,
                                 .loss = 2.25,
                                 .ce = 2.24,
                                 .balance = 1.0,
                                 .lr = 2e-4,
                                 .grad_norm = 0.75,
                                 .tokens = 100 * step,
                                 .trained_tokens = 60 * step,
                                 .seconds = 2,
                                 .tokens_per_s = 1234.4,
                                 .trained_tokens_per_s = 740,
                                 .peak_rss = 900u << 20,
                                 .epoch = 0.5};
}

/* A whole small run. */
static int play(struct cli *cli, int json, struct pesc_error *err)
{
    struct progress *p = progress_open(cli, json, 0, 40, err);
    struct train_sink sink = progress_sink(p);
    struct notes notes = progress_notes(p);
    progress_header(p, "model", "tiny\033[2J, %d layers", 5);
    progress_begin(p);
    for (long i = 1; i <= 40; i++) {
        struct step_metrics m = step_at(i);
        sink.step(sink.ctx, &m, i % 10 == 0);
        if (i == 15)
            note(&notes, "W-X", "careful");
    }
    struct eval_metrics e = {.step = 40,
                             .task = "valid\n",
                             .domain = "ma\nth",
                             .loss = 2.0,
                             .perplexity = NAN,
                             .accuracy = 0.5,
                             .exact_match = 0.25,
                             .n = 321,
                             .answers = 8};
    sink.eval(sink.ctx, &e);
    sink.event(sink.ctx, 40, "info", "I-X", "well");
    sink.event(sink.ctx, 40, "debug", "D-X", "hidden");
    sink.checkpoint(sink.ctx, 40, "R/ckpt/40.safetensors", "abcd", 1 << 20);
    progress_json(p, json_pack("{s:s}", "event", "end"));
    return progress_close(p, err);
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

static void test_lines(void)
{
    struct stage s;
    struct pesc_error err = {0};
    stage_open(&s);
    ok(play(&s.cli, 0, &err) == 0, "a run without a terminal");
    stage_close(&s);
    ok(s.out_n == 0, "nothing on stdout");
    ok(count(s.talk, "step ") == 4 + 1 + 1 + 1 + 1 && count(s.talk, "\n") == 9,
       "a line per logged step, and the others");
    ok(strstr(s.talk, "step 20/40  loss 2.2500  ce 2.2400  balance 1.0000  lr 2.000e-04  grad 0.750"
                      "  1234 tok/s  epoch 0.50  ETA 0:40  peak 900 MiB\n") != NULL,
       "all figures of a step");
    ok(strstr(s.talk, "pesc: warning[W-X] step 15: careful\n") != NULL, "a warning");
    ok(strstr(s.talk, "  ma\\x0ath  loss 2.0000  perplexity nan  accuracy 50.0 %") != NULL,
       "an evaluation");
    ok(!strchr(s.talk, '\r') && !strchr(s.talk, '\033'), "no control characters, not even given");
    ok(!strstr(s.talk, "hidden") && strstr(s.talk, "well"), "info is shown, debug is not");
    stage_free(&s);

    stage_open(&s);
    s.cli.quiet = 1;
    ok(play(&s.cli, 0, &err) == 0, "a quiet run");
    stage_close(&s);
    is_str(s.talk, "pesc: warning[W-X] step 15: careful\n", "only the warning");
    stage_free(&s);
}

static void test_terminal(void)
{
    struct stage s;
    struct pesc_error err = {0};
    for (int color = 0; color < 2; color++) {
        stage_open(&s);
        s.cli.talk_tty = 1;
        s.cli.color = color;
        ok(play(&s.cli, 0, &err) == 0, "a run on a terminal, colour %d", color);
        stage_close(&s);
        ok((strchr(s.talk, '\033') != NULL) == color, "escape sequences only with colour");
        ok(strstr(s.talk, "\r0/40 [....") != NULL, "a line before the first step");
        ok(strstr(s.talk, "40/40 [") && s.talk[s.talk_n - 1] == '\n', "the last state stays");
        ok(s.out_n == 0, "nothing on stdout");
        /* Between returns and newlines no stretch is wider than the terminal. */
        int wide = 0;
        for (char *p = s.talk; !color && *p; p += strcspn(p, "\r\n") ? strcspn(p, "\r\n") : 1)
            if (strcspn(p, "\r\n") > 79 && !strncmp(p, "40/40", 5))
                wide = 1;
        ok(!wide, "within 80 columns");
        stage_free(&s);
    }
    for (int cols = 20; cols <= 200; cols += 9) {
        char line[512];
        struct step_metrics m = step_at(17);
        progress_line(line, sizeof line, cols, &m, 46);
        int fits = (int)strlen(line) < cols, full = strstr(line, "loss") &&
                                                    strstr(line, "900 MiB") &&
                                                    strstr(line, "ETA 0:46") && strchr(line, '#');
        ok(fits && strstr(line, "17/40") && (cols < 80 || full), "%d columns: %s", cols, line);
        m.step = 123456789;
        m.steps_planned = 2000000000;
        progress_line(line, sizeof line, cols, &m, -1);
        ok((int)strlen(line) < cols, "long numbers in %d columns", cols);
    }
    char text[32];
    progress_time(text, sizeof text, 3723);
    is_str(text, "1:02:03", "hours");
    progress_time(text, sizeof text, 2 * 86400 + 3 * 3600 + 59);
    is_str(text, "2d03h", "days");
    progress_time(text, sizeof text, NAN);
    is_str(text, "?", "unknown");
}

static void test_json(void)
{
    struct stage s;
    struct pesc_error err = {0};
    stage_open(&s);
    s.cli.talk_tty = 1;
    s.cli.quiet = 1;
    ok(play(&s.cli, 1, &err) == 0, "a run with --json");
    stage_close(&s);
    ok(s.talk_n == 0, "nothing on stderr");
    static const char *const keys[] = {
        "step",   "loss",           "ce",           "balance",        "lr",
        "tokens", "trained_tokens", "tokens_per_s", "peak_rss_bytes", "trained_tokens_per_s",
        "epoch",  "grad_norm"};
    int steps = 0, others = 0, good = 1;
    for (char *line = strtok(s.out, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *v = json_parse(line, strlen(line), NULL, NULL, 0);
        const char *event = json_string_value(json_object_get(v, "event"));
        if (event && !strcmp(event, "step")) {
            steps++;
            for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
                good &= json_is_number(json_object_get(v, keys[i]));
            good &= json_integer_value(json_object_get(v, "step")) == 10 * steps &&
                    json_real_value(json_object_get(v, "lr")) == 2e-4 &&
                    json_integer_value(json_object_get(v, "peak_rss_bytes")) == 900 << 20;
        } else if (event && !strcmp(event, "eval")) {
            const char *ppl = json_string_value(json_object_get(v, "perplexity"));
            others++;
            good &= ppl && !strcmp(ppl, "NaN") &&
                    json_integer_value(json_object_get(v, "n")) == 321 &&
                    json_real_value(json_object_get(v, "accuracy")) == 0.5 &&
                    json_real_value(json_object_get(v, "exact_match")) == 0.25;
        } else if (event) {
            others++;
        } else {
            good = 0;
        }
        json_decref(v);
    }
    ok(steps == 4 && others == 6, "a line for each logged step (%d) and each event (%d)", steps,
       others);
    ok(good, "with all their figures; what is not finite is a text");
    stage_free(&s);

    stage_open(&s);
    struct progress *p = progress_open(&s.cli, 1, 0, 0, &err);
    struct step_metrics m = step_at(1);
    m.loss = INFINITY;
    m.grad_norm = -INFINITY;
    progress_step(p, &m, 1);
    ok(progress_close(p, &err) == 0, "closed");
    stage_close(&s);
    ok(strstr(s.out, "\"Infinity\"") && strstr(s.out, "\"-Infinity\""), "infinities");
    stage_free(&s);
}

static void test_nobody_reads(void)
{
    struct stage s;
    struct pesc_error err = {0};
    stage_open(&s);
    fclose(s.cli.out);
    s.cli.out = fopen("/dev/full", "w");
    ok(s.cli.out && play(&s.cli, 1, &err) == -1 && !strcmp(err.name, "E-IO-FULL"),
       "a full disk behind stdout is reported at the end");
    ok(!ferror(s.cli.out), "and only once");
    stage_close(&s);
    stage_free(&s);

    int ends[2];
    memset(&err, 0, sizeof err);
    stage_open(&s);
    fclose(s.cli.out);
    signal(SIGPIPE, SIG_IGN);
    if (pipe(ends) != 0)
        exit(99);
    close(ends[0]);
    s.cli.out = fdopen(ends[1], "w");
    ok(play(&s.cli, 1, &err) == 0, "a reader that went away is no error");
    stage_close(&s);
    stage_free(&s);
}

int main(void)
{
    test_lines();
    test_terminal();
    test_json();
    test_nobody_reads();
    return tap_done();
}
