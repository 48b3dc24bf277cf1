#include "config.h"
#include "datasets/template_form.h"

#include <stdlib.h>
#include <string.h>

static int grow(void **v, size_t n, size_t *cap, size_t size, struct pesc_error *err)
{
    if (n < *cap)
        return 0;
    size_t want = *cap ? 2 * *cap : 32;
    void *grown = realloc(*v, want * size);
    if (!grown)
        return FAIL(err, MEMORY, "no memory for a conversation of %zu pieces", want);
    *v = grown;
    *cap = want;
    return 0;
}

static int add_range(struct rendering *r, size_t start, int32_t id)
{
    TRY(grow((void **)&r->ranges, r->n_ranges, &r->cap_ranges, sizeof *r->ranges, r->err));
    r->ranges[r->n_ranges++] = (struct mixed_range){start, r->text.n, id};
    return 0;
}

static int mark(struct rendering *r, int trained)
{
    struct run_start *last = r->n_runs ? &r->runs[r->n_runs - 1] : NULL;
    if (last && last->at == r->text.n) {
        last->trained = trained;
        return 0;
    }
    if (last ? last->trained == trained : 0)
        return 0;
    TRY(grow((void **)&r->runs, r->n_runs, &r->cap_runs, sizeof *r->runs, r->err));
    r->runs[r->n_runs++] = (struct run_start){r->text.n, trained};
    return 0;
}

static int put_text(struct rendering *r, const char *text, size_t n, int trained)
{
    if (n == 0)
        return 0;
    TRY(mark(r, trained));
    return buf_put(&r->text, text, n, r->err);
}

int put_literal(struct rendering *r, const char *text, int trained)
{
    return put_text(r, text, strlen(text), trained);
}

int put_data(struct rendering *r, const char *text, size_t n, int trained)
{
    size_t start = r->text.n;
    if (n == 0)
        return 0;
    TRY(mark(r, trained));
    if (utf8_valid(text, n, NULL, NULL) < n)
        TRY(utf8_repair(&r->text, text, n, r->err));
    else
        TRY(buf_put(&r->text, text, n, r->err));
    return add_range(r, start, -1);
}

int put_json(struct rendering *r, const json_t *v, int indent, int trained)
{
    struct buf b = {0};
    int rc = json_python(&b, v, indent, r->err);
    if (rc == 0)
        rc = put_data(r, b.p, b.n, trained);
    buf_free(&b);
    return rc;
}

/* A token of the tokenizer; without one it is just text. */
static int put_token(struct rendering *r, const char *text, int32_t id, int trained)
{
    size_t start = r->text.n;
    if (!text || !*text)
        return 0;
    TRY(put_literal(r, text, trained));
    return r->t ? add_range(r, start, id) : 0;
}

int put_piece(struct rendering *r, const char *piece, int trained)
{
    int32_t bos = r->t ? tokenizer_bos(r->t) : -1, eos = r->t ? tokenizer_eos(r->t) : -1;
    while (piece && *piece) {
        const char *open = strchr(piece, '{');
        if (!open)
            return put_literal(r, piece, trained);
        TRY(put_text(r, piece, (size_t)(open - piece), trained));
        piece = open + 1;
        if (!strncmp(open, "{eos}", 5)) {
            TRY(put_token(r, r->eos, eos, trained));
            piece = open + 5;
        } else if (!strncmp(open, "{bos}", 5)) {
            TRY(put_token(r, r->bos, bos, trained));
            piece = open + 5;
        } else if (!strncmp(open, "{bos?}", 6)) {
            if (!r->t || tokenizer_adds_bos(r->t))
                TRY(put_token(r, r->bos, bos, trained));
            piece = open + 6;
        } else {
            TRY(put_text(r, open, 1, trained));
        }
    }
    return 0;
}

static int is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

const char *strip(const char *s, size_t *n, int left, int right)
{
    size_t len;
    if (utf8_valid(s, *n, NULL, NULL) < *n)
        return s;
    while (left && *n > 0 && is_space(utf8_get(s, &len))) {
        s += len;
        *n -= len;
    }
    while (right && *n > 0) {
        size_t at = *n - 1;
        while (at > 0 && ((unsigned char)s[at] & 0xc0) == 0x80)
            at--;
        if (!is_space(utf8_get(s + at, &len)))
            break;
        *n = at;
    }
    return s;
}

