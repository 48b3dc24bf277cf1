#include "config.h"
#include "api/resolve.h"

#include "core/hash.h"
#include "core/json.h"
#include "experiments/rundir.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUN_FILE "run.json"

static int is_run(const char *dir)
{
    char path[PATH_CAP];
    return path_join(path, dir, RUN_FILE, NULL) == 0 && path_exists(path);
}

/* A run folder stands for the model it trained. */
static int model_of_run(char *dir, struct pesc_error *err)
{
    json_t *run = rundir_read_run(dir, err);
    if (!run)
        return -1;
    const char *kind = json_string_value(json_object_get(run, "kind"));
    int full = kind && !strcmp(kind, "full");
    json_decref(run);
    if (!full)
        return FAIL(err, MODEL_KIND,
                    "%s is a run that trained adapters: name its model, and the run with --pack",
                    dir);
    char model[PATH_CAP];
    TRY(path_join(model, dir, "model", err));
    if (!path_is_dir(model))
        return FAIL(err, MODEL_KIND, "%s: the run has no finished model", dir);
    strcpy(dir, model);
    return 0;
}

int model_arg_fingerprint(struct model_arg *a, struct pesc_error *err)
{
    if (*a->fingerprint)
        return 0;
    TRY(base_fingerprint(a->base, a->fingerprint, err));
    /* A pack may have given its structure to a dense base: that names none. */
    if (a->is_crafted && *a->craft.fingerprint && strcmp(a->fingerprint, a->craft.fingerprint))
        return FAIL(err, MODEL_BASE, "%s is not the base that %s was crafted from (%s, not %s)",
                    base_dir(a->base), a->dir, a->fingerprint, a->craft.fingerprint);
    return 0;
}

int model_arg_load(struct model_arg *a, const struct pack_arg *p, struct model *m,
                   struct pesc_error *err)
{
    if (a->is_crafted)
        TRY(model_arg_fingerprint(a, err));
    TRY(model_load(m, a->base, a->is_crafted ? a->craft.base_dtype : DT_COUNT, a->craft.seed, err));
    return a->is_crafted ? pack_arg_load(p, m, err) : 0;
}

static int open_base(struct model_arg *a, const char *base_override, const struct notes *notes,
                     struct pesc_error *err)
{
    const char *at = a->dir;
    if (a->is_crafted) {
        TRY(crafted_read(a->dir, &a->craft, err));
        at = base_override ? base_override : a->craft.base;
        if (!path_is_dir(at))
            return FAIL(err, MODEL_BASE,
                        "%s: its base is not at %s; say where it is now with --base DIR", a->dir,
                        at);
    } else if (base_override) {
        return FAIL(err, USAGE, "--base goes with a crafted folder, and %s is none", a->dir);
    }
    TRY(base_open(at, notes, &a->base, err));
    if (a->is_crafted && moe_layers_fit(&a->craft.moe, base_config(a->base)->num_layers) != 0)
        return FAIL(err, CFG_CRAFT, "%s: adapters on layers that its base has not: it has %ld",
                    a->dir, base_config(a->base)->num_layers);
    return 0;
}

int model_arg_open(const char *model, const char *base_override, const struct notes *notes,
                   struct model_arg *a, struct pesc_error *err)
{
    char path[PATH_CAP];
    memset(a, 0, sizeof *a);
    TRY(path_real(a->dir, model, err));
    if (!path_is_dir(a->dir))
        return FAIL(err, MODEL_KIND,
                    "%s is not a folder; a model is a Hugging Face folder or a "
                    "crafted one",
                    model);
    if (is_run(a->dir))
        TRY(model_of_run(a->dir, err));
    a->is_crafted = crafted_is(a->dir);
    TRY_OR(open_base(a, base_override, notes, err), fail);
    TRY_OR(path_join(path, base_dir(a->base), "tokenizer.json", err), fail);
    if (path_exists(path)) {
        TRY_OR(tokenizer_open(base_dir(a->base), notes, &a->tokenizer, err), fail);
        if (tokenizer_size(a->tokenizer) > base_config(a->base)->vocab_size)
            note(notes, "W-CFG-VOCAB", "the tokenizer knows ids up to %ld, the model %ld tokens",
                 tokenizer_size(a->tokenizer) - 1, base_config(a->base)->vocab_size);
    }
    return 0;
fail:
    model_arg_close(a);
    return -1;
}

