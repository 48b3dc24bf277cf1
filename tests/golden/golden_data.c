/* Every data set of the material without a word on its format; and another trainer's labels. */
#include "config.h"
#include "core/batch.h"
#include "core/file.h"
#include "core/json.h"
#include "datasets/dataset.h"
#include "tests/tap.h"

static const char *material;
static char warned[2048];

static void hear(void *ctx, const char *code, const char *text)
{
    (void)ctx;
    size_t n = strlen(warned);
    snprintf(warned + n, sizeof warned - n, "[%s] %s\n", code, text);
}
static const struct notes notes = {hear, NULL};

/* refused: part of the message instead. told: part of what is remarked; or NULL. */
static const struct file {
    const char *name;
    enum data_format format;
    long used, skipped;
    const char *refused, *told;
} files[] = {
    {"data-moe-example/example.json", DATA_PESC, 500, 0, NULL, NULL},
    {"data-alpaca-gumbelsoft/alpaca_data.json", DATA_ALPACA, 2000, 0, NULL, NULL},
    {"data-axolotl-fixtures/alpaca.json", DATA_ALPACA, 2, 0, NULL, NULL},
    {"data-raschka-instruct/instruction-data.json", DATA_ALPACA, 1100, 0, NULL, NULL},
    {"data-raschka-instruct/instruction-data-with-preference.json", DATA_ALPACA, 1100, 0, NULL,
     "'output' is trained on"},
    {"data-codealpaca/code_alpaca_2k.json", DATA_ALPACA, 2015, 2, NULL, NULL} /* no output */,
    {"data-codealpaca/new_codealpaca.json", DATA_ALPACA, 4535, 0, NULL, NULL},
    {"data-codealpaca/seed_tasks.jsonl", DATA_SELF, 21, 0, NULL, NULL},
    {"data-gsm8k/train.jsonl", DATA_PAIRS, 7473, 0, NULL, NULL},
    {"data-gsm8k/test.jsonl", DATA_PAIRS, 1319, 0, NULL, NULL},
    {"data-selfinstruct/seed_tasks.jsonl", DATA_SELF, 175, 0, NULL, NULL},
    {"data-selfinstruct/user_oriented_instructions.jsonl", DATA_SELF, 252, 0, NULL, NULL},
    {"data-sharegpt-fastchat/dummy_conversation.json", DATA_SHAREGPT, 500, 0, NULL, NULL},
    {"data-sharegpt-fastchat/question.jsonl", DATA_FORMAT_COUNT, 0, 0, "questions without answers",
     NULL},
    {"data-sharegpt-fastchat/mt_bench_reference_gpt-4.jsonl", DATA_FORMAT_COUNT, 0, 0,
     "answers without their questions", NULL},
    {"data-openai-messages/toy_chat_fine_tuning.jsonl", DATA_MESSAGES, 0, 0, NULL, NULL},
    {"data-openai-messages/weather_chat_fine_tuning.jsonl", DATA_MESSAGES, 10, 0, NULL, NULL},
    {"data-redpajama-sample/arxiv/sample_arxiv1.jsonl", DATA_TEXT, 0, 0, NULL, NULL},
    {"data-redpajama-sample/book/sample_book2.jsonl", DATA_TEXT, 0, 0, NULL, NULL},
    {"data-redpajama-sample/c4-rp/sample_c4-rp1.jsonl", DATA_TEXT, 0, 0, NULL, NULL},
    {"data-redpajama-sample/cc/sample_cc1.jsonl", DATA_TEXT, 0, 0, NULL, NULL},
    {"data-redpajama-sample/github/sample_github1.jsonl", DATA_TEXT, 0, 0, NULL, NULL},
    {"data-redpajama-sample/stackexchange/sample_stackexchange1.jsonl", DATA_TEXT, 0, 0, NULL,
     NULL},
    {"data-redpajama-sample/wiki/sample_wiki1.jsonl", DATA_TEXT, 0, 0, NULL, NULL},
};

static struct dataset *open_file(const char *name, const struct tokenizer *t,
                                 struct dataset_options o, struct pesc_error *err)
{
    char path[4096];
    const char *paths[] = {path};
    struct dataset *d = NULL;
    snprintf(path, sizeof path, "%s/%s", material, name);
    o.vocab_size = tokenizer_size(t);
    *warned = 0;
    memset(err, 0, sizeof *err);
    return dataset_open(paths, 1, t, &o, &notes, &d, err) == 0 ? d : NULL;
}

