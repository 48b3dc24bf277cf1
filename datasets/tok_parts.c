#include "config.h"
#include "datasets/tok_internal.h"

#include <string.h>

/* Normalizers, pre-tokenizers, post-processors and decoders of tokenizer.json, Sequences flattened
 * into a list of steps. */

static int too_many(const struct part *p)
{
    return FAIL(p->err, TOK_UNSUP, "%s: %s has too many or too deeply nested parts", p->t->path,
                p->section);
}

/* Loads the members of a Sequence in their order. */
static int sequence(struct tokenizer *t, const struct part *p, const char *key, int depth,
                    int (*load)(struct tokenizer *, const json_t *, int, struct pesc_error *))
{
    const json_t *list = json_object_get(p->v, key), *v;
    TRY(part_keys(p, key));
    if (!json_is_array(list))
        return FAIL(p->err, TOK_JSON, "%s: %s \"Sequence\": \"%s\" is missing or not an array",
                    t->path, p->section, key);
    if (depth == TOK_NEST_CAP)
        return too_many(p);
    for (size_t i = 0; i < json_array_size(list); i++) {
        v = json_array_get(list, i);
        TRY(load(t, v, depth + 1, p->err));
    }
    return 0;
}

int tok_load_norm(struct tokenizer *t, const json_t *v, int depth, struct pesc_error *err)
{
    static const char *const forms[] = {
        [UC_NFC] = "NFC", [UC_NFD] = "NFD", [UC_NFKC] = "NFKC", [UC_NFKD] = "NFKD"};
    struct part p;
    if (!v || json_is_null(v))
        return 0;
    TRY(part_open(&p, t, "normalizer", v, err));
    if (!strcmp(p.type, "Sequence"))
        return sequence(t, &p, "normalizers", depth, tok_load_norm);
    if (t->n_norm == TOK_STEPS_CAP)
        return too_many(&p);
    struct norm_step *s = &t->norm[t->n_norm++];
    if (!strcmp(p.type, "Prepend")) {
        s->kind = NORM_PREPEND;
        TRY(part_keys(&p, "prepend"));
        return part_text(&p, "prepend", &s->to);
    }
    if (!strcmp(p.type, "Replace")) {
        s->kind = NORM_REPLACE;
        TRY(part_keys(&p, "pattern content"));
        TRY(part_pattern(&p, "pattern", &s->from, &s->regex));
        return part_text(&p, "content", &s->to);
    }
    if (!strcmp(p.type, "Strip")) {
        s->kind = NORM_STRIP;
        TRY(part_keys(&p, "strip_left strip_right"));
        TRY(part_bool(&p, "strip_left", -1, &s->left));
        return part_bool(&p, "strip_right", -1, &s->right);
    }
    if (!strcmp(p.type, "ByteLevel")) {
        s->kind = NORM_BYTES;
        return part_keys(&p, "add_prefix_space trim_offsets use_regex");
    }
    for (int i = UC_NFC; i <= UC_NFKD; i++) {
        if (strcmp(p.type, forms[i]) != 0)
            continue;
        s->kind = NORM_FORM;
        s->form = (enum uc_form)i;
        return part_keys(&p, "");
    }
    s->kind = !strcmp(p.type, "Lowercase") ? NORM_LOWER : NORM_MARKS;
    if (s->kind == NORM_MARKS && strcmp(p.type, "StripAccents") != 0)
        return part_unknown(&p);
    return part_keys(&p, "");
}

static struct pre_step *add_pre(struct tokenizer *t, const struct part *p, enum pre_kind kind,
                                enum split_behavior behavior)
{
    if (t->n_pre == TOK_STEPS_CAP) {
        too_many(p);
        return NULL;
    }
    struct pre_step *s = &t->pre[t->n_pre++];
    s->kind = kind;
    s->behavior = behavior;
    return s;
}

