/* Conversations in real chat templates: text and ids against Jinja and an independent tokenizer;
 * which templates are recognised; data files; another trainer's labels. */
#include "config.h"
#include "core/batch.h"
#include "core/file.h"
#include "core/json.h"
#include "datasets/dataset.h"
#include "datasets/template.h"
#include "tests/tap.h"

#include <unistd.h>

static const char *material;

static json_t *load(const char *name)
{
    char path[4096];
    struct pesc_error err = {0};
    snprintf(path, sizeof path, "%s/%s", material, name);
    return path_exists(path) ? json_file(path, 64 << 20, PESC_E_DS_JSON, &err) : NULL;
}

/* The tokenizer of a folder of the material, or NULL. */
static struct tokenizer *tokenizer_of(const char *dir)
{
    char path[4096];
    struct pesc_error err = {0};
    struct tokenizer *t = NULL;
    snprintf(path, sizeof path, "%s/%s/tokenizer.json", material, dir);
    if (!path_exists(path))
        return NULL;
    *strrchr(path, '/') = 0;
    if (tokenizer_open(path, NULL, &t, &err) != 0)
        diag("%s: %s", dir, err.text);
    return t;
}

/* A tokenizer made of one folder's with further added tokens: from another folder, or "a b" with
 * ids from id on. It is made in a folder of its own, which is gone when this returns. */
static struct tokenizer *extended(const char *dir, const char *from, const char *names, long id)
{
    char path[4096], made[] = "/tmp/pesc-test-XXXXXX";
    struct pesc_error err = {0};
    struct tokenizer *t = NULL;
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    json_t *root = load(path), *more = NULL;
    json_t *config = json_pack("{s:s, s:s}", "bos_token", "<s>", "eos_token", "<|endoftext|>");
    if (from) {
        snprintf(path, sizeof path, "%s/tokenizer.json", from);
        more = load(path);
        json_object_set(root, "added_tokens", json_object_get(more, "added_tokens"));
    }
    for (const char *p = names; p && *p; p += strcspn(p, " "), p += *p == ' ')
        json_array_append_new(json_object_get(root, "added_tokens"),
                              json_pack("{s:I, s:s%, s:b, s:b, s:b, s:b, s:b}", "id",
                                        (json_int_t)id++, "content", p, strcspn(p, " "), "special",
                                        0, "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized",
                                        0));
    char *text = json_dumps(root, 0), *other = json_dumps(config, 0);
    if (mkdtemp(made)) {
        snprintf(path, sizeof path, "%s/tokenizer.json", made);
        int rc = text ? file_write(path, text, strlen(text), &err) : -1;
        snprintf(path, sizeof path, "%s/tokenizer_config.json", made);
        if (from)
            rc |= file_write(path, other, strlen(other), &err);
        if (rc != 0 || tokenizer_open(made, NULL, &t, &err) != 0)
            diag("%s: %s", dir, err.text);
        (void)!dir_remove_all(made, &err);
    }
    free(text);
    free(other);
    json_decref(root);
    json_decref(more);
    json_decref(config);
    return t;
}

/* Phi-3's tokenizer is Llama 2's, Qwen3's is Qwen2.5's, with further tokens; the folder itself is
 * taken where it is there. */
static struct tokenizer *tokenizer_for(const char *file, const char *dir)
{
    char own[256];
    snprintf(own, sizeof own, "%.200s", file);
    if (strchr(own, '/'))
        *strchr(own, '/') = 0;
    struct tokenizer *t = strcmp(own, "tok-qwen2.5") != 0 ? tokenizer_of(own) : NULL;
    if (t || !dir)
        return t;
    if (!strcmp(dir, "tok-phi-3")) /* its list of added tokens lacks this one */
        return extended("tok-llama2", "tok-added-tokens", "<|assistant|>", 32001);
    if (!strcmp(dir, "tok-qwen3"))
        return extended("tok-qwen2.5", NULL, "<tool_response> </tool_response> <think> </think>",
                        151665);
    return tokenizer_of(dir);
}

