#include "config.h"
#include "datasets/source_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_TOLD = 8 };
static const uint64_t default_limit = (uint64_t)64 << 30;

struct entry *source_add(struct source *s, const char *name, struct pesc_error *err)
{
    if (s->n == ENTRIES) {
        FAIL(err, AR_LIMIT, "%s: more than %d files", s->path, ENTRIES);
        return NULL;
    }
    if (s->n == s->cap) {
        long cap = s->cap ? 2 * s->cap : 16;
        struct entry *grown = realloc(s->v, (size_t)cap * sizeof *grown);
        if (!grown)
            goto fail;
        s->v = grown;
        s->cap = cap;
    }
    char *copy = strdup(name);
    if (!copy)
        goto fail;
    struct entry *e = &s->v[s->n++];
    *e = (struct entry){.name = copy, .kind = name_kind(name, NULL), .part = name_part(name)};
    return e;
fail:
    FAIL(err, MEMORY, "%s: no memory to list it", s->path);
    return NULL;
}

static int is_data(const struct entry *e)
{
    return !e->special && (e->kind == NAME_JSON || e->kind == NAME_CSV || e->kind == NAME_TSV ||
                           e->kind == NAME_TEXT);
}

/* Names of the entries that pick says, for a message. */
static const char *names(const struct source *s, int (*pick)(const struct entry *), char *buf,
                         size_t size)
{
    size_t used = 0;
    long told = 0, all = 0;
    snprintf(buf, size, "none");
    for (long i = 0; i < s->n; i++) {
        if (!pick(&s->v[i]) || all++ >= NAMES_TOLD)
            continue;
        int n = snprintf(buf + used, size - used, "%s%.80s", told++ ? ", " : "", s->v[i].name);
        used += (size_t)n < size - used ? (size_t)n : size - used - 1;
    }
    if (all > told)
        snprintf(buf + used, size - used, " and %ld more", all - told);
    return buf;
}

static int any(const struct entry *e)
{
    (void)e;
    return 1;
}

static int left_out(const struct entry *e)
{
    return !e->chosen && (!is_data(e) || e->part == DATA_PART_ANY);
}

/* The part to read: DATA_PART_ANY is everything. */
static int resolve_part(const struct source *s, enum data_part *out, struct pesc_error *err)
{
    enum data_part want = s->o->part, other = DATA_PART_ANY;
    const char *sep = "";
    char have[64] = "";
    if (want == DATA_PART_ANY || want == DATA_PART_TRAIN)
        want = s->parts ? DATA_PART_TRAIN : DATA_PART_ANY;
    else if (want == DATA_PART_WATCHED || want == DATA_PART_HELD_OUT) {
        other = want == DATA_PART_WATCHED ? DATA_PART_TEST : DATA_PART_VALID;
        want = want == DATA_PART_WATCHED ? DATA_PART_VALID : DATA_PART_TEST;
        if (!s->parts)
            want = DATA_PART_ANY;
        else if (!(s->parts & 1u << want) && (s->parts & 1u << other))
            want = other;
    }
    *out = want;
    if (want == DATA_PART_ANY || (s->parts & 1u << want))
        return 0;
    for (int p = DATA_PART_TRAIN; p <= DATA_PART_TEST; p++)
        if (s->parts & 1u << p) {
            size_t used = strlen(have);
            snprintf(have + used, sizeof have - used, "%s%s", sep,
                     data_part_name((enum data_part)p));
            sep = ", ";
        }
    return FAIL(err, USAGE_VALUE, "%s: no %s%s%s part; there is: %s (--split chooses)", s->path,
                data_part_name(want), other != DATA_PART_ANY ? " or " : "",
                other != DATA_PART_ANY ? data_part_name(other) : "", *have ? have : "no parts");
}

static int choose_member(struct source *s, struct pesc_error *err)
{
    const char *want = s->o->member;
    struct entry *found = NULL;
    long exact = 0, matches = 0;
    char list[NAMES_TOLD * 84 + 32];
    for (long i = 0; i < s->n; i++) {
        const char *name = s->v[i].name;
        size_t n = strlen(name), k = strlen(want);
        int same = !strcmp(name, want);
        if (!same && (exact || n <= k || name[n - k - 1] != '/' || strcmp(name + n - k, want)))
            continue;
        matches = same && !exact ? 1 : matches + 1;
        exact |= same;
        found = &s->v[i];
    }
    if (matches != 1)
        return FAIL(err, AR_MEMBER, "%s: %s member is named '%s'; there is: %s", s->path,
                    matches ? "more than one" : "no", want, names(s, any, list, sizeof list));
    if (found->special)
        return FAIL(err, AR_MEMBER, "%s: '%s' is %s", s->path, found->name, found->special);
    found->chosen = 1;
    return 0;
}

