/* CSV, text, and records in their order. */
#include "config.h"
#include "tests/unit/sources.h"

#include <omp.h>

/* Valid until the next one. */
static struct sample sample_at(struct dataset *d, long i)
{
    struct pesc_error err = {0};
    struct sample s = {0};
    if (dataset_sample(d, i, &s, &err) != 0)
        diag("sample %ld: %s", i, err.text);
    return s;
}

static void test_csv(void)
{
    static const struct {
        const char *what, *text;
        long samples; /* -1: refused */
        enum pesc_code code;
        const char *says;
    } t[] = {
        {"commas, CR LF, quotes, line ends in fields",
         "\xef\xbb\xbf"
         "text,id\r\n\"a \"\"b\"\"\r\nc\",1\r\nd,2\r\n",
         2, 0, ""},
        {"semicolons", "id;text\n1;a,b\n2;c\n", 2, 0, ""},
        {"tabs, no line end at the end", "id\ttext\n1\ta, b", 1, 0, ""},
        {"one column", "text\na\n\n\nb\n", 2, 0, ""},
        {"a column without a name", ",text\n0,a\n1,b\n", 2, 0, ""},
        {"Alpaca", "instruction,input,output\na,,b\na,c,d\n", 2, 0, ""},
        {"columns of no format", "question,reply\na,b\n", -1, PESC_E_DS_FIELD,
         "fields seen: question, reply"},
        {"too few fields", "id,text\n1,a\n2\n", -1, PESC_E_DS_FIELD,
         "line 3 (byte 12): a row of 1 fields; the header has 2"},
        {"too many fields", "id,text\n1,a,b\n", -1, PESC_E_DS_FIELD, "a row of 3 fields"},
        {"text behind a quote", "text\n\"a\"b\n", -1, PESC_E_DS_FIELD, "closing quote"},
        {"D03 a cut in a quoted field", "text\na\n\"b\n", -1, PESC_E_DS_FORMAT, "line 3"},
        {"columns of one name", "text,text\na,b\n", -1, PESC_E_DS_FORMAT, "named 'text'"},
        {"D03 not UTF-8", "id,text\n1,a\n2,b\xff\n", -1, PESC_E_DS_ENC, "line 3 (byte 15)"},
        {"D03 NUL", "text\na\n", 1, 0, ""},
        {"D01 a header alone", "text\n", -1, PESC_E_DS_EMPTY, "no records"},
        {"D01 nothing", "", -1, PESC_E_DS_EMPTY, "no records"},
        {"JSON lines in its place", A A, 2, 0, ""},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct pesc_error err;
        struct dataset *d =
            put("t.csv", t[i].text) == 0 ? read_path(at("t.csv"), NONE, &err) : NULL;
        int good = t[i].samples < 0
                       ? !d && err.code == (int)t[i].code && strstr(err.text, t[i].says)
                       : d && dataset_size(d) == t[i].samples;
        if (!ok(good, "CSV: %s", t[i].what))
            diag("%ld; [%s] %s", d ? dataset_size(d) : -1, err.name, err.text);
        dataset_close(d);
    }
    struct pesc_error err;
    struct dataset *d = put("t.csv", "text,id\n\"a \"\"b\"\"\n\",1\n") == 0
                            ? read_path(at("t.csv"), NONE, &err)
                            : NULL;
    char got[64] = "";
    struct sample first = d ? sample_at(d, 0) : (struct sample){0};
    for (long i = 1; i + 1 < first.n; i++)
        got[i - 1] = (char)(first.ids[i] - FAKE_BYTE);
    is_str(got, "a \"b\"\n", "what a quoted field says");
    dataset_close(d);
    d = put("t.csv", "id,text\n1\n2,b\n3,c,d\n4,e\n") == 0
            ? read_path(at("t.csv"), (struct dataset_options){.bad_max = 2}, &err)
            : NULL;
    ok(d && dataset_size(d) == 2 && dataset_counts(d)->skipped[SKIP_BAD] == 2 && adds_up(d),
       "D02 rows that are bad are counted");
    dataset_close(d);
}