static void check_files(const struct tokenizer *t)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const struct file *f = &files[i];
        struct pesc_error err;
        struct dataset *d = open_file(f->name, t, (struct dataset_options){.max_records = 0}, &err);
        if (f->refused) {
            ok(!d && err.code == PESC_E_DS_FIELD && strstr(err.text, f->refused), "%s: %s", f->name,
               err.text);
            continue;
        }
        if (!ok(d != NULL, "%s opens: %s", f->name, err.text))
            continue;
        const struct dataset_source *s = dataset_source_at(d, 0);
        is_str(data_format_name(s->format), data_format_name(f->format), f->name);
        ok(f->used ? s->used == f->used : s->used > 0, "%s: %ld used", f->name, s->used);
        is_long(s->skipped, f->skipped, f->name);
        ok(!f->told || strstr(warned, f->told), "%s: %s", f->name, f->told ? warned : "silent");
        dataset_close(d);
    }
}

/* The function calls of the messages, in templates that have a form for them and in others. */
static void check_calls(const struct tokenizer *t)
{
    static const struct {
        const char *id, *told;
        long used;
    } want[] = {
        {"qwen2.5", NULL, 10},         {"qwen3", NULL, 10},
        {"minimind", NULL, 10},        {"chatml", "no form for function calls", 0},
        {"gemma", "no form for", 0},   {"llama3.2", "one function call at a time", 0},
        {"smollm3", "no form for", 0},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct pesc_error err;
        struct dataset *d = open_file("data-openai-messages/weather_chat_fine_tuning.jsonl", t,
                                      (struct dataset_options){.template_id = want[i].id}, &err);
        if (want[i].used)
            ok(d && dataset_size(d) == want[i].used, "%s renders function calls", want[i].id);
        else
            ok(!d && err.code == PESC_E_DS_EMPTY && strstr(warned, want[i].told) &&
                   strstr(err.text, "10 no place in the template"),
               "%s refuses function calls: %s", want[i].id, warned);
        dataset_close(d);
    }
}

/* What the other trainer's ids say between two texts. Caller frees. */
static char *text_between(const struct tokenizer *t, const json_t *ids, const char *from,
                          const char *to)
{
    struct ids v = {0};
    struct pesc_error err = {0};
    size_t len;
    for (size_t i = 0; i < json_array_size(ids); i++)
        if (ids_push(&v, (int32_t)json_integer_value(json_array_get(ids, i)), &err) != 0)
            return NULL;
    char *text = tokenizer_decode(t, v.v, v.n, 0, &len, &err);
    char *a = text ? strstr(text, from) : NULL, *b = a ? strstr(a, to) : NULL;
    if (b) {
        *b = 0;
        a = strdup(a + strlen(from));
    }
    free(text);
    free(v.v);
    return b ? a : NULL;
}

/* Their conversation through ours, against their ids and labels with what is wrong in them taken
 * out: drop tells where. */
