#include "config.h"
#include "datasets/tasks_internal.h"

#include "datasets/formats.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int has(const json_t *record, const char *name)
{
    const json_t *v = json_object_get(record, name);
    return v && !json_is_null(v);
}

int task_detect(const json_t *record, const char *where, enum task_format *out,
                struct pesc_error *err)
{
    if (!json_is_object(record))
        return FAIL(err, DS_FIELD, "%s: the record is no JSON object", where);
    int asked = has(record, "prompt") || has(record, "question");
    if (has(record, "answerKey") || json_is_object(json_object_get(record, "question")))
        *out = TASK_ARC;
    else if (has(record, "passage") && has(record, "question"))
        *out = TASK_BOOLQ;
    else if (has(record, "question") && has(record, "A") && has(record, "B"))
        *out = TASK_MMLU;
    else if (has(record, "choices"))
        *out = TASK_CHOICE;
    else if (asked && (has(record, "answer") || has(record, "answers")))
        *out = TASK_GENERATE;
    else if (has(record, "text"))
        *out = TASK_PERPLEXITY;
    else
        return bad_field(record, where, "answer",
                         "is missing, or this is no known task (text; prompt or question, answer; "
                         "question, choices, answer; question, A, B, C, D, answer; question, "
                         "choices, answerKey; question, passage, answer)",
                         err);
    return 0;
}

/* A string that says something. */
static int said(const json_t *record, const char *name, const char *where, const char **out,
                struct pesc_error *err)
{
    TRY(text_field(record, record, name, 1, where, out, err));
    return is_blank(*out) ? bad_field(record, where, name, "is empty", err) : 0;
}

static const char *keep(struct task *t, const char *text, struct pesc_error *err)
{
    return task_keep(t, text, strlen(text), err);
}

/* plain and asked, of a question behind a context ("": none). */
static int ask(struct task *t, const char *context, const char *question, struct task_item *out,
               struct pesc_error *err)
{
    const char *line = *context ? "\n" : "";
    out->plain = task_printed(t, err, "%s%sQuestion: %s\nAnswer:", context, line, question);
    out->asked = out->plain ? task_printed(t, err, "%s%s%s", context, line, question) : NULL;
    return out->asked ? 0 : -1;
}

/* From prompt, question and context, of which there must be one that asks. */
static int read_prompt(struct task *t, const json_t *record, int context_alone, const char *where,
                       struct task_item *out, struct pesc_error *err)
{
    const char *question = "", *context;
    if (has(record, "prompt")) {
        TRY(said(record, "prompt", where, &question, err));
        out->plain = out->asked = keep(t, question, err);
        return out->plain ? 0 : -1;
    }
    TRY(text_field(record, record, "context", 0, where, &context, err));
    if (is_blank(context))
        context = "";
    if (context_alone && *context && !has(record, "question")) {
        out->plain = out->asked = keep(t, context, err);
        return out->plain ? 0 : -1;
    }
    TRY(said(record, "question", where, &question, err));
    return ask(t, context, question, out, err);
}

/* A text, or a number as text. */
static const char *as_text(struct task *t, const json_t *record, const json_t *v, const char *name,
                           const char *where, struct pesc_error *err)
{
    if (json_is_string(v)) {
        if (is_blank(json_string_value(v))) {
            bad_field(record, where, name, "is empty", err);
            return NULL;
        }
        return keep(t, json_string_value(v), err);
    }
    if (!json_is_number(v)) {
        bad_field(record, where, name, "holds something that is neither text nor a number", err);
        return NULL;
    }
    char *text = json_written(v, JSON_ENCODE_ANY);
    const char *kept = text ? keep(t, text, err) : NULL;
    if (!text)
        FAIL(err, MEMORY, "%s: no memory", where);
    free(text);
    return kept;
}

static int read_texts(struct task *t, const json_t *record, const json_t *list, const char *name,
                      const char *where, long least, struct task_item *out, struct pesc_error *err)
{
    long n = (long)json_array_size(list);
    if (!json_is_array(list))
        return bad_field(record, where, name, "is not an array", err);
    if (n < least || n > TASK_CHOICES)
        return FAIL(err, DS_FIELD, "%s: '%s' has %ld texts; %ld to %d may be", where, name, n,
                    least, TASK_CHOICES);
    const char **texts = task_list(t, n, err);
    if (!texts)
        return -1;
    for (long i = 0; i < n; i++) {
        texts[i] = as_text(t, record, json_array_get(list, (size_t)i), name, where, err);
        if (!texts[i])
            return -1;
    }
    out->follows = texts;
    out->n = n;
    return 0;
}

