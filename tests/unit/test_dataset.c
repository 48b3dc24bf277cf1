/* What samples hold, token by token, and how they become batches. */
#include "config.h"
#include "core/batch.h"
#include "core/file.h"
#include "datasets/batcher.h"
#include "datasets/template.h"
#include "tests/tap.h"
#include "tests/unit/fake_tokenizer.h"

#define TMP "test_dataset.tmp"

static const struct tokenizer tok = {.bos = FAKE_BOS, .eos = FAKE_EOS, .adds_bos = 1};
static const struct tokenizer spaced = {
    .bos = FAKE_BOS, .eos = FAKE_EOS, .adds_bos = 1, .prefix_space = 1};

static int write_text(const char *path, const char *text)
{
    return file_write(path, text, strlen(text), NULL);
}

/* Opens a data set of the given text; NULL is a failure that has been told. */
static struct dataset *make(const char *text, const struct tokenizer *t, struct dataset_options o)
{
    struct dataset *d = NULL;
    struct pesc_error err = {0};
    const char *paths[] = {TMP ".jsonl"};
    if (!o.vocab_size)
        o.vocab_size = FAKE_SIZE;
    int rc = write_text(paths[0], text);
    if (rc == 0)
        rc = dataset_open(paths, 1, t, &o, NULL, &d, &err);
    remove(paths[0]);
    if (rc != 0) {
        ok(0, "data set of %.60s", text);
        diag("[%s] %s", err.name, err.text);
    }
    return d;
}

static struct sample sample_of(const struct dataset *d, long i)
{
    struct sample s = {0};
    struct pesc_error err = {0};
    if (dataset_sample(d, i, &s, &err) != 0)
        ok(0, "sample %ld: [%s] %s", i, err.name, err.text);
    return s;
}

/* A sample as text: ids as characters, special ones as <1>; trained tokens follow a '^'. */
static void show(const struct sample *s, char *out, size_t size)
{
    size_t n = 0;
    for (long i = 0; i < s->n && n + 8 < size; i++) {
        if (s->labels[i] != LABEL_MASKED) {
            if (s->labels[i] != s->ids[i])
                n += (size_t)snprintf(out + n, size - n, "!");
            out[n++] = '^';
        }
        if (s->ids[i] >= FAKE_BYTE)
            out[n++] = (char)(s->ids[i] - FAKE_BYTE);
        else
            n += (size_t)snprintf(out + n, size - n, "<%d>", (int)s->ids[i]);
    }
    out[n] = 0;
}

static void is_sample(const char *text, const struct tokenizer *t, struct dataset_options o,
                      const char *want, const char *what)
{
    char got[2048];
    struct dataset *d = make(text, t, o);
    if (!d)
        return;
    struct sample s = sample_of(d, 0);
    show(&s, got, sizeof got);
    is_str(got, want, what);
    dataset_close(d);
}

#define NONE ((struct dataset_options){0})
#define PAIRED                                                                                     \
    "Below is an instruction that describes a task, paired with an input that provides further "   \
    "context. Write a response that appropriately completes the request.\n\n"
#define ALONE                                                                                      \
    "Below is an instruction that describes a task. Write a response that appropriately "          \
    "completes the request.\n\n"

