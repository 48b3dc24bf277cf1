/* The file of a sweep, and the runs that it stands for. */
#include "config.h"
#include "cli/sweep.h"

#include "core/file.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 10000, NAME_MOST = 96 };

/* Options that are the sweep's own. */
static const char *const own[] = {"output", "config",         "sweep",       "jobs", "name",
                                  "resume", "print-commands", "leaderboard", "json", NULL};
/* Options that change nothing of what comes out. */
static const char *const aside[] = {"db",      "quiet",      "profile", "memory",
                                    "threads", "experiment", NULL};

static int is_in(const char *name, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(name, *list))
            return 1;
    return 0;
}

/* What one run is made from. */
struct settings {
    struct train_cli o;
    char *given; /* [options] */
    const char *file;
};

static void list_clear(const struct opt *opt, struct train_cli *o)
{
    if (opt->kind == OPT_LIST)
        ((struct opt_list *)((char *)o + opt->offset))->n = 0;
}

static int set_key(struct settings *s, const char *key, const json_t *v, const char *where,
                   struct pesc_error *err)
{
    const struct opt *opt = opts_find(&cmd_train, key);
    if (!opt)
        return opts_set(&cmd_train, &s->o, key, "", where, NULL, err); /* names the nearest */
    if (is_in(opt->name, own))
        return FAIL(err, USAGE_CONFIG, "%s%s is not for a sweep's file", where, opt->name);
    list_clear(opt, &s->o);
    if (json_is_string(v))
        return opts_set(&cmd_train, &s->o, opt->name, json_string_value(v), where, s->given, err);
    if (!json_is_array(v) || opt->kind != OPT_LIST)
        return FAIL(err, USAGE_CONFIG, "%s%s takes %s", where, opt->name,
                    opt->kind == OPT_LIST ? "a value or a list of values" : "one value");
    size_t i;
    const json_t *item;
    json_array_foreach(v, i, item)
    {
        if (!json_is_string(item))
            return FAIL(err, USAGE_CONFIG, "%s%s: a list holds plain values only", where,
                        opt->name);
        TRY(opts_set(&cmd_train, &s->o, opt->name, json_string_value(item), where, s->given, err));
    }
    return 0;
}

/* Keys of the file that all runs share; the command line wins. */
static int set_shared(struct settings *s, const json_t *tree, struct pesc_error *err)
{
    static const char *const others[] = {"grid", "runs", "metric", "model", NULL};
    const char *key;
    json_t *v;
    char where[PATH_CAP + 8];
    snprintf(where, sizeof where, "%s: ", s->file);
    json_object_foreach((json_t *)(uintptr_t)tree, key, v)
    {
        const struct opt *opt = opts_find(&cmd_train, key);
        if (is_in(key, others))
            continue;
        if (opt && s->given[opt - cmd_train.opts]) {
            struct settings checked = *s; /* overruled, and still to be right */
            checked.given = NULL;
            TRY(set_key(&checked, key, v, where, err));
        } else {
            TRY(set_key(s, key, v, where, err));
        }
    }
    return 0;
}

/* --- a run's words --- */

static int add_arg(struct trial *t, const char *name, const char *value, struct pesc_error *err)
{
    size_t n = strlen(value) + (name ? strlen(name) : 0) + 4;
    char **grown = realloc(t->args, (size_t)(t->n_args + 2) * sizeof *grown);
    char *word = grown ? malloc(n) : NULL;
    if (grown)
        t->args = grown;
    if (!word)
        return FAIL(err, MEMORY, "no memory for a sweep");
    if (name)
        snprintf(word, n, "--%s=%s", name, value);
    else
        snprintf(word, n, "%s", value);
    t->args[t->n_args++] = word;
    t->args[t->n_args] = NULL;
    return 0;
}

static int add_option(struct trial *t, const struct opt *opt, const struct train_cli *o,
                      struct pesc_error *err)
{
    char buf[512];
    if (opt->kind == OPT_LIST) {
        const struct opt_list *l = (const void *)((const char *)o + opt->offset);
        for (long i = 0; i < l->n; i++)
            TRY(add_arg(t, opt->name, l->v[i], err));
        return 0;
    }
    const char *text = opts_text(opt, o, buf, sizeof buf);
    return text ? add_arg(t, opt->name, text, err) : 0;
}

/* Of all words so far. */
static int hash_args(struct trial *t, struct pesc_error *err)
{
    struct hash *h = hash_new(err);
    if (!h)
        return -1;
    for (long i = 0; i < t->n_args; i++)
        hash_add(h, t->args[i], strlen(t->args[i]) + 1);
    hash_hex(h, t->hash);
    hash_free(h);
    return 0;
}