int source_choose(struct source *s, int need_one, struct pesc_error *err)
{
    char list[NAMES_TOLD * 84 + 32];
    long data = 0;
    for (long i = 0; i < s->n; i++) {
        data += is_data(&s->v[i]);
        if (is_data(&s->v[i]) && s->v[i].part != DATA_PART_ANY)
            s->parts |= 1u << s->v[i].part;
    }
    if (s->o->member)
        return choose_member(s, err);
    if (data == 0 && need_one)
        return FAIL(err, AR_MEMBER, "%s: no data in it; members: %s (--member NAME reads one)",
                    s->path, names(s, any, list, sizeof list));
    if (data == 0)
        return FAIL(err, DS_EMPTY, "%s: no data files in this folder; there is: %s", s->path,
                    names(s, any, list, sizeof list));
    if (data > 1 && !s->parts && need_one)
        return FAIL(err, AR_MEMBER,
                    "%s: %ld files of data and no train, valid or test among their names; "
                    "--member NAME reads one: %s",
                    s->path, data, names(s, is_data, list, sizeof list));
    enum data_part want;
    TRY(resolve_part(s, &want, err));
    long left = 0;
    for (long i = 0; i < s->n; i++) {
        s->v[i].chosen = is_data(&s->v[i]) && (want == DATA_PART_ANY || s->v[i].part == want);
        left += left_out(&s->v[i]);
    }
    if (left)
        note(s->notes, "W-DS-IGNORED", "%s: not read: %s", s->path,
             names(s, left_out, list, sizeof list));
    return 0;
}

int source_kind(const struct source *s, const char *path, const char *head, size_t n,
                enum record_kind *out, struct pesc_error *err)
{
    size_t i = n >= 3 && !memcmp(head, "\xef\xbb\xbf", 3) ? 3 : 0;
    enum name_kind kind = name_kind(path, NULL);
    while (i < n && strchr(" \t\r\n", head[i]) && head[i])
        i++;
    char first = i < n ? head[i] : 0;
    size_t next = i + 1;
    while (next < n && strchr(" \t\r\n", head[next]) && head[next])
        next++;
    int object = first == '{' && next < n && (head[next] == '"' || head[next] == '}');
    *out = RECORDS_JSON;
    if (kind == NAME_JSON)
        return 0;
    if (kind == NAME_CSV || kind == NAME_TSV || kind == NAME_TEXT) {
        if (!object)
            *out = kind == NAME_CSV ? RECORDS_CSV : kind == NAME_TSV ? RECORDS_TSV : RECORDS_TEXT;
        else
            note(s->notes, "W-DS-JSON", "%s: JSON lines, whatever its name says", path);
        return 0;
    }
    int utf16 = n >= 2 && (!memcmp(head, "\xff\xfe", 2) || !memcmp(head, "\xfe\xff", 2));
    if (!first || object || first == '[' || first == '{' || utf16)
        return 0; /* empty, or UTF-16: the reader says so */
    return FAIL(err, DS_FORMAT,
                "%s: neither JSON nor JSON lines; CSV and text are known by their names: .csv, "
                ".tsv, .txt",
                path);
}

/* Names of files below a folder; folders first told as what they are. */
static int list_folder(struct source *s, const char *below, int depth, struct pesc_error *err)
{
    char path[PATH_CAP], sub[PATH_CAP];
    TRY(path_join(path, s->path, below, err));
    DIR *d = opendir(*below ? path : s->path);
    struct dirent *e;
    int rc = -1;
    if (!d)
        return file_fail(err, path, "read the folder");
    for (errno = 0; (e = readdir(d)); errno = 0) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (*below)
            TRY_OR(path_join(sub, below, e->d_name, err), done);
        else
            snprintf(sub, sizeof sub, "%s", e->d_name);
        TRY_OR(path_join(path, s->path, sub, err), done);
        int is_link = lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
        if (stat(path, &st) != 0)
            st.st_mode = 0;
        int hidden = name_kind(sub, NULL) == NAME_IGNORED;
        if (S_ISDIR(st.st_mode) && !is_link && !hidden && depth < DEPTH) {
            TRY_OR(list_folder(s, sub, depth + 1, err), done);
            continue;
        }
        struct entry *added = source_add(s, sub, err);
        if (!added)
            goto done;
        if (S_ISDIR(st.st_mode)) /* a link to a folder may lead round in circles */
            added->special = "a folder";
        else if (!S_ISREG(st.st_mode))
            added->special = "no regular file";
    }
    rc = errno == 0 ? 0 : file_fail(err, path, "read the folder");