static int read_vocab_size(const char *dir, long *out, struct pesc_error *err)
{
    char path[PATH_CAP];
    TRY(path_join(path, dir, "config.json", err));
    json_t *config = json_file(path, 1 << 20, PESC_E_CFG_JSON, err);
    if (!config)
        return -1;
    const json_t *v = json_object_get(config, "vocab_size");
    *out = json_is_integer(v) ? (long)json_integer_value(v) : 0;
    json_decref(config);
    return *out >= 1 && *out <= INT_MAX ? 0
                                        : FAIL(err, CFG_VOCAB, "%s: no usable vocab_size", path);
}

int model_tokenizer(const char *model, const struct notes *notes, struct tokenizer **out,
                    long *vocab_size, struct pesc_error *err)
{
    char dir[PATH_CAP], path[PATH_CAP];
    struct crafted c;
    *out = NULL;
    TRY(path_real(dir, model, err));
    if (is_run(dir))
        TRY(model_of_run(dir, err));
    if (crafted_is(dir)) {
        TRY(crafted_read(dir, &c, err));
        strcpy(dir, c.base);
    }
    if (vocab_size)
        TRY(read_vocab_size(dir, vocab_size, err));
    TRY(path_join(path, dir, "tokenizer.json", err));
    if (path_exists(path))
        return tokenizer_open(dir, notes, out, err);
    return vocab_size ? 0 : FAIL(err, IO_MISSING, "%s has no tokenizer.json", dir);
}

void model_arg_close(struct model_arg *a)
{
    base_close(a->base);
    tokenizer_close(a->tokenizer);
    a->base = NULL;
    a->tokenizer = NULL;
}

int model_arg_pack_base(struct model_arg *a, struct pack_base *out, struct pesc_error *err)
{
    const struct model_config *c = base_config(a->base);
    memset(out, 0, sizeof *out);
    TRY(model_arg_fingerprint(a, err));
    char *config = json_canonical(base_config_json(a->base));
    if (!config)
        return FAIL(err, MEMORY, "no memory for the base's configuration");
    int rc = hash_bytes(config, strlen(config), out->config_sha256, err);
    free(config);
    TRY(rc);
    snprintf(out->fingerprint, sizeof out->fingerprint, "%s", a->fingerprint);
    if (a->tokenizer)
        snprintf(out->tokenizer_sha256, sizeof out->tokenizer_sha256, "%s",
                 tokenizer_sha256(a->tokenizer));
    snprintf(out->arch, sizeof out->arch, "%s", c->arch_name);
    /* A base that lies in a crafted folder is just called base: its original's name tells more. */
    const json_t *origin = json_object_get(base_config_json(a->base), "pesc_origin");
    const char *from = json_string_value(json_object_get(origin, "fingerprint"));
    const char *name = json_string_value(json_object_get(origin, "name"));
    if (from && strlen(from) < sizeof out->origin)
        strcpy(out->origin, from);
    if (name && *name)
        snprintf(out->name, sizeof out->name, "%.200s-%s", path_base(name), base_stored(a->base));
    else
        snprintf(out->name, sizeof out->name, "%s", path_base(base_dir(a->base)));
    out->layers = c->num_layers;
    out->hidden = c->hidden_size;
    out->vocab = c->vocab_size;
    return 0;
}

static int same_structure(const struct moe_config *a, const struct moe_config *b)
{
    return a->experts == b->experts && a->top_k == b->top_k && a->dim == b->dim &&
           a->scaling == b->scaling;
}