/* "learning-rate=1e-4,seed=1-5f3a9c01": what may stand in a folder's name. */
static int name_trial(struct trial *t, struct pesc_error *err)
{
    char name[NAME_MOST + 16] = "";
    size_t n = 0;
    const char *key;
    json_t *v;
    json_object_foreach(t->values, key, v)
    {
        char part[256];
        snprintf(part, sizeof part, "%s%s=%s", n ? "," : "", key, json_string_value(v));
        for (const char *p = part; *p && n < NAME_MOST; p++)
            name[n++] = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                                (*p >= '0' && *p <= '9') || strchr("+-._=,", *p)
                            ? *p
                            : '_';
    }
    if (n && name[0] == '.')
        name[0] = '_';
    snprintf(name + n, sizeof name - n, "%s%.8s", n ? "-" : "", t->hash);
    t->name = strdup(name);
    return t->name ? 0 : FAIL(err, MEMORY, "no memory for a sweep");
}

static int make_args(struct sweep *sweep, struct trial *t, const struct settings *s,
                     const char *model, struct pesc_error *err)
{
    char out[PATH_CAP];
    TRY(add_arg(t, NULL, "train", err));
    TRY(add_arg(t, NULL, model, err));
    for (int last = 0; last < 2; last++) {
        for (long i = 0; i < opts_count(&cmd_train); i++) {
            const struct opt *opt = &cmd_train.opts[i];
            if (s->given[i] && !is_in(opt->name, own) && is_in(opt->name, aside) == last)
                TRY(add_option(t, opt, &s->o, err));
        }
        if (!last)
            TRY(hash_args(t, err));
    }
    TRY(name_trial(t, err));
    TRY(path_join(out, sweep->dir, t->name, err));
    if (!s->given[opts_find(&cmd_train, "experiment") - cmd_train.opts])
        TRY(add_arg(t, "experiment", path_base(sweep->dir), err));
    TRY(add_arg(t, "name", t->name, err));
    TRY(add_arg(t, "output", out, err));
    return add_arg(t, "resume", "auto", err);
}

/* --- which runs --- */

static const char *shown(const json_t *v, char *buf, size_t size)
{
    size_t i, at = 0;
    const json_t *item;
    if (json_is_string(v))
        return json_string_value(v);
    buf[0] = 0;
    json_array_foreach(v, i, item) if (at < size) at +=
        (size_t)snprintf(buf + at, size - at, "%s%s", i ? " " : "",
                         json_is_string(item) ? json_string_value(item) : "?");
    return buf;
}

/* One more run: shared settings, and what is special about this one. */
static int add_trial(struct sweep *sweep, const struct settings *shared, const json_t *special,
                     const char *model, const char *which, struct pesc_error *err)
{
    const size_t options = (size_t)opts_count(&cmd_train) + 1;
    struct settings s = *shared;
    char where[PATH_CAP + 64], text[512];
    const char *key;
    json_t *v;
    int rc = -1;
    if (sweep->n == MOST)
        return FAIL(err, LIMIT, "%s: more than %d runs", shared->file, MOST);
    struct trial *grown = realloc(sweep->trials, (size_t)(sweep->n + 1) * sizeof *sweep->trials);
    if (grown)
        sweep->trials = grown;
    s.given = malloc(options);
    if (!grown || !s.given) {
        free(s.given);
        return FAIL(err, MEMORY, "no memory for a sweep");
    }
    memcpy(s.given, shared->given, options);
    struct trial *t = &sweep->trials[sweep->n++];
    *t = (struct trial){.values = json_object()};
    snprintf(where, sizeof where, "%s: %s %ld: ", s.file, which, sweep->n);
    json_object_foreach((json_t *)(uintptr_t)special, key, v)
    {
        const struct opt *opt = opts_find(&cmd_train, key);
        if (opt && shared->given[opt - cmd_train.opts] == 1) {
            FAIL(err, USAGE, "--%s is on the command line, and in %s it differs between runs",
                 opt->name, s.file);
            goto done;
        }
        TRY_OR(set_key(&s, key, v, where, err), done);
        if (json_object_set_new(t->values, opt->name, json_string(shown(v, text, sizeof text))) !=
            0) {
            FAIL(err, MEMORY, "no memory for a sweep");
            goto done;
        }
    }
    TRY_OR(train_opts_check(&s.o, err), done);
    if (s.o.budgets.n > 1) {
        FAIL(err, USAGE_VALUE, "%s--memory: a run has one budget", where);
        goto done;
    }
    TRY_OR(make_args(sweep, t, &s, model, err), done);
    for (long i = 0; i + 1 < sweep->n; i++)
        if (!strcmp(sweep->trials[i].hash, t->hash)) {
            FAIL(err, USAGE_CONFIG, "%s: runs %ld and %ld are the same", s.file, i + 1, sweep->n);
            goto done;
        }
    rc = 0;
done:
    free(s.given);
    return rc;
}

