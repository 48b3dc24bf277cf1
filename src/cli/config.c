#include "config.h"
#include "cli/cmd.h"

#include "core/file.h"
#include "core/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

enum { FILE_CAP = 1 << 20 };

struct config_text {
    struct config_text *next;
    char text[];
};

void config_text_free(struct config_text *text)
{
    while (text) {
        struct config_text *next = text->next;
        free(text);
        text = next;
    }
}

const char *config_library(void)
{
    return yaml_get_version_string();
}

/* Reading: libyaml's events, so that a document is never built and nesting costs nothing. */

struct reader {
    yaml_parser_t yaml;
    yaml_event_t event; /* the current one */
    const char *path;
    const struct cmd *cmd;
    void *opts, *scratch; /* scratch: checked values that the command line overrules */
    char *given, *seen;
    struct config_text **text;
};

#define AT(r, line, fmt, ...)                                                                      \
    FAIL(err, USAGE_CONFIG, "%s:%zu: " fmt, (r)->path, (line) + 1, __VA_ARGS__)
#define HERE(r, fmt, ...) AT(r, (r)->event.start_mark.line, fmt, __VA_ARGS__)

static int advance(struct reader *r, struct pesc_error *err)
{
    yaml_event_delete(&r->event);
    if (yaml_parser_parse(&r->yaml, &r->event))
        return 0;
    memset(&r->event, 0, sizeof r->event);
    if (r->yaml.error == YAML_MEMORY_ERROR)
        return FAIL(err, MEMORY, "%s: no memory", r->path);
    const char *why = r->yaml.problem ? r->yaml.problem : "not YAML";
    if (r->yaml.error == YAML_READER_ERROR)
        return FAIL(err, USAGE_CONFIG, "%s: byte %zu: %s", r->path, r->yaml.problem_offset, why);
    return AT(r, r->yaml.problem_mark.line, "%s", why);
}

