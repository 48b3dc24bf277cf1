/* Warnings about routers: fabricated choices that raise them, and others that do not. */
#include "config.h"
#include "tests/tap.h"
#include "train/routing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { E = 8, K = 2, L = 2, D = 3, MOST = 32 };
static const char *const names[D] = {"a", "b", "c"};

struct heard {
    int n;
    char code[MOST][24], text[MOST][420];
    long step[MOST];
};

static void on_event(void *ctx, long step, const char *level, const char *code, const char *text)
{
    struct heard *h = ctx;
    if (h->n == MOST || strcmp(level, "warn"))
        return;
    snprintf(h->code[h->n], sizeof h->code[0], "%s", code);
    snprintf(h->text[h->n], sizeof h->text[0], "%s", text);
    h->step[h->n++] = step;
}

/* What a report says of one layer: in each domain so many of a hundred tokens choose so. */
struct choices {
    long first[D][E], second[D][E];
};
#define EVEN                                                                                       \
    {                                                                                              \
        13, 12, 13, 12, 13, 12, 13, 12                                                             \
    }
#define NEVE                                                                                       \
    {                                                                                              \
        12, 13, 12, 13, 12, 13, 12, 13                                                             \
    }
#define ALL(...)                                                                                   \
    {                                                                                              \
        __VA_ARGS__, __VA_ARGS__, __VA_ARGS__                                                      \
    }
static const struct choices even = {ALL(EVEN), ALL(NEVE)};
/* expert 3 has 4 of 600 choices, expert 6 none */
#define NO_6                                                                                       \
    {                                                                                              \
        14, 14, 14, 2, 14, 28, 0, 14                                                               \
    }
#define OR_3                                                                                       \
    {                                                                                              \
        16, 14, 14, 0, 14, 28, 0, 14                                                               \
    }
static const struct choices dead = {{NO_6, NO_6, OR_3}, ALL(OR_3)};
#define NO_0                                                                                       \
    {                                                                                              \
        0, 14, 14, 14, 14, 30, 0, 14                                                               \
    }
static const struct choices other_dead = {ALL(NO_0), ALL(NO_0)};
/* all go to 2 and 5 */
static const struct choices narrow = {ALL({[2] = 99, [5] = 1}), ALL({[5] = 98, [2] = 1, [7] = 1})};
/* everyone has 4, and then any */
#define THEN                                                                                       \
    {                                                                                              \
        15, 14, 14, 14, 0, 14, 15, 14                                                              \
    }
static const struct choices busiest = {ALL({[4] = 100}), ALL(THEN)};
/* most begin with 1 in every domain, though half of the choices are spread */
#define MOSTLY_1                                                                                   \
    {                                                                                              \
        6, 64, 5, 5, 5, 5, 5, 5                                                                    \
    }
#define NEXT_1                                                                                     \
    {                                                                                              \
        14, 12, 13, 13, 12, 12, 12, 12                                                             \
    }
static const struct choices same = {ALL(MOSTLY_1), ALL(NEXT_1)};
#define MOSTLY_7                                                                                   \
    {                                                                                              \
        5, 6, 5, 5, 5, 5, 5, 64                                                                    \
    }
static const struct choices apart = {{MOSTLY_1, MOSTLY_7, MOSTLY_1}, ALL(NEXT_1)};
/* the same favourite, but with far less than half */
#define LEANING                                                                                    \
    {                                                                                              \
        12, 30, 10, 10, 10, 9, 10, 9                                                               \
    }
static const struct choices leaning = {ALL(LEANING), ALL(NEVE)};
/* the same favourite, other second ones: 0.03 nats apart */
#define WITH_0                                                                                     \
    {                                                                                              \
        34, 61, 0, 1, 1, 1, 1, 1                                                                   \
    }
#define WITH_2                                                                                     \
    {                                                                                              \
        10, 61, 24, 1, 1, 1, 1, 1                                                                  \
    }
