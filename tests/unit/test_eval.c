/* Scores of items against sums over all logits, in double precision; greedy answers against the
 * most probable token of a pass over everything so far; what is cut and what is too long. */
#include "config.h"
#include "tests/unit/fake_tokenizer.h"
#include "tests/unit/gen.h"
#include "tests/unit/small_model.h"

#include "eval/run_task.h"

enum { POSITIONS = 96, ROOM = 100 };
static const struct moe_config pesc = {.experts = 5, .top_k = 2, .dim = 6, .scaling = 0.75};
static const struct tokenizer tok = {.bos = FAKE_BOS, .eos = FAKE_EOS, .adds_bos = 1};

/* Log-likelihood of ids[from..n-1] after what is before them. */
static double by_hand(struct model *m, const int32_t *ids, long n, long from, int *greedy)
{
    long cu[2] = {0, n}, record = 0, V = m->c.vocab_size;
    int domain = 0;
    const struct batch b = {n, 1, ids, ids, cu, &domain, &record};
    float *logits = small_logits(m, &b);
    double sum = 0;
    *greedy = 1;
    for (long t = from; t < n; t++) {
        const float *l = logits + (t - 1) * V;
        double z = 0;
        for (long v = 0; v < V; v++) {
            z += exp((double)l[v]);
            *greedy &= l[v] <= l[ids[t]];
        }
        sum += (double)l[ids[t]] - log(z);
    }
    free(logits);
    return sum;
}

static long to_ids(const char *text, int bos, int eos, int32_t *ids)
{
    long n = 0;
    if (bos)
        ids[n++] = FAKE_BOS;
    for (; *text; text++)
        ids[n++] = FAKE_BYTE + (unsigned char)*text;
    if (eos)
        ids[n++] = FAKE_EOS;
    return n;
}

static struct model *small(void)
{
    return small_open(gen_path("m"), &SMALL(.vocab = FAKE_SIZE, .positions = POSITIONS), &pesc,
                      TRAIN_NOTHING, COMPUTE_F32);
}

static struct task *read_task(const char *text)
{
    struct pesc_error err = {0};
    const struct task_options any = {.format = TASK_FORMAT_COUNT};
    struct task *t;
    gen_write(gen_path("t.jsonl"), text, strlen(text));
    must_do(task_open(gen_path("t.jsonl"), &any, NULL, &t, &err), &err);
    return t;
}

static struct task_how how(long context)
{
    return (struct task_how){.asking = {.t = &tok, .context = context, .vocab = FAKE_SIZE},
                             .answering = {.t = &tok}};
}

struct listener {
    long n, wrong;
    struct model *m;
    double loss;
    long tokens;
    char said[4][64];
};

/* What plain text makes of an item's choices: prompt, a space unless there is white space, text. */
static void on_choice(void *ctx, const struct task *t, long i, const struct score *s,
                      const char *answer)
{
    struct listener *h = ctx;
    const struct task_item *it = &t->items[i];
    (void)answer;
    for (long k = 0; k < it->n; k++) {
        int32_t ids[ROOM];
        char text[ROOM];
        size_t p = strlen(it->plain);
        int greedy, open = !strchr(" \n", it->plain[p - 1]),
                    joint = open && it->follows[k][0] != '\n';
        snprintf(text, sizeof text, "%s%s%s", it->plain, joint ? " " : "", it->follows[k]);
        long n = to_ids(text, 1, 0, ids), m = (long)strlen(it->follows[k]);
        m += joint || !open; /* the white space is scored with what follows */
        double want = by_hand(h->m, ids, n, n - m, &greedy);
        h->wrong += fabs(s[k].loglik - want) > 1e-4 * fabs(want) || s[k].tokens != m ||
                    s[k].greedy != greedy;
    }
    h->n++;
}