static void check_labels(const struct tokenizer *t, const char *tokens, const char *id,
                         const char *from, const char *to,
                         int (*drop)(int32_t *ids, long n, long i), const char *what)
{
    char path[4096];
    struct pesc_error err = {0};
    const char *made = "golden_data.tmp.json";
    snprintf(path, sizeof path, "%s/data-axolotl-fixtures/conversation.json", material);
    json_t *record = json_file(path, 1 << 20, PESC_E_DS_JSON, &err);
    snprintf(path, sizeof path, "%s/data-axolotl-fixtures/%s", material, tokens);
    json_t *theirs = json_file(path, 1 << 20, PESC_E_DS_JSON, &err);
    const json_t *ids = json_object_get(theirs, "input_ids"),
                 *labels = json_object_get(theirs, "labels");
    char *system = from ? text_between(t, ids, from, to) : NULL;
    char *text = record ? json_dumps(record, JSON_COMPACT) : NULL;
    struct dataset *d = NULL;
    struct dataset_options o = {
        .template_id = id, .system = system, .vocab_size = tokenizer_size(t)};
    int rc = text ? file_write(made, text, strlen(text), &err) : -1;
    if (rc == 0)
        rc = dataset_open(&made, 1, t, &o, NULL, &d, &err);
    remove(made);
    if (ok(rc == 0 && theirs && (!from || system), "%s: %s", what, err.text)) {
        long n = (long)json_array_size(ids), k = 0, same = 0, dropped = 0;
        int32_t *v = calloc((size_t)n, sizeof *v);
        struct sample s = {0};
        if (dataset_sample(d, 0, &s, &err) != 0)
            diag("%s", err.text);
        for (long i = 0; v && i < n; i++)
            v[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
        for (long i = 0; v && i < n; i++) {
            if (drop(v, n, i)) {
                dropped++;
                continue;
            }
            long label = json_integer_value(json_array_get(labels, (size_t)i));
            if (label != LABEL_MASKED)
                label = v[i];
            if (k < s.n && s.ids[k] == v[i] && s.labels[k] == label)
                same++;
            else if (same == k)
                diag("at %ld (theirs %ld): %d %d, theirs %d %ld", k, i, s.ids[k], s.labels[k], v[i],
                     label);
            k++;
        }
        ok(same == s.n && k == s.n, "%s: %ld of %ld ids and labels are theirs (%ld dropped)", what,
           same, s.n, dropped);
        free(v);
    }
    dataset_close(d);
    free(system);
    free(text);
    json_decref(record);
    json_decref(theirs);
}

/* Llama 2 chat: the last turn is followed by one more BOS, which is trained, and by padding. No
 * turn follows the last, so nothing may follow its EOS. */
static int drop_llama2(int32_t *ids, long n, long i)
{
    while (i < n && ids[i] != 2)
        i++;
    return i == n;
}

/* Vicuna: parts of a prompt are tokenized one by one, which makes of the one space between them
 * two ("the sign for a space" and that of the next word: 29871 before "USER" and "ASSISTANT"); ours
 * has the template's one. And an answer ends with the text "</s>" before the token of that name,
 * its full stop merged into the text (".</" "s" ">"); ours ends with the token alone, which is what
 * ends an answer when generating. */
static int drop_vicuna(int32_t *ids, long n, long i)
{
    static const int32_t spelled[] = {21106, 29879, 29958, 2}, stop = 29889;
    if (i + 1 < n && ids[i] == 29871 && (ids[i + 1] == 3148 || ids[i + 1] == 319))
        return 1;
    if (i + 4 <= n && !memcmp(ids + i, spelled, sizeof spelled))
        ids[i] = stop;
    else if (i > 0 && ids[i - 1] == stop && i + 3 <= n &&
             !memcmp(ids + i, spelled + 1, 3 * sizeof *spelled))
        return 1;
    else if (i > 1 && ids[i - 2] == stop && i + 2 <= n &&
             !memcmp(ids + i - 1, spelled + 1, 3 * sizeof *spelled))
        return 1;
    return 0;
}

static void check_other_trainer(void)
{
    char path[4096];
    struct pesc_error err = {0};
    struct tokenizer *t = NULL;
    snprintf(path, sizeof path, "%s/tok-llama2", material);
    if (!ok(tokenizer_open(path, NULL, &t, &err) == 0, "Llama 2's tokenizer: %s", err.text))
        return;
    check_labels(t, "conversation.tokenized_llama2chat.json", "llama2", "<<SYS>>\n", "\n<</SYS>>",
                 drop_llama2, "Llama 2 chat");
    check_labels(t, "conversation.tokenized.json", "vicuna", NULL, NULL, drop_vicuna, "Vicuna");
    tokenizer_close(t);
}

int main(void)
{
    char path[4096];
    struct pesc_error err = {0};
    struct tokenizer *t = NULL;
    material = tap_material();
    if (!material)
        return tap_skip_all(TAP_NO_MATERIAL);
    snprintf(path, sizeof path, "%s/tok-qwen2.5", material);
    ok(tokenizer_open(path, NULL, &t, &err) == 0, "a tokenizer: %s", err.text);
    check_files(t);
    check_calls(t);
    tokenizer_close(t);
    check_other_trainer();
    return tap_done();
}
