#include "config.h"
#include "datasets/tok_internal.h"

#include "core/file.h"
#include "core/hash.h"

#include <stdlib.h>
#include <string.h>

int ids_push(struct ids *l, int32_t id, struct pesc_error *err)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        int32_t *v = cap <= SIZE_MAX / 8 ? realloc(l->v, cap * sizeof *v) : NULL;
        if (!v)
            return FAIL(err, MEMORY, "no memory for %zu token ids", cap);
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = id;
    return 0;
}

void tok_work_free(struct tok_work *w)
{
    regex_match_free(w->match);
    buf_free(&w->repaired);
    buf_free(&w->norm[0]);
    buf_free(&w->norm[1]);
    for (int i = 0; i < TOK_STEPS_CAP; i++)
        buf_free(&w->step[i]);
    free(w->sym);
    free(w->at);
    free(w->prev);
    free(w->next);
    free(w->heap);
}

static int normal_piece(struct tok_work *w, const char *text, size_t n, int at_start)
{
    return pre_run(w, 0, text, n, at_start);
}

int tok_raw_piece(struct tok_work *w, const char *text, size_t n, int at_start)
{
    TRY(norm_run(w, text, n, &text, &n, &at_start));
    return added_split(w, &w->t->normal_tokens, text, n, at_start, normal_piece);
}

static int push_all(struct ids *out, const struct ids *more, struct pesc_error *err)
{
    for (size_t i = 0; i < more->n; i++)
        TRY(ids_push(out, more->v[i], err));
    return 0;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, int flags,
                     struct ids *out, struct pesc_error *err)
{
    struct tok_work w = {.t = t, .plain = (flags & TOK_PLAIN) != 0, .out = out, .err = err};
    size_t before = out->n;
    int rc = -1;
    if (n > TOK_TEXT_CAP)
        return FAIL(err, LIMIT, "a text of %zu bytes is too long to tokenize at once", n);
    w.match = regex_match_new(err);
    if (!w.match)
        return -1;
    if (utf8_valid(text, n, NULL, NULL) < n) {
        TRY_OR(utf8_repair(&w.repaired, text, n, err), done);
        text = w.repaired.p;
        n = w.repaired.n;
    }
    if (flags & TOK_SPECIAL)
        TRY_OR(push_all(out, &t->before, err), done);
    TRY_OR(added_split(&w, &t->raw_tokens, text, n, 1, tok_raw_piece), done);
    if (flags & TOK_SPECIAL)
        TRY_OR(push_all(out, &t->after, err), done);
    rc = 0;
done:
    if (rc != 0)
        out->n = before;
    tok_work_free(&w);
    return rc;
}

/* bos_token and the like: text, or an object with content. 1: found (id may be -1), 0: no entry */
static int named_token(const struct tokenizer *t, const json_t *from, const char *key,
                       const struct notes *notes, int32_t *id)
{
    const json_t *v = json_object_get(from, key);
    if (!v)
        return 0;
    const char *name = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
    *id = name ? tokenizer_id(t, name) : -1;
    if (name && *id < 0)
        note(notes, "W-TOK-SPECIAL", "%s: %s \"%s\" is not in the vocabulary", t->path, key, name);
    return 1;
}

/* A JSON object in dir that need not be there. */
static int optional_json(const char *dir, const char *name, json_t **out, struct pesc_error *err)
{
    char path[PATH_CAP];
    *out = NULL;
    TRY(path_join(path, dir, name, err));
    if (!path_exists(path))
        return 0;
    *out = json_file(path, TOK_FILE_CAP, PESC_E_TOK_JSON, err);
    if (!*out)
        return -1;
    return json_is_object(*out) ? 0 : FAIL(err, TOK_JSON, "%s: not an object", path);
}

static int load_root(struct tokenizer *t, json_t **root, struct pesc_error *err)
{
    char *text, why[256];
    size_t n;
    enum json_fault fault;
    if (file_read(t->path, TOK_FILE_CAP, &text, &n, err) != 0) {
        if (err && err->code == PESC_E_LIMIT) {
            err->code = 0;
            error_set(err, PESC_E_TOK_JSON, "%s: larger than %d bytes", t->path, TOK_FILE_CAP);
        }
        return -1;
    }
    *root = json_parse(text, n, &fault, why, sizeof why);
    int rc = *root ? hash_bytes(text, n, t->sha256, err) : -1;
    free(text);
    if (!*root)
        return fault == JSON_FAULT_MEMORY ? FAIL(err, MEMORY, "%s: no memory to parse it", t->path)
                                          : FAIL(err, TOK_JSON, "%s: %s", t->path, why);
    return rc;
}

