#include "config.h"
#include "adapters/pack_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct pack_tensor *)a)->name, ((const struct pack_tensor *)b)->name);
}

int pack_tensors(long layers, long hidden, const struct moe_config *moe, struct pack_tensor **out,
                 long *n, struct pesc_error *err)
{
    *out = NULL;
    if (layers < 1 || moe->experts < 1 || layers > PACK_MAX_TENSORS ||
        moe->experts > PACK_MAX_TENSORS || layers * (1 + 2 * moe->experts) > PACK_MAX_TENSORS)
        return FAIL(err, PK_CONFIG,
                    "%ld layers with %ld experts each make more than %d tensors or none", layers,
                    moe->experts, PACK_MAX_TENSORS);
    *n = layers * (1 + 2 * moe->experts);
    struct pack_tensor *t = calloc((size_t)*n, sizeof *t), *at = t;
    if (!t)
        return FAIL(err, MEMORY, "no memory for %ld tensor names", *n);
    for (long l = 0; l < layers; l++) {
        char moe_at[64];
        snprintf(moe_at, sizeof moe_at, "model.layers.%ld.mlp.moe_adapter", l);
        snprintf(at->name, sizeof at->name, "%s.router.weight", moe_at);
        at->rows = moe->experts;
        at->cols = hidden;
        at++->is_router = 1;
        for (long e = 0; e < moe->experts; e++) {
            snprintf(at->name, sizeof at->name, "%s.experts.expert_%ld.adapter_down.weight", moe_at,
                     e);
            at->rows = moe->dim;
            at++->cols = hidden;
            snprintf(at->name, sizeof at->name, "%s.experts.expert_%ld.adapter_up.weight", moe_at,
                     e);
            at->rows = hidden;
            at++->cols = moe->dim;
        }
    }
    qsort(t, (size_t)*n, sizeof *t, by_name);
    *out = t;
    return 0;
}

int pack_params(struct params *ps, long layers, long hidden, const struct moe_config *moe,
                struct pesc_error *err)
{
    struct pack_tensor *t;
    long n;
    int rc = 0;
    TRY(pack_tensors(layers, hidden, moe, &t, &n, err));
    for (long i = 0; i < n && rc == 0; i++) {
        long layer = strtol(t[i].name + strlen("model.layers."), NULL, 10);
        rc = params_add(ps, (int)layer, 2, t[i].rows, t[i].cols, err, "%s", t[i].name) < 0 ? -1 : 0;
    }
    free(t);
    return rc;
}

static const struct {
    const char *name, *media;
    int text;
} files_known[] = {
    {"LICENSE", "text/plain", 1},
    {"README.md", "text/markdown", 1},
    {"adapter_config.json", "application/json", 1},
    {PACK_WEIGHTS, "application/vnd.safetensors", 0},
    {"chat_template.txt", "text/plain", 1},
    {"metrics.jsonl", "application/jsonl", 1},
    {"run.json", "application/json", 1},
};

const char *pack_media(const char *name)
{
    for (size_t i = 0; i < sizeof files_known / sizeof *files_known; i++)
        if (!strcmp(name, files_known[i].name))
            return files_known[i].media;
    return NULL;
}

int pack_is_text(const char *name)
{
    for (size_t i = 0; i < sizeof files_known / sizeof *files_known; i++)
        if (!strcmp(name, files_known[i].name))
            return files_known[i].text;
    return 0;
}
