#include "config.h"
#include "model/shards.h"

#include "core/file.h"
#include "core/json.h"

#include <stdlib.h>
#include <string.h>

enum { INDEX_CAP = 16 << 20, MAX_ENTRIES = 1 << 18, MAX_FILES = 512 };
#define INDEX_NAME "model.safetensors.index.json"

static int by_name(const void *a, const void *b)
{
    const struct shard_tensor *x = a, *y = b;
    return strcmp(x->t->name, y->t->name);
}

static int name_to_tensor(const void *key, const void *element)
{
    const struct shard_tensor *s = element;
    return strcmp(key, s->t->name);
}

const struct shard_tensor *shards_find(const struct shards *s, const char *name)
{
    if (s->count == 0)
        return NULL;
    return bsearch(name, s->all, (size_t)s->count, sizeof *s->all, name_to_tensor);
}

static int collect(struct shards *s, const char *dir, struct pesc_error *err)
{
    long total = 0, k = 0;
    for (long i = 0; i < s->n_files; i++)
        total += st_count(s->file[i]);
    s->all = malloc(((size_t)total + 1) * sizeof *s->all);
    if (!s->all)
        return FAIL(err, MEMORY, "%s: no memory for %ld tensors", dir, total);
    for (long i = 0; i < s->n_files; i++)
        for (long j = 0; j < st_count(s->file[i]); j++)
            s->all[k++] = (struct shard_tensor){st_at(s->file[i], j), s->file[i]};
    s->count = total;
    if (total > 1)
        qsort(s->all, (size_t)total, sizeof *s->all, by_name);
    for (long i = 1; i < total; i++)
        if (!strcmp(s->all[i - 1].t->name, s->all[i].t->name))
            return FAIL(err, IDX_DUP, "%s: tensor '%s' lies in %s and in %s", dir,
                        s->all[i].t->name, path_base(st_path(s->all[i - 1].file)),
                        path_base(st_path(s->all[i].file)));
    return 0;
}

static int open_one(struct shards *s, const char *dir, const char *name, const struct notes *notes,
                    struct pesc_error *err)
{
    char path[PATH_CAP];
    TRY(path_join(path, dir, name, err));
    TRY(st_open(path, ST_BASE, notes, &s->file[s->n_files], err));
    s->n_files++;
    return 0;
}

/* What a tree would be built of, counted before it is. */
static long count_entries(const char *text, size_t len)
{
    long n = 0;
    int in_string = 0;
    for (size_t i = 0; i < len; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string)
            n += text[i] == ',' || text[i] == '[' || text[i] == '{';
    }
    return n;
}

static json_t *read_index(const char *path, struct pesc_error *err)
{
    char *text, why[256];
    size_t len;
    enum json_fault fault = JSON_FAULT_SYNTAX;
    struct pesc_error own = {0};
    if (file_read(path, INDEX_CAP, &text, &len, &own) != 0) {
        error_set(err, own.code == PESC_E_LIMIT ? PESC_E_IDX_JSON : (enum pesc_code)own.code, "%s",
                  own.text);
        return NULL;
    }
    if (count_entries(text, len) > MAX_ENTRIES) {
        free(text);
        FAIL(err, IDX_JSON, "%s: more than %d entries", path, MAX_ENTRIES);
        return NULL;
    }
    json_t *root = json_parse(text, len, &fault, why, sizeof why);
    free(text);
    if (!root)
        error_set(err,
                  fault == JSON_FAULT_MEMORY ? PESC_E_MEMORY
                  : fault == JSON_FAULT_DUP  ? PESC_E_IDX_DUP
                  : fault == JSON_FAULT_NUL  ? PESC_E_IDX_PATH
                                             : PESC_E_IDX_JSON,
                  "%s: %s", path, why);
    return root;
}

