#include "config.h"
#include "core/thread.h"

#include <signal.h>
#include <string.h>

int thread_start(pthread_t *thread, size_t stack, void *(*work)(void *ctx), void *ctx,
                 const char *what, struct pesc_error *err)
{
    sigset_t all, before;
    pthread_attr_t a;
    int e = pthread_attr_init(&a);
    if (e == 0) {
        pthread_attr_setstacksize(&a, stack);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        e = pthread_create(thread, &a, work, ctx);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&a);
    }
    return e == 0 ? 0 : FAIL(err, MEMORY, "no thread to %s: %s", what, strerror(e));
}
