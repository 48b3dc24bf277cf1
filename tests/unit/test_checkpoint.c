/* Checkpoints on disk: what is saved comes back to the bit, the newest good one is found, a damaged
 * one is set aside, an unreadable one is never passed over. */
#include "config.h"
#include "tests/tap.h"

#include "core/file.h"
#include "core/hash.h"
#include "core/rng.h"
#include "train/checkpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

static char dir[64] = "test_checkpoint.XXXXXX";

static int add_all(struct params *ps, const char *first)
{
    struct pesc_error err = {0};
    params_add(ps, 0, 2, 3, 5, &err, "%s", first);
    params_add(ps, 0, 1, 7, 0, &err, "model.layers.0.norm.weight");
    return params_alloc(ps, 0, &err);
}

struct state {
    struct params ps;
    struct adamw a;
    float *m, *v; /* [ps.total] */
};

static void open_state(struct state *s, const char *first)
{
    struct pesc_error err = {0};
    struct adamw_options o = ADAMW_DEFAULTS;
    if (add_all(&s->ps, first) != 0 || adamw_init(&s->a, &o, &s->ps, &err) != 0)
        diag("%s", err.text);
    s->m = s->a.all.m;
    s->v = s->a.all.v;
}

static void close_state(struct state *s)
{
    adamw_free(&s->a);
    params_free(&s->ps);
}

static void set_state(struct state *s, uint32_t seed)
{
    struct rng_key k = {seed, RNG_INIT, 0, 0};
    for (size_t i = 0; i < s->ps.total; i++) {
        s->ps.value[i] = (float)rng_normal(&k, i);
        s->m[i] = (float)rng_normal(&k, 100 + i);
        s->v[i] = (float)rng_unit(&k, 200 + i);
    }
    s->ps.value[0] = -0.0f;
    s->ps.value[1] = 1e-42f;
}

static int save(struct state *s, long step, int keep, struct checkpoint_file *out)
{
    struct pesc_error err = {0};
    json_t *meta =
        json_pack("{s:s, s:i, s:{s:i, s:b}}", "schema", "test", "seed", 42, "b", "z", 1, "a", 1);
    struct checkpoint c = {&s->ps, &s->a, step, meta};
    int rc = checkpoint_save(dir, &c, keep, NULL, out, &err);
    json_decref(meta);
    if (rc != 0)
        diag("%s %s", err.name, err.text);
    return rc;
}

/* Files in the folder whose names begin and end so. */
static long count(const char *head, const char *tail)
{
    long n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t len = strlen(e->d_name), want = strlen(tail);
        n += !strncmp(e->d_name, head, strlen(head)) && len >= want &&
             !strcmp(e->d_name + len - want, tail);
    }
    if (d)
        closedir(d);
    return n;
}

static void empty_dir(void)
{
    struct pesc_error err = {0};
    if (dir_remove_all(dir, &err) != 0 || dir_make(dir, &err) != 0)
        diag("%s", err.text);
}

static void flip(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    if (!f || fseek(f, at, at < 0 ? SEEK_END : SEEK_SET) != 0)
        diag("cannot damage %s", path);
    int c = fgetc(f);
    fseek(f, -1, SEEK_CUR);
    fputc(c ^ 1, f);
    fclose(f);
}

static int cut(const char *path, off_t by)
{
    struct stat st;
    return stat(path, &st) == 0 && truncate(path, st.st_size - by) == 0;
}

struct heard {
    int n;
    char code[32];
};

static void hear(void *ctx, const char *code, const char *text)
{
    (void)text;
    struct heard *h = ctx;
    h->n++;
    snprintf(h->code, sizeof h->code, "%s", code);
}

