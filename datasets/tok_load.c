#include "config.h"
#include "datasets/tok_internal.h"

#include <stdlib.h>
#include <string.h>

/* The BPE model and the added tokens of tokenizer.json, checked against each other. */

struct loader {
    struct tokenizer *t;
    const json_t *model, *vocab, *merges, *added, *config_added;
    const struct notes *notes;
    struct pesc_error *err;
};

static int check_id(struct loader *l, const char *name, const json_t *v, int32_t *id)
{
    if (!json_is_integer(v))
        return FAIL(l->err, TOK_ID, "%s: token \"%s\": the id is not an integer", l->t->path, name);
    json_int_t n = json_integer_value(v);
    if (n < 0 || n >= TOK_ID_CAP)
        return FAIL(l->err, TOK_ID, "%s: token \"%s\": id %lld is out of range", l->t->path, name,
                    (long long)n);
    *id = (int32_t)n;
    return 0;
}

static int set_token(struct loader *l, int32_t id, const char *name, size_t n, int flags)
{
    TRY(strings_set(&l->t->names, id, name, n, l->err));
    l->t->flags[id] |= (uint8_t)flags;
    strmap_add(&l->t->by_name, &l->t->names, id);
    return 0;
}

static int load_vocab(struct loader *l)
{
    struct tokenizer *t = l->t;
    const char *name;
    json_t *v;
    int32_t id;
    json_object_foreach((json_t *)l->vocab, name, v)
    {
        TRY(check_id(l, name, v, &id));
        if (strings_has(&t->names, id))
            return FAIL(l->err, TOK_ID, "%s: tokens \"%s\" and \"%s\" have the same id %d", t->path,
                        t->names.pool.p + t->names.span[id].at, name, id);
        TRY(set_token(l, id, name, strlen(name), TOKEN_MODEL));
    }
    return 0;
}

/* A member that is text or absent (null); "" for absent. */
static int model_text(struct loader *l, const char *key, const char **out)
{
    const json_t *v = json_object_get(l->model, key);
    *out = json_is_string(v) ? json_string_value(v) : "";
    if (v && !json_is_null(v) && !json_is_string(v))
        return FAIL(l->err, TOK_JSON, "%s: model: \"%s\" is not text", l->t->path, key);
    return 0;
}

static int check_model(struct loader *l)
{
    static const char keys[] = "dropout unk_token continuing_subword_prefix end_of_word_suffix "
                               "fuse_unk byte_fallback ignore_merges vocab merges";
    struct tokenizer *t = l->t;
    const json_t *v = json_object_get(l->model, "type");
    const char *type = v ? json_string_value(v) : "BPE", *text;
    if (!json_is_object(l->model) || !type)
        return FAIL(l->err, TOK_JSON, "%s: model is missing or not an object with a type", t->path);
    if (strcmp(type, "BPE") != 0 || (!v && !json_object_get(l->model, "merges")))
        return FAIL(l->err, TOK_UNSUP, "%s: model of type \"%s\" is not supported, only BPE",
                    t->path, v ? type : "(none)");
    struct part p = {t, "model", type, l->model, l->err};
    TRY(part_keys(&p, keys));
    v = json_object_get(l->model, "dropout");
    if (v && !json_is_null(v) && !(json_is_number(v) && json_number_value(v) == 0))
        return FAIL(l->err, TOK_UNSUP, "%s: model: \"dropout\" is not supported", t->path);
    TRY(model_text(l, "continuing_subword_prefix", &text));
    if (*text)
        return FAIL(l->err, TOK_UNSUP, "%s: model: \"continuing_subword_prefix\" is not supported",
                    t->path);
    TRY(model_text(l, "end_of_word_suffix", &text));
    if (*text)
        return FAIL(l->err, TOK_UNSUP, "%s: model: \"end_of_word_suffix\" is not supported",
                    t->path);
    TRY(part_bool(&p, "fuse_unk", 0, &t->fuse_unk));
    TRY(part_bool(&p, "byte_fallback", 0, &t->byte_fallback));
    TRY(part_bool(&p, "ignore_merges", 0, &t->ignore_merges));
    l->vocab = json_object_get(l->model, "vocab");
    l->merges = json_object_get(l->model, "merges");
    if (!json_is_object(l->vocab))
        return FAIL(l->err, TOK_JSON, "%s: model: \"vocab\" is missing or not an object", t->path);
    if (!json_is_array(l->merges) && !(json_is_object(l->merges) && !json_object_size(l->merges)))
        return FAIL(l->err, TOK_MERGE, "%s: model: \"merges\" is missing or not an array", t->path);
    return 0;
}

static int32_t model_id(const struct tokenizer *t, const char *p, size_t n)
{
    int32_t id = strmap_get(&t->by_name, &t->names, p, n);
    return id >= 0 && (t->flags[id] & TOKEN_MODEL) ? id : -1;
}

