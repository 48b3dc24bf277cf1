#include "config.h"
#include "train/checkpoint.h"

#include "core/hash.h"
#include "core/json.h"
#include "tensor/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define META_KEY "pesc"
#define SUFFIX ".safetensors"
#define MAX_STEP 9999999999L

enum { STEP_DIGITS = 10, BAD_NAMES = 100, PARTS_MAX = 1 + ADAMW_PARTS_MAX };

/* What the file has of each parameter: its value, and what the optimiser keeps. */
struct parts {
    long n;
    struct adamw_part p[PARTS_MAX];
};

static struct parts parts_of(enum adamw_form form)
{
    const struct adamw_part *kept;
    struct parts x = {.p = {{"param.", 0, 0}}};
    x.n = 1 + adamw_parts(form, &kept);
    memcpy(x.p + 1, kept, (size_t)(x.n - 1) * sizeof *kept);
    return x;
}

/* The tensor of a part; name has ST_NAME_CAP bytes. */
static int part_tensor(struct st_out *t, char *name, const struct adamw_part *part,
                       const struct param *p, struct pesc_error *err)
{
    int n = snprintf(name, ST_NAME_CAP, "%s%s", part->prefix, p->name);
    if (n < 0 || n >= ST_NAME_CAP)
        return FAIL(err, LIMIT, "tensor name too long: %.100s...", name);
    *t = (struct st_out){name, part->is_bytes ? ST_U8 : DT_F32, part->per_block ? 1 : p->ndim, {0}};
    for (int d = 0; d < p->ndim; d++)
        t->shape[d] = p->shape[d];
    if (part->per_block)
        t->shape[0] = (long)adamw_blocks(p);
    return 0;
}

/* --- names of checkpoint files --- */

/* ckpt-0000000042-<64 hex digits>.safetensors; nothing else is ever touched. */
static int parse_name(const char *name, long *step, char sha256[SHA256_HEX])
{
    static const char head[] = "ckpt-";
    size_t len = sizeof head - 1 + STEP_DIGITS + 1 + SHA256_HEX - 1;
    if (strlen(name) != len + sizeof SUFFIX - 1 || strncmp(name, head, sizeof head - 1) ||
        strcmp(name + len, SUFFIX))
        return 0;
    const char *s = name + sizeof head - 1;
    *step = 0;
    for (int i = 0; i < STEP_DIGITS; i++, s++) {
        if (*s < '0' || *s > '9')
            return 0;
        *step = *step * 10 + (*s - '0');
    }
    if (*s++ != '-' || strspn(s, "0123456789abcdef") != SHA256_HEX - 1)
        return 0;
    memcpy(sha256, s, SHA256_HEX - 1);
    sha256[SHA256_HEX - 1] = 0;
    return 1;
}

struct found {
    long step;
    char sha256[SHA256_HEX], name[NAME_MAX + 1];
};

struct listing {
    struct found *v;
    size_t n, cap;
};

static int newest_first(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return x->step != y->step ? (x->step < y->step ? 1 : -1) : strcmp(y->name, x->name);
}

static int listing_add(struct listing *l, const char *name, struct pesc_error *err)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 8;
        struct found *grown = realloc(l->v, cap * sizeof *grown);
        if (!grown)
            return FAIL(err, MEMORY, "no memory to list checkpoints");
        l->v = grown;
        l->cap = cap;
    }
    struct found *f = &l->v[l->n];
    if (parse_name(name, &f->step, f->sha256)) {
        strcpy(f->name, name);
        l->n++;
    }
    return 0;
}

