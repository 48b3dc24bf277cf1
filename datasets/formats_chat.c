#include "config.h"
#include "datasets/formats.h"

#include <string.h>

/* Role names of OpenAI's messages, ShareGPT and their descendants. */
static const struct {
    const char *name;
    enum role role;
} roles[] = {
    {"system", ROLE_SYSTEM},
    {"developer", ROLE_SYSTEM},
    {"user", ROLE_USER},
    {"human", ROLE_USER},
    {"prompter", ROLE_USER},
    {"assistant", ROLE_ASSISTANT},
    {"gpt", ROLE_ASSISTANT},
    {"model", ROLE_ASSISTANT},
    {"chatgpt", ROLE_ASSISTANT},
    {"bing", ROLE_ASSISTANT},
    {"bard", ROLE_ASSISTANT},
    {"bot", ROLE_ASSISTANT},
    {"function_call", ROLE_ASSISTANT},
    {"tool", ROLE_TOOL},
    {"function", ROLE_TOOL},
    {"observation", ROLE_TOOL},
    {"tool_response", ROLE_TOOL},
    {"ipython", ROLE_TOOL},
};

static const char *role_name(const json_t *message)
{
    const json_t *v = json_object_get(message, "role");
    return json_string_value(v ? v : json_object_get(message, "from"));
}

int is_message_list(const json_t *v)
{
    return role_name(json_array_get(v, 0)) != NULL;
}

/* A message's text: a string, or parts of which all are text. */
static int message_text(const json_t *record, const json_t *m, const char *where, struct item *it,
                        const char **out, struct pesc_error *err)
{
    const char *name = json_object_get(m, "content") ? "content" : "value";
    const json_t *v = json_object_get(m, name);
    *out = "";
    if (!json_is_array(v))
        return text_field(record, m, name, 0, where, out, err);
    json_t *joined = json_string("");
    for (size_t i = 0; joined && i < json_array_size(v); i++) {
        const json_t *part = json_array_get(v, i);
        const char *text = json_string_value(json_object_get(part, "text"));
        if (!text) {
            it->skip = SKIP_TEMPLATE; /* pictures and sounds */
            break;
        }
        json_t *more = json_sprintf("%s%s", json_string_value(joined), text);
        json_decref(joined);
        joined = more;
    }
    joined = item_keep(it, joined, err);
    if (!joined)
        return -1;
    *out = json_string_value(joined);
    return 0;
}

/* *out is NULL when the text is no JSON. */
static int parse_text(const char *text, size_t n, json_t **out, struct pesc_error *err)
{
    enum json_fault fault;
    *out = json_parse(text, n, &fault, NULL, 0);
    return *out || fault != JSON_FAULT_MEMORY ? 0 : FAIL(err, MEMORY, "no memory for a call");
}

/* Arguments come as an object, or as the text of one, which is how the interface returns them;
 * templates get the object. */
static int fix_call(const json_t *record, json_t *call, const char *where, struct pesc_error *err)
{
    json_t *f = json_object_get(call, "function"), *v = json_object_get(f, "arguments");
    if (!json_is_string(json_object_get(f, "name")))
        return bad_field(record, where, "tool_calls", "holds a call without a name", err);
    if (json_is_string(v)) {
        json_t *tree;
        TRY(parse_text(json_string_value(v), json_string_length(v), &tree, err));
        if (json_is_object(tree))
            return json_object_set_new(f, "arguments", tree) == 0
                       ? 0
                       : FAIL(err, MEMORY, "no memory for a call");
        json_decref(tree);
        if (json_string_length(v) > 0)
            return 0;
        v = NULL;
    }
    if (!v || json_is_null(v))
        return json_object_set_new(f, "arguments", json_object()) == 0
                   ? 0
                   : FAIL(err, MEMORY, "no memory for a call");
    return 0;
}

/* [{function: f}] for a single call of the older form; f is shared. */
static json_t *one_call(struct item *it, json_t *f, struct pesc_error *err)
{
    return item_keep(it, json_pack("[{s:s, s:O}]", "type", "function", "function", f), err);
}

static int read_calls(const json_t *record, const json_t *m, const char *role, const char *where,
                      struct item *it, struct message *out, struct pesc_error *err)
{
    json_t *calls = json_object_get(m, "tool_calls"), *f = json_object_get(m, "function_call");
    if (!calls || json_is_null(calls))
        calls = NULL;
    else if (!json_is_array(calls))
        return bad_field(record, where, "tool_calls", "is not an array", err);
    if (!calls && json_is_object(f)) {
        if (!(calls = one_call(it, f, err)))
            return -1;
    } else if (!calls && !strcmp(role, "function_call")) {
        json_t *tree;
        TRY(parse_text(out->text, strlen(out->text), &tree, err));
        if (!json_is_object(tree)) {
            json_decref(tree);
            return bad_field(record, where, role, "does not hold a call as JSON", err);
        }
        if (!item_keep(it, tree, err) || !(calls = one_call(it, tree, err)))
            return -1;
        out->text = "";
    }
    for (size_t i = 0; i < json_array_size(calls); i++)
        TRY(fix_call(record, json_array_get(calls, i), where, err));
    out->calls = json_array_size(calls) > 0 ? calls : NULL;
    return 0;
}

