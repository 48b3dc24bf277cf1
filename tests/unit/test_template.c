/* Templates on small made tokenizers: where ids and labels part, special tokens in texts, template
 * files, and what records of every kind become. */
#include "config.h"
#include "core/batch.h"
#include "core/file.h"
#include "datasets/dataset.h"
#include "datasets/template.h"
#include "tests/tap.h"
#include "tests/unit/tok_make.h"

#define FLAGS "'single_word': false, 'lstrip': false, 'rstrip': false, 'normalized': false"
#define SPECIAL(id, text) "{'id': " id ", 'content': '" text "', 'special': true, " FLAGS "}"
#define PLAIN(id, text) "{'id': " id ", 'content': '" text "', 'special': false, " FLAGS "}"

/* Bytes; ids 256 <|im_start|>, 257 <|im_end|>, 258 </s>, 259 <think> (an added token that is not
 * special), 260 two line ends, 261 a line end and a space, 262 qz, special and spelled by a merge.
 */
static struct tokenizer *bytes(struct maker *m)
{
    struct pesc_error err;
    static const char config[] = "{\"bos_token\": \"</s>\", \"eos_token\": \"<|im_end|>\"}";
    json_t *root = byte_model("{'added_tokens': [" SPECIAL("256", "<|im_start|>") ", " SPECIAL(
        "257", "<|im_end|>") ", " SPECIAL("258",
                                          "</s>") ", " PLAIN("259",
                                                             "<think>") ", " SPECIAL("262",
                                                                                     "qz") "]}");
    json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    json_object_set_new(vocab, "\xc4\x8a\xc4\x8a", json_integer(260));
    json_object_set_new(vocab, "\xc4\x8a\xc4\xa0", json_integer(261));
    json_object_set_new(vocab, "qz", json_integer(262));
    json_array_append_new(json_object_get(model, "merges"), json_string("q z"));
    json_array_append_new(json_object_get(model, "merges"), json_string("\xc4\x8a \xc4\x8a"));
    json_array_append_new(json_object_get(model, "merges"), json_string("\xc4\x8a \xc4\xa0"));
    if (!maker_put(m, "tokenizer_config.json", config, sizeof config - 1))
        return NULL;
    struct tokenizer *t = maker_open(m, root, &err);
    if (!t)
        diag("%s", err.text);
    return t;
}

/* Ids as text: bytes as they are, others as {id}; a '^' before what is trained. */
static const char *show(const int32_t *ids, const int32_t *labels, size_t n)
{
    static char out[4096];
    size_t at = 0;
    for (size_t i = 0; i < n && at + 16 < sizeof out; i++) {
        int was = i > 0 && labels[i - 1] != LABEL_MASKED, is = labels[i] != LABEL_MASKED;
        if (was != is)
            out[at++] = is ? '[' : ']';
        if (is && labels[i] != ids[i])
            out[at++] = '!';
        if (ids[i] < 256)
            out[at++] = (char)ids[i];
        else
            at += (size_t)snprintf(out + at, sizeof out - at, "{%d}", (int)ids[i]);
    }
    if (n && labels[n - 1] != LABEL_MASKED)
        out[at++] = ']';
    out[at] = 0;
    return out;
}

static void renders(const struct tokenizer *t, const char *id, struct chat c, enum loss_on loss,
                    const char *want, const char *what)
{
    struct ids ids = {0}, labels = {0};
    struct pesc_error err = {0};
    int rc = template_render(template_find(id), t, &c, loss, &ids, &labels, &err);
    is_str(rc == 0 && ids.n == labels.n ? show(ids.v, labels.v, ids.n) : err.text, want, what);
    free(ids.v);
    free(labels.v);
}

#define U(s)                                                                                       \
    {                                                                                              \
        .role = ROLE_USER, .text = s                                                               \
    }
#define A(s)                                                                                       \
    {                                                                                              \
        .role = ROLE_ASSISTANT, .text = s                                                          \
    }
