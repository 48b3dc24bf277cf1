#include "config.h"
#include "datasets/template_form.h"

#include <stdlib.h>
#include <string.h>

#define CHATML_FORMS                                                                               \
    .system_before = "<|im_start|>system\n", .system_after = "<|im_end|>\n",                       \
    .user_before = "<|im_start|>user\n", .user_after = "<|im_end|>\n",                             \
    .answer_before = "<|im_start|>assistant\n", .answer_after = "<|im_end|>", .answer_tail = "\n", \
    .stop = {"<|im_end|>", "<|endoftext|>"}

/* Results of functions as Qwen's templates and those made after them put them: several in a row
 * share one message. */
#define QWEN_RESULTS                                                                               \
    .tool_open = "<|im_start|>user", .tool_before = "\n<tool_response>\n",                         \
    .tool_after = "\n</tool_response>", .tool_close = "<|im_end|>\n"

#define LLAMA3_FORMS                                                                               \
    .begin = "{bos}", .system_after = "<|eot_id|>",                                                \
    .user_before = "<|start_header_id|>user<|end_header_id|>\n\n", .user_after = "<|eot_id|>",     \
    .answer_before = "<|start_header_id|>assistant<|end_header_id|>\n\n",                          \
    .answer_after = "<|eot_id|>", .trim = 1,                                                       \
    .stop = {"<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"}

/* The date is that of the template's own fallback: data must not change from day to day. */
#define LLAMA31_FORMS                                                                              \
    LLAMA3_FORMS,                                                                                  \
        .system_before = "<|start_header_id|>system<|end_header_id|>\n\n"                          \
                         "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",     \
        .later_system = "<|start_header_id|>system<|end_header_id|>\n\n", .default_system = "",    \
        .tools = TOOLS_LLAMA3, .tool_before = "<|start_header_id|>ipython<|end_header_id|>\n\n",   \
        .tool_after = "<|eot_id|>", .tool_json = 1

#define MISTRAL_FORMS                                                                              \
    .begin = "{bos}", .place = SYSTEM_FIRST_USER, .system_after = "\n\n",                          \
    .user_before = "[INST] ", .user_after = " [/INST]", .answer_after = "{eos}", .alternate = 1,   \
    .stop = {"</s>"}