static const struct choices varied = {{WITH_0, WITH_2, WITH_0}, ALL(EVEN)};

static struct moe_config moe = {.experts = E, .top_k = K, .dim = 1, .scaling = 1};
static long tokens_are; /* not 0: what a report's layer is said to have */

/* One report at step: layer 0 as c says, layer 1 even; tokens of a hundred count for so many. */
static void report(struct routing *r, struct heard *h, long step, const struct choices *c,
                   long times)
{
    struct train_sink sink = {.ctx = h, .event = on_event};
    for (long l = 0; l < L; l++) {
        const struct choices *x = l ? &even : c;
        for (long d = 0; d < D; d++) {
            r->domain_tokens[d] = 100 * times;
            for (long e = 0; e < E; e++) {
                long at = l * K * D * E + d * E + e;
                r->by_domain[at] = x->first[d][e] * times;
                r->by_domain[at + D * E] = x->second[d][e] * times;
                r->load[l * E + e] += (double)((x->first[d][e] + x->second[d][e]) * times);
            }
        }
        r->tokens[l] = tokens_are ? tokens_are : D * 100 * times;
    }
    routing_report(r, step, NULL, names, &sink);
}

static void begin(struct routing *r, struct heard *h)
{
    struct pesc_error err = {0};
    h->n = 0;
    if (routing_open(r, &moe, L, D, 1, &err) != 0)
        exit(99);
}

/* Reports every 10 steps from 30 on. */
static int run(struct heard *h, const struct choices *const *list)
{
    struct routing r;
    begin(&r, h);
    for (long i = 0; list[i]; i++)
        report(&r, h, 30 + 10 * i, list[i], 3);
    routing_close(&r);
    return h->n;
}

#define RUN(h, ...) run(h, (const struct choices *const[]){__VA_ARGS__, NULL})

static void test_raised(void)
{
    struct heard h;
    ok(RUN(&h, &even, &even, &even, &even, &even, &even) == 0, "even loads are quiet");
    ok(RUN(&h, &dead, &dead, &dead) == 1 && !strcmp(h.code[0], "W-ROUTE-DEAD") && h.step[0] == 50 &&
           strstr(h.text[0], "layer 0: 2 of 8 experts (3, 6) got under a tenth"),
       "dead experts, at the third report");
    diag("%s", h.text[0]);
    ok(RUN(&h, &narrow, &narrow, &narrow) == 2 && !strcmp(h.code[0], "W-ROUTE-DEAD") &&
           !strcmp(h.code[1], "W-ROUTE-COLLAPSE") && strstr(h.text[1], "layer 0: routing has coll"),
       "a collapse to as many experts as a token has");
    diag("%s", h.text[1]);
    ok(RUN(&h, &busiest, &busiest, &busiest) == 1 && !strcmp(h.code[0], "W-ROUTE-COLLAPSE") &&
           strstr(h.text[0], "4.00 times the mean, of at most 4.00"),
       "an expert in every token's choice");
    ok(RUN(&h, &same, &same, &same) == 1 && !strcmp(h.code[0], "W-ROUTE-DOMAINS") &&
           strstr(h.text[0], "layer 0: all 3 domains use expert 1 first (64 % of their tokens"),
       "domains that all use the same expert");
    diag("%s", h.text[0]);
}

static void test_not_raised(void)
{
    struct heard h;
    ok(RUN(&h, &dead, &dead, &even, &dead, &dead) == 0, "two reports in a row are not three");
    ok(RUN(&h, &dead, &dead, &other_dead) == 1 && strstr(h.text[0], "1 of 8 experts (6)"),
       "the same expert in each of them");
    ok(RUN(&h, &apart, &apart, &apart, &apart) == 0, "domains with experts of their own");
    ok(RUN(&h, &leaning, &leaning, &leaning, &leaning) == 0, "a favourite of less than half");
    ok(RUN(&h, &varied, &varied, &varied, &varied) == 0, "a favourite among different others");
}