#define S(s)                                                                                       \
    {                                                                                              \
        .role = ROLE_SYSTEM, .text = s                                                             \
    }
#define CHAT(...)                                                                                  \
    (struct chat)                                                                                  \
    {                                                                                              \
        .messages = (const struct message[]){__VA_ARGS__},                                         \
        .n = (long)(sizeof((const struct message[]){__VA_ARGS__}) / sizeof(struct message))        \
    }

static void test_labels(const struct tokenizer *t)
{
    renders(
        t, "chatml", CHAT(U("a"), A("b"), U("c"), A("d")), LOSS_ANSWERS,
        "{256}user\na{257}\n{256}assistant\n[b{257}]\n{256}user\nc{257}\n{256}assistant\n[d{257}"
        "]\n",
        "every answer is trained with its end of turn");
    renders(t, "chatml", CHAT(U("a"), A("b"), U("c"), A("d")), LOSS_LAST,
            "{256}user\na{257}\n{256}assistant\nb{257}\n{256}user\nc{257}\n{256}assistant\n[d{257}]"
            "\n",
            "the last only");
    renders(t, "chatml", CHAT(U("a"), A("b")), LOSS_ALL,
            "[{256}user\na{257}\n{256}assistant\nb{257}\n]", "all");
    renders(t, "chatml",
            CHAT(U("a"), {.role = ROLE_ASSISTANT, .text = "b", .untrained = 1}, U("c"), A("d")),
            LOSS_ANSWERS,
            "{256}user\na{257}\n{256}assistant\nb{257}\n{256}user\nc{257}\n{256}assistant\n[d{257}]"
            "\n",
            "an answer of weight 0 is context");
    renders(t, "chatml", CHAT(U("a")), LOSS_ANSWERS, "{256}user\na{257}\n", "nothing to train");
    struct chat open = CHAT(S("s"), U("a"));
    open.open = 1;
    renders(t, "chatml", open, LOSS_ANSWERS,
            "{256}system\ns{257}\n{256}user\na{257}\n{256}assistant\n",
            "an open conversation ends where the answer begins");
}

static void test_boundary(const struct tokenizer *t)
{
    renders(t, "chatml", CHAT(U("a"), A("\nb")), LOSS_ANSWERS,
            "{256}user\na{257}\n{256}assistant\n[\nb{257}]\n",
            "a token that would span the boundary is parted there");
    renders(t, "chatml", CHAT(U("a"), A("\nb")), LOSS_ALL,
            "[{256}user\na{257}\n{256}assistant{260}b{257}\n]",
            "and is one where the label does not change");
    renders(t, "chatml", CHAT(U("\n\n"), A("\n\n b")), LOSS_ANSWERS,
            "{256}user{260}\n{257}\n{256}assistant\n[{260} b{257}]\n",
            "what follows is tokenized as it would be generated");
    renders(t, "qwen3", CHAT(U("a"), A(" b")), LOSS_ANSWERS,
            "{256}user\na{257}\n{256}assistant\n{259}{260}</think>{260}[ b{257}]\n",
            "an empty thought is the template's, not the model's");
    renders(t, "qwen3", CHAT(U("a"), A("<think>\nc\n</think>\n\nb")), LOSS_ANSWERS,
            "{256}user\na{257}\n{256}assistant\n[{259}\nc\n</think>{260}b{257}]\n",
            "a thought is trained");
}

