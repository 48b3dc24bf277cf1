#include "config.h"
#include "datasets/template_form.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys of a template file; a dot parts the name of a group from that within it. */
enum kind { TEXT, FLAG, PLACE, STOPS, LIKE };
static const struct key {
    const char *name;
    enum kind kind;
    size_t at;
} keys[] = {
#define AT(field) offsetof(struct template, field)
    {"like", LIKE, 0},
    {"begin", TEXT, AT(begin)},
    {"end", TEXT, AT(end)},
    {"system.before", TEXT, AT(system_before)},
    {"system.after", TEXT, AT(system_after)},
    {"system.later", TEXT, AT(later_system)},
    {"system.default", TEXT, AT(default_system)},
    {"system.place", PLACE, AT(place)},
    {"system.skip-empty", FLAG, AT(skip_empty_system)},
    {"user.before", TEXT, AT(user_before)},
    {"user.after", TEXT, AT(user_after)},
    {"user.first", TEXT, AT(first_user)},
    {"user.after-system", TEXT, AT(user_after_system)},
    {"assistant.before", TEXT, AT(answer_before)},
    {"assistant.lead", TEXT, AT(answer_lead)},
    {"assistant.after", TEXT, AT(answer_after)},
    {"assistant.tail", TEXT, AT(answer_tail)},
    {"tool.open", TEXT, AT(tool_open)},
    {"tool.before", TEXT, AT(tool_before)},
    {"tool.after", TEXT, AT(tool_after)},
    {"tool.close", TEXT, AT(tool_close)},
    {"trim", FLAG, AT(trim)},
    {"alternate", FLAG, AT(alternate)},
    {"stop", STOPS, AT(stop)},
#undef AT
};

/* Strings that belong to a template, in one list. */
struct owned {
    struct owned *next;
    char text[];
};

static const char *keep(struct template *t, const char *text, size_t n)
{
    struct owned *o = malloc(sizeof *o + n + 1);
    if (!o)
        return NULL;
    memcpy(o->text, text, n);
    o->text[n] = 0;
    o->next = t->owned;
    t->owned = o;
    return o->text;
}

void template_free(struct template *t)
{
    if (!t)
        return;
    for (struct owned *o = t->owned, *next; o; o = next) {
        next = o->next;
        free(o);
    }
    free(t);
}

struct file {
    struct template *t;
    const char *name;
    struct pesc_error *err;
};
#define BAD(f, ...) FAIL((f)->err, USAGE_CONFIG, __VA_ARGS__)

static int set_text(const struct file *f, const json_t *v, const char *key, const char **out)
{
    if (!json_is_string(v))
        return BAD(f, "%s: %s is not a text", f->name, key);
    *out = keep(f->t, json_string_value(v), json_string_length(v));
    return *out ? 0 : FAIL(f->err, MEMORY, "%s: no memory", f->name);
}

static int set_place(const struct file *f, const json_t *v, enum system_place *out)
{
    static const char *const names[] = {"message", "first-user", "last-user", "dropped", "refused"};
    const char *s = json_string_value(v);
    for (int i = 0; s && i < 5; i++)
        if (!strcmp(names[i], s)) {
            *out = (enum system_place)i;
            return 0;
        }
    return BAD(f, "%s: system.place is none of message|first-user|last-user|dropped|refused",
               f->name);
}

static int set_stops(const struct file *f, const json_t *v)
{
    size_t n = json_is_string(v) ? 1 : json_array_size(v), cap = 4;
    if (n > cap || (!json_is_string(v) && !json_is_array(v)))
        return BAD(f, "%s: stop is not a list of up to %zu texts", f->name, cap);
    memset(f->t->stop, 0, sizeof f->t->stop);
    for (size_t i = 0; i < n; i++)
        TRY(set_text(f, json_is_string(v) ? v : json_array_get(v, i), "stop", &f->t->stop[i]));
    return 0;
}

static int set(const struct file *f, const struct key *k, const json_t *v)
{
    char *at = (char *)f->t + k->at;
    switch (k->kind) {
    case TEXT:
        return set_text(f, v, k->name, (const char **)(void *)at);
    case FLAG: {
        const char *s = json_string_value(v);
        int yes = s && (!strcmp(s, "true") || !strcmp(s, "yes"));
        if (!s || (!yes && strcmp(s, "false") != 0 && strcmp(s, "no") != 0))
            return BAD(f, "%s: %s is neither true nor false", f->name, k->name);
        *(int *)(void *)at = yes;
        return 0;
    }
    case PLACE:
        return set_place(f, v, (enum system_place *)(void *)at);
    case STOPS:
        return set_stops(f, v);
    case LIKE:
        break;
    }
    return 0; /* read before the others */
}

static int read_keys(const struct file *f, const json_t *tree, const char *group)
{
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)tree, name, v)
    {
        char full[80];
        size_t i = 0;
        snprintf(full, sizeof full, "%s%s%.30s", group, *group ? "." : "", name);
        if (json_is_object(v) && !*group) {
            TRY(read_keys(f, v, full));
            continue;
        }
        while (i < sizeof keys / sizeof *keys && strcmp(keys[i].name, full) != 0)
            i++;
        if (i == sizeof keys / sizeof *keys)
            return BAD(f, "%s: unknown key %s", f->name, full);
        TRY(set(f, &keys[i], v));
    }
    return 0;
}

int template_from_json(const json_t *tree, const char *name, const char *sha256,
                       struct template **out, struct pesc_error *err)
{
    struct template *t = calloc(1, sizeof *t);
    struct file f = {t, name, err};
    char id[160];
    const json_t *like = json_object_get(tree, "like");
    const struct template *from = NULL;
    *out = NULL;
    if (!t)
        return FAIL(err, MEMORY, "%s: no memory", name);
    if (!json_is_object(tree)) {
        BAD(&f, "%s: a template file holds lines of the form 'key: value'", name);
        goto fail;
    }
    if (like) {
        from = json_is_string(like) ? template_find(json_string_value(like)) : NULL;
        if (!from) {
            BAD(&f, "%s: like is none of %s", name, template_ids());
            goto fail;
        }
        *t = *from;
    }
    t->owned = NULL;
    snprintf(id, sizeof id, "%.48s sha256:%.64s", name, sha256);
    t->id = keep(t, id, strlen(id));
    if (!t->id) {
        FAIL(err, MEMORY, "%s: no memory", name);
        goto fail;
    }
    TRY_OR(read_keys(&f, tree, ""), fail);
    if (!like && !(t->user_before && t->answer_before)) {
        BAD(&f, "%s: user.before and assistant.before are needed, or like", name);
        goto fail;
    }
    *out = t;
    return 0;
fail:
    template_free(t);
    return -1;
}
