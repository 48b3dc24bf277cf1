/* Ids of 185 texts per tokenizer against an independent implementation, and back again. */
#include "config.h"
#include "core/json.h"
#include "datasets/tokenizer.h"
#include "tests/tap.h"

#include <time.h>

static int same(const struct ids *got, const json_t *want)
{
    if (got->n != json_array_size(want))
        return 0;
    for (size_t i = 0; i < got->n; i++)
        if (got->v[i] != json_integer_value(json_array_get(want, i)))
            return 0;
    return 1;
}

static int encode(const struct tokenizer *t, const char *text, int flags, struct ids *out)
{
    struct pesc_error err = {0};
    out->n = 0;
    if (tokenizer_encode(t, text, strlen(text), flags, out, &err) == 0)
        return 1;
    diag("%s", err.text);
    return 0;
}

/* Fed one by one, every prefix must be valid UTF-8 and the whole equal to the text at once. */
static int streams(const struct tokenizer *t, const struct ids *ids, const char *want)
{
    struct token_stream *s = NULL;
    struct pesc_error err = {0};
    size_t n = strlen(want), done = 0, len;
    const char *text;
    int good = 1;
    for (size_t i = 0; i < ids->n && good; i++) {
        good = tokenizer_stream(t, &s, ids->v[i], i + 1 == ids->n, &text, &len, &err) == 0 &&
               done + len <= n && !memcmp(text, want + done, len) &&
               (len == 0 || ((unsigned char)want[done + len] & 0xc0) != 0x80);
        done += len;
    }
    tokenizer_stream_free(s);
    return good && done == n;
}

/* changed: texts that the normalizer alters for good (NFC; a space behind each special token). */
static void check_file(const char *material, const char *name, int changed)
{
    char path[4096], dir[4096];
    struct pesc_error err = {0};
    struct tokenizer *t;
    struct ids ids = {0};
    snprintf(path, sizeof path, "%s/tok-golden-own/%s", material, name);
    json_t *root = json_file(path, 64 << 20, PESC_E_DS_JSON, &err);
    const char *file = json_string_value(json_object_get(root, "tokenizer"));
    if (!ok(root && file, "%s is there", name))
        return;
    snprintf(dir, sizeof dir, "%s/%.*s", material, (int)(strrchr(file, '/') - file), file);
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    if (!ok(tokenizer_open(dir, NULL, &t, &err) == 0, "%s opens: %s", file, err.text))
        return;
    clock_gettime(CLOCK_MONOTONIC, &b);
    diag("%s: %ld tokens, loaded in %.3f s", file, tokenizer_size(t),
         (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9);
    const json_t *cases = json_object_get(root, "cases");
    size_t n = json_array_size(cases), bad_ids = 0, bad_plain = 0, bad_stream = 0, back = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *c = json_array_get(cases, i);
        const char *text = json_string_value(json_object_get(c, "text"));
        size_t len = 0;
        bad_ids += !encode(t, text, TOK_SPECIAL, &ids) || !same(&ids, json_object_get(c, "ids"));
        bad_plain += !encode(t, text, 0, &ids) || !same(&ids, json_object_get(c, "plain"));
        char *again = tokenizer_decode(t, ids.v, ids.n, 0, &len, &err);
        back += again && len == strlen(text) && !strcmp(again, text);
        free(again);
        again = tokenizer_decode(t, ids.v, ids.n, 1, &len, &err);
        bad_stream += ids.n && (!again || !streams(t, &ids, again));
        free(again);
    }
    ok(n >= 100, "%s: %zu cases", file, n);
    is_long((long)bad_ids, 0, "ids with special tokens differ");
    is_long((long)bad_plain, 0, "ids without special tokens differ");
    is_long((long)bad_stream, 0, "streamed texts differ from those decoded at once");
    ok(back + (size_t)changed == n, "%zu of %zu texts come back, all but %d", back, n, changed);
    free(ids.v);
    tokenizer_close(t);
    json_decref(root);
}

int main(void)
{
    const char *material = tap_material();
    if (!material)
        return tap_skip_all(TAP_NO_MATERIAL);
    check_file(material, "ckpt-stories260K_hf.json", 1);
    check_file(material, "tok-llama2.json", 1);
    check_file(material, "tok-qwen2.5.json", 1);
    check_file(material, "tok-smollm2-instruct.json", 0);
    return tap_done();
}