struct walk {
    struct rendering *r;
    const struct chat *c;
    enum loss_on loss;
    long system;                /* the leading system message, or -1 */
    long first_user, last_user; /* or -1 */
    long last_query;         /* as Qwen3 counts: the last question that is no function's result */
    long last_answer;        /* the last that is trained */
    const char *system_text; /* that stands inside of a user message; or NULL */
    int thinking;            /* SmolLM3's mode */
};

#define NO_PLACE(w, ...) FAIL((w)->r->err, DS_TEMPLATE, __VA_ARGS__)

static int is_result(const char *s)
{
    static const char open[] = "<tool_response>", close[] = "</tool_response>";
    size_t n = strlen(s);
    return !strncmp(s, open, sizeof open - 1) && n >= sizeof close - 1 &&
           !strcmp(s + n - (sizeof close - 1), close);
}

static int survey(struct walk *w)
{
    const struct template *t = w->r->tpl;
    const struct chat *c = w->c;
    int turn = 0;
    w->system = c->n > 0 && c->messages[0].role == ROLE_SYSTEM ? 0 : -1;
    w->first_user = w->last_user = w->last_answer = -1;
    w->last_query = c->n - 1;
    for (long i = 0; i < c->n; i++) {
        const struct message *m = &c->messages[i];
        if (m->role == ROLE_USER) {
            w->first_user = w->first_user < 0 ? i : w->first_user;
            w->last_user = i;
            if (!is_result(m->text))
                w->last_query = i;
        } else if (m->role == ROLE_ASSISTANT && !m->untrained) {
            w->last_answer = i;
        } else if (m->role == ROLE_TOOL && !t->tool_before) {
            return NO_PLACE(w, "template %s has no form for results of functions", t->id);
        } else if (m->role == ROLE_SYSTEM && i != w->system &&
                   (t->place != SYSTEM_MESSAGE || t->header)) {
            return NO_PLACE(w, "template %s takes a system text at the beginning only", t->id);
        }
        if (m->calls && t->tools == TOOLS_NONE)
            return NO_PLACE(w, "template %s has no form for function calls", t->id);
        if (t->alternate && (m->role == ROLE_USER || m->role == ROLE_ASSISTANT))
            if ((m->role == ROLE_USER) != (turn++ % 2 == 0))
                return NO_PLACE(w, "template %s wants user and assistant to take turns", t->id);
    }
    if (c->tools && json_array_size(c->tools) > 0 && t->tools == TOOLS_NONE)
        return NO_PLACE(w, "template %s has no form for tools", t->id);
    const char *system = w->system == 0 ? c->messages[0].text : NULL;
    if (system && t->place == SYSTEM_REFUSED)
        return NO_PLACE(w, "template %s takes no system text", t->id);
    if (system && (t->place == SYSTEM_FIRST_USER || t->place == SYSTEM_LAST_USER)) {
        if (w->first_user < 0)
            return NO_PLACE(w, "template %s has no place for a system text without a question",
                            t->id);
        w->system_text = system;
    }
    return 0;
}

static const char *trimmed(const struct template *t, const char *s, size_t *n)
{
    *n = strlen(s);
    return t->trim ? strip(s, n, 1, 1) : s;
}

static int has_tools(const struct chat *c)
{
    return c->tools && json_array_size(c->tools) > 0;
}

/* The message that opens the conversation, if there is one. */
static int put_system(struct walk *w)
{
    struct rendering *r = w->r;
    const struct template *t = r->tpl;
    const char *text = w->system == 0 ? w->c->messages[0].text : NULL;
    size_t n;
    int tools = has_tools(w->c) && t->tools != TOOLS_LLAMA3;
    if (t->place != SYSTEM_MESSAGE)
        return 0;
    if (t->header) {
        TRY(put_piece(r, t->system_before, 0));
        int bare = 0;
        TRY(put_smollm3(r, text, &w->thinking, &bare));
        /* the dated template leaves the message open */
        return t->header == HEADER_SMOLLM3 || bare ? put_piece(r, t->system_after, 0) : 0;
    }
    if (text && !*text && t->skip_empty_system)
        text = NULL;
    int given = text != NULL;
    if (!text)
        text = t->default_system;
    if (!text && !tools)
        return 0;
    size_t head = t->later_system ? strlen(t->later_system) : 0;
    if (has_tools(w->c) && t->tools == TOOLS_LLAMA3 && t->system_before &&
        !strncmp(t->system_before, t->later_system ? t->later_system : "", head)) {
        TRY(put_piece(r, t->later_system, 0)); /* the same with a line more */
        TRY(put_literal(r, "Environment: ipython\n", 0));
        TRY(put_piece(r, t->system_before + head, 0));
    } else {
        TRY(put_piece(r, t->system_before, 0));
    }
    text = trimmed(t, text ? text : "", &n);
    if (given)
        TRY(put_data(r, text, n, 0));
    else
        TRY(put_literal(r, text, 0));
    if (tools)
        TRY(put_tools(r, w->c->tools, t->tools == TOOLS_QWEN_APART && !given));
    return put_piece(r, t->system_after, 0);
}