static void test_round_trip(void)
{
    struct pesc_error err = {0};
    struct state a = {0}, b = {0};
    struct checkpoint_file f, again;
    char hex[SHA256_HEX], want[PATH_CAP], path[PATH_CAP];
    open_state(&a, "x.weight");
    open_state(&b, "x.weight");
    set_state(&a, 1);
    set_state(&b, 2);
    ok(save(&a, 42, 3, &f) == 0, "saved");
    uint64_t bytes = 0;
    ok(hash_file(f.path, hex, &bytes, &err) == 0 && !strcmp(hex, f.sha256) && bytes == f.bytes,
       "digest and size are those of the file");
    snprintf(want, sizeof want, "ckpt-0000000042-%s.safetensors", hex);
    is_str(path_base(f.path), want, "the name tells step and content");
    is_long(count(".tmp-", ""), 0, "no temporary is left");

    struct checkpoint c = {&b.ps, &b.a, 0, NULL};
    ok(checkpoint_find(dir, NULL, path, &err) == 0 && checkpoint_load(path, &c, &err) == 0,
       "found and loaded");
    if (err.code)
        diag("%s %s", err.name, err.text);
    ok(!memcmp(a.ps.value, b.ps.value, a.ps.total * sizeof(float)), "values to the bit");
    ok(!memcmp(a.m, b.m, a.ps.total * sizeof(float)) &&
           !memcmp(a.v, b.v, a.ps.total * sizeof(float)),
       "moments to the bit");
    is_long(c.step, 42, "step");
    char *text = json_dumps(c.meta, JSON_COMPACT | JSON_SORT_KEYS);
    is_str(text, "{\"b\":{\"a\":true,\"z\":1},\"schema\":\"test\",\"seed\":42,\"step\":42}",
           "description");
    free(text);
    json_decref(c.meta);

    ok(save(&a, 42, 3, &again) == 0 && !strcmp(again.path, f.path), "same content, same name");
    flip(f.path, -4);
    ok(save(&a, 42, 3, NULL) == 0 && hash_file(f.path, hex, NULL, &err) == 0 &&
           !strcmp(hex, f.sha256),
       "saving over a damaged file of that name heals it");
    close_state(&a);
    close_state(&b);
    empty_dir();
}

static void test_damage(void)
{
    struct pesc_error err = {0};
    struct heard heard = {0};
    struct notes notes = {hear, &heard};
    struct state a = {0};
    struct checkpoint_file f[3];
    char path[PATH_CAP], bad[PATH_CAP + 8];
    open_state(&a, "x.weight");
    for (long i = 0; i < 3; i++) {
        set_state(&a, (uint32_t)i);
        ok(save(&a, 5 + 5 * i, 3, &f[i]) == 0, "saved step %ld", 5 + 5 * i);
    }
    snprintf(bad, sizeof bad, "%s/.tmp-1-ckpt", dir);
    close(open(bad, O_CREAT | O_WRONLY, 0600));
    flip(f[2].path, -1);
    ok(cut(f[1].path, 3), "shortened the second");
    struct checkpoint c = {&a.ps, &a.a, 0, NULL};
    ok(checkpoint_load(f[2].path, &c, &err) != 0 && err.code == PESC_E_CK_CORRUPT,
       "a damaged file is not loaded by name either");
    err = (struct pesc_error){0};
    ok(checkpoint_find(dir, &notes, path, &err) == 0, "an older one is found");
    is_str(path, f[0].path, "the newest undamaged one");
    is_long(heard.n, 2, "both damaged ones were noted");
    is_str(heard.code, "E-CK-CORRUPT", "with their code");
    is_long(count("ckpt-", ".bad"), 2, "and kept as .bad");
    snprintf(bad, sizeof bad, "%s.bad", f[2].path);
    ok(path_exists(bad) && !path_exists(f[2].path), "under their own names");
    is_long(count(".tmp-", ""), 0, "temporaries are gone");

    flip(f[0].path, 12);
    ok(checkpoint_find(dir, NULL, path, &err) != 0 && err.code == PESC_E_CK_NONE &&
           err.exit_status == 9,
       "none left: E-CK-NONE");
    close_state(&a);
    empty_dir();
}

static void test_unreadable(void)
{
    struct pesc_error err = {0};
    struct state a = {0};
    struct checkpoint_file f;
    char path[PATH_CAP], name[PATH_CAP];
    open_state(&a, "x.weight");
    set_state(&a, 1);
    ok(save(&a, 5, 3, &f) == 0, "an older good one");
    /* A link to itself fails in open() for root too. */
    snprintf(name, sizeof name, "%s/ckpt-0000000009-%s.safetensors", dir, f.sha256);
    ok(symlink(path_base(name), name) == 0, "a newer one that cannot be opened");
    ok(checkpoint_find(dir, NULL, path, &err) != 0 && err.code == PESC_E_IO && err.exit_status == 9,
       "is fatal, nothing older is taken");
    is_long(count("ckpt-", ".bad"), 0, "and nothing is renamed");
    err = (struct pesc_error){0};
    ok(checkpoint_find("test_checkpoint.none", NULL, path, &err) != 0 && err.code == PESC_E_CK_NONE,
       "no folder: none");
    close_state(&a);
    empty_dir();
}