/* Symbols that a word can start with (or end with, last) and that begin (end) token p[n]: its edge
 * character, a byte token, the unknown token. out has room for 3. */
static int edges(const struct tokenizer *t, const char *p, size_t n, int last, int32_t *out)
{
    int k = 0;
    size_t at = last ? n - 1 : 0, len;
    while (at && ((unsigned char)p[at] & 0xc0) == 0x80)
        at--;
    utf8_get(p + at, &len);
    out[k] = model_id(t, p + at, len);
    k += out[k] >= 0;
    if (t->byte_fallback && n >= 6) {
        out[k] = model_id(t, last ? p + n - 6 : p, 6);
        k += out[k] >= 0;
    }
    if (t->unk >= 0) {
        size_t u = t->names.span[t->unk].len;
        const char *q = t->names.pool.p + t->names.span[t->unk].at;
        if (u <= n && !memcmp(last ? p + n - u : p, q, u))
            out[k++] = t->unk;
    }
    return k;
}

static void add_bridges(struct tokenizer *t, const char *a, size_t an, const char *b, size_t bn)
{
    int32_t left[3], right[3];
    int n = edges(t, a, an, 1, left), m = edges(t, b, bn, 0, right);
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < m; k++) {
            uint32_t bit = bridge_bit(left[i], right[k]);
            t->merges.bridge[bit >> 3] |= (uint8_t)(1u << (bit & 7));
        }
    }
}

/* "a b" or ["a", "b"]. The first form cannot hold tokens with spaces. */
static int split_merge(struct loader *l, size_t rank, const char **a, size_t *an, const char **b,
                       size_t *bn)
{
    const json_t *v = json_array_get(l->merges, rank);
    if (json_is_string(v)) {
        const char *s = json_string_value(v), *space;
        size_t n = json_string_length(v);
        space = memchr(s, ' ', n);
        if (!space || memchr(space + 1, ' ', n - (size_t)(space + 1 - s)))
            return FAIL(l->err, TOK_MERGE, "%s: merge %zu (\"%s\") is not two tokens", l->t->path,
                        rank, s);
        *a = s;
        *an = (size_t)(space - s);
        *b = space + 1;
        *bn = n - *an - 1;
        return 0;
    }
    const json_t *x = json_array_get(v, 0), *y = json_array_get(v, 1);
    if (json_array_size(v) != 2 || !json_is_string(x) || !json_is_string(y))
        return FAIL(l->err, TOK_MERGE, "%s: merge %zu is not two tokens", l->t->path, rank);
    *a = json_string_value(x);
    *an = json_string_length(x);
    *b = json_string_value(y);
    *bn = json_string_length(y);
    return 0;
}

static int load_merges(struct loader *l)
{
    struct tokenizer *t = l->t;
    size_t n = json_array_size(l->merges), an = 0, bn = 0;
    const char *a = "", *b = "";
    struct buf whole = {0};
    int rc = -1;
    TRY(merges_init(&t->merges, n, l->err));
    for (size_t rank = 0; rank < n; rank++) {
        const json_t *v = json_array_get(l->merges, rank);
        if (rank == 0 && json_is_string(v) && !strncmp(json_string_value(v), "#version", 8))
            continue;
        TRY_OR(split_merge(l, rank, &a, &an, &b, &bn), done);
        int32_t left = an ? model_id(t, a, an) : -1, right = bn ? model_id(t, b, bn) : -1;
        whole.n = 0;
        TRY_OR(buf_put(&whole, a, an, l->err), done);
        TRY_OR(buf_put(&whole, b, bn, l->err), done);
        int32_t id = model_id(t, whole.p ? whole.p : "", whole.n);
        if (left < 0 || right < 0 || id < 0) {
            const char *which = left < 0 ? a : right < 0 ? b : whole.p;
            size_t len = left < 0 ? an : right < 0 ? bn : whole.n;
            error_set(l->err, PESC_E_TOK_MERGE, "%s: merge %zu: \"%.*s\" is not in the vocabulary",
                      t->path, rank, len > 100 ? 100 : (int)len, which);
            goto done;
        }
        merges_add(&t->merges, left, right, (uint32_t)rank, id);
        add_bridges(t, a, an, b, bn);
    }
    rc = 0;
done:
    buf_free(&whole);
    return rc;
}

static int added_flag(struct loader *l, const json_t *v, const char *key, int fallback, int *out)
{
    const json_t *b = json_object_get(v, key);
    *out = b ? json_is_true(b) : fallback;
    if (b && !json_is_boolean(b))
        return FAIL(l->err, TOK_ADDED, "%s: added token: \"%s\" is not true or false", l->t->path,
                    key);
    return 0;
}