static int read_message(const json_t *record, const json_t *m, const char *where, struct item *it,
                        struct pesc_error *err)
{
    const char *role = role_name(m), *text, *thinking;
    size_t i = 0;
    if (!json_is_object(m) || !role)
        return bad_field(record, where, "messages", "holds something without a role", err);
    while (i < sizeof roles / sizeof *roles && strcmp(roles[i].name, role) != 0)
        i++;
    if (i == sizeof roles / sizeof *roles)
        return FAIL(err, DS_FIELD,
                    "%s: role '%.40s' is none of system, user, assistant, tool, human, gpt ...",
                    where, role);
    TRY(message_text(record, m, where, it, &text, err));
    TRY(add_message(it, roles[i].role, text, err));
    struct message *out = &it->messages[it->n_messages - 1];
    if (out->role == ROLE_TOOL) {
        out->call_id = json_string_value(json_object_get(m, "tool_call_id"));
        return 0;
    }
    if (out->role != ROLE_ASSISTANT)
        return 0;
    TRY(text_field(record, m, "reasoning_content", 0, where, &thinking, err));
    out->thinking = *thinking ? thinking : NULL;
    const json_t *weight = json_object_get(m, "weight");
    if (weight && !json_is_null(weight) && !json_is_number(weight))
        return bad_field(record, where, "weight", "is not a number", err);
    out->untrained = json_is_number(weight) && json_number_value(weight) <= 0;
    return read_calls(record, m, role, where, it, out, err);
}

int read_messages(const json_t *record, json_t *list, const char *where, struct item *it,
                  struct pesc_error *err)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        TRY(read_message(record, json_array_get(list, i), where, it, err));
    return 0;
}

void finish_chat(struct item *it)
{
    int trained = 0;
    while (it->n_messages > 0 && it->messages[it->n_messages - 1].role != ROLE_ASSISTANT)
        it->n_messages--;
    for (long i = 0; i < it->n_messages; i++) {
        struct message *m = &it->messages[i];
        if (m->role != ROLE_ASSISTANT)
            continue;
        if (is_blank(m->text) && !m->calls)
            m->untrained = 1;
        trained |= !m->untrained;
    }
    if (it->n_messages == 0)
        it->skip = SKIP_EMPTY;
    else if (!trained && it->skip < 0)
        it->skip = SKIP_NO_TARGET;
}

/* A list of tools, or its text. */
static int read_tools(const json_t *record, const char *where, struct item *it,
                      struct pesc_error *err)
{
    const char *name = json_object_get(record, "tools") ? "tools" : "functions";
    const json_t *v = json_object_get(record, name);
    if (json_is_string(v) && is_blank(json_string_value(v)))
        return 0;
    if (json_is_string(v)) {
        json_t *tree;
        TRY(parse_text(json_string_value(v), json_string_length(v), &tree, err));
        if (!tree)
            return bad_field(record, where, name, "is no JSON", err);
        if (!item_keep(it, tree, err))
            return -1;
        v = tree;
    }
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_array(v))
        return bad_field(record, where, name, "is not an array", err);
    it->tools = json_array_size(v) > 0 ? v : NULL;
    if (*name == 'f' && it->tools) { /* the older form names functions without their kind */
        json_t *list = item_keep(it, json_array(), err), *f;
        size_t i;
        if (!list)
            return -1;
        json_array_foreach(v, i, f)
        {
            if (json_array_append_new(
                    list, json_pack("{s:s, s:O}", "type", "function", "function", f)) != 0)
                return FAIL(err, MEMORY, "%s: no memory for the tools", where);
        }
        it->tools = list;
    }
    return 0;
}

int read_chat(json_t *record, const char *where, struct item *it, struct pesc_error *err)
{
    static const char *const names[] = {"messages", "conversations", "conversation"};
    const char *system;
    json_t *list = NULL;
    size_t i = 0;
    while (i < 3 && !(list = json_object_get(record, names[i])))
        i++;
    if (!list)
        return bad_field(record, where, "messages", "is missing", err);
    if (!json_is_array(list))
        return bad_field(record, where, names[i], "is not an array", err);
    TRY(text_field(record, record, "system", 0, where, &system, err));
    if (!is_blank(system))
        TRY(add_message(it, ROLE_SYSTEM, system, err));
    TRY(read_messages(record, list, where, it, err));
    TRY(read_tools(record, where, it, err));
    finish_chat(it);
    return 0;
}