/* The folder's checkpoints, newest first; temporaries are removed if wanted. */
static int list(const char *dir, int clean, struct listing *l, struct pesc_error *err)
{
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : file_fail(err, dir, "open");
    int rc = 0;
    struct dirent *e;
    while (rc == 0 && (errno = 0, e = readdir(d))) {
        if (clean && !strncmp(e->d_name, ".tmp-", 5)) {
            if (unlinkat(dirfd(d), e->d_name, 0) != 0)
                rc = FAIL(err, IO, "%s/%s: cannot remove: %s", dir, e->d_name, strerror(errno));
            continue;
        }
        rc = listing_add(l, e->d_name, err);
    }
    if (rc == 0 && errno != 0)
        rc = file_fail(err, dir, "list");
    closedir(d);
    if (l->n)
        qsort(l->v, l->n, sizeof *l->v, newest_first);
    return rc;
}

/* --- saving --- */

struct save {
    const struct checkpoint *c;
    struct parts parts;
    struct st_out *out;
    char (*names)[ST_NAME_CAP];
};

static int save_fill(void *ctx, long i, const struct st_out *t, void *dst, struct pesc_error *err)
{
    (void)t;
    const struct save *s = ctx;
    const struct checkpoint *c = s->c;
    long part = i % s->parts.n, param = i / s->parts.n;
    const struct param *p = &c->params->p[param];
    if (part > 0)
        return adamw_get(c->adamw, part - 1, param, dst, err);
    memcpy(dst, c->params->value + p->offset, p->n * sizeof(float));
    return 0;
}

static char *meta_text(const struct checkpoint *c, struct pesc_error *err)
{
    json_t *meta = c->meta ? json_copy_whole(c->meta) : json_object();
    char *text = NULL;
    if (json_object_set_new(meta, "step", json_integer(c->step)) == 0)
        text = json_canonical(meta);
    json_decref(meta);
    if (!text)
        FAIL(err, MEMORY, "no memory for a checkpoint's description");
    return text;
}

static int write_file(const char *dir, const struct checkpoint *c, struct save *s,
                      struct checkpoint_file *out, struct pesc_error *err)
{
    char path[PATH_CAP], before[32];
    if (c->step < 0 || c->step > MAX_STEP)
        return FAIL(err, INTERNAL, "checkpoint of step %ld", c->step);
    snprintf(before, sizeof before, "ckpt-%010ld-", c->step);
    long n = c->params->count * s->parts.n;
    for (long i = 0; i < n; i++)
        TRY(part_tensor(&s->out[i], s->names[i], &s->parts.p[i % s->parts.n],
                        &c->params->p[i / s->parts.n], err));
    TRY(path_join(path, dir, "ckpt", err));
    char *meta = meta_text(c, err);
    if (!meta)
        return -1;
    struct afile *f = afile_open(path, err);
    int rc = f ? st_write_to(f, s->out, n, META_KEY, meta, save_fill, s, err) : -1;
    free(meta);
    if (rc != 0) {
        afile_abort(f);
        return rc;
    }
    return afile_commit_hashed(f, before, SUFFIX, out->path, out->sha256, &out->bytes, err);
}

static void prune(const char *dir, int keep, const char *written, const struct notes *notes)
{
    struct listing l = {0};
    struct pesc_error err = {0};
    int kept = 1, removed = 0;
    int rc = list(dir, 0, &l, &err);
    for (size_t i = 0; rc == 0 && i < l.n; i++) {
        char path[PATH_CAP];
        if (!strcmp(l.v[i].name, written) || kept++ < keep)
            continue;
        rc = path_join(path, dir, l.v[i].name, &err);
        if (rc == 0 && unlink(path) != 0)
            rc = FAIL(&err, IO, "%s: cannot remove: %s", path, strerror(errno));
        removed++;
    }
    if (rc == 0 && removed)
        rc = dir_sync(dir, &err);
    if (rc != 0)
        note(notes, "W-CK-PRUNE", "old checkpoints not removed: %s", err.text);
    free(l.v);
}

