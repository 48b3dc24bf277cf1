/* Bad tokenizer files are refused with the right code and exit status (K01 to K08). */
#include "config.h"
#include "tests/unit/tok_make.h"

#include <fcntl.h>

static void refused(struct maker *m, json_t *root, const char *code, int status, const char *part,
                    const char *what)
{
    struct pesc_error err;
    struct tokenizer *t = maker_open(m, root, &err);
    int good = !t && err.name && !strcmp(err.name, code) && err.exit_status == status &&
               strstr(err.text, part);
    if (!ok(good, "%s: %s, exit %d", what, code, status))
        diag("got %s, exit %d: %s", err.name ? err.name : "no error", err.exit_status, err.text);
    tokenizer_close(t);
}

static void refused_text(struct maker *m, const char *text, size_t n, const char *what)
{
    struct pesc_error err = {0};
    struct tokenizer *t;
    int rc = maker_put(m, "tokenizer.json", text, n) ? tokenizer_open(m->dir, NULL, &t, &err) : 0;
    ok(rc == -1 && !t && err.name && !strcmp(err.name, "E-TOK-JSON") && err.exit_status == 3,
       "K01 %s: E-TOK-JSON, exit 3", what);
}

static void test_files(struct maker *m)
{
    char path[PATH_CAP];
    struct pesc_error err = {0};
    json_t *root = byte_model(NULL);
    char *text = json_dumps(root, 0);
    json_decref(root);
    size_t n = strlen(text), cuts = 0, refusals = 0;
    for (size_t i = 0; i < n; i += 97, cuts++) {
        struct tokenizer *t = NULL;
        err = (struct pesc_error){0};
        refusals += maker_put(m, "tokenizer.json", text, i) &&
                    tokenizer_open(m->dir, NULL, &t, &err) != 0 && err.exit_status == 3;
        tokenizer_close(t);
    }
    is_long((long)refusals, (long)cuts, "K01 truncated anywhere is refused");
    free(text);
    refused_text(m, "", 0, "empty file");
    refused_text(m, "[1]", 3, "not an object");
    static const char twice[] = "{\"model\":{\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}";
    refused_text(m, twice, sizeof twice - 1, "duplicate token");
    snprintf(path, sizeof path, "%s/tokenizer.json", m->dir);
    int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT, 0600);
    struct tokenizer *t;
    ok(fd >= 0 && ftruncate(fd, (64 << 20) + 1) == 0 && close(fd) == 0 &&
           tokenizer_open(m->dir, NULL, &t, &err) != 0 && !strcmp(err.name, "E-TOK-JSON"),
       "K01 more than 64 MiB: E-TOK-JSON");
    unlink(path);
    err = (struct pesc_error){0};
    ok(tokenizer_open(m->dir, NULL, &t, &err) != 0 && err.exit_status == 9, "no file: exit 9");
    char *deep = malloc(20001);
    memset(deep, '[', 20000);
    refused_text(m, deep, 20000, "deep nesting");
    free(deep);
}