/* Every combination, by counting. */
static int add_grid(struct sweep *sweep, const struct settings *shared, const json_t *grid,
                    const char *model, struct pesc_error *err)
{
    double all = 1;
    const char *key;
    json_t *list;
    json_object_foreach((json_t *)(uintptr_t)grid, key, list)
    {
        if (!json_is_array(list) || json_array_size(list) == 0)
            return FAIL(err, USAGE_CONFIG, "%s: grid: %s needs a list of values", shared->file,
                        key);
        all *= (double)json_array_size(list);
    }
    if (all > MOST)
        return FAIL(err, LIMIT, "%s: grid: %.0f runs, more than %d", shared->file, all, MOST);
    for (long i = 0; i < (long)all; i++) {
        long left = i, size = (long)all;
        json_t *special = json_object();
        int rc = 0;
        json_object_foreach((json_t *)(uintptr_t)grid, key, list)
        {
            size /= (long)json_array_size(list);
            if (json_object_set(special, key, json_array_get(list, (size_t)(left / size))) != 0)
                rc = FAIL(err, MEMORY, "no memory for a sweep");
            left %= size;
        }
        if (rc == 0)
            rc = add_trial(sweep, shared, special, model, "combination", err);
        json_decref(special);
        TRY(rc);
    }
    return 0;
}

static int add_all(struct sweep *sweep, const struct settings *shared, const char *model,
                   struct pesc_error *err)
{
    const json_t *grid = json_object_get(sweep->tree, "grid"),
                 *runs = json_object_get(sweep->tree, "runs"), *one;
    size_t i;
    if (grid && (!json_is_object(grid) || json_object_size(grid) == 0))
        return FAIL(err, USAGE_CONFIG, "%s: grid is {key: [values], ...}", shared->file);
    if (runs && (!json_is_array(runs) || json_array_size(runs) == 0))
        return FAIL(err, USAGE_CONFIG, "%s: runs is a list of {key: value, ...}", shared->file);
    if (!grid && !runs)
        return FAIL(err, USAGE_CONFIG, "%s: neither grid nor runs says which runs to make",
                    shared->file);
    if (grid)
        TRY(add_grid(sweep, shared, grid, model, err));
    json_array_foreach(runs, i, one)
    {
        if (!json_is_object(one))
            return FAIL(err, USAGE_CONFIG, "%s: runs is a list of {key: value, ...}", shared->file);
        TRY(add_trial(sweep, shared, one, model, "run", err));
    }
    return 0;
}

static int text_of(const json_t *tree, const char *key, const char *file, const char **out,
                   struct pesc_error *err)
{
    const json_t *v = json_object_get(tree, key);
    if (v && !json_is_string(v))
        return FAIL(err, USAGE_CONFIG, "%s: %s is one text", file, key);
    if (v)
        *out = json_string_value(v);
    return 0;
}

int sweep_open(struct sweep *s, const struct train_cli *o, const char *given, const char *model,
               struct pesc_error *err)
{
    char sha[SHA256_HEX];
    const char *of_file = NULL;
    const size_t options = (size_t)opts_count(&cmd_train) + 1;
    struct settings shared = {.o = *o, .file = o->sweep, .given = malloc(options)};
    int rc = -1;
    *s = (struct sweep){.dir = o->out};
    if (!shared.given)
        return FAIL(err, MEMORY, "no memory for a sweep");
    memcpy(shared.given, given, options);
    s->tree = config_tree(o->sweep, sha, err);
    if (!s->tree)
        goto done;
    if (!json_is_object(s->tree)) {
        FAIL(err, USAGE_CONFIG, "%s: expected lines of the form 'option: value'", o->sweep);
        goto done;
    }
    TRY_OR(text_of(s->tree, "model", o->sweep, &of_file, err), done);
    TRY_OR(text_of(s->tree, "metric", o->sweep, &s->metric, err), done);
    TRY_OR(sweep_metric_check(s->metric, err), done);
    if (!model && !of_file) {
        FAIL(err, USAGE, "a sweep needs a model, on the command line or in %s", o->sweep);
        goto done;
    }
    TRY_OR(set_shared(&shared, s->tree, err), done);
    /* 1: named on the command line; 2: by the file, where a run may say otherwise */
    for (size_t i = 0; i + 1 < options; i++)
        shared.given[i] = given[i] ? 1 : shared.given[i] ? 2 : 0;
    rc = add_all(s, &shared, model ? model : of_file, err);
done:
    free(shared.given);
    return rc;
}

void sweep_close(struct sweep *s)
{
    for (long i = 0; i < s->n; i++) {
        struct trial *t = &s->trials[i];
        for (long a = 0; a < t->n_args; a++)
            free(t->args[a]);
        free(t->args);
        free(t->name);
        json_decref(t->values);
    }
    free(s->trials);
    json_decref(s->tree);
    *s = (struct sweep){0};
}

/* Quoted where a shell would see more than a word. */
static void put_word(FILE *f, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-+=.,/:@%";
    if (*word && strspn(word, plain) == strlen(word)) {
        fputs(word, f);
        return;
    }
    fputc('\'', f);
    for (; *word; word++)
        if (*word == '\'')
            fputs("'\\''", f);
        else
            fputc(*word, f);
    fputc('\'', f);
}

void sweep_print(const struct sweep *s, FILE *f)
{
    for (long i = 0; i < s->n; i++) {
        fputs("pesc", f);
        for (long a = 0; a < s->trials[i].n_args; a++) {
            fputc(' ', f);
            put_word(f, s->trials[i].args[a]);
        }
        fputc('\n', f);
    }
}