static int part_behavior(const struct part *p, const char *fallback, enum split_behavior *out)
{
    static const char *const names[] = {[SPLIT_REMOVED] = "Removed",
                                        [SPLIT_ISOLATED] = "Isolated",
                                        [SPLIT_PREVIOUS] = "MergedWithPrevious",
                                        [SPLIT_NEXT] = "MergedWithNext",
                                        [SPLIT_CONTIGUOUS] = "Contiguous"};
    const json_t *v = json_object_get(p->v, "behavior");
    const char *name = v ? json_string_value(v) : fallback;
    for (int i = SPLIT_REMOVED; name && i <= SPLIT_CONTIGUOUS; i++) {
        if (!strcmp(name, names[i])) {
            *out = (enum split_behavior)i;
            return 0;
        }
    }
    return FAIL(p->err, TOK_UNSUP, "%s: %s \"%s\": unknown behavior", p->t->path, p->section,
                p->type);
}

static int add_regex(struct tokenizer *t, const struct part *p, const char *pattern,
                     enum split_behavior behavior, int invert)
{
    struct pre_step *s = add_pre(t, p, PRE_SPLIT, behavior);
    if (!s)
        return -1;
    s->invert = invert;
    s->regex = regex_new(pattern, strlen(pattern), p->err);
    return s->regex ? 0 : -1;
}

static int load_byte_level(struct tokenizer *t, const struct part *p)
{
    static const char gpt2[] =
        "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    int prefix, use_regex;
    TRY(part_keys(p, "add_prefix_space trim_offsets use_regex"));
    TRY(part_bool(p, "add_prefix_space", -1, &prefix));
    TRY(part_bool(p, "use_regex", 1, &use_regex));
    if (prefix && !add_pre(t, p, PRE_PREFIX_SPACE, SPLIT_ISOLATED))
        return -1;
    if (use_regex)
        TRY(add_regex(t, p, gpt2, SPLIT_ISOLATED, 0));
    return add_pre(t, p, PRE_BYTES, SPLIT_ISOLATED) ? 0 : -1;
}

/* The replacement character of a Metaspace. */
static int part_replacement(const struct part *p, struct buf *out)
{
    size_t len = 0;
    TRY(part_text(p, "replacement", out));
    if (out->n)
        utf8_get(out->p, &len);
    if (!len || len != out->n)
        return FAIL(p->err, TOK_JSON, "%s: %s \"%s\": replacement is not one character", p->t->path,
                    p->section, p->type);
    return 0;
}

static int load_metaspace(struct tokenizer *t, const struct part *p)
{
    int split;
    struct pre_step *s = add_pre(t, p, PRE_METASPACE, SPLIT_ISOLATED), *cut;
    if (!s)
        return -1;
    TRY(part_keys(p, "replacement str_rep add_prefix_space prepend_scheme split"));
    TRY(part_replacement(p, &s->text));
    TRY(part_scheme(p, &s->scheme));
    TRY(part_bool(p, "split", 1, &split));
    if (!split)
        return 0;
    cut = add_pre(t, p, PRE_SPLIT, SPLIT_NEXT);
    return cut ? buf_put(&cut->text, s->text.p, s->text.n, p->err) : -1;
}

static int load_chars(struct tokenizer *t, const struct part *p, enum uc_class chars,
                      enum split_behavior behavior)
{
    struct pre_step *s = add_pre(t, p, PRE_CHARS, behavior);
    if (!s)
        return -1;
    s->chars = chars;
    return 0;
}