static int check_root(const struct tokenizer *t, const json_t *root, const struct notes *notes,
                      struct pesc_error *err)
{
    /* truncation and padding are for serving; training cuts and packs by its own rules */
    static const char *const known[] = {"version",        "truncation", "padding",
                                        "added_tokens",   "normalizer", "pre_tokenizer",
                                        "post_processor", "decoder",    "model"};
    const json_t *version = json_object_get(root, "version");
    const char *key;
    json_t *v;
    if (!json_is_object(root))
        return FAIL(err, TOK_JSON, "%s: not an object", t->path);
    if (version && (!json_is_string(version) || strcmp(json_string_value(version), "1.0") != 0))
        return FAIL(err, TOK_UNSUP, "%s: \"version\" is not \"1.0\"", t->path);
    json_object_foreach((json_t *)root, key, v)
    {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(known[i], key) != 0)
            i++;
        if (i == sizeof known / sizeof *known)
            note(notes, "W-TOK-KEY", "%s: unknown key \"%s\" ignored", t->path, key);
    }
    return 0;
}

static int load(struct tokenizer *t, const json_t *root, const json_t *config, const json_t *map,
                const struct notes *notes, struct pesc_error *err)
{
    TRY(check_root(t, root, notes, err));
    memcpy(&t->seed, t->sha256, sizeof t->seed);
    TRY(tok_load_norm(t, json_object_get(root, "normalizer"), 0, err));
    TRY(tok_load_pre(t, json_object_get(root, "pre_tokenizer"), 0, err));
    if (t->n_pre && t->pre[t->n_pre - 1].kind == PRE_BYTES) {
        t->byte_level = 1;
        t->n_pre--;
    }
    TRY(tok_load_dec(t, json_object_get(root, "decoder"), 0, err));
    TRY(tok_load_model(t, root, config, notes, err));
    TRY(tok_load_post(t, json_object_get(root, "post_processor"), 0, err));
    if (!named_token(t, config, "bos_token", notes, &t->bos))
        (void)named_token(t, map, "bos_token", notes, &t->bos);
    if (!named_token(t, config, "eos_token", notes, &t->eos))
        (void)named_token(t, map, "eos_token", notes, &t->eos);
    return 0;
}

int tokenizer_open(const char *dir, const struct notes *notes, struct tokenizer **out,
                   struct pesc_error *err)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    json_t *root = NULL, *config = NULL, *map = NULL;
    int rc = -1;
    *out = NULL;
    if (!t)
        return FAIL(err, MEMORY, "no memory for a tokenizer");
    t->bos = t->eos = t->unk = -1;
    byte_map_init(&t->bytes);
    trie_init(&t->raw_tokens);
    trie_init(&t->normal_tokens);
    TRY_OR(path_join(t->path, dir, "tokenizer.json", err), done);
    TRY_OR(load_root(t, &root, err), done);
    TRY_OR(optional_json(dir, "tokenizer_config.json", &config, err), done);
    TRY_OR(optional_json(dir, "special_tokens_map.json", &map, err), done);
    TRY_OR(load(t, root, config, map, notes, err), done);
    rc = 0;
done:
    json_decref(root);
    json_decref(config);
    json_decref(map);
    if (rc == 0)
        *out = t;
    else
        tokenizer_close(t);
    return rc;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    for (int i = 0; i < TOK_STEPS_CAP; i++) {
        buf_free(&t->norm[i].from);
        buf_free(&t->norm[i].to);
        regex_free(t->norm[i].regex);
        buf_free(&t->pre[i].text);
        regex_free(t->pre[i].regex);
        buf_free(&t->dec[i].from);
        buf_free(&t->dec[i].to);
        regex_free(t->dec[i].regex);
    }
    strings_free(&t->names);
    strings_free(&t->raw);
    free(t->by_name.slot);
    free(t->by_raw.slot);
    free(t->merges.slot);
    free(t->merges.bridge);
    free(t->raw_tokens.node);
    free(t->normal_tokens.node);
    free(t->flags);
    free(t->added);
    free(t->added_of);
    free(t->char_id);
    free(t->before.v);
    free(t->after.v);
    free(t);
}

long tokenizer_size(const struct tokenizer *t)
{
    return t->names.n;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

int tokenizer_adds_bos(const struct tokenizer *t)
{
    return t->bos >= 0 && t->before.n > 0 && t->before.v[0] == t->bos;
}

void tokenizer_around(const struct tokenizer *t, size_t *before, size_t *after)
{
    *before = t->before.n;
    *after = t->after.n;
}

int32_t tokenizer_id(const struct tokenizer *t, const char *token)
{
    return strmap_get(&t->by_name, &t->names, token, strlen(token));
}

const char *tokenizer_token(const struct tokenizer *t, int32_t id)
{
    return strings_has(&t->names, id) ? t->names.pool.p + t->names.span[id].at : NULL;
}

int tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    return strings_has(&t->names, id) && (t->flags[id] & TOKEN_SPECIAL);
}

const char *tokenizer_sha256(const struct tokenizer *t)
{
    return t->sha256;
}

const char *tokenizer_path(const struct tokenizer *t)
{
    return t->path;
}