static int one_text(struct task *t, const json_t *record, const char *name, const char *where,
                    struct task_item *out, struct pesc_error *err)
{
    const json_t *v = json_object_get(record, name);
    if (!v || json_is_null(v))
        return bad_field(record, where, name, "is missing", err);
    const char **texts = task_list(t, 1, err);
    if (!texts || !(texts[0] = as_text(t, record, v, name, where, err)))
        return -1;
    out->follows = texts;
    out->n = 1;
    return 0;
}

static int read_generate(struct task *t, const json_t *record, const char *where,
                         struct task_item *out, struct pesc_error *err)
{
    const json_t *several = json_object_get(record, "answers");
    TRY(read_prompt(t, record, 0, where, out, err));
    if (!has(record, "answers"))
        return one_text(t, record, "answer", where, out, err);
    if (json_is_object(several))
        several = json_object_get(several, "text");
    return read_texts(t, record, several, "answers", where, 1, out, err);
}

static int read_perplexity(struct task *t, const json_t *record, const char *where,
                           struct task_item *out, struct pesc_error *err)
{
    if (has(record, "text") || t->texts_only) {
        out->plain = out->asked = "";
        return one_text(t, record, "text", where, out, err);
    }
    TRY(read_prompt(t, record, 1, where, out, err));
    return one_text(t, record, "answer", where, out, err);
}

/* Which of the choices: its text, or its letter, or its number from 0. */
static int find_right(const json_t *record, const char *name, const char *where,
                      struct task_item *out, struct pesc_error *err)
{
    const json_t *v = json_object_get(record, name);
    const char *text = json_string_value(v);
    out->right = -1;
    if (!v || json_is_null(v))
        return bad_field(record, where, name, "is missing", err);
    for (long i = 0; text && i < out->n; i++)
        if (!strcmp(out->follows[i], text)) {
            if (out->right >= 0)
                return bad_field(record, where, name, "is the text of several choices", err);
            out->right = i;
        }
    if (out->right >= 0)
        return 0;
    if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < out->n)
        out->right = (long)json_integer_value(v);
    else if (text && isalpha((unsigned char)*text) && !text[1])
        out->right = toupper((unsigned char)*text) - 'A';
    if (out->right < 0 || out->right >= out->n)
        return bad_field(record, where, name,
                         "is none of the choices: neither a text of them, nor a letter, nor a "
                         "number from 0",
                         err);
    return 0;
}

static int read_choice(struct task *t, const json_t *record, const char *where,
                       struct task_item *out, struct pesc_error *err)
{
    TRY(read_prompt(t, record, 1, where, out, err));
    TRY(read_texts(t, record, json_object_get(record, "choices"), "choices", where, 2, out, err));
    return find_right(record, has(record, "label") && !has(record, "answer") ? "label" : "answer",
                      where, out, err);
}

static int read_mmlu(struct task *t, const json_t *record, const char *where, struct task_item *out,
                     struct pesc_error *err)
{
    const char *question, *text;
    struct buf list = {0};
    int rc = -1;
    char name[2] = "A";
    TRY(said(record, "question", where, &question, err));
    for (; *name <= 'J' && has(record, name); ++*name) {
        TRY_OR(said(record, name, where, &text, err), done);
        TRY_OR(buf_put(&list, "\n", 1, err), done);
        TRY_OR(buf_put(&list, name, 1, err), done);
        TRY_OR(buf_put(&list, ". ", 2, err), done);
        TRY_OR(buf_put(&list, text, strlen(text), err), done);
    }
    out->n = *name - 'A';
    if (out->n < 2) {
        bad_field(record, where, out->n ? "B" : "A", "is missing", err);
        goto done;
    }
    const char **letters = task_list(t, out->n, err);
    for (long i = 0; letters && i < out->n; i++)
        if (!(letters[i] = task_printed(t, err, "%c", (char)('A' + i))))
            goto done;
    if (!letters)
        goto done;
    out->follows = letters;
    out->plain = task_printed(t, err, "Question: %s%.*s\nAnswer:", question, (int)list.n, list.p);
    out->asked = task_printed(t, err, "%s%.*s", question, (int)list.n, list.p);
    if (out->plain && out->asked)
        rc = find_right(record, "answer", where, out, err);
done:
    buf_free(&list);
    return rc;
}

