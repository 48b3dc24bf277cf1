#include "config.h"
#include "adapters/pack_internal.h"

#include "core/archive.h"
#include "core/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 1 << 16 };

/* A file to be packed: a text in memory, or the weights on disk. */
struct part {
    struct pack_entry entry;
    char *text; /* NULL: the weights */
};
struct job {
    struct part part[4];
    long n;
    char dir[PATH_CAP], weights[PATH_CAP];
    json_t *tensors;
    char *manifest;
    char digest[SHA256_HEX];
};

static int check_params(const struct pack_export *x, struct pesc_error *err)
{
    struct pack_tensor *t;
    long n;
    int rc = 0;
    TRY(pack_tensors(x->base.layers, x->base.hidden, &x->moe, &t, &n, err));
    if (x->params->count != n)
        rc = FAIL(err, PK_CONFIG, "%ld parameters to export, the configuration has %ld",
                  x->params->count, n);
    for (long i = 0; i < n && rc == 0; i++) {
        const struct param *p = params_find(x->params, t[i].name);
        if (!p || p->ndim != 2 || p->shape[0] != t[i].rows || p->shape[1] != t[i].cols)
            rc = FAIL(err, PK_CONFIG, "'%s' [%ld, %ld] is not among the parameters", t[i].name,
                      t[i].rows, t[i].cols);
    }
    free(t);
    return rc;
}

/* Packs travel: a text that is a path of this machine has no place in one. */
static int check_private(const json_t *v, struct pesc_error *err)
{
    const char *key;
    const json_t *sub;
    size_t i;
    const char *s = json_string_value(v);
    if (s && s[0] == '/')
        return FAIL(err, PK_CONFIG, "'%.100s' looks like a path; a pack holds none", s);
    if (json_is_array(v)) {
        json_array_foreach(v, i, sub) TRY(check_private(sub, err));
    } else if (json_is_object(v)) {
        json_object_foreach((json_t *)v, key, sub) TRY(check_private(sub, err));
    }
    return 0;
}

static int add_text(struct job *j, const char *name, char *text, struct pesc_error *err)
{
    struct part *p = &j->part[j->n];
    if (!text)
        return FAIL(err, MEMORY, "no memory for %s", name);
    p->text = text;
    j->n++;
    snprintf(p->entry.name, sizeof p->entry.name, "%s", name);
    p->entry.size = strlen(text);
    if (p->entry.size > PACK_TEXT_MAX)
        return FAIL(err, PK_LIMIT, "%s has %llu bytes, at most %d are packed", name,
                    (unsigned long long)p->entry.size, PACK_TEXT_MAX);
    return hash_bytes(text, p->entry.size, p->entry.sha256, err);
}

static int prepare(struct job *j, const struct pack_export *x, const struct notes *notes,
                   struct pesc_error *err)
{
    TRY(add_text(j, "README.md", pack_card(x), err));
    TRY(add_text(j, "adapter_config.json", pack_adapter_config(x), err));
    struct pack_entry *w = &j->part[j->n].entry;
    TRY(path_join(j->weights, j->dir, PACK_WEIGHTS, err));
    TRY(params_save(x->params, j->weights, x->bf16, PACK_PREFIX, "format", "pt", w->sha256,
                    &w->size, err));
    strcpy(w->name, PACK_WEIGHTS);
    j->n++;
    if (x->curve)
        TRY(add_text(j, "metrics.jsonl", strdup(x->curve), err));
    j->tensors = pack_weights_list(j->weights, x->base.layers, x->base.hidden, &x->moe,
                                   x->bf16 ? DT_BF16 : DT_F32, notes, err);
    if (!j->tensors)
        return -1;
    struct pack_entry entries[4];
    for (long i = 0; i < j->n; i++)
        entries[i] = j->part[i].entry;
    json_t *tree = pack_manifest_build(x, entries, j->n, j->tensors, err);
    if (!tree)
        return -1;
    int rc = check_private(tree, err);
    if (rc == 0 && !(j->manifest = json_canonical(tree)))
        rc = FAIL(err, MEMORY, "no memory for the manifest");
    json_decref(tree);
    if (rc != 0)
        return rc;
    if (strlen(j->manifest) > PACK_TEXT_MAX)
        return FAIL(err, PK_LIMIT, "the manifest has %zu bytes, at most %d are packed",
                    strlen(j->manifest), PACK_TEXT_MAX);
    /* The reader's own rules decide what may be written. */
    struct pack_info info;
    TRY(pack_manifest_parse(j->manifest, strlen(j->manifest), NULL, &info, err));
    memcpy(j->digest, info.digest, sizeof j->digest);
    rc = pack_config_check(j->part[1].text, j->part[1].entry.size, &info, err);
    pack_info_free(&info);
    return rc;
}

