/* The insides of layers that are kept in a file between the passes. In the page cache: written and
 * read at once, mostly copied. Past it: by a thread, a layer at a time, while the next one is
 * computed in the other one of two buffers; in the backward pass the layer below is read ahead. */
#include "config.h"
#include "model/engine_internal.h"

#include "core/tfile.h"
#include "core/thread.h"

#include <stdlib.h>
#include <string.h>

enum { STACK = 256 << 10 };

struct job {
    long l;
    int write, wanted; /* 0: none */
};

struct insides {
    struct tfile *file;
    size_t layer; /* bytes */
    long first, n, buffers;
    unsigned char *memory;
    size_t *used;  /* [n] */
    long holds[2]; /* the layer whose inside a buffer has, or will; -1 */
    /* Of the thread: */
    int threaded;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    struct job waiting, running;
    int quit;
    struct pesc_error error; /* the first one; code 0: none */
};

static long buffer_of(const struct insides *s, long l)
{
    return (l - s->first) % s->buffers;
}

static unsigned char *memory_of(const struct insides *s, long l)
{
    return s->memory + (size_t)buffer_of(s, l) * s->layer;
}

static int move(struct insides *s, const struct job *j, struct pesc_error *err)
{
    size_t n = s->used[j->l - s->first];
    uint64_t at = (uint64_t)(j->l - s->first) * s->layer;
    n = s->threaded ? (n + TFILE_BLOCK - 1) / TFILE_BLOCK * TFILE_BLOCK : n;
    return j->write ? tfile_write(s->file, memory_of(s, j->l), n, at, err)
                    : tfile_read(s->file, memory_of(s, j->l), n, at, err);
}

static void *work(void *ctx)
{
    struct insides *s = ctx;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->waiting.wanted && !s->quit)
            pthread_cond_wait(&s->work, &s->lock);
        if (!s->waiting.wanted)
            break;
        s->running = s->waiting;
        s->waiting.wanted = 0;
        pthread_cond_signal(&s->done);
        pthread_mutex_unlock(&s->lock);
        struct pesc_error err = {0};
        int rc = move(s, &s->running, &err);
        pthread_mutex_lock(&s->lock);
        if (rc != 0 && !s->error.code)
            s->error = err;
        s->running.wanted = 0;
        pthread_cond_signal(&s->done);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

int insides_open(const char *dir, size_t layer_bytes, long first, long layers, int direct,
                 unsigned char *memory, struct insides **out, struct pesc_error *err)
{
    struct insides *s = calloc(1, sizeof *s);
    if (!s)
        return FAIL(err, MEMORY, "no memory for a file of activations");
    *s = (struct insides){.layer = layer_bytes,
                          .first = first,
                          .n = layers,
                          .buffers = direct ? 2 : 1,
                          .memory = memory,
                          .holds = {-1, -1}};
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->done, NULL);
    s->used = calloc((size_t)layers, sizeof *s->used);
    if (!s->used) {
        FAIL(err, MEMORY, "no memory for a file of activations");
        goto fail;
    }
    TRY_OR(tfile_open(dir, (uint64_t)layers * layer_bytes, direct ? TFILE_DIRECT : TFILE_CACHED,
                      &s->file, err),
           fail);
    if (direct)
        TRY_OR(thread_start(&s->thread, STACK, work, s, "keep activations", err), fail);
    s->threaded = direct;
    *out = s;
    return 0;
fail:
    insides_close(s);
    return -1;
}

void insides_close(struct insides *s)
{
    if (!s)
        return;
    if (s->threaded) {
        pthread_mutex_lock(&s->lock);
        s->quit = 1;
        s->waiting.wanted = 0;
        pthread_cond_signal(&s->work);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    pthread_cond_destroy(&s->done);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    tfile_close(s->file);
    free(s->used);
    free(s);
}

/* Until nothing is on its way to or from the layer's buffer. */
static int settle(struct insides *s, long l, struct pesc_error *err)
{
    if (!s->threaded)
        return 0;
    pthread_mutex_lock(&s->lock);
    while ((s->waiting.wanted && buffer_of(s, s->waiting.l) == buffer_of(s, l)) ||
           (s->running.wanted && buffer_of(s, s->running.l) == buffer_of(s, l)))
        pthread_cond_wait(&s->done, &s->lock);
    int failed = s->error.code != 0;
    if (failed)
        error_set(err, (enum pesc_code)s->error.code, "%s", s->error.text);
    pthread_mutex_unlock(&s->lock);
    return failed ? -1 : 0;
}

static int ask(struct insides *s, long l, int write, struct pesc_error *err)
{
    struct job j = {l, write, 1};
    s->holds[buffer_of(s, l)] = l;
    if (!s->threaded)
        return move(s, &j, err);
    pthread_mutex_lock(&s->lock);
    while (s->waiting.wanted)
        pthread_cond_wait(&s->done, &s->lock);
    s->waiting = j;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

unsigned char *insides_memory(struct insides *s, long l)
{
    (void)settle(s, l, NULL); /* an error stays, and is told when the layer is put or got */
    return memory_of(s, l);
}

static int is_there(const struct engine *e, long l)
{
    return l >= e->disk_from && l < e->keep_from && e->insides;
}

int engine_put(struct engine *e, long l, struct pesc_error *err)
{
    struct insides *s = e->insides;
    if (!is_there(e, l))
        return 0;
    TRY(settle(s, l, err));
    s->used[l - s->first] = e->image_used;
    return ask(s, l, 1, err);
}

int engine_get(struct engine *e, long l, struct pesc_error *err)
{
    struct insides *s = e->insides;
    if (!is_there(e, l))
        return 0;
    if (s->holds[buffer_of(s, l)] != l)
        TRY(ask(s, l, 0, err));
    TRY(settle(s, l, err));
    if (s->threaded && l > s->first && s->holds[buffer_of(s, l - 1)] != l - 1)
        TRY(ask(s, l - 1, 0, err));
    return 0;
}
