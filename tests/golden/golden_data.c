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
    {"data-axolotl-fixtures/conversation.json", DATA_SHAREGPT, 1, 0, NULL, NULL},
    {"data-axolotl-fixtures/conversation.missingturns.json", DATA_SHAREGPT, 1, 0, NULL, NULL},
    {"data-raschka-instruct/instruction-data.json", DATA_ALPACA, 1100, 0, NULL, NULL},
    {"data-raschka-instruct/instruction-data-with-preference.json", DATA_ALPACA, 1100, 0, NULL,
     "'output' is trained on"},
    {"data-codealpaca/code_alpaca_2k.json", DATA_ALPACA, 2017, 0, NULL, NULL},
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
        struct dataset *d = open_file(
            f->name, t, (struct dataset_options){.max_seq_length = 2048, .max_records = 0}, &err);
        if (f->refused) {
            ok(!d && err.code == PESC_E_DS_FIELD && strstr(err.text, f->refused), "%s: %s",
               f->name, err.text);
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
    tokenizer_close(t);
    return tap_done();
}
