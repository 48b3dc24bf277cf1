#include "config.h"
#include "cli/progress.h"

#include "core/file.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

enum show { SHOW_BAR, SHOW_LINES, SHOW_JSON, SHOW_NOTHING };

struct progress {
    struct cli *cli;
    enum show show;
    long steps_planned;
    struct step_metrics last;
    double step_seconds; /* moving average */
    double drawn;        /* when the line was last drawn, seconds; 0: it is not on the screen */
    int drawn_width;     /* columns to clear */
    int out_errno;       /* why out failed, 0 while it works */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_time(char *out, size_t size, double seconds)
{
    if (!(seconds >= 0 && seconds < 1e9)) {
        snprintf(out, size, "?");
        return;
    }
    long s = (long)(seconds + 0.5);
    if (s >= 86400)
        snprintf(out, size, "%ldd%02ldh", s / 86400, s / 3600 % 24);
    else if (s >= 3600)
        snprintf(out, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, size, "%ld:%02ld", s / 60, s % 60);
}

void progress_bytes(char *out, size_t size, uint64_t bytes)
{
    if (bytes >= (uint64_t)1 << 30)
        snprintf(out, size, "%.1f GiB", (double)bytes / 1073741824.0);
    else if (bytes >= (uint64_t)1 << 20)
        snprintf(out, size, "%.0f MiB", (double)bytes / 1048576.0);
    else
        snprintf(out, size, "%.0f KiB", (double)bytes / 1024.0);
}

void progress_line(char *out, size_t size, int cols, const struct step_metrics *m, double eta)
{
    enum { PIECES = 5, BAR_LEAST = 8, BAR_MOST = 40 };
    /* In the order of appearance; what does not fit is left out by rank, 4 first. */
    static const int rank[PIECES] = {0, 3, 2, 1, 4};
    char count[64], piece[PIECES][48], text[32];
    int limit = cols - 1, kept = PIECES;
    if ((size_t)limit >= size)
        limit = (int)size - 1;
    if (m->steps_planned > 0)
        snprintf(count, sizeof count, "%ld/%ld", m->step, m->steps_planned);
    else
        snprintf(count, sizeof count, "step %ld", m->step);
    snprintf(piece[0], sizeof piece[0], "  loss %.4f", m->loss);
    snprintf(piece[1], sizeof piece[1], "  lr %.1e", m->lr);
    snprintf(piece[2], sizeof piece[2], "  %.0f tok/s", m->tokens_per_s);
    progress_time(text, sizeof text, eta);
    snprintf(piece[3], sizeof piece[3], "  ETA %s", text);
    progress_bytes(text, sizeof text, m->peak_rss);
    snprintf(piece[4], sizeof piece[4], "  %s", text);
    if (m->step == 0)
        kept = 0; /* nothing is known yet */
    int used;
    for (;; kept--) {
        used = (int)strlen(count);
        for (int i = 0; i < PIECES; i++)
            if (rank[i] < kept)
                used += (int)strlen(piece[i]);
        if (kept == 0 || used + BAR_LEAST + 3 <= limit)
            break;
    }
    int bar = m->steps_planned > 0 ? limit - used - 3 : 0;
    if (bar > BAR_MOST)
        bar = BAR_MOST;
    size_t n = (size_t)snprintf(out, size, "%.*s", limit, count);
    if (bar >= BAR_LEAST && n + (size_t)bar + 4 < size) {
        double share = (double)m->step / (double)m->steps_planned;
        int full = (int)(share * bar);
        out[n++] = ' ';
        out[n++] = '[';
        for (int i = 0; i < bar; i++)
            out[n++] = i < full ? '#' : '.';
        out[n++] = ']';
        out[n] = 0;
    }
    for (int i = 0; i < PIECES; i++)
        if (rank[i] < kept)
            n += (size_t)snprintf(out + n, size - n, "%s", piece[i]);
}

static double eta(const struct progress *p)
{
    if (p->steps_planned <= 0 || p->step_seconds <= 0)
        return -1;
    return (double)(p->steps_planned - p->last.step) * p->step_seconds;
}

/* Padding with spaces instead of an escape sequence works on every terminal. */
static void erase(struct progress *p)
{
    if (p->drawn_width > 0)
        fprintf(p->cli->talk, "\r%*s\r", p->drawn_width, "");
    p->drawn_width = 0;
}

static void draw(struct progress *p)
{
    struct winsize w;
    char line[512];
    int fd = fileno(p->cli->talk);
    int cols = fd >= 0 && ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20 ? w.ws_col : 80;
    progress_line(line, sizeof line, cols, &p->last, eta(p));
    int width = (int)strlen(line), pad = p->drawn_width > width ? p->drawn_width - width : 0;
    if (pad > cols - 1 - width)
        pad = cols - 1 - width;
    /* The filled part of the bar is coloured; it costs no columns. */
    char *full = strchr(line, '#'), *rest = full ? full + strspn(full, "#") : NULL;
    if (p->cli->color && full)
        fprintf(p->cli->talk, "\r%.*s\x1b[36m%.*s\x1b[0m%s%*s", (int)(full - line), line,
                (int)(rest - full), full, rest, pad, "");
    else
        fprintf(p->cli->talk, "\r%s%*s", line, pad, "");
    fflush(p->cli->talk);
    p->drawn_width = width;
    p->drawn = now();
}

struct progress *progress_open(struct cli *cli, int json, long first_step, long steps_planned,
                               struct pesc_error *err)
{
    struct progress *p = calloc(1, sizeof *p);
    if (!p) {
        FAIL(err, MEMORY, "no memory for the progress display");
        return NULL;
    }
    p->cli = cli;
    p->show = json ? SHOW_JSON : cli->quiet ? SHOW_NOTHING : cli->talk_tty ? SHOW_BAR : SHOW_LINES;
    p->steps_planned = steps_planned;
    p->last.step = first_step;
    p->last.steps_planned = steps_planned;
    return p;
}

void progress_header(struct progress *p, const char *key, const char *fmt, ...)
{
    char raw[1024], shown[1024];
    va_list ap;
    if (p->show == SHOW_JSON || p->show == SHOW_NOTHING)
        return;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    text_escape(shown, sizeof shown, raw);
    erase(p);
    fprintf(p->cli->talk, "%-10s %s\n", key, shown);
    fflush(p->cli->talk);
}

void progress_begin(struct progress *p)
{
    if (p->show == SHOW_BAR)
        draw(p);
}

/* JSON has no number for what is not finite. */
static json_t *number(double x)
{
    if (isnan(x))
        return json_string("NaN");
    if (isinf(x))
        return json_string(x > 0 ? "Infinity" : "-Infinity");
    return json_real(x);
}

static json_t *text_or_null(const char *s)
{
    char shown[1024];
    if (!s)
        return json_null();
    text_escape(shown, sizeof shown, s);
    return json_string(shown);
}

void progress_json(struct progress *p, void *v)
{
    if (p->show == SHOW_JSON && !p->out_errno) {
        char *line = v ? json_written(v, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
        errno = line ? 0 : ENOMEM;
        if (!line || fprintf(p->cli->out, "%s\n", line) < 0 || fflush(p->cli->out) != 0) {
            p->out_errno = errno ? errno : EIO;
            clearerr(p->cli->out); /* progress_close says it, once */
        }
        free(line);
    }
    json_decref(v);
}

static void step_line(struct progress *p)
{
    const struct step_metrics *m = &p->last;
    char left[32], peak[32], planned[32] = "";
    if (p->steps_planned > 0)
        snprintf(planned, sizeof planned, "/%ld", p->steps_planned);
    progress_time(left, sizeof left, eta(p));
    progress_bytes(peak, sizeof peak, m->peak_rss);
    fprintf(p->cli->talk,
            "step %ld%s  loss %.4f  ce %.4f  balance %.4f  lr %.3e  grad %.3f  %.0f tok/s  "
            "epoch %.2f  ETA %s  peak %s\n",
            m->step, planned, m->loss, m->ce, m->balance, m->lr, m->grad_norm, m->tokens_per_s,
            m->epoch, left, peak);
    fflush(p->cli->talk);
}

void progress_step(struct progress *p, const struct step_metrics *m, int logged)
{
    p->last = *m;
    if (m->steps_planned > 0)
        p->steps_planned = m->steps_planned;
    else
        p->last.steps_planned = p->steps_planned;
    if (m->seconds > 0)
        p->step_seconds =
            p->step_seconds > 0 ? 0.9 * p->step_seconds + 0.1 * m->seconds : m->seconds;
    switch (p->show) {
    case SHOW_BAR: /* ten times a second is enough for eyes */
        if (now() - p->drawn >= 0.1 || m->step == p->steps_planned)
            draw(p);
        break;
    case SHOW_LINES:
        if (logged)
            step_line(p);
        break;
    case SHOW_JSON:
        if (logged)
            progress_json(
                p, json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:I, s:o}",
                             "event", "step", "step", (json_int_t)m->step, "loss", number(m->loss),
                             "ce", number(m->ce), "balance", number(m->balance), "lr",
                             number(m->lr), "grad_norm", number(m->grad_norm), "tokens",
                             (json_int_t)m->tokens, "trained_tokens", (json_int_t)m->trained_tokens,
                             "tokens_per_s", number(m->tokens_per_s), "trained_tokens_per_s",
                             number(m->trained_tokens_per_s), "peak_rss_bytes",
                             (json_int_t)m->peak_rss, "epoch", number(m->epoch)));
        break;
    case SHOW_NOTHING:
        break;
    }
}

