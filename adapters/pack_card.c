#include "config.h"
#include "adapters/pack_internal.h"

#include "core/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
    char *p;
    size_t n, cap;
    int failed;
};

static void add(struct text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || t->failed) {
        t->failed = 1;
        return;
    }
    size_t need = t->n + (size_t)n + 1;
    if (need > t->cap) {
        char *p = realloc(t->p, need * 2);
        if (!p) {
            t->failed = 1;
            return;
        }
        t->p = p;
        t->cap = need * 2;
    }
    va_start(ap, fmt);
    vsnprintf(t->p + t->n, t->cap - t->n, fmt, ap);
    va_end(ap);
    t->n += (size_t)n;
}

/* A JSON string is a YAML string too. */
static void add_quoted(struct text *t, const char *before, const char *s)
{
    json_t *v = json_string(s);
    char *q = v ? json_written(v, JSON_ENCODE_ANY) : NULL;
    if (q)
        add(t, "%s%s\n", before, q);
    else
        t->failed = 1;
    free(q);
    json_decref(v);
}

/* Text of others inside Markdown: nothing that a table, a code span or HTML would obey. */
static void add_plain(struct text *t, const char *s)
{
    char shown[512];
    text_escape(shown, sizeof shown, s);
    for (char *p = shown; *p; p++)
        if (strchr("|`<>*[]", *p))
            *p = '_';
    add(t, "%s", shown);
}

static void add_cell(struct text *t, const char *what, const char *value)
{
    add(t, "| %s | ", what);
    add_plain(t, value);
    add(t, " |\n");
}

static void add_training(struct text *t, const json_t *training)
{
    static const char *const keys[][2] = {
        {"steps", "steps"}, {"tokens", "tokens"}, {"seed", "seed"}, {"tool", "trained with"}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = json_object_get(training, keys[i][0]);
        char buf[32];
        if (json_is_integer(v)) {
            snprintf(buf, sizeof buf, "%lld", (long long)json_integer_value(v));
            add_cell(t, keys[i][1], buf);
        } else if (json_is_string(v)) {
            add_cell(t, keys[i][1], json_string_value(v));
        }
    }
}

static void add_metrics(struct text *t, const json_t *metrics)
{
    size_t i;
    const json_t *m;
    if (!json_array_size(metrics))
        return;
    add(t, "\n## Evaluation\n\n| task | metric | value |\n|---|---|---|\n");
    json_array_foreach(metrics, i, m)
    {
        static const char *const keys[] = {"task", "metric", "value"};
        for (int k = 0; k < 3; k++) {
            const char *s = json_string_value(json_object_get(m, keys[k]));
            add(t, "| ");
            add_plain(t, s ? s : "");
            add(t, k == 2 ? " |\n" : " ");
        }
    }
}

char *pack_card(const struct pack_export *x)
{
    struct text t = {0};
    char scaling[32], number[32], layers[MOE_LAYERS_CAP];
    number_text(x->moe.scaling, scaling);
    add(&t, "---\n");
    add_quoted(&t, "base_model: ", x->base.name);
    add(&t, "base_model_relation: adapter\nlibrary_name: pesc\n");
    if (x->license)
        add_quoted(&t, "license: ", x->license);
    const json_t *datasets = json_object_get(x->training, "datasets"), *d;
    size_t i;
    if (json_array_size(datasets)) {
        add(&t, "datasets:\n");
        json_array_foreach(datasets, i, d)
        {
            const char *s = json_string_value(json_object_get(d, "name"));
            if (s)
                add_quoted(&t, "- ", s);
        }
    }
    add(&t, "tags:\n- moe\n- pesc\n- adapter\n---\n\n# ");
    add_plain(&t, x->name);
    add(&t, " ");
    add_plain(&t, x->version);
    add(&t,
        "\n\nA sparse mixture of adapters (parameter-efficient sparsity crafting, arXiv "
        "2401.02731) for one dense base\nmodel. Each layer keeps its frozen feed-forward "
        "network; a router adds %ld of %ld small adapters to its output.\n\n"
        "| | |\n|---|---|\n",
        x->moe.top_k, x->moe.experts);
    add_cell(&t, "base", x->base.name);
    add_cell(&t, "base fingerprint", x->base.fingerprint);
    snprintf(number, sizeof number, "%ld", x->moe.experts);
    add_cell(&t, "experts", number);
    snprintf(number, sizeof number, "%ld", x->moe.top_k);
    add_cell(&t, "top-k", number);
    snprintf(number, sizeof number, "%ld", x->moe.dim);
    add_cell(&t, "adapter dimension", number);
    if (x->moe.layers)
        add_cell(&t, "layers with adapters", moe_layers_text(&x->moe, x->base.layers, layers));
    add_cell(&t, "scaling", scaling);
    if (x->template_id)
        add_cell(&t, "prompt template", x->template_id);
    add_training(&t, x->training);
    add_metrics(&t, x->metrics);
    add(&t,
        "\n## Use\n\n```\npesc pack verify %s-%s.pescpack\n"
        "pesc generate MODEL --pack %s-%s.pescpack --prompt TEXT\n```\n\n"
        "`pesc` refuses a base with another fingerprint. The pack's hashes prove that it is "
        "what was exported,\nnot that it behaves well.\n",
        x->name, x->version, x->name, x->version);
    if (t.failed) {
        free(t.p);
        return NULL;
    }
    return t.p;
}

/* PEFT stops at the unknown peft_type instead of loading the weights as something else, and leaves
 * keys that it does not know alone. */
char *pack_adapter_config(const struct pack_export *x)
{
    char scaling[32], dropout[32], layers[MOE_LAYERS_CAP];
    number_text(x->moe.scaling, scaling);
    number_text(x->moe.dropout, dropout);
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:n, s:b, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:s}", "peft_type",
                  "PESC_MOE", "task_type", "CAUSAL_LM", "base_model_name_or_path", x->base.name,
                  "revision", "inference_mode", 1, "pesc_num_experts", (json_int_t)x->moe.experts,
                  "pesc_topk", (json_int_t)x->moe.top_k, "pesc_adapter_dim", (json_int_t)x->moe.dim,
                  "pesc_scaling", scaling, "pesc_dropout", dropout, "pesc_act", "gelu",
                  "pesc_router_input", "mlp_in", "pesc_base_fingerprint", x->base.fingerprint);
    if (x->moe.layers)
        json_put(&o, "pesc_layers", json_string(moe_layers_text(&x->moe, x->base.layers, layers)));
    char *s = o ? json_written(o, JSON_SORT_KEYS | JSON_INDENT(2)) : NULL;
    json_decref(o);
    return s;
}