/* D14: special tokens that a text spells are text; those of the template are tokens. */
static void test_special(const struct tokenizer *t)
{
    renders(
        t, "chatml", CHAT(S("</s>"), U("<|im_end|>"), A("<|im_start|>")), LOSS_ANSWERS,
        "{256}system\n</s>{257}\n{256}user\n<|im_end|>{257}\n{256}assistant\n[<|im_start|>{257}]"
        "\n",
        "D14 special tokens in every role's text stay text");
    renders(t, "chatml", CHAT(U("<|im_"), A("end|>")), LOSS_ANSWERS,
            "{256}user\n<|im_{257}\n{256}assistant\n[end|>{257}]\n", "D14 also in parts");
    renders(t, "chatml", CHAT(U("qz"), A("x")), LOSS_ANSWERS,
            "{256}user\nqz{257}\n{256}assistant\n[x{257}]\n", "D14 also where merging spells one");
    renders(t, "chatml", CHAT(U("<think>"), A("x")), LOSS_ANSWERS,
            "{256}user\n{259}{257}\n{256}assistant\n[x{257}]\n",
            "added tokens that are not special are found, as everywhere");
    renders(t, "vicuna", CHAT(S("s"), U("{eos}"), A("{bos}")), LOSS_ANSWERS,
            "{258}s USER: {eos} ASSISTANT:[ {bos}{257}]", "names of tokens in a text are text");
    struct chat tools = CHAT(U("a"), A("b"));
    tools.tools = json_pack("[{s:s, s:f}]", "x", "<|im_end|>", "y", 1e16);
    renders(
        t, "qwen3", tools, LOSS_LAST,
        "{256}system\n# Tools{260}You may call one or more functions to assist with the user "
        "query.{260}You are provided with function signatures within <tools></tools> XML tags:\n"
        "<tools>\n{\"x\": \"<|im_end|>\", \"y\": 1e+16}\n</tools>{260}For each function call, "
        "return a json object with function name and arguments within <tool_call></tool_call> "
        "XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n"
        "</tool_call>{257}\n{256}user\na{257}\n{256}assistant\n{259}{260}</think>{260}[b{257}]\n",
        "D14 and in tools, whose numbers are written as Python does");
    json_decref((json_t *)tools.tools);
}

/* A tokenizer with a space put before every text, as Llama 2's. */
static void test_prefix_space(void)
{
    struct maker m;
    struct pesc_error err;
    struct ids ids = {0}, labels = {0};
    if (!ok(maker_start(&m), "temporary folder"))
        return;
    struct tokenizer *t = maker_open(
        &m,
        small_model("\xe2\x96\x81 a b : A S I T N U E R . \xe2\x96\x81"
                    "a :b",
                    "\xe2\x96\x81 a,: b",
                    "{'normalizer': {'type': 'Sequence', 'normalizers': [{'type': 'Prepend',"
                    " 'prepend': '\xe2\x96\x81'}, {'type': 'Replace', 'pattern': {'String': ' '},"
                    " 'content': '\xe2\x96\x81'}]}}"),
        &err);
    struct chat c = CHAT(S("b"), U("b"), A("a"));
    int rc =
        t ? template_render(template_find("vicuna"), t, &c, LOSS_ANSWERS, &ids, &labels, &err) : -1;
    ok(rc == 0, "Vicuna: %s", err.text);
    static const int32_t want[] = {0, 2, 0, 9, 5, 10, 11, 3, 0, 2, 0,
                                   4, 5, 5, 6, 5, 7,  4,  8, 7, 3, 13};
    ok(ids.n == sizeof want / sizeof *want && !memcmp(ids.v, want, sizeof want),
       "one space more at the beginning only");
    ok(ids.n > 1 && labels.v[ids.n - 1] == 13 && labels.v[ids.n - 2] == LABEL_MASKED,
       "the answer's first token takes the space that the template puts before it");
    struct template *made = NULL;
    json_t *tree = quoted("{'user': {'before': 'U'}, 'assistant': {'before': ':'}}");
    c = CHAT(U("b"), A("b"));
    ids.n = labels.n = 0;
    rc = template_from_json(tree, "x", "0", &made, &err);
    rc |= rc ? rc : template_render(made, t, &c, LOSS_ANSWERS, &ids, &labels, &err);
    static const int32_t parted[] = {0, 9, 2, 3, 2};
    ok(rc == 0 && ids.n == 5 && !memcmp(ids.v, parted, sizeof parted) && labels.v[4] == 2 &&
           labels.v[3] == LABEL_MASKED,
       "an answer parted from the prompt gets no space of its own");
    ids.n = labels.n = 0;
    rc |= rc ? rc : template_render(made, t, &c, LOSS_ALL, &ids, &labels, &err);
    ok(rc == 0 && ids.n == 4 && ids.v[3] == 14, "though in one go they share a token");
    template_free(made);
    json_decref(tree);
    free(ids.v);
    free(labels.v);
    tokenizer_close(t);
    maker_end(&m);
}