static void test_samples(void)
{
    is_sample("{\"corpus\":\"\",\"dataset\":\"x\",\"instruction\":\"S\",\"conversation\":"
              "[{\"input\":\"Q\",\"output\":\"AB\"}]}",
              &tok, NONE, "<1>### System:\nS\n### Human:\nQ\n### Assistant:\n^A^B^<2>",
              "pesc with a system text");
    is_sample("{\"corpus\":\"\",\"instruction\":\"\",\"conversation\":"
              "[{\"input\":\"Q\",\"output\":\"A\"}]}",
              &tok, NONE, "<1>### Human:\nQ\n### Assistant:\n^A^<2>", "pesc without");
    is_sample("{\"instruction\":\"S\",\"conversation\":[{\"input\":\"Q\",\"output\":\"A\"},"
              "{\"input\":\"R\",\"output\":\"B\"},{\"input\":\"T\",\"output\":\"C\"}]}",
              &tok, NONE,
              "<1>### System:\nS\n### Human:\nQ\n### Assistant:\n^A^<2>### Human:\nR\n### "
              "Assistant:\n^B^<2>### Human:\nT\n### Assistant:\n^C^<2>",
              "several turns train on every answer");
    is_sample("{\"corpus\":\"abc\",\"instruction\":\"\",\"conversation\":[]}", &tok, NONE,
              "<1>^a^b^c^<2>", "pesc corpus");
    is_sample("{\"corpus\":\"abc\",\"conversation\":[{\"input\":\"\",\"output\":\"\"}]}", &tok,
              NONE, "<1>^a^b^c^<2>", "pesc corpus beside an empty conversation");
    is_sample("{\"instruction\":\"I\",\"input\":\"J\",\"output\":\"A\"}", &tok, NONE,
              "<1>" PAIRED "### Instruction:\nI\n\n### Input:\nJ\n\n### Response:^A^<2>",
              "alpaca with an input");
    is_sample("{\"instruction\":\"I\",\"input\":\"\",\"output\":\"A\",\"text\":\"x\"}", &tok, NONE,
              "<1>" ALONE "### Instruction:\nI\n\n### Response:^A^<2>", "alpaca without");
    is_sample("{\"instruction\":\"I\",\"output\":\"A\"}", &tok,
              (struct dataset_options){.template_id = "camelidae"},
              "<1>### Human:\nI\n### Assistant:\n^A^<2>", "alpaca in the other template");
    is_sample("{\"instruction\":\"S\",\"conversation\":[{\"input\":\"Q\",\"output\":\"A\"},"
              "{\"input\":\"R\",\"output\":\"B\"}]}",
              &tok, (struct dataset_options){.template_id = "alpaca"},
              "<1>" PAIRED "### Instruction:\nS\n\n### Input:\nQ\n\n### Response:^A^<2>"
              "### Instruction:\nR\n\n### Response:^B^<2>",
              "pesc in the other template");
    is_sample("{\"text\":\"ab\",\"meta\":{\"x\":[1]}}", &tok, NONE, "<1>^a^b^<2>", "text");
    is_sample("{\"conversation\":[{\"input\":\"Q\",\"output\":\"A\"}]}", &tok,
              (struct dataset_options){.loss_on = LOSS_ALL},
              "<1>^#^#^#^ ^H^u^m^a^n^:^\n^Q^\n^#^#^#^ ^A^s^s^i^s^t^a^n^t^:^\n^A^<2>",
              "loss on the prompt too");
    is_sample("{\"conversation\":[{\"input\":\"</s>\",\"output\":\"</s>\"}]}", &tok, NONE,
              "<1>### Human:\n</s>\n### Assistant:\n^<^/^s^>^<2>",
              "D14 special tokens in the text stay text");
    struct tokenizer bare = {.bos = FAKE_BOS, .eos = -1};
    is_sample("{\"text\":\"ab\"}", &bare, NONE, "a^b",
              "no BOS unless the tokenizer adds it, no EOS");
}

static void test_boundary(void)
{
    is_sample("{\"conversation\":[{\"input\":\"Q\",\"output\":\"A\"},"
              "{\"input\":\"R\",\"output\":\" B\"}]}",
              &spaced, NONE,
              "<1><3>### Human:\nQ\n### Assistant:\n^A^<2><3>### Human:\nR\n### Assistant:\n^ "
              "^B^<2>",
              "a prompt has the tokenizer's space before it, an answer has not");
    struct tokenizer lines = tok;
    lines.merges_lines = 1;
    is_sample("{\"conversation\":[{\"input\":\"Q\",\"output\":\"\\nA\\n\\n\"}]}", &lines, NONE,
              "<1>### Human:\nQ\n### Assistant:\n^\n^A^<4>^<2>", "no token spans the boundary");
    struct pesc_error err = {0};
    struct ids ids = {0}, labels = {0};
    struct message question = {.role = ROLE_USER, .text = "Q"};
    struct chat open = {.messages = &question, .n = 1, .open = 1};
    int rc = template_render(template_find("camelidae"), &spaced, &open, LOSS_ANSWERS, &ids,
                             &labels, &err);
    char got[256];
    struct sample s = {ids.v, labels.v, (long)ids.n, 0, 0, 0};
    show(&s, got, sizeof got);
    ok(rc == 0, "a prompt alone");
    is_str(got, "<1><3>### Human:\nQ\n### Assistant:\n", "is the prompt that training saw");
    free(ids.v);
    free(labels.v);
    ok(!template_find("none") && !strcmp(template_id(template_find("alpaca")), "alpaca"),
       "templates are found by name");
}