static int is_null(const yaml_event_t *e)
{
    if (e->type != YAML_SCALAR_EVENT || e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return 0;
    const char *s = (const char *)e->data.scalar.value;
    return !*s || !strcmp(s, "~") || !strcasecmp(s, "null");
}

/* What a plain file of settings never needs, and what makes YAML surprising. */
static int no_extras(struct reader *r, const yaml_char_t *anchor, const yaml_char_t *tag,
                     struct pesc_error *err)
{
    if (anchor)
        return HERE(r, "anchors (&%s) are not supported", (const char *)anchor);
    if (tag)
        return HERE(r, "tags (%s) are not supported", (const char *)tag);
    return 0;
}

/* The scalar's text in memory that outlives the parser. */
static int scalar_text(struct reader *r, const char **out, struct pesc_error *err)
{
    const char *value = (const char *)r->event.data.scalar.value;
    size_t n = r->event.data.scalar.length;
    TRY(no_extras(r, r->event.data.scalar.anchor, r->event.data.scalar.tag, err));
    if (strlen(value) != n)
        return HERE(r, "a zero byte in '%s'", value);
    struct config_text *t = malloc(sizeof *t + n + 1);
    if (!t)
        return FAIL(err, MEMORY, "%s: no memory", r->path);
    memcpy(t->text, value, n + 1);
    t->next = *r->text;
    *r->text = t;
    *out = t->text;
    return 0;
}

static int set_scalar(struct reader *r, const struct opt *o, void *opts, struct pesc_error *err)
{
    char where[PATH_CAP + 32];
    const char *value;
    snprintf(where, sizeof where, "%s:%zu: ", r->path, r->event.start_mark.line + 1);
    TRY(scalar_text(r, &value, err));
    if (o->kind == OPT_FLAG &&
        (!strcasecmp(value, "true") || !strcasecmp(value, "yes") || !strcasecmp(value, "on")))
        value = "true";
    else if (o->kind == OPT_FLAG &&
             (!strcasecmp(value, "false") || !strcasecmp(value, "no") || !strcasecmp(value, "off")))
        value = "false";
    return opts_set(r->cmd, opts, o->name, value, where, r->given, err);
}

static int set_sequence(struct reader *r, const struct opt *o, void *opts, struct pesc_error *err)
{
    TRY(no_extras(r, r->event.data.sequence_start.anchor, r->event.data.sequence_start.tag, err));
    if (o->kind != OPT_LIST)
        return HERE(r, "%s takes one value, not a list", o->name);
    for (;;) {
        TRY(advance(r, err));
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            return 0;
        if (r->event.type == YAML_ALIAS_EVENT)
            return HERE(r, "aliases (*%s) are not supported",
                        (const char *)r->event.data.alias.anchor);
        if (r->event.type != YAML_SCALAR_EVENT || is_null(&r->event))
            return HERE(r, "%s: a list holds plain values only", o->name);
        TRY(set_scalar(r, o, opts, err));
    }
}

/* Whether an option is one of a run's configuration: those are not which say where it comes from.
 */
static int is_kept(const struct opt *o)
{
    static const char *const others[] = {"config", "sweep", "jobs", "print-commands",
                                         "leaderboard"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcmp(o->name, others[i]))
            return 0;
    return 1;
}

/* The current event is a key. */
static int read_pair(struct reader *r, struct pesc_error *err)
{
    const char *key;
    char where[PATH_CAP + 32];
    if (r->event.type == YAML_ALIAS_EVENT)
        return HERE(r, "aliases (*%s) are not supported", (const char *)r->event.data.alias.anchor);
    if (r->event.type != YAML_SCALAR_EVENT)
        return HERE(r, "%s", "a key must be the name of an option");
    snprintf(where, sizeof where, "%s:%zu: ", r->path, r->event.start_mark.line + 1);
    TRY(scalar_text(r, &key, err));
    const struct opt *o = opts_find(r->cmd, key);
    if (!o)
        return opts_set(r->cmd, r->scratch, key, "", where, NULL, err); /* names the nearest */
    if (!is_kept(o))
        return HERE(r, "%s is for the command line only", o->name);
    size_t i = (size_t)(o - r->cmd->opts);
    if (r->seen[i])
        return HERE(r, "%s stands here twice", o->name);
    r->seen[i] = 1;
    void *opts = r->given[i] ? r->scratch : r->opts;
    TRY(advance(r, err));
    switch (r->event.type) {
    case YAML_SCALAR_EVENT:
        if (is_null(&r->event)) /* leaves the default */
            return no_extras(r, r->event.data.scalar.anchor, r->event.data.scalar.tag, err);
        if (o->kind == OPT_LIST)
            ((struct opt_list *)((char *)opts + o->offset))->n = 0;
        return set_scalar(r, o, opts, err);
    case YAML_SEQUENCE_START_EVENT:
        if (o->kind == OPT_LIST)
            ((struct opt_list *)((char *)opts + o->offset))->n = 0;
        return set_sequence(r, o, opts, err);
    case YAML_ALIAS_EVENT:
        return HERE(r, "aliases (*%s) are not supported", (const char *)r->event.data.alias.anchor);
    default:
        return HERE(r, "%s: nested mappings are not supported", o->name);
    }
}

static int read_document(struct reader *r, struct pesc_error *err)
{
    TRY(advance(r, err)); /* start of the stream */
    TRY(advance(r, err));
    if (r->event.type == YAML_STREAM_END_EVENT)
        return 0;
    TRY(advance(r, err));
    if (r->event.type == YAML_MAPPING_START_EVENT) {
        TRY(no_extras(r, r->event.data.mapping_start.anchor, r->event.data.mapping_start.tag, err));
        for (;;) {
            TRY(advance(r, err));
            if (r->event.type == YAML_MAPPING_END_EVENT)
                break;
            TRY(read_pair(r, err));
        }
    } else if (!is_null(&r->event)) {
        return HERE(r, "%s", "expected lines of the form 'option: value'");
    }
    TRY(advance(r, err)); /* end of the document */
    TRY(advance(r, err));
    if (r->event.type != YAML_STREAM_END_EVENT)
        return HERE(r, "%s", "a second document; one is expected");
    return 0;
}

int config_read(const struct cmd *cmd, void *opts, const char *path, char *given,
                struct config_text **text, struct pesc_error *err)
{
    struct reader r = {.path = path, .cmd = cmd, .opts = opts, .given = given, .text = text};
    char *data = NULL;
    size_t len;
    int rc = -1;
    TRY(file_read(path, FILE_CAP, &data, &len, err));
    r.scratch = calloc(1, cmd->opts_size + 1);
    r.seen = calloc((size_t)opts_count(cmd) + 1, 1);
    if (!r.scratch || !r.seen || !yaml_parser_initialize(&r.yaml)) {
        FAIL(err, MEMORY, "%s: no memory", path);
        goto done;
    }
    yaml_parser_set_input_string(&r.yaml, (const unsigned char *)data, len);
    rc = read_document(&r, err);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.yaml);
done:
    free(r.scratch);
    free(r.seen);
    free(data);
    return rc;
}

