/* The public interface, pesc.h. */
#include "config.h"
#include "api/resolve.h"
#include "model/decode.h"
#include "model/engine.h"

#include <stdlib.h>
#include <string.h>

struct pesc_model {
    struct model_arg arg;
    struct pack_arg pack;
    struct model *model;
};

int pesc_model_open(const char *dir, const char *pack, enum pesc_compute compute, pesc_model **out,
                    struct pesc_error *err)
{
    static const char *const names[] = {"auto", "f32", "bf16", "int8"};
    enum compute type;
    pesc_model *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m)
        return FAIL(err, MEMORY, "no memory for a model");
    if ((unsigned)compute > PESC_COMPUTE_INT8) {
        FAIL(err, USAGE_VALUE, "compute %d is unknown", (int)compute);
        goto fail;
    }
    TRY_OR(model_arg_open(dir, NULL, NULL, &m->arg, err), fail);
    TRY_OR(pack_arg_open(pack, 0, &m->arg, NULL, &m->pack, err), fail);
    TRY_OR(compute_arg(names[compute], &m->arg, &type, NULL, 0, err), fail);
    TRY_OR(model_shape(base_config(m->arg.base), m->arg.is_crafted ? &m->arg.craft.moe : NULL,
                       TRAIN_NOTHING, type, &m->model, err),
           fail);
    model_for_generating(m->model);
    TRY_OR(model_arg_load(&m->arg, &m->pack, m->model, err), fail);
    *out = m;
    return 0;
fail:
    pesc_model_close(m);
    return -1;
}

void pesc_model_close(pesc_model *m)
{
    if (!m)
        return;
    model_close(m->model);
    pack_arg_close(&m->pack);
    model_arg_close(&m->arg);
    free(m);
}

long pesc_model_vocab(const pesc_model *m)
{
    return m->model->c.vocab_size;
}

static int need_tokenizer(const pesc_model *m, struct pesc_error *err)
{
    return m->arg.tokenizer
               ? 0
               : FAIL(err, IO_MISSING, "%s has no tokenizer.json", base_dir(m->arg.base));
}

int pesc_encode(const pesc_model *m, const char *text, size_t n, int32_t **ids, size_t *n_ids,
                struct pesc_error *err)
{
    struct ids l = {0};
    TRY(need_tokenizer(m, err));
    if (tokenizer_encode(m->arg.tokenizer, text, n, TOK_SPECIAL, &l, err) != 0) {
        free(l.v);
        return -1;
    }
    *ids = l.v;
    *n_ids = l.n;
    return 0;
}

char *pesc_decode(const pesc_model *m, const int32_t *ids, size_t n, struct pesc_error *err)
{
    size_t len;
    return need_tokenizer(m, err) == 0 ? tokenizer_decode(m->arg.tokenizer, ids, n, 1, &len, err)
                                       : NULL;
}

struct rows {
    float *to;
    size_t vocab;
};

static int copy_rows(void *ctx, long from, long n, const float *logits, struct pesc_error *err)
{
    const struct rows *r = ctx;
    (void)err;
    memcpy(r->to + (size_t)from * r->vocab, logits, (size_t)n * r->vocab * sizeof *logits);
    return 0;
}

int pesc_logits(pesc_model *m, const int32_t *ids, size_t n, float *logits, struct pesc_error *err)
{
    struct engine *e;
    struct rows r = {logits, (size_t)m->model->c.vocab_size};
    long cu[2] = {0, (long)n}, record = 0;
    int domain = 0;
    struct batch b = {.T = (long)n,
                      .S = 1,
                      .ids = ids,
                      .labels = ids,
                      .cu = cu,
                      .domain = &domain,
                      .record = &record};
    if (n < 1 || n > 1 << 24)
        return FAIL(err, USAGE_VALUE, "%zu tokens are none or too many", n);
    TRY(engine_open(m->model, (long)n, 1, 0, NULL, &e, err));
    int rc = engine_logits(e, &b, copy_rows, &r, err);
    engine_close(e);
    return rc;
}

static int ends(const pesc_model *m, int32_t id)
{
    const struct model_config *c = &m->model->c;
    for (long i = 0; i < c->n_eos; i++)
        if (c->eos_ids[i] == id)
            return 1;
    return m->arg.tokenizer && id == tokenizer_eos(m->arg.tokenizer);
}

int pesc_generate(pesc_model *m, const int32_t *ids, size_t n, size_t max_new,
                  int (*token)(void *ctx, int32_t id), void *ctx, struct pesc_error *err)
{
    struct decoder *d;
    struct sampling greedy = {.top_p = 1};
    const float *logits;
    if (n < 1 || n > 1 << 24 || max_new > 1 << 24)
        return FAIL(err, USAGE_VALUE, "%zu and %zu tokens are none or too many", n, max_new);
    TRY(decoder_open(m->model, (long)(n + max_new), &d, err));
    int rc = decoder_feed(d, ids, (long)n, &logits, err);
    for (size_t i = 0; i < max_new && rc == 0; i++) {
        int32_t id = sample_token(logits, m->model->c.vocab_size, &greedy, 0, NULL);
        if (ends(m, id) || token(ctx, id) != 0)
            break;
        if (i + 1 < max_new)
            rc = decoder_feed(d, &id, 1, &logits, err);
    }
    decoder_close(d);
    return rc;
}

int pesc_pack_verify(const char *path, char *digest, struct pesc_error *err)
{
    struct pack *p;
    TRY(pack_open(path, NULL, NULL, &p, err));
    strcpy(digest, pack_digest(p));
    pack_close(p);
    return 0;
}
