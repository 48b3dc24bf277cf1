#include "config.h"
#include "train/evaluate.h"

#include "train/passes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void add_batch(const struct batch *b, const float *losses, const int32_t *argmax,
                      struct eval_sum *all, struct eval_sum *domain, long n_domains)
{
    for (long s = 0; s < b->S; s++) {
        struct eval_sum own = {.samples = 1};
        for (long t = b->cu[s]; t + 1 < b->cu[s + 1]; t++) {
            if (b->labels[t + 1] == LABEL_MASKED)
                continue;
            own.loss += losses[t];
            own.correct += argmax[t] == b->labels[t + 1];
            own.scored++;
        }
        own.answers = own.scored > 0;
        own.exact = own.answers && own.correct == own.scored;
        struct eval_sum *to[2] = {all, NULL};
        if (domain && b->domain[s] >= 0 && b->domain[s] < n_domains)
            to[1] = &domain[b->domain[s]];
        for (int i = 0; i < 2 && to[i]; i++) {
            to[i]->loss += own.loss;
            to[i]->scored += own.scored;
            to[i]->correct += own.correct;
            to[i]->samples++;
            to[i]->answers += own.answers;
            to[i]->exact += own.exact;
            clusters_add(&to[i]->losses, own.loss, (double)own.scored);
            clusters_add(&to[i]->hits, (double)own.correct, (double)own.scored);
        }
    }
}

/* losses and argmax [T] of a batch, in as many passes as the engine has room for. */
static int run_batch(struct engine *e, struct passes *passes, const struct batch *b, float *losses,
                     int32_t *argmax, struct routing *routing, struct pesc_error *err)
{
    struct batch part;
    long at;
    passes_begin(passes, b);
    while (passes_next(passes, &part, &at)) {
        struct engine_step s = {.losses = losses + at, .argmax = argmax + at};
        if (routing) {
            routing_batch(routing, &part);
            s.routed = routing_add;
            s.routed_ctx = routing;
        }
        TRY(engine_loss(e, &part, &s, err));
    }
    return 0;
}

int evaluate(struct engine *e, const struct batch_source *data, long n_batches,
             struct eval_sum *all, struct eval_sum *domain, long n_domains, struct routing *routing,
             struct pesc_error *err)
{
    int rc = -1;
    float *losses = malloc((size_t)data->max_tokens * sizeof *losses);
    int32_t *argmax = malloc((size_t)data->max_tokens * sizeof *argmax);
    struct passes passes = {0};
    memset(all, 0, sizeof *all);
    if (domain)
        memset(domain, 0, (size_t)n_domains * sizeof *domain);
    if (!losses || !argmax) {
        FAIL(err, MEMORY, "no memory to evaluate %ld tokens", data->max_tokens);
        goto done;
    }
    TRY_OR(passes_open(&passes, engine_max_tokens(e), data->max_samples, err), done);
    for (long i = 0; i < n_batches; i++) {
        struct batch b;
        TRY_OR(data->get(data->ctx, i, &b, err), done);
        TRY_OR(run_batch(e, &passes, &b, losses, argmax, routing, err), done);
        add_batch(&b, losses, argmax, all, domain, n_domains);
    }
    rc = 0;
done:
    passes_close(&passes);
    free(losses);
    free(argmax);
    return rc;
}

double eval_loss(const struct eval_sum *s)
{
    return s->scored ? s->loss / (double)s->scored : NAN;
}

double eval_accuracy(const struct eval_sum *s)
{
    return s->scored ? (double)s->correct / (double)s->scored : NAN;
}

double eval_loss_stderr(const struct eval_sum *s)
{
    return clusters_stderr(&s->losses);
}

double eval_stderr(const struct eval_sum *s)
{
    return clusters_stderr(&s->hits);
}

double eval_exact_match(const struct eval_sum *s)
{
    return s->answers ? (double)s->exact / (double)s->answers : NAN;
}

double eval_exact_stderr(const struct eval_sum *s)
{
    double p = eval_exact_match(s);
    return s->answers ? sqrt(p * (1 - p) / (double)s->answers) : NAN;
}
