/* make-shape NAME DIR [--layers N] [--seed N] [--file-mb N]:
 * a model of a known shape with random weights, in files of at most N MB (4000).
 * make-shape --list: the shapes. */
#include "config.h"

#include "experiments/bench/shape.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int usage(void)
{
    fprintf(stderr, "usage: make-shape NAME DIR [--layers N] [--seed N] [--file-mb N]\n"
                    "       make-shape --list\n");
    return 2;
}

static int list(void)
{
    printf("%-16s %7s %7s %7s %9s %7s\n", "shape", "hidden", "ffn", "layers", "heads", "vocab");
    for (long i = 0; i < shape_count(); i++) {
        const struct shape *s = shape_at(i);
        char heads[32];
        snprintf(heads, sizeof heads, "%ld/%ld", s->heads, s->kv_heads);
        printf("%-16s %7ld %7ld %7ld %9s %7ld\n", s->name, s->hidden, s->ffn, s->layers, heads,
               s->vocab);
    }
    return fflush(stdout) != 0 ? 9 : 0;
}

static int number(const char *text, long low, long high, long *out)
{
    char *end;
    errno = 0;
    *out = strtol(text, &end, 10);
    return *text && !*end && errno == 0 && *out >= low && *out <= high;
}

int main(int argc, char **argv)
{
    struct pesc_error err = {0};
    long layers = 0, seed = 42, file_mb = 4000;
    if (argc == 2 && !strcmp(argv[1], "--list"))
        return list();
    if (argc < 3 || argc % 2 == 0 || argv[1][0] == '-' || argv[2][0] == '-')
        return usage();
    for (int i = 3; i < argc; i += 2) {
        int good = !strcmp(argv[i], "--layers")    ? number(argv[i + 1], 1, 1024, &layers)
                   : !strcmp(argv[i], "--seed")    ? number(argv[i + 1], 0, 1L << 53, &seed)
                   : !strcmp(argv[i], "--file-mb") ? number(argv[i + 1], 1, 1000000, &file_mb)
                                                   : 0;
        if (!good)
            return usage();
    }
    const struct shape *s = shape_find(argv[1]);
    if (!s) {
        fprintf(stderr, "make-shape: there is no shape '%s'; --list shows them\n", argv[1]);
        return 2;
    }
    struct shape_options o = {layers, (uint64_t)seed, (uint64_t)file_mb * 1000000};
    if (shape_write(s, argv[2], &o, &err) != 0) {
        fprintf(stderr, "%s: %s\n", err.name, err.text);
        return err.exit_status;
    }
    return 0;
}