/* choices: [{text, label}], or {text: [], label: []}. */
static int read_arc(struct task *t, const json_t *record, const char *where, struct task_item *out,
                    struct pesc_error *err)
{
    const json_t *q = json_object_get(record, "question");
    int nested = json_is_object(q);
    const json_t *choices = json_object_get(nested ? q : record, "choices"), *key;
    const char *stem, *right;
    json_t *texts = json_array(), *labels = json_array();
    int rc = -1;
    TRY_OR(said(nested ? q : record, nested ? "stem" : "question", where, &stem, err), done);
    TRY_OR(said(record, "answerKey", where, &right, err), done);
    TRY_OR(ask(t, "", stem, out, err), done);
    if (json_is_object(choices)) {
        json_decref(texts);
        json_decref(labels);
        texts = json_incref(json_object_get(choices, "text"));
        labels = json_incref(json_object_get(choices, "label"));
    } else {
        for (size_t i = 0; i < json_array_size(choices); i++) {
            const json_t *c = json_array_get(choices, i);
            json_t *text = json_object_get(c, "text"), *label = json_object_get(c, "label");
            if (!text || !label) {
                bad_field(record, where, "choices", "holds something without text and label", err);
                goto done;
            }
            json_add(&texts, json_incref(text));
            json_add(&labels, json_incref(label));
        }
        if (!texts || !labels) {
            FAIL(err, MEMORY, "%s: no memory", where);
            goto done;
        }
    }
    TRY_OR(read_texts(t, record, texts, "choices", where, 2, out, err), done);
    out->right = -1;
    for (long i = 0; i < out->n && out->right < 0; i++) {
        key = json_array_get(labels, (size_t)i);
        if (json_is_string(key) && !strcmp(json_string_value(key), right))
            out->right = i;
    }
    rc = out->right >= 0 ? 0
                         : bad_field(record, where, "answerKey", "is no label of the choices", err);
done:
    json_decref(texts);
    json_decref(labels);
    return rc;
}

static int read_boolq(struct task *t, const json_t *record, const char *where,
                      struct task_item *out, struct pesc_error *err)
{
    static const char *const no_yes[] = {"no", "yes"};
    const json_t *v = json_object_get(record, has(record, "answer") ? "answer" : "label");
    const char *passage, *question;
    TRY(said(record, "passage", where, &passage, err));
    TRY(said(record, "question", where, &question, err));
    size_t n = strlen(question);
    const char *whole = task_printed(t, err, "%s%s", question, question[n - 1] == '?' ? "" : "?");
    TRY(whole ? ask(t, passage, whole, out, err) : -1);
    out->follows = no_yes;
    out->n = 2;
    if (!json_is_boolean(v) &&
        !(json_is_integer(v) && (json_integer_value(v) == 0 || json_integer_value(v) == 1)))
        return bad_field(record, where, "answer", "is neither true nor false", err);
    out->right = json_is_true(v) || (json_is_integer(v) && json_integer_value(v) == 1);
    return 0;
}

int task_read(struct task *t, const json_t *record, const char *where, struct task_item *out,
              struct pesc_error *err)
{
    if (!json_is_object(record))
        return FAIL(err, DS_FIELD, "%s: the record is no JSON object", where);
    switch (t->format) {
    case TASK_PERPLEXITY:
        return read_perplexity(t, record, where, out, err);
    case TASK_GENERATE:
        return read_generate(t, record, where, out, err);
    case TASK_CHOICE:
        return read_choice(t, record, where, out, err);
    case TASK_MMLU:
        return read_mmlu(t, record, where, out, err);
    case TASK_ARC:
        return read_arc(t, record, where, out, err);
    case TASK_BOOLQ:
        return read_boolq(t, record, where, out, err);
    case TASK_FORMAT_COUNT:
        break;
    }
    return FAIL(err, INTERNAL, "%s: a task of no format", where);
}

