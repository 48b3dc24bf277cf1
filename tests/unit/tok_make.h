/* Small tokenizer.json files made at run time in a temporary folder. */
#ifndef TESTS_TOK_MAKE_H
#define TESTS_TOK_MAKE_H

#include "core/file.h"
#include "core/json.h"
#include "datasets/tokenizer.h"
#include "tests/tap.h"

#include <unistd.h>

struct maker {
    char dir[64];
};

static inline int maker_start(struct maker *m)
{
    snprintf(m->dir, sizeof m->dir, "/tmp/pesc-test-XXXXXX");
    return mkdtemp(m->dir) != NULL;
}

static inline void maker_end(struct maker *m)
{
    struct pesc_error err = {0};
    ok(dir_remove_all(m->dir, &err) == 0, "temporary folder removed");
}

static inline int maker_put(struct maker *m, const char *name, const char *text, size_t n)
{
    char path[PATH_CAP];
    struct pesc_error err = {0};
    return path_join(path, m->dir, name, &err) == 0 && file_write(path, text, n, &err) == 0;
}

/* Opens what root describes; root is given up. NULL with err on failure. */
static inline struct tokenizer *maker_open(struct maker *m, json_t *root, struct pesc_error *err)
{
    struct tokenizer *t = NULL;
    char *text = json_dumps(root, JSON_ENCODE_ANY);
    *err = (struct pesc_error){0};
    if (!text || !maker_put(m, "tokenizer.json", text, strlen(text)) ||
        tokenizer_open(m->dir, NULL, &t, err) != 0)
        t = NULL;
    free(text);
    json_decref(root);
    return t;
}

/* JSON text with ' for ". */
static inline json_t *quoted(const char *text)
{
    char *copy = strdup(text);
    for (char *p = copy; p && *p; p++)
        if (*p == '\'')
            *p = '"';
    json_t *v = copy ? json_loads(copy, JSON_DECODE_ANY, NULL) : NULL;
    if (!v)
        diag("broken test: %s", text);
    free(copy);
    return v;
}

/* A character-level model: the tokens (space separated) get the ids 0, 1, ...; merges are pairs
 * "a b" parted by commas. extra: further members of the file, as JSON text or NULL. */
static inline json_t *small_model(const char *tokens, const char *merges, const char *extra)
{
    json_t *root =
        quoted("{'version': '1.0', 'model': {'type': 'BPE', 'vocab': {}, 'merges': []}}");
    json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    char *copy = strdup(tokens), *save = NULL;
    long id = 0;
    for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save))
        json_object_set_new(vocab, p, json_integer(id++));
    free(copy);
    copy = strdup(merges);
    for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save))
        json_array_append_new(json_object_get(model, "merges"), json_string(p));
    free(copy);
    if (extra) {
        json_t *more = quoted(extra);
        json_object_update_recursive(root, more);
        json_decref(more);
    }
    return root;
}

/* A byte-level model: the 256 characters of the byte alphabet get the ids 0 to 255 by byte. */
static inline json_t *byte_model(const char *extra)
{
    json_t *root = quoted("{'version': '1.0', 'model': {'type': 'BPE', 'vocab': {}, 'merges': []},"
                          " 'pre_tokenizer': {'type': 'ByteLevel', 'add_prefix_space': false,"
                          " 'use_regex': false}, 'decoder': {'type': 'ByteLevel'}}");
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    int next = 256;
    for (int b = 0; b < 256; b++) {
        int shown = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        int cp = shown ? b : next++;
        char name[3] = {(char)cp, 0, 0};
        if (cp >= 0x80) {
            name[0] = (char)(0xc0 | cp >> 6);
            name[1] = (char)(0x80 | (cp & 0x3f));
        }
        json_object_set_new(vocab, name, json_integer(b));
    }
    if (extra) {
        json_t *more = quoted(extra);
        json_object_update_recursive(root, more);
        json_decref(more);
    }
    return root;
}

static inline int encode_is(const struct tokenizer *t, const char *text, size_t n, int flags,
                            const char *want)
{
    struct ids ids = {0};
    struct pesc_error err = {0};
    char got[2048] = "";
    if (!t || tokenizer_encode(t, text, n, flags, &ids, &err) != 0)
        snprintf(got, sizeof got, "%s", t ? err.text : "no tokenizer");
    for (size_t i = 0, at = 0; i < ids.n && at < sizeof got - 16; i++)
        at += (size_t)snprintf(got + at, sizeof got - at, i ? " %d" : "%d", ids.v[i]);
    free(ids.v);
    if (!strcmp(got, want))
        return 1;
    diag("got '%s', want '%s'", got, want);
    return 0;
}

#endif