static int put_user(struct walk *w, long i)
{
    struct rendering *r = w->r;
    const struct template *t = r->tpl;
    size_t n;
    const char *text = trimmed(t, w->c->messages[i].text, &n), *before = t->user_before;
    int systemic =
        w->system_text && i == (t->place == SYSTEM_LAST_USER ? w->last_user : w->first_user);
    if (i == w->first_user) {
        int told = w->system == 0 && *w->c->messages[0].text;
        if (told && t->user_after_system)
            before = t->user_after_system;
        else if (!told && t->first_user)
            before = t->first_user;
    }
    TRY(put_piece(r, before, 0));
    if (i == w->first_user && has_tools(w->c) && t->tools == TOOLS_LLAMA3)
        TRY(put_llama3_tools(r, w->c->tools));
    if (systemic) {
        TRY(put_piece(r, t->system_before, 0));
        TRY(put_data(r, w->system_text, strlen(w->system_text), 0));
        n = strlen(w->c->messages[i].text);
        text = t->trim ? strip(w->c->messages[i].text, &n, 0, 1) : text;
        const char *rest = t->system_after ? t->system_after : "";
        size_t after = strlen(rest); /* trimmed with a text that is empty */
        if (t->trim && n == 0)
            strip(rest, &after, 0, 1);
        if (rest[after])
            TRY(put_text(r, rest, after, 0));
        else
            TRY(put_piece(r, rest, 0));
    }
    TRY(put_data(r, text, n, 0));
    return put_piece(r, t->user_after, 0);
}

/* Thoughts and answer of a message, either may stand in its text. */
struct thoughts {
    const char *text, *content;
    size_t n, content_n;
};

static void strip_lines(const char **s, size_t *n, int left, int right)
{
    while (left && *n > 0 && **s == '\n') {
        (*s)++;
        (*n)--;
    }
    while (right && *n > 0 && (*s)[*n - 1] == '\n')
        (*n)--;
}

static const char *find_last(const char *s, size_t n, const char *what)
{
    size_t len = strlen(what);
    for (size_t i = n >= len ? n - len + 1 : 0; i > 0; i--)
        if (!memcmp(s + i - 1, what, len))
            return s + i - 1;
    return NULL;
}

static struct thoughts part_thoughts(const struct message *m)
{
    static const char open[] = "<think>", close[] = "</think>";
    struct thoughts p = {"", m->text, 0, strlen(m->text)};
    const char *end = strstr(m->text, close);
    if (m->thinking) {
        p.text = m->thinking;
        p.n = strlen(p.text);
        strip_lines(&p.text, &p.n, 1, 1);
    } else if (end) {
        p.text = m->text;
        p.n = (size_t)(end - m->text);
        strip_lines(&p.text, &p.n, 0, 1);
        const char *begin = find_last(p.text, p.n, open);
        if (begin) {
            p.n -= (size_t)(begin + sizeof open - 1 - p.text);
            p.text = begin + sizeof open - 1;
        }
        strip_lines(&p.text, &p.n, 1, 1);
        p.content = find_last(m->text, p.content_n, close) + sizeof close - 1;
        p.content_n = strlen(p.content);
        strip_lines(&p.content, &p.content_n, 1, 0);
    }
    return p;
}

/* A block of thoughts; an empty one is what the template says, not the model. */
static int put_thoughts(struct rendering *r, const struct thoughts *p, int trained)
{
    int said = trained && p->n > 0;
    TRY(put_literal(r, "<think>\n", said));
    TRY(put_data(r, p->text, p->n, said));
    return put_literal(r, "\n</think>\n\n", said);
}