/* What each template of the renderings is, and a tokenizer with the same ids for its texts. */
static const struct source {
    const char *file, *id, *tokenizer;
} sources[] = {
    {"tok-llama2/tokenizer_config.json", "zephyr", "tok-llama2"},
    {"tok-mistral-v1/tokenizer_config.json", "chatml", "tok-mistral-v1"},
    {"tok-minimind/tokenizer_config.json", "minimind", "tok-minimind"},
    {"tok-phi-3/tokenizer_config.json", "phi3", "tok-phi-3"},
    {"tok-qwen2.5/tokenizer_config.json", "qwen2.5", "tok-qwen2.5"},
    {"tok-smollm2-instruct/tokenizer_config.json", "smollm2", "tok-smollm2-instruct"},
    {"tok-smollm-cosmo2/tokenizer_config.json", "chatml", "tok-smollm2-instruct"},
    {"tok-qwen2.5/tokenizer_config.qwen3.json", "qwen3", "tok-qwen3"},
    {"tok-chat-templates/meta-llama-Llama-3.1-8B-Instruct.jinja", "llama3.1", "tok-llama3"},
    {"tok-chat-templates/meta-llama-Llama-3.2-3B-Instruct.jinja", "llama3.2", "tok-llama3"},
    {"tok-chat-templates/HuggingFaceTB-SmolLM3-3B.jinja", "smollm3", NULL},
    {"tok-chat-templates/mistralai-Mistral-Nemo-Instruct-2407.jinja", "mistral-nemo", NULL},
    {"tok-chat-templates/Qwen-Qwen3-0.6B.jinja", "qwen3", "tok-qwen3"},
    {"tok-chat-templates/google-gemma-2-2b-it.jinja", "gemma", NULL},
    {"tok-chat-templates/microsoft-Phi-3.5-mini-instruct.jinja", "phi3.5", NULL},
};

static long messages_of(const json_t *list, struct message *m, long cap)
{
    long n = 0;
    for (; n < (long)json_array_size(list) && n < cap; n++) {
        const json_t *v = json_array_get(list, (size_t)n);
        const char *role = json_string_value(json_object_get(v, "role"));
        m[n] = (struct message){.role = !strcmp(role, "system") ? ROLE_SYSTEM
                                        : !strcmp(role, "user") ? ROLE_USER
                                                                : ROLE_ASSISTANT,
                                .text = json_string_value(json_object_get(v, "content"))};
    }
    return n;
}

static int same(const struct ids *got, const json_t *want)
{
    if (got->n != json_array_size(want))
        return 0;
    for (size_t i = 0; i < got->n; i++)
        if (got->v[i] != json_integer_value(json_array_get(want, i)))
            return 0;
    return 1;
}

static struct {
    long text, refused, ids, exact, parted, no_ids, unknown_ids;
} seen;

/* Ids with the loss on everything are those of the text in one go. With the loss on answers they
 * are too, unless a token spans the boundary between prompt and answer: then prompt and answer are
 * apart, so that generation starts from what was trained. */
static void check_ids(const struct template *tpl, const struct source *s, const struct chat *c,
                      const json_t *want, const char *what)
{
    struct ids all = {0}, labels = {0}, answers = {0}, answer_labels = {0};
    struct pesc_error err = {0};
    static const struct source *last;
    static struct tokenizer *t;
    if (last != s) { /* cases of one template follow each other */
        tokenizer_close(t);
        last = s;
        t = s ? tokenizer_for(s->file, s->tokenizer) : NULL;
    }
    if (!want)
        return;
    if (!t) {
        seen.no_ids++;
        return;
    }
    for (size_t i = 0; i < json_array_size(want); i++)
        if (!tokenizer_token(t, (int32_t)json_integer_value(json_array_get(want, i)))) {
            seen.unknown_ids++; /* a token that the sibling of the vocabulary lacks */
            return;
        }
    int rc = template_render(tpl, t, c, LOSS_ALL, &all, &labels, &err);
    rc |= template_render(tpl, t, c, LOSS_ANSWERS, &answers, &answer_labels, &err);
    if (!ok(rc == 0 && same(&all, want), "%s: ids", what))
        for (size_t i = 0; i < all.n; i++)
            if (all.v[i] != json_integer_value(json_array_get(want, i))) {
                diag("at %zu: %d, want %d; %s", i, all.v[i],
                     (int)json_integer_value(json_array_get(want, i)), err.text);
                break;
            }
    seen.ids++;
    seen.exact += same(&answers, want);
    if (!same(&answers, want)) {
        size_t n1, n2;
        char *a = tokenizer_decode(t, all.v, all.n, 0, &n1, &err);
        char *b = tokenizer_decode(t, answers.v, answers.n, 0, &n2, &err);
        ok(a && b && !strcmp(a, b), "%s: parted at an answer, the text is the same", what);
        free(a);
        free(b);
        seen.parted++;
    }
    free(all.v);
    free(labels.v);
    free(answers.v);
    free(answer_labels.v);
}