const struct template templates[] = {
    /* Camelidae (Wu et al., arXiv 2401.02731) */
    {.id = "camelidae",
     .begin = "{bos?}",
     .system_before = "### System:\n",
     .system_after = "\n",
     .skip_empty_system = 1,
     .parts_pairs = 1,
     .user_before = "### Human:\n",
     .user_after = "\n",
     .answer_before = "### Assistant:\n",
     .answer_after = "{eos}"},
    /* Its offspring on Mistral, which speaks ChatML behind a BOS */
    {.id = "sparsetral", .begin = "{bos?}", CHATML_FORMS},
    /* Stanford Alpaca (Taori et al., 2023); later exchanges have no form there. The instruction
     * stands as the system text when there is an input. */
    {.id = "alpaca",
     .begin = "{bos?}",
     .system_before = "Below is an instruction that describes a task, paired with an input that "
                      "provides further "
                      "context. Write a response that appropriately completes the request.\n\n"
                      "### Instruction:\n",
     .system_after = "\n\n### Input:\n",
     .skip_empty_system = 1,
     .parts_pairs = 1,
     .first_user = "Below is an instruction that describes a task. Write a response that "
                   "appropriately completes the request.\n\n### Instruction:\n",
     .user_after_system = "",
     .user_before = "### Instruction:\n",
     .user_after = "\n\n",
     .answer_before = "### Response:",
     .answer_after = "{eos}"},
    {.id = "chatml", CHATML_FORMS},
    {.id = "llama2",
     .place = SYSTEM_FIRST_USER,
     .system_before = "<<SYS>>\n",
     .system_after = "\n<</SYS>>\n\n",
     .user_before = "{bos}[INST] ",
     .user_after = " [/INST]",
     .answer_lead = " ",
     .answer_after = " {eos}",
     .trim = 1,
     .alternate = 1,
     .stop = {"</s>"}},
    {.id = "llama3",
     LLAMA3_FORMS,
     .system_before = "<|start_header_id|>system<|end_header_id|>\n\n"},
    {.id = "llama3.1", LLAMA31_FORMS},
    {.id = "llama3.2", LLAMA31_FORMS},
    {.id = "mistral", MISTRAL_FORMS},
    {.id = "mistral-v0.1", MISTRAL_FORMS, .answer_tail = " "},
    /* The system text goes to the last question, where it stands when that is to be answered. */
    {.id = "mistral-nemo",
     .begin = "{bos}",
     .place = SYSTEM_LAST_USER,
     .system_after = "\n\n",
     .user_before = "[INST]",
     .user_after = "[/INST]",
     .answer_after = "{eos}",
     .alternate = 1,
     .stop = {"</s>"}},
    {.id = "zephyr",
     .system_before = "<|system|>\n",
     .system_after = "{eos}\n",
     .user_before = "<|user|>\n",
     .user_after = "{eos}\n",
     .answer_before = "<|assistant|>\n",
     .answer_after = "{eos}",
     .answer_tail = "\n",
     .stop = {"</s>"}},
    {.id = "tinyllama",
     .system_before = "<|system|>\n",
     .system_after = "{eos}\n",
     .user_before = "<|user|>\n",
     .user_after = "{eos}\n",
     .answer_before = "<|assistant|>\n",
     .answer_after = "{eos}",
     .answer_tail = "\n",
     .stop = {"</s>"}},
    {.id = "vicuna",
     .begin = "{bos}",
     .system_after = " ",
     .default_system = "A chat between a curious user and an artificial intelligence assistant. "
                       "The assistant gives helpful, detailed, and polite answers to the user's "
                       "questions.",
     .user_before = "USER: ",
     .user_after = " ",
     .answer_before = "ASSISTANT:",
     .answer_lead = " ",
     .answer_after = "{eos}",
     .stop = {"</s>"}},
    {.id = "qwen2", CHATML_FORMS, .default_system = "You are a helpful assistant."},
    {.id = "qwen2.5",
     CHATML_FORMS,
     QWEN_RESULTS,
     .default_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
     .tools = TOOLS_QWEN},
    {.id = "qwen3", CHATML_FORMS, QWEN_RESULTS, .thinking = THINK_LAST, .tools = TOOLS_QWEN_APART},
    {.id = "smollm2", CHATML_FORMS, .default_system = "You are a helpful AI assistant"},
    {.id = "smollm2-named",
     CHATML_FORMS,
     .default_system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
    {.id = "smollm3",
     CHATML_FORMS,
     .header = HEADER_SMOLLM3,
     .trim_lines = 1,
     .tool_before = "<|im_start|>user\n",
     .tool_after = "<|im_end|>\n"},
    {.id = "smollm3-dated",
     CHATML_FORMS,
     .header = HEADER_SMOLLM3_DATED,
     .trim_lines = 1,
     .tool_before = "<|im_start|>user\n",
     .tool_after = "<|im_end|>\n"},
    {.id = "phi3",
     .begin = "{bos}",
     .place = SYSTEM_DROPPED,
     .user_before = "<|user|>\n",
     .user_after = "<|end|>\n",
     .answer_before = "<|assistant|>\n",
     .answer_after = "<|end|>",
     .answer_tail = "\n",
     .stop = {"<|end|>", "<|endoftext|>"}},
    {.id = "phi3.5",
     .end = "{eos}",
     .system_before = "<|system|>\n",
     .system_after = "<|end|>\n",
     .skip_empty_system = 1,
     .user_before = "<|user|>\n",
     .user_after = "<|end|>\n",
     .answer_before = "<|assistant|>\n",
     .answer_after = "<|end|>",
     .answer_tail = "\n",
     .stop = {"<|end|>", "<|endoftext|>"}},
    {.id = "gemma",
     .begin = "{bos}",
     .place = SYSTEM_REFUSED,
     .user_before = "<start_of_turn>user\n",
     .user_after = "<end_of_turn>\n",
     .answer_before = "<start_of_turn>model\n",
     .answer_after = "<end_of_turn>",
     .answer_tail = "\n",
     .trim = 1,
     .alternate = 1,
     .stop = {"<end_of_turn>", "<eos>"}},
    {.id = "minimind",
     CHATML_FORMS,
     QWEN_RESULTS,
     .thinking = THINK_ALWAYS,
     .open_before = "<|im_start|>assistant\n<think>\n\n</think>\n\n",
     .tools = TOOLS_QWEN_APART},
};
const int n_templates = sizeof templates / sizeof *templates;

const struct template *template_find(const char *id)
{
    for (int i = 0; i < n_templates; i++)
        if (!strcmp(templates[i].id, id))
            return &templates[i];
    return NULL;
}

const char *template_ids(void)
{
    return "camelidae|sparsetral|alpaca|chatml|llama2|llama3|llama3.1|llama3.2|mistral|"
           "mistral-v0.1|mistral-nemo|zephyr|tinyllama|vicuna|qwen2|qwen2.5|qwen3|smollm2|"
           "smollm2-named|smollm3|smollm3-dated|phi3|phi3.5|gemma|minimind";
}

const char *template_id(const struct template *t)
{
    return t->id;
}

const char *template_stop(const struct template *t, int i)
{
    return i >= 0 && i < (int)(sizeof t->stop / sizeof *t->stop) ? t->stop[i] : NULL;
}

int template_drops_system(const struct template *t)
{
    return t->place == SYSTEM_DROPPED;
}

int template_parts_pairs(const struct template *t)
{
    return t->parts_pairs;
}
