#include "config.h"
#include "eval/run_task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct task_figure share(const char *metric, long right, long n)
{
    double p = n ? (double)right / (double)n : NAN;
    return (struct task_figure){metric, p, n ? sqrt(p * (1 - p) / (double)n) : NAN,
                                interval_share(p, (double)n), n};
}

int task_figures(enum task_kind kind, const struct task_sum *s,
                 struct task_figure out[TASK_FIGURES])
{
    double loss = clusters_mean(&s->losses), e = clusters_stderr(&s->losses);
    switch (kind) {
    case SCORE_CHOICE:
        out[0] = share("accuracy", s->right, s->items);
        out[1] = share("accuracy_norm", s->right_norm, s->items);
        return 2;
    case SCORE_GENERATED:
        out[0] = share("exact_match", s->right, s->items);
        return 1;
    case SCORE_TEXT:
        break;
    }
    struct interval ci = interval_mean(loss, e);
    long n = (long)s->losses.n;
    out[0] = (struct task_figure){"loss", loss, e, ci, n};
    out[1] = (struct task_figure){"perplexity", exp(loss), NAN, interval_exp(ci), n};
    return 2;
}

long task_choice(const struct task_item *it, const struct score *s, int per_byte)
{
    long best = -1;
    double most = 0;
    for (long i = 0; i < it->n; i++) {
        double x = s[i].loglik / (per_byte ? (double)strlen(it->follows[i]) : 1);
        if (!isnan(x) && (best < 0 || x > most)) {
            best = i;
            most = x;
        }
    }
    return best;
}

int task_measure(const struct task *t, const struct task_how *h, long *scored, long *generated,
                 struct pesc_error *err)
{
    enum task_kind kind = task_kind_of(t->format);
    long room = h->answering.max_new_tokens;
    struct question q = {0};
    int rc = -1;
    *scored = *generated = 0;
    for (long i = 0; i < t->n; i++) {
        if (ask_item(&h->asking, kind, &t->items[i], room, &q, err) != 0)
            goto done;
        for (long k = 0; q.how != ASKED_TOO_LONG && k < q.n; k++) {
            long n = (long)q.v[k].n;
            if (kind == SCORE_GENERATED)
                *generated = n + room > *generated ? n + room : *generated;
            else
                *scored = n > *scored ? n : *scored;
        }
    }
    rc = 0;
done:
    question_free(&q);
    return rc;
}

/* Items whose sequences wait together. */
struct waiting {
    long *item; /* [n] */
    enum asked *how;
    long n, cap;
};

static int wait_for(struct waiting *w, long item, enum asked how, struct pesc_error *err)
{
    if (w->n == w->cap) {
        size_t cap = w->cap ? 2 * (size_t)w->cap : 64;
        long *grown = realloc(w->item, cap * sizeof *grown);
        w->item = grown ? grown : w->item;
        enum asked *more = realloc(w->how, cap * sizeof *more);
        w->how = more ? more : w->how;
        if (!grown || !more)
            return FAIL(err, MEMORY, "no memory for %zu items", cap);
        w->cap = (long)cap;
    }
    w->item[w->n] = item;
    w->how[w->n++] = how;
    return 0;
}

struct at_work {
    const struct task *t;
    const struct task_how *h;
    struct engine *e;
    struct task_sum *all, *domain;
    const struct task_told *told;
    struct scoring scoring;
    struct waiting waiting;
    struct question q;
};

static void add_to(struct task_sum *s, enum task_kind kind, const struct task_item *it,
                   const struct score *v, enum asked how)
{
    s->items++;
    s->cut += how == ASKED_CUT;
    if (kind == SCORE_TEXT) {
        clusters_add(&s->losses, -v->loglik, (double)v->tokens);
        return;
    }
    s->right += task_choice(it, v, 0) == it->right;
    s->right_norm += task_choice(it, v, 1) == it->right;
}

static void hear(const struct at_work *w, long i, const struct score *v, const char *answer)
{
    if (w->told && w->told->item)
        w->told->item(w->told->ctx, w->t, i, v, answer);
}