static int put_answer(struct walk *w, long i)
{
    struct rendering *r = w->r;
    const struct template *t = r->tpl;
    const struct message *m = &w->c->messages[i];
    int trained = !m->untrained && (w->loss == LOSS_ANSWERS || i == w->last_answer);
    struct thoughts p = {"", m->text, 0, strlen(m->text)};
    TRY(put_piece(r, t->answer_before, 0));
    if (t->header && !w->thinking)
        TRY(put_literal(r, "<think>\n\n</think>\n", 0));
    if (t->thinking != THINK_NONE) {
        p = part_thoughts(m);
        if (t->thinking == THINK_ALWAYS || (i > w->last_query && (i == w->c->n - 1 || p.n > 0))) {
            strip_lines(&p.content, &p.content_n, 1, 0);
            TRY(put_thoughts(r, &p, trained));
        }
    }
    if (t->trim)
        p.content = strip(p.content, &p.content_n, 1, 1);
    if (t->trim_lines)
        strip_lines(&p.content, &p.content_n, 1, 0);
    TRY(put_piece(r, t->answer_lead, trained));
    if (!m->calls || t->tools != TOOLS_LLAMA3)
        TRY(put_data(r, p.content, p.content_n, trained));
    if (m->calls)
        TRY(put_calls(r, m->calls, p.content_n > 0, trained));
    TRY(put_piece(r, t->answer_after, trained));
    return put_piece(r, t->answer_tail, 0);
}

static int put_result(struct walk *w, long i)
{
    struct rendering *r = w->r;
    const struct template *t = r->tpl;
    const struct message *m = w->c->messages;
    const char *text = m[i].text;
    if (i == 0 || m[i - 1].role != ROLE_TOOL)
        TRY(put_piece(r, t->tool_open, 0));
    TRY(put_piece(r, t->tool_before, 0));
    if (t->tool_json) {
        json_t *v = json_string(text);
        int rc = v ? put_json(r, v, 0, 0) : FAIL(r->err, MEMORY, "no memory for a result");
        json_decref(v);
        TRY(rc);
    } else {
        TRY(put_data(r, text, strlen(text), 0));
    }
    TRY(put_piece(r, t->tool_after, 0));
    return i + 1 == w->c->n || m[i + 1].role != ROLE_TOOL ? put_piece(r, t->tool_close, 0) : 0;
}

static int put_message(struct walk *w, long i)
{
    struct rendering *r = w->r;
    const struct template *t = r->tpl;
    size_t n;
    const char *text;
    switch (w->c->messages[i].role) {
    case ROLE_SYSTEM:
        if (i == w->system)
            return 0;
        text = trimmed(t, w->c->messages[i].text, &n);
        TRY(put_piece(r, t->later_system ? t->later_system : t->system_before, 0));
        TRY(put_data(r, text, n, 0));
        return put_piece(r, t->system_after, 0);
    case ROLE_USER:
        return put_user(w, i);
    case ROLE_ASSISTANT:
        return put_answer(w, i);
    case ROLE_TOOL:
        return put_result(w, i);
    }
    return FAIL(r->err, INTERNAL, "a message of no role");
}

int render_chat(struct rendering *r, const struct chat *c, enum loss_on loss)
{
    struct walk w = {.r = r, .c = c, .loss = loss, .thinking = !c->no_thinking};
    const struct template *t = r->tpl;
    TRY(survey(&w));
    if (has_tools(c) && t->tools == TOOLS_LLAMA3 &&
        (w.first_user < 0 || w.first_user != (w.system == 0)))
        return NO_PLACE(&w, "template %s puts tools into a question that comes first", t->id);
    TRY(put_piece(r, t->begin, 0));
    TRY(put_system(&w));
    for (long i = 0; i < c->n; i++)
        TRY(put_message(&w, i));
    if (!c->open)
        return put_piece(r, t->end, 0);
    TRY(put_piece(r, t->open_before ? t->open_before : t->answer_before, 0));
    if (t->header && !w.thinking)
        return put_literal(r, "<think>\n\n</think>\n", 0);
    return t->thinking == THINK_LAST && c->no_thinking
               ? put_literal(r, "<think>\n\n</think>\n\n", 0)
               : 0;
}
