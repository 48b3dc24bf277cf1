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
    long with = moe_layers(moe, layers);
    if (with < 1 || moe->experts < 1 || with > PACK_MAX_TENSORS ||
        moe->experts > PACK_MAX_TENSORS || with * (1 + 2 * moe->experts) > PACK_MAX_TENSORS)
        return FAIL(err, PK_CONFIG,
                    "%ld layers with %ld experts each make more than %d tensors or none", with,
                    moe->experts, PACK_MAX_TENSORS);
    *n = with * (1 + 2 * moe->experts);
    struct pack_tensor *t = calloc((size_t)*n, sizeof *t);
    if (!t)
        return FAIL(err, MEMORY, "no memory for %ld tensor names", *n);
    struct params ps = {0};
    if (moe_declare(&ps, moe, layers, hidden, err) != 0) {
        params_free(&ps);
        free(t);
        return -1;
    }
    for (long i = 0; i < *n; i++) {
        snprintf(t[i].name, sizeof t[i].name, "%s", ps.p[i].name);
        t[i].rows = ps.p[i].shape[0];
        t[i].cols = ps.p[i].shape[1];
        t[i].is_router = strstr(t[i].name, ".router.") != NULL;
    }
    params_free(&ps);
    qsort(t, (size_t)*n, sizeof *t, by_name);
    *out = t;
    return 0;
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
