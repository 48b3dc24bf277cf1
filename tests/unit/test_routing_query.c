/* Router statistics read back as matrices. */
#include "config.h"
#include "core/file.h"
#include "experiments/history.h"
#include "experiments/routing_query.h"
#include "tests/tap.h"

#include <unistd.h>

enum { E = 3 };
static const char UUID[] = "0123456789abcdef0123456789abcdef";

/* A value that says where it belongs: layer.expert, plus the step; domains and evaluations apart.
 */
static double value(int layer, int e, long step, int from)
{
    return layer + 0.1 * e + 0.001 * (double)step + 100 * from;
}

static void put(struct history *h, int layer, long step, const char *task, const char *domain,
                int from)
{
    double load[E], prob[E], first[E];
    for (int e = 0; e < E; e++) {
        load[e] = value(layer, e, step, from);
        prob[e] = -load[e];
        first[e] = e == 1 ? NAN : 1000 + load[e];
    }
    struct history_router m = {.layer = layer, .experts = E, .domain = domain};
    m.load = load, m.prob = prob, m.first = first;
    if (task)
        history_router_eval(h, step, task, &m);
    else
        history_router(h, step, &m);
}

static void fill(const char *path)
{
    struct pesc_error err = {0};
    struct history *h = NULL;
    struct history_run r = {.name = "one", .dir = "/one", .steps_planned = 10};
    r.model = (struct history_model){.fingerprint = "f0", .name = "tiny"};
    r.crafted = (struct history_crafted){.config_sha256 = "c0", .n_experts = E, .top_k = 2};
    if (!ok(history_open(path, &h, &err) == 0, "open %s", err.text))
        return;
    ok(history_run_start(h, UUID, &r, &err) == 0, "start %s", err.text);
    for (int l = 2; l <= 5; l += 3) {
        for (long s = 5; s <= 10; s += 5) {
            put(h, l, s, NULL, NULL, 0);
            put(h, l, s, NULL, "x", 1);
            if (s == 5)
                put(h, l, s, NULL, "y", 2);
        }
        put(h, l, 0, "held out", NULL, 3);
        put(h, l, 10, "held out", NULL, 3);
        put(h, l, 10, "held out", "z", 4);
        put(h, l, 8, "other", NULL, 5);
    }
    history_close(h);
    h = NULL;
    if (!ok(history_open(path, &h, &err) == 0, "again"))
        return;
    r.name = "dense";
    r.crafted.n_experts = 0;
    ok(history_run_start(h, "ffffffffffffffffffffffffffffffff", &r, &err) == 0, "a dense run");
    history_close(h);
}

/* from < 0: nothing is to be found. */
static void check(struct reader *r, const struct routing_ask *ask, int from, long long step,
                  const char *what)
{
    struct pesc_error err = {0};
    struct routing_map m;
    int good = routing_map_read(r, 1, ask, &m, &err) == 0, one = ask->layer >= 0;
    if (from < 0) {
        ok(good && m.n == 0 && m.step == -1, "%s: nothing %s", what, err.text);
    } else {
        good &= m.n == (one ? 1 : 2) && m.experts == E && m.step == step && m.top_k == 2 &&
                m.row[0] == (one ? ask->layer : 2) && (one || m.row[1] == 5);
        for (long i = 0; good && i < m.n; i++)
            for (int e = 0; e < E; e++)
                good &= m.value[i * E + e] == value((int)m.row[i], e, (long)step, from);
        ok(good, "%s: step %lld %s", what, m.step, err.text);
    }
    routing_map_free(&m);
}

