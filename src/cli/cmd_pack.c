#include "config.h"
#include "cli/cmd_pack.h"

#include "cli/model_arg.h"

#include "core/file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *shown(char buf[SHOWN_CAP], const char *text)
{
    text_escape(buf, SHOWN_CAP, text ? text : "-");
    return buf;
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static void print_sizes(FILE *f, const struct pack *p, const char *path)
{
    struct stat st;
    size_t i;
    const json_t *o;
    json_int_t total = 0;
    json_array_foreach(json_object_get(pack_manifest(p), "files"), i, o) total +=
        json_integer_value(json_object_get(o, "size"));
    if (stat(path, &st) == 0)
        fprintf(f, "size      %lld bytes packed, %lld unpacked\n", (long long)st.st_size,
                (long long)total);
}

static void print_head(FILE *f, const struct pack *p, const char *path)
{
    char a[SHOWN_CAP], b[SHOWN_CAP];
    const json_t *m = pack_manifest(p);
    const struct pack_base *base = pack_base(p);
    fprintf(f, "digest    %s\n", pack_digest(p));
    fprintf(f, "pack      %s %s\n", shown(a, text_of(m, "name")), shown(b, text_of(m, "version")));
    fprintf(f, "base      %s (%s, %ld layers of %ld)\n", shown(a, base->name), shown(b, base->arch),
            base->layers, base->hidden);
    fprintf(f, "          %s\n", base->fingerprint);
    fprintf(f, "license   %s\n", shown(a, text_of(m, "license")));
    print_sizes(f, p, path);
    fprintf(f, "trust     unsigned%s\n", pack_has_signature(p) ? " (signature not checked)" : "");
}

static const char verdict[] = "integrity verified; behaviour not verified";

static int one_argument(int argc, char **argv, const char *usage, struct pesc_error *err)
{
    if (argc == 1)
        return 0;
    if (argc > 1)
        return FAIL(err, USAGE, "unexpected '%s'; usage: %s", argv[1], usage);
    return FAIL(err, USAGE, "usage: %s", usage);
}

static int verify(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    struct notes notes = cli_notes(cli);
    struct pack *p;
    (void)opts;
    TRY(one_argument(argc, argv, "pesc pack verify PACK", err));
    TRY(pack_open(argv[0], NULL, &notes, &p, err));
    print_head(cli->out, p, argv[0]);
    fprintf(cli->out, "%s\n", verdict);
    pack_close(p);
    return 0;
}

struct inspect_opts {
    int json;
};
static const struct opt inspect_table[] = {
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct inspect_opts, json),
     .help = "the manifest and the digest as one JSON object"},
    {0}};

static int print_json(FILE *f, const struct pack *p, const char *path, struct pesc_error *err)
{
    struct stat st;
    json_t *o = json_pack(
        "{s:s, s:s, s:b, s:s, s:I, s:O}", "digest", pack_digest(p), "trust", "unsigned",
        "signature_present", pack_has_signature(p), "verdict", verdict, "packed_bytes",
        (json_int_t)(stat(path, &st) == 0 ? st.st_size : 0), "manifest", pack_manifest(p));
    char *s = o ? json_written(o, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENSURE_ASCII) : NULL;
    json_decref(o);
    if (!s)
        return FAIL(err, MEMORY, "no memory for the manifest's text");
    fprintf(f, "%s\n", s);
    free(s);
    return 0;
}

/* Lists of objects, a line each: the values of some keys. */
static void print_rows(FILE *f, const json_t *list, const char *title, const char *const keys[4])
{
    size_t i;
    const json_t *o;
    char buf[SHOWN_CAP];
    if (json_array_size(list))
        fprintf(f, "\n%s\n", title);
    json_array_foreach(list, i, o)
    {
        fprintf(f, " ");
        for (int k = 0; k < 4 && keys[k]; k++) {
            const json_t *v = json_object_get(o, keys[k]);
            if (json_is_string(v))
                fprintf(f, " %s", shown(buf, json_string_value(v)));
            else if (json_is_integer(v))
                fprintf(f, " %lld", (long long)json_integer_value(v));
            else if (json_array_size(v) == 2)
                fprintf(f, " [%lld, %lld]", (long long)json_integer_value(json_array_get(v, 0)),
                        (long long)json_integer_value(json_array_get(v, 1)));
        }
        fprintf(f, "\n");
    }
}

static void print_fields(FILE *f, const json_t *o, const char *title)
{
    const char *key;
    json_t *v;
    char a[SHOWN_CAP], b[SHOWN_CAP];
    if (json_object_size(o))
        fprintf(f, "\n%s\n", title);
    json_object_foreach((json_t *)o, key, v)
    {
        if (json_is_string(v))
            fprintf(f, "  %-14s %s\n", shown(a, key), shown(b, json_string_value(v)));
        else if (json_is_integer(v))
            fprintf(f, "  %-14s %lld\n", shown(a, key), (long long)json_integer_value(v));
    }
}