static void test_prune(void)
{
    struct pesc_error err = {0};
    struct state a = {0};
    struct checkpoint_file f;
    char path[PATH_CAP], other[PATH_CAP];
    open_state(&a, "x.weight");
    snprintf(other, sizeof other, "%s/ckpt-notes.txt", dir);
    close(open(other, O_CREAT | O_WRONLY, 0600));
    for (long step = 1; step <= 6; step++) {
        set_state(&a, (uint32_t)step);
        if (save(&a, step, 3, &f) != 0)
            ok(0, "save of step %ld", step);
    }
    is_long(count("ckpt-", ".safetensors"), 3, "the newest three stay");
    ok(path_exists(other), "what is no checkpoint stays");
    ok(checkpoint_find(dir, NULL, path, &err) == 0 && !strcmp(path, f.path), "newest is step 6");
    set_state(&a, 2);
    ok(save(&a, 2, 0, &f) == 0 && path_exists(f.path), "the one just written stays");
    is_long(count("ckpt-", ".safetensors"), 1, "keep 0 keeps one");
    close_state(&a);
    empty_dir();
}

static void test_mismatch(void)
{
    struct pesc_error err = {0};
    struct state a = {0}, b = {0}, c = {0};
    struct checkpoint_file f;
    open_state(&a, "x.weight");
    open_state(&b, "y.weight");
    params_add(&c.ps, 0, 2, 3, 5, &err, "x.weight");
    if (params_alloc(&c.ps, 0, &err) != 0)
        diag("%s", err.text);
    set_state(&a, 1);
    ok(save(&a, 5, 3, &f) == 0, "saved");
    struct checkpoint into = {&b.ps, &b.a, 0, NULL};
    ok(checkpoint_load(f.path, &into, &err) != 0 && err.code == PESC_E_CK_MISMATCH &&
           err.exit_status == 7,
       "another name is a mismatch");
    ok(b.ps.value[2] == 0 && b.m[2] == 0, "and nothing was overwritten");
    err = (struct pesc_error){0};
    into.params = &c.ps;
    ok(checkpoint_load(f.path, &into, &err) != 0 && err.code == PESC_E_CK_MISMATCH,
       "more than the model has is a mismatch");
    close_state(&b);
    params_add(&b.ps, 0, 2, 5, 3, &err, "x.weight");
    params_add(&b.ps, 0, 1, 7, 0, &err, "model.layers.0.norm.weight");
    err = (struct pesc_error){0};
    into.params = &b.ps;
    ok(params_alloc(&b.ps, 0, &err) == 0 && checkpoint_load(f.path, &into, &err) != 0 &&
           err.code == PESC_E_CK_MISMATCH,
       "another shape is a mismatch");
    close_state(&a);
    close_state(&b);
    close_state(&c);
    empty_dir();
}

/* A file that cannot be written leaves what there was. */
static void test_no_room(void)
{
    struct pesc_error err = {0};
    struct state a = {0};
    open_state(&a, "x.weight");
    set_state(&a, 1);
    struct checkpoint c = {&a.ps, &a.a, 5, NULL};
    ok(checkpoint_save("test_checkpoint.none", &c, 3, NULL, NULL, &err) != 0 &&
           err.exit_status == 9,
       "no folder to write into: exit 9");
    close_state(&a);
}

int main(void)
{
    struct pesc_error err = {0};
    if (!mkdtemp(dir)) {
        ok(0, "temporary folder");
        return tap_done();
    }
    test_round_trip();
    test_damage();
    test_unreadable();
    test_prune();
    test_mismatch();
    test_no_room();
    ok(dir_remove_all(dir, &err) == 0, "tidied up");
    return tap_done();
}