enum { TREE_DEPTH = 8 };

/* The tree of the current event; what it opens is read to its end. NULL with err. */
static json_t *read_tree(struct reader *r, int depth, struct pesc_error *err)
{
    json_t *v = NULL, *item;
    const char *key;
    if (depth > TREE_DEPTH) {
        HERE(r, "%s", "nested too deeply");
        return NULL;
    }
    switch (r->event.type) {
    case YAML_SCALAR_EVENT:
        if (scalar_text(r, &key, err) != 0)
            return NULL;
        errno = 0;
        v = is_null(&r->event) ? json_null() : json_string(key);
        if (!v && errno == ENOMEM)
            FAIL(err, MEMORY, "%s: no memory", r->path);
        else if (!v)
            HERE(r, "%s", "a text that is not UTF-8");
        return v;
    case YAML_SEQUENCE_START_EVENT:
        v = json_array();
        for (;;) {
            if (advance(r, err) != 0)
                break;
            if (r->event.type == YAML_SEQUENCE_END_EVENT)
                return v;
            if (!(item = read_tree(r, depth + 1, err)))
                break;
            if (json_array_append_new(v, item) != 0) {
                FAIL(err, MEMORY, "%s: no memory", r->path);
                break;
            }
        }
        break;
    case YAML_MAPPING_START_EVENT:
        v = json_object();
        for (;;) {
            if (advance(r, err) != 0)
                break;
            if (r->event.type == YAML_MAPPING_END_EVENT)
                return v;
            if (r->event.type != YAML_SCALAR_EVENT) {
                HERE(r, "%s", "a key must be a word");
                break;
            }
            if (scalar_text(r, &key, err) != 0)
                break;
            if (json_object_get(v, key)) {
                HERE(r, "%s stands here twice", key);
                break;
            }
            if (advance(r, err) != 0 || !(item = read_tree(r, depth + 1, err)))
                break;
            if (json_is_null(item))
                continue;
            if (json_object_set_new(v, key, item) != 0) {
                FAIL(err, MEMORY, "%s: no memory", r->path);
                break;
            }
        }
        break;
    default:
        HERE(r, "%s", "aliases are not supported");
        break;
    }
    json_decref(v);
    return NULL;
}

