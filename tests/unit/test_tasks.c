/* Files of tasks and normalisers: what is read, and what is refused with file and line. */
#include "config.h"
#include "datasets/tasks.h"
#include "tests/unit/gen.h"

static void must_do(int rc, const struct pesc_error *err)
{
    if (rc == 0)
        return;
    printf("Bail out! %s\n", err->text);
    exit(99);
}

static const struct {
    const char *steps, *text, *want;
} normals[] = {
    {"none", " A the.\t", " A the.\t"},
    {"strip", " \t\xc2\xa0 a b \n", "a b"},
    {"strip", " \n ", ""},
    {"lower", "\xc3\x84pfel ABC", "\xc3\xa4pfel abc"},
    {"punctuation", "a,b. (c)\xe2\x80\x94$1'",
     "ab c\xe2\x80\x94"
     "1"},
    {"articles", "The cat an a theatre, THE", "  cat     theatre,  "},
    {"whitespace",
     "  a \t\n b\xe3\x80\x80"
     "c ",
     "a b c"},
    {"lower,punctuation,articles,whitespace", "The  Eiffel-Tower, a!", "eiffeltower"},
    {"number", "first 3 then 42", "42"},
    {"number", "3 apples\n#### 18 of 20", "18"},
    {"number", "#### 1\n#### 2", "2"},
    {"number", "it costs $1,234,567.50.", "1234567.5"},
    {"number", "in 1,23 and 12,3456", "3456"},
    {"number", "007.00", "7"},
    {"number", "0,001", "1"},
    {"number", "-0.50 degrees", "-0.5"},
    {"number", "-0", "0"},
    {"number", "0", "0"},
    {"number", "0.0", "0"},
    {"number", ".5", "0.5"},
    {"number", "100", "100"},
    {"number", "5-3", "3"},
    {"number", "no number", ""},
    {"number", "#### none, but 7 before: 7 #### ", ""},
    {"strip", "bad \xff byte ", "bad \xef\xbf\xbd byte"},
};

static void test_normal(void)
{
    struct pesc_error err = {0};
    struct normal n;
    struct buf out = {0};
    char text[128];
    for (size_t i = 0; i < sizeof normals / sizeof *normals; i++) {
        if (normal_parse(normals[i].steps, "x", &n, &err) != 0 ||
            normal_apply(&n, normals[i].text, strlen(normals[i].text), &out, &err) != 0)
            ok(0, "%s: %s", normals[i].steps, err.text);
        else
            is_str(out.p, normals[i].want, normals[i].steps);
    }
    buf_free(&out);
    ok(normal_parse("number,lower,strip", "x", &n, &err) == 0, "several normalisers");
    normal_text(&n, text, sizeof text);
    is_str(text, "number,lower,strip", "in their order");
    ok(normal_parse("none", "x", &n, &err) == 0, "none");
    normal_text(&n, text, sizeof text);
    is_str(text, "none", "has a name");
    static const char *const bad[] = {
        "",           "lower,",      "upper",
        "lower,none", "lower strip", "strip,strip,strip,strip,strip,strip,strip,strip,strip"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memset(&err, 0, sizeof err);
        ok(normal_parse(bad[i], "--normalize", &n, &err) == -1 && err.code == PESC_E_USAGE_VALUE &&
               strstr(err.text, "--normalize"),
           "'%s' is refused: %s", bad[i], err.text);
    }
}

static struct task *read_as(const char *name, const char *text, const struct task_options *o,
                            struct pesc_error *err)
{
    struct task *t = NULL;
    memset(err, 0, sizeof *err);
    if (file_write(gen_path(name), text, strlen(text), err) != 0 ||
        task_open(gen_path(name), o, NULL, &t, err) != 0)
        return NULL;
    return t;
}

static const struct task_options any = {.format = TASK_FORMAT_COUNT};