static void test_choices(void)
{
    struct pesc_error err = {0};
    struct model *m = small();
    struct task *t =
        read_task("{\"question\":\"a?\",\"choices\":[\"yes\",\"no\",\"perhaps so\"],\"answer\":2,"
                  "\"domain\":\"x\"}\n"
                  "{\"context\":\"the "
                  "end\\n\",\"choices\":[\"q\",\"rst\"],\"answer\":\"q\",\"domain\":\"y\"}\n"
                  "{\"context\":\"of\",\"choices\":[\"\\nu\",\"vwx\",\"z\",\"zz\"],\"answer\":1,"
                  "\"domain\":\"y\"}\n");
    /* Room for two sequences: passes that begin within an item. */
    for (long room = 40; room <= 400; room += 360) {
        struct engine *e;
        struct task_sum all, domain[2];
        struct listener h = {.m = m};
        struct task_how w = how(POSITIONS);
        const struct task_told told = {on_choice, &h};
        long scored, generated;
        must_do(engine_open(m, room, room, 0, NULL, &e, &err), &err);
        must_do(task_measure(t, &w, &scored, &generated, &err), &err);
        must_do(task_run(t, &w, e, &all, domain, &told, &err), &err);
        ok(h.n == 3 && h.wrong == 0, "choices' log-likelihoods, %ld tokens at a time", room);
        ok(scored == 1 + (long)strlen("Question: a?\nAnswer: perhaps so") && generated == 0,
           "the longest is known beforehand");
        ok(all.items == 3 && domain[0].items == 1 && domain[1].items == 2 &&
               all.right == domain[0].right + domain[1].right &&
               all.right_norm == domain[0].right_norm + domain[1].right_norm && all.cut == 0,
           "sums by domain");
        engine_close(e);
    }
    task_close(t);
    model_close(m);
}

static void test_which(void)
{
    static const char *const texts[] = {"a", "bbbb", "cccc"};
    const struct task_item it = {.follows = texts, .n = 3};
    const struct score s[3] = {{.loglik = -2}, {.loglik = -4}, {.loglik = -4}};
    const struct score bad[3] = {{.loglik = NAN}, {.loglik = -4}, {.loglik = -INFINITY}};
    const struct score none[3] = {{.loglik = NAN}, {.loglik = NAN}, {.loglik = NAN}};
    ok(task_choice(&it, s, 0) == 0, "the largest sum");
    ok(task_choice(&it, s, 1) == 1, "the largest per byte, the first of equals");
    ok(task_choice(&it, bad, 0) == 1 && task_choice(&it, none, 0) == -1, "NaN is never chosen");
}

static void on_text(void *ctx, const struct task *t, long i, const struct score *s,
                    const char *answer)
{
    struct listener *h = ctx;
    int32_t ids[ROOM];
    int greedy;
    (void)answer;
    long n = to_ids(t->items[i].follows[0], 1, 1, ids);
    n = n > POSITIONS / 4 ? POSITIONS / 4 : n;
    double want = by_hand(h->m, ids, n, 1, &greedy);
    h->wrong += fabs(s->loglik - want) > 1e-4 * fabs(want) || s->tokens != n - 1;
    h->loss -= want;
    h->tokens += n - 1;
    h->n++;
}

static void test_texts(void)
{
    struct pesc_error err = {0};
    struct model *m = small();
    struct task *t = read_task("{\"text\":\"abc\"}\n{\"text\":\"a longer one\"}\n"
                               "{\"text\":\"one that is longer than the context has room for\"}\n");
    struct engine *e;
    struct task_sum all, domain[1];
    struct listener h = {.m = m};
    struct task_how w = how(POSITIONS / 4);
    const struct task_told told = {on_text, &h};
    struct task_figure f[TASK_FIGURES];
    must_do(engine_open(m, POSITIONS, POSITIONS, 0, NULL, &e, &err), &err);
    must_do(task_run(t, &w, e, &all, domain, &told, &err), &err);
    ok(h.n == 3 && h.wrong == 0 && all.cut == 1 && all.too_long == 0,
       "texts with BOS and EOS; one loses its end");
    int n = task_figures(SCORE_TEXT, &all, f);
    ok(n == 2 && !strcmp(f[0].metric, "loss") && f[0].n == h.tokens &&
           fabs(f[0].value - h.loss / (double)h.tokens) < 1e-4 &&
           fabs(f[1].value - exp(f[0].value)) < 1e-9 * f[1].value &&
           fabs(f[1].ci.hi - exp(f[0].ci.hi)) < 1e-9 * f[1].ci.hi && f[0].ci.lo < f[0].value &&
           fabs(f[0].ci.hi - f[0].value - 1.959964 * f[0].stderr_) < 1e-6,
       "loss and perplexity, with intervals");
    engine_close(e);
    task_close(t);
    model_close(m);
}

