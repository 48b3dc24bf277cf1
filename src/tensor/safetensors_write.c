#include "config.h"
#include "tensor/safetensors.h"

#include "core/file.h"
#include "tensor/st_header.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct slot {
    const struct st_out *t;
    long i; /* the caller's number */
    size_t bytes;
};

static size_t out_size(enum dtype d)
{
    return d == ST_I8 || d == ST_U8 ? 1 : dtype_size(d);
}

const char *st_out_type(enum dtype d)
{
    return d == ST_I8 ? "I8" : d == ST_U8 ? "U8" : dtype_st_name(d);
}

/* F32 before BF16 before F16 before I8 before U8, as the reference writer has them. */
static int by_type(const void *a, const void *b)
{
    const struct slot *x = a, *y = b;
    if (x->t->dtype != y->t->dtype)
        return x->t->dtype < y->t->dtype ? -1 : 1;
    return strcmp(x->t->name, y->t->name);
}

static int by_name(const void *a, const void *b)
{
    const struct slot *x = a, *y = b;
    return strcmp(x->t->name, y->t->name);
}

static struct slot *plan(const char *path, const struct st_out *t, long n, struct pesc_error *err)
{
    struct slot *s = calloc((size_t)n + 1, sizeof *s);
    if (!s) {
        FAIL(err, MEMORY, "%s: no memory", path);
        return NULL;
    }
    for (long i = 0; i < n; i++) {
        size_t bytes = out_size(t[i].dtype);
        if (st_name_check(t[i].name, path, err) != 0)
            goto fail;
        if (bytes == 0 || t[i].ndim < 0 || t[i].ndim > ST_MAX_DIM) {
            FAIL(err, INTERNAL, "%s: tensor '%s' cannot be written", path, t[i].name);
            goto fail;
        }
        for (int d = 0; d < t[i].ndim; d++)
            if (t[i].shape[d] < 0 || __builtin_mul_overflow(bytes, (size_t)t[i].shape[d], &bytes) ||
                bytes > (size_t)1 << 53) {
                FAIL(err, ST_OVERFLOW, "%s: tensor '%s' is too large", path, t[i].name);
                goto fail;
            }
        s[i] = (struct slot){&t[i], i, bytes};
    }
    qsort(s, (size_t)n, sizeof *s, by_name);
    for (long i = 1; i < n; i++)
        if (!strcmp(s[i - 1].t->name, s[i].t->name)) {
            FAIL(err, ST_DUP, "%s: tensor '%s' stands twice", path, s[i].t->name);
            goto fail;
        }
    qsort(s, (size_t)n, sizeof *s, by_type);
    return s;
fail:
    free(s);
    return NULL;
}

static void put_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static void put_header(FILE *out, const struct slot *s, long n, const char *meta_key,
                       const char *meta_value)
{
    uint64_t at = 0;
    fputc('{', out);
    if (meta_key) {
        fputs("\"__metadata__\":{", out);
        put_string(out, meta_key);
        fputc(':', out);
        put_string(out, meta_value);
        fputs(n ? "}," : "}", out);
    }
    for (long i = 0; i < n; i++) {
        const struct st_out *t = s[i].t;
        put_string(out, t->name);
        fprintf(out, ":{\"dtype\":\"%s\",\"shape\":[", st_out_type(t->dtype));
        for (int d = 0; d < t->ndim; d++)
            fprintf(out, "%s%ld", d ? "," : "", t->shape[d]);
        fprintf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}%s", at, at + s[i].bytes,
                i + 1 < n ? "," : "");
        at += s[i].bytes;
    }
    fputc('}', out);
    for (long pos = ftell(out); pos % 8; pos++)
        fputc(' ', out);
}

/* The header behind its length, ready to be written. */
static char *header_text(const char *path, const struct slot *s, long n, const char *meta_key,
                         const char *meta_value, size_t *len, struct pesc_error *err)
{
    char *text = NULL;
    errno = 0;
    FILE *out = open_memstream(&text, len);
    if (out) {
        fwrite("\0\0\0\0\0\0\0", 1, 8, out);
        put_header(out, s, n, meta_key, meta_value);
    }
    int failed = !out || ferror(out);
    /* What there is no room for is left out, and only errno tells. */
    if ((out && fclose(out) != 0) || failed || errno == ENOMEM || !text) {
        FAIL(err, MEMORY, "%s: no memory for the header", path);
        free(text);
        return NULL;
    }
    uint64_t body = *len - 8;
    for (int i = 0; i < 8; i++)
        text[i] = (char)(body >> 8 * i & 0xff);
    return text;
}

