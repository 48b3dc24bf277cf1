/* Threads of our own, beside OpenMP's. */
#ifndef PESC_CORE_THREAD_H
#define PESC_CORE_THREAD_H

#include "core/error.h"

#include <pthread.h>
#include <stddef.h>

/* Runs work(ctx) in a thread with a stack of so many bytes. It takes no signals: who waits for them
 * must get them, and no handler may interrupt. what: for the message of E-MEMORY. */
int thread_start(pthread_t *thread, size_t stack, void *(*work)(void *ctx), void *ctx,
                 const char *what, struct pesc_error *err) MUST_USE;

#endif
