#include "config.h"
#include "model/stream.h"

#include "core/thread.h"

#include <stdlib.h>
#include <string.h>

enum { STACK = 1 << 20 };

enum fill { EMPTY, LOADING, READY };

struct buffer {
    void *block;
    long i; /* which of the list */
    enum fill fill;
    int taken;
};

/* A place in the order of use. */
struct turn {
    long i;
    int down;
};

struct stream {
    struct load_how how;
    struct layer_layout layout;
    long *layer, n, n_buffers;
    char *checked; /* [n] values were looked at; only the thread's */
    pthread_t thread;
    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t work, ready;
    struct buffer buffer[STREAM_BUFFERS];
    struct turn now; /* what is in use, or comes next */
    long from, low;  /* where passes begin, and to where they come down */
    int quit;
    uint64_t bytes;
    struct pesc_error error; /* code 0: none */
};

static struct turn next(const struct stream *s, struct turn t)
{
    if (t.down)
        return t.i > s->low ? (struct turn){t.i - 1, 1} : (struct turn){s->from, 0};
    if (t.i + 1 < s->n)
        return (struct turn){t.i + 1, 0};
    return t.i >= s->low ? (struct turn){t.i, 1} : (struct turn){s->from, 0};
}

static struct buffer *buffer_of(struct stream *s, long i)
{
    for (long b = 0; b < s->n_buffers; b++)
        if (s->buffer[b].fill != EMPTY && s->buffer[b].i == i)
            return &s->buffer[b];
    return NULL;
}

static int among(const long *list, long n, long i)
{
    while (n > 0)
        if (list[--n] == i)
            return 1;
    return 0;
}

/* The first of the coming layers that has no buffer, and one that can take it: the coming layers
 * are as many as there are buffers, so what is in none of them is not needed for longest. */
static struct buffer *pick(struct stream *s, long *i)
{
    long coming[STREAM_BUFFERS], n = 0, missing = -1;
    struct turn t = s->now;
    for (long steps = 0; n < s->n_buffers && steps < 4 * s->n; steps++, t = next(s, t))
        if (!among(coming, n, t.i)) {
            if (missing < 0 && !buffer_of(s, t.i))
                missing = t.i;
            coming[n++] = t.i;
        }
    if (missing < 0)
        return NULL;
    *i = missing;
    for (long b = 0; b < s->n_buffers; b++) {
        struct buffer *at = &s->buffer[b];
        if (at->fill == EMPTY || (!at->taken && !among(coming, n, at->i)))
            return at;
    }
    return NULL;
}

static void *read_ahead(void *ctx)
{
    struct stream *s = ctx;
    pthread_mutex_lock(&s->lock);
    while (!s->quit) {
        long i;
        struct buffer *b = s->error.code ? NULL : pick(s, &i);
        if (!b) {
            pthread_cond_wait(&s->work, &s->lock);
            continue;
        }
        *b = (struct buffer){b->block, i, LOADING, 0};
        pthread_mutex_unlock(&s->lock);
        struct load_how how = s->how;
        struct pesc_error err = {0};
        uint64_t read = 0;
        how.check = how.check && !s->checked[i];
        int rc = load_layer(&how, &s->layout, s->layer[i], b->block, &read, &err);
        s->checked[i] = 1;
        pthread_mutex_lock(&s->lock);
        b->fill = rc == 0 ? READY : EMPTY;
        s->bytes += read;
        if (rc != 0)
            s->error = err;
        pthread_cond_signal(&s->ready);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void release(struct stream *s)
{
    free(s->layer);
    free(s->checked);
    free(s);
}

int stream_open(const struct stream_plan *plan, struct stream **out, struct pesc_error *err)
{
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return FAIL(err, MEMORY, "no memory to stream weights");
    s->how = plan->how;
    s->layout = plan->layout;
    s->n = s->low = plan->n;
    s->n_buffers = s->n < STREAM_BUFFERS ? s->n : STREAM_BUFFERS;
    s->layer = calloc((size_t)s->n, sizeof *s->layer);
    s->checked = calloc((size_t)s->n, 1);
    if (!s->layer || !s->checked) {
        release(s);
        return FAIL(err, MEMORY, "no memory to stream weights");
    }
    memcpy(s->layer, plan->layer, (size_t)s->n * sizeof *s->layer);
    for (long b = 0; b < s->n_buffers; b++)
        s->buffer[b].block = plan->buffer[b];
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->ready, NULL);
    if (thread_start(&s->thread, STACK, read_ahead, s, "stream weights", err) != 0) {
        release(s);
        return -1;
    }
    *out = s;
    return 0;
}

void stream_close(struct stream *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->quit = 1;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->ready);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    release(s);
}

void stream_pass(struct stream *s, long from, long low)
{
    if (from >= s->n) /* nothing of the list is asked for */
        return;
    pthread_mutex_lock(&s->lock);
    s->now = (struct turn){from, 0};
    s->from = from;
    s->low = low;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

int stream_get(struct stream *s, long i, const void **block, struct pesc_error *err)
{
    struct buffer *b = NULL;
    int taken = 0;
    pthread_mutex_lock(&s->lock);
    for (long k = 0; k < s->n_buffers; k++)
        taken |= s->buffer[k].taken && s->buffer[k].i != i;
    if (!taken) {
        s->now.i = i;
        pthread_cond_signal(&s->work);
        while (!s->error.code && !((b = buffer_of(s, i)) && b->fill == READY))
            pthread_cond_wait(&s->ready, &s->lock);
    }
    if (s->error.code) {
        b = NULL;
        error_set(err, (enum pesc_code)s->error.code, "%s", s->error.text);
    } else if (taken) {
        FAIL(err, INTERNAL, "two streamed layers at a time");
    } else {
        b->taken = 1;
        *block = b->block;
    }
    pthread_mutex_unlock(&s->lock);
    return b ? 0 : -1;
}

void stream_put(struct stream *s, long i)
{
    pthread_mutex_lock(&s->lock);
    struct buffer *b = buffer_of(s, i);
    if (b)
        b->taken = 0;
    if (s->now.i == i)
        s->now = next(s, s->now);
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

uint64_t stream_bytes_read(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t n = s->bytes;
    pthread_mutex_unlock(&s->lock);
    return n;
}
