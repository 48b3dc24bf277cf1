#include "config.h"
#include "train/routing_alarm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { DEAD, COLLAPSE, DOMAINS, KINDS };
struct route_layer {
    int bad[KINDS], told[KINDS];
};

int route_dead(double share, long n)
{
    return share * (double)n < 0.1;
}

/* Between even and as crowded as top_k lets it be: the entropy in a quarter of its range from
 * below, or the busiest expert in nearly every token's choice. */
static int collapsed(double most, double entropy, long n, long top_k)
{
    double N = (double)n, K = (double)top_k;
    if (n <= top_k)
        return 0;
    return entropy < log(K) + 0.25 * log(N / K) || (most * N - 1) / (N / K - 1) > 0.95;
}

struct route_shape route_shape(const double *share, long n, long top_k)
{
    struct route_shape s = {0};
    double sum = 0, most = 0, h = 0;
    for (long e = 0; e < n; e++)
        sum += share[e];
    if (!(sum > 0) || isinf(sum))
        return s;
    for (long e = 0; e < n; e++) {
        double p = share[e] / sum;
        most = fmax(most, p);
        h -= p > 0 ? p * log(p) : 0;
        s.dead += route_dead(p, n);
    }
    s.known = 1;
    s.max_over_mean = most * (double)n;
    s.entropy = n > 1 ? h / log((double)n) : 1;
    s.collapsed = collapsed(most, h, n, top_k > 0 ? top_k : 1);
    return s;
}

int route_alarms_open(struct route_alarms *a, long layers, long experts, long top_k,
                      struct pesc_error *err)
{
    *a = (struct route_alarms){layers, experts, top_k, NULL, NULL};
    a->layer = calloc((size_t)layers + 1, sizeof *a->layer);
    a->dead = calloc((size_t)(layers * experts) + 1, sizeof *a->dead);
    if (a->layer && a->dead)
        return 0;
    route_alarms_close(a);
    return FAIL(err, MEMORY, "no memory for alarms of routing");
}

void route_alarms_close(struct route_alarms *a)
{
    free(a->layer);
    free(a->dead);
    memset(a, 0, sizeof *a);
}

/* 1: it is time to tell. */
static int count(struct route_layer *l, enum kind k, int bad)
{
    l->bad[k] = bad ? l->bad[k] + 1 : 0;
    if (!bad)
        l->told[k] = 0;
    if (l->bad[k] < ROUTE_REPORTS || l->told[k])
        return 0;
    l->told[k] = 1;
    return 1;
}

static void warn(const struct train_sink *sink, const struct route_report *r, const char *code,
                 const char *text)
{
    char line[400];
    snprintf(line, sizeof line, "layer %d: %s in %d reports in a row", r->layer, text,
             ROUTE_REPORTS);
    sink->event(sink->ctx, r->step, "warn", code, line);
}

/* An expert counts that was dead in each of the reports, not one here and another there. */
static void look_dead(struct route_alarms *a, long n, const struct route_report *r,
                      const struct train_sink *sink)
{
    enum { NAMED = 8 };
    char text[320], names[120] = "";
    struct route_layer *l = &a->layer[n];
    long now = 0, lasting = 0;
    size_t at = 0;
    for (long e = 0; e < a->experts; e++) {
        int *dead = &a->dead[n * a->experts + e];
        *dead = route_dead(r->load[e], a->experts) ? *dead + 1 : 0;
        now += *dead > 0;
        if (*dead < ROUTE_REPORTS)
            continue;
        if (lasting++ < NAMED && at < sizeof names)
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%ld", at ? ", " : "", e);
    }
    if (now == 0)
        l->told[DEAD] = 0;
    if (lasting == 0 || l->told[DEAD])
        return;
    l->told[DEAD] = 1;
    snprintf(text, sizeof text, "%ld of %ld experts (%s%s) got under a tenth of an even share",
             lasting, a->experts, names, lasting > NAMED ? ", ..." : "");
    warn(sink, r, "W-ROUTE-DEAD", text);
}

static void look_collapse(struct route_alarms *a, long n, const struct route_report *r,
                          const struct route_shape *s, const struct train_sink *sink)
{
    char text[320];
    if (!count(&a->layer[n], COLLAPSE, s->collapsed))
        return;
    snprintf(
        text, sizeof text,
        "routing has collapsed: the busiest of %ld experts has %.2f times the mean, of at most "
        "%.2f, and the entropy is %.2f of an even one's,",
        a->experts, s->max_over_mean, (double)a->experts / (double)a->top_k, s->entropy);
    warn(sink, r, "W-ROUTE-COLLAPSE", text);
}

/* What has collapsed is the same for all domains: that is told already. */
static void look_domains(struct route_alarms *a, long n, const struct route_report *r,
                         const struct route_shape *s, const struct train_sink *sink)
{
    char text[320];
    int same = r->domains > 1 && r->expert >= 0 && !s->collapsed && a->experts > a->top_k &&
               r->least > (1 + 1 / (double)a->experts) / 2 && r->divergence < ROUTE_ALIKE;
    if (!count(&a->layer[n], DOMAINS, same))
        return;
    snprintf(text, sizeof text,
             "all %ld domains use expert %d first (%.0f %% of their tokens or more) and differ by "
             "%.4f nats",
             r->domains, r->expert, 100 * r->least, r->divergence);
    warn(sink, r, "W-ROUTE-DOMAINS", text);
}

void route_alarm(struct route_alarms *a, long n, const struct route_report *r,
                 const struct train_sink *sink)
{
    struct route_shape s = route_shape(r->load, a->experts, a->top_k);
    if (!sink->event || !s.known || r->step <= ROUTE_FRESH ||
        r->tokens * a->top_k < ROUTE_CHOICES * a->experts)
        return;
    look_dead(a, n, r, sink);
    look_collapse(a, n, r, &s, sink);
    look_domains(a, n, r, &s, sink);
}