/* A whole line above the progress line. */
static void say(struct progress *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct progress *p, const char *fmt, ...)
{
    va_list ap;
    int bar = p->drawn_width > 0;
    erase(p);
    va_start(ap, fmt);
    vfprintf(p->cli->talk, fmt, ap);
    va_end(ap);
    if (bar)
        draw(p);
    fflush(p->cli->talk);
}

void progress_eval(struct progress *p, const struct eval_metrics *m)
{
    if (p->show == SHOW_JSON) {
        progress_json(p, json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:I}", "event", "eval",
                                   "step", (json_int_t)m->step, "task", text_or_null(m->task),
                                   "domain", text_or_null(m->domain), "loss", number(m->loss),
                                   "perplexity", number(m->perplexity), "accuracy",
                                   number(m->accuracy), "exact_match", number(m->exact_match), "n",
                                   (json_int_t)m->n));
    } else if (p->show != SHOW_NOTHING) {
        char task[256], domain[256];
        text_escape(task, sizeof task, m->task ? m->task : "");
        text_escape(domain, sizeof domain, m->domain ? m->domain : "");
        say(p, "eval step %ld  %s  loss %.4f  perplexity %.2f  accuracy %.1f %%  exact %.1f %%\n",
            m->step, *domain ? domain : task, m->loss, m->perplexity, 100 * m->accuracy,
            100 * m->exact_match);
    }
}