static int cmp_text(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

/* A file beside the index, nothing else. */
static int check_file_name(const char *path, const char *name, struct pesc_error *err)
{
    size_t n = strlen(name);
    if (n == 0 || n > 255 || name[0] == '.' || strchr(name, '/') || strchr(name, '\\'))
        return FAIL(err, IDX_PATH, "%s: weight_map names '%.200s', which is not a file beside it",
                    path, name);
    return 0;
}

/* The distinct file names of weight_map, sorted; strings belong to the tree. */
static int file_names(const json_t *map, const char *path, const char ***out, size_t *count,
                      struct pesc_error *err)
{
    const char *key;
    json_t *value;
    size_t n = 0, k = 0;
    const char **names = malloc((json_object_size(map) + 1) * sizeof *names);
    if (!names)
        return FAIL(err, MEMORY, "%s: no memory", path);
    json_object_foreach((json_t *)map, key, value)
    {
        if (!json_is_string(value)) {
            free(names);
            return FAIL(err, IDX_JSON, "%s: weight_map: '%.64s' is not a file name", path, key);
        }
        if (check_file_name(path, json_string_value(value), err) != 0) {
            free(names);
            return -1;
        }
        names[n++] = json_string_value(value);
    }
    if (n > 1)
        qsort(names, n, sizeof *names, cmp_text);
    for (size_t i = 0; i < n; i++)
        if (k == 0 || strcmp(names[k - 1], names[i]))
            names[k++] = names[i];
    *out = names;
    *count = k;
    if (k == 0 || k > MAX_FILES) {
        free(names);
        return FAIL(err, IDX_JSON, "%s: weight_map names %zu files, 1 to %d are read", path, k,
                    MAX_FILES);
    }
    return 0;
}

static int open_files(struct shards *s, const char *dir, const char *path, const json_t *map,
                      const struct notes *notes, struct pesc_error *err)
{
    const char **names = NULL;
    size_t count = 0;
    TRY(file_names(map, path, &names, &count, err));
    int rc = 0;
    s->file = calloc(count, sizeof *s->file);
    if (!s->file)
        rc = FAIL(err, MEMORY, "%s: no memory", path);
    for (size_t i = 0; i < count && rc == 0; i++) {
        struct pesc_error own = {0};
        rc = open_one(s, dir, names[i], notes, &own);
        if (rc != 0 && own.code == PESC_E_IO_MISSING)
            FAIL(err, IDX_MISSING, "%s: the shard %s is missing", path, names[i]);
        else if (rc != 0)
            error_set(err, (enum pesc_code)own.code, "%s", own.text);
    }
    free(names);
    return rc;
}

static int check_places(const struct shards *s, const char *path, const json_t *map,
                        struct pesc_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)map, name, value)
    {
        const struct shard_tensor *st = shards_find(s, name);
        const char *listed = json_string_value(value);
        if (!st)
            return FAIL(err, IDX_MISSING, "%s: tensor '%.255s' is not in %s", path, name, listed);
        if (strcmp(path_base(st_path(st->file)), listed))
            return FAIL(err, IDX_MISSING, "%s: tensor '%s' is listed in %s but lies in %s", path,
                        name, listed, path_base(st_path(st->file)));
    }
    return 0;
}

static int open_indexed(struct shards *s, const char *dir, const char *path,
                        const struct notes *notes, struct pesc_error *err)
{
    int rc = -1;
    json_t *root = read_index(path, err);
    if (!root)
        return -1;
    const json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map))
        FAIL(err, IDX_JSON, "%s: weight_map is missing or not an object", path);
    else
        rc = open_files(s, dir, path, map, notes, err);
    if (rc == 0)
        rc = collect(s, dir, err);
    if (rc == 0)
        rc = check_places(s, path, map, err);
    json_decref(root);
    return rc;
}

static int has(const char *dir, const char *name)
{
    char path[PATH_CAP];
    return path_join(path, dir, name, NULL) == 0 && path_exists(path);
}

int shards_open(struct shards *s, const char *dir, const struct notes *notes,
                struct pesc_error *err)
{
    char path[PATH_CAP];
    memset(s, 0, sizeof *s);
    TRY(path_join(path, dir, INDEX_NAME, err));
    if (!has(dir, "model.safetensors") && path_exists(path))
        return open_indexed(s, dir, path, notes, err);
    if (!has(dir, "model.safetensors")) {
        if (has(dir, "pytorch_model.bin") || has(dir, "pytorch_model.bin.index.json"))
            return FAIL(err, MODEL_MISSING,
                        "%s: has only pytorch_model.bin, a pickle, which can run code and is not "
                        "read; convert it to model.safetensors",
                        dir);
        return FAIL(err, IO_MISSING, "%s: no model.safetensors and no " INDEX_NAME, dir);
    }
    s->file = calloc(1, sizeof *s->file);
    if (!s->file)
        return FAIL(err, MEMORY, "%s: no memory", dir);
    TRY(open_one(s, dir, "model.safetensors", notes, err));
    return collect(s, dir, err);
}

void shards_close(struct shards *s)
{
    for (long i = 0; i < s->n_files; i++)
        st_close(s->file[i]);
    free(s->file);
    free(s->all);
    memset(s, 0, sizeof *s);
}
