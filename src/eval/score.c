#include "config.h"
#include "eval/score.h"

#include "train/passes.h"

#include <stdlib.h>
#include <string.h>

int scoring_add(struct scoring *s, const int32_t *ids, long n, long from, struct pesc_error *err)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * (size_t)s->cap : 64;
        long *cu = realloc(s->cu, (cap + 1) * sizeof *cu);
        s->cu = cu ? cu : s->cu;
        long *first = realloc(s->from, cap * sizeof *first);
        s->from = first ? first : s->from;
        struct score *score = realloc(s->score, cap * sizeof *score);
        s->score = score ? score : s->score;
        if (!cu || !first || !score)
            return FAIL(err, MEMORY, "no memory for %zu sequences", cap);
        s->cap = (long)cap;
        s->cu[0] = 0;
    }
    for (long i = 0; i < n; i++)
        TRY(ids_push(&s->ids, ids[i], err));
    s->from[s->n] = from < 1 ? 1 : from;
    s->cu[++s->n] = (long)s->ids.n;
    return 0;
}

/* losses and argmax: of tokens at.. of the whole; sequences first..first+S-1. */
static void sum_up(struct scoring *s, const struct batch *b, long first, const float *losses,
                   const int32_t *argmax)
{
    for (long q = 0; q < b->S; q++) {
        struct score *o = &s->score[first + q];
        long n = b->cu[q + 1] - b->cu[q];
        *o = (struct score){.greedy = 1};
        for (long t = s->from[first + q]; t < n; t++) {
            long at = b->cu[q] + t - 1; /* predicts token t */
            o->loglik -= (double)losses[at];
            o->greedy &= argmax[at] == b->ids[at + 1];
            o->tokens++;
        }
    }
}

int scoring_run(struct scoring *s, struct engine *e, struct pesc_error *err)
{
    size_t T = s->ids.n, S = (size_t)s->n;
    int32_t *labels = malloc((T + 1) * sizeof *labels), *argmax = malloc((T + 1) * sizeof *argmax);
    float *losses = malloc((T + 1) * sizeof *losses);
    int *domain = calloc(S + 1, sizeof *domain);
    long *record = calloc(S + 1, sizeof *record), at, first = 0;
    struct passes passes = {0};
    struct batch part;
    int rc = -1;
    if (!labels || !argmax || !losses || !domain || !record) {
        FAIL(err, MEMORY, "no memory to score %zu tokens", T);
        goto done;
    }
    for (long q = 0; q < s->n; q++)
        for (long t = s->cu[q]; t < s->cu[q + 1]; t++)
            labels[t] = t - s->cu[q] < s->from[q] ? LABEL_MASKED : s->ids.v[t];
    TRY_OR(passes_open(&passes, engine_max_tokens(e), s->n, err), done);
    const struct batch all = {(long)T, s->n, s->ids.v, labels, s->cu, domain, record};
    if (s->n > 0)
        passes_begin(&passes, &all);
    while (first < s->n && passes_next(&passes, &part, &at)) {
        struct engine_step step = {.losses = losses + at, .argmax = argmax + at};
        if (part.T > engine_max_tokens(e)) {
            FAIL(err, LIMIT, "a sequence of %ld tokens, and room for %ld", part.T,
                 engine_max_tokens(e));
            goto done;
        }
        TRY_OR(engine_loss(e, &part, &step, err), done);
        sum_up(s, &part, first, losses + at, argmax + at);
        first += part.S;
    }
    rc = 0;
done:
    passes_close(&passes);
    free(labels);
    free(argmax);
    free(losses);
    free(domain);
    free(record);
    return rc;
}

void scoring_clear(struct scoring *s)
{
    s->ids.n = 0;
    s->n = 0;
}

void scoring_free(struct scoring *s)
{
    free(s->ids.v);
    free(s->cu);
    free(s->from);
    free(s->score);
    memset(s, 0, sizeof *s);
}
