#include "config.h"
#include "datasets/tasks_internal.h"

#include "core/hash.h"
#include "datasets/naming.h"
#include "datasets/records.h"
#include "datasets/source.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BLOCK = 1 << 20, TEXT_BYTES = 1 << 30 };

struct task_text {
    struct task_text *next;
    size_t n, cap;
    max_align_t p[];
};

static const struct {
    const char *name;
    enum task_kind kind;
} formats[] = {
#define PESC_X(id, name, kind) {name, kind},
    TASK_FORMATS(PESC_X)
#undef PESC_X
};

const char *task_format_name(enum task_format f)
{
    return f < TASK_FORMAT_COUNT ? formats[f].name : "unknown";
}

enum task_format task_format_from_name(const char *name)
{
    int f = 0;
    while (f < TASK_FORMAT_COUNT && strcmp(formats[f].name, name))
        f++;
    return (enum task_format)f;
}

enum task_kind task_kind_of(enum task_format f)
{
    return f < TASK_FORMAT_COUNT ? formats[f].kind : SCORE_TEXT;
}

const char *task_kind_name(enum task_kind k)
{
    switch (k) {
    case SCORE_TEXT:
        return "perplexity";
    case SCORE_GENERATED:
        return "exact match";
    case SCORE_CHOICE:
        return "multiple choice";
    }
    return "unknown";
}

