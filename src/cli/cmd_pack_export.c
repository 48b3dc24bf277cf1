/* pesc pack export: a run folder's result as a pack. What goes into the pack is listed here; of a
 * run folder nothing else leaves the machine. */
#include "config.h"
#include "cli/cmd_pack.h"

#include "craft/crafted.h"
#include "core/file.h"
#include "core/json.h"
#include "core/number.h"

#include <stdlib.h>
#include <string.h>

enum { RUN_MAX = 1 << 20, CURVE_MAX = 1 << 20, METRICS_MAX = 256 << 20 };

struct export_opts {
    const char *output, *name, *version, *license, *author, *dtype;
    int force;
};
#define OPT(n, k, field, a, h)                                                                     \
    {                                                                                              \
        .name = n, .kind = k, .offset = offsetof(struct export_opts, field), .arg = a, .help = h   \
    }
static const struct opt export_table[] = {
    {.name = "output",
     .alias = "o",
     .kind = OPT_STRING,
     .offset = offsetof(struct export_opts, output),
     .arg = "FILE",
     .help = "the pack [NAME-VERSION.pescpack]"},
    OPT("name", OPT_STRING, name, "NAME", "name of the pack [the run's]"),
    OPT("version", OPT_STRING, version, "VERSION", "version of the pack"),
    OPT("license", OPT_STRING, license, "ID", "license of the weights, for example apache-2.0"),
    OPT("author", OPT_STRING, author, "TEXT", "who publishes it"),
    OPT("dtype", OPT_CHOICE, dtype, "f32|bf16", "type of the weights; f32 evaluates bit-equal"),
    OPT("force", OPT_FLAG, force, NULL, "overwrite FILE"),
    {0}};

static void export_defaults(void *opts)
{
    struct export_opts *o = opts;
    o->version = "1.0.0";
    o->dtype = "f32";
}

static int get_int(const json_t *o, const char *where, const char *key, long *out,
                   struct pesc_error *err)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return FAIL(err, CFG_CRAFT, "%s: %s is missing or no count", where, key);
    *out = (long)json_integer_value(v);
    return 0;
}

/* Numbers that are not integers are texts there; an integer will do. */
static int get_real(const json_t *o, const char *where, const char *key, double *out,
                    struct pesc_error *err)
{
    const json_t *v = json_object_get(o, key);
    const char *s = json_string_value(v);
    int good = json_is_integer(v) || (s && number_parse(s, out) == 0);
    if (json_is_integer(v))
        *out = (double)json_integer_value(v);
    return good ? 0 : FAIL(err, CFG_CRAFT, "%s: %s is missing or no number", where, key);
}

static int get_str(const json_t *o, const char *where, const char *key, const char **out,
                   struct pesc_error *err)
{
    *out = json_string_value(json_object_get(o, key));
    return *out ? 0 : FAIL(err, CFG_CRAFT, "%s: %s is missing", where, key);
}

static int read_crafted(const json_t *o, const char *where, struct moe_config *m,
                        struct pesc_error *err)
{
    const char *balance;
    TRY(get_int(o, where, "experts", &m->experts, err));
    TRY(get_int(o, where, "top_k", &m->top_k, err));
    TRY(get_int(o, where, "adapter_dim", &m->dim, err));
    TRY(get_real(o, where, "scaling", &m->scaling, err));
    TRY(get_real(o, where, "dropout", &m->dropout, err));
    TRY(get_str(o, where, "balance", &balance, err));
    TRY(get_real(o, where, "balance_coef", &m->balance_coef, err));
    int kind = balance_from_name(balance);
    if (kind < 0)
        return FAIL(err, CFG_CRAFT, "%s: balance '%s' is not known", where, balance);
    m->balance = (enum balance_kind)kind;
    return crafted_layers_parse(o, where, m, err);
}

static int base_text(const json_t *o, const char *where, const char *key, char *out, size_t cap,
                     struct pesc_error *err)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v) || json_string_length(v) >= cap)
        return FAIL(err, CFG_CRAFT, "%s: base.%s is missing or too long", where, key);
    strcpy(out, json_string_value(v));
    return 0;
}