/* One added token; known ones are an error in tokenizer.json and already had from the config. */
static int load_added(struct loader *l, const json_t *v, int32_t id, int from_config)
{
    struct tokenizer *t = l->t;
    const json_t *content = json_object_get(v, "content");
    const char *p = json_string_value(content);
    size_t n = json_string_length(content);
    struct added *a = &t->added[t->n_added];
    if (!n)
        return FAIL(l->err, TOK_ADDED, "%s: added token %d has no content", t->path, id);
    int32_t known = strmap_get(&t->by_name, &t->names, p, n);
    if (known >= 0 && known != id)
        return FAIL(l->err, TOK_ADDED, "%s: added token \"%s\" has id %d and id %d", t->path, p,
                    known, id);
    if (known < 0 && strings_has(&t->names, id))
        return FAIL(l->err, TOK_ADDED, "%s: added token \"%s\" has the id %d of \"%s\"", t->path, p,
                    id, t->names.pool.p + t->names.span[id].at);
    if (t->added_of[id] >= 0)
        return from_config
                   ? 0
                   : FAIL(l->err, TOK_ADDED, "%s: added token \"%s\" is there twice", t->path, p);
    a->id = id;
    TRY(added_flag(l, v, "special", 0, &a->special));
    TRY(added_flag(l, v, "normalized", !a->special, &a->normalized));
    TRY(added_flag(l, v, "single_word", 0, &a->single_word));
    TRY(added_flag(l, v, "lstrip", 0, &a->lstrip));
    TRY(added_flag(l, v, "rstrip", 0, &a->rstrip));
    if (known < 0)
        TRY(set_token(l, id, p, n, 0));
    t->flags[id] |= (uint8_t)(TOKEN_ADDED | (a->special ? TOKEN_SPECIAL : 0));
    t->added_of[id] = (int32_t)t->n_added++;
    return 0;
}

static int config_id(struct loader *l, const char *key, int32_t *id)
{
    char *end;
    long n = strtol(key, &end, 10);
    if (!*key || *end || n < 0 || n >= TOK_ID_CAP)
        return FAIL(l->err, TOK_ID, "%s: tokenizer_config.json: \"%s\" is no token id", l->t->path,
                    key);
    *id = (int32_t)n;
    return 0;
}

/* tokenizer.json's list, then what only tokenizer_config.json has, as its library adds it. */
static int load_all_added(struct loader *l)
{
    const char *key;
    json_t *v;
    int32_t id;
    for (size_t i = 0; i < json_array_size(l->added); i++) {
        const json_t *a = json_array_get(l->added, i);
        TRY(check_id(l, "(added)", json_object_get(a, "id"), &id));
        TRY(load_added(l, a, id, 0));
    }
    json_object_foreach((json_t *)l->config_added, key, v)
    {
        TRY(config_id(l, key, &id));
        TRY(load_added(l, v, id, 1));
    }
    return 0;
}

/* Highest id anywhere, so that the tables can be made. */
static int count_ids(struct loader *l, long *size)
{
    const char *key;
    json_t *v;
    int32_t id;
    *size = 0;
    json_object_foreach((json_t *)l->vocab, key, v)
    {
        TRY(check_id(l, key, v, &id));
        *size = id >= *size ? id + 1 : *size;
    }
    for (size_t i = 0; i < json_array_size(l->added); i++) {
        TRY(check_id(l, "(added)", json_object_get(json_array_get(l->added, i), "id"), &id));
        *size = id >= *size ? id + 1 : *size;
    }
    json_object_foreach((json_t *)l->config_added, key, v)
    {
        TRY(config_id(l, key, &id));
        *size = id >= *size ? id + 1 : *size;
    }
    return 0;
}

static int make_tables(struct loader *l)
{
    struct tokenizer *t = l->t;
    size_t n_added = json_array_size(l->added) + json_object_size(l->config_added);
    long size;
    TRY(count_ids(l, &size));
    TRY(strings_init(&t->names, size, l->err));
    TRY(strmap_init(&t->by_name, json_object_size(l->vocab) + n_added, t->seed, l->err));
    t->flags = calloc((size_t)size + 1, 1);
    t->added_of = malloc(((size_t)size + 1) * sizeof *t->added_of);
    t->added = calloc(n_added + 1, sizeof *t->added);
    t->char_id = malloc(0x10000 * sizeof *t->char_id);
    if (!t->flags || !t->added_of || !t->added || !t->char_id)
        return FAIL(l->err, MEMORY, "no memory for %ld tokens", size);
    for (long i = 0; i < size; i++)
        t->added_of[i] = -1;
    for (long i = 0; i < 0x10000; i++)
        t->char_id[i] = -1;
    return 0;
}