static void test_tokenized(void)
{
    is_sample("{\"input_ids\":[11,12,13]}", NULL, NONE, "\001^\002^\003",
              "ids alone are their labels; the first is never scored");
    is_sample("{\"input_ids\":[75,76,77,78,79],\"labels\":[75,-100,77,-100,-100]}", NULL, NONE,
              "AB^C", "cut behind the last scored label");
    is_sample("{\"input_ids\":[75,76,77,5,5],\"attention_mask\":[1,1,1,0,0]}", NULL, NONE, "A^B^C",
              "padding by the mask is cut");
    is_sample("{\"input_ids\":[75,76,77],\"labels\":[-100,80,-100]}", NULL, NONE, "A!^B",
              "labels need not be the ids");
    is_sample("{\"input_ids\":[75,76,77],\"labels\":[-100,76,-100]}", NULL,
              (struct dataset_options){.loss_on = LOSS_ALL}, "A^B", "labels given are kept");
    struct pesc_error err = {0};
    struct dataset_options o = {.vocab_size = 20};
    struct dataset *d = NULL;
    const char *path = TMP ".jsonl";
    ok(write_text(path, "{\"text\":\"a\"}") == 0, "text");
    ok(dataset_open(&path, 1, NULL, &o, NULL, &d, &err) != 0 && err.code == PESC_E_DS_FORMAT,
       "text without a tokenizer is refused");
    err.code = 0;
    ok(dataset_open(&path, 1, &tok, &o, NULL, &d, &err) != 0 && err.code == PESC_E_TOK_ID,
       "a tokenizer larger than the model is refused");
    err.code = 0;
    o.template_id = "none";
    ok(dataset_open(&path, 1, &tok, &o, NULL, &d, &err) != 0 && err.code == PESC_E_USAGE_VALUE,
       "an unknown template is refused");
    remove(path);
}

static void test_counts(void)
{
    static const char text[] =
        "{\"input_ids\":[1,2,3,4,5,6]}\n"                                      /* cut to 4 */
        "{\"input_ids\":[1,2,3],\"labels\":[1,-100,-100],\"domain\":\"b\"}\n"  /* D05 */
        "{\"input_ids\":[1,2,3,4,5],\"labels\":[-100,-100,-100,-100,5]}\n"     /* cut, D05 */
        "{\"input_ids\":[]}\n"                                                 /* empty */
        "{\"input_ids\":[7]}\n"                                                /* D05 */
        "{\"input_ids\":[1,2,3,4,5,6],\"labels\":[1,2,-100,-100,-100,-100]}\n" /* not cut */
        "{\"input_ids\":[9,8],\"dataset\":\"a\",\"domain\":\"b\"}\n"
        "{\"oops\":1}\n" /* bad */
        "{\"input_ids\":[9,8],\"domain\":\"b\"}\n";
    struct dataset *d =
        make(text, NULL, (struct dataset_options){.max_seq_length = 4, .bad_max = 1});
    if (!d)
        return;
    const struct dataset_counts *c = dataset_counts(d);
    const struct dataset_source *s = dataset_source_at(d, 0);
    is_long(c->read, 9, "records read");
    is_long(c->used, 4, "records used");
    is_long(c->skipped[SKIP_NO_TARGET], 3, "D05 records without a scored label");
    is_long(c->skipped[SKIP_EMPTY], 1, "empty records");
    is_long(c->skipped[SKIP_BAD], 1, "bad records");
    is_long(c->truncated, 2, "records cut; a masked tail does not count");
    is_long(c->tokens, 4 + 2 + 2 + 2, "tokens");
    is_long(c->trained_tokens, 3 + 1 + 1 + 1, "trained tokens");
    is_long(c->longest, 4, "longest");
    is_long(dataset_size(d), 4, "samples");
    long sum = 0, tokens = 0, samples = 0;
    for (int i = 0; i < SKIP_COUNT; i++)
        sum += s->skips[i];
    ok(s->read == s->used + s->skipped && s->skipped == sum && s->read == c->read,
       "read = used + skipped by reason");
    for (long i = 0; i < dataset_domain_count(d); i++) {
        tokens += dataset_domain_counts(d, i)->tokens;
        samples += dataset_domain_counts(d, i)->samples;
    }
    ok(tokens == c->tokens && samples == c->used && s->tokens == tokens, "domains add up");
    is_long(dataset_domain_count(d), 3, "domains");
    is_str(dataset_domain(d, sample_of(d, 0).domain), TMP, "the file names a domain");
    is_str(dataset_domain(d, sample_of(d, 2).domain), "a", "dataset before domain");
    is_str(dataset_domain(d, sample_of(d, 3).domain), "b", "domain");
    is_long(sample_of(d, 3).record, 8, "samples know their record");
    char sha[65];
    snprintf(sha, sizeof sha, "%s", dataset_sha256(d));
    dataset_close(d);

    /* the digest is of what is trained on, not of how it was written */
    d = make("[{\"input_ids\":[1,2,3,4]},{\"input_ids\":[1,2]},{\"input_ids\":[9,8]},\n"
             "{\"input_ids\":[9,8,7],\"labels\":[9,8,-100]}]",
             NULL, (struct dataset_options){.domain = "all"});
    if (!d)
        return;
    is_str(dataset_sha256(d), sha, "same samples, same digest");
    is_str(dataset_domain(d, 0), "all", "the label given to records without one");
    dataset_close(d);
    d = make("{\"input_ids\":[1,2,3,4]}\n{\"input_ids\":[1,2]}\n{\"input_ids\":[9,8]}\n"
             "{\"input_ids\":[9,7]}",
             NULL, NONE);
    ok(d && strcmp(dataset_sha256(d), sha) != 0, "another sample, another digest");
    dataset_close(d);
    d = make("{\"input_ids\":[1,2,3,4]}\n{\"input_ids\":[1,2]}\n{\"input_ids\":[9,8]}\n"
             "{\"input_ids\":[9,8],\"labels\":[9,7]}",
             NULL, NONE);
    ok(d && strcmp(dataset_sha256(d), sha) != 0, "another label, another digest");
    dataset_close(d);
}