static void test_maps(struct reader *r)
{
#define ASK(...) (&(struct routing_ask){.step = -1, .layer = -1, __VA_ARGS__})
    check(r, ASK(.what = NULL), 0, 10, "the last load");
    check(r, &(struct routing_ask){.step = 5, .layer = -1}, 0, 5, "of a step");
    check(r, &(struct routing_ask){.step = 5, .layer = 5}, 0, 5, "of one layer");
    check(r, &(struct routing_ask){.step = 6, .layer = -1}, -1, 0, "a step without a report");
    check(r, &(struct routing_ask){.step = -1, .layer = 3}, -1, 0, "a layer without experts");
    check(r, ASK(.domain = "x"), 1, 10, "a domain");
    check(r, ASK(.domain = "y"), 2, 5, "a domain that came to an end");
    check(r, ASK(.domain = "z"), -1, 0, "a domain of the evaluation alone");
    check(r, ASK(.task = "held out"), 3, 10, "an evaluation");
    check(r, &(struct routing_ask){.step = 0, .layer = -1, .task = "held out"}, 3, 0, "the first");
    check(r, &(struct routing_ask){.step = 10, .layer = 2, .task = "held out", .domain = "z"}, 4,
          10, "of a layer and domain");
    check(r, ASK(.task = "other"), 5, 8, "another");
    check(r, ASK(.task = "held"), -1, 0, "an evaluation that there was not");
    struct pesc_error err = {0};
    struct routing_map m;
    ok(routing_map_read(r, 1, ASK(.what = "prob"), &m, &err) == 0 && m.value[1] == -2.11,
       "probabilities");
    routing_map_free(&m);
    ok(routing_map_read(r, 1, ASK(.what = "first"), &m, &err) == 0 && m.value[0] == 1002.01 &&
           isnan(m.value[1]),
       "first choices; NULL is not a number");
    routing_map_free(&m);
    ok(routing_map_read(r, 2, ASK(.what = NULL), &m, &err) == 0 && m.n == 0,
       "a dense run has none");
    ok(routing_map_read(r, 1, ASK(.what = "load FROM run; --"), &m, &err) == -1 &&
           err.code == PESC_E_USAGE_VALUE,
       "another column is refused");
}

static void test_series(struct reader *r)
{
    struct pesc_error err = {0};
    struct routing_map m;
    struct routing_ask ask = {.step = -1, .layer = 5};
    ok(routing_series_read(r, 1, &ask, &m, &err) == 0 && m.n == 2 && m.row[0] == 5 &&
           m.row[1] == 10 && m.value[E + 2] == value(5, 2, 10, 0) && m.top_k == 2,
       "a layer over time %s", err.text);
    routing_map_free(&m);
    ask.domain = "y";
    ok(routing_series_read(r, 1, &ask, &m, &err) == 0 && m.n == 1 && m.row[0] == 5 &&
           m.value[0] == value(5, 0, 5, 2),
       "for a domain");
    routing_map_free(&m);
    ask = (struct routing_ask){.layer = 2, .task = "held out"};
    ok(routing_series_read(r, 1, &ask, &m, &err) == 0 && m.n == 2 && m.row[0] == 0 &&
           m.row[1] == 10 && m.value[E] == value(2, 0, 10, 3),
       "over evaluations");
    routing_map_free(&m);
}

static void test_names(struct reader *r)
{
    struct pesc_error err = {0};
    struct rows d;
    ok(routing_domains(r, 1, NULL, &d, &err) == 0 && d.n_rows == 2 &&
           !strcmp(cell_text(rows_at(&d, 0, 0)), "x") && !strcmp(cell_text(rows_at(&d, 1, 0)), "y"),
       "domains %s", err.text);
    rows_free(&d);
    ok(routing_domains(r, 1, "held out", &d, &err) == 0 && d.n_rows == 1 &&
           !strcmp(cell_text(rows_at(&d, 0, 0)), "z"),
       "of an evaluation");
    rows_free(&d);
    ok(routing_tasks(r, 1, &d, &err) == 0 && d.n_rows == 2 &&
           !strcmp(cell_text(rows_at(&d, 0, 0)), "held out"),
       "evaluations");
    rows_free(&d);
    const double a[] = {0.5, 0.5, 0}, b[] = {0, 0.25, 0.75}, c[] = {0.5, 0.5, NAN};
    ok(routing_moved(a, a, 3) == 0 && routing_moved(a, b, 3) == 0.75 &&
           isnan(routing_moved(a, c, 3)),
       "what is moved between distributions");
}

int main(void)
{
    char dir[] = "/tmp/pesc-routing-XXXXXX", path[PATH_CAP];
    struct pesc_error err = {0};
    struct reader *r = NULL;
    if (!mkdtemp(dir))
        return 99;
    snprintf(path, sizeof path, "%s/h.db", dir);
    fill(path);
    if (ok(reader_open(path, &r, &err) == 0, "reader %s", err.text)) {
        test_maps(r);
        test_series(r);
        test_names(r);
    }
    reader_close(r);
    ok(dir_remove_all(dir, &err) == 0, "nothing is left");
    return tap_done();
}
