#include "config.h"
#include "eval/answer.h"

#include <string.h>

int answer_ends(const struct model *m, const struct tokenizer *t, const struct template *tpl,
                int32_t id)
{
    for (long i = 0; i < m->c.n_eos; i++)
        if (m->c.eos_ids[i] == id)
            return 1;
    for (int i = 0; tpl && template_stop(tpl, i); i++)
        if (tokenizer_id(t, template_stop(tpl, i)) == id)
            return 1;
    return id == tokenizer_eos(t);
}

/* Ends out before the first stop in it; before: how much of it was looked at already. */
static int stopped(const struct answering *a, struct buf *out, size_t before)
{
    size_t end = out->n;
    int found = 0;
    for (long i = 0; i < a->n_stops; i++) {
        size_t k = strlen(a->stops[i]);
        for (size_t at = before > k ? before - k : 0; at + k <= end; at++)
            if (!memcmp(out->p + at, a->stops[i], k)) {
                end = at;
                found = 1;
                break;
            }
    }
    out->n = end;
    return found;
}

int answer_greedy(const struct answering *a, const int32_t *prompt, long n, struct buf *out,
                  struct pesc_error *err)
{
    const struct sampling greedy = {.temperature = 0, .top_p = 1};
    struct token_stream *stream = NULL;
    const float *logits;
    const char *text;
    size_t len;
    int rc = -1, last = 0;
    out->n = 0;
    decoder_reset(a->decoder);
    TRY(decoder_feed(a->decoder, prompt, n, &logits, err));
    for (long i = 0; !last; i++) {
        int32_t id = -1;
        if (i < a->max_new_tokens)
            id = sample_token(logits, a->m->c.vocab_size, &greedy, (uint64_t)i, NULL);
        last = id < 0 || answer_ends(a->m, a->t, a->template, id);
        TRY_OR(tokenizer_stream(a->t, &stream, last ? -1 : id, last, &text, &len, err), done);
        size_t before = out->n;
        TRY_OR(buf_put(out, text, len, err), done);
        if (stopped(a, out, before))
            break;
        if (!last && i + 1 < a->max_new_tokens)
            TRY_OR(decoder_feed(a->decoder, &id, 1, &logits, err), done);
    }
    rc = 0;
done:
    tokenizer_stream_free(stream);
    return rc;
}
