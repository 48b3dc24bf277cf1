/* What routers did, as the run folder keeps it: lines of metrics.jsonl with
 *   "event": "router" (all tokens of training), "router_domain" (those of one domain) or
 *   "router_eval" (of an evaluation: "task"; "domain" is "" for all of its tokens),
 *   "step", "layer", "tokens", "balance" (of "router"), "entropy", "top1", and of each expert
 *   "load", "prob", "first".
 * Reals as json_real_or_text. "router_eval_again" (step, task) takes back what came of them before.
 */
#ifndef EXPERIMENTS_ROUTER_LINES_H
#define EXPERIMENTS_ROUTER_LINES_H

#include "experiments/history.h"

/* task NULL: of training. NULL without memory. */
json_t *router_line(long step, const char *task, const struct history_router *m);
/* The routers of an evaluation after training; as scores_append. */
int router_lines_append(const char *dir, const char *uuid, long step, long long t_ms,
                        const char *task, const struct history_router *list, long n,
                        struct pesc_error *err) MUST_USE;
/* Tells a history of such a line; any other is passed over. */
int router_line_read(struct history *h, const json_t *line, struct pesc_error *err) MUST_USE;

#endif
