#include "config.h"
#include "datasets/tok_internal.h"

#include <string.h>

int part_open(struct part *p, const struct tokenizer *t, const char *section, const json_t *v,
              struct pesc_error *err)
{
    *p = (struct part){t, section, NULL, v, err};
    p->type = json_string_value(json_object_get(v, "type"));
    if (!p->type)
        return FAIL(err, TOK_JSON, "%s: %s: expected an object with a type", t->path, section);
    return 0;
}

int part_unknown(const struct part *p)
{
    return FAIL(p->err, TOK_UNSUP, "%s: %s of type \"%s\" is not supported", p->t->path, p->section,
                p->type);
}

static int in_list(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *s = list; (s = strstr(s, word)); s += n)
        if ((s == list || s[-1] == ' ') && (s[n] == 0 || s[n] == ' '))
            return 1;
    return 0;
}

int part_keys(const struct part *p, const char *keys)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)p->v, key, v)
    {
        if (strcmp(key, "type") != 0 && (!*key || !in_list(keys, key)))
            return FAIL(p->err, TOK_UNSUP, "%s: %s \"%s\": unknown key \"%s\"", p->t->path,
                        p->section, p->type, key);
    }
    return 0;
}

static int wrong(const struct part *p, const char *key, const char *want)
{
    return FAIL(p->err, TOK_JSON, "%s: %s \"%s\": \"%s\" is missing or not %s", p->t->path,
                p->section, p->type, key, want);
}

int part_bool(const struct part *p, const char *key, int fallback, int *out)
{
    const json_t *v = json_object_get(p->v, key);
    if (!v && fallback >= 0) {
        *out = fallback;
        return 0;
    }
    *out = json_is_true(v);
    return json_is_boolean(v) ? 0 : wrong(p, key, "true or false");
}

int part_long(const struct part *p, const char *key, long *out)
{
    const json_t *v = json_object_get(p->v, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 1000000)
        return wrong(p, key, "a small count");
    *out = (long)json_integer_value(v);
    return 0;
}

int part_text(const struct part *p, const char *key, struct buf *out)
{
    const json_t *v = json_object_get(p->v, key);
    if (!json_is_string(v))
        return wrong(p, key, "text");
    return buf_put(out, json_string_value(v), json_string_length(v), p->err);
}

int part_pattern(const struct part *p, const char *key, struct buf *text, struct regex **regex)
{
    const json_t *v = json_object_get(p->v, key), *s = json_object_get(v, "String"),
                 *r = json_object_get(v, "Regex");
    if (json_object_size(v) != 1 || (!json_is_string(s) && !json_is_string(r)))
        return wrong(p, key, "{\"String\": text} or {\"Regex\": text}");
    if (s)
        return buf_put(text, json_string_value(s), json_string_length(s), p->err);
    *regex = regex_new(json_string_value(r), json_string_length(r), p->err);
    return *regex ? 0 : -1;
}

int part_scheme(const struct part *p, enum prepend_scheme *out)
{
    static const char *const names[] = {
        [PREPEND_ALWAYS] = "always", [PREPEND_FIRST] = "first", [PREPEND_NEVER] = "never"};
    const json_t *v = json_object_get(p->v, "prepend_scheme"),
                 *old = json_object_get(p->v, "add_prefix_space");
    *out = json_is_false(old) ? PREPEND_NEVER : PREPEND_ALWAYS;
    if (old && !json_is_boolean(old))
        return wrong(p, "add_prefix_space", "true or false");
    if (!v)
        return 0;
    const char *name = json_string_value(v);
    for (int i = PREPEND_ALWAYS; name && i <= PREPEND_NEVER; i++) {
        if (strcmp(name, names[i]) != 0)
            continue;
        *out = (enum prepend_scheme)i;
        if (json_is_false(old) && i != PREPEND_NEVER)
            return FAIL(p->err, TOK_UNSUP,
                        "%s: %s \"%s\": add_prefix_space contradicts prepend_scheme", p->t->path,
                        p->section, p->type);
        return 0;
    }
    return FAIL(p->err, TOK_UNSUP, "%s: %s \"%s\": unknown prepend_scheme", p->t->path, p->section,
                p->type);
}
