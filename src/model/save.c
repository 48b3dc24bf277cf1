#include "config.h"
#include "model/save.h"

#include "core/file.h"
#include "core/json.h"
#include "model/tensors.h"

#include <fcntl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 64 << 10 };

static const char *const copied[] = {
    "tokenizer.json",     "tokenizer_config.json",
    "tokenizer.model",    "special_tokens_map.json",
    "added_tokens.json",  "vocab.json",
    "merges.txt",         "chat_template.jinja",
    "chat_template.json", "generation_config.json",
};

struct saving {
    const struct base *like;
    const float *(*get)(void *ctx, const char *name);
    void *ctx;
    enum dtype dtype;
    long n;
    struct st_out *out;
    struct model_tensor *t; /* by the config's names; out has the stored ones */
};

int base_copy_file(const char *from_dir, const char *to_dir, const char *name,
                   struct pesc_error *err)
{
    char from[PATH_CAP], to[PATH_CAP], chunk[CHUNK];
    struct stat st;
    TRY(path_join(from, from_dir, name, err));
    TRY(path_join(to, to_dir, name, err));
    if (!path_exists(from))
        return 0;
    int fd = file_open_read(from, &st, err);
    if (fd < 0)
        return -1;
    struct afile *f = afile_open(to, err);
    int rc = f ? 0 : -1;
    for (uint64_t at = 0, size = (uint64_t)st.st_size; rc == 0 && at < size;) {
        size_t now = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        rc = file_pread(fd, chunk, now, at, from, err);
        if (rc == 0)
            rc = afile_write(f, chunk, now, err);
        at += now;
    }
    close(fd);
    if (rc == 0)
        return afile_commit(f, 1, NULL, NULL, err);
    afile_abort(f);
    return rc;
}

int base_copy_others(const struct base *b, const char *to_dir, struct pesc_error *err)
{
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        TRY(base_copy_file(base_dir(b), to_dir, copied[i], err));
    return 0;
}

int base_write_config(const char *dir, json_t *json, struct pesc_error *err)
{
    char path[PATH_CAP];
    char *text = json ? json_written(json, JSON_INDENT(2)) : NULL;
    json_decref(json);
    if (!text)
        return FAIL(err, MEMORY, "%s: no memory for its config", dir);
    size_t len = strlen(text);
    text[len] = '\n'; /* in place of the zero, which is not written */
    int rc = path_join(path, dir, "config.json", err);
    if (rc == 0)
        rc = file_write(path, text, len + 1, err);
    free(text);
    return rc;
}

static int write_config(const struct saving *s, const char *dir, struct pesc_error *err)
{
    static const char *const torch_name[DT_COUNT] = {
        [DT_F32] = "float32", [DT_BF16] = "bfloat16", [DT_F16] = "float16"};
    json_t *json = json_copy_deep(base_config_json(s->like));
    /* Newer folders say dtype, older torch_dtype. */
    const char *key = json_object_get(json, "dtype") ? "dtype" : "torch_dtype";
    int rc = json_object_set_new(json, key, json_string(torch_name[s->dtype]));
    if (rc == 0 && json_object_get(json, "torch_dtype"))
        rc = json_object_set_new(json, "torch_dtype", json_string(torch_name[s->dtype]));
    if (rc == 0)
        return base_write_config(dir, json, err);
    json_decref(json);
    return FAIL(err, MEMORY, "%s: no memory for its config", dir);
}

static int plan(struct saving *s, struct pesc_error *err)
{
    const struct model_config *c = base_config(s->like);
    long slots = model_tensor_slots(c);
    s->out = calloc((size_t)slots, sizeof *s->out);
    s->t = calloc((size_t)slots, sizeof *s->t);
    if (!s->out || !s->t)
        return FAIL(err, MEMORY, "%s: no memory for %ld tensors", base_dir(s->like), slots);
    for (long i = 0; i < slots; i++) {
        struct model_tensor *t = &s->t[s->n];
        if (!model_tensor_at(c, i, t))
            continue;
        const struct st_tensor *stored = base_tensor(s->like, t->name);
        struct st_out *o = &s->out[s->n++];
        o->name = stored->name;
        o->dtype = s->dtype;
        o->ndim = stored->ndim;
        memcpy(o->shape, stored->shape, sizeof o->shape);
    }
    return 0;
}

static int fill(void *ctx, long i, const struct st_out *t, void *dst, struct pesc_error *err)
{
    const struct saving *s = ctx;
    const float *values = s->get(s->ctx, s->t[i].name);
    if (!values)
        return FAIL(err, INTERNAL, "no values for the tensor '%s'", s->t[i].name);
    size_t n = 1;
    for (int d = 0; d < t->ndim; d++)
        n *= (size_t)t->shape[d];
    dtype_from_f32(dst, values, t->dtype, n);
    return 0;
}

static int write_folder(struct saving *s, const char *dir, struct pesc_error *err)
{
    char path[PATH_CAP];
    TRY(write_config(s, dir, err));
    TRY(base_copy_others(s->like, dir, err));
    TRY(path_join(path, dir, "model.safetensors", err));
    return st_write(path, s->out, s->n, "format", "pt", fill, s, 1, NULL, NULL, err);
}

/* The folder gets its name, and the name is on the disk when this returns. */
static int publish(const char *tmp, const char *dir, struct pesc_error *err)
{
    if (renameat2(AT_FDCWD, tmp, AT_FDCWD, dir, RENAME_NOREPLACE) != 0)
        return errno == EEXIST || errno == ENOTEMPTY
                   ? FAIL(err, USAGE_EXISTS, "%s exists already", dir)
                   : FAIL(err, IO, "%s: cannot name: %s", dir, strerror(errno));
    char parent[PATH_CAP];
    snprintf(parent, sizeof parent, "%.*s", (int)(path_base(dir) - dir), dir);
    int fd = open(*parent ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0
                 ? FAIL(err, IO, "%s: cannot flush its folder: %s", dir, strerror(errno))
                 : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

int base_save(const char *dir, const struct base *like,
              const float *(*get)(void *ctx, const char *name), void *ctx, enum dtype dtype,
              struct pesc_error *err)
{
    struct saving s = {like, get, ctx, dtype, 0, NULL, NULL};
    char name[PATH_CAP], tmp[PATH_CAP];
    int len = snprintf(name, sizeof name, "%s", dir);
    while (len > 1 && len < PATH_CAP && name[len - 1] == '/')
        name[--len] = 0;
    int n = snprintf(tmp, sizeof tmp, "%s.tmp-%ld", name, (long)getpid());
    if (len >= PATH_CAP || n >= PATH_CAP)
        return FAIL(err, IO, "path too long: %.200s...", dir);
    if (path_exists(name))
        return FAIL(err, USAGE_EXISTS, "%s exists already", name);
    TRY(dir_remove_all(tmp, err)); /* left by an earlier process of the same number */
    TRY(dir_make(tmp, err));
    int rc = plan(&s, err);
    if (rc == 0)
        rc = write_folder(&s, tmp, err);
    if (rc == 0)
        rc = publish(tmp, name, err);
    if (rc != 0 && dir_remove_all(tmp, NULL) != 0)
        rc = -1; /* the first error is the one to tell */
    free(s.out);
    free(s.t);
    return rc;
}