/* The first item, and what it says. */
static const struct {
    const char *file, *text;
    enum task_format format;
    const char *plain, *asked, *follows, *domain;
    long n, right;
} good[] = {
    {"g.jsonl", "{\"prompt\":\"2+2=\",\"answer\":4}", TASK_GENERATE, "2+2=", "2+2=", "4", "g", 1,
     0},
    {"g.jsonl", "{\"question\":\"Who?\",\"answers\":[\"he\",\"she\"],\"subject\":\"s\"}",
     TASK_GENERATE, "Question: Who?\nAnswer:", "Who?", "he", "s", 2, 0},
    {"g.jsonl", "{\"context\":\"C.\",\"question\":\"Who?\",\"answers\":{\"text\":[\"he\"]}}",
     TASK_GENERATE, "C.\nQuestion: Who?\nAnswer:", "C.\nWho?", "he", "g", 1, 0},
    {"g.csv", "Question,Answer\n\"a, b\",c\n", TASK_GENERATE, "Question: a, b\nAnswer:", "a, b",
     "c", "g", 1, 0},
    {"t.jsonl", "{\"text\":\"all of it\",\"category\":\"c\"}", TASK_PERPLEXITY, "", "", "all of it",
     "c", 1, 0},
    {"c.json", "[{\"question\":\"q\",\"choices\":[\"x\",\"y\"],\"answer\":1}]", TASK_CHOICE,
     "Question: q\nAnswer:", "q", "x", "c", 2, 1},
    {"c.json", "[{\"context\":\"once\",\"choices\":[\"x\",\"y\"],\"label\":\"b\"}]", TASK_CHOICE,
     "once", "once", "x", "c", 2, 1},
    {"c.json", "{\"question\":\"q\",\"choices\":[\"1\",\"0\"],\"answer\":\"0\"}", TASK_CHOICE,
     "Question: q\nAnswer:", "q", "1", "c", 2, 1},
    {"c.json", "{\"question\":\"q\",\"choices\":[1, 2.5],\"answer\":\"A\"}", TASK_CHOICE,
     "Question: q\nAnswer:", "q", "1", "c", 2, 0},
    {"algebra_test.csv", "\"Is 1, 2?\",yes,no,maybe,never,C\n", TASK_MMLU,
     "Question: Is 1, 2?\nA. yes\nB. no\nC. maybe\nD. never\nAnswer:",
     "Is 1, 2?\nA. yes\nB. no\nC. maybe\nD. never", "A", "algebra_test", 4, 2},
    {"m.csv", "question;with;signs|,yes,no,maybe,never,A\n", TASK_MMLU,
     "Question: question;with;signs|\nA. yes\nB. no\nC. maybe\nD. never\nAnswer:",
     "question;with;signs|\nA. yes\nB. no\nC. maybe\nD. never", "A", "m", 4, 0},
    {"m.csv", "subject,question,A,B,C,D,E,answer\nlaw,q,v,w,x,y,z,E\n", TASK_MMLU,
     "Question: q\nA. v\nB. w\nC. x\nD. y\nE. z\nAnswer:", "q\nA. v\nB. w\nC. x\nD. y\nE. z", "A",
     "law", 5, 4},
    {"m.csv", "question;A;B;answer\nq;v,w;x;B\n", TASK_MMLU,
     "Question: q\nA. v,w\nB. x\nAnswer:", "q\nA. v,w\nB. x", "A", "m", 2, 1},
    {"a.jsonl",
     "{\"id\":\"i\",\"question\":{\"stem\":\"s?\",\"choices\":[{\"text\":\"t\",\"label\":\"1\"},"
     "{\"text\":\"u\",\"label\":\"2\"},{\"text\":\"v\",\"label\":\"3\"}]},\"answerKey\":\"3\"}",
     TASK_ARC, "Question: s?\nAnswer:", "s?", "t", "a", 3, 2},
    {"a.jsonl",
     "{\"question\":\"s?\",\"choices\":{\"text\":[\"t\",\"u\"],\"label\":[\"A\",\"B\"]},"
     "\"answerKey\":\"B\"}",
     TASK_ARC, "Question: s?\nAnswer:", "s?", "t", "a", 2, 1},
    {"b.jsonl", "{\"question\":\"is it so\",\"passage\":\"It is.\",\"answer\":true}", TASK_BOOLQ,
     "It is.\nQuestion: is it so?\nAnswer:", "It is.\nis it so?", "no", "b", 2, 1},
    {"b.jsonl", "{\"question\":\"is it?\",\"passage\":\"It is.\",\"label\":0}", TASK_BOOLQ,
     "It is.\nQuestion: is it?\nAnswer:", "It is.\nis it?", "no", "b", 2, 0},
};