static void test_once(void)
{
    struct heard h;
    ok(RUN(&h, &dead, &dead, &dead, &dead, &dead, &dead, &dead) == 1, "told once, while it lasts");
    ok(RUN(&h, &dead, &dead, &dead, &even, &dead, &dead, &dead) == 2 && h.step[1] == 90,
       "and again after it was over");
    ok(RUN(&h, &same, &same, &same, &same, &apart, &same, &same, &same) == 2 && h.step[1] == 100,
       "so are domains");
    ok(RUN(&h, &busiest, &busiest, &busiest, &busiest, &even, &busiest, &busiest, &busiest) == 2 &&
           h.step[1] == 100,
       "and a collapse");
}

static void test_waits(void)
{
    struct routing r;
    struct heard h;
    begin(&r, &h);
    for (long step = 1; step <= 20; step++)
        report(&r, &h, step, &dead, 3);
    report(&r, &h, 21, &dead, 3);
    report(&r, &h, 22, &dead, 3);
    ok(h.n == 0, "the first 20 steps do not count");
    report(&r, &h, 23, &dead, 3);
    ok(h.n == 1, "those behind them do");
    routing_close(&r);
    begin(&r, &h);
    for (long step = 30; step < 40; step++)
        report(&r, &h, step, &dead, step % 2 ? 3 : 0);
    ok(h.n == 1 && h.step[0] == 35, "a report without tokens counts neither way");
    routing_close(&r);
    for (int few = 0; few < 2; few++) {
        begin(&r, &h);
        tokens_are = 256 - few;
        for (long step = 30; step < 40; step++)
            report(&r, &h, step, &dead, 1);
        ok(h.n == 1 - few, "%ld tokens for %d experts, of which each has %d", tokens_are, E, K);
        tokens_are = 0;
        routing_close(&r);
    }
    begin(&r, &h);
    for (long step = 30; step < 60; step++) {
        struct train_sink sink = {.ctx = &h, .event = on_event};
        r.load[0] = 600, r.tokens[0] = 300;
        routing_report(&r, step, "held out", names, &sink);
    }
    ok(h.n == 0, "evaluations raise nothing");
    routing_close(&r);
}

static void test_shape(void)
{
    static const double flat[] = {2, 2, 2, 2}, one[] = {1, 0, 0, 0}, two[] = {0.5, 0.5, 0, 0},
                        none[] = {0, 0, 0, 0}, nan_in[] = {0.5, NAN, 0, 0},
                        third[] = {0.5, 0.3, 0.18, 0.02};
    struct route_shape s = route_shape(flat, 4, 2);
    ok(s.known && s.max_over_mean == 1 && s.entropy == 1 && s.dead == 0 && !s.collapsed, "even");
    s = route_shape(one, 4, 1);
    ok(s.max_over_mean == 4 && s.entropy == 0 && s.dead == 3 && s.collapsed, "one has it all");
    s = route_shape(two, 4, 2);
    ok(s.max_over_mean == 2 && s.entropy == 0.5 && s.dead == 2 && s.collapsed, "as K allows");
    ok(!route_shape(two, 4, 1).collapsed && !route_shape(two, 2, 2).collapsed,
       "half of what is possible is no collapse, nor all experts for all");
    ok(!route_shape(none, 4, 2).known && !route_shape(nan_in, 4, 2).known, "nothing to tell");
    s = route_shape(third, 4, 1);
    double h = -(0.5 * log(0.5) + 0.3 * log(0.3) + 0.18 * log(0.18) + 0.02 * log(0.02));
    ok(fabs(s.entropy - h / log(4)) < 1e-12 && s.max_over_mean == 2 && s.dead == 1 && !s.collapsed,
       "entropy, maximum and a dead one");
}

int main(void)
{
    test_raised();
    test_not_raised();
    test_once();
    test_waits();
    test_shape();
    return tap_done();
}
