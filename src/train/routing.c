#include "config.h"
#include "train/routing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int routing_open(struct routing *r, const struct moe_config *moe, long layers, long n_domains,
                 long max_tokens, struct pesc_error *err)
{
    size_t L = (size_t)moe_layers(moe, layers), E = (size_t)moe->experts,
           N = (size_t)(n_domains ? n_domains : 1);
    int rc = -1;
    *r = (struct routing){.first = moe->first,
                          .layers = (long)L,
                          .experts = moe->experts,
                          .n_domains = (long)N,
                          .named = n_domains > 0,
                          .moe = moe};
    r->load = calloc(L * E, sizeof *r->load);
    r->prob = calloc(L * E, sizeof *r->prob);
    r->balance = calloc(L, sizeof *r->balance);
    r->top1 = calloc(L, sizeof *r->top1);
    r->tokens = calloc(L, sizeof *r->tokens);
    r->by_domain = calloc(L * (size_t)moe->top_k * N * E, sizeof *r->by_domain);
    r->domain_prob = calloc(L * N * E, sizeof *r->domain_prob);
    r->domain_top1 = calloc(L * N, sizeof *r->domain_top1);
    r->domain_tokens = calloc(N, sizeof *r->domain_tokens);
    r->group = calloc((size_t)max_tokens, sizeof *r->group);
    r->own = calloc(3 * E, sizeof *r->own);
    if (r->load && r->prob && r->balance && r->top1 && r->tokens && r->by_domain &&
        r->domain_prob && r->domain_top1 && r->domain_tokens && r->group && r->own)
        rc = route_alarms_open(&r->alarms, (long)L, r->experts, moe->top_k, err);
    else
        FAIL(err, MEMORY, "no memory for routing statistics");
    if (rc != 0)
        routing_close(r);
    return rc;
}

void routing_close(struct routing *r)
{
    free(r->load);
    free(r->prob);
    free(r->balance);
    free(r->top1);
    free(r->tokens);
    free(r->by_domain);
    free(r->domain_prob);
    free(r->domain_top1);
    free(r->domain_tokens);
    free(r->group);
    free(r->own);
    route_alarms_close(&r->alarms);
    memset(r, 0, sizeof *r);
}

void routing_batch(struct routing *r, const struct batch *b)
{
    for (long s = 0; s < b->S; s++) {
        int d = r->named ? b->domain[s] : 0;
        for (long t = b->cu[s]; t < b->cu[s + 1]; t++)
            r->group[t] = d;
        r->domain_tokens[d] += b->cu[s + 1] - b->cu[s];
    }
}

void routing_add(void *ctx, long layer, const struct moe_saved *s, long T)
{
    struct routing *r = ctx;
    struct moe_stats st;
    double *load = r->own, *prob = r->own + r->experts;
    layer -= r->first;
    moe_stats(&st, load, prob, s, r->moe, T);
    for (long e = 0; e < r->experts; e++) {
        r->load[layer * r->experts + e] += load[e] * (double)T;
        r->prob[layer * r->experts + e] += prob[e] * (double)T;
    }
    r->balance[layer] += st.balance * (double)T;
    r->top1[layer] += st.top1 * (double)T;
    r->tokens[layer] += T;
    r->step_balance += st.balance * (double)T;
    moe_count(r->by_domain + layer * r->moe->top_k * r->n_domains * r->experts, r->group,
              r->n_domains, s, r->moe, T);
    moe_sums(r->domain_prob + layer * r->n_domains * r->experts,
             r->domain_top1 + layer * r->n_domains, r->group, s, r->moe, T);
}

static double entropy(const double *load, long n)
{
    double sum = 0, h = 0;
    for (long i = 0; i < n; i++)
        sum += load[i];
    for (long i = 0; i < n; i++)
        if (load[i] > 0)
            h -= load[i] / sum * log(load[i] / sum);
    return h;
}

static long choices(const struct routing *r, long layer, long rank, long domain, long expert)
{
    layer -= r->first;
    return r
        ->by_domain[((layer * r->moe->top_k + rank) * r->n_domains + domain) * r->experts + expert];
}

double routing_share(const struct routing *r, long layer, long rank, long domain, long expert)
{
    long n = 0, tokens = 0;
    for (long k = rank < 0 ? 0 : rank; k < (rank < 0 ? r->moe->top_k : rank + 1); k++)
        for (long d = domain < 0 ? 0 : domain; d < (domain < 0 ? r->n_domains : domain + 1); d++) {
            n += choices(r, layer, k, d, expert);
            tokens += r->domain_tokens[d];
        }
    return tokens ? (double)n / (double)tokens : NAN;
}