static void test_good(void)
{
    struct pesc_error err;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct task *t = read_as(good[i].file, good[i].text, &any, &err);
        if (!ok(t && t->n == 1 && t->format == good[i].format, "%s is %s: %s", good[i].file,
                task_format_name(good[i].format), t ? "" : err.text)) {
            task_close(t);
            continue;
        }
        const struct task_item *it = &t->items[0];
        is_str(it->plain, good[i].plain, "its plain text");
        is_str(it->asked, good[i].asked, "what is asked");
        is_str(it->follows[0], good[i].follows, "the first that may follow");
        is_str(t->domains[it->domain], good[i].domain, "its domain");
        ok(it->n == good[i].n && it->right == good[i].right, "%ld may follow, right is %ld", it->n,
           it->right);
        task_close(t);
    }
}

static const struct {
    const char *what, *file, *text;
    enum pesc_code code;
    const char *says;
} refused[] = {
    {"nothing", "e.jsonl", "", PESC_E_DS_EMPTY, "no items"},
    {"a head alone", "e.jsonl", "{\"task\":{}}\n", PESC_E_DS_EMPTY, "no items"},
    {"a header alone", "e.csv", "question,answer\n", PESC_E_DS_EMPTY, "no items"},
    {"no JSON", "e.jsonl", "{\"text\":\"a\"}\n{\"text\":}\n", PESC_E_DS_JSON, "e.jsonl, line 2"},
    {"a NUL", "e.jsonl", "{\"text\":\"a\\u0000b\"}\n", PESC_E_DS_ENC, "line 1"},
    {"no object", "e.jsonl", "[1]", PESC_E_DS_FIELD, "line 1: the record is no JSON object"},
    {"no known task", "e.jsonl", "{\"question\":\"q\"}", PESC_E_DS_FIELD, "no known task"},
    {"a second kind", "e.jsonl", "{\"text\":\"a\"}\n{\"prompt\":\"a\",\"answer\":\"b\"}\n",
     PESC_E_DS_FIELD, "line 2: 'text' is missing"},
    {"an empty prompt", "e.jsonl", "{\"prompt\":\" \",\"answer\":\"b\"}", PESC_E_DS_FIELD,
     "'prompt' is empty"},
    {"an empty answer", "e.jsonl", "{\"prompt\":\"a\",\"answer\":\"\"}", PESC_E_DS_FIELD,
     "'answer' is empty"},
    {"no answers", "e.jsonl", "{\"prompt\":\"a\",\"answers\":[]}", PESC_E_DS_FIELD,
     "'answers' has 0 texts"},
    {"an answer that is none", "e.jsonl", "{\"prompt\":\"a\",\"answer\":[1]}", PESC_E_DS_FIELD,
     "neither text nor a number"},
    {"one choice", "e.jsonl", "{\"question\":\"q\",\"choices\":[\"a\"],\"answer\":0}",
     PESC_E_DS_FIELD, "'choices' has 1 texts"},
    {"choices that are none", "e.jsonl", "{\"question\":\"q\",\"choices\":\"a\",\"answer\":0}",
     PESC_E_DS_FIELD, "is not an array"},
    {"no right choice", "e.jsonl", "{\"question\":\"q\",\"choices\":[\"a\",\"b\"]}",
     PESC_E_DS_FIELD, "'answer' is missing"},
    {"a right choice too far", "e.jsonl",
     "{\"question\":\"q\",\"choices\":[\"a\",\"b\"],\"answer\":2}", PESC_E_DS_FIELD,
     "none of the choices"},
    {"one before the first", "e.jsonl",
     "{\"question\":\"q\",\"choices\":[\"a\",\"b\"],\"answer\":-1}", PESC_E_DS_FIELD,
     "none of the choices"},
    {"a letter too far", "e.jsonl",
     "{\"question\":\"q\",\"choices\":[\"x\",\"y\"],\"answer\":\"C\"}", PESC_E_DS_FIELD,
     "none of the choices"},
    {"a sign that is no letter", "e.jsonl",
     "{\"question\":\"q\",\"choices\":[\"x\",\"y\"],\"answer\":\"?\"}", PESC_E_DS_FIELD,
     "none of the choices"},
    {"a text twice", "e.jsonl", "{\"question\":\"q\",\"choices\":[\"x\",\"x\"],\"answer\":\"x\"}",
     PESC_E_DS_FIELD, "several choices"},
    {"rows of other lengths", "e.csv", "q,a,b,c,d,A\nq,a,b,c,A\n", PESC_E_DS_FIELD,
     "e.csv, line 2: a row of 5 fields"},
    {"rows shorter than the header", "e.csv", "question,A,B,answer\nq,a,b\n", PESC_E_DS_FIELD,
     "the header has 4 columns"},
    {"columns of one name", "e.csv", "question,A,B,A,answer\nq,a,b,c,A\n", PESC_E_DS_FORMAT,
     "two columns are named 'A'"},
    {"an open quote", "e.csv", "q,a,b,c,d,A\n\"q,a,b\n", PESC_E_DS_FORMAT,
     "line 2 (byte 12): the file ends within"},
    {"an empty choice", "e.csv", "q,a,,c,d,A\n", PESC_E_DS_FIELD, "line 1: 'B' is empty"},
    {"no such letter in the first row", "e.csv", "q,a,b,c,d,E\n", PESC_E_DS_FIELD,
     "line 1: 'answer' is none of the choices"},
    {"no such letter", "e.csv", "q,a,b,c,d,A\nq,a,b,c,d,E\n", PESC_E_DS_FIELD, "line 2"},
    {"a key that is no label", "e.jsonl",
     "{\"question\":\"s\",\"choices\":{\"text\":[\"t\",\"u\"],\"label\":[\"A\",\"B\"]},"
     "\"answerKey\":\"C\"}",
     PESC_E_DS_FIELD, "no label"},
    {"choices without labels", "e.jsonl",
     "{\"question\":{\"stem\":\"s\",\"choices\":[{\"text\":\"t\"}]},\"answerKey\":\"A\"}",
     PESC_E_DS_FIELD, "without text and label"},
    {"neither true nor false", "e.jsonl",
     "{\"question\":\"q\",\"passage\":\"p\",\"answer\":\"true\"}", PESC_E_DS_FIELD,
     "neither true nor false"},
    {"a domain that is no text", "e.jsonl", "{\"text\":\"a\",\"domain\":3}", PESC_E_DS_FIELD,
     "'domain' is not a string"},
    {"a head with another key", "e.jsonl", "{\"task\":{\"shots\":3}}\n{\"text\":\"a\"}",
     PESC_E_DS_FIELD, "'shots' is no key of a task"},
    {"a head with no format", "e.jsonl", "{\"task\":{\"format\":\"x\"}}\n{\"text\":\"a\"}",
     PESC_E_DS_FIELD, "'format' is none of"},
    {"a head with no normaliser", "e.jsonl", "{\"task\":{\"normalize\":\"x\"}}\n{\"text\":\"a\"}",
     PESC_E_DS_FIELD, "line 1: 'normalize': 'x' is none"},
    {"a head with an empty stop", "e.jsonl", "{\"task\":{\"stop\":[\"\"]}}\n{\"text\":\"a\"}",
     PESC_E_DS_FIELD, "'stop'"},
    {"a head without tokens", "e.jsonl", "{\"task\":{\"max_new_tokens\":0}}\n{\"text\":\"a\"}",
     PESC_E_DS_FIELD, "max_new_tokens"},
    {"plain text", "e.txt", "words\n", PESC_E_DS_FORMAT, "JSON or CSV"},
};

