/* The reader of tasks, for its two files. Internal. */
#ifndef DATASETS_TASKS_INTERNAL_H
#define DATASETS_TASKS_INTERNAL_H

#include "core/json.h"
#include "datasets/tasks.h"

/* tasks.c: copies with the task; NULL with E-MEMORY or E-LIMIT. */
const char *task_keep(struct task *t, const char *text, size_t n, struct pesc_error *err);
const char *task_printed(struct task *t, struct pesc_error *err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
const char **task_list(struct task *t, long n, struct pesc_error *err);

/* tasks_read.c: which format a record is. where: file and line, for E-DS-FIELD. */
int task_detect(const json_t *record, const char *where, enum task_format *out,
                struct pesc_error *err) MUST_USE;
/* The record as an item of the task's format, but for domain and line. */
int task_read(struct task *t, const json_t *record, const char *where, struct task_item *out,
              struct pesc_error *err) MUST_USE;
/* What {"task": ...} says, but for the format, which is returned (TASK_FORMAT_COUNT: not said). */
int task_read_head(struct task *t, const json_t *head, const char *where, enum task_format *format,
                   struct pesc_error *err) MUST_USE;
/* A row of CSV as an object. header NULL: question, the letters, answer. NULL with err. */
json_t *task_row(const json_t *header, const json_t *row, const char *where,
                 struct pesc_error *err);
/* Whether a first row is an item of MMLU already, and no header. */
int task_row_is_item(const json_t *row);

#endif