int checkpoint_save(const char *dir, const struct checkpoint *c, int keep,
                    const struct notes *notes, struct checkpoint_file *out, struct pesc_error *err)
{
    struct checkpoint_file *own = malloc(sizeof *own);
    struct parts parts = parts_of(c->adamw->o.form);
    size_t n = (size_t)(c->params->count * parts.n) + 1;
    struct save s = {c, parts, calloc(n, sizeof *s.out), calloc(n, sizeof *s.names)};
    int rc = -1;
    if (!own || !s.out || !s.names) {
        FAIL(err, MEMORY, "%s: no memory for %zu names", dir, n);
        goto done;
    }
    TRY_OR(write_file(dir, c, &s, own, err), done);
    prune(dir, keep, path_base(own->path), notes);
    if (out)
        *out = *own;
    rc = 0;
done:
    free(own);
    free(s.out);
    free(s.names);
    return rc;
}

/* --- finding --- */

/* 1: the content is what the name says, 0: it is not, -1: cannot be read. */
static int intact(const char *path, const char *sha256, struct pesc_error *err)
{
    char hex[SHA256_HEX];
    if (hash_file(path, hex, NULL, err) != 0)
        return -1;
    return !strcmp(hex, sha256);
}

static int set_aside(const char *dir, const char *path, struct pesc_error *err)
{
    char bad[PATH_CAP + 16];
    for (int i = 0; i < BAD_NAMES; i++) {
        if (i == 0)
            snprintf(bad, sizeof bad, "%s.bad", path);
        else
            snprintf(bad, sizeof bad, "%s.bad.%d", path, i);
        if (renameat2(AT_FDCWD, path, AT_FDCWD, bad, RENAME_NOREPLACE) == 0)
            return dir_sync(dir, err);
        if (errno != EEXIST)
            break;
    }
    return FAIL(err, IO, "%s: cannot rename to .bad: %s", path, strerror(errno));
}

int checkpoint_find(const char *dir, const struct notes *notes, char *path, struct pesc_error *err)
{
    struct listing l = {0};
    int good = 0;
    int rc = list(dir, 1, &l, err);
    for (size_t i = 0; rc == 0 && !good && i < l.n; i++) {
        rc = path_join(path, dir, l.v[i].name, err);
        if (rc != 0)
            break;
        int state = intact(path, l.v[i].sha256, err);
        good = state == 1;
        if (state == 0) {
            note(notes, "E-CK-CORRUPT",
                 "%s: content is not what its name says; set aside as .bad, trying an older one",
                 path);
            rc = set_aside(dir, path, err);
        } else if (state < 0) {
            rc = -1;
        }
    }
    free(l.v);
    if (rc != 0)
        return -1;
    return good ? 0 : FAIL(err, CK_NONE, "%s: no usable checkpoint", dir);
}

/* --- loading --- */

static int same_tensor(const struct st_tensor *t, const struct st_out *want)
{
    if (strcmp(t->stored, st_out_type(want->dtype)) != 0 || t->ndim != want->ndim)
        return 0;
    for (int d = 0; d < t->ndim; d++)
        if (t->shape[d] != want->shape[d])
            return 0;
    return 1;
}

/* Does the file have a parameter's moments in the other form? */
static int other_form(const struct st_file *f, const struct checkpoint *c, const struct param *p)
{
    char name[ST_NAME_CAP];
    struct st_out want;
    struct parts parts = parts_of(c->adamw->o.form == ADAMW_F32 ? ADAMW_8BIT : ADAMW_F32);
    return part_tensor(&want, name, &parts.p[1], p, NULL) == 0 && st_find(f, name);
}

/* Looks at every name and shape before the first value is overwritten. */
static int match(const struct st_file *f, const struct checkpoint *c, const struct parts *parts,
                 const struct st_tensor **t, struct pesc_error *err)
{
    long n = c->params->count * parts->n;
    for (long i = 0; i < n; i++) {
        char name[ST_NAME_CAP];
        struct st_out want;
        const struct param *p = &c->params->p[i / parts->n];
        TRY(part_tensor(&want, name, &parts->p[i % parts->n], p, err));
        t[i] = st_find(f, name);
        if (!t[i] && i % parts->n && other_form(f, c, p))
            return FAIL(err, CK_MISMATCH, "%s: made with another optimiser than %s", st_path(f),
                        adamw_form_name(c->adamw->o.form));
        if (!t[i] || !same_tensor(t[i], &want))
            return FAIL(err, CK_MISMATCH, "%s: %s %s", st_path(f), name,
                        t[i] ? "has another shape or type than the model being trained"
                             : "is missing: made for another set of trained tensors");
    }
    if (st_count(f) != n)
        return FAIL(err, CK_MISMATCH, "%s: %ld tensors, the model being trained has %ld",
                    st_path(f), st_count(f), n);
    return 0;
}