int tok_load_pre(struct tokenizer *t, const json_t *v, int depth, struct pesc_error *err)
{
    /* \w here is that of Rust's regexes: with the two joiners */
    static const char words[] = "[\\w\\x{200c}\\x{200d}]+|[^\\w\\s\\x{200c}\\x{200d}]+";
    struct part p;
    enum split_behavior behavior;
    if (!v || json_is_null(v))
        return 0;
    TRY(part_open(&p, t, "pre_tokenizer", v, err));
    if (!strcmp(p.type, "Sequence"))
        return sequence(t, &p, "pretokenizers", depth, tok_load_pre);
    if (!strcmp(p.type, "ByteLevel"))
        return load_byte_level(t, &p);
    if (!strcmp(p.type, "Metaspace"))
        return load_metaspace(t, &p);
    if (!strcmp(p.type, "Split")) {
        struct pre_step *s;
        TRY(part_keys(&p, "pattern behavior invert"));
        TRY(part_behavior(&p, NULL, &behavior));
        if (!(s = add_pre(t, &p, PRE_SPLIT, behavior)))
            return -1;
        TRY(part_bool(&p, "invert", 0, &s->invert));
        return part_pattern(&p, "pattern", &s->text, &s->regex);
    }
    if (!strcmp(p.type, "Digits")) {
        int individual;
        TRY(part_keys(&p, "individual_digits"));
        TRY(part_bool(&p, "individual_digits", -1, &individual));
        return load_chars(t, &p, UC_NUMERIC, individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS);
    }
    if (!strcmp(p.type, "Punctuation")) {
        TRY(part_keys(&p, "behavior"));
        TRY(part_behavior(&p, "Isolated", &behavior));
        return load_chars(t, &p, UC_PUNCT, behavior);
    }
    if (!strcmp(p.type, "WhitespaceSplit")) {
        TRY(part_keys(&p, ""));
        return load_chars(t, &p, UC_SPACE, SPLIT_REMOVED);
    }
    if (!strcmp(p.type, "Whitespace")) {
        TRY(part_keys(&p, ""));
        return add_regex(t, &p, words, SPLIT_REMOVED, 1);
    }
    if (!strcmp(p.type, "CharDelimiterSplit")) {
        struct pre_step *s = add_pre(t, &p, PRE_SPLIT, SPLIT_REMOVED);
        TRY(part_keys(&p, "delimiter"));
        return s ? part_text(&p, "delimiter", &s->text) : -1;
    }
    return part_unknown(&p);
}

static int special_ids(struct tokenizer *t, const struct part *p, const json_t *id, struct ids *out)
{
    const json_t *known = json_object_get(p->v, "special_tokens"), *ids = NULL;
    if (json_is_string(id))
        ids = json_object_get(json_object_get(known, json_string_value(id)), "ids");
    if (!json_is_array(ids) || !json_array_size(ids))
        return FAIL(p->err, TOK_JSON, "%s: %s \"%s\": special token without ids", t->path,
                    p->section, p->type);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *v = json_array_get(ids, i);
        json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;
        if (n < 0 || n >= t->names.n || !strings_has(&t->names, (long)n))
            return FAIL(p->err, TOK_ID, "%s: %s \"%s\": special token with an id of no token",
                        t->path, p->section, p->type);
        TRY(ids_push(out, (int32_t)n, p->err));
    }
    return 0;
}

static int load_template(struct tokenizer *t, const struct part *p)
{
    const json_t *single = json_object_get(p->v, "single");
    int seen = 0;
    TRY(part_keys(p, "single pair special_tokens"));
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i),
                     *token = json_object_get(item, "SpecialToken"),
                     *text = json_object_get(item, "Sequence");
        const char *id = json_string_value(json_object_get(text, "id"));
        if (token)
            TRY(special_ids(t, p, json_object_get(token, "id"), seen ? &t->after : &t->before));
        else if (id && !strcmp(id, "A") && !seen)
            seen = 1;
        else
            return FAIL(p->err, TOK_UNSUP, "%s: %s \"%s\": unknown item in \"single\"", t->path,
                        p->section, p->type);
    }
    if (!seen)
        return FAIL(p->err, TOK_UNSUP, "%s: %s \"%s\": \"single\" leaves out the text", t->path,
                    p->section, p->type);
    return 0;
}