static int read_base(const json_t *o, const char *where, struct pack_base *out,
                     struct pesc_error *err)
{
    memset(out, 0, sizeof *out);
    TRY(base_text(o, where, "name", out->name, sizeof out->name, err));
    TRY(base_text(o, where, "fingerprint", out->fingerprint, sizeof out->fingerprint, err));
    TRY(base_text(o, where, "tokenizer_sha256", out->tokenizer_sha256, sizeof out->tokenizer_sha256,
                  err));
    TRY(base_text(o, where, "config_sha256", out->config_sha256, sizeof out->config_sha256, err));
    TRY(base_text(o, where, "arch", out->arch, sizeof out->arch, err));
    if (json_object_get(o, "origin")) /* of bases that are quantised or converted */
        TRY(base_text(o, where, "origin", out->origin, sizeof out->origin, err));
    const struct {
        const char *key;
        long *to;
    } ints[] = {{"layers", &out->layers}, {"hidden", &out->hidden}, {"vocab", &out->vocab}};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        const json_t *v = json_object_get(o, ints[i].key);
        if (!json_is_integer(v) || json_integer_value(v) < 1)
            return FAIL(err, CFG_CRAFT, "%s: base.%s is missing", where, ints[i].key);
        *ints[i].to = (long)json_integer_value(v);
    }
    /* A base given as a path has no other name than its last part; the path stays at home. */
    size_t n = strlen(out->name);
    while (n > 1 && out->name[n - 1] == '/')
        out->name[--n] = 0;
    if (strchr("/.~", out->name[0]))
        memmove(out->name, path_base(out->name), strlen(path_base(out->name)) + 1);
    if (!out->name[0])
        strcpy(out->name, "base");
    return 0;
}