static int copy_weights(struct arc_writer *w, const char *path, uint64_t size,
                        struct pesc_error *err)
{
    int fd = file_open_read(path, NULL, err);
    if (fd < 0)
        return -1;
    int rc = -1;
    unsigned char *buf = malloc(CHUNK);
    if (!buf) {
        FAIL(err, MEMORY, "no memory to copy weights");
        goto done;
    }
    for (uint64_t off = 0; off < size;) {
        size_t n = size - off < CHUNK ? (size_t)(size - off) : CHUNK;
        TRY_OR(file_pread(fd, buf, n, off, path, err), done);
        TRY_OR(arc_writer_data(w, buf, n, err), done);
        off += n;
    }
    rc = 0;
done:
    free(buf);
    close(fd);
    return rc;
}

static int put_all(struct arc_writer *w, const struct job *j, struct pesc_error *err)
{
    size_t n = strlen(j->manifest);
    TRY(arc_writer_entry(w, "manifest.json", n, err));
    TRY(arc_writer_data(w, j->manifest, n, err));
    for (long i = 0; i < j->n; i++) {
        const struct part *p = &j->part[i];
        TRY(arc_writer_entry(w, p->entry.name, p->entry.size, err));
        if (p->text)
            TRY(arc_writer_data(w, p->text, p->entry.size, err));
        else
            TRY(copy_weights(w, j->weights, p->entry.size, err));
    }
    return 0;
}

static int put_archive(const char *path, const struct job *j, int fresh, struct pesc_error *err)
{
    struct afile *f = afile_open(path, err);
    if (!f)
        return -1;
    struct arc_writer *w = arc_writer_open(f, ARC_TAR, err);
    if (!w) {
        afile_abort(f);
        return -1;
    }
    int rc = put_all(w, j, err);
    if (rc == 0)
        rc = arc_writer_close(w, err);
    else
        arc_writer_abort(w);
    uint64_t bytes = 0;
    unsigned char seal[PACK_SEAL] = PACK_SEAL_MAGIC;
    if (rc == 0)
        rc = afile_digest(f, seal + PACK_SEAL_HEAD, err);
    if (rc == 0)
        rc = afile_write(f, seal, PACK_SEAL, err);
    if (rc != 0) {
        afile_abort(f);
        return rc;
    }
    return afile_commit(f, fresh, NULL, &bytes, err);
}

int pack_write(const char *path, const struct pack_export *x, int fresh, const struct notes *notes,
               char *digest, char **manifest, struct pesc_error *err)
{
    struct job j = {0};
    int rc = -1;
    if (!x->name || !x->version || !x->created)
        return FAIL(err, INTERNAL, "a pack needs name, version and time");
    if (fresh && path_exists(path))
        return FAIL(err, USAGE_EXISTS, "%s exists already", path);
    TRY(check_params(x, err));
    /* The weights are needed twice, for their hashes and to be packed: they wait beside the pack.
     */
    int len = (int)(path_base(path) - path);
    int n = snprintf(j.dir, sizeof j.dir, "%.*s.pesc-pack-%ld-XXXXXX", len, path, (long)getpid());
    if (n < 0 || n >= PATH_CAP)
        return FAIL(err, IO, "path too long: %.200s...", path);
    if (!mkdtemp(j.dir))
        return FAIL(err, IO, "%s: cannot make a temporary folder: %s", path, strerror(errno));
    rc = prepare(&j, x, notes, err);
    if (rc == 0)
        rc = put_archive(path, &j, fresh, err);
    if (rc == 0 && digest)
        memcpy(digest, j.digest, SHA256_HEX);
    if (dir_remove_all(j.dir, rc == 0 ? err : NULL) != 0)
        rc = -1;
    for (long i = 0; i < j.n; i++)
        free(j.part[i].text);
    json_decref(j.tensors);
    if (manifest)
        *manifest = rc == 0 ? j.manifest : NULL;
    if (!manifest || rc != 0)
        free(j.manifest);
    return rc;
}