static void on_answer(void *ctx, const struct task *t, long i, const struct score *s,
                      const char *answer)
{
    struct listener *h = ctx;
    (void)t;
    (void)s;
    snprintf(h->said[i], sizeof h->said[i], "%s", answer);
    h->n++;
}

/* The most probable tokens one after the other, each by a pass over all before it. */
static void greedy_by_hand(struct model *m, const char *prompt, long n, char *out)
{
    int32_t ids[ROOM];
    long k = to_ids(prompt, 1, 0, ids), V = m->c.vocab_size;
    for (long i = 0; i < n; i++) {
        long cu[2] = {0, k}, record = 0, best = 0;
        int domain = 0;
        const struct batch b = {k, 1, ids, ids, cu, &domain, &record};
        float *logits = small_logits(m, &b);
        for (long v = 1; v < V; v++)
            if (logits[(k - 1) * V + v] > logits[(k - 1) * V + best])
                best = v;
        free(logits);
        if (best == FAKE_EOS)
            break;
        ids[k++] = (int32_t)best;
        if (best >= FAKE_BYTE)
            *out++ = (char)(best - FAKE_BYTE);
    }
    *out = 0;
}

static void test_answers(void)
{
    struct pesc_error err = {0};
    struct model *m = small();
    struct task *t = read_task("{\"prompt\":\"abc\",\"answer\":\"x\"}\n"
                               "{\"prompt\":\"another one\",\"answer\":\"y\"}\n"
                               "{\"prompt\":\"123\",\"answers\":[\"p\",\"q\"]}\n");
    char want[3][ROOM];
    struct task_sum all, domain[1];
    struct listener h = {.m = m};
    struct task_how w = how(POSITIONS);
    const struct task_told told = {on_answer, &h};
    w.answering.m = m;
    w.answering.max_new_tokens = 10;
    must_do(decoder_open(m, POSITIONS, &w.answering.decoder, &err), &err);
    must_do(task_run(t, &w, NULL, &all, domain, &told, &err), &err);
    int same = 1, some = 0;
    for (int i = 0; i < 3; i++) {
        char got[ROOM];
        greedy_by_hand(m, t->items[i].plain, 10, want[i]);
        snprintf(got, sizeof got, "%s", h.said[i]);
        same &= !strcmp(got, want[i]);
        some |= strlen(got) > 3;
    }
    ok(same && some && h.n == 3 && all.items == 3 && all.right == 0,
       "greedy answers, each from an empty cache");
    /* what it says is right, once two signs of it are the stop */
    char stop[3] = {want[1][2], want[1][3], 0}, right[3] = {want[1][0], want[1][1], 0};
    const char *stops[] = {"never there", stop}, *answers[] = {"no", right};
    t->items[1].follows = answers;
    t->items[1].n = 2;
    w.answering.stops = stops;
    w.answering.n_stops = 2;
    must_do(task_run(t, &w, NULL, &all, domain, &told, &err), &err);
    struct task_figure f[TASK_FIGURES];
    ok(all.right == 1 && !strcmp(h.said[1], right) && task_figures(SCORE_GENERATED, &all, f) == 1 &&
           fabs(f[0].value - 1.0 / 3) < 1e-12 && f[0].n == 3,
       "a stop ends an answer, and another right one counts");
    /* an answer of nothing is never right */
    must_do(normal_parse("number", "x", &w.normal, &err), &err);
    answers[0] = "no digits";
    t->items[1].n = 1;
    must_do(task_run(t, &w, NULL, &all, domain, NULL, &err), &err);
    ok(all.right == 0, "what normalisers leave nothing of matches nothing");
    decoder_close(w.answering.decoder);
    task_close(t);
    model_close(m);
}