/* Training and applying with different structure silently changes the function (seeds A11, P2). */
static int adopt(struct model_arg *a, const struct moe_config *moe, const char *what,
                 struct pesc_error *err)
{
    if (a->is_crafted && !same_structure(&a->craft.moe, moe))
        return FAIL(
            err, PK_BASE,
            "%s has %ld experts, top-%ld, dim %ld, scaling %g; %s has %ld, top-%ld, %ld, %g", what,
            moe->experts, moe->top_k, moe->dim, moe->scaling, a->dir, a->craft.moe.experts,
            a->craft.moe.top_k, a->craft.moe.dim, a->craft.moe.scaling);
    if (!a->is_crafted) {
        a->is_crafted = 1;
        a->craft.moe = *moe;
        a->craft.base_dtype = DT_COUNT;
    }
    a->craft.moe.first = moe->first;
    a->craft.moe.layers = moe->layers;
    return 0;
}

static int from_run(const char *dir, struct model_arg *a, struct pack_arg *p,
                    struct pesc_error *err)
{
    json_t *run = rundir_read_run(dir, err);
    if (!run)
        return -1;
    int rc = -1;
    struct moe_config moe;
    const char *uuid = json_string_value(json_object_get(run, "uuid"));
    const char *result = json_string_value(json_object_get(run, "result"));
    const json_t *base = json_object_get(run, "base");
    const char *fp = json_string_value(json_object_get(base, "fingerprint"));
    if (!result || !fp) {
        FAIL(err, CFG_CRAFT, "%s: the run has no finished adapters", dir);
        goto done;
    }
    TRY_OR(crafted_moe_parse(json_object_get(run, "crafted"), dir, &moe, err), done);
    TRY_OR(model_arg_fingerprint(a, err), done);
    if (strcmp(fp, a->fingerprint)) {
        FAIL(err, PK_BASE, "%s was trained on another base (%s)", dir, fp);
        goto done;
    }
    if (moe_layers_fit(&moe, base_config(a->base)->num_layers) != 0) {
        FAIL(err, CFG_CRAFT, "%s: adapters on layers that the base has not", dir);
        goto done;
    }
    TRY_OR(adopt(a, &moe, dir, err), done);
    TRY_OR(path_join(p->weights, dir, result, err), done);
    snprintf(p->run_uuid, sizeof p->run_uuid, "%s", uuid ? uuid : "");
    p->run_step = (long)json_integer_value(json_object_get(run, "steps"));
    rc = 0;
done:
    json_decref(run);
    return rc;
}

static int from_pack(const char *path, int force, struct model_arg *a, const struct notes *notes,
                     struct pack_arg *p, struct pesc_error *err)
{
    struct pack_base base;
    if (path_is_dir(path))
        TRY(pack_open_kept(path, notes, &p->pack, err));
    else
        TRY(pack_open(path, NULL, notes, &p->pack, err));
    TRY(model_arg_pack_base(a, &base, err));
    TRY(pack_check_base(p->pack, &base, force, notes, err));
    TRY(adopt(a, pack_moe(p->pack), path, err));
    const json_t *training = json_object_get(pack_manifest(p->pack), "training");
    const char *run = json_string_value(json_object_get(training, "run"));
    p->run_step = (long)json_integer_value(json_object_get(training, "steps"));
    snprintf(p->run_uuid, sizeof p->run_uuid, "%s", run ? run : "");
    snprintf(p->weights, sizeof p->weights, "%s", pack_weights_path(p->pack));
    return 0;
}

static int is_zstd(const char *path, int *yes, struct pesc_error *err)
{
    unsigned char magic[4] = {0};
    struct stat st;
    int fd = file_open_read(path, &st, err);
    if (fd < 0)
        return -1;
    int rc = st.st_size < 4 ? 0 : file_pread(fd, magic, 4, 0, path, err);
    close(fd);
    *yes = magic[0] == 0x28 && magic[1] == 0xb5 && magic[2] == 0x2f && magic[3] == 0xfd;
    return rc;
}