static int inspect(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    static const char *const file_keys[4] = {"name", "size", "sha256"};
    static const char *const tensor_keys[4] = {"name", "dtype", "shape"};
    static const char *const data_keys[4] = {"name", "records", "sha256"};
    static const char *const metric_keys[4] = {"task", "metric", "value", "n"};
    const struct inspect_opts *o = opts;
    struct notes notes = cli_notes(cli);
    struct pack *p;
    TRY(one_argument(argc, argv, "pesc pack inspect PACK [--json]", err));
    TRY(pack_open(argv[0], NULL, &notes, &p, err));
    int rc = 0;
    if (o->json) {
        rc = print_json(cli->out, p, argv[0], err);
    } else {
        char buf[SHOWN_CAP];
        const json_t *m = pack_manifest(p), *training = json_object_get(m, "training");
        print_head(cli->out, p, argv[0]);
        fprintf(cli->out, "created   %s\n", shown(buf, text_of(m, "created")));
        fprintf(cli->out, "author    %s\n", shown(buf, text_of(m, "author")));
        fprintf(cli->out, "template  %s\n",
                shown(buf, text_of(json_object_get(m, "template"), "id")));
        print_fields(cli->out, json_object_get(m, "adapter"), "adapter");
        print_fields(cli->out, training, "training");
        print_rows(cli->out, json_object_get(training, "datasets"), "data", data_keys);
        print_rows(cli->out, json_object_get(m, "metrics"), "evaluation", metric_keys);
        print_rows(cli->out, json_object_get(m, "files"), "files", file_keys);
        print_rows(cli->out, json_object_get(m, "tensors"), "tensors", tensor_keys);
        fprintf(cli->out, "\n%s\n", verdict);
    }
    pack_close(p);
    return rc;
}

struct import_opts {
    const char *store, *model;
    int force_base;
};
static const struct opt import_table[] = {
    {.name = "store",
     .kind = OPT_STRING,
     .offset = offsetof(struct import_opts, store),
     .arg = "DIR",
     .help = "where packs are kept [$XDG_DATA_HOME/pesc/packs]"},
    {.name = "model",
     .kind = OPT_STRING,
     .offset = offsetof(struct import_opts, model),
     .arg = "DIR",
     .help = "refuse the pack unless it was made for this model or base"},
    {.name = "force-base",
     .kind = OPT_FLAG,
     .offset = offsetof(struct import_opts, force_base),
     .help = "with --model: only warn of another base of the same size, or tokenizer"},
    {0}};

static int default_store(char *out, struct pesc_error *err)
{
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (xdg && xdg[0] == '/')
        return path_join(out, xdg, "pesc/packs", err);
    if (home && home[0] == '/')
        return path_join(out, home, ".local/share/pesc/packs", err);
    return FAIL(err, USAGE, "no HOME: say where with --store DIR");
}

static int base_of(const char *model, const struct notes *notes, struct pack_base *out,
                   struct pesc_error *err)
{
    struct model_arg a;
    TRY(model_arg_open(model, NULL, notes, &a, err));
    int rc = model_arg_pack_base(&a, out, err);
    model_arg_close(&a);
    return rc;
}

static void record_import(struct cli *cli, const char *store, const char *digest)
{
    char dir[PATH_CAP], path[PATH_CAP], *text;
    size_t len;
    struct pesc_error err = {0};
    struct notes notes = cli_notes(cli);
    if (path_join(dir, store, digest, &err) != 0 ||
        path_join(path, dir, "manifest.json", &err) != 0 ||
        file_read(path, 1 << 20, &text, &len, &err) != 0) {
        note(&notes, "W-DB", "the import is not in the history: %s", err.text);
        return;
    }
    pack_record(cli, NULL, digest, dir, text);
    free(text);
}

static int import(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    const struct import_opts *o = opts;
    struct notes notes = cli_notes(cli);
    struct pack_base base;
    char store[PATH_CAP], digest[SHA256_HEX];
    TRY(one_argument(argc, argv, "pesc pack import PACK [--store DIR] [--model DIR]", err));
    if (o->force_base && !o->model)
        return FAIL(err, USAGE, "--force-base needs --model");
    if (o->store)
        TRY(path_join(store, ".", o->store, err));
    else
        TRY(default_store(store, err));
    if (o->model)
        TRY(base_of(o->model, &notes, &base, err));
    int rc =
        pack_import(argv[0], store, o->model ? &base : NULL, o->force_base, &notes, digest, err);
    if (rc < 0)
        return -1;
    record_import(cli, store, digest);
    fprintf(cli->out, "%s\n", digest);
    fprintf(cli->talk, "%s %s/%s\n%s\n",
            rc ? "already present:" : "imported:", o->store ? o->store : store, digest, verdict);
    return 0;
}

static const struct cmd cmd_pack_verify = {
    .name = "verify",
    .usage = "PACK",
    .summary = "checks all hashes, tensors and values of a pack",
    .run = verify,
};
static const struct cmd cmd_pack_inspect = {
    .name = "inspect",
    .usage = "PACK [--json]",
    .summary = "verifies a pack and shows what is in it",
    .opts = inspect_table,
    .opts_size = sizeof(struct inspect_opts),
    .run = inspect,
};
static const struct cmd cmd_pack_import = {
    .name = "import",
    .usage = "PACK [--store DIR] [--model DIR]",
    .summary = "verifies a pack and keeps it, unpacked, under its digest",
    .opts = import_table,
    .opts_size = sizeof(struct import_opts),
    .run = import,
};
static const struct cmd *const subs[] = {&cmd_pack_export, &cmd_pack_import, &cmd_pack_inspect,
                                         &cmd_pack_verify, NULL};

const struct cmd cmd_pack = {
    .name = "pack",
    .usage = "COMMAND [ARGUMENTS]",
    .summary = "makes, checks and keeps adapter packs",
    .subs = subs,
};