/* Copies the listed keys of an object that are integers or texts. */
static json_t *pick(const json_t *from, const char *const *keys)
{
    json_t *o = json_object();
    for (; o && *keys; keys++) {
        json_t *v = json_object_get(from, *keys);
        if ((json_is_integer(v) || json_is_string(v)) && json_object_set(o, *keys, v) != 0) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

/* An array of picked objects. Of a name that is a path the last part stays. */
static json_t *pick_list(const json_t *from, const char *const *keys)
{
    json_t *list = json_array();
    size_t i;
    const json_t *v;
    json_array_foreach(from, i, v)
    {
        json_t *o = pick(v, keys);
        const char *name = json_string_value(json_object_get(o, "name"));
        if (name)
            json_put(&o, "name", json_string(path_base(name)));
        json_add(&list, o);
    }
    return list;
}

static json_t *read_training(const json_t *run)
{
    static const char *const keys[] = {"steps", "tokens", "seed", NULL};
    static const char *const data_keys[] = {"name", "sha256", "records", NULL};
    char tool[64];
    snprintf(tool, sizeof tool, "pesc %s", pesc_version());
    const char *uuid = json_string_value(json_object_get(run, "uuid"));
    json_t *o = pick(run, keys), *data = pick_list(json_object_get(run, "data"), data_keys);
    if (!o || !data || json_object_set_new(o, "tool", json_string(tool)) != 0 ||
        (uuid && json_object_set_new(o, "run", json_string(uuid)) != 0) ||
        json_object_set(o, "datasets", data) != 0) {
        json_decref(o);
        o = NULL;
    }
    json_decref(data);
    return o;
}

static int append(char **text, size_t *n, const char *line)
{
    size_t k = strlen(line);
    char *p = realloc(*text, *n + k + 2);
    if (!p)
        return -1;
    memcpy(p + *n, line, k);
    memcpy(p + *n + k, "\n", 2);
    *text = p;
    *n += k + 1;
    return 0;
}

static int is_point(const json_t *o)
{
    return json_is_integer(json_object_get(o, "step")) && json_is_number(json_object_get(o, "ce"));
}

/* One line of the curve: step and losses, without anything about the machine. NULL without memory.
 */
static json_t *curve_point(const json_t *o)
{
    static const char *const keys[] = {"ce", "balance", "lr", "grad_norm"};
    json_t *out = json_object();
    if (!out || json_object_set(out, "step", json_object_get(o, "step")) != 0)
        goto fail;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *v = json_object_get(o, keys[i]);
        if (json_is_number(v) && json_object_set(out, keys[i], v) != 0)
            goto fail;
    }
    return out;
fail:
    json_decref(out);
    return NULL;
}

/* The run went on from an earlier step: takes back what had come after it. */
static int cut_curve(char *text, size_t *n, json_int_t step)
{
    enum json_fault fault;
    for (char *line = text, *end; line && (end = strchr(line, '\n')); line = end + 1) {
        json_t *o = json_parse(line, (size_t)(end - line), &fault, NULL, 0);
        if (!o && fault == JSON_FAULT_MEMORY)
            return -1;
        int later = json_integer_value(json_object_get(o, "step")) > step;
        json_decref(o);
        if (later) {
            *n = (size_t)(line - text);
            *line = 0;
            return 0;
        }
    }
    return 0;
}

/* -1 without memory. */
static int add_line(char **curve, size_t *n, const char *line)
{
    enum json_fault fault;
    json_t *o = json_parse(line, strlen(line), &fault, NULL, 0), *point = NULL;
    const char *event = json_string_value(json_object_get(o, "event"));
    int rc = o || fault != JSON_FAULT_MEMORY ? 0 : -1;
    if (event && !strcmp(event, "resume"))
        rc = cut_curve(*curve, n, json_integer_value(json_object_get(o, "step")));
    if (rc == 0 && is_point(o)) {
        point = curve_point(o);
        char *s = point ? json_canonical(point) : NULL;
        rc = s ? append(curve, n, s) : -1;
        free(s);
    }
    json_decref(point);
    json_decref(o);
    return rc;
}

/* metrics.jsonl of the run as the curve of the pack, NULL when there is none. A last line that a
 * crash tore is passed over; a curve that would not fit is left out with a note. */
static int read_curve(const char *run, const struct notes *notes, char **out,
                      struct pesc_error *err)
{
    char path[PATH_CAP], *text, *save = NULL;
    size_t len, n = 0;
    *out = NULL;
    TRY(path_join(path, run, "metrics.jsonl", err));
    if (!path_exists(path))
        return 0;
    TRY(file_read(path, METRICS_MAX, &text, &len, err));
    int rc = 0;
    for (char *line = strtok_r(text, "\n", &save); line && rc == 0;
         line = strtok_r(NULL, "\n", &save))
        if (add_line(out, &n, line) != 0)
            rc = FAIL(err, MEMORY, "%s: no memory", path);
    free(text);
    if (n > CURVE_MAX) {
        note(notes, "W-PK-CURVE", "%s: the curve has %zu bytes and is left out", path, n);
        free(*out);
        *out = NULL;
    }
    return rc;
}

/* A run's name as a pack's: what a file name may hold. */
static void default_name(const char *from, char out[97])
{
    size_t n = 0;
    for (const char *p = from; *p && n < 96; p++) {
        int word = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        if (word || (n > 0 && strchr("._-", *p)))
            out[n++] = *p;
        else if (n > 0 && out[n - 1] != '-')
            out[n++] = '-';
    }
    while (n > 0 && out[n - 1] == '-')
        n--;
    out[n] = 0;
    if (n == 0)
        strcpy(out, "adapters");
}

/* What run.json says, into x. The texts live as long as run. */
static int read_run(const char *dir, json_t *run, const struct notes *notes, struct pack_export *x,
                    struct pesc_error *err)
{
    char where[PATH_CAP];
    const char *kind, *status;
    TRY(path_join(where, dir, "run.json", err));
    if (json_integer_value(json_object_get(run, "pesc_run")) != 1)
        return FAIL(err, CFG_CRAFT, "%s: not a run of a kind known here (pesc_run 1)", where);
    TRY(get_str(run, where, "kind", &kind, err));
    if (strcmp(kind, "adapters") != 0)
        return FAIL(err, MODEL_KIND, "%s: the run trained '%s'; only adapters make a pack", where,
                    kind);
    TRY(get_str(run, where, "status", &status, err));
    if (strcmp(status, "finished") != 0)
        note(notes, "W-PK-UNFINISHED", "%s: the run is %s, not finished", where, status);
    TRY(get_str(run, where, "ended", &x->created, err));
    TRY(read_crafted(json_object_get(run, "crafted"), where, &x->moe, err));
    TRY(read_base(json_object_get(run, "base"), where, &x->base, err));
    if (moe_layers_fit(&x->moe, x->base.layers) != 0)
        return FAIL(err, CFG_CRAFT, "%s: adapters on layers that the base has not", where);
    const char *template_id = json_string_value(json_object_get(run, "template"));
    x->template_id = template_id && *template_id ? template_id : NULL; /* plain text or ids */
    return 0;
}

static int write_pack(const char *dir, const json_t *run, const char *path, int fresh,
                      const struct notes *notes, struct pack_export *x, char *digest,
                      char **manifest, struct pesc_error *err)
{
    static const char *const metric_keys[] = {"task", "metric", "value", "n", NULL};
    struct params ps = {0};
    char weights[PATH_CAP], *curve = NULL;
    json_t *training = NULL, *metrics = NULL;
    int rc = -1;
    const char *result = json_string_value(json_object_get(run, "result"));
    if (!result || strchr(result, '/'))
        return FAIL(err, CFG_CRAFT, "%s/run.json: result is missing or not in the folder", dir);
    TRY(path_join(weights, dir, result, err));
    TRY_OR(moe_declare(&ps, &x->moe, x->base.layers, x->base.hidden, err), done);
    TRY_OR(params_alloc(&ps, 0, err), done);
    TRY_OR(params_load(&ps, weights, err), done);
    TRY_OR(read_curve(dir, notes, &curve, err), done);
    training = read_training(run);
    metrics = pick_list(json_object_get(run, "eval"), metric_keys);
    if (!training || !metrics) {
        FAIL(err, MEMORY, "no memory for the manifest");
        goto done;
    }
    x->params = &ps;
    x->training = training;
    x->metrics = json_array_size(metrics) ? metrics : NULL;
    x->curve = curve;
    rc = pack_write(path, x, fresh, notes, digest, manifest, err);
done:
    json_decref(training);
    json_decref(metrics);
    free(curve);
    params_free(&ps);
    return rc;
}

static int export(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    const struct export_opts *o = opts;
    struct notes notes = cli_notes(cli);
    struct pack_export x = {0};
    char path[PATH_CAP], name[97], digest[SHA256_HEX], *manifest = NULL;
    if (argc != 1)
        return FAIL(err, USAGE, "usage: pesc pack export RUN [-o FILE]");
    TRY(path_join(path, argv[0], "run.json", err));
    if (!path_exists(path))
        return FAIL(err, IO_MISSING, "%s: no such file; a run folder is expected", path);
    json_t *run = json_file(path, RUN_MAX, PESC_E_CFG_CRAFT, err);
    if (!run)
        return -1;
    int rc = read_run(argv[0], run, &notes, &x, err);
    if (rc == 0) {
        const char *run_name = json_string_value(json_object_get(run, "name"));
        default_name(run_name ? path_base(run_name) : "", name);
        x.name = o->name ? o->name : name;
        x.version = o->version;
        x.license = o->license;
        x.author = o->author;
        x.bf16 = !strcmp(o->dtype, "bf16");
        int n = o->output ? snprintf(path, sizeof path, "%s", o->output)
                          : snprintf(path, sizeof path, "%s-%s.pescpack", x.name, x.version);
        if (n < 0 || n >= PATH_CAP)
            rc = FAIL(err, USAGE_VALUE, "output: path too long");
    }
    if (rc == 0)
        rc = write_pack(argv[0], run, path, !o->force, &notes, &x, digest, &manifest, err);
    if (rc == 0) {
        pack_record(cli, argv[0], digest, path, manifest);
        fprintf(cli->out, "%s\n", digest);
        fprintf(cli->talk, "exported: %s (%s %s, %s)\n", path, x.name, x.version, o->dtype);
    }
    free(manifest);
    json_decref(run);
    return rc;
}

const struct cmd cmd_pack_export = {
    .name = "export",
    .usage = "RUN [-o FILE] [--name NAME] [--version VERSION] [--license ID]",
    .summary = "writes the adapters of a run as a pack",
    .details =
        "The pack holds the weights, what is needed to check that a base fits, and where the "
        "weights come\nfrom: steps, seed, names and hashes of the data, evaluations, the "
        "loss curve. No paths, no\nhost or user names. The same run gives the same bytes.",
    .opts = export_table,
    .opts_size = sizeof(struct export_opts),
    .defaults = export_defaults,
    .run = export,
};
