#include "config.h"
#include "eval/ask.h"

#include <stdlib.h>
#include <string.h>

static int grow(struct question *q, long n, struct pesc_error *err)
{
    if (n <= q->cap)
        return 0;
    struct ids *v = realloc(q->v, (size_t)n * sizeof *v);
    q->v = v ? v : q->v;
    long *from = realloc(q->from, (size_t)n * sizeof *from);
    q->from = from ? from : q->from;
    if (!v || !from)
        return FAIL(err, MEMORY, "no memory for %ld choices", n);
    memset(v + q->cap, 0, (size_t)(n - q->cap) * sizeof *v);
    q->cap = n;
    return 0;
}

/* The chat up to the answer, or with it (NULL: without). */
static int render(const struct asking *a, const char *asked, const char *answer, struct ids *ids,
                  struct ids *labels, struct pesc_error *err)
{
    struct message m[3] = {{.role = ROLE_SYSTEM, .text = a->system ? a->system : ""},
                           {.role = ROLE_USER, .text = asked},
                           {.role = ROLE_ASSISTANT, .text = answer ? answer : ""}};
    int systemic = a->system && *a->system;
    struct chat c = {.messages = systemic ? m : m + 1,
                     .n = 1 + systemic + (answer != NULL),
                     .open = !answer,
                     .no_thinking = !answer};
    return template_render(a->template, a->t, &c, LOSS_LAST, ids, labels, err);
}

static int ends_turn(const struct asking *a, int32_t id)
{
    for (int i = 0; template_stop(a->template, i); i++)
        if (tokenizer_id(a->t, template_stop(a->template, i)) == id)
            return 1;
    return id == tokenizer_eos(a->t) || tokenizer_is_special(a->t, id);
}

/* What is trained of the answer, which follows what generating starts from. */
static int in_template(const struct asking *a, const char *asked, const char *answer, int with_end,
                       struct ids *ids, long *from, struct pesc_error *err)
{
    struct ids labels = {0};
    int rc = render(a, asked, answer, ids, &labels, err);
    long n = (long)labels.n, first = 0;
    while (n > 0 && labels.v[n - 1] == LABEL_MASKED)
        n--;
    while (first < n && labels.v[first] == LABEL_MASKED)
        first++;
    while (rc == 0 && !with_end && n > first + 1 && ends_turn(a, ids->v[n - 1]))
        n--;
    free(labels.v);
    ids->n = (size_t)n;
    *from = first;
    return rc;
}

static int is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int in_plain(const struct asking *a, const char *prompt, const char *answer, struct ids *ids,
                    long *from, struct pesc_error *err)
{
    struct ids labels = {0};
    size_t n = strlen(prompt), kept = n, m = strlen(answer);
    while (kept > 0 && is_space(prompt[kept - 1]))
        kept--;
    const char *joint = kept == n && !is_space(*answer) ? " " : prompt + kept;
    size_t k = strlen(joint);
    char *text = malloc(kept + 1 + k + m + 1), *follows = text + kept + 1;
    if (!text)
        return FAIL(err, MEMORY, "no memory for a prompt of %zu bytes", n);
    memcpy(text, prompt, kept);
    text[kept] = 0;
    memcpy(follows, joint, k);
    memcpy(follows + k, answer, m + 1);
    int rc = template_continue(a->t, text, follows, ids, &labels, err);
    *from = 0;
    while (*from < (long)labels.n && labels.v[*from] == LABEL_MASKED)
        ++*from;
    free(text);
    free(labels.v);
    return rc;
}

static int sequence(const struct asking *a, enum task_kind kind, const struct task_item *it, long i,
                    struct ids *ids, long *from, struct pesc_error *err)
{
    struct ids labels = {0};
    ids->n = 0;
    *from = 0;
    if (i < 0 && a->template) {
        int rc = render(a, it->asked, NULL, ids, &labels, err);
        free(labels.v);
        *from = (long)ids->n;
        return rc;
    }
    if (i < 0) {
        TRY(tokenizer_encode(a->t, it->plain, strlen(it->plain), TOK_SPECIAL | TOK_PLAIN, ids,
                             err));
        *from = (long)ids->n;
        return 0;
    }
    if (!*it->plain) {
        int rc = template_plain(a->t, it->follows[i], ids, &labels, err);
        free(labels.v);
        *from = 1;
        return rc;
    }
    if (a->template)
        return in_template(a, it->asked, it->follows[i], kind == SCORE_TEXT, ids, from, err);
    return in_plain(a, it->plain, it->follows[i], ids, from, err);
}

/* The longest sequence and what follows are to fit; all lose the same beginning. */
static void cut(const struct asking *a, long new_tokens, int whole, struct question *q)
{
    long longest = 0, keep = q->v[0].n > 0 && q->v[0].v[0] == tokenizer_bos(a->t);
    for (long i = 0; i < q->n; i++)
        longest = (long)q->v[i].n > longest ? (long)q->v[i].n : longest;
    long drop = longest + new_tokens - a->context;
    if (drop <= 0)
        return;
    q->how = ASKED_CUT;
    if (whole) {
        q->v[0].n = (size_t)a->context;
        return;
    }
    for (long i = 0; i < q->n; i++) {
        struct ids *s = &q->v[i];
        if (q->from[i] - drop < keep + 1) { /* something must be there to predict from */
            q->how = ASKED_TOO_LONG;
            return;
        }
        memmove(s->v + keep, s->v + keep + drop, (s->n - (size_t)(keep + drop)) * sizeof *s->v);
        s->n -= (size_t)drop;
        q->from[i] -= drop;
    }
}

int ask_item(const struct asking *a, enum task_kind kind, const struct task_item *it,
             long new_tokens, struct question *q, struct pesc_error *err)
{
    int alone = kind == SCORE_GENERATED;
    q->n = alone ? 1 : it->n;
    q->how = ASKED_WHOLE;
    TRY(grow(q, q->n, err));
    for (long i = 0; i < q->n; i++) {
        TRY(sequence(a, kind, it, alone ? -1 : i, &q->v[i], &q->from[i], err));
        for (size_t k = 0; k < q->v[i].n; k++)
            if (q->v[i].v[k] < 0 || q->v[i].v[k] >= a->vocab)
                return FAIL(err, TOK_ID,
                            "line %ld: token id %ld is outside the model's vocabulary "
                            "of %ld",
                            it->line, (long)q->v[i].v[k], a->vocab);
    }
    cut(a, alone ? new_tokens : 0, !*it->plain, q);
    return 0;
}

void question_free(struct question *q)
{
    for (long i = 0; i < q->cap; i++)
        free(q->v[i].v);
    free(q->v);
    free(q->from);
    memset(q, 0, sizeof *q);
}