double routing_divergence(const struct routing *r, long layer, long rank)
{
    double sum = 0;
    long n = 0;
    for (long d = 0; d < r->n_domains; d++)
        n += r->domain_tokens[d] > 0;
    for (long e = 0; e < r->experts; e++) {
        double mean = 0;
        for (long d = 0; d < r->n_domains; d++)
            if (r->domain_tokens[d])
                mean += routing_share(r, layer, rank, d, e) / (double)n;
        for (long d = 0; d < r->n_domains; d++) {
            double p = r->domain_tokens[d] ? routing_share(r, layer, rank, d, e) : 0;
            sum += p > 0 ? p * log(p / mean) / (double)n : 0;
        }
    }
    return n ? sum : NAN;
}

double routing_max_load(const struct routing *r, long layer, long rank)
{
    double most = 0;
    for (long e = 0; e < r->experts; e++)
        most = fmax(most, routing_share(r, layer, rank, -1, e));
    return most * (double)r->experts;
}

static void tell(const struct train_sink *sink, const struct router_metrics *m)
{
    void (*to)(void *, const struct router_metrics *) = m->task     ? sink->router_eval
                                                        : m->domain ? sink->router_domain
                                                                    : sink->router;
    if (to)
        to(sink->ctx, m);
}

/* Of the n-th layer: what report has gathered of all tokens, d -1, or of a domain. Into own. */
static void measure(const struct routing *r, long n, long d, struct router_metrics *m)
{
    long E = r->experts, l = r->first + n;
    double *load = r->own, *prob = load + E, *first = prob + E;
    const double *sum = d < 0 ? r->prob + n * E : r->domain_prob + (n * r->n_domains + d) * E;
    double top1 = d < 0 ? r->top1[n] : r->domain_top1[n * r->n_domains + d];
    m->tokens = d < 0 ? r->tokens[n] : r->domain_tokens[d];
    double tokens = (double)m->tokens;
    for (long e = 0; e < E; e++) {
        load[e] = d < 0 ? r->load[n * E + e] / (tokens * (double)r->moe->top_k)
                        : routing_share(r, l, -1, d, e);
        prob[e] = sum[e] / tokens;
        first[e] = routing_share(r, l, 0, d, e);
    }
    m->layer = (int)l;
    m->experts = E;
    m->balance = d < 0 ? r->balance[n] / tokens : NAN;
    m->entropy = entropy(load, E);
    m->top1 = top1 / tokens;
    m->load = load;
    m->prob = prob;
    m->first = first;
}

/* What the domains with tokens enough have in common, for the alarms. */
static void compare_domains(const struct routing *r, long l, struct route_report *to)
{
    to->expert = -1;
    to->least = 1;
    to->divergence = routing_divergence(r, l, 0);
    for (long d = 0; d < (r->named ? r->n_domains : 0); d++) {
        long best = 0;
        if (r->domain_tokens[d] < ROUTE_DOMAIN_TOKENS)
            continue;
        for (long e = 1; e < r->experts; e++)
            if (routing_share(r, l, 0, d, e) > routing_share(r, l, 0, d, best))
                best = e;
        to->expert = to->domains++ == 0 || best == to->expert ? (int)best : -2;
        to->least = fmin(to->least, routing_share(r, l, 0, d, best));
    }
}

static void alarm_of(struct routing *r, long n, long step, const struct train_sink *sink)
{
    struct route_report now = {.step = step, .layer = (int)(r->first + n), .load = r->own};
    struct router_metrics m;
    measure(r, n, -1, &m);
    now.tokens = m.tokens;
    compare_domains(r, now.layer, &now);
    route_alarm(&r->alarms, n, &now, sink);
}

static void start_anew(struct routing *r)
{
    size_t L = (size_t)r->layers, E = (size_t)r->experts, N = (size_t)r->n_domains;
    memset(r->load, 0, L * E * sizeof *r->load);
    memset(r->prob, 0, L * E * sizeof *r->prob);
    memset(r->balance, 0, L * sizeof *r->balance);
    memset(r->top1, 0, L * sizeof *r->top1);
    memset(r->tokens, 0, L * sizeof *r->tokens);
    memset(r->by_domain, 0, L * (size_t)r->moe->top_k * N * E * sizeof *r->by_domain);
    memset(r->domain_prob, 0, L * N * E * sizeof *r->domain_prob);
    memset(r->domain_top1, 0, L * N * sizeof *r->domain_top1);
    memset(r->domain_tokens, 0, N * sizeof *r->domain_tokens);
}

void routing_report(struct routing *r, long step, const char *task, const char *const *domains,
                    const struct train_sink *sink)
{
    for (long n = 0; n < r->layers; n++) {
        if (r->tokens[n] == 0)
            continue;
        for (long d = -1; d < (r->named ? r->n_domains : 0); d++) {
            struct router_metrics m = {.step = step, .task = task};
            if (d >= 0 && r->domain_tokens[d] == 0)
                continue;
            m.domain = d < 0 ? NULL : domains[d];
            measure(r, n, d, &m);
            tell(sink, &m);
        }
        if (!task)
            alarm_of(r, n, step, sink);
    }
    start_anew(r);
}