static int score_waiting(struct at_work *w, struct pesc_error *err)
{
    enum task_kind kind = task_kind_of(w->t->format);
    const struct score *v = w->scoring.score;
    if (w->waiting.n == 0)
        return 0;
    TRY(scoring_run(&w->scoring, w->e, err));
    for (long k = 0; k < w->waiting.n; k++) {
        const struct task_item *it = &w->t->items[w->waiting.item[k]];
        add_to(w->all, kind, it, v, w->waiting.how[k]);
        add_to(&w->domain[it->domain], kind, it, v, w->waiting.how[k]);
        hear(w, w->waiting.item[k], v, NULL);
        v += it->n;
    }
    scoring_clear(&w->scoring);
    w->waiting.n = 0;
    return 0;
}

static int queue_item(struct at_work *w, long i, struct pesc_error *err)
{
    for (long k = 0; k < w->q.n; k++)
        TRY(scoring_add(&w->scoring, w->q.v[k].v, (long)w->q.v[k].n, w->q.from[k], err));
    TRY(wait_for(&w->waiting, i, w->q.how, err));
    /* enough for passes that are full */
    return (long)w->scoring.ids.n < 8 * engine_max_tokens(w->e) ? 0 : score_waiting(w, err);
}

static int matches(const struct at_work *w, const struct task_item *it, const struct buf *said,
                   int *yes, struct pesc_error *err)
{
    struct buf got = {0}, want = {0};
    int rc = normal_apply(&w->h->normal, said->n ? said->p : "", said->n, &got, err);
    *yes = 0;
    for (long i = 0; i < it->n && rc == 0 && !*yes; i++) {
        rc = normal_apply(&w->h->normal, it->follows[i], strlen(it->follows[i]), &want, err);
        /* what the normalisers leave nothing of is no answer */
        *yes = rc == 0 && want.n > 0 && want.n == got.n && !memcmp(want.p, got.p, want.n);
    }
    buf_free(&got);
    buf_free(&want);
    return rc;
}

static int generate_item(struct at_work *w, long i, struct pesc_error *err)
{
    const struct task_item *it = &w->t->items[i];
    struct task_sum *to[2] = {w->all, &w->domain[it->domain]};
    struct buf said = {0};
    int yes = 0;
    int rc = answer_greedy(&w->h->answering, w->q.v[0].v, (long)w->q.v[0].n, &said, err);
    if (rc == 0)
        rc = matches(w, it, &said, &yes, err);
    if (rc == 0)
        rc = buf_put(&said, "", 1, err);
    for (int k = 0; k < 2 && rc == 0; k++) {
        to[k]->items++;
        to[k]->cut += w->q.how == ASKED_CUT;
        to[k]->right += yes;
    }
    if (rc == 0)
        hear(w, i, NULL, said.p);
    buf_free(&said);
    return rc;
}

static int run_items(struct at_work *w, struct pesc_error *err)
{
    enum task_kind kind = task_kind_of(w->t->format);
    for (long i = 0; i < w->t->n; i++) {
        const struct task_item *it = &w->t->items[i];
        TRY(ask_item(&w->h->asking, kind, it, w->h->answering.max_new_tokens, &w->q, err));
        if (w->q.how == ASKED_TOO_LONG) {
            w->all->too_long++;
            w->domain[it->domain].too_long++;
        } else if (kind == SCORE_GENERATED) {
            TRY(generate_item(w, i, err));
        } else {
            TRY(queue_item(w, i, err));
        }
    }
    return score_waiting(w, err);
}

int task_run(const struct task *t, const struct task_how *h, struct engine *e, struct task_sum *all,
             struct task_sum *domain, const struct task_told *told, struct pesc_error *err)
{
    struct at_work w = {.t = t, .h = h, .e = e, .all = all, .domain = domain, .told = told};
    memset(all, 0, sizeof *all);
    memset(domain, 0, (size_t)t->n_domains * sizeof *domain);
    int rc = run_items(&w, err);
    question_free(&w.q);
    scoring_free(&w.scoring);
    free(w.waiting.item);
    free(w.waiting.how);
    return rc;
}
