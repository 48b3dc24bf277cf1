#include "config.h"
#include "cli/data_tokens.h"

#include "cli/lines.h"
#include "cli/model_arg.h"
#include "core/json.h"
#include "datasets/unicode.h"

#include <stdlib.h>
#include <string.h>

struct tokens_opts {
    int skip_special;
};

/* What is kept from line to line. */
struct work {
    const struct tokens_opts *o;
    const struct tokenizer *t;
    struct lines lines;
    struct ids ids;
    struct buf out; /* a line's whole answer, so that a failure leaves no half of one */
};

typedef int (*line_fn)(struct work *w, const json_t *v, struct pesc_error *err);

static int put(struct work *w, const char *text, struct pesc_error *err)
{
    return buf_put(&w->out, text, strlen(text), err);
}

static int put_ids(struct work *w, const int32_t *ids, size_t n, struct pesc_error *err)
{
    TRY(buf_room(&w->out, n * 12 + 2, err));
    TRY(put(w, "[", err));
    for (size_t i = 0; i < n; i++)
        w->out.n += (size_t)snprintf(w->out.p + w->out.n, 13, i ? ",%d" : "%d", (int)ids[i]);
    return put(w, "]", err);
}

/* {"ids": with the special tokens around, "plain": without} */
static int encode_line(struct work *w, const json_t *v, struct pesc_error *err)
{
    const json_t *text = json_is_object(v) ? json_object_get(v, "text") : v;
    size_t before, after;
    if (!json_is_string(text))
        return FAIL(err, DS_FIELD,
                    "%s, line %ld: neither a JSON string nor an object with \"text\"",
                    w->lines.name, w->lines.number);
    w->ids.n = 0;
    TRY(tokenizer_encode(w->t, json_string_value(text), json_string_length(text), TOK_SPECIAL,
                         &w->ids, err));
    tokenizer_around(w->t, &before, &after);
    TRY(put(w, "{\"ids\":", err));
    TRY(put_ids(w, w->ids.v, w->ids.n, err));
    TRY(put(w, ",\"plain\":", err));
    TRY(put_ids(w, w->ids.n ? w->ids.v + before : NULL, w->ids.n - before - after, err));
    return put(w, "}\n", err);
}

static int decode_line(struct work *w, const json_t *v, struct pesc_error *err)
{
    const json_t *list = json_is_object(v) ? json_object_get(v, "ids") : v;
    size_t len = 0;
    if (!json_is_array(list))
        return FAIL(err, DS_FIELD,
                    "%s, line %ld: neither an array of token ids nor an object with \"ids\"",
                    w->lines.name, w->lines.number);
    w->ids.n = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id))
            return FAIL(err, DS_FIELD, "%s, line %ld: ids[%zu] is not an integer", w->lines.name,
                        w->lines.number, i);
        json_int_t n = json_integer_value(id);
        if (n < 0 || n >= tokenizer_size(w->t) || !tokenizer_token(w->t, (int32_t)n))
            return FAIL(err, DS_TOKEN, "%s, line %ld: ids[%zu] is %lld, which is no token",
                        w->lines.name, w->lines.number, i, (long long)n);
        TRY(ids_push(&w->ids, (int32_t)n, err));
    }
    char *text = tokenizer_decode(w->t, w->ids.v, w->ids.n, w->o->skip_special, &len, err);
    if (!text)
        return -1;
    json_t *answer = json_pack("{s:s%}", "text", text, len);
    char *line = answer ? json_written(answer, JSON_COMPACT) : NULL;
    int rc = line ? put(w, line, err) : FAIL(err, MEMORY, "no memory for the text");
    json_decref(answer);
    free(line);
    free(text);
    return rc == 0 ? put(w, "\n", err) : -1;
}

static json_t *parse_line(const struct work *w, const char *text, size_t n, struct pesc_error *err)
{
    enum json_fault fault;
    char why[256] = "";
    json_t *v = json_parse_nul(text, n, &fault, why, sizeof why);
    if (v)
        return v;
    /* the parser counts lines too, but only within this one */
    const char *column = strstr(why, "column");
    error_set(err,
              fault == JSON_FAULT_MEMORY ? PESC_E_MEMORY
              : fault == JSON_FAULT_UTF8 ? PESC_E_DS_ENC
                                         : PESC_E_DS_JSON,
              "%s, line %ld, %s", w->lines.name, w->lines.number, column ? column : why);
    return NULL;
}

static int is_blank(const char *text, size_t n)
{
    while (n && memchr(" \t\r", text[n - 1], 3))
        n--;
    return n == 0;
}

static int each_line(struct cli *cli, struct work *w, line_fn fn, struct pesc_error *err)
{
    const char *text;
    size_t n;
    int rc;
    while ((rc = lines_next(&w->lines, &text, &n, err)) == 1) {
        if (is_blank(text, n))
            continue;
        json_t *v = parse_line(w, text, n, err);
        if (!v)
            return -1;
        w->out.n = 0;
        rc = fn(w, v, err);
        json_decref(v);
        if (rc != 0)
            return -1;
        if (fwrite(w->out.p, 1, w->out.n, cli->out) != w->out.n)
            return 0; /* main tells why */
        /* whoever asks line by line gets the answer before the next question */
        if (!lines_ready(&w->lines) && fflush(cli->out) != 0)
            return 0;
    }
    return rc;
}

static int run(struct cli *cli, const struct tokens_opts *o, int argc, char **argv, line_fn fn,
               struct pesc_error *err)
{
    struct notes notes = cli_notes(cli);
    struct tokenizer *t = NULL;
    if (argc < 1 || argc > 2)
        return FAIL(err, USAGE, "a MODEL folder is needed, and at most one FILE");
    TRY(model_tokenizer(argv[0], &notes, &t, NULL, err));
    struct work w = {.o = o, .t = t};
    int rc = lines_open(&w.lines, argc == 2 ? argv[1] : NULL, err);
    if (rc == 0)
        rc = each_line(cli, &w, fn, err);
    lines_close(&w.lines);
    free(w.ids.v);
    buf_free(&w.out);
    tokenizer_close(t);
    return rc;
}

static int encode(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    return run(cli, opts, argc, argv, encode_line, err);
}

static int decode(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    return run(cli, opts, argc, argv, decode_line, err);
}

static const struct opt decode_opts[] = {{"skip-special", NULL, OPT_FLAG,
                                          offsetof(struct tokens_opts, skip_special), NULL,
                                          "leave special tokens out", 0, 0},
                                         {0}};

const struct cmd data_encode = {
    .name = "encode",
    .usage = "MODEL [FILE]",
    .summary = "Text to token ids, line by line",
    .details =
        "FILE (standard input if absent or -) has a JSON string or an object with \"text\" in\n"
        "each line; so has the output {\"ids\": [...], \"plain\": [...]}: with and without\n"
        "the special tokens that the tokenizer puts around a text. A folder with\n"
        "tokenizer.json is enough of a MODEL.",
    .opts_size = sizeof(struct tokens_opts),
    .run = encode};

const struct cmd data_decode = {
    .name = "decode",
    .usage = "MODEL [FILE] [options]",
    .summary = "Token ids to text, line by line",
    .details =
        "FILE (standard input if absent or -) has an array of ids or an object with \"ids\"\n"
        "in each line, as 'pesc data encode' writes them; the output {\"text\": ...}.",
    .opts = decode_opts,
    .opts_size = sizeof(struct tokens_opts),
    .run = decode};