static void refused(const struct tokenizer *t, const char *id, struct chat c, const char *says)
{
    struct ids ids = {0}, labels = {0};
    struct pesc_error err = {0};
    int rc = template_render(template_find(id), t, &c, LOSS_ANSWERS, &ids, &labels, &err);
    ok(rc != 0 && err.code == PESC_E_DS_TEMPLATE && strstr(err.text, says), "%s: %s", id, err.text);
    free(ids.v);
    free(labels.v);
}

static void test_refusals(const struct tokenizer *t)
{
    json_t *calls = json_pack("[{s:{s:s, s:{}}}, {s:{s:s, s:{}}}]", "function", "name", "f",
                              "arguments", "function", "name", "g", "arguments");
    struct chat called = CHAT(U("a"), {.role = ROLE_ASSISTANT, .text = "", .calls = calls});
    refused(t, "gemma", CHAT(S("s"), U("a"), A("b")), "takes no system text");
    refused(t, "gemma", CHAT(U("a"), U("a"), A("b")), "take turns");
    refused(t, "llama2", CHAT(A("b")), "take turns");
    refused(t, "llama2", CHAT(S("s")), "without a question");
    refused(t, "mistral", CHAT(U("a"), S("s"), A("b")), "at the beginning only");
    refused(t, "smollm3", CHAT(U("a"), S("s"), A("b")), "at the beginning only");
    refused(t, "chatml", CHAT(U("a"), {.role = ROLE_TOOL, .text = "1"}, A("b")), "results");
    refused(t, "chatml", called, "function calls");
    refused(t, "llama3.2", called, "one function call");
    struct chat tools = CHAT(U("a"), A("b"));
    tools.tools = calls;
    refused(t, "smollm3", tools, "tools");
    struct chat late = CHAT(A("b"), U("a"), A("b"));
    late.tools = calls;
    refused(t, "llama3.1", late, "comes first");
    json_decref(calls);
}

static void from_file(const char *text, const char *want, const struct tokenizer *t,
                      const char *what)
{
    json_t *tree = quoted(text);
    struct template *made = NULL;
    struct pesc_error err = {0};
    struct ids ids = {0}, labels = {0};
    struct chat c = CHAT(S("s"), U("a"), A(" b "));
    int rc = template_from_json(tree, "x.yaml", "00ff", &made, &err);
    json_decref(tree);
    if (rc == 0)
        rc = template_render(made, t, &c, LOSS_ANSWERS, &ids, &labels, &err);
    is_str(rc == 0 ? show(ids.v, labels.v, ids.n) : err.text, want, what);
    if (made)
        is_str(template_id(made), "x.yaml sha256:00ff", "a file's template is called by its name");
    template_free(made);
    free(ids.v);
    free(labels.v);
}

static void test_files(const struct tokenizer *t)
{
    from_file("{'begin': '{bos}', 'user': {'before': 'Q: ', 'after': '|'}, 'assistant': {'before':"
              " 'A:', 'lead': ' ', 'after': '{eos}', 'tail': '|'}, 'system': {'before': '(',"
              " 'after': ')'}, 'end': '.', 'trim': 'true', 'stop': ['|']}",
              "{258}(s)Q: a|A:[ b{257}]|.", t, "a template of one's own");
    from_file(
        "{'like': 'chatml', 'system': {'place': 'dropped'}, 'user': {'before': '<|im_start|>me:'"
        "}}",
        "{256}me:a{257}\n{256}assistant\n[ b {257}]\n", t, "one that differs a little");
}

