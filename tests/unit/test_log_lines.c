/* Logs line by line, and the list of run folders beside a history. */
#include "config.h"
#include "core/file.h"
#include "experiments/log_lines.h"
#include "experiments/runlist.h"
#include "tests/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64], path[PATH_CAP];

static FILE *make(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    if (!f)
        exit(99);
    return f;
}

/* Lengths of all lines, and how many were passed over. */
static void read_all(char *out, size_t size)
{
    struct log_lines l;
    const char *text;
    size_t n, at = 0;
    int rc;
    if (log_open(&l, path, NULL) != 0)
        exit(99);
    out[0] = 0;
    while ((rc = log_next(&l, &text, &n, NULL)) > 0)
        at += (size_t)snprintf(out + at, size - at, "%zu:%c ", n, text[n - 1]);
    snprintf(out + at, size - at, "%d-%ld", rc, l.passed_over);
    log_close(&l);
}

static void fill(FILE *f, size_t n, char c)
{
    for (size_t i = 0; i < n; i++)
        fputc(c, f);
}

static void lines(void)
{
    char got[400];
    FILE *f = make("a");
    fputs("one\n\n\ntwo", f);
    fclose(f);
    read_all(got, sizeof got);
    is_str(got, "3:e 0-1", "empty lines and a torn one are none");
    f = make("b");
    fill(f, 65535, 'x');
    fputs("\n", f);
    fill(f, 65536, 'y');
    fputs("\n", f);
    fill(f, 200000, 'z');
    fputs("\nend\n", f);
    fclose(f);
    read_all(got, sizeof got);
    is_str(got, "65535:x 65536:y 200000:z 3:d 0-0", "lines at and over the buffer");
    f = make("c");
    fputs("before\n", f);
    fill(f, (size_t)40 << 20, 'w');
    fputs("\nbehind\n", f);
    fclose(f);
    read_all(got, sizeof got);
    is_str(got, "6:e 6:d 0-1", "a line over all measure is passed over, the next is not");
    f = make("d");
    fclose(f);
    read_all(got, sizeof got);
    is_str(got, "0-0", "an empty file");
}

static int collect(void *ctx, const char *folder, struct pesc_error *err)
{
    (void)err;
    strcat(ctx, folder);
    strcat(ctx, ";");
    return 0;
}

static void list(void)
{
    char got[400] = "", db[PATH_CAP];
    struct pesc_error err = {0};
    snprintf(db, sizeof db, "%s/h.db", dir);
    ok(runlist_each(db, collect, got, &err) == -1 && err.code == PESC_E_IO_MISSING, "no list yet");
    ok(runlist_add(db, "/a b\n\"c", NULL) == 0 && runlist_add(db, "/d", NULL) == 0 &&
           runlist_add(db, "/d", NULL) == 0,
       "folders are added");
    FILE *f = make("h.db.runs.x");
    fclose(f);
    snprintf(path, sizeof path, "%s/h.db.runs", dir);
    f = fopen(path, "a");
    if (!f)
        exit(99);
    fputs("\"/d\"\n\"relative\"\n7\n\"/torn", f);
    fclose(f);
    ok(runlist_add(db, "/e", NULL) == 0, "behind half a line, too");
    ok(runlist_each(db, collect, got, NULL) == 0, "read");
    is_str(got, "/a b\n\"c;/d;/e;", "each once, in order, and nothing else");
}

int main(void)
{
    strcpy(dir, "/tmp/pesc-lines-XXXXXX");
    if (!mkdtemp(dir))
        return 99;
    lines();
    list();
    if (dir_remove_all(dir, NULL) != 0)
        return 99;
    return tap_done();
}