static int read_values(const struct st_file *f, struct checkpoint *c, const struct parts *parts,
                       const struct st_tensor *const *t, struct pesc_error *err)
{
    int rc = 0;
    uint64_t most = 1;
    long n = c->params->count * parts->n;
    for (long i = 0; i < n; i++)
        most = t[i]->bytes > most ? t[i]->bytes : most;
    void *data = malloc(most);
    if (!data)
        return FAIL(err, MEMORY, "%s: no memory for a tensor", st_path(f));
    for (long i = 0; rc == 0 && i < n; i++) {
        long param = i / parts->n, part = i % parts->n;
        if (part == 0) {
            rc = st_read(f, t[i], c->params->value + c->params->p[param].offset, err);
            continue;
        }
        rc = st_read(f, t[i], data, err);
        if (rc == 0)
            rc = adamw_put(c->adamw, part - 1, param, data, err);
    }
    free(data);
    return rc;
}

static int read_meta(const struct st_file *f, json_t **meta, long *step, struct pesc_error *err)
{
    char why[256];
    const char *text = st_metadata(f, META_KEY);
    if (!text)
        return FAIL(err, CK_CORRUPT, "%s: not a checkpoint: no description in it", st_path(f));
    enum json_fault fault;
    *meta = json_parse(text, strlen(text), &fault, why, sizeof why);
    if (!*meta)
        return error_set(err, fault == JSON_FAULT_MEMORY ? PESC_E_MEMORY : PESC_E_CK_CORRUPT,
                         "%s: description: %s", st_path(f), why);
    const json_t *s = json_object_get(*meta, "step");
    if (!json_is_integer(s) || json_integer_value(s) < 0 || json_integer_value(s) > MAX_STEP)
        return FAIL(err, CK_CORRUPT, "%s: description without a step", st_path(f));
    *step = (long)json_integer_value(s);
    return 0;
}

int checkpoint_load(const char *path, struct checkpoint *c, struct pesc_error *err)
{
    char sha256[SHA256_HEX];
    struct parts parts = parts_of(c->adamw->o.form);
    long step = 0, named = 0, n = c->params->count * parts.n;
    int rc = -1;
    struct st_file *f = NULL;
    json_t *meta = NULL;
    if (parse_name(path_base(path), &named, sha256)) {
        int state = intact(path, sha256, err);
        if (state != 1)
            return state < 0 ? -1
                             : FAIL(err, CK_CORRUPT, "%s: content is not what its name says", path);
    }
    const struct st_tensor **t = calloc((size_t)n + 1, sizeof *t);
    if (!t)
        return FAIL(err, MEMORY, "%s: no memory for %ld names", path, n);
    TRY_OR(st_open(path, ST_STATE, NULL, &f, err), done);
    TRY_OR(read_meta(f, &meta, &step, err), done);
    TRY_OR(match(f, c, &parts, t, err), done);
    TRY_OR(read_values(f, c, &parts, t, err), done);
    c->step = step;
    c->meta = json_incref(meta);
    rc = 0;
done:
    json_decref(meta);
    st_close(f);
    free(t);
    return rc;
}

int checkpoint_meta(const char *path, json_t **meta, struct pesc_error *err)
{
    struct st_file *f;
    long step;
    *meta = NULL;
    TRY(st_open(path, ST_STATE, NULL, &f, err));
    int rc = read_meta(f, meta, &step, err);
    st_close(f);
    if (rc != 0) {
        json_decref(*meta);
        *meta = NULL;
    }
    return rc;
}
