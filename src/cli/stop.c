#include "config.h"
#include "cli/stop.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct stop {
    pthread_t thread;
    sigset_t set, before;
    atomic_int armed, flag, closing;
};

static void *wait_for_signals(void *ctx)
{
    struct stop *s = ctx;
    for (int sig; sigwait(&s->set, &sig) == 0;) {
        if (atomic_load(&s->closing))
            break;
        if (!atomic_load(&s->armed) || atomic_exchange(&s->flag, sig) != 0)
            _exit(sig == SIGINT ? 130 : 143);
    }
    return NULL;
}

int stop_open(struct stop **out, struct pesc_error *err)
{
    static const int kinds[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction was;
    struct stop *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return FAIL(err, MEMORY, "no memory to wait for signals");
    sigemptyset(&s->set);
    sigaddset(&s->set, SIGUSR1); /* of stop_close */
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (sigaction(kinds[i], NULL, &was) == 0 && was.sa_handler != SIG_IGN)
            sigaddset(&s->set, kinds[i]);
    pthread_sigmask(SIG_BLOCK, &s->set, &s->before);
    int e = pthread_create(&s->thread, NULL, wait_for_signals, s);
    if (e != 0) {
        pthread_sigmask(SIG_SETMASK, &s->before, NULL);
        free(s);
        return FAIL(err, MEMORY, "no thread to wait for signals: %s", strerror(e));
    }
    *out = s;
    return 0;
}

void stop_arm(struct stop *s)
{
    atomic_store(&s->armed, 1);
}

const atomic_int *stop_flag(const struct stop *s)
{
    return &s->flag;
}

void stop_close(struct stop *s)
{
    if (!s)
        return;
    /* Not cancelled: that loads a library, and ends the program where there is no memory for it. */
    atomic_store(&s->closing, 1);
    pthread_kill(s->thread, SIGUSR1);
    pthread_join(s->thread, NULL);
    pthread_sigmask(SIG_SETMASK, &s->before, NULL);
    free(s);
}