json_t *config_tree(const char *path, char *sha256, struct pesc_error *err)
{
    struct config_text *text = NULL;
    struct reader r = {.path = path, .text = &text};
    char *data = NULL;
    size_t len;
    json_t *v = NULL;
    if (file_read(path, FILE_CAP, &data, &len, err) != 0)
        return NULL;
    if (hash_bytes(data, len, sha256, err) != 0 || !yaml_parser_initialize(&r.yaml)) {
        FAIL(err, MEMORY, "%s: no memory", path);
        free(data);
        return NULL;
    }
    yaml_parser_set_input_string(&r.yaml, (const unsigned char *)data, len);
    if (advance(&r, err) == 0 && advance(&r, err) == 0) {
        if (r.event.type == YAML_STREAM_END_EVENT)
            HERE(&r, "%s", "the file is empty");
        else if (advance(&r, err) == 0)
            v = read_tree(&r, 0, err);
    }
    if (v && (advance(&r, err) != 0 || advance(&r, err) != 0)) {
        json_decref(v);
        v = NULL;
    } else if (v && r.event.type != YAML_STREAM_END_EVENT) {
        HERE(&r, "%s", "a second document; one is expected");
        json_decref(v);
        v = NULL;
    }
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.yaml);
    config_text_free(text);
    free(data);
    return v;
}

/* Writing, by hand: the text is hashed, so it must not change with the library's version. */

/* Whether a text can stand unquoted and would be read as a text by any YAML reader. */
static int is_plain(const char *s)
{
    static const char *const words[] = {"true", "false", "yes", "no",  "on",
                                        "off",  "y",     "n",   "null"};
    if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '/'))
        return 0;
    for (const char *p = s; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
              strchr("/._-+", *p)))
            return 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(s, words[i]))
            return 0;
    return 1;
}

/* One character of UTF-8 at s and its length; a byte that is none is returned as itself. */
static unsigned long character(const unsigned char *s, int *n)
{
    int len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 1;
    unsigned long c = len == 1 ? s[0] : s[0] & (0xffu >> (len + 1));
    *n = 1;
    for (int i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return s[0];
        c = c << 6 | (s[i] & 0x3f);
    }
    if ((len == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) ||
        (len == 4 && (c < 0x10000 || c > 0x10ffff)))
        return s[0];
    *n = len;
    return c;
}

/* Bytes that are not UTF-8 cannot stand in YAML; they become the characters of the same number. */
static void put_text(FILE *f, const char *text)
{
    if (is_plain(text)) {
        fputs(text, f);
        return;
    }
    fputc('"', f);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        int n;
        unsigned long c = character(s, &n);
        if (c == '"' || c == '\\')
            fprintf(f, "\\%c", (int)c);
        else if (c < 0x20 || (c >= 0x7f && c < 0xa0) || (n == 1 && c >= 0x80))
            fprintf(f, "\\x%02lx", c);
        else if (c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe || c == 0xffff)
            fprintf(f, "\\u%04lx", c);
        else
            fwrite(s, 1, (size_t)n, f);
        s += n;
    }
    fputc('"', f);
}

static void put_option(FILE *f, const struct opt *o, const void *opts)
{
    char buf[64];
    if (o->kind == OPT_LIST) {
        const struct opt_list *l = (const void *)((const char *)opts + o->offset);
        if (l->n)
            fprintf(f, "%s:\n", o->name);
        for (long i = 0; i < l->n; i++) {
            fputs("  - ", f);
            put_text(f, l->v[i]);
            fputc('\n', f);
        }
        return;
    }
    const char *value = opts_text(o, opts, buf, sizeof buf);
    if (!value)
        return;
    fprintf(f, "%s: ", o->name);
    if (o->kind == OPT_STRING || o->kind == OPT_CHOICE)
        put_text(f, value);
    else
        fputs(value, f);
    fputc('\n', f);
}

char *config_yaml(const struct cmd *cmd, const void *opts)
{
    char *text = NULL;
    size_t size = 0;
    errno = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return NULL;
    for (long i = 0; i < opts_count(cmd); i++)
        if (is_kept(&cmd->opts[i]))
            put_option(f, &cmd->opts[i], opts);
    int failed = ferror(f);
    /* What there is no room for is left out, and only errno tells. */
    if (fclose(f) != 0 || failed || errno == ENOMEM) {
        free(text);
        return NULL;
    }
    return text;
}
