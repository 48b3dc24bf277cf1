#include "config.h"
#include "datasets/template_form.h"

#include "core/number.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int add(struct buf *out, const char *text, struct pesc_error *err)
{
    return buf_put(out, text, strlen(text), err);
}

static int put_string(struct buf *out, const char *s, size_t n, struct pesc_error *err)
{
    TRY(add(out, "\"", err));
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        const char *at = strchr("\"\"\\\\\nn\rr\tt\bb\ff", c);
        char text[8];
        if (c && at && (c < 0x20 || c == '"' || c == '\\'))
            snprintf(text, sizeof text, "\\%c", c == '"' || c == '\\' ? c : at[1]);
        else if (c < 0x20)
            snprintf(text, sizeof text, "\\u%04x", c);
        else
            snprintf(text, sizeof text, "%c", c);
        TRY(add(out, text, err));
    }
    return add(out, "\"", err);
}

/* As Python's repr: the shortest digits, an exponent below 1e-4 and from 1e16 on. */
static int put_real(struct buf *out, double x, struct pesc_error *err)
{
    char shortest[NUMBER_CAP], digits[NUMBER_CAP] = "", text[64];
    int n = 0, point = 0, exponent = 0, seen_point = 0, lead = 1;
    number_text(x, shortest);
    const char *p = shortest + (*shortest == '-');
    for (; *p && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            seen_point = 1;
            continue;
        }
        if (lead && *p == '0') { /* zeros before the first digit only move the point */
            point -= seen_point;
            continue;
        }
        lead = 0;
        digits[n++] = *p;
        point += !seen_point;
    }
    if (*p)
        exponent = atoi(p + 1);
    point += exponent;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    digits[n] = 0;
    TRY(add(out, x < 0 ? "-" : "", err));
    if (n == 0)
        return add(out, "0.0", err);
    if (point <= -4 || point > 16)
        snprintf(text, sizeof text, "%c%s%se%c%02d", digits[0], n > 1 ? "." : "", digits + 1,
                 point > 0 ? '+' : '-', abs(point - 1));
    else if (point <= 0)
        snprintf(text, sizeof text, "0.%.*s%s", -point, "0000", digits);
    else if (n <= point)
        snprintf(text, sizeof text, "%s%.*s.0", digits, point - n, "0000000000000000");
    else
        snprintf(text, sizeof text, "%.*s.%s", point, digits, digits + point);
    return add(out, text, err);
}

static int new_line(struct buf *out, int indent, int depth, struct pesc_error *err)
{
    TRY(add(out, "\n", err));
    for (int i = 0; i < indent * depth; i++)
        TRY(add(out, " ", err));
    return 0;
}

static int put_value(struct buf *out, const json_t *v, int indent, int depth,
                     struct pesc_error *err)
{
    char text[32];
    const char *key, *gap = indent ? "," : ", ";
    json_t *item;
    size_t i = 0;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        TRY(add(out, "{", err));
        json_object_foreach((json_t *)v, key, item)
        {
            TRY(add(out, i++ ? gap : "", err));
            if (indent)
                TRY(new_line(out, indent, depth + 1, err));
            TRY(put_string(out, key, strlen(key), err));
            TRY(add(out, ": ", err));
            TRY(put_value(out, item, indent, depth + 1, err));
        }
        if (indent && i)
            TRY(new_line(out, indent, depth, err));
        return add(out, "}", err);
    case JSON_ARRAY:
        TRY(add(out, "[", err));
        for (; i < json_array_size(v); i++) {
            TRY(add(out, i ? gap : "", err));
            if (indent)
                TRY(new_line(out, indent, depth + 1, err));
            TRY(put_value(out, json_array_get(v, i), indent, depth + 1, err));
        }
        if (indent && i)
            TRY(new_line(out, indent, depth, err));
        return add(out, "]", err);
    case JSON_STRING:
        return put_string(out, json_string_value(v), json_string_length(v), err);
    case JSON_INTEGER:
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
        return add(out, text, err);
    case JSON_REAL:
        return put_real(out, json_real_value(v), err);
    case JSON_TRUE:
        return add(out, "true", err);
    case JSON_FALSE:
        return add(out, "false", err);
    case JSON_NULL:
        break;
    }
    return add(out, "null", err);
}

int json_python(struct buf *out, const json_t *v, int indent, struct pesc_error *err)
{
    return put_value(out, v, indent, 0, err);
}

int put_tools(struct rendering *r, const json_t *tools, int first)
{
    if (!first)
        TRY(put_literal(r, "\n\n", 0));
    TRY(put_literal(r,
                    "# Tools\n\nYou may call one or more functions to assist with the user "
                    "query.\n\nYou are provided with function signatures within <tools></tools> "
                    "XML tags:\n<tools>",
                    0));
    for (size_t i = 0; i < json_array_size(tools); i++) {
        TRY(put_literal(r, "\n", 0));
        TRY(put_json(r, json_array_get(tools, i), 0, 0));
    }
    return put_literal(r,
                       "\n</tools>\n\nFor each function call, return a json object with function "
                       "name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
                       "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n"
                       "</tool_call>",
                       0);
}

int put_llama3_tools(struct rendering *r, const json_t *tools)
{
    TRY(put_literal(r,
                    "Given the following functions, please respond with a JSON for a function call "
                    "with its proper arguments that best answers the given prompt.\n\n"
                    "Respond in the format {\"name\": function name, \"parameters\": dictionary of "
                    "argument name and its value}.Do not use variables.\n\n",
                    0));
    for (size_t i = 0; i < json_array_size(tools); i++) {
        TRY(put_json(r, json_array_get(tools, i), 4, 0));
        TRY(put_literal(r, "\n\n", 0));
    }
    return 0;
}

int put_calls(struct rendering *r, const json_t *calls, int text, int trained)
{
    int llama3 = r->tpl->tools == TOOLS_LLAMA3;
    if (llama3 && json_array_size(calls) != 1)
        return FAIL(r->err, DS_TEMPLATE, "template %s takes one function call at a time",
                    r->tpl->id);
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *f = json_object_get(json_array_get(calls, i), "function");
        const char *name = json_string_value(json_object_get(f, "name"));
        const json_t *arguments = json_object_get(f, "arguments");
        if (!name || !arguments)
            return FAIL(r->err, INTERNAL, "a function call without a name");
        if (llama3) {
            TRY(put_literal(r, "{\"name\": \"", trained));
            TRY(put_data(r, name, strlen(name), trained));
            TRY(put_literal(r, "\", \"parameters\": ", trained));
            TRY(put_json(r, arguments, 0, trained));
            return put_literal(r, "}", trained);
        }
        TRY(put_literal(r, text || i ? "\n" : "", trained));
        TRY(put_literal(r, "<tool_call>\n{\"name\": \"", trained));
        TRY(put_data(r, name, strlen(name), trained));
        TRY(put_literal(r, "\", \"arguments\": ", trained));
        TRY(put_json(r, arguments, 0, trained));
        TRY(put_literal(r, "}\n</tool_call>", trained));
    }
    return 0;
}