/* What the first symbols of a word are looked up in. */
static int index_symbols(struct loader *l)
{
    struct tokenizer *t = l->t;
    int missing = 0;
    for (int b = 0; b < 256; b++) {
        char name[8];
        size_t n = t->byte_level ? utf8_put(name, t->bytes.cp[b])
                                 : (size_t)snprintf(name, sizeof name, "<0x%02X>", (unsigned)b);
        t->byte_id[b] = model_id(t, name, n);
        missing += t->byte_id[b] < 0;
    }
    for (long id = 0; id < t->names.n; id++) {
        size_t len;
        if (!strings_has(&t->names, id) || !t->names.span[id].len)
            continue;
        uint32_t cp = utf8_get(t->names.pool.p + t->names.span[id].at, &len);
        if ((t->flags[id] & TOKEN_MODEL) && len == t->names.span[id].len && cp < 0x10000)
            t->char_id[cp] = (int32_t)id;
    }
    if (!missing || !(t->byte_level || t->byte_fallback))
        return 0;
    if (t->unk < 0 && !t->byte_level)
        return FAIL(l->err, TOK_BYTES,
                    "%s: byte_fallback, but %d of 256 byte tokens and unk_token are missing",
                    t->path, missing);
    note(l->notes, "W-TOK-BYTES", "%s: %d of 256 bytes have no token; text with them %s", t->path,
         missing, t->unk < 0 ? "loses them" : "becomes the unknown token");
    return 0;
}

/* Token texts as the bytes that they stand for. */
static int index_raw(struct loader *l)
{
    struct tokenizer *t = l->t;
    struct buf b = {0};
    int rc = -1;
    TRY(strings_init(&t->raw, t->names.n, l->err));
    TRY(strmap_init(&t->by_raw, json_object_size(l->vocab), t->seed, l->err));
    for (long id = 0; id < t->names.n; id++) {
        if (!(t->flags[id] & TOKEN_MODEL))
            continue;
        const char *p = t->names.pool.p + t->names.span[id].at;
        size_t n = t->names.span[id].len, i, len;
        b.n = 0;
        for (i = 0; i < n; i += len) {
            uint32_t cp = utf8_get(p + i, &len);
            if (cp >= 512 || t->bytes.byte[cp] < 0)
                break;
            char byte = (char)t->bytes.byte[cp];
            TRY_OR(buf_put(&b, &byte, 1, l->err), done);
        }
        if (i < n)
            continue;
        TRY_OR(strings_set(&t->raw, id, b.p ? b.p : "", b.n, l->err), done);
        strmap_add(&t->by_raw, &t->raw, (int32_t)id);
    }
    rc = 0;
done:
    buf_free(&b);
    return rc;
}

static int index_added(struct loader *l)
{
    struct tokenizer *t = l->t;
    struct tok_work w = {.t = t, .err = l->err};
    int rc = -1, at_start = 1;
    w.match = regex_match_new(l->err);
    if (!w.match)
        return -1;
    for (long i = 0; i < t->n_added; i++) {
        const struct added *a = &t->added[i];
        const char *p = t->names.pool.p + t->names.span[a->id].at;
        size_t n = t->names.span[a->id].len;
        if (a->normalized)
            TRY_OR(norm_run(&w, p, n, &p, &n, &at_start), done);
        TRY_OR(trie_add(a->normalized ? &t->normal_tokens : &t->raw_tokens, p, n, a->id, l->err),
               done);
    }
    rc = 0;
done:
    tok_work_free(&w);
    return rc;
}

int tok_load_model(struct tokenizer *t, const json_t *root, const json_t *config,
                   const struct notes *notes, struct pesc_error *err)
{
    struct loader l = {.t = t, .notes = notes, .err = err};
    const char *unk;
    l.model = json_object_get(root, "model");
    l.added = json_object_get(root, "added_tokens");
    l.config_added = json_object_get(config, "added_tokens_decoder");
    if (l.added && !json_is_array(l.added) && !json_is_null(l.added))
        return FAIL(err, TOK_JSON, "%s: \"added_tokens\" is not an array", t->path);
    TRY(check_model(&l));
    TRY(make_tables(&l));
    TRY(load_vocab(&l));
    TRY(load_all_added(&l));
    /* tables know bytes by their characters only; with <0xNN> beside those, go the long way */
    if (t->byte_level && t->byte_fallback) {
        t->byte_level = 0;
        t->n_pre++;
    }
    TRY(model_text(&l, "unk_token", &unk));
    t->unk = *unk ? strmap_get(&t->by_name, &t->names, unk, strlen(unk)) : -1;
    if (*unk && t->unk < 0)
        return FAIL(err, TOK_ID, "%s: unk_token \"%s\" is not in the vocabulary", t->path, unk);
    TRY(index_symbols(&l));
    TRY(load_merges(&l));
    if (t->byte_level)
        TRY(index_raw(&l));
    TRY(index_added(&l));
    return bpe_mark_whole(t, err);
}
