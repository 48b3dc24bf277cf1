/* JSON lines {template, text, bos, eos, messages, tools, add_generation_prompt} to JSON lines
 * {text} or {error}, with {id} for a template text that is recognised: for check_templates.py. */
#include "config.h"
#include "datasets/formats.h"

#include <stdio.h>
#include <stdlib.h>

static json_t *answer(json_t *line)
{
    struct pesc_error err = {0};
    struct item it = {.skip = -1};
    const char *text = json_string_value(json_object_get(line, "text"));
    const struct template *t = text ? template_recognise(text) : NULL;
    size_t len;
    if (!t)
        return json_pack("{s:s}", "error", "unknown");
    json_t *out = json_pack("{s:s}", "id", template_id(t));
    if (read_messages(line, json_object_get(line, "messages"), "line", &it, &err) == 0) {
        const json_t *tools = json_object_get(line, "tools");
        struct chat c = {.messages = it.messages,
                         .n = it.n_messages,
                         .tools = json_is_array(tools) ? tools : NULL,
                         .open = json_is_true(json_object_get(line, "add_generation_prompt"))};
        char *got = template_text(t, json_string_value(json_object_get(line, "bos")),
                                  json_string_value(json_object_get(line, "eos")), &c, &len, &err);
        if (got)
            json_object_set_new(out, "text", json_stringn(got, len));
        free(got);
    }
    if (err.code)
        json_object_set_new(out, "error", json_string(err.text));
    item_free(&it);
    return out;
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&line, &cap, stdin)) > 0) {
        json_t *v = json_parse(line, (size_t)n, NULL, NULL, 0), *out = answer(v);
        char *text = json_dumps(out, JSON_COMPACT);
        puts(text);
        free(text);
        json_decref(out);
        json_decref(v);
    }
    free(line);
    return 0;
}
