#include "config.h"
#include "experiments/bench/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int usage(const char *program, const struct bench_number *v, long n)
{
    fprintf(stderr,
            "usage: %s NAME [options]\n"
            "  --compute f32|bf16|int8        type of the products (bf16)\n"
            "  --base-dtype stored|nf4|int8   how the base is held (stored)\n"
            "  --embed stored|quantised       embedding and head of such a base (stored)\n"
            "  --dir DIR           where the shapes' folders are, or are made (.)\n"
            "  --spill DIR         block inputs go to a file there, where there are any\n",
            program);
    for (long i = 0; i < n; i++)
        fprintf(stderr, "  --%s N%*s%s (%ld)\n", v[i].name, (int)(16 - strlen(v[i].name)), "",
                v[i].what, *v[i].at);
    return 2;
}

static int choose(const char **at, const char *value, const char *const *of)
{
    for (; *of; of++)
        if (!strcmp(value, *of)) {
            *at = *of;
            return 0;
        }
    return -1;
}

static int set_compute(enum compute *at, const char *value)
{
    for (enum compute c = COMPUTE_F32; c <= COMPUTE_INT8; c++)
        if (!strcmp(value, compute_name(c))) {
            *at = c;
            return 0;
        }
    return -1;
}

static int set_number(const struct bench_number *v, long n, const char *name, const char *value)
{
    char *end;
    errno = 0;
    long x = strtol(value, &end, 10);
    for (long i = 0; i < n; i++)
        if (!strcmp(name, v[i].name) && *value && !*end && errno == 0 && x > 0 && x <= 1 << 20) {
            *v[i].at = x;
            return 0;
        }
    return -1;
}

static int set(struct bench_options *o, const struct bench_number *v, long n, const char *name,
               const char *value)
{
    static const char *const forms[] = {"stored", "nf4", "int8", NULL};
    static const char *const embeds[] = {"stored", "quantised", NULL};
    if (strncmp(name, "--", 2) != 0)
        return -1;
    name += 2;
    if (!strcmp(name, "compute"))
        return set_compute(&o->compute, value);
    if (!strcmp(name, "base-dtype"))
        return choose(&o->base.form, value, forms);
    if (!strcmp(name, "embed"))
        return choose(&o->base.embed, value, embeds);
    if (!strcmp(name, "dir")) {
        o->base.dir = value;
        return *value ? 0 : -1;
    }
    if (!strcmp(name, "spill")) {
        o->spill = value;
        return *value ? 0 : -1;
    }
    return set_number(v, n, name, value);
}

int bench_options_read(struct bench_options *o, const char *program, const struct bench_number *v,
                       long n, int argc, char **argv)
{
    *o = (struct bench_options){.base = {.dir = ".", .form = "stored", .embed = "stored"},
                                .compute = COMPUTE_BF16};
    int good = argc >= 2 && argc % 2 == 0;
    for (int i = 2; good && i < argc; i += 2)
        good = set(o, v, n, argv[i], argv[i + 1]) == 0;
    o->base.shape = good ? shape_find(argv[1]) : NULL;
    return o->base.shape ? 0 : usage(program, v, n);
}