void progress_event(struct progress *p, long step, const char *level, const char *code,
                    const char *text)
{
    char shown[1024];
    int warning = !strncmp(level, "warn", 4), info = !warning && strcmp(level, "error") != 0;
    if (p->show == SHOW_JSON) {
        progress_json(p, json_pack("{s:s, s:I, s:s, s:o, s:o}", "event", "event", "step",
                                   (json_int_t)step, "level", level, "code", text_or_null(code),
                                   "text", text_or_null(text)));
        return;
    }
    if ((info && p->show == SHOW_NOTHING) || !strcmp(level, "debug"))
        return;
    text_escape(shown, sizeof shown, text ? text : "");
    const char *on = p->show == SHOW_BAR && p->cli->color && !info ? "\x1b[33m" : "";
    const char *off = *on ? "\x1b[0m" : "";
    if (info)
        say(p, "step %ld  %s\n", step, shown);
    else
        say(p, "%spesc: %s[%s]%s step %ld: %s\n", on, warning ? "warning" : level, code ? code : "",
            off, step, shown);
}

void progress_checkpoint(struct progress *p, long step, const char *path, const char *sha256,
                         uint64_t bytes)
{
    if (p->show == SHOW_JSON) {
        progress_json(p, json_pack("{s:s, s:I, s:o, s:o, s:I}", "event", "checkpoint", "step",
                                   (json_int_t)step, "path", text_or_null(path), "sha256",
                                   text_or_null(sha256), "bytes", (json_int_t)bytes));
    } else if (p->show != SHOW_NOTHING) {
        char shown[64], size[32];
        text_escape(shown, 24, path ? path_base(path) : ""); /* enough of the hash to find it */
        progress_bytes(size, sizeof size, bytes);
        say(p, "saved step %ld  %s... (%s)\n", step, shown, size);
    }
}

static void on_step(void *ctx, const struct step_metrics *m, int logged)
{
    progress_step(ctx, m, logged);
}

static void on_eval(void *ctx, const struct eval_metrics *m)
{
    progress_eval(ctx, m);
}

static void on_event(void *ctx, long step, const char *level, const char *code, const char *text)
{
    progress_event(ctx, step, level, code, text);
}

static void on_checkpoint(void *ctx, long step, const char *path, const char *sha256,
                          uint64_t bytes)
{
    progress_checkpoint(ctx, step, path, sha256, bytes);
}

struct train_sink progress_sink(struct progress *p)
{
    return (struct train_sink){
        .ctx = p, .step = on_step, .eval = on_eval, .event = on_event, .checkpoint = on_checkpoint};
}

static void on_note(void *ctx, const char *code, const char *text)
{
    struct progress *p = ctx;
    progress_event(p, p->last.step, "warn", code, text);
}

struct notes progress_notes(struct progress *p)
{
    return (struct notes){on_note, p};
}

int progress_close(struct progress *p, struct pesc_error *err)
{
    if (!p)
        return 0;
    int failed = p->out_errno;
    if (p->show == SHOW_BAR && p->drawn_width > 0) {
        draw(p); /* the last state stays */
        fputc('\n', p->cli->talk);
    }
    fflush(p->cli->talk);
    free(p);
    if (failed == ENOMEM)
        return FAIL(err, MEMORY, "the training went on, but its output is not whole: no memory");
    if (failed && failed != EPIPE)
        return FAIL(err, IO_FULL, "the training went on, but its output could not be written: %s",
                    strerror(failed));
    return 0;
}
