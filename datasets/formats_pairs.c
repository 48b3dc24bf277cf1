#include "config.h"
#include "datasets/formats.h"

#include <string.h>

/* Pairs of fields that hold a question and its answer, under the names that data sets use. */
static const struct {
    const char *prompt, *answer;
} names[] = {
    {"prompt", "completion"}, {"prompt", "response"},  {"prompt", "chosen"},
    {"prompt", "answer"},     {"prompt", "output"},    {"question", "answer"},
    {"question", "response"}, {"question", "chosen"},  {"query", "response"},
    {"query", "answer"},      {"problem", "solution"}, {"input", "output"},
    {"input", "target"},
};

static const char preference[] = "a preference file: its better answers ('chosen') are trained on, "
                                 "'rejected' is not used";

static int pair_of(const json_t *record)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (json_object_get(record, names[i].prompt) && json_object_get(record, names[i].answer))
            return (int)i;
    return -1;
}

int is_pairs(const json_t *record)
{
    return pair_of(record) >= 0 || is_message_list(json_object_get(record, "chosen"));
}

/* A text, or a list of messages. */
static int add_side(const json_t *record, const char *name, enum role role, const char *where,
                    struct item *it, struct pesc_error *err)
{
    json_t *v = json_object_get(record, name);
    const char *text;
    if (json_is_array(v))
        return read_messages(record, v, where, it, err);
    TRY(text_field(record, record, name, 1, where, &text, err));
    if (is_blank(text))
        it->skip = SKIP_EMPTY;
    return add_message(it, role, text, err);
}

int read_pairs(json_t *record, const char *where, struct item *it, struct pesc_error *err)
{
    const char *system;
    int i = pair_of(record);
    const char *answer = i < 0 ? "chosen" : names[i].answer;
    TRY(text_field(record, record, "system", 0, where, &system, err));
    if (is_blank(system))
        TRY(text_field(record, record, "system_prompt", 0, where, &system, err));
    if (!is_blank(system))
        TRY(add_message(it, ROLE_SYSTEM, system, err));
    if (json_object_get(record, "rejected"))
        it->remark = preference;
    const json_t *list = json_object_get(record, answer);
    const char *first = json_string_value(json_object_get(json_array_get(list, 0), "role"));
    /* a list may repeat the prompt */
    if (i >= 0 && !(first && strcmp(first, "assistant") != 0))
        TRY(add_side(record, names[i].prompt, ROLE_USER, where, it, err));
    else if (i < 0 && !is_message_list(list)) /* a later record may lack what the first had */
        return bad_field(record, where, "prompt", "is missing", err);
    TRY(add_side(record, answer, ROLE_ASSISTANT, where, it, err));
    finish_chat(it);
    return 0;
}

/* The two texts of an instruction are kept apart, for templates that part them. */
static int instruct(const char *instruction, const char *input, const char *output, struct item *it,
                    struct pesc_error *err)
{
    if (is_blank(output) || (is_blank(instruction) && is_blank(input))) {
        it->skip = SKIP_EMPTY;
        return 0;
    }
    it->is_pair = !is_blank(input) && !is_blank(instruction);
    if (it->is_pair)
        TRY(add_message(it, ROLE_SYSTEM, instruction, err));
    TRY(add_message(it, ROLE_USER, is_blank(input) ? instruction : input, err));
    return add_message(it, ROLE_ASSISTANT, output, err);
}

int read_alpaca(const json_t *record, const char *where, struct item *it, struct pesc_error *err)
{
    const char *instruction, *input, *output, *name = "output";
    TRY(text_field(record, record, "instruction", 1, where, &instruction, err));
    TRY(text_field(record, record, "input", 0, where, &input, err));
    if (!*input)
        TRY(text_field(record, record, "context", 0, where, &input, err));
    if (!json_object_get(record, name) && json_object_get(record, "response"))
        name = "response";
    else if (!json_object_get(record, name) && json_object_get(record, "chosen"))
        name = "chosen";
    TRY(text_field(record, record, name, 1, where, &output, err));
    if (json_object_get(record, "rejected"))
        it->remark = *name == 'c' ? preference
                                  : "a preference file: 'output' is trained on, 'chosen' and "
                                    "'rejected' are not used";
    return instruct(instruction, input, output, it, err);
}

int read_self(const json_t *record, long part, const char *where, struct item *it,
              struct pesc_error *err)
{
    const char *instruction, *input, *output;
    const json_t *list = json_object_get(record, "instances");
    TRY(text_field(record, record, "instruction", 1, where, &instruction, err));
    if (!json_is_array(list))
        return bad_field(record, where, "instances", list ? "is not an array" : "is missing", err);
    if (json_array_size(list) == 0) {
        it->skip = SKIP_EMPTY;
        return 0;
    }
    it->parts = (long)json_array_size(list);
    const json_t *one = json_array_get(list, (size_t)part);
    if (!json_is_object(one))
        return bad_field(record, where, "instances", "holds something that is no object", err);
    TRY(text_field(record, one, "input", 0, where, &input, err));
    TRY(text_field(record, one, "output", 1, where, &output, err));
    return instruct(instruction, input, output, it, err);
}