/* [text, id] of the older BERT and RoBERTa post-processors. */
static int pair_id(struct tokenizer *t, const struct part *p, const char *key, struct ids *out)
{
    const json_t *v = json_array_get(json_object_get(p->v, key), 1);
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;
    if (n < 0 || n >= t->names.n || !strings_has(&t->names, (long)n))
        return FAIL(p->err, TOK_ID, "%s: %s \"%s\": \"%s\" is not a token with its id", t->path,
                    p->section, p->type, key);
    return ids_push(out, (int32_t)n, p->err);
}

int tok_load_post(struct tokenizer *t, const json_t *v, int depth, struct pesc_error *err)
{
    struct part p;
    if (!v || json_is_null(v))
        return 0;
    TRY(part_open(&p, t, "post_processor", v, err));
    if (!strcmp(p.type, "Sequence"))
        return sequence(t, &p, "processors", depth, tok_load_post);
    if (!strcmp(p.type, "ByteLevel")) /* about offsets only */
        return part_keys(&p, "add_prefix_space trim_offsets use_regex");
    int bert = !strcmp(p.type, "BertProcessing") || !strcmp(p.type, "RobertaProcessing");
    if (!bert && strcmp(p.type, "TemplateProcessing") != 0)
        return part_unknown(&p);
    if (t->before.n || t->after.n)
        return FAIL(err, TOK_UNSUP, "%s: post_processor: more than one part adds special tokens",
                    t->path);
    if (!bert)
        return load_template(t, &p);
    TRY(part_keys(&p, "sep cls trim_offsets add_prefix_space"));
    TRY(pair_id(t, &p, "cls", &t->before));
    return pair_id(t, &p, "sep", &t->after);
}

int tok_load_dec(struct tokenizer *t, const json_t *v, int depth, struct pesc_error *err)
{
    struct part p;
    if (!v || json_is_null(v)) {
        if (depth == 0)
            t->dec[t->n_dec++].kind = DEC_SPACES;
        return 0;
    }
    TRY(part_open(&p, t, "decoder", v, err));
    if (!strcmp(p.type, "Sequence"))
        return sequence(t, &p, "decoders", depth, tok_load_dec);
    if (t->n_dec == TOK_STEPS_CAP)
        return too_many(&p);
    struct dec_step *s = &t->dec[t->n_dec];
    enum dec_kind before = t->n_dec ? s[-1].kind : DEC_REPLACE;
    s->fused = t->n_dec && (s[-1].fused || before == DEC_FUSE || before == DEC_BYTES);
    t->n_dec++;
    if (!strcmp(p.type, "ByteLevel")) {
        s->kind = DEC_BYTES;
        return part_keys(&p, "add_prefix_space trim_offsets use_regex");
    }
    if (!strcmp(p.type, "ByteFallback") || !strcmp(p.type, "Fuse")) {
        s->kind = p.type[0] == 'F' ? DEC_FUSE : DEC_BYTE_FALLBACK;
        return part_keys(&p, "");
    }
    if (!strcmp(p.type, "Replace")) {
        s->kind = DEC_REPLACE;
        TRY(part_keys(&p, "pattern content"));
        TRY(part_pattern(&p, "pattern", &s->from, &s->regex));
        return part_text(&p, "content", &s->to);
    }
    if (!strcmp(p.type, "Strip")) {
        size_t len = 0;
        s->kind = DEC_STRIP;
        TRY(part_keys(&p, "content start stop"));
        TRY(part_text(&p, "content", &s->from));
        TRY(part_long(&p, "start", &s->start));
        TRY(part_long(&p, "stop", &s->stop));
        if (s->from.n)
            utf8_get(s->from.p, &len);
        if (!len || len != s->from.n)
            return FAIL(err, TOK_JSON, "%s: decoder \"Strip\": content is not one character",
                        t->path);
        return 0;
    }
    if (!strcmp(p.type, "Metaspace")) {
        s->kind = DEC_METASPACE;
        TRY(part_keys(&p, "replacement str_rep add_prefix_space prepend_scheme split"));
        TRY(part_replacement(&p, &s->from));
        return part_scheme(&p, &s->scheme);
    }
    return part_unknown(&p);
}
