/* Files of tasks that a model is scored on: items read whole, each a prompt with what may follow.
 *
 * A path is what --data may be: a file, a folder, an archive; compressed or not; JSON (lines, an
 * array, objects) or CSV. The format of a file is that of its first record (TASK_FORMATS), and all
 * files of a path are of one kind. Before them a file of JSON may say how it is to be scored, in a
 * record {"task": {"format", "normalize", "stop", "max_new_tokens"}}, each of them optional.
 *
 * An item's prompt is made in two ways: as plain text, and as what is asked in a chat template.
 *   prompt given          the prompt                        the same
 *   question              Question: QUESTION\nAnswer:       QUESTION
 *   context               CONTEXT                           the same
 *   context and question  CONTEXT\nQuestion: ...\nAnswer:   CONTEXT\nQUESTION
 *   mmlu                  Question: ...\nA. ...\nB. ...     QUESTION\nA. ... and so on
 *                         ...\nAnswer:, choices are letters
 *   boolq                 PASSAGE\nQuestion: ...?\nAnswer:  PASSAGE\nQUESTION?; no or yes */
#ifndef DATASETS_TASKS_H
#define DATASETS_TASKS_H

#include "core/file.h"
#include "datasets/dataset.h"
#include "datasets/normal.h"

/* X(identifier, name, kind) */
#define TASK_FORMATS(X)                                                                            \
    X(PERPLEXITY, "perplexity", SCORE_TEXT)  /* text; or prompt or question, and answer */         \
    X(GENERATE, "generate", SCORE_GENERATED) /* prompt or question [context], answer(s) */         \
    X(CHOICE, "multiple_choice",                                                                   \
      SCORE_CHOICE) /* question and/or context, choices, answer: index, letter or text */          \
    X(MMLU, "mmlu", SCORE_CHOICE)   /* CSV of question, A, B, C, D, answer; or such objects */     \
    X(ARC, "arc", SCORE_CHOICE)     /* question{stem, choices}, answerKey; or flattened */         \
    X(BOOLQ, "boolq", SCORE_CHOICE) /* question, passage, answer: true or false */
enum task_kind { SCORE_TEXT, SCORE_GENERATED, SCORE_CHOICE };
enum task_format {
#define PESC_X(id, name, kind) TASK_##id,
    TASK_FORMATS(PESC_X)
#undef PESC_X
        TASK_FORMAT_COUNT
};
const char *task_format_name(enum task_format f);
enum task_format task_format_from_name(const char *name); /* TASK_FORMAT_COUNT: none of them */
enum task_kind task_kind_of(enum task_format f);
const char *task_kind_name(enum task_kind k);

struct task_item {
    const char *plain, *asked;  /* the prompt; "" of a text that is scored as a whole */
    const char *const *follows; /* [n] choices, or accepted answers, or the one text to score */
    long n, right;              /* right: which of the choices */
    int domain;                 /* of the task's */
    long line;                  /* of its file */
};

enum { TASK_STOPS = 8, TASK_CHOICES = 1000 };
struct task {
    char path[PATH_CAP], name[256]; /* name: of the file or folder, without its ending */
    char sha256[65]; /* of the file as stored; of several files, over their digests in order */
    enum task_format format;
    struct task_item *items;
    long n, cap;
    const char **domains; /* an item's field domain, subject or category; else its file's name */
    long n_domains;
    /* What the file says about scoring, if it does. */
    int has_normal, has_stops;
    struct normal normal;
    const char *stops[TASK_STOPS];
    int n_stops;
    int texts_only;          /* perplexity, as the first record has it: of whole texts */
    long max_new_tokens;     /* 0: nothing */
    struct task_text *texts; /* where all of this stands */
    size_t bytes;
};

struct task_options {
    enum task_format format; /* TASK_FORMAT_COUNT: found out */
    long limit;              /* items at most, 0: all */
    const char *domain;      /* of items that bring none; NULL: the file's name */
    enum data_part part;     /* and the next two: as in struct dataset_options */
    const char *member;
    uint64_t max_unpacked;
};
/* E-DS-*, which name file and line; E-AR-*, E-IO-*, E-LIMIT for over a GiB of text. An item that is
 * not sound is an error: a score over the rest would not be the task's. */
int task_open(const char *path, const struct task_options *o, const struct notes *notes,
              struct task **out, struct pesc_error *err) MUST_USE;
void task_close(struct task *t); /* NULL is fine */

#endif
