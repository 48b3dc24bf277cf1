#include "config.h"
#include "datasets/template.h"

#include "core/batch.h"

#include <stdlib.h>
#include <string.h>

/* What surrounds the texts of an exchange:
 *   first, with a system text    with[0] SYSTEM with[1] INPUT with[2]
 *   first, without               plain[0] INPUT plain[1]
 *   later                        later[0] INPUT later[1]
 * then the answer and EOS. An Alpaca record's instruction stands as the system text when there is
 * an input, which is how the two formats' field names correspond. */
struct template
{
    const char *id;
    const char *with[3], *plain[2], *later[2];
};

static const struct template templates[] = {
    /* Camelidae (Wu et al., arXiv 2401.02731) */
    {"camelidae",
     {"### System:\n", "\n### Human:\n", "\n### Assistant:\n"},
     {"### Human:\n", "\n### Assistant:\n"},
     {"### Human:\n", "\n### Assistant:\n"}},
    /* Stanford Alpaca (Taori et al., 2023); later exchanges have no form there */
    {"alpaca",
     {"Below is an instruction that describes a task, paired with an input that provides further "
      "context. Write a response that appropriately completes the request.\n\n### Instruction:\n",
      "\n\n### Input:\n", "\n\n### Response:"},
     {"Below is an instruction that describes a task. Write a response that appropriately "
      "completes "
      "the request.\n\n### Instruction:\n",
      "\n\n### Response:"},
     {"### Instruction:\n", "\n\n### Response:"}},
};

const struct template *template_find(const char *id)
{
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++)
        if (!strcmp(templates[i].id, id))
            return &templates[i];
    return NULL;
}

const char *template_ids(void)
{
    return "camelidae|alpaca";
}

const char *template_id(const struct template *t)
{
    return t->id;
}

/* Labels for the ids from position from on: the ids themselves, or masked. */
static int label(struct ids *ids, size_t from, int trained, struct ids *labels,
                 struct pesc_error *err)
{
    for (size_t i = from; i < ids->n; i++)
        TRY(ids_push(labels, trained ? ids->v[i] : LABEL_MASKED, err));
    return 0;
}

static char *joined(const char *const *parts, int n, size_t *len)
{
    size_t size = 0;
    for (int i = 0; i < n; i++)
        size += strlen(parts[i]);
    char *text = malloc(size + 1);
    *len = size;
    if (!text)
        return NULL;
    text[0] = 0;
    size = 0;
    for (int i = 0; i < n; i++) {
        size_t part = strlen(parts[i]);
        memcpy(text + size, parts[i], part + 1);
        size += part;
    }
    return text;
}

static int prompt(const struct template *tpl, const struct tokenizer *t, const char *system,
                  const char *input, int first, struct ids *ids, struct pesc_error *err)
{
    const char *parts[5];
    int n = 0;
    if (first && system && *system) {
        parts[n++] = tpl->with[0];
        parts[n++] = system;
        parts[n++] = tpl->with[1];
        parts[n++] = input;
        parts[n++] = tpl->with[2];
    } else {
        const char *const *around = first ? tpl->plain : tpl->later;
        parts[n++] = around[0];
        parts[n++] = input;
        parts[n++] = around[1];
    }
    size_t len;
    char *text = joined(parts, n, &len);
    if (!text)
        return FAIL(err, MEMORY, "no memory for a prompt of %zu bytes", len);
    int rc = tokenizer_encode(t, text, len, TOK_PLAIN, ids, err);
    free(text);
    return rc;
}

/* The ids of "\n" text without those of "\n"; of text alone where the two do not part cleanly (a
 * text that begins with line ends may merge with the one before). */
static int answer(const struct tokenizer *t, const char *text, struct ids *ids,
                  struct pesc_error *err)
{
    struct ids edge = {0}, both = {0};
    int rc = -1;
    size_t len;
    char *line = joined((const char *const[]){"\n", text}, 2, &len);
    if (!line) {
        FAIL(err, MEMORY, "no memory for an answer of %zu bytes", len);
        goto done;
    }
    TRY_OR(tokenizer_encode(t, "\n", 1, TOK_PLAIN, &edge, err), done);
    TRY_OR(tokenizer_encode(t, line, len, TOK_PLAIN, &both, err), done);
    if (edge.n > 0 && both.n >= edge.n && !memcmp(edge.v, both.v, edge.n * sizeof *edge.v)) {
        for (size_t i = edge.n; i < both.n; i++)
            TRY_OR(ids_push(ids, both.v[i], err), done);
    } else {
        TRY_OR(tokenizer_encode(t, text, len - 1, TOK_PLAIN, ids, err), done);
    }
    rc = 0;
done:
    free(line);
    free(edge.v);
    free(both.v);
    return rc;
}

static int begin(const struct tokenizer *t, struct ids *ids, struct pesc_error *err)
{
    if (tokenizer_adds_bos(t) && tokenizer_bos(t) >= 0)
        TRY(ids_push(ids, tokenizer_bos(t), err));
    return 0;
}

static int end(const struct tokenizer *t, struct ids *ids, struct pesc_error *err)
{
    if (tokenizer_eos(t) >= 0)
        TRY(ids_push(ids, tokenizer_eos(t), err));
    return 0;
}

int template_render(const struct template *tpl, const struct tokenizer *t, const char *system,
                    const struct turn *turns, long n, struct ids *ids, struct ids *labels,
                    struct pesc_error *err)
{
    size_t from = ids->n;
    TRY(begin(t, ids, err));
    for (long i = 0; i < n; i++) {
        TRY(prompt(tpl, t, system, turns[i].input, i == 0, ids, err));
        TRY(label(ids, from, 0, labels, err));
        from = ids->n;
        if (!turns[i].output)
            break;
        TRY(answer(t, turns[i].output, ids, err));
        TRY(end(t, ids, err));
        TRY(label(ids, from, 1, labels, err));
        from = ids->n;
    }
    return 0;
}

int template_plain(const struct tokenizer *t, const char *text, struct ids *ids, struct ids *labels,
                   struct pesc_error *err)
{
    size_t from = ids->n;
    TRY(begin(t, ids, err));
    TRY(tokenizer_encode(t, text, strlen(text), TOK_PLAIN, ids, err));
    TRY(end(t, ids, err));
    return label(ids, from, 1, labels, err);
}