static void test_file_errors(void)
{
    static const char *const bad[][2] = {
        {"{'user': {'before': 'a'}}", "are needed"},
        {"{'like': 'nobody'}", "like is none of camelidae|"},
        {"{'like': 'chatml', 'colour': 'red'}", "unknown key colour"},
        {"{'like': 'chatml', 'user': {'behind': 'x'}}", "unknown key user.behind"},
        {"{'like': 'chatml', 'trim': 'perhaps'}", "neither true nor false"},
        {"{'like': 'chatml', 'system': {'place': 'attic'}}", "system.place is none of"},
        {"{'like': 'chatml', 'stop': ['a', 'b', 'c', 'd', 'e']}", "stop is not a list"},
        {"{'like': 'chatml', 'begin': ['a']}", "begin is not a text"},
        {"['a']", "key: value"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct template *made = NULL;
        struct pesc_error err = {0};
        json_t *tree = quoted(bad[i][0]);
        ok(template_from_json(tree, "x.yaml", "00", &made, &err) != 0 && !made &&
               err.code == PESC_E_USAGE_CONFIG && strstr(err.text, bad[i][1]),
           "refused: %s", err.text);
        json_decref(tree);
    }
}

/* A record as the trainer sees it. */
static void sample(const struct tokenizer *t, const char *record, struct dataset_options o,
                   const char *format, const char *want, const char *what)
{
    struct dataset *d = NULL;
    struct pesc_error err = {0};
    const char *path = "test_template.tmp.jsonl";
    char *text = strdup(record);
    for (char *p = text; p && *p; p++)
        *p = *p == '\'' ? '"' : *p;
    if (!o.template_id)
        o.template_id = "vicuna";
    o.vocab_size = 263;
    if (text && file_write(path, text, strlen(text), &err) == 0 &&
        dataset_open(&path, 1, t, &o, NULL, &d, &err) == 0) {
        struct sample s = {0};
        if (dataset_sample(d, 0, &s, &err) != 0)
            diag("%s", err.text);
        is_str(show(s.ids, s.labels, (size_t)s.n), want, what);
        is_str(data_format_name(dataset_source_at(d, 0)->format), format, "its format");
    } else {
        is_str(err.text, want, what);
    }
    remove(path);
    free(text);
    dataset_close(d);
}

#define NONE ((struct dataset_options){0})
#define QA "{258}s USER: q ASSISTANT:[ a{257}]"
#define WITH_SYSTEM ((struct dataset_options){.system = "s"})

static void test_formats(const struct tokenizer *t)
{
    static const char *const pairs[] = {
        "{'prompt': 'q', 'completion': 'a'}",
        "{'prompt': 'q', 'response': 'a'}",
        "{'question': 'q', 'answer': 'a'}",
        "{'query': 'q', 'response': 'a'}",
        "{'problem': 'q', 'solution': 'a'}",
        "{'prompt': 'q', 'chosen': 'a', 'rejected': 'b'}",
        "{'prompt': [{'role': 'user', 'content': 'q'}], 'completion': [{'role': 'assistant',"
        " 'content': 'a'}]}",
        "{'prompt': 'q', 'chosen': [{'role': 'user', 'content': 'q'}, {'role': 'assistant',"
        " 'content': 'a'}], 'rejected': []}",
        "{'chosen': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}]}",
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        sample(t, pairs[i], WITH_SYSTEM, "prompt/answer", QA, pairs[i]);
    sample(t,
           "{'instruction': 's', 'conversations': [{'from': 'human', 'value': 'q'}, {'from': "
           "'gpt', 'value': 'a'}, {'from': 'human', 'value': 'x'}]}",
           WITH_SYSTEM, "sharegpt", QA, "ShareGPT; what follows the last answer is dropped");
    sample(t,
           "{'system': 's', 'conversations': [{'role': 'user', 'content': 'q'}, {'role': "
           "'assistant', 'content': 'a'}]}",
           NONE, "sharegpt", QA, "with other names");
    sample(t, "{'conversation': [{'from': 'user', 'value': 'q'}, {'from': 'bot', 'value': 'a'}]}",
           WITH_SYSTEM, "sharegpt", QA, "and others");
    sample(t,
           "{'messages': [{'role': 'developer', 'content': 's'}, {'role': 'user', 'content': "
           "[{'type': 'text', 'text': 'q'}]}, {'role': 'assistant', 'content': 'a'}]}",
           NONE, "messages", QA, "messages in parts");
    sample(t, "{'instruction': 'x', 'input': 'y', 'output': 'a'}", WITH_SYSTEM, "alpaca",
           "{258}s USER: x{260}y ASSISTANT:[ a{257}]",
           "Alpaca in a chat template: instruction and input are one question");
    sample(t, "{'instruction': 'q', 'context': '', 'response': 'a'}", WITH_SYSTEM, "alpaca", QA,
           "Alpaca by other names");
    sample(t, "{'instruction': 'q', 'instances': [{'input': '', 'output': 'a'}, {'output': 'b'}]}",
           WITH_SYSTEM, "self-instruct", QA, "Self-Instruct");
    sample(t,
           "{'messages': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': "
           "'b', 'weight': 0}, {'role': 'user', 'content': 'c'}, {'role': 'assistant', "
           "'content': 'a', 'weight': 1}]}",
           WITH_SYSTEM, "messages", "{258}s USER: q ASSISTANT: b{257}USER: c ASSISTANT:[ a{257}]",
           "weight 0 is not trained");
    sample(t,
           "{'conversations': [{'from': 'human', 'value': 'q'}, {'from': 'gpt', 'value': ''}, "
           "{'from': 'human', 'value': 'c'}, {'from': 'gpt', 'value': 'a'}]}",
           WITH_SYSTEM, "sharegpt", "{258}s USER: q ASSISTANT: {257}USER: c ASSISTANT:[ a{257}]",
           "nor is an answer that says nothing");
    sample(t,
           "{'tools': '[{\\u0022n\\u0022:1}]', 'conversations': [{'from': 'human', 'value': 'q'}, "
           "{'from': 'function_call', 'value': '{\\u0022name\\u0022: \\u0022f\\u0022, "
           "\\u0022arguments\\u0022: {}}'}, {'from': 'observation', 'value': '1'}, {'from': "
           "'gpt', 'value': 'a'}]}",
           (struct dataset_options){.template_id = "chatml"}, "",
           "test_template.tmp.jsonl: no usable record: 1 read, 1 no place in the template",
           "tools in a template without: skipped and counted");
    sample(t,
           "{'messages': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': "
           "null, 'function_call': {'name': 'f', 'arguments': '{\\u0022x\\u0022:[1,2.50]}'}}]}",
           (struct dataset_options){.template_id = "minimind"}, "messages",
           "{256}user\nq{257}\n{256}assistant\n{259}{260}</think>{260}[<tool_call>\n{\"name\": "
           "\"f\", \"arguments\": {\"x\": [1, 2.5]}}\n</tool_call>{257}]",
           "a call whose arguments are text");
}

/* D04, D05 for chats. */
static void test_bad_records(const struct tokenizer *t)
{
#define FILE_ "test_template.tmp.jsonl, line 1: "
    static const char *const bad[][2] = {
        {"{'messages': {}}", FILE_ "'messages' is not an array; fields seen: messages"},
        {"{'messages': ['x']}",
         FILE_ "'messages' holds something without a role; fields seen: messages"},
        {"{'messages': [{'role': 'narrator', 'content': 'x'}]}",
         FILE_ "role 'narrator' is none of system, user, assistant, tool, human, gpt ..."},
        {"{'messages': [{'role': 'user', 'content': 7}]}",
         FILE_ "'content' is not a string; fields seen: messages"},
        {"{'messages': [{'role': 'assistant', 'content': 'x', 'weight': 'much'}]}",
         FILE_ "'weight' is not a number; fields seen: messages"},
        {"{'messages': [{'role': 'assistant', 'tool_calls': [{}]}]}",
         FILE_ "'tool_calls' holds a call without a name; fields seen: messages"},
        {"{'messages': [], 'tools': 7}", FILE_ "'tools' is not an array; fields seen: messages, "
                                               "tools"},
        {"{'question_id': 1, 'turns': ['x']}",
         FILE_ "questions without answers ('turns'): there is nothing to train on"},
        {"{'choices': [{'turns': ['x']}]}",
         FILE_ "answers without their questions ('choices'): there is nothing to train on"},
        {"{'instruction': 'x', 'instances': 7}", FILE_ "'instances' is not an array; fields seen: "
                                                       "instruction, instances"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        sample(t, bad[i][0], NONE, "", bad[i][1], "D04");
    static const char none[] = "test_template.tmp.jsonl: no usable record: 1 read";
    char want[256];
    snprintf(want, sizeof want, "%s, 1 empty", none);
    sample(t, "{'messages': [{'role': 'user', 'content': 'q'}]}", NONE, "", want,
           "D05 no answer at all");
    snprintf(want, sizeof want, "%s, 1 no trained tokens", none);
    sample(t, "{'messages': [{'role': 'assistant', 'content': 'q', 'weight': 0}]}", NONE, "", want,
           "D05 no answer that is trained");
    snprintf(want, sizeof want, "%s, 1 no place in the template", none);
    sample(t,
           "{'messages': [{'role': 'user', 'content': [{'type': 'image_url'}]}, {'role': "
           "'assistant', 'content': 'q'}]}",
           NONE, "", want, "a picture has no place");
}

/* The model's own template is found beside its tokenizer. */
static void test_own(void)
{
    static const struct {
        const char *file, *text, *want;
    } own[] = {
        {"tokenizer_config.json",
         "{\"chat_template\": \"{% for message in messages %}{{'<|im_start|>' + message['role'] + "
         "'\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if "
         "add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}\"}",
         "chatml"},
        {"tokenizer_config.json",
         "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"x\"}, {\"name\": "
         "\"default\", \"template\": \"{%- for message in messages -%}{{ \\\"<|im_start|>\\\" + "
         "message.role + \\\"\\\\n\\\" + message.content + \\\"<|im_end|>\\\\n\\\" }}{%- endfor -%}"
         "{%- if add_generation_prompt -%}{{ \\\"<|im_start|>assistant\\\\n\\\" }}{%- endif -%}\"}]"
         "}",
         "chatml"},
        {"tokenizer_config.json", "{}", "none"},
        {"tokenizer_config.json", "{\"chat_template\": \"{{ messages }}\"}", "E-TOK-TEMPLATE"},
        {"chat_template.jinja",
         "{% for message in messages %}{{'<|im_start|>' + message['role'] + ' ' + "
         "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}"
         "{{ '<|im_start|>assistant\\n' }}{% endif %}",
         "E-TOK-TEMPLATE"},
    };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        struct maker m;
        struct pesc_error err;
        const struct template *tpl = NULL;
        if (!maker_start(&m) || !maker_put(&m, own[i].file, own[i].text, strlen(own[i].text)))
            return;
        struct tokenizer *t = maker_open(&m, byte_model(NULL), &err);
        int rc = t ? template_of_model(t, &tpl, &err) : -1;
        is_str(rc != 0 ? err.name : tpl ? template_id(tpl) : "none", own[i].want, own[i].file);
        if (rc != 0)
            ok(strstr(err.text, "--template one of camelidae|") && err.exit_status == 7,
               "the error lists the choices: %s", err.text);
        tokenizer_close(t);
        maker_end(&m);
    }
}

int main(void)
{
    struct maker m;
    if (!ok(maker_start(&m), "temporary folder"))
        return tap_done();
    struct tokenizer *t = bytes(&m);
    if (ok(t != NULL, "a tokenizer of bytes")) {
        test_labels(t);
        test_boundary(t);
        test_special(t);
        test_refusals(t);
        test_files(t);
        test_formats(t);
        test_bad_records(t);
    }
    tokenizer_close(t);
    maker_end(&m);
    test_prefix_space();
    test_file_errors();
    test_own();
    return tap_done();
}
