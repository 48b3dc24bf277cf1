#include "config.h"
#include "datasets/template_form.h"

#include "core/batch.h"

#include <stdlib.h>
#include <string.h>

static void rendering_free(struct rendering *r)
{
    buf_free(&r->text);
    free(r->ranges);
    free(r->runs);
}

/* To ids, with labels for every run. */
static int encode(const struct rendering *r, struct ids *ids, struct ids *labels,
                  struct pesc_error *err)
{
    size_t *cuts = malloc((r->n_runs + 1) * 2 * sizeof *cuts), *at = cuts + r->n_runs + 1;
    int rc = -1;
    if (!cuts)
        return FAIL(err, MEMORY, "no memory for a conversation");
    for (size_t i = 0; i < r->n_runs; i++)
        cuts[i] = r->runs[i].at;
    struct mixed_text m = {
        r->text.n ? r->text.p : "", r->text.n, r->ranges, r->n_ranges, cuts, r->n_runs};
    TRY_OR(tokenizer_encode_mixed(r->t, &m, ids, at, err), done);
    at[r->n_runs] = ids->n;
    for (size_t i = 0; i < r->n_runs; i++)
        for (size_t k = at[i]; k < at[i + 1]; k++)
            TRY_OR(ids_push(labels, r->runs[i].trained ? ids->v[k] : LABEL_MASKED, err), done);
    rc = 0;
done:
    free(cuts);
    return rc;
}

static const char *token_text(const struct tokenizer *t, int32_t id)
{
    return id >= 0 ? tokenizer_token(t, id) : NULL;
}

static struct rendering rendering_for(const struct tokenizer *t, struct pesc_error *err)
{
    return (struct rendering){.t = t,
                              .bos = token_text(t, tokenizer_bos(t)),
                              .eos = token_text(t, tokenizer_eos(t)),
                              .err = err};
}

int template_render(const struct template *tpl, const struct tokenizer *t, const struct chat *c,
                    enum loss_on loss, struct ids *ids, struct ids *labels, struct pesc_error *err)
{
    struct rendering r = rendering_for(t, err);
    r.tpl = tpl;
    int rc = render_chat(&r, c, loss);
    if (loss == LOSS_ALL) { /* nothing is cut: ids are those of the text in one go */
        r.n_runs = r.n_runs > 0;
        if (r.n_runs)
            r.runs[0].trained = 1;
    }
    if (rc == 0)
        rc = encode(&r, ids, labels, err);
    rendering_free(&r);
    return rc;
}

char *template_text(const struct template *tpl, const char *bos, const char *eos,
                    const struct chat *c, size_t *len, struct pesc_error *err)
{
    struct rendering r = {.tpl = tpl, .bos = bos, .eos = eos, .err = err};
    int rc = render_chat(&r, c, LOSS_ANSWERS);
    if (rc == 0)
        rc = buf_put(&r.text, "", 1, err);
    char *text = NULL;
    if (rc == 0) {
        text = r.text.p;
        *len = r.text.n - 1;
        r.text = (struct buf){0};
    }
    rendering_free(&r);
    return text;
}

int template_plain(const struct tokenizer *t, const char *text, struct ids *ids, struct ids *labels,
                   struct pesc_error *err)
{
    struct rendering r = rendering_for(t, err);
    int rc = put_piece(&r, "{bos?}", 1);
    if (rc == 0)
        rc = put_data(&r, text, strlen(text), 1);
    if (rc == 0)
        rc = put_piece(&r, "{eos}", 1);
    if (rc == 0)
        rc = encode(&r, ids, labels, err);
    rendering_free(&r);
    return rc;
}

int template_continue(const struct tokenizer *t, const char *prompt, const char *answer,
                      struct ids *ids, struct ids *labels, struct pesc_error *err)
{
    struct rendering r = rendering_for(t, err);
    int rc = put_piece(&r, "{bos?}", 0);
    if (rc == 0)
        rc = put_data(&r, prompt, strlen(prompt), 0);
    if (rc == 0)
        rc = put_data(&r, answer, strlen(answer), 1);
    if (rc == 0)
        rc = encode(&r, ids, labels, err);
    rendering_free(&r);
    return rc;
}