static void test_skips_and_files(void)
{
    struct dataset *d = make("{\"instruction\":\"I\",\"output\":\" \\n\"}\n"
                             "{\"instruction\":\"\",\"input\":\"\",\"output\":\"A\"}\n"
                             "{\"instruction\":\"I\",\"output\":\"A\"}\n",
                             &tok, NONE);
    ok(d && dataset_counts(d)->skipped[SKIP_EMPTY] == 2 && dataset_counts(d)->used == 1,
       "alpaca without an answer or a question is empty");
    dataset_close(d);
    d = make("{\"conversation\":[]}\n{\"corpus\":\"\",\"conversation\":null}\n"
             "{\"conversation\":[{\"input\":\"a\",\"output\":\"b\"},{\"input\":\"a\","
             "\"output\":\"\"}]}\n{\"conversation\":[{\"input\":\"\",\"output\":\"b\"}]}\n"
             "{\"corpus\":\"a\"}\n",
             &tok, NONE);
    ok(d && dataset_counts(d)->skipped[SKIP_EMPTY] == 4 && dataset_counts(d)->used == 1,
       "pesc without an answer or a question is empty");
    dataset_close(d);
    /* truncation takes the whole answer of the first, a part of the second's */
    d = make("{\"conversation\":[{\"input\":\"0123456789\",\"output\":\"A\"}]}\n"
             "{\"conversation\":[{\"input\":\"Q\",\"output\":\"ABCDEFGHIJ\"}]}\n",
             &tok, (struct dataset_options){.max_seq_length = 34});
    ok(d && dataset_counts(d)->truncated == 2 && dataset_counts(d)->skipped[SKIP_NO_TARGET] == 1 &&
           sample_of(d, 0).n == 34 && sample_of(d, 0).trained == 5,
       "P7 a prompt that leaves no room for its answer is skipped and counted");
    dataset_close(d);

    struct pesc_error err = {0};
    struct dataset_options o = {.vocab_size = FAKE_SIZE};
    const char *paths[] = {TMP ".a.jsonl", TMP ".b.json"};
    d = NULL;
    int rc = write_text(paths[0], "{\"text\":\"a\"}\n{\"text\":\"b\"}");
    rc |= write_text(paths[1], "[{\"instruction\":\"I\",\"output\":\"A\"}]");
    rc |= dataset_open(paths, 2, &tok, &o, NULL, &d, &err);
    ok(rc == 0 && dataset_size(d) == 3 && dataset_source_count(d) == 2 &&
           dataset_source_at(d, 0)->format == DATA_TEXT &&
           dataset_source_at(d, 1)->format == DATA_ALPACA && dataset_domain_count(d) == 2 &&
           sample_of(d, 2).record == 2,
       "several files, each of its own format, follow each other");
    dataset_close(d);
    rc = write_text(paths[1], "[]");
    ok(rc == 0 && dataset_open(paths, 2, &tok, &o, NULL, &d, &err) != 0 &&
           err.code == PESC_E_DS_EMPTY && strstr(err.text, paths[1]),
       "an empty file among others is an error that names it");
    remove(paths[0]);
    remove(paths[1]);
    ok(!strcmp(data_format_name(DATA_PESC), "pesc") &&
           !strcmp(data_skip_name(SKIP_NO_TARGET), "no trained tokens"),
       "names");
}

