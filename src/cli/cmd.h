/* A command is one const struct in a file of its own; help, completion, the configuration file and
 * the manual's option check are derived from its table. To add one: write cmd_<name>.c, add it to
 * CMDS, to src/cli/sources.mk and to doc/pesc.1; tests/cli/commands.sh fails for a forgotten step.
 */
#ifndef PESC_CLI_CMD_H
#define PESC_CLI_CMD_H

#include "core/error.h"
#include "core/json.h"

#include <stdio.h>

enum opt_kind {
    OPT_FLAG,   /* int: 1 when given, 0 with --no-NAME */
    OPT_LONG,   /* long, min..max */
    OPT_REAL,   /* double, min..max */
    OPT_STRING, /* const char * */
    OPT_CHOICE, /* const char *, one of choices "a|b|c" */
    OPT_SIZE,   /* uint64_t bytes: 512MiB, 2GiB, 1e9; 0 is not a size */
    OPT_SIZES,  /* struct opt_sizes: SIZE,SIZE,...,max */
    OPT_LIST    /* struct opt_list: may be repeated, and takes several words up to the next flag */
};

enum { OPT_LIST_CAP = 256 };
struct opt_list {
    long n;
    const char *v[OPT_LIST_CAP];
};

enum { OPT_SIZES_CAP = 16 };
struct opt_sizes {
    long n;
    uint64_t v[OPT_SIZES_CAP]; /* UINT64_MAX: "max" */
};

/* One option. offset says where its value stands in the command's own struct; what stands there
 * before parsing is the default. Names use dashes; underscores are accepted from users. */
struct opt {
    const char *name, *alias; /* alias may be NULL; a one-letter name is -x */
    enum opt_kind kind;
    size_t offset;
    const char *arg;  /* shown in help: SIZE, N, PATH ...; for OPT_CHOICE the choices */
    const char *help; /* one line */
    double min, max;  /* OPT_LONG and OPT_REAL; min == max means unbounded */
};

struct cli;
struct cmd {
    const char *name, *usage, *summary; /* usage without "pesc NAME" */
    const char *details;                /* more help, may be NULL */
    const struct cmd *const *subs;      /* NULL-terminated; then run is NULL */
    const struct opt *opts;             /* ends with a NULL name; may be NULL */
    size_t opts_size;                   /* of the struct that opts fills */
    void (*defaults)(void *opts);       /* after zeroing; may be NULL */
    /* args: what is left after the options. Returns 0, or -1 with err. */
    int (*run)(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err);
};

/* What a command may use of the outside. Only src/cli prints. */
struct cli {
    FILE *out, *talk; /* data, and everything else */
    int out_tty, talk_tty, color, quiet, errors_json;
    int argc;
    char **argv; /* the whole command line, for the history */
    const struct cmd *cmd;
    const char *given; /* a 1 for each of its options that was named */
};

#define CMDS(X)                                                                                    \
    X(craft)                                                                                       \
    X(train)                                                                                       \
    X(plan)                                                                                        \
    X(eval)                                                                                        \
    X(generate)                                                                                    \
    X(data)                                                                                        \
    X(runs)                                                                                        \
    X(pack)                                                                                        \
    X(doctor)
#define PESC_X(name) extern const struct cmd cmd_##name;
CMDS(PESC_X)
#undef PESC_X

/* src/cli/opts.c */
/* Fills opts from argv[1..]; words that are no options are left in argv[0..*nargs-1]. Returns 0,
 * 1 when --help was asked, -1 with err. given (may be NULL) gets a 1 for each option named. */
int opts_parse(const struct cmd *cmd, void *opts, int argc, char **argv, int *nargs, char *given,
               struct pesc_error *err);
/* Sets one option by name from text, as a configuration file does; where is shown in errors. */
int opts_set(const struct cmd *cmd, void *opts, const char *name, const char *value,
             const char *where, char *given, struct pesc_error *err) MUST_USE;
/* The option's value as text that opts_set reads back; NULL when unset. Into buf. */
const char *opts_text(const struct opt *o, const void *opts, char *buf, size_t size);
long opts_count(const struct cmd *cmd);
/* Bytes of 512MiB, 2GiB, 1e9; -1 for what is no size. */
int opts_size(const char *value, uint64_t *out) MUST_USE;
/* The option of that name or alias, or NULL. */
const struct opt *opts_find(const struct cmd *cmd, const char *name);
/* src/cli/help.c: within 80 columns. */
void cmd_help(FILE *f, const char *path, const struct cmd *cmd);

/* src/cli/config.c: a YAML file of the same keys; unknown keys are errors that name the nearest.
 * A command with an option "config" gets it read by main, before run. */
/* Options already given (given[i] != 0) win; those of the file are marked as given. The texts that
 * the options then point to are appended to *text (NULL at first), also on failure; the caller
 * frees them when the options are no longer used. */
struct config_text;
int config_read(const struct cmd *cmd, void *opts, const char *path, char *given,
                struct config_text **text, struct pesc_error *err) MUST_USE;
void config_text_free(struct config_text *text); /* NULL is fine */
/* The resolved configuration as YAML that config_read reads back, every option that has a value
 * (but "config"). Caller frees; NULL without memory. */
char *config_yaml(const struct cmd *cmd, const void *opts);
const char *config_library(void); /* libyaml's version at run time */
/* Any YAML file as a tree of objects, arrays and strings (every scalar is one, null is left out);
 * sha256 (SHA256_HEX bytes) becomes the file's. NULL with err. */
json_t *config_tree(const char *path, char *sha256, struct pesc_error *err);

/* src/cli/talk.c */
/* Warnings of the library as lines on talk: "pesc: warning[W-...] text". */
struct notes cli_notes(struct cli *cli);
void cli_error(struct cli *cli, const struct pesc_error *err);

#endif
