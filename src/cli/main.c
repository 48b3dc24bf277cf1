#include "config.h"
#include "cli/cmd.h"
#include "core/build.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct cmd *const commands[] = {
#define PESC_X(name) &cmd_##name,
    CMDS(PESC_X)
#undef PESC_X
        NULL};

static const struct cmd root = {
    .name = "pesc",
    .usage = "COMMAND [ARGUMENTS] [--help]",
    .summary = "Turns a dense Llama-family model into a sparse mixture of adapters and tunes it on "
               "a CPU.",
    .subs = commands,
};

static int run_leaf(struct cli *cli, const char *path, const struct cmd *cmd, int argc, char **argv,
                    struct pesc_error *err)
{
    void *opts = calloc(1, cmd->opts_size + 1);
    char *given = calloc((size_t)opts_count(cmd) + 1, 1);
    struct config_text *text = NULL;
    if (!opts || !given) {
        free(opts);
        free(given);
        return FAIL(err, MEMORY, "no memory for options");
    }
    if (cmd->defaults)
        cmd->defaults(opts);
    int nargs = 0;
    int rc = opts_parse(cmd, opts, argc, argv, &nargs, given, err);
    const struct opt *config = opts_find(cmd, "config");
    if (rc == 0 && config) {
        const char *file = *(const char **)((char *)opts + config->offset);
        if (file)
            rc = config_read(cmd, opts, file, given, &text, err);
    }
    if (rc == 1) {
        cmd_help(cli->out, path, cmd);
        rc = 0;
    } else if (rc == 0) {
        cli->cmd = cmd;
        cli->given = given;
        rc = cmd->run(cli, opts, nargs, argv, err);
    }
    config_text_free(text);
    free(given);
    free(opts);
    return rc;
}

static int dispatch(struct cli *cli, const char *path, const struct cmd *cmd, int argc, char **argv,
                    struct pesc_error *err)
{
    if (!cmd->subs)
        return run_leaf(cli, path, cmd, argc, argv, err);
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
        !strcmp(argv[1], "help")) {
        if (argc < 2) {
            cmd_help(cli->talk, path, cmd);
            return FAIL(err, USAGE, "a command is needed");
        }
        cmd_help(cli->out, path, cmd);
        return 0;
    }
    for (int i = 0; cmd->subs[i]; i++)
        if (!strcmp(argv[1], cmd->subs[i]->name)) {
            char sub[128];
            snprintf(sub, sizeof sub, "%s %s", path, argv[1]);
            return dispatch(cli, sub, cmd->subs[i], argc - 1, argv + 1, err);
        }
    return FAIL(err, USAGE, "'%s' is no command of %s; see '%s --help'", argv[1], path, path);
}

/* At every barrier libgomp spins for a good part of a time slice before it sleeps. On a machine
 * that is also doing something else the thread waited for does not run meanwhile, and small steps
 * take a multiple of their time. libgomp reads its environment when it is loaded, hence the second
 * start. */
static void wait_briefly(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY"))
        return;
    if (setenv("GOMP_SPINCOUNT", "1000", 1) == 0)
        execv("/proc/self/exe",
              argv); /* returns only where that is not possible: go on as we are */
}

int main(int argc, char **argv)
{
    wait_briefly(argv);
    struct cli cli = {.out = stdout, .talk = stderr, .argc = argc};
    struct pesc_error err = {0};
    /* Commands rearrange their words; the history keeps the line as typed. */
    char **line = calloc((size_t)argc + 1, sizeof *line);
    char **words = calloc((size_t)argc + 1, sizeof *words);
    if (!line || !words) {
        FAIL(&err, MEMORY, "no memory for the command line");
        cli_error(&cli, &err);
        free(line);
        free(words);
        return err.exit_status;
    }
    memcpy(line, argv, (size_t)argc * sizeof *argv);
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
#ifdef M_MMAP_THRESHOLD
    /* Else it grows with what is freed, and every thread keeps megabytes of what it once needed. */
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
#endif
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    cli.argv = line;
    cli.out_tty = isatty(STDOUT_FILENO);
    cli.talk_tty = isatty(STDERR_FILENO);
    cli.color = !(no_color && *no_color) && !(term && !strcmp(term, "dumb"));
    int n = 0;
    for (int i = 0; i < argc; i++) {
        if (!strcmp(argv[i], "--errors=json"))
            cli.errors_json = 1;
        else
            words[n++] = argv[i];
    }
    int rc;
    if (n > 1 && (!strcmp(words[1], "--version") || !strcmp(words[1], "-V"))) {
        fprintf(cli.out, "pesc %s\ncompiler   %s\nflags      %s\nlibraries  %s\n", pesc_version(),
                build_compiler(), build_flags(), build_libraries());
        rc = 0;
    } else {
        rc = dispatch(&cli, "pesc", &root, n, words, &err);
    }
    /* stdout is data: a full disk must not look like success. A reader that went away is fine. */
    int flushed = fflush(stdout), write_errno = errno;
    if ((flushed != 0 || ferror(stdout)) && rc == 0 && write_errno != EPIPE)
        rc = FAIL(&err, IO_FULL, "cannot write the output: %s", strerror(write_errno));
    if (rc != 0) {
        if (!err.code)
            FAIL(&err, INTERNAL, "failed without a reason");
        cli_error(&cli, &err);
    }
    free(line);
    free(words);
    return rc == 0 ? 0 : err.exit_status;
}