/* Where the bytes come from: one of the two. */
struct source {
    st_fill fill;
    st_pour pour;
    void *ctx;
};

struct st_sink {
    struct afile *f;
    uint64_t left; /* of the tensor */
};

int st_put(struct st_sink *to, const void *data, size_t n, struct pesc_error *err)
{
    if (n > to->left)
        return FAIL(err, INTERNAL, "%s: more bytes than the tensor has", afile_path(to->f));
    to->left -= n;
    return afile_write(to->f, data, n, err);
}

static int write_one(struct afile *f, const struct slot *s, const struct source *from, void *data,
                     struct pesc_error *err)
{
    struct st_sink to = {f, s->bytes};
    if (from->fill) {
        TRY(from->fill(from->ctx, s->i, s->t, data, err));
        return afile_write(f, data, s->bytes, err);
    }
    TRY(from->pour(from->ctx, s->i, s->t, &to, err));
    return to.left == 0
               ? 0
               : FAIL(err, INTERNAL, "%s: tensor '%s' is not complete", afile_path(f), s->t->name);
}

/* Writes all of it into f, which stays open. */
static int write_all(struct afile *f, const struct slot *s, long n, const char *header, size_t len,
                     const struct source *from, struct pesc_error *err)
{
    size_t most = 1;
    uint64_t total = len;
    for (long i = 0; i < n; i++) {
        most = from->fill && s[i].bytes > most ? s[i].bytes : most;
        total += s[i].bytes;
    }
    void *data = malloc(most);
    if (!data)
        return FAIL(err, MEMORY, "no memory for a tensor of %zu bytes", most);
    int rc = afile_reserve(f, total, err);
    if (rc == 0)
        rc = afile_write(f, header, len, err);
    for (long i = 0; rc == 0 && i < n; i++)
        if (s[i].bytes)
            rc = write_one(f, &s[i], from, data, err);
    free(data);
    return rc;
}

static int write_file(struct afile *f, const struct st_out *t, long n, const char *meta_key,
                      const char *meta_value, const struct source *from, struct pesc_error *err)
{
    size_t len;
    const char *path = afile_path(f);
    struct slot *s = plan(path, t, n, err);
    char *header = s ? header_text(path, s, n, meta_key, meta_value, &len, err) : NULL;
    int rc = header ? write_all(f, s, n, header, len, from, err) : -1;
    free(header);
    free(s);
    return rc;
}

int st_write_to(struct afile *f, const struct st_out *t, long n, const char *meta_key,
                const char *meta_value, st_fill fill, void *ctx, struct pesc_error *err)
{
    struct source from = {.fill = fill, .ctx = ctx};
    return write_file(f, t, n, meta_key, meta_value, &from, err);
}

static int write_path(const char *path, const struct st_out *t, long n, const char *meta_key,
                      const char *meta_value, const struct source *from, int fresh, char *sha256,
                      uint64_t *bytes, struct pesc_error *err)
{
    if (fresh && path_exists(path))
        return FAIL(err, USAGE_EXISTS, "%s exists already", path);
    struct afile *f = afile_open(path, err);
    if (!f)
        return -1;
    if (write_file(f, t, n, meta_key, meta_value, from, err) != 0) {
        afile_abort(f);
        return -1;
    }
    return afile_commit(f, fresh, sha256, bytes, err);
}

int st_write(const char *path, const struct st_out *t, long n, const char *meta_key,
             const char *meta_value, st_fill fill, void *ctx, int fresh, char *sha256,
             uint64_t *bytes, struct pesc_error *err)
{
    struct source from = {.fill = fill, .ctx = ctx};
    return write_path(path, t, n, meta_key, meta_value, &from, fresh, sha256, bytes, err);
}

int st_write_pieces(const char *path, const struct st_out *t, long n, const char *meta_key,
                    const char *meta_value, st_pour pour, void *ctx, int fresh, uint64_t *bytes,
                    struct pesc_error *err)
{
    struct source from = {.pour = pour, .ctx = ctx};
    return write_path(path, t, n, meta_key, meta_value, &from, fresh, NULL, bytes, err);
}
