#include "config.h"
#include "experiments/registration.h"

#include "core/json.h"
#include "experiments/rundir.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum kind { TEXT, LONG, WIDE, REAL };
struct field {
    const char *key;
    enum kind kind;
    size_t at;
};

#define F(type, kind, name)                                                                        \
    {                                                                                              \
#name, kind, offsetof(struct type, name)                                                   \
    }
#define RUN(kind, name) F(history_run, kind, name)
static const struct field run_fields[] = {RUN(TEXT, experiment),
                                          RUN(TEXT, name),
                                          RUN(TEXT, cmdline),
                                          RUN(TEXT, config),
                                          RUN(TEXT, config_sha256),
                                          RUN(WIDE, seed),
                                          RUN(LONG, threads),
                                          RUN(LONG, steps_planned),
                                          RUN(TEXT, resumed_from),
                                          RUN(LONG, start_step),
                                          {0}};
#define ENV(kind, name) F(history_env, kind, name)
static const struct field env_fields[] = {ENV(TEXT, host),
                                          ENV(TEXT, cpu_model),
                                          ENV(TEXT, isa),
                                          ENV(TEXT, os),
                                          ENV(TEXT, tool_version),
                                          ENV(TEXT, git_commit),
                                          ENV(TEXT, compiler),
                                          ENV(TEXT, libs),
                                          ENV(LONG, cores),
                                          ENV(LONG, mem_mib),
                                          {0}};
#define MODEL(kind, name) F(history_model, kind, name)
static const struct field model_fields[] = {
    MODEL(TEXT, fingerprint), MODEL(TEXT, name),     MODEL(TEXT, path),
    MODEL(TEXT, arch),        MODEL(TEXT, dtype),    MODEL(TEXT, tokenizer_sha256),
    MODEL(TEXT, config),      MODEL(LONG, n_layers), MODEL(LONG, hidden),
    MODEL(LONG, vocab),       MODEL(WIDE, n_params), {0}};
#define CRAFTED(kind, name) F(history_crafted, kind, name)
static const struct field crafted_fields[] = {
    CRAFTED(TEXT, config_sha256), CRAFTED(TEXT, config),
    CRAFTED(LONG, n_experts),     CRAFTED(LONG, top_k),
    CRAFTED(LONG, adapter_dim),   CRAFTED(WIDE, n_trainable),
    CRAFTED(WIDE, seed),          {0}};
#define PLAN(kind, name) F(history_plan, kind, name)
static const struct field plan_fields[] = {
    PLAN(WIDE, budget),  PLAN(WIDE, peak),         PLAN(WIDE, disk),
    PLAN(WIDE, traffic), PLAN(REAL, tokens_per_s), PLAN(REAL, seconds),
    PLAN(TEXT, terms),   PLAN(TEXT, places),       {0}};
#define DATA(kind, name) F(history_dataset, kind, name)
static const struct field data_fields[] = {
    DATA(TEXT, sha256), DATA(TEXT, name),           DATA(TEXT, path),
    DATA(TEXT, format), DATA(TEXT, role),           DATA(TEXT, reasons),
    DATA(REAL, weight), DATA(WIDE, bytes),          DATA(WIDE, records),
    DATA(WIDE, used),   DATA(WIDE, skipped),        DATA(WIDE, truncated),
    DATA(WIDE, split),  DATA(WIDE, samples),        DATA(WIDE, pieces_dropped),
    DATA(WIDE, tokens), DATA(WIDE, trained_tokens), {0}};

static const struct {
    const char *key;
    size_t at;
    const struct field *fields;
} parts[] = {{"env", offsetof(struct history_run, env), env_fields},
             {"model", offsetof(struct history_run, model), model_fields},
             {"crafted", offsetof(struct history_run, crafted), crafted_fields},
             {"plan", offsetof(struct history_run, plan), plan_fields}};
enum { PARTS = sizeof parts / sizeof *parts };

static void put_fields(json_t **o, const struct field *f, const void *from)
{
    for (; f->key; f++) {
        const void *at = (const char *)from + f->at;
        if (f->kind == TEXT && *(const char *const *)at)
            json_put(o, f->key, json_text(*(const char *const *)at));
        else if (f->kind == LONG)
            json_put(o, f->key, json_integer(*(const long *)at));
        else if (f->kind == WIDE)
            json_put(o, f->key, json_integer(*(const long long *)at));
        else if (f->kind == REAL)
            json_put(o, f->key, json_real_or_text(*(const double *)at));
    }
}

json_t *registration_json(const struct history_run *r)
{
    json_t *o = json_object(), *list = json_array(), *params = json_object();
    put_fields(&o, run_fields, r);
    for (int i = 0; i < PARTS; i++) {
        json_t *part = json_object();
        put_fields(&part, parts[i].fields, (const char *)r + parts[i].at);
        json_put(&o, parts[i].key, part);
    }
    for (long i = 0; i < r->n_datasets; i++) {
        json_t *d = json_object();
        put_fields(&d, data_fields, &r->datasets[i]);
        json_add(&list, d);
    }
    for (long i = 0; i < r->n_params; i++)
        json_put(&params, r->param_keys[i],
                 json_text(r->param_values[i] ? r->param_values[i] : ""));
    json_put(&o, "datasets", list);
    json_put(&o, "params", params);
    return o;
}

static void read_fields(const json_t *o, const struct field *f, void *to)
{
    for (; f->key; f++) {
        void *at = (char *)to + f->at;
        const json_t *v = json_object_get(o, f->key);
        if (f->kind == TEXT)
            *(const char **)at = json_string_value(v);
        else if (f->kind == LONG)
            *(long *)at = (long)json_integer_value(v);
        else if (f->kind == WIDE)
            *(long long *)at = (long long)json_integer_value(v);
        else
            json_real_read(v, (double *)at);
    }
}

int registration_read(json_t *json, struct registration *out, struct pesc_error *err)
{
    json_t *list = json_object_get(json, "datasets"), *params = json_object_get(json, "params");
    json_t *v;
    size_t n_data = json_array_size(list), n_params = json_object_size(params), i;
    const char *key;
    *out = (struct registration){.json = json_incref(json)};
    out->datasets = calloc(n_data + 1, sizeof *out->datasets);
    out->keys = calloc(n_params + 1, sizeof *out->keys);
    out->values = calloc(n_params + 1, sizeof *out->values);
    if (!out->datasets || !out->keys || !out->values) {
        registration_free(out);
        return FAIL(err, MEMORY, "no memory to read a run");
    }
    read_fields(json, run_fields, &out->run);
    for (int k = 0; k < PARTS; k++)
        read_fields(json_object_get(json, parts[k].key), parts[k].fields,
                    (char *)&out->run + parts[k].at);
    json_array_foreach(list, i, v)
    {
        read_fields(v, data_fields, &out->datasets[i]);
    }
    i = 0;
    json_object_foreach(params, key, v)
    {
        out->keys[i] = key;
        out->values[i++] = json_string_value(v);
    }
    out->run.datasets = out->datasets;
    out->run.n_datasets = (long)n_data;
    out->run.param_keys = out->keys;
    out->run.param_values = out->values;
    out->run.n_params = (long)n_params;
    return 0;
}

void registration_free(struct registration *r)
{
    free(r->datasets);
    free(r->keys);
    free(r->values);
    json_decref(r->json);
    *r = (struct registration){0};
}