done:
    closedir(d);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int open_any(struct source *s, struct pesc_error *err)
{
    if (path_is_dir(s->path)) {
        s->shape = SHAPE_FOLDER;
        if (s->o->member)
            return FAIL(err, USAGE_VALUE, "%s: a folder; --member is for archives", s->path);
        TRY(list_folder(s, "", 1, err));
        if (s->n)
            qsort(s->v, (size_t)s->n, sizeof *s->v, by_name);
        return source_choose(s, 0, err);
    }
    s->stored = stored_open(s->path, s->limit, err);
    if (!s->stored)
        return -1;
    if (stored_kind(s->stored) != STORED_PLAIN) {
        s->shape = SHAPE_ARCHIVE;
        TRY(archive_list(s, err));
        return source_choose(s, 1, err);
    }
    if (s->o->member)
        return FAIL(err, USAGE_VALUE, "%s: no archive, so --member has no meaning", s->path);
    enum data_part want;
    return resolve_part(s, &want, err);
}

struct source *source_open(const char *path, const struct dataset_options *o,
                           const struct notes *notes, struct pesc_error *err)
{
    if (strlen(path) >= PATH_CAP) {
        FAIL(err, IO, "path too long: %.200s...", path);
        return NULL;
    }
    struct source *s = calloc(1, sizeof *s);
    if (!s) {
        FAIL(err, MEMORY, "%s: no memory", path);
        return NULL;
    }
    strcpy(s->path, path);
    s->o = o;
    s->notes = notes;
    s->limit = o->max_unpacked ? o->max_unpacked : default_limit;
    if (open_any(s, err) != 0) {
        source_close(s);
        return NULL;
    }
    return s;
}

unsigned source_parts(const struct source *s)
{
    return s->parts;
}

const char *source_archive_sha256(const struct source *s)
{
    return s->archive_sha256;
}

/* The stored file, which is open, as an input. */
static int as_input(struct source *s, const char *path, struct input *in, struct pesc_error *err)
{
    size_t n;
    const char *head = stored_head(s->stored, &n);
    snprintf(in->path, sizeof in->path, "%s", path);
    name_plain(path, in->name, sizeof in->name);
    in->bytes = stored_source(s->stored);
    TRY(source_kind(s, path, head, n, &in->kind, err));
    return 1;
}

static int folder_next(struct source *s, struct input *in, struct pesc_error *err)
{
    char path[PATH_CAP];
    while (s->at < s->n && !s->v[s->at].chosen)
        s->at++;
    if (s->at == s->n)
        return 0;
    TRY(path_join(path, s->path, s->v[s->at++].name, err));
    s->stored = stored_open(path, s->limit, err);
    if (!s->stored)
        return -1;
    if (stored_kind(s->stored) != STORED_PLAIN)
        return FAIL(err, AR_FORMAT, "%s: an archive in a folder is not opened; name it itself",
                    path);
    return as_input(s, path, in, err);
}

int source_next(struct source *s, struct input *in, struct pesc_error *err)
{
    if (s->shape == SHAPE_ARCHIVE)
        return archive_next(s, in, err);
    if (s->shape == SHAPE_FOLDER)
        return folder_next(s, in, err);
    return s->at++ ? 0 : as_input(s, s->path, in, err);
}

int source_end(struct source *s, char *sha256, uint64_t *bytes, struct pesc_error *err)
{
    if (s->shape == SHAPE_ARCHIVE)
        return archive_member_end(s, sha256, bytes, err);
    TRY(stored_end(s->stored, sha256, bytes, err));
    stored_close(s->stored);
    s->stored = NULL;
    return 0;
}

void source_close(struct source *s)
{
    if (!s)
        return;
    arc_reader_close(s->arc);
    stored_close(s->stored);
    hash_free(s->hash);
    for (long i = 0; i < s->n; i++)
        free(s->v[i].name);
    free(s->v);
    free(s);
}
