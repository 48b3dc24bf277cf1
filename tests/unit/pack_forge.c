#include "config.h"
#include "pack_forge.h"

#include "adapters/pack.h"
#include "core/archive.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void put(struct bytes *b, const void *data, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n);
        b->p = realloc(b->p, b->cap);
        if (!b->p)
            abort();
    }
    if (n)
        memcpy(b->p + b->n, data, n);
    b->n += n;
}

void put_zeros(struct bytes *b, size_t n)
{
    static const unsigned char zero[512];
    for (; n > sizeof zero; n -= sizeof zero)
        put(b, zero, sizeof zero);
    put(b, zero, n);
}

void clear(struct bytes *b)
{
    free(b->p);
    memset(b, 0, sizeof *b);
}

void tar_put(struct bytes *b, const char *name, char type, long long size, const void *data,
             size_t n, edit_header edit)
{
    unsigned char h[512] = {0};
    char field[16];
    memcpy(h, name, strlen(name) < 100 ? strlen(name) : 100);
    memcpy(h + 100,
           "000644 \0"
           "000000 \0"
           "000000 ",
           23);
    snprintf(field, sizeof field, "%011llo ",
             size < 0 ? (unsigned long long)n : (unsigned long long)size);
    memcpy(h + 124, field, 12);
    memcpy(h + 136, "00000000000 ", 12);
    h[156] = (unsigned char)type;
    memcpy(h + 257,
           "ustar\0"
           "00",
           8);
    memcpy(h + 329,
           "000000 \0"
           "000000 ",
           15);
    if (edit)
        edit(h);
    unsigned sum = 0;
    memset(h + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += h[i];
    snprintf(field, sizeof field, "%06o", sum & 0777777);
    memcpy(h + 148, field, 7);
    put(b, h, sizeof h);
    put(b, data, n);
    put_zeros(b, (512 - n % 512) % 512);
}

void tar_end(struct bytes *b)
{
    put_zeros(b, 1024);
}

int zstd_write(const char *path, const void *data, size_t n, struct pesc_error *err)
{
    struct afile *f = afile_open(path, err);
    struct arc_writer *w = f ? arc_writer_open(f, ARC_RAW, err) : NULL;
    if (!w)
        return -1;
    int rc = arc_writer_data(w, data, n, err);
    if (arc_writer_close(w, err) != 0 || rc != 0) {
        afile_abort(f);
        return -1;
    }
    return afile_commit(f, 0, NULL, NULL, err);
}

static void put_block(struct bytes *b, unsigned type, size_t size, int last)
{
    unsigned h = (unsigned)last | type << 1 | (unsigned)size << 3;
    unsigned char le[3] = {(unsigned char)h, (unsigned char)(h >> 8), (unsigned char)(h >> 16)};
    put(b, le, 3);
}

void frame(struct bytes *b, const void *data, size_t n, size_t zero_blocks)
{
    enum { MAX = 128 * 1024 };
    static const unsigned char head[6] = {0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58};
    put(b, head, sizeof head);
    for (size_t off = 0; off < n; off += MAX) {
        size_t k = n - off < MAX ? n - off : MAX;
        put_block(b, 0, k, off + k == n && !zero_blocks);
        put(b, (const char *)data + off, k);
    }
    for (size_t i = 0; i < zero_blocks; i++) {
        put_block(b, 1, MAX, i + 1 == zero_blocks);
        put(b, "", 1);
    }
    put(b, "\0\0\0", 4);
}

int forged_load(struct forged *f, const char *pack, const char *scratch_dir, struct pesc_error *err)
{
    struct pack *p;
    memset(f, 0, sizeof *f);
    TRY(pack_open(pack, scratch_dir, NULL, &p, err));
    f->manifest = json_deep_copy(pack_manifest(p));
    pack_close(p);
    size_t i;
    json_t *o;
    json_array_foreach(json_object_get(f->manifest, "files"), i, o)
    {
        char path[PATH_CAP], *data;
        size_t n;
        const char *name = json_string_value(json_object_get(o, "name"));
        TRY(path_join(path, scratch_dir, name, err));
        TRY(file_read(path, 1 << 24, &data, &n, err));
        snprintf(f->file[f->n].name, sizeof f->file[0].name, "%s", name);
        put(&f->file[f->n++].data, data, n);
        free(data);
    }
    return dir_remove_all(scratch_dir, err);
}

void forged_free(struct forged *f)
{
    json_decref(f->manifest);
    for (long i = 0; i < f->n; i++)
        clear(&f->file[i].data);
    memset(f, 0, sizeof *f);
}

struct bytes *forged_file(struct forged *f, const char *name)
{
    for (long i = 0; i < f->n; i++)
        if (!strcmp(f->file[i].name, name))
            return &f->file[i].data;
    abort();
}

static void set_hash(json_t *o, const void *data, size_t n)
{
    char hex[65];
    struct pesc_error err = {0};
    if (hash_bytes(data, n, hex, &err) != 0 ||
        json_object_set_new(o, "sha256", json_string(hex)) != 0)
        abort();
}

void forged_rehash(struct forged *f)
{
    size_t i;
    json_t *o;
    json_array_foreach(json_object_get(f->manifest, "files"), i, o)
    {
        const struct bytes *b = forged_file(f, json_string_value(json_object_get(o, "name")));
        set_hash(o, b->p, b->n);
        json_object_set_new(o, "size", json_integer((json_int_t)b->n));
    }
    /* The tensors as the safetensors header places them. */
    const struct bytes *w = forged_file(f, "adapter_model.safetensors");
    uint64_t header;
    memcpy(&header, w->p, 8);
    json_t *st = json_parse((const char *)w->p + 8, (size_t)header, NULL, NULL, 0);
    json_array_foreach(json_object_get(f->manifest, "tensors"), i, o)
    {
        json_t *off = json_object_get(
            json_object_get(st, json_string_value(json_object_get(o, "name"))), "data_offsets");
        size_t from = (size_t)json_integer_value(json_array_get(off, 0));
        size_t to = (size_t)json_integer_value(json_array_get(off, 1));
        if (to > from)
            set_hash(o, w->p + 8 + header + from, to - from);
    }
    json_decref(st);
}

void forged_tar(const struct forged *f, struct bytes *out)
{
    char *text = json_canonical(f->manifest);
    tar_put(out, "manifest.json", '0', -1, text, strlen(text), NULL);
    free(text);
    for (long i = 0; i < f->n; i++)
        tar_put(out, f->file[i].name, '0', -1, f->file[i].data.p, f->file[i].data.n, NULL);
    tar_end(out);
}
