#include "config.h"
#include "experiments/bench/folder.h"

#include "model/convert.h"

#include <stdio.h>
#include <string.h>

static int plain_folder(const struct bench_base *b, char path[PATH_CAP], struct pesc_error *err)
{
    char name[128], config[PATH_CAP];
    struct shape_options o = {b->layers, 42, 4000000000u};
    if (b->layers)
        snprintf(name, sizeof name, "%s-%ld-layers", b->shape->name, b->layers);
    else
        snprintf(name, sizeof name, "%s", b->shape->name);
    TRY(path_join(path, b->dir, name, err));
    TRY(path_join(config, path, "config.json", err));
    return path_exists(config) ? 0 : shape_write(b->shape, path, &o, err);
}

int bench_folder(const struct bench_base *b, char path[PATH_CAP], struct pesc_error *err)
{
    char plain[PATH_CAP], file[PATH_CAP];
    struct base *from;
    struct converted made;
    struct convert how = {.quant = strcmp(b->form, "nf4") ? QUANT_INT8 : QUANT_NF4,
                          .dtype = DT_COUNT,
                          .outer = !strcmp(b->embed, "quantised"),
                          .fingerprint = "",
                          .name = b->shape->name};
    TRY(plain_folder(b, path, err));
    if (!strcmp(b->form, "stored"))
        return 0;
    strcpy(plain, path);
    int n = snprintf(path, PATH_CAP, "%s-%s%s", plain, b->form, how.outer ? "-all" : "");
    if (n < 0 || n >= PATH_CAP)
        return FAIL(err, IO, "path too long: %.200s...", plain);
    TRY(path_join(file, path, "model.safetensors", err));
    if (path_exists(file))
        return 0;
    TRY(base_open(plain, NULL, &from, err));
    int rc = dir_make(path, err);
    if (rc == 0)
        rc = base_convert(path, from, &how, &made, err);
    base_close(from);
    return rc;
}
