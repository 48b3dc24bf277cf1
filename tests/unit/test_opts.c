/* The command line's options: spellings, kinds, ranges, and what is refused with which code. */
#include "config.h"
#include "cli/cmd.h"
#include "tests/tap.h"

#include <stddef.h>

struct options {
    int quiet, verbose;
    long steps;
    double rate;
    const char *out, *kind;
    uint64_t memory;
    struct opt_list data;
};

static const struct opt table[] = {
    {"quiet", "q", OPT_FLAG, offsetof(struct options, quiet), NULL, "", 0, 0},
    {"be-verbose", NULL, OPT_FLAG, offsetof(struct options, verbose), NULL, "", 0, 0},
    {"max-steps", NULL, OPT_LONG, offsetof(struct options, steps), "N", "", 1, 1000},
    {"learning-rate", "lr", OPT_REAL, offsetof(struct options, rate), "R", "", 0, 1},
    {"output", "o", OPT_STRING, offsetof(struct options, out), "DIR", "", 0, 0},
    {"kind", NULL, OPT_CHOICE, offsetof(struct options, kind), "one|three", "", 0, 0},
    {"memory", NULL, OPT_SIZE, offsetof(struct options, memory), "SIZE", "", 0, 0},
    {"data", NULL, OPT_LIST, offsetof(struct options, data), "FILE...", "", 0, 0},
    {NULL, NULL, OPT_FLAG, 0, NULL, NULL, 0, 0},
};
static const struct cmd cmd = {
    .name = "x", .usage = "", .summary = "", .opts = table, .opts_size = sizeof(struct options)};

enum { WORDS_CAP = 700 };

/* Splits line at spaces and parses it; nargs -1 on failure. */
static struct options parse(const char *line, int *nargs, char **words, char *given,
                            struct pesc_error *err)
{
    static char text[8192];
    struct options o = {.verbose = 1};
    int n = 1;
    snprintf(text, sizeof text, "%s", line);
    words[0] = (char *)"x";
    for (char *save = NULL, *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
        words[n++] = w;
    words[n] = NULL;
    memset(err, 0, sizeof *err);
    if (opts_parse(&cmd, &o, n, words, nargs, given, err) != 0)
        *nargs = -1;
    return o;
}

static void refused(const char *line, const char *code, const char *says)
{
    char *words[WORDS_CAP];
    struct pesc_error err;
    int nargs;
    parse(line, &nargs, words, NULL, &err);
    ok(nargs == -1 && err.name && !strcmp(err.name, code) && strstr(err.text, says) &&
           err.exit_status == 2,
       "%s: %s, %s", line, code, says);
    if (nargs != -1 || !err.code || !strstr(err.text, says))
        diag("%s: %s", err.name ? err.name : "accepted", err.text);
}

int main(void)
{
    char *w[WORDS_CAP], given[16] = {0};
    struct pesc_error err;
    int n;
    struct options o =
        parse("a --max-steps 5 --lr=2e-4 b -o dir --kind three -q", &n, w, given, &err);
    ok(n == 2 && !strcmp(w[0], "a") && !strcmp(w[1], "b"), "words that are no options are left");
    ok(o.steps == 5 && o.rate == 2e-4 && o.quiet == 1, "values behind a space and an equals sign");
    ok(o.out && !strcmp(o.out, "dir") && o.kind && !strcmp(o.kind, "three"), "texts and choices");
    ok(given[2] && given[3] && given[4] && given[0] && !given[1] && !given[6], "what was given");
    o = parse("--max_steps 7 --learning_rate 0.5 --no_be_verbose", &n, w, NULL, &err);
    ok(n == 0 && o.steps == 7 && o.rate == 0.5 && o.verbose == 0, "underscores");
    o = parse("--no-be-verbose --quiet --no-quiet", &n, w, NULL, &err);
    ok(n == 0 && o.verbose == 0 && o.quiet == 0, "--no-flag, the last one counts");
    o = parse("--be-verbose=false", &n, w, NULL, &err);
    ok(n == 0 && o.verbose == 0, "a flag with a value");
    o = parse("m --data a b --max-steps 1 c --data d", &n, w, NULL, &err);
    ok(n == 2 && !strcmp(w[1], "c") && o.data.n == 3 && !strcmp(o.data.v[2], "d"),
       "a list takes words up to the next option, and may come again");
    o = parse("--data a -- --quiet", &n, w, NULL, &err);
    ok(n == 1 && !strcmp(w[0], "--quiet") && o.data.n == 1 && !o.quiet, "-- ends the options");
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"2GiB", 2147483648u},
                 {"512MiB", 536870912u},
                 {"1e9", 1000000000u},
                 {"1.5kB", 1500},
                 {"7", 7}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char line[64];
        snprintf(line, sizeof line, "--memory %s", sizes[i].text);
        o = parse(line, &n, w, NULL, &err);
        ok(n == 0 && o.memory == sizes[i].bytes, "%s", line);
    }
    refused("--max-step 5", "E-USAGE-OPTION", "did you mean 'max-steps'");
    refused("--outptu d", "E-USAGE-OPTION", "did you mean 'output'");
    refused("--zzzzzzzzzzzz", "E-USAGE-OPTION", "--help");
    refused("-z", "E-USAGE-OPTION", "unknown option 'z'");
    refused("-output d", "E-USAGE-OPTION", "unknown option 'output'");
    refused("--no-max-steps", "E-USAGE-OPTION", "unknown option 'no-max-steps'");
    refused("--max-steps", "E-USAGE-VALUE", "needs a value");
    refused("--max-steps 5x", "E-USAGE-VALUE", "whole number");
    refused("--max-steps 99999999999999999999", "E-USAGE-VALUE", "whole number");
    refused("--max-steps 0", "E-USAGE-VALUE", "outside 1..1000");
    refused("--lr nan", "E-USAGE-VALUE", "not a number");
    refused("--lr 1e999", "E-USAGE-VALUE", "not a number");
    refused("--lr -1", "E-USAGE-VALUE", "outside");
    refused("--kind on", "E-USAGE-VALUE", "none of one|three");
    refused("--kind one|three", "E-USAGE-VALUE", "none of");
    refused("--quiet=maybe", "E-USAGE-VALUE", "true or false");
    refused("--memory 0", "E-USAGE-VALUE", "a size");
    refused("--memory -1", "E-USAGE-VALUE", "a size");
    refused("--memory 2GB2", "E-USAGE-VALUE", "a size");
    refused("--memory 1e30", "E-USAGE-VALUE", "a size");
    char many[2 * OPT_LIST_CAP + 32] = "--data";
    for (int i = 0; i <= OPT_LIST_CAP; i++)
        strcat(many, " f");
    refused(many, "E-USAGE-VALUE", "more than 256 values");
    parse("a --help --nonsense", &n, w, NULL, &err);
    ok(n == -1 && !err.code, "--help is asked before what follows is looked at");
    return tap_done();
}