/* One text or a list of them. */
static int read_stops(struct task *t, const json_t *v, const char *where, struct pesc_error *err)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    t->has_stops = 1;
    t->n_stops = 0;
    if (n > TASK_STOPS)
        return FAIL(err, DS_FIELD, "%s: 'stop' has %zu texts; %d may be", where, n, TASK_STOPS);
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
        if (!s || !*s)
            return FAIL(err, DS_FIELD, "%s: 'stop' is no text, nor a list of texts", where);
        if (!(t->stops[t->n_stops++] = keep(t, s, err)))
            return -1;
    }
    return 0;
}

static int read_normal(struct task *t, const json_t *v, const char *where, struct pesc_error *err)
{
    struct pesc_error e = {0};
    const char *s = json_string_value(v);
    if (!s)
        return FAIL(err, DS_FIELD, "%s: 'normalize' is no text such as \"strip,lower\"", where);
    t->has_normal = 1;
    return normal_parse(s, "'normalize'", &t->normal, &e) == 0
               ? 0
               : FAIL(err, DS_FIELD, "%s: %s", where, e.text);
}

int task_read_head(struct task *t, const json_t *head, const char *where, enum task_format *format,
                   struct pesc_error *err)
{
    const char *key;
    json_t *v;
    *format = TASK_FORMAT_COUNT;
    json_object_foreach((json_t *)head, key, v)
    {
        if (!strcmp(key, "format")) {
            *format =
                json_is_string(v) ? task_format_from_name(json_string_value(v)) : TASK_FORMAT_COUNT;
            if (*format == TASK_FORMAT_COUNT)
                return FAIL(err, DS_FIELD,
                            "%s: 'format' is none of perplexity, generate, multiple_choice, mmlu, "
                            "arc, boolq",
                            where);
        } else if (!strcmp(key, "normalize")) {
            TRY(read_normal(t, v, where, err));
        } else if (!strcmp(key, "stop")) {
            TRY(read_stops(t, v, where, err));
        } else if (!strcmp(key, "max_new_tokens")) {
            json_int_t n = json_is_integer(v) ? json_integer_value(v) : 0;
            if (n < 1 || n > 10000000)
                return FAIL(err, DS_FIELD, "%s: 'max_new_tokens' is no number of 1 to 10000000",
                            where);
            t->max_new_tokens = (long)n;
        } else {
            return bad_field(head, where, key,
                             "is no key of a task: format, normalize, stop, max_new_tokens", err);
        }
    }
    return 0;
}

int task_row_is_item(const json_t *row)
{
    const char *last = json_string_value(json_array_get(row, 5));
    return json_array_size(row) == 6 && last && isupper((unsigned char)*last) && !last[1];
}

json_t *task_row(const json_t *header, const json_t *row, const char *where, struct pesc_error *err)
{
    static const char *const usual[] = {"question", "A", "B", "C", "D", "answer"};
    size_t n = header ? json_array_size(header) : sizeof usual / sizeof *usual;
    json_t *o = json_object();
    if (json_array_size(row) != n) {
        FAIL(err, DS_FIELD, "%s: a row of %zu fields; %s %zu columns", where, json_array_size(row),
             header ? "the header has" : "question, A, B, C, D and answer are", n);
        json_decref(o);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        const char *name = header ? json_string_value(json_array_get(header, i)) : usual[i];
        char lower[64];
        size_t len = strlen(name);
        if (len == 0)
            continue;
        /* Question and question are the same, a letter is a letter */
        if (len > 1 && len < sizeof lower) {
            for (size_t k = 0; k <= len; k++)
                lower[k] = (char)tolower((unsigned char)name[k]);
            name = lower;
        }
        if (json_object_get(o, name)) {
            FAIL(err, DS_FORMAT, "%s: two columns are named '%s'", where, name);
            json_decref(o);
            return NULL;
        }
        json_put(&o, name, json_incref(json_array_get(row, i)));
    }
    if (!o)
        FAIL(err, MEMORY, "%s: no memory for a row", where);
    return o;
}