static void test_refused(void)
{
    struct pesc_error err;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct task *t = read_as(refused[i].file, refused[i].text, &any, &err);
        ok(!t && err.code == (int)refused[i].code && strstr(err.text, refused[i].says) &&
               strstr(err.text, refused[i].file),
           "%s: %s %s", refused[i].what, t ? "taken" : err.name, t ? "" : err.text);
        task_close(t);
    }
    memset(&err, 0, sizeof err);
    struct task *t = NULL;
    ok(task_open(gen_path("not-there.jsonl"), &any, NULL, &t, &err) == -1 &&
           err.code == PESC_E_IO_MISSING,
       "no file: %s", err.text);
}

static void test_ways(void)
{
    struct pesc_error err;
    struct task_options o = any;
    static const char three[] = "{\"text\":\"a\"}\n{\"text\":\"b\"}\n{\"text\":\"c\"}\n";
    o.limit = 2;
    o.domain = "d";
    struct task *t = read_as("w.jsonl", three, &o, &err);
    ok(t && t->n == 2 && !strcmp(t->domains[0], "d") && t->items[1].line == 2 &&
           !strcmp(t->name, "w") && strlen(t->sha256) == 64,
       "a limit, and a domain of one's own");
    task_close(t);
    o = any;
    o.format = TASK_PERPLEXITY;
    t = read_as("w.jsonl", "{\"question\":\"q\",\"answer\":\"a\"}", &o, &err);
    ok(t && t->format == TASK_PERPLEXITY && !strcmp(t->items[0].follows[0], "a") &&
           !strcmp(t->items[0].plain, "Question: q\nAnswer:"),
       "a format that is asked for");
    task_close(t);
    t = read_as(
        "w.jsonl",
        "{\"task\":{\"format\":\"perplexity\",\"normalize\":\"lower,number\",\"stop\":\"x\","
        "\"max_new_tokens\":7}}\n{\"prompt\":\"q\",\"answer\":\"a\"}\n",
        &any, &err);
    ok(t && t->n == 1 && t->format == TASK_PERPLEXITY && t->has_normal && t->normal.n == 2 &&
           t->n_stops == 1 && !strcmp(t->stops[0], "x") && t->max_new_tokens == 7,
       "what a file says of itself");
    task_close(t);
    o.format = TASK_GENERATE;
    t = read_as("w.jsonl",
                "{\"task\":{\"format\":\"perplexity\"}}\n{\"prompt\":\"q\",\"answer\":\"a\"}\n", &o,
                &err);
    ok(t && t->format == TASK_GENERATE, "is not above what is asked for");
    task_close(t);
    /* a folder: a domain for each file */
    must_do(dir_make(gen_path("mmlu"), &err), &err);
    t = read_as("mmlu/law_test.csv", "q,a,b,c,d,A\nq,a,b,c,d,B\n", &any, &err);
    task_close(t);
    t = read_as("mmlu/art_test.csv", "q,a,b,c,d,D\n", &any, &err);
    task_close(t);
    t = NULL;
    memset(&err, 0, sizeof err);
    char slash[PATH_CAP];
    snprintf(slash, sizeof slash, "%s/", gen_path("mmlu"));
    o = any;
    o.part = DATA_PART_HELD_OUT;
    ok(task_open(slash, &o, NULL, &t, &err) == 0 && t->n == 3 && t->n_domains == 2 &&
           !strcmp(t->domains[0], "art_test") && !strcmp(t->domains[1], "law_test") &&
           t->items[0].right == 3 && t->items[2].right == 1 && !strcmp(t->name, "mmlu"),
       "a folder's files are domains of one task: %s", err.text);
    task_close(t);
    t = read_as("mmlu/odd_test.jsonl", "{\"text\":\"a\"}", &any, &err);
    task_close(t);
    t = NULL;
    memset(&err, 0, sizeof err);
    ok(task_open(gen_path("mmlu"), &o, NULL, &t, &err) == -1 && err.code == PESC_E_DS_FORMAT &&
           strstr(err.text, "odd_test.jsonl, line 1"),
       "of one kind: %s", err.text);
    task_close(t);
}