static void check_renderings(void)
{
    json_t *root = load("tok-golden-chat/rendered.json");
    const json_t *cases = json_object_get(root, "cases");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *v = json_array_get(cases, i);
        const char *file = json_string_value(json_object_get(v, "template")),
                   *conversation = json_string_value(json_object_get(v, "conversation"));
        const char *want = json_string_value(json_object_get(v, "text"));
        const struct source *s = NULL;
        struct message m[16];
        struct pesc_error err = {0};
        char what[256];
        size_t len;
        for (size_t k = 0; k < sizeof sources / sizeof *sources; k++)
            if (!strcmp(sources[k].file, file))
                s = &sources[k];
        snprintf(what, sizeof what, "%s, %s", file, conversation);
        if (!s) {
            ok(0, "%s: a template that this test knows", what);
            continue;
        }
        const struct template *tpl = template_find(s->id);
        struct chat c = {.messages = m,
                         .open = json_is_true(json_object_get(v, "add_generation_prompt"))};
        c.n = messages_of(json_object_get(json_object_get(root, "conversations"), conversation), m,
                          16);
        char *got =
            template_text(tpl, json_string_value(json_object_get(v, "bos_token")),
                          json_string_value(json_object_get(v, "eos_token")), &c, &len, &err);
        if (!want) {
            ok(!got && err.code == PESC_E_DS_TEMPLATE, "%s: refused, as by the template", what);
            seen.refused++;
            free(got);
            continue;
        }
        seen.text++;
        if (ok(got != NULL, "%s: rendered %s", what, err.text))
            is_str(got, want, what);
        free(got);
        check_ids(tpl, s, &c, json_object_get(v, "ids"), what);
    }
    json_decref(root);
    check_ids(NULL, NULL, NULL, NULL, NULL); /* closes the last */
    diag("%ld texts equal, %ld refused; ids: %ld equal, of them %ld also with loss on answers and "
         "%ld parted; %ld without a tokenizer, %ld with other tokens",
         seen.text, seen.refused, seen.ids, seen.exact, seen.parted, seen.no_ids, seen.unknown_ids);
    ok(seen.text == 73 && seen.refused == 2, "73 renderings and 2 refusals");
    ok(seen.ids >= 35, "at least 35 of them with ids");
}

static void recognised(const char *name, const char *text, const char *want)
{
    const struct template *t = text ? template_recognise(text) : NULL;
    is_str(t ? template_id(t) : "unknown", want, name);
}

static void check_recognition(void)
{
    static const char *const want[][2] = {
        {"HuggingFaceTB-SmolLM3-3B", "smollm3"},
        {"Mistral-Small-3.2-24B-Instruct-2506", "unknown"},
        {"NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "unknown"},
        {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "unknown"},
        {"Qwen-QwQ-32B", "unknown"},
        {"Qwen-Qwen2.5-7B-Instruct", "qwen2.5"},
        {"Qwen-Qwen3-0.6B", "qwen3"},
        {"Qwen3.5-4B", "unknown"},
        {"google-gemma-2-2b-it", "gemma"},
        {"ibm-granite-granite-3.3-2B-Instruct", "unknown"},
        {"meta-llama-Llama-3.1-8B-Instruct", "llama3.1"},
        {"meta-llama-Llama-3.2-3B-Instruct", "llama3.2"},
        {"meta-llama-Llama-3.3-70B-Instruct", "llama3.1"},
        {"microsoft-Phi-3.5-mini-instruct", "phi3.5"},
        {"mistralai-Ministral-3-14B-Reasoning-2512", "unknown"},
        {"mistralai-Mistral-Nemo-Instruct-2407", "mistral-nemo"},
        {"phi-4-mini-reasoning", "unknown"},
        {"unsloth-mistral-Devstral-Small-2507", "unknown"},
        {"v5-qwen2.5-synthetic", "unknown"},
        {"v5-smollm3", "smollm3-dated"},
    };
    json_t *root = load("tok-golden-chat/chat_templates.json");
    size_t n = sizeof want / sizeof *want;
    ok(root && json_object_size(root) == n, "%zu template texts", n);
    for (size_t i = 0; i < n; i++)
        recognised(want[i][0], json_string_value(json_object_get(root, want[i][0])), want[i][1]);
    const char *qwen = json_string_value(json_object_get(root, "Qwen-Qwen3-0.6B"));
    json_t *twice = qwen ? json_sprintf("%s%s", qwen, qwen) : NULL;
    recognised("more than a known one", json_string_value(twice), "unknown");
    json_decref(twice);
    json_decref(root);
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        json_t *config = strstr(sources[i].file, "jinja") ? NULL : load(sources[i].file);
        if (config)
            recognised(sources[i].file, json_string_value(json_object_get(config, "chat_template")),
                       sources[i].id);
        json_decref(config);
    }
    static const char *const own[][2] = {
        {"tok-llama2", "zephyr"}, {"tok-added-tokens", "phi3"}, {"ckpt-stories260K/hf", "none"}};
    for (size_t i = 0; i < 3; i++) {
        struct tokenizer *t = tokenizer_of(own[i][0]);
        const struct template *tpl = NULL;
        struct pesc_error err = {0};
        ok(t && template_of_model(t, &tpl, &err) == 0, "%s: %s", own[i][0], err.text);
        is_str(tpl ? template_id(tpl) : "none", own[i][1], "its template");
        tokenizer_close(t);
    }
}

