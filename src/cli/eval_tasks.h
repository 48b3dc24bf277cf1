/* pesc eval on files of tasks, of one model or of several runs. */
#ifndef PESC_CLI_EVAL_TASKS_H
#define PESC_CLI_EVAL_TASKS_H

#include "cli/data_arg.h"
#include "eval/run_task.h"
#include "train/evaluate.h"

struct eval_options {
    struct data_options data;
    const char *pack, *base, *compute, *dump, *knock_out, *db;
    long batch_tokens, threads;
    uint64_t memory;
    struct place_options place;
    int routing, json, csv, quiet, force_base;
    struct opt_list task, runs;
    const char *format, *normalize, *stop, *items;
    long limit, max_new_tokens, context; /* 0: not given */
};
/* clang-format off */
#define TASK_OPTIONS                                                                               \
    {"task", "t", OPT_LIST, AT(task), "FILE...", "tasks: files, folders, archives; see TASKS in"   \
     " pesc(1)", 0, 0},                                                                            \
    {"task-format", NULL, OPT_CHOICE, AT(format),                                                  \
     "perplexity|generate|multiple_choice|mmlu|arc|boolq",                                         \
     "what their records are (default: seen)", 0, 0},                                              \
    {"normalize", NULL, OPT_STRING, AT(normalize), "NAME,...",                                     \
     "answers: strip, lower, punctuation, articles, whitespace, number; none", 0, 0},              \
    {"max-new-tokens", "n", OPT_LONG, AT(max_new_tokens), "N",                                     \
     "of an answer (0: as the task says, else 128)", 0, 1e7},                                      \
    {"stop", NULL, OPT_STRING, AT(stop), "TEXT", "what ends an answer, \\n a line; or none", 0, 0}, \
    {"context", NULL, OPT_LONG, AT(context), "N", "tokens of an item (0: the model's)", 0,         \
     1 << 24},                                                                                     \
    {"limit", NULL, OPT_LONG, AT(limit), "N", "items of each task (0: all)", 0, 1e15},             \
    {"items", NULL, OPT_STRING, AT(items), "OUT.jsonl", "also what was chosen or said, by item",   \
     0, 0},                                                                                        \
    {"runs", NULL, OPT_LIST, AT(runs), "RUN...",                                                   \
     "the models that these runs trained, in one table", 0, 0},                                    \
    {"csv", NULL, OPT_FLAG, AT(csv), NULL, "tasks and runs: comma-separated values", 0, 0}
/* clang-format on */

/* One figure of one run (0: or of the model). */
struct eval_row {
    long run;
    char *task, *domain; /* domain NULL: all */
    char *config;        /* JSON, for the history */
    struct task_figure f;
    long cut, too_long;
};
struct eval_rows {
    struct eval_row *v;
    long n, cap;
};
int eval_rows_add(struct eval_rows *rows, const struct eval_row *like,
                  struct pesc_error *err) MUST_USE;
/* Of records: all, and each of several domains. */
int eval_rows_of_data(struct eval_rows *rows, long run, const struct dataset *d,
                      const struct eval_sum *all, const struct eval_sum *domain,
                      struct pesc_error *err) MUST_USE;
void eval_rows_free(struct eval_rows *rows);
/* src/cli/eval_table.c: runs NULL: of one model. */
int eval_rows_print(struct cli *cli, const struct eval_rows *rows, const struct opt_list *runs,
                    int csv, int json, struct pesc_error *err) MUST_USE;

struct eval_work {
    struct cli *cli;
    const struct eval_options *o;
    const struct notes *notes;
    struct task **tasks;
    struct eval_rows rows;
    struct afile *items;  /* or NULL */
    struct normal normal; /* of --normalize */
    char *stop;           /* of --stop */
};
/* A model that was evaluated as the result of a run. */
struct eval_run {
    char uuid[33], dir[PATH_CAP]; /* empty: not of a run; not known where */
    long step;
};
/* What a pack says of its run; pack is the option's value. */
void eval_run_of_pack(struct eval_run *of, const struct pack_arg *p, const char *pack);
/* src/cli/eval_model.c: the model's rows of all tasks and of --data. of (may be set on entry) is
 * completed by what the pack says. */
int eval_model(struct eval_work *w, const char *model, const char *pack, long run,
               struct eval_run *of, struct pesc_error *err) MUST_USE;
/* The rows from the first-th on join the run's folder and history. Not of a run: nothing to do. of
 * is completed by what the history says. */
void eval_record(const struct eval_rows *rows, long first, struct eval_run *of, const char *db,
                 const struct notes *notes);
/* E-USAGE when the options do not go together. */
int eval_tasks_usage(const struct eval_options *o, int argc, struct pesc_error *err) MUST_USE;
/* Everything: --task and --runs. model NULL: of runs. */
int eval_tasks(struct cli *cli, const struct eval_options *o, const char *model,
               const struct notes *notes, struct pesc_error *err) MUST_USE;

#endif