/* By records, or (records 0) by tokens. */
static int batches(const struct dataset *d, long records, long tokens, enum data_order order,
                   uint64_t seed, struct batcher **out, struct pesc_error *err)
{
    struct batch_options o = {.packing = records ? PACK_OFF : PACK_NEXT,
                              .records = records,
                              .tokens = tokens,
                              .order = order,
                              .seed = seed};
    return batcher_open(d, &o, out, err);
}

static long steps_of(struct batcher *b, long epochs)
{
    long steps;
    struct pesc_error err = {0};
    return batcher_steps(b, epochs, &steps, &err) == 0 ? steps : -1;
}

/* n samples of 2 + i % 7 tokens that start with their number, in two domains. */
static struct dataset *numbered(long n)
{
    char *text = malloc((size_t)n * 120), *at = text;
    if (!text)
        return NULL;
    for (long i = 0; i < n; i++) {
        at += sprintf(at, "{\"dataset\":\"%s\",\"input_ids\":[%ld", i % 2 ? "odd" : "even", i);
        for (long j = 0; j < 1 + i % 7; j++)
            at += sprintf(at, ",7");
        at += sprintf(at, "]}\n");
    }
    struct dataset *d = make(text, NULL, (struct dataset_options){.vocab_size = 100000});
    free(text);
    return d;
}

/* Goes through two epochs: every sample once in each, whole, with its data; how many batches. */
static long walk(const struct dataset *d, struct batcher *b, long *sizes, long cap, long epochs)
{
    struct batch_source src = batcher_source(b);
    struct pesc_error err = {0};
    long n = dataset_size(d), steps = steps_of(b, epochs), step = 0;
    char *seen = calloc((size_t)n, 1);
    int bad = !seen || steps <= 0;
    for (long e = 0; e < epochs && !bad; e++) {
        long got = 0;
        memset(seen, 0, (size_t)n);
        while (got < n && !bad) {
            struct batch t;
            bad |= step >= steps || src.get(src.ctx, step, &t, &err) != 0;
            if (bad)
                break;
            bad |= t.T > src.max_tokens || t.S > src.max_samples || t.S < 1 || t.cu[0] != 0 ||
                   t.cu[t.S] != t.T;
            for (long s = 0; s < t.S && !bad; s++) {
                long id = t.ids[t.cu[s]], len = t.cu[s + 1] - t.cu[s];
                bad |= id < 0 || id >= n || seen[id] || len != 2 + id % 7 || t.record[s] != id ||
                       t.domain[s] != id % 2 || t.labels[t.cu[s]] != LABEL_MASKED ||
                       t.labels[t.cu[s] + 1] != 7;
                if (!bad)
                    seen[id] = 1;
            }
            if (step < cap)
                sizes[step] = t.S;
            got += t.S;
            step++;
        }
        bad |= got != n;
    }
    bad |= step != steps;
    free(seen);
    return bad ? -1 : step;
}