int pack_arg_open(const char *pack, int force_base, struct model_arg *a, const struct notes *notes,
                  struct pack_arg *p, struct pesc_error *err)
{
    memset(p, 0, sizeof *p);
    int rc, zstd = 0;
    p->moe = a->craft.moe;
    if (!pack)
        return a->is_crafted ? path_join(p->weights, a->dir, CRAFTED_ADAPTERS, err) : 0;
    if (path_is_dir(pack) && is_run(pack)) {
        rc = from_run(pack, a, p, err);
    } else if (path_is_dir(pack) && pack_is_kept(pack)) {
        rc = from_pack(pack, force_base, a, notes, p, err);
    } else if (path_is_dir(pack)) {
        rc = FAIL(err, PK_FORMAT, "%s is no pack, no imported pack and no run", pack);
    } else if ((rc = is_zstd(pack, &zstd, err)) == 0 && !zstd && strlen(pack) > 12 &&
               !strcmp(pack + strlen(pack) - 12, ".safetensors")) {
        if (!a->is_crafted)
            rc = FAIL(err, MODEL_KIND, "plain adapters need a crafted model, which %s is not",
                      a->dir);
        else
            snprintf(p->weights, sizeof p->weights, "%s", pack);
    } else if (rc == 0) {
        rc = from_pack(pack, force_base, a, notes, p, err);
    }
    p->moe = a->craft.moe;
    if (rc != 0)
        pack_arg_close(p);
    return rc;
}

void pack_arg_close(struct pack_arg *p)
{
    pack_close(p->pack);
    p->pack = NULL;
}

int pack_arg_load(const struct pack_arg *p, struct model *m, struct pesc_error *err)
{
    struct params table = {0};
    if (!*p->weights)
        return 0;
    if (p->moe.first == m->moe.first && p->moe.layers == m->moe.layers)
        return params_load(&m->params, p->weights, err);
    int rc = moe_declare(&table, &p->moe, m->c.num_layers, m->c.hidden_size, err);
    if (rc == 0)
        rc = params_load_from(&m->params, &table, p->weights, err);
    params_free(&table);
    return rc;
}

static int has_int8_matrix(const struct model_config *c)
{
    for (enum layer_tensor t = 0; t < LT_COUNT; t++) {
        long rows, cols;
        if (layer_tensor_shape(c, t, &rows, &cols) && cols && linear_int8(rows, cols, 0))
            return 1;
    }
    return 0;
}

int compute_arg(const char *name, const struct model_arg *a, enum compute *out, char *why,
                size_t why_size, struct pesc_error *err)
{
    char found[64];
    int has = gemm_has_bf16(found, sizeof found);
    enum dtype stored = a->is_crafted && a->craft.base_dtype != DT_COUNT ? a->craft.base_dtype
                                                                         : base_dtype(a->base);
    if (!strcmp(name, "f32")) {
        *out = COMPUTE_F32;
        if (why)
            snprintf(why, why_size, "as asked");
    } else if (!strcmp(name, "bf16")) {
        if (!has)
            return FAIL(err, COMPUTE_ISA, "this CPU has no bf16 products (%s); use --compute f32",
                        found);
        *out = COMPUTE_BF16;
        if (why)
            snprintf(why, why_size, "as asked");
    } else if (!strcmp(name, "int8")) {
        const char *others = has ? "bf16 or f32" : "f32";
        if (!gemm_has_int8(found, sizeof found))
            return FAIL(err, COMPUTE_ISA, "this CPU has no int8 products (%s); use --compute %s",
                        found, others);
        *out = COMPUTE_INT8;
        const char *rest = dtype_name(compute_form(COMPUTE_INT8));
        if (why && has_int8_matrix(base_config(a->base)))
            snprintf(why, why_size, "as asked; %s else", rest);
        else if (why)
            snprintf(why, why_size, "as asked, but all matrices are small: all is %s", rest);
    } else {
        int quantised = base_config(a->base)->quant != QUANT_NONE;
        *out = has && (quantised || stored != DT_F32) ? COMPUTE_BF16 : COMPUTE_F32;
        if (why)
            snprintf(why, why_size, "%s; the base is %s", found,
                     quantised ? base_stored(a->base) : dtype_name(stored));
    }
    return 0;
}