/* A text without the white space around it. */
static const char *stripped(const char *s, char *buf, size_t size)
{
    size_t n;
    snprintf(buf, size, "%s", s + strspn(s, " \n"));
    for (n = strlen(buf); n > 0 && (buf[n - 1] == ' ' || buf[n - 1] == '\n'); n--)
        buf[n - 1] = 0;
    return buf;
}

/* For every template: each run of trained ids decodes to an answer and what ends it, and what is
 * before the run is what generation starts from. */
static void check_round_trip(const struct tokenizer *t, const char *dir, const char *id)
{
    static const struct message all[] = {
        {.role = ROLE_SYSTEM, .text = "Be terse </s><|im_end|>."},
        {.role = ROLE_USER, .text = "Name a colour.\n\n"},
        {.role = ROLE_ASSISTANT, .text = "Blue <|im_end|></s> — 谢谢."},
        {.role = ROLE_USER, .text = " <|eot_id|> and another? "},
        {.role = ROLE_ASSISTANT, .text = "Red\nor green:\n\n  1.  2. 😀"},
        {.role = ROLE_USER, .text = "Done?"},
        {.role = ROLE_ASSISTANT, .text = "\"Yes\" [/INST]"},
    };
    const struct template *tpl = template_find(id);
    struct ids ids = {0}, labels = {0}, prompt = {0}, none = {0};
    struct pesc_error err = {0};
    struct chat c = {.messages = all, .n = 7};
    if (template_render(tpl, t, &c, LOSS_ANSWERS, &ids, &labels, &err) != 0 &&
        err.code == PESC_E_DS_TEMPLATE) { /* no system text there */
        err.code = 0;
        c = (struct chat){.messages = all + 1, .n = 6};
        ids.n = labels.n = 0;
        if (template_render(tpl, t, &c, LOSS_ANSWERS, &ids, &labels, &err) != 0)
            diag("%s", err.text);
    }
    long answers = 0, good = 0, starts = 0;
    for (size_t i = 0, m = 0; i < ids.n; i++) {
        size_t from = i, len, n;
        char a[512], b[512];
        if (labels.v[i] == LABEL_MASKED)
            continue;
        while (i < ids.n && labels.v[i] != LABEL_MASKED)
            i++;
        while (m < (size_t)c.n && c.messages[m].role != ROLE_ASSISTANT)
            m++;
        char *text = tokenizer_decode(t, ids.v + from, i - from, 1, &len, &err);
        n = strlen(c.messages[m].text);
        const char *end = text ? strstr(text, c.messages[m].text) : NULL;
        answers++;
        if (end) /* what ends a turn may be plain text for this tokenizer */
            snprintf(b, sizeof b, "%.*s", (int)(end - text + (long)n), text);
        if (end && !strcmp(stripped(b, a, sizeof a), c.messages[m].text) && strlen(end + n) < 20)
            good++;
        else
            diag("got '%s', want '%s'", text, c.messages[m].text);
        free(text);
        prompt.n = none.n = 0;
        struct chat open = {.messages = c.messages, .n = (long)m, .open = 1, .no_thinking = 1};
        if (template_render(tpl, t, &open, LOSS_ANSWERS, &prompt, &none, &err) == 0 &&
            prompt.n == from && !memcmp(prompt.v, ids.v, from * sizeof *ids.v))
            starts++;
        m++;
    }
    ok(answers == 3 && good == 3, "%s, %s: three answers come back", id, dir);
    /* where thoughts or a system text move with the last question only the first or last fits */
    int moves = !strcmp(id, "qwen3") || !strcmp(id, "mistral-nemo") || !strncmp(id, "smollm3", 7);
    ok(moves ? starts <= 3 : starts == 3, "%s, %s: %ld prompts as generation has them", id, dir,
       starts);
    free(ids.v);
    free(labels.v);
    free(prompt.v);
    free(none.v);
}

static void check_round_trips(void)
{
    static const char *const dirs[] = {"tok-llama2", "tok-smollm2-instruct"};
    char names[512], *save = NULL;
    for (size_t i = 0; i < 2; i++) {
        struct tokenizer *t = tokenizer_of(dirs[i]);
        snprintf(names, sizeof names, "%s", template_ids());
        for (char *id = strtok_r(names, "|", &save); id; id = strtok_r(NULL, "|", &save))
            if (ok(template_find(id) != NULL, "%s is in the table", id))
                check_round_trip(t, dirs[i], id);
        tokenizer_close(t);
    }
}

int main(void)
{
    material = tap_material();
    if (!material)
        return tap_skip_all(TAP_NO_MATERIAL);
    check_renderings();
    check_recognition();
    check_round_trips();
    return tap_done();
}
