/* The terminal side of a training run.
 *   terminal      header lines, then one line rewritten in place
 *   no terminal   header lines, then a line per logged step (both on talk, which is stderr)
 *   json          one JSON object per line on out, nothing else; NaN and infinities are texts
 *   quiet         warnings only
 * Output that fails never stops the training; progress_close reports it. */
#ifndef PESC_CLI_PROGRESS_H
#define PESC_CLI_PROGRESS_H

#include "cli/cmd.h"
#include "train/events.h"

struct progress;
/* steps_planned 0: unknown. first_step: the last step done before this process (0: a new run). */
struct progress *progress_open(struct cli *cli, int json, long first_step, long steps_planned,
                               struct pesc_error *err); /* NULL on failure */
/* One line of what will happen: "model     path, 5 layers ...". Before the first step. */
void progress_header(struct progress *p, const char *key, const char *fmt, ...) PRINTF_LIKE(3, 4);
void progress_begin(struct progress *p); /* shows the line before the first step is done */

/* What training calls; a listener over all of them is progress_sink. */
void progress_step(struct progress *p, const struct step_metrics *m, int logged);
void progress_eval(struct progress *p, const struct eval_metrics *m);
/* level: debug|info|warn|error; debug is shown in JSON only */
void progress_event(struct progress *p, long step, const char *level, const char *code,
                    const char *text);
void progress_checkpoint(struct progress *p, long step, const char *path, const char *sha256,
                         uint64_t bytes);
struct train_sink progress_sink(struct progress *p);
/* Warnings of the library while the run is on: cli_notes would write into the progress line. */
struct notes progress_notes(struct progress *p);
/* One more JSON object, such as the closing one; nothing without json. Takes v, NULL is fine. */
void progress_json(struct progress *p, void *v);

/* Ends the line and frees p (NULL is fine). E-IO-FULL if the JSON lines could not all be written;
 * a reader that went away is no error. */
int progress_close(struct progress *p, struct pesc_error *err) MUST_USE;

/* The line on a terminal of cols columns, at most cols - 1 wide; eta in seconds, < 0: unknown. */
void progress_line(char *out, size_t size, int cols, const struct step_metrics *m, double eta);
/* 3723 -> "1:02:03"; days as "2d03h". */
void progress_time(char *out, size_t size, double seconds);
void progress_bytes(char *out, size_t size, uint64_t bytes); /* "812 MiB", "1.5 GiB" */

#endif