static void test_batches(void)
{
    enum { N = 103 };
    struct dataset *d = numbered(N);
    struct batcher *b = NULL;
    struct pesc_error err = {0};
    long sizes[64] = {0};
    if (!d)
        return;
    ok(batches(d, 10, 0, ORDER_SEQUENTIAL, 1, &b, &err) == 0, "batches of 10 in order");
    is_long(batcher_batches_per_epoch(b), 11, "batches in an epoch");
    is_long(walk(d, b, sizes, 64, 2), 22, "two epochs see every sample twice");
    ok(sizes[9] == 10 && sizes[10] == 3 && sizes[21] == 3, "the last batch is smaller");
    struct batch_source src = batcher_source(b);
    struct batch t;
    ok(src.get(src.ctx, 13, &t, &err) == 0 && t.ids[0] == 20 && t.ids[t.cu[9]] == 29,
       "sequential order starts again");
    ok(src.max_samples == 10 && src.max_tokens == 80, "the largest batch possible is known");
    ok(src.get(src.ctx, -1, &t, &err) != 0 && err.code == PESC_E_INTERNAL, "no batch -1");
    err.code = 0;
    batcher_close(b);

    static const long shapes[][2] = {{10, 0}, {0, 20}, {1000, 0}, {0, 1}, {0, 1000000}, {1, 0}};
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        struct batcher *x = NULL, *y = NULL;
        int rc = batches(d, shapes[k][0], shapes[k][1], ORDER_SHUFFLED, 42, &x, &err);
        rc |= batches(d, shapes[k][0], shapes[k][1], ORDER_SHUFFLED, 42, &y, &err);
        ok(rc == 0 && walk(d, x, sizes, 64, 5) > 0,
           "shuffled, %ld records or %ld tokens: five epochs of every sample once", shapes[k][0],
           shapes[k][1]);
        /* y goes backwards, x has been forwards: the same step is the same batch */
        struct batch_source sx = batcher_source(x), sy = batcher_source(y);
        int same = rc == 0;
        for (long step = steps_of(x, 5) - 1; step >= 0 && same; step--) {
            struct batch p, q;
            same = sx.get(sx.ctx, step, &p, &err) == 0 && sy.get(sy.ctx, step, &q, &err) == 0 &&
                   p.T == q.T && p.S == q.S && !memcmp(p.ids, q.ids, (size_t)p.T * sizeof *p.ids) &&
                   !memcmp(p.cu, q.cu, (size_t)(p.S + 1) * sizeof *p.cu);
        }
        ok(same, "and a batch is a function of its number");
        batcher_close(x);
        batcher_close(y);
    }

    ok(batches(d, 0, 20, ORDER_SEQUENTIAL, 0, &b, &err) == 0, "batches of 20 tokens in order");
    src = batcher_source(b);
    ok(src.get(src.ctx, 0, &t, &err) == 0 && t.S == 5 && t.T == 20,
       "2 + 3 + 4 + 5 + 6 tokens fill the first");
    ok(src.get(src.ctx, 1, &t, &err) == 0 && t.S == 4 && t.T == 7 + 8 + 2 + 3,
       "then 7 + 8 + 2 + 3");
    ok(src.max_tokens == 20 && src.max_samples == 10, "bounds");
    ok(walk(d, b, sizes, 64, 2) == 2 * batcher_batches_per_epoch(b), "two epochs");
    batcher_close(b);

    int32_t order[3][N];
    for (int k = 0; k < 3; k++) {
        ok(batches(d, N, 0, ORDER_SHUFFLED, k == 2 ? 43 : 42, &b, &err) == 0, "one batch");
        src = batcher_source(b);
        ok(src.get(src.ctx, k == 1, &t, &err) == 0 && t.S == N, "of all");
        for (long i = 0; i < N; i++)
            order[k][i] = t.ids[t.cu[i]];
        batcher_close(b);
    }
    ok(memcmp(order[0], order[1], sizeof *order) != 0, "the next epoch has another order");
    ok(memcmp(order[0], order[2], sizeof *order) != 0, "another seed has another order");
    ok(batches(d, 0, 0, ORDER_SHUFFLED, 1, &b, &err) != 0 && err.code == PESC_E_USAGE_VALUE,
       "a batch of nothing is refused");
    dataset_close(d);
}

static void test_material(void)
{
    const char *dir = tap_material();
    char path[PATH_CAP];
    struct dataset *d = NULL;
    struct pesc_error err = {0};
    struct dataset_options o = {.vocab_size = FAKE_SIZE};
    static const struct {
        const char *name;
        long n;
    } want[] = {{"slimorca", 300}, {"math", 100}, {"osscode", 66}, {"evolcode", 34}};
    if (!dir) {
        printf("ok %d # SKIP " TAP_NO_MATERIAL "\n", ++tap_n);
        return;
    }
    const char *paths[] = {path};
    snprintf(path, sizeof path, "%s/data-moe-example/example.json", dir);
    if (!ok(dataset_open(paths, 1, &tok, &o, NULL, &d, &err) == 0, "PESC's example"))
        diag("[%s] %s", err.name, err.text);
    if (!d)
        return;
    ok(dataset_size(d) == 500 && dataset_domain_count(d) == 4 &&
           dataset_source_at(d, 0)->format == DATA_PESC,
       "500 records of 4 domains");
    for (int i = 0; i < 4; i++)
        for (long j = 0; j < dataset_domain_count(d); j++)
            if (!strcmp(dataset_domain(d, j), want[i].name))
                is_long(dataset_domain_counts(d, j)->samples, want[i].n, want[i].name);
    dataset_close(d);
}

int main(void)
{
    test_samples();
    test_boundary();
    test_tokenized();
    test_counts();
    test_skips_and_files();
    test_batches();
    test_material();
    return tap_done();
}
