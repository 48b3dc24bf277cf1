#include "config.h"
#include "adapters/pack_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 1 << 16, SIGNATURE_MAX = 4096 };
static const char MANIFEST[] = "manifest.json", SIGNATURE[] = "manifest.json.minisig";

struct pack {
    struct pack_info info;
    int temporary, signature;
    char dir[PATH_CAP], weights[PATH_CAP];
};

/* One reading of a pack into a folder that nobody else knows yet. */
struct extract {
    struct pack *p;
    const char *path;
    struct pack_stream *s;
    int dir_fd;
    unsigned char buf[CHUNK];
};

static int write_fail(const struct extract *x, const char *name, struct pesc_error *err)
{
    int e = errno;
    return error_set(err, e == ENOSPC || e == EDQUOT || e == EFBIG ? PESC_E_IO_FULL : PESC_E_IO,
                     "%s: cannot write %s/%s: %s", x->path, x->p->dir, name, strerror(e));
}

static int create(const struct extract *x, const char *name, struct pesc_error *err)
{
    int fd = openat(x->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    return fd < 0 ? write_fail(x, name, err) : fd;
}

static int write_all(const struct extract *x, int fd, const void *data, size_t n, const char *name,
                     struct pesc_error *err)
{
    const unsigned char *p = data;
    while (n > 0) {
        ssize_t put = write(fd, p, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return write_fail(x, name, err);
        p += put;
        n -= (size_t)put;
    }
    return 0;
}

static int finish(const struct extract *x, int fd, const char *name, int rc, struct pesc_error *err)
{
    if (close(fd) != 0 && rc == 0)
        rc = write_fail(x, name, err);
    return rc;
}

static int sync_file(const struct extract *x, const char *name, struct pesc_error *err)
{
    int fd = openat(x->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        write_fail(x, name, err);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    close(fd);
    return 0;
}

/* Only what was found good is worth the disk's time. */
static int sync_all(const struct extract *x, struct pesc_error *err)
{
    TRY(sync_file(x, MANIFEST, err));
    if (x->p->signature)
        TRY(sync_file(x, SIGNATURE, err));
    for (long i = 0; i < x->p->info.n_files; i++)
        TRY(sync_file(x, x->p->info.files[i].name, err));
    return fsync(x->dir_fd) == 0 ? 0 : write_fail(x, ".", err);
}

/* The manifest is small and is believed before anything else is looked at. */
static int take_manifest(struct extract *x, const struct notes *notes, struct pesc_error *err)
{
    struct pack_entry e = {0};
    int rc = pack_stream_next(x->s, &e, err);
    if (rc < 0)
        return -1;
    if (rc == 0 || strcmp(e.name, MANIFEST) != 0)
        return FAIL(err, PK_MANIFEST, "%s: the first entry is %s%s, not manifest.json", x->path,
                    rc ? "" : "missing", rc ? e.name : "");
    if (e.size > PACK_TEXT_MAX)
        return FAIL(err, PK_MANIFEST, "%s: the manifest has %llu bytes, at most %d are read",
                    x->path, (unsigned long long)e.size, PACK_TEXT_MAX);
    char *text = malloc(e.size + 1);
    if (!text)
        return FAIL(err, MEMORY, "%s: no memory", x->path);
    rc = pack_stream_data(x->s, text, e.size, err);
    if (rc == 0)
        rc = pack_manifest_parse(text, e.size, notes, &x->p->info, err);
    int fd = rc == 0 ? create(x, MANIFEST, err) : -1;
    if (rc == 0 && fd >= 0)
        rc = finish(x, fd, MANIFEST, write_all(x, fd, text, e.size, MANIFEST, err), err);
    free(text);
    return fd < 0 ? -1 : rc;
}

/* The entry's data into its file; want NULL: not listed, so not hashed. */
static int take_file(struct extract *x, const struct pack_entry *e, const char *want,
                     struct pesc_error *err)
{
    char hex[SHA256_HEX];
    struct hash *h = hash_new(err);
    int fd = h ? create(x, e->name, err) : -1;
    if (fd < 0) {
        hash_free(h);
        return -1;
    }
    int rc = 0;
    for (uint64_t left = e->size; left > 0 && rc == 0;) {
        size_t n = left < CHUNK ? (size_t)left : CHUNK;
        rc = pack_stream_data(x->s, x->buf, n, err);
        if (rc == 0) {
            hash_add(h, x->buf, n);
            rc = write_all(x, fd, x->buf, n, e->name, err);
        }
        left -= n;
    }
    hash_hex(h, hex);
    hash_free(h);
    rc = finish(x, fd, e->name, rc, err);
    if (rc == 0 && want && strcmp(hex, want) != 0)
        rc = FAIL(err, PK_HASH, "%s: '%s' is not the file that the manifest lists", x->path,
                  e->name);
    return rc;
}

/* The next entry must be the next file of the manifest. */
static int check_turn(const struct extract *x, const struct pack_entry *e, long next,
                      struct pesc_error *err)
{
    const struct pack_info *info = &x->p->info;
    long at = 0;
    while (at < info->n_files && strcmp(info->files[at].name, e->name) != 0)
        at++;
    if (at < next || !strcmp(e->name, MANIFEST) || (!strcmp(e->name, SIGNATURE) && x->p->signature))
        return FAIL(err, PK_DUP, "%s: '%s' comes twice", x->path, e->name);
    if (at == info->n_files && !strcmp(e->name, SIGNATURE))
        return FAIL(err, PK_ORDER, "%s: the signature does not follow the manifest", x->path);
    if (at == info->n_files)
        return FAIL(err, PK_EXTRA, "%s: '%s' is not in the manifest", x->path, e->name);
    if (at > next)
        return FAIL(err, PK_ORDER, "%s: '%s' stands where '%s' belongs", x->path, e->name,
                    info->files[next].name);
    if (e->size != info->files[at].size)
        return FAIL(err, PK_LIMIT, "%s: '%s' has %llu bytes, the manifest says %llu", x->path,
                    e->name, (unsigned long long)e->size, (unsigned long long)info->files[at].size);
    return 0;
}

static int take_all(struct extract *x, const struct notes *notes, struct pesc_error *err)
{
    TRY(take_manifest(x, notes, err));
    const struct pack_info *info = &x->p->info;
    long next = 0;
    for (long i = 1;; i++) {
        struct pack_entry e = {0};
        int rc = pack_stream_next(x->s, &e, err);
        if (rc < 0)
            return -1;
        if (rc == 0)
            break;
        if (i == 1 && !strcmp(e.name, SIGNATURE)) {
            if (e.size > SIGNATURE_MAX)
                return FAIL(err, PK_LIMIT, "%s: a signature of %llu bytes", x->path,
                            (unsigned long long)e.size);
            TRY(take_file(x, &e, NULL, err));
            x->p->signature = 1;
            note(notes, "W-PK-SIGNATURE",
                 "%s: signature present, not verified by this version; trust=unsigned", x->path);
            continue;
        }
        TRY(check_turn(x, &e, next, err));
        TRY(take_file(x, &e, info->files[next++].sha256, err));
    }
    if (next < info->n_files)
        return FAIL(err, PK_MISSING, "%s: '%s' is missing", x->path, info->files[next].name);
    return 0;
}

static int check_config(const struct pack *p, struct pesc_error *err)
{
    char path[PATH_CAP], *text;
    size_t len;
    TRY(path_join(path, p->dir, "adapter_config.json", err));
    TRY(file_read(path, PACK_TEXT_MAX, &text, &len, err));
    int rc = pack_config_check(text, len, &p->info, err);
    free(text);
    return rc;
}

/* Everything, into p->dir, which exists and is empty. The descriptor stays the same throughout. */
static int extract(struct pack *p, const char *path, int sync, const struct notes *notes,
                   struct pesc_error *err)
{
    struct stat st;
    struct extract *x = calloc(1, sizeof *x);
    if (!x)
        return FAIL(err, MEMORY, "%s: no memory", path);
    int rc = -1, fd = file_open_read(path, &st, err);
    *x = (struct extract){.p = p, .path = path, .dir_fd = -1};
    if (fd < 0)
        goto done;
    x->dir_fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (x->dir_fd < 0) {
        FAIL(err, IO, "%s: cannot open: %s", p->dir, strerror(errno));
        goto done;
    }
    TRY_OR(pack_stream_open(fd, path, (uint64_t)st.st_size, &x->s, err), done);
    TRY_OR(take_all(x, notes, err), done);
    TRY_OR(check_config(p, err), done);
    TRY_OR(path_join(p->weights, p->dir, PACK_WEIGHTS, err), done);
    TRY_OR(pack_weights_check(p->weights, &p->info, notes, err), done);
    if (sync)
        TRY_OR(sync_all(x, err), done);
    rc = 0;
done:
    pack_stream_close(x->s);
    if (x->dir_fd >= 0)
        close(x->dir_fd);
    if (fd >= 0)
        close(fd);
    free(x);
    return rc;
}

static int make_temporary(struct pack *p, struct pesc_error *err)
{
    static const char *const places[] = {"/var/tmp", P_tmpdir};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(p->dir, sizeof p->dir, "%s/pesc-pack-%ld-XXXXXX", places[i], (long)getpid());
        if (mkdtemp(p->dir)) {
            p->temporary = 1;
            return 0;
        }
    }
    return FAIL(err, IO, "cannot make a folder in %s: %s", P_tmpdir, strerror(errno));
}

/* Ends with p->dir gone. */
static void discard(struct pack *p, const struct notes *notes)
{
    struct pesc_error err = {0};
    if (dir_remove_all(p->dir, &err) != 0)
        note(notes, "W-PK-LEFT", "%s", err.text);
    pack_info_free(&p->info);
    free(p);
}

int pack_open(const char *path, const char *keep_dir, const struct notes *notes, struct pack **out,
              struct pesc_error *err)
{
    *out = NULL;
    struct pack *p = calloc(1, sizeof *p);
    if (!p)
        return FAIL(err, MEMORY, "%s: no memory", path);
    if (keep_dir) {
        TRY_OR(path_join(p->dir, ".", keep_dir, err), fail);
        if (mkdir(p->dir, 0777) != 0) {
            if (errno == EEXIST)
                FAIL(err, USAGE_EXISTS, "%s exists already", keep_dir);
            else
                FAIL(err, IO, "%s: cannot make folder: %s", keep_dir, strerror(errno));
            goto fail;
        }
    } else {
        TRY_OR(make_temporary(p, err), fail);
    }
    if (extract(p, path, 0, notes, err) != 0) {
        discard(p, notes);
        return -1;
    }
    *out = p;
    return 0;
fail:
    free(p);
    return -1;
}

/* A file of an unpacked pack against what the manifest lists. */
static int check_kept(const struct pack *p, const struct pack_entry *e, struct pesc_error *err)
{
    char path[PATH_CAP], hex[SHA256_HEX];
    uint64_t size = 0;
    TRY(path_join(path, p->dir, e->name, err));
    if (!path_exists(path))
        return FAIL(err, PK_MISSING, "%s: '%s' is missing", p->dir, e->name);
    TRY(hash_file(path, hex, &size, err));
    if (size != e->size || strcmp(hex, e->sha256) != 0)
        return FAIL(err, PK_HASH, "%s: '%s' is not the file that the manifest lists", p->dir,
                    e->name);
    return 0;
}

static int open_kept(struct pack *p, const struct notes *notes, struct pesc_error *err)
{
    char path[PATH_CAP], *text;
    size_t len;
    TRY(path_join(path, p->dir, MANIFEST, err));
    TRY(file_read(path, PACK_TEXT_MAX, &text, &len, err));
    int rc = pack_manifest_parse(text, len, notes, &p->info, err);
    free(text);
    TRY(rc);
    const char *name = path_base(p->dir);
    if (strlen(name) == SHA256_HEX - 1 && strspn(name, "0123456789abcdef") == SHA256_HEX - 1 &&
        strcmp(name, p->info.digest) != 0)
        return FAIL(err, PK_HASH, "%s: the manifest is not the one that the folder is named after",
                    p->dir);
    for (long i = 0; i < p->info.n_files; i++)
        TRY(check_kept(p, &p->info.files[i], err));
    TRY(path_join(path, p->dir, SIGNATURE, err));
    p->signature = path_exists(path);
    TRY(check_config(p, err));
    TRY(path_join(p->weights, p->dir, PACK_WEIGHTS, err));
    return pack_weights_check(p->weights, &p->info, notes, err);
}

int pack_is_kept(const char *dir)
{
    char path[PATH_CAP];
    return path_join(path, dir, MANIFEST, NULL) == 0 && path_exists(path);
}

int pack_open_kept(const char *dir, const struct notes *notes, struct pack **out,
                   struct pesc_error *err)
{
    *out = NULL;
    struct pack *p = calloc(1, sizeof *p);
    if (!p)
        return FAIL(err, MEMORY, "%s: no memory", dir);
    if (path_real(p->dir, dir, err) != 0 || open_kept(p, notes, err) != 0) {
        pack_close(p);
        return -1;
    }
    *out = p;
    return 0;
}

void pack_close(struct pack *p)
{
    if (p && p->temporary) {
        discard(p, NULL);
    } else if (p) {
        pack_info_free(&p->info);
        free(p);
    }
}

const char *pack_digest(const struct pack *p)
{
    return p->info.digest;
}

const json_t *pack_manifest(const struct pack *p)
{
    return p->info.tree;
}

const struct pack_base *pack_base(const struct pack *p)
{
    return &p->info.base;
}

const struct moe_config *pack_moe(const struct pack *p)
{
    return &p->info.moe;
}

const char *pack_weights_path(const struct pack *p)
{
    return p->weights;
}

int pack_has_signature(const struct pack *p)
{
    return p->signature;
}

/* Two forms of one model, such as a base and what it was quantised from; NULL: they are not. */
static const char *kinship(const struct pack_base *made_for, const struct pack_base *base)
{
    if (*base->origin && !strcmp(base->origin, made_for->fingerprint))
        return "a quantised or converted form";
    if (*made_for->origin && !strcmp(made_for->origin, base->fingerprint))
        return "the unquantised original";
    if (*made_for->origin && !strcmp(made_for->origin, base->origin))
        return "another quantised or converted form";
    return NULL;
}

int pack_check_base(const struct pack *p, const struct pack_base *base, int force,
                    const struct notes *notes, struct pesc_error *err)
{
    const struct pack_base *own = &p->info.base;
    if (own->layers != base->layers || own->hidden != base->hidden)
        return FAIL(err, PK_BASE,
                    "made for %s with %ld layers of %ld, this base has %ld of %ld: cannot fit",
                    own->name, own->layers, own->hidden, base->layers, base->hidden);
    int other_base = strcmp(own->fingerprint, base->fingerprint) != 0;
    const char *kin = other_base ? kinship(own, base) : NULL;
    int other_tok = strcmp(own->tokenizer_sha256, base->tokenizer_sha256) != 0;
    if (kin && !force)
        return FAIL(
            err, PK_BASE,
            "made for %s (%.16s...); %s (%.16s...) is %s of it: the adapters fit it nearly, "
            "--force-base takes them",
            own->name, own->fingerprint + strlen("pesc-fp1:"), base->name,
            base->fingerprint + strcspn(base->fingerprint, ":") + 1, kin);
    if (other_base && !force)
        return FAIL(err, PK_BASE, "made for %s (%.16s...), this base is %s (%.16s...)", own->name,
                    own->fingerprint + strlen("pesc-fp1:"), base->name,
                    base->fingerprint + strcspn(base->fingerprint, ":") + 1);
    if (other_tok && !force)
        return FAIL(err, PK_TOK, "made for another tokenizer than that of %s", base->name);
    if (other_base || other_tok)
        note(notes, "W-PK-FORCED", "forced onto %s, but made for %s%s%s%s", base->name, own->name,
             kin          ? ": another form of it"
             : other_base ? ": other weights"
                          : "",
             other_base && other_tok ? "," : "", other_tok ? ": other tokenizer" : "");
    else if (strcmp(own->config_sha256, base->config_sha256) != 0)
        note(notes, "W-PK-CONFIG", "config.json of %s is not the one that the pack was made with",
             base->name);
    return 0;
}

int pack_import(const char *path, const char *store_dir, const struct pack_base *base, int force,
                const struct notes *notes, char *digest, struct pesc_error *err)
{
    struct pack *p = calloc(1, sizeof *p);
    char target[PATH_CAP];
    int rc = -1, store = -1;
    if (!p)
        return FAIL(err, MEMORY, "%s: no memory", path);
    TRY_OR(dir_make_all(store_dir, err), fail);
    for (int i = 0;; i++) {
        int n = snprintf(p->dir, sizeof p->dir, "%s/.import-%ld-%d", store_dir, (long)getpid(), i);
        if (n < 0 || n >= PATH_CAP) {
            FAIL(err, IO, "path too long: %.200s...", store_dir);
            goto fail;
        }
        if (mkdir(p->dir, 0777) == 0)
            break;
        if (errno != EEXIST || i == 1000) {
            FAIL(err, IO, "%s: cannot make folder: %s", p->dir, strerror(errno));
            goto fail;
        }
    }
    TRY_OR(extract(p, path, 1, notes, err), done);
    if (base)
        TRY_OR(pack_check_base(p, base, force, notes, err), done);
    memcpy(digest, p->info.digest, SHA256_HEX);
    TRY_OR(path_join(target, store_dir, digest, err), done);
    if (renameat2(AT_FDCWD, p->dir, AT_FDCWD, target, RENAME_NOREPLACE) != 0) {
        if (errno == EEXIST)
            rc = 1;
        else
            FAIL(err, IO, "%s: cannot name: %s", target, strerror(errno));
        goto done;
    }
    strcpy(p->dir, target);
    store = open(store_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store < 0 || fsync(store) != 0)
        FAIL(err, IO, "%s: cannot flush: %s", store_dir, strerror(errno));
    else
        rc = 0;
    if (store >= 0)
        close(store);
    pack_info_free(&p->info);
    free(p);
    return rc;
done:
    discard(p, notes);
    return rc;
fail:
    free(p);
    return -1;
}
