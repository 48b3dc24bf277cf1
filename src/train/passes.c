#include "config.h"
#include "train/passes.h"

#include <stdlib.h>

int passes_open(struct passes *p, long max_tokens, long max_samples, struct pesc_error *err)
{
    *p = (struct passes){.max_tokens = max_tokens};
    p->cu = calloc((size_t)max_samples + 1, sizeof *p->cu);
    return p->cu ? 0 : FAIL(err, MEMORY, "no memory for %ld samples", max_samples);
}

void passes_close(struct passes *p)
{
    free(p->cu);
    p->cu = NULL;
}

void passes_begin(struct passes *p, const struct batch *b)
{
    p->batch = *b;
    p->sample = 0;
}

int passes_next(struct passes *p, struct batch *out, long *token)
{
    const struct batch *b = &p->batch;
    long first = p->sample, end = first, at;
    if (first >= b->S)
        return 0;
    *token = at = b->cu[first];
    while (end < b->S && (end == first || b->cu[end + 1] - at <= p->max_tokens))
        end++;
    for (long s = first; s <= end; s++)
        p->cu[s - first] = b->cu[s] - at;
    p->sample = end;
    *out = (struct batch){.T = b->cu[end] - at,
                          .S = end - first,
                          .ids = b->ids + at,
                          .labels = b->labels + at,
                          .cu = p->cu,
                          .domain = b->domain + first,
                          .record = b->record ? b->record + first : NULL};
    return 1;
}