static void test_material(void)
{
    const char *dir = tap_material();
    char path[PATH_CAP];
    struct pesc_error err = {0};
    struct task *t = NULL;
    struct normal number;
    struct buf out = {0};
    long empty = 0;
    if (!dir) {
        ok(1, "GSM8K # SKIP " TAP_NO_MATERIAL);
        return;
    }
    must_do(path_join(path, dir, "data-gsm8k/test.jsonl", &err), &err);
    must_do(normal_parse("number", "x", &number, &err), &err);
    ok(task_open(path, &any, NULL, &t, &err) == 0 && t->n == 1319 && t->format == TASK_GENERATE,
       "GSM8K's test: %s", err.text);
    for (long i = 0; t && i < t->n; i++) {
        const char *a = t->items[i].follows[0], *mark = strstr(a, "#### ");
        must_do(normal_apply(&number, a, strlen(a), &out, &err), &err);
        char want[64] = "";
        for (const char *s = mark ? mark + 5 : ""; *s && *s != '\n'; s++)
            if (*s != ',')
                snprintf(want + strlen(want), sizeof want - strlen(want), "%c", *s);
        empty += strcmp(out.p, want) != 0;
    }
    is_long(empty, 0, "all of whose numbers are found");
    buf_free(&out);
    task_close(t);
}

int main(void)
{
    gen_begin();
    test_normal();
    test_good();
    test_refused();
    test_ways();
    test_material();
    return gen_end();
}