static void test_cut(void)
{
    struct pesc_error err = {0};
    struct question q = {0};
    static const char *const texts[] = {"yes", "perhaps"};
    const struct task_item it = {.plain = "0123456789", .asked = "", .follows = texts, .n = 2};
    struct asking a = {.t = &tok, .context = 15, .vocab = FAKE_SIZE};
    int32_t want[ROOM];
    /* <s>0123456789 perhaps: 19 tokens */
    must_do(ask_item(&a, SCORE_CHOICE, &it, 0, &q, &err), &err);
    long n = to_ids("456789 yes", 1, 0, want);
    ok(q.how == ASKED_CUT && q.n == 2 && (long)q.v[0].n == n && q.from[0] == 7 &&
           !memcmp(q.v[0].v, want, (size_t)n * sizeof *want) && q.v[1].n == 15 && q.from[1] == 7,
       "all choices lose the same of the prompt, but not BOS");
    a.context = 19;
    must_do(ask_item(&a, SCORE_CHOICE, &it, 0, &q, &err), &err);
    ok(q.how == ASKED_WHOLE && q.v[1].n == 19 && q.from[1] == 11, "what fits is whole");
    a.context = 10;
    must_do(ask_item(&a, SCORE_CHOICE, &it, 0, &q, &err), &err);
    ok(q.how == ASKED_CUT && q.v[1].n == 10 && q.from[1] == 2, "one token of the prompt is enough");
    a.context = 9;
    must_do(ask_item(&a, SCORE_CHOICE, &it, 0, &q, &err), &err);
    ok(q.how == ASKED_TOO_LONG, "none is too few");
    a.context = 8;
    must_do(ask_item(&a, SCORE_GENERATED, &it, 4, &q, &err), &err);
    n = to_ids("789", 1, 0, want);
    ok(q.how == ASKED_CUT && q.n == 1 && (long)q.v[0].n == n &&
           !memcmp(q.v[0].v, want, (size_t)n * sizeof *want),
       "an answer has its room");
    a.vocab = 50;
    ok(ask_item(&a, SCORE_CHOICE, &it, 0, &q, &err) == -1 && err.code == PESC_E_TOK_ID,
       "ids that the model has not: %s", err.text);
    question_free(&q);
    /* counted */
    memset(&err, 0, sizeof err);
    struct model *m = small();
    struct engine *e;
    struct task *t =
        read_task("{\"context\":\"abcdefgh\",\"choices\":[\"x\",\"y\"],\"answer\":0}\n"
                  "{\"context\":\"a\",\"choices\":[\"x\",\"y\"],\"answer\":0}\n"
                  "{\"context\":\"a\",\"choices\":[\"xyzxyzx\",\"y\"],\"answer\":0}\n");
    struct task_sum all, domain[1];
    struct task_how w = how(8);
    must_do(engine_open(m, 64, 64, 0, NULL, &e, &err), &err);
    must_do(task_run(t, &w, e, &all, domain, NULL, &err), &err);
    ok(all.items == 2 && all.cut == 1 && all.too_long == 1 && domain[0].too_long == 1,
       "items that are cut or too long are counted");
    engine_close(e);
    task_close(t);
    model_close(m);
}

/* In a template: from behind the open prompt, without the end of the turn. */
static void test_template(void)
{
    struct pesc_error err = {0};
    struct question q = {0};
    static const char *const texts[] = {"yes", "no"};
    const struct task_item it = {.plain = "p", .asked = "is it?", .follows = texts, .n = 2};
    static const char *const names[] = {"chatml", "camelidae", "qwen3", "smollm2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct asking a = {
            .t = &tok, .template = template_find(names[i]), .context = 4096, .vocab = FAKE_SIZE};
        struct ids open[1] = {{0}};
        must_do(ask_item(&a, SCORE_GENERATED, &it, 1, &q, &err), &err);
        for (size_t k = 0; k < q.v[0].n; k++)
            must_do(ids_push(open, q.v[0].v[k], &err), &err);
        must_do(ask_item(&a, SCORE_CHOICE, &it, 0, &q, &err), &err);
        int good = 1;
        for (int k = 0; k < 2; k++) {
            size_t from = (size_t)q.from[k];
            good &= from == open->n && !memcmp(q.v[k].v, open->v, from * sizeof *open->v);
            /* then the text */
            for (size_t c = 0; texts[k][c]; c++)
                good &= q.v[k].v[from + c] == FAKE_BYTE + texts[k][c];
            good &= q.v[k].v[q.v[k].n - 1] != FAKE_EOS;
        }
        ok(good, "%s: choices follow what generating starts from", names[i]);
        free(open->v);
    }
    question_free(&q);
}

int main(void)
{
    gen_begin();
    test_choices();
    test_which();
    test_texts();
    test_answers();
    test_cut();
    test_template();
    return gen_end();
}