static void *room(struct task *t, size_t n, struct pesc_error *err)
{
    struct task_text *b = t->texts;
    n = (n + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    t->bytes += n;
    if (t->bytes > TEXT_BYTES) {
        FAIL(err, LIMIT, "%s: more than a GiB of tasks; --limit N takes fewer", t->path);
        return NULL;
    }
    if (!b || b->cap - b->n < n) {
        size_t cap = n > TEXT_BLOCK ? n : TEXT_BLOCK;
        b = malloc(sizeof *b + cap);
        if (!b) {
            FAIL(err, MEMORY, "%s: no memory for tasks", t->path);
            return NULL;
        }
        *b = (struct task_text){.next = t->texts, .cap = cap};
        t->texts = b;
    }
    void *p = (char *)b->p + b->n;
    b->n += n;
    return p;
}

const char *task_keep(struct task *t, const char *text, size_t n, struct pesc_error *err)
{
    char *p = room(t, n + 1, err);
    if (p) {
        memcpy(p, text, n);
        p[n] = 0;
    }
    return p;
}

const char *task_printed(struct task *t, struct pesc_error *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n >= 0 ? room(t, (size_t)n + 1, err) : NULL;
    if (p) {
        va_start(ap, fmt);
        vsnprintf(p, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    return p;
}

const char **task_list(struct task *t, long n, struct pesc_error *err)
{
    return room(t, (size_t)n * sizeof(char *), err);
}

static int domain_of(struct task *t, const char *name, struct pesc_error *err)
{
    /* from the last: those of one file stand together */
    for (long i = t->n_domains; i-- > 0;)
        if (!strcmp(t->domains[i], name))
            return (int)i;
    const char **grown = realloc(t->domains, (size_t)(t->n_domains + 1) * sizeof *grown);
    if (!grown)
        return FAIL(err, MEMORY, "%s: no memory for domains", t->path);
    t->domains = grown;
    t->domains[t->n_domains] = task_keep(t, name, strlen(name), err);
    return t->domains[t->n_domains] ? (int)t->n_domains++ : -1;
}

struct task_reading {
    struct task *t;
    const struct task_options *o;
    const struct input *in;
    char domain[256]; /* of the file */
    json_t *header;   /* of a file of rows, when it has one */
    long records;     /* of this file */
    enum task_format format;
};

static int add_item(struct task_reading *r, const json_t *record, long line, const char *where,
                    struct pesc_error *err)
{
    static const char *const names[] = {"domain", "subject", "category"};
    struct task *t = r->t;
    if (t->n == t->cap) {
        long cap = t->cap ? 2 * t->cap : 256;
        struct task_item *grown = realloc(t->items, (size_t)cap * sizeof *grown);
        if (!grown)
            return FAIL(err, MEMORY, "%s: no memory for %ld items", t->path, cap);
        t->items = grown;
        t->cap = cap;
    }
    struct task_item *it = &t->items[t->n];
    *it = (struct task_item){.line = line};
    TRY(task_read(t, record, where, it, err));
    const char *domain = r->o->domain ? r->o->domain : r->domain;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *v = json_object_get(record, names[i]);
        if (!v || json_is_null(v))
            continue;
        if (!json_is_string(v))
            return FAIL(err, DS_FIELD, "%s: '%s' is not a string", where, names[i]);
        if (!*json_string_value(v))
            continue;
        domain = json_string_value(v);
        break;
    }
    it->domain = domain_of(t, domain, err);
    TRY(it->domain < 0 ? -1 : 0);
    t->n++;
    return 0;
}

/* The file's format, once: as asked, as its head says, or as its first record is. */
static int settle(struct task_reading *r, const json_t *record, const char *where,
                  struct pesc_error *err)
{
    struct task *t = r->t;
    if (r->format != TASK_FORMAT_COUNT)
        return 0;
    TRY(task_detect(record, where, &r->format, err));
    t->texts_only = r->format == TASK_PERPLEXITY;
    return t->n == 0 || task_kind_of(r->format) == task_kind_of(t->format)
               ? 0
               : FAIL(err, DS_FORMAT,
                      "%s: %s, where what came before is for %s; each --task is "
                      "of one kind",
                      where, task_kind_name(task_kind_of(r->format)),
                      task_kind_name(task_kind_of(t->format)));
}

static int take_object(struct task_reading *r, const json_t *v, long line, const char *where,
                       struct pesc_error *err)
{
    const json_t *head = json_object_get(v, "task");
    if (r->records == 1 && json_object_size(v) == 1 && json_is_object(head)) {
        enum task_format said;
        TRY(task_read_head(r->t, head, where, &said, err));
        if (r->format == TASK_FORMAT_COUNT)
            r->format = said;
        return 0;
    }
    TRY(settle(r, v, where, err));
    r->t->format = r->format;
    return add_item(r, v, line, where, err);
}

static int take_row(struct task_reading *r, const json_t *row, long line, const char *where,
                    struct pesc_error *err)
{
    if (r->records == 1 && !task_row_is_item(row)) {
        r->header = json_copy_whole(row);
        return r->header ? 0 : FAIL(err, MEMORY, "%s: no memory", where);
    }
    json_t *v = task_row(r->header, row, where, err);
    if (!v)
        return -1;
    int rc = settle(r, v, where, err);
    if (rc == 0) {
        r->t->format = r->format;
        rc = add_item(r, v, line, where, err);
    }
    json_decref(v);
    return rc;
}

static int read_all(struct task_reading *r, struct records *from, struct pesc_error *err)
{
    struct record rec;
    int got = 1;
    while ((!r->o->limit || r->t->n < r->o->limit) && (got = records_next(from, &rec, err)) == 1) {
        char where[PATH_CAP + 64];
        snprintf(where, sizeof where, "%s, line %ld", r->in->path, rec.line);
        json_t *v = record_parse(&rec, r->in->path, err);
        if (!v)
            return -1;
        r->records++;
        int rc;
        if (r->in->kind == RECORDS_JSON)
            rc = take_object(r, v, rec.line, where, err);
        else
            rc = take_row(r, v, rec.line, where, err);
        json_decref(v);
        TRY(rc);
    }
    return got < 0 ? -1 : 0;
}

static void name_without_ending(const char *path, char *out, size_t size)
{
    name_plain(path, out, size);
    char *dot = strrchr(out, '.');
    enum name_kind kind = name_kind(out, NULL);
    if (dot && dot != out && kind != NAME_OTHER && kind != NAME_IGNORED)
        *dot = 0;
    dot = strrchr(out, '.'); /* .tar.gz and the like */
    if (dot && dot != out && !strcmp(dot, ".tar"))
        *dot = 0;
}

static int add_digest(struct task *t, const char *digest, struct pesc_error *err)
{
    char both[2 * SHA256_HEX];
    if (!*t->sha256) {
        memcpy(t->sha256, digest, SHA256_HEX);
        return 0;
    }
    snprintf(both, sizeof both, "%s%s", t->sha256, digest);
    return hash_bytes(both, strlen(both), t->sha256, err);
}

static int read_file(struct task *t, const struct task_options *o, struct source *from,
                     const struct input *in, struct pesc_error *err)
{
    struct task_reading r = {.t = t, .o = o, .in = in, .format = o->format};
    char digest[SHA256_HEX];
    uint64_t bytes;
    long before = t->n;
    int rc = -1;
    if (in->kind == RECORDS_TEXT)
        return FAIL(err, DS_FORMAT, "%s: a task is JSON or CSV; plain text is for --data",
                    in->path);
    name_without_ending(in->name, r.domain, sizeof r.domain);
    struct records *records = records_open(&in->bytes, in->path, in->kind, err);
    if (!records)
        return -1;
    records_as_arrays(records);
    TRY_OR(read_all(&r, records, err), done);
    if (t->n == before) {
        FAIL(err, DS_EMPTY, "%s: no items", in->path);
        goto done;
    }
    TRY_OR(source_end(from, digest, &bytes, err), done);
    rc = add_digest(t, digest, err);
done:
    json_decref(r.header);
    records_close(records);
    return rc;
}

static int read_path(struct task *t, const struct task_options *o, const struct notes *notes,
                     struct pesc_error *err)
{
    const struct dataset_options d = {
        .part = o->part, .member = o->member, .max_unpacked = o->max_unpacked};
    struct input in;
    struct source *from = source_open(t->path, &d, notes, err);
    int got = -1;
    if (!from)
        return -1;
    while ((!o->limit || t->n < o->limit) && (got = source_next(from, &in, err)) == 1)
        TRY_OR(read_file(t, o, from, &in, err), fail);
    source_close(from);
    return got < 0 ? -1 : 0;
fail:
    source_close(from);
    return -1;
}

int task_open(const char *path, const struct task_options *o, const struct notes *notes,
              struct task **out, struct pesc_error *err)
{
    char base[PATH_CAP];
    struct task *t = calloc(1, sizeof *t);
    if (!t)
        return FAIL(err, MEMORY, "%s: no memory", path);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    int rc = n < PATH_CAP ? 0 : FAIL(err, IO, "path too long: %.200s...", path);
    if (rc == 0) {
        memcpy(t->path, path, n);
        snprintf(base, sizeof base, "%.*s", (int)n, path);
        name_without_ending(base, t->name, sizeof t->name);
        rc = read_path(t, o, notes, err);
    }
    if (rc != 0) {
        task_close(t);
        return -1;
    }
    *out = t;
    return 0;
}

void task_close(struct task *t)
{
    if (!t)
        return;
    for (struct task_text *b = t->texts, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(t->items);
    free(t->domains);
    free(t);
}
