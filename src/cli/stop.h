/* Ctrl+C and its kin, as a flag that the training loop looks at.
 *
 * No thread that computes may ever run a signal handler: the f32 kernels of oneDNN use the stack
 * pointer as one more register (seen in 2.6.3), so that the kernel would write the handler's frame
 * somewhere into the heap. SIGINT, SIGTERM and SIGHUP are blocked in this thread and in all that it
 * starts from then on, and one thread does nothing but wait for them. */
#ifndef PESC_CLI_STOP_H
#define PESC_CLI_STOP_H

#include "core/error.h"

#include <stdatomic.h>

struct stop;
/* Call before the first thread is started. What the caller ignores (nohup, a shell's background
 * jobs) stays ignored. Until stop_arm a signal ends the process at once, with status 130 or 143;
 * after it the first one only sets the flag, and the second ends the process. */
int stop_open(struct stop **out, struct pesc_error *err) MUST_USE;
void stop_arm(struct stop *s);
const atomic_int *stop_flag(const struct stop *s); /* 0, or the signal */
void stop_close(struct stop *s);                   /* NULL is fine */

#endif