static void test_values(struct maker *m)
{
    static const struct {
        const char *tokens, *merges, *extra, *code, *part, *what;
        int status;
    } bad[] = {
        {"a b ab", "a x", NULL, "E-TOK-MERGE", "\"x\"", "K02 unknown right part", 3},
        {"a b ab", "x b", NULL, "E-TOK-MERGE", "\"x\"", "K02 unknown left part", 3},
        {"a b c ab", "a c", NULL, "E-TOK-MERGE", "\"ac\"", "K02 unknown result", 3},
        {"a b ab", "ab", NULL, "E-TOK-MERGE", "two tokens", "K02 one token", 3},
        {"a b ab", "a b ab", NULL, "E-TOK-MERGE", "two tokens", "K02 three tokens", 3},
        {"a", "", "{'model': {'merges': [['a']]}}", "E-TOK-MERGE", "two", "K02 short array", 3},
        {"a", "", "{'model': {'merges': [7]}}", "E-TOK-MERGE", "two", "K02 number", 3},
        {"a", "", "{'model': {'merges': {'a': 1}}}", "E-TOK-MERGE", "array", "K02 object", 3},
        {"a", "", "{'model': {'merges': [['', 'a']]}}", "E-TOK-MERGE", "\"\"", "K02 empty", 3},
        {"a", "", "{'model': {'vocab': {'b': 0}}}", "E-TOK-ID", "same id", "K03 duplicate id", 3},
        {"a", "", "{'model': {'vocab': {'b': -1}}}", "E-TOK-ID", "range", "K03 negative id", 3},
        {"a", "", "{'model': {'vocab': {'b': 4294967296}}}", "E-TOK-ID", "range", "K03 2^32", 3},
        {"a", "", "{'model': {'vocab': {'b': 1.5}}}", "E-TOK-ID", "integer", "K03 fraction", 3},
        {"a", "", "{'model': {'vocab': {'b': '1'}}}", "E-TOK-ID", "integer", "K03 text", 3},
        {"a", "", "{'added_tokens': [{'id': 4294967296, 'content': 'x'}]}", "E-TOK-ID", "range",
         "K03 added id", 3},
        {"a", "", "{'model': {'unk_token': 'zz'}}", "E-TOK-ID", "zz", "unk_token unknown", 3},
        {"a", "", "{'model': {'type': 'WordPiece'}}", "E-TOK-UNSUP", "WordPiece", "K04 model", 7},
        {"a", "", "{'model': {'type': 'Unigram'}}", "E-TOK-UNSUP", "Unigram", "K04 model", 7},
        {"a", "", "{'model': {'type': 'WordLevel'}}", "E-TOK-UNSUP", "WordLevel", "K04 model", 7},
        {"a", "", "{'model': {'dropout': 0.1}}", "E-TOK-UNSUP", "dropout", "K04 dropout", 7},
        {"a", "", "{'model': {'surprise': 1}}", "E-TOK-UNSUP", "surprise", "K04 model key", 7},
        {"a", "", "{'model': {'end_of_word_suffix': '</w>'}}", "E-TOK-UNSUP", "suffix",
         "K04 suffix", 7},
        {"a", "", "{'normalizer': {'type': 'Nmt'}}", "E-TOK-UNSUP", "Nmt", "K04 normalizer", 7},
        {"a", "", "{'normalizer': {'type': 'Sequence', 'normalizers': [{'type': 'Odd'}]}}",
         "E-TOK-UNSUP", "Odd", "K04 normalizer within a Sequence", 7},
        {"a", "", "{'normalizer': {'type': 'NFC', 'level': 9}}", "E-TOK-UNSUP", "level",
         "K04 normalizer key", 7},
        {"a", "", "{'pre_tokenizer': {'type': 'UnicodeScripts'}}", "E-TOK-UNSUP", "UnicodeScripts",
         "K04 pre-tokenizer", 7},
        {"a", "",
         "{'pre_tokenizer': {'type': 'Split', 'pattern': {'String': 'a'},"
         " 'behavior': 'Sideways', 'invert': false}}",
         "E-TOK-UNSUP", "behavior", "K04 behavior", 7},
        {"a", "",
         "{'added_tokens': [{'id': 5, 'content': 'x'}], 'post_processor': {'type': 'Sequence',"
         " 'processors': [{'type': 'BertProcessing', 'cls': ['x', 5], 'sep': ['x', 5]},"
         " {'type': 'BertProcessing', 'cls': ['x', 5], 'sep': ['x', 5]}]}}",
         "E-TOK-UNSUP", "more than one", "K04 two parts that add tokens", 7},
        {"a", "", "{'decoder': {'type': 'WordPiece'}}", "E-TOK-UNSUP", "WordPiece", "K04 decoder",
         7},
        {"a", "", "{'model': {'continuing_subword_prefix': '##'}}", "E-TOK-UNSUP", "prefix",
         "K04 prefix", 7},
        {"a", "", "{'post_processor': {'type': 'Odd'}}", "E-TOK-UNSUP", "Odd", "K04 post", 7},
        {"a", "", "{'decoder': {'type': 'CTC'}}", "E-TOK-UNSUP", "CTC", "K04 decoder", 7},
        {"a", "", "{'version': '2.0'}", "E-TOK-UNSUP", "version", "K04 version", 7},
        {"a", "", "{'added_tokens': [{'id': 5, 'content': ''}]}", "E-TOK-ADDED", "content",
         "K05 empty added token", 3},
        {"a b", "", "{'added_tokens': [{'id': 1, 'content': 'x'}]}", "E-TOK-ADDED", "\"b\"",
         "K05 id of another token", 3},
        {"a b", "", "{'added_tokens': [{'id': 9, 'content': 'b'}]}", "E-TOK-ADDED", "id 1",
         "K05 other id for a known token", 3},
        {"a", "", "{'added_tokens': [{'id': 5, 'content': 'x'}, {'id': 5, 'content': 'x'}]}",
         "E-TOK-ADDED", "twice", "K05 the same token twice", 3},
        {"a", "", "{'added_tokens': [{'id': 5, 'content': 'x'}, {'id': 5, 'content': 'y'}]}",
         "E-TOK-ADDED", "id 5", "K05 two tokens with one id", 3},
        {"a", "", "{'added_tokens': [{'id': 5, 'content': 'x', 'lstrip': 1}]}", "E-TOK-ADDED",
         "lstrip", "K05 flag of a wrong type", 3},
        {"a", "", "{'model': {'byte_fallback': true}}", "E-TOK-BYTES", "256",
         "K08 byte tokens missing", 3},
        {"a", "", "{'model': {'byte_fallback': 1}}", "E-TOK-JSON", "byte_fallback",
         "flag of a wrong type", 3},
        {"a", "",
         "{'post_processor': {'type': 'TemplateProcessing', 'single': [{'SpecialToken':"
         " {'id': 'x'}}, {'Sequence': {'id': 'A'}}], 'special_tokens': {'x': {'ids':"
         " [77]}}}}",
         "E-TOK-ID", "no token", "template with an unknown id", 3},
        {"a", "",
         "{'post_processor': {'type': 'TemplateProcessing', 'single': [],"
         " 'special_tokens': {}}}",
         "E-TOK-UNSUP", "leaves out", "template without the text", 7},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(m, small_model(bad[i].tokens, bad[i].merges, bad[i].extra), bad[i].code,
                bad[i].status, bad[i].part, bad[i].what);
}

static void test_regexes(struct maker *m)
{
    static const char *const bad[] = {"(a", "a)", "[a", "[a[^b]]", "[[:alpha:]]", "[a[b-c]]",
                                      "[a&&b]", "\\\\p{Nope}", "(?<n>a)", "a\\\\", "[\\\\W]",
                                      "(?m:a)", "\\\\1(a)", "a{2", "(?R)", "(*ACCEPT)", "\\\\Qa(",
                                      "(?#c)", "\\\\p", "*a", "\\\\R", "\\\\G", "\\\\p{L&}",
                                      /* regardless of case one character may stand for several */
                                      "(?i)fi", "(?i:ß)", "(?i:\\\\p{L})", "a(?i)b|c"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char extra[256], what[64];
        snprintf(extra, sizeof extra,
                 "{'pre_tokenizer': {'type': 'Split', 'pattern': {'Regex': '%s'},"
                 " 'behavior': 'Isolated', 'invert': false}}",
                 bad[i]);
        snprintf(what, sizeof what, "K04 regex %s", bad[i]);
        refused(m, small_model("a", "", extra), "E-TOK-UNSUP", 7, "regex", what);
    }
}

/* Damaged configurations beside a good tokenizer.json. */
static void test_config(struct maker *m)
{
    static const char *const bad[][2] = {
        {"{\"bos_token\": ", "E-TOK-JSON"},
        {"[]", "E-TOK-JSON"},
        {"{\"added_tokens_decoder\": {\"x\": {\"content\": \"<x>\"}}}", "E-TOK-ID"},
        {"{\"added_tokens_decoder\": {\"0\": {\"content\": \"<x>\"}}}", "E-TOK-ADDED"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ok(maker_put(m, "tokenizer_config.json", bad[i][0], strlen(bad[i][0])), "config written");
        refused(m, small_model("a b", "", NULL), bad[i][1], 3, "", bad[i][0]);
    }
}

int main(void)
{
    struct maker m;
    if (!ok(maker_start(&m), "temporary folder"))
        return tap_done();
    test_files(&m);
    test_values(&m);
    test_regexes(&m);
    test_config(&m);
    maker_end(&m);
    return tap_done();
}