static void test_text(void)
{
    struct pesc_error err;
    enum { N = 3 << 20 };
    char *text = malloc(N + 1);
    long tokens = 0, whole = 1;
    if (!text)
        return;
    for (long i = 0; i < N; i++)
        text[i] = i % 1000 == 998 || i % 1000 == 999 || i % 10 == 5 ? '\n' : (char)('a' + i % 7);
    text[N] = 0;
    struct dataset *d = put("t.txt", text) == 0 ? read_path(at("t.txt"), NONE, &err) : NULL;
    for (long i = 0; d && i < dataset_size(d); i++) {
        struct sample s = sample_at(d, i);
        tokens += s.n - 2;
        whole &= i + 1 == dataset_size(d) ||
                 (s.ids[s.n - 2] == FAKE_BYTE + '\n' && s.ids[s.n - 3] == FAKE_BYTE + '\n');
    }
    is_long(tokens, N, "a long text is read whole");
    ok(d && dataset_size(d) == 4 && whole, "in stretches that end with paragraphs");
    dataset_close(d);
    free(text);
    reads((put("t.txt", "\xef\xbb\xbfOne.\r\n\r\nTwo.\n"), at("t.txt")), NONE, 1, "a text");
    refused((put("t.txt", " \n\n"), at("t.txt")), NONE, PESC_E_DS_EMPTY, "no records",
            "D01 a blank text");
    refused((put("t.txt", "One\ntwo \xe9t\xe9\n"), at("t.txt")), NONE, PESC_E_DS_ENC,
            "line 2 (byte 8)", "D03 a text that is not UTF-8");
    reads((put("t.txt", A A), at("t.txt")), NONE, 2, "JSON lines of another name");
    ok(strstr(heard, "W-DS-JSON") != NULL, "which is told");
    refused((put("t.dat", "just words"), at("t.dat")), NONE, PESC_E_DS_FORMAT, ".csv",
            "words of unknown kind");
    reads((put("t.dat", " [" A "]"), at("t.dat")), NONE, 1, "JSON needs no name");
}

/* The same at any number of threads, errors included. */
static void test_order(void)
{
    enum { N = 5000 };
    struct pesc_error err;
    char *text = malloc(N * 128), *p = text;
    if (!text)
        return;
    for (long i = 0; i < N; i++)
        p += i == 3210 || i == 4321 ? sprintf(p, "{\"text\":%ld,\"pad\":\"%060ld\"}\n", i, i)
                                    : sprintf(p, "{\"text\":\"%ld\",\"pad\":\"%060ld\"}\n", i, i);
    char sha[65] = "";
    omp_set_num_threads(4);
    ok(put("o.jsonl", text) == 0, "records, two of them bad");
    free(text);
    refused(at("o.jsonl"), NONE, PESC_E_DS_FIELD, "line 3211", "the first error is the error");
    struct dataset *d = read_path(at("o.jsonl"), (struct dataset_options){.bad_max = 2}, &err);
    int good = d && dataset_size(d) == N - 2;
    long before = -1;
    for (long i = 0; good && i < N - 2; i++) {
        struct sample s = sample_at(d, i);
        char want[16];
        snprintf(want, sizeof want, "%ld", s.record);
        good = s.n == (long)strlen(want) + 2 && s.record > before;
        before = s.record;
        for (long k = 0; good && want[k]; k++)
            good = s.ids[k + 1] == FAKE_BYTE + want[k];
    }
    ok(good, "samples in the order of their records");
    if (d)
        strcpy(sha, dataset_sha256(d));
    dataset_close(d);
    omp_set_num_threads(1);
    d = read_path(at("o.jsonl"), (struct dataset_options){.bad_max = 2}, &err);
    ok(d && !strcmp(dataset_sha256(d), sha), "the same with one thread");
    dataset_close(d);
    omp_set_num_threads(4);
    d = read_path(at("o.jsonl"), (struct dataset_options){.max_records = 1500}, &err);
    ok(d && dataset_size(d) == 1500 && dataset_counts(d)->read == 1500, "no more than asked for");
    dataset_close(d);
    refused(at("o.jsonl"), (struct dataset_options){.bad_max = 1}, PESC_E_DS_FIELD, "line 4322",
            "the second of one tolerated is the error");
}

int main(void)
{
    struct pesc_error err = {0};
    if (!mkdtemp(dir))
        return 99;
    test_csv();
    test_text();
    test_order();
    ok(dir_remove_all(dir, &err) == 0, "cleaned up");
    return tap_done();
}
